/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * x30: behind the entry's `bl`, eight bytes into the function; x9: the function's own return address.
 * x16 is the linker's between functions (AAPCS64, 6.1.1), and a branch by it may land on a BTI C.
 */
	.text
	.globl	vpatch_arm64_dispatch
	.type	vpatch_arm64_dispatch, %function
	.balign	16
vpatch_arm64_dispatch:
	ldr	x16, [x30, -16]
	mov	x30, x9
	br	x16
	.size	vpatch_arm64_dispatch, . - vpatch_arm64_dispatch
