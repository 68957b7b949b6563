// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * T32 under running CPUs: the concurrent modification and execution of instructions (Armv7-A ARM, DDI 0406,
 * A3.5.4). The list is of 16-bit instructions, and of the first half of BL and BLX, which may become each
 * other; so a 32-bit site changes half by half, the second one only where nobody runs it: under a 16-bit
 * BKPT or behind a 16-bit branch over it. A wide nop is not in the list.
 */
#include <string.h>

#include "arch/poke.h"
#include "arch/thumb2/thumb2.h"
#include "protocol/bytes.h"

#define HALF 2
#define WIDE 4

#define B16_MASK 0xf800u
#define B16      0xe000u /* B, T2; A8.8.18 */
#define B16_OVER 0xe000u /* to four bytes behind itself: over a wide instruction */
#define NOP16    0xbf00u /* NOP, T1; A8.8.119 */
#define BKPT     0xbe00u /* BKPT imm8, T1; A8.8.24 */
#define BKPT_IMM 0x76u   /* 'v': the stub's handler knows it by this */
#define SVC      0xdf00u /* SVC imm8, T1; A8.8.228 */
#define IMM8     0xff00u
#define BL_MASK  0xf800u
#define BL_HEAD \
	0xf000u /* the first half of BL and BLX (and, with another second half, of others) */
#define BL_TAIL 0xc000u /* bits [15:14] of the second half of BL and BLX; A8.8.25 */

static bool is_bl(const uint8_t *insn, unsigned len)
{
	return len == WIDE && (vp_ld16(insn) & BL_MASK) == BL_HEAD &&
	       (vp_ld16(insn + HALF) & BL_TAIL) == BL_TAIL;
}

static bool listed(const uint8_t *insn, unsigned len)
{
	uint16_t head = vp_ld16(insn);

	return (head & B16_MASK) == B16 || head == NOP16 || (head & IMM8) == BKPT ||
	       (head & IMM8) == SVC || is_bl(insn, len);
}

/* Nobody runs what is behind the first half: it is left out, or whoever meets it is led past. */
static bool covers(uint16_t head)
{
	return head == B16_OVER || (head & IMM8) == BKPT;
}

static bool store(vp_gva_t at, const uint8_t *before, const uint8_t *after, unsigned len,
		  const char **why)
{
	bool tail = len == WIDE && vp_ld16(before + HALF) != vp_ld16(after + HALF);

	(void)at;
	if (len != HALF && len != WIDE) {
		*why = "the site is not one instruction of two or four bytes";
		return false;
	}
	if (vp_ld16(before) == vp_ld16(after) && (!tail || covers(vp_ld16(before))))
		return true;
	if (!tail && listed(before, len) && listed(after, len))
		return true;
	*why = tail ? "both halves of a wide instruction would change at once, and the list has halves only "
		      "(Armv7-A ARM DDI 0406, A3.5.4)"
		    : "not both instructions are 16-bit B, NOP, BKPT, SVC or BL, which alone may become each "
		      "other under running CPUs (Armv7-A ARM DDI 0406, A3.5.4)";
	return false;
}

static int stage(uint8_t *buf, unsigned site_len, enum vp_discipline d, unsigned *len_ret)
{
	if (site_len != WIDE)
		return VP_E_UNSUPPORTED;
	vp_st16(buf, d == VP_DISCIPLINE_SKIP ? B16_OVER : BKPT | BKPT_IMM);
	*len_ret = HALF;
	return VP_OK;
}

const struct arch_live thumb2_live = {
	.set = "16-bit B, NOP, BKPT, SVC; the first half of BL and BLX",
	.source = "Armv7-A ARM DDI 0406, A3.5.4",
	.store = store,
	.word = HALF,
	.stage = stage,
};
