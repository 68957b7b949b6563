/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The slots of the Thumb-2 table; arch/arch.h says what each promises.
 *
 * Addresses are 32 bits, zero-extended, and of an instruction always even: bit 0, by which ELF
 * symbols and registers say "Thumb", is no part of them. What would wrap at 4 GiB is refused.
 */
#ifndef VP_ARCH_THUMB2_THUMB2_H
#define VP_ARCH_THUMB2_THUMB2_H

#include "arch/arch.h"

extern const struct arch_ops arch_thumb2_ops;
extern const struct arch_live thumb2_live;

int thumb2_nop(uint8_t *buf, unsigned len);
int thumb2_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int thumb2_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int thumb2_trap(uint8_t *buf, unsigned *len_ret);
int thumb2_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int thumb2_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret);
/* A site of four bytes may rest as two instructions: decode() then gives less than site_len, and
 * whoever writes it must see to contexts that stand between the two. */
int thumb2_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret);
int thumb2_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		 int64_t addend);
extern const struct arch_reloc thumb2_relocs[];
int thumb2_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret);
int thumb2_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret);
int thumb2_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
		struct arch_xlate *ret);

/*
 * The 25-bit displacement of B.W (T4), BL and BLX: S, imm10 | J1, J2, imm11, where J is I xor not S
 * (DDI 0406C, A8.8.18, A8.8.25). A 32-bit instruction is held with its first halfword on top.
 */
static inline uint32_t thumb2_set_imm25(uint32_t insn, uint64_t v)
{
	uint32_t s = v >> 24 & 1, j1 = (~v >> 23 & 1) ^ s, j2 = (~v >> 22 & 1) ^ s;

	insn &= ~(0x07ffu << 16 | 0x2fffu);
	return insn | s << 26 | (uint32_t)(v >> 12 & 0x3ff) << 16 | j1 << 13 | j2 << 11 |
	       (uint32_t)(v >> 1 & 0x7ff);
}

#endif
