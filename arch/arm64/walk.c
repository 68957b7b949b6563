// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * VMSAv8-64 stage 1, the half that TTBR1 translates: Arm ARM (DDI 0487), D8.2 and D8.3.
 *
 *   63     62..61   60      59      58..51 50 49 ........ 12  11..10 9..8 7..6   1..0
 *   NSTable APTable UXNTable PXNTable             next table                      11   table
 *            pbha    54 UXN  53 PXN  51 DBM  GP   output      nG AF   SH   AP     01   block
 *                                                                                 11   page
 *
 * With 52-bit output addresses and 64K granules OA[51:48] lie in bits [15:12]; with 4K and 16K
 * (TCR.DS) OA[51:50] lie in bits [9:8], where SH was.
 */
#include "arch/arm64/arm64.h"
#include "arch/arm64/regs.h"
#include "protocol/bytes.h"

#define DESC_VALID       (1ull << 0)
#define DESC_TABLE       (1ull << 1) /* table, and page at the last level */
#define DESC_AP1         (1ull << 6) /* EL0 may access */
#define DESC_AP2         (1ull << 7) /* read-only */
#define DESC_AF          (1ull << 10)
#define DESC_NT          (1ull << 16) /* FEAT_BBM: the one bit below a block's address not RES0 */
#define DESC_DBM         (1ull << 51)
#define DESC_PXN         (1ull << 53)
#define DESC_UXN         (1ull << 54)
#define DESC_PXNTABLE    (1ull << 59)
#define DESC_UXNTABLE    (1ull << 60)
#define DESC_APTABLE_EL0 (1ull << 61) /* no access from EL0 below */
#define DESC_APTABLE_RO  (1ull << 62) /* no writes below */

#define VA_BITS_MIN 25 /* T1SZ is at most 39 without FEAT_TTST */
#define VA_BITS_MAX 52
#define LAST_LEVEL  3 /* levels count from the root upwards to this */

/* Linux asm/mmu.h: under KPTI the ASID is odd in user mode, and CONTEXTIDR is not used. */
#define KPTI_USER_ASID 1u

static unsigned levels_of(unsigned granule_log, unsigned va_bits)
{
	unsigned per_level = granule_log - 3;

	return (va_bits - granule_log + per_level - 1) / per_level;
}

/* Which set of registers translates the kernel: EL2's under VHE, else EL1's. */
static int pick_regime(const struct arch_regs *regs, unsigned *ttbr, unsigned *tcr, unsigned *sctlr)
{
	bool have_hcr = regs->have & 1u << ARM64_REG_HCR;
	uint64_t hcr = have_hcr ? regs->v[ARM64_REG_HCR] : 0;
	bool have_el = regs->have & 1u << ARM64_REG_CPSR;
	unsigned el = have_el ? ARM64_CPSR_EL(regs->v[ARM64_REG_CPSR]) : 1;

	if (hcr & ARM64_HCR_E2H) {
		*ttbr = ARM64_REG_TTBR1_EL2;
		*tcr = ARM64_REG_TCR_EL2;
		*sctlr = ARM64_REG_SCTLR_EL2;
	} else if (el > 1 || (hcr & ARM64_HCR_VM)) {
		/* EL1 may hold a nested guest's registers, and nothing here tells. */
		return VP_E_UNSUPPORTED;
	} else {
		*ttbr = ARM64_REG_TTBR1;
		*tcr = ARM64_REG_TCR;
		*sctlr = ARM64_REG_SCTLR;
	}
	if (el > 2 || !(regs->have & 1u << *ttbr) || !(regs->have & 1u << *tcr))
		return VP_E_UNSUPPORTED;
	if ((regs->have & 1u << *sctlr) && !(regs->v[*sctlr] & ARM64_SCTLR_M))
		return VP_E_UNSUPPORTED;
	return VP_OK;
}

static int mmu_from_tcr(uint64_t tcr, struct arch_mmu *mmu)
{
	static const uint8_t tg1[4] = {0, 14, 12, 16}; /* TCR_EL1.TG1; 0 is reserved */

	mmu->granule_log = tg1[ARM64_TCR_TG1(tcr)];
	if (!mmu->granule_log || (tcr & ARM64_TCR_EPD1))
		return VP_E_UNSUPPORTED;
	mmu->va_bits = 64 - ARM64_TCR_T1SZ(tcr);
	if (mmu->va_bits < VA_BITS_MIN || mmu->va_bits > VA_BITS_MAX)
		return VP_E_UNSUPPORTED;
	mmu->levels = levels_of(mmu->granule_log, mmu->va_bits);
	/* IPS 6 is 52 bits; 64K granules then have FEAT_LPA's layout, the others only with DS. */
	mmu->lpa52 = mmu->granule_log == 16 ? ARM64_TCR_IPS(tcr) == 6 : (tcr & ARM64_TCR_DS) != 0;
	mmu->flags = (tcr & ARM64_TCR_HA ? ARM64_MMU_HA : 0) |
		     (tcr & ARM64_TCR_HD ? ARM64_MMU_HD : 0) |
		     (tcr & ARM64_TCR_HPD1 ? ARM64_MMU_HPD : 0);
	return VP_OK;
}

/* TTBR1.BADDR without ASID and CnP; with 52-bit addresses bits [5:2] are PA[51:48]. */
static uint64_t root_of(uint64_t ttbr, bool lpa52)
{
	if (!lpa52)
		return ttbr & 0x0000fffffffffffeull;
	return (ttbr & 0x0000ffffffffffc0ull) | (ttbr >> 2 & 15) << 48;
}

/*
 * Under KPTI a vCPU in user mode runs on tramp_pg_dir, one page (Linux before reserved_pg_dir
 * stood between them) or two below swapper_pg_dir, and its ASID is odd. An odd ASID is no proof:
 * without KPTI all of them are given out. What is certain: an even ASID (or, with TCR.A1 clear,
 * none in TTBR1 at all) means the kernel's own root.
 */
static void add_kpti_roots(struct arch_mmu *mmu, uint64_t ttbr, uint64_t tcr)
{
	uint64_t page = 1ull << mmu->granule_log;

	if (!(tcr & ARM64_TCR_A1) || !(ARM64_TTBR_ASID(ttbr) & KPTI_USER_ASID))
		return;
	mmu->alt[mmu->n_alt++] = vp_gpa(mmu->root.v + 2 * page);
	mmu->alt[mmu->n_alt++] = vp_gpa(mmu->root.v + page);
}

int arm64_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret)
{
	struct arch_mmu mmu = {0};
	unsigned ttbr, tcr, sctlr;
	int r;

	r = pick_regime(regs, &ttbr, &tcr, &sctlr);
	if (r < 0)
		return r;
	r = mmu_from_tcr(regs->v[tcr], &mmu);
	if (r < 0)
		return r;
	mmu.root = vp_gpa(root_of(regs->v[ttbr], mmu.lpa52));
	add_kpti_roots(&mmu, regs->v[ttbr], regs->v[tcr]);
	*ret = mmu;
	return VP_OK;
}

/* D8.2.8: with SCTLR_EL1.M clear and no stage 2 the output address is the input address. */
int arm64_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret)
{
	const uint32_t need = 1u << ARM64_REG_CPSR | 1u << ARM64_REG_SCTLR;
	uint64_t hcr = regs->have & 1u << ARM64_REG_HCR ? regs->v[ARM64_REG_HCR] : 0;

	if ((regs->have & need) != need || ARM64_CPSR_EL(regs->v[ARM64_REG_CPSR]) > 1 ||
	    (regs->v[ARM64_REG_SCTLR] & ARM64_SCTLR_M) || (hcr & (ARM64_HCR_VM | ARM64_HCR_E2H)))
		return VP_E_UNSUPPORTED;
	if (ARM64_CPSR_EL(regs->v[ARM64_REG_CPSR]) == 0)
		return VP_E_PERM;
	*ret = (struct arch_mmu){.granule_log = 12};
	return VP_OK;
}

static bool mmu_is_sound(const struct arch_mmu *mmu)
{
	if (mmu->granule_log != 12 && mmu->granule_log != 14 && mmu->granule_log != 16)
		return false;
	if (mmu->va_bits < VA_BITS_MIN || mmu->va_bits > VA_BITS_MAX)
		return false;
	if (mmu->levels != levels_of(mmu->granule_log, mmu->va_bits))
		return false;
	return !(mmu->root.v & 7) && mmu->root.v >> 52 == 0;
}

/* Output address of a descriptor down to bit `low`; VP_E_GUEST_CORRUPT for RES0 bits below. */
static int address_of(const struct arch_mmu *mmu, uint64_t desc, unsigned low, uint64_t allowed,
		      uint64_t *ret)
{
	uint64_t top = 0;
	uint64_t field = desc & 0x0000fffffffff000ull;

	if (!mmu->lpa52) {
		if (desc & 3ull << 48)
			return VP_E_GUEST_CORRUPT;
	} else if (mmu->granule_log == 16) {
		if (desc & 3ull << 48)
			return VP_E_GUEST_CORRUPT;
		top = (desc >> 12 & 15) << 48;
		field &= ~0xf000ull;
	} else {
		top = (desc & 3ull << 48) | (desc >> 8 & 3) << 50;
	}
	field &= ~allowed;
	if (field & ((1ull << low) - 1))
		return VP_E_GUEST_CORRUPT;
	*ret = top | field;
	return VP_OK;
}

/* D8.3, the lookup levels that may hold a block descriptor. */
static bool may_be_block(const struct arch_mmu *mmu, int level)
{
	switch (mmu->granule_log) {
	case 12:
		return level == 1 || level == 2 || (level == 0 && mmu->lpa52);
	default: /* 16K with DS, 64K with FEAT_LPA */
		return level == 2 || (level == 1 && mmu->lpa52);
	}
}

/* Permissions that the table descriptors on the way have taken away. */
struct limits {
	bool no_el0, no_write, no_priv_exec, no_user_exec;
};

static void add_limits(struct limits *l, uint64_t desc)
{
	l->no_el0 |= (desc & DESC_APTABLE_EL0) != 0;
	l->no_write |= (desc & DESC_APTABLE_RO) != 0;
	l->no_priv_exec |= (desc & DESC_PXNTABLE) != 0;
	l->no_user_exec |= (desc & DESC_UXNTABLE) != 0;
}

/* D8.4: what EL1 and EL0 may do with a page or block. */
static void set_permissions(const struct arch_mmu *mmu, uint64_t desc, const struct limits *l,
			    struct arch_xlate *x)
{
	bool el0_data = (desc & DESC_AP1) && !l->no_el0;
	bool el0_exec = !(desc & DESC_UXN) && !l->no_user_exec; /* execute-only counts too */
	bool read_only = (desc & DESC_AP2) && !((mmu->flags & ARM64_MMU_HD) && (desc & DESC_DBM));

	x->present = (desc & DESC_AF) || (mmu->flags & ARM64_MMU_HA);
	x->writable = !read_only && !l->no_write;
	x->user = el0_data || el0_exec;
	/* What EL0 may write, EL1 never executes (D8.4.3). */
	x->executable = !(desc & DESC_PXN) && !l->no_priv_exec && !(el0_data && x->writable);
}

static int leaf(const struct arch_mmu *mmu, uint64_t desc, unsigned shift, vp_gva_t at,
		const struct limits *l, struct arch_xlate *ret)
{
	struct arch_xlate x = {.page_log = shift};
	uint64_t mask = (1ull << shift) - 1;
	uint64_t pa;
	int r;

	r = address_of(mmu, desc, shift, shift > mmu->granule_log ? DESC_NT : 0, &pa);
	if (r < 0)
		return r;
	set_permissions(mmu, desc, l, &x);
	if (x.present)
		x.gpa = vp_gpa(pa | (at.v & mask));
	else
		x = (struct arch_xlate){.page_log = shift};
	*ret = x;
	return VP_OK;
}

int arm64_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
	       struct arch_xlate *ret)
{
	unsigned per_level, index_bits, shift;
	struct limits limits = {0};
	uint64_t table;
	int level;

	if (!mmu->levels)
		return arch_walk_off(mmu, at, ret);
	if (!mmu_is_sound(mmu))
		return VP_E_UNSUPPORTED;
	if (at.v >> mmu->va_bits != UINT64_MAX >> mmu->va_bits)
		return VP_E_UNMAPPED;
	per_level = mmu->granule_log - 3;
	level = LAST_LEVEL + 1 - (int)mmu->levels;
	shift = mmu->granule_log + per_level * (mmu->levels - 1);
	index_bits = mmu->va_bits - shift; /* the root may be shorter than a page, or longer */
	table = mmu->root.v;

	for (;; level++, shift -= per_level, index_bits = per_level) {
		uint64_t index = at.v >> shift & ((1ull << index_bits) - 1);
		uint8_t raw[8];
		uint64_t desc;
		int r;

		r = fetch(ctx, vp_gpa(table + 8 * index), raw, sizeof(raw));
		if (r < 0)
			return r;
		desc = vp_ld64(raw);
		if (!(desc & DESC_VALID)) {
			*ret = (struct arch_xlate){.page_log = shift};
			return VP_OK;
		}
		if (level == LAST_LEVEL)
			return desc & DESC_TABLE ? leaf(mmu, desc, shift, at, &limits, ret)
						 : VP_E_GUEST_CORRUPT;
		if (!(desc & DESC_TABLE))
			return may_be_block(mmu, level) ? leaf(mmu, desc, shift, at, &limits, ret)
							: VP_E_GUEST_CORRUPT;
		r = address_of(mmu, desc, mmu->granule_log, 0, &table);
		if (r < 0)
			return r;
		if (!(mmu->flags & ARM64_MMU_HPD))
			add_limits(&limits, desc);
	}
}
