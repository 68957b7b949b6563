/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The GDB remote serial protocol, client side: a codec without I/O and a transport on a stream
 * socket. GDB manual, appendix E.1 "Overview" and E.14 "Notification Packets".
 *
 *   $ payload # hh     a packet; hh is the sum of the bytes between, modulo 256
 *   + -                the packet before was taken / was damaged, send it again
 *   % payload # hh     a notification: never acknowledged, skipped here
 *   } c                the byte c ^ 0x20             (in a payload)
 *   c * n              c and n - 29 more of it       (in a reply's payload)
 *
 * Requests can be sent in one go and their replies read one by one; QEMU answers each before it
 * reads on. The acknowledgement of reply k then travels ahead of request k + 1 in the same bytes:
 * none is ever missing, and none costs a system call. (QStartNoAckMode would buy nothing, and
 * QEMU 7.2 does not know it.)
 */
#ifndef VP_DRV_RSP_H
#define VP_DRV_RSP_H

#include "protocol/err.h"
#include "protocol/int.h"

/* A payload's longest, after decoding. QEMU's own limit is 4096 bytes; a peer that announces more
 * is taken at this. */
#define RSP_PAYLOAD_MAX 16384u
#define RSP_RAW_MAX     (2 * RSP_PAYLOAD_MAX) /* every byte escaped */
#define RSP_BATCH_MAX   64u                   /* requests under way at once */

enum rsp_kind {
	RSP_MORE, /* nothing whole yet: read more bytes */
	RSP_SKIP, /* bytes that mean nothing: line noise, a notification */
	RSP_ACK,
	RSP_NAK,
	RSP_PACKET,
	RSP_DAMAGED, /* a packet whose checksum or encoding is wrong */
	RSP_TOO_BIG, /* no end of packet within bounds: the stream is lost */
};

/*
 * Takes one item off the front of buf. *used_ret says how many bytes it had (0 at RSP_MORE);
 * a packet's payload goes, decoded, to payload (RSP_PAYLOAD_MAX bytes), its length to *len_ret.
 */
enum rsp_kind rsp_scan(const uint8_t *buf, size_t len, size_t *used_ret, uint8_t *payload,
		       size_t *len_ret);

/* Frames a payload, escaping what must be. VP_E_RANGE if cap is too small. */
int rsp_frame(const void *payload, size_t len, uint8_t *buf, size_t cap, size_t *len_ret);

/* Two lower-case hex digits a byte, no NUL; out has 2 * len bytes. */
void rsp_hex(const uint8_t *in, size_t len, char *out);
/* The other way round; false unless in is exactly 2 * n digits. */
bool rsp_unhex(const char *in, size_t len, uint8_t *out, size_t n);

struct rsp {
	int fd;
	unsigned under_way; /* requests sent whose replies were not read */
	bool owe;           /* an acknowledgement goes ahead of the next request */
	bool fresh;         /* stop replies that nobody asked for may still come */
	bool stopped;       /* one came: the connection has stopped a machine that ran */
	bool broken;        /* replies and requests may be out of step */
	size_t in_len, out_len, out_sent;
	uint8_t in[RSP_RAW_MAX + 4];
	uint8_t out[RSP_RAW_MAX + 8];
	uint8_t payload[RSP_PAYLOAD_MAX + 1]; /* of the last reply, with a NUL behind it */
};

/*
 * fd stays the caller's. Whatever a peer that died in the middle of a packet has left in the
 * stub's reader is undone by the first bytes of the first request.
 */
void rsp_init(struct rsp *r, int fd);

/* Queues a request. VP_E_RANGE when the queue is full: flush and read first. */
int rsp_queue(struct rsp *r, const void *payload, size_t len) VP_MUST_USE;
int rsp_queuef(struct rsp *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3))) VP_MUST_USE;

/* Sends what is queued without waiting for an answer: it may lie there until the stub is. */
int rsp_send(struct rsp *r, uint64_t deadline) VP_MUST_USE;

/*
 * Sends what is queued and waits for the oldest reply. The payload stays valid until the next
 * call. VP_E_TIMEOUT at the deadline (CLOCK_MONOTONIC ns), VP_E_DISCONNECTED when the peer went
 * away, VP_E_PROTO for a reply that cannot be believed; after any of them the connection is of no
 * further use.
 */
int rsp_reply(struct rsp *r, uint64_t deadline, const char **ret, size_t *len_ret) VP_MUST_USE;

/* One request and its reply. */
int rsp_call(struct rsp *r, uint64_t deadline, const char *request, const char **ret,
	     size_t *len_ret) VP_MUST_USE;

#endif
