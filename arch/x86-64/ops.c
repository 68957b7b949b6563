// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arch/x86-64/regs.h"
#include "arch/x86-64/x86-64.h"

#define EM_X86_64 62 /* System V gABI, e_machine */

/* As QEMU's gdbstub names them in i386-64bit.xml. */
static const char *const reg_names[ARCH_REG_MAX] = {
	[ARCH_REG_PC] = "rip",
	[ARCH_REG_SP] = "rsp",
	[X86_64_REG_CR0] = "cr0",
	[X86_64_REG_CR3] = "cr3",
	[X86_64_REG_CR4] = "cr4",
	[X86_64_REG_EFER] = "efer",
	[X86_64_REG_CS] = "cs",
	[X86_64_REG_EFLAGS] = "eflags",
	[X86_64_REG_GS_BASE] = "gs_base",
	[X86_64_REG_K_GS_BASE] = "k_gs_base",
};

const struct arch_ops arch_x86_64_ops = {
	.id = ARCH_X86_64,
	.name = "x86-64",
	.qemu_target = "x86_64",
	.elf_machine = EM_X86_64,
	.insn_align = 1,
	.filler = {0xcc}, /* int3; vmlinux.lds.S pads .text with 0xcccccccc */
	.filler_len = 1,
	.reg_names = reg_names,
	.nop = x86_64_nop,
	.branch = x86_64_branch,
	.call = x86_64_call,
	.dispatch = x86_64_call,
	.dispatch_behind = arch_no_dispatch_behind,
	.trap = x86_64_trap,
	.decode = x86_64_decode,
	.entry = x86_64_entry,
	.reloc = x86_64_reloc,
	.relocs = x86_64_relocs,
	.veneer = x86_64_veneer,
	.mmu_from_regs = x86_64_mmu_from_regs,
	.mmu_off = x86_64_mmu_off,
	.walk = x86_64_walk,
	.live = &x86_64_live,
};
