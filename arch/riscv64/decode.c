// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How long an instruction is and what it does, as far as vpatch asks. Refused is what the manual (RV
 * unpriv.) reserves, what it leaves to the maker of a CPU, and what two extensions read in two ways:
 * nobody can say what such bytes do in a guest.
 *
 *     ...............aa   16 bits, aa not 11            ..........011111   48 bits
 *     ............bbb11   32 bits, bbb not 111          .........0111111   64 bits
 *
 * Longer than 32 bits is none yet, and the format is not frozen (1.5).
 */
#include "arch/riscv64/riscv64.h"
#include "protocol/bytes.h"

#define INSN_RET    0x00008067u /* jalr x0, 0(ra); 2.5.1 */
#define INSN_UNIMP  0xc0001073u /* csrrw x0, cycle, x0: writes a read-only CSR; RV priv. 2.1 */
#define INSN_C_RET  0x8082u     /* c.jr ra; "C" */
#define INSN_C_ZERO 0x0000u     /* defined to be illegal; 1.5 */
#define C_J         0xa001u     /* c.j; "C" */
#define C_J_MASK    0xe003u

/* --- 16 bits: the chapters "C" (RVC Instruction Set Listings), Zcb and Zcmop --------------------- */

/* Quadrant 1, funct3 100: by bits [12:10] and [6:5]; the last row but one is Zcb. */
static bool c_alu_is_known(uint16_t h)
{
	if ((h >> 10 & 3) != 3)
		return true; /* c.srli, c.srai, c.andi */
	if (!(h >> 12 & 1) || (h >> 5 & 3) != 3)
		return true;      /* c.sub to c.and; c.subw, c.addw; c.mul */
	return (h >> 2 & 7) <= 5; /* c.zext.b to c.not */
}

static bool c0_is_known(uint16_t h)
{
	switch (h >> 13) {
	case 0: /* c.addi4spn: a zero immediate is reserved */
		return (h & 0x1fe0) != 0;
	case 4: /* Zcb: c.lbu, c.lhu and c.lh, c.sb, c.sh */
		return (h >> 10 & 7) < 3 || ((h >> 10 & 7) == 3 && !(h & 0x40));
	default:
		return true;
	}
}

static bool c1_is_known(uint16_t h)
{
	switch (h >> 13) {
	case 1: /* c.addiw: rd x0 is reserved */
		return RISCV64_RD(h) != 0;
	case 3: /* c.lui and c.addi16sp: a zero immediate is reserved, but for c.mop.n */
		return (h & 0x107c) || (h & 0xf8ff) == 0x6081;
	case 4:
		return c_alu_is_known(h);
	default:
		return true;
	}
}

static bool c2_is_known(uint16_t h)
{
	switch (h >> 13) {
	case 2: /* c.lwsp, c.ldsp: rd x0 is reserved */
	case 3:
		return RISCV64_RD(h) != 0;
	case 4: /* c.jr: rs1 x0 is reserved */
		return (h & 0x1ffc) != 0;
	case 5: /* c.fsdsp of Zcd, or all of Zcmp and Zcmt: among them are returns */
		return false;
	default:
		return true;
	}
}

static bool half_is_known(uint16_t h)
{
	switch (h & 3) {
	case 0:
		return c0_is_known(h);
	case 1:
		return c1_is_known(h);
	default:
		return c2_is_known(h);
	}
}

/* c.j, imm[11|4|9:8|10|6|7|3:1|5] in bits [12:2]. */
static uint64_t c_j_offset(uint16_t h)
{
	uint64_t v = riscv64_bits(h, 12, 1, 11) | riscv64_bits(h, 11, 1, 4) |
		     riscv64_bits(h, 9, 2, 8) | riscv64_bits(h, 8, 1, 10) |
		     riscv64_bits(h, 7, 1, 6) | riscv64_bits(h, 6, 1, 7) |
		     riscv64_bits(h, 3, 3, 1) | riscv64_bits(h, 2, 1, 5);

	return (v ^ 1u << 11) - (1u << 11);
}

static int decode_half(uint16_t h, vp_gva_t at, struct arch_insn *insn)
{
	insn->len = 2;
	if (h == INSN_C_ZERO || h == RISCV64_C_EBREAK) {
		insn->kind = ARCH_INSN_TRAP;
	} else if (!half_is_known(h)) {
		return VP_E_SITE_BYTES;
	} else if (h ==
		   RISCV64_C_NOP) { /* with an immediate it is a hint, which may mean something */
		insn->kind = ARCH_INSN_NOP;
	} else if (h == INSN_C_RET) {
		insn->kind = ARCH_INSN_RET;
	} else if ((h & C_J_MASK) == C_J) {
		insn->kind = ARCH_INSN_BRANCH;
		insn->target = vp_gva(at.v + c_j_offset(h));
	}
	return VP_OK;
}

/* --- 32 bits: "RV32/64G Instruction Set Listings", base opcode map -------------------------------- */

/* The major opcode, bits [6:2], and of those that no extension widens the minor one. */
static bool word_is_known(uint32_t insn)
{
	unsigned minor = insn >> 12 & 7;

	switch (insn >> 2 & 31) {
	case 0x00: /* LOAD */
		return minor != 7;
	case 0x08: /* STORE */
		return minor < 4;
	case 0x18: /* BRANCH */
		return minor != 2 && minor != 3;
	case 0x19: /* JALR */
		return minor == 0;
	case 0x02: /* custom-0 to custom-3 */
	case 0x0a:
	case 0x16:
	case 0x1e:
	case 0x1a: /* reserved */
		return false;
	default:
		return true;
	}
}

static uint64_t jal_offset(uint32_t insn)
{
	uint64_t v = riscv64_bits(insn, 31, 1, 20) | riscv64_bits(insn, 21, 10, 1) |
		     riscv64_bits(insn, 20, 1, 11) | riscv64_bits(insn, 12, 8, 12);

	return (v ^ 1u << 20) - (1u << 20);
}

/* JAL by where its return address goes: nowhere, or into a link register, x1 or x5 (2.5.1). */
static enum arch_insn_kind kind_of_jal(uint32_t insn)
{
	switch (RISCV64_RD(insn)) {
	case 0:
		return ARCH_INSN_BRANCH;
	case 1:
	case 5:
		return ARCH_INSN_CALL;
	default:
		return ARCH_INSN_OTHER;
	}
}

static int decode_word(uint32_t word, vp_gva_t at, struct arch_insn *insn)
{
	insn->len = 4;
	if (!word_is_known(word))
		return VP_E_SITE_BYTES;
	if ((word & 0x7f) == RISCV64_JAL)
		insn->kind = kind_of_jal(word);
	else if (word == RISCV64_NOP)
		insn->kind = ARCH_INSN_NOP;
	else if (word == RISCV64_EBREAK || word == INSN_UNIMP)
		insn->kind = ARCH_INSN_TRAP;
	else if (word == INSN_RET)
		insn->kind = ARCH_INSN_RET;
	if (insn->kind == ARCH_INSN_BRANCH || insn->kind == ARCH_INSN_CALL)
		insn->target = vp_gva(at.v + jal_offset(word));
	return VP_OK;
}

int riscv64_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret)
{
	struct arch_insn insn = {.kind = ARCH_INSN_OTHER};
	int r;

	if (len < 2 || (at.v & 1))
		return VP_E_RANGE;
	if ((buf[0] & 3) != 3)
		r = decode_half(vp_ld16(buf), at, &insn);
	else if ((buf[0] & 0x1f) == 0x1f)
		r = VP_E_SITE_BYTES;
	else
		r = len < 4 ? VP_E_RANGE : decode_word(vp_ld32(buf), at, &insn);
	if (r == VP_OK)
		*ret = insn;
	return r;
}
