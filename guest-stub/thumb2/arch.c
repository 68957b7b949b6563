/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "guest-stub/arch.h"

/* Armv7-A ARM (DDI 0406C), A8.8 */
#define NOP16      0xbf00u /* NOP, T1; A8.8.119 */
#define NOP32_HEAD 0xf3afu /* NOP, T2 */
#define NOP32_TAIL 0x8000u
#define BKPT       0xbe00u /* BKPT, T1; A8.8.24 */
#define BKPT_MASK  0xff00u
#define THUMB      1u

/* Two narrow nops become a wide one: one instruction, so that nobody ever stands within. */
bool vpatch_arch_entry(uintptr_t at, bool literal, struct vp_site *ret)
{
	volatile uint16_t *text = (volatile uint16_t *)(at & ~(uintptr_t)THUMB);

	(void)literal;
	/* One with a name comes twice. */
	if (!(text[0] == NOP16 && text[1] == NOP16) &&
	    !(text[0] == NOP32_HEAD && text[1] == NOP32_TAIL))
		return false;
	text[0] = NOP32_HEAD;
	text[1] = NOP32_TAIL;
	ret->at = vp_gva((uintptr_t)text);
	ret->sequence = VP_SEQ_THUMB_WIDE;
	ret->len = 4;
	return true;
}

#define CP15_WRITE(op, v) __asm__ volatile("mcr p15, 0, %0, " op : : "r"(v) : "memory")

/* Clean to the point of unification, invalidate from there: DDI 0406C, A3.8.3, "Ordering of cache and branch
 * predictor maintenance operations" */
void vpatch_arch_sync(uintptr_t at, size_t len)
{
	uint32_t ctr;
	uintptr_t line, p;

	__asm__("mrc p15, 0, %0, c0, c0, 1" : "=r"(ctr));
	line = (uintptr_t)4 << (ctr >> 16 & 15); /* DminLine, in words */
	for (p = at & ~(line - 1); p < at + len; p += line)
		CP15_WRITE("c7, c11, 1", p); /* DCCMVAU */
	__asm__ volatile("dsb ish" : : : "memory");
	line = (uintptr_t)4 << (ctr & 15); /* IminLine */
	for (p = at & ~(line - 1); p < at + len; p += line)
		CP15_WRITE("c7, c5, 1", p); /* ICIMVAU */
	CP15_WRITE("c7, c1, 6", 0);         /* BPIALLIS */
	__asm__ volatile("dsb ish; isb" : : : "memory");
}

bool vpatch_arch_is_trap(uintptr_t pc)
{
	return (__atomic_load_n((const uint16_t *)pc, __ATOMIC_ACQUIRE) & BKPT_MASK) == BKPT;
}
