// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Power under running CPUs: the patch class (Power ISA, Book II, "Concurrent Modification and Execution of
 * Instructions"). An aligned word may become another while it is executed if both are I-form branches or
 * the preferred no-op; a prefixed instruction never is.
 */
#include "arch/poke.h"
#include "arch/ppc64le/ppc64le.h"

#define WORD 4

#define OPCODE_MASK 0xfc000000u
#define I_FORM      0x48000000u /* b, ba, bl, bla; Power ISA, Book I, "Branch Instructions" */
#define NOP         0x60000000u /* ori 0, 0, 0: the preferred no-op */

static bool listed(uint32_t insn)
{
	return (insn & OPCODE_MASK) == I_FORM || insn == NOP;
}

static bool store(vp_gva_t at, const uint8_t *before, const uint8_t *after, unsigned len,
		  const char **why)
{
	return arch_live_word(
		at, before, after, len, listed,
		"not both instructions are I-form branches or the preferred no-op, which alone may become "
		"each other under running CPUs (Power ISA, Book II)",
		why);
}

const struct arch_live ppc64le_live = {
	.set = "b, ba, bl, bla, ori 0,0,0",
	.source = "Power ISA, Book II, Concurrent Modification and Execution of Instructions",
	.store = store,
	.word = WORD,
	.stage = arch_live_no_stage, /* a trap is not of the patch class */
};
