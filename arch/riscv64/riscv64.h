/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The slots of the riscv64 table; arch/arch.h says what each promises. */
#ifndef VP_ARCH_RISCV64_RISCV64_H
#define VP_ARCH_RISCV64_RISCV64_H

#include "arch/arch.h"

extern const struct arch_ops arch_riscv64_ops;
extern const struct arch_live riscv64_live;

int riscv64_nop(uint8_t *buf, unsigned len);
int riscv64_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int riscv64_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int riscv64_dispatch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int riscv64_dispatch_behind(uint8_t *buf, const uint8_t *ahead, vp_gva_t at, vp_gva_t to);
int riscv64_trap(uint8_t *buf, unsigned *len_ret);
int riscv64_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
int riscv64_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret);
int riscv64_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret);
int riscv64_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		  int64_t addend);
extern const struct arch_reloc riscv64_relocs[];
int riscv64_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret);
int riscv64_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret);
int riscv64_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
		 struct arch_xlate *ret);

/* Encodings that more than one file writes or knows; RV unpriv.: 2.4.1, 2.5.1, 2.8, "C". */
#define RISCV64_NOP      0x00000013u /* addi x0, x0, 0 */
#define RISCV64_C_NOP    0x0001u
#define RISCV64_EBREAK   0x00100073u
#define RISCV64_C_EBREAK 0x9002u
#define RISCV64_JAL      0x0000006fu /* jal x0; rd in bits [11:7]; 2.5.1 */
#define RISCV64_RD(insn) ((insn) >> 7 & 31)

/* Bits [from + n - 1 : from] of v, moved to bit `to`: the pieces immediates are cut into. */
static inline uint32_t riscv64_bits(uint64_t v, unsigned from, unsigned n, unsigned to)
{
	return (uint32_t)(v >> from & ((1ull << n) - 1)) << to;
}

/* The J immediate, imm[20|10:1|11|19:12] in bits [31:12] (RV unpriv. 2.3). */
static inline uint32_t riscv64_imm_j(uint64_t v)
{
	return riscv64_bits(v, 20, 1, 31) | riscv64_bits(v, 1, 10, 21) |
	       riscv64_bits(v, 11, 1, 20) | riscv64_bits(v, 12, 8, 12);
}

/*
 * AUIPC and LUI add a sign-extended upper part to what a signed 12-bit lower part completes: the
 * upper one is rounded, so that hi20 of v is bits [31:12] of v + 0x800 (RV unpriv. 2.4.1).
 */
static inline uint32_t riscv64_hi20(uint64_t v)
{
	return (uint32_t)(v + 0x800) & 0xfffff000u;
}

/* The I immediate, imm[11:0] in bits [31:20]. */
static inline uint32_t riscv64_imm_i(uint64_t v)
{
	return riscv64_bits(v, 0, 12, 20);
}

/* True when an AUIPC or LUI and a 12-bit lower part reach v. */
static inline bool riscv64_fits_hi20(uint64_t v)
{
	return arch_fits_signed(v + 0x800, 32);
}

#endif
