/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which system register of riscv64 lies where in struct arch_regs, and its bits. */
#ifndef VP_ARCH_RISCV64_REGS_H
#define VP_ARCH_RISCV64_REGS_H

#include "arch/arch.h"

enum riscv64_reg {
	RISCV64_REG_SATP = ARCH_REG_SYS0,
	RISCV64_REG_PRIV, /* not a CSR: what a debugger sees, as dcsr.prv has it */
	RISCV64_REG_STVEC,
};

/* RV priv., "Supervisor Address Translation and Protection (satp) Register" and 1.2. */
#define RISCV64_SATP_MODE(v) ((unsigned)((v) >> 60))
#define RISCV64_SATP_PPN(v)  ((v)&0x00000fffffffffffull)
#define RISCV64_SATP_SV39    8u
#define RISCV64_SATP_SV48    9u
#define RISCV64_SATP_SV57    10u
#define RISCV64_PRIV_U       0u
#define RISCV64_PRIV_NONE    2u /* reserved; 0 is U, 1 S, 3 M */

#endif
