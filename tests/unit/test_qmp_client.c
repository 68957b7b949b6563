/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client against a scripted server at the other end of a socketpair. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "qmp/parse.h"
#include "qmp/qmp.h"

#define GREETING(caps)                                                                     \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, " \
	"\"package\": \"\"}, \"capabilities\": [" caps "]}}\r\n"
#define EMPTY_RETURN "{\"return\": {}, \"id\": \"$\"}\r\n"

struct server {
	int fd;
	int client; /* the other end, which the client owns once it is open */
	pthread_t thread;
	void (*script)(struct server *s);
	size_t arg;
	char line[65536]; /* the last command */
	char id[64];
};

static uint64_t in_ms(unsigned ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec + ms * 1000000ull;
}

static void nap(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

static void say_raw(struct server *s, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(s->fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

/* Says text, a '$' standing for the id of the last command. */
static void say(struct server *s, const char *text)
{
	for (; *text; text++)
		say_raw(s, *text == '$' ? s->id : text, *text == '$' ? strlen(s->id) : 1);
}

/* Reads one command. False at the end. */
static bool hear(struct server *s)
{
	const char *at;
	size_t n = 0;

	for (;;) {
		if (n == sizeof(s->line) - 1)
			n = 0; /* only the tail is of interest */
		if (recv(s->fd, s->line + n, 1, 0) != 1)
			return false;
		if (s->line[n] == '\n')
			break;
		n++;
	}
	s->line[n] = '\0';
	at = strstr(s->line, "\"id\":\"");
	if (at)
		sscanf(at, "\"id\":\"%63[^\"]", s->id);
	return true;
}

static void greet(struct server *s)
{
	say(s, GREETING("\"oob\""));
	if (hear(s))
		say(s, EMPTY_RETURN);
}

static void *serve(void *arg)
{
	struct server *s = arg;

	s->script(s);
	shutdown(s->fd, SHUT_RDWR);
	return NULL;
}

static struct server *start(void (*script)(struct server *s), size_t arg)
{
	struct server *s = calloc(1, sizeof(*s));
	int pair[2];

	assert_non_null(s);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->fd = pair[0];
	s->client = pair[1];
	s->script = script;
	s->arg = arg;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	return s;
}

static void finish(struct server *s, struct qmp *q)
{
	if (q)
		qmp_close(q);
	else
		close(s->client);
	pthread_join(s->thread, NULL);
	close(s->fd);
	free(s);
}

static struct qmp *opened(struct server *s)
{
	struct qmp_error err;
	struct qmp *q = NULL;

	if (qmp_from_fd(s->client, in_ms(5000), &err, &q) < 0)
		fail_msg("open: %s", err.desc);
	return q;
}

/* Opens, expects that to fail, and ends the server. */
static void open_fails(void (*script)(struct server *s), size_t arg, unsigned ms, int code)
{
	struct server *s = start(script, arg);
	struct qmp_error err = {0};
	struct qmp *q = NULL;

	assert_int_equal(qmp_from_fd(s->client, in_ms(ms), &err, &q), code);
	assert_int_equal(err.code, code);
	assert_true(err.desc[0]);
	assert_null(q);
	finish(s, NULL);
}

static int ask(struct qmp *q, unsigned ms, struct qmp_error *err)
{
	return qmp_call(q, "query-status", NULL, -1, in_ms(ms), err, NULL);
}

/* --- opening ------------------------------------------------------------------------------ */

static void script_oob(struct server *s)
{
	greet(s);
	if (!strstr(s->line, "\"enable\":[\"oob\"]"))
		return;
	hear(s);
	say(s, strstr(s->line, "\"exec-oob\":\"migrate-pause\"") ? EMPTY_RETURN : "wrong");
}

static void test_open_negotiates_oob_where_offered(void **state)
{
	struct server *s = start(script_oob, 0);
	struct qmp *q = opened(s);
	struct qmp_error err;
	pid_t pid = 0;

	(void)state;
	assert_true(qmp_has_oob(q));
	assert_int_equal(qmp_version(q), 7002022);
	assert_int_equal(qmp_peer_pid(q, &err, &pid), QMP_OK);
	assert_int_equal(pid, getpid());
	assert_int_equal(qmp_call_oob(q, "migrate-pause", NULL, -1, in_ms(5000), &err, NULL),
			 QMP_OK);
	finish(s, q);
}

static void script_no_oob(struct server *s)
{
	say(s, GREETING(""));
	hear(s);
	say(s, strstr(s->line, "oob") ? "wrong" : EMPTY_RETURN);
	hear(s);
}

static void test_open_does_without_oob(void **state)
{
	struct server *s = start(script_no_oob, 0);
	struct qmp *q = opened(s);
	struct qmp_error err;

	(void)state;
	assert_false(qmp_has_oob(q));
	assert_int_equal(
		qmp_call_oob(q, "x", json_object_new_object(), -1, in_ms(1000), &err, NULL),
		QMP_E_UNSUPPORTED);
	finish(s, q);
}

static void script_late(struct server *s)
{
	nap(100);
	greet(s);
}

static void test_open_waits_for_a_late_greeting(void **state)
{
	struct server *s = start(script_late, 0);

	(void)state;
	finish(s, opened(s));
}

static void script_strays(struct server *s)
{
	say(s, "{\"return\": {}, \"id\": \"1.2.3\"}");
	say(s, "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}");
	say(s, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}, \"id\": \"1.2.4\"}");
	greet(s);
}

static void test_open_passes_over_what_is_for_a_dead_client(void **state)
{
	struct server *s = start(script_strays, 0);

	(void)state;
	finish(s, opened(s));
}

static void script_silent(struct server *s)
{
	char c;

	(void)!recv(s->fd, &c, 1, 0);
}

static void test_open_without_greeting_is_busy(void **state)
{
	(void)state;
	open_fails(script_silent, 0, 50, QMP_E_BUSY);
	open_fails(script_silent, 0, 0, QMP_E_TIMEOUT); /* nothing was tried */
}

static const char *const not_qmp[] = {
	"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ",
	"SSH-2.0-OpenSSH_9.2\r\n",
	"{\"return\": {}}\r\n",
	"{\"QMP\": {}}\r\n",
	"+$T05#b9",
};

static void script_not_qmp(struct server *s)
{
	say_raw(s, not_qmp[s->arg], strlen(not_qmp[s->arg]));
	script_silent(s);
}

static void test_open_refuses_what_is_not_qmp(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(not_qmp) / sizeof(not_qmp[0]); i++)
		open_fails(script_not_qmp, i, 500, QMP_E_NOT_QMP);
}

static void script_greeting_cut(struct server *s)
{
	static const char text[] = GREETING("\"oob\"");

	say_raw(s, text, s->arg);
}

static void test_open_peer_closes_at_each_byte_of_the_greeting(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(GREETING("\"oob\"")) - 3; i++)
		open_fails(script_greeting_cut, i, 5000, QMP_E_CLOSED);
}

static void script_caps_refused(struct server *s)
{
	say(s, GREETING(""));
	hear(s);
	say(s, "{\"id\": \"$\", \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}\n");
	hear(s);
}

static void test_open_hands_through_a_refusal(void **state)
{
	(void)state;
	open_fails(script_caps_refused, 0, 5000, QMP_E_COMMAND);
}

static int listen_at(const char *path, int backlog)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(to.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static int try_path(const char *path, unsigned ms)
{
	struct qmp_error err = {0};
	struct qmp *q = NULL;
	int r = qmp_open(path, in_ms(ms), &err, &q);

	assert_int_equal(err.code, r);
	qmp_close(q);
	return r;
}

static int try_path_as_nobody(const char *path)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (geteuid() == 0 && setuid(65534) < 0)
			_exit(99);
		_exit(-try_path(path, 100));
	}
	waitpid(pid, &status, 0);
	return -WEXITSTATUS(status);
}

static void test_open_tells_absent_forbidden_and_busy_apart(void **state)
{
	char dir[] = "/tmp/vpatch-qmp-XXXXXX";
	char path[64], deep[400];
	int fd, waiting[2], i;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(try_path(path, 100), QMP_E_ABSENT);
	fd = listen_at(path, -1);
	assert_int_equal(try_path(path, 100), QMP_E_ABSENT);
	listen(fd, 0);
	assert_int_equal(chmod(path, 0), 0);
	assert_int_equal(try_path_as_nobody(path), QMP_E_PERM);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(try_path(path, 100), QMP_E_BUSY); /* waits in the backlog */
	for (i = 0; i < 2; i++) {
		struct sockaddr_un to = {.sun_family = AF_UNIX};

		strcpy(to.sun_path, path);
		waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(waiting[i], (struct sockaddr *)&to, sizeof(to));
	}
	assert_int_equal(try_path(path, 100), QMP_E_BUSY); /* the backlog itself is full */
	close(waiting[0]);
	close(waiting[1]);
	close(fd);
	/* Longer than sun_path, by way of "dir/./././s". */
	i = snprintf(deep, sizeof(deep), "%s", dir);
	while (i < 200)
		i += snprintf(deep + i, sizeof(deep) - (size_t)i, "/.");
	snprintf(deep + i, sizeof(deep) - (size_t)i, "/none");
	assert_int_equal(try_path(deep, 100), QMP_E_ABSENT);
	unlink(path);
	fd = listen_at(path, 1);
	snprintf(deep + i, sizeof(deep) - (size_t)i, "/s");
	assert_int_equal(try_path(deep, 50), QMP_E_BUSY); /* reached */
	close(fd);
	unlink(path);
	rmdir(dir);
}

/* --- calls ----------------------------------------------------------------------------------- */

static void script_interleaved(struct server *s)
{
	greet(s);
	hear(s);
	say(s, "{\"event\": \"A\", \"timestamp\": {}}\r\n{\"return\": 1, \"id\": \"older\"}\r\n"
	       "{\"return\": 2}\r\n{\"error\": {\"class\": \"X\", \"desc\": \"\"}, \"id\": 5}\r\n"
	       "{\"event\": \"B\"}{\"return\": {\"n\": 18446744073709551615}, \"id\": \"$\"}\r\n"
	       "{\"event\": \"C\"}\r\n");
	hear(s);
	say(s, EMPTY_RETURN);
	hear(s);
}

static void next_is(struct qmp *q, const char *name)
{
	struct json_object *e = NULL;
	struct qmp_error err;

	assert_int_equal(qmp_next_event(q, in_ms(2000), &err, &e), QMP_OK);
	assert_string_equal(qmp_get_str(e, "event"), name);
	json_object_put(e);
}

static void test_call_matches_ids_and_keeps_events_in_order(void **state)
{
	struct server *s = start(script_interleaved, 0);
	struct qmp *q = opened(s);
	struct json_object *reply = NULL, *args = json_object_new_object();
	struct qmp_error err;
	uint64_t n = 0;

	(void)state;
	json_object_object_add(args, "x", json_object_new_uint64(UINT64_MAX));
	assert_int_equal(qmp_call(q, "one", args, -1, in_ms(2000), &err, &reply), QMP_OK);
	assert_int_equal(qmp_get_u64(reply, "n", &n), QMP_OK);
	assert_true(n == UINT64_MAX);
	json_object_put(reply);
	assert_int_equal(ask(q, 2000, &err), QMP_OK);
	next_is(q, "A");
	next_is(q, "B");
	next_is(q, "C");
	assert_int_equal(qmp_next_event(q, 0, &err, &reply), QMP_E_TIMEOUT);
	assert_int_equal(qmp_events_lost(q), 0);
	finish(s, q);
}

static void script_errors(struct server *s)
{
	greet(s);
	hear(s);
	say(s, "{\"id\": \"$\", \"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"no x\"}}\n");
	hear(s);
	say(s, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n");
	hear(s);
	say(s, "{\"return\": \"a\\r\\nb\\r\\n\", \"id\": \"$\"}\n");
	hear(s);
	say(s, EMPTY_RETURN);
	hear(s);
	say(s, "{\"return\": null, \"id\": \"$\"}\n");
	hear(s);
	say(s, "{\"wrong\": 1}\n");
	hear(s);
	say(s, EMPTY_RETURN);
}

static void test_call_hands_through_class_and_words(void **state)
{
	struct server *s = start(script_errors, 0);
	struct qmp *q = opened(s);
	struct json_object *reply = NULL;
	struct qmp_error err;
	char *text = NULL;

	(void)state;
	assert_int_equal(ask(q, 2000, &err), QMP_E_COMMAND);
	assert_string_equal(err.class, "DeviceNotFound");
	assert_string_equal(err.desc, "no x");
	assert_int_equal(ask(q, 2000, NULL), QMP_E_COMMAND); /* the one without id */
	assert_int_equal(qmp_hmp(q, "info \"x\"\n", in_ms(2000), &err, &text), QMP_OK);
	assert_string_equal(text, "a\nb\n");
	free(text);
	assert_int_equal(qmp_hmp(q, "x", in_ms(2000), &err, &text), QMP_E_PROTO);
	assert_int_equal(qmp_call(q, "x", NULL, -1, in_ms(2000), &err, &reply), QMP_OK);
	assert_null(reply);
	assert_int_equal(ask(q, 2000, &err), QMP_E_PROTO);
	assert_int_equal(ask(q, 2000, &err), QMP_E_BROKEN);
	assert_int_equal(qmp_resync(q, in_ms(2000), &err), QMP_OK);
	finish(s, q);
}

#define CUT_REPLY \
	"{\"event\": \"BYE\"}\r\n{\"return\": {\"a\": [1, true, \"\\u00e9\"]}, \"id\": \"$\"}"

static void script_cut_reply(struct server *s)
{
	char text[200], *at = text;
	const char *from;

	greet(s);
	hear(s);
	for (from = CUT_REPLY; *from; from++)
		at += *from == '$' ? sprintf(at, "%s", s->id) : sprintf(at, "%c", *from);
	say_raw(s, text, s->arg < (size_t)(at - text) ? s->arg : (size_t)(at - text) - 1);
}

static void test_call_peer_dies_at_each_byte_of_a_reply(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 120; i++) {
		struct server *s = start(script_cut_reply, i);
		struct qmp *q = opened(s);
		struct json_object *e;
		struct qmp_error err;

		assert_int_equal(ask(q, 5000, &err), QMP_E_CLOSED);
		assert_int_equal(ask(q, 5000, &err), QMP_E_CLOSED);
		assert_int_equal(qmp_resync(q, in_ms(5000), &err), QMP_E_CLOSED);
		if (i >= sizeof("{\"event\": \"BYE\"}") - 1)
			next_is(q, "BYE");
		assert_int_equal(qmp_next_event(q, in_ms(5000), &err, &e), QMP_E_CLOSED);
		finish(s, q);
	}
}

static void script_goes(struct server *s)
{
	greet(s);
	say(s, "{\"event\": \"SHUTDOWN\"}\r\n");
}

static void test_call_after_death_keeps_the_last_events(void **state)
{
	struct server *s = start(script_goes, 0);
	struct qmp *q = opened(s);
	struct qmp_error err;

	(void)state;
	pthread_join(s->thread, NULL);
	assert_int_equal(ask(q, 1000, &err), QMP_E_CLOSED);
	next_is(q, "SHUTDOWN");
	qmp_close(q);
	close(s->fd);
	free(s);
}

static void script_giant(struct server *s)
{
	char piece[4096];
	size_t i;

	greet(s);
	hear(s);
	memset(piece, s->arg ? '[' : 'x', sizeof(piece));
	say(s, s->arg ? "{\"return\": " : "{\"return\": \"");
	for (i = 0; i < (s->arg ? 1 : QMP_MSG_MAX / sizeof(piece) + 1); i++)
		say_raw(s, piece, sizeof(piece));
	say(s, "\", \"id\": \"$\"}\r\n");
	hear(s);
	say(s, EMPTY_RETURN);
	hear(s);
	say(s, EMPTY_RETURN);
}

static void test_call_refuses_giants_and_can_be_mended(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct server *s = start(script_giant, i);
		struct qmp *q = opened(s);
		struct qmp_error err;

		assert_int_equal(ask(q, 10000, &err), i ? QMP_E_PROTO : QMP_E_TOOBIG);
		assert_int_equal(ask(q, 10000, &err), QMP_E_BROKEN);
		assert_int_equal(qmp_resync(q, in_ms(10000), &err), QMP_OK);
		assert_int_equal(ask(q, 10000, &err), QMP_OK);
		finish(s, q);
	}
}

static void script_slow(struct server *s)
{
	greet(s);
	hear(s);
	nap(120);
	say(s, "{\"return\": 1, \"id\": \"$\"}\r\n");
	hear(s);
	say(s, "{\"return\": 2, \"id\": \"$\"}\r\n");
	hear(s);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* A timer interrupts every wait: EINTR must neither shorten nor lengthen one. */
static void test_call_deadline_holds_and_late_replies_are_dropped(void **state)
{
	struct sigaction act = {.sa_handler = on_alarm}, old;
	struct itimerval tick = {{0, 3000}, {0, 3000}}, none = {{0, 0}, {0, 0}};
	struct server *s = start(script_slow, 0);
	struct qmp *q = opened(s);
	struct json_object *reply = NULL;
	struct qmp_error err;
	uint64_t before;

	(void)state;
	sigaction(SIGALRM, &act, &old);
	setitimer(ITIMER_REAL, &tick, NULL);
	before = in_ms(0);
	assert_int_equal(ask(q, 50, &err), QMP_E_TIMEOUT);
	assert_true(in_ms(0) - before >= 50 * 1000000ull);
	assert_true(in_ms(0) - before < 110 * 1000000ull);
	assert_int_equal(ask(q, 0, &err), QMP_E_TIMEOUT); /* not even sent */
	assert_int_equal(qmp_call(q, "x", NULL, -1, in_ms(2000), &err, &reply), QMP_OK);
	setitimer(ITIMER_REAL, &none, NULL);
	sigaction(SIGALRM, &old, NULL);
	assert_int_equal(json_object_get_int(reply), 2);
	json_object_put(reply);
	finish(s, q);
}

static void script_flood(struct server *s)
{
	char text[64];
	int i;

	greet(s);
	hear(s);
	for (i = 0; i < QMP_EVENTS_MAX + 10; i++) {
		snprintf(text, sizeof(text), "{\"event\": \"E%d\"}\r\n", i);
		say(s, text);
	}
	say(s, EMPTY_RETURN);
	hear(s);
}

static void test_events_beyond_the_bound_give_up_the_oldest(void **state)
{
	struct server *s = start(script_flood, 0);
	struct qmp *q = opened(s);
	struct qmp_error err;

	(void)state;
	assert_int_equal(ask(q, 5000, &err), QMP_OK);
	assert_int_equal(qmp_events_lost(q), 10);
	next_is(q, "E10");
	finish(s, q);
}

static void script_endless(struct server *s)
{
	greet(s);
	while (send(s->fd, " \n  ", 4, MSG_NOSIGNAL) == 4)
		;
}

static void test_call_peer_that_never_ends_meets_the_deadline(void **state)
{
	struct server *s = start(script_endless, 1);
	struct qmp *q = opened(s);
	struct json_object *e;
	struct qmp_error err;

	(void)state;
	assert_int_equal(ask(q, 50, &err), QMP_E_TIMEOUT);
	assert_int_equal(qmp_next_event(q, in_ms(20), &err, &e), QMP_E_TIMEOUT);
	finish(s, q);
}

static void script_deaf(struct server *s)
{
	greet(s);
	nap(150);
	while (hear(s)) {
		if (strchr(s->line, '\xff'))
			say(s, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"\"}}\r\n");
		say(s, EMPTY_RETURN);
	}
}

static void test_call_cut_off_half_sent_needs_a_resync(void **state)
{
	struct server *s = start(script_deaf, 0);
	struct qmp *q = opened(s);
	struct json_object *args = json_object_new_object();
	struct qmp_error err;
	char *big = malloc(QMP_CALL_MAX + 1);

	(void)state;
	memset(big, 'x', QMP_CALL_MAX);
	big[QMP_CALL_MAX] = '\0';
	json_object_object_add(args, "big", json_object_new_string(big));
	assert_int_equal(qmp_call(q, "x", args, -1, in_ms(50), &err, NULL), QMP_E_TOOBIG);
	args = json_object_new_object();
	big[QMP_CALL_MAX - 1000] = '\0';
	json_object_object_add(args, "big", json_object_new_string(big));
	assert_int_equal(qmp_call(q, "x", args, -1, in_ms(50), &err, NULL), QMP_E_TIMEOUT);
	assert_int_equal(ask(q, 50, &err), QMP_E_BROKEN);
	assert_int_equal(qmp_resync(q, in_ms(5000), &err), QMP_OK);
	assert_int_equal(ask(q, 5000, &err), QMP_OK);
	free(big);
	finish(s, q);
}

/* --- one command, one message ------------------------------------------------------------------- */

/* A packet socket shows where each sendmsg ends. Expects an fd with the second command. */
static void *serve_packets(void *arg)
{
	static const char hello[] = GREETING("");
	int sock = *(int *)arg, i;

	(void)!send(sock, hello, sizeof(hello) - 1, MSG_NOSIGNAL);
	for (i = 0; i < 2; i++) {
		char line[70000], answer[200], id[64] = "", control[CMSG_SPACE(sizeof(int))];
		struct iovec iov = {line, sizeof(line) - 1};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		const char *verdict = "whole";
		int fd;

		if (n <= 0)
			break;
		line[n] = '\0';
		if (line[n - 1] != '\n' || strchr(line, '\n') != line + n - 1)
			verdict = "cut";
		if (!!c != (i == 1))
			verdict = "fd";
		if (c) {
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
			if (write(fd, "hi", 2) != 2)
				verdict = "bad fd";
			close(fd);
		}
		sscanf(strstr(line, "\"id\":\"") + 6, "%63[^\"]", id);
		n = snprintf(answer, sizeof(answer), "{\"return\": \"%s\", \"id\": \"%s\"}\r\n",
			     verdict, id);
		(void)!send(sock, answer, (size_t)n, MSG_NOSIGNAL);
	}
	return NULL;
}

static void test_call_is_one_sendmsg_and_carries_a_descriptor(void **state)
{
	struct json_object *args = json_object_new_object(), *reply = NULL;
	int pair[2], pipes[2];
	struct qmp_error err;
	struct qmp *q = NULL;
	pthread_t thread;
	char *big = malloc(60001), got[2];

	(void)state;
	memset(big, 'y', 60000);
	big[60000] = '\0';
	json_object_object_add(args, "fdname", json_object_new_string(big));
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pthread_create(&thread, NULL, serve_packets, &pair[0]);
	assert_int_equal(qmp_from_fd(pair[1], in_ms(5000), &err, &q), QMP_OK);
	assert_int_equal(qmp_call(q, "getfd", args, pipes[1], in_ms(5000), &err, &reply), QMP_OK);
	assert_string_equal(json_object_get_string(reply), "whole");
	json_object_put(reply);
	assert_int_equal(read(pipes[0], got, 2), 2);
	pthread_join(thread, NULL);
	qmp_close(q);
	close(pair[0]);
	close(pipes[0]);
	close(pipes[1]);
	free(big);
}

/* --- after the other process died ---------------------------------------------------------------- */

#define STOLEN                                                                              \
	"{\"return\": {\"t\": \"a {\\\"b\\\\ [\", \"l\": [{\"c\": 1}]}, \"id\": \"$\"}\r\n" \
	"{\"event\": \"KEPT\"}\r\n"

static void script_stolen(struct server *s)
{
	char text[300], *at = text;
	const char *from;

	greet(s);
	hear(s);
	for (from = STOLEN; *from; from++)
		at += *from == '$' ? sprintf(at, "%s", s->id) : sprintf(at, "%c", *from);
	say_raw(s, text, s->arg < (size_t)(at - text) ? s->arg : (size_t)(at - text));
	hear(s); /* the line with the reset byte comes after the child's death */
	if (s->arg < (size_t)(at - text))
		say_raw(s, text + s->arg, (size_t)(at - text) - s->arg);
	if (s->line[0] == '\xff')
		say(s, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"stray\"}}\r\n");
	say(s, EMPTY_RETURN);
	hear(s);
	say(s, "{\"return\": 42, \"id\": \"$\"}\r\n");
	hear(s);
}

static void test_resync_after_a_child_died_at_each_byte_of_a_reply(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 130; i += 3) {
		struct server *s = start(script_stolen, i);
		struct qmp *q = opened(s);
		struct json_object *reply = NULL;
		struct qmp_error err;
		pid_t pid = fork();

		if (pid == 0) {
			(void)!ask(q, 20, &err);
			(void)!qmp_next_event(q, in_ms(1), &err, &reply);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		assert_int_equal(qmp_resync(q, in_ms(5000), &err), QMP_OK);
		assert_int_equal(qmp_call(q, "x", NULL, -1, in_ms(5000), &err, &reply), QMP_OK);
		assert_int_equal(json_object_get_int(reply), 42);
		json_object_put(reply);
		if (i < 70)
			next_is(q, "KEPT");
		finish(s, q);
	}
}

static void test_resync_without_answer_fails_clean(void **state)
{
	struct server *s = start(script_slow, 0);
	struct qmp *q = opened(s);
	struct qmp_error err;

	(void)state;
	assert_int_equal(qmp_resync(q, in_ms(20), &err), QMP_E_TIMEOUT);
	assert_int_equal(ask(q, 20, &err), QMP_E_BROKEN);
	finish(s, q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_negotiates_oob_where_offered),
		cmocka_unit_test(test_open_does_without_oob),
		cmocka_unit_test(test_open_waits_for_a_late_greeting),
		cmocka_unit_test(test_open_passes_over_what_is_for_a_dead_client),
		cmocka_unit_test(test_open_without_greeting_is_busy),
		cmocka_unit_test(test_open_refuses_what_is_not_qmp),
		cmocka_unit_test(test_open_peer_closes_at_each_byte_of_the_greeting),
		cmocka_unit_test(test_open_hands_through_a_refusal),
		cmocka_unit_test(test_open_tells_absent_forbidden_and_busy_apart),
		cmocka_unit_test(test_call_matches_ids_and_keeps_events_in_order),
		cmocka_unit_test(test_call_hands_through_class_and_words),
		cmocka_unit_test(test_call_peer_dies_at_each_byte_of_a_reply),
		cmocka_unit_test(test_call_after_death_keeps_the_last_events),
		cmocka_unit_test(test_call_refuses_giants_and_can_be_mended),
		cmocka_unit_test(test_call_deadline_holds_and_late_replies_are_dropped),
		cmocka_unit_test(test_events_beyond_the_bound_give_up_the_oldest),
		cmocka_unit_test(test_call_peer_that_never_ends_meets_the_deadline),
		cmocka_unit_test(test_call_cut_off_half_sent_needs_a_resync),
		cmocka_unit_test(test_call_is_one_sendmsg_and_carries_a_descriptor),
		cmocka_unit_test(test_resync_after_a_child_died_at_each_byte_of_a_reply),
		cmocka_unit_test(test_resync_without_answer_fails_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
