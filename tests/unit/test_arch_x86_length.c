// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Instruction lengths against objdump: all code of two large system libraries (vector code of
 * every generation among it), and generated instructions over every opcode, prefix and ModRM form.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "tests/lib/dis.h"

struct count {
	size_t same, skipped, differ;
};

static uint64_t rng = 0x13198a2e03707344ull; /* the same sequence in every run */

static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 11) % below;
}

/* objdump prints these where it gives up, or where a prefix stands alone because it was overridden
 * or belongs to the next line. FWAIT (9b) it merges with the x87 instruction behind it. */
static bool not_one_instruction(const struct dis_insn *insn)
{
	static const char *const prefixes[] = {
		"lock", "rep", "repz", "repnz", "data16", "addr32", "cs",      "ss",
		"ds",   "es",  "fs",   "gs",    "rex",    "bnd",    "notrack",
	};
	const char *t = insn->text;

	if (strstr(t, "(bad)") || strstr(t, ".byte") || !*t)
		return true;
	if (insn->bytes[0] == 0x9b)
		return true;
	while (*t) { /* nothing but prefixes? */
		size_t n = strcspn(t, " ."), i;
		size_t word = strcspn(t, " ");

		for (i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
			if (strlen(prefixes[i]) == n && !strncmp(t, prefixes[i], n))
				break;
		if (i == sizeof(prefixes) / sizeof(prefixes[0]))
			return false;
		t += word;
		t += strspn(t, " ");
	}
	return true;
}

/* What decode refuses and says so: near branches with 66 and no REX.W, which vendors read
 * differently; XOP; and VEX or EVEX behind a prefix that makes every CPU raise #UD. */
static bool refused_by_design(const struct dis_insn *insn)
{
	bool opsize = false, rexw = false, rex = false, mandatory = false;
	unsigned i = 0;
	uint8_t op = 0, next;

	for (; i < insn->len; i++) {
		op = insn->bytes[i];
		rex = (op & 0xf0) == 0x40;
		if (!rex && !memchr("\x66\x67\xf2\xf3\xf0\x2e\x36\x3e\x26\x64\x65", op, 11))
			break;
		opsize |= op == 0x66;
		mandatory |= rex || memchr("\x66\xf2\xf3\xf0", op, 4);
		rexw = (op & 0xf8) == 0x48;
	}
	if (i + 1 >= insn->len)
		return false;
	next = insn->bytes[i + 1];
	if (op == 0x8f)
		return (next & 0x38) != 0;
	if (op == 0xc4 || op == 0xc5 || op == 0x62)
		return mandatory;
	if (!opsize || rexw)
		return false;
	if (op == 0x0f)
		return (next & 0xf0) == 0x80;
	return op == 0xe8 || op == 0xe9 || op == 0xeb || (op & 0xf0) == 0x70 ||
	       (op == 0xc7 && next == 0xf8);
}

static void compare(void *ctx, const struct dis_insn *insn)
{
	const struct arch_ops *a = arch_get(ARCH_X86_64);
	struct count *n = ctx;
	struct arch_insn got = {0};
	/* Just its bytes, in a block of just that size: one read more is seen by the sanitizer,
	 * one read less leaves the length short. */
	uint8_t *exact = malloc(insn->len);
	int r;

	assert_non_null(exact);
	memcpy(exact, insn->bytes, insn->len);
	r = a->decode(exact, insn->len, vp_gva(insn->at), &got);
	free(exact);
	if (not_one_instruction(insn)) {
		n->skipped++;
		return;
	}
	if (refused_by_design(insn)) {
		assert_int_equal(r, VP_E_SITE_BYTES);
		n->skipped++;
		return;
	}
	if (r == VP_OK && got.len == insn->len) {
		n->same++;
		return;
	}
	if (n->differ++ < 100)
		print_message("%#" PRIx64 ": %02x %02x %02x %02x %02x %02x %02x: %s: objdump %u, "
			      "decode %d %u\n",
			      insn->at, insn->bytes[0], insn->bytes[1], insn->bytes[2],
			      insn->bytes[3], insn->bytes[4], insn->bytes[5], insn->bytes[6],
			      insn->text, insn->len, r, got.len);
}

static void test_every_instruction_of_system_libraries_has_its_length(void **state)
{
	static const char *const files[] = {
		"/lib/x86_64-linux-gnu/libc.so.6",
		"/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
	};
	const char *more = getenv("VP_LENGTH_ELF"); /* another ELF file, a vmlinux say */
	struct count n = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (access(files[i], R_OK) == 0)
			dis_file(ARCH_X86_64, files[i], compare, &n);
	if (more)
		dis_file(ARCH_X86_64, more, compare, &n);
	print_message("%zu lengths agree, %zu not comparable\n", n.same, n.skipped);
	if (n.same == 0)
		skip(); /* no x86-64 libraries on this host */
	assert_int_equal(n.differ, 0);
	assert_true(n.skipped < n.same / 100);
}

#define SLOT    32 /* 15 bytes of instruction, then NOPs to fall back into step */
#define SLOTS   48000
#define VARIETY 14

/* Prefixes, an opcode from every map in turn, ModRM of every form, random bytes behind. */
static void generate(uint8_t *slot, unsigned i)
{
	static const char *const prefixes[VARIETY] = {
		"",     "\x66",     "\xf3", "\xf2", "\x67",     "\x48",     "\x41",
		"\x4f", "\x66\x48", "\xf0", "\x65", "\x66\x67", "\x2e\x66", "\xf2\x48",
	};
	const char *p = prefixes[rnd(VARIETY)];
	unsigned n = 0;

	for (unsigned j = 0; j < 15; j++)
		slot[j] = (uint8_t)rnd(256);
	memset(slot + 15, 0x90, SLOT - 15);
	switch (i % 6) {
	case 0:
	case 1:
	case 2:
	case 3:
		for (; *p; p++)
			slot[n++] = (uint8_t)*p;
		if (i % 6 > 0)
			slot[n++] = 0x0f;
		if (i % 6 > 1)
			slot[n++] = i % 6 == 2 ? 0x38 : 0x3a;
		slot[n++] = (uint8_t)(i / 6);
		break;
	case 4:
		slot[0] = i / 6 % 2 ? 0xc4 : 0xc5;
		n = i / 6 % 2 ? 4 : 3;
		if (i / 6 % 2)
			slot[1] = (uint8_t)((slot[1] & 0xe0) | (1 + rnd(3)));
		break;
	default:
		slot[0] = 0x62;
		slot[1] = (uint8_t)((slot[1] & 0xf0) | (1 + rnd(6)));
		slot[2] |= 4;
		n = 5;
		break;
	}
	if (rnd(3) == 0) /* the forms chance seldom gives: disp32 alone, SIB without base */
		slot[n] = (uint8_t)((slot[n] & 0x38) | (rnd(2) ? 5 : 4));
	if (rnd(4) == 0)
		slot[n + 1] = (uint8_t)((slot[n + 1] & 0xf8) | 5);
}

struct slots {
	struct count n;
	uint64_t vma;
};

static void compare_slot(void *ctx, const struct dis_insn *insn)
{
	struct slots *s = ctx;

	if ((insn->at - s->vma) % SLOT == 0)
		compare(&s->n, insn);
}

static void test_generated_instructions_have_their_length(void **state)
{
	uint8_t *code = malloc((size_t)SLOT * SLOTS);
	struct slots s = {.vma = 0x10000};

	(void)state;
	assert_non_null(code);
	for (unsigned i = 0; i < SLOTS; i++)
		generate(code + (size_t)SLOT * i, i);
	dis_bytes(ARCH_X86_64, code, (size_t)SLOT * SLOTS, s.vma, compare_slot, &s);
	free(code);
	print_message("%zu lengths agree, %zu not comparable\n", s.n.same, s.n.skipped);
	assert_int_equal(s.n.differ, 0);
	assert_true(s.n.same > SLOTS / 4);
}

/* Cut anywhere, a valid instruction is too short, and nothing behind the cut is touched. */
static void test_a_cut_instruction_is_out_of_range(void **state)
{
	static const struct {
		const char *bytes;
		unsigned len;
	} insns[] = {
		{"\x0f\x1f\x44\x00\x00", 5},
		{"\xe8\x00\x00\x00\x00", 5},
		{"\x66\x0f\x1f\x84\x00\x00\x00\x00\x00", 9},
		{"\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 10},
		{"\xa1\x01\x02\x03\x04\x05\x06\x07\x08", 9},
		{"\x67\xa1\x01\x02\x03\x04", 6},
		{"\x48\x81\x84\x24\x00\x01\x00\x00\x78\x56\x34\x12", 12},
		{"\xc4\xe3\x7d\x06\xc1\x20", 6},
		{"\x62\xf1\x7c\x48\x10\x05\x00\x00\x00\x00", 10},
		{"\xc8\x10\x00\x01", 4},
		{"\xf7\x04\x25\x00\x00\x00\x00\x01\x00\x00\x00", 11},
		{"\x2e\x2e\x2e\x2e\x66\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 15},
	};
	const struct arch_ops *a = arch_get(ARCH_X86_64);

	(void)state;
	for (size_t i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
		for (unsigned len = 0; len <= insns[i].len; len++) {
			struct arch_insn insn = {.len = 99};
			uint8_t *cut = malloc(len ? len : 1);
			int r;

			assert_non_null(cut);
			memcpy(cut, insns[i].bytes, len);
			r = a->decode(cut, len, vp_gva(0), &insn);
			assert_int_equal(r, len < insns[i].len ? VP_E_RANGE : VP_OK);
			assert_int_equal(insn.len, len < insns[i].len ? 99 : len);
			free(cut);
		}
	}
}

static void test_what_is_no_instruction_is_refused(void **state)
{
	static const char *const bad[] = {
		"\x06",
		"\x0e",
		"\x16",
		"\x1f",
		"\x27",
		"\x2f",
		"\x37",
		"\x3f",
		"\x60",
		"\x61",
		"\x82\xc0\x01",
		"\x9a",
		"\xce",
		"\xd4\x0a",
		"\xd5\x0a",
		"\xd6",
		"\xea",
		"\x0f\x04",
		"\x0f\x0a",
		"\x0f\x24\xc0",
		"\x0f\x36",
		"\x0f\x39",
		"\x0f\x7a\xc0",
		"\xfe\xd0",
		"\xff\xf8",
		"\xc6\xc8\x01",
		"\xc7\xc8\x01\x01\x01\x01",
		"\x8f\xe8\x78\xc0\xc1\x01", /* XOP */
		"\x66\xe8\x01\x01\x01\x01", /* 16 or 32 bits, by vendor */
		"\x66\x0f\x84\x01\x01\x01\x01",
		"\x66\xeb\x01",
		"\x66\xc5\xf8\x77", /* prefix before VEX */
		"\xf3\xc5\xf8\x77",
		"\x48\xc5\xf8\x77",
		"\xf0\x62\xf1\x7c\x48\x10\xc0",
		"\xc4\xe4\x7d\x06\xc1\x20", /* VEX map 4 */
		"\x62\xf9\x7c\x48\x10\xc0", /* EVEX with bit 3 of P0 */
		"\x62\xf1\x78\x48\x10\xc0", /* EVEX with P[10] clear */
		"\x62\xf4\x7c\x48\x10\xc0", /* EVEX map 4 */
		/* sixteen bytes, all but the last a prefix */
		"\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x90",
		"\x2e\x2e\x2e\x2e\x2e\x66\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08",
	};
	const struct arch_ops *a = arch_get(ARCH_X86_64);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct arch_insn insn;
		uint8_t buf[ARCH_INSN_MAX + 8];

		memset(buf, 0x11, sizeof(buf));
		memcpy(buf, bad[i], strlen(bad[i]));
		if (a->decode(buf, sizeof(buf), vp_gva(0), &insn) != VP_E_SITE_BYTES)
			print_message("row %zu\n", i);
		assert_int_equal(a->decode(buf, sizeof(buf), vp_gva(0), &insn), VP_E_SITE_BYTES);
	}
}

static void test_random_bytes_never_lead_outside(void **state)
{
	(void)state;
	for (unsigned arch = 0; arch < ARCH_COUNT; arch++) {
		const struct arch_ops *a = arch_get((enum arch_id)arch);

		for (unsigned i = 0; i < 300000; i++) {
			unsigned len = rnd(18);
			uint8_t *buf = malloc(len ? len : 1);
			struct arch_insn insn;
			struct arch_entry entry;

			assert_non_null(buf);
			for (unsigned j = 0; j < len; j++)
				buf[j] = (uint8_t)rnd(256);
			if (a->decode(buf, len, vp_gva(0), &insn) == VP_OK)
				assert_in_range(insn.len, 1, len);
			if (a->entry(buf, len, vp_gva(0), &entry) == VP_OK)
				assert_true(entry.tracer_off + entry.tracer_len <= len);
			free(buf);
		}
	}
}

int main(void)
{
	static const char *const tools[] = {"objdump"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_instruction_of_system_libraries_has_its_length),
		cmocka_unit_test(test_generated_instructions_have_their_length),
		cmocka_unit_test(test_a_cut_instruction_is_out_of_range),
		cmocka_unit_test(test_what_is_no_instruction_is_refused),
		cmocka_unit_test(test_random_bytes_never_lead_outside),
	};

	dis_need_tools(tools, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
