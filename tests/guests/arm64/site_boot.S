/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The arm64 site guest for `-M virt -cpu cortex-a57`: page tables, stacks, vectors, the checked call.
 * Entered at EL1 with the MMU off, the first CPU by the VMM, the others by PSCI CPU_ON. Registers are
 * those of the Arm ARM (DDI 0487), D13.2; descriptors D5.3.
 */
#define STACK_LOG 13
#define CPUS      8

#define BLOCK  0x0000000000000701 /* valid block, AttrIndx 0, inner shareable, AF; EL1 reads and writes */
#define UXN    0x0040000000000000
#define PXN    0x0020000000000000
#define TABLE  3
#define MAIR   0xff        /* AttrIndx 0: normal memory, write-back */
#define TCR    0x2b5103510 /* 40 bits; 4 KiB granules, 48 bits, write-back, inner shareable, twice */
#define EPD0   0x80        /* no more translation through TTBR0 */
#define SCTLR  0x1005      /* I, C, M */

	.section .text.boot, "ax"
	.globl	_start
_start:
	mov	x19, 0
	b	common
	.globl	secondary
secondary:
	mov	x19, x0			/* the context that CPU_ON was given: its number */
common:
	msr	daifset, 15
	mov	x0, MAIR
	msr	mair_el1, x0
	ldr	x20, =TCR
	msr	tcr_el1, x20
	adrp	x0, identity_l0
	msr	ttbr0_el1, x0
	adrp	x0, kernel_l0
	msr	ttbr1_el1, x0
	dsb	sy
	isb
	mrs	x0, sctlr_el1
	mov	x1, SCTLR
	orr	x0, x0, x1
	msr	sctlr_el1, x0
	isb
	ldr	x0, =upper
	br	x0
upper:
	orr	x20, x20, EPD0
	msr	tcr_el1, x20
	isb
	tlbi	vmalle1
	dsb	sy
	isb
	ldr	x0, =vectors
	msr	vbar_el1, x0
	msr	tpidr_el1, x19
	ldr	x0, =stacks + (1 << STACK_LOG)
	add	x0, x0, x19, lsl STACK_LOG
	mov	sp, x0
	mov	x0, x19
	mov	x29, 0
	bl	site_main

	.text
	.globl	arch_park
arch_park:
	msr	daifset, 15
1:	wfi
	b	1b

/*
 * x0: the function, x1: where to say what was broken. TPIDR_EL0, which nobody else uses, has the stack
 * pointer meanwhile.
 */
	.globl	arch_call
	.type	arch_call, %function
arch_call:
	stp	x29, x30, [sp, -112]!
	stp	x19, x20, [sp, 16]
	stp	x21, x22, [sp, 32]
	stp	x23, x24, [sp, 48]
	stp	x25, x26, [sp, 64]
	stp	x27, x28, [sp, 80]
	str	x1, [sp, 96]
	mov	x2, sp
	msr	tpidr_el0, x2
	.irp	n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
	mov	x\n, 0x5a00 + \n
	.endr
	blr	x0
behind:
	mov	x3, 0
	adr	x4, behind
	cmp	x4, x30
	b.eq	1f
	orr	x3, x3, 4		/* CTL_BROKEN_RETURN */
1:	mrs	x4, tpidr_el0
	mov	x5, sp
	cmp	x4, x5
	b.eq	2f
	orr	x3, x3, 2		/* CTL_BROKEN_SP */
	mov	sp, x4
2:	mov	x6, 0
	.irp	n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
	mov	x4, 0x5a00 + \n
	eor	x4, x4, x\n
	orr	x6, x6, x4
	.endr
	cbz	x6, 3f
	orr	x3, x3, 1		/* CTL_BROKEN_REGS */
3:	ldr	x1, [sp, 96]
	str	x3, [x1]
	ldp	x19, x20, [sp, 16]
	ldp	x21, x22, [sp, 32]
	ldp	x23, x24, [sp, 48]
	ldp	x25, x26, [sp, 64]
	ldp	x27, x28, [sp, 80]
	ldp	x29, x30, [sp], 112
	ret

/* struct frame of site_arch.c: x0 to x30, ELR, SPSR. */
	.balign	2048
vectors:
	.set	n, 0
	.rept	16
	.balign	128
	sub	sp, sp, 272
	stp	x0, x1, [sp]
	mov	x1, n
	b	exception
	.set	n, n + 1
	.endr
exception:
	.irp	n, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	str	x\n, [sp, 8 * \n]
	.endr
	mrs	x2, elr_el1
	mrs	x3, spsr_el1
	stp	x2, x3, [sp, 248]
	mov	x0, sp
	bl	site_exception
	ldp	x2, x3, [sp, 248]
	msr	elr_el1, x2
	msr	spsr_el1, x3
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	ldr	x\n, [sp, 8 * \n]
	.endr
	add	sp, sp, 272
	eret

	.data
	.balign	4096
identity_l0:
	.quad	identity_l1_phys + TABLE
	.fill	511, 8, 0
	.globl	identity_l1, kernel_l1, kernel_l2
identity_l1:
	.quad	0, 0x40000000 + BLOCK	/* the first GiB of RAM */
	.fill	510, 8, 0
/* ffff800010000000: text, then data. */
kernel_l0:
	.fill	256, 8, 0
	.quad	kernel_l1_phys + TABLE
	.fill	255, 8, 0
kernel_l1:
	.quad	kernel_l2_phys + TABLE
	.fill	511, 8, 0
kernel_l2:
	.fill	128, 8, 0
	.quad	text_pa + BLOCK + UXN
	.quad	text_pa + 0x200000 + BLOCK + UXN + PXN
	.fill	382, 8, 0

	.bss
	.balign	16
stacks:
	.skip	CPUS << STACK_LOG
