// SPDX-License-Identifier: LGPL-2.1-or-later
/* Driver kvm on a real KVM guest with CPUs that run natively (tests/lib/bare.h). */
/* Runs as root: /dev/kvm, ptrace, BPF. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86-64/regs.h"
#include "qmp/qmp.h"
#include "tests/guests/x86-64/ctl.h"
#include "tests/lib/bare.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"

#define SOON (10 * CLOCK_NS_PER_SEC) /* slack of a busy machine; nothing here is a measurement */

static struct bare guest; /* two busy vCPUs at CPL3, shared by the tests that leave it as it was */
static const struct dom_opts by_kvm = {.driver = "kvm"};

static int start(void **state)
{
	const struct bare_opts opts = {.vmm = BARE_MICROVM_KVM, .vcpus = 3, .busy = 2, .ring = 3};

	(void)state;
	return bare_start(&guest, &opts) ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	bare_stop(&guest);
	return 0;
}

static struct vp_target *opened; /* closed behind a test that failed, too */

static int shut(void **state)
{
	(void)state;
	vp_target_close(opened);
	opened = NULL;
	return 0;
}

static struct vp_target *open_it(const char *name)
{
	struct vp_target *t = NULL;
	struct diag diag;

	diag_init(&diag);
	if (dom_open(name, &by_kvm, &diag, &t) != VP_OK)
		fail_msg("%s", diag.text);
	opened = t;
	return t;
}

static struct vp_paused *hold(struct vp_target *t)
{
	struct vp_paused *p = NULL;
	struct diag diag;

	diag_init(&diag);
	if (vp_pause(t, clock_in(SOON), &diag, &p) != VP_OK)
		fail_msg("%s", diag.text);
	return p;
}

static void arm(struct vp_target *t, enum vp_after after)
{
	struct diag diag;

	diag_init(&diag);
	if (vp_arm(t, after, &diag) != VP_OK)
		fail_msg("%s", diag.text);
}

static void assert_stands(void)
{
	uint64_t before[2], now[2];

	for (unsigned i = 0; i < 2; i++)
		before[i] = bare_iterations(&guest, i);
	usleep(20000);
	for (unsigned i = 0; i < 2; i++) {
		now[i] = bare_iterations(&guest, i);
		assert_true(now[i] == before[i]);
	}
}

static void assert_runs(void)
{
	assert_true(bare_wait_calls(&guest, 1000, SOON));
	assert_null(bare_check(&guest, bare_flips(&guest)));
}

static void test_the_vm_is_what_it_is(void **state)
{
	struct vp_target *t = open_it(guest.name);
	const struct vp_target_info *i = vp_target_info(t);
	const struct vp_ram *ram;
	size_t n;

	(void)state;
	assert_string_equal(i->driver, "kvm");
	assert_string_equal(i->accel, "kvm");
	assert_int_equal(i->id.pid, guest.pid);
	assert_int_equal(i->vcpus, 3);
	assert_true(vp_target_caps(t) & VP_CAP_DEATH_FREES);
	assert_false(vp_target_caps(t) & VP_CAP_WRITE_DIRTY);
	assert_int_equal(vp_ram(t, &ram, &n, NULL), VP_OK);
	assert_int_equal(ram[0].start.v, 0);
	shut(NULL);
}

static void test_a_held_guest_stands_and_goes_on(void **state)
{
	struct vp_target *t = open_it(guest.name);

	(void)state;
	arm(t, VP_AFTER_AS_FOUND);
	for (int i = 0; i < 50; i++) {
		struct vp_paused *p = hold(t);
		uint64_t since = vp_held_since(p);

		assert_true(since > 0 && since <= clock_now());
		if (i % 10 == 0)
			assert_stands();
		assert_int_equal(vp_resume(p), VP_OK);
		assert_true(bare_wait_calls(&guest, 1, SOON));
	}
	vp_disarm(t);
	shut(NULL);
	assert_runs();
}

static void test_registers_are_the_guests(void **state)
{
	struct vp_target *t = open_it(guest.name);
	struct vp_paused *p;
	unsigned users = 0;

	(void)state;
	arm(t, VP_AFTER_AS_FOUND);
	p = hold(t);
	for (unsigned i = 0; i < 3; i++) {
		struct arch_regs regs;
		bool user;

		assert_int_equal(vp_regs(p, i, &regs), VP_OK);
		assert_int_equal(regs.v[X86_64_REG_CR3], BARE_ROOT_GPA);
		assert_true(regs.v[X86_64_REG_EFER] & X86_64_EFER_LMA);
		/* the busy ones in the user's alias of the text, the third rests in the kernel's */
		user = (regs.v[X86_64_REG_CS] & 3) == 3;
		users += user;
		assert_true(regs.v[ARCH_REG_PC] - (user ? BARE_TEXT_USER : BARE_TEXT) < 4u << 20);
	}
	assert_int_equal(users, 2);
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(t);
	shut(NULL);
	assert_runs();
}

static void test_writes_are_seen_by_the_guest(void **state)
{
	const vp_gpa_t at = vp_gpa(BARE_TEXT_GPA + 0x3000);
	struct vp_target *t = open_it(guest.name);
	uint64_t was, is = 0x1122334455667788, now[2] = {0};
	struct vp_io io[2] = {{at, &is, 8}, {vp_gpa(at.v + 8), &is, 8}};
	struct vp_paused *p;

	(void)state;
	bare_peek_text(&guest, at.v, &was, 8);
	arm(t, VP_AFTER_AS_FOUND);
	p = hold(t);
	assert_int_equal(vp_write_all(p, io, 2), VP_OK);
	assert_int_equal(vp_sync(p), VP_OK);
	assert_int_equal(vp_read(t, at, now, 16), VP_OK);
	assert_true(now[0] == is && now[1] == is);
	bare_peek_text(&guest, at.v + 8, &now[0], 8);
	assert_true(now[0] == is);
	assert_int_equal(vp_write(p, at, &was, 8), VP_OK);
	assert_int_equal(vp_write(p, vp_gpa(at.v + 8), &was, 8), VP_OK);
	assert_int_equal(vp_write(p, vp_gpa(BARE_RAM_MIB << 20), &was, 8), VP_E_RANGE);
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(t);
	shut(NULL);
	assert_runs();
}

/* Runs fn in a child that is killed once it says so; what a dead holder leaves. */
static void in_killed_child(void (*fn)(struct vp_target *t), struct vp_target *t)
{
	int fd[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	if (pid == 0) {
		fn(t);
		(void)!write(fd[1], "x", 1);
		while (true)
			pause();
	}
	close(fd[1]);
	assert_int_equal(read(fd[0], &c, 1), 1);
	close(fd[0]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void just_hold(struct vp_target *t)
{
	(void)hold(t);
}

static void arm_and_hold(struct vp_target *t)
{
	arm(t, VP_AFTER_AS_FOUND);
	(void)hold(t);
}

static void test_a_killed_holder_lets_the_guest_go(void **state)
{
	struct vp_target *t = open_it(guest.name);
	struct vp_paused *p;
	struct diag diag;

	(void)state;
	diag_init(&diag);
	arm(t, VP_AFTER_AS_FOUND);
	for (int i = 0; i < 20; i++) {
		in_killed_child(just_hold, t);
		assert_true(bare_wait_calls(&guest, 100, SOON));
	}
	assert_int_equal(vp_takeover(t, &diag, &p), VP_OK);
	assert_stands();
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(t);
	shut(NULL);
	assert_runs();
}

/* The marks of an agent that died armed are taken away by the next one. */
static void test_a_dead_agents_marks_are_cleared(void **state)
{
	struct vp_target *t = open_it(guest.name), *next;

	(void)state;
	in_killed_child(arm_and_hold, t);
	shut(NULL);
	assert_true(bare_wait_calls(&guest, 100, SOON));
	next = open_it(guest.name);
	arm(next, VP_AFTER_AS_FOUND);
	assert_int_equal(vp_resume(hold(next)), VP_OK);
	vp_disarm(next);
	shut(NULL);
	assert_runs();
}

static void strand_it(struct vp_target *t)
{
	assert_int_equal(vp_strand(hold(t)), VP_OK);
}

static void test_a_stranded_guest_stays_held_until_recovered(void **state)
{
	struct vp_target *t = open_it(guest.name);
	char name[32];
	struct vp_paused *p;
	struct diag diag;

	(void)state;
	diag_init(&diag);
	arm(t, VP_AFTER_AS_FOUND);
	in_killed_child(strand_it, t);
	vp_leave_held(t);
	shut(NULL);
	assert_stands();
	/* its monitor answers nobody: by the process */
	snprintf(name, sizeof(name), "pid:%d", (int)guest.pid);
	t = open_it(name);
	assert_int_equal(vp_arm(t, VP_AFTER_AS_FOUND, &diag), VP_E_TORN);
	assert_non_null(strstr(diag.text, "vpatch recover"));
	assert_stands();
	arm(t, VP_AFTER_RUN);
	assert_int_equal(vp_takeover(t, &diag, &p), VP_OK);
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(t);
	shut(NULL);
	assert_runs();
	(void)open_it(guest.name);
	shut(NULL);
}

static void trace_thread(pid_t pid, int ready)
{
	char path[64];
	pid_t tid = 0;

	/* every thread of it: one of them is a vCPU's */
	snprintf(path, sizeof(path), "ls /proc/%d/task", (int)pid);
	FILE *f = popen(path, "r");

	while (f && fscanf(f, "%d", &tid) == 1)
		if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0)
			break;
	if (f)
		pclose(f);
	(void)!write(ready, "x", 1);
	while (true)
		pause();
}

static void test_a_debugged_vmm_is_left_alone(void **state)
{
	struct vp_target *t = open_it(guest.name);
	struct vp_paused *p;
	struct diag diag;
	int fd[2];
	char c;
	pid_t pid;

	(void)state;
	diag_init(&diag);
	assert_int_equal(pipe(fd), 0);
	pid = fork();
	if (pid == 0)
		trace_thread(guest.pid, fd[1]);
	assert_int_equal(read(fd[0], &c, 1), 1);
	arm(t, VP_AFTER_AS_FOUND);
	assert_int_equal(vp_pause(t, clock_in(SOON), &diag, &p), VP_E_DEBUGGED);
	assert_non_null(strstr(diag.text, "traces its vCPU threads"));
	vp_disarm(t);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd[0]);
	close(fd[1]);
	shut(NULL);
	assert_runs();
}

static int qmp_say(const char *command)
{
	struct qmp_error e = {0};
	struct qmp *q = NULL;
	int r = qmp_open(guest.qmp, clock_in(SOON), &e, &q);

	if (r == 0)
		r = qmp_call(q, command, NULL, -1, clock_in(SOON), &e, NULL);
	qmp_close(q);
	return r;
}

static void test_a_paused_guest_is_held_and_stays_paused(void **state)
{
	struct vp_target *t;
	struct vp_paused *p;

	(void)state;
	assert_int_equal(qmp_say("stop"), 0);
	assert_stands();
	t = open_it(guest.name);
	arm(t, VP_AFTER_AS_FOUND);
	p = hold(t);
	for (unsigned i = 0; i < 3; i++) {
		struct arch_regs regs;

		assert_int_equal(vp_regs(p, i, &regs), VP_OK);
		assert_int_equal(regs.v[X86_64_REG_CR3], BARE_ROOT_GPA);
	}
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(t);
	shut(NULL);
	assert_stands();
	assert_int_equal(qmp_say("cont"), 0);
	assert_runs();
}

static void test_without_rights_it_says_which_are_missing(void **state)
{
	int status, fd[2];
	char words[512] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fd), 0);
	pid = fork();
	if (pid == 0) {
		struct vp_target *t;
		struct diag diag;
		char name[32];
		int r;

		diag_init(&diag);
		snprintf(name, sizeof(name), "pid:%d", (int)guest.pid);
		r = setuid(65534) < 0 ? 1 : dom_open(name, &by_kvm, &diag, &t);
		(void)!write(fd[1], diag.text, strlen(diag.text));
		_exit(r == VP_E_PERM ? 0 : 1);
	}
	close(fd[1]);
	(void)!read(fd[0], words, sizeof(words) - 1);
	close(fd[0]);
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("%s", words);
	assert_non_null(strstr(words, "root"));
}

static void test_a_guest_under_tcg_is_refused(void **state)
{
	const struct bare_opts opts = {.vmm = BARE_MICROVM_TCG, .vcpus = 1, .busy = 1, .ring = 3};
	struct bare tcg;
	struct vp_target *t;
	struct diag diag;

	(void)state;
	diag_init(&diag);
	assert_true(bare_start(&tcg, &opts));
	assert_int_equal(dom_open(tcg.name, &by_kvm, &diag, &t), VP_E_UNSUPPORTED);
	assert_int_equal(dom_open(tcg.name, NULL, &diag, &t), VP_OK);
	assert_string_equal(vp_target_info(t)->driver, "gdb");
	vp_target_close(t);
	bare_stop(&tcg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_the_vm_is_what_it_is, shut),
		cmocka_unit_test_teardown(test_a_held_guest_stands_and_goes_on, shut),
		cmocka_unit_test_teardown(test_registers_are_the_guests, shut),
		cmocka_unit_test_teardown(test_writes_are_seen_by_the_guest, shut),
		cmocka_unit_test_teardown(test_a_killed_holder_lets_the_guest_go, shut),
		cmocka_unit_test_teardown(test_a_dead_agents_marks_are_cleared, shut),
		cmocka_unit_test_teardown(test_a_stranded_guest_stays_held_until_recovered, shut),
		cmocka_unit_test_teardown(test_a_debugged_vmm_is_left_alone, shut),
		cmocka_unit_test_teardown(test_a_paused_guest_is_held_and_stays_paused, shut),
		cmocka_unit_test_teardown(test_without_rights_it_says_which_are_missing, shut),
		cmocka_unit_test_teardown(test_a_guest_under_tcg_is_refused, shut),
	};
	const char *missing = bare_missing(BARE_MICROVM_KVM);

	if (missing || geteuid() != 0) {
		puts(missing ? missing : "root is missing");
		return 77;
	}
	return cmocka_run_group_tests(tests, start, stop);
}
