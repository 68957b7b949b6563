// SPDX-License-Identifier: LGPL-2.1-or-later
/* Thumb-2: encoders and decoding against objdump, entries, and addresses that end at 4 GiB. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "protocol/bytes.h"
#include "tests/lib/batch.h"
#include "tests/lib/dis.h"

#define K 0x80010000ull

static uint64_t rng = 0x082efa98ec4e6c89ull; /* the same sequence in every run */

static const struct arch_ops *ops(void)
{
	return arch_get(ARCH_THUMB2);
}

static void test_branches_disassemble_to_their_target(void **state)
{
	int64_t lo = 4 - (1ll << 24), hi = 4 + (1ll << 24) - 2;

	(void)state;
	/* Of either place in a word. */
	for (uint64_t vma = K; vma <= K + 2; vma += 2) {
		batch_branches(ARCH_THUMB2, vma, false, "b.w", lo, hi);
		batch_branches(ARCH_THUMB2, vma, true, "bl", lo, hi);
	}
}

static void test_a_branch_too_far_or_around_memory_is_refused(void **state)
{
	uint8_t buf[ARCH_VENEER_MAX];
	unsigned len;

	(void)state;
	batch_refused(ARCH_THUMB2, K, K + 4 + (1ull << 24), VP_E_REACH);
	batch_refused(ARCH_THUMB2, K, K + 4 - (1ull << 24) - 2, VP_E_REACH);
	/* Near by only where addresses wrap. */
	batch_refused(ARCH_THUMB2, 0xfffffff0, 0x10, VP_E_REACH);
	batch_refused(ARCH_THUMB2, 0x10, 0xfffffff0, VP_E_REACH);
	batch_refused(ARCH_THUMB2, 0xfffffff0, 0x100000000ull, VP_E_RANGE);
	batch_refused(ARCH_THUMB2, K | 1ull << 32, K | 1ull << 32, VP_E_RANGE);
	batch_refused(ARCH_THUMB2, K + 1, K, VP_E_RANGE);
	batch_refused(ARCH_THUMB2, K, K + 1, VP_E_RANGE);
	assert_int_equal(ops()->veneer(buf, 7, vp_gva(K), vp_gva(K), &len), VP_E_RANGE);
	assert_int_equal(ops()->veneer(buf, 9, vp_gva(K + 2), vp_gva(K), &len), VP_E_RANGE);
	assert_int_equal(ops()->veneer(buf, 32, vp_gva(K + 1), vp_gva(K), &len), VP_E_RANGE);
	assert_int_equal(ops()->veneer(buf, 32, vp_gva(K), vp_gva(K + 1), &len), VP_E_RANGE);
	assert_int_equal(ops()->veneer(buf, 32, vp_gva(K), vp_gva(1ull << 32), &len), VP_E_RANGE);
}

/* A lone instruction, as objdump prints it. */
static void is_text(const uint8_t *code, unsigned len, uint64_t at, const char *text)
{
	struct batch b;

	batch_init(&b, ARCH_THUMB2, at, 1);
	memcpy(batch_room(&b), code, len);
	batch_take(&b, len, "%s", text);
	batch_check(&b);
}

static void test_a_veneer_loads_its_target_from_an_aligned_word(void **state)
{
	uint8_t buf[ARCH_VENEER_MAX];
	char text[64];
	unsigned len;

	(void)state;
	for (uint64_t at = K; at <= K + 2; at += 2) {
		unsigned literal = at & 2 ? 6 : 4;

		assert_int_equal(
			ops()->veneer(buf, sizeof(buf), vp_gva(at), vp_gva(0xfffffffe), &len),
			VP_OK);
		assert_int_equal(len, literal + 4);
		assert_int_equal((at + literal) % 4, 0);
		snprintf(text, sizeof(text), "ldr.w pc, [pc%s] @ %#" PRIx64, at & 2 ? ", #4" : "",
			 at + literal);
		is_text(buf, 4, at, text);
		if (at & 2)
			is_text(buf + 4, 2, at + 4, "udf #255 @ 0xff");
		assert_int_equal(vp_ld32(buf + literal), 0xffffffff); /* Thumb */
	}
}

static void test_nops_and_traps_disassemble_as_such(void **state)
{
	struct batch b;
	unsigned len;

	(void)state;
	batch_init(&b, ARCH_THUMB2, 0, 4);
	assert_int_equal(ops()->nop(batch_room(&b), 2), VP_OK);
	batch_take(&b, 2, "nop");
	assert_int_equal(ops()->nop(batch_room(&b), 4), VP_OK);
	batch_take(&b, 4, "nop.w");
	assert_int_equal(ops()->trap(batch_room(&b), &len), VP_OK);
	batch_take(&b, len, "udf #255 @ 0xff");
	memcpy(batch_room(&b), ops()->filler, ops()->filler_len);
	batch_take(&b, ops()->filler_len, "udf #255 @ 0xff");
	batch_check(&b);
}

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

static enum arch_insn_kind kind_of(const char *t)
{
	if (starts(t, "b.n 0x") || starts(t, "b.w 0x"))
		return ARCH_INSN_BRANCH;
	if (starts(t, "bl 0x") || starts(t, "blx 0x"))
		return ARCH_INSN_CALL;
	if (!strcmp(t, "nop") || !strcmp(t, "nop.w"))
		return ARCH_INSN_NOP;
	if (starts(t, "bkpt ") || starts(t, "udf ") || starts(t, "udf.w "))
		return ARCH_INSN_TRAP;
	if (!strcmp(t, "bx lr") || !strcmp(t, "mov pc, lr") || !strcmp(t, "ldr.w pc, [sp], #4"))
		return ARCH_INSN_RET;
	if ((starts(t, "pop {") || starts(t, "ldmia.w sp!,")) && strstr(t, "pc}") &&
	    !strstr(t, ", sp") && !strstr(t, "{sp"))
		return ARCH_INSN_RET;
	return ARCH_INSN_OTHER;
}

static void check_kind(void *ctx, const struct dis_insn *insn)
{
	const char *t = insn->text;
	enum arch_insn_kind want = kind_of(t);
	struct arch_insn got = {0};
	uint16_t second = insn->len == 4 ? vp_ld16(insn->bytes + 2) : 0;
	int r = ops()->decode(insn->bytes, insn->len, vp_gva(insn->at), &got);

	/* objdump does not mind bits that should be zero. */
	if (!strcmp(t, "bx lr") && vp_ld16(insn->bytes) != 0x4770)
		want = ARCH_INSN_OTHER;
	((size_t *)ctx)[want]++;
	if (r == VP_E_SITE_BYTES) { /* BLX to half a word; objdump has no opinion */
		assert_int_equal(second & 0xd001, 0xc001);
		return;
	}
	if (r != VP_OK || got.kind != want || got.len != insn->len)
		print_message("%s: %d, kind %d, length %u\n", t, r, got.kind, got.len);
	assert_int_equal(r, VP_OK);
	assert_int_equal(got.len, insn->len);
	assert_int_equal(got.kind, want);
	if (want == ARCH_INSN_BRANCH || want == ARCH_INSN_CALL)
		assert_int_equal(got.target.v, strtoull(strchr(t, ' ') + 1, NULL, 16));
}

/* IT changes how objdump prints what follows, and what it means is not our question. */
static bool is_it(uint32_t w)
{
	return (w & 0xff00) == 0xbf00 && (w & 15);
}

/* Random words, and every one-bit neighbour of the instructions that mean something here. */
static void test_decode_agrees_with_objdump(void **state)
{
	static const uint32_t seeds[] = {
		0xbf00bf00, 0xf3af8000, 0xe000e7fe, 0xbe00deff, 0x477046f7, 0xbd00bd10,
		0xf0009000, 0xf000d000, 0xf000c000, 0xf7f0a000, 0xe8bd8010, 0xf85dfb04,
		0xf8dff000, 0xf0008000, 0xf7ffbfff, 0xf400d7fe,
	};
	const size_t seeded = 33 * (sizeof(seeds) / sizeof(seeds[0]));
	size_t n = 0, seen[ARCH_INSN_RET + 1] = {0};
	uint8_t *code = malloc(4 * 30001);

	(void)state;
	assert_non_null(code);
	for (size_t i = 0; n < 30000; i++) {
		uint32_t w = (uint32_t)batch_rnd(&rng);

		if (i < seeded)
			w = seeds[i / 33] ^ (i % 33 < 32 ? 1u << i % 33 : 0);
		else if (i % 4 == 0) /* more branches than chance gives */
			w = (w & 0x07ffffff) | 0xf0008000;
		if (is_it(w >> 16) || is_it(w & 0xffff))
			continue;
		vp_st16(code + 4 * n, (uint16_t)(w >> 16));
		vp_st16(code + 4 * n++ + 2, (uint16_t)w);
	}
	vp_st32(code + 4 * n++, 0xbf00bf00); /* nothing is cut off at the end */
	dis_bytes(ARCH_THUMB2, code, 4 * n, K, check_kind, seen);
	for (size_t i = 0; i <= ARCH_INSN_RET; i++)
		assert_true(seen[i] > 10);
	free(code);
}

static void test_a_target_around_memory_is_none(void **state)
{
	static const uint8_t back[] = {0xfc, 0xe7}, on[] = {0x00, 0xe0},
			     blx[] = {0x00, 0xf0, 1, 0xe8};
	struct arch_insn insn = {.len = 77};

	(void)state;
	assert_int_equal(ops()->decode(back, 2, vp_gva(4), &insn), VP_OK);
	assert_int_equal(insn.target.v, 0);
	insn.len = 77;
	assert_int_equal(ops()->decode(back, 2, vp_gva(2), &insn), VP_E_SITE_BYTES);
	assert_int_equal(ops()->decode(on, 2, vp_gva(0xfffffffc), &insn), VP_E_SITE_BYTES);
	assert_int_equal(ops()->decode(on, 2, vp_gva(1ull << 32), &insn), VP_E_RANGE);
	assert_int_equal(ops()->decode(on, 2, vp_gva(K + 1), &insn), VP_E_RANGE);
	assert_int_equal(ops()->decode(on, 1, vp_gva(K), &insn), VP_E_RANGE);
	assert_int_equal(ops()->decode(blx, 3, vp_gva(K), &insn), VP_E_RANGE);
	assert_int_equal(ops()->decode(blx, 4, vp_gva(K), &insn), VP_E_SITE_BYTES); /* H */
	assert_int_equal(insn.len, 77);
}

static void entry_is(const char *bytes, size_t len, int err)
{
	/* A block of just that size: reading past it is seen. */
	uint8_t *buf = malloc(len ? len : 1);
	struct arch_entry e = {.site_off = 99};

	assert_non_null(buf);
	memcpy(buf, bytes, len);
	assert_int_equal(ops()->entry(buf, len, vp_gva(K), &e), err);
	free(buf);
	if (err != VP_OK) {
		assert_int_equal(e.site_off, 99);
		return;
	}
	assert_int_equal(e.site_off, 0);
	assert_int_equal(e.site_len, 4);
	assert_int_equal(e.tracer_off, 0);
	assert_int_equal(e.tracer_len, 4);
	assert_true(e.shared && e.tracer_idle);
}

#define ENTRY(bytes, err) entry_is(bytes, sizeof(bytes) - 1, err)
#define NOP               "\x00\xbf"
#define NOP_W             "\xaf\xf3\x00\x80"
#define PUSH              "\x80\xb5"

static void test_an_entry_is_four_bytes_of_nops(void **state)
{
	(void)state;
	ENTRY(NOP NOP PUSH, VP_OK);
	ENTRY(NOP NOP, VP_OK);
	ENTRY(NOP_W, VP_OK);
	ENTRY(NOP_W PUSH, VP_OK);
	ENTRY("\x00\xf0\x80\xb8" PUSH, VP_E_SITE_TRACED); /* b.w */
	ENTRY("\x00\xf0\x80\xf8" PUSH, VP_E_SITE_TRACED); /* bl */
	ENTRY("\x00\xe0" NOP, VP_E_SITE_TRACED);          /* b.n over the second half */
	ENTRY("\xff\xde" NOP, VP_E_SITE_TRACED);
	ENTRY("\x00\xbe" NOP, VP_E_SITE_TRACED);
	ENTRY(PUSH NOP NOP, VP_E_NO_SITE);
	ENTRY(NOP PUSH, VP_E_NO_SITE);
	ENTRY(NOP NOP_W, VP_E_NO_SITE);
	ENTRY("\xaf\xf3\x01\x80", VP_E_NO_SITE); /* yield.w */
	ENTRY("\x00\xf0\x01\xe8", VP_E_NO_SITE); /* blx to half a word */
	ENTRY("\x00\x00\x00\x00", VP_E_NO_SITE);
	ENTRY(NOP, VP_E_RANGE);
	ENTRY("\xaf\xf3\x00", VP_E_RANGE);
	ENTRY("", VP_E_RANGE);
}

int main(void)
{
	static const char *const tools[] = {"arm-linux-gnueabihf-objdump"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_branches_disassemble_to_their_target),
		cmocka_unit_test(test_a_branch_too_far_or_around_memory_is_refused),
		cmocka_unit_test(test_a_veneer_loads_its_target_from_an_aligned_word),
		cmocka_unit_test(test_nops_and_traps_disassemble_as_such),
		cmocka_unit_test(test_decode_agrees_with_objdump),
		cmocka_unit_test(test_a_target_around_memory_is_none),
		cmocka_unit_test(test_an_entry_is_four_bytes_of_nops),
	};

	dis_need_tools(tools, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
