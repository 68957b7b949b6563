/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * LR: behind the entry's `bl`, eight bytes into the function; r0: the function's own return address.
 * r12 and CTR are the linker's between functions (ELFv2, 2.2.1.1), and a function that is entered from
 * elsewhere finds its own address in r12 (2.3.2.1).
 */
	.text
	.globl	vpatch_ppc64le_dispatch
	.type	vpatch_ppc64le_dispatch, %function
	.balign	16
vpatch_ppc64le_dispatch:
	mflr	12
	ld	12, -16(12)
	mtlr	0
	mtctr	12
	bctr
	.size	vpatch_ppc64le_dispatch, . - vpatch_ppc64le_dispatch
