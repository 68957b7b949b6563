// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arch/riscv64/regs.h"
#include "arch/riscv64/riscv64.h"

#define EM_RISCV 243 /* RISC-V ELF psABI, File Header, e_machine */

/* As QEMU's gdbstub names them in riscv-64bit-cpu.xml, -virtual.xml and the list of CSRs. */
static const char *const reg_names[ARCH_REG_MAX] = {
	[ARCH_REG_PC] = "pc",        [ARCH_REG_SP] = "sp",        [ARCH_REG_FP] = "fp",
	[RISCV64_REG_SATP] = "satp", [RISCV64_REG_PRIV] = "priv", [RISCV64_REG_STVEC] = "stvec",
};

const struct arch_ops arch_riscv64_ops = {
	.id = ARCH_RISCV64,
	.name = "riscv64",
	.qemu_target = "riscv64",
	.elf_machine = EM_RISCV,
	.insn_align = 2, /* with C, which every Linux distribution's kernel is built for */
	/*
	 * The halfword of zeros that is defined to be illegal (RV unpriv. 1.5), which the linker leaves
	 * between input sections. Nops are not filler: the assembler puts them inside sections,
	 * where they are executed or owned (with CALL_OPS they are the tracer's pointer), and what
	 * strays onto them runs on.
	 */
	.filler = {0x00, 0x00},
	.filler_len = 2,
	.reg_names = reg_names,
	.nop = riscv64_nop,
	.branch = riscv64_branch,
	.call = riscv64_call,
	.dispatch = riscv64_dispatch,
	.dispatch_behind = riscv64_dispatch_behind,
	.trap = riscv64_trap,
	.decode = riscv64_decode,
	.entry = riscv64_entry,
	.reloc = riscv64_reloc,
	.relocs = riscv64_relocs,
	.veneer = riscv64_veneer,
	.mmu_from_regs = riscv64_mmu_from_regs,
	.mmu_off = riscv64_mmu_off,
	.walk = riscv64_walk,
	.live = &riscv64_live,
};
