/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * For guests that are not Linux: bare metal, unikernels, real-time kernels. Included from C and from
 * assembly. It marks the places in the guest's text that a host may change, and announces them in the
 * site table (docs/abi.md). guest-stub/README.md shows how to use it.
 *
 *	in the text                                     in C      in assembly
 *	VPATCH_SITE(name)              nop, may call     yes       yes
 *	VPATCH_SITE_VALUE(name, v)     the same, and the call gets v and gives another one
 *	VPATCH_SITE_CALL_OF(name, f)   rests as a call   yes       yes
 *	VPATCH_SITE_MAY_GOTO(name, l)  nop, may branch   asm goto  VPATCH_SITE is the same
 *	VPATCH_SITE_GOTO(name, l)      rests as a branch asm goto  yes
 *	VPATCH_ENTRY(name)             function's entry  compiler  yes
 *	VPATCH_FUNCTION(f)             names the entry that -fpatchable-function-entry made of f
 *
 * Each writes a record into section vpatch_sites. The sections' names are C identifiers, so the linker
 * gives their ends (__start_, __stop_) and a linker script of one's own need not know of them. A record's
 * addresses count from themselves: nothing is left to relocate at run time.
 *
 *	+0   s32  the site, from here               +12  u8   kind
 *	+4   s32  its literal, from here; 0: none   +13  u8   sequence
 *	+8   s32  its name, from here               +14  u8   length; 0: an entry for the stub to look at
 *	                                            +16  u16  dispatcher
 */
#ifndef VP_GUEST_STUB_STUB_H
#define VP_GUEST_STUB_STUB_H

#include "protocol/sites_abi.h"

/* What a site is made of: each guest-stub/ARCH/site.h defines the same names; README.md lists them. */
#if defined(__aarch64__)
#define VPATCH_SITE_H "guest-stub/arm64/site.h"
#elif defined(__x86_64__)
#define VPATCH_SITE_H "guest-stub/x86-64/site.h"
#elif defined(__riscv)
#define VPATCH_SITE_H "guest-stub/riscv64/site.h"
#elif defined(__thumb2__)
#define VPATCH_SITE_H "guest-stub/thumb2/site.h"
#elif defined(__powerpc64__)
#define VPATCH_SITE_H "guest-stub/ppc64le/site.h"
#else
#error "vpatch has no stub for this architecture"
#endif
#include VPATCH_SITE_H

#define VPATCH_RECORD_LEN 20

/* The text is the assembler's in both languages; a separator is a semicolon everywhere. literal: 0, or
 * an address minus the dot. */
/* clang-format off */
#define VPATCH_RECORD(name, at, kind, sequence, len, literal, dispatcher) \
	.pushsection vpatch_names, "a"; 773: .asciz name; .popsection; \
	.pushsection vpatch_sites, "a"; .balign 4; \
	.long at - .; .long literal; .long 773b - .; .byte kind, sequence, len, 0; \
	.short dispatcher, 0; .popsection
#define VPATCH_TEXT(name, insn, kind) \
	771: insn; VPATCH_RECORD(name, 771b, kind, 0, VPATCH_SITE_LEN, 0, VP_SITE_NO_DISPATCHER)
#define VPATCH_ARENA_TEXT(name, bytes) \
	.pushsection .text.vpatch_arena, "ax"; .balign 64; .globl name; \
	name: .fill (bytes) / VPATCH_FILLER_LEN, VPATCH_FILLER_LEN, VPATCH_FILLER; .popsection
#define VPATCH_LABEL(l) %l[l] /* of asm goto */
/* clang-format on */

#ifdef __ASSEMBLER__

#define VPATCH_SITE(name)            VPATCH_TEXT(#name, VPATCH_NOP, VP_SITE_NOP)
#define VPATCH_SITE_CALL_OF(name, f) VPATCH_TEXT(#name, VPATCH_CALL(f), VP_SITE_CALL)
#define VPATCH_SITE_GOTO(name, l)    VPATCH_TEXT(#name, VPATCH_JUMP(l), VP_SITE_JUMP)

#else

#include "protocol/sites.h"

#define VPATCH_STRING_(...) #__VA_ARGS__
#define VPATCH_STRING(...)  VPATCH_STRING_(__VA_ARGS__)

/* The inputs, with their colon, of an asm that may become a call: what gives it all that a call of the
 * function's has. */
#ifndef VPATCH_CALL_IN
#define VPATCH_CALL_IN :
#endif

/* Statements. What the site may become is a call of void f(void), so everything that a call may spoil
 * counts as spoiled; a red zone below the stack pointer would be too, and is the build's to forbid. */
#define VPATCH_SITE(name)                                                           \
	__asm__ volatile(VPATCH_STRING(VPATCH_TEXT(#name, VPATCH_NOP, VP_SITE_NOP)) \
			 : VPATCH_CALL_IN                                           \
			 : VPATCH_CLOBBERS, VPATCH_CLOBBERS_VALUE)
#define VPATCH_SITE_CALL_OF(name, f)                                                     \
	__asm__ volatile(VPATCH_STRING(VPATCH_TEXT(#name, VPATCH_CALL(f), VP_SITE_CALL)) \
			 : VPATCH_CALL_IN                                                \
			 : VPATCH_CLOBBERS, VPATCH_CLOBBERS_VALUE)
/* An expression: v, or what uintptr_t f(uintptr_t v) makes of it. */
#define VPATCH_SITE_VALUE(name, v)                                                          \
	({                                                                                  \
		VPATCH_VALUE(v);                                                            \
		__asm__ volatile(VPATCH_STRING(VPATCH_TEXT(#name, VPATCH_NOP, VP_SITE_NOP)) \
				 : VPATCH_VALUE_OUT VPATCH_CALL_IN                          \
				 : VPATCH_CLOBBERS);                                        \
		vpatch_value;                                                               \
	})
/* Statements; label is one of the function's, as for asm goto. */
#define VPATCH_SITE_MAY_GOTO(name, label)                                       \
	__asm__ goto(VPATCH_STRING(VPATCH_TEXT(#name, VPATCH_NOP, VP_SITE_NOP)) \
		     :                                                          \
		     :                                                          \
		     : "memory"                                                 \
		     : label)
#define VPATCH_SITE_GOTO(name, label)                                                             \
	__asm__ goto(                                                                             \
		VPATCH_STRING(VPATCH_TEXT(#name, VPATCH_JUMP(VPATCH_LABEL(label)), VP_SITE_JUMP)) \
		:                                                                                 \
		:                                                                                 \
		: "memory"                                                                        \
		: label)
/* At file scope: without it the entry is in the table too, but without a name. */
#define VPATCH_FUNCTION(f)     \
	__asm__(VPATCH_STRING( \
		VPATCH_RECORD(#f, f, VP_SITE_FUNCTION, 0, 0, 0, VP_SITE_NO_DISPATCHER)))

/* An arena of the image: bytes of executable memory that traps, as `name`. */
#define VPATCH_ARENA(name, bytes)                               \
	__asm__(VPATCH_STRING(VPATCH_ARENA_TEXT(name, bytes))); \
	extern uint8_t name[bytes]

/* What the guest says. The arrays are its own and ascend by address; all may be empty. */
struct vpatch_stub {
	uint8_t *table; /* a multiple of VP_SITES_ALIGN */
	size_t table_len;
	const uint8_t *id; /* VP_SITES_ID_*: which build of the image this is */
	uint8_t id_kind;
	uint8_t id_len;
	/* Functions were compiled with room for a literal ahead of their entry, which the first
	 * dispatcher loads: site.h says which option of the compiler that is. */
	bool entry_literals;
	uint32_t n_arenas;
	uint32_t n_dispatchers;
	uint32_t n_ledgers;
	const struct vp_arena *arenas;
	const struct vp_dispatcher *dispatchers;
	const struct vp_ledger_space *ledgers;
	/* Room for records of VP_TRAP_RECORD bytes, zero, aligned as long as one is. NULL: the guest's
	 * trap handler does not call vpatch_stub_trap. */
	void *traps;
	size_t traps_len;
};

/*
 * Once, at boot, on the kernel's own page tables and while text may be written: turns what
 * -fpatchable-function-entry left into the architecture's entries, then writes the table; its magic
 * comes last. The room has to be about twice the table's size, because the sites are sorted at its
 * end; what is left over is zero afterwards. VP_E_RANGE if it is too small or two sites overlap.
 */
int vpatch_stub_publish(const struct vpatch_stub *stub) VP_MUST_USE;

/* The arena's entry, with the architecture's filler. */
struct vp_arena vpatch_stub_arena(const void *at, size_t len);

enum vpatch_trap_act {
	VPATCH_TRAP_OTHER, /* not ours: whoever else wants it */
	VPATCH_TRAP_AGAIN, /* it has gone: return to where it was */
	VPATCH_TRAP_JUMP,  /* go on at pc */
	VPATCH_TRAP_CALL, /* the same, with link as the return address: pushed or in its register */
};

struct vpatch_trap {
	enum vpatch_trap_act act;
	uintptr_t pc;
	uintptr_t link;
};

/* What the guest's exception handler does about a trap at pc, on any CPU at any time. */
struct vpatch_trap vpatch_stub_trap(uintptr_t pc);

/* The records alone: VPATCH_TRAP_OTHER where there is none. Sound only for who knows that no trap
 * can be in flight when its record goes; vpatch_stub_trap is for all others. */
struct vpatch_trap vpatch_stub_record(uintptr_t pc);

#endif /* __ASSEMBLER__ */
#endif
