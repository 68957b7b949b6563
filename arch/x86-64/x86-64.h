/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The slots of the x86-64 table; arch/arch.h says what each promises. */
#ifndef VP_ARCH_X86_64_X86_64_H
#define VP_ARCH_X86_64_X86_64_H

#include "arch/arch.h"

extern const struct arch_ops arch_x86_64_ops;
extern const struct arch_live x86_64_live;

int x86_64_nop(uint8_t *buf, unsigned len);
int x86_64_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int x86_64_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int x86_64_trap(uint8_t *buf, unsigned *len_ret);
int x86_64_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int x86_64_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret);
int x86_64_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret);
int x86_64_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		 int64_t addend);
extern const struct arch_reloc x86_64_relocs[];
int x86_64_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret);
int x86_64_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret);
int x86_64_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
		struct arch_xlate *ret);

#endif
