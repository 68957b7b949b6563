// SPDX-License-Identifier: LGPL-2.1-or-later
/* ppc64le: encoders and decoding against objdump, entries, and the map that needs no tables. */
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
#include "arch/ppc64le/regs.h"
#include "protocol/bytes.h"
#include "tests/lib/batch.h"
#include "tests/lib/dis.h"
#include "tests/lib/tables.h"

#define K 0xc000000010000000ull

static uint64_t rng = 0x13198a2e03707344ull; /* the same sequence in every run */

static const struct arch_ops *ops(void)
{
	return arch_get(ARCH_PPC64LE);
}

static void test_branches_disassemble_to_their_target(void **state)
{
	int64_t lo = -(1ll << 25), hi = (1ll << 25) - 4;

	(void)state;
	batch_branches(ARCH_PPC64LE, K, false, "b", lo, hi);
	batch_branches(ARCH_PPC64LE, K, true, "bl", lo, hi);
}

static void test_a_branch_one_step_too_far_is_refused(void **state)
{
	(void)state;
	batch_refused(ARCH_PPC64LE, K, K + (1ull << 25), VP_E_REACH);
	batch_refused(ARCH_PPC64LE, K, K - (1ull << 25) - 4, VP_E_REACH);
	batch_refused(ARCH_PPC64LE, 0, 1ull << 63, VP_E_REACH);
	batch_refused(ARCH_PPC64LE, K + 2, K, VP_E_RANGE);
	batch_refused(ARCH_PPC64LE, K, K + 1, VP_E_RANGE);
}

/* As objdump prints the immediate of lis, which is signed. */
static int signed16(uint64_t v)
{
	return (int16_t)(uint16_t)v;
}

static void test_a_veneer_makes_its_whole_target_in_r12(void **state)
{
	struct batch b;
	uint8_t buf[ARCH_VENEER_MAX];
	unsigned len;

	(void)state;
	batch_init(&b, ARCH_PPC64LE, K, 3000);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t to = (batch_rnd(&rng) >> (i % 64)) & ~3ull;

		to = i == 0 ? 0 : i == 1 ? ~3ull : i == 2 ? K : to;
		assert_int_equal(ops()->veneer(batch_room(&b), ARCH_VENEER_MAX, batch_at(&b),
					       vp_gva(to), &len),
				 VP_OK);
		assert_int_equal(len, 28);
		batch_take(&b, len,
			   "lis r12,%d\nori r12,r12,%u\nsldi r12,r12,32\noris r12,r12,%u\n"
			   "ori r12,r12,%u\nmtctr r12\nbctr",
			   signed16(to >> 48), (unsigned)(to >> 32 & 0xffff),
			   (unsigned)(to >> 16 & 0xffff), (unsigned)(to & 0xffff));
	}
	batch_check(&b);
	assert_int_equal(ops()->veneer(buf, 27, vp_gva(K), vp_gva(K), &len), VP_E_RANGE);
	assert_int_equal(ops()->veneer(buf, 28, vp_gva(K + 2), vp_gva(K), &len), VP_E_RANGE);
	assert_int_equal(ops()->veneer(buf, 28, vp_gva(K), vp_gva(K + 1), &len), VP_E_RANGE);
}

static void test_nop_and_traps_disassemble_as_such(void **state)
{
	struct batch b;
	unsigned len;

	(void)state;
	batch_init(&b, ARCH_PPC64LE, 0, 4);
	assert_int_equal(ops()->nop(batch_room(&b), 4), VP_OK);
	batch_take(&b, 4, "nop");
	assert_int_equal(ops()->trap(batch_room(&b), &len), VP_OK);
	batch_take(&b, len, "trap");
	memcpy(batch_room(&b), ops()->filler, ops()->filler_len);
	batch_take(&b, 4, ".long 0x0");
	batch_check(&b);
}

static void check_kind(void *ctx, const struct dis_insn *insn)
{
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
	else if (!strcmp(t, "trap") || !strcmp(t, "twui r0,0") || !strcmp(t, ".long 0x0"))
		want = ARCH_INSN_TRAP;
	else if (!strcmp(t, "blr"))
		want = ARCH_INSN_RET;
	assert_int_equal(insn->len, 4);
	assert_int_equal(ops()->decode(insn->bytes, 4, vp_gva(insn->at), &got), VP_OK);
	if (got.kind != want)
		print_message("%s: kind %d\n", t, got.kind);
	assert_int_equal(got.kind, want);
	assert_int_equal(got.len, 4);
	if (want == ARCH_INSN_BRANCH || want == ARCH_INSN_CALL)
		assert_int_equal(got.target.v, strtoull(strchr(t, ' ') + 1, NULL, 16));
}

/* Random words, and every one-bit neighbour of the instructions that mean something here. */
static void test_decode_agrees_with_objdump(void **state)
{
	static const uint32_t seeds[] = {
		0x48000000, 0x48000001, 0x60000000, 0x7fe00008, 0x0fe00000, 0x4e800020,
		0x4e800420, 0x4e800021, 0x00000000, 0x7c0802a6, 0x3c4c0001, 0x4c000024,
	};
	size_t n = 0, seen = 0;
	uint8_t *code = malloc(4 * 24000);

	(void)state;
	assert_non_null(code);
	for (size_t i = 0; n < 24000; i++) {
		uint32_t w = (uint32_t)batch_rnd(&rng);
		size_t seed = i / 33, bit = i % 33;

		if (seed < sizeof(seeds) / sizeof(seeds[0]))
			w = bit < 32 ? seeds[seed] ^ 1u << bit : seeds[seed];
		else if (i % 4 == 0) /* more branches than chance gives */
			w = (w & 0x03ffffff) | 0x48000000;
		if (w >> 26 != 1) /* prefixes are tested below */
			vp_st32(code + 4 * n++, w);
	}
	dis_bytes(ARCH_PPC64LE, code, 4 * n, K, check_kind, &seen);
	assert_int_equal(seen, n);
	free(code);
}

static void check_prefixed(void *ctx, const struct dis_insn *insn)
{
	struct arch_insn got;

	(*(size_t *)ctx)++;
	assert_int_equal(ops()->decode(insn->bytes, insn->len, vp_gva(insn->at), &got), VP_OK);
	assert_int_equal(got.len, insn->len);
}

static void test_a_prefixed_instruction_is_eight_bytes_inside_a_line(void **state)
{
	/* pnop; paddi r12,0,16,1; pld r3,0(r4),0; nop */
	static const uint32_t words[] = {0x07000000, 0,          0x06100000, 0x39800010,
					 0x04000000, 0xe4640000, 0x60000000};
	uint8_t code[sizeof(words)];
	struct arch_insn insn;
	size_t seen = 0;

	(void)state;
	for (unsigned i = 0; i < sizeof(words) / 4; i++)
		vp_st32(code + 4 * i, words[i]);
	dis_bytes(ARCH_PPC64LE, code, sizeof(code), K, check_prefixed, &seen);
	assert_int_equal(seen, 4);
	for (unsigned off = 0; off < 128; off += 4) {
		vp_gva_t at = vp_gva(K + off);
		bool crosses = off % 64 == 60;

		assert_int_equal(ops()->decode(code, 8, at, &insn),
				 crosses ? VP_E_SITE_BYTES : VP_OK);
		assert_int_equal(ops()->decode(code, 7, at, &insn),
				 crosses ? VP_E_SITE_BYTES : VP_E_RANGE);
	}
	assert_int_equal(insn.kind, ARCH_INSN_OTHER);
	assert_int_equal(insn.len, 8);
}

struct want {
	int err;
	unsigned site, tracer;
	bool shared, idle;
};

static void entry_is(const uint32_t *words, unsigned n, struct want want)
{
	/* A block of just that size: reading past it is seen. */
	uint8_t *buf = malloc(n ? 4 * n : 1);
	struct arch_entry e = {.site_off = 99};

	assert_non_null(buf);
	for (unsigned i = 0; i < n; i++)
		vp_st32(buf + 4 * i, words[i]);
	assert_int_equal(ops()->entry(buf, 4 * n, vp_gva(K), &e), want.err);
	free(buf);
	if (want.err != VP_OK) {
		assert_int_equal(e.site_off, 99);
		return;
	}
	assert_int_equal(e.site_off, want.site);
	assert_int_equal(e.site_len, 4);
	assert_int_equal(e.tracer_off, want.tracer);
	assert_int_equal(e.tracer_len, 4);
	assert_int_equal(e.shared, want.shared);
	assert_int_equal(e.tracer_idle, want.idle);
}

#define ENTRY(want, ...) \
	entry_is((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4, want)
#define REFUSED(e)                     ((struct want){.err = (e)})
#define AT(site, tracer, shared, idle) ((struct want){VP_OK, site, tracer, shared, idle})

#define ADDIS 0x3c4c0123 /* addis r2,r12 */
#define LIS   0x3c400123 /* lis r2 */
#define ADDI  0x38428765 /* addi r2,r2 */
#define MFLR  0x7c0802a6
#define NOP   0x60000000
#define BL    0x48000101
#define B     0x48000100
#define TRAP  0x7fe00008
#define STD   0xf8010010 /* std r0,16(r1) */

static void test_an_entry_is_found_behind_the_toc_pair(void **state)
{
	(void)state;
	ENTRY(AT(8, 12, false, true), ADDIS, ADDI, MFLR, NOP);
	ENTRY(AT(8, 12, false, false), ADDIS, ADDI, MFLR, BL);
	ENTRY(AT(8, 12, false, true), LIS, ADDI, MFLR, NOP, STD);
	ENTRY(AT(0, 4, false, true), MFLR, NOP);
	ENTRY(AT(0, 4, false, false), MFLR, BL, STD);
	ENTRY(AT(8, 8, true, true), ADDIS, ADDI, NOP);
	ENTRY(AT(8, 8, true, true), ADDIS, ADDI, NOP, MFLR);
	ENTRY(AT(0, 0, true, true), NOP);
	ENTRY(AT(0, 0, true, true), NOP, MFLR, STD);
	ENTRY(REFUSED(VP_E_SITE_TRACED), ADDIS, ADDI, B, NOP);
	ENTRY(REFUSED(VP_E_SITE_TRACED), ADDIS, ADDI, B, MFLR);
	ENTRY(REFUSED(VP_E_SITE_TRACED), B);
	ENTRY(REFUSED(VP_E_SITE_TRACED), TRAP, NOP);
	ENTRY(REFUSED(VP_E_NO_SITE), MFLR, STD, NOP);
	ENTRY(REFUSED(VP_E_NO_SITE), MFLR, B, NOP);
	ENTRY(REFUSED(VP_E_NO_SITE), ADDIS, NOP, NOP, NOP);
	ENTRY(REFUSED(VP_E_NO_SITE), ADDIS, ADDI, ADDIS, ADDI);
	ENTRY(REFUSED(VP_E_NO_SITE), STD, MFLR, NOP);
	ENTRY(REFUSED(VP_E_NO_SITE), BL, NOP);
	ENTRY(REFUSED(VP_E_NO_SITE), 0, 0, 0, 0);
	ENTRY(REFUSED(VP_E_RANGE), ADDIS);
	ENTRY(REFUSED(VP_E_RANGE), ADDIS, ADDI);
	ENTRY(REFUSED(VP_E_RANGE), ADDIS, ADDI, MFLR);
	ENTRY(REFUSED(VP_E_RANGE), MFLR);
	entry_is(NULL, 0, REFUSED(VP_E_RANGE));
}

static struct arch_regs regs_of(uint64_t msr)
{
	struct arch_regs regs = {.have = 1u << PPC64LE_REG_MSR};

	regs.v[PPC64LE_REG_MSR] = msr;
	return regs;
}

#define MSR_LINUX (PPC64LE_MSR_SF | PPC64LE_MSR_IR | PPC64LE_MSR_DR | PPC64LE_MSR_LE)

static int walk(const struct arch_mmu *mmu, uint64_t at, struct arch_xlate *x)
{
	struct tables none = {0};
	int r;

	memset(x, 0xa5, sizeof(*x));
	r = ops()->walk(mmu, vp_gva(at), tables_fetch, &none, x);
	assert_int_equal(none.reads, 0);
	return r;
}

static void test_the_linear_map_needs_no_root(void **state)
{
	struct arch_regs regs = regs_of(MSR_LINUX);
	struct arch_xlate x;
	struct arch_mmu mmu;

	(void)state;
	for (unsigned hv = 0; hv < 2; hv++) {
		regs.v[PPC64LE_REG_MSR] = MSR_LINUX | (hv ? PPC64LE_MSR_HV : 0);
		assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_OK);
		assert_int_equal(mmu.n_alt, 0);
		assert_int_equal(walk(&mmu, K + 0x1234, &x), VP_OK);
		assert_true(x.present && x.writable && x.executable && !x.user);
		assert_int_equal(x.gpa.v, 0x10001234);
		assert_int_equal(x.page_log, 12);
		assert_int_equal(walk(&mmu, 0xc000000000000000ull, &x), VP_OK);
		assert_int_equal(x.gpa.v, 0);
		assert_int_equal(walk(&mmu, 0xc0000fffffffffffull, &x), VP_OK);
		assert_int_equal(x.gpa.v, 0xfffffffffffull);
		/* Modules and vmalloc: tables that nobody shows. */
		assert_int_equal(walk(&mmu, 0xc000100000000000ull, &x), VP_E_UNSUPPORTED);
		assert_int_equal(walk(&mmu, 0xc008000000000000ull, &x), VP_E_UNSUPPORTED);
		assert_int_equal(walk(&mmu, 0xcfffffffffffffffull, &x), VP_E_UNSUPPORTED);
		/* User space, and where no kernel is. */
		assert_int_equal(walk(&mmu, 0x10001234, &x), VP_E_UNMAPPED);
		assert_int_equal(walk(&mmu, 0xbfffffffffffffffull, &x), VP_E_UNMAPPED);
		assert_int_equal(walk(&mmu, 0xd000000000000000ull, &x), VP_E_UNMAPPED);
		assert_int_equal(walk(&mmu, UINT64_MAX, &x), VP_E_UNMAPPED);
	}
}

static void test_real_addresses_are_a_hypervisors(void **state)
{
	struct arch_regs regs = regs_of(PPC64LE_MSR_SF | PPC64LE_MSR_HV | PPC64LE_MSR_LE);
	struct arch_xlate x;
	struct arch_mmu mmu;

	(void)state;
	assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_E_UNSUPPORTED); /* no HRMOR */
	regs.have |= 1u << PPC64LE_REG_HRMOR;
	assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_OK);
	assert_int_equal(walk(&mmu, 0x1234, &x), VP_OK);
	assert_int_equal(x.gpa.v, 0x1234);
	assert_int_equal(walk(&mmu, K, &x), VP_OK);
	assert_int_equal(x.gpa.v, 0x10000000);
	regs.v[PPC64LE_REG_HRMOR] = 0x8000000;
	assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_OK);
	assert_int_equal(walk(&mmu, 0x1234, &x), VP_OK);
	assert_int_equal(x.gpa.v, 0x8001234);
	assert_int_equal(walk(&mmu, 0x8000000000001234ull, &x), VP_OK);
	assert_int_equal(x.gpa.v, 0x1234);
}

static void test_what_registers_do_not_tell_is_refused(void **state)
{
	static const uint64_t msr[] = {
		MSR_LINUX & ~PPC64LE_MSR_LE,     MSR_LINUX & ~PPC64LE_MSR_SF,
		MSR_LINUX & ~PPC64LE_MSR_IR,     MSR_LINUX & ~PPC64LE_MSR_DR,
		PPC64LE_MSR_SF | PPC64LE_MSR_LE, /* a guest's real mode */
	};
	const struct arch_mmu odd[] = {
		{.granule_log = 16, .va_bits = 64},
		{.granule_log = 12, .va_bits = 48},
		{.granule_log = 12, .va_bits = 64, .levels = 4},
		{.granule_log = 12, .va_bits = 64, .root = {4096}},
		{.granule_log = 12, .va_bits = 64, .flags = 2},
		{.granule_log = 12, .va_bits = 64, .flags = 1, .root = {1ull << 60}},
	};
	struct arch_regs regs = {0};
	struct arch_xlate x;
	struct arch_mmu mmu;

	(void)state;
	assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_E_UNSUPPORTED);
	for (size_t i = 0; i < sizeof(msr) / sizeof(msr[0]); i++) {
		regs = regs_of(msr[i]);
		regs.have |= 1u << PPC64LE_REG_HRMOR;
		assert_int_equal(ops()->mmu_from_regs(&regs, &mmu), VP_E_UNSUPPORTED);
	}
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(walk(&odd[i], K, &x), VP_E_UNSUPPORTED);
}

int main(void)
{
	static const char *const tools[] = {"powerpc64le-linux-gnu-objdump"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_branches_disassemble_to_their_target),
		cmocka_unit_test(test_a_branch_one_step_too_far_is_refused),
		cmocka_unit_test(test_a_veneer_makes_its_whole_target_in_r12),
		cmocka_unit_test(test_nop_and_traps_disassemble_as_such),
		cmocka_unit_test(test_decode_agrees_with_objdump),
		cmocka_unit_test(test_a_prefixed_instruction_is_eight_bytes_inside_a_line),
		cmocka_unit_test(test_an_entry_is_found_behind_the_toc_pair),
		cmocka_unit_test(test_the_linear_map_needs_no_root),
		cmocka_unit_test(test_real_addresses_are_a_hypervisors),
		cmocka_unit_test(test_what_registers_do_not_tell_is_refused),
	};

	dis_need_tools(tools, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
