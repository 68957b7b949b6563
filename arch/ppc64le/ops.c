// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arch/ppc64le/ppc64le.h"
#include "arch/ppc64le/regs.h"

#define EM_PPC64 21 /* System V gABI, e_machine */

/* As QEMU's gdbstub names them in power64-core.xml and in the list of SPRs that it generates. */
static const char
	*const reg_names[ARCH_REG_MAX] =
		{
			[ARCH_REG_PC] = "pc",
			[ARCH_REG_SP] = "r1", /* frames are chained from here; no register of its own points there */
			[PPC64LE_REG_MSR] = "msr",
			[ARCH_REG_LR] = "lr",
			[PPC64LE_REG_HRMOR] = "hrmor",
};

const struct arch_ops arch_ppc64le_ops = {
	.id = ARCH_PPC64LE,
	.name = "ppc64le",
	.qemu_target = "ppc64", /* of either byte order; MSR.LE tells */
	.elf_machine = EM_PPC64,
	.insn_align = 4,
	/*
	 * All zeros is an illegal instruction for good (Power ISA 3.1, Book I, "Illegal Instruction
	 * Class"), and it is what the linker leaves between input sections. NOP runs are not filler:
	 * compilers align loops with them.
	 */
	.filler = {0x00, 0x00, 0x00, 0x00},
	.filler_len = 4,
	.reg_names = reg_names,
	.nop = ppc64le_nop,
	.branch = ppc64le_branch,
	.call = ppc64le_call,
	.dispatch = ppc64le_call,
	.dispatch_behind = arch_no_dispatch_behind,
	.trap = ppc64le_trap,
	.decode = ppc64le_decode,
	.entry = ppc64le_entry,
	.reloc = ppc64le_reloc,
	.relocs = ppc64le_relocs,
	.veneer = ppc64le_veneer,
	.mmu_from_regs = ppc64le_mmu_from_regs,
	.mmu_off = ppc64le_mmu_off,
	.walk = ppc64le_walk,
	.live = &ppc64le_live,
};
