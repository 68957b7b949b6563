/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions with sites that C cannot write. Each gives 1, with its edit 2. r10 has the return address as it
 * came, and nothing that is called touches it. None uses r2, so each has one entry.
 */
#include "guest-stub/stub.h"

#define FUNCTION(f) .balign 8; .globl f; .type f, @function; f

	.text
FUNCTION(pay_two):
	li	3, 2
	blr

/* As every function that calls: it writes into its caller's frame, and below it. */
FUNCTION(pay_call):
	mflr	0
	std	0, 16(1)
	stdu	1, -64(1)
	std	0, 40(1)
	std	0, 56(1)
	addi	3, 3, 1
	addi	1, 1, 64
	ld	0, 16(1)
	mtlr	0
	blr

/* Called by an entry's second word: the function's caller gets its answer. */
FUNCTION(pay_entry):
	mtlr	0
	li	3, 2
	blr

/* What a nop alone becomes a branch to: it calls, and the function goes on. */
FUNCTION(pay_around):
	mflr	0
	mr	10, 0
	bl	pay_two
	mtlr	10
	b	probe_around + 8

FUNCTION(probe_around):
	li	3, 1
	VPATCH_ENTRY_NOP(around)
	blr

	.globl	probe_literal, probe_literal_only
VPATCH_ENTRY_LITERAL(literal, probe_literal, probe_literal + 8, 0)
	li	3, 1
	blr

VPATCH_ENTRY_LITERAL_ON(literal_only, probe_literal_only, vpatch_ppc64le_dispatch, 0)
	li	3, 1
	blr

FUNCTION(probe_rests):
	mflr	10
	VPATCH_SITE_CALL_OF(rests, give_one)
	mtlr	10
	blr
give_one:
	li	3, 1
	blr

FUNCTION(probe_jumps):
	li	3, 1
	VPATCH_SITE_GOTO(jumps, 1f)
	li	3, 0xbad
1:	blr

/* Both words of an entry at once, which nothing makes safe: who stands between them runs the call, with no
 * return address in r0. */
FUNCTION(probe_pair):
	mflr	10
	li	3, 1
	li	0, 0
pair:
771:	nop
	nop
	VPATCH_ENTRY_RECORD(pair, VP_SEQ_PPC64_MFLR, 8)
	mtlr	10
	blr
	.globl	pair_on
pair_on:
	mflr	0
	bl	pay_entry + (pair_on - pair)	/* the distance is that of its place there */
