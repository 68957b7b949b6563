/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/rsp.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "vmm-agent/base/clock.h"

#define RUN_BIAS   29  /* GDB manual E.1: n - 29 repetitions beyond the first */
#define RUN_LAST   126 /* the last printable character */
#define RESEND_MAX 3

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

void rsp_hex(const uint8_t *in, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
}

bool rsp_unhex(const char *in, size_t len, uint8_t *out, size_t n)
{
	if (len % 2 != 0 || len / 2 != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_digit((uint8_t)in[2 * i]), lo = hex_digit((uint8_t)in[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

/* Escapes and runs undone; false for an encoding that means nothing or does not fit. */
static bool decode(const uint8_t *raw, size_t len, uint8_t *out, size_t *len_ret)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		size_t times = 1;
		uint8_t c = raw[i];

		if (c == '*') {
#ifndef VP_PLANT_RSP /* the planted bug: a run of the byte ahead of the first */
			if (n == 0)
				return false;
#endif
			if (++i == len || raw[i] < 32 || raw[i] > RUN_LAST)
				return false;
			c = out[n - 1];
			times = raw[i] - RUN_BIAS;
		} else if (c == '}') {
			if (++i == len)
				return false;
			c = raw[i] ^ 0x20;
		}
		if (times > RSP_PAYLOAD_MAX - n)
			return false;
		memset(out + n, c, times);
		n += times;
	}
	*len_ret = n;
	return true;
}

/* Where the '#' of a packet that starts at buf[0] is; len if it is not there yet. A '$' inside
 * says that the peer gave the packet up and began another one. */
static size_t find_end(const uint8_t *buf, size_t len, bool *restarts)
{
	size_t i = 1;

	while (i < len && buf[i] != '#' && buf[i] != '$')
		i++;
	*restarts = i < len && buf[i] == '$';
	return i;
}

enum rsp_kind rsp_scan(const uint8_t *buf, size_t len, size_t *used_ret, uint8_t *payload,
		       size_t *len_ret)
{
	uint8_t sum = 0;
	bool restarts;
	size_t end;
	int hi, lo;

	*used_ret = 0;
	if (len == 0)
		return RSP_MORE;
	*used_ret = 1;
	if (buf[0] == '+')
		return RSP_ACK;
	if (buf[0] == '-')
		return RSP_NAK;
	if (buf[0] != '$' && buf[0] != '%')
		return RSP_SKIP;
	end = find_end(buf, len, &restarts);
	if (end > RSP_RAW_MAX)
		return RSP_TOO_BIG;
	if (restarts) {
		*used_ret = end;
		return RSP_SKIP;
	}
	*used_ret = 0;
	if (end >= len || len - end < 3)
		return RSP_MORE;
	*used_ret = end + 3;
	if (buf[0] == '%')
		return RSP_SKIP;
	for (size_t i = 1; i < end; i++)
		sum = (uint8_t)(sum + buf[i]);
	hi = hex_digit(buf[end + 1]);
	lo = hex_digit(buf[end + 2]);
	if (hi < 0 || lo < 0 || (hi << 4 | lo) != sum)
		return RSP_DAMAGED;
	return decode(buf + 1, end - 1, payload, len_ret) ? RSP_PACKET : RSP_DAMAGED;
}

int rsp_frame(const void *payload, size_t len, uint8_t *buf, size_t cap, size_t *len_ret)
{
	const uint8_t *p = payload;
	uint8_t sum = 0;
	size_t n = 0;

	if (cap < 4 || len > (cap - 4) / 2)
		return VP_E_RANGE;
	buf[n++] = '$';
	for (size_t i = 0; i < len; i++) {
		uint8_t c = p[i];

		if (c == '$' || c == '#' || c == '}' || c == '*') {
			buf[n++] = '}';
			sum = (uint8_t)(sum + '}');
			c ^= 0x20;
		}
		buf[n++] = c;
		sum = (uint8_t)(sum + c);
	}
	buf[n++] = '#';
	rsp_hex(&sum, 1, (char *)buf + n);
	*len_ret = n + 2;
	return VP_OK;
}

/*
 * '+' takes the reply off the stub's hands that it still waits to have acknowledged, or else it
 * would ignore the rest. Then, in any state of its reader: the first '#' ends a packet, or an
 * escape or run that the second then ends in its place; 'z' is no checksum digit, so whatever was
 * begun is dropped, and nothing of it executed. Outside a packet all of it is noise.
 */
static const char clear_line[] = "+##z";

void rsp_init(struct rsp *r, int fd)
{
	r->fd = fd;
	r->under_way = 0;
	r->owe = true; /* of a stop reply that may be there */
	r->fresh = true;
	r->stopped = false;
	r->broken = false;
	r->in_len = 0;
	r->out_sent = 0;
	r->out_len = sizeof(clear_line) - 1;
	memcpy(r->out, clear_line, r->out_len);
}

int rsp_queue(struct rsp *r, const void *payload, size_t len)
{
	size_t n;
	int err;

	if (r->broken)
		return VP_E_PROTO;
	if (r->under_way >= RSP_BATCH_MAX || sizeof(r->out) - r->out_len < 1)
		return VP_E_RANGE;
	err = rsp_frame(payload, len, r->out + r->out_len + 1, sizeof(r->out) - r->out_len - 1, &n);
	if (err < 0)
		return err;
	/* Ahead of every request goes the acknowledgement of the reply before. */
	if (r->owe)
		r->out[r->out_len] = '+';
	else
		memmove(r->out + r->out_len, r->out + r->out_len + 1, n);
	r->out_len += n + r->owe;
	r->owe = true;
	r->under_way++;
	return VP_OK;
}

int rsp_queuef(struct rsp *r, const char *fmt, ...)
{
	char request[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(request, sizeof(request), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(request))
		return VP_E_RANGE;
	return rsp_queue(r, request, (size_t)n);
}

static int wait_for(int fd, short events, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = events};
		uint64_t left = clock_left(deadline);
		struct timespec ts = {(time_t)(left / CLOCK_NS_PER_SEC),
				      (long)(left % CLOCK_NS_PER_SEC)};
		int n = ppoll(&p, 1, deadline == UINT64_MAX ? NULL : &ts, NULL);

		if (n > 0)
			return VP_OK;
		if (n == 0)
			return VP_E_TIMEOUT;
		if (errno != EINTR)
			return VP_E_IO;
	}
}

static int io_error(void)
{
	return errno == EPIPE || errno == ECONNRESET ? VP_E_DISCONNECTED : VP_E_IO;
}

static int send_all(struct rsp *r, const uint8_t *buf, size_t len, uint64_t deadline)
{
	while (len > 0) {
		ssize_t n = send(r->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		int err = VP_OK;

		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			err = wait_for(r->fd, POLLOUT, deadline);
		} else if (errno != EINTR) {
			err = io_error();
		}
		if (err < 0)
			return err;
	}
	return VP_OK;
}

static int receive(struct rsp *r, uint64_t deadline)
{
	for (;;) {
		ssize_t n = recv(r->fd, r->in + r->in_len, sizeof(r->in) - r->in_len, MSG_DONTWAIT);
		int err;

		if (n > 0) {
			r->in_len += (size_t)n;
			return VP_OK;
		}
		if (n == 0)
			return VP_E_DISCONNECTED;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return io_error();
		err = wait_for(r->fd, POLLIN, deadline);
		if (err < 0)
			return err;
	}
}

/* A stop reply (GDB manual E.3) ahead of the first answer: the stub tells that connecting to it
 * has stopped the machine. No first request of ours is answered in that shape. */
static bool is_stop(const uint8_t *payload, size_t len)
{
	return len >= 3 && (payload[0] == 'T' || payload[0] == 'S') && hex_digit(payload[1]) >= 0 &&
	       hex_digit(payload[2]) >= 0;
}

static int next_packet(struct rsp *r, uint64_t deadline, size_t *len_ret)
{
	unsigned resends = 0;
	bool waited = false;

	for (;;) {
		size_t used, len = 0;
		enum rsp_kind kind = rsp_scan(r->in, r->in_len, &used, r->payload, &len);
		int err = VP_OK;

		r->in_len -= used;
		memmove(r->in, r->in + used, r->in_len);
		switch (kind) {
		case RSP_MORE:
			/* A peer that never stops sending what is no reply must not hold us. */
			err = waited && clock_left(deadline) == 0 ? VP_E_TIMEOUT
								  : receive(r, deadline);
			waited = true;
			break;
		case RSP_SKIP:
		case RSP_ACK:
			break;
		case RSP_PACKET:
			if (r->fresh && is_stop(r->payload, len)) {
				r->stopped = true;
				break;
			}
			*len_ret = len;
			return VP_OK;
		case RSP_NAK:
			/* With several under way nobody can tell which one was damaged. */
			err = r->under_way == 1 && ++resends <= RESEND_MAX
				      ? send_all(r, r->out, r->out_len, deadline)
				      : VP_E_PROTO;
			break;
		case RSP_DAMAGED:
			/* The acknowledgement of all but the last has been given already. */
			err = r->under_way == 1 && ++resends <= RESEND_MAX
				      ? send_all(r, (const uint8_t *)"-", 1, deadline)
				      : VP_E_PROTO;
			break;
		case RSP_TOO_BIG:
			err = VP_E_PROTO;
			break;
		}
		if (err < 0)
			return err;
	}
}

int rsp_send(struct rsp *r, uint64_t deadline)
{
	int err = VP_OK;

	if (r->broken)
		return VP_E_PROTO;
	if (r->out_len > r->out_sent)
		err = send_all(r, r->out + r->out_sent, r->out_len - r->out_sent, deadline);
	if (err < 0) {
		r->broken = true;
		return err;
	}
	r->out_sent = r->out_len;
	/* A single request is kept: it may have to be sent again. */
	if (r->under_way != 1)
		r->out_len = r->out_sent = 0;
	return VP_OK;
}

int rsp_reply(struct rsp *r, uint64_t deadline, const char **ret, size_t *len_ret)
{
	size_t len = 0;
	int err;

	if (r->broken || r->under_way == 0)
		return VP_E_PROTO;
	err = rsp_send(r, deadline);
	if (err == VP_OK)
		err = next_packet(r, deadline, &len);
	if (err < 0) {
		r->broken = true;
		return err;
	}
	if (r->out_sent == r->out_len)
		r->out_len = r->out_sent = 0;
	r->under_way--;
	r->fresh = false;
	r->payload[len] = '\0';
	*ret = (const char *)r->payload;
	*len_ret = len;
	return VP_OK;
}

int rsp_call(struct rsp *r, uint64_t deadline, const char *request, const char **ret,
	     size_t *len_ret)
{
	int err = rsp_queue(r, request, strlen(request));

	return err < 0 ? err : rsp_reply(r, deadline, ret, len_ret);
}
