/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* ppc64le's half of guest-stub/stub.h. Registers are plain numbers, as the assembler takes them by itself. */
#ifndef VP_GUEST_STUB_PPC64LE_SITE_H
#define VP_GUEST_STUB_PPC64LE_SITE_H

#include "protocol/sites_abi.h"

#define VPATCH_ARCH       VP_SITES_ARCH_PPC64LE
#define VPATCH_SITE_LEN   4
#define VPATCH_FILLER     0x7fe00008 /* tw 31,0,0; Power ISA 3.1, Book I, 3.3.11 */
#define VPATCH_FILLER_LEN 4

#define VPATCH_NOP     nop
#define VPATCH_CALL(f) bl f
#define VPATCH_JUMP(l) b l

#ifdef __ASSEMBLER__

/*
 * Entries, at a function's local entry. r0 is nobody's between functions (ELFv2, 2.2.1.1), and keeps the
 * return address while LR is the call's.
 *
 *	VPATCH_ENTRY        mflr r0; nop      what -fpatchable-function-entry=2 becomes
 *	VPATCH_ENTRY_NOP    nop               what -fpatchable-function-entry=1 is: may become a branch
 *	VPATCH_ENTRY_LITERAL the first, of a function whose literal is the eight bytes ahead of it
 *	VPATCH_ENTRY_LITERAL_ON, the same with its call of dispatcher d; the literal leads behind it
 */
/* clang-format off */
#define VPATCH_ENTRY_RECORD(name, sequence, len) \
	VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, sequence, len, 0, VP_SITE_NO_DISPATCHER)
#define VPATCH_ENTRY(name) \
	771: mflr 0; nop; VPATCH_ENTRY_RECORD(name, VP_SEQ_PPC64_MFLR, 8)
#define VPATCH_ENTRY_NOP(name) \
	771: nop; VPATCH_ENTRY_RECORD(name, VP_SEQ_PPC64_NOP, 4)
/* These stand in place of the function's label; dispatcher: its index in the guest's list. */
#define VPATCH_ENTRY_LITERAL(name, f, rest, dispatcher) \
	.balign 8; .quad rest; f: 771: mflr 0; nop; \
	VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, VP_SEQ_PPC64_MFLR, 8, 771b - 8 - ., dispatcher)
#define VPATCH_ENTRY_LITERAL_ON(name, f, d, dispatcher) \
	.balign 8; .quad 771f + 8; f: 771: mflr 0; bl d; \
	VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, VP_SEQ_PPC64_MFLR, 8, 771b - 8 - ., dispatcher)
/* clang-format on */

#else

/* What a call spoils: ELFv2, 2.2.1; r3 is apart, and r2 stays within an image. */
#define VPATCH_CLOBBERS_GENERAL                                                                   \
	"r0", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "ctr", "xer", "cr0", \
		"cr1", "cr5", "cr6", "cr7", "memory"
#ifdef __ALTIVEC__
#error "the stub is for code without floating point and vectors: -msoft-float -mno-altivec -mno-vsx"
#endif
#define VPATCH_CLOBBERS       VPATCH_CLOBBERS_GENERAL
#define VPATCH_CLOBBERS_VALUE "r3"
/*
 * A function that calls nobody makes no frame, and keeps its return address where whoever it calls puts
 * his (ELFv2, 2.2.2.1). Who asks for the frame's address has one.
 */
#define VPATCH_CALL_IN        : "r"(__builtin_frame_address(0))
/* Argument and result are the same register. */
#define VPATCH_VALUE(v)  register uintptr_t vpatch_value __asm__("r3") = (v)
#define VPATCH_VALUE_OUT "+r"(vpatch_value)

/*
 * Loads the literal eight bytes ahead of the function whose entry called it, and goes on there as if
 * the function's caller had called that: the dispatcher of VPATCH_ENTRY_LITERAL and of functions
 * compiled with -fpatchable-function-entry=4,2 -falign-functions=8. A literal that leads eight bytes
 * behind the function's beginning leaves the function as it is.
 */
void vpatch_ppc64le_dispatch(void);
#define VPATCH_PPC64LE_DISPATCHER                                                                \
	{                                                                                        \
		.at = {(uintptr_t)vpatch_ppc64le_dispatch}, .reach = 0x1fffffc, /* bl: 32 MiB */ \
			.kind = VP_DISPATCHER_POINTER, .reg = 65 /* LR */, .literal_off = -16    \
	}

#endif
#endif
