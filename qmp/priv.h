/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the sources of this room share: words of failure, the socket, the queue of events. */
#ifndef QMP_PRIV_H
#define QMP_PRIV_H

#include "qmp/qmp.h"

/* Sets err (may be NULL) and returns code. */
int qmp_fail(struct qmp_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int qmp_fail_sys(struct qmp_error *err, int code, int sys, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Copies foreign words into cap bytes, cut where needed; control characters become ' '. */
void qmp_words(char *to, size_t cap, const char *from);

uint64_t qmp_now(void);

int qmp_io_connect(const char *path, uint64_t deadline, struct qmp_error *err,
		   int *ret) QMP_USE_RESULT;
/* Sends all of buf, the fd (unless -1) with its first byte. *sent_ret is always set. */
int qmp_io_send(int sock, const char *buf, size_t len, int fd, uint64_t deadline,
		struct qmp_error *err, size_t *sent_ret) QMP_USE_RESULT;
/* Receives at least one byte. Takes what is there even if the deadline has passed. */
int qmp_io_recv(int sock, char *buf, size_t cap, uint64_t deadline, struct qmp_error *err,
		size_t *ret) QMP_USE_RESULT;

/* A ring; the oldest is given up for the newest. */
struct qmp_queue {
	struct {
		struct json_object *event;
		size_t weight;
	} at[QMP_EVENTS_MAX];
	unsigned first, count;
	size_t weight;
	uint64_t lost;
};

#define QMP_QUEUE_WEIGHT_MAX (8u << 20)

void qmp_queue_push(struct qmp_queue *u, struct json_object *event, size_t weight); /* owns it */
struct json_object *qmp_queue_pop(struct qmp_queue *u); /* NULL when empty */
void qmp_queue_clear(struct qmp_queue *u);

#endif
