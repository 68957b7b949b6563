/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-agent/cli/conf.h"

static struct diag diag;
static struct conf conf;

static int parse(const char *text)
{
	/* On the heap and not terminated, so that a read beyond it is seen. */
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	int r;

	memcpy(copy, text, len);
	diag_init(&diag);
	conf_init(&conf);
	r = conf_parse("x.conf", copy, len, &diag, &conf);
	free(copy);
	return r;
}

static void test_every_key_is_read(void **state)
{
	(void)state;
	assert_int_equal(parse("# words\n"
			       "deadline = 10ms\n"
			       "\tdriver=gdb\t\n"
			       "\n"
			       "require-signature =always\r\n"
			       "certs-dir = /a/certs d\n"
			       "revoked-dir = /b\n"
			       "state-dir = /c=d\n"
			       "  # more\n"
			       "run-dir = /e"),
			 VP_OK);
	assert_int_equal(conf.deadline_ns, 10000000);
	assert_string_equal(conf.driver, "gdb");
	assert_true(conf.always);
	assert_string_equal(conf.certs_dir, "/a/certs d");
	assert_string_equal(conf.revoked_dir, "/b");
	assert_true(conf.revoked_given);
	assert_string_equal(conf.state_dir, "/c=d");
	assert_string_equal(conf.run_dir, "/e");
}

static void test_defaults_stand_where_nothing_is_said(void **state)
{
	(void)state;
	assert_int_equal(parse(""), VP_OK);
	assert_int_equal(conf.deadline_ns, 100000000);
	assert_string_equal(conf.driver, "auto");
	assert_false(conf.always);
	assert_false(conf.revoked_given);
	assert_int_equal(conf.certs_dir[0], '/');
	assert_int_equal(conf.state_dir[0], '/');
}

static void test_bad_lines_are_named_by_file_and_line(void **state)
{
	static const struct {
		const char *text, *where;
	} rows[] = {
		{"nonsense\n", "x.conf:1: "},
		{"\n\nunknown = 1\n", "x.conf:3: "},
		{"Deadline = 10ms\n", "x.conf:1: "},
		{"deadline = 10ms\ndeadline = 10ms\n", "x.conf:2: "},
		{"deadline =\n", "x.conf:1: "},
		{"deadline = 10\n", "x.conf:1: "},
		{"deadline = 9us\n", "x.conf:1: "},
		{"deadline = 11s\n", "x.conf:1: "},
		{"deadline = -1s\n", "x.conf:1: "},
		{"deadline = 99999999999999999999s\n", "x.conf:1: "},
		{"deadline = 10ms # ten\n", "x.conf:1: "},
		{"driver = xen\n", "x.conf:1: "},
		{"require-signature = no\n", "x.conf:1: "},
		{"certs-dir = relative\n", "x.conf:1: "},
		{"run-dir = \n", "x.conf:1: "},
		{"= value\n", "x.conf:1: "},
		{"\033[2J = 1\n", "x.conf:1: "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (parse(rows[i].text) != VP_E_CONFIG)
			fail_msg("taken: %s", rows[i].text);
		assert_ptr_equal(strstr(diag.text, rows[i].where), diag.text);
		assert_null(strchr(diag.text, '\033'));
		assert_int_equal(vp_err_exit(diag.err), 2);
	}
}

static void test_long_lines_and_bytes_that_are_no_text_are_refused(void **state)
{
	static const char nul[] = "driver = gdb\0\n";
	char line[8192];

	(void)state;
	memset(line, 'a', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(parse(line), VP_E_CONFIG);
	memcpy(line, "run-dir = /", 11);
	line[1100] = '\0';
	assert_int_equal(parse(line), VP_E_CONFIG);
	line[1000] = '\0';
	assert_int_equal(parse(line), VP_OK);
	assert_int_equal(conf_parse("x.conf", nul, sizeof(nul) - 1, &diag, &conf), VP_E_CONFIG);
}

static void test_durations_have_a_unit_and_bounds(void **state)
{
	uint64_t ns = 7;

	(void)state;
	assert_true(conf_duration("10us", &ns));
	assert_int_equal(ns, 10000);
	assert_true(conf_duration("10s", &ns));
	assert_int_equal(ns, UINT64_C(10000000000));
	assert_false(conf_duration("", &ns));
	assert_false(conf_duration("ms", &ns));
	assert_false(conf_duration("1.5ms", &ns));
	assert_false(conf_duration(" 10ms", &ns));
	assert_false(conf_duration("10 ms", &ns));
	assert_false(conf_duration("10ns", &ns));
	assert_false(conf_duration("0s", &ns));
	assert_int_equal(ns, UINT64_C(10000000000));
}

/* --- the file ---------------------------------------------------------------------------------- */

static char path[64];

static void write_conf(const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int make_path(void **state)
{
	int fd;

	(void)state;
	unsetenv("VPATCH_CONFIG");
	diag_init(&diag);
	strcpy(path, "/tmp/vp-conf.XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	(void)state;
	unsetenv("VPATCH_CONFIG");
	unlink(path);
	return 0;
}

static void test_file_is_read_by_option_before_environment(void **state)
{
	(void)state;
	write_conf("deadline = 5ms\n", 0644);
	assert_int_equal(conf_read(path, &diag, &conf), VP_OK);
	assert_int_equal(conf.deadline_ns, 5000000);
	setenv("VPATCH_CONFIG", path, 1);
	assert_int_equal(conf_read(NULL, &diag, &conf), VP_OK);
	assert_int_equal(conf.deadline_ns, 5000000);
	setenv("VPATCH_CONFIG", "/nonexistent", 1);
	assert_int_equal(conf_read(path, &diag, &conf), VP_OK);
	assert_int_equal(conf_read(NULL, &diag, &conf), VP_E_CONFIG);
	setenv("VPATCH_CONFIG", "", 1);
	assert_int_equal(conf_read(NULL, &diag, &conf), VP_E_CONFIG);
	assert_string_equal(diag.text, "VPATCH_CONFIG names no file: give its path, or unset it");
}

static void test_file_that_was_named_must_be_there(void **state)
{
	(void)state;
	conf.deadline_ns = 42;
	assert_int_equal(conf_read("/nonexistent/x.conf", &diag, &conf), VP_E_CONFIG);
	assert_non_null(strstr(diag.text, "/nonexistent/x.conf"));
	assert_int_equal(conf_read("/dev", &diag, &conf), VP_E_CONFIG);
	assert_int_equal(conf_read("/dev/zero", &diag, &conf), VP_E_CONFIG);
	assert_int_equal(conf.deadline_ns, 42); /* touched only on success */
}

static void test_file_that_anybody_may_write_is_not_believed(void **state)
{
	(void)state;
	write_conf("driver = gdb\n", 0666);
	assert_int_equal(conf_read(path, &diag, &conf), VP_E_CONFIG);
	assert_non_null(strstr(diag.text, "chmod o-w"));
}

static void test_huge_file_is_refused(void **state)
{
	(void)state;
	write_conf("# x\n", 0644);
	assert_int_equal(truncate(path, 1 << 30), 0);
	assert_int_equal(conf_read(path, &diag, &conf), VP_E_CONFIG);
}

int main(void)
{
#define F(name) cmocka_unit_test_setup_teardown(name, make_path, remove_path)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_key_is_read),
		cmocka_unit_test(test_defaults_stand_where_nothing_is_said),
		cmocka_unit_test(test_bad_lines_are_named_by_file_and_line),
		cmocka_unit_test(test_long_lines_and_bytes_that_are_no_text_are_refused),
		cmocka_unit_test(test_durations_have_a_unit_and_bounds),
		F(test_file_is_read_by_option_before_environment),
		F(test_file_that_was_named_must_be_there),
		F(test_file_that_anybody_may_write_is_not_believed),
		F(test_huge_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
