// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Relocations of riscv64 kernel objects: RISC-V ELF psABI, Relocations, with the overflow rules of
 * Linux's own loader where it is stricter: absolute 32-bit data is unsigned, place-relative data is
 * signed.
 *
 * One relocation is applied by itself, and R_RISCV_PCREL_LO12_I and _S cannot be: their symbol is a
 * label on an AUIPC, and their value is the low part of what that one's own R_RISCV_PCREL_HI20 was
 * computed from, which its bytes no longer tell. They are refused by name. A payload has none of
 * them when it is compiled with -mcmodel=medlow: R_RISCV_HI20 and _LO12 then name the symbol each
 * time, and reach all of the kernel's image, which Linux keeps in the last 2 GiB.
 *
 * Code must not be relaxed (-mno-relax): bytes never go away here. References to a GOT and to
 * thread-local data are named but not applied, nor are lengths in LEB128, which only tables of
 * exceptions and debuggers have.
 */
#include "arch/riscv64/riscv64.h"
#include "protocol/bytes.h"

enum value {
	NONE,
	ABS,  /* S + A */
	PREL, /* S + A - P */
	PAD, /* A bytes of nops are there, of which a relaxing linker takes away what is too much */
	REFUSED,
};

enum field {
	DATA8,
	DATA16,
	DATA32,
	DATA64,
	LOW6,   /* of a byte; the others stay */
	RVC_B,  /* c.beqz, c.bnez */
	RVC_J,  /* c.j */
	BTYPE,  /* conditional branch */
	JTYPE,  /* jal */
	UTYPE,  /* auipc, lui: the rounded upper part */
	ITYPE,  /* addi, loads, jalr */
	STYPE,  /* stores */
	UITYPE, /* auipc and the jalr behind it */
};

enum op { SET, ADD, SUB };

/*
 * The value is checked to be a signed number of `sbits` bits, or an unsigned one of `ubits`; zero
 * is no check. HI20 in place of sbits is what a rounded upper part reaches. With `exact` bit 0,
 * which the field has no room for, must be zero.
 *
 * A veneer serves jumps and calls to a function, which may clobber t2 on the way; c.j is no call's
 * instruction, and hardly a veneer lies within its 2 KiB.
 */
#define HI20 255

#define ROW(t, v, f, o, sb, ub, even, n)                                                          \
	{                                                                                         \
		.type = (t), .value = (v), .field = (f), .op = (o), .sbits = (sb), .ubits = (ub), \
		.exact = (even), .branch = (v) == PREL && ((f) == JTYPE || (f) == UITYPE),        \
		.name = "R_RISCV_" n                                                              \
	}
#define REFUSE(type, name) ROW(type, REFUSED, 0, 0, 0, 0, false, name)

const struct arch_reloc riscv64_relocs[] = {
	ROW(0, NONE, 0, 0, 0, 0, false, "NONE"),
	ROW(1, ABS, DATA32, SET, 0, 32, false, "32"),
	ROW(2, ABS, DATA64, SET, 0, 0, false, "64"),
	ROW(16, PREL, BTYPE, SET, 13, 0, true, "BRANCH"),
	ROW(17, PREL, JTYPE, SET, 21, 0, true, "JAL"),
	ROW(18, PREL, UITYPE, SET, HI20, 0, true, "CALL"),
	ROW(19, PREL, UITYPE, SET, HI20, 0, true, "CALL_PLT"),
	REFUSE(20, "GOT_HI20"),
	REFUSE(21, "TLS_GOT_HI20"),
	REFUSE(22, "TLS_GD_HI20"),
	ROW(23, PREL, UTYPE, SET, HI20, 0, false, "PCREL_HI20"),
	REFUSE(24, "PCREL_LO12_I"),
	REFUSE(25, "PCREL_LO12_S"),
	ROW(26, ABS, UTYPE, SET, HI20, 0, false, "HI20"),
	ROW(27, ABS, ITYPE, SET, 0, 0, false, "LO12_I"),
	ROW(28, ABS, STYPE, SET, 0, 0, false, "LO12_S"),
	REFUSE(29, "TPREL_HI20"),
	REFUSE(30, "TPREL_LO12_I"),
	REFUSE(31, "TPREL_LO12_S"),
	REFUSE(32, "TPREL_ADD"),
	ROW(33, ABS, DATA8, ADD, 0, 0, false, "ADD8"),
	ROW(34, ABS, DATA16, ADD, 0, 0, false, "ADD16"),
	ROW(35, ABS, DATA32, ADD, 0, 0, false, "ADD32"),
	ROW(36, ABS, DATA64, ADD, 0, 0, false, "ADD64"),
	ROW(37, ABS, DATA8, SUB, 0, 0, false, "SUB8"),
	ROW(38, ABS, DATA16, SUB, 0, 0, false, "SUB16"),
	ROW(39, ABS, DATA32, SUB, 0, 0, false, "SUB32"),
	ROW(40, ABS, DATA64, SUB, 0, 0, false, "SUB64"),
	REFUSE(41, "GOT32_PCREL"),
	ROW(43, PAD, 0, 0, 0, 0, false, "ALIGN"),
	ROW(44, PREL, RVC_B, SET, 9, 0, true, "RVC_BRANCH"),
	ROW(45, PREL, RVC_J, SET, 12, 0, true, "RVC_JUMP"),
	ROW(51, NONE, 0, 0, 0, 0, false, "RELAX"), /* a linker may, and none here does */
	ROW(52, ABS, LOW6, SUB, 0, 0, false, "SUB6"),
	ROW(53, ABS, LOW6, SET, 0, 0, false, "SET6"),
	ROW(54, ABS, DATA8, SET, 0, 0, false, "SET8"),
	ROW(55, ABS, DATA16, SET, 0, 0, false, "SET16"),
	ROW(56, ABS, DATA32, SET, 0, 0, false, "SET32"),
	ROW(57, PREL, DATA32, SET, 32, 0, false, "32_PCREL"),
	ROW(59, PREL, DATA32, SET, 32, 0, false, "PLT32"),
	REFUSE(60, "SET_ULEB128"),
	REFUSE(61, "SUB_ULEB128"),
	{.name = NULL},
};

static bool holds(const struct arch_reloc *row, uint64_t v)
{
	if (row->sbits == HI20)
		return riscv64_fits_hi20(v);
	if (row->sbits)
		return arch_fits_signed(v, row->sbits);
	return !row->ubits || v >> row->ubits == 0;
}

static size_t size_of(enum field field)
{
	switch (field) {
	case DATA8:
	case LOW6:
		return 1;
	case DATA16:
	case RVC_B:
	case RVC_J:
		return 2;
	case DATA64:
	case UITYPE:
		return 8;
	default:
		return 4;
	}
}

static uint64_t combine(const struct arch_reloc *row, uint64_t old, uint64_t v)
{
	return row->op == ADD ? old + v : row->op == SUB ? old - v : v;
}

static void put16(uint8_t *loc, uint32_t mask, uint32_t bits)
{
	vp_st16(loc, (uint16_t)((vp_ld16(loc) & ~mask) | bits));
}

static void put32(uint8_t *loc, uint32_t mask, uint32_t bits)
{
	vp_st32(loc, (vp_ld32(loc) & ~mask) | bits);
}

/* RV unpriv., "C", c.beqz: imm[8|4:3] in bits [12:10], imm[7:6|2:1|5] in bits [6:2]. */
static uint32_t rvc_b(uint64_t v)
{
	return riscv64_bits(v, 8, 1, 12) | riscv64_bits(v, 3, 2, 10) | riscv64_bits(v, 6, 2, 5) |
	       riscv64_bits(v, 1, 2, 3) | riscv64_bits(v, 5, 1, 2);
}

/* RV unpriv., "C", c.j: imm[11|4|9:8|10|6|7|3:1|5] in bits [12:2]. */
static uint32_t rvc_j(uint64_t v)
{
	return riscv64_bits(v, 11, 1, 12) | riscv64_bits(v, 4, 1, 11) | riscv64_bits(v, 8, 2, 9) |
	       riscv64_bits(v, 10, 1, 8) | riscv64_bits(v, 6, 1, 7) | riscv64_bits(v, 7, 1, 6) |
	       riscv64_bits(v, 1, 3, 3) | riscv64_bits(v, 5, 1, 2);
}

/* RV unpriv. 2.3: imm[12|10:5] in bits [31:25], imm[4:1|11] in bits [11:7]. */
static uint32_t imm_b(uint64_t v)
{
	return riscv64_bits(v, 12, 1, 31) | riscv64_bits(v, 5, 6, 25) | riscv64_bits(v, 1, 4, 8) |
	       riscv64_bits(v, 11, 1, 7);
}

/* RV unpriv. 2.3: imm[11:5] in bits [31:25], imm[4:0] in bits [11:7]. */
static uint32_t imm_s(uint64_t v)
{
	return riscv64_bits(v, 5, 7, 25) | riscv64_bits(v, 0, 5, 7);
}

static void store(const struct arch_reloc *row, uint8_t *loc, uint64_t v)
{
	switch ((enum field)row->field) {
	case DATA8:
		loc[0] = (uint8_t)combine(row, loc[0], v);
		break;
	case DATA16:
		vp_st16(loc, (uint16_t)combine(row, vp_ld16(loc), v));
		break;
	case DATA32:
		vp_st32(loc, (uint32_t)combine(row, vp_ld32(loc), v));
		break;
	case DATA64:
		vp_st64(loc, combine(row, vp_ld64(loc), v));
		break;
	case LOW6:
		loc[0] = (uint8_t)((loc[0] & 0xc0) | (combine(row, loc[0], v) & 0x3f));
		break;
	case RVC_B:
		put16(loc, 0x1c7c, rvc_b(v));
		break;
	case RVC_J:
		put16(loc, 0x1ffc, rvc_j(v));
		break;
	case BTYPE:
		put32(loc, 0xfe000f80, imm_b(v));
		break;
	case JTYPE:
		put32(loc, 0xfffff000, riscv64_imm_j(v));
		break;
	case UITYPE:
		put32(loc + 4, 0xfff00000, riscv64_imm_i(v));
		put32(loc, 0xfffff000, riscv64_hi20(v));
		break;
	case UTYPE:
		put32(loc, 0xfffff000, riscv64_hi20(v));
		break;
	case ITYPE:
		put32(loc, 0xfff00000, riscv64_imm_i(v));
		break;
	case STYPE:
		put32(loc, 0xfe000f80, imm_s(v));
		break;
	}
}

/*
 * psABI, R_RISCV_ALIGN: so many bytes of nops stand at P that what follows can be aligned to the next
 * power of two by taking some away. None can be taken away here: right only if just these align it.
 */
static int check_padding(const uint8_t *loc, size_t avail, vp_gva_t p, int64_t addend)
{
	uint64_t n = (uint64_t)addend, align = 1;

	if (addend < 0 || n > avail)
		return VP_E_RANGE;
	while (align <= n)
		align *= 2;
	if ((p.v + n) & (align - 1))
		return VP_E_RANGE;
	for (size_t i = 0; i < n;) {
		struct arch_insn insn;

		if (riscv64_decode(loc + i, (size_t)n - i, vp_gva(p.v + i), &insn) < 0 ||
		    insn.kind != ARCH_INSN_NOP)
			return VP_E_RANGE;
		i += insn.len;
	}
	return VP_OK;
}

int riscv64_reloc(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		  int64_t addend)
{
	const struct arch_reloc *row = arch_reloc_find(&arch_riscv64_ops, type);
	uint64_t v = sym + (uint64_t)addend;

	if (!row || row->value == REFUSED)
		return VP_E_RELOC;
	if (row->value == NONE)
		return VP_OK;
	if (row->value == PAD)
		return check_padding(loc, avail, p, addend);
	if (avail < size_of((enum field)row->field))
		return VP_E_RANGE;
	if (row->field >= RVC_B && (p.v & 1))
		return VP_E_RANGE;
	if (row->value == PREL)
		v -= p.v;
	if (row->exact && (v & 1))
		return VP_E_RANGE;
	if (!holds(row, v))
		return VP_E_REACH;
	store(row, loc, v);
	return VP_OK;
}
