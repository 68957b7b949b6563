/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inproc driver on a VM of this very process: two vCPUs that count in user mode. */
/* Runs as root: /dev/kvm. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86-64/regs.h"
#include "protocol/bytes.h"
#include "tests/lib/mini.h"
#include "vmm-agent/base/clock.h"

#define VCPUS 2
#define HOLDS 1000

static int start(void **state)
{
	*state = mini_missing() ? NULL : mini_start(VCPUS, VCPUS);
	return 0;
}

static int stop(void **state)
{
	mini_stop(*state);
	return 0;
}

static struct mini *mini(void **state)
{
	if (!*state) {
		print_message("%s\n", mini_missing());
		skip();
	}
	return *state;
}

static struct vp_paused *hold(struct mini *m)
{
	struct vp_paused *p = NULL;
	int r = vp_pause(m->t, clock_in(20 * CLOCK_NS_PER_SEC), &m->diag, &p);

	if (r < 0)
		fail_msg("%s", m->diag.text);
	return p;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void say(const char *what, uint64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), by_value);
	print_message("%s: median %" PRIu64 " us, 99 of 100 %" PRIu64 " us\n", what,
		      ns[n / 2] / 1000, ns[n * 99 / 100] / 1000);
}

static void test_held_vcpus_stand_still_and_go_on(void **state)
{
	static uint64_t in[HOLDS], out[HOLDS];
	struct mini *m = mini(state);

	mini_assert_runs(m);
	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	for (unsigned n = 0; n < HOLDS; n++) {
		uint64_t count[VCPUS], t0 = clock_now(), t1, t2;
		struct vp_paused *p = hold(m);

		t1 = clock_now();
		for (unsigned i = 0; i < VCPUS; i++) {
			struct arch_regs regs;
			struct arch_mmu mmu;

			assert_int_equal(vp_regs(p, i, &regs), VP_OK);
			assert_in_range(regs.v[ARCH_REG_PC], MINI_CODE, MINI_LOOP_END);
			assert_int_equal(regs.v[X86_64_REG_CR3], 0x1000);
			assert_int_equal(regs.v[X86_64_REG_CS] & 3, 3);
			assert_int_equal(arch_get(ARCH_X86_64)->mmu_from_regs(&regs, &mmu), VP_OK);
			count[i] = mini_counter(m, i);
		}
		if (n % 100 == 0)
			usleep(1000);
		for (unsigned i = 0; i < VCPUS; i++)
			assert_int_equal(mini_counter(m, i), count[i]);
		t2 = clock_now();
		assert_int_equal(vp_resume(p), VP_OK);
		in[n] = t1 - t0;
		out[n] = clock_now() - t2;
		if (n % 50 == 0)
			mini_assert_runs(m);
	}
	vp_disarm(m->t);
	mini_assert_runs(m);
	say("hold", in, HOLDS);
	say("release", out, HOLDS);
}

static void test_a_write_is_marked_dirty_and_executed(void **state)
{
	struct mini *m = mini(state);

	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	for (uint32_t n = 2; n < 200; n++) {
		struct vp_paused *p = hold(m);
		uint64_t until = clock_in(20 * CLOCK_NS_PER_SEC);
		uint8_t imm[4], back[4];

		vp_st32(imm, n);
		assert_int_equal(vp_write(p, vp_gpa(MINI_VALUE), imm, 4), VP_OK);
		assert_int_equal(vp_read(m->t, vp_gpa(MINI_VALUE), back, 4), VP_OK);
		assert_memory_equal(imm, back, 4);
		assert_int_equal(m->n_dirty, n - 1);
		assert_int_equal(m->dirty_gpa, MINI_VALUE);
		assert_int_equal(m->dirty_len, 4);
		assert_int_equal(vp_sync(p), VP_OK);
		assert_int_equal(vp_resume(p), VP_OK);
		for (unsigned i = 0; i < VCPUS; i++) {
			while (*(volatile uint64_t *)mini_at(m, MINI_COUNTERS + i * 64 + 8) != n &&
			       clock_left(until) > 0)
				;
			assert_int_equal(*mini_at(m, MINI_COUNTERS + i * 64 + 8), n);
		}
	}
	vp_disarm(m->t);
	assert_true(vp_target_caps(m->t) & VP_CAP_WRITE_DIRTY);
	assert_true(vp_target_caps(m->t) & VP_CAP_HOLD_HERE);
}

static void test_a_vcpu_that_stays_away_from_the_gate_means_deadline(void **state)
{
	struct mini *m = mini(state);
	struct vp_paused *p;

	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	for (unsigned n = 0; n < 20; n++) {
		uint64_t was, t0;

		__atomic_store_n(&m->stuck, 2, __ATOMIC_SEQ_CST);
		mini_kick(m, 1); /* into the trap */
		mini_ask_exit(m, 1, 1);
		usleep(2000);
		t0 = clock_now();
		assert_int_equal(vp_pause(m->t, clock_in(20000000), &m->diag, &p), VP_E_DEADLINE);
		/* a busy host may keep the other one away, too */
		assert_non_null(strstr(m->diag.text, "vCPU"));
		assert_true(clock_now() - t0 < 10 * CLOCK_NS_PER_SEC);
		was = mini_counter(m, 0);
		while (mini_counter(m, 0) == was)
			;
		mini_ask_exit(m, 1, 0);
		__atomic_store_n(&m->stuck, 0, __ATOMIC_SEQ_CST);
		mini_assert_runs(m); /* no request to leave KVM_RUN is left behind */
	}
	p = hold(m);
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(m->t);
}

static void test_a_vcpu_that_left_counts_as_held(void **state)
{
	struct mini *m = mini(state);
	struct arch_regs regs;
	struct vp_paused *p;
	uint64_t was;

	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	for (unsigned n = 0; n < 50; n++) {
		__atomic_store_n(&m->away, 1, __ATOMIC_SEQ_CST);
		mini_ask_exit(m, 0, 1);
		mini_kick(m, 0);
		while (!mini_flag(&m->is_away, 0))
			usleep(50);
		p = hold(m);
		assert_int_equal(vp_regs(p, 0, &regs), VP_OK);
		assert_in_range(regs.v[ARCH_REG_PC], MINI_CODE, MINI_LOOP_END);
		was = mini_counter(m, 0);
		/* it comes back while it is held, and waits */
		mini_ask_exit(m, 0, 0);
		__atomic_store_n(&m->away, 0, __ATOMIC_SEQ_CST);
		usleep(2000);
		assert_int_equal(mini_counter(m, 0), was);
		assert_int_equal(vp_resume(p), VP_OK);
		mini_assert_runs(m);
	}
	vp_disarm(m->t);
}

static void test_changed_slots_are_noticed(void **state)
{
	struct mini *m = mini(state);
	struct vp_paused *p;
	uint8_t byte = 0;
	char words[128];

	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	assert_int_equal(vp_inproc_set_slots(m->vp, m->slots, 1, NULL, 0), 0);
	assert_int_equal(vp_pause(m->t, clock_in(CLOCK_NS_PER_SEC), &m->diag, &p),
			 VP_E_GUEST_CHANGED);
	vp_disarm(m->t);
	vp_target_close(m->t);

	/* and in the window */
	assert_int_equal(drv_inproc_open(m->vp, &m->diag, &m->t), VP_OK);
	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	p = hold(m);
	assert_int_equal(vp_inproc_set_slots(m->vp, m->slots, 2, NULL, 0), 0);
	assert_int_equal(vp_write(p, vp_gpa(0x30000), &byte, 1), VP_E_GUEST_CHANGED);
	assert_int_equal(vp_read(m->t, vp_gpa(0x30000), &byte, 1), VP_E_GUEST_CHANGED);
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(m->t);
	vp_target_close(m->t);
	mini_assert_runs(m);

	/* an overlap is refused, and nothing is left to write to */
	m->slots[1].gpa = MINI_RAM - 4096;
	assert_true(vp_inproc_set_slots(m->vp, m->slots, 2, words, sizeof(words)) < 0);
	assert_non_null(strstr(words, "overlap"));
	m->t = NULL;
	assert_int_equal(drv_inproc_open(m->vp, &m->diag, &m->t), VP_E_USAGE);
}

static void test_read_only_slots_are_not_ram(void **state)
{
	struct mini *m = mini(state);
	const struct vp_ram *ram;
	vp_gpa_t found[4];
	uint8_t byte;
	size_t n;

	assert_int_equal(vp_ram(m->t, &ram, &n, &m->diag), VP_OK);
	assert_int_equal(n, 1);
	assert_int_equal(ram[0].len, MINI_RAM);
	assert_int_equal(vp_read(m->t, vp_gpa(MINI_ROM_AT), &byte, 1), VP_E_RANGE);
	assert_int_equal(vp_find_pages(m->t, mini_loop, MINI_LOOP_LEN, found, 4, &n, &m->diag),
			 VP_OK);
	assert_int_equal(n, 1);
	assert_int_equal(found[0].v, MINI_CODE);
}

static void test_states_are_refused(void **state)
{
	static const struct {
		int state, err;
	} rows[] = {
		{VP_INPROC_RUNNING, VP_OK},
		{VP_INPROC_PAUSED, VP_OK},
		{VP_INPROC_MIGRATING, VP_E_MIGRATING},
		{VP_INPROC_ENDED, VP_E_SHUTDOWN},
		{17, VP_E_PROTO},
	};
	struct mini *m = mini(state);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		m->state = rows[i].state;
		assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), rows[i].err);
		vp_disarm(m->t);
	}
}

static void test_registers_without_a_window(void **state)
{
	struct mini *m = mini(state);
	struct arch_regs regs;

	for (unsigned i = 0; i < VCPUS; i++) {
		assert_int_equal(vp_peek_regs(m->t, i, &regs, &m->diag), VP_OK);
		assert_in_range(regs.v[ARCH_REG_PC], MINI_CODE, MINI_LOOP_END);
	}
	mini_assert_runs(m);
}

static void test_what_a_vmm_hands_over_is_checked(void **state)
{
	struct mini *m = mini(state);
	struct vp_inproc_vm vm = mini_describe(m);
	struct vp_inproc *vp = NULL;
	char words[128] = "";

	vm.size--;
	assert_true(vp_inproc_open(&vm, &vp, words, sizeof(words)) < 0);
	assert_true(words[0] != '\0');
	vm = mini_describe(m);
	vm.n_vcpus = 0;
	assert_true(vp_inproc_open(&vm, &vp, NULL, 0) < 0);
	vm = mini_describe(m);
	vm.kick = NULL;
	assert_true(vp_inproc_open(&vm, &vp, NULL, 0) < 0);
	m->slots[0].len++;
	vm = mini_describe(m);
	assert_true(vp_inproc_open(&vm, &vp, NULL, 0) < 0);
	m->slots[0].len--;
	m->slots[0].flags = 8;
	assert_true(vp_inproc_open(&vm, &vp, NULL, 0) < 0);
	assert_null(vp);
	assert_true(vp_inproc_gate(m->vp, VCPUS) < 0);
}

#define ROW(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(test_held_vcpus_stand_still_and_go_on),
		ROW(test_a_write_is_marked_dirty_and_executed),
		ROW(test_a_vcpu_that_stays_away_from_the_gate_means_deadline),
		ROW(test_a_vcpu_that_left_counts_as_held),
		ROW(test_changed_slots_are_noticed),
		ROW(test_read_only_slots_are_not_ram),
		ROW(test_states_are_refused),
		ROW(test_registers_without_a_window),
		ROW(test_what_a_vmm_hands_over_is_checked),
	};

	if (mini_missing()) {
		printf("%s\n", mini_missing());
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
