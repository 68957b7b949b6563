// SPDX-License-Identifier: LGPL-2.1-or-later
/* Every 16-bit encoding and a sample of the others against objdump; entries as Linux makes them. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "protocol/bytes.h"
#include "tests/lib/dis.h"

#define AT    0xffffffff80200000ull
#define WORDS 24000u

static uint64_t rng = 0x082efa98ec4e6c89ull; /* the same sequence in every run */

static uint32_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 16);
}

static const struct arch_ops *ops(void)
{
	return arch_get(ARCH_RISCV64);
}

static int decode(const uint8_t *buf, size_t len, struct arch_insn *ret)
{
	return ops()->decode(buf, len, vp_gva(AT), ret);
}

static enum arch_insn_kind kind_by_text(const char *t)
{
	if (!strncmp(t, "j 0x", 4))
		return ARCH_INSN_BRANCH;
	if (!strncmp(t, "jal 0x", 6) || !strncmp(t, "jal t0,0x", 9))
		return ARCH_INSN_CALL;
	if (!strcmp(t, "nop"))
		return ARCH_INSN_NOP;
	if (!strcmp(t, "ebreak") || !strcmp(t, "unimp"))
		return ARCH_INSN_TRAP;
	return strcmp(t, "ret") ? ARCH_INSN_OTHER : ARCH_INSN_RET;
}

static void agree(const struct dis_insn *insn, const struct arch_insn *got)
{
	enum arch_insn_kind want = kind_by_text(insn->text);

	if (got->kind != want || got->len != insn->len)
		print_message("%s: kind %d, %u bytes\n", insn->text, got->kind, got->len);
	assert_int_equal(got->kind, want);
	assert_int_equal(got->len, insn->len);
	if (want == ARCH_INSN_BRANCH || want == ARCH_INSN_CALL)
		assert_true(got->target.v == strtoull(strstr(insn->text, "0x"), NULL, 16));
}

/* Newer than the binutils of some machines: c.lbu to c.sh, c.mul, c.zext.b to c.not (Zcb), c.mop. */
static bool is_recent(uint16_t h)
{
	return (h & 0xf003) == 0x8000 || (h & 0xfc63) == 0x9c41 || (h & 0xfc63) == 0x9c61 ||
	       (h & 0xf8ff) == 0x6081;
}

static void check_half(void *ctx, const struct dis_insn *insn)
{
	bool known = insn->text[0] != '.';
	uint16_t h = vp_ld16(insn->bytes);
	struct arch_insn got;
	int r = ops()->decode(insn->bytes, insn->len, vp_gva(insn->at), &got);

	(*(size_t *)ctx)++;
	assert_int_equal(insn->len, 2);
	/* Zcd and Zcmp read the first in two ways; c.addi16sp of zero is reserved. */
	if ((h & 0xe003) == 0xa002 || h == 0x6101)
		known = false;
	else if (!known && r == VP_OK && is_recent(h))
		return;
	if (r != (known ? VP_OK : VP_E_SITE_BYTES))
		print_message("%04x: %s: %d\n", h, insn->text, r);
	assert_int_equal(r, known ? VP_OK : VP_E_SITE_BYTES);
	if (known)
		agree(insn, &got);
}

static void test_every_halfword_is_what_objdump_says(void **state)
{
	uint8_t *code = malloc(0x20000);
	size_t len = 0, seen = 0;

	(void)state;
	assert_non_null(code);
	for (unsigned h = 0; h < 0x10000; h++) {
		if ((h & 3) == 3)
			continue;
		vp_st16(code + len, (uint16_t)h);
		len += 2;
	}
	dis_bytes(ARCH_RISCV64, code, len, AT, check_half, &seen);
	assert_int_equal(seen, 0xc000);
	free(code);
}

/* What objdump does not know is not looked at: extensions are many, and its own are fewer. */
static void check_word(void *ctx, const struct dis_insn *insn)
{
	struct arch_insn got;
	int r = ops()->decode(insn->bytes, insn->len, vp_gva(insn->at), &got);

	(*(size_t *)ctx)++;
	assert_int_equal(insn->len, 4);
	if (insn->text[0] == '.')
		return;
	if ((insn->bytes[0] & 0x7f) == 0x0b) { /* custom-0, of which binutils knows one maker's */
		assert_int_equal(r, VP_E_SITE_BYTES);
		return;
	}
	if (r != VP_OK)
		print_message("%s: %d\n", insn->text, r);
	assert_int_equal(r, VP_OK);
	agree(insn, &got);
}

static void test_words_are_what_objdump_says(void **state)
{
	static const uint32_t seeds[] = {
		0x0000006f, 0x000000ef, 0x000002ef, 0x00000013, 0x00100073, 0x00008067,
		0x000080e7, 0x00028067, 0xc0001073, 0x00000297, 0x000282e7, 0x0000000f,
	};
	uint8_t *code = malloc(4 * WORDS);
	size_t n = 0, seen = 0;

	(void)state;
	assert_non_null(code);
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		for (unsigned bit = 2; bit <= 32; bit++) {
			uint32_t w = bit < 32 ? seeds[i] ^ 1u << bit : seeds[i];

			if ((w & 0x1f) != 0x1f)
				vp_st32(code + 4 * n++, w);
		}
	while (n < WORDS) {
		uint32_t w = rnd() | 3;

		if (n % 3 == 0) /* jumps and the system class */
			w = (w & ~0x7fu) | (n % 2 ? 0x6f : 0x73);
		if ((w & 0x1f) != 0x1f)
			vp_st32(code + 4 * n++, w);
	}
	dis_bytes(ARCH_RISCV64, code, 4 * n, AT, check_word, &seen);
	assert_int_equal(seen, n);
	free(code);
}

static void kind_is(const char *bytes, size_t len, enum arch_insn_kind kind)
{
	struct arch_insn insn;

	assert_int_equal(decode((const uint8_t *)bytes, len, &insn), VP_OK);
	assert_int_equal(insn.kind, kind);
	assert_int_equal(insn.len, len);
}

#define KIND(bytes, kind) kind_is(bytes, sizeof(bytes) - 1, kind)

static void test_kinds_are_told_apart(void **state)
{
	(void)state;
	KIND("\x01\x00", ARCH_INSN_NOP);
	KIND("\x05\x00", ARCH_INSN_OTHER); /* c.nop 1: a hint */
	KIND("\x13\x00\x00\x00", ARCH_INSN_NOP);
	KIND("\x13\x00\x10\x00", ARCH_INSN_OTHER); /* addi x0, x0, 1: a hint */
	KIND("\x0f\x00\x00\x01", ARCH_INSN_OTHER); /* pause */
	KIND("\x82\x80", ARCH_INSN_RET);
	KIND("\x67\x80\x00\x00", ARCH_INSN_RET);
	KIND("\x82\x82", ARCH_INSN_OTHER);         /* c.jr t0 */
	KIND("\x67\x80\x40\x00", ARCH_INSN_OTHER); /* jr 4(ra) */
	KIND("\x82\x90", ARCH_INSN_OTHER);         /* c.jalr ra: a call, not a direct one */
	KIND("\xe7\x80\x00\x00", ARCH_INSN_OTHER); /* jalr ra */
	KIND("\x02\x90", ARCH_INSN_TRAP);
	KIND("\x73\x00\x10\x00", ARCH_INSN_TRAP);
	KIND("\x00\x00", ARCH_INSN_TRAP);
	KIND("\x73\x10\x00\xc0", ARCH_INSN_TRAP);  /* unimp */
	KIND("\x73\x00\x00\x00", ARCH_INSN_OTHER); /* ecall */
	KIND("\x01\xa0", ARCH_INSN_BRANCH);
	KIND("\x6f\x00\x00\x00", ARCH_INSN_BRANCH);
	KIND("\xef\x00\x00\x00", ARCH_INSN_CALL);
	KIND("\xef\x02\x00\x00", ARCH_INSN_CALL);  /* jal t0, the other link register */
	KIND("\x6f\x03\x00\x00", ARCH_INSN_OTHER); /* jal t1 */
	KIND("\x01\xc1", ARCH_INSN_OTHER);         /* c.beqz a0 */
	KIND("\x63\x00\x05\x00", ARCH_INSN_OTHER); /* beqz a0 */
}

static void test_what_nobody_can_read_is_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int err;
	} rows[] = {
		{"\x1f\x00\x00\x00\x00\x00", 6, VP_E_SITE_BYTES},         /* 48 bits */
		{"\x3f\x00\x00\x00\x00\x00\x00\x00", 8, VP_E_SITE_BYTES}, /* 64 bits */
		{"\x7f\x00\x00\x00\x00\x00\x00\x00", 8, VP_E_SITE_BYTES}, /* 80 and more */
		{"\xff\xff\xff\xff", 4, VP_E_SITE_BYTES},                 /* all ones */
		{"\x0b\x00\x00\x00", 4, VP_E_SITE_BYTES},                 /* custom-0 */
		{"\x2b\x00\x00\x00", 4, VP_E_SITE_BYTES},                 /* custom-1 */
		{"\x5b\x00\x00\x00", 4, VP_E_SITE_BYTES},                 /* custom-2 */
		{"\x7b\x00\x00\x00", 4, VP_E_SITE_BYTES},                 /* custom-3 */
		{"\x6b\x00\x00\x00", 4, VP_E_SITE_BYTES},                 /* reserved */
		{"\x67\x90\x00\x00", 4, VP_E_SITE_BYTES},                 /* JALR with funct3 1 */
		{"\x63\x20\x00\x00", 4, VP_E_SITE_BYTES},                 /* BRANCH with funct3 2 */
		{"\x03\x70\x00\x00", 4, VP_E_SITE_BYTES},                 /* LOAD with funct3 7 */
		{"\x23\x40\x00\x00", 4, VP_E_SITE_BYTES},                 /* STORE with funct3 4 */
		{"\x04\x00", 2, VP_E_SITE_BYTES},                         /* c.addi4spn of zero */
		{"\x02\x80", 2, VP_E_SITE_BYTES},                         /* c.jr x0 */
		{"\x22\xa4", 2, VP_E_SITE_BYTES},                         /* c.fsdsp, or Zcmp */
		{"\x13\x00\x00", 3, VP_E_RANGE},
		{"\x13\x00", 2, VP_E_RANGE},
		{"\x01", 1, VP_E_RANGE},
		{"", 0, VP_E_RANGE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t *buf = malloc(rows[i].len + 1);
		struct arch_insn insn = {.len = 99};

		assert_non_null(buf);
		memcpy(buf, rows[i].bytes, rows[i].len);
		assert_int_equal(decode(buf, rows[i].len, &insn), rows[i].err);
		assert_int_equal(insn.len, 99);
		free(buf);
	}
	assert_int_equal(ops()->decode((const uint8_t *)"\x01\x00", 2, vp_gva(AT + 1),
				       &(struct arch_insn){0}),
			 VP_E_RANGE);
}

static void entry_is(const char *bytes, size_t len, int err, unsigned site, unsigned tracer_len)
{
	/* A block of just that size: reading past it is seen. */
	uint8_t *buf = malloc(len ? len : 1);
	struct arch_entry e = {.site_off = 99};

	assert_non_null(buf);
	memcpy(buf, bytes, len);
	assert_int_equal(ops()->entry(buf, len, vp_gva(AT + 2), &e), err);
	free(buf);
	if (err != VP_OK) {
		assert_int_equal(e.site_off, 99);
		return;
	}
	assert_int_equal(e.site_off, site);
	assert_int_equal(e.site_len, 4);
	assert_int_equal(e.tracer_off, site);
	assert_int_equal(e.tracer_len, tracer_len);
	assert_true(e.shared && e.tracer_idle);
}

#define ENTRY(bytes, err, site, tracer_len) \
	entry_is(bytes, sizeof(bytes) - 1, err, site, tracer_len)

#define NOP      "\x13\x00\x00\x00"
#define C_NOP    "\x01\x00"
#define AUIPC_T0 "\x97\x52\x34\x12"
#define AUIPC_RA "\x97\x50\x34\x12"
#define JALR_T0  "\xe7\x82\x42\x12"
#define JALR_RA  "\xe7\x80\x42\x12"
#define JAL_X0   "\x6f\x00\x00\x10"
#define JAL_RA   "\xef\x00\x00\x10"
#define EBREAK   "\x73\x00\x10\x00"
#define C_EBREAK "\x02\x90"
#define ADDI_SP  "\x41\x11" /* c.addi sp, -16 */

static void test_entry_is_the_tracers_word_behind_an_auipc(void **state)
{
	(void)state;
	ENTRY(AUIPC_T0 NOP ADDI_SP, VP_OK, 4, 4);
	ENTRY(AUIPC_T0 NOP, VP_OK, 4, 4);
	ENTRY(AUIPC_T0 JALR_T0, VP_E_SITE_TRACED, 0, 0);
	ENTRY(AUIPC_T0 JAL_X0, VP_E_SITE_TRACED, 0, 0);
	ENTRY(AUIPC_T0 EBREAK, VP_E_SITE_TRACED, 0, 0);
	ENTRY(AUIPC_T0 C_EBREAK ADDI_SP, VP_E_SITE_TRACED, 0, 0);
	ENTRY(EBREAK NOP, VP_E_SITE_TRACED, 0, 0);
	ENTRY(EBREAK JALR_T0, VP_E_SITE_TRACED, 0, 0);
	ENTRY(AUIPC_RA JALR_RA, VP_E_NO_SITE, 0, 0); /* a call, not a tracer's */
	ENTRY(AUIPC_RA NOP, VP_E_NO_SITE, 0, 0);
	ENTRY(AUIPC_T0 JALR_RA, VP_E_NO_SITE, 0, 0);
	ENTRY(AUIPC_T0 JAL_RA, VP_E_NO_SITE, 0, 0);
	ENTRY(AUIPC_T0 C_NOP C_NOP, VP_E_NO_SITE, 0, 0);
	ENTRY(ADDI_SP AUIPC_T0 NOP, VP_E_NO_SITE, 0, 0);
	ENTRY(AUIPC_T0, VP_E_RANGE, 0, 0);
	ENTRY(AUIPC_T0 "\x13\x00\x00", VP_E_RANGE, 0, 0);
	ENTRY("", VP_E_RANGE, 0, 0);
}

static void test_entry_is_the_first_of_two_nops(void **state)
{
	(void)state;
	ENTRY(NOP NOP ADDI_SP, VP_OK, 0, 8);
	ENTRY(NOP NOP, VP_OK, 0, 8);
	ENTRY(JAL_X0 NOP, VP_E_SITE_TRACED, 0, 0);
	ENTRY(C_EBREAK ADDI_SP NOP, VP_E_SITE_TRACED, 0, 0);
	ENTRY(NOP JALR_T0, VP_E_NO_SITE, 0, 0); /* half of a call: nobody makes that */
	ENTRY(NOP ADDI_SP ADDI_SP, VP_E_NO_SITE, 0, 0);
	ENTRY(JAL_X0 ADDI_SP ADDI_SP, VP_E_NO_SITE, 0, 0);
	/* before the kernel has set up ftrace */
	ENTRY(C_NOP C_NOP C_NOP C_NOP, VP_E_NO_SITE, 0, 0);
	ENTRY(NOP, VP_E_RANGE, 0, 0);
	assert_int_equal(
		ops()->entry((const uint8_t *)NOP NOP, 8, vp_gva(AT + 1), &(struct arch_entry){0}),
		VP_E_RANGE);
}

int main(void)
{
	static const char *const tools[] = {"riscv64-linux-gnu-objdump"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_halfword_is_what_objdump_says),
		cmocka_unit_test(test_words_are_what_objdump_says),
		cmocka_unit_test(test_kinds_are_told_apart),
		cmocka_unit_test(test_what_nobody_can_read_is_refused),
		cmocka_unit_test(test_entry_is_the_tracers_word_behind_an_auipc),
		cmocka_unit_test(test_entry_is_the_first_of_two_nops),
	};

	dis_need_tools(tools, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
