/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which system register of ppc64le lies where in struct arch_regs, and its bits. */
#ifndef VP_ARCH_PPC64LE_REGS_H
#define VP_ARCH_PPC64LE_REGS_H

#include "arch/arch.h"

enum ppc64le_reg {
	PPC64LE_REG_MSR = ARCH_REG_SYS0,
	PPC64LE_REG_HRMOR, /* only a VMM that emulates a hypervisor's machine has it */
};

/* Power ISA 3.1, Book III, "Machine State Register"; bit 0 there is bit 63 here. */
#define PPC64LE_MSR_LE 1ull
#define PPC64LE_MSR_DR (1ull << 4)
#define PPC64LE_MSR_IR (1ull << 5)
#define PPC64LE_MSR_PR (1ull << 14) /* problem state: user mode */
#define PPC64LE_MSR_HV (1ull << 60)
#define PPC64LE_MSR_SF (1ull << 63) /* 64-bit addresses */

/* arch_mmu.flags: relocation is off under a hypervisor's MSR.HV, and root is HRMOR. */
#define PPC64LE_MMU_REAL 1u

#endif
