// SPDX-License-Identifier: LGPL-2.1-or-later
/* The riscv64 page walk on hand-built tables for every depth and size, sound and hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "arch/riscv64/regs.h"
#include "protocol/bytes.h"
#include "tests/lib/tables.h"

#define ROOT 0x80000000ull
#define V    (1ull << 0)
#define R    (1ull << 1)
#define W    (1ull << 2)
#define X    (1ull << 3)
#define U    (1ull << 4)
#define G    (1ull << 5)
#define A    (1ull << 6)
#define D    (1ull << 7)
#define RSW  (3ull << 8)
#define PBMT (3ull << 61)
#define NC   (1ull << 61) /* non-cacheable memory, and I/O twice that */
#define N    (1ull << 63)

#define LEAF (V | R | W | X | G | A | D) /* kernel text that is writable, too */

/* Any physical address: 56 bits. */
#define PA 0x00a9b8c7d6e5f000ull

static const unsigned depths[] = {3, 4, 5};
#define DEPTHS (sizeof(depths) / sizeof(depths[0]))

static const struct arch_ops *ops(void)
{
	return arch_get(ARCH_RISCV64);
}

static struct arch_mmu mmu_of(unsigned levels)
{
	return (struct arch_mmu){
		.root = {ROOT},
		.levels = levels,
		.granule_log = 12,
		.va_bits = 12 + 9 * levels,
	};
}

/* Levels count down to 0, as in the manual. */
static unsigned shift_of(unsigned level)
{
	return 12 + 9 * level;
}

static uint64_t table_at(unsigned levels, unsigned level)
{
	return ROOT + (uint64_t)(levels - 1 - level) * 0x100000;
}

static uint64_t slot(unsigned levels, unsigned level, uint64_t va)
{
	return table_at(levels, level) + 8 * (va >> shift_of(level) & 511);
}

static void build(struct tables *t, unsigned levels, unsigned leaf, uint64_t va, uint64_t pa)
{
	memset(t, 0, sizeof(*t));
	for (unsigned level = levels - 1; level > leaf; level--)
		tables_set(t, slot(levels, level, va), table_at(levels, level - 1) >> 2 | V);
	tables_set(t, slot(levels, leaf, va), pa >> 2 | LEAF);
}

static void change(struct tables *t, uint64_t at, uint64_t set, uint64_t clear)
{
	for (unsigned i = 0; i < t->n; i++) {
		if (t->e[i].at != at)
			continue;
		t->e[i].entry = (t->e[i].entry & ~clear) | set;
		return;
	}
	fail();
}

static int walk(unsigned levels, uint64_t va, struct tables *t, struct arch_xlate *x)
{
	struct arch_mmu mmu = mmu_of(levels);

	memset(x, 0xa5, sizeof(*x));
	t->reads = 0;
	return ops()->walk(&mmu, vp_gva(va), tables_fetch, t, x);
}

/* Some address of the upper half with all index bits mixed. */
static uint64_t va_of(unsigned levels)
{
	unsigned bits = shift_of(levels) - 1;

	return ~0ull << bits | (0x1b6db6db6db6db6dull & ((1ull << bits) - 1));
}

static void test_every_page_size_is_found(void **state)
{
	unsigned sizes = 0;

	(void)state;
	for (size_t i = 0; i < DEPTHS; i++) {
		unsigned levels = depths[i];

		for (unsigned leaf = 0; leaf < levels; leaf++) {
			uint64_t mask = (1ull << shift_of(leaf)) - 1;
			uint64_t va = va_of(levels), pa = PA & ~mask;
			struct arch_xlate x;
			struct tables t;

			build(&t, levels, leaf, va, pa);
			assert_int_equal(walk(levels, va, &t, &x), VP_OK);
			assert_true(x.present && x.writable && x.executable && !x.user);
			assert_true(x.gpa.v == (pa | (va & mask)));
			assert_int_equal(x.page_log, shift_of(leaf));
			assert_int_equal(t.reads, levels - leaf);
			sizes++;

			/* Global, software bits, memory types: no address, no permission. A and D
			 * are the same whether hardware sets them or a fault does. */
			change(&t, slot(levels, leaf, va), RSW | NC, G | A | D);
			assert_int_equal(walk(levels, va, &t, &x), VP_OK);
			assert_true(x.present && x.writable && x.executable && !x.user);
			assert_true(x.gpa.v == (pa | (va & mask)));
			change(&t, slot(levels, leaf, va), NC << 1, NC);
			assert_int_equal(walk(levels, va, &t, &x), VP_OK);
			assert_true(x.gpa.v == (pa | (va & mask)));
			/* Tables may be global, and software has its bits there, too. */
			for (unsigned level = leaf + 1; level < levels; level++)
				change(&t, slot(levels, level, va), G | RSW, 0);
			assert_int_equal(walk(levels, va, &t, &x), VP_OK);
			assert_true(x.gpa.v == (pa | (va & mask)));
		}
	}
	assert_int_equal(sizes, 12);
}

/* Encoding of PTE R/W/X Fields (RV priv.), and what U is for a supervisor. */
static void test_permissions_are_the_leafs(void **state)
{
	static const struct {
		uint64_t bits;
		bool w, x, u;
	} rows[] = {
		{R, false, false, false},        {R | W, true, false, false},
		{X, false, true, false},         {R | X, false, true, false},
		{R | W | X, true, true, false},  {R | U, false, false, true},
		{R | W | U, true, false, true},  {X | U, false, false, true},
		{R | X | U, false, false, true}, {R | W | X | U, true, false, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned leaf = 0; leaf < 5; leaf++) {
			struct arch_xlate x;
			struct tables t;

			build(&t, 5, leaf, va_of(5), 0);
			change(&t, slot(5, leaf, va_of(5)), rows[i].bits, R | W | X | U);
			assert_int_equal(walk(5, va_of(5), &t, &x), VP_OK);
			assert_true(x.present);
			assert_int_equal(x.writable, rows[i].w);
			assert_int_equal(x.executable, rows[i].x);
			assert_int_equal(x.user, rows[i].u);
		}
	}
}

static void test_what_is_not_present_says_how_much_is_missing(void **state)
{
	(void)state;
	for (size_t i = 0; i < DEPTHS; i++) {
		for (unsigned level = 0; level < depths[i]; level++) {
			struct arch_xlate x;
			struct tables t;

			build(&t, depths[i], 0, va_of(depths[i]), 0);
			change(&t, slot(depths[i], level, va_of(depths[i])), ~V, V);
			assert_int_equal(walk(depths[i], va_of(depths[i]), &t, &x), VP_OK);
			assert_false(x.present || x.writable || x.executable || x.user);
			assert_int_equal(x.page_log, shift_of(level));
			assert_int_equal(x.gpa.v, 0);
			assert_int_equal(t.reads, depths[i] - level);
		}
	}
}

static void test_addresses_that_are_not_canonical_are_unmapped(void **state)
{
	(void)state;
	for (size_t i = 0; i < DEPTHS; i++) {
		unsigned levels = depths[i];
		uint64_t lowest = ~0ull << (shift_of(levels) - 1), highest = ~lowest;
		const uint64_t bad[] = {lowest - 1,
					highest + 1,
					1ull << 63,
					lowest & ~(1ull << 63),
					lowest & ~(1ull << shift_of(levels)),
					1ull << shift_of(levels)};
		const uint64_t good[] = {0, highest, lowest, UINT64_MAX};
		struct arch_xlate x;
		struct tables t;

		for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
			build(&t, levels, 0, lowest, 0);
			assert_int_equal(walk(levels, bad[j], &t, &x), VP_E_UNMAPPED);
			assert_int_equal(t.reads, 0);
		}
		for (size_t j = 0; j < sizeof(good) / sizeof(good[0]); j++) {
			build(&t, levels, 0, good[j], PA);
			assert_int_equal(walk(levels, good[j], &t, &x), VP_OK);
			assert_true(x.gpa.v == (PA | (good[j] & 0xfff)));
		}
	}
}

static void corrupt(unsigned levels, unsigned leaf, unsigned level, uint64_t set, uint64_t clear)
{
	struct arch_xlate x;
	struct tables t;

	build(&t, levels, leaf, va_of(levels), 0);
	change(&t, slot(levels, level, va_of(levels)), set, clear);
	assert_int_equal(walk(levels, va_of(levels), &t, &x), VP_E_GUEST_CORRUPT);
	assert_int_equal(t.reads, levels - level);
}

static void test_reserved_bits_and_encodings_are_corruption(void **state)
{
	(void)state;
	for (size_t i = 0; i < DEPTHS; i++) {
		unsigned levels = depths[i];

		for (unsigned level = 0; level < levels; level++) {
			for (unsigned bit = 54; bit <= 60; bit++) {
				corrupt(levels, 0, level, 1ull << bit, 0);
				corrupt(levels, level, level, 1ull << bit, 0);
			}
			corrupt(levels, level, level, PBMT, 0);
			corrupt(levels, level, level, W, R | X);
			corrupt(levels, level, level, W | X, R);
			corrupt(levels, level, level, W | U, R | X);
			if (level == 0) /* a table at the last level */
				corrupt(levels, 0, 0, 0, R | W | X | G | A | D);
		}
		for (unsigned level = 1; level < levels; level++) {
			static const uint64_t bad[] = {U, A, D, NC, NC << 1, PBMT, N};

			for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++)
				corrupt(levels, 0, level, bad[j], 0);
			/* A large page off its multiple, by each bit that must be clear. */
			for (unsigned bit = 12; bit < shift_of(level); bit++)
				corrupt(levels, level, level, 1ull << (bit - 2), 0);
			/* NAPOT is for the smallest pages alone. */
			corrupt(levels, level, level, N, 0);
			corrupt(levels, level, level, N | 8ull << 10, 0);
		}
	}
}

/* Svnapot: sixteen entries say the same, and the address says which page. */
static void test_napot_pages_are_64k(void **state)
{
	(void)state;
	for (size_t i = 0; i < DEPTHS; i++) {
		unsigned levels = depths[i];

		for (unsigned page = 0; page < 16; page++) {
			uint64_t va = (va_of(levels) & ~0xf000ull) | (uint64_t)page << 12;
			uint64_t pa = PA & ~0xffffull;
			struct arch_xlate x;
			struct tables t;

			build(&t, levels, 0, va, pa | 0x8000);
			change(&t, slot(levels, 0, va), N, X);
			assert_int_equal(walk(levels, va, &t, &x), VP_OK);
			assert_true(x.gpa.v == (pa | (va & 0xffff)));
			assert_int_equal(x.page_log, 16);
			assert_true(x.present && x.writable && !x.executable && !x.user);
			/* Other sizes have no encoding yet. */
			if (page == 8)
				continue;
			build(&t, levels, 0, va, pa | (uint64_t)page << 12);
			change(&t, slot(levels, 0, va), N, 0);
			assert_int_equal(walk(levels, va, &t, &x), VP_E_GUEST_CORRUPT);
		}
	}
}

static void test_a_table_that_points_to_itself_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < DEPTHS; i++) {
		struct tables t = {0};
		struct arch_xlate x;

		tables_set(&t, ROOT + 8 * 511, ROOT >> 2 | V);
		assert_int_equal(walk(depths[i], UINT64_MAX, &t, &x), VP_E_GUEST_CORRUPT);
		assert_int_equal(t.reads, depths[i]);
	}
}

static void test_a_failing_reader_is_handed_through(void **state)
{
	(void)state;
	for (size_t i = 0; i < DEPTHS; i++) {
		for (unsigned n = 1; n <= depths[i]; n++) {
			struct arch_xlate x;
			struct tables t;

			build(&t, depths[i], 0, va_of(depths[i]), 0);
			t.fail_at = n;
			t.fail_with = VP_E_DISCONNECTED;
			assert_int_equal(walk(depths[i], va_of(depths[i]), &t, &x),
					 VP_E_DISCONNECTED);
			assert_int_equal(t.reads, n);
		}
	}
}

static void test_an_mmu_that_does_not_exist_is_refused(void **state)
{
	const struct arch_mmu good = mmu_of(4);
	struct arch_mmu bad[9];
	struct tables t = {0};
	struct arch_xlate x;

	(void)state;
	for (size_t i = 0; i < 9; i++)
		bad[i] = good;
	bad[0].levels = 3;
	bad[1].levels = 0;
	bad[2].va_bits = 39;
	bad[3].va_bits = 49;
	bad[4].granule_log = 14;
	bad[5].root = vp_gpa(ROOT + 8);
	bad[6].root = vp_gpa(1ull << 56);
	bad[7] = mmu_of(2);
	bad[8] = mmu_of(6); /* Sv64 is but a name */
	for (size_t i = 0; i < 9; i++)
		assert_int_equal(ops()->walk(&bad[i], vp_gva(UINT64_MAX), tables_fetch, &t, &x),
				 VP_E_UNSUPPORTED);
	memset(&bad[0], 0xff, sizeof(bad[0]));
	bad[0].lpa52 = true;
	assert_int_equal(ops()->walk(&bad[0], vp_gva(UINT64_MAX), tables_fetch, &t, &x),
			 VP_E_UNSUPPORTED);
	assert_int_equal(t.reads, 0);
}

/* Random entries that look plausible here: half of them tables, sizes mostly aligned. */
static int fetch_random(void *ctx, vp_gpa_t at, void *buf, size_t len)
{
	uint64_t *seed = ctx;
	int r = tables_fetch_random(ctx, at, buf, len);
	uint64_t v = *seed;

	if (v >> 62)
		v &= 0x003ffffff00003ffull;
	if (v >> 40 & 7)
		v |= V;
	if (v >> 43 & 1)
		v &= ~(R | W | X | U | A | D);
	vp_st64(buf, v);
	return r;
}

static void test_random_tables_never_lead_astray(void **state)
{
	uint64_t seed = 0x452821e638d01377ull;
	unsigned found = 0;

	(void)state;
	for (unsigned i = 0; i < 240000; i++) {
		struct arch_mmu mmu = mmu_of(depths[i % DEPTHS]);
		struct arch_xlate x;
		int r;

		r = ops()->walk(&mmu, vp_gva(va_of(mmu.levels) ^ (seed & 0xfffffff)), fetch_random,
				&seed, &x);
		assert_true(r == VP_OK || r == VP_E_GUEST_CORRUPT);
		if (r != VP_OK || !x.present)
			continue;
		found++;
		assert_in_range(x.page_log, 12, 48);
		assert_int_equal(x.gpa.v >> 56, 0);
	}
	assert_true(found > 1000);
}

static struct arch_regs regs_of(uint64_t satp)
{
	struct arch_regs r = {.have = 1u << RISCV64_REG_SATP | 1u << RISCV64_REG_PRIV};

	r.v[RISCV64_REG_SATP] = satp;
	r.v[RISCV64_REG_PRIV] = 1;
	return r;
}

static void test_satp_gives_root_and_depth(void **state)
{
	(void)state;
	for (size_t i = 0; i < DEPTHS; i++) {
		/* MODE 8 to 10, an ASID, and all bits of the PPN */
		struct arch_regs r = regs_of((uint64_t)(depths[i] + 5) << 60 | 0xbeefull << 44 |
					     0xfedcba98765ull);
		struct arch_mmu mmu;

		for (uint64_t priv = 0; priv <= 3; priv++) {
			r.v[RISCV64_REG_PRIV] = priv;
			if (priv == 2) {
				assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_E_UNSUPPORTED);
				continue;
			}
			memset(&mmu, 0xa5, sizeof(mmu));
			assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
			assert_true(mmu.root.v == 0xfedcba98765000ull);
			assert_int_equal(mmu.levels, depths[i]);
			assert_int_equal(mmu.granule_log, 12);
			assert_int_equal(mmu.va_bits, 12 + 9 * depths[i]);
			assert_false(mmu.lpa52);
			assert_int_equal(mmu.flags, 0);
			assert_int_equal(mmu.n_alt, 0);
		}
	}
}

static void test_registers_that_do_not_tell_are_refused(void **state)
{
	struct arch_mmu mmu;
	struct arch_regs r;

	(void)state;
	for (uint64_t mode = 0; mode < 16; mode++) {
		r = regs_of(mode << 60 | 0x80000);
		assert_int_equal(ops()->mmu_from_regs(&r, &mmu),
				 mode >= 8 && mode <= 10 ? VP_OK : VP_E_UNSUPPORTED);
	}
	r = regs_of(9ull << 60 | 0x80000);
	r.have &= ~(1u << RISCV64_REG_SATP);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_E_UNSUPPORTED);
	/* The privilege is asked only where the VMM gives it. */
	r = regs_of(9ull << 60 | 0x80000);
	r.v[RISCV64_REG_PRIV] = 2;
	r.have &= ~(1u << RISCV64_REG_PRIV);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_page_size_is_found),
		cmocka_unit_test(test_permissions_are_the_leafs),
		cmocka_unit_test(test_what_is_not_present_says_how_much_is_missing),
		cmocka_unit_test(test_addresses_that_are_not_canonical_are_unmapped),
		cmocka_unit_test(test_reserved_bits_and_encodings_are_corruption),
		cmocka_unit_test(test_napot_pages_are_64k),
		cmocka_unit_test(test_a_table_that_points_to_itself_ends),
		cmocka_unit_test(test_a_failing_reader_is_handed_through),
		cmocka_unit_test(test_an_mmu_that_does_not_exist_is_refused),
		cmocka_unit_test(test_random_tables_never_lead_astray),
		cmocka_unit_test(test_satp_gives_root_and_depth),
		cmocka_unit_test(test_registers_that_do_not_tell_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
