// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"

#define NOINLINE __attribute__((noinline, noclone))
#define SKIP     (BIT(STOP) | BIT(SKIP))
#define TRAP     (BIT(STOP) | BIT(TRAP))

uint64_t probe_call(void);
uint64_t probe_goto(void);
uint64_t probe_two(void);
extern char pay_call[], pay_goto[], pay_two[], probe_rest_whole[], probe_rest_word[],
	probe_rest_line[], probe_rest_page[], probe_call_whole[], probe_call_word[],
	probe_call_line[], probe_call_page[], probe_wide_whole[], probe_wide_word[],
	probe_wide_line[], probe_wide_page[], probe_jumps[], probe_narrow[], narrow_on[];

NOINLINE uint64_t probe_call(void)
{
	return VPATCH_SITE_VALUE(call, 1);
}

NOINLINE uint64_t probe_goto(void)
{
	uintptr_t r;

	VPATCH_SITE_MAY_GOTO(goto, taken);
	return 1;
taken:
	__asm__ volatile(".globl pay_goto; pay_goto: movs %0, 2" : "=l"(r));
	return r;
}

__attribute__((patchable_function_entry(2))) NOINLINE uint64_t probe_two(void)
{
	return 1;
}
VPATCH_FUNCTION(probe_two);

/* A struct probe in halves: a constant that the linker knows has 32 bits here. */
struct half {
	uintptr_t low;
	uint32_t high;
};
struct halves {
	char name[48];
	struct half call, payload, old, new, discipline, site, len, kind, literal, to;
};
_Static_assert(sizeof(struct halves) == sizeof(struct probe), "layout");

#define LINKED(x)                 \
	{                         \
		(uintptr_t)(x), 0 \
	}
#define CONST(x)                                               \
	{                                                      \
		(uint32_t)(x), (uint32_t)((uint64_t)(x) >> 32) \
	}
/* Old and new are the same of all. */
#define PROBE(name_, call_, payload_, discipline_, kind_, len_)                     \
	{                                                                           \
		.name = name_, .call = LINKED(call_), .payload = LINKED(payload_),  \
		.old = CONST(1), .new = CONST(2), .discipline = CONST(discipline_), \
		.len = CONST(len_), .kind = CONST(PROBE_##kind_),                   \
	}

extern struct halves table[] __asm__("probes");
struct halves table[] = {
	/* A branch over the second half of a BL, and the BL */
	PROBE("call", probe_call, pay_call, SKIP, CALL, 4),
	PROBE("rest_whole", probe_rest_whole, pay_two, SKIP, CALL, 4),
	PROBE("rest_word", probe_rest_word, pay_two, SKIP, CALL, 4),
	PROBE("rest_line", probe_rest_line, pay_two, SKIP, CALL, 4),
	PROBE("rest_page", probe_rest_page, pay_two, SKIP, CALL, 4),
	/* A BL and another one */
	PROBE("call_whole", probe_call_whole, pay_two, TRAP, CALL, 4),
	PROBE("call_word", probe_call_word, pay_two, TRAP, CALL, 4),
	PROBE("call_line", probe_call_line, pay_two, TRAP, CALL, 4),
	PROBE("call_page", probe_call_page, pay_two, TRAP, CALL, 4),
	/* B.W and the wide nop are not in the list. */
	PROBE("goto", probe_goto, pay_goto, BIT(STOP), JUMP, 4),
	PROBE("jumps", probe_jumps, pay_two, BIT(STOP), JUMP, 4),
	PROBE("probe_two", probe_two, pay_two, BIT(STOP), JUMP, 4),
	PROBE("wide_whole", probe_wide_whole, pay_two, BIT(STOP), JUMP, 4),
	PROBE("wide_word", probe_wide_word, pay_two, BIT(STOP), JUMP, 4),
	PROBE("wide_line", probe_wide_line, pay_two, BIT(STOP), JUMP, 4),
	PROBE("wide_page", probe_wide_page, pay_two, BIT(STOP), JUMP, 4),
	PROBE("narrow", probe_narrow, narrow_on, BIT(STOP) | BIT(WORD), BYTES, 2),
};
const unsigned n_probes = sizeof(table) / sizeof(table[0]);
