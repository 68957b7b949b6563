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

struct row {
	uint8_t type;
	uint8_t value;
	uint8_t bytes;
	bool branch;
	const char *name;
};

static const struct row rows[] = {
	{0, NONE, 0, false, "R_X86_64_NONE"},
	{1, ABS_UNSIGNED, 8, false, "R_X86_64_64"},
	{2, PC, 4, false, "R_X86_64_PC32"},
	/* gcc and gas put it on call and jmp; without PLT it is PC32 (psABI 4.4.1, note). */
	{4, PC, 4, true, "R_X86_64_PLT32"},
	{9, REFUSED, 4, false, "R_X86_64_GOTPCREL"},
	{10, ABS_UNSIGNED, 4, false, "R_X86_64_32"},
	{11, ABS_SIGNED, 4, false, "R_X86_64_32S"},
	{12, ABS_UNSIGNED, 2, false, "R_X86_64_16"},
	{13, PC, 2, false, "R_X86_64_PC16"},
	{14, ABS_SIGNED, 1, false, "R_X86_64_8"},
	{15, PC, 1, false, "R_X86_64_PC8"},
	{24, PC, 8, false, "R_X86_64_PC64"},
	{25, REFUSED, 8, false, "R_X86_64_GOTOFF64"},
	{26, REFUSED, 4, false, "R_X86_64_GOTPC32"},
	{41, REFUSED, 4, false, "R_X86_64_GOTPCRELX"},
	{42, REFUSED, 4, false, "R_X86_64_REX_GOTPCRELX"},
};

static const struct row *find(uint32_t type)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].type == type)
			return &rows[i];
	return NULL;
}

const char *x86_64_reloc_name(uint32_t type)
{
	const struct row *row = find(type);

	return row ? row->name : NULL;
}

bool x86_64_reloc_is_branch(uint32_t type)
{
	const struct row *row = find(type);

	return row && row->branch;
}

static bool holds(uint64_t v, const struct row *row)
{
	unsigned bits = 8u * row->bytes;

	if (bits == 64)
		return true;
	if (row->value == ABS_UNSIGNED)
		return v >> bits == 0;
	return v + (1ull << (bits - 1)) < 1ull << bits;
}

int x86_64_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		 int64_t addend)
{
	const struct row *row = find(type);
	uint64_t v = sym + (uint64_t)addend;

	if (!row || row->value == REFUSED)
		return VP_E_RELOC;
	if (row->value == NONE)
		return VP_OK;
	if (avail < row->bytes)
		return VP_E_RANGE;
	if (row->value == PC)
		v -= p.v;
	if (!holds(v, row))
		return VP_E_REACH;
	for (unsigned i = 0; i < row->bytes; i++)
		loc[i] = (uint8_t)(v >> (8 * i));
	return VP_OK;
}
