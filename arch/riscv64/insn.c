// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * RV64GC instructions that vpatch writes, and entries. Encodings: The RISC-V Instruction Set
 * Manual, volume I (RV unpriv.), chapters 1 and 2; later ones are renumbered with each edition and
 * go by name.
 */
#include "arch/riscv64/riscv64.h"
#include "protocol/bytes.h"

#define T0            5u
#define AUIPC_T0      0x00000297u
#define AUIPC_T0_MASK 0x00000fffu
#define JALR_T0       0x000282e7u
#define INSN_LEN      4
#define INSN_C_LEN    2

#define REG_RA    1u
#define INSN_LINK (RISCV64_JAL | REG_RA << 7) /* jal ra; 2.5.1 */

#define INSN_AUIPC_T2 0x00000397u /* auipc t2; 2.4.1 */
#define INSN_JR_T2    0x00038067u /* jalr x0, imm(t2); 2.5.1 */
#define INSN_AUIPC_T0 0x00000297u /* auipc t0 */
#define AUIPC_MASK    0x00000fffu
#define INSN_JALR_T0  0x000282e7u /* jalr t0, imm(t0) */
#define JALR_MASK     0x000fffffu

#define ENTRY_LEN 8 /* the two instructions that Linux reserves */

int riscv64_nop(uint8_t *buf, unsigned len)
{
	if (len == INSN_C_LEN)
		vp_st16(buf, RISCV64_C_NOP);
	else if (len == INSN_LEN)
		vp_st32(buf, RISCV64_NOP);
	else
		return VP_E_RANGE;
	return VP_OK;
}

static int jal(uint8_t *buf, uint32_t op, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	uint64_t rel = to.v - at.v;

	if ((at.v & 1) || (to.v & 1))
		return VP_E_RANGE;
	if (!arch_fits_signed(rel, 21))
		return VP_E_REACH;
	vp_st32(buf, op | riscv64_imm_j(rel));
	*len_ret = INSN_LEN;
	return VP_OK;
}

int riscv64_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return jal(buf, RISCV64_JAL, at, to, len_ret);
}

int riscv64_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return jal(buf, INSN_LINK, at, to, len_ret);
}

/* jal t0, to: t0 is the alternate link register (RV unpriv. 2.5.1) */
int riscv64_dispatch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return jal(buf, RISCV64_JAL | T0 << 7, at, to, len_ret);
}

/* jalr t0, imm(t0) behind auipc t0, imm; RV unpriv. 2.4.1, 2.5.1 */
int riscv64_dispatch_behind(uint8_t *buf, const uint8_t *ahead, vp_gva_t at, vp_gva_t to)
{
	uint32_t auipc = vp_ld32(ahead);
	uint64_t base = at.v - 4 + (uint64_t)(int64_t)(int32_t)(auipc & ~AUIPC_T0_MASK);

	if ((auipc & AUIPC_T0_MASK) != AUIPC_T0)
		return VP_E_SITE_BYTES;
	if (!arch_fits_signed(to.v - base, 12))
		return VP_E_REACH;
	vp_st32(buf, JALR_T0 | (uint32_t)(to.v - base) << 20);
	return VP_OK;
}

int riscv64_trap(uint8_t *buf, unsigned *len_ret)
{
	vp_st32(buf, RISCV64_EBREAK);
	*len_ret = INSN_LEN;
	return VP_OK;
}

/*
 * AUIPC and JALR through t2. The temporaries are free between a call and its callee (psABI,
 * Register Convention), but t0 may hold a link, Linux's tracer's among others; and of them all, a
 * jump through t2 alone needs no landing pad at its target (RV unpriv., Zicfilp: software guarded).
 *
 * Two GiB either way are enough: kernel text lies in the last 2 GiB of the address space, and modules
 * lie where they reach all of it (Linux asm/pgtable.h, MODULES_VADDR). A literal that reaches
 * further would have to be aligned, and be data in text: 24 bytes of it.
 */
int riscv64_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	uint64_t rel = to.v - at.v;

	if (len < 2 * INSN_LEN || (at.v & 1) || (to.v & 1))
		return VP_E_RANGE;
	if (!riscv64_fits_hi20(rel))
		return VP_E_REACH;
	vp_st32(buf, INSN_AUIPC_T2 | riscv64_hi20(rel));
	vp_st32(buf + INSN_LEN, INSN_JR_T2 | riscv64_imm_i(rel));
	*len_ret = 2 * INSN_LEN;
	return VP_OK;
}

/* A branch that somebody wrote, or a kprobe's trap: of the length of what was there. */
static bool is_taken(uint32_t word)
{
	return (word & AUIPC_MASK) == RISCV64_JAL || word == RISCV64_EBREAK ||
	       (word & 0xffff) == RISCV64_C_EBREAK;
}

/*
 * Linux arch/riscv/kernel/ftrace.c reserves eight bytes at a function's start. There are two ways:
 *
 *         since 6.16, with CALL_OPS or without         before
 *     +0  auipc t0, X      never changes               nop            auipc t0, X
 *     +4  nop        <->   jalr t0, Y(t0)              nop      <->   jalr t0, Y(t0)
 *
 * Now: the tracer's word alone is the site, and shared with it. The AUIPC must stay: Linux compares
 * it before it changes a call (ftrace_modify_call), and takes ftrace down whole if it is another.
 * What comes through has t0 changed, which is free there. The pointer to the tracer's ops, 8 bytes
 * before the function where there is one, is nobody's but the tracer's.
 *
 * Before: the tracer owns both words and writes both, so both are shared. Our edit is the first one
 * alone. One instruction for one is safe wherever a context was stopped: who stands at +4 has run
 * a nop and runs another. The words together, or the second alone while the first may be an AUIPC,
 * are never an edit: who stands between them would run half of each.
 *
 * Either way the site is where the tracer's record points to (ftrace_call_adjust), and must rest: a
 * JALR there is a tracer at work.
 */
int riscv64_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret)
{
	uint32_t first, second;
	bool pair;

	if (len < ENTRY_LEN || (func.v & 1))
		return VP_E_RANGE;
	first = vp_ld32(buf);
	second = vp_ld32(buf + INSN_LEN);
	pair = first == RISCV64_NOP;
	if ((first & AUIPC_MASK) == INSN_AUIPC_T0) {
		if ((second & JALR_MASK) == INSN_JALR_T0 || is_taken(second))
			return VP_E_SITE_TRACED;
	} else if (is_taken(first)) {
		return second == RISCV64_NOP || (second & JALR_MASK) == INSN_JALR_T0
			       ? VP_E_SITE_TRACED
			       : VP_E_NO_SITE;
	} else if (!pair) {
		return VP_E_NO_SITE;
	}
	if (second != RISCV64_NOP)
		return VP_E_NO_SITE;
	*ret = (struct arch_entry){
		.site_off = pair ? 0 : INSN_LEN,
		.site_len = INSN_LEN,
		.tracer_off = pair ? 0 : INSN_LEN,
		.tracer_len = pair ? ENTRY_LEN : INSN_LEN,
		.shared = true,
		.tracer_idle = true,
	};
	return VP_OK;
}
