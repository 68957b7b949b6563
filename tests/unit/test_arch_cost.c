// SPDX-License-Identifier: LGPL-2.1-or-later
/* What an unpatched site costs: the table of docs/disciplines.md, counted by the decoders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "arch/arch.h"
#include "protocol/sites_abi.h"

#define DOC "docs/disciplines.md"

/* The bytes at rest of docs/abi.md, "A site". */
static const struct row {
	const char *name;
	enum arch_id arch;
	unsigned seq, len;
	uint8_t rest[16];
	unsigned literal; /* bytes that the sequence must have besides */
} rows[] = {
	{"x86-nop5", ARCH_X86_64, VP_SEQ_X86_NOP5, 5, {0x0f, 0x1f, 0x44, 0x00, 0x00}, 0},
	{"arm64-two",
	 ARCH_ARM64,
	 VP_SEQ_ARM64_TWO,
	 8,
	 {0xe9, 0x03, 0x1e, 0xaa, 0x1f, 0x20, 0x03, 0xd5},
	 0},
	{"arm64-three",
	 ARCH_ARM64,
	 VP_SEQ_ARM64_THREE,
	 12,
	 {0xe9, 0x03, 0x1e, 0xaa, 0x1f, 0x20, 0x03, 0xd5, 0xfe, 0x03, 0x09, 0xaa},
	 0},
	{"arm64-four",
	 ARCH_ARM64,
	 VP_SEQ_ARM64_FOUR,
	 16,
	 {0xfd, 0x7b, 0xbf, 0xa9, 0xfd, 0x03, 0x00, 0x91, 0x04, 0x00, 0x00, 0x94, 0xfd, 0x7b, 0xc1,
	  0xa8},
	 0},
	{"riscv-pair",
	 ARCH_RISCV64,
	 VP_SEQ_RISCV_PAIR,
	 8,
	 {0x13, 0x00, 0x00, 0x00, 0x13, 0x00, 0x00, 0x00},
	 0},
	{"riscv-ops-a",
	 ARCH_RISCV64,
	 VP_SEQ_RISCV_OPS_A,
	 8,
	 {0x97, 0x02, 0x00, 0x00, 0x13, 0x00, 0x00, 0x00},
	 8},
	{"riscv-ops-b", ARCH_RISCV64, VP_SEQ_RISCV_OPS_B, 4, {0x13, 0x00, 0x00, 0x00}, 8},
	{"riscv-ops-c", ARCH_RISCV64, VP_SEQ_RISCV_OPS_C, 4, {0x13, 0x00, 0x00, 0x00}, 8},
	{"thumb-wide", ARCH_THUMB2, VP_SEQ_THUMB_WIDE, 4, {0xaf, 0xf3, 0x00, 0x80}, 0},
	{"thumb-pair16", ARCH_THUMB2, VP_SEQ_THUMB_PAIR16, 4, {0x00, 0xbf, 0x00, 0xbf}, 0},
	{"ppc64-mflr",
	 ARCH_PPC64LE,
	 VP_SEQ_PPC64_MFLR,
	 8,
	 {0xa6, 0x02, 0x08, 0x7c, 0x00, 0x00, 0x00, 0x60},
	 0},
	{"ppc64-nop", ARCH_PPC64LE, VP_SEQ_PPC64_NOP, 4, {0x00, 0x00, 0x00, 0x60}, 0},
};
#define N (sizeof(rows) / sizeof(rows[0]))

static unsigned count(const struct row *row)
{
	const struct arch_ops *ops = arch_get(row->arch);
	unsigned n = 0;

	for (unsigned off = 0; off < row->len; n++) {
		struct arch_insn insn;

		assert_int_equal(
			ops->decode(row->rest + off, row->len - off, vp_gva(0x10000 + off), &insn),
			VP_OK);
		assert_true(insn.len > 0 && off + insn.len <= row->len);
		off += insn.len;
	}
	return n;
}

static void test_every_sequence_is_there(void **state)
{
	(void)state;
	assert_int_equal(N, VP_SEQ_COUNT - 1);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(rows[i].seq, i + 1);
}

static void test_the_documents_table_is_what_the_decoders_count(void **state)
{
	static char text[1 << 16];
	FILE *f = fopen(DOC, "re");
	bool missing = false;

	(void)state;
	if (f) {
		text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
		fclose(f);
	}
	for (unsigned i = 0; i < N; i++) {
		char row[128];

		snprintf(row, sizeof(row), "| `%s` | %u | %u | %u |", rows[i].name, count(&rows[i]),
			 rows[i].len, rows[i].literal);
		print_message("%s\n", row);
		missing |= f && !strstr(text, row);
	}
	if (!f)
		skip(); /* not run where the sources are */
	assert_false(missing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_sequence_is_there),
		cmocka_unit_test(test_the_documents_table_is_what_the_decoders_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
