/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The x86-64 site guest: from the PVH entry, and for the other CPUs from SIPI, to site_boot; exceptions;
 * the checked call. The CPUs call their probes at CPL3, where they run natively even if KVM itself is
 * nested: text is executable there and writable nowhere, and the trap handler is at CPL0. So the functions
 * with the sites lie in user pages, which a host that patches kernels may refuse; this one's host has the
 * sites from the probes. Table, records and page tables are the kernel's alone.
 *
 *	ffffffff81000000  1000000  text, 4 KiB pages   user: reads, executes
 *	ffffffff81200000  1200000  the kernel's data   reads, writes
 *	ffffffff81400000  1400000  data, stacks        user: reads, writes
 *
 * Numbers of registers and descriptors: Intel SDM vol. 3A, 2.5, 3.4.5, 4.5; of exceptions, table 6-1.
 */
#include "tests/guests/x86-64/site_boot.h"

#define PHYS(x) ((x) - 0xffffffff80000000)
#define USER    7 /* present, writable, user */
#define LARGE   0x80
#define NX      0x8000000000000000
#define WP      0x10000

/* The Xen PVH specification, XEN_ELFNOTE_PHYS32_ENTRY */
	.section .note.Xen, "a", @note
	.balign	4
	.long	4, 8, 18
	.asciz	"Xen"
	.quad	entry_phys

	.section .text.boot, "ax"
	.globl	_start
	.code32
_start:
	cli
	cld
	movl	$PHYS(trampoline), %esi
	movl	$SITE_TRAMPOLINE, %edi
	movl	$(trampoline_end - trampoline) / 4, %ecx
	rep movsl
	lgdtl	PHYS(gdtr)
	ljmpl	$SITE_CS32, $PHYS(flat)

/* Of every CPU. Text may be written yet. */
flat:
	movl	$SITE_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$PHYS(pml4), %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER: LME, NXE */
	movl	$0x900, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$0x80000033, %eax	/* PG, NE, ET, MP, PE */
	movl	%eax, %cr0
	ljmpl	$SITE_CS, $PHYS(long_mode)

	.code64
long_mode:
	movabsq	$upper, %rax
	jmp	*%rax
upper:
	movl	$1, %edi
	lock xaddl %edi, arrived
	cmpl	$SITE_CPUS, %edi
	jae	arch_park
1:	pause
	cmpl	starting, %edi
	ja	1b
	movl	%edi, %eax
	shll	$SITE_STACK_LOG, %eax
	leaq	stacks + SITE_STACK_SIZE(%rax), %rsp
	xorl	%ebp, %ebp
	call	site_boot

	.text
	.globl	arch_park
arch_park:
	cli
1:	hlt
	jmp	1b

/*
 * rdi: the function, rsi: where to say what was broken. The first call takes its CPU to CPL3, for good,
 * and from there on nobody in the guest can write text. The stack pointer is kept at the stack's lower end,
 * which is found by the one that came back.
 */
	.globl	arch_call
	.type	arch_call, @function
arch_call:
	movl	%cs, %eax
	testb	$3, %al
	jnz	1f
	movq	%cr0, %rax
	orl	$WP, %eax
	movq	%rax, %cr0
	movq	%rsp, %rax
	pushq	$SITE_UDS
	pushq	%rax
	pushq	$2			/* rflags */
	pushq	$SITE_UCS
	leaq	1f(%rip), %rax
	pushq	%rax
	iretq
1:	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	%rsi
	movq	%rsp, %rax
	andq	$-SITE_STACK_SIZE, %rax
	movq	%rsp, (%rax)
	movl	$0x5a0b, %ebx
	movl	$0x5a05, %ebp
	movl	$0x5a0c, %r12d
	movl	$0x5a0d, %r13d
	movl	$0x5a0e, %r14d
	movl	$0x5a0f, %r15d
	call	*%rdi
	xorl	%ecx, %ecx
	movq	%rsp, %rdx
	andq	$-SITE_STACK_SIZE, %rdx
	cmpq	%rsp, (%rdx)
	je	2f
	orl	$2, %ecx		/* CTL_BROKEN_SP */
	movq	(%rdx), %rsp
2:	xorq	$0x5a0b, %rbx
	xorq	$0x5a05, %rbp
	xorq	$0x5a0c, %r12
	xorq	$0x5a0d, %r13
	xorq	$0x5a0e, %r14
	xorq	$0x5a0f, %r15
	orq	%rbp, %rbx
	orq	%r12, %rbx
	orq	%r13, %rbx
	orq	%r14, %rbx
	orq	%r15, %rbx
	jz	3f
	orl	$1, %ecx		/* CTL_BROKEN_REGS */
3:	popq	%rsi
	movq	%rcx, (%rsi)
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

/* struct frame of site_arch.c */
exception:
	.irp	r, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	pushq	%\r
	.endr
	movq	%rsp, %rdi
	movq	%rsp, %rbx
	andq	$-16, %rsp
	cld
	call	site_exception
	movq	%rbx, %rsp
	.irp	r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
	popq	%\r
	.endr
	addq	$16, %rsp
	iretq

	.balign	SITE_VECTOR_LEN
	.globl	vectors
vectors:
	.set	vector, 0
	.rept	SITE_VECTORS
	.balign	SITE_VECTOR_LEN
	/* Those that push an error code themselves. */
	.if ((0x60227d00 >> vector) & 1) == 0
	pushq	$0
	.endif
	pushq	$vector
	jmp	exception
	.set	vector, vector + 1
	.endr

/* Where the other CPUs start: 16-bit, at SITE_TRAMPOLINE. */
	.code16
	.balign	4
trampoline:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	gdtr - trampoline
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$SITE_CS32, $PHYS(flat)
	.balign	4
gdtr:
	.word	SITE_GDTLEN - 1
	.long	PHYS(gdt)
	.balign	4
trampoline_end:

	.section .data.kernel_tables, "aw"
	.balign	4096
pml4:
	.quad	PHYS(low_pdpt) + 3
	.fill	510, 8, 0
	.quad	PHYS(high_pdpt) + USER
low_pdpt:
	.quad	PHYS(low_pd) + 3, 0, 0, PHYS(apic_pd) + 3
	.fill	508, 8, 0
low_pd:					/* the first 32 MiB as they are */
	.set	n, 0
	.rept	16
	.quad	n + LARGE + 3
	.set	n, n + 0x200000
	.endr
	.fill	496, 8, 0
apic_pd:
	.fill	503, 8, 0
	.quad	0xfee00000 + LARGE + 0x1b	/* not cached */
	.fill	8, 8, 0
high_pdpt:
	.fill	510, 8, 0
	.quad	PHYS(high_pd) + USER, 0
high_pd:
	.fill	8, 8, 0
	.quad	PHYS(text_pt) + USER
	.quad	NX + 0x1200000 + LARGE + 3
	.quad	NX + 0x1400000 + LARGE + USER
	.fill	501, 8, 0
text_pt:
	.set	n, 0x1000000
	.rept	512
	.quad	n + 5			/* present, user */
	.set	n, n + 0x1000
	.endr

	.globl	gdt, starting
gdt:	.quad	0, 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff
	.quad	0, 0x00cff3000000ffff, 0x00affb000000ffff, 0
	.fill	2 * SITE_CPUS, 8, 0
starting:
	.long	0
arrived:
	.long	0

	.section .bss.kernel_stacks, "aw", @nobits
	.balign	SITE_STACK_SIZE
	.globl	kernel_stacks, stacks
kernel_stacks:
	.skip	SITE_CPUS << SITE_STACK_LOG

	.bss
	.balign	SITE_STACK_SIZE
stacks:
	.skip	SITE_CPUS << SITE_STACK_LOG
