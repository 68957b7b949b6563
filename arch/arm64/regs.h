/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which system register of arm64 lies where in struct arch_regs, and its bits. */
#ifndef VP_ARCH_ARM64_REGS_H
#define VP_ARCH_ARM64_REGS_H

#include "arch/arch.h"

enum arm64_reg {
	ARM64_REG_CPSR = ARCH_REG_SYS0,
	ARM64_REG_TTBR1,
	ARM64_REG_TCR,
	ARM64_REG_SCTLR,
	ARM64_REG_VBAR,
	/* Only a VMM that emulates EL2 has these; a kernel with VHE then lives there. */
	ARM64_REG_TTBR1_EL2,
	ARM64_REG_TCR_EL2,
	ARM64_REG_SCTLR_EL2,
	ARM64_REG_HCR,
};

/* Arm ARM (DDI 0487), chapter D19; TCR_EL2 has TCR_EL1's layout while HCR_EL2.E2H is set. */
#define ARM64_CPSR_EL(v)   ((unsigned)((v) >> 2 & 3)) /* SPSR_EL1.M[3:2] */
#define ARM64_TCR_T1SZ(v)  ((unsigned)((v) >> 16 & 63))
#define ARM64_TCR_A1       (1ull << 22) /* TTBR1 holds the ASID */
#define ARM64_TCR_EPD1     (1ull << 23) /* TTBR1 is not walked */
#define ARM64_TCR_TG1(v)   ((unsigned)((v) >> 30 & 3))
#define ARM64_TCR_IPS(v)   ((unsigned)((v) >> 32 & 7))
#define ARM64_TCR_HA       (1ull << 39)
#define ARM64_TCR_HD       (1ull << 40)
#define ARM64_TCR_HPD1     (1ull << 42)
#define ARM64_TCR_DS       (1ull << 59)
#define ARM64_SCTLR_M      1ull
#define ARM64_HCR_VM       1ull
#define ARM64_HCR_E2H      (1ull << 34)
#define ARM64_TTBR_ASID(v) ((unsigned)((v) >> 48))

/* arch_mmu.flags, from TCR. */
#define ARM64_MMU_HA  1u /* hardware sets the access flag: AF clear is still mapped */
#define ARM64_MMU_HD  2u /* hardware clears AP[2] where DBM is set: such a page is writable */
#define ARM64_MMU_HPD 4u /* permission bits in table descriptors are ignored */

#endif
