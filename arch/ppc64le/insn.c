// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Instructions of ppc64le that vpatch writes or recognises. Encodings: Power ISA 3.1, Book I. Each
 * is a little-endian word; of a prefixed instruction the prefix comes first.
 *
 * I-form branches and the preferred nop are what a running CPU may meet half-way (Book II,
 * "Concurrent Modification and Execution of Instructions"); everything else is written with every
 * vCPU held. A prefixed instruction is recognised, never written.
 */
#include "arch/ppc64le/ppc64le.h"
#include "protocol/bytes.h"

#define INSN_LEN     4
#define PREFIXED_LEN 8
#define GLOBAL_LEN   8 /* from a function's global entry to its local one */

#define OPCODE(w)  ((w) >> 26)
#define OP_PREFIX  1u          /* "Prefixed Instruction" forms */
#define INSN_B     0x48000000u /* b target; 2.4 */
#define INSN_BL    0x48000001u /* bl target; 2.4 */
#define LI_MASK    0x03fffffcu
#define INSN_NOP   0x60000000u /* ori 0,0,0, the preferred nop; 3.3.13 */
#define INSN_TRAP  0x7fe00008u /* tw 31,0,0; 3.3.11 */
#define INSN_TRAPI 0x0fe00000u /* twi 31,0,0, which Linux's BUG() is */
#define INSN_ZERO  0x00000000u /* illegal for good: "Illegal Instruction Class" */
#define INSN_BLR   0x4e800020u /* bclr 20,0,0; 2.4 */
#define INSN_MFLR  0x7c0802a6u /* mflr r0, that is mfspr 0,8; 3.3.17 */

#define INSN_ADDIS_R2_R12 0x3c4c0000u /* addis r2,r12,SI; 3.3.9 */
#define INSN_LIS_R2       0x3c400000u /* addis r2,0,SI: what ld makes of it in a fixed image */
#define INSN_ADDI_R2      0x38420000u /* addi r2,r2,SI; 3.3.9 */
#define SI_MASK           0xffffu

#define INSN_LIS_12   0x3d800000u /* addis r12,0,SI; 3.3.9 */
#define INSN_ORI_12   0x618c0000u /* ori r12,r12,UI; 3.3.13 */
#define INSN_SLDI_12  0x798c07c6u /* rldicr r12,r12,32,31; 3.3.14 */
#define INSN_ORIS_12  0x658c0000u /* oris r12,r12,UI; 3.3.13 */
#define INSN_MTCTR_12 0x7d8903a6u /* mtspr 9,r12; 3.3.17 */
#define INSN_BCTR     0x4e800420u /* bcctr 20,0,0; 2.4 */
#define VENEER_WORDS  7u

int ppc64le_nop(uint8_t *buf, unsigned len)
{
	if (len != INSN_LEN)
		return VP_E_RANGE;
	vp_st32(buf, INSN_NOP);
	return VP_OK;
}

static int i_form(uint8_t *buf, uint32_t op, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	uint64_t rel = to.v - at.v;

	if ((at.v & 3) || (to.v & 3))
		return VP_E_RANGE;
	if (!arch_fits_signed(rel, 26))
		return VP_E_REACH;
	vp_st32(buf, op | ((uint32_t)rel & LI_MASK));
	*len_ret = INSN_LEN;
	return VP_OK;
}

int ppc64le_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return i_form(buf, INSN_B, at, to, len_ret);
}

int ppc64le_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return i_form(buf, INSN_BL, at, to, len_ret);
}

int ppc64le_trap(uint8_t *buf, unsigned *len_ret)
{
	vp_st32(buf, INSN_TRAP);
	*len_ret = INSN_LEN;
	return VP_OK;
}

/*
 * The whole address in r12, then CTR: a veneer may use r0, r11, r12 and CTR (ELFv2 2.2.1.1),
 * and at its global entry a function finds its TOC by r12 (2.3.2.1). So `to` is a global entry.
 * Absolute, because before POWER10 (paddi) the program counter is had only by losing LR.
 */
int ppc64le_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	const uint32_t words[VENEER_WORDS] = {
		INSN_LIS_12 | (uint32_t)(to.v >> 48),
		INSN_ORI_12 | (uint32_t)(to.v >> 32 & SI_MASK),
		INSN_SLDI_12,
		INSN_ORIS_12 | (uint32_t)(to.v >> 16 & SI_MASK),
		INSN_ORI_12 | (uint32_t)(to.v & SI_MASK),
		INSN_MTCTR_12,
		INSN_BCTR,
	};

	if (len < sizeof(words) || (at.v & 3) || (to.v & 3))
		return VP_E_RANGE;
	for (unsigned i = 0; i < VENEER_WORDS; i++)
		vp_st32(buf + INSN_LEN * i, words[i]);
	*len_ret = sizeof(words);
	return VP_OK;
}

static bool is_b(uint32_t insn)
{
	return (insn & ~LI_MASK) == INSN_B;
}

static bool is_bl(uint32_t insn)
{
	return (insn & ~LI_MASK) == INSN_BL;
}

static bool is_trap(uint32_t insn)
{
	return insn == INSN_TRAP || insn == INSN_TRAPI || insn == INSN_ZERO;
}

/* ba and bla name an absolute address: no site ever holds one, and no distance describes it. */
static enum arch_insn_kind kind_of(uint32_t insn)
{
	if (is_b(insn))
		return ARCH_INSN_BRANCH;
	if (is_bl(insn))
		return ARCH_INSN_CALL;
	if (insn == INSN_NOP)
		return ARCH_INSN_NOP;
	if (is_trap(insn))
		return ARCH_INSN_TRAP;
	if (insn == INSN_BLR)
		return ARCH_INSN_RET;
	return ARCH_INSN_OTHER;
}

/*
 * A prefixed instruction is eight bytes and always OTHER, pnop too: none is ever a site. Across a
 * 64-byte boundary it is none, and no compiler puts it there.
 */
int ppc64le_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret)
{
	struct arch_insn insn = {.len = INSN_LEN};
	uint32_t word;

	if (len < INSN_LEN || (at.v & 3))
		return VP_E_RANGE;
	word = vp_ld32(buf);
	if (OPCODE(word) == OP_PREFIX) {
		if (ppc64le_prefix_crosses(at))
			return VP_E_SITE_BYTES;
		if (len < PREFIXED_LEN)
			return VP_E_RANGE;
		*ret = (struct arch_insn){.len = PREFIXED_LEN};
		return VP_OK;
	}
	insn.kind = kind_of(word);
	if (insn.kind == ARCH_INSN_BRANCH || insn.kind == ARCH_INSN_CALL) {
		uint64_t off = word & LI_MASK;

		insn.target = vp_gva(at.v + ((off ^ 1ull << 25) - (1ull << 25)));
	}
	*ret = insn;
	return VP_OK;
}

/* ELFv2 2.3.2.1: the first of the two words that make the TOC pointer at the global entry. */
static bool makes_toc(uint32_t word)
{
	return (word & ~SI_MASK) == INSN_ADDIS_R2_R12 || (word & ~SI_MASK) == INSN_LIS_R2;
}

/* What stands at the local entry; len bytes are left of the function there. */
static int local_entry(const uint8_t *buf, size_t len, unsigned off, struct arch_entry *ret)
{
	struct arch_entry entry = {
		.site_off = off,
		.site_len = INSN_LEN,
		.tracer_off = off,
		.tracer_len = INSN_LEN,
		.shared = true,
		.tracer_idle = true,
	};
	uint32_t word, tracer;

	if (len < INSN_LEN)
		return VP_E_RANGE;
	word = vp_ld32(buf);
	if (is_b(word) || word == INSN_TRAP)
		return VP_E_SITE_TRACED;
	if (word == INSN_MFLR) {
		if (len < 2 * INSN_LEN)
			return VP_E_RANGE;
		tracer = vp_ld32(buf + INSN_LEN);
		if (tracer != INSN_NOP && !is_bl(tracer))
			return VP_E_NO_SITE;
		entry.tracer_off = off + INSN_LEN;
		entry.shared = false;
		entry.tracer_idle = tracer == INSN_NOP;
	} else if (word != INSN_NOP) {
		return VP_E_NO_SITE;
	}
	*ret = entry;
	return VP_OK;
}

/*
 * Linux arch/powerpc/kernel/trace/ftrace.c. At the local entry, behind the pair that makes r2:
 *
 *   -mprofile-kernel (6.1, 6.12)     mflr r0; nop <-> bl     mflr stays, the tracer owns the nop
 *   out-of-line stubs (6.13 on)      nop <-> b stub          one word, the tracer's and the site
 *
 * A branch in the first word is then a traced function, or one that nobody made patchable and that
 * begins with a jump: refused either way.
 */
int ppc64le_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret)
{
	if (len < INSN_LEN || (func.v & 3))
		return VP_E_RANGE;
	if (!makes_toc(vp_ld32(buf)))
		return local_entry(buf, len, 0, ret);
	if (len < GLOBAL_LEN)
		return VP_E_RANGE;
	if ((vp_ld32(buf + INSN_LEN) & ~SI_MASK) != INSN_ADDI_R2)
		return VP_E_NO_SITE;
	return local_entry(buf + GLOBAL_LEN, len - GLOBAL_LEN, GLOBAL_LEN, ret);
}
