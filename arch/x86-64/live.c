// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * x86-64 under running CPUs. Cross-modifying code is defined only with every CPU serialising before it
 * runs the new bytes (Intel SDM vol. 3A, 9.1.3; AMD APM vol. 2, 7.6.1), so no instruction may simply
 * become another. What both vendors have confirmed for Linux (arch/x86/kernel/alternative.c,
 * text_poke_bp_batch) is the breakpoint: one byte, so that it is stored as a whole wherever it lies; while
 * it stands nobody fetches what is behind it as part of an instruction.
 */
#include <string.h>

#include "arch/poke.h"
#include "arch/x86-64/x86-64.h"

#define INT3 0xcc

static bool store(vp_gva_t at, const uint8_t *before, const uint8_t *after, unsigned len,
		  const char **why)
{
	bool tail = memcmp(before + 1, after + 1, len - 1) != 0;

	(void)at;
	if (before[0] == INT3 && after[0] == INT3)
		return true;
	if (!tail && (before[0] == after[0] || before[0] == INT3 || after[0] == INT3))
		return true;
	*why = "x86 has no instruction that may become another under running CPUs, only one whose first "
	       "byte is a breakpoint meanwhile (Intel SDM vol. 3A, 9.1.3)";
	return false;
}

/* A two-byte jump instead is not sanctioned: its store may be seen in halves. */
static int stage(uint8_t *buf, unsigned site_len, enum vp_discipline d, unsigned *len_ret)
{
	(void)site_len;
	if (d != VP_DISCIPLINE_TRAP)
		return VP_E_UNSUPPORTED;
	buf[0] = INT3;
	*len_ret = 1;
	return VP_OK;
}

const struct arch_live x86_64_live = {
	.set = "int3 over the first byte",
	.source = "Intel SDM vol. 3A, 9.1.3; AMD APM vol. 2, 7.6.1; Linux text_poke_bp_batch",
	.store = store,
	.word = 0,
	.stage = stage,
};
