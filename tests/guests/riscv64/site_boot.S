/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The riscv64 site guest for `-M virt` and its SBI: page tables, stacks, vectors, the checked call. Entered
 * in S-mode with translation off and a0 the hart, the first hart by the SBI, the others by HSM hart_start
 * (RISC-V SBI). Sv39: RV priv., "Page-Based 39-bit Virtual-Memory System".
 */
#define STACK_LOG 13
#define CPUS      8
#define FRAME     272 /* struct frame of site_arch.c */

#define RWX       0xcf /* D A X W R V; global ones may stay in a TLB, so none is */
#define RW        0xc7
#define SATP_SV39 8

	.option	norelax
	.section .text.boot, "ax"
	.globl	_start
_start:
	la	t0, boot_hart		/* translation is off: pc-relative is physical */
	addi	t1, t0, 8
	li	t2, 1
	amoswap.w.aq t2, t2, (t1)
	bnez	t2, secondary
	sd	a0, 0(t0)
	li	s1, 0
	j	common
/*
 * The hart gives the number (arch_start has the same sum), not what hart_start was given: OpenSBI stores that
 * a hart is to start before it stores where (sbi_hsm_hart_start), and one that was not waiting yet then
 * comes to the first one's place with the first one's argument.
 */
	.balign	4
	.globl	secondary
secondary:
	la	t0, boot_hart
	ld	t0, 0(t0)
	sltu	t1, a0, t0
	add	s1, a0, t1
common:
	csrw	sie, zero
	la	s2, phys_offset
	ld	s2, 0(s2)
	la	t0, upper
	add	t0, t0, s2
	csrw	stvec, t0		/* a way there too, if fetching from here faults first */
	li	t2, SATP_SV39 << 60
	la	t1, boot_root
	srli	t1, t1, 12
	or	t1, t1, t2
	la	s3, kernel_root
	srli	s3, s3, 12
	or	s3, s3, t2
	sfence.vma
	csrw	satp, t1
	sfence.vma
	jr	t0
	.balign	4
upper:
	csrw	satp, s3		/* and no more identity */
	sfence.vma
	la	t0, vectors
	csrw	stvec, t0
	csrw	sscratch, zero
	fence.i				/* the first CPU has written entries */
	mv	tp, s1
	la	sp, stacks + (1 << STACK_LOG)
	slli	t0, s1, STACK_LOG
	add	sp, sp, t0
	mv	a0, s1
	li	s0, 0
	call	site_main

	.balign	8
	.globl	phys_offset
phys_offset:
	.quad	offset			/* too far from here for an instruction */

	.text
	.globl	arch_park
arch_park:
	csrci	sstatus, 2		/* SIE */
1:	wfi
	j	1b

/*
 * a0: the function, a1: where to say what was broken. sscratch, which nobody else uses, has the stack
 * pointer meanwhile.
 */
	.globl	arch_call
	.type	arch_call, %function
arch_call:
	addi	sp, sp, -128
	sd	ra, 0(sp)
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
	sd	s\n, 8 * (\n + 1)(sp)
	.endr
	sd	a1, 104(sp)
	csrw	sscratch, sp
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
	li	s\n, 0x5a00 + \n
	.endr
	/* What a link that was never made would lead to. */
	li	t0, 0
	li	t1, 0
	li	t2, 0
	jalr	a0
behind:
	li	t3, 0
	la	t4, behind
	beq	t4, ra, 1f
	ori	t3, t3, 4		/* CTL_BROKEN_RETURN */
1:	csrr	t4, sscratch
	beq	t4, sp, 2f
	ori	t3, t3, 2		/* CTL_BROKEN_SP */
	mv	sp, t4
2:	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
	li	t4, 0x5a00 + \n
	beq	t4, s\n, 3f
	ori	t3, t3, 1		/* CTL_BROKEN_REGS */
3:
	.endr
	ld	a1, 104(sp)
	sd	t3, 0(a1)
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
	ld	s\n, 8 * (\n + 1)(sp)
	.endr
	ld	ra, 0(sp)
	addi	sp, sp, 128
	ret

	.balign	4
vectors:
	addi	sp, sp, -FRAME
	.irp	n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	sd	x\n, 8 * \n(sp)
	.endr
	csrr	t0, sepc
	sd	t0, 256(sp)
	mv	a0, sp
	call	site_exception
	ld	t0, 256(sp)
	csrw	sepc, t0
	.irp	n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	ld	x\n, 8 * \n(sp)
	.endr
	addi	sp, sp, FRAME
	sret

/* ffffffff80200000: text, then data. The boot's root has the memory where it is, too. */
	.data
	.balign	4096
boot_root:
	.quad	0, 0, (0x80000000 >> 2) + RWX
	.fill	507, 8, 0
	.quad	kernel_l1_entry, 0
kernel_root:
	.fill	510, 8, 0
	.quad	kernel_l1_entry, 0
kernel_l1:
	.quad	0, (0x80200000 >> 2) + RWX, (0x80400000 >> 2) + RW
	.fill	509, 8, 0
	.globl	kernel_l1
	.globl	boot_hart
boot_hart:
	.quad	0, 0			/* and whether there is one */

	.bss
	.balign	16
stacks:
	.skip	CPUS << STACK_LOG
