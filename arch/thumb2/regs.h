/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which system register of a 32-bit Arm guest lies where in struct arch_regs, and its bits. */
#ifndef VP_ARCH_THUMB2_REGS_H
#define VP_ARCH_THUMB2_REGS_H

#include "arch/arch.h"

enum thumb2_reg {
	THUMB2_REG_CPSR = ARCH_REG_SYS0,
	THUMB2_REG_SCTLR,
	THUMB2_REG_TTBR0,
	THUMB2_REG_TTBR1,
	THUMB2_REG_TTBCR,
	THUMB2_REG_DACR,
};

/* Arm ARM (DDI 0406C): B1.3.3, B4.1.130, B4.1.153, B4.1.43. */
#define THUMB2_CPSR_MODE(v) ((unsigned)((v)&31))
#define THUMB2_MODE_USR     0x10u
#define THUMB2_MODE_MON     0x16u
#define THUMB2_MODE_HYP     0x1au
#define THUMB2_SCTLR_M      1ull
#define THUMB2_SCTLR_WXN    (1ull << 19)
#define THUMB2_SCTLR_AFE    (1ull << 29)
#define THUMB2_TTBCR_N(v)   ((unsigned)((v)&7))
#define THUMB2_TTBCR_PD0    (1ull << 4)
#define THUMB2_TTBCR_PD1    (1ull << 5)
#define THUMB2_TTBCR_EAE    (1ull << 31)

/* arch_mmu.flags is DACR with every domain's "client" as zero; arch_mmu.levels is 0 with the MMU
 * off; arch_mmu.va_bits is 32 less TTBCR.N. */
#define THUMB2_DACR_CLIENTS 0x55555555u

#endif
