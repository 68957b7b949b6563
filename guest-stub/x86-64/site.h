/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* x86-64's half of guest-stub/stub.h. A site is five bytes anywhere, across lines and pages too. */
#ifndef VP_GUEST_STUB_X86_64_SITE_H
#define VP_GUEST_STUB_X86_64_SITE_H

#include "protocol/sites_abi.h"

#define VPATCH_ARCH       VP_SITES_ARCH_X86_64
#define VPATCH_SITE_LEN   5
#define VPATCH_FILLER     0xcc /* int3; Intel SDM vol. 2, INT n/INTO/INT3/INT1 */
#define VPATCH_FILLER_LEN 1

/* clang-format off */
/* One instruction, which five of one byte would not be: Intel SDM vol. 2, NOP. */
#define VPATCH_NOP     .byte 0x0f, 0x1f, 0x44, 0x00, 0x00
#define VPATCH_CALL(f) call f
/* The assembler would make it two bytes where it can; Intel SDM vol. 2, JMP. */
#define VPATCH_JUMP(l) .byte 0xe9; .long l - . - 4
/* clang-format on */

#ifdef __ASSEMBLER__

/* At the beginning of a function, behind an endbr64: what -fpatchable-function-entry=5 becomes. */
/* clang-format off */
#define VPATCH_ENTRY(name) \
	771: VPATCH_NOP; VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, VP_SEQ_X86_NOP5, 5, 0, \
				       VP_SITE_NO_DISPATCHER)
/* clang-format on */

#else

/* What a call spoils: psABI (AMD64 Architecture Processor Supplement), 3.2.1; rax and rdi are apart. */
#define VPATCH_CLOBBERS_GENERAL "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory"
#define VPATCH_CLOBBERS_SSE                                                                       \
	"st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "xmm0", "xmm1",      \
		"xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
		"xmm12", "xmm13", "xmm14", "xmm15"
#ifdef __AVX512F__
#define VPATCH_CLOBBERS                                                                            \
	VPATCH_CLOBBERS_GENERAL, VPATCH_CLOBBERS_SSE, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", \
		"xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29",   \
		"xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#elif defined(__SSE__) /* not with -mgeneral-regs-only */
#define VPATCH_CLOBBERS VPATCH_CLOBBERS_GENERAL, VPATCH_CLOBBERS_SSE
#else
#define VPATCH_CLOBBERS VPATCH_CLOBBERS_GENERAL
#endif
#define VPATCH_CLOBBERS_VALUE "rax", "rdi"
/* The nop leaves the value where a call leaves its result, and a call finds it where arguments are. */
#define VPATCH_VALUE(v)                                       \
	register uintptr_t vpatch_value __asm__("rax") = (v); \
	register uintptr_t vpatch_argument __asm__("rdi") = vpatch_value
#define VPATCH_VALUE_OUT "+r"(vpatch_value), "+r"(vpatch_argument)

#endif
#endif
