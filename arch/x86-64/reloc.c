// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Relocations of x86-64 kernel objects: System V psABI (x86-64), table 4.9. Linux's own loader
 * knows 64, 32, 32S, PC32, PLT32 and PC64 and refuses 32 and 32S that overflow; PC32 is refused
 * here too, since a wrapped displacement is a wrong one.
 *
 * GOTPCREL and its relaxable kin are named but not applied: there is no GOT, and relaxing rewrites
 * opcode bytes in front of the field. Kernel code is built without -fpic and has none.
 */
#include "arch/x86-64/x86-64.h"
#include "protocol/bytes.h"

enum value {
	NONE,
	ABS_UNSIGNED, /* S + A, zero-extended by who uses it */
	ABS_SIGNED,   /* S + A, sign-extended */
	PC,           /* S + A - P, sign-extended */
	REFUSED,
};

/* field: the bytes that are stored. */
#define ROW(t, v, bytes, is_branch, n)                                              \
	{                                                                           \
		.type = (t), .value = (v), .field = (bytes), .branch = (is_branch), \
		.name = "R_X86_64_" n                                               \
	}

const struct arch_reloc x86_64_relocs[] = {
	ROW(0, NONE, 0, false, "NONE"),
	ROW(1, ABS_UNSIGNED, 8, false, "64"),
	ROW(2, PC, 4, false, "PC32"),
	/* gcc and gas put it on call and jmp; without PLT it is PC32 (psABI 4.4.1, note). */
	ROW(4, PC, 4, true, "PLT32"),
	ROW(9, REFUSED, 4, false, "GOTPCREL"),
	ROW(10, ABS_UNSIGNED, 4, false, "32"),
	ROW(11, ABS_SIGNED, 4, false, "32S"),
	ROW(12, ABS_UNSIGNED, 2, false, "16"),
	ROW(13, PC, 2, false, "PC16"),
	ROW(14, ABS_SIGNED, 1, false, "8"),
	ROW(15, PC, 1, false, "PC8"),
	ROW(24, PC, 8, false, "PC64"),
	ROW(25, REFUSED, 8, false, "GOTOFF64"),
	ROW(26, REFUSED, 4, false, "GOTPC32"),
	ROW(41, REFUSED, 4, false, "GOTPCRELX"),
	ROW(42, REFUSED, 4, false, "REX_GOTPCRELX"),
	{.name = NULL},
};

static bool holds(uint64_t v, const struct arch_reloc *row)
{
	unsigned bits = 8u * row->field;

	if (bits == 64)
		return true;
	if (row->value == ABS_UNSIGNED)
		return v >> bits == 0;
	return v + (1ull << (bits - 1)) < 1ull << bits;
}

int x86_64_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		 int64_t addend)
{
	const struct arch_reloc *row = arch_reloc_find(&arch_x86_64_ops, type);
	uint64_t v = sym + (uint64_t)addend;

	if (!row || row->value == REFUSED)
		return VP_E_RELOC;
	if (row->value == NONE)
		return VP_OK;
	if (avail < row->field)
		return VP_E_RANGE;
	if (row->value == PC)
		v -= p.v;
	if (!holds(v, row))
		return VP_E_REACH;
	for (unsigned i = 0; i < row->field; i++)
		loc[i] = (uint8_t)(v >> (8 * i));
	return VP_OK;
}
