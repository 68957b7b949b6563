// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"

#define NOINLINE __attribute__((noinline, noclone))
#define LIVE     (BIT(STOP) | BIT(WORD))

uint64_t probe_call(void);
uint64_t probe_goto(void);
uint64_t probe_one(void);
uint64_t probe_two(void);
uint64_t probe_literal_c(void);
extern char pay_call[], pay_goto[], pay_two[], pay_entry[], pay_around[], probe_around[],
	probe_literal[], probe_literal_only[], probe_rests[], probe_jumps[], probe_pair[],
	pair_on[];

NOINLINE uint64_t probe_call(void)
{
	return VPATCH_SITE_VALUE(call, 1);
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

__attribute__((patchable_function_entry(1))) NOINLINE uint64_t probe_one(void)
{
	return 1;
}
VPATCH_FUNCTION(probe_one);

__attribute__((patchable_function_entry(2))) NOINLINE uint64_t probe_two(void)
{
	return 1;
}
VPATCH_FUNCTION(probe_two);

__attribute__((patchable_function_entry(4, 2), aligned(8))) NOINLINE uint64_t probe_literal_c(void)
{
	return 1;
}
VPATCH_FUNCTION(probe_literal_c);

/* Old and new are the same of all. */
#define PROBE(name_, call_, payload_, discipline_, kind_, len_, ...)                           \
	{                                                                                      \
		.name = name_, .call = ADDRESS(call_), .payload = ADDRESS(payload_), .old = 1, \
		.new = 2, .discipline = discipline_, .kind = PROBE_##kind_, .len = len_,       \
		__VA_ARGS__                                                                    \
	}

struct probe probes[] = {
	PROBE("call", probe_call, pay_call, LIVE, CALL, 4),
	PROBE("goto", probe_goto, pay_goto, LIVE, JUMP, 4),
	PROBE("rests", probe_rests, pay_two, LIVE, CALL, 4),
	PROBE("jumps", probe_jumps, pay_two, LIVE, JUMP, 4),
	PROBE("around", probe_around, pay_around, LIVE, JUMP, 4),
	PROBE("probe_one", probe_one, pay_two, LIVE, JUMP, 4),
	PROBE("probe_two", probe_two, pay_entry, LIVE, CALL, 4, .site = ADDRESS(probe_two) + 4),
	PROBE("probe_two", probe_two, pay_two, LIVE, JUMP, 4, .site = ADDRESS(probe_two) + 4),
	/* `mflr` is not of the patch class. */
	PROBE("probe_two", probe_two, pay_two, BIT(STOP), JUMP, 4),
	PROBE("probe_two", probe_two, pay_two, BIT(WORD) | PROBE_BY_HAND, JUMP, 4),
	PROBE("pair", probe_pair, pair_on, BIT(STOP) | PROBE_BAD, BYTES, 8),
	PROBE("literal", probe_literal, pay_two, BIT(STOP) | BIT(LITERAL), BOTH, 4,
	      .site = ADDRESS(probe_literal) + 4, .literal = ADDRESS(probe_literal) - 8,
	      .to = ADDRESS(vpatch_ppc64le_dispatch)),
	PROBE("literal_only", probe_literal_only, pay_two, BIT(STOP) | BIT(LITERAL), LITERAL, 8,
	      .site = ADDRESS(probe_literal_only) - 8, .literal = ADDRESS(probe_literal_only) - 8),
	PROBE("probe_literal_c", probe_literal_c, pay_two, BIT(STOP) | BIT(LITERAL), BOTH, 4,
	      .site = ADDRESS(probe_literal_c) + 4, .literal = ADDRESS(probe_literal_c) - 8,
	      .to = ADDRESS(vpatch_ppc64le_dispatch)),
};
const unsigned n_probes = sizeof(probes) / sizeof(probes[0]);
