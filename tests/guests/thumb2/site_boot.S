/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Thumb-2 site guest for `-M virt -cpu cortex-a15`: page tables, stacks, vectors, the checked call.
 * Entered in Supervisor mode with the MMU off, the first CPU by the VMM, the others by PSCI CPU_ON. All is
 * T32. Registers are those of the Armv7-A ARM (DDI 0406C), B4.1; descriptors B3.5.1.
 */
	.syntax	unified
	.thumb

#define STACK_LOG 13
#define CPUS      8

#define SECTION   0x1140e    /* shareable, write-back, write-allocate; PL1 reads and writes */
#define XN        0x10
#define TTBR      0x6a       /* walks are the same */
#define SCTLR     0x40001005 /* TE: exceptions are taken in T32; I, C, M */
#define MODE_SVC  0x13

	.section .text.boot, "ax"
	.globl	_start
	.type	_start, %function
_start:
	movs	r4, 0
	b	common
	.globl	secondary
	.type	secondary, %function
secondary:
	mov	r4, r0			/* the context that CPU_ON was given: its number */
common:
	cpsid	if
	movs	r0, 0
	mcr	p15, 0, r0, c2, c0, 2	/* TTBCR: TTBR0 alone */
	ldr	r0, =tables_phys + TTBR
	mcr	p15, 0, r0, c2, c0, 0	/* TTBR0 */
	movs	r0, 1
	mcr	p15, 0, r0, c3, c0, 0	/* DACR: domain 0 is checked */
	movs	r0, 0
	mcr	p15, 0, r0, c8, c7, 0	/* TLBIALL */
	dsb
	isb
	mrc	p15, 0, r0, c1, c0, 0
	ldr	r1, =SCTLR
	orrs	r0, r0, r1
	mcr	p15, 0, r0, c1, c0, 0
	isb
	ldr	r0, =upper
	bx	r0
	.type	upper, %function
upper:
	ldr	r0, =vectors_at
	mcr	p15, 0, r0, c12, c0, 0	/* VBAR */
	mcr	p15, 0, r4, c13, c0, 4	/* TPIDRPRW */
	ldr	r0, =stacks + (1 << STACK_LOG)
	add	r0, r0, r4, lsl STACK_LOG
	mov	sp, r0
	mov	r0, r4
	movs	r7, 0
	bl	site_main
	.ltorg

	.text
	.globl	arch_park
	.type	arch_park, %function
arch_park:
	cpsid	if
1:	wfi
	b	1b

/*
 * r0: the function (r1: zero), r2: where to say what was broken. TPIDRURW, which nobody else uses, has the
 * stack pointer meanwhile. A function may return by a load of pc, so lr is nobody's behind it.
 */
	.globl	arch_call
	.type	arch_call, %function
arch_call:
	push	{r2, r4-r11, lr}
	mov	r3, sp
	mcr	p15, 0, r3, c13, c0, 2
	.irp	n, 4, 5, 6, 7, 8, 9, 10, 11
	movw	r\n, 0x5a00 + \n
	.endr
	blx	r0
	movs	r12, 0
	mrc	p15, 0, r3, c13, c0, 2
	mov	r2, sp
	cmp	r3, r2
	beq	1f
	orr	r12, r12, 2		/* CTL_BROKEN_SP */
	mov	sp, r3
1:	movs	r2, 0
	.irp	n, 4, 5, 6, 7, 8, 9, 10, 11
	movw	r3, 0x5a00 + \n
	eors	r3, r3, r\n
	orrs	r2, r2, r3
	.endr
	cbz	r2, 2f
	orr	r12, r12, 1		/* CTL_BROKEN_REGS */
2:	ldr	r2, [sp]
	movs	r3, 0
	strd	r12, r3, [r2]
	pop	{r2, r4-r11, pc}

/* struct frame of site_arch.c: r0 to r12, lr, pc, CPSR. The return address of each: DDI 0406C, B1.8.3. */
	.macro	exception kind, ahead
	subs	lr, lr, \ahead
	srsdb	sp!, MODE_SVC
	cps	MODE_SVC
	push	{r0-r12, lr}
	movs	r1, \kind
	b	taken
	.endm
undefined:
	exception 1, 2
supervisor:
	exception 2, 2
prefetch:
	exception 3, 4
data:
	exception 4, 8
interrupt:
	exception 6, 4
fast:
	exception 7, 4
taken:
	mov	r0, sp
	mov	r4, sp
	bic	r2, r4, 7
	mov	sp, r2
	bl	site_exception
	mov	sp, r4
	pop	{r0-r12, lr}
	rfeia	sp!

	.balign	32
vectors_at:
	b.w	vectors_at
	b.w	undefined
	b.w	supervisor
	b.w	prefetch
	b.w	data
	nop.w
	b.w	interrupt
	b.w	fast

	.data
	.balign	16384
	.globl	tables
tables:
	.fill	0x402, 4, 0
	.long	0x40200000 + SECTION	/* until everybody is above */
	.fill	0xc00 - 0x403, 4, 0
	.long	text_pa + SECTION
	.long	text_pa + 0x100000 + SECTION + XN
	.fill	0x1000 - 0xc02, 4, 0

	.bss
	.balign	16
stacks:
	.skip	CPUS << STACK_LOG
