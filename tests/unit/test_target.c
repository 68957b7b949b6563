// SPDX-License-Identifier: LGPL-2.1-or-later
/* The seam's own checks, over the fake driver; and the fake driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/fake.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/driver.h"

#define PAGE UINT64_C(4096)

/* 0x1000..0x5000 and, adjoining, 0x5000..0x7000; then far away, up to the end of the space. */
#define LOW  UINT64_C(0x1000)
#define MID  UINT64_C(0x5000)
#define HIGH UINT64_C(0xffffffffffff0000)

struct ctx {
	struct fake *f;
	struct vp_target *t;
	struct diag diag;
};

static int setup(void **state)
{
	static struct ctx c;

	memset(&c, 0, sizeof(c));
	diag_init(&c.diag);
	c.f = fake_create(arch_get(ARCH_ARM64), 2);
	fake_ram_add(c.f, vp_gpa(LOW), 4 * PAGE);
	fake_ram_add(c.f, vp_gpa(MID), 2 * PAGE);
	fake_ram_add(c.f, vp_gpa(HIGH), 0x10000);
	*state = &c;
	return fake_open(c.f, &c.diag, &c.t);
}

static int teardown(void **state)
{
	struct ctx *c = *state;

	vp_target_close(c->t);
	fake_destroy(c->f);
	return 0;
}

static struct vp_paused *hold(struct ctx *c)
{
	struct vp_paused *p;

	assert_int_equal(vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag), VP_OK);
	assert_int_equal(vp_pause(c->t, VP_NO_DEADLINE, &c->diag, &p), VP_OK);
	return p;
}

static void test_read_checks_range_by_subtraction(void **state)
{
	static const struct {
		uint64_t at;
		size_t len;
		int want;
	} rows[] = {
		{LOW, 1, VP_OK},
		{LOW, 0, VP_OK},
		{LOW - 1, 1, VP_E_RANGE},
		{LOW - 1, 2, VP_E_RANGE},
		{MID - 1, 2, VP_OK}, /* adjoining ranges are one stretch */
		{LOW, 6 * PAGE, VP_OK},
		{LOW, 6 * PAGE + 1, VP_E_RANGE},
		{MID + 2 * PAGE, 1, VP_E_RANGE},
		{UINT64_MAX, 1, VP_OK},
		{UINT64_MAX, 2, VP_E_RANGE},
		{HIGH, 0x10000, VP_OK},
		{HIGH, 0x10001, VP_E_RANGE},
		{HIGH, SIZE_MAX, VP_E_RANGE},
		{0, 1, VP_E_RANGE},
	};
	static uint8_t buf[0x10001];
	struct ctx *c = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(vp_read(c->t, vp_gpa(rows[i].at), buf, rows[i].len), rows[i].want);
	assert_string_equal(fake_violation(c->f), "");
}

static void test_read_joins_adjoining_ranges(void **state)
{
	struct ctx *c = *state;
	uint8_t got[4];

	memcpy(fake_mem(c->f, vp_gpa(MID - 2), 2), "ab", 2);
	memcpy(fake_mem(c->f, vp_gpa(MID), 2), "cd", 2);
	assert_int_equal(vp_read(c->t, vp_gpa(MID - 2), got, 4), VP_OK);
	assert_memory_equal(got, "abcd", 4);
}

static void test_write_lies_in_one_range(void **state)
{
	struct ctx *c = *state;
	struct vp_paused *p = hold(c);
	uint64_t writes = fake_op_calls(c->f, FAKE_WRITE);

	assert_int_equal(vp_write(p, vp_gpa(MID - 1), "xy", 2), VP_E_RANGE);
	assert_int_equal(vp_write(p, vp_gpa(0), "xy", 2), VP_E_RANGE);
	assert_int_equal(vp_write(p, vp_gpa(UINT64_MAX), "xy", 2), VP_E_RANGE);
	assert_int_equal(vp_write(p, vp_gpa(0), "xy", 0), VP_OK);
	assert_int_equal(fake_op_calls(c->f, FAKE_WRITE), writes);
	assert_int_equal(vp_write(p, vp_gpa(UINT64_MAX), "x", 1), VP_OK);
	assert_int_equal(vp_write(p, vp_gpa(LOW), "hello", 5), VP_OK);
	assert_memory_equal(fake_mem(c->f, vp_gpa(LOW), 5), "hello", 5);
	assert_int_equal(vp_sync(p), VP_OK);
	assert_int_equal(vp_resume(p), VP_OK);
	assert_string_equal(fake_violation(c->f), "");
}

static void test_nothing_works_on_a_guest_that_was_let_go(void **state)
{
	struct ctx *c = *state;
	struct vp_paused *p = hold(c);
	struct arch_regs regs;

	assert_int_equal(vp_resume(p), VP_OK);
	assert_int_equal(vp_write(p, vp_gpa(LOW), "x", 1), VP_E_INTERNAL);
	assert_int_equal(vp_regs(p, 0, &regs), VP_E_INTERNAL);
	assert_int_equal(vp_sync(p), VP_E_INTERNAL);
	assert_int_equal(vp_resume(p), VP_E_INTERNAL);
	assert_int_equal(fake_op_calls(c->f, FAKE_RESUME), 1);
}

static void test_holding_needs_arming_and_happens_once(void **state)
{
	struct ctx *c = *state;
	struct vp_paused *p, *q;

	assert_int_equal(vp_pause(c->t, VP_NO_DEADLINE, &c->diag, &p), VP_E_INTERNAL);
	assert_int_equal(vp_takeover(c->t, &c->diag, &p), VP_E_INTERNAL);
	p = hold(c);
	assert_int_equal(vp_pause(c->t, VP_NO_DEADLINE, &c->diag, &q), VP_E_INTERNAL);
	assert_int_equal(vp_takeover(c->t, &c->diag, &q), VP_E_INTERNAL);
	assert_int_equal(vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag), VP_E_INTERNAL);
	assert_int_equal(vp_resume(p), VP_OK);
	assert_ptr_equal(vp_paused_target(p), c->t);
}

static void test_regs_check_the_vcpu(void **state)
{
	struct ctx *c = *state;
	struct vp_paused *p = hold(c);
	struct arch_regs regs;

	fake_regs(c->f, 1)->v[ARCH_REG_PC] = 0x1234;
	fake_regs(c->f, 1)->have = 1u << ARCH_REG_PC;
	assert_int_equal(vp_regs(p, 2, &regs), VP_E_RANGE);
	assert_int_equal(vp_regs(p, 1, &regs), VP_OK);
	assert_int_equal(regs.v[ARCH_REG_PC], 0x1234);
	assert_int_equal(vp_resume(p), VP_OK);
	assert_int_equal(vp_peek_regs(c->t, 2, &regs, &c->diag), VP_E_RANGE);
	assert_int_equal(vp_peek_regs(c->t, 1, &regs, &c->diag), VP_OK);
	fake_regs(c->f, 1)->have = 1u << ARCH_REG_MAX;
	assert_int_equal(vp_peek_regs(c->t, 1, &regs, &c->diag), VP_E_INTERNAL);
}

static void test_find_pages_sees_aligned_whole_pages_in_order(void **state)
{
	struct ctx *c = *state;
	vp_gpa_t found[4];
	size_t n = 99;

	memcpy(fake_mem(c->f, vp_gpa(LOW + 2 * PAGE), 5), "MAGIC", 5);
	memcpy(fake_mem(c->f, vp_gpa(LOW + PAGE + 8), 5), "MAGIC", 5); /* not aligned */
	memcpy(fake_mem(c->f, vp_gpa(MID + PAGE), 5), "MAGIC", 5);
	memcpy(fake_mem(c->f, vp_gpa(UINT64_MAX - 4095), 5), "MAGIC", 5);
	assert_int_equal(vp_find_pages(c->t, "MAGIC", 5, found, 4, &n, &c->diag), VP_OK);
	assert_int_equal(n, 3);
	assert_int_equal(found[0].v, LOW + 2 * PAGE);
	assert_int_equal(found[1].v, MID + PAGE);
	assert_int_equal(found[2].v, UINT64_MAX - 4095);
	n = 99;
	assert_int_equal(vp_find_pages(c->t, "MAGIC", 5, found, 2, &n, &c->diag), VP_E_RANGE);
	assert_int_equal(n, 99);
	assert_int_equal(vp_find_pages(c->t, "MAGIC", 0, found, 2, &n, &c->diag), VP_E_RANGE);
	assert_int_equal(vp_find_pages(c->t, "MAGIC", 65, found, 2, &n, &c->diag), VP_E_RANGE);
}

static void late(struct fake *f, enum fake_op op, uint64_t nth, void *ctx)
{
	(void)f;
	(void)nth;
	if (op == *(enum fake_op *)ctx)
		usleep(20000);
}

static void test_a_hold_that_comes_too_late_is_given_back(void **state)
{
	struct ctx *c = *state;
	enum fake_op op = FAKE_PAUSE;
	struct vp_paused *p;

	assert_int_equal(vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag), VP_OK);
	assert_int_equal(vp_pause(c->t, 1, &c->diag, &p), VP_E_DEADLINE);
	assert_int_equal(fake_op_calls(c->f, FAKE_PAUSE), 0);
	fake_hook(c->f, late, &op);
	assert_int_equal(vp_pause(c->t, clock_in(1000000), &c->diag, &p), VP_E_DEADLINE);
	assert_true(fake_runs(c->f));
	fake_hook(c->f, NULL, NULL);
	assert_int_equal(vp_pause(c->t, clock_in(CLOCK_NS_PER_SEC), &c->diag, &p), VP_OK);
	assert_int_equal(vp_resume(p), VP_OK);
}

static void test_close_lets_a_held_guest_go(void **state)
{
	struct ctx *c = *state;

	(void)hold(c);
	assert_false(fake_runs(c->f));
	vp_target_close(c->t);
	c->t = NULL;
	assert_true(fake_runs(c->f));
	assert_false(fake_armed(c->f));
}

static void test_a_failed_resume_can_be_taken_over(void **state)
{
	struct ctx *c = *state;
	struct vp_paused *p = hold(c);

	fake_fail_op(c->f, FAKE_RESUME, 1, VP_E_IO, false);
	assert_int_equal(vp_resume(p), VP_E_PAUSED);
	assert_true(fake_held(c->f));
	assert_int_equal(vp_takeover(c->t, &c->diag, &p), VP_OK);
	assert_int_equal(vp_resume(p), VP_OK);
	assert_true(fake_runs(c->f));
	assert_string_equal(fake_violation(c->f), "");
}

static void dies(struct fake *f, enum fake_op op, uint64_t nth, void *ctx)
{
	(void)f;
	(void)nth;
	if (op == *(enum fake_op *)ctx)
		_exit(42);
}

static void test_a_dead_holders_writes_and_hold_are_seen(void **state)
{
	struct ctx *c = *state;
	enum fake_op op = FAKE_SYNC;
	struct vp_paused *p;
	int status;
	pid_t pid;

	assert_int_equal(vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag), VP_OK);
	fake_hook(c->f, dies, &op);
	pid = fork();
	if (pid == 0) {
		if (vp_pause(c->t, VP_NO_DEADLINE, NULL, &p) == VP_OK &&
		    vp_write(p, vp_gpa(LOW), "held", 4) == VP_OK)
			(void)!vp_sync(p);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 42);
	fake_hook(c->f, NULL, NULL);
	assert_true(fake_held(c->f));
	assert_memory_equal(fake_mem(c->f, vp_gpa(LOW), 4), "held", 4);
	assert_int_equal(vp_takeover(c->t, &c->diag, &p), VP_OK);
	assert_int_equal(vp_sync(p), VP_OK);
	assert_int_equal(vp_resume(p), VP_OK);
	assert_true(fake_runs(c->f));
	assert_string_equal(fake_violation(c->f), "");
}

static void test_a_dead_holder_frees_the_guest_where_the_driver_says_so(void **state)
{
	struct ctx *c = *state;
	struct vp_paused *p;
	pid_t pid;

	fake_caps(c->f, VP_CAP_DEATH_FREES);
	assert_int_equal(vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag), VP_OK);
	pid = fork();
	if (pid == 0)
		_exit(vp_pause(c->t, VP_NO_DEADLINE, NULL, &p));
	waitpid(pid, NULL, 0);
	assert_true(fake_runs(c->f));
}

static void test_a_fresh_target_takes_over_from_the_dead(void **state)
{
	struct ctx *c = *state;
	enum vp_run_state s;
	struct vp_target *t;
	struct vp_paused *p;
	pid_t pid = fork();

	if (pid == 0) {
		if (fake_open(c->f, NULL, &t) == VP_OK &&
		    vp_arm(t, VP_AFTER_AS_FOUND, NULL) == VP_OK)
			(void)!vp_pause(t, VP_NO_DEADLINE, NULL, &p);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	assert_int_equal(vp_run_state(c->t, &s, NULL, &c->diag), VP_OK);
	assert_int_equal(s, VP_RUN_PAUSED);
	assert_int_equal(vp_arm(c->t, VP_AFTER_RUN, &c->diag), VP_OK);
	assert_int_equal(vp_takeover(c->t, &c->diag, &p), VP_OK);
	assert_int_equal(vp_resume(p), VP_OK);
	assert_true(fake_runs(c->f));
}

static void test_each_driver_failure_is_handed_through(void **state)
{
	struct ctx *c = *state;
	enum vp_run_state s;
	struct arch_regs regs;
	struct vp_paused *p = NULL;
	uint8_t byte;
	int failed = 0;

	for (int nth = 1; nth < 12; nth++) {
		int r;

		fake_fail(c->f, (uint64_t)nth, VP_E_IO, false);
		r = vp_run_state(c->t, &s, NULL, &c->diag);
		failed += r == VP_E_IO;
		failed += vp_read(c->t, vp_gpa(LOW), &byte, 1) == VP_E_IO;
		failed += vp_peek_regs(c->t, 0, &regs, &c->diag) == VP_E_IO;
		if (vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag) == VP_OK) {
			if (vp_pause(c->t, VP_NO_DEADLINE, &c->diag, &p) == VP_OK) {
				failed += vp_regs(p, 0, &regs) == VP_E_IO;
				failed += vp_write(p, vp_gpa(LOW), "x", 1) == VP_E_IO;
				if (vp_sync(p) == VP_E_IO) {
					failed++;
					assert_int_equal(vp_sync(p), VP_OK);
				}
				if (vp_resume(p) == VP_E_PAUSED) {
					failed++;
					assert_int_equal(vp_takeover(c->t, &c->diag, &p), VP_OK);
					assert_int_equal(vp_resume(p), VP_OK);
				}
			} else {
				failed++;
			}
			vp_disarm(c->t);
		} else {
			failed++;
		}
		fake_fail(c->f, 0, VP_OK, false);
		assert_true(fake_runs(c->f));
		assert_false(fake_armed(c->f));
	}
	assert_in_range(failed, 9, 11);
	assert_string_equal(fake_violation(c->f), "");
}

static void test_failing_for_good_goes_on_failing(void **state)
{
	struct ctx *c = *state;
	enum vp_run_state s;

	fake_fail(c->f, 2, VP_E_TIMEOUT, true);
	assert_int_equal(vp_run_state(c->t, &s, NULL, &c->diag), VP_OK);
	assert_int_equal(vp_run_state(c->t, &s, NULL, &c->diag), VP_E_TIMEOUT);
	assert_int_equal(vp_run_state(c->t, &s, NULL, &c->diag), VP_E_TIMEOUT);
}

static void test_states_that_may_not_be_armed_are_refused(void **state)
{
	static const struct {
		enum vp_run_state state;
		int want;
	} rows[] = {
		{VP_RUN_MIGRATING, VP_E_MIGRATING},
		{VP_RUN_SHUTDOWN, VP_E_SHUTDOWN},
		{VP_RUN_PANICKED, VP_E_PANICKED},
		{VP_RUN_OTHER, VP_E_UNSUPPORTED},
	};
	struct ctx *c = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_state(c->f, rows[i].state, "x");
		assert_int_equal(vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag), rows[i].want);
		assert_false(fake_armed(c->f));
	}
}

static void test_a_paused_guest_is_left_paused(void **state)
{
	struct ctx *c = *state;
	struct vp_paused *p;

	fake_state(c->f, VP_RUN_PAUSED, "paused");
	p = hold(c);
	assert_int_equal(vp_resume(p), VP_OK);
	assert_false(fake_runs(c->f));
}

/* --- what a driver may get wrong ------------------------------------------------------------- */

struct bad {
	const struct vp_ram *ram;
	size_t n;
};

static int bad_ram(void *self, const struct vp_ram **ret, size_t *n_ret, struct diag *diag)
{
	(void)diag;
	*ret = ((struct bad *)self)->ram;
	*n_ret = ((struct bad *)self)->n;
	return VP_OK;
}

static uint32_t bad_caps(void *self)
{
	(void)self;
	return 0;
}

static void bad_close(void *self)
{
	(void)self;
}

static void test_a_ram_list_out_of_order_is_refused(void **state)
{
	static const struct vp_ram overlap[] = {{{0x1000}, 0x2000}, {{0x2fff}, 0x1000}};
	static const struct vp_ram order[] = {{{0x5000}, 0x1000}, {{0x1000}, 0x1000}};
	static const struct vp_ram empty[] = {{{0x5000}, 0}};
	static const struct vp_ram wraps[] = {{{UINT64_MAX}, 2}};
	static const struct bad rows[] = {
		{overlap, 2}, {order, 2}, {empty, 1}, {wraps, 1}, {NULL, 0}};
	static const struct vp_driver driver = {
		.name = "bad", .caps = bad_caps, .close = bad_close, .ram = bad_ram};
	const struct vp_target_info info = {.arch = arch_get(ARCH_ARM64), .vcpus = 1};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct vp_ram *ram;
		struct vp_target *t;
		struct bad bad = rows[i];
		uint8_t byte;
		size_t n;

		assert_int_equal(vp_target_create(&driver, &bad, &info, NULL, &t), VP_OK);
		assert_int_equal(vp_ram(t, &ram, &n, NULL), VP_E_PROTO);
		assert_int_equal(vp_read(t, vp_gpa(0x1000), &byte, 1), VP_E_PROTO);
		vp_target_close(t);
	}
}

static void test_a_target_has_an_architecture_and_vcpus(void **state)
{
	static const struct vp_driver driver = {.name = "bad", .caps = bad_caps};
	const struct vp_target_info none = {.vcpus = 1};
	const struct vp_target_info zero = {.arch = arch_get(ARCH_ARM64)};
	const struct vp_target_info many = {.arch = arch_get(ARCH_ARM64), .vcpus = VP_VCPU_MAX + 1};
	struct vp_target *t;

	(void)state;
	assert_int_equal(vp_target_create(&driver, NULL, &none, NULL, &t), VP_E_UNSUPPORTED);
	assert_int_equal(vp_target_create(&driver, NULL, &zero, NULL, &t), VP_E_UNSUPPORTED);
	assert_int_equal(vp_target_create(&driver, NULL, &many, NULL, &t), VP_E_UNSUPPORTED);
}

#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FAKE(test_read_checks_range_by_subtraction),
		WITH_FAKE(test_read_joins_adjoining_ranges),
		WITH_FAKE(test_write_lies_in_one_range),
		WITH_FAKE(test_nothing_works_on_a_guest_that_was_let_go),
		WITH_FAKE(test_holding_needs_arming_and_happens_once),
		WITH_FAKE(test_regs_check_the_vcpu),
		WITH_FAKE(test_find_pages_sees_aligned_whole_pages_in_order),
		WITH_FAKE(test_a_hold_that_comes_too_late_is_given_back),
		WITH_FAKE(test_close_lets_a_held_guest_go),
		WITH_FAKE(test_a_failed_resume_can_be_taken_over),
		WITH_FAKE(test_a_dead_holders_writes_and_hold_are_seen),
		WITH_FAKE(test_a_dead_holder_frees_the_guest_where_the_driver_says_so),
		WITH_FAKE(test_a_fresh_target_takes_over_from_the_dead),
		WITH_FAKE(test_each_driver_failure_is_handed_through),
		WITH_FAKE(test_failing_for_good_goes_on_failing),
		WITH_FAKE(test_states_that_may_not_be_armed_are_refused),
		WITH_FAKE(test_a_paused_guest_is_left_paused),
		cmocka_unit_test(test_a_ram_list_out_of_order_is_refused),
		cmocka_unit_test(test_a_target_has_an_architecture_and_vcpus),
	};

	return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
