/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client against a real QEMU without a machine: what the scripted server only claims. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "qmp/qmp.h"

#define QEMU "qemu-system-x86_64"

struct vm {
	char dir[64], path[96];
	pid_t pid;
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

static bool on_path(const char *name)
{
	const char *path = getenv("PATH");
	char file[4096];

	while (path && *path) {
		size_t n = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)n, path, name);
		if (access(file, X_OK) == 0)
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

/* options follow "server=on,wait=off" of the monitor's socket. */
/* There is a moment between bind and listen, in which a client is refused: proc_net(5), __SO_ACCEPTCON. */
static bool listens(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[256];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, path) && strstr(line, " 00010000 ");
	if (f)
		fclose(f);
	return found;
}

static void vm_start(struct vm *vm, const char *options)
{
	char chardev[200], monitor[100];
	int i;

	strcpy(vm->dir, "/tmp/vpatch-qemu-XXXXXX");
	assert_non_null(mkdtemp(vm->dir));
	snprintf(vm->path, sizeof(vm->path), "%s/qmp", vm->dir);
	snprintf(chardev, sizeof(chardev), "socket,id=m,path=%s,server=on,wait=off", vm->path);
	snprintf(monitor, sizeof(monitor), "chardev=m,mode=%s", options);
	vm->pid = fork();
	if (vm->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp(QEMU, QEMU, "-M", "none", "-nodefaults", "-display", "none", "-chardev",
		       chardev, "-mon", monitor, (char *)NULL);
		_exit(127);
	}
	for (i = 0; i < 500 && !listens(vm->path); i++)
		nap(20);
}

static void vm_stop(struct vm *vm)
{
	if (vm->pid > 0) {
		kill(vm->pid, SIGKILL);
		waitpid(vm->pid, NULL, 0);
	}
	unlink(vm->path);
	rmdir(vm->dir);
}

static struct qmp *opened(const struct vm *vm)
{
	struct qmp_error err;
	struct qmp *q = NULL;

	if (qmp_open(vm->path, in_ms(10000), &err, &q) < 0)
		fail_msg("open: %s", err.desc);
	return q;
}

static void works(struct qmp *q)
{
	struct json_object *reply = NULL;
	struct qmp_error err;

	if (qmp_call(q, "query-status", NULL, -1, in_ms(10000), &err, &reply) < 0)
		fail_msg("query-status: %s", err.desc);
	assert_non_null(qmp_get_str(reply, "status"));
	json_object_put(reply);
}

static void test_qemu_greets_and_names_itself(void **state)
{
	struct vm *vm = *state;
	struct qmp *q = opened(vm);
	struct json_object *schema = NULL;
	struct qmp_error err;
	pid_t pid = 0;
	char *text = NULL;

	assert_true(qmp_version(q) >= 2012000);
	assert_int_equal(qmp_peer_pid(q, &err, &pid), QMP_OK);
	assert_int_equal(pid, vm->pid);
	assert_int_equal(qmp_hmp(q, "info mtree -f", in_ms(10000), &err, &text), QMP_OK);
	assert_non_null(strstr(text, "FlatView #0\n"));
	assert_null(strchr(text, '\r'));
	free(text);
	/* The longest answer there is. */
	assert_int_equal(qmp_call(q, "query-qmp-schema", NULL, -1, in_ms(20000), &err, &schema),
			 QMP_OK);
	assert_true(json_object_array_length(schema) > 500);
	json_object_put(schema);
	assert_int_equal(qmp_call(q, "no-such", NULL, -1, in_ms(10000), &err, NULL), QMP_E_COMMAND);
	assert_string_equal(err.class, "CommandNotFound");
	works(q);
	qmp_close(q);
}

static void test_qemu_second_client_is_busy(void **state)
{
	struct vm *vm = *state;
	struct qmp *q = opened(vm), *second = NULL;
	struct qmp_error err;

	assert_int_equal(qmp_open(vm->path, in_ms(300), &err, &second), QMP_E_BUSY);
	works(q);
	qmp_close(q);
	q = opened(vm); /* and its turn comes once the first has gone */
	works(q);
	qmp_close(q);
}

static void test_qemu_takes_a_descriptor(void **state)
{
	struct vm *vm = *state;
	struct qmp *q = opened(vm);
	struct json_object *args = json_object_new_object();
	struct qmp_error err;
	int pair[2];
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	json_object_object_add(args, "fdname", json_object_new_string("mine"));
	assert_int_equal(qmp_call(q, "getfd", args, pair[1], in_ms(10000), &err, NULL), QMP_OK);
	close(pair[1]);
	assert_int_equal(recv(pair[0], &c, 1, MSG_DONTWAIT), -1); /* QEMU holds the other end */
	args = json_object_new_object();
	json_object_object_add(args, "fdname", json_object_new_string("mine"));
	assert_int_equal(qmp_call(q, "closefd", args, -1, in_ms(10000), &err, NULL), QMP_OK);
	assert_int_equal(recv(pair[0], &c, 1, 0), 0);
	close(pair[0]);
	args = json_object_new_object();
	json_object_object_add(args, "fdname", json_object_new_string("none"));
	assert_int_equal(qmp_call(q, "getfd", args, -1, in_ms(10000), &err, NULL), QMP_E_COMMAND);
	qmp_close(q);
}

static void test_qemu_executes_out_of_band(void **state)
{
	struct vm *vm = *state;
	struct qmp *q = opened(vm);
	struct qmp_error err;

	assert_true(qmp_has_oob(q));
	assert_int_equal(qmp_call_oob(q, "migrate-pause", NULL, -1, in_ms(10000), &err, NULL),
			 QMP_E_COMMAND); /* no migration, but it was asked out of band */
	assert_null(strstr(err.desc, "support OOB"));
	assert_int_equal(qmp_call_oob(q, "query-status", NULL, -1, in_ms(10000), &err, NULL),
			 QMP_E_COMMAND);
	assert_non_null(strstr(err.desc, "support OOB"));
	works(q);
	qmp_close(q);
}

static void test_qemu_delivers_events(void **state)
{
	struct vm *vm = *state;
	struct qmp *q = opened(vm);
	struct json_object *e = NULL;
	struct qmp_error err;
	uint64_t seconds = 0;

	assert_int_equal(qmp_call(q, "stop", NULL, -1, in_ms(10000), &err, NULL), QMP_OK);
	assert_int_equal(qmp_next_event(q, in_ms(10000), &err, &e), QMP_OK);
	assert_string_equal(qmp_get_str(e, "event"), "STOP");
	assert_int_equal(qmp_get_u64(json_object_object_get(e, "timestamp"), "seconds", &seconds),
			 QMP_OK);
	json_object_put(e);
	assert_int_equal(qmp_call(q, "cont", NULL, -1, in_ms(10000), &err, NULL), QMP_OK);
	qmp_close(q);
}

/* Every place where the other process may have stopped sending. */
static void test_qemu_resync_after_each_half_command(void **state)
{
	static const char command[] = "{\"execute\":\"human-monitor-command\",\"arguments\":{"
				      "\"command-line\":\"info \\u0076ersion\",\"cpu-index\":0,"
				      "\"x\":[[true,null,-1.5]]},\"id\":\"dead\"}";
	struct vm *vm = *state;
	struct qmp *q = opened(vm);
	struct qmp_error err;
	size_t n;

	for (n = 0; n < sizeof(command); n++) {
		assert_int_equal(send(qmp_fd(q), command, n, 0), (ssize_t)n);
		if (qmp_resync(q, in_ms(10000), &err) < 0)
			fail_msg("after %zu bytes: %s", n, err.desc);
		works(q);
	}
	qmp_close(q);
}

static void test_qemu_resync_after_a_child_is_killed_mid_call(void **state)
{
	struct vm *vm = *state;
	struct qmp *q = opened(vm);
	struct qmp_error err;
	unsigned i;

	for (i = 0; i < 25; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (;;)
				(void)!qmp_call(q, "query-qmp-schema", NULL, -1, in_ms(10000), &err,
						NULL);
		}
		nap(3 + 4 * i);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (qmp_resync(q, in_ms(10000), &err) < 0)
			fail_msg("round %u: %s", i, err.desc);
		works(q);
	}
	qmp_close(q);
}

static void test_qemu_that_is_killed_closes(void **state)
{
	struct vm *vm = *state;
	struct qmp *q = opened(vm), *again = NULL;
	struct qmp_error err;

	kill(vm->pid, SIGKILL);
	waitpid(vm->pid, NULL, 0);
	vm->pid = -1;
	assert_int_equal(qmp_call(q, "query-status", NULL, -1, in_ms(10000), &err, NULL),
			 QMP_E_CLOSED);
	assert_int_equal(qmp_resync(q, in_ms(10000), &err), QMP_E_CLOSED);
	qmp_close(q);
	assert_int_equal(qmp_open(vm->path, in_ms(1000), &err, &again), QMP_E_ABSENT);
}

static void test_qemu_pretty_answers_are_read_too(void **state)
{
	struct vm vm;
	struct qmp_error err;
	struct qmp *q;

	(void)state;
	vm_start(&vm, "control,pretty=on");
	q = opened(&vm);
	works(q);
	assert_int_equal(send(qmp_fd(q), "{\"execute\":\"query-version\"}{\"exe", 33, 0), 33);
	assert_int_equal(qmp_resync(q, in_ms(10000), &err), QMP_OK);
	works(q);
	qmp_close(q);
	vm_stop(&vm);
}

static void test_qemu_human_monitor_is_not_qmp(void **state)
{
	struct qmp_error err;
	struct qmp *q = NULL;
	struct vm vm;

	(void)state;
	vm_start(&vm, "readline");
	assert_int_equal(qmp_open(vm.path, in_ms(10000), &err, &q), QMP_E_NOT_QMP);
	vm_stop(&vm);
}

static struct vm shared;

static int setup(void **state)
{
	vm_start(&shared, "control");
	*state = &shared;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_stop(&shared);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qemu_greets_and_names_itself),
		cmocka_unit_test(test_qemu_second_client_is_busy),
		cmocka_unit_test(test_qemu_takes_a_descriptor),
		cmocka_unit_test(test_qemu_executes_out_of_band),
		cmocka_unit_test(test_qemu_delivers_events),
		cmocka_unit_test(test_qemu_resync_after_each_half_command),
		cmocka_unit_test(test_qemu_resync_after_a_child_is_killed_mid_call),
		cmocka_unit_test(test_qemu_pretty_answers_are_read_too),
		cmocka_unit_test(test_qemu_human_monitor_is_not_qmp),
		cmocka_unit_test(test_qemu_that_is_killed_closes),
	};

	if (!on_path(QEMU)) {
		fprintf(stderr, "missing: " QEMU "\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
