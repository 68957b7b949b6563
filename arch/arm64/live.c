// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A64 under running CPUs: the concurrent modification and execution of instructions (Arm ARM, DDI 0487,
 * B2.2.5). An aligned word may become another while it is executed if both are in the list there; a CPU
 * runs the old or the new until it has synchronised its context.
 */
#include "arch/arm64/arm64.h"
#include "arch/poke.h"
#include "protocol/bytes.h"

#define WORD 4

#define BRK     0xd4200000u /* BRK imm16; C6.2.40 */
#define BRK_IMM 0x7670u     /* "vp": the stub's handler knows it by this */

static const struct {
	uint32_t mask, bits;
} set[] = {
	{0xfc000000u, 0x14000000u}, /* B; C6.2.26 */
	{0xfc000000u, 0x94000000u}, /* BL; C6.2.34 */
	{0xffe0001fu, BRK},         /* BRK */
	{0xffe0001fu, 0xd4000002u}, /* HVC; C6.2.105 */
	{0xfffff0ffu, 0xd50330dfu}, /* ISB; C6.2.117 */
	{0xffffffffu, 0xd503201fu}, /* NOP; C6.2.239 */
	{0xffe0001fu, 0xd4000003u}, /* SMC; C6.2.313 */
	{0xffe0001fu, 0xd4000001u}, /* SVC; C6.2.365 */
};

static bool listed(uint32_t insn)
{
	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++)
		if ((insn & set[i].mask) == set[i].bits)
			return true;
	return false;
}

static bool store(vp_gva_t at, const uint8_t *before, const uint8_t *after, unsigned len,
		  const char **why)
{
	return arch_live_word(
		at, before, after, len, listed,
		"not both instructions are among B, BL, BRK, HVC, ISB, NOP, SMC and SVC, which alone may "
		"become each other under running CPUs (Arm ARM DDI 0487, B2.2.5)",
		why);
}

static int stage(uint8_t *buf, unsigned site_len, enum vp_discipline d, unsigned *len_ret)
{
	if (d != VP_DISCIPLINE_TRAP || site_len != WORD)
		return VP_E_UNSUPPORTED;
	vp_st32(buf, BRK | BRK_IMM << 5);
	*len_ret = WORD;
	return VP_OK;
}

const struct arch_live arm64_live = {
	.set = "B, BL, BRK, HVC, ISB, NOP, SMC, SVC",
	.source = "Arm ARM DDI 0487, B2.2.5",
	.store = store,
	.word = WORD,
	.stage = stage,
};
