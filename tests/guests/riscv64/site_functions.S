/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions with sites that C cannot write. Each gives 1, with its edit 2. What an edit writes, where it is
 * not one of vpatch's own jumps, stands here as its bytes would at the site.
 */
#include "guest-stub/stub.h"

#define FUNCTION(f) .balign 4; .globl f; .type f, %function; f

/* Of site_arch.c's list */
#define COMMON  0
#define NEAR    1
#define FAR     2
#define OWN     3
#define OWN_ON  4
#define OPS     5

/* A jump's copy stands so far behind its site, and its distance is the site's: sites take four bytes, what
 * follows them, `li` and `ret`, four more. (JAL takes no difference of labels.) */
#define BEHIND  8

	.option	norelax
	.text
FUNCTION(pay_two):
	li	a0, 2
	ret

/* Called by an entry itself: behind it the function goes on. */
FUNCTION(pay_link):
	li	a0, 2
	jr	t0

FUNCTION(probe_rests):
	mv	t3, ra
	VPATCH_SITE_CALL_OF(rests, give_one)
	mv	ra, t3
	ret
give_one:
	li	a0, 1
	ret

FUNCTION(probe_jumps):
	li	a0, 1
	VPATCH_SITE_GOTO(jumps, 1f)
	li	a0, 0xbad
1:	ret

FUNCTION(probe_pair):
	VPATCH_ENTRY(pair)
	li	a0, 1
	ret

/* --- CALL_OPS ---------------------------------------------------------------------------------- */

	.globl	probe_a, probe_a_on, probe_near, probe_own, probe_own_on
	VPATCH_ENTRY_A(a, probe_a, vpatch_riscv64_dispatch, COMMON)
	li	a0, 1
	ret
	.option	norvc
	.globl	a_on
a_on:	jalr	t0, %pcrel_lo(probe_a)(t0)
	.globl	a_c_on
a_c_on:	jalr	t0, %lo(a_c_to)(t0)	/* of the entry that the stub made */
	.option	rvc

	VPATCH_ENTRY_A_ON(a_on, probe_a_on, vpatch_riscv64_dispatch, COMMON)
	li	a0, 1
	ret

	VPATCH_ENTRY_B(b_near, probe_near, NEAR)
	li	a0, 1
	ret
	.option	norvc
	.globl	near_on
near_on: jal	t0, dispatch_near + BEHIND
	.option	rvc
	VPATCH_DISPATCHER_NEAR(dispatch_near)

	.globl	dispatch_own, dispatch_own_on
	VPATCH_ENTRY_C(c, probe_own, dispatch_own, OWN)
	li	a0, 1
	ret
	.option	norvc
	.globl	own_on
own_on:	jal	t0, dispatch_own + BEHIND
	.option	rvc

	VPATCH_ENTRY_C_ON(c_on, probe_own_on, dispatch_own_on, OWN_ON)
	li	a0, 1
	ret

	.section .text_far, "ax"
	VPATCH_DISPATCHER_NEAR(dispatch_far)
	.globl	probe_far, probe_far_on
	VPATCH_ENTRY_B(b_far, probe_far, FAR)
	li	a0, 1
	ret
	.option	norvc
	.globl	far_on
far_on:	jal	t0, dispatch_far + BEHIND
	.option	rvc
	VPATCH_ENTRY_B_ON(b_far_on, probe_far_on, dispatch_far, FAR)
	li	a0, 1
	ret

/* --- several users ------------------------------------------------------------------------------ */

/* The arguments go through to whatever the function is by then. */
	.text
	.globl	hooked, hooked_on, hooked_t0
	VPATCH_ENTRY_OPS(users, hooked, OPS)
	tail	body
	.option	norvc
	.globl	hooked_jalr
hooked_jalr: jalr t0, %pcrel_lo(hooked)(t0)
	.option	rvc
	VPATCH_ENTRY_OPS_ON(users_on, hooked_on, OPS)
	tail	body
	VPATCH_ENTRY_OPS_ON(users_t0, hooked_t0, OPS)
	tail	body

/* As the direct callers of Linux are made: everything back as it came, then on by t0. */
FUNCTION(direct_caller):
	addi	sp, sp, -80
	sd	t0, 0(sp)
	sd	ra, 8(sp)
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	sd	a\n, 16 + 8 * \n(sp)
	.endr
	call	direct_seen
	mv	t1, a0
	ld	t0, 0(sp)
	ld	ra, 8(sp)
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	ld	a\n, 16 + 8 * \n(sp)
	.endr
	addi	sp, sp, 80
	bnez	t1, 1f
	jr	t0
1:	li	a0, 0xbad		/* it would be for ever */
	ret

/* --- what is known to be wrong ------------------------------------------------------------------- */

/* Both words of the pair. arch_call has t0 at zero: who runs the jalr alone goes nowhere. */
	.option	norvc
FUNCTION(probe_both):
	li	a0, 1
	.balign	8
	.globl	both
both:	nop
	nop
	ret
	.globl	both_on
both_on: auipc	t0, %pcrel_hi(pay_link + (both_on - both))
	jalr	t0, %pcrel_lo(both_on)(t0)

/* Only the second: behind an auipc that stays it is one instruction for one. */
FUNCTION(probe_jalr):
	li	a0, 1
	.globl	jalr_site
jalr_auipc: auipc t0, %pcrel_hi(pay_link)
jalr_site: nop
	ret
	.globl	jalr_on
jalr_on: jalr	t0, %pcrel_lo(jalr_auipc)(t0)

/* Two pairs: the entry's stays, and the trampoline's leads elsewhere while CPUs are in it. Half of one and
 * half of the other lead to zeros, which are no instruction. */
FUNCTION(probe_trampoline):
1:	auipc	t0, %pcrel_hi(trampoline)
	jalr	t0, %pcrel_lo(1b)(t0)
	ret
	.balign	8
	.globl	trampoline
trampoline:
	auipc	t1, %pcrel_hi(first_target)
	jr	%pcrel_lo(trampoline)(t1)
	.globl	trampoline_on
trampoline_on:
	auipc	t1, %pcrel_hi(second_target + (trampoline_on - trampoline))
	jr	%pcrel_lo(trampoline_on)(t1)
	.option	rvc

	.section .text_far, "ax"
	.balign	4096
	.skip	64
first_target:
	li	a0, 1
	jr	t0
	.balign	4096
	.skip	256
second_target:
	li	a0, 2
	jr	t0
	.balign	4096
