// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Four- and five-level paging, Intel SDM vol. 3, 4.5:
 *
 *    63  62..59 58..52 51 .......... 12 11..9  8  7  6  5   4   3   2   1   0
 *   | NX | pkey | ign | next table or page | G  | PS | D A PCD PWT U/S R/W P |
 *
 * MAXPHYADDR is not visible from outside, so address bits are taken up to 51; one beyond the
 * guest's RAM is refused by whoever reads it.
 */
#include "arch/x86-64/regs.h"
#include "arch/x86-64/x86-64.h"
#include "protocol/bytes.h"

#define PTE_P   (1ull << 0)
#define PTE_RW  (1ull << 1)
#define PTE_US  (1ull << 2)
#define PTE_PS  (1ull << 7) /* in a PTE itself: PAT */
#define PTE_NX  (1ull << 63)
#define PA_MASK 0x000ffffffffff000ull

/* Bit 12 of a large page is PAT; from 13 up to its size all is reserved (tables 4-16, 4-18). */
#define LARGE_FIRST_RESERVED 13

/*
 * Linux arch/x86/mm/pti.c: with page table isolation every PGD is an aligned pair of pages, the
 * kernel's first and the user's copy at +4096, and CR3 says by bit 12 which is loaded.
 */
#define CR3_PTI_USER (1ull << 12)

int x86_64_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret)
{
	const uint32_t need = 1u << X86_64_REG_CR0 | 1u << X86_64_REG_CR3 | 1u << X86_64_REG_CR4 |
			      1u << X86_64_REG_EFER;
	struct arch_mmu mmu = {.granule_log = 12};
	uint64_t cr0, cr3, cr4, efer;

	if ((regs->have & need) != need)
		return VP_E_UNSUPPORTED;
	cr0 = regs->v[X86_64_REG_CR0];
	cr3 = regs->v[X86_64_REG_CR3] & PA_MASK; /* without PCID, LAM and flush bits */
	cr4 = regs->v[X86_64_REG_CR4];
	efer = regs->v[X86_64_REG_EFER];
	if (!(cr0 & X86_64_CR0_PE) || !(cr0 & X86_64_CR0_PG) || !(cr4 & X86_64_CR4_PAE) ||
	    !(efer & X86_64_EFER_LMA))
		return VP_E_UNSUPPORTED;
	mmu.levels = cr4 & X86_64_CR4_LA57 ? 5 : 4;
	mmu.va_bits = mmu.levels == 5 ? 57 : 48;
	if (!(efer & X86_64_EFER_NXE))
		mmu.flags |= X86_64_MMU_NO_NX;
	/*
	 * Whatever ring the vCPU is in: the entry code runs on the user's copy for some
	 * instructions. A kernel built without isolation may have a PGD at an odd page.
	 */
	mmu.root = vp_gpa(cr3 & ~CR3_PTI_USER);
	if (cr3 & CR3_PTI_USER)
		mmu.alt[mmu.n_alt++] = vp_gpa(cr3);
	*ret = mmu;
	return VP_OK;
}

/* Long mode has paging on: Intel SDM vol. 3, 10.8.5 */
int x86_64_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret)
{
	(void)regs;
	(void)ret;
	return VP_E_UNSUPPORTED;
}

/* What a page of that size at that level may not have set. */
static bool leaf_is_sound(uint64_t pte, unsigned shift)
{
	uint64_t reserved;

	if (shift == 12)
		return true;
	reserved = (1ull << shift) - (1ull << LARGE_FIRST_RESERVED);
	return !(pte & reserved);
}

int x86_64_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
		struct arch_xlate *ret)
{
	struct arch_xlate x = {.writable = true, .executable = true, .user = true};
	bool no_nx = mmu->flags & X86_64_MMU_NO_NX;
	uint64_t table = mmu->root.v;
	uint64_t sign;

	if ((mmu->levels != 4 && mmu->levels != 5) || mmu->va_bits != 12 + 9 * mmu->levels ||
	    mmu->granule_log != 12 || (table & ~PA_MASK))
		return VP_E_UNSUPPORTED;
	sign = at.v >> (mmu->va_bits - 1);
	if (sign != 0 && sign != UINT64_MAX >> (mmu->va_bits - 1))
		return VP_E_UNMAPPED;

	for (unsigned level = mmu->levels; level > 0; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint8_t raw[8];
		uint64_t pte;
		int r;

		r = fetch(ctx, vp_gpa(table + 8 * (at.v >> shift & 511)), raw, sizeof(raw));
		if (r < 0)
			return r;
		pte = vp_ld64(raw);
		x.page_log = shift;
		if (!(pte & PTE_P)) {
			*ret = (struct arch_xlate){.page_log = shift};
			return VP_OK;
		}
		if (no_nx && (pte & PTE_NX))
			return VP_E_GUEST_CORRUPT;
		x.writable = x.writable && (pte & PTE_RW);
		x.user = x.user && (pte & PTE_US);
		x.executable = x.executable && !(pte & PTE_NX);
		table = pte & PA_MASK;
		if (level == 1 || (pte & PTE_PS)) {
			if (level > 3 || !leaf_is_sound(pte, shift))
				return VP_E_GUEST_CORRUPT;
			break;
		}
	}
	x.present = true;
	x.gpa = vp_gpa((table & ~((1ull << x.page_log) - 1)) | (at.v & ((1ull << x.page_log) - 1)));
	*ret = x;
	return VP_OK;
}
