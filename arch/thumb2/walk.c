// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A 32-bit Arm guest with its MMU off, where an address is its own translation, or with
 * short-descriptor tables: Arm ARM (DDI 0406C), B3.5.1.
 *
 *   31 ........ 20 19 18 17 16 15 14..12 11..10  9  8..5  4  3 2  1 0
 *   next table (31..10)                          -  domain     -  0 1   page table
 *   1 MiB          NS  0 nG  S AP2  TEX   AP1,0  -  domain XN C B 1 PXN section
 *   16 MiB (31..24, 23..20 and 8..5: PA[39:32])     1 at bit 18         supersection
 *
 *   31 ........ 16 15 14..12 11 10  9   8..6  5..4  3 2  1 0
 *   64 KiB         XN  TEX   nG  S AP2   -    AP1,0 C B  0 1            large page
 *   4 KiB (31..12)           nG  S AP2  TEX   AP1,0 C B  1 XN           small page
 *
 * Refused: long descriptors (TTBCR.EAE), the access flag (SCTLR.AFE), WXN, and Hyp and Monitor
 * mode, whose registers these are not. Under an emulated EL2 what comes out is not yet physical.
 */
#include "arch/thumb2/regs.h"
#include "arch/thumb2/thumb2.h"
#include "protocol/bytes.h"

#define PAGE_LOG       12
#define LARGE_LOG      16
#define SECTION_LOG    20
#define SUPER_LOG      24
#define ROOT_MASK      0xffffc000ull /* of TTBR1, and of TTBR0 while TTBCR.N is 0 */
#define LEVELS         2u
#define DESC_TYPE(d)   ((d)&3)
#define DESC_DOMAIN(d) ((d) >> 5 & 15)
#define DESC_SUPER     (1u << 18)
#define TABLE_PXN      (1u << 2)
#define SECTION_PXN    (1u << 0)
#define SECTION_XN     (1u << 4)
#define LARGE_XN       (1u << 15)
#define SMALL_XN       (1u << 0)

enum { FAULT, TABLE_OR_LARGE }; /* the two types below 2, of either level */
enum { DOMAIN_NONE, DOMAIN_CLIENT, DOMAIN_RESERVED, DOMAIN_MANAGER }; /* DACR; B4.1.43 */

static bool has(const struct arch_regs *regs, unsigned reg)
{
	return regs->have & 1u << reg;
}

/*
 * With TTBCR.N at zero TTBR0 maps everything, which is how Linux and most others run. Else TTBR1
 * maps what has any of its top N bits set, and the rest is no kernel's.
 */
static int root_of(const struct arch_regs *regs, uint64_t ttbcr, struct arch_mmu *mmu)
{
	unsigned n = THUMB2_TTBCR_N(ttbcr);
	unsigned reg = n ? THUMB2_REG_TTBR1 : THUMB2_REG_TTBR0;

	if ((ttbcr & (n ? THUMB2_TTBCR_PD1 : THUMB2_TTBCR_PD0)) || !has(regs, reg))
		return VP_E_UNSUPPORTED;
	mmu->root = vp_gpa(regs->v[reg] & ROOT_MASK);
	mmu->va_bits = 32 - n;
	return VP_OK;
}

int thumb2_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret)
{
	struct arch_mmu mmu = {.granule_log = PAGE_LOG, .va_bits = 32};
	unsigned mode = has(regs, THUMB2_REG_CPSR) ? THUMB2_CPSR_MODE(regs->v[THUMB2_REG_CPSR]) : 0;
	uint64_t sctlr;
	int r;

	if (!has(regs, THUMB2_REG_SCTLR) || mode == THUMB2_MODE_HYP || mode == THUMB2_MODE_MON)
		return VP_E_UNSUPPORTED;
	sctlr = regs->v[THUMB2_REG_SCTLR];
	if (!(sctlr & THUMB2_SCTLR_M)) {
		*ret = mmu;
		return VP_OK;
	}
	if (sctlr & (THUMB2_SCTLR_AFE | THUMB2_SCTLR_WXN))
		return VP_E_UNSUPPORTED;
	if (!has(regs, THUMB2_REG_TTBCR) || !has(regs, THUMB2_REG_DACR) ||
	    (regs->v[THUMB2_REG_TTBCR] & THUMB2_TTBCR_EAE))
		return VP_E_UNSUPPORTED;
	mmu.levels = LEVELS;
	mmu.flags = (uint32_t)regs->v[THUMB2_REG_DACR] ^ THUMB2_DACR_CLIENTS;
	r = root_of(regs, regs->v[THUMB2_REG_TTBCR], &mmu);
	if (r == VP_OK)
		*ret = mmu;
	return r;
}

int thumb2_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret)
{
	struct arch_mmu mmu;
	int r = thumb2_mmu_from_regs(regs, &mmu);

	if (r < 0 || mmu.levels || !has(regs, THUMB2_REG_CPSR))
		return VP_E_UNSUPPORTED;
	if (THUMB2_CPSR_MODE(regs->v[THUMB2_REG_CPSR]) == THUMB2_MODE_USR)
		return VP_E_PERM;
	*ret = mmu;
	return VP_OK;
}

static bool mmu_is_sound(const struct arch_mmu *mmu)
{
	if (mmu->granule_log != PAGE_LOG || mmu->va_bits > 32 || mmu->va_bits < 25)
		return false;
	if (!mmu->levels)
		return mmu->va_bits == 32 && !mmu->root.v && !mmu->flags;
	return mmu->levels == LEVELS && !(mmu->root.v & ~ROOT_MASK);
}

/* B3.7.1, table B3-8, with the access flag off; B3.7.3 for a manager, who is never checked. */
static int set_permissions(const struct arch_mmu *mmu, uint32_t domain, uint32_t ap, bool xn,
			   struct arch_xlate *x)
{
	unsigned access = (mmu->flags ^ THUMB2_DACR_CLIENTS) >> 2 * domain & 3;

	if (access == DOMAIN_RESERVED)
		return VP_E_GUEST_CORRUPT;
	if (access == DOMAIN_MANAGER) {
		x->present = x->writable = x->executable = x->user = true;
		return VP_OK;
	}
	if (ap == 4)
		return VP_E_GUEST_CORRUPT;
	x->present = access == DOMAIN_CLIENT && ap != 0;
	x->writable = ap >= 1 && ap <= 3;
	x->user = ap != 1 && ap != 5;
	x->executable = !xn;
	return VP_OK;
}

static int leaf(const struct arch_mmu *mmu, uint64_t pa, unsigned log, uint32_t domain, uint32_t ap,
		bool xn, vp_gva_t at, struct arch_xlate *ret)
{
	struct arch_xlate x = {.page_log = log};
	int r = set_permissions(mmu, domain, ap, xn, &x);

	if (r < 0)
		return r;
	if (x.present)
		x.gpa = vp_gpa(pa | (at.v & ((1ull << log) - 1)));
	else
		x = (struct arch_xlate){.page_log = log};
	*ret = x;
	return VP_OK;
}

/* Entries are words; what is read is the aligned pair that holds one. */
static int fetch_word(arch_read_fn fetch, void *ctx, uint64_t at, uint32_t *ret)
{
	uint8_t raw[8];
	int r = fetch(ctx, vp_gpa(at & ~7ull), raw, sizeof(raw));

	if (r < 0)
		return r;
	*ret = vp_ld32(raw + (at & 4));
	return VP_OK;
}

static int section(const struct arch_mmu *mmu, uint32_t d, vp_gva_t at, struct arch_xlate *ret)
{
	uint32_t ap = (d >> 15 & 1) << 2 | (d >> 10 & 3);
	bool xn = d & (SECTION_XN | SECTION_PXN);
	uint64_t pa = d & 0xfff00000u;

	if (!(d & DESC_SUPER))
		return leaf(mmu, pa, SECTION_LOG, DESC_DOMAIN(d), ap, xn, at, ret);
	pa = (d & 0xff000000u) | (uint64_t)(d >> 20 & 15) << 32 | (uint64_t)(d >> 5 & 15) << 36;
	return leaf(mmu, pa, SUPER_LOG, 0, ap, xn, at, ret);
}

static int page(const struct arch_mmu *mmu, uint32_t table, uint32_t d, vp_gva_t at,
		struct arch_xlate *ret)
{
	uint32_t ap = (d >> 9 & 1) << 2 | (d >> 4 & 3);
	bool pxn = table & TABLE_PXN;

	if (DESC_TYPE(d) == TABLE_OR_LARGE)
		return leaf(mmu, d & 0xffff0000u, LARGE_LOG, DESC_DOMAIN(table), ap,
			    pxn || (d & LARGE_XN), at, ret);
	return leaf(mmu, d & 0xfffff000u, PAGE_LOG, DESC_DOMAIN(table), ap, pxn || (d & SMALL_XN),
		    at, ret);
}

int thumb2_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
		struct arch_xlate *ret)
{
	uint32_t first, second;
	int r;

	if (!mmu_is_sound(mmu))
		return VP_E_UNSUPPORTED;
	if (at.v >> 32 || (mmu->va_bits < 32 && at.v >> mmu->va_bits == 0))
		return VP_E_UNMAPPED;
	if (!mmu->levels) { /* nothing is protected, and there is no user to be kept out */
		*ret = (struct arch_xlate){.gpa = {at.v},
					   .page_log = PAGE_LOG,
					   .present = true,
					   .writable = true,
					   .executable = true};
		return VP_OK;
	}
	r = fetch_word(fetch, ctx, mmu->root.v + 4 * (at.v >> SECTION_LOG), &first);
	if (r < 0)
		return r;
	if (DESC_TYPE(first) == FAULT) {
		*ret = (struct arch_xlate){.page_log = SECTION_LOG};
		return VP_OK;
	}
	if (DESC_TYPE(first) != TABLE_OR_LARGE)
		return section(mmu, first, at, ret);
	r = fetch_word(fetch, ctx, (first & 0xfffffc00u) + 4 * (at.v >> PAGE_LOG & 0xff), &second);
	if (r < 0)
		return r;
	if (DESC_TYPE(second) == FAULT) {
		*ret = (struct arch_xlate){.page_log = PAGE_LOG};
		return VP_OK;
	}
	return page(mmu, first, second, at, ret);
}
