/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions with sites that C cannot write. Each gives 1, with its edit 2. x10 and x11 have the return
 * address and the stack pointer as they came, and nothing that is called touches them.
 */
#include "guest-stub/stub.h"

#define FUNCTION(f) .balign 8; .globl f; .type f, %function; f

	.text
FUNCTION(pay_two):
	mov	x0, 2
	ret

/* Called by an entry's second word: the function's caller gets its answer. */
FUNCTION(pay_entry):
	mov	x30, x9
	mov	x0, 2
	ret

FUNCTION(probe_three):
	mov	x0, 1
	mov	x10, x30
	VPATCH_ENTRY_THREE(three)
	cmp	x9, x10
	b.ne	wrong
	cmp	x30, x10
	b.ne	wrong
	ret

FUNCTION(probe_four):
	mov	x0, 1
	mov	x10, x30
	mov	x11, sp
	VPATCH_ENTRY_FOUR(four, pay_two)
come_back:
	mov	x12, sp
	cmp	x12, x11
	b.ne	wrong
	cmp	x30, x10
	b.ne	wrong
	ret
wrong:
	mov	x0, 0xbad
	mov	x30, x10
	ret

/* What the first word of `four` becomes. */
	.globl	four_on
four_on:
	stp	x29, x30, [sp, -16]!

/* Four nops become the whole at once, which nothing makes safe. */
FUNCTION(probe_nops):
	mov	x0, 1
	mov	x10, x30
	mov	x11, sp
nops:
771:	nop
	nop
	nop
	nop
	VPATCH_ENTRY_RECORD(nops, VP_SEQ_ARM64_FOUR, 16)
	b	come_back
	.globl	nops_on
nops_on:
	stp	x29, x30, [sp, -16]!
	mov	x29, sp
	bl	pay_two + (nops_on - nops)	/* the distance is that of its place there */
	ldp	x29, x30, [sp], 16

	.globl	probe_literal, probe_literal_only
VPATCH_ENTRY_LITERAL(literal, probe_literal, probe_literal + 8, 0)
	mov	x0, 1
	ret

VPATCH_ENTRY_LITERAL_ON(literal_only, probe_literal_only, vpatch_arm64_dispatch, 0)
	mov	x0, 1
	ret

FUNCTION(probe_rests):
	mov	x10, x30
	VPATCH_SITE_CALL_OF(rests, give_one)
	mov	x30, x10
	ret
give_one:
	mov	x0, 1
	ret

FUNCTION(probe_jumps):
	mov	x0, 1
	VPATCH_SITE_GOTO(jumps, 1f)
	mov	x0, 0xbad
1:	ret
