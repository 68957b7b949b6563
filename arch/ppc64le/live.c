// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Power under running CPUs: the patch class (Power ISA, Book II, "Concurrent Modification and Execution of
 * Instructions"). An aligned word may become another while it is executed if both are I-form branches or
 * the preferred no-op; a prefixed instruction never is.
 */
#include "arch/poke.h"
#include "arch/ppc64le/ppc64le.h"
#include "protocol/bytes.h"

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
	if (len != WORD || at.v % WORD) {
		*why = "the site is not one aligned word";
		return false;
	}
	if (vp_ld32(before) == vp_ld32(after) ||
	    (listed(vp_ld32(before)) && listed(vp_ld32(after))))
		return true;
	*why = "not both instructions are I-form branches or the preferred no-op, which alone may become "
	       "each other under running CPUs (Power ISA, Book II)";
	return false;
}

/* A trap is not of the patch class. */
static int stage(uint8_t *buf, unsigned site_len, enum vp_discipline d, unsigned *len_ret)
{
	(void)buf;
	(void)site_len;
	(void)d;
	(void)len_ret;
	return VP_E_UNSUPPORTED;
}

const struct arch_live ppc64le_live = {
	.set = "b, ba, bl, bla, ori 0,0,0",
	.source = "Power ISA, Book II, Concurrent Modification and Execution of Instructions",
	.store = store,
	.word = WORD,
	.stage = stage,
};
