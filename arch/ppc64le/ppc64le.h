/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The slots of the ppc64le table; arch/arch.h says what each promises. */
#ifndef VP_ARCH_PPC64LE_PPC64LE_H
#define VP_ARCH_PPC64LE_PPC64LE_H

#include "arch/arch.h"

extern const struct arch_ops arch_ppc64le_ops;
extern const struct arch_live ppc64le_live;

int ppc64le_nop(uint8_t *buf, unsigned len);
int ppc64le_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int ppc64le_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int ppc64le_trap(uint8_t *buf, unsigned *len_ret);
int ppc64le_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int ppc64le_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret);
int ppc64le_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret);
int ppc64le_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		  int64_t addend);
extern const struct arch_reloc ppc64le_relocs[];
int ppc64le_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret);
int ppc64le_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret);
int ppc64le_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
		 struct arch_xlate *ret);

/*
 * A prefixed instruction, two words, never crosses a 64-byte boundary: the CPU takes an alignment
 * interrupt instead (Power ISA 3.1, Book I, on prefixed instructions).
 */
static inline bool ppc64le_prefix_crosses(vp_gva_t at)
{
	return (at.v & 63) == 60;
}

#endif
