/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qmp/parse.h"
#include "qmp/priv.h"
#include "qmp/qmp.h"

enum state {
	READY,
	BROKEN, /* out of step, in what is sent or received; a resync may mend it */
	DEAD,   /* the connection is gone */
};

struct qmp {
	int sock;
	enum state state;
	struct qmp_greeting greeting;
	bool oob;      /* negotiated */
	bool tolerant; /* resynchronising: what does not parse is skipped */
	struct qmp_parser parser;
	struct qmp_queue events;
	uint64_t nonce, count; /* see next_id */
	size_t rx_off, rx_len;
	char rx[65536];
};

#define ID_SIZE 64

/*
 * An id is never used twice on a connection, not by processes that share it after a fork either:
 * the pid tells those alive apart, the nonce (renewed by a resync) those that are dead.
 */
static void next_id(struct qmp *q, char id[ID_SIZE])
{
	snprintf(id, ID_SIZE, "%d.%" PRIx64 ".%" PRIu64, (int)getpid(), q->nonce, q->count++);
}

static int usable(const struct qmp *q, struct qmp_error *err)
{
	switch (q->state) {
	case READY:
		return QMP_OK;
	case BROKEN:
		return qmp_fail(err, QMP_E_BROKEN,
				"the monitor connection is out of step after an earlier failure");
	default:
		return qmp_fail(err, QMP_E_CLOSED, "QEMU closed the monitor connection");
	}
}

/* --- receiving ---------------------------------------------------------------------------- */

static int parse_failed(struct qmp *q, int r, struct qmp_error *err)
{
	qmp_parser_skip_line(&q->parser);
	if (q->tolerant)
		return QMP_OK;
	q->state = BROKEN;
	return qmp_fail(err, r, "%s",
			r == QMP_E_TOOBIG ? "QEMU's answer is larger than any that is expected"
					  : "QEMU's answer is not sound JSON");
}

/* The next message out of what is buffered; NULL if none is whole. */
static int buffered_msg(struct qmp *q, struct qmp_error *err, struct json_object **ret)
{
	*ret = NULL;
	while (!*ret && q->rx_off < q->rx_len) {
		size_t used;
		int r;

		r = qmp_parser_feed(&q->parser, q->rx + q->rx_off, q->rx_len - q->rx_off, &used,
				    ret);
		q->rx_off += used;
		if (r < 0)
			r = parse_failed(q, r, err);
		if (r < 0)
			return r;
	}
	return QMP_OK;
}

static int fill(struct qmp *q, uint64_t deadline, struct qmp_error *err)
{
	int r = qmp_io_recv(q->sock, q->rx, sizeof(q->rx), deadline, err, &q->rx_len);

	q->rx_off = 0;
	if (r < 0)
		q->rx_len = 0;
	if (r == QMP_E_CLOSED || r == QMP_E_SYS)
		q->state = DEAD;
	return r;
}

/* The next message of any kind; at least what is there now, even if the deadline has passed. */
static int next_msg(struct qmp *q, uint64_t deadline, struct qmp_error *err,
		    struct json_object **ret)
{
	struct json_object *msg;
	bool first = true;
	int r;

	for (;;) {
		r = buffered_msg(q, err, &msg);
		if (r < 0)
			return r;
		if (msg)
			break;
		/* A peer that never ends a message must not hold us for ever. */
		if (!first && qmp_now() >= deadline)
			return qmp_fail(err, QMP_E_TIMEOUT, "QEMU did not answer in time");
		first = false;
		r = fill(q, deadline, err);
		if (r < 0)
			return r;
	}
	*ret = msg;
	return QMP_OK;
}

/*
 * Puts an event into the queue, drops a reply to an older call, and hands on what else came:
 * *ret is the message if it answers id, else NULL. An error without id says that QEMU could not
 * read the command, so it answers the one under way.
 */
static int take(struct qmp *q, struct json_object *msg, const char *id, struct qmp_error *err,
		struct json_object **ret)
{
	enum qmp_kind kind = qmp_msg_kind(msg);
	const char *got;

	*ret = NULL;
	switch (kind) {
	case QMP_MSG_EVENT:
		qmp_queue_push(&q->events, msg, q->parser.weight);
		return QMP_OK;
	case QMP_MSG_RETURN:
	case QMP_MSG_ERROR:
		got = qmp_msg_id(msg);
		if (id && ((got && strcmp(got, id) == 0) ||
			   (kind == QMP_MSG_ERROR && !q->tolerant && !qmp_msg_has_id(msg)))) {
			*ret = msg;
			return QMP_OK;
		}
		json_object_put(msg);
		return QMP_OK;
	default:
		json_object_put(msg);
		if (q->tolerant)
			return QMP_OK;
		q->state = BROKEN;
		return qmp_fail(err, QMP_E_PROTO, "QEMU sent something that QMP does not know");
	}
}

/* Waits for the answer to id and takes it apart. */
static int await(struct qmp *q, const char *id, uint64_t deadline, struct qmp_error *err,
		 struct json_object **reply_ret)
{
	struct json_object *msg, *answer = NULL;
	struct qmp_error refused;
	int r;

	while (!answer) {
		r = next_msg(q, deadline, err, &msg);
		if (r < 0)
			return r;
		r = take(q, msg, id, err, &answer);
		if (r < 0)
			return r;
		if (!answer && qmp_now() >= deadline)
			return qmp_fail(err, QMP_E_TIMEOUT, "QEMU did not answer in time");
	}
	if (qmp_msg_kind(answer) == QMP_MSG_ERROR) {
		qmp_msg_error(answer, &refused);
		if (err)
			*err = refused;
		r = QMP_E_COMMAND;
	} else {
		if (reply_ret)
			*reply_ret = json_object_get(json_object_object_get(answer, "return"));
		r = QMP_OK;
	}
	json_object_put(answer);
	return r;
}

/* --- sending -------------------------------------------------------------------------------- */

/* Consumes args. */
static struct json_object *command_object(const char *verb, const char *command,
					  struct json_object *args, const char *id)
{
	struct json_object *obj = json_object_new_object();

	if (!obj) {
		json_object_put(args);
		return NULL;
	}
	if (args && json_object_object_add(obj, "arguments", args) < 0) {
		json_object_put(args);
		json_object_put(obj);
		return NULL;
	}
	if (json_object_object_add(obj, verb, json_object_new_string(command)) < 0 ||
	    json_object_object_add(obj, "id", json_object_new_string(id)) < 0) {
		json_object_put(obj);
		return NULL;
	}
	return obj;
}

/* One line, in front of it (unless 0) a byte that resets the reader. */
static int send_line(struct qmp *q, struct json_object *obj, char reset, int fd, uint64_t deadline,
		     struct qmp_error *err)
{
	const char *text;
	size_t len, sent, at = 0;
	char *line;
	int r;

	text = json_object_to_json_string_length(
		obj, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (!text)
		return qmp_fail(err, QMP_E_NOMEM, "no memory for a QMP command");
	if (len > QMP_CALL_MAX)
		return qmp_fail(err, QMP_E_TOOBIG, "a QMP command of %zu bytes is too large", len);
	line = malloc(len + 2);
	if (!line)
		return qmp_fail(err, QMP_E_NOMEM, "no memory for a QMP command");
	if (reset)
		line[at++] = reset;
	memcpy(line + at, text, len);
	at += len;
	line[at++] = '\n';
	r = qmp_io_send(q->sock, line, at, fd, deadline, err, &sent);
	free(line);
	if (r == QMP_E_CLOSED)
		q->state = DEAD;
	else if (r < 0 && sent)
		q->state = BROKEN; /* QEMU holds half a command */
	return r;
}

/* QEMU went away before a command could be sent: what it said last is still in the socket. */
static void keep_last_events(struct qmp *q)
{
	struct json_object *msg, *other;
	unsigned i;

	for (i = 0; i < 2 * QMP_EVENTS_MAX; i++) {
		if (next_msg(q, 0, NULL, &msg) < 0 || take(q, msg, NULL, NULL, &other) < 0)
			break;
	}
	q->state = DEAD;
}

static int call(struct qmp *q, const char *verb, const char *command, struct json_object *args,
		int fd, uint64_t deadline, struct qmp_error *err, struct json_object **reply_ret)
{
	struct json_object *obj;
	char id[ID_SIZE];
	int r;

	next_id(q, id);
	obj = command_object(verb, command, args, id);
	if (!obj)
		return qmp_fail(err, QMP_E_NOMEM, "no memory for a QMP command");
	r = usable(q, err);
	if (r == QMP_OK && qmp_now() >= deadline)
		r = qmp_fail(err, QMP_E_TIMEOUT, "no time left to ask QEMU for %s", command);
	if (r == QMP_OK)
		r = send_line(q, obj, 0, fd, deadline, err);
	json_object_put(obj);
	if (r == QMP_E_CLOSED)
		keep_last_events(q);
	if (r < 0)
		return r;
	return await(q, id, deadline, err, reply_ret);
}

int qmp_call(struct qmp *q, const char *command, struct json_object *args, int fd,
	     uint64_t deadline, struct qmp_error *err, struct json_object **reply_ret)
{
	return call(q, "execute", command, args, fd, deadline, err, reply_ret);
}

int qmp_call_oob(struct qmp *q, const char *command, struct json_object *args, int fd,
		 uint64_t deadline, struct qmp_error *err, struct json_object **reply_ret)
{
	if (!q->oob) {
		json_object_put(args);
		return qmp_fail(err, QMP_E_UNSUPPORTED,
				"this monitor does not execute commands out of band");
	}
	return call(q, "exec-oob", command, args, fd, deadline, err, reply_ret);
}

static char *without_cr(const char *text, size_t len)
{
	char *out = malloc(len + 1);
	size_t i, n = 0;

	if (!out)
		return NULL;
	for (i = 0; i < len; i++) {
		if (text[i] != '\r')
			out[n++] = text[i] ? text[i] : ' ';
	}
	out[n] = '\0';
	return out;
}

int qmp_hmp(struct qmp *q, const char *line, uint64_t deadline, struct qmp_error *err,
	    char **text_ret)
{
	struct json_object *args = json_object_new_object();
	struct json_object *reply = NULL;
	char *text;
	int r;

	if (!args || json_object_object_add(args, "command-line", json_object_new_string(line))) {
		json_object_put(args);
		return qmp_fail(err, QMP_E_NOMEM, "no memory for a QMP command");
	}
	r = qmp_call(q, "human-monitor-command", args, -1, deadline, err, &reply);
	if (r < 0)
		return r;
	if (!json_object_is_type(reply, json_type_string)) {
		json_object_put(reply);
		return qmp_fail(err, QMP_E_PROTO, "QEMU's human monitor answered without text");
	}
	text = without_cr(json_object_get_string(reply), (size_t)json_object_get_string_len(reply));
	json_object_put(reply);
	if (!text)
		return qmp_fail(err, QMP_E_NOMEM, "no memory for QEMU's answer");
	*text_ret = text;
	return QMP_OK;
}

/* --- events ----------------------------------------------------------------------------------- */

int qmp_next_event(struct qmp *q, uint64_t deadline, struct qmp_error *err,
		   struct json_object **event_ret)
{
	struct json_object *msg, *other;
	int r;

	for (;;) {
		msg = qmp_queue_pop(&q->events);
		if (msg) {
			*event_ret = msg;
			return QMP_OK;
		}
		r = usable(q, err);
		if (r == QMP_OK)
			r = next_msg(q, deadline, err, &msg);
		if (r == QMP_OK)
			r = take(q, msg, NULL, err, &other);
		if (r < 0)
			return r;
		if (!q->events.count && qmp_now() >= deadline)
			return qmp_fail(err, QMP_E_TIMEOUT, "no event came in time");
	}
}

uint64_t qmp_events_lost(const struct qmp *q)
{
	return q->events.lost;
}

/* --- coming back into step -------------------------------------------------------------------- */

/*
 * What is already buffered here came before the other process took over reading, so it is whole
 * up to a last message that may be cut off.
 */
static void drain_buffer(struct qmp *q)
{
	struct json_object *msg, *other;

	while (buffered_msg(q, NULL, &msg) == QMP_OK && msg) {
		if (take(q, msg, NULL, NULL, &other) < 0)
			return;
	}
	if (qmp_parser_midway(&q->parser))
		q->events.lost++;
	qmp_parser_reset(&q->parser);
}

/*
 * Sending: 0xff occurs in no command, and QEMU answers it with one error, without id, from any
 * state of its reader, after which it reads afresh (qmp-spec "Forcing the JSON parser into
 * known-good state"; seen with 7.2 within strings, escapes, words and nested values).
 *
 * Receiving: the other process may have taken the first part of a message away. Its rest either
 * fails to parse, and then all up to the end of the line is dropped, or it is a nested object
 * that the protocol does not know. Replies come in order, so once the answer to our own id has
 * come, no stale one follows.
 */
int qmp_resync(struct qmp *q, uint64_t deadline, struct qmp_error *err)
{
	enum state before = q->state;
	struct json_object *obj;
	char id[ID_SIZE];
	int r;

	if (before == DEAD)
		return usable(q, err);
	q->nonce = qmp_now();
	next_id(q, id);
	obj = command_object("execute", "query-version", NULL, id);
	if (!obj)
		return qmp_fail(err, QMP_E_NOMEM, "no memory for a QMP command");
	q->tolerant = true;
	drain_buffer(q);
	r = send_line(q, obj, '\xff', -1, deadline, err);
	json_object_put(obj);
	if (r == QMP_OK)
		r = await(q, id, deadline, err, NULL);
	q->tolerant = false;
	if (r == QMP_E_COMMAND)
		r = QMP_OK; /* an answer is all that was wanted */
	if (q->state != DEAD)
		q->state = r == QMP_OK ? READY : BROKEN;
	return r;
}

/* --- opening and closing ------------------------------------------------------------------------ */

/*
 * What a client that died had under way is answered to whoever comes next, ahead of the greeting:
 * replies and events. They are passed over, in bounds; a peer that says nothing else is not QMP.
 */
#define STRAYS_MAX 64

static int no_qmp(struct qmp_error *err, const char *words)
{
	return qmp_fail(err, QMP_E_NOT_QMP, "%s", words);
}

static int read_greeting(struct qmp *q, uint64_t deadline, struct qmp_error *err)
{
	struct json_object *msg = NULL;
	unsigned strays = 0;
	int r;

	for (;;) {
		enum qmp_kind kind;

		r = next_msg(q, deadline, err, &msg);
		if (r == QMP_E_TIMEOUT && !strays && !qmp_parser_midway(&q->parser))
			return qmp_fail(err, QMP_E_BUSY,
					"connected, but no greeting came: another client holds "
					"this monitor");
		if (r == QMP_E_PROTO || r == QMP_E_TOOBIG || (r == QMP_E_TIMEOUT && strays))
			return no_qmp(err, "what answers there does not speak QMP");
		if (r < 0)
			return r;
		kind = qmp_msg_kind(msg);
		if (kind == QMP_MSG_OTHER || kind == QMP_MSG_GREETING)
			break;
		json_object_put(msg);
		if (++strays > STRAYS_MAX)
			return no_qmp(err, "what answers there does not greet as QMP does");
	}
	r = qmp_msg_greeting(msg, &q->greeting);
	json_object_put(msg);
	return r < 0 ? no_qmp(err, "what answers there does not greet as QMP does") : QMP_OK;
}

static int negotiate(struct qmp *q, uint64_t deadline, struct qmp_error *err)
{
	struct json_object *args = NULL, *enable;
	int r;

	if (q->greeting.oob) {
		args = json_object_new_object();
		enable = json_object_new_array();
		if (!args || !enable || json_object_object_add(args, "enable", enable) < 0) {
			json_object_put(enable);
			json_object_put(args);
			return qmp_fail(err, QMP_E_NOMEM, "no memory for a QMP command");
		}
		if (json_object_array_add(enable, json_object_new_string("oob")) < 0) {
			json_object_put(args);
			return qmp_fail(err, QMP_E_NOMEM, "no memory for a QMP command");
		}
	}
	r = qmp_call(q, "qmp_capabilities", args, -1, deadline, err, NULL);
	if (r == QMP_OK)
		q->oob = q->greeting.oob;
	return r;
}

int qmp_from_fd(int fd, uint64_t deadline, struct qmp_error *err, struct qmp **ret)
{
	struct qmp *q;
	int r;

	if (qmp_now() >= deadline)
		return qmp_fail(err, QMP_E_TIMEOUT, "no time left to speak to QEMU");
	q = calloc(1, sizeof(*q));
	if (!q)
		return qmp_fail(err, QMP_E_NOMEM, "no memory for a QMP connection");
	q->sock = fd;
	q->nonce = qmp_now();
	r = qmp_parser_init(&q->parser);
	if (r < 0)
		qmp_fail(err, r, "no memory for a QMP connection");
	if (r == QMP_OK)
		r = read_greeting(q, deadline, err);
	if (r == QMP_OK)
		r = negotiate(q, deadline, err);
	if (r < 0) {
		q->sock = -1;
		qmp_close(q);
		return r;
	}
	*ret = q;
	return QMP_OK;
}

int qmp_open(const char *path, uint64_t deadline, struct qmp_error *err, struct qmp **ret)
{
	int sock, r;

	r = qmp_io_connect(path, deadline, err, &sock);
	if (r < 0)
		return r;
	r = qmp_from_fd(sock, deadline, err, ret);
	if (r < 0)
		close(sock);
	return r;
}

void qmp_close(struct qmp *q)
{
	if (!q)
		return;
	if (q->sock >= 0)
		close(q->sock);
	if (q->parser.tok)
		qmp_parser_deinit(&q->parser);
	qmp_queue_clear(&q->events);
	free(q);
}

bool qmp_has_oob(const struct qmp *q)
{
	return q->oob;
}

unsigned qmp_version(const struct qmp *q)
{
	return q->greeting.version;
}

int qmp_fd(const struct qmp *q)
{
	return q->sock;
}

int qmp_peer_pid(const struct qmp *q, struct qmp_error *err, pid_t *ret)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(q->sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return qmp_fail_sys(err, QMP_E_SYS, errno,
				    "cannot tell who listens at the monitor");
	*ret = cred.pid;
	return QMP_OK;
}
