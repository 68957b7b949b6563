/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions with sites that C cannot place. Each gives 1, with its edit 2. What is ahead of a site is five
 * bytes, so that ACROSS puts two of the site's bytes in front of the boundary and three behind it.
 */
#include "guest-stub/stub.h"

#define FUNCTION(f)  .balign 8; .globl f; .type f, @function; f
#define ACROSS(n, f) .balign n, 0xcc; .skip n - 7, 0xcc; .globl f; .type f, @function; f

	.text
FUNCTION(pay_two):
	movl	$2, %eax
	ret

/* Called by an entry: the function's caller gets its answer. */
FUNCTION(pay_entry):
	addq	$8, %rsp
	movl	$2, %eax
	ret

give_one:
	movl	$1, %eax
	ret

ACROSS(64, probe_line):
	movl	$1, %eax
	VPATCH_SITE(line)
	ret

ACROSS(64, probe_line_jump):
	movl	$1, %eax
	VPATCH_SITE(line_jump)
	ret

ACROSS(4096, probe_page):
	movl	$1, %eax
	VPATCH_SITE(page)
	ret

ACROSS(4096, probe_page_jump):
	movl	$1, %eax
	VPATCH_SITE(page_jump)
	ret

ACROSS(64, probe_rests):
	movl	$3, %eax
	VPATCH_SITE_CALL_OF(rests, give_one)
	ret

FUNCTION(probe_jumps):
	movl	$1, %eax
	VPATCH_SITE_GOTO(jumps, 1f)
	movl	$0xbad, %eax
1:	ret

FUNCTION(probe_entry):
	VPATCH_ENTRY(entry)
	movl	$1, %eax
	ret

/* A call through a data word, which is in text as a literal would be. */
FUNCTION(probe_literal):
	jmp	*literal(%rip)
	.balign	8
	.globl	literal
literal:
	.quad	give_one

/* Many at once, wherever they come to lie: each is eleven bytes behind the last. Not in the table, which CPL0
 * takes seconds to write where it is emulated. */
	.irp	t, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23
	.irp	u, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
	.globl	probe_many\t\u
probe_many\t\u:
	movl	$1, %eax
	VPATCH_NOP
	ret
	.endr
	.endr
