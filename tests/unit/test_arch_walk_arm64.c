// SPDX-License-Identifier: LGPL-2.1-or-later
/* The arm64 page walk on hand-built tables for every granule, depth and size, sound and hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "arch/arm64/regs.h"
#include "tests/lib/tables.h"

#define ROOT     0x40000000ull
#define VALID    1ull
#define TABLE    2ull
#define AP_EL0   (1ull << 6)
#define AP_RO    (1ull << 7)
#define AF       (1ull << 10)
#define DBM      (1ull << 51)
#define PXN      (1ull << 53)
#define UXN      (1ull << 54)
#define PXNTABLE (1ull << 59)
#define UXNTABLE (1ull << 60)
#define APT_EL0  (1ull << 61)
#define APT_RO   (1ull << 62)

#define LEAF (VALID | AF | UXN) /* kernel text that is writable, too */

/* The layouts Linux can be built for, and what the architecture says of each (DDI 0487, D8.2). */
static const struct layout {
	unsigned granule, va_bits, levels;
	bool lpa52;
	int largest; /* the first level that may hold a block */
} layouts[] = {
	{12, 39, 3, false, 1}, {12, 48, 4, false, 1}, {12, 52, 5, true, 0},  {12, 48, 4, true, 0},
	{14, 36, 2, false, 2}, {14, 47, 3, false, 2}, {14, 48, 4, false, 2}, {14, 52, 4, true, 1},
	{16, 42, 2, false, 2}, {16, 48, 3, false, 2}, {16, 52, 3, true, 1},  {16, 52, 3, false, 2},
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

static const struct arch_ops *ops(void)
{
	return arch_get(ARCH_ARM64);
}

static struct arch_mmu mmu_of(const struct layout *l)
{
	return (struct arch_mmu){
		.root = {ROOT},
		.levels = l->levels,
		.granule_log = l->granule,
		.va_bits = l->va_bits,
		.lpa52 = l->lpa52,
	};
}

/* Levels end at 3, whatever the first is. */
static int first_level(const struct layout *l)
{
	return 4 - (int)l->levels;
}

static unsigned shift_of(const struct layout *l, int level)
{
	return l->granule + (unsigned)(3 - level) * (l->granule - 3);
}

static uint64_t table_at(const struct layout *l, int level)
{
	return ROOT + (uint64_t)(level - first_level(l)) * 0x100000;
}

static uint64_t slot(const struct layout *l, int level, uint64_t va)
{
	uint64_t entries = 1ull << (l->granule - 3);

	if (level == first_level(l)) /* as many as the address space needs */
		entries = 1ull << (l->va_bits - shift_of(l, level));
	return table_at(l, level) + 8 * (va / (1ull << shift_of(l, level)) % entries);
}

/* An output address as this layout's descriptors hold it. */
static uint64_t address(const struct layout *l, uint64_t pa)
{
	if (!l->lpa52)
		return pa;
	if (l->granule == 16)
		return (pa & 0x0000ffffffff0000ull) | (pa >> 48) << 12;
	return (pa & 0x0003fffffffff000ull) | (pa >> 50) << 8;
}

static void build(struct tables *t, const struct layout *l, int leaf, uint64_t va, uint64_t pa)
{
	memset(t, 0, sizeof(*t));
	for (int level = first_level(l); level < leaf; level++)
		tables_set(t, slot(l, level, va),
			   address(l, table_at(l, level + 1)) | VALID | TABLE);
	tables_set(t, slot(l, leaf, va), address(l, pa) | LEAF | (leaf == 3 ? TABLE : 0));
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

/* Some address of the upper half with all index bits mixed. */
static uint64_t va_of(const struct layout *l)
{
	return ~0ull << l->va_bits | (0xb6db6db6db6db6dbull & ((1ull << l->va_bits) - 1));
}

static uint64_t pa_of(const struct layout *l)
{
	return l->lpa52 ? 0x000b89abcdef0000ull : 0x000089abcdef0000ull;
}

static void test_every_page_and_block_size_is_found(void **state)
{
	unsigned sizes = 0;

	(void)state;
	for (size_t i = 0; i < LAYOUTS; i++) {
		const struct layout *l = &layouts[i];
		struct arch_mmu mmu = mmu_of(l);

		for (int leaf = first_level(l); leaf <= 3; leaf++) {
			uint64_t mask = (1ull << shift_of(l, leaf)) - 1;
			uint64_t va = va_of(l), pa = pa_of(l) & ~mask;
			struct arch_xlate x;
			struct tables t;

			build(&t, l, leaf, va, pa);
			if (leaf < l->largest) {
				assert_int_equal(walk(&mmu, va, &t, &x), VP_E_GUEST_CORRUPT);
				continue;
			}
			assert_int_equal(walk(&mmu, va, &t, &x), VP_OK);
			assert_true(x.present && x.writable && x.executable && !x.user);
			assert_int_equal(x.gpa.v, pa | (va & mask));
			assert_int_equal(x.page_log, shift_of(l, leaf));
			assert_int_equal(t.reads, leaf - first_level(l) + 1);
			sizes++;

			/* MAIR index, nG, guarded, contiguous, software bits: no address. */
			change(&t, slot(l, leaf, va), 0x7f9400000000083cull, 0);
			assert_int_equal(walk(&mmu, va, &t, &x), VP_OK);
			assert_int_equal(x.gpa.v, pa | (va & mask));
		}
	}
	assert_int_equal(sizes, 32);
}

static void test_known_sizes_come_out(void **state)
{
	static const struct {
		unsigned layout;
		int level;
		unsigned log;
	} rows[] = {{1, 3, 12}, {1, 2, 21}, {1, 1, 30}, {2, 0, 39}, {6, 3, 14},
		    {6, 2, 25}, {7, 1, 36}, {9, 3, 16}, {9, 2, 29}, {10, 1, 42}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct layout *l = &layouts[rows[i].layout];
		struct arch_mmu mmu = mmu_of(l);
		struct arch_xlate x;
		struct tables t;

		build(&t, l, rows[i].level, va_of(l), 0);
		assert_int_equal(walk(&mmu, va_of(l), &t, &x), VP_OK);
		assert_int_equal(x.page_log, rows[i].log);
	}
}

/* One row of D8.4: bits in the leaf or in a table above it, and what is left. */
static void test_permissions_of_all_levels_combine(void **state)
{
	static const struct {
		uint64_t leaf, clear, table;
		uint32_t flags;
		bool w, x, u;
	} rows[] = {
		{0, 0, 0, 0, true, true, false},
		{AP_RO, 0, 0, 0, false, true, false},
		{PXN, 0, 0, 0, true, false, false},
		{0, UXN, 0, 0, true, true, true}, /* execute-only for EL0 */
		{AP_EL0 | AP_RO, 0, 0, 0, false, true, true},
		{AP_EL0, 0, 0, 0, true, false, true}, /* EL0 writes, EL1 never executes */
		{0, 0, APT_RO, 0, false, true, false},
		{AP_EL0, 0, APT_EL0, 0, true, true, false},
		{AP_EL0, 0, APT_RO, 0, false, true, true},
		{0, 0, PXNTABLE, 0, true, false, false},
		{0, UXN, UXNTABLE, 0, true, true, false},
		{0, 0, APT_RO | PXNTABLE, ARM64_MMU_HPD, true, true, false},
		{AP_RO | DBM, 0, 0, 0, false, true, false},
		{AP_RO | DBM, 0, 0, ARM64_MMU_HD, true, true, false},
		{AP_RO | DBM, 0, APT_RO, ARM64_MMU_HD, false, true, false},
	};
	const struct layout *l = &layouts[2]; /* five levels */

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int leaf = 0; leaf <= 3; leaf++) {
			for (int level = -1; level < leaf; level++) {
				struct arch_mmu mmu = mmu_of(l);
				struct arch_xlate x;
				struct tables t;

				mmu.flags = rows[i].flags;
				build(&t, l, leaf, va_of(l), 0);
				change(&t, slot(l, leaf, va_of(l)), rows[i].leaf, rows[i].clear);
				change(&t, slot(l, level, va_of(l)), rows[i].table, 0);
				assert_int_equal(walk(&mmu, va_of(l), &t, &x), VP_OK);
				assert_true(x.present);
				assert_int_equal(x.writable, rows[i].w);
				assert_int_equal(x.executable, rows[i].x);
				assert_int_equal(x.user, rows[i].u);
			}
		}
	}
}

static void test_what_is_not_present_says_how_much_is_missing(void **state)
{
	(void)state;
	for (size_t i = 0; i < LAYOUTS; i++) {
		const struct layout *l = &layouts[i];
		struct arch_mmu mmu = mmu_of(l);
		struct arch_xlate x;
		struct tables t;

		for (int level = first_level(l); level <= 3; level++) {
			build(&t, l, 3, va_of(l), 0);
			change(&t, slot(l, level, va_of(l)), ~0ull, VALID);
			assert_int_equal(walk(&mmu, va_of(l), &t, &x), VP_OK);
			assert_false(x.present || x.writable || x.executable || x.user);
			assert_int_equal(x.page_log, shift_of(l, level));
			assert_int_equal(x.gpa.v, 0);
		}
		/* Without the access flag it faults, unless hardware sets the flag. */
		build(&t, l, 3, va_of(l), 0);
		change(&t, slot(l, 3, va_of(l)), 0, AF);
		assert_int_equal(walk(&mmu, va_of(l), &t, &x), VP_OK);
		assert_false(x.present || x.writable || x.executable);
		mmu.flags = ARM64_MMU_HA;
		assert_int_equal(walk(&mmu, va_of(l), &t, &x), VP_OK);
		assert_true(x.present && x.executable);
	}
}

static void test_addresses_outside_the_kernels_half_are_unmapped(void **state)
{
	(void)state;
	for (size_t i = 0; i < LAYOUTS; i++) {
		const struct layout *l = &layouts[i];
		uint64_t lowest = ~0ull << l->va_bits;
		const uint64_t bad[] = {0,
					lowest - 1,
					1ull << 63,
					~lowest,
					lowest & ~(1ull << 63),
					lowest & ~(1ull << 60)};
		struct arch_mmu mmu = mmu_of(l);
		struct arch_xlate x;
		struct tables t;

		for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
			build(&t, l, 3, lowest, 0);
			assert_int_equal(walk(&mmu, bad[j], &t, &x), VP_E_UNMAPPED);
			assert_int_equal(t.reads, 0);
		}
		assert_int_equal(walk(&mmu, lowest, &t, &x), VP_OK);
		build(&t, l, 3, UINT64_MAX, 0);
		assert_int_equal(walk(&mmu, UINT64_MAX, &t, &x), VP_OK);
		assert_int_equal(x.gpa.v, (1ull << l->granule) - 1);
	}
}

static void test_reserved_bits_are_corruption(void **state)
{
	(void)state;
	for (size_t i = 0; i < LAYOUTS; i++) {
		const struct layout *l = &layouts[i];
		struct arch_mmu mmu = mmu_of(l);
		struct arch_xlate x;
		struct tables t;

		/* A last level without bit 1 is no page. */
		build(&t, l, 3, va_of(l), 0);
		change(&t, slot(l, 3, va_of(l)), 0, TABLE);
		assert_int_equal(walk(&mmu, va_of(l), &t, &x), VP_E_GUEST_CORRUPT);
		/* Address bits below the size, but nT (16) and where 64K keeps OA[51:48]. */
		for (int leaf = l->largest < first_level(l) ? first_level(l) : l->largest;
		     leaf <= 3; leaf++) {
			for (unsigned bit = 12; bit < shift_of(l, leaf) && bit < 48; bit++) {
				bool fine = (bit == 16 && leaf < 3) ||
					    (bit < 16 && l->granule == 16 && l->lpa52);

				build(&t, l, leaf, va_of(l), 0);
				change(&t, slot(l, leaf, va_of(l)), 1ull << bit, 0);
				assert_int_equal(walk(&mmu, va_of(l), &t, &x),
						 fine ? VP_OK : VP_E_GUEST_CORRUPT);
			}
		}
		/* OA[49:48] in bits that only the 4K and 16K layouts of FEAT_LPA2 have. */
		for (int level = first_level(l); level <= 3; level++) {
			for (unsigned bit = 48; bit <= 49; bit++) {
				bool lpa2 = l->lpa52 && l->granule != 16;

				build(&t, l, 3, va_of(l), 0);
				change(&t, slot(l, level, va_of(l)), 1ull << bit, 0);
				assert_int_equal(walk(&mmu, va_of(l), &t, &x),
						 !lpa2        ? VP_E_GUEST_CORRUPT
						 : level == 3 ? VP_OK
							      : VP_E_RANGE /* another table */);
			}
		}
	}
}

static void test_a_table_that_points_to_itself_ends(void **state)
{
	const struct layout *l = &layouts[2];
	struct arch_mmu mmu = mmu_of(l);
	struct tables t = {0};
	struct arch_xlate x;

	(void)state;
	tables_set(&t, ROOT + 8 * 15, ROOT | VALID | TABLE | AF | UXN);
	tables_set(&t, ROOT + 8 * 511, ROOT | VALID | TABLE | AF | UXN);
	assert_int_equal(walk(&mmu, UINT64_MAX, &t, &x), VP_OK);
	assert_int_equal(t.reads, 5);
	assert_int_equal(x.gpa.v, ROOT | 0xfff);
}

static void test_a_failing_reader_is_handed_through(void **state)
{
	(void)state;
	for (size_t i = 0; i < LAYOUTS; i++) {
		const struct layout *l = &layouts[i];
		struct arch_mmu mmu = mmu_of(l);
		struct arch_xlate x;
		struct tables t;

		for (unsigned n = 1; n <= l->levels; n++) {
			build(&t, l, 3, va_of(l), 0);
			t.fail_at = n;
			t.fail_with = VP_E_DISCONNECTED;
			assert_int_equal(walk(&mmu, va_of(l), &t, &x), VP_E_DISCONNECTED);
			assert_int_equal(t.reads, n);
		}
	}
}

static void test_an_mmu_that_does_not_exist_is_refused(void **state)
{
	const struct arch_mmu good = mmu_of(&layouts[1]);
	struct arch_mmu bad[7];
	struct tables t = {0};
	struct arch_xlate x;

	(void)state;
	for (size_t i = 0; i < 7; i++)
		bad[i] = good;
	bad[0].levels = 3;
	bad[1].levels = 0;
	bad[2].va_bits = 53;
	bad[3].va_bits = 24;
	bad[4].granule_log = 13;
	bad[5].root = vp_gpa(ROOT + 4);
	bad[6].root = vp_gpa(1ull << 52);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(walk(&bad[i], UINT64_MAX, &t, &x), VP_E_UNSUPPORTED);
	memset(&bad[0], 0xff, sizeof(bad[0]));
	bad[0].lpa52 = true;
	assert_int_equal(walk(&bad[0], UINT64_MAX, &t, &x), VP_E_UNSUPPORTED);
	assert_int_equal(t.reads, 0);
}

static void test_random_tables_never_lead_astray(void **state)
{
	uint64_t seed = 0xbe5466cf34e90c6cull;
	unsigned found = 0;

	(void)state;
	for (unsigned i = 0; i < 240000; i++) {
		const struct layout *l = &layouts[i % LAYOUTS];
		struct arch_mmu mmu = mmu_of(l);
		struct arch_xlate x;
		int r;

		mmu.flags = (uint32_t)(i / LAYOUTS);
		r = ops()->walk(&mmu, vp_gva(va_of(l) ^ (seed & 0xfffffff)), tables_fetch_random,
				&seed, &x);
		assert_true(r == VP_OK || r == VP_E_GUEST_CORRUPT);
		if (r != VP_OK || !x.present)
			continue;
		found++;
		assert_in_range(x.page_log, l->granule, 42);
		assert_int_equal(x.gpa.v >> (l->lpa52 ? 52 : 48), 0);
	}
	assert_true(found > 1000);
}

/* TCR as a 48-bit 4K kernel has it: T1SZ 16, TG1 4K, A1, 40-bit IPS. */
#define TCR_4K       (16ull << 16 | 2ull << 30 | 2ull << 32 | ARM64_TCR_A1)
#define ASID(n)      ((uint64_t)(n) << 48)
#define EL0          0x0ull
#define EL1H         0x5ull
#define EL2H         0x9ull
#define SWAPPER      0x41a51000ull
#define SCTLR_MMU_ON 0x30d0198d

static struct arch_regs regs_of(uint64_t cpsr, uint64_t ttbr1, uint64_t tcr)
{
	struct arch_regs r = {.have = 1u << ARM64_REG_CPSR | 1u << ARM64_REG_TTBR1 |
				      1u << ARM64_REG_TCR | 1u << ARM64_REG_SCTLR};

	r.v[ARM64_REG_CPSR] = cpsr;
	r.v[ARM64_REG_TTBR1] = ttbr1;
	r.v[ARM64_REG_TCR] = tcr;
	r.v[ARM64_REG_SCTLR] = SCTLR_MMU_ON;
	return r;
}

static void test_tcr_gives_granule_depth_and_layout(void **state)
{
	static const uint8_t tg1[] = {[12] = 2, [14] = 1, [16] = 3};

	(void)state;
	for (size_t i = 0; i < LAYOUTS; i++) {
		const struct layout *l = &layouts[i];
		uint64_t tcr = (uint64_t)(64 - l->va_bits) << 16 | (uint64_t)tg1[l->granule] << 30;
		struct arch_regs r;
		struct arch_mmu mmu;

		if (l->lpa52)
			tcr |= l->granule == 16 ? 6ull << 32 : ARM64_TCR_DS;
		r = regs_of(EL1H, ROOT | 1, tcr); /* CnP */
		assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
		assert_int_equal(mmu.root.v, ROOT);
		assert_int_equal(mmu.levels, l->levels);
		assert_int_equal(mmu.granule_log, l->granule);
		assert_int_equal(mmu.va_bits, l->va_bits);
		assert_int_equal(mmu.lpa52, l->lpa52);
		assert_int_equal(mmu.flags, 0);
		assert_int_equal(mmu.n_alt, 0);
	}
}

static void test_ttbr_loses_asid_and_gains_its_top_bits(void **state)
{
	struct arch_regs r = regs_of(EL1H, ASID(0xfffe) | SWAPPER | 1, TCR_4K);
	struct arch_mmu mmu;

	(void)state;
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.root.v, SWAPPER);
	/* With 52-bit addresses bits [5:2] are PA[51:48]. */
	r = regs_of(EL1H, ASID(2) | SWAPPER | 0xb << 2 | 1, TCR_4K | ARM64_TCR_DS);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.root.v, 0xbull << 48 | SWAPPER);
	r.v[ARM64_REG_TCR] |= ARM64_TCR_HA | ARM64_TCR_HD | ARM64_TCR_HPD1;
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.flags, ARM64_MMU_HA | ARM64_MMU_HD | ARM64_MMU_HPD);
}

static void test_an_odd_asid_leaves_three_candidates(void **state)
{
	struct arch_regs r = regs_of(EL0, ASID(0x31) | (SWAPPER - 0x2000), TCR_4K);
	struct arch_mmu mmu;

	(void)state;
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.root.v, SWAPPER - 0x2000);
	assert_int_equal(mmu.n_alt, 2);
	assert_int_equal(mmu.alt[0].v, SWAPPER);
	assert_int_equal(mmu.alt[1].v, SWAPPER - 0x1000);
	/* Even: no isolation, or back in the kernel. The ASID elsewhere: no isolation either. */
	r = regs_of(EL0, ASID(0x30) | SWAPPER, TCR_4K);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.n_alt, 0);
	r = regs_of(EL0, ASID(0x31) | SWAPPER, TCR_4K & ~ARM64_TCR_A1);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.n_alt, 0);
	/* A page is a granule. */
	r = regs_of(EL0, ASID(1) | (SWAPPER & ~0xffffull), (TCR_4K & ~(3ull << 30)) | 3ull << 30);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	assert_int_equal(mmu.alt[0].v, (SWAPPER & ~0xffffull) + 0x20000);
}

static void test_a_kernel_with_vhe_is_found_at_el2(void **state)
{
	struct arch_regs r = regs_of(EL2H, 0x7000, 0);
	struct arch_mmu mmu;

	(void)state;
	r.have |= 1u << ARM64_REG_TTBR1_EL2 | 1u << ARM64_REG_TCR_EL2 | 1u << ARM64_REG_HCR |
		  1u << ARM64_REG_SCTLR_EL2;
	r.v[ARM64_REG_TTBR1_EL2] = SWAPPER;
	r.v[ARM64_REG_TCR_EL2] = TCR_4K;
	r.v[ARM64_REG_SCTLR_EL2] = SCTLR_MMU_ON;
	r.v[ARM64_REG_HCR] = ARM64_HCR_E2H;
	for (uint64_t el = 0; el <= 2; el++) { /* EL1 then is a nested guest's */
		r.v[ARM64_REG_CPSR] = el << 2;
		assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
		assert_int_equal(mmu.root.v, SWAPPER);
	}
	r.v[ARM64_REG_CPSR] = 3 << 2;
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_E_UNSUPPORTED);
	r.v[ARM64_REG_CPSR] = EL2H;
	r.have &= ~(1u << ARM64_REG_TCR_EL2);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_E_UNSUPPORTED);
	/* Without VHE: not while at EL2, nor while a nested guest may own EL1. */
	r = regs_of(EL2H, SWAPPER, TCR_4K);
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_E_UNSUPPORTED);
	r = regs_of(EL1H, SWAPPER, TCR_4K);
	r.have |= 1u << ARM64_REG_HCR;
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_OK);
	r.v[ARM64_REG_HCR] = ARM64_HCR_VM;
	assert_int_equal(ops()->mmu_from_regs(&r, &mmu), VP_E_UNSUPPORTED);
}

static void test_registers_that_do_not_tell_are_refused(void **state)
{
	const struct arch_regs good = regs_of(EL1H, SWAPPER, TCR_4K);
	struct arch_regs bad[7];
	struct arch_mmu mmu;

	(void)state;
	for (size_t i = 0; i < 7; i++)
		bad[i] = good;
	bad[0].have &= ~(1u << ARM64_REG_TTBR1);
	bad[1].have &= ~(1u << ARM64_REG_TCR);
	bad[2].v[ARM64_REG_SCTLR] = 0;             /* MMU off */
	bad[3].v[ARM64_REG_TCR] |= ARM64_TCR_EPD1; /* TTBR1 not walked */
	bad[4].v[ARM64_REG_TCR] &= ~(3ull << 30);  /* reserved granule */
	bad[5].v[ARM64_REG_TCR] |= 63ull << 16;    /* a one-bit address space */
	bad[6].v[ARM64_REG_TCR] &= ~(63ull << 16); /* a 64-bit one */
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(ops()->mmu_from_regs(&bad[i], &mmu), VP_E_UNSUPPORTED);
	/* SCTLR and CPSR are asked only where the VMM gives them. */
	bad[2].have &= ~(1u << ARM64_REG_SCTLR | 1u << ARM64_REG_CPSR);
	assert_int_equal(ops()->mmu_from_regs(&bad[2], &mmu), VP_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_page_and_block_size_is_found),
		cmocka_unit_test(test_known_sizes_come_out),
		cmocka_unit_test(test_permissions_of_all_levels_combine),
		cmocka_unit_test(test_what_is_not_present_says_how_much_is_missing),
		cmocka_unit_test(test_addresses_outside_the_kernels_half_are_unmapped),
		cmocka_unit_test(test_reserved_bits_are_corruption),
		cmocka_unit_test(test_a_table_that_points_to_itself_ends),
		cmocka_unit_test(test_a_failing_reader_is_handed_through),
		cmocka_unit_test(test_an_mmu_that_does_not_exist_is_refused),
		cmocka_unit_test(test_random_tables_never_lead_astray),
		cmocka_unit_test(test_tcr_gives_granule_depth_and_layout),
		cmocka_unit_test(test_ttbr_loses_asid_and_gains_its_top_bits),
		cmocka_unit_test(test_an_odd_asid_leaves_three_candidates),
		cmocka_unit_test(test_a_kernel_with_vhe_is_found_at_el2),
		cmocka_unit_test(test_registers_that_do_not_tell_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
