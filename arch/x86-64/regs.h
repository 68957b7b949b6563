/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which system register of x86-64 lies where in struct arch_regs, and its bits. */
#ifndef VP_ARCH_X86_64_REGS_H
#define VP_ARCH_X86_64_REGS_H

#include "arch/arch.h"

enum x86_64_reg {
	X86_64_REG_CR0 = ARCH_REG_SYS0,
	X86_64_REG_CR3,
	X86_64_REG_CR4,
	X86_64_REG_EFER,
	X86_64_REG_CS,
	X86_64_REG_EFLAGS,
	X86_64_REG_GS_BASE,   /* in the kernel: the per-CPU area */
	X86_64_REG_K_GS_BASE, /* IA32_KERNEL_GS_BASE: the per-CPU area while in user mode */
};

/* Intel SDM vol. 3, 2.5 (control registers) and 2.2.1 (IA32_EFER). */
#define X86_64_CR0_PE   1ull
#define X86_64_CR0_PG   (1ull << 31)
#define X86_64_CR4_PAE  (1ull << 5)
#define X86_64_CR4_LA57 (1ull << 12)
#define X86_64_EFER_LMA (1ull << 10)
#define X86_64_EFER_NXE (1ull << 11)

/* arch_mmu.flags: EFER.NXE is off, so bit 63 of an entry is reserved and all is executable. */
#define X86_64_MMU_NO_NX 1u

#endif
