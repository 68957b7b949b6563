// SPDX-License-Identifier: LGPL-2.1-or-later
/* From a name to a target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/vm.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/domain/pid.h"

static int open_error(const char *name, const struct dom_opts *opts, const char *words)
{
	struct vp_target *t;
	struct diag diag;
	int r;

	diag_init(&diag);
	r = dom_open(name, opts, &diag, &t);
	assert_true(r < 0);
	assert_int_equal(diag.err, r);
	if (!strstr(diag.text, words))
		fail_msg("%s: %s", name, diag.text);
	return r;
}

static void test_a_name_that_says_no_way_is_usage(void **state)
{
	(void)state;
	assert_int_equal(open_error("web-07", NULL, "names come by libvirt: use qmp:PATH"),
			 VP_E_USAGE);
	assert_int_equal(open_error("/run/vm.sock", NULL, "write qmp:/run/vm.sock"), VP_E_USAGE);
	assert_int_equal(open_error("", NULL, "qmp:PATH"), VP_E_USAGE);
	assert_int_equal(open_error("inproc:17", NULL, "vp_recover()"), VP_E_PENDING);
	assert_int_equal(open_error("qmp:", NULL, "qmp:/path"), VP_E_USAGE);
	assert_int_equal(open_error("pid:", NULL, "pid:N"), VP_E_USAGE);
	assert_int_equal(open_error("pid:12x", NULL, "pid:N"), VP_E_USAGE);
	assert_int_equal(open_error("pid:-1", NULL, "pid:N"), VP_E_USAGE);
	assert_int_equal(open_error("pid:99999999999999999999", NULL, "pid:N"), VP_E_USAGE);
}

static void test_nobody_there_is_no_domain(void **state)
{
	(void)state;
	assert_int_equal(open_error("qmp:/nonexistent/socket", NULL, "/nonexistent/socket"),
			 VP_E_NO_DOMAIN);
	assert_int_equal(open_error("pid:2147483647", NULL, "no such process"), VP_E_NO_DOMAIN);
}

static void test_a_process_that_is_no_vm_is_no_domain(void **state)
{
	char name[32];

	(void)state;
	snprintf(name, sizeof(name), "pid:%d", (int)getpid());
	assert_int_equal(open_error(name, NULL, "no QMP socket"), VP_E_NO_DOMAIN);
}

static void test_an_unknown_driver_is_refused(void **state)
{
	const struct dom_opts opts = {.driver = "warp"};

	(void)state;
	assert_int_equal(open_error("qmp:/x", &opts, "warp"), VP_E_CONFIG);
}

static void test_listening_sockets_are_told_from_the_others(void **state)
{
	static const char head[] = "0000000000000000: 00000002 00000000 ";
	static const struct {
		const char *rest;
		bool want;
	} rows[] = {
		{"00010000 0001 01 12345 /run/vm.sock", true},
		{"00010000 0001 01 12345 /run/with space", true},
		{"00000000 0001 03 12345 /run/vm.sock", false}, /* connected */
		{"00010000 0002 01 12345 /run/vm.sock", false}, /* datagrams */
		{"00010000 0001 01 12345 @abstract", false},
		{"00010000 0001 01 12345", false},
		{"00010000 0001", false},
		{"Num RefCount", false},
	};
	const char *path;
	uint64_t inode;
	char line[128];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(line, sizeof(line), "%s%s", head, rows[i].rest);
		assert_int_equal(dom_unix_listener(line, &inode, &path), rows[i].want);
		if (rows[i].want) {
			assert_int_equal(inode, 12345);
			assert_int_equal(*path, '/');
		}
	}
	assert_false(dom_unix_listener("", &inode, &path));
}

static void test_one_vm_by_socket_and_by_pid_is_one_identity(void **state)
{
	const char *missing = vm_missing(VM_X86_TCG);
	struct vp_target *t;
	struct vp_identity by_qmp;
	struct diag diag;
	char name[32];
	struct vm vm;

	(void)state;
	if (missing) {
		print_message("%s is missing\n", missing);
		skip();
	}
	diag_init(&diag);
	assert_true(vm_start(&vm, VM_X86_TCG, NULL));
	snprintf(name, sizeof(name), "pid:%d", (int)vm.pid);
	if (dom_open(vm.name, NULL, &diag, &t) < 0)
		fail_msg("%s", diag.text);
	by_qmp = vp_target_info(t)->id;
	assert_int_equal(open_error(name, NULL, "another client holds"), VP_E_MONITOR_BUSY);
	vp_target_close(t);
	if (dom_open(name, NULL, &diag, &t) < 0)
		fail_msg("%s", diag.text);
	assert_memory_equal(&by_qmp, &vp_target_info(t)->id, sizeof(by_qmp));
	assert_string_equal(vp_target_info(t)->locator, vm.name);
	vp_target_close(t);
	vm_stop(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_name_that_says_no_way_is_usage),
		cmocka_unit_test(test_nobody_there_is_no_domain),
		cmocka_unit_test(test_a_process_that_is_no_vm_is_no_domain),
		cmocka_unit_test(test_an_unknown_driver_is_refused),
		cmocka_unit_test(test_listening_sockets_are_told_from_the_others),
		cmocka_unit_test(test_one_vm_by_socket_and_by_pid_is_one_identity),
	};

	return cmocka_run_group_tests_name("domain", tests, NULL, NULL);
}
