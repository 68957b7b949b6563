/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In place of version_proc_show(struct seq_file *m, void *v): says something else. SEQ_PUTS is the
 * address of seq_puts(m, text) in the guest at hand. */
#if defined(__x86_64__)
	sub	$8, %rsp
	lea	text(%rip), %rsi
	movabs	$SEQ_PUTS, %rax
	call	*%rax
	xor	%eax, %eax
	add	$8, %rsp
	ret
#elif defined(__aarch64__)
	stp	x29, x30, [sp, #-16]!
	mov	x29, sp
	adr	x1, text
	ldr	x16, =SEQ_PUTS
	blr	x16
	mov	w0, #0
	ldp	x29, x30, [sp], #16
	ret
	.ltorg
#elif defined(__riscv)
	addi	sp, sp, -16
	sd	ra, 8(sp)
	lla	a1, text
	ld	t1, seq_puts
	jalr	t1
	li	a0, 0
	ld	ra, 8(sp)
	addi	sp, sp, 16
	ret
	.balign	8
seq_puts:
	.quad	SEQ_PUTS
#endif
text:
	.string	"switched by a literal\n"
	.balign	8
