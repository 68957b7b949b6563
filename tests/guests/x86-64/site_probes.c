// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"

#define NOINLINE __attribute__((noinline, noclone))
#define LIVE     (BIT(STOP) | BIT(TRAP))

uint64_t probe_call(void);
uint64_t probe_goto(void);
uint64_t probe_function(void);
uintptr_t pay_call(uintptr_t v);
extern char pay_goto[], pay_two[], pay_entry[], probe_line[], probe_line_jump[], probe_page[],
	probe_page_jump[], probe_rests[], probe_jumps[], probe_entry[], probe_literal[], literal[];

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
	__asm__ volatile(".globl pay_goto; pay_goto: mov $2, %k0" : "=r"(r));
	return r;
}

__attribute__((patchable_function_entry(5))) NOINLINE uint64_t probe_function(void)
{
	return 1;
}
VPATCH_FUNCTION(probe_function);

/* Old and new are the same of all. */
#define PROBE(name_, call_, payload_, discipline_, kind_, len_, ...)                           \
	{                                                                                      \
		.name = name_, .call = ADDRESS(call_), .payload = ADDRESS(payload_), .old = 1, \
		.new = 2, .discipline = discipline_, .kind = PROBE_##kind_, .len = len_,       \
		__VA_ARGS__                                                                    \
	}
#define MANY(n, payload, kind)                                                \
	PROBE("many" #n, probe_many##n, payload, LIVE | PROBE_ALIKE, kind, 5, \
	      .site = ADDRESS(probe_many##n) + 5)
#define PAIR(t, a, b) MANY(t##a, pay_two, CALL), MANY(t##b, pay_two, JUMP)
#define TEN(t)        PAIR(t, 0, 1), PAIR(t, 2, 3), PAIR(t, 4, 5), PAIR(t, 6, 7), PAIR(t, 8, 9)
#define DECLARE(t)                                                                 \
	extern char probe_many##t##0 [], probe_many##t##1 [], probe_many##t##2 [], \
		probe_many##t##3 [], probe_many##t##4 [], probe_many##t##5 [],     \
		probe_many##t##6 [], probe_many##t##7 [], probe_many##t##8 [], probe_many##t##9 []
DECLARE(0);
DECLARE(1);
DECLARE(2);
DECLARE(3);
DECLARE(4);
DECLARE(5);
DECLARE(6);
DECLARE(7);
DECLARE(8);
DECLARE(9);
DECLARE(10);
DECLARE(11);
DECLARE(12);
DECLARE(13);
DECLARE(14);
DECLARE(15);
DECLARE(16);
DECLARE(17);
DECLARE(18);
DECLARE(19);
DECLARE(20);
DECLARE(21);
DECLARE(22);
DECLARE(23);

struct probe probes[] = {
	PROBE("literal", probe_literal, pay_two, BIT(STOP) | BIT(LITERAL), LITERAL, 8,
	      .site = ADDRESS(literal), .literal = ADDRESS(literal)),
	PROBE("call", probe_call, pay_call, LIVE, CALL, 5),
	PROBE("goto", probe_goto, pay_goto, LIVE, JUMP, 5),
	PROBE("probe_function", probe_function, pay_entry, LIVE, CALL, 5),
	PROBE("entry", probe_entry, pay_two, LIVE, JUMP, 5),
	PROBE("line", probe_line, pay_two, LIVE, CALL, 5),
	PROBE("line_jump", probe_line_jump, pay_two, LIVE, JUMP, 5),
	PROBE("page", probe_page, pay_two, LIVE, CALL, 5),
	PROBE("page_jump", probe_page_jump, pay_two, LIVE, JUMP, 5),
	PROBE("rests", probe_rests, pay_two, LIVE, CALL, 5),
	PROBE("jumps", probe_jumps, pay_two, LIVE, JUMP, 5),
	TEN(0),
	TEN(1),
	TEN(2),
	TEN(3),
	TEN(4),
	TEN(5),
	TEN(6),
	TEN(7),
	TEN(8),
	TEN(9),
	TEN(10),
	TEN(11),
	TEN(12),
	TEN(13),
	TEN(14),
	TEN(15),
	TEN(16),
	TEN(17),
	TEN(18),
	TEN(19),
	TEN(20),
	TEN(21),
	TEN(22),
	TEN(23),
};
const unsigned n_probes = sizeof(probes) / sizeof(probes[0]);
