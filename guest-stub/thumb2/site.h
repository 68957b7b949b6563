/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Thumb-2's half of guest-stub/stub.h. No `#` in the text: it is a macro's; A32 code has no sites. */
#ifndef VP_GUEST_STUB_THUMB2_SITE_H
#define VP_GUEST_STUB_THUMB2_SITE_H

#include "protocol/sites_abi.h"

#define VPATCH_ARCH       VP_SITES_ARCH_THUMB2
#define VPATCH_SITE_LEN   4
#define VPATCH_FILLER     0xdeff /* udf 255; Armv7-A ARM (DDI 0406C) A8.8.247 */
#define VPATCH_FILLER_LEN 2

/*
 * What does nothing is a 16-bit branch over the second half of a BL, and not a wide nop: the branch and
 * the first half of BL may become each other under running CPUs (A3.5.4), so such a site needs no stop.
 */
#define VPATCH_NOP      \
	.inst.n 0xe000; \
	.inst.n 0xf800 /* b.n, over it; A8.8.18, A8.8.25 */
#define VPATCH_CALL(f) bl f
#define VPATCH_JUMP(l) b.w l

#ifdef __ASSEMBLER__

/* clang-format off */
#define VPATCH_ENTRY_RECORD(name, sequence, len) \
	VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, sequence, len, 0, VP_SITE_NO_DISPATCHER)
/* At the beginning of a function: what -fpatchable-function-entry=2 becomes. May become a branch. */
#define VPATCH_ENTRY(name) \
	771: nop.w; VPATCH_ENTRY_RECORD(name, VP_SEQ_THUMB_WIDE, 4)
/* clang-format on */

#else

/* What a call spoils: AAPCS32, 6.1.1; r0 is apart. */
#define VPATCH_CLOBBERS "r1", "r2", "r3", "r12", "lr", "cc", "memory"
#ifdef __ARM_FP
#error "the stub is for code without floating point: -mfloat-abi=soft"
#endif
#define VPATCH_CLOBBERS_VALUE "r0"
/* Argument and result are the same register. */
#define VPATCH_VALUE(v)       register uintptr_t vpatch_value __asm__("r0") = (v)
#define VPATCH_VALUE_OUT      "+r"(vpatch_value)

#endif
#endif
