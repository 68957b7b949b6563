// SPDX-License-Identifier: LGPL-2.1-or-later
/* The seam's rules for stores into a guest that runs, over the fake driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/fake.h"

#define PAGE UINT64_C(4096)
#define LOW  UINT64_C(0x1000)
#define MID  UINT64_C(0x5000) /* adjoins */
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
	fake_caps(c.f, VP_CAP_STORE_LIVE);
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

static struct vp_live *live(struct ctx *c)
{
	struct vp_live *l = NULL;

	assert_int_equal(vp_live_open(c->t, &c->diag, &l), VP_OK);
	return l;
}

static void test_live_stores_need_the_capability(void **state)
{
	struct ctx *c = *state;
	struct vp_live *l;

	vp_target_close(c->t);
	fake_caps(c->f, VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY); /* asked when the target is made */
	assert_int_equal(fake_open(c->f, &c->diag, &c->t), VP_OK);
	assert_int_equal(vp_live_open(c->t, &c->diag, &l), VP_E_UNSUPPORTED);
	assert_non_null(strstr(c->diag.text, "--discipline stop"));
	assert_int_equal(fake_op_calls(c->f, FAKE_LIVE_BEGIN), 0);
	vp_live_close(NULL);
}

static void test_live_and_armed_exclude_each_other(void **state)
{
	struct ctx *c = *state;
	struct vp_live *l = live(c), *m;
	struct vp_paused *p;

	assert_true(fake_lives(c->f));
	assert_ptr_equal(vp_live_target(l), c->t);
	assert_int_equal(vp_live_open(c->t, &c->diag, &m), VP_E_INTERNAL);
	assert_int_equal(vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag), VP_E_INTERNAL);
	assert_int_equal(vp_pause(c->t, VP_NO_DEADLINE, &c->diag, &p), VP_E_INTERNAL);
	vp_live_close(l);
	vp_live_close(l);
	assert_int_equal(fake_op_calls(c->f, FAKE_LIVE_END), 1);
	assert_int_equal(vp_live_store(l, vp_gpa(LOW), "x", 1), VP_E_INTERNAL);
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_ALL, VP_NO_DEADLINE, &c->diag), VP_E_INTERNAL);
	assert_int_equal(vp_arm(c->t, VP_AFTER_AS_FOUND, &c->diag), VP_OK);
	assert_int_equal(vp_pause(c->t, VP_NO_DEADLINE, &c->diag, &p), VP_OK);
	assert_int_equal(vp_live_open(c->t, &c->diag, &m), VP_E_INTERNAL);
	assert_int_equal(vp_resume(p), VP_OK);
	assert_int_equal(vp_live_open(c->t, &c->diag, &m), VP_E_INTERNAL); /* still armed */
	vp_disarm(c->t);
	assert_int_equal(vp_live_open(c->t, &c->diag, &m), VP_OK);
	vp_target_close(c->t); /* closes that, too */
	c->t = NULL;
	assert_false(fake_lives(c->f));
	assert_string_equal(fake_violation(c->f), "");
}

static void test_a_live_store_lies_in_one_range(void **state)
{
	struct ctx *c = *state;
	struct vp_live *l = live(c);

	assert_int_equal(vp_live_store(l, vp_gpa(MID - 1), "xy", 2), VP_E_RANGE);
	assert_int_equal(vp_live_store(l, vp_gpa(LOW - 1), "x", 1), VP_E_RANGE);
	assert_int_equal(vp_live_store(l, vp_gpa(UINT64_MAX), "xy", 2), VP_E_RANGE);
	assert_int_equal(vp_live_store(l, vp_gpa(0), "x", 0), VP_OK);
	assert_int_equal(fake_op_calls(c->f, FAKE_LIVE_STORE), 0);
	assert_int_equal(vp_live_store(l, vp_gpa(UINT64_MAX), "z", 1), VP_OK);
	assert_memory_equal(fake_mem(c->f, vp_gpa(UINT64_MAX), 1), "z", 1);
	assert_string_equal(fake_violation(c->f), "");
}

static void test_live_stores_and_syncs_are_logged_in_order(void **state)
{
	static const struct {
		enum fake_op op;
		uint64_t at, len;
		const char *bytes;
	} want[] = {{FAKE_LIVE_BEGIN, 0, 0, ""},
		    {FAKE_LIVE_STORE, LOW, 4, "trap"},
		    {FAKE_LIVE_SYNC, ARCH_SYNC_ALL, 0, ""},
		    {FAKE_LIVE_STORE, LOW + 4, 1, "h"},
		    {FAKE_LIVE_SYNC, ARCH_SYNC_DATA, 0, ""},
		    {FAKE_LIVE_END, 0, 0, ""}};
	struct ctx *c = *state;
	struct vp_live *l = live(c);
	const struct fake_event *e;
	size_t i = 0, n = 0;

	assert_int_equal(vp_live_store(l, vp_gpa(LOW), "trap", 4), VP_OK);
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_ALL, VP_NO_DEADLINE, &c->diag), VP_OK);
	assert_int_equal(vp_live_store(l, vp_gpa(LOW + 4), "h", 1), VP_OK);
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_NONE, 1, &c->diag), VP_OK);
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_ALL, 1, &c->diag), VP_E_DEADLINE);
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_DATA, VP_NO_DEADLINE, &c->diag), VP_OK);
	vp_live_close(l);
	for (; (e = fake_event(c->f, i)); i++) {
		if (e->op < FAKE_LIVE_BEGIN || e->op > FAKE_LIVE_END)
			continue;
		assert_true(n < sizeof(want) / sizeof(want[0]));
		assert_int_equal(e->op, want[n].op);
		assert_int_equal(e->at, want[n].at);
		assert_int_equal(e->len, want[n].len);
		assert_memory_equal(e->bytes, want[n].bytes, want[n].len);
		n++;
	}
	assert_int_equal(n, sizeof(want) / sizeof(want[0]));
	assert_string_equal(fake_violation(c->f), "");
}

/* Two stores, a word and what is none, and a sync: what came of them. */
static void test_each_live_failure_is_handed_through(void **state)
{
	static const struct {
		enum fake_op op;
		uint64_t nth;
		bool for_good;
		int open, first, second, sync;
		const char *word, *bytes;
	} rows[] = {
		{FAKE_LIVE_BEGIN, 1, false, VP_E_IO, 0, 0, 0, "0123", "9abc"},
		/* made, though nobody was told */
		{FAKE_LIVE_STORE, 1, false, 0, VP_E_IO, 0, 0, "ABCD", "WXYZ"},
		{FAKE_LIVE_STORE, 1, true, 0, VP_E_IO, VP_E_IO, 0, "0123", "WXbc"},
		{FAKE_LIVE_STORE, 2, false, 0, 0, VP_E_IO, 0, "ABCD", "WXbc"},
		{FAKE_LIVE_STORE, 2, true, 0, 0, VP_E_IO, 0, "ABCD", "WXbc"},
		{FAKE_LIVE_SYNC, 1, false, 0, 0, 0, VP_E_IO, "ABCD", "WXYZ"},
		{FAKE_LIVE_SYNC, 1, true, 0, 0, 0, VP_E_IO, "ABCD", "WXYZ"},
	};
	struct ctx *c = *state;
	struct vp_live *l;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memcpy(fake_mem(c->f, vp_gpa(LOW), 16), "0123456789abcdef", 16);
		fake_fail_op(c->f, rows[i].op, rows[i].nth, VP_E_IO, rows[i].for_good);
		assert_int_equal(vp_live_open(c->t, &c->diag, &l), rows[i].open);
		if (rows[i].open == VP_OK) {
			assert_int_equal(vp_live_store(l, vp_gpa(LOW), "ABCD", 4), rows[i].first);
			assert_int_equal(vp_live_store(l, vp_gpa(LOW + 9), "WXYZ", 4),
					 rows[i].second);
			assert_int_equal(vp_live_sync(l, ARCH_SYNC_ALL, VP_NO_DEADLINE, &c->diag),
					 rows[i].sync);
			vp_live_close(l);
		}
		assert_memory_equal(fake_mem(c->f, vp_gpa(LOW), 4), rows[i].word, 4);
		assert_memory_equal(fake_mem(c->f, vp_gpa(LOW + 9), 4), rows[i].bytes, 4);
		assert_false(fake_lives(c->f));
		fake_fail_op(c->f, rows[i].op, 0, VP_OK, false);
	}
	assert_string_equal(fake_violation(c->f), "");
}

static void test_live_refuses_what_does_not_run(void **state)
{
	static const struct {
		enum vp_run_state state;
		int want;
	} rows[] = {
		{VP_RUN_PAUSED, VP_E_DISCIPLINE},
		{VP_RUN_MIGRATING, VP_E_MIGRATING},
		{VP_RUN_SHUTDOWN, VP_E_SHUTDOWN},
		{VP_RUN_PANICKED, VP_E_PANICKED},
	};
	struct ctx *c = *state;
	struct vp_live *l;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_state(c->f, rows[i].state, "x");
		assert_int_equal(vp_live_open(c->t, &c->diag, &l), rows[i].want);
		assert_false(fake_lives(c->f));
	}
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(test_live_stores_need_the_capability),
		ROW(test_live_and_armed_exclude_each_other),
		ROW(test_a_live_store_lies_in_one_range),
		ROW(test_live_stores_and_syncs_are_logged_in_order),
		ROW(test_each_live_failure_is_handed_through),
		ROW(test_live_refuses_what_does_not_run),
	};

	return cmocka_run_group_tests_name("target_live", tests, NULL, NULL);
}
