/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qmp/parse.h"
#include "qmp/priv.h"

/* Feeds text in pieces of n bytes; the last result, and how many messages came before it. */
static int feed_all(struct qmp_parser *p, const char *text, size_t len, size_t n, bool tolerant,
		    unsigned *messages)
{
	*messages = 0;
	while (len) {
		size_t want = n < len ? n : len;
		struct json_object *msg;
		size_t used;
		int r = qmp_parser_feed(p, text, want, &used, &msg);

		assert_true(used <= want);
		text += used;
		len -= used;
		if (msg)
			++*messages;
		json_object_put(msg);
		if (r < 0 && !tolerant)
			return r;
		if (r < 0)
			qmp_parser_skip_line(p);
	}
	return QMP_OK;
}

static int parse_text(const char *text, size_t n, unsigned *messages)
{
	struct qmp_parser p;
	int r;

	assert_int_equal(qmp_parser_init(&p), QMP_OK);
	r = feed_all(&p, text, strlen(text), n, false, messages);
	qmp_parser_deinit(&p);
	return r;
}

static struct json_object *one(const char *text)
{
	struct json_object *msg = NULL;
	struct qmp_parser p;
	size_t used;

	assert_int_equal(qmp_parser_init(&p), QMP_OK);
	assert_int_equal(qmp_parser_feed(&p, text, strlen(text), &used, &msg), QMP_OK);
	assert_non_null(msg);
	qmp_parser_deinit(&p);
	return msg;
}

static void test_parse_messages_need_no_line_each(void **state)
{
	static const char text[] =
		" {\"return\":{}}{\"a\":[1,\"}{\\\"\"]}\r\n\r\n{\r\n  \"event\" :\r\n"
		"  \"X\", \"data\": {\"y\": -1.5e3, \"z\": [0, -0.0, 10, 1E+2]}\r\n}\r\n";
	unsigned n;
	size_t cut;

	(void)state;
	for (cut = 1; cut <= sizeof(text); cut++) {
		assert_int_equal(parse_text(text, cut, &n), QMP_OK);
		assert_int_equal(n, 3);
	}
}

static void test_parse_refuses_what_is_not_json(void **state)
{
	static const char *const bad[] = {
		"QEMU 7.2 monitor\r\n",
		"[1]",
		"\"x\"",
		"17",
		"{]",
		"{\"a\":[}",
		"{'a':1}",
		"{\"a\":nul}",
		"{\"a\":1,}",
		"{\"a\" 1}",
		"{\"a\":/* */1}",
		"{\"a\":\"\n\"}",
		"{\"a\":\"\x01\"}",
		"{\x02}",
		"}",
		"{\"a\":NaN}",
		"{\"a\":12-34}",
		"{\"a\":1.2.3}",
		"{\"a\":1e5e5}",
		"{\"a\":1e-+5}",
		"{\"a\":01}",
		"{\"a\":1.}",
		"{\"a\":-}",
		"{\"a\":+1}",
		"{\"a\":1e}",
		"{\"a\":.5}",
		"{\"a\":\"\\q\"}",
		"\xff",
		"{\"a\":Infinity}",
		"{\"a\":tru\n{\"b\":1}",
	};
	unsigned n;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse_text(bad[i], 1, &n), QMP_E_PROTO);
		assert_int_equal(parse_text(bad[i], 4096, &n), QMP_E_PROTO);
	}
}

static void test_parse_depth_is_bounded(void **state)
{
	char text[4 * QMP_DEPTH_MAX];
	unsigned n, depth;

	(void)state;
	for (depth = QMP_DEPTH_MAX; depth <= QMP_DEPTH_MAX + 1; depth++) {
		int at = sprintf(text, "{\"a\":");
		unsigned i;

		for (i = 1; i < depth; i++)
			text[at++] = '[';
		text[at++] = '1';
		for (i = 1; i < depth; i++)
			text[at++] = ']';
		strcpy(text + at, "}");
		assert_int_equal(parse_text(text, 7, &n),
				 depth > QMP_DEPTH_MAX ? QMP_E_PROTO : QMP_OK);
	}
}

/* Repeats unit until the parser refuses; the bytes it took. */
static size_t bytes_until_refused(const char *head, const char *unit, int *result)
{
	char piece[4096];
	size_t total = 0, n = 0, used;
	struct json_object *msg;
	struct qmp_parser p;

	while (n + strlen(unit) <= sizeof(piece)) {
		memcpy(piece + n, unit, strlen(unit));
		n += strlen(unit);
	}
	assert_int_equal(qmp_parser_init(&p), QMP_OK);
	*result = qmp_parser_feed(&p, head, strlen(head), &used, &msg);
	while (*result == QMP_OK && total < 2 * (size_t)QMP_MSG_MAX) {
		*result = qmp_parser_feed(&p, piece, n, &used, &msg);
		total += used;
	}
	qmp_parser_deinit(&p);
	return total;
}

static void test_parse_size_and_memory_are_bounded(void **state)
{
	int r;

	(void)state;
	assert_true(bytes_until_refused("{\"a\":\"", "x", &r) <= QMP_MSG_MAX + 4096);
	assert_int_equal(r, QMP_E_TOOBIG);
	assert_true(bytes_until_refused("{\"a\":[", "{},", &r) < 1u << 20);
	assert_int_equal(r, QMP_E_TOOBIG);
	assert_true(bytes_until_refused("{\"a\":[", "[],", &r) < 1u << 20);
	assert_int_equal(r, QMP_E_TOOBIG);
	assert_true(bytes_until_refused("{\"a\":[", "1,", &r) < 1u << 20);
	assert_int_equal(r, QMP_E_TOOBIG);
}

/* The weights in parse.c must not be below what json-c really takes. */
static void test_parse_weight_covers_memory(void **state)
{
#if defined(__SANITIZE_ADDRESS__)
	(void)state;
	print_message("the sanitizer's allocator does not tell how much is in use: skipped\n");
	skip();
#else
	static const char *const unit[] = {"{}",        "[]",   "1",         "\"\"",
					   "{\"a\":1}", "[[]]", "{\"a\":{}}"};
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(unit) / sizeof(unit[0]); i++) {
		char *text = malloc(64 + 20000 * (strlen(unit[i]) + 10));
		int keyed;

		for (keyed = 0; keyed < 2; keyed++) {
			struct json_object *msg = NULL;
			struct qmp_parser p;
			size_t used, before, at;

			at = (size_t)sprintf(text, keyed ? "{\"a\":{" : "{\"a\":[");
			for (k = 0; k < 20000; k++)
				at += (size_t)(keyed ? sprintf(text + at, "%s\"k%zu\":%s",
							       k ? "," : "", k, unit[i])
						     : sprintf(text + at, "%s%s", k ? "," : "",
							       unit[i]));
			strcpy(text + at, keyed ? "}}" : "]}");
			assert_int_equal(qmp_parser_init(&p), QMP_OK);
			before = mallinfo2().uordblks + mallinfo2().hblkhd;
			assert_int_equal(qmp_parser_feed(&p, text, strlen(text), &used, &msg),
					 QMP_OK);
			assert_non_null(msg);
			assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before <= p.weight);
			json_object_put(msg);
			qmp_parser_deinit(&p);
		}
		free(text);
	}
#endif
}

static void test_parse_comes_back_into_step_at_a_line(void **state)
{
	/* What may be left of a reply whose beginning another process took. */
	static const char reply[] =
		"{\"return\": {\"text\": \"a {\\\"b\\\": [\\\\ {\", \"l\": [{\"c\": 1}, {\"d\": "
		"[2]}, null]}, \"id\": \"other\"}\r\n";
	static const char good[] = "{\"return\": {}, \"id\": \"mine\"}\r\n";
	char text[sizeof(reply) + sizeof(good)];
	size_t from, cut;

	(void)state;
	for (from = 0; from < sizeof(reply); from++) {
		for (cut = 1; cut < 40; cut += 3) {
			struct json_object *msg, *last = NULL;
			struct qmp_parser p;
			size_t at = 0, used, len;

			len = (size_t)sprintf(text, "%s%s", reply + from, good);
			assert_int_equal(qmp_parser_init(&p), QMP_OK);
			while (at < len) {
				size_t n = cut < len - at ? cut : len - at;

				if (qmp_parser_feed(&p, text + at, n, &used, &msg) < 0)
					qmp_parser_skip_line(&p);
				at += used;
				if (msg) {
					json_object_put(last);
					last = msg;
				}
			}
			assert_non_null(last);
			assert_string_equal(qmp_msg_id(last), "mine");
			json_object_put(last);
			qmp_parser_deinit(&p);
		}
	}
}

static void test_numbers_reach_uint64(void **state)
{
	struct json_object *msg =
		one("{\"max\":18446744073709551615,\"half\":9223372036854775808,\"zero\":0,"
		    "\"neg\":-1,\"real\":1.0,\"text\":\"1\",\"over\":18446744073709551616}");
	uint64_t v = 7;

	(void)state;
	assert_int_equal(qmp_get_u64(msg, "max", &v), QMP_OK);
	assert_true(v == UINT64_MAX);
	assert_int_equal(qmp_get_u64(msg, "half", &v), QMP_OK);
	assert_true(v == 1ull << 63);
	assert_int_equal(qmp_get_u64(msg, "zero", &v), QMP_OK);
	assert_true(v == 0);
	assert_int_equal(qmp_get_u64(msg, "neg", &v), QMP_E_PROTO);
	assert_int_equal(qmp_get_u64(msg, "real", &v), QMP_E_PROTO);
	assert_int_equal(qmp_get_u64(msg, "text", &v), QMP_E_PROTO);
	assert_int_equal(qmp_get_u64(msg, "none", &v), QMP_E_PROTO);
	assert_int_equal(qmp_get_u64(NULL, "none", &v), QMP_E_PROTO);
	assert_int_equal(qmp_get_u64(msg, "over", &v), QMP_OK);
	assert_true(v == UINT64_MAX);
	json_object_put(msg);
}

static void test_error_words_are_bounded_and_printable(void **state)
{
	struct qmp_error e;
	char text[4096], long_name[2000];
	struct json_object *msg;

	(void)state;
	memset(long_name, 'C', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	snprintf(text, sizeof(text),
		 "{\"error\":{\"class\":\"%s\",\"desc\":\"a\\r\\n\\u001b[2Jb\"}}", long_name);
	msg = one(text);
	assert_int_equal(qmp_msg_kind(msg), QMP_MSG_ERROR);
	qmp_msg_error(msg, &e);
	assert_int_equal(strlen(e.class), sizeof(e.class) - 1);
	assert_string_equal(e.desc, "a   [2Jb");
	json_object_put(msg);
	msg = one("{\"error\":{\"class\":1}}");
	qmp_msg_error(msg, &e);
	assert_string_equal(e.class, "GenericError");
	assert_string_equal(e.desc, "no description");
	json_object_put(msg);
}

static void test_greeting_is_read_with_suspicion(void **state)
{
	static const char *const bad[] = {"{\"QMP\":{}}", "{\"QMP\":{\"capabilities\":{}}}",
					  "{\"QMP\":1}", "{}"};
	struct qmp_greeting g;
	struct json_object *msg;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		msg = one(bad[i]);
		assert_int_equal(qmp_msg_greeting(msg, &g), QMP_E_PROTO);
		json_object_put(msg);
	}
	msg = one(
		"{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"minor\":99999999999,\"micro\":-1}},"
		"\"capabilities\":[null,\"new\",\"oob\"]}}");
	assert_int_equal(qmp_msg_greeting(msg, &g), QMP_OK);
	assert_int_equal(g.version, 7999000);
	assert_true(g.oob);
	json_object_put(msg);
}

static void test_queue_gives_up_the_oldest(void **state)
{
	struct qmp_queue *u = calloc(1, sizeof(*u));
	struct json_object *e;
	unsigned i;

	(void)state;
	for (i = 0; i < QMP_EVENTS_MAX + 3; i++)
		qmp_queue_push(u, json_object_new_int((int)i), 1);
	assert_int_equal(u->lost, 3);
	e = qmp_queue_pop(u);
	assert_int_equal(json_object_get_int(e), 3);
	json_object_put(e);
	qmp_queue_push(u, json_object_new_int(-1), QMP_QUEUE_WEIGHT_MAX);
	assert_int_equal(u->count, 1);
	qmp_queue_push(u, json_object_new_int(-2), QMP_QUEUE_WEIGHT_MAX + 1);
	assert_int_equal(u->count, 1);
	assert_int_equal(u->lost, 3 + QMP_EVENTS_MAX - 1 + 1);
	qmp_queue_clear(u);
	assert_null(qmp_queue_pop(u));
	free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_messages_need_no_line_each),
		cmocka_unit_test(test_parse_refuses_what_is_not_json),
		cmocka_unit_test(test_parse_depth_is_bounded),
		cmocka_unit_test(test_parse_size_and_memory_are_bounded),
		cmocka_unit_test(test_parse_weight_covers_memory),
		cmocka_unit_test(test_parse_comes_back_into_step_at_a_line),
		cmocka_unit_test(test_numbers_reach_uint64),
		cmocka_unit_test(test_error_words_are_bounded_and_printable),
		cmocka_unit_test(test_greeting_is_read_with_suspicion),
		cmocka_unit_test(test_queue_gives_up_the_oldest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
