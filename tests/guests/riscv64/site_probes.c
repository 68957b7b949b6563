// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"

#define NOINLINE __attribute__((noinline, noclone))
#define LIVE     (BIT(STOP) | BIT(WORD))
#define OPS      (BIT(STOP) | BIT(LITERAL))

uint64_t probe_call(void);
uint64_t probe_goto(void);
uint64_t probe_two(void);
uint64_t probe_a_c(void);
uintptr_t pay_call(uintptr_t v);
extern char pay_goto[], pay_two[], pay_link[], probe_rests[], probe_jumps[], probe_pair[];
extern char probe_a[], a_on[], a_c_on[], probe_a_on[], probe_near[], near_on[], probe_far[],
	far_on[], probe_far_on[], probe_own[], own_on[], probe_own_on[], hooked_jalr[],
	direct_caller[];
extern char probe_both[], both[], both_on[], probe_jalr[], jalr_site[], jalr_on[],
	probe_trampoline[], trampoline[], trampoline_on[];

NOINLINE uint64_t probe_call(void)
{
	return VPATCH_SITE_VALUE(call, 1);
}

NOINLINE uintptr_t pay_call(uintptr_t v)
{
	return v + 1;
}

NOINLINE uint64_t probe_goto(void)
{
	uint64_t r;

	VPATCH_SITE_MAY_GOTO(goto, taken);
	return 1;
taken:
	__asm__ volatile(".globl pay_goto; pay_goto: li %0, 2" : "=r"(r));
	return r;
}

/* Eight bytes of compressed nops, and a line of them ahead of the next one. */
__attribute__((patchable_function_entry(4), aligned(4))) NOINLINE uint64_t probe_two(void)
{
	return 1;
}
VPATCH_FUNCTION(probe_two);

__attribute__((patchable_function_entry(36, 32), aligned(VPATCH_LINE))) NOINLINE uint64_t
probe_a_c(void)
{
	return 1;
}
VPATCH_FUNCTION(probe_a_c);

/* --- several users ---------------------------------------------------------------------------- */

#define ENOUGH 16 /* of a direct caller that returns to itself */

struct seen {
	uint64_t traced, direct;
};

uint64_t hooked(struct seen *s, int a, int b, int c, int d, int e, int f, int g);
uint64_t hooked_on(struct seen *s, int a, int b, int c, int d, int e, int f, int g);
uint64_t hooked_t0(struct seen *s, int a, int b, int c, int d, int e, int f, int g);
uint64_t body(struct seen *s, int a, int b, int c, int d, int e, int f, int g);
uint64_t direct_seen(struct seen *s);
uint64_t probe_users(void);
uint64_t probe_users_on(void);
uint64_t probe_users_t0(void);

static uint64_t args(int a, int b, int c, int d, int e, int f, int g)
{
	return a == 11 && b == 12 && c == 13 && d == 14 && e == 15 && f == 16 && g == 17 ? 0
											 : 0xbad000;
}

/* What the hooked functions are behind their entries. */
NOINLINE uint64_t body(struct seen *s, int a, int b, int c, int d, int e, int f, int g)
{
	return args(a, b, c, d, e, f, g) | (s ? 1 : 0);
}

static NOINLINE uint64_t replaced(struct seen *s, int a, int b, int c, int d, int e, int f, int g)
{
	return args(a, b, c, d, e, f, g) | (s ? 2 : 0);
}

/* Each exactly once, and no more than were asked for: 0xDT and what the function gave. */
#define ASK(f)                                                                                    \
	({                                                                                        \
		struct seen s = {0, 0};                                                           \
		uint64_t r_ = f(&s, 11, 12, 13, 14, 15, 16, 17);                                  \
                                                                                                  \
		r_ | *(volatile uint64_t *)&s.traced << 4 | *(volatile uint64_t *)&s.direct << 8; \
	})

NOINLINE uint64_t probe_users(void)
{
	return ASK(hooked);
}

NOINLINE uint64_t probe_users_on(void)
{
	return ASK(hooked_on);
}

NOINLINE uint64_t probe_users_t0(void)
{
	return ASK(hooked_t0);
}

static void trace(const struct vpatch_riscv64_user *user, struct vpatch_riscv64_regs *regs)
{
	struct seen *s = (struct seen *)regs->x[10];

	(void)user;
	/* The one that runs first finds no direct caller, whatever t1 came with. */
	s->traced += regs->x[VPATCH_RISCV64_T1] == 0 ? 1 : 8;
}

/* True: it is enough. */
NOINLINE uint64_t direct_seen(struct seen *s)
{
	return ++s->direct > ENOUGH;
}

/* The direct caller's address in t0: what the list's t1 is there for. */
static void direct_in_t0(const struct vpatch_riscv64_user *user, struct vpatch_riscv64_regs *regs)
{
	regs->x[VPATCH_RISCV64_T0] = user->to;
}

#define USER(name, next_, func_, to_)                    \
	static const struct vpatch_riscv64_user name = { \
		.next = next_, .func = func_, .to = (uintptr_t)(to_)}
#define USERS(name, first) \
	static const struct vpatch_riscv64_ops name = {vpatch_riscv64_list, first}

USER(replace, NULL, vpatch_riscv64_replace, replaced);
USER(direct_only, NULL, vpatch_riscv64_direct, direct_caller);
USER(direct_replace, &replace, vpatch_riscv64_direct, direct_caller);
USER(trace_only, NULL, trace, 0);
USER(trace_direct_replace, &direct_replace, trace, 0);
USER(loop, NULL, direct_in_t0, direct_caller);
USERS(of_tracer, &trace_only);
USERS(of_direct, &direct_only);
USERS(of_replace, &replace);
USERS(of_direct_replace, &direct_replace);
USERS(of_all, &trace_direct_replace);
USERS(of_loop, &loop);

/* Old is the same of all. */
#define PROBE_NEW(name_, call_, payload_, new_, discipline_, kind_, len_, ...)                 \
	{                                                                                      \
		.name = name_, .call = ADDRESS(call_), .payload = ADDRESS(payload_), .old = 1, \
		.new = new_, .discipline = discipline_, .kind = PROBE_##kind_, .len = len_,    \
		__VA_ARGS__                                                                    \
	}
#define PROBE(name_, call_, payload_, discipline_, kind_, len_, ...) \
	PROBE_NEW(name_, call_, payload_, 2, discipline_, kind_, len_, __VA_ARGS__)
/* Text and literal; the literal alone, of a function whose entry rests with its jump */
#define PROBE_OPS(name_, f_, site_off, literal_off, to_)                           \
	PROBE(name_, f_, pay_two, OPS, ENTRY, 4, .site = ADDRESS(f_) + (site_off), \
	      .literal = ADDRESS(f_) - (literal_off), .to = ADDRESS(to_))
#define PROBE_ON(name_, f_, literal_off)                                                \
	PROBE(name_, f_, pay_two, OPS, LITERAL, 8, .site = ADDRESS(f_) - (literal_off), \
	      .literal = ADDRESS(f_) - (literal_off))
#define PROBE_USERS(ops_, new_)                                               \
	PROBE_NEW("users_on", probe_users_on, &(ops_), new_, OPS, LITERAL, 8, \
		  .site = ADDRESS(hooked_on) - 8, .literal = ADDRESS(hooked_on) - 8)

struct probe probes[] = {
	PROBE("call", probe_call, pay_call, LIVE, CALL, 4),
	PROBE("goto", probe_goto, pay_goto, LIVE, JUMP, 4),
	PROBE("rests", probe_rests, pay_two, LIVE, CALL, 4),
	PROBE("jumps", probe_jumps, pay_two, LIVE, JUMP, 4),
	/* One word of the pair is an edit. */
	PROBE("probe_two", probe_two, pay_two, LIVE, JUMP, 4),
	PROBE("pair", probe_pair, pay_two, LIVE, JUMP, 4, .site = ADDRESS(probe_pair)),
	PROBE("jalr", probe_jalr, jalr_on, LIVE, BYTES, 4, .site = ADDRESS(jalr_site)),
	PROBE_OPS("a", probe_a, 4, 8, a_on),
	PROBE_OPS("probe_a_c", probe_a_c, 4, 8, a_c_on),
	PROBE_ON("a_on", probe_a_on, 8),
	PROBE_OPS("b_near", probe_near, 0, 8, near_on),
	PROBE_OPS("b_far", probe_far, 0, 8, far_on),
	PROBE_ON("b_far_on", probe_far_on, 8),
	PROBE_OPS("c", probe_own, 0, 16, own_on),
	PROBE_ON("c_on", probe_own_on, 16),
	PROBE_NEW("users", probe_users, &of_all, 0x112, OPS, ENTRY, 4, .site = ADDRESS(hooked) + 4,
		  .literal = ADDRESS(hooked) - 8, .to = ADDRESS(hooked_jalr)),
	PROBE_USERS(of_all, 0x112),
	PROBE_USERS(of_tracer, 0x11),
	PROBE_USERS(of_direct, 0x101),
	PROBE_USERS(of_replace, 2),
	PROBE_USERS(of_direct_replace, 0x102),
	/* Known to be wrong. */
	PROBE("users_t0", probe_users_t0, &of_loop, BIT(LITERAL) | PROBE_BAD, LITERAL, 8,
	      .site = ADDRESS(hooked_t0) - 8, .literal = ADDRESS(hooked_t0) - 8),
	PROBE("both", probe_both, both_on, BIT(STOP) | PROBE_BAD, BYTES, 8, .site = ADDRESS(both)),
	PROBE("trampoline", probe_trampoline, trampoline_on, BIT(STOP) | PROBE_BAD, BYTES, 8,
	      .site = ADDRESS(trampoline)),
};
const unsigned n_probes = sizeof(probes) / sizeof(probes[0]);
