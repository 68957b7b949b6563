// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Translation of ppc64le kernels. A pseries guest has no root that its host sees: on hash the table
 * is the hypervisor's own, on radix the guest hands a process table to the hypervisor by
 * H_REGISTER_PROCESS_TABLE (PAPR), and no register that a VMM shows holds either. What is known
 * without a root is Linux's linear map (asm/page.h, PAGE_OFFSET), in which kernel text lies, too:
 *
 *   0xc000000000000000 + PA -> PA       below the lowest place where vmalloc space ever began
 *   0xc000100000000000 and up           modules, vmalloc, I/O, vmemmap: no root, so refused
 *
 * The map says where a byte is, not what its page allows: it says writable and executable
 * everywhere, so whoever writes text must know by symbols that it is text. RAM that is not there is
 * refused by whoever reads it. No entry is ever fetched.
 *
 * With MSR.HV and relocation off (powernv, a bare-metal guest) an address is real (Power ISA 3.1,
 * Book III, "Real Addressing Mode"): bits 1 to 3 are ignored, and HRMOR is ORed in unless bit 0 is set.
 */
#include "arch/ppc64le/ppc64le.h"
#include "arch/ppc64le/regs.h"

#define PAGE_LOG 12 /* the smallest there is: a longer run is not known to be mapped alike */

#define KERNEL_REGION 0xcull /* EA[0:3] of everything that Linux maps for itself */
#define REAL_MASK     0x0fffffffffffffffull

/* Linux asm/book3s/64/hash-4k.h, H_KERN_VIRT_START: 16 TiB in 5.x, 61 TiB later, more with 64K pages. */
#define LINEAR_LOG 44

int ppc64le_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret)
{
	struct arch_mmu mmu = {.granule_log = PAGE_LOG, .va_bits = 64};
	uint64_t msr, relocated;

	if (!(regs->have & 1u << PPC64LE_REG_MSR))
		return VP_E_UNSUPPORTED;
	msr = regs->v[PPC64LE_REG_MSR];
	relocated = msr & (PPC64LE_MSR_IR | PPC64LE_MSR_DR);
	/* Big-endian is firmware, or another architecture's guest; so are 32-bit addresses. */
	if (!(msr & PPC64LE_MSR_LE) || !(msr & PPC64LE_MSR_SF))
		return VP_E_UNSUPPORTED;
	if (!relocated) {
		/* Without HV this is a moment of an interrupt, in an area the hypervisor chose. */
		if (!(msr & PPC64LE_MSR_HV) || !(regs->have & 1u << PPC64LE_REG_HRMOR))
			return VP_E_UNSUPPORTED;
		mmu.flags = PPC64LE_MMU_REAL;
		mmu.root = vp_gpa(regs->v[PPC64LE_REG_HRMOR] & REAL_MASK);
	} else if (relocated != (PPC64LE_MSR_IR | PPC64LE_MSR_DR)) {
		return VP_E_UNSUPPORTED;
	}
	*ret = mmu;
	return VP_OK;
}

int ppc64le_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret)
{
	struct arch_mmu mmu;
	int r = ppc64le_mmu_from_regs(regs, &mmu);

	if (r < 0 || mmu.flags != PPC64LE_MMU_REAL)
		return VP_E_UNSUPPORTED;
	if (regs->v[PPC64LE_REG_MSR] & PPC64LE_MSR_PR)
		return VP_E_PERM;
	*ret = mmu;
	return VP_OK;
}

static bool mmu_is_sound(const struct arch_mmu *mmu)
{
	if (mmu->levels || mmu->granule_log != PAGE_LOG || mmu->va_bits != 64)
		return false;
	if (mmu->flags == PPC64LE_MMU_REAL)
		return mmu->root.v <= REAL_MASK;
	return !mmu->flags && !mmu->root.v;
}

int ppc64le_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
		 struct arch_xlate *ret)
{
	struct arch_xlate x = {
		.page_log = PAGE_LOG,
		.present = true,
		.writable = true,
		.executable = true,
		.blind = true,
	};

	(void)fetch;
	(void)ctx;
	if (!mmu_is_sound(mmu))
		return VP_E_UNSUPPORTED;
	if (mmu->flags & PPC64LE_MMU_REAL) {
		x.gpa = vp_gpa((at.v & REAL_MASK) | (at.v >> 63 ? 0 : mmu->root.v));
	} else {
		if (at.v >> 60 != KERNEL_REGION)
			return VP_E_UNMAPPED;
		if ((at.v & REAL_MASK) >> LINEAR_LOG)
			return VP_E_UNSUPPORTED;
		x.gpa = vp_gpa(at.v & REAL_MASK);
	}
	*ret = x;
	return VP_OK;
}
