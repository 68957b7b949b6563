/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "guest-stub/arch.h"

/* Power ISA 3.1, Book I */
#define NOP     0x60000000u /* ori 0,0,0; 3.3.13 */
#define MFLR_R0 0x7c0802a6u /* mfspr r0,8; 3.3.17 */
#define TRAP    0x7fe00008u /* tw 31,0,0; 3.3.11 */

/* The pair that makes r2 at a function's global entry (ELFv2, 2.3.2.1): the words without immediates */
#define ADDIS_R2_R12 0x3c4c0000u
#define LIS_R2       0x3c400000u
#define ADDI_R2_R2   0x38420000u
#define OPERANDS     0xffff0000u

#define BEFORE 2 /* nops that make room for a literal */
#define BLOCK \
	32 /* no cache block is smaller, and an instruction for a part of one is for all of it */

static bool makes_toc(uint32_t word)
{
	return (word & OPERANDS) == ADDIS_R2_R12 || (word & OPERANDS) == LIS_R2;
}

/*
 * GCC before 13 puts the nops of a function that makes r2 ahead of that, where only calls from outside
 * the image come by (GCC bug 99888); later ones put them at the local entry, and those ahead of it on the
 * way that these calls take, which leaves no room for a literal.
 */
bool vpatch_arch_entry(uintptr_t at, bool literal, struct vp_site *ret)
{
	volatile uint32_t *text = (volatile uint32_t *)at;
	bool room = literal && text[0] == NOP && text[1] == NOP &&
		    (text[2] == NOP || text[2] == MFLR_R0) && text[3] == NOP;
	bool two;

	if (room && ((text[-1] & OPERANDS) == ADDI_R2_R2 || at % 8))
		return false;
	if (room)
		text += BEFORE;
	two = text[1] == NOP;
	/* One with a name comes twice. */
	if ((text[0] != NOP && !(two && text[0] == MFLR_R0)) || makes_toc(text[two ? 2 : 1]))
		return false;
	ret->at = vp_gva((uintptr_t)text);
	ret->sequence = two ? VP_SEQ_PPC64_MFLR : VP_SEQ_PPC64_NOP;
	ret->len = two ? 8 : 4;
	if (two)
		text[0] = MFLR_R0;
	if (room) {
		/* Behind the entry: a CPU may still be on its way through the dispatcher when the entry
		 * is a nop again and the literal what it was. */
		*(volatile uint64_t *)at = (uintptr_t)(text + 2);
		ret->literal = vp_gva(at);
	}
	return true;
}

/* Power ISA 3.1, Book II, 1.8: the sequence for code that was stored */
void vpatch_arch_sync(uintptr_t at, size_t len)
{
	uintptr_t p;

	for (p = at & ~(uintptr_t)(BLOCK - 1); p < at + len; p += BLOCK)
		__asm__ volatile("dcbst 0, %0" : : "r"(p) : "memory");
	__asm__ volatile("sync" : : : "memory");
	for (p = at & ~(uintptr_t)(BLOCK - 1); p < at + len; p += BLOCK)
		__asm__ volatile("icbi 0, %0" : : "r"(p) : "memory");
	__asm__ volatile("sync; isync" : : : "memory");
}

bool vpatch_arch_is_trap(uintptr_t pc)
{
	return __atomic_load_n((const uint32_t *)pc, __ATOMIC_ACQUIRE) == TRAP;
}
