/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From foreign bytes to messages: framing, bounds and meaning, without a socket.
 */
#ifndef QMP_PARSE_H
#define QMP_PARSE_H

#include "qmp/qmp.h"

/*
 * Deeper than any answer needs; json-c frees recursively, so it is also a bound on stack.
 */
#define QMP_DEPTH_MAX 64

/*
 * What a message may cost in memory once parsed, about: json-c takes some 800 bytes for "{}".
 * QEMU 7.2's schema, the worst known, weighs 5 MiB.
 */
#define QMP_WEIGHT_MAX (64u << 20)

struct qmp_parser {
	struct json_tokener *tok;
	size_t bytes;  /* of the message under way; 0 between messages */
	size_t weight; /* of the message under way, or of the last one while bytes is 0 */
	unsigned depth;
	bool in_string;
	bool escaped;
	unsigned char number; /* where in a number; see parse.c */
	bool skip_line;       /* discarding up to the next newline */
};

int qmp_parser_init(struct qmp_parser *p) QMP_USE_RESULT;
void qmp_parser_deinit(struct qmp_parser *p);

/* Forgets a message that is half read. */
void qmp_parser_reset(struct qmp_parser *p);

/* Whether a message is half read. */
bool qmp_parser_midway(const struct qmp_parser *p);

/*
 * Takes bytes, as they come, up to the end of one message. *used_ret is always set; *msg_ret is
 * the message, the caller's to put, or NULL when all of buf was used and more is needed.
 * QMP_E_PROTO and _TOOBIG leave the parser reset, at or behind the offending byte, never behind
 * the newline that ends its line.
 */
int qmp_parser_feed(struct qmp_parser *p, const char *buf, size_t len, size_t *used_ret,
		    struct json_object **msg_ret) QMP_USE_RESULT;

/* Discards up to and with the next newline, to come back in step with a writer of lines. */
void qmp_parser_skip_line(struct qmp_parser *p);

enum qmp_kind {
	QMP_MSG_OTHER, /* an object, but none of the protocol's */
	QMP_MSG_GREETING,
	QMP_MSG_RETURN,
	QMP_MSG_ERROR,
	QMP_MSG_EVENT,
};

struct qmp_greeting {
	unsigned version; /* as qmp_version */
	bool oob;
};

enum qmp_kind qmp_msg_kind(struct json_object *msg);
const char *qmp_msg_id(struct json_object *msg); /* NULL if none or not a string */
bool qmp_msg_has_id(struct json_object *msg);
void qmp_msg_error(struct json_object *msg, struct qmp_error *ret); /* of a QMP_MSG_ERROR */
int qmp_msg_greeting(struct json_object *msg, struct qmp_greeting *ret) QMP_USE_RESULT;

#endif
