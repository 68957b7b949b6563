// SPDX-License-Identifier: LGPL-2.1-or-later
/* The x86-64 page walk on hand-built tables, sound and hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "arch/x86-64/regs.h"
#include "tests/lib/tables.h"

#define ROOT 0x1000ull
#define P    1ull
#define RW   2ull
#define US   4ull
#define PS   0x80ull
#define NX   (1ull << 63)

#define VA   0xffffffff81234567ull
#define PAGE 0x000f00d234567000ull /* an address with bits up to 51 */

static const struct arch_ops *ops(void)
{
	return arch_get(ARCH_X86_64);
}

static struct arch_mmu mmu_of(unsigned levels)
{
	return (struct arch_mmu){
		.root = {ROOT},
		.levels = levels,
		.granule_log = 12,
		.va_bits = levels == 5 ? 57 : 48,
	};
}

static unsigned shift_of(unsigned level)
{
	return 12 + 9 * (level - 1);
}

/* Where the entry for va lies in the table of that level; table number n lies at (n + 1) pages. */
static uint64_t slot(unsigned levels, unsigned level, uint64_t va)
{
	return ROOT + 0x1000 * (levels - level) + 8 * (va / (1ull << shift_of(level)) % 512);
}

/* Tables down to `leaf`, all permissions given; the leaf maps to pa. */
static void build(struct tables *t, unsigned levels, unsigned leaf, uint64_t va, uint64_t pa)
{
	memset(t, 0, sizeof(*t));
	for (unsigned level = levels; level > leaf; level--)
		tables_set(t, slot(levels, level, va),
			   (ROOT + 0x1000 * (levels - level + 1)) | P | RW | US);
	tables_set(t, slot(levels, leaf, va), pa | P | RW | US | (leaf > 1 ? PS : 0));
}

static void change(struct tables *t, uint64_t at, uint64_t set, uint64_t clear)
{
	for (unsigned i = 0; i < t->n; i++) {
		if (t->e[i].at != at)
			continue;
		t->e[i].entry = (t->e[i].entry | set) & ~clear;
		return;
	}
	fail();
}

static int walk(const struct arch_mmu *mmu, uint64_t va, struct tables *t, struct arch_xlate *x)
{
	memset(x, 0xa5, sizeof(*x));
	t->reads = 0;
	return ops()->walk(mmu, vp_gva(va), tables_fetch, t, x);
}

static void test_every_page_size_is_found_at_both_depths(void **state)
{
	(void)state;
	for (unsigned levels = 4; levels <= 5; levels++) {
		for (unsigned leaf = 1; leaf <= 3; leaf++) {
			uint64_t mask = (1ull << shift_of(leaf)) - 1;
			struct arch_mmu mmu = mmu_of(levels);
			struct arch_xlate x;
			struct tables t;

			build(&t, levels, leaf, VA, PAGE & ~mask);
			assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
			assert_true(x.present && x.writable && x.executable && x.user);
			assert_int_equal(x.gpa.v, (PAGE & ~mask) | (VA & mask));
			assert_int_equal(x.page_log, shift_of(leaf));
			assert_int_equal(t.reads, levels - leaf + 1);

			/* PAT, protection key and ignored bits are no part of the address. */
			change(&t, slot(levels, leaf, VA), 0x7ff0000000000e78ull, 0);
			if (leaf > 1)
				change(&t, slot(levels, leaf, VA), 1 << 12, 0);
			assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
			assert_int_equal(x.gpa.v, (PAGE & ~mask) | (VA & mask));
		}
	}
}

static void test_permissions_of_all_levels_combine(void **state)
{
	(void)state;
	for (unsigned leaf = 1; leaf <= 3; leaf++) {
		for (unsigned level = leaf; level <= 5; level++) {
			struct arch_mmu mmu = mmu_of(5);
			uint64_t at = slot(5, level, VA);
			struct arch_xlate x;
			struct tables t;

			build(&t, 5, leaf, VA, 0);
			change(&t, at, 0, RW);
			assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
			assert_true(x.present && !x.writable && x.executable && x.user);
			change(&t, at, RW, US);
			assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
			assert_true(x.present && x.writable && x.executable && !x.user);
			change(&t, at, US | NX, 0);
			assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
			assert_true(x.present && x.writable && !x.executable && x.user);
		}
	}
}

static void test_what_is_not_present_says_how_much_is_missing(void **state)
{
	(void)state;
	for (unsigned level = 1; level <= 5; level++) {
		struct arch_mmu mmu = mmu_of(5);
		struct arch_xlate x;
		struct tables t;

		build(&t, 5, 1, VA, PAGE);
		/* The other bits of an absent entry are the guest's own: swap, L1TF's inversion. */
		change(&t, slot(5, level, VA), ~0ull, P);
		assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
		assert_false(x.present || x.writable || x.executable || x.user);
		assert_int_equal(x.gpa.v, 0);
		assert_int_equal(x.page_log, shift_of(level));
		assert_int_equal(t.reads, 6 - level);
	}
}

static void test_non_canonical_addresses_are_unmapped(void **state)
{
	static const struct {
		unsigned levels;
		uint64_t va;
		int err;
	} rows[] = {
		{4, 0x00007fffffffffff, VP_OK},         {4, 0x0000800000000000, VP_E_UNMAPPED},
		{4, 0xffff7fffffffffff, VP_E_UNMAPPED}, {4, 0xffff800000000000, VP_OK},
		{4, 0x7fffffffffffffff, VP_E_UNMAPPED}, {4, UINT64_MAX, VP_OK},
		{5, 0x00ffffffffffffff, VP_OK},         {5, 0x0100000000000000, VP_E_UNMAPPED},
		{5, 0xfeffffffffffffff, VP_E_UNMAPPED}, {5, 0xff00000000000000, VP_OK},
		{5, 0x0000800000000000, VP_OK},         {5, 0, VP_OK},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arch_mmu mmu = mmu_of(rows[i].levels);
		struct arch_xlate x;
		struct tables t;

		build(&t, rows[i].levels, 1, rows[i].va, PAGE);
		assert_int_equal(walk(&mmu, rows[i].va, &t, &x), rows[i].err);
		assert_int_equal(t.reads, rows[i].err ? 0 : rows[i].levels);
	}
}

static void test_reserved_bits_are_corruption(void **state)
{
	struct arch_mmu mmu = mmu_of(5);
	struct arch_xlate x, untouched;
	struct tables t;

	(void)state;
	memset(&untouched, 0xa5, sizeof(untouched));
	for (unsigned level = 4; level <= 5; level++) { /* there is no page of 512 GiB */
		build(&t, 5, 1, VA, PAGE);
		change(&t, slot(5, level, VA), PS, 0);
		assert_int_equal(walk(&mmu, VA, &t, &x), VP_E_GUEST_CORRUPT);
		assert_memory_equal(&x, &untouched, sizeof(x));
	}
	for (unsigned leaf = 2; leaf <= 3; leaf++) {
		for (unsigned bit = 13; bit < shift_of(leaf); bit++) {
			build(&t, 5, leaf, VA, 0);
			change(&t, slot(5, leaf, VA), 1ull << bit, 0);
			assert_int_equal(walk(&mmu, VA, &t, &x), VP_E_GUEST_CORRUPT);
		}
	}
	mmu.flags = X86_64_MMU_NO_NX;
	for (unsigned level = 1; level <= 5; level++) {
		build(&t, 5, 1, VA, PAGE);
		assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
		change(&t, slot(5, level, VA), NX, 0);
		assert_int_equal(walk(&mmu, VA, &t, &x), VP_E_GUEST_CORRUPT);
	}
}

static void test_a_table_that_points_to_itself_ends(void **state)
{
	struct tables t = {0};
	struct arch_mmu mmu = mmu_of(5);
	struct arch_xlate x;

	(void)state;
	for (unsigned i = 0; i < 512; i += 511)
		tables_set(&t, ROOT + 8 * i, ROOT | P | RW | NX);
	assert_int_equal(walk(&mmu, UINT64_MAX, &t, &x), VP_OK);
	assert_int_equal(t.reads, 5);
	assert_int_equal(x.gpa.v, ROOT | 0xfff);
	assert_false(x.executable || x.user);
}

static void test_a_failing_reader_is_handed_through(void **state)
{
	struct arch_mmu mmu = mmu_of(5);
	struct arch_xlate x;
	struct tables t;

	(void)state;
	for (unsigned n = 1; n <= 5; n++) {
		build(&t, 5, 1, VA, PAGE);
		t.fail_at = n;
		t.fail_with = VP_E_DISCONNECTED;
		assert_int_equal(walk(&mmu, VA, &t, &x), VP_E_DISCONNECTED);
		assert_int_equal(t.reads, n);
	}
	/* A table outside RAM is the reader's word, too. */
	build(&t, 5, 1, VA, PAGE);
	change(&t, slot(5, 3, VA), 0x000ffffffffff000, 0);
	assert_int_equal(walk(&mmu, VA, &t, &x), VP_E_RANGE);
}

static void test_an_mmu_that_does_not_exist_is_refused(void **state)
{
	const struct arch_mmu good = mmu_of(4);
	struct arch_mmu bad[6];
	struct tables t = {0};
	struct arch_xlate x;

	(void)state;
	for (size_t i = 0; i < 6; i++)
		bad[i] = good;
	bad[0].levels = 3;
	bad[1].levels = 6;
	bad[2].va_bits = 57;
	bad[3].granule_log = 14;
	bad[4].root = vp_gpa(ROOT + 8);
	bad[5].root = vp_gpa(1ull << 52);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(walk(&bad[i], VA, &t, &x), VP_E_UNSUPPORTED);
	assert_int_equal(t.reads, 0);
}

static void test_random_tables_never_lead_astray(void **state)
{
	uint64_t seed = 0x452821e638d01377ull;
	unsigned found = 0;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		struct arch_mmu mmu = mmu_of(4 + i % 2);
		struct arch_xlate x;
		int r = ops()->walk(&mmu, vp_gva(VA ^ seed >> 20), tables_fetch_random, &seed, &x);

		assert_true(r == VP_OK || r == VP_E_GUEST_CORRUPT || r == VP_E_UNMAPPED);
		if (r != VP_OK || !x.present)
			continue;
		found++;
		assert_true(x.page_log == 12 || x.page_log == 21 || x.page_log == 30);
		assert_int_equal(x.gpa.v >> 52, 0);
	}
	assert_true(found > 1000);
}

static struct arch_regs regs_of(uint64_t cr3)
{
	struct arch_regs r = {.have = (1u << ARCH_REG_MAX) - 1};

	r.v[X86_64_REG_CR0] = 0x80050033; /* as Linux runs */
	r.v[X86_64_REG_CR3] = cr3;
	r.v[X86_64_REG_CR4] = 0x3506f0;
	r.v[X86_64_REG_EFER] = 0xd01;
	return r;
}

static void test_registers_give_the_kernels_own_root(void **state)
{
	struct arch_regs r = regs_of(0x0000000012340000ull);
	struct arch_mmu mmu;

	(void)state;
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.root.v, 0x12340000);
	assert_int_equal(mmu.levels, 4);
	assert_int_equal(mmu.va_bits, 48);
	assert_int_equal(mmu.granule_log, 12);
	assert_int_equal(mmu.flags, 0);
	assert_int_equal(mmu.n_alt, 0);

	/* PTI's user half: the pair's first page is the kernel's. PCID and LAM bits do not count. */
	r = regs_of(0x6000000012341fffull);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.root.v, 0x12340000);
	assert_int_equal(mmu.n_alt, 1);
	assert_int_equal(mmu.alt[0].v, 0x12341000);

	r.v[X86_64_REG_CR4] |= X86_64_CR4_LA57;
	r.v[X86_64_REG_EFER] &= ~X86_64_EFER_NXE;
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.levels, 5);
	assert_int_equal(mmu.va_bits, 57);
	assert_int_equal(mmu.flags, X86_64_MMU_NO_NX);
}

static void test_registers_without_long_mode_are_refused(void **state)
{
	static const unsigned needed[] = {X86_64_REG_CR0, X86_64_REG_CR3, X86_64_REG_CR4,
					  X86_64_REG_EFER};
	struct arch_regs r;
	struct arch_mmu mmu;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		r = regs_of(0x1000);
		r.have &= ~(1u << needed[i]);
		assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_E_UNSUPPORTED);
		if (needed[i] == X86_64_REG_CR3)
			continue;
		r = regs_of(0x1000);
		r.v[needed[i]] = 0;
		assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_E_UNSUPPORTED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_page_size_is_found_at_both_depths),
		cmocka_unit_test(test_permissions_of_all_levels_combine),
		cmocka_unit_test(test_what_is_not_present_says_how_much_is_missing),
		cmocka_unit_test(test_non_canonical_addresses_are_unmapped),
		cmocka_unit_test(test_reserved_bits_are_corruption),
		cmocka_unit_test(test_a_table_that_points_to_itself_ends),
		cmocka_unit_test(test_a_failing_reader_is_handed_through),
		cmocka_unit_test(test_an_mmu_that_does_not_exist_is_refused),
		cmocka_unit_test(test_random_tables_never_lead_astray),
		cmocka_unit_test(test_registers_give_the_kernels_own_root),
		cmocka_unit_test(test_registers_without_long_mode_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
