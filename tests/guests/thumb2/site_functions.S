/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions with sites at chosen places. Each gives 1, with its edit 2; r3 keeps the return address, and
 * nothing that is called touches it. Between them all is traps, so that of a wide branch or call one half
 * of which is another's leads to one: old targets, new targets and sites lie pages apart, and the halves
 * count in pages and in what is within one.
 */
#include "guest-stub/stub.h"

	.syntax	unified
	.thumb

#define TRAPS             0xde /* udf 0xde */
#define FUNCTION(f)       .globl f; .type f, %function; f
#define AT(off)           .org off, TRAPS
#define REST_AT(off, f)   AT(off - 4); FUNCTION(probe_##f): movs r0, 1; mov r3, lr; VPATCH_SITE(f); bx r3
#define CALL_AT(off, f)   AT(off - 2); FUNCTION(probe_##f): mov r3, lr; VPATCH_SITE_CALL_OF(f, give_one); bx r3
#define ENTRY_AT(off, f)  AT(off); FUNCTION(probe_##f): VPATCH_ENTRY(f); movs r0, 1; bx lr

	.section .text.pages, "ax"
	.balign	4096
	AT(0x1400)
FUNCTION(give_one):
	movs	r0, 1
	bx	lr

	AT(0x3800)
FUNCTION(pay_two):
	movs	r0, 2
	bx	lr
FUNCTION(pay_call):
	adds	r0, r0, 1
	bx	lr

	REST_AT(0x5104, rest_whole)
	REST_AT(0x5202, rest_word)	/* across a word, */
	REST_AT(0x533e, rest_line)	/* a line of 64 bytes, */
	REST_AT(0x5ffe, rest_page)	/* a page */
	CALL_AT(0x6104, call_whole)
	CALL_AT(0x6202, call_word)
	CALL_AT(0x633e, call_line)
	CALL_AT(0x6ffe, call_page)
	ENTRY_AT(0x7104, wide_whole)
	ENTRY_AT(0x7202, wide_word)
	ENTRY_AT(0x733e, wide_line)
	ENTRY_AT(0x7ffe, wide_page)

	AT(0x8100)
FUNCTION(probe_jumps):
	movs	r0, 1
	VPATCH_SITE_GOTO(jumps, 1f)
	movw	r0, 0xbad
1:	bx	lr

/* Two bytes, which never straddle anything. */
FUNCTION(probe_narrow):
	movs	r0, 1
	mov	r3, lr
771:	nop
	VPATCH_RECORD("narrow", 771b, VP_SITE_NOP, 0, 2, 0, VP_SITE_NO_DISPATCHER)
	bx	r3
	movs	r0, 2
	bx	r3
	.globl	narrow_on
narrow_on:
	b.n	. + 4			/* over the first `bx` */
	AT(0x9000)
