// SPDX-License-Identifier: LGPL-2.1-or-later
/* Poke programs: each store of one is allowed, and each state between is old, new or the stage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/poke.h"
#include "protocol/bytes.h"

#define AT 0x81000040ull /* an address of 32 bits, too */

struct pair {
	uint8_t old[ARCH_WORD_MAX], new[ARCH_WORD_MAX];
	struct arch_poke_ask ask;
	struct arch_poke p;
	const char *why;
};

enum what { NOP, CALL, CALL2, BRANCH, OTHER };

/* OTHER: one instruction that no list has. */
static unsigned put(const struct arch_ops *ops, uint64_t at, enum what what, uint8_t *buf)
{
	static const uint8_t other[ARCH_COUNT][5] = {
		[ARCH_X86_64] = {0xb8, 1, 2, 3, 4},        /* mov eax, imm32 */
		[ARCH_ARM64] = {0xe9, 0x03, 0x1e, 0xaa},   /* mov x9, x30 */
		[ARCH_RISCV64] = {0x13, 0x05, 0x15, 0x00}, /* addi a0, a0, 1 */
		[ARCH_PPC64LE] = {0x01, 0x00, 0x63, 0x38}, /* addi 3, 3, 1 */
		[ARCH_THUMB2] = {0x02, 0xf1, 0x01, 0x02},  /* add.w r2, r2, #1 */
	};
	unsigned len = ops->id == ARCH_X86_64 ? 5 : 4;

	switch (what) {
	case NOP:
		assert_int_equal(ops->nop(buf, len), VP_OK);
		break;
	case CALL:
	case CALL2:
		assert_int_equal(ops->call(buf, vp_gva(at),
					   vp_gva(at + (what == CALL ? 0x1000 : 0x2344)), &len),
				 VP_OK);
		break;
	case BRANCH:
		assert_int_equal(ops->branch(buf, vp_gva(at), vp_gva(at + 0x2000), &len), VP_OK);
		break;
	case OTHER:
		memcpy(buf, other[ops->id], len);
		break;
	}
	return len;
}

static void ask(struct pair *p, const struct arch_ops *ops, uint64_t at, enum what old,
		enum what new)
{
	memset(p, 0, sizeof(*p));
	p->ask = (struct arch_poke_ask){
		.at = vp_gva(at), .old = p->old, .new = p->new, .live = true, .handler = true};
	p->ask.len = put(ops, at, old, p->old);
	put(ops, at, new, p->new);
}

static int make(struct pair *p, const struct arch_ops *ops, enum vp_discipline d)
{
	p->ask.discipline = d;
	return arch_poke(ops, &p->ask, &p->p, &p->why);
}

static void expect(struct pair *p, const struct arch_ops *ops, enum vp_discipline asked,
		   enum vp_discipline got)
{
	int r = make(p, ops, asked);

	if (r != VP_OK)
		fail_msg("%s: %s: %s", ops->name, arch_discipline_name(got), p->why);
	assert_string_equal(arch_discipline_name(p->p.discipline), arch_discipline_name(got));
}

static void expect_refused(struct pair *p, const struct arch_ops *ops, enum vp_discipline asked,
			   const char *words)
{
	assert_int_equal(make(p, ops, asked), VP_E_DISCIPLINE);
	if (!strstr(p->why, words))
		fail_msg("%s: \"%s\" says nothing of \"%s\"", ops->name, p->why, words);
}

static bool equal(const uint8_t *a, const uint8_t *b, unsigned len)
{
	return memcmp(a, b, len) == 0;
}

/* What a CPU may meet between the steps, and the order of what goes with them. */
static void check_program(const struct pair *p, const struct arch_ops *ops)
{
	uint8_t before[ARCH_WORD_MAX], after[ARCH_WORD_MAX];
	bool told = false, trapped = false, event = false,
	     trap = p->p.discipline == VP_DISCIPLINE_TRAP;
	unsigned len = p->ask.len;
	const char *why;

	memcpy(before, p->old, sizeof(before));
	for (unsigned i = 0; i < p->p.n; i++) {
		const struct arch_poke_step *s = &p->p.step[i];

		memcpy(after, p->old, sizeof(after));
		arch_poke_text(&p->p, i + 1, after);
		told = told || s->act == ARCH_POKE_TELL;
		event = event || s->act == ARCH_POKE_EVENT;
		if (s->act != ARCH_POKE_STORE || s->literal) {
			assert_true(equal(before, after, len));
			continue;
		}
		assert_true(s->len > 0 && vp_fits(s->off, s->len, len));
		if (p->p.discipline != VP_DISCIPLINE_STOP && !p->p.by_hand) {
			assert_true(ops->live->store(p->ask.at, before, after, len, &why));
			assert_int_equal(s->sync, ARCH_SYNC_ALL);
		}
		if (trap && !equal(after, p->old, len) && !equal(after, p->new, len)) {
			struct arch_insn insn;

			assert_true(told && !event);
			assert_int_equal(ops->decode(after, len, p->ask.at, &insn), VP_OK);
			assert_int_equal(insn.kind, ARCH_INSN_TRAP);
			trapped = true;
		}
		if (trap && equal(after, p->new, len))
			assert_true(trapped && event);
		memcpy(before, after, sizeof(before));
	}
	assert_true(equal(before, p->new, len));
	if (trap && p->p.n > 0)
		assert_int_equal(p->p.step[p->p.n - 1].act, ARCH_POKE_FORGET);
}

static void test_every_pair_by_every_discipline_is_right_or_refused(void **state)
{
	unsigned made = 0, refused = 0;

	(void)state;
	for (unsigned i = 0; i < ARCH_COUNT; i++)
		for (int old = NOP; old <= OTHER; old++)
			for (int new = NOP; new <= OTHER; new ++)
				for (int d = 0; d <= VP_DISCIPLINE_LITERAL; d++)
					for (uint64_t off = 0; off < 64; off += 4) {
						const struct arch_ops *ops = arch_get(i);
						struct pair p;
						int r;

						ask(&p, ops, AT + off, old, new);
						r = make(&p, ops, d);
						assert_true(r == VP_OK || r == VP_E_DISCIPLINE);
						if (r == VP_OK)
							check_program(&p, ops);
						else
							assert_true(p.why[0] != '\0');
						assert_true(r == VP_OK ||
							    (d != 0 && d != VP_DISCIPLINE_STOP));
						made += r == VP_OK;
						refused += r != VP_OK;
					}
	assert_true(made > 1000 && refused > 100);
}

static void test_arm64_picks_what_disturbs_least(void **state)
{
	const struct arch_ops *ops = arch_get(ARCH_ARM64);
	struct pair p;

	(void)state;
	ask(&p, ops, AT, NOP, CALL);
	expect(&p, ops, 0, VP_DISCIPLINE_WORD);
	assert_int_equal(p.p.n, 1);
	assert_string_equal(p.why, "");
	p.ask.events = true;
	expect(&p, ops, 0, VP_DISCIPLINE_TRAP);
	expect_refused(&p, ops, VP_DISCIPLINE_WORD, "text poke event");
	p.ask.handler = false;
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	p.ask.events = false;
	p.ask.live = false;
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	assert_non_null(strstr(p.why, "driver"));
	expect_refused(&p, ops, VP_DISCIPLINE_WORD, "driver");
}

/* The patchable entry's first word is outside the list: it needs stop, or a hand. */
static void test_arm64_mov_x9_needs_stop(void **state)
{
	const struct arch_ops *ops = arch_get(ARCH_ARM64);
	struct pair p;

	(void)state;
	ask(&p, ops, AT, OTHER, BRANCH);
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	assert_non_null(strstr(p.why, "B2.2.5"));
	expect_refused(&p, ops, VP_DISCIPLINE_WORD, "B2.2.5");
	expect_refused(&p, ops, VP_DISCIPLINE_TRAP, "B2.2.5");
	p.ask.by_hand = true;
	expect(&p, ops, VP_DISCIPLINE_WORD, VP_DISCIPLINE_WORD);
	assert_true(p.p.by_hand);
	expect(&p, ops, 0, VP_DISCIPLINE_STOP); /* not unless it is named */
	expect_refused(&p, ops, VP_DISCIPLINE_SKIP, "stage");
}

static void test_x86_goes_over_the_breakpoint(void **state)
{
	const struct arch_ops *ops = arch_get(ARCH_X86_64);
	struct pair p;

	(void)state;
	for (uint64_t off = 0; off < 64; off++) {
		ask(&p, ops, AT + off, NOP, CALL);
		expect(&p, ops, 0, VP_DISCIPLINE_TRAP);
		assert_int_equal(p.p.n, 6); /* tell, int3, tail, event, head, forget */
		check_program(&p, ops);
	}
	p.ask.handler = false;
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	p.ask.by_hand = true;
	expect_refused(&p, ops, VP_DISCIPLINE_WORD, "9.1.3");
	/* One tail for both: nothing to store under the breakpoint. */
	ask(&p, ops, AT, CALL, CALL);
	p.new[0] = 0xe9;
	expect(&p, ops, 0, VP_DISCIPLINE_TRAP);
	assert_int_equal(p.p.n, 5);
	check_program(&p, ops);
}

/* CALL_OPS: auipc stays, the word behind it is nop or jalr, and the literal comes first. */
static void test_riscv64_swaps_one_aligned_word(void **state)
{
	const struct arch_ops *ops = arch_get(ARCH_RISCV64);
	struct pair p;

	(void)state;
	ask(&p, ops, AT + 4, NOP, CALL);
	vp_st32(p.new, 0x000282e7); /* jalr t0, 0(t0) */
	expect(&p, ops, 0, VP_DISCIPLINE_WORD);
	check_program(&p, ops);
	p.ask.literal = vp_gva(AT - 8);
	p.ask.literal_new = AT;
	expect(&p, ops, 0, VP_DISCIPLINE_LITERAL);
	assert_true(p.p.n == 2 && p.p.step[0].literal);
	/* Two-byte alignment: halves. */
	ask(&p, ops, AT + 2, NOP, CALL);
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	assert_non_null(strstr(p.why, "aligned"));
	expect_refused(&p, ops, VP_DISCIPLINE_WORD, "aligned");
	/* nop, nop to auipc, jalr: eight bytes, two instructions */
	ask(&p, ops, AT, NOP, CALL);
	p.ask.len = 8;
	vp_st64(p.old, 0x0000001300000013);
	vp_st64(p.new, 0x000282e700001297);
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	assert_non_null(strstr(p.why, "parked"));
	p.ask.by_hand = true;
	expect_refused(&p, ops, VP_DISCIPLINE_WORD, "parked");
}

static void test_ppc64le_swaps_a_nop_and_a_branch(void **state)
{
	const struct arch_ops *ops = arch_get(ARCH_PPC64LE);
	struct pair p;

	(void)state;
	ask(&p, ops, AT, NOP, CALL);
	expect(&p, ops, 0, VP_DISCIPLINE_WORD);
	check_program(&p, ops);
	p.ask.events = true;
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	ask(&p, ops, AT, OTHER, CALL);
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	expect_refused(&p, ops, VP_DISCIPLINE_WORD, "I-form");
	expect_refused(&p, ops, VP_DISCIPLINE_TRAP, "stage");
}

/* Half by half: under a breakpoint, or behind a branch that rests over the second one. */
static void test_thumb2_changes_halves(void **state)
{
	const struct arch_ops *ops = arch_get(ARCH_THUMB2);
	struct pair p;

	(void)state;
	for (uint64_t off = 0; off < 64; off += 2) {
		ask(&p, ops, AT + off, CALL, CALL2);
		expect(&p, ops, 0, VP_DISCIPLINE_TRAP);
		check_program(&p, ops);
		/* b.n over the second half, whatever that is */
		ask(&p, ops, AT + off, NOP, CALL);
		vp_st32(p.old, 0xffffe000);
		expect(&p, ops, 0, VP_DISCIPLINE_SKIP);
		check_program(&p, ops);
		assert_int_equal(p.p.n, 3); /* tail, event, head */
		ask(&p, ops, AT + off, CALL, NOP);
		vp_st32(p.new, 0xffffe000);
		expect(&p, ops, 0, VP_DISCIPLINE_SKIP);
		check_program(&p, ops);
	}
	ask(&p, ops, AT, NOP, CALL);
	expect(&p, ops, 0, VP_DISCIPLINE_STOP); /* a wide nop is not in the list */
	assert_non_null(strstr(p.why, "A3.5.4") ? p.why : strstr(p.why, "aligned"));
	expect_refused(&p, ops, VP_DISCIPLINE_TRAP, "A3.5.4");
	expect_refused(&p, ops, VP_DISCIPLINE_SKIP, "A3.5.4");
	vp_st32(p.old, 0xbf00bf00); /* two narrow ones: a context may be parked between them */
	expect_refused(&p, ops, VP_DISCIPLINE_SKIP, "parked");
	ask(&p, ops, AT, CALL, BRANCH);
	expect_refused(&p, ops, VP_DISCIPLINE_TRAP, "A3.5.4"); /* nor is B.W */
}

static void test_a_site_of_two_instructions_is_stopped(void **state)
{
	const struct arch_ops *ops = arch_get(ARCH_X86_64);
	struct pair p;

	(void)state;
	ask(&p, ops, AT, NOP, CALL);
	memcpy(p.old, "\x66\x90\x0f\x1f\x00", 5);
	expect(&p, ops, 0, VP_DISCIPLINE_STOP);
	assert_non_null(strstr(p.why, "parked"));
	expect_refused(&p, ops, VP_DISCIPLINE_TRAP, "parked");
	p.old[0] = 0xcc;
	expect_refused(&p, ops, VP_DISCIPLINE_TRAP, "somebody");
}

static void test_a_literal_goes_before_who_loads_it(void **state)
{
	const struct arch_ops *ops = arch_get(ARCH_ARM64);
	struct pair p;

	(void)state;
	ask(&p, ops, AT, NOP, CALL);
	p.ask.literal = vp_gva(AT - 64);
	p.ask.literal_new = AT + 0x100000;
	expect(&p, ops, 0, VP_DISCIPLINE_LITERAL);
	assert_int_equal(p.p.n, 2);
	assert_true(p.p.step[0].literal && p.p.step[0].sync == ARCH_SYNC_DATA);
	assert_true(vp_ld64(p.p.step[0].bytes) == AT + 0x100000);
	assert_true(!p.p.step[1].literal && p.p.step[1].sync == ARCH_SYNC_ALL);
	check_program(&p, ops);

	ask(&p, ops, AT, CALL, NOP);
	p.ask.literal = vp_gva(AT - 64);
	p.ask.literal_old = 1;
	expect(&p, ops, 0, VP_DISCIPLINE_LITERAL);
	assert_true(!p.p.step[0].literal && p.p.step[1].literal);

	ask(&p, ops, AT, CALL, CALL);
	p.ask.literal = vp_gva(AT - 64);
	p.ask.literal_old = 1;
	expect(&p, ops, 0, VP_DISCIPLINE_LITERAL);
	assert_int_equal(p.p.n, 1);
	p.ask.literal = vp_gva(AT - 60);
	expect_refused(&p, ops, VP_DISCIPLINE_LITERAL, "aligned");
	ask(&p, ops, AT, NOP, CALL);
	expect_refused(&p, ops, VP_DISCIPLINE_LITERAL, "no literal");
}

static void test_a_handler_stands_in_for_nop_call_and_branch_alone(void **state)
{
	uint8_t buf[ARCH_WORD_MAX];
	struct arch_emul e;

	(void)state;
	for (unsigned i = 0; i < ARCH_COUNT; i++) {
		const struct arch_ops *ops = arch_get(i);
		unsigned len = put(ops, AT, NOP, buf);

		assert_int_equal(arch_emulate(ops, vp_gva(AT), buf, len, &e), VP_OK);
		assert_true(e.kind == ARCH_INSN_NOP && e.next.v == AT + len);
		put(ops, AT, CALL, buf);
		assert_int_equal(arch_emulate(ops, vp_gva(AT), buf, len, &e), VP_OK);
		assert_true(e.kind == ARCH_INSN_CALL && e.target.v == AT + 0x1000 &&
			    e.next.v == AT + len);
		put(ops, AT, BRANCH, buf);
		assert_int_equal(arch_emulate(ops, vp_gva(AT), buf, len, &e), VP_OK);
		assert_true(e.kind == ARCH_INSN_BRANCH && e.target.v == AT + 0x2000);
		put(ops, AT, OTHER, buf);
		assert_int_equal(arch_emulate(ops, vp_gva(AT), buf, len, &e), VP_E_DISCIPLINE);
	}
	/* B.EQ, and JZ rel32: a handler would have to know the flags */
	vp_st32(buf, 0x54000040);
	assert_int_equal(arch_emulate(arch_get(ARCH_ARM64), vp_gva(AT), buf, 4, &e),
			 VP_E_DISCIPLINE);
	memcpy(buf, "\x0f\x84\x01\x00\x00\x00", 6);
	assert_int_equal(arch_emulate(arch_get(ARCH_X86_64), vp_gva(AT), buf, 6, &e),
			 VP_E_DISCIPLINE);
}

static void test_sites_that_cannot_be_are_refused(void **state)
{
	struct pair p;

	(void)state;
	ask(&p, arch_get(ARCH_ARM64), AT, NOP, CALL);
	p.ask.at.v += 2;
	assert_int_equal(make(&p, arch_get(ARCH_ARM64), 0), VP_E_RANGE);
	ask(&p, arch_get(ARCH_X86_64), AT, NOP, CALL);
	p.ask.len = 0;
	assert_int_equal(make(&p, arch_get(ARCH_X86_64), 0), VP_E_RANGE);
	p.ask.len = ARCH_WORD_MAX + 1;
	assert_int_equal(make(&p, arch_get(ARCH_X86_64), 0), VP_E_RANGE);
	p.ask.len = 5;
	p.ask.at.v = UINT64_MAX - 2;
	assert_int_equal(make(&p, arch_get(ARCH_X86_64), 0), VP_E_RANGE);
	p.ask.at.v = AT;
	assert_int_equal(make(&p, arch_get(ARCH_X86_64), 77), VP_E_DISCIPLINE);
	assert_null(arch_discipline_name(77));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_pair_by_every_discipline_is_right_or_refused),
		cmocka_unit_test(test_arm64_picks_what_disturbs_least),
		cmocka_unit_test(test_arm64_mov_x9_needs_stop),
		cmocka_unit_test(test_x86_goes_over_the_breakpoint),
		cmocka_unit_test(test_riscv64_swaps_one_aligned_word),
		cmocka_unit_test(test_ppc64le_swaps_a_nop_and_a_branch),
		cmocka_unit_test(test_thumb2_changes_halves),
		cmocka_unit_test(test_a_site_of_two_instructions_is_stopped),
		cmocka_unit_test(test_a_literal_goes_before_who_loads_it),
		cmocka_unit_test(test_a_handler_stands_in_for_nop_call_and_branch_alone),
		cmocka_unit_test(test_sites_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
