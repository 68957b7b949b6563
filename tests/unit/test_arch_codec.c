// SPDX-License-Identifier: LGPL-2.1-or-later
/* Encoders against objdump, at every boundary and sampled in between; entries and decoding. */
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
#include "tests/lib/dis.h"

#define SAMPLES 6000

static uint64_t rng = 0x243f6a8885a308d3ull; /* the same sequence in every run */

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* A run of instructions made by an encoder, and the text each must disassemble to. */
struct batch {
	enum arch_id arch;
	uint64_t vma;
	uint8_t *code;
	size_t len;
	char (*text)[64];
	size_t n, seen;
};

static void batch_init(struct batch *b, enum arch_id arch, uint64_t vma, size_t cap)
{
	memset(b, 0, sizeof(*b));
	b->arch = arch;
	b->vma = vma;
	b->code = calloc(cap, ARCH_VENEER_MAX);
	b->text = calloc(cap, sizeof(*b->text));
	assert_non_null(b->code);
	assert_non_null(b->text);
}

static void compare(void *ctx, const struct dis_insn *insn)
{
	struct batch *b = ctx;

	assert_true(b->seen < b->n);
	if (strcmp(insn->text, b->text[b->seen]))
		print_message("at %#" PRIx64 ": ", insn->at);
	assert_string_equal(insn->text, b->text[b->seen]);
	b->seen++;
}

static void batch_check(struct batch *b)
{
	dis_bytes(b->arch, b->code, b->len, b->vma, compare, b);
	assert_int_equal(b->seen, b->n);
	free(b->code);
	free(b->text);
}

/* Distances from the instruction's own start that a direct branch must reach: both ends, around
 * zero, every power of two, and a sample of the rest. */
static int64_t distance(unsigned i, int64_t lo, int64_t hi, unsigned align)
{
	int64_t step = align;
	int64_t v;

	switch (i) {
	case 0:
		return lo;
	case 1:
		return hi;
	case 2:
		return lo + step;
	case 3:
		return hi - step;
	case 4:
		return 0;
	case 5:
		return step;
	case 6:
		return -step;
	default:
		break;
	}
	if (i < 7 + 64) {
		v = (int64_t)(1ull << (i - 7) / 2 % 32);
		v = i & 1 ? v : -v;
	} else {
		v = lo + (int64_t)(rnd() % (uint64_t)(hi - lo));
	}
	v &= -step;
	return v < lo ? lo : v > hi ? hi : v;
}

static void branches(enum arch_id id, uint64_t vma, bool call, const char *mnemonic, int64_t lo,
		     int64_t hi)
{
	const struct arch_ops *a = arch_get(id);
	struct batch b;

	batch_init(&b, id, vma, SAMPLES);
	for (unsigned i = 0; i < SAMPLES; i++) {
		vp_gva_t at = vp_gva(vma + b.len);
		vp_gva_t to = vp_gva(at.v + (uint64_t)distance(i, lo, hi, a->insn_align));
		struct arch_insn insn;
		unsigned len = 0;
		int r = call ? a->call(b.code + b.len, at, to, &len)
			     : a->branch(b.code + b.len, at, to, &len);

		assert_int_equal(r, VP_OK);
		assert_int_equal(a->decode(b.code + b.len, len, at, &insn), VP_OK);
		assert_int_equal(insn.kind, call ? ARCH_INSN_CALL : ARCH_INSN_BRANCH);
		assert_int_equal(insn.target.v, to.v);
		assert_int_equal(insn.len, len);
		snprintf(b.text[b.n++], sizeof(b.text[0]), "%s %#" PRIx64, mnemonic, to.v);
		b.len += len;
	}
	batch_check(&b);
}

static void test_x86_branches_disassemble_to_their_target(void **state)
{
	int64_t lo = 5 - (1ll << 31), hi = 5 + (1ll << 31) - 1;

	(void)state;
	branches(ARCH_X86_64, 0xffffffff00000000ull, false, "jmp", lo, hi);
	branches(ARCH_X86_64, 0x7f0000000000ull, false, "jmp", lo, hi);
	branches(ARCH_X86_64, 0x7f0000000000ull, true, "call", lo, hi);
}

static void test_arm64_branches_disassemble_to_their_target(void **state)
{
	int64_t lo = -(1ll << 27), hi = (1ll << 27) - 4;

	(void)state;
	branches(ARCH_ARM64, 0xffff800010000000ull, false, "b", lo, hi);
	branches(ARCH_ARM64, 0xffff800010000000ull, true, "bl", lo, hi);
}

static void test_riscv64_branches_disassemble_to_their_target(void **state)
{
	int64_t lo = -(1ll << 20), hi = (1ll << 20) - 2;

	(void)state;
	branches(ARCH_RISCV64, 0xffffffff80200000ull, false, "j", lo, hi);
	branches(ARCH_RISCV64, 0xffffffff80200002ull, true, "jal", lo, hi);
}

static void refused(enum arch_id id, uint64_t at, uint64_t to, int err)
{
	const struct arch_ops *a = arch_get(id);
	uint8_t buf[ARCH_INSN_MAX];
	unsigned len = 77;

	memset(buf, 0xa5, sizeof(buf));
	assert_int_equal(a->branch(buf, vp_gva(at), vp_gva(to), &len), err);
	assert_int_equal(a->call(buf, vp_gva(at), vp_gva(to), &len), err);
	assert_int_equal(len, 77);
	assert_int_equal(buf[0], 0xa5);
}

static void test_a_branch_one_step_too_far_is_refused(void **state)
{
	const uint64_t k = 0xffff800010000000ull;

	(void)state;
	refused(ARCH_X86_64, k, k + 5 + (1ull << 31), VP_E_REACH);
	refused(ARCH_X86_64, k, k + 5 - (1ull << 31) - 1, VP_E_REACH);
	refused(ARCH_X86_64, k, 0, VP_E_REACH);
	refused(ARCH_X86_64, 0, 1ull << 63, VP_E_REACH);
	refused(ARCH_ARM64, k, k + (1ull << 27), VP_E_REACH);
	refused(ARCH_ARM64, k, k - (1ull << 27) - 4, VP_E_REACH);
	refused(ARCH_ARM64, 0, 1ull << 63, VP_E_REACH);
	refused(ARCH_ARM64, k + 2, k, VP_E_RANGE);
	refused(ARCH_ARM64, k, k + 1, VP_E_RANGE);
	refused(ARCH_RISCV64, k, k + (1ull << 20), VP_E_REACH);
	refused(ARCH_RISCV64, k, k - (1ull << 20) - 2, VP_E_REACH);
	refused(ARCH_RISCV64, 0, 1ull << 63, VP_E_REACH);
	refused(ARCH_RISCV64, k + 1, k, VP_E_RANGE);
	refused(ARCH_RISCV64, k, k + 1, VP_E_RANGE);
}

static void test_arm64_veneer_disassembles_to_its_target(void **state)
{
	const struct arch_ops *a = arch_get(ARCH_ARM64);
	const uint64_t vma = 0xffff800010000000ull;
	struct batch b;

	(void)state;
	batch_init(&b, ARCH_ARM64, vma, 3 * SAMPLES);
	for (unsigned i = 0; i < SAMPLES; i++) {
		vp_gva_t at = vp_gva(vma + b.len);
		uint64_t page = at.v & ~0xfffull;
		int64_t d = distance(i, -(1ll << 32), (1ll << 32) - 4, 4);
		vp_gva_t to = vp_gva(page + (uint64_t)d);
		unsigned len = 0;

		assert_int_equal(a->veneer(b.code + b.len, ARCH_VENEER_MAX, at, to, &len), VP_OK);
		assert_int_equal(len, 12);
		snprintf(b.text[b.n++], 64, "adrp x16, %#" PRIx64, (uint64_t)(to.v & ~0xfffull));
		snprintf(b.text[b.n++], 64, "add x16, x16, #0x%" PRIx64, (uint64_t)(to.v & 0xfff));
		snprintf(b.text[b.n++], 64, "br x16");
		b.len += len;
	}
	batch_check(&b);
}

/* The pair is one jump for objdump, too: it names the target behind the second. */
static void check_pair(void *ctx, const struct dis_insn *insn)
{
	struct batch *b = ctx;
	const char *target = strchr(insn->text, '#');
	uint64_t want = strtoull(b->text[b->seen / 2], NULL, 16);

	assert_int_equal(insn->len, 4);
	if (b->seen++ % 2 == 0) {
		assert_memory_equal(insn->text, "auipc t2,", 9);
		return;
	}
	assert_memory_equal(insn->text, "jr ", 3);
	assert_non_null(strstr(insn->text, "t2"));
	assert_non_null(target);
	if (strtoull(target + 1, NULL, 16) != want)
		print_message("at %#" PRIx64 ": %s\n", insn->at, insn->text);
	assert_true(strtoull(target + 1, NULL, 16) == want);
}

static void test_riscv64_veneer_disassembles_to_its_target(void **state)
{
	const struct arch_ops *a = arch_get(ARCH_RISCV64);
	const uint64_t vma = 0xffffffc000000002ull;
	struct batch b;

	(void)state;
	batch_init(&b, ARCH_RISCV64, vma, SAMPLES);
	for (unsigned i = 0; i < SAMPLES; i++) {
		vp_gva_t at = vp_gva(vma + b.len);
		int64_t d = distance(i, -(1ll << 31) - 0x800, (1ll << 31) - 0x802, 2);
		vp_gva_t to = vp_gva(at.v + (uint64_t)d);
		unsigned len = 0;

		if (!(d & 0xfff)) /* a plain jr, of which objdump does not say where to */
			to.v += 2;
		assert_int_equal(a->veneer(b.code + b.len, ARCH_VENEER_MAX, at, to, &len), VP_OK);
		assert_int_equal(len, 8);
		snprintf(b.text[b.n++], 64, "%" PRIx64, to.v);
		b.len += len;
	}
	dis_bytes(b.arch, b.code, b.len, b.vma, check_pair, &b);
	assert_int_equal(b.seen, 2 * b.n);
	free(b.code);
	free(b.text);
}

static void test_veneers_keep_to_their_reach_and_room(void **state)
{
	const struct arch_ops *a = arch_get(ARCH_ARM64);
	const uint64_t k = 0xffff800010000000ull;
	uint8_t buf[ARCH_VENEER_MAX];
	unsigned len;

	(void)state;
	assert_int_equal(a->veneer(buf, 11, vp_gva(k), vp_gva(k), &len), VP_E_RANGE);
	assert_int_equal(a->veneer(buf, 12, vp_gva(k + 2), vp_gva(k), &len), VP_E_RANGE);
	assert_int_equal(a->veneer(buf, 12, vp_gva(k), vp_gva(k + (1ull << 32)), &len), VP_E_REACH);
	assert_int_equal(a->veneer(buf, 12, vp_gva(k), vp_gva(k - (1ull << 32) - 4), &len),
			 VP_E_REACH);
	a = arch_get(ARCH_X86_64);
	assert_int_equal(a->veneer(buf, 4, vp_gva(k), vp_gva(k), &len), VP_E_RANGE);
	assert_int_equal(a->veneer(buf, 5, vp_gva(k), vp_gva(k + (1ull << 31) + 5), &len),
			 VP_E_REACH);
	assert_int_equal(a->veneer(buf, 5, vp_gva(k), vp_gva(k + (1ull << 31) + 4), &len), VP_OK);
	assert_int_equal(len, 5);
	assert_int_equal(buf[0], 0xe9);
	a = arch_get(ARCH_RISCV64);
	assert_int_equal(a->veneer(buf, 7, vp_gva(k), vp_gva(k), &len), VP_E_RANGE);
	assert_int_equal(a->veneer(buf, 8, vp_gva(k + 1), vp_gva(k), &len), VP_E_RANGE);
	assert_int_equal(a->veneer(buf, 8, vp_gva(k), vp_gva(k + 1), &len), VP_E_RANGE);
	assert_int_equal(a->veneer(buf, 8, vp_gva(k), vp_gva(k + (1ull << 31) - 0x800), &len),
			 VP_E_REACH);
	assert_int_equal(a->veneer(buf, 8, vp_gva(k), vp_gva(k - (1ull << 31) - 0x802), &len),
			 VP_E_REACH);
	assert_int_equal(a->veneer(buf, 8, vp_gva(k), vp_gva(k - (1ull << 31) - 0x800), &len),
			 VP_OK);
	/* auipc t2, 0; jr t2: RV unpriv. 2.4.1 and 2.5.1 */
	assert_int_equal(a->veneer(buf, 8, vp_gva(k), vp_gva(k), &len), VP_OK);
	assert_int_equal(vp_ld32(buf), 0x00000397);
	assert_int_equal(vp_ld32(buf + 4), 0x00038067);
}

static void test_nops_and_traps_disassemble_as_such(void **state)
{
	static const char *const x86_nops[] = {
		"nop",
		"xchg %ax,%ax",
		"nopl (%rax)",
		"nopl 0x0(%rax)",
		"nopl 0x0(%rax,%rax,1)",
		"nopw 0x0(%rax,%rax,1)",
		"nopl 0x0(%rax)",
		"nopl 0x0(%rax,%rax,1)",
		"nopw 0x0(%rax,%rax,1)",
	};
	const struct arch_ops *x = arch_get(ARCH_X86_64), *a = arch_get(ARCH_ARM64);
	const struct arch_ops *v = arch_get(ARCH_RISCV64);
	struct batch b;
	unsigned len;

	(void)state;
	batch_init(&b, ARCH_X86_64, 0, 16);
	for (unsigned i = 1; i <= 9; i++) {
		assert_int_equal(x->nop(b.code + b.len, i), VP_OK);
		strcpy(b.text[b.n++], x86_nops[i - 1]);
		b.len += i;
	}
	assert_int_equal(x->trap(b.code + b.len, &len), VP_OK);
	strcpy(b.text[b.n++], "int3");
	b.len += len;
	batch_check(&b);

	batch_init(&b, ARCH_ARM64, 0, 16);
	assert_int_equal(a->nop(b.code, 4), VP_OK);
	assert_int_equal(a->trap(b.code + 4, &len), VP_OK);
	memcpy(b.code + 8, a->filler, 4);
	strcpy(b.text[b.n++], "nop");
	strcpy(b.text[b.n++], "brk #0x100");
	strcpy(b.text[b.n++], "udf #0");
	b.len = 12;
	batch_check(&b);

	batch_init(&b, ARCH_RISCV64, 0, 16);
	assert_int_equal(v->nop(b.code, 2), VP_OK);
	assert_int_equal(v->nop(b.code + 2, 4), VP_OK);
	assert_int_equal(v->trap(b.code + 6, &len), VP_OK);
	memcpy(b.code + 10, v->filler, 2);
	strcpy(b.text[b.n++], "nop");
	strcpy(b.text[b.n++], "nop");
	strcpy(b.text[b.n++], "ebreak");
	strcpy(b.text[b.n++], "unimp");
	b.len = 12;
	batch_check(&b);
}

static void check_kind(void *ctx, const struct dis_insn *insn)
{
	const struct arch_ops *a = arch_get(ARCH_ARM64);
	enum arch_insn_kind want = ARCH_INSN_OTHER;
	const char *t = insn->text;
	struct arch_insn got;

	(*(size_t *)ctx)++;
	if (!strncmp(t, "b 0x", 4))
		want = ARCH_INSN_BRANCH;
	else if (!strncmp(t, "bl 0x", 5))
		want = ARCH_INSN_CALL;
	else if (!strcmp(t, "nop"))
		want = ARCH_INSN_NOP;
	else if (!strncmp(t, "brk ", 4) || !strncmp(t, "udf ", 4))
		want = ARCH_INSN_TRAP;
	else if (!strcmp(t, "ret") || !strncmp(t, "ret ", 4) || !strcmp(t, "retaa") ||
		 !strcmp(t, "retab"))
		want = ARCH_INSN_RET;
	assert_int_equal(a->decode(insn->bytes, 4, vp_gva(insn->at), &got), VP_OK);
	if (got.kind != want)
		print_message("%s: kind %d\n", t, got.kind);
	assert_int_equal(got.kind, want);
	if (want == ARCH_INSN_BRANCH || want == ARCH_INSN_CALL)
		assert_int_equal(got.target.v, strtoull(strchr(t, ' ') + 1, NULL, 16));
}

/* Random words, and every one-bit neighbour of the instructions that mean something here. */
static void test_arm64_decode_agrees_with_objdump(void **state)
{
	static const uint32_t seeds[] = {
		0x14000000, 0x94000000, 0xd503201f, 0xd503245f, 0xd4200000, 0xd65f03c0,
		0xd65f0bff, 0xd65f0fff, 0x00000000, 0xd61f0200, 0xd69f03e0, 0xaa1e03e9,
	};
	size_t n = 0, seen = 0;
	uint8_t *code = malloc(4 * 24000);

	(void)state;
	assert_non_null(code);
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		for (unsigned bit = 0; bit <= 32; bit++)
			vp_st32(code + 4 * n++, bit < 32 ? seeds[i] ^ 1u << bit : seeds[i]);
	while (n < 24000) {
		uint32_t w = (uint32_t)rnd();

		if (n % 4 == 0) /* more of the branch and system class than chance gives */
			w = (w & 0x03ffffff) | 0xd4000000;
		vp_st32(code + 4 * n++, w);
	}
	dis_bytes(ARCH_ARM64, code, 4 * n, 0xffff800010000000ull, check_kind, &seen);
	assert_int_equal(seen, n);
	free(code);
}

static void entry_is(enum arch_id id, const char *bytes, size_t len, int err, unsigned site,
		     bool idle)
{
	const struct arch_ops *a = arch_get(id);
	/* A block of just that size: reading past it is seen. */
	uint8_t *buf = malloc(len ? len : 1);
	struct arch_entry e = {.site_off = 99};

	assert_non_null(buf);
	memcpy(buf, bytes, len);
	assert_int_equal(a->entry(buf, len, vp_gva(0xffff800008000000ull), &e), err);
	free(buf);
	if (err != VP_OK) {
		assert_int_equal(e.site_off, 99);
		return;
	}
	assert_int_equal(e.site_off, site);
	assert_int_equal(e.tracer_idle, idle);
	if (id == ARCH_X86_64) {
		assert_true(e.shared);
		assert_int_equal(e.site_len, 5);
		assert_int_equal(e.tracer_off, site);
		assert_int_equal(e.tracer_len, 5);
	} else {
		assert_false(e.shared);
		assert_int_equal(e.site_len, 4);
		assert_int_equal(e.tracer_off, site + 4);
		assert_int_equal(e.tracer_len, 4);
	}
}

#define X86(bytes, err, site)       entry_is(ARCH_X86_64, bytes, sizeof(bytes) - 1, err, site, true)
#define ARM(bytes, err, site, idle) entry_is(ARCH_ARM64, bytes, sizeof(bytes) - 1, err, site, idle)

static void test_x86_entry_is_the_five_byte_nop(void **state)
{
	(void)state;
	X86("\x0f\x1f\x44\x00\x00\x55", VP_OK, 0);
	X86("\x0f\x1f\x44\x00\x00", VP_OK, 0);
	X86("\xf3\x0f\x1e\xfa\x0f\x1f\x44\x00\x00", VP_OK, 4);
	X86("\xe8\x01\x02\x03\x04", VP_E_SITE_TRACED, 0);
	X86("\xf3\x0f\x1e\xfa\xe8\x01\x02\x03\x04", VP_E_SITE_TRACED, 0);
	X86("\xcc\x1f\x44\x00\x00", VP_E_SITE_TRACED, 0);
	X86("\xe9\x01\x02\x03\x04", VP_E_SITE_TRACED, 0);
	X86("\x55\x48\x89\xe5\x53", VP_E_NO_SITE, 0);
	X86("\x0f\x1f\x44\x00\x01", VP_E_NO_SITE, 0);
	X86("\x66\x66\x66\x66\x90", VP_E_NO_SITE, 0); /* an older five-byte nop */
	X86("\xf3\x0f\x1e\xfa\xf3\x0f\x1e\xfa\x90", VP_E_NO_SITE, 0);
	X86("\x0f\x1f\x44\x00", VP_E_RANGE, 0);
	X86("\xf3\x0f\x1e\xfa\x0f\x1f\x44\x00", VP_E_RANGE, 0);
	X86("", VP_E_RANGE, 0);
}

#define MOV_X9  "\xe9\x03\x1e\xaa"
#define NOP     "\x1f\x20\x03\xd5"
#define PACIASP "\x3f\x23\x03\xd5"
#define BTI_C   "\x5f\x24\x03\xd5"
#define BTI     "\x1f\x24\x03\xd5"
#define BTI_JC  "\xdf\x24\x03\xd5"
#define BL      "\x00\x01\x00\x94"
#define B       "\x00\x01\x00\x14"
#define BRK     "\x00\x20\x20\xd4"

static void test_arm64_entry_is_the_move_before_the_tracers_word(void **state)
{
	(void)state;
	ARM(MOV_X9 NOP PACIASP, VP_OK, 0, true);
	ARM(MOV_X9 NOP, VP_OK, 0, true);
	ARM(MOV_X9 BL, VP_OK, 0, false);
	ARM(BTI_C MOV_X9 NOP, VP_OK, 4, true);
	ARM(BTI MOV_X9 BL, VP_OK, 4, false);
	ARM(BTI_JC MOV_X9 NOP, VP_OK, 4, true);
	ARM(B NOP, VP_E_SITE_TRACED, 0, false);
	ARM(B BL, VP_E_SITE_TRACED, 0, false);
	ARM(BRK NOP, VP_E_SITE_TRACED, 0, false);
	ARM(BTI_C BRK BL, VP_E_SITE_TRACED, 0, false);
	ARM(B PACIASP, VP_E_NO_SITE, 0, false);
	ARM(MOV_X9 PACIASP, VP_E_NO_SITE, 0, false);
	ARM(NOP NOP, VP_E_NO_SITE, 0, false); /* before the kernel has set up ftrace */
	ARM(PACIASP MOV_X9 NOP, VP_E_NO_SITE, 0, false);
	ARM(BTI_C BTI_C MOV_X9 NOP, VP_E_NO_SITE, 0, false);
	ARM(MOV_X9, VP_E_RANGE, 0, false);
	ARM(BTI_C MOV_X9, VP_E_RANGE, 0, false);
	ARM("\xe9\x03\x1e", VP_E_RANGE, 0, false);
	ARM("", VP_E_RANGE, 0, false);
}

static void kind_is(enum arch_id id, const char *bytes, size_t len, enum arch_insn_kind kind)
{
	struct arch_insn insn;

	assert_int_equal(arch_get(id)->decode((const uint8_t *)bytes, len, vp_gva(0x1000), &insn),
			 VP_OK);
	assert_int_equal(insn.kind, kind);
	assert_int_equal(insn.len, len);
}

#define KIND(bytes, kind) kind_is(ARCH_X86_64, bytes, sizeof(bytes) - 1, kind)

static void test_x86_kinds_are_told_apart(void **state)
{
	(void)state;
	KIND("\xc3", ARCH_INSN_RET);
	KIND("\xf3\xc3", ARCH_INSN_RET);
	KIND("\xc2\x08\x00", ARCH_INSN_RET);
	KIND("\xcb", ARCH_INSN_OTHER);
	KIND("\xcc", ARCH_INSN_TRAP);
	KIND("\xcd\x03", ARCH_INSN_OTHER);
	KIND("\xf3\x90", ARCH_INSN_OTHER);         /* pause */
	KIND("\x41\x90", ARCH_INSN_OTHER);         /* xchg %eax,%r8d */
	KIND("\x48\x90", ARCH_INSN_NOP);           /* rex.W nop */
	KIND("\xf3\x0f\x1e\xfa", ARCH_INSN_OTHER); /* endbr64 */
	KIND("\xeb\xfe", ARCH_INSN_BRANCH);
	KIND("\x74\xfe", ARCH_INSN_OTHER);
	KIND("\xff\xe0", ARCH_INSN_OTHER);
	KIND("\xff\xd0", ARCH_INSN_OTHER);
	KIND("\x2e\xe8\x00\x00\x00\x00", ARCH_INSN_CALL);
	KIND("\x66\x48\xe8\x00\x00\x00\x00", ARCH_INSN_CALL);
	KIND("\x0f\x0b", ARCH_INSN_OTHER);
	KIND("\xc5\xf8\x77", ARCH_INSN_OTHER);
}

int main(void)
{
	static const char *const tools[] = {"objdump", "aarch64-linux-gnu-objdump",
					    "riscv64-linux-gnu-objdump"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_x86_branches_disassemble_to_their_target),
		cmocka_unit_test(test_arm64_branches_disassemble_to_their_target),
		cmocka_unit_test(test_riscv64_branches_disassemble_to_their_target),
		cmocka_unit_test(test_a_branch_one_step_too_far_is_refused),
		cmocka_unit_test(test_arm64_veneer_disassembles_to_its_target),
		cmocka_unit_test(test_riscv64_veneer_disassembles_to_its_target),
		cmocka_unit_test(test_veneers_keep_to_their_reach_and_room),
		cmocka_unit_test(test_nops_and_traps_disassemble_as_such),
		cmocka_unit_test(test_arm64_decode_agrees_with_objdump),
		cmocka_unit_test(test_x86_entry_is_the_five_byte_nop),
		cmocka_unit_test(test_arm64_entry_is_the_move_before_the_tracers_word),
		cmocka_unit_test(test_x86_kinds_are_told_apart),
	};

	dis_need_tools(tools, 3);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
