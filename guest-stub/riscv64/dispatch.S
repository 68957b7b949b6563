/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * t0: behind the entry's `jalr`, eight bytes into the function; ra: the function's own return address,
 * which stays where it is. t2: its jumps need no landing pad (RV unpriv., Zicfilp).
 */
#define REGS   256 /* struct vpatch_riscv64_regs */
#define T1     (6 * 8)
#define USERS  8   /* in struct vpatch_riscv64_ops */

	.option	norelax
	.text
	.balign	16
	.globl	vpatch_riscv64_dispatch
	.type	vpatch_riscv64_dispatch, %function
vpatch_riscv64_dispatch:
	ld	t2, -16(t0)
	jr	t2

	.balign	16
	.globl	vpatch_riscv64_dispatch_ops
	.type	vpatch_riscv64_dispatch_ops, %function
vpatch_riscv64_dispatch_ops:
	ld	t1, -16(t0)
	ld	t2, 0(t1)
	jr	t2

	.type	none, %function
none:
	jr	t0

/*
 *	f -- dispatch_ops -- list
 *	                      |-- save all, t1 as zero
 *	                      |-- run: users, one after the other
 *	                      |     tracer           looks
 *	                      |     direct           t1 = direct caller
 *	                      |     IPMODIFY         t0 = the new function
 *	                      |-- restore all
 *	                      |-- t1 != 0: jr t1 -- direct caller -- jr t0
 *	                      |-- else jr t0
 *
 * The direct caller has a register of its own because it ends in `jr t0` itself: with its address in t0 it
 * would return to itself for ever (Song Shuai, 2022, DYNAMIC_FTRACE_WITH_DIRECT_CALLS for RISC-V). t1 comes
 * with the ops, so what is saved is a zero: no user, no direct caller.
 */
	.balign	16
	.globl	vpatch_riscv64_list
	.type	vpatch_riscv64_list, %function
vpatch_riscv64_list:
	addi	sp, sp, -REGS
	.irp	n, 0, 1, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	sd	x\n, 8 * \n(sp)
	.endr
	addi	t2, sp, REGS
	sd	t2, 16(sp)
	sd	zero, T1(sp)
	ld	a0, USERS(t1)
	mv	a1, sp
	call	vpatch_riscv64_run
	.irp	n, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	ld	x\n, 8 * \n(sp)
	.endr
	addi	sp, sp, REGS
	bnez	t1, 1f
	jr	t0
1:	jr	t1

	.section .rodata.vpatch_riscv64_none, "a"
	.balign	8
	.globl	vpatch_riscv64_none
vpatch_riscv64_none:
	.quad	none, 0
