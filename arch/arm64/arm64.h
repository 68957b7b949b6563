/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The slots of the arm64 table; arch/arch.h says what each promises. */
#ifndef VP_ARCH_ARM64_ARM64_H
#define VP_ARCH_ARM64_ARM64_H

#include "arch/arch.h"

extern const struct arch_ops arch_arm64_ops;
extern const struct arch_live arm64_live;

int arm64_nop(uint8_t *buf, unsigned len);
int arm64_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int arm64_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int arm64_trap(uint8_t *buf, unsigned *len_ret);
int arm64_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int arm64_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret);
int arm64_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret);
int arm64_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		int64_t addend);
extern const struct arch_reloc arm64_relocs[];
int arm64_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret);
int arm64_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret);
int arm64_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
	       struct arch_xlate *ret);

/* The 21-bit immediate of ADR and ADRP: bits [30:29] low, [23:5] high (DDI 0487, C6.2.10). */
static inline uint32_t arm64_set_adr(uint32_t insn, uint64_t imm)
{
	insn &= ~(3u << 29 | 0x7ffffu << 5);
	return insn | (uint32_t)(imm & 3) << 29 | (uint32_t)(imm >> 2 & 0x7ffff) << 5;
}

#endif
