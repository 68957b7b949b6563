/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --perf-data and `events` of the built command, as far as they go without a domain. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "tests/lib/sample.h"

static char vpatch[PATH_MAX], top[64], out[1 << 16];

static int run_argv(const char *const *argv)
{
	int fd = open("stdout", O_RDWR | O_CREAT | O_TRUNC, 0600), status;
	pid_t pid = fork();
	ssize_t n;

	assert_true(fd >= 0 && pid >= 0);
	if (pid == 0) {
		if (dup2(fd, 1) < 0 || !freopen("stderr", "w", stderr))
			_exit(99);
		execv(vpatch, (char *const *)(uintptr_t)argv); /* execv changes nothing */
		_exit(98);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	n = pread(fd, out, sizeof(out) - 1, 0);
	out[n < 0 ? 0 : n] = '\0';
	close(fd);
	unlink("stdout");
	unlink("stderr");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}
#define run(...) run_argv((const char *[]){"vpatch", __VA_ARGS__, "--json", NULL})

/* What the last command said under a key. */
static bool said(const char *key, const char *value)
{
	struct json_object *o = json_tokener_parse(out), *v = NULL;
	bool same;

	assert_non_null(o);
	same = json_object_object_get_ex(o, key, &v) &&
	       strcmp(json_object_get_string(v), value) == 0;
	json_object_put(o);
	if (!same)
		print_message("%s is not %s: %s\n", key, value, out);
	return same;
}

static void save(const char *name, const void *buf, size_t len)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(buf, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void save_bundle(void)
{
	static const char meta[] = "name=fix-one\0version=1.2\0fixes=CVE-2024-0001\0"
				   "replace=old_function,0,fixed\0";
	static struct sample s;
	struct diag diag;
	uint8_t *buf;
	size_t len;

	sample_init(&s, arch_get(ARCH_X86_64), meta, sizeof(meta) - 1);
	assert_int_equal(sample_pack(&s, &diag, &buf, &len), VP_OK);
	save("../fix.vpatch", buf, len);
	free(buf);
}

/* The bundle and the configuration lie above the directory that files are to be made in. */
static int setup(void **state)
{
	char conf[512];
	ssize_t n = readlink("/proc/self/exe", vpatch, sizeof(vpatch) - 8);

	(void)state;
	if (n < 0)
		return -1;
	vpatch[n] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(vpatch, '/') = '\0';
	strcat(vpatch, "/vpatch");
	strcpy(top, "/tmp/vp-cliperf.XXXXXX");
	if (!mkdtemp(top) || chdir(top) || mkdir("here", 0755) || mkdir("certs.d", 0755) ||
	    mkdir("revoked.d", 0755) || chdir("here"))
		return -1;
	snprintf(conf, sizeof(conf),
		 "certs-dir = %s/certs.d\nrevoked-dir = %s/revoked.d\nstate-dir = %s/state\n"
		 "run-dir = %s/run\n",
		 top, top, top, top);
	save("../vpatch.conf", conf, strlen(conf));
	snprintf(conf, sizeof(conf), "%s/vpatch.conf", top);
	setenv("VPATCH_CONFIG", conf, 1);
	save_bundle();
	return 0;
}

static int teardown(void **state)
{
	char cmd[96];

	(void)state;
	snprintf(cmd, sizeof(cmd), "cd / && rm -rf %s", top);
	return system(cmd);
}

static bool holds(const char *name, const char *text)
{
	char buf[32] = "";
	FILE *f = fopen(name, "r");

	if (!f)
		return false;
	(void)!fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	return strcmp(buf, text) == 0;
}

/* rmdir: it fails if anything is left in it. */
static void assert_nothing_left(void)
{
	assert_int_equal(chdir(".."), 0);
	assert_int_equal(rmdir("here"), 0);
	assert_int_equal(mkdir("here", 0755), 0);
	assert_int_equal(chdir("here"), 0);
}

#define APPLY(file) \
	run("apply", "qmp:/nowhere", "../fix.vpatch", "--allow-unsigned", "--perf-data", file)
#define REVERT(file) run("revert", "qmp:/nowhere", "fix-one", "--perf-data", file)

/* --- claims -------------------------------------------------------------------------------------- */

static void test_file_that_is_there_is_refused_before_the_domain_is_looked_for(void **state)
{
	(void)state;
	save("full", "mine", 4);
	assert_int_equal(symlink("full", "link"), 0);
	assert_int_equal(mkdir("dir", 0755), 0);
	assert_int_equal(mkfifo("pipe", 0600), 0);
	for (int i = 0; i < 4; i++) {
		const char *name = (const char *const[]){"full", "link", "dir", "pipe"}[i];

		assert_int_equal(APPLY(name), 1);
		assert_true(said("reason", "io") && said("perf_data", name));
		assert_non_null(strstr(out, "name a new one"));
		assert_int_equal(REVERT(name), 1);
		assert_true(said("reason", "io") && said("domain", "qmp:/nowhere"));
	}
	assert_true(holds("full", "mine"));
	assert_int_equal(unlink("full") | unlink("link") | rmdir("dir") | unlink("pipe"), 0);
	assert_nothing_left();
}

static void test_file_that_cannot_be_made_is_refused_before_the_domain_is_looked_for(void **state)
{
	(void)state;
	assert_int_equal(APPLY("nowhere/x"), 1);
	assert_true(said("reason", "io"));
	assert_int_equal(REVERT("nowhere/x"), 1);
	assert_true(said("reason", "io"));
	assert_int_equal(REVERT("/proc/x"), 1);
	assert_nothing_left();
}

static void test_change_that_does_not_come_about_leaves_no_file(void **state)
{
	(void)state;
	assert_int_equal(APPLY("new"), 1);
	assert_true(said("reason", "no-domain"));
	assert_int_equal(REVERT("new"), 1);
	assert_true(said("reason", "no-domain"));
	save("empty", "", 0);
	assert_int_equal(APPLY("empty"), 1);
	assert_true(said("reason", "no-domain"));
	assert_true(holds("empty", ""));
	assert_int_equal(unlink("empty"), 0);
	assert_nothing_left();
}

static void test_options_are_for_the_commands_that_have_them(void **state)
{
	(void)state;
	assert_int_equal(run("events", "a", "--perf-data", "x"), 2);
	assert_int_equal(run("inspect", "a", "--follow"), 2);
	assert_int_equal(run("apply", "a", "b", "--follow"), 2);
	assert_int_equal(run("events"), 2);
	assert_true(said("schema", "vpatch.events/1"));
	assert_nothing_left();
}

static void test_events_of_a_domain_that_is_not_there(void **state)
{
	(void)state;
	assert_int_equal(run("events", "qmp:/nowhere"), 1);
	assert_true(said("schema", "vpatch.events/1") && said("reason", "no-domain"));
	assert_int_equal(run("events", "qmp:/nowhere", "--follow"), 1);
	assert_true(said("reason", "no-domain"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_file_that_is_there_is_refused_before_the_domain_is_looked_for),
		cmocka_unit_test(
			test_file_that_cannot_be_made_is_refused_before_the_domain_is_looked_for),
		cmocka_unit_test(test_change_that_does_not_come_about_leaves_no_file),
		cmocka_unit_test(test_options_are_for_the_commands_that_have_them),
		cmocka_unit_test(test_events_of_a_domain_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
