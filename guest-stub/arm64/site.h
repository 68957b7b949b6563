/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* arm64's half of guest-stub/stub.h. No `#` in the text: it is a macro's, and A64 does without. */
#ifndef VP_GUEST_STUB_ARM64_SITE_H
#define VP_GUEST_STUB_ARM64_SITE_H

#include "protocol/sites_abi.h"

#define VPATCH_ARCH       VP_SITES_ARCH_ARM64
#define VPATCH_SITE_LEN   4
#define VPATCH_FILLER     0xd4202000 /* brk 0x100; Arm ARM (DDI 0487) C6.2.40 */
#define VPATCH_FILLER_LEN 4

#define VPATCH_NOP     nop
#define VPATCH_CALL(f) bl f
#define VPATCH_JUMP(l) b l

#ifdef __ASSEMBLER__

/*
 * Entries, at the beginning of a function. x9 is nobody's between functions (AAPCS64, 6.1.1), and
 * keeps the return address while x30 is the call's.
 *
 *	VPATCH_ENTRY        mov x9, x30; nop              what -fpatchable-function-entry=2 becomes
 *	VPATCH_ENTRY_THREE  mov x9, x30; nop; mov x30, x9 the call may be of an ordinary function
 *	VPATCH_ENTRY_FOUR   b 1f; mov x29, sp; bl f; ldp x29, x30, [sp], 16; 1:
 *	VPATCH_ENTRY_FOUR_ON, the same with its call: a push of both for the branch
 *	VPATCH_ENTRY_LITERAL the first, of a function whose literal is the eight bytes ahead of it
 *	VPATCH_ENTRY_LITERAL_ON, the same with its call of dispatcher d; the literal leads behind it
 */
/* clang-format off */
#define VPATCH_ENTRY_RECORD(name, sequence, len) \
	VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, sequence, len, 0, VP_SITE_NO_DISPATCHER)
#define VPATCH_ENTRY(name) \
	771: mov x9, x30; nop; VPATCH_ENTRY_RECORD(name, VP_SEQ_ARM64_TWO, 8)
#define VPATCH_ENTRY_THREE(name) \
	771: mov x9, x30; nop; mov x30, x9; VPATCH_ENTRY_RECORD(name, VP_SEQ_ARM64_THREE, 12)
#define VPATCH_ENTRY_FOUR(name, f) \
	771: b 772f; mov x29, sp; bl f; ldp x29, x30, [sp], 16; \
	772: VPATCH_ENTRY_RECORD(name, VP_SEQ_ARM64_FOUR, 16)
#define VPATCH_ENTRY_PUSH .inst 0xa9bf7bfd /* stp x29, x30, [sp, #-16]!; DDI 0487 C6.2, STP */
#define VPATCH_ENTRY_FOUR_ON(name, f) \
	771: VPATCH_ENTRY_PUSH; mov x29, sp; bl f; ldp x29, x30, [sp], 16; \
	VPATCH_ENTRY_RECORD(name, VP_SEQ_ARM64_FOUR, 16)
/* These stand in place of the function's label; dispatcher: its index in the guest's list. */
#define VPATCH_ENTRY_LITERAL(name, f, rest, dispatcher) \
	.balign 8; .quad rest; f: 771: mov x9, x30; nop; \
	VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, VP_SEQ_ARM64_TWO, 8, 771b - 8 - ., dispatcher)
#define VPATCH_ENTRY_LITERAL_ON(name, f, d, dispatcher) \
	.balign 8; .quad 771f + 8; f: 771: mov x9, x30; bl d; \
	VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, VP_SEQ_ARM64_TWO, 8, 771b - 8 - ., dispatcher)
/* clang-format on */

#else

/* What a call spoils: AAPCS64, 6.1; x0 is apart. */
#define VPATCH_CLOBBERS_GENERAL                                                                  \
	"x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", \
		"x15", "x16", "x17", "x18", "x30", "cc", "memory"
#ifdef __ARM_FP /* not with -mgeneral-regs-only */
#define VPATCH_CLOBBERS                                                                      \
	VPATCH_CLOBBERS_GENERAL, "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", \
		"v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", \
		"v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
#else
#define VPATCH_CLOBBERS VPATCH_CLOBBERS_GENERAL
#endif
#define VPATCH_CLOBBERS_VALUE "x0"
/* Argument and result are the same register. */
#define VPATCH_VALUE(v)       register uintptr_t vpatch_value __asm__("x0") = (v)
#define VPATCH_VALUE_OUT      "+r"(vpatch_value)

/*
 * Loads the literal eight bytes ahead of the function whose entry called it, and goes on there as if
 * the function's caller had called that: the dispatcher of VPATCH_ENTRY_LITERAL and of functions
 * compiled with -fpatchable-function-entry=4,2 -falign-functions=8. A literal that leads eight bytes
 * behind the function's beginning leaves the function as it is.
 */
void vpatch_arm64_dispatch(void);
#define VPATCH_ARM64_DISPATCHER                                                                 \
	{                                                                                       \
		.at = {(uintptr_t)vpatch_arm64_dispatch}, .reach = 0x7fffffc, /* BL: 128 MiB */ \
			.kind = VP_DISPATCHER_POINTER, .reg = 30, .literal_off = -16            \
	}

#endif
#endif
