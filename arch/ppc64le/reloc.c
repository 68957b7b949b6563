// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Relocations of ppc64le objects: 64-Bit ELF V2 ABI, 3.5. Fields of 16 bits are placed at the low
 * half of their instruction, which in little-endian is the instruction's own address.
 *
 * A payload has no TOC: r2 is the kernel's, and nothing of a payload lies at a fixed distance from
 * it. So what is relative to it, the GOT and the PLT are named but not applied; a payload reaches
 * its data by PCREL34 (POWER10) or by whole addresses. A branch goes to the value given, which
 * must be a local entry unless a veneer is between: a global one expects its own address in r12.
 */
#include "arch/ppc64le/ppc64le.h"
#include "protocol/bytes.h"

enum value {
	NONE,
	ABS, /* S + A */
	REL, /* S + A - P */
	REFUSED,
};

enum field {
	DATA16,
	DATA32,
	DATA64,
	HALF16,    /* low half of an instruction */
	HALF16_DS, /* the same without its two lowest bits, which are opcode */
	LOW14,     /* B-form: bits [15:2] */
	LOW24,     /* I-form: bits [25:2] */
	PREFIX34,  /* 18 bits in the prefix, 16 in the suffix */
};

/*
 * The value is checked to be a signed number of `sbits` bits, or an unsigned one of `ubits`; zero is
 * no check. Then its bits from `shift` on go into the field. With `exact`, 0x8000 is added first: the
 * part is meant to be completed by a signed low half (#ha and its kin).
 *
 * No veneer for REL14: the condition would have to come along into the veneer's caller.
 */
#define ROW(t, v, f, s, sb, ub, adjust, n)                                              \
	{                                                                               \
		.type = (t), .value = (v), .field = (f), .shift = (s), .sbits = (sb),   \
		.ubits = (ub), .exact = (adjust), .branch = (v) == REL && (f) == LOW24, \
		.name = "R_PPC64_" n                                                    \
	}
#define REFUSE(type, name) ROW(type, REFUSED, 0, 0, 0, 0, false, name)

const struct arch_reloc ppc64le_relocs[] = {
	ROW(0, NONE, 0, 0, 0, 0, false, "NONE"),
	ROW(1, ABS, DATA32, 0, 0, 32, false, "ADDR32"),
	REFUSE(2, "ADDR24"),
	ROW(3, ABS, HALF16, 0, 16, 0, false, "ADDR16"),
	ROW(4, ABS, HALF16, 0, 0, 0, false, "ADDR16_LO"),
	ROW(5, ABS, HALF16, 16, 32, 0, false, "ADDR16_HI"),
	ROW(6, ABS, HALF16, 16, 32, 0, true, "ADDR16_HA"),
	REFUSE(7, "ADDR14"),
	ROW(10, REL, LOW24, 0, 26, 0, false, "REL24"),
	ROW(11, REL, LOW14, 0, 16, 0, false, "REL14"),
	REFUSE(14, "GOT16"),
	REFUSE(15, "GOT16_LO"),
	REFUSE(16, "GOT16_HI"),
	REFUSE(17, "GOT16_HA"),
	ROW(24, ABS, DATA32, 0, 0, 32, false, "UADDR32"),
	ROW(25, ABS, DATA16, 0, 16, 0, false, "UADDR16"),
	ROW(26, REL, DATA32, 0, 32, 0, false, "REL32"),
	ROW(38, ABS, DATA64, 0, 0, 0, false, "ADDR64"),
	ROW(39, ABS, HALF16, 32, 0, 0, false, "ADDR16_HIGHER"),
	ROW(40, ABS, HALF16, 32, 0, 0, true, "ADDR16_HIGHERA"),
	ROW(41, ABS, HALF16, 48, 0, 0, false, "ADDR16_HIGHEST"),
	ROW(42, ABS, HALF16, 48, 0, 0, true, "ADDR16_HIGHESTA"),
	ROW(43, ABS, DATA64, 0, 0, 0, false, "UADDR64"),
	ROW(44, REL, DATA64, 0, 0, 0, false, "REL64"),
	REFUSE(47, "TOC16"),
	REFUSE(48, "TOC16_LO"),
	REFUSE(49, "TOC16_HI"),
	REFUSE(50, "TOC16_HA"),
	REFUSE(51, "TOC"),
	ROW(56, ABS, HALF16_DS, 0, 16, 0, false, "ADDR16_DS"),
	ROW(57, ABS, HALF16_DS, 0, 0, 0, false, "ADDR16_LO_DS"),
	REFUSE(58, "GOT16_DS"),
	REFUSE(59, "GOT16_LO_DS"),
	REFUSE(63, "TOC16_DS"),
	REFUSE(64, "TOC16_LO_DS"),
	ROW(109, NONE, 0, 0, 0, 0, false, "TOCSAVE"), /* only a mark for an optimising linker */
	ROW(110, ABS, HALF16, 16, 0, 0, false, "ADDR16_HIGH"),
	ROW(111, ABS, HALF16, 16, 0, 0, true, "ADDR16_HIGHA"),
	ROW(116, REL, LOW24, 0, 26, 0, false, "REL24_NOTOC"),
	REFUSE(117, "ADDR64_LOCAL"), /* needs the symbol's local entry, which is not passed here */
	ROW(118, NONE, 0, 0, 0, 0, false, "ENTRY"), /* only a mark, like TOCSAVE */
	REFUSE(119, "PLTSEQ"),
	REFUSE(120, "PLTCALL"),
	ROW(132, REL, PREFIX34, 0, 34, 0, false, "PCREL34"),
	REFUSE(133, "GOT_PCREL34"),
	REFUSE(134, "PLT_PCREL34"),
	ROW(249, REL, HALF16, 0, 16, 0, false, "REL16"),
	ROW(250, REL, HALF16, 0, 0, 0, false, "REL16_LO"),
	ROW(251, REL, HALF16, 16, 32, 0, false, "REL16_HI"),
	ROW(252, REL, HALF16, 16, 32, 0, true, "REL16_HA"),
	{.name = NULL},
};

static bool holds(const struct arch_reloc *row, uint64_t v)
{
	if (row->sbits)
		return arch_fits_signed(v, row->sbits);
	return !row->ubits || v >> row->ubits == 0;
}

static unsigned size_of(const struct arch_reloc *row)
{
	switch ((enum field)row->field) {
	case DATA16:
	case HALF16:
	case HALF16_DS:
		return 2;
	case DATA64:
	case PREFIX34:
		return 8;
	default:
		return 4;
	}
}

/* What the ABI fixes of place and value, so that no bit is lost without a word. */
static bool in_step(const struct arch_reloc *row, vp_gva_t p, uint64_t v)
{
	switch ((enum field)row->field) {
	case HALF16:
		return !(p.v & 3);
	case HALF16_DS:
	case LOW14:
	case LOW24:
		return !(p.v & 3) && !(v & 3);
	case PREFIX34:
		return !(p.v & 3) && !ppc64le_prefix_crosses(p);
	default:
		return true;
	}
}

static void put(uint8_t *loc, uint32_t mask, uint64_t v)
{
	vp_st32(loc, (vp_ld32(loc) & ~mask) | ((uint32_t)v & mask));
}

static void store(const struct arch_reloc *row, uint8_t *loc, uint64_t v)
{
	switch ((enum field)row->field) {
	case DATA16:
	case HALF16:
		vp_st16(loc, (uint16_t)v);
		return;
	case HALF16_DS:
		vp_st16(loc, (uint16_t)((vp_ld16(loc) & 3) | (v & 0xfffc)));
		return;
	case DATA32:
		vp_st32(loc, (uint32_t)v);
		return;
	case DATA64:
		vp_st64(loc, v);
		return;
	case LOW14:
		put(loc, 0xfffc, v);
		return;
	case LOW24:
		put(loc, 0x03fffffc, v);
		return;
	case PREFIX34:
		put(loc, 0x3ffff, v >> 16);
		put(loc + 4, 0xffff, v);
		return;
	}
}

int ppc64le_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		  int64_t addend)
{
	const struct arch_reloc *row = arch_reloc_find(&arch_ppc64le_ops, type);
	uint64_t v = sym + (uint64_t)addend;

	if (!row || row->value == REFUSED)
		return VP_E_RELOC;
	if (row->value == NONE)
		return VP_OK;
	if (avail < size_of(row))
		return VP_E_RANGE;
	if (row->value == REL)
		v -= p.v;
	if (!in_step(row, p, v))
		return VP_E_RANGE;
	if (row->exact)
		v += 0x8000;
	if (!holds(row, v))
		return VP_E_REACH;
	store(row, loc, v >> row->shift);
	return VP_OK;
}
