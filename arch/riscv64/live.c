// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * RV64 under running harts. The ISA has no list of instructions that may become each other: a store to
 * instruction memory is seen by a hart's fetches from its next FENCE.I on, before that perhaps (RV unpriv.,
 * "Zifencei"). What makes one instruction for one right is that a naturally aligned word is fetched as a
 * whole (Ziccif, "RISC-V Profiles"): a hart runs the old or the new. What is in the list here is what the
 * field's patchers swap: a nop and a direct jump, or a nop and the jalr behind an auipc that stays.
 * At two-byte alignment a word is two fetches, and a pair of instructions is never one edit.
 */
#include "arch/poke.h"
#include "arch/riscv64/riscv64.h"

#define WORD 4

#define JAL_MASK  0x0000007fu /* opcode JAL; RV unpriv. 2.5.1 */
#define JALR_MASK 0x0000707fu
#define JALR      0x00000067u

static bool listed(uint32_t insn)
{
	return insn == RISCV64_NOP || (insn & JAL_MASK) == RISCV64_JAL ||
	       (insn & JALR_MASK) == JALR;
}

static bool store(vp_gva_t at, const uint8_t *before, const uint8_t *after, unsigned len,
		  const char **why)
{
	return arch_live_word(at, before, after, len, listed,
			      "not both instructions are among nop, jal and jalr", why);
}

const struct arch_live riscv64_live = {
	.set = "nop, jal, jalr",
	.source = "RISC-V Profiles, Ziccif; RISC-V unprivileged ISA, Zifencei",
	.store = store,
	.word = WORD,
	.stage = arch_live_no_stage,
};
