// SPDX-License-Identifier: LGPL-2.1-or-later
/* The walk of a 32-bit Arm guest: short descriptors, domains, and the MMU off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "arch/thumb2/regs.h"
#include "tests/lib/tables.h"

#define ROOT    0x80004000ull
#define PAGES   0x80100400ull
#define VA      0xc0123456ull
#define CLIENT  0x00000020u /* domain 1, a client below */
#define DACR    0x4u
#define AP_RW   0x00000400u /* of a section: AP[2:0] is 001 */
#define SECTION (0x2u | CLIENT | AP_RW)
#define SUPER   (1u << 18)

static const struct arch_ops *ops(void)
{
	return arch_get(ARCH_THUMB2);
}

static struct arch_regs regs_on(void)
{
	struct arch_regs regs = {.have = 1u << THUMB2_REG_CPSR | 1u << THUMB2_REG_SCTLR |
					 1u << THUMB2_REG_TTBR0 | 1u << THUMB2_REG_TTBR1 |
					 1u << THUMB2_REG_TTBCR | 1u << THUMB2_REG_DACR};

	regs.v[THUMB2_REG_CPSR] = 0x33; /* Thumb, Supervisor */
	regs.v[THUMB2_REG_SCTLR] = THUMB2_SCTLR_M;
	regs.v[THUMB2_REG_TTBR0] = ROOT | 0x4a; /* how the walk is cached */
	regs.v[THUMB2_REG_TTBR1] = 0x80008000;
	regs.v[THUMB2_REG_DACR] = DACR;
	return regs;
}

static struct arch_mmu mmu_on(void)
{
	struct arch_regs regs = regs_on();
	struct arch_mmu mmu;

	assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_OK);
	assert_int_equal(mmu.root.v, ROOT);
	assert_int_equal(mmu.n_alt, 0);
	return mmu;
}

/* A word, and the other one of its pair as noise. */
static void put(struct tables *t, uint64_t at, uint32_t word)
{
	uint64_t pair = at & 4 ? (uint64_t)word << 32 | 0xdeadbeef : 0xdeadbeefull << 32 | word;

	tables_set(t, at & ~7ull, pair);
}

static int walk(const struct arch_mmu *mmu, uint64_t va, struct tables *t, struct arch_xlate *x)
{
	memset(x, 0xa5, sizeof(*x));
	t->reads = 0;
	return ops()->walk(mmu, vp_gva(va), tables_fetch, t, x);
}

static uint64_t first_at(uint64_t va)
{
	return ROOT + 4 * (va >> 20);
}

static uint64_t second_at(uint64_t va)
{
	return PAGES + 4 * (va >> 12 & 255);
}

/* One mapping of VA and of its neighbour in the other half of a pair. */
static void expect(uint32_t first, uint32_t second, uint64_t gpa, unsigned log)
{
	const struct arch_mmu mmu = mmu_on();

	for (uint64_t va = VA; va <= VA + 0x101000; va += 0x101000) {
		struct tables t = {0};
		struct arch_xlate x;
		uint64_t mask = (1ull << log) - 1;

		put(&t, first_at(va), first);
		if ((first & 3) == 1)
			put(&t, second_at(va), second);
		assert_int_equal(walk(&mmu, va, &t, &x), VP_OK);
		assert_int_equal(t.reads, (first & 3) == 1 ? 2 : 1);
		assert_true(x.present && x.writable && x.executable && !x.user);
		assert_int_equal(x.gpa.v, gpa | (va & mask));
		assert_int_equal(x.page_log, log);
	}
}

static void test_every_size_of_mapping_is_found(void **state)
{
	(void)state;
	expect(0x87600000 | SECTION, 0, 0x87600000, 20);
	expect((uint32_t)PAGES | CLIENT | 1, 0x87650000 | 0x10 | 1, 0x87650000, 16);
	expect((uint32_t)PAGES | CLIENT | 1, 0x87654000 | 0x10 | 2, 0x87654000, 12);
	/* TEX, C, B, S, nG, NS and what is the implementation's: no address, no permission. */
	expect(0x87600000 | SECTION | 0xb720c, 0, 0x87600000, 20);
	expect((uint32_t)PAGES | CLIENT | 0x209, 0x87654000 | 0xddc | 0x10 | 2, 0x87654000, 12);
}

static void test_a_supersection_is_domain_zero_and_forty_bits(void **state)
{
	struct arch_regs regs = regs_on();
	struct arch_xlate x;
	struct arch_mmu mmu;
	struct tables t = {0};

	(void)state;
	regs.v[THUMB2_REG_DACR] = 1;
	assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_OK);
	put(&t, first_at(VA), 0x87000000 | 0xa << 20 | 0x5 << 5 | SUPER | AP_RW | 2);
	assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
	assert_true(x.present && x.writable && x.executable && !x.user);
	assert_int_equal(x.gpa.v, 0x5a87000000ull | (VA & 0xffffff));
	assert_int_equal(x.page_log, 24);
}

/* B3.7.1, table B3-8: AP[2:0] and XN. */
static void test_permissions_are_those_of_the_entry(void **state)
{
	static const struct {
		unsigned ap;
		bool present, w, u;
	} rows[] = {
		{0, false, false, false}, {1, true, true, false},  {2, true, true, true},
		{3, true, true, true},    {5, true, false, false}, {6, true, false, true},
		{7, true, false, true},
	};
	const struct arch_mmu mmu = mmu_on();
	struct arch_xlate x;
	struct tables t = {0};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned ap = rows[i / 2].ap;
		bool xn = i & 1;

		/* A section, and its privileged-only sister. */
		for (uint32_t bit = 1; bit <= 16; bit *= 16) {
			put(&t, first_at(VA),
			    (ap >> 2) << 15 | (ap & 3) << 10 | CLIENT | 2 | (xn ? bit : 0));
			assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
			assert_int_equal(x.present, rows[i / 2].present);
			assert_int_equal(x.writable, rows[i / 2].w);
			assert_int_equal(x.user, rows[i / 2].u);
			assert_int_equal(x.executable, rows[i / 2].present && !xn);
		}
		/* Both page sizes, by the page's bit and by the table's. */
		for (unsigned how = 0; how < 4; how++) {
			bool large = how & 1, table = how & 2;
			uint32_t leaf_xn = xn && !table ? large ? 1u << 15 : 1u : 0;

			put(&t, first_at(VA), (uint32_t)PAGES | CLIENT | 1 | (xn && table ? 4 : 0));
			put(&t, second_at(VA),
			    (ap >> 2) << 9 | (ap & 3) << 4 | (large ? 1u : 2u) | leaf_xn);
			assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
			assert_int_equal(x.present, rows[i / 2].present);
			assert_int_equal(x.writable, rows[i / 2].w);
			assert_int_equal(x.user, rows[i / 2].u);
			assert_int_equal(x.executable, rows[i / 2].present && !xn);
		}
	}
	put(&t, first_at(VA), 1u << 15 | CLIENT | 2); /* AP 100 */
	assert_int_equal(walk(&mmu, VA, &t, &x), VP_E_GUEST_CORRUPT);
}

static void test_a_domain_decides_first(void **state)
{
	struct arch_regs regs = regs_on();
	struct tables t = {0};
	struct arch_xlate x;
	struct arch_mmu mmu;

	(void)state;
	put(&t, first_at(VA), CLIENT | 16 | 2); /* no access, never executed */
	for (unsigned access = 0; access < 4; access++) {
		regs.v[THUMB2_REG_DACR] = access << 2;
		assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_OK);
		assert_int_equal(walk(&mmu, VA, &t, &x), access == 2 ? VP_E_GUEST_CORRUPT : VP_OK);
		if (access != 2)
			assert_int_equal(x.present, access == 3);
		if (access == 3) /* a manager is never checked */
			assert_true(x.writable && x.executable && x.user);
	}
}

static void test_what_is_not_mapped_is_not_present(void **state)
{
	const struct arch_mmu mmu = mmu_on();
	struct tables t = {0};
	struct arch_xlate x;

	(void)state;
	put(&t, first_at(VA), 0xfffffffc);
	assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
	assert_false(x.present || x.executable || x.writable || x.user);
	assert_int_equal(x.page_log, 20);
	put(&t, first_at(VA), (uint32_t)PAGES | CLIENT | 1);
	put(&t, second_at(VA), 0xfffffffc);
	assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
	assert_false(x.present);
	assert_int_equal(x.page_log, 12);
	assert_int_equal(walk(&mmu, VA | 1ull << 32, &t, &x), VP_E_UNMAPPED);
	for (unsigned fail = 1; fail <= 2; fail++) {
		t.fail_at = fail;
		t.fail_with = VP_E_DISCONNECTED;
		assert_int_equal(walk(&mmu, VA, &t, &x), VP_E_DISCONNECTED);
	}
}

static void test_ttbr1_maps_what_has_a_top_bit_set(void **state)
{
	struct arch_regs regs = regs_on();
	struct tables t = {0};
	struct arch_xlate x;
	struct arch_mmu mmu;

	(void)state;
	for (unsigned n = 1; n <= 7; n++) {
		uint64_t lowest = 1ull << (32 - n);

		regs.v[THUMB2_REG_TTBCR] = n;
		assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_OK);
		assert_int_equal(mmu.root.v, 0x80008000);
		put(&t, mmu.root.v + 4 * (lowest >> 20), 0x87600000 | SECTION);
		assert_int_equal(walk(&mmu, lowest + 0x1234, &t, &x), VP_OK);
		assert_int_equal(x.gpa.v, 0x87601234);
		assert_int_equal(walk(&mmu, lowest - 1, &t, &x), VP_E_UNMAPPED);
		regs.v[THUMB2_REG_TTBCR] = n | THUMB2_TTBCR_PD1;
		assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_E_UNSUPPORTED);
	}
}

static void test_with_the_mmu_off_an_address_is_its_own(void **state)
{
	struct arch_regs regs = {.have = 1u << THUMB2_REG_SCTLR};
	struct tables t = {0};
	struct arch_xlate x;
	struct arch_mmu mmu;

	(void)state;
	assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_OK);
	assert_int_equal(walk(&mmu, VA, &t, &x), VP_OK);
	assert_true(x.present && x.writable && x.executable && !x.user);
	assert_int_equal(x.gpa.v, VA);
	assert_int_equal(walk(&mmu, UINT32_MAX, &t, &x), VP_OK);
	assert_int_equal(x.gpa.v, UINT32_MAX);
	assert_int_equal(walk(&mmu, 1ull << 32, &t, &x), VP_E_UNMAPPED);
	assert_int_equal(t.reads, 0);
}

static void test_other_regimes_are_refused(void **state)
{
	static const struct {
		unsigned reg;
		uint64_t v;
	} rows[] = {
		{THUMB2_REG_TTBCR, THUMB2_TTBCR_EAE},
		{THUMB2_REG_TTBCR, THUMB2_TTBCR_PD0},
		{THUMB2_REG_SCTLR, THUMB2_SCTLR_M | THUMB2_SCTLR_AFE},
		{THUMB2_REG_SCTLR, THUMB2_SCTLR_M | THUMB2_SCTLR_WXN},
		{THUMB2_REG_CPSR, THUMB2_MODE_HYP},
		{THUMB2_REG_CPSR, THUMB2_MODE_MON},
	};
	static const unsigned needed[] = {THUMB2_REG_SCTLR, THUMB2_REG_TTBR0, THUMB2_REG_TTBCR,
					  THUMB2_REG_DACR};
	const struct arch_mmu odd[] = {
		{.granule_log = 16, .va_bits = 32},
		{.granule_log = 12, .va_bits = 33, .levels = 2},
		{.granule_log = 12, .va_bits = 24, .levels = 2},
		{.granule_log = 12, .va_bits = 32, .levels = 3},
		{.granule_log = 12, .va_bits = 31},
		{.granule_log = 12, .va_bits = 32, .root = {ROOT}},
		{.granule_log = 12, .va_bits = 32, .levels = 2, .root = {ROOT + 4}},
		{.granule_log = 12, .va_bits = 32, .levels = 2, .root = {1ull << 32}},
	};
	struct tables t = {0};
	struct arch_xlate x;
	struct arch_mmu mmu;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arch_regs regs = regs_on();

		regs.v[rows[i].reg] = rows[i].v;
		assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_E_UNSUPPORTED);
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		struct arch_regs regs = regs_on();

		regs.have &= ~(1u << needed[i]);
		assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_E_UNSUPPORTED);
	}
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(walk(&odd[i], VA, &t, &x), VP_E_UNSUPPORTED);
}

/* Whatever the tables hold, a walk ends after two reads, inside 40 bits. */
static void test_random_tables_lead_nowhere_else(void **state)
{
	const struct arch_mmu mmu = mmu_on();
	uint64_t seed = 0x452821e638d01377ull;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		struct arch_xlate x = {0};
		int r = ops()->walk(&mmu, vp_gva((uint32_t)(i * 0x9e3779b9u)), tables_fetch_random,
				    &seed, &x);

		assert_true(r == VP_OK || r == VP_E_GUEST_CORRUPT);
		assert_true(x.gpa.v >> 40 == 0);
		assert_true(x.present || !(x.writable || x.executable || x.user));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_size_of_mapping_is_found),
		cmocka_unit_test(test_a_supersection_is_domain_zero_and_forty_bits),
		cmocka_unit_test(test_permissions_are_those_of_the_entry),
		cmocka_unit_test(test_a_domain_decides_first),
		cmocka_unit_test(test_what_is_not_mapped_is_not_present),
		cmocka_unit_test(test_ttbr1_maps_what_has_a_top_bit_set),
		cmocka_unit_test(test_with_the_mmu_off_an_address_is_its_own),
		cmocka_unit_test(test_other_regimes_are_refused),
		cmocka_unit_test(test_random_tables_lead_nowhere_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
