// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arch/thumb2/regs.h"
#include "arch/thumb2/thumb2.h"

#define EM_ARM 40 /* ELF for the Arm Architecture, e_machine */

/* As QEMU's gdbstub names them in arm-core.xml and in the list of system registers. */
static const char *const reg_names[ARCH_REG_MAX] = {
	[ARCH_REG_PC] = "pc",
	[ARCH_REG_SP] = "sp",
	[THUMB2_REG_CPSR] = "cpsr",
	[THUMB2_REG_SCTLR] = "SCTLR",
	[THUMB2_REG_TTBR0] = "TTBR0_EL1",
	[THUMB2_REG_TTBR1] = "TTBR1_EL1",
	[THUMB2_REG_TTBCR] = "TTBCR",
	[THUMB2_REG_DACR] = "DACR",
};

const struct arch_ops arch_thumb2_ops = {
	.id = ARCH_THUMB2,
	.name = "thumb2",
	.qemu_target = "arm", /* whatever its guest runs, A32 code too */
	.elf_machine = EM_ARM,
	.insn_align = 2,
	/* UDF #255, what the stub fills its arena with. Zeros, which linkers leave, do not trap. */
	.filler = {0xff, 0xde},
	.filler_len = 2,
	.reg_names = reg_names,
	.nop = thumb2_nop,
	.branch = thumb2_branch,
	.call = thumb2_call,
	.dispatch = thumb2_call,
	.dispatch_behind = arch_no_dispatch_behind,
	.trap = thumb2_trap,
	.decode = thumb2_decode,
	.entry = thumb2_entry,
	.reloc = thumb2_reloc,
	.relocs = thumb2_relocs,
	.veneer = thumb2_veneer,
	.mmu_from_regs = thumb2_mmu_from_regs,
	.mmu_off = thumb2_mmu_off,
	.walk = thumb2_walk,
	.live = &thumb2_live,
};
