/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * riscv64's half of guest-stub/stub.h. A site is one uncompressed instruction at a multiple of four, which
 * is fetched as a whole (RISC-V Profiles, Ziccif): with C, code before it may have to be filled up by two
 * bytes, and the label that the record takes stands behind them.
 */
#ifndef VP_GUEST_STUB_RISCV64_SITE_H
#define VP_GUEST_STUB_RISCV64_SITE_H

#include "protocol/sites_abi.h"

#define VPATCH_ARCH       VP_SITES_ARCH_RISCV64
#define VPATCH_SITE_LEN   4
#define VPATCH_FILLER     0x00100073 /* ebreak; RV unpriv. 2.8 */
#define VPATCH_FILLER_LEN 4

/* clang-format off */
#define VPATCH_WORD(insn) \
	.balign 4; 771: .option push; .option norvc; .option norelax; insn; .option pop
/* clang-format on */
#define VPATCH_NOP     VPATCH_WORD(nop)
#define VPATCH_CALL(f) VPATCH_WORD(jal f)
#define VPATCH_JUMP(l) VPATCH_WORD(j l)

/* A function's literal lies in a line of caches of its own: data that changes and is loaded, ahead of the
 * text that is fetched. */
#define VPATCH_LINE 64

#ifdef __ASSEMBLER__

/*
 * Entries. t0 is the link: the psABI's alternate link register, nobody's between functions (psABI, Register
 * Convention), so ra arrives as the caller left it. All but the first stand in place of the function's
 * label; dispatcher is the index of d in the guest's list. At rest a literal leads behind its entry, and
 * the function is as it was even for whoever is in the dispatcher already.
 *
 *	VPATCH_ENTRY     nop; nop                 one jump in place of the first; both are Linux's old pair
 *	VPATCH_ENTRY_A   auipc t0; nop            nop <-> jalr t0 to d, which may be 2 GiB off
 *	VPATCH_ENTRY_B   nop                      nop <-> jal t0 to d, which may be 1 MiB off
 *	VPATCH_ENTRY_C   nop                      nop <-> jal t0 to d, a dispatcher of its own, made here
 *	..._ON                                    the same with the jump in place; only the literal changes
 *	VPATCH_ENTRY_OPS, _ON                     A, through a literal that leads to a struct vpatch_riscv64_ops
 *	VPATCH_DISPATCHER_NEAR(d)                 a dispatcher of B, to be strewn over the text
 */
/* clang-format off */
#define VPATCH_FIXED .option push; .option norvc; .option norelax
#define VPATCH_ENTRY_RECORD(name, sequence, len, literal, dispatcher) \
	VPATCH_RECORD(#name, 771b, VP_SITE_FUNCTION, sequence, len, literal, dispatcher)
#define VPATCH_ENTRY(name) \
	VPATCH_WORD(nop; nop); VPATCH_ENTRY_RECORD(name, VP_SEQ_RISCV_PAIR, 8, 0, VP_SITE_NO_DISPATCHER)
/* Filled up by zeros, which are no instruction (RV unpriv. 1.5): nothing else is in the literal's line. */
#define VPATCH_ENTRY_LITERAL(f, rest, ...) \
	.balign VPATCH_LINE; VPATCH_FIXED; .skip VPATCH_LINE - 8; .quad rest; f: 771: __VA_ARGS__; .option pop
#define VPATCH_ENTRY_AUIPC(name, f, d, dispatcher, rest, ...) \
	VPATCH_ENTRY_LITERAL(f, rest, auipc t0, %pcrel_hi(d); __VA_ARGS__); \
	VPATCH_ENTRY_RECORD(name, VP_SEQ_RISCV_OPS_A, 8, 771b - 8 - ., dispatcher)
#define VPATCH_ENTRY_JALR jalr t0, %pcrel_lo(771b)(t0)
#define VPATCH_ENTRY_A(name, f, d, dispatcher) \
	VPATCH_ENTRY_AUIPC(name, f, d, dispatcher, 771f + 8, nop)
#define VPATCH_ENTRY_A_ON(name, f, d, dispatcher) \
	VPATCH_ENTRY_AUIPC(name, f, d, dispatcher, 771f + 8, VPATCH_ENTRY_JALR)
#define VPATCH_ENTRY_OPS(name, f, dispatcher) \
	VPATCH_ENTRY_AUIPC(name, f, vpatch_riscv64_dispatch_ops, dispatcher, vpatch_riscv64_none, nop)
#define VPATCH_ENTRY_OPS_ON(name, f, dispatcher) \
	VPATCH_ENTRY_AUIPC(name, f, vpatch_riscv64_dispatch_ops, dispatcher, vpatch_riscv64_none, \
			   VPATCH_ENTRY_JALR)
#define VPATCH_ENTRY_JAL(name, f, dispatcher, ...) \
	VPATCH_ENTRY_LITERAL(f, 771f + 4, __VA_ARGS__); \
	VPATCH_ENTRY_RECORD(name, VP_SEQ_RISCV_OPS_B, 4, 771b - 8 - ., dispatcher)
#define VPATCH_ENTRY_B(name, f, dispatcher)       VPATCH_ENTRY_JAL(name, f, dispatcher, nop)
#define VPATCH_ENTRY_B_ON(name, f, d, dispatcher) VPATCH_ENTRY_JAL(name, f, dispatcher, jal t0, d)
/* The dispatcher begins the line of the function, eight bytes behind the literal and ahead of it. */
#define VPATCH_ENTRY_OWN(name, f, d, dispatcher, ...) \
	VPATCH_ENTRY_LITERAL(d, 772f + 4, ld t2, -20(t0); jr t2); \
	VPATCH_FIXED; f: 772: 771: __VA_ARGS__; .option pop; \
	VPATCH_ENTRY_RECORD(name, VP_SEQ_RISCV_OPS_C, 4, 771b - 16 - ., dispatcher)
#define VPATCH_ENTRY_C(name, f, d, dispatcher)    VPATCH_ENTRY_OWN(name, f, d, dispatcher, nop)
#define VPATCH_ENTRY_C_ON(name, f, d, dispatcher) VPATCH_ENTRY_OWN(name, f, d, dispatcher, jal t0, d)
/* Through t2: of all temporaries its jumps alone need no landing pad (RV unpriv., Zicfilp). */
#define VPATCH_DISPATCHER_NEAR(d) .balign 8; VPATCH_FIXED; .globl d; d: ld t2, -12(t0); jr t2; .option pop
/* clang-format on */

#else

#include "protocol/int.h"

/* What a call spoils: psABI, Register Convention; a0 is apart. */
#define VPATCH_CLOBBERS_GENERAL                                                                   \
	"ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a1", "a2", "a3", "a4", "a5", "a6", "a7", \
		"memory"
#define VPATCH_CLOBBERS_FLOAT                                                                 \
	"ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "ft8", "ft9", "ft10", "ft11", \
		"fa0", "fa1", "fa2", "fa3", "fa4", "fa5", "fa6", "fa7"
#if !defined(__riscv_flen)
#define VPATCH_CLOBBERS VPATCH_CLOBBERS_GENERAL
#elif defined(__riscv_float_abi_soft) /* there no call preserves one of them */
#define VPATCH_CLOBBERS                                                                           \
	VPATCH_CLOBBERS_GENERAL, VPATCH_CLOBBERS_FLOAT, "fs0", "fs1", "fs2", "fs3", "fs4", "fs5", \
		"fs6", "fs7", "fs8", "fs9", "fs10", "fs11"
#else
#define VPATCH_CLOBBERS VPATCH_CLOBBERS_GENERAL, VPATCH_CLOBBERS_FLOAT
#endif
#define VPATCH_CLOBBERS_VALUE "a0"
/* Argument and result are the same register. */
#define VPATCH_VALUE(v)       register uintptr_t vpatch_value __asm__("a0") = (v)
#define VPATCH_VALUE_OUT      "+r"(vpatch_value)

/*
 * Loads the literal eight bytes ahead of the function whose entry called it, and goes on there as if the
 * function's caller had called that: the dispatcher of VPATCH_ENTRY_A, and of functions compiled with
 * -fpatchable-function-entry=36,32 -falign-functions=64 (without C: 18,16). Must be the guest's first.
 */
void vpatch_riscv64_dispatch(void);
/* The same where the literal leads to a struct vpatch_riscv64_ops: it comes in t1. */
void vpatch_riscv64_dispatch_ops(void);

#define VPATCH_RISCV64_DWARF_T0 5
#define VPATCH_RISCV64_ROW(d, reach_, kind_, off)                                       \
	{                                                                               \
		.at = {(uintptr_t)(d)}, .reach = reach_, .kind = VP_DISPATCHER_##kind_, \
		.reg = VPATCH_RISCV64_DWARF_T0, .literal_off = off                      \
	}
/* AUIPC and JALR: 2 GiB; JAL: 1 MiB */
#define VPATCH_RISCV64_DISPATCHER \
	VPATCH_RISCV64_ROW(vpatch_riscv64_dispatch, 0x7ffff000, POINTER, -16)
#define VPATCH_RISCV64_DISPATCHER_OPS \
	VPATCH_RISCV64_ROW(vpatch_riscv64_dispatch_ops, 0x7ffff000, OPS, -16)
#define VPATCH_RISCV64_DISPATCHER_NEAR(d) VPATCH_RISCV64_ROW(d, 0xffffe, POINTER, -12)
#define VPATCH_RISCV64_DISPATCHER_OWN(d)  VPATCH_RISCV64_ROW(d, 0xffffe, POINTER, -20)

/*
 * Several users of one entry: a tracer, a direct caller and one that changes where the function goes on may
 * have it at once. The list is published by a store of the literal, and neither it nor a user is changed
 * while it is reached.
 */
struct vpatch_riscv64_regs {
	uintptr_t x[32]; /* 0: zero; 2 to 4, sp, gp and tp, are for reading: the rest goes back */
};
/* Where the function goes on, for the users that change that. */
#define VPATCH_RISCV64_T0                 5
/* Zero when the first user runs; a direct caller's address goes here. */
#define VPATCH_RISCV64_T1                 6

struct vpatch_riscv64_user {
	const struct vpatch_riscv64_user *next;
	void (*func)(const struct vpatch_riscv64_user *user, struct vpatch_riscv64_regs *regs);
	uintptr_t to; /* for func */
};

struct vpatch_riscv64_ops {
	void (*call)(void); /* what the dispatcher goes to */
	const struct vpatch_riscv64_user *users;
};

/* For `call`: every user in turn, then the direct caller where there is one, which returns by t0; else
 * what t0 says. Users keep to the integer registers. */
void vpatch_riscv64_list(void);
/* Where the literal leads at rest: nobody. */
extern const struct vpatch_riscv64_ops vpatch_riscv64_none;
/* For `func`. `to` is entered as the function was, with t0 behind its entry, and returns there by t0. One
 * in a list: the last one has it. */
void vpatch_riscv64_direct(const struct vpatch_riscv64_user *user,
			   struct vpatch_riscv64_regs *regs);
/* The function goes on at `to`, as if that had been called. */
void vpatch_riscv64_replace(const struct vpatch_riscv64_user *user,
			    struct vpatch_riscv64_regs *regs);

#endif
#endif
