/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ppc64le site guest for `-M powernv9 -bios`: order of bytes, stacks, vectors, the checked call. Every
 * CPU is entered at 0x10, big-endian, in hypervisor state and real mode, with the device tree's address in
 * r3. Registers are those of the Power ISA 3.1, Book III.
 */
#define STACK_LOG 14
#define CPUS      8

#define START     0x2000 /* behind the vectors */
#define VECTOR    0x20   /* bytes of each: no two lie closer together */
#define RED_ZONE  288    /* ELFv2, 2.2.2.4 */
#define FRAME     (32 + 8 * 38)

#define HSPRG0 304
#define HSPRG1 305
#define SPRG0  272
#define SPRG1  273
#define HID0   1008

	/* As a big-endian CPU reads it */
	.macro	big word
	.long	((\word) & 0xff) << 24 | ((\word) & 0xff00) << 8 | ((\word) >> 8 & 0xff00) | ((\word) >> 24 & 0xff)
	.endm
	.macro	address reg, x
	lis	\reg, \x@highest
	ori	\reg, \reg, \x@higher
	sldi	\reg, \reg, 32
	oris	\reg, \reg, \x@high
	ori	\reg, \reg, \x@l
	.endm

	.section .text.boot, "ax"
text:
	.org	0x10
	.globl	reset
reset:
	big	0x38800000 | START	/* li r4, START */
	big	0x7c9a03a6		/* mtsrr0 r4 */
	big	0x7ca000a6		/* mfmsr r5 */
	big	0x60a50001		/* ori r5, r5, LE */
	big	0x7cbb03a6		/* mtsrr1 r5 */
	big	0x4c000024		/* rfid */

	.org	0x100
	.rept	(START - 0x100) / VECTOR
	mtspr	HSPRG0, 1
	mflr	1
	mtspr	HSPRG1, 1
	bl	exception
	.balign	VECTOR
	.endr

	.org	START
	mr	31, 3
	mfspr	4, HID0			/* HILE: exceptions are taken little-endian (POWER9 UM, 4.2.4) */
	li	5, 1
	sldi	5, 5, 59
	or	4, 4, 5
	mtspr	HID0, 4
	isync
	address	4, upper
	mtctr	4
	bctr
upper:
	address	2, .TOC.
	address	4, arrived
1:	lwarx	30, 0, 4
	addi	5, 30, 1
	stwcx.	5, 0, 4
	bne	1b
	mtspr	SPRG0, 30
	addi	5, 30, 1
	sldi	5, 5, STACK_LOG
	address	1, stacks
	add	1, 1, 5
	li	0, 0
	stdu	0, -32(1)
	address	4, released
2:	or	31, 31, 31		/* r31 stays; waits more than it runs */
	lwz	5, 0(4)
	cmpw	30, 5
	bgt	2b
	or	2, 2, 2			/* medium again */
	lwsync
	mr	3, 30
	mr	4, 31
	bl	site_boot
	nop

	.text
	.globl	arch_park
arch_park:
1:	or	31, 31, 31
	b	1b

/*
 * r3: the function, r4: where to say what was broken. SPRG1, which nobody else uses, has the stack pointer
 * meanwhile.
 */
	.globl	arch_call
	.type	arch_call, @function
arch_call:
	mflr	0
	std	0, 16(1)
	mfcr	0
	std	0, 8(1)
	stdu	1, -(32 + 160)(1)
	.irp	n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	std	\n, (32 + 8 * (\n - 14))(1)
	li	\n, 0x5a00 + \n
	.endr
	std	4, (32 + 8 * 18)(1)
	mtspr	SPRG1, 1
	mr	12, 3
	mtctr	3
	bctrl
behind:
	li	6, 0
	mflr	4
	bcl	20, 31, 1f
1:	mflr	5
	addi	5, 5, behind - 1b
	cmpd	4, 5
	beq	2f
	ori	6, 6, 4			/* CTL_BROKEN_RETURN */
2:	mfspr	4, SPRG1
	cmpd	4, 1
	beq	3f
	ori	6, 6, 2			/* CTL_BROKEN_SP */
	mr	1, 4
3:	li	7, 0
	.irp	n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	xori	5, \n, 0x5a00 + \n
	or	7, 7, 5
	.endr
	address	5, .TOC.
	xor	5, 5, 2
	or.	7, 7, 5
	beq	4f
	address	2, .TOC.
	ori	6, 6, 1			/* CTL_BROKEN_REGS */
4:	ld	4, (32 + 8 * 18)(1)
	std	6, 0(4)
	.irp	n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	ld	\n, (32 + 8 * (\n - 14))(1)
	.endr
	addi	1, 1, 32 + 160
	ld	0, 8(1)
	mtcrf	0x38, 0			/* CR2 to CR4 are preserved */
	ld	0, 16(1)
	mtlr	0
	blr

/* struct frame of site_arch.c behind the head of a stack frame: r0 to r31, LR, CTR, XER, CR, SRR0, SRR1. */
exception:
	mfspr	1, HSPRG0
	stdu	1, -(FRAME + RED_ZONE)(1)
	.irp	n, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	std	\n, (32 + 8 * \n)(1)
	.endr
	mfspr	5, HSPRG0
	std	5, (32 + 8 * 1)(1)
	mfspr	5, HSPRG1
	std	5, (32 + 8 * 32)(1)
	mfctr	5
	std	5, (32 + 8 * 33)(1)
	mfxer	5
	std	5, (32 + 8 * 34)(1)
	mfcr	5
	std	5, (32 + 8 * 35)(1)
	mfsrr0	5
	std	5, (32 + 8 * 36)(1)
	mfsrr1	5
	std	5, (32 + 8 * 37)(1)
	address	2, .TOC.
	mflr	4
	addi	3, 1, 32
	bl	site_exception
	nop
	ld	5, (32 + 8 * 32)(1)
	mtlr	5
	ld	5, (32 + 8 * 33)(1)
	mtctr	5
	ld	5, (32 + 8 * 34)(1)
	mtxer	5
	ld	5, (32 + 8 * 35)(1)
	mtcr	5
	ld	5, (32 + 8 * 36)(1)
	mtsrr0	5
	ld	5, (32 + 8 * 37)(1)
	mtsrr1	5
	.irp	n, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	ld	\n, (32 + 8 * \n)(1)
	.endr
	ld	1, (32 + 8 * 1)(1)
	rfid

	.bss
	.balign	16
arrived:
	.skip	4
	.globl	released
released:
	.skip	4
	.balign	16
stacks:
	.skip	CPUS << STACK_LOG
