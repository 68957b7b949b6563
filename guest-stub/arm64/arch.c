/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "guest-stub/arch.h"

#define NOP        0xd503201fu /* Arm ARM (DDI 0487) C6.2.239 */
#define BTI_C      0xd503245fu /* C6.2.41 */
#define MOV_X9_X30 0xaa1e03e9u /* C6.2, MOV (register) */
#define BRK        0xd4200000u /* C6.2.40 */
#define BRK_MASK   0xffe0001fu
#define BEFORE     2 /* nops that make room for a literal */

bool vpatch_arch_entry(uintptr_t at, bool literal, struct vp_site *ret)
{
	volatile uint32_t *text = (volatile uint32_t *)at;
	bool room = literal && text[0] == NOP && text[1] == NOP &&
		    (text[2] == NOP || text[2] == BTI_C || text[2] == MOV_X9_X30);

	if (room)
		text += BEFORE;
	if (text[0] == BTI_C)
		text++;
	/* One with a name comes twice. */
	if ((text[0] != NOP && text[0] != MOV_X9_X30) || text[1] != NOP || (room && at % 8))
		return false;
	text[0] = MOV_X9_X30;
	ret->at = vp_gva((uintptr_t)text);
	ret->sequence = VP_SEQ_ARM64_TWO;
	ret->len = 8;
	if (room) {
		/* Behind the entry: a CPU may still be on its way through the dispatcher when the entry
		 * is a nop again and the literal what it was. */
		*(volatile uint64_t *)at = (uintptr_t)(text + 2);
		ret->literal = vp_gva(at);
	}
	return true;
}

/* Clean to the point of unification, invalidate from there: DDI 0487, the sequences in K13 */
void vpatch_arch_sync(uintptr_t at, size_t len)
{
	uint64_t ctr;
	uintptr_t line, p;

	__asm__("mrs %0, ctr_el0" : "=r"(ctr));
	line = (uintptr_t)4 << (ctr >> 16 & 15); /* DminLine, in words */
	for (p = at & ~(line - 1); p < at + len; p += line)
		__asm__ volatile("dc cvau, %0" : : "r"(p) : "memory");
	__asm__ volatile("dsb ish" : : : "memory");
	line = (uintptr_t)4 << (ctr & 15); /* IminLine */
	for (p = at & ~(line - 1); p < at + len; p += line)
		__asm__ volatile("ic ivau, %0" : : "r"(p) : "memory");
	__asm__ volatile("dsb ish; isb" : : : "memory");
}

bool vpatch_arch_is_trap(uintptr_t pc)
{
	return (__atomic_load_n((const uint32_t *)pc, __ATOMIC_ACQUIRE) & BRK_MASK) == BRK;
}
