/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of the QEMU Machine Protocol over a unix socket, on json-c. It knows QEMU and
 * nothing else. The protocol: docs/interop/qmp-spec.rst in QEMU's source.
 *
 *   client                                   QEMU
 *   connect                             ->
 *                                       <-   {"QMP": {"version": .., "capabilities": ["oob"]}}
 *   {"execute": "qmp_capabilities", ..} ->
 *                                       <-   {"return": {}, "id": ..}
 *   {"execute": NAME, "id": ..}         ->
 *                                       <-   {"event": ..}          any number, at any time
 *                                       <-   {"return": .., "id": ..} or {"error": .., "id": ..}
 *
 * A function returns QMP_OK (0) or one of enum qmp_code, negative; results come last and are
 * touched only on success. Deadlines are absolute CLOCK_MONOTONIC nanoseconds, UINT64_MAX for
 * none. err may be NULL. One thread a handle.
 *
 * A handle survives fork: both processes may use it, one at a time, and each closes its own.
 * When the other one died at an unknown place, qmp_resync comes before anything else.
 */
#ifndef QMP_QMP_H
#define QMP_QMP_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define QMP_USE_RESULT __attribute__((warn_unused_result))

/* What is refused as a message, either way; QEMU 7.2's longest answer (its schema) is 207 KB. */
#define QMP_MSG_MAX  (8u << 20) /* received, bytes */
#define QMP_CALL_MAX (1u << 20) /* sent, bytes */

/* Events waiting at most; see qmp_next_event. */
#define QMP_EVENTS_MAX 256

enum qmp_code {
	QMP_OK = 0,
	QMP_E_NOMEM = -1,
	QMP_E_SYS = -2,         /* a system call failed: err->sys */
	QMP_E_ABSENT = -3,      /* no such socket, or nobody listens there */
	QMP_E_PERM = -4,        /* the caller may not connect */
	QMP_E_BUSY = -5,        /* connected, but never greeted: another client holds the monitor */
	QMP_E_NOT_QMP = -6,     /* what answers does not speak QMP */
	QMP_E_CLOSED = -7,      /* QEMU went away; the handle is dead from here on */
	QMP_E_TIMEOUT = -8,     /* the deadline passed; a late reply will be dropped */
	QMP_E_PROTO = -9,       /* an answer that the protocol does not allow; resync or close */
	QMP_E_TOOBIG = -10,     /* a message over its bound; when received: resync or close */
	QMP_E_COMMAND = -11,    /* QEMU refused the command: err->class, err->desc */
	QMP_E_BROKEN = -12,     /* an earlier failure left the stream in doubt: resync or close */
	QMP_E_UNSUPPORTED = -13 /* out-of-band was not negotiated */
};

struct qmp_error {
	int code;
	int sys; /* errno of QMP_E_SYS, QMP_E_ABSENT, QMP_E_PERM; else 0 */
	char class
		[64]; /* QEMU's error class on QMP_E_COMMAND, such as "CommandNotFound"; else "" */
	char desc[512]; /* one line of words, always; control characters are replaced */
};

struct qmp;

/*
 * Connects to the socket at path (of any length), reads the greeting and negotiates, with
 * out-of-band execution where QEMU offers it. QEMU serves one client at a time and lets others
 * wait without a word, so QMP_E_BUSY takes until the deadline: give a second or two. Something
 * else that listens and never speaks looks the same.
 */
int qmp_open(const char *path, uint64_t deadline, struct qmp_error *err,
	     struct qmp **ret) QMP_USE_RESULT;

/* The same on a connected stream socket. Owns fd on success only. */
int qmp_from_fd(int fd, uint64_t deadline, struct qmp_error *err, struct qmp **ret) QMP_USE_RESULT;

void qmp_close(struct qmp *q); /* NULL is fine */

/*
 * Runs a command and waits for its reply. args is an object or NULL and is consumed whatever
 * happens. fd, unless -1, goes along (SCM_RIGHTS; for getfd and add-fd) and stays the caller's.
 * The reply's "return" is the caller's to json_object_put; NULL stands for JSON null, and
 * reply_ret may be NULL.
 *
 * json-c numbers: integers beyond UINT64_MAX arrive as UINT64_MAX; read sizes by qmp_get_u64.
 */
int qmp_call(struct qmp *q, const char *command, struct json_object *args, int fd,
	     uint64_t deadline, struct qmp_error *err, struct json_object **reply_ret);

/* The same ahead of commands that are under way. QMP_E_UNSUPPORTED unless qmp_has_oob; QEMU
 * refuses commands that are not made for it (QMP_E_COMMAND). */
int qmp_call_oob(struct qmp *q, const char *command, struct json_object *args, int fd,
		 uint64_t deadline, struct qmp_error *err, struct json_object **reply_ret);

/*
 * Runs a line of the human monitor. The text is the caller's to free; its line ends are '\n'.
 * The human monitor has no errors: an unknown command answers in words too.
 */
int qmp_hmp(struct qmp *q, const char *line, uint64_t deadline, struct qmp_error *err,
	    char **text_ret) QMP_USE_RESULT;

/*
 * The oldest event not yet delivered ("event", "data", "timestamp"), the caller's to put.
 * Waits for one until the deadline; 0 takes what is there. Events that arrive during calls are
 * kept, at most QMP_EVENTS_MAX and some MiB of them; beyond that the OLDEST is given up, because
 * the later ones say how the guest is now. Those that arrived before QEMU went away are delivered
 * before QMP_E_CLOSED.
 */
int qmp_next_event(struct qmp *q, uint64_t deadline, struct qmp_error *err,
		   struct json_object **event_ret) QMP_USE_RESULT;

/* How many events were given up so far; a resync that had to skip input counts as one. */
uint64_t qmp_events_lost(const struct qmp *q);

/*
 * Makes the stream usable again after another process that shared it died in the middle of a
 * call, or after QMP_E_BROKEN, _PROTO and _TOOBIG. A half-sent command is discarded by QEMU, one
 * that was sent whole will have been executed; replies to it are dropped. On failure the handle
 * stays as unusable as it was.
 */
int qmp_resync(struct qmp *q, uint64_t deadline, struct qmp_error *err) QMP_USE_RESULT;

bool qmp_has_oob(const struct qmp *q);

/* From the greeting: major * 1000000 + minor * 1000 + micro. */
unsigned qmp_version(const struct qmp *q);

/* The process that listens at the other end: QEMU, or whoever made the socket for it. */
int qmp_peer_pid(const struct qmp *q, struct qmp_error *err, pid_t *ret) QMP_USE_RESULT;

/* To poll on; never to read. */
int qmp_fd(const struct qmp *q);

/* A member that is an integer from 0 to UINT64_MAX: QMP_OK, or QMP_E_PROTO for anything else. */
int qmp_get_u64(struct json_object *obj, const char *key, uint64_t *ret) QMP_USE_RESULT;

/* A member that is a string, owned by obj; NULL for anything else. */
const char *qmp_get_str(struct json_object *obj, const char *key);

#endif
