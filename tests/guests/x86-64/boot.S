/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bare-metal x86-64 guest: from the PVH entry to a loop that calls the patched function and
 * checks each result. Page tables, GDTs, the IDT and TSSes are made by tests/tools/mkguest.c: the
 * less is done here at CPL0 the better, for where KVM itself is nested each such instruction may be
 * emulated. No device is touched but the local APIC.
 *
 * Linked at its kernel address; everything from `run` to `run_end` also runs at CPL3 by its other
 * address, so it jumps relatively and has no address of text in it.
 */
#include "tests/guests/x86-64/ctl.h"

#define PHYS(x)     ((x) - BARE_TEXT + BARE_TEXT_GPA)
#define USER(x)     ((x) - BARE_TEXT + BARE_TEXT_USER)
#define KCPU_GPA    (BARE_DATA_GPA + BARE_KCPU_OFF)
#define ICR         0xfee00300 /* Intel SDM vol. 3A, 11.6.1; above it the destination */
#define SEND_INIT   0xc4500    /* all but self, assert, INIT */
#define SEND_SIPI   0xc4608    /* the same, start-up, vector 8: page 0x8000 */
#define IPI_TURNS   200

	.text
	.globl _start
	.code32
/* The Xen PVH specification: 32-bit flat protected mode, paging off, nothing else is relied on. */
_start:
	cli
	cld
	movl	$PHYS(trampoline), %esi
	movl	$BARE_TRAMPOLINE, %edi
	movl	$(trampoline_end - trampoline) / 4, %ecx
	rep movsl
	lgdtl	PHYS(gdtr)
	ljmpl	$BARE_CS32, $PHYS(flat)

/* Of every CPU. */
flat:
	movl	$BARE_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$BARE_ROOT_GPA, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER: SCE, LME, NXE */
	movl	$0x901, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$0x80010033, %eax	/* PG, WP, NE, ET, MP, PE */
	movl	%eax, %cr0
	ljmpl	$BARE_CS, $PHYS(long_mode)

	.code64
long_mode:
	movabsq	$kernel, %rax
	jmp	*%rax

/* ebp: this CPU's index, r8: its own page of kernel data */
kernel:
	movl	$1, %ebp
	lock xaddl %ebp, BARE_CTL + CTL_NEXT
	cmpl	$BARE_CPUS_MAX, %ebp
	jae	rest
	movl	%ebp, %eax
	shll	$12, %eax
	movq	$(BARE_DATA + BARE_KCPU_OFF), %r8
	addq	%rax, %r8
	lgdt	BARE_KCPU_GDTR(%r8)
	lidt	BARE_KCPU_IDTR(%r8)
	movl	$BARE_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	leaq	BARE_PAGE(%r8), %rsp
	movl	$BARE_TR, %eax
	ltr	%ax
	testl	%ebp, %ebp
	jnz	arrive

	movl	$BARE_MAGIC, BARE_CTL + CTL_MAGIC
1:	pause
	cmpl	$0, BARE_CTL + CTL_GO
	je	1b
	/* Intel SDM vol. 3A, 9.4.4.1: INIT, start-up, start-up. Who runs ignores the second. */
	movl	$ICR, %edx
	movl	$SEND_INIT, (%rdx)
	movl	$IPI_TURNS, %ecx
2:	pause
	decl	%ecx
	jnz	2b
	movl	$SEND_SIPI, (%rdx)
	movl	$IPI_TURNS, %ecx
3:	pause
	decl	%ecx
	jnz	3b
	movl	$SEND_SIPI, (%rdx)

arrive:
	lock incl BARE_CTL + CTL_ARRIVED
	cmpl	BARE_CTL + CTL_BUSY, %ebp
	jae	rest
	movl	%ebp, %ebx
	shll	$12, %ebx
	addl	$(BARE_CTL + BARE_PAGE), %ebx

	/* The functions to call, as offsets in text. */
	movl	$BARE_FUNC_OFF, %eax
	movl	$(BARE_FUNC_OFF + BARE_FUNC_SIZE), %edx
	testl	$BARE_MODE_SITES, BARE_CTL + CTL_MODE
	jz	4f
	movl	BARE_CTL + CTL_SITES_OFF, %eax
	movl	BARE_CTL + CTL_SITES_END, %edx
4:	movq	$BARE_TEXT, %rcx
	cmpl	$0, BARE_CTL + CTL_RING
	je	5f
	movl	$BARE_TEXT_USER, %ecx
5:	addq	%rcx, %rax
	addq	%rcx, %rdx
	movq	%rax, CPU_START(%rbx)
	movq	%rdx, CPU_END(%rbx)
	cmpl	$0, BARE_CTL + CTL_RING
	je	run
	pushq	$BARE_UDS
	leaq	BARE_PAGE(%rbx), %rax
	pushq	%rax
	pushq	$2			/* rflags */
	pushq	$BARE_UCS
	movq	$USER(run), %rax
	pushq	%rax
	iretq

/*
 * rbx: this CPU's struct bare_cpu, r12: iterations, r13: how many of them gave 1, r14: the
 * function to call, r15: the time of the last call, ebp: its result. The number of flips is read
 * before the call: who has read it cannot get an older function than it says.
 */
	.p2align 6
run:
	subq	$24, %rsp		/* flips; and the stack is aligned for the call */
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%ebp, %ebp
	movq	CPU_START(%rbx), %r14
	rdtsc
	shlq	$32, %rdx
	leaq	(%rdx,%rax), %r15

again:
	movl	BARE_CTL + CTL_FLIPS, %eax
	movl	%eax, (%rsp)
	movq	%rbx, %rdi
	call	*%r14
	incq	%r12
	movl	(%rsp), %ecx
	cmpq	$1, %rax
	ja	bad
	addq	%rax, %r13
	movq	%r12, CPU_ITER(%rbx)
	movq	%r12, %rdx
	subq	%r13, %rdx
	cmpq	%r13, CPU_NEW(%rbx)
	jne	lost
	cmpq	%rdx, CPU_OLD(%rbx)
	jne	lost
counted:
	cmpl	%ebp, %eax
	jne	turn
turned:
	xorl	%ecx, %eax
	testb	$1, %al
	jnz	flip
next:
	addq	$BARE_FUNC_SIZE, %r14
	cmpq	CPU_END(%rbx), %r14
	cmoveq	CPU_START(%rbx), %r14
	rdtsc
	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, %rdx
	subq	%r15, %rdx
	movq	%rax, %r15
	movl	BARE_CTL + CTL_EPOCH, %eax
	cmpl	CPU_EPOCH(%rbx), %eax
	jne	forget
	cmpq	CPU_GAP(%rbx), %rdx
	jbe	again
	movq	%rdx, CPU_GAP(%rbx)
	jmp	again

forget:
	movq	$0, CPU_GAP(%rbx)
	movl	%eax, CPU_EPOCH(%rbx)
	jmp	again

turn:
	movl	%eax, %ebp
	incq	CPU_TURNS(%rbx)
	movl	%ebp, CPU_LAST(%rbx)
	jmp	turned

/* ecx: flips as they were before the call, of the other parity than the result in ebp */
flip:
	leal	1(%rcx), %edx
	movl	%ecx, %eax
	lock cmpxchgl %edx, BARE_CTL + CTL_FLIPS
	je	next
	/* Another CPU has seen it first, or this result is older than what that one saw. */
	xorl	%ebp, %eax
	testb	$1, %al
	jz	next
	movl	%ebp, %eax
	jmp	impossible

/* No function gives that. Its counts are not looked at. */
bad:
	movq	%r12, CPU_ITER(%rbx)
	movq	%r13, CPU_NEW(%rbx)
	movq	%r12, %rdx
	subq	%r13, %rdx
	movq	%rdx, CPU_OLD(%rbx)
impossible:
	cmpq	$0, CPU_BAD(%rbx)
	jne	1f
	movq	%rax, CPU_BAD_VALUE(%rbx)
	movq	%rcx, CPU_BAD_FLIPS(%rbx)
	movq	%r12, CPU_BAD_ITER(%rbx)
1:	incq	CPU_BAD(%rbx)
	jmp	next

/* A call that counted nothing, twice, or in the other function's place. rdx: the old's count */
lost:
	cmpq	$0, CPU_LOST(%rbx)
	jne	1f
	movq	CPU_OLD(%rbx), %rsi
	movq	%rsi, CPU_LOST_OLD(%rbx)
	movq	CPU_NEW(%rbx), %rsi
	movq	%rsi, CPU_LOST_NEW(%rbx)
	movq	%r12, CPU_LOST_ITER(%rbx)
1:	incq	CPU_LOST(%rbx)
	movq	%r13, CPU_NEW(%rbx)
	movq	%rdx, CPU_OLD(%rbx)
	jmp	counted
run_end:

rest:
	cli
	hlt
	jmp	rest

/* --- exceptions: the first is recorded, each ends its CPU ----------------------------------------- */

/* On the stack: vector, error code, rip, cs, rflags, rsp, ss. The stack is in the CPU's own page. */
fault:
	movl	$1, %eax
	lock xaddl %eax, BARE_CTL + CTL_FAULTS
	testl	%eax, %eax
	jnz	rest
	movq	%rsp, %rcx
	movq	$(BARE_DATA + BARE_KCPU_OFF), %rdx
	subq	%rdx, %rcx
	shrq	$12, %rcx
	movl	%ecx, BARE_CTL + CTL_FAULT_CPU
	shll	$12, %ecx
	addl	$(BARE_CTL + BARE_PAGE), %ecx
	movq	CPU_ITER(%rcx), %rax
	movq	%rax, BARE_CTL + CTL_FAULT_ITER
	movq	%cr2, %rax
	movq	%rax, BARE_CTL + CTL_FAULT_CR2
	movq	8(%rsp), %rax
	movq	%rax, BARE_CTL + CTL_FAULT_ERR
	movq	16(%rsp), %rax
	movq	%rax, BARE_CTL + CTL_FAULT_RIP
	movq	24(%rsp), %rax
	movq	%rax, BARE_CTL + CTL_FAULT_CS
	movq	40(%rsp), %rax
	movq	%rax, BARE_CTL + CTL_FAULT_RSP
	movq	(%rsp), %rax
	movq	%rax, BARE_CTL + CTL_FAULT_VEC
	jmp	rest

/* --- where the other CPUs start: 16-bit, at BARE_TRAMPOLINE ------------------------------------- */

	.code16
	.p2align 2
trampoline:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	gdtr - trampoline
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$BARE_CS32, $PHYS(flat)
	.p2align 2
gdtr:
	.word	BARE_GDTLEN - 1
	.long	KCPU_GPA
	.p2align 2
trampoline_end:

/* --- 16 bytes a vector ------------------------------------------------------------------------- */

	.code64
	.org	BARE_VECTORS_OFF
	.set	vector, 0
	.rept	BARE_VECTORS
	.p2align 4
	.if vector == 2
	iretq				/* an NMI is nothing */
	.else
	/* Those that push an error code themselves: Intel SDM vol. 3A, table 6-1. */
	.if (0x60227d00 >> vector) & 1
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	fault
	.endif
	.set	vector, vector + 1
	.endr
