// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * T32 instructions that vpatch writes or recognises. Encodings: Arm ARM (DDI 0406C), chapter A8. A
 * 32-bit one is two little-endian halfwords (A6.3), held here with the first on top.
 */
#include "arch/thumb2/thumb2.h"
#include "protocol/bytes.h"

#define NARROW 2
#define WIDE   4

#define NOP16      0xbf00u /* NOP T1; A8.8.119 */
#define B16        0xe000u /* B T2, imm11; A8.8.18 */
#define B16_MASK   0xf800u
#define BKPT16     0xbe00u /* BKPT imm8; A8.8.24 */
#define UDF16      0xde00u /* UDF T1, imm8; A8.8.247 */
#define IMM8_MASK  0xff00u
#define BX_LR      0x4770u     /* BX LR; A8.8.27 */
#define MOV_PC_LR  0x46f7u     /* MOV PC, LR, an older return; A8.8.103 */
#define POP_PC16   0xbd00u     /* POP {..., PC} T1; A8.8.131 */
#define NOP32      0xf3af8000u /* NOP T2; A8.8.119 */
#define B32        0xf0009000u /* B T4; A8.8.18 */
#define BL32       0xf000d000u /* BL T1; A8.8.25 */
#define IMM25_MASK 0xf800d000u
#define BLX32      0xf000c000u /* BLX T2, into A32 code; A8.8.25 */
#define BLX_H      1u          /* must be zero */
#define UDF32      0xf7f0a000u /* UDF T2, imm16; A8.8.247 */
#define UDF32_MASK 0xfff0f000u
#define POP_PC32   0xe8bd8000u /* POP {..., PC} T2; A8.8.131 */
#define POP32_MASK 0xffffa000u
#define LDR_PC_SP  0xf85dfb04u /* LDR PC, [SP], #4, that is POP {PC} T3; A8.8.131 */
#define LDR_PC_LIT 0xf8dff000u /* LDR PC, [PC, #imm12]; A8.8.64 */

#define PC_AHEAD 4 /* A2.3: what an instruction reads as PC is its address plus 4 */

/* A UDF that no hook of Linux claims: kprobes have #0x18, ptrace #1, BUG() #2. */
#define TRAP_IMM 0xffu

static uint32_t ld_wide(const uint8_t *p)
{
	return (uint32_t)vp_ld16(p) << 16 | vp_ld16(p + 2);
}

static void st_wide(uint8_t *p, uint32_t insn)
{
	vp_st16(p, (uint16_t)(insn >> 16));
	vp_st16(p + 2, (uint16_t)insn);
}

/* A6.1: bits [15:11] of the first halfword say how long the instruction is. */
static bool is_wide(uint16_t first)
{
	return first >> 11 >= 0x1d;
}

static bool is_address(vp_gva_t at)
{
	return !(at.v & 1) && at.v >> 32 == 0;
}

int thumb2_nop(uint8_t *buf, unsigned len)
{
	if (len == NARROW)
		vp_st16(buf, NOP16);
	else if (len == WIDE)
		st_wide(buf, NOP32);
	else
		return VP_E_RANGE;
	return VP_OK;
}

/* Both addresses are below 4 GiB, so the difference says nothing that wrapped. */
static int imm25(uint8_t *buf, uint32_t op, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	uint64_t rel = to.v - (at.v + PC_AHEAD);

	if (!is_address(at) || !is_address(to))
		return VP_E_RANGE;
	if (!arch_fits_signed(rel, 25))
		return VP_E_REACH;
	st_wide(buf, thumb2_set_imm25(op, rel));
	*len_ret = WIDE;
	return VP_OK;
}

int thumb2_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return imm25(buf, B32, at, to, len_ret);
}

int thumb2_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return imm25(buf, BL32, at, to, len_ret);
}

int thumb2_trap(uint8_t *buf, unsigned *len_ret)
{
	vp_st16(buf, UDF16 | TRAP_IMM);
	*len_ret = NARROW;
	return VP_OK;
}

/*
 * A load into PC and the word it loads, no register touched. The word is aligned: behind an
 * instruction at 2 mod 4 there is a trap first. Bit 0 of the word keeps the CPU in Thumb state.
 */
int thumb2_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	unsigned gap = at.v & 2 ? NARROW : 0;

	if (len < WIDE + gap + 4 || !is_address(at) || !is_address(to))
		return VP_E_RANGE;
	/* The base is PC rounded down to a word: at + 4, or at + 2. */
	st_wide(buf, LDR_PC_LIT | (gap ? 4u : 0u));
	if (gap)
		vp_st16(buf + WIDE, UDF16 | TRAP_IMM);
	vp_st32(buf + WIDE + gap, (uint32_t)to.v | 1);
	*len_ret = WIDE + gap + 4;
	return VP_OK;
}

/* A3.1: a branch across either end of memory is UNPREDICTABLE, so it has no target. */
static int set_target(struct arch_insn *insn, uint64_t base, uint64_t off, unsigned bits)
{
	uint64_t sign = 1ull << (bits - 1);
	uint64_t to = base + ((off ^ sign) - sign);

	insn->target = vp_gva(to);
	return to >> 32 ? VP_E_SITE_BYTES : VP_OK;
}

static int decode_narrow(uint16_t w, vp_gva_t at, struct arch_insn *insn)
{
	insn->len = NARROW;
	if ((w & B16_MASK) == B16) {
		insn->kind = ARCH_INSN_BRANCH;
		return set_target(insn, at.v + PC_AHEAD, (uint64_t)(w & 0x7ff) << 1, 12);
	}
	if (w == NOP16)
		insn->kind = ARCH_INSN_NOP;
	else if ((w & IMM8_MASK) == UDF16 || (w & IMM8_MASK) == BKPT16)
		insn->kind = ARCH_INSN_TRAP;
	else if (w == BX_LR || w == MOV_PC_LR || (w & IMM8_MASK) == POP_PC16)
		insn->kind = ARCH_INSN_RET;
	return VP_OK;
}

static uint64_t get_imm25(uint32_t w)
{
	uint32_t s = w >> 26 & 1, i1 = ~((w >> 13 & 1) ^ s) & 1, i2 = ~((w >> 11 & 1) ^ s) & 1;

	return s << 24 | i1 << 23 | i2 << 22 | (w >> 16 & 0x3ff) << 12 | (w & 0x7ff) << 1;
}

/* BLX goes to a whole word of A32 code: a call with a target that is no T32 code. */
static int decode_wide(uint32_t w, vp_gva_t at, struct arch_insn *insn)
{
	uint64_t pc = at.v + PC_AHEAD;
	uint32_t op = w & IMM25_MASK;

	insn->len = WIDE;
	if (op == B32 || op == BL32) {
		insn->kind = op == B32 ? ARCH_INSN_BRANCH : ARCH_INSN_CALL;
		return set_target(insn, pc, get_imm25(w), 25);
	}
	if (op == BLX32) {
		insn->kind = ARCH_INSN_CALL;
		return w & BLX_H ? VP_E_SITE_BYTES : set_target(insn, pc & ~3ull, get_imm25(w), 25);
	}
	if (w == NOP32)
		insn->kind = ARCH_INSN_NOP;
	else if ((w & UDF32_MASK) == UDF32)
		insn->kind = ARCH_INSN_TRAP;
	else if ((w & POP32_MASK) == POP_PC32 || w == LDR_PC_SP)
		insn->kind = ARCH_INSN_RET;
	return VP_OK;
}

int thumb2_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret)
{
	struct arch_insn insn = {0};
	uint16_t first;
	int r;

	if (len < NARROW || !is_address(at))
		return VP_E_RANGE;
	first = vp_ld16(buf);
	if (is_wide(first) && len < WIDE)
		return VP_E_RANGE;
	r = is_wide(first) ? decode_wide(ld_wide(buf), at, &insn) : decode_narrow(first, at, &insn);
	if (r == VP_OK)
		*ret = insn;
	return r;
}

/*
 * -fpatchable-function-entry=2: four bytes at the function's start, two narrow nops as GCC leaves
 * them or one wide nop. No tracer has a place of its own. A branch, a call or a trap there means
 * that it is taken, as does the narrow branch over the second half that a live change goes through.
 */
int thumb2_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret)
{
	struct arch_insn insn;
	int r = thumb2_decode(buf, len, func, &insn);

	if (r == VP_E_RANGE)
		return r;
	if (r < 0)
		return VP_E_NO_SITE;
	if (insn.kind == ARCH_INSN_BRANCH || insn.kind == ARCH_INSN_CALL ||
	    insn.kind == ARCH_INSN_TRAP)
		return VP_E_SITE_TRACED;
	if (insn.kind != ARCH_INSN_NOP)
		return VP_E_NO_SITE;
	if (len < WIDE)
		return VP_E_RANGE;
	if (insn.len == NARROW && vp_ld16(buf + NARROW) != NOP16)
		return VP_E_NO_SITE;
	*ret = (struct arch_entry){
		.site_len = WIDE,
		.tracer_len = WIDE,
		.shared = true,
		.tracer_idle = true,
	};
	return VP_OK;
}
