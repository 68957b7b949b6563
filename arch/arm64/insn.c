// SPDX-License-Identifier: LGPL-2.1-or-later
/* A64 instructions that vpatch writes or recognises. Encodings: Arm ARM (DDI 0487), chapter C6. */
#include "arch/arm64/arm64.h"
#include "protocol/bytes.h"

#define INSN_LEN 4

#define INSN_B       0x14000000u /* B imm26; C6.2.26 */
#define INSN_BL      0x94000000u /* BL imm26; C6.2.34 */
#define IMM26_MASK   0x03ffffffu
#define INSN_NOP     0xd503201fu /* HINT #0; C6.2.239 */
#define INSN_BTI     0xd503241fu /* HINT #32; bits [7:6] say c, j; C6.2.45 */
#define BTI_MASK     0xffffff3fu
#define INSN_BRK     0xd4200000u /* BRK imm16; C6.2.40 */
#define BRK_MASK     0xffe0001fu
#define INSN_RET     0xd65f0000u /* RET Xn; C6.2.277 */
#define RET_MASK     0xfffffc1fu
#define INSN_RETAA   0xd65f0bffu /* RETAA, and RETAB with bit 10; C6.2.278 */
#define RETA_MASK    0xfffffbffu
#define UDF_MASK     0xffff0000u /* UDF imm16 is all zero but for it; C6.2.420 */
#define INSN_MOV_X9  0xaa1e03e9u /* MOV X9, X30, that is ORR X9, XZR, X30; C6.2.226 */
#define INSN_ADRP_16 0x90000010u /* ADRP X16; C6.2.11 */
#define INSN_ADD_16  0x91000210u /* ADD X16, X16, #imm12; C6.2.5 */
#define INSN_BR_16   0xd61f0200u /* BR X16; C6.2.37 */

/* Linux asm/brk-imm.h, FAULT_BRK_IMM: a BRK that no handler claims, so that it is reported. */
#define BRK_FAULT 0x100u

/* What of an entry lies where, counted from behind an optional BTI. */
#define ENTRY_LEN 8

int arm64_nop(uint8_t *buf, unsigned len)
{
	if (len != INSN_LEN)
		return VP_E_RANGE;
	vp_st32(buf, INSN_NOP);
	return VP_OK;
}

static int imm26(uint8_t *buf, uint32_t op, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	uint64_t rel = to.v - at.v;

	if ((at.v & 3) || (to.v & 3))
		return VP_E_RANGE;
	if (!arch_fits_signed(rel, 28))
		return VP_E_REACH;
	vp_st32(buf, op | ((uint32_t)(rel >> 2) & IMM26_MASK));
	*len_ret = INSN_LEN;
	return VP_OK;
}

int arm64_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return imm26(buf, INSN_B, at, to, len_ret);
}

int arm64_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return imm26(buf, INSN_BL, at, to, len_ret);
}

int arm64_trap(uint8_t *buf, unsigned *len_ret)
{
	vp_st32(buf, INSN_BRK | BRK_FAULT << 5);
	*len_ret = INSN_LEN;
	return VP_OK;
}

/*
 * ADRP, ADD, BR through X16. X16 is free between a call and its callee (AAPCS64 6.1.1), and a BR
 * through X16 or X17 may land on BTI C (DDI 0487, D8.4.6), so a guarded callee accepts it.
 */
int arm64_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	uint64_t pages = (to.v & ~0xfffull) - (at.v & ~0xfffull);

	if (len < 3 * INSN_LEN || (at.v & 3) || (to.v & 3))
		return VP_E_RANGE;
	if (!arch_fits_signed(pages, 33))
		return VP_E_REACH;
	vp_st32(buf, arm64_set_adr(INSN_ADRP_16, pages >> 12));
	vp_st32(buf + 4, INSN_ADD_16 | (uint32_t)(to.v & 0xfff) << 10);
	vp_st32(buf + 8, INSN_BR_16);
	*len_ret = 3 * INSN_LEN;
	return VP_OK;
}

static enum arch_insn_kind kind_of(uint32_t insn)
{
	if ((insn & ~IMM26_MASK) == INSN_B)
		return ARCH_INSN_BRANCH;
	if ((insn & ~IMM26_MASK) == INSN_BL)
		return ARCH_INSN_CALL;
	if (insn == INSN_NOP)
		return ARCH_INSN_NOP;
	if ((insn & BRK_MASK) == INSN_BRK || !(insn & UDF_MASK))
		return ARCH_INSN_TRAP;
	if ((insn & RET_MASK) == INSN_RET || (insn & RETA_MASK) == INSN_RETAA)
		return ARCH_INSN_RET;
	return ARCH_INSN_OTHER;
}

int arm64_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret)
{
	struct arch_insn insn = {.len = INSN_LEN};
	uint32_t word;

	if (len < INSN_LEN || (at.v & 3))
		return VP_E_RANGE;
	word = vp_ld32(buf);
	insn.kind = kind_of(word);
	if (insn.kind == ARCH_INSN_BRANCH || insn.kind == ARCH_INSN_CALL) {
		uint64_t off = (uint64_t)(word & IMM26_MASK) << 2;

		insn.target = vp_gva(at.v + ((off ^ 1ull << 27) - (1ull << 27)));
	}
	*ret = insn;
	return VP_OK;
}

/* Linux arch/arm64/kernel/ftrace.c: MOV X9, X30 at +0 stays; NOP or BL at +4 is the tracer's. */
int arm64_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret)
{
	uint32_t site, tracer;
	unsigned off = 0;

	if (len < INSN_LEN || (func.v & 3))
		return VP_E_RANGE;
	if ((vp_ld32(buf) & BTI_MASK) == (INSN_BTI & BTI_MASK))
		off = INSN_LEN;
	if (!vp_fits(off, ENTRY_LEN, len))
		return VP_E_RANGE;
	site = vp_ld32(buf + off);
	tracer = vp_ld32(buf + off + INSN_LEN);
	if (tracer != INSN_NOP && (tracer & ~IMM26_MASK) != INSN_BL)
		return VP_E_NO_SITE;
	if ((site & ~IMM26_MASK) == INSN_B || (site & BRK_MASK) == INSN_BRK)
		return VP_E_SITE_TRACED;
	if (site != INSN_MOV_X9)
		return VP_E_NO_SITE;
	*ret = (struct arch_entry){
		.site_off = off,
		.site_len = INSN_LEN,
		.tracer_off = off + INSN_LEN,
		.tracer_len = INSN_LEN,
		.shared = false,
		.tracer_idle = tracer == INSN_NOP,
	};
	return VP_OK;
}
