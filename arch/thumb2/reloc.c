// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Relocations of Thumb objects: ELF for the Arm Architecture (AAELF32), 5.6.1. Such objects keep
 * their addends in the code (SHT_REL); whoever calls has taken them out, and the field is
 * overwritten. T, the Thumb bit, is in the value of every symbol that has it, so that (S + A) | T
 * is S + A for the even addends of code.
 *
 * All code is T32: branches keep the state, whether their symbol's bit 0 says Thumb or is not there
 * (section symbols, kallsyms). A32 fields, the GOT and TARGET2 are named but not applied.
 */
#include "arch/thumb2/thumb2.h"
#include "protocol/bytes.h"

enum value {
	NONE,
	ABS, /* S + A */
	REL, /* S + A - P */
	REFUSED,
};

enum field {
	DATA32,
	DATA31, /* bit 31 is somebody else's */
	IMM25,  /* B.W, BL */
	IMM21,  /* B<c>.W */
	IMM16,  /* MOVW, MOVT */
};

/*
 * Bits from `shift` on of a value that is a signed number of `sbits` bits; zero is no check.
 *
 * No veneer for JUMP19: the condition would have to come along into the veneer.
 */
#define ROW(t, v, f, s, sb, n)                                                        \
	{                                                                             \
		.type = (t), .value = (v), .field = (f), .shift = (s), .sbits = (sb), \
		.branch = (v) == REL && (f) == IMM25, .name = "R_ARM_" n              \
	}
#define REFUSE(type, name) ROW(type, REFUSED, 0, 0, 0, name)

const struct arch_reloc thumb2_relocs[] = {
	ROW(0, NONE, 0, 0, 0, "NONE"),
	REFUSE(1, "PC24"),
	ROW(2, ABS, DATA32, 0, 0, "ABS32"),
	ROW(3, REL, DATA32, 0, 0, "REL32"),
	ROW(10, REL, IMM25, 0, 25, "THM_CALL"),
	REFUSE(24, "GOTOFF32"),
	REFUSE(25, "BASE_PREL"),
	REFUSE(26, "GOT_BREL"),
	REFUSE(28, "CALL"),
	REFUSE(29, "JUMP24"),
	ROW(30, REL, IMM25, 0, 25, "THM_JUMP24"),
	ROW(38, ABS, DATA32, 0, 0, "TARGET1"), /* of .init_array: absolute on every Linux */
	REFUSE(41, "TARGET2"),
	ROW(42, REL, DATA31, 0, 31, "PREL31"),
	REFUSE(43, "MOVW_ABS_NC"),
	REFUSE(44, "MOVT_ABS"),
	REFUSE(45, "MOVW_PREL_NC"),
	REFUSE(46, "MOVT_PREL"),
	ROW(47, ABS, IMM16, 0, 0, "THM_MOVW_ABS_NC"),
	ROW(48, ABS, IMM16, 16, 0, "THM_MOVT_ABS"),
	ROW(49, REL, IMM16, 0, 0, "THM_MOVW_PREL_NC"),
	ROW(50, REL, IMM16, 16, 0, "THM_MOVT_PREL"),
	ROW(51, REL, IMM21, 0, 21, "THM_JUMP19"),
	REFUSE(96, "GOT_PREL"),
	REFUSE(102, "THM_JUMP11"),
	REFUSE(103, "THM_JUMP8"),
	{.name = NULL},
};

/* S, imm6 | J1, J2, imm11, without the inversion of the longer form (DDI 0406C, A8.8.18, T3). */
static uint32_t set_imm21(uint32_t insn, uint64_t v)
{
	insn &= ~(0x043fu << 16 | 0x2fffu);
	return insn | (uint32_t)(v >> 20 & 1) << 26 | (uint32_t)(v >> 12 & 0x3f) << 16 |
	       (uint32_t)(v >> 18 & 1) << 13 | (uint32_t)(v >> 19 & 1) << 11 |
	       (uint32_t)(v >> 1 & 0x7ff);
}

/* i, imm4 | imm3, imm8 (DDI 0406C, A8.8.102, T3, and A8.8.106). */
static uint32_t set_imm16(uint32_t insn, uint64_t v)
{
	insn &= ~(0x040fu << 16 | 0x70ffu);
	return insn | (uint32_t)(v >> 12 & 15) << 16 | (uint32_t)(v >> 11 & 1) << 26 |
	       (uint32_t)(v >> 8 & 7) << 12 | (uint32_t)(v & 0xff);
}

static void store(const struct arch_reloc *row, uint8_t *loc, uint64_t v)
{
	uint32_t insn = (uint32_t)vp_ld16(loc) << 16 | vp_ld16(loc + 2);

	switch ((enum field)row->field) {
	case DATA32:
		vp_st32(loc, (uint32_t)v);
		return;
	case DATA31:
		vp_st32(loc, (vp_ld32(loc) & 1u << 31) | ((uint32_t)v & ~(1u << 31)));
		return;
	case IMM25:
		insn = thumb2_set_imm25(insn, v);
		break;
	case IMM21:
		insn = set_imm21(insn, v);
		break;
	case IMM16:
		insn = set_imm16(insn, v >> row->shift);
		break;
	}
	vp_st16(loc, (uint16_t)(insn >> 16));
	vp_st16(loc + 2, (uint16_t)insn);
}

/*
 * What is named must lie inside 4 GiB, counted before anything wraps. A branch's addend holds the
 * distance from P to PC, -4, so that what it names is 4 further on.
 */
static bool is_address(const struct arch_reloc *row, uint64_t target)
{
	if (row->field == IMM25 || row->field == IMM21)
		target += 4;
	return target >> 32 == 0;
}

int thumb2_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		 int64_t addend)
{
	const struct arch_reloc *row = arch_reloc_find(&arch_thumb2_ops, type);
	uint64_t v = sym + (uint64_t)addend;

	if (!row || row->value == REFUSED)
		return VP_E_RELOC;
	if (row->value == NONE)
		return VP_OK;
	if (avail < 4 || p.v >> 32 || (row->field >= IMM25 && (p.v & 1)))
		return VP_E_RANGE;
	if (!is_address(row, v))
		return VP_E_REACH;
	if (row->value == REL)
		v -= p.v;
	if (row->sbits && !arch_fits_signed(v, row->sbits))
		return VP_E_REACH;
	store(row, loc, v);
	return VP_OK;
}
