// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Relocations of arm64 kernel objects: ELF for the Arm 64-bit Architecture (AAELF64), 5.7, with
 * the overflow rules of Linux's own loader where it is stricter: absolute 16- and 32-bit data is
 * unsigned, place-relative data is signed (AAELF64 lets either be both).
 *
 * References to a GOT are named but not applied: kernel code is built without -fpic.
 */
#include "arch/arm64/arm64.h"
#include "protocol/bytes.h"

enum value {
	NONE,
	ABS,  /* S + A */
	PREL, /* S + A - P */
	PAGE, /* Page(S + A) - Page(P) */
	REFUSED,
};

enum field {
	DATA16,
	DATA32,
	DATA64,
	IMM26, /* B, BL */
	IMM19, /* conditional branch, CBZ, literal load */
	IMM14, /* TBZ */
	ADR,   /* ADR, ADRP */
	IMM12, /* ADD, and loads and stores scaled by their size */
	MOVZK, /* MOVZ or MOVK as written */
	MOVNZ, /* MOVZ or MOVN by the sign of the value */
};

/*
 * The value is checked to be a signed number of `sbits` bits, or an unsigned one of `ubits`; zero is
 * no check. Its bits from `shift` on go into the field; the ones below must be zero (`exact`) or are
 * somebody else's.
 *
 * A veneer serves the two that a linker may give one (AAELF64 5.7.9).
 */
#define ROW(t, v, f, s, sb, ub, align, n)                                               \
	{                                                                               \
		.type = (t), .value = (v), .field = (f), .shift = (s), .sbits = (sb),   \
		.ubits = (ub), .exact = (align), .branch = (v) == PREL && (f) == IMM26, \
		.name = "R_AARCH64_" n                                                  \
	}

const struct arch_reloc arm64_relocs[] = {
	ROW(0, NONE, 0, 0, 0, 0, false, "NONE"),
	ROW(256, NONE, 0, 0, 0, 0, false, "NONE"), /* withdrawn, still read as NONE */
	ROW(257, ABS, DATA64, 0, 0, 0, false, "ABS64"),
	ROW(258, ABS, DATA32, 0, 0, 32, false, "ABS32"),
	ROW(259, ABS, DATA16, 0, 0, 16, false, "ABS16"),
	ROW(260, PREL, DATA64, 0, 0, 0, false, "PREL64"),
	ROW(261, PREL, DATA32, 0, 32, 0, false, "PREL32"),
	ROW(262, PREL, DATA16, 0, 16, 0, false, "PREL16"),
	ROW(263, ABS, MOVZK, 0, 0, 16, false, "MOVW_UABS_G0"),
	ROW(264, ABS, MOVZK, 0, 0, 0, false, "MOVW_UABS_G0_NC"),
	ROW(265, ABS, MOVZK, 16, 0, 32, false, "MOVW_UABS_G1"),
	ROW(266, ABS, MOVZK, 16, 0, 0, false, "MOVW_UABS_G1_NC"),
	ROW(267, ABS, MOVZK, 32, 0, 48, false, "MOVW_UABS_G2"),
	ROW(268, ABS, MOVZK, 32, 0, 0, false, "MOVW_UABS_G2_NC"),
	ROW(269, ABS, MOVZK, 48, 0, 0, false, "MOVW_UABS_G3"),
	ROW(270, ABS, MOVNZ, 0, 17, 0, false, "MOVW_SABS_G0"),
	ROW(271, ABS, MOVNZ, 16, 33, 0, false, "MOVW_SABS_G1"),
	ROW(272, ABS, MOVNZ, 32, 49, 0, false, "MOVW_SABS_G2"),
	ROW(273, PREL, IMM19, 2, 21, 0, true, "LD_PREL_LO19"),
	ROW(274, PREL, ADR, 0, 21, 0, false, "ADR_PREL_LO21"),
	ROW(275, PAGE, ADR, 12, 33, 0, false, "ADR_PREL_PG_HI21"),
	ROW(276, PAGE, ADR, 12, 0, 0, false, "ADR_PREL_PG_HI21_NC"),
	ROW(277, ABS, IMM12, 0, 0, 0, false, "ADD_ABS_LO12_NC"),
	ROW(278, ABS, IMM12, 0, 0, 0, false, "LDST8_ABS_LO12_NC"),
	ROW(279, PREL, IMM14, 2, 16, 0, true, "TSTBR14"),
	ROW(280, PREL, IMM19, 2, 21, 0, true, "CONDBR19"),
	ROW(282, PREL, IMM26, 2, 28, 0, true, "JUMP26"),
	ROW(283, PREL, IMM26, 2, 28, 0, true, "CALL26"),
	ROW(284, ABS, IMM12, 1, 0, 0, true, "LDST16_ABS_LO12_NC"),
	ROW(285, ABS, IMM12, 2, 0, 0, true, "LDST32_ABS_LO12_NC"),
	ROW(286, ABS, IMM12, 3, 0, 0, true, "LDST64_ABS_LO12_NC"),
	ROW(287, PREL, MOVNZ, 0, 17, 0, false, "MOVW_PREL_G0"),
	ROW(288, PREL, MOVZK, 0, 0, 0, false, "MOVW_PREL_G0_NC"),
	ROW(289, PREL, MOVNZ, 16, 33, 0, false, "MOVW_PREL_G1"),
	ROW(290, PREL, MOVZK, 16, 0, 0, false, "MOVW_PREL_G1_NC"),
	ROW(291, PREL, MOVNZ, 32, 49, 0, false, "MOVW_PREL_G2"),
	ROW(292, PREL, MOVZK, 32, 0, 0, false, "MOVW_PREL_G2_NC"),
	ROW(293, PREL, MOVNZ, 48, 0, 0, false, "MOVW_PREL_G3"),
	ROW(299, ABS, IMM12, 4, 0, 0, true, "LDST128_ABS_LO12_NC"),
	ROW(307, REFUSED, 0, 0, 0, 0, false, "GOTREL64"),
	ROW(308, REFUSED, 0, 0, 0, 0, false, "GOTREL32"),
	ROW(309, REFUSED, 0, 0, 0, 0, false, "GOT_LD_PREL19"),
	ROW(311, REFUSED, 0, 0, 0, 0, false, "ADR_GOT_PAGE"),
	ROW(312, REFUSED, 0, 0, 0, 0, false, "LD64_GOT_LO12_NC"),
	{.name = NULL},
};

static bool holds(const struct arch_reloc *row, uint64_t v)
{
	if (row->sbits)
		return arch_fits_signed(v, row->sbits);
	return !row->ubits || v >> row->ubits == 0;
}

static uint32_t put(uint32_t insn, uint64_t bits, unsigned at, unsigned n)
{
	uint32_t mask = ((1u << n) - 1) << at;

	return (insn & ~mask) | ((uint32_t)(bits << at) & mask);
}

/* DDI 0487, C4.1: bit 30 tells MOVZ from MOVN, which sets the complement. */
static uint32_t movnz(uint32_t insn, uint64_t v, unsigned shift)
{
	insn &= ~(3u << 29);
	if (v >> 63)
		v = ~v;
	else
		insn |= 1u << 30;
	return put(insn, v >> shift, 5, 16);
}

static uint32_t insert(const struct arch_reloc *row, uint32_t insn, uint64_t v)
{
	switch ((enum field)row->field) {
	case IMM26:
		return put(insn, v >> 2, 0, 26);
	case IMM19:
		return put(insn, v >> 2, 5, 19);
	case IMM14:
		return put(insn, v >> 2, 5, 14);
	case ADR:
		return arm64_set_adr(insn, v >> row->shift);
	case IMM12:
		return put(insn, (v & 0xfff) >> row->shift, 10, 12);
	case MOVZK:
		return put(insn, v >> row->shift, 5, 16);
	case MOVNZ:
		return movnz(insn, v, row->shift);
	default: /* data, stored whole by the caller */
		return insn;
	}
}

/*
 * Cortex-A53 erratum 843419: an ADRP in the last two words of a page may give a wrong address.
 * As Linux does, take ADR instead where that reaches; the value is the same.
 */
static bool adr_instead(const struct arch_reloc *row, vp_gva_t p, uint64_t target_page,
			uint32_t *insn)
{
	uint64_t rel = target_page - p.v;

	if (row->value != PAGE || (p.v & 0xfff) < 0xff8 || !arch_fits_signed(rel, 21))
		return false;
	*insn = arm64_set_adr(*insn & ~(1u << 31), rel);
	return true;
}

static void store(const struct arch_reloc *row, uint8_t *loc, vp_gva_t p, uint64_t target,
		  uint64_t v)
{
	uint32_t insn;

	switch ((enum field)row->field) {
	case DATA16:
		vp_st16(loc, (uint16_t)v);
		return;
	case DATA32:
		vp_st32(loc, (uint32_t)v);
		return;
	case DATA64:
		vp_st64(loc, v);
		return;
	default:
		insn = vp_ld32(loc);
		if (!adr_instead(row, p, target & ~0xfffull, &insn))
			insn = insert(row, insn, v);
		vp_st32(loc, insn);
	}
}

int arm64_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym, int64_t addend)
{
	const struct arch_reloc *row = arch_reloc_find(&arch_arm64_ops, type);
	uint64_t target = sym + (uint64_t)addend;
	uint64_t v = target;

	if (!row || row->value == REFUSED)
		return VP_E_RELOC;
	if (row->value == NONE)
		return VP_OK;
	if (avail < (row->field == DATA16 ? 2u : row->field == DATA64 ? 8u : 4u))
		return VP_E_RANGE;
	if (row->field >= IMM26 && (p.v & 3))
		return VP_E_RANGE;
	if (row->value == PREL)
		v = target - p.v;
	else if (row->value == PAGE)
		v = (target & ~0xfffull) - (p.v & ~0xfffull);
	if (row->exact && (v & ((1ull << row->shift) - 1)))
		return VP_E_RANGE;
	if (!holds(row, v))
		return VP_E_REACH;
	store(row, loc, p, target, v);
	return VP_OK;
}
