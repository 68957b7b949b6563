// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arch/arm64/arm64.h"
#include "arch/arm64/regs.h"

#define EM_AARCH64 183 /* ELF for the Arm 64-bit Architecture, e_machine */

/* As QEMU's gdbstub names them in aarch64-core.xml and system-registers.xml. */
static const char *const reg_names[ARCH_REG_MAX] = {
	[ARCH_REG_PC] = "pc",
	[ARCH_REG_SP] = "sp",
	[ARCH_REG_FP] = "x29",
	[ARCH_REG_LR] = "x30",
	[ARM64_REG_CPSR] = "cpsr",
	[ARM64_REG_TTBR1] = "TTBR1_EL1",
	[ARM64_REG_TCR] = "TCR_EL1",
	[ARM64_REG_SCTLR] = "SCTLR", /* SCTLR_EL1 and VBAR_EL1: shared with AArch32, short names */
	[ARM64_REG_VBAR] = "VBAR",
	[ARM64_REG_TTBR1_EL2] = "TTBR1_EL2",
	[ARM64_REG_TCR_EL2] = "TCR_EL2",
	[ARM64_REG_SCTLR_EL2] = "SCTLR_EL2",
	[ARM64_REG_HCR] = "HCR_EL2",
};

const struct arch_ops arch_arm64_ops = {
	.id = ARCH_ARM64,
	.name = "arm64",
	.qemu_target = "aarch64",
	.elf_machine = EM_AARCH64,
	.insn_align = 4,
	/*
	 * UDF #0, which the linker leaves between input sections. NOP runs are not filler: they
	 * lie inside assembly (vectors), where alignment padding is executed or owned.
	 */
	.filler = {0x00, 0x00, 0x00, 0x00},
	.filler_len = 4,
	.reg_names = reg_names,
	.nop = arm64_nop,
	.branch = arm64_branch,
	.call = arm64_call,
	.dispatch = arm64_call,
	.dispatch_behind = arch_no_dispatch_behind,
	.trap = arm64_trap,
	.decode = arm64_decode,
	.entry = arm64_entry,
	.reloc = arm64_reloc,
	.relocs = arm64_relocs,
	.veneer = arm64_veneer,
	.mmu_from_regs = arm64_mmu_from_regs,
	.mmu_off = arm64_mmu_off,
	.walk = arm64_walk,
	.live = &arm64_live,
};
