// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Relocations of Thumb objects: byte for byte what ld makes of the same object. They are not beside
 * the other architectures' because their addends lie in the code and their symbols have a type.
 */
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

#define EACH 200u /* relocations of each type */
#define BASE 0x80000000ull

#define S(bits) -(1ll << ((bits)-1)), (1ll << ((bits)-1)) - 1
#define U(bits) 0, (1ll << (bits)) - 1

/* One type, the word it is applied to, and the addend that lies in that word. */
static const struct row {
	uint32_t type;
	bool place; /* the value is relative to the place */
	bool insn;
	int64_t lo, hi;
	uint32_t word; /* an instruction has its first halfword on top */
	int64_t addend;
} rows[] = {
	{2, false, false, U(32), 0, 0},           /* ABS32 */
	{2, false, false, U(32), 0x1234, 0x1234}, /* ABS32 */
	{3, true, false, S(32), 0, 0},            /* REL32 */
	{3, true, false, S(32), 0xfffffff8, -8},  /* REL32 */
	{10, true, true, S(25), 0xf7fffffe, -4},  /* THM_CALL: bl */
	{30, true, true, S(25), 0xf7ffbffe, -4},  /* THM_JUMP24: b.w */
	{38, false, false, U(32), 0, 0},          /* TARGET1 */
	{42, true, false, S(31), 1u << 31, 0},    /* PREL31 */
	{42, true, false, S(31), 16, 16},         /* PREL31 */
	{47, false, true, U(32), 0xf2400300, 0},  /* THM_MOVW_ABS_NC: movw r3 */
	{48, false, true, U(32), 0xf2c00300, 0},  /* THM_MOVT_ABS: movt r3 */
	{49, true, true, S(32), 0xf2400300, 0},   /* THM_MOVW_PREL_NC */
	{50, true, true, S(32), 0xf2c00300, 0},   /* THM_MOVT_PREL */
	{51, true, true, S(21), 0xf43faffe, -4},  /* THM_JUMP19: beq.w */
};

#define ROWS  (sizeof(rows) / sizeof(rows[0]))
#define CASES (ROWS * EACH)

static uint64_t rng = 0xbe5466cf34e90c6cull; /* the same sequence in every run */

static const struct arch_ops *ops(void)
{
	return arch_get(ARCH_THUMB2);
}

static bool is_branch(const struct row *row)
{
	return row->insn && row->addend;
}

static void put(uint8_t *to, const struct row *row)
{
	if (row->insn) {
		vp_st16(to, (uint16_t)(row->word >> 16));
		vp_st16(to + 2, (uint16_t)row->word);
	} else {
		vp_st32(to, row->word);
	}
}

/*
 * A symbol for which the value at p is the i-th of the type's range. ld counts a branch's Thumb bit
 * as distance, too, and takes a stub for the last place of its reach.
 */
static uint64_t symbol_of(const struct row *row, uint64_t p, unsigned i)
{
	int64_t hi = (row->hi & ~1ll) - (is_branch(row) ? 2 : 0);
	int64_t v = batch_distance(&rng, i, row->lo, hi, 2);

	return (uint64_t)v + (row->place ? p : 0) - (uint64_t)row->addend;
}

struct link {
	char dir[64];
	uint64_t sym[CASES];
	uint8_t in[4 * CASES], out[4 * CASES];
};

static FILE *open_in(const struct link *l, const char *name, const char *mode)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", l->dir, name);
	f = fopen(path, mode);
	assert_non_null(f);
	return f;
}

/* Symbols come out of a second object: a linker script's are never Thumb functions. */
static void write_sources(struct link *l)
{
	FILE *text = open_in(l, "in.s", "w"), *syms = open_in(l, "sym.s", "w");
	FILE *script = open_in(l, "in.ld", "w");

	fprintf(text, ".syntax unified\n.arch armv7-a\n.thumb\n.text\n");
	for (size_t k = 0; k < CASES; k++) {
		const struct row *row = &rows[k / EACH];

		l->sym[k] = (symbol_of(row, BASE + 4 * k, (unsigned)(k % EACH)) & UINT32_MAX) | 1;
		put(l->in + 4 * k, row);
		fprintf(text, ".short %#x, %#x\n.reloc %zu, %s, s%zu\n", vp_ld16(l->in + 4 * k),
			vp_ld16(l->in + 4 * k + 2), 4 * k, arch_reloc_name(ops(), row->type), k);
		fprintf(syms, ".globl s%zu\n.type s%zu, %%function\ns%zu = %#" PRIx64 "\n", k, k, k,
			l->sym[k]);
	}
	fprintf(script, "SECTIONS { . = %#llx; .text : { *(.text) } }\n", BASE);
	assert_int_equal(fclose(text), 0);
	assert_int_equal(fclose(syms), 0);
	assert_int_equal(fclose(script), 0);
}

static void run_linker(struct link *l)
{
	char cmd[512];
	FILE *f;

	snprintf(
		cmd, sizeof(cmd),
		"cd %s && for i in in sym; do arm-linux-gnueabihf-as -o $i.o $i.s || exit; done && "
		"arm-linux-gnueabihf-ld --no-fix-cortex-a8 -e 0 -o out -T in.ld in.o sym.o && "
		"arm-linux-gnueabihf-objcopy -O binary -j .text out bin",
		l->dir);
	assert_int_equal(system(cmd), 0);
	f = open_in(l, "bin", "r");
	assert_int_equal(fread(l->out, 1, sizeof(l->out), f), sizeof(l->out));
	fclose(f);
}

static void test_relocations_give_the_bytes_that_ld_gives(void **state)
{
	struct link *l = calloc(1, sizeof(*l));
	size_t around = 0;

	(void)state;
	assert_non_null(l);
	dis_tmpdir(l->dir);
	write_sources(l);
	run_linker(l);
	dis_rmdir(l->dir);
	for (size_t k = 0; k < CASES; k++) {
		const struct row *row = &rows[k / EACH];
		uint64_t target = l->sym[k] + (uint64_t)row->addend + (is_branch(row) ? 4 : 0);
		int r = ops()->reloc(l->in + 4 * k, 4, row->type, vp_gva(BASE + 4 * k), l->sym[k],
				     row->addend);

		if (target >> 32) { /* ld lets it wrap */
			assert_int_equal(r, VP_E_REACH);
			around++;
			continue;
		}
		if (r != VP_OK || memcmp(l->in + 4 * k, l->out + 4 * k, 4))
			print_message("%s: case %zu: %d\n", arch_reloc_name(ops(), row->type),
				      k % EACH, r);
		assert_int_equal(r, VP_OK);
		assert_memory_equal(l->in + 4 * k, l->out + 4 * k, 4);
	}
	assert_true(around < CASES / 20);
	free(l);
}

static int apply(const struct row *row, uint64_t p, int64_t v, size_t avail)
{
	uint8_t loc[4];
	int r;

	put(loc, row);
	r = ops()->reloc(loc, avail, row->type, vp_gva(p),
			 (uint64_t)v + (row->place ? p : 0) - (uint64_t)row->addend, row->addend);
	if (r < 0) { /* then nothing was written */
		uint8_t before[4];

		put(before, row);
		assert_memory_equal(loc, before, 4);
	}
	return r;
}

static void test_limits_of_value_and_place_are_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *row = &rows[i];
		int64_t hi = row->hi & ~1ll;

		assert_int_equal(apply(row, BASE, row->lo, 4), VP_OK);
		assert_int_equal(apply(row, BASE, hi, 4), VP_OK);
		/* Where the type has no limit, memory does: REL32 spans all of it here. */
		assert_int_equal(apply(row, BASE, row->lo - 2, 4), VP_E_REACH);
		assert_int_equal(apply(row, BASE, hi + 2, 4), VP_E_REACH);
		assert_int_equal(apply(row, BASE, 0, 3), VP_E_RANGE);
		assert_int_equal(apply(row, BASE + (1ull << 32), 0, 4), VP_E_RANGE);
		assert_int_equal(apply(row, BASE + 1, row->place ? 1 : 0, 4),
				 row->insn ? VP_E_RANGE : VP_OK);
	}
}

/* Near by only across the end of memory. */
static void test_a_branch_around_memory_is_refused(void **state)
{
	uint8_t loc[4] = {0};

	(void)state;
	assert_int_equal(ops()->reloc(loc, 4, 10, vp_gva(0xfffffff0), 0x11, -4), VP_E_REACH);
	assert_int_equal(ops()->reloc(loc, 4, 10, vp_gva(0x10), 0xfffffff1, -4), VP_E_REACH);
	assert_int_equal(ops()->reloc(loc, 4, 10, vp_gva(0xfffffff0), 0x100000011, -4), VP_E_REACH);
	assert_int_equal(ops()->reloc(loc, 4, 10, vp_gva(0x10), 1, -4), VP_OK);
	assert_int_equal(ops()->reloc(loc, 4, 10, vp_gva(0x10), 0, -4), VP_OK);
}

static void test_fields_of_arm_code_and_a_got_are_refused_by_name(void **state)
{
	static const uint32_t types[] = {1, 24, 25, 26, 28, 29, 41, 43, 44, 45, 46, 96, 102, 103};
	uint8_t loc[4] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		assert_non_null(arch_reloc_name(ops(), types[i]));
		assert_int_equal(ops()->reloc(loc, 4, types[i], vp_gva(0), 0, 0), VP_E_RELOC);
	}
}

int main(void)
{
	static const char *const tools[] = {"arm-linux-gnueabihf-as", "arm-linux-gnueabihf-ld",
					    "arm-linux-gnueabihf-objcopy"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_relocations_give_the_bytes_that_ld_gives),
		cmocka_unit_test(test_limits_of_value_and_place_are_kept),
		cmocka_unit_test(test_a_branch_around_memory_is_refused),
		cmocka_unit_test(test_fields_of_arm_code_and_a_got_are_refused_by_name),
	};

	dis_need_tools(tools, 3);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
