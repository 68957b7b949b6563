/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP parser. The first byte seeds the way the rest is cut into pieces; however it is cut,
 * the same messages must come out up to the first error, and skipping lines after errors must
 * always reach the end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/parse.h"

#define SHORT 100

struct outcome {
	uint64_t hash;
	unsigned messages;
	int error;
};

static uint64_t fnv(uint64_t h, const char *s, size_t n)
{
	while (n--)
		h = (h ^ (unsigned char)*s++) * 1099511628211u;
	return h;
}

static void digest(struct json_object *msg, struct outcome *o)
{
	struct qmp_greeting greeting = {0};
	struct qmp_error error;
	const char *text, *id;
	uint64_t n = 0;
	size_t len;

	text = json_object_to_json_string_length(msg, JSON_C_TO_STRING_PLAIN, &len);
	if (!text)
		abort();
	o->hash = fnv(o->hash, text, len);
	o->messages++;
	id = qmp_msg_id(msg);
	if (id && !qmp_msg_has_id(msg))
		abort();
	if (qmp_get_u64(msg, "timestamp", &n) < 0 && n)
		abort();
	switch (qmp_msg_kind(msg)) {
	case QMP_MSG_ERROR:
		qmp_msg_error(msg, &error);
		if (strlen(error.class) >= sizeof(error.class) ||
		    strlen(error.desc) >= sizeof(error.desc))
			abort();
		break;
	case QMP_MSG_GREETING:
		if (qmp_msg_greeting(msg, &greeting) == QMP_OK)
			o->hash = o->hash * 31 + greeting.version + greeting.oob;
		break;
	case QMP_MSG_EVENT:
		if (!qmp_get_str(msg, "event"))
			abort();
		break;
	default:
		break;
	}
	json_object_put(msg);
}

/* Feeds one piece from a buffer of exactly its size. Returns false at an error. */
static bool feed(struct qmp_parser *p, const uint8_t *piece, size_t len, bool tolerant,
		 struct outcome *o)
{
	char *buf = malloc(len);
	size_t at = 0, steps = 0;
	bool ok = true;

	if (!buf)
		return false;
	memcpy(buf, piece, len);
	while (at < len && ok) {
		struct json_object *msg;
		size_t used;
		int r;

		r = qmp_parser_feed(p, buf + at, len - at, &used, &msg);
		if (used > len - at || ++steps > 2 * len + 2)
			abort();
		at += used;
		if (r < 0 && tolerant) {
			qmp_parser_skip_line(p);
		} else if (r < 0) {
			o->error = 1;
			ok = false;
		} else if (msg) {
			digest(msg, o);
		} else if (at != len) {
			abort();
		}
	}
	free(buf);
	return ok;
}

static struct outcome run(const uint8_t *data, size_t size, uint32_t seed, bool tolerant)
{
	struct outcome o = {.hash = 1469598103934665603u};
	struct qmp_parser p;
	size_t at = 0;

	if (qmp_parser_init(&p) < 0)
		abort();
	while (at < size) {
		size_t n = size - at;

		if (seed) {
			seed = seed * 1103515245 + 12345;
			n = 1 + (seed >> 16) % (seed >> 31 ? 4 : SHORT);
			n = n > size - at ? size - at : n;
		}
		if (!feed(&p, data + at, n, tolerant, &o))
			break;
		at += n;
	}
	qmp_parser_deinit(&p);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, cut;

	if (size < 2)
		return 0;
	whole = run(data + 1, size - 1, 0, false);
	cut = run(data + 1, size - 1, data[0] + 1u, false);
	if (whole.hash != cut.hash || whole.messages != cut.messages || whole.error != cut.error)
		abort();
	run(data + 1, size - 1, data[0] + 1u, true);
	return 0;
}
