/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "protocol/ledger.h"

#define SELF UINT64_C(0xffffffff82000040)

static const struct vp_edit edits[2] = {
	{.gva = {SELF + 0x1000},
	 .gpa = {0x3000},
	 .kind = VP_EDIT_TRACER,
	 .discipline = VP_DISCIPLINE_STOP,
	 .len = 8,
	 .new = {3},
	 .rest = {1}},
	{.gva = {SELF - 0x1000},
	 .gpa = {0x1000},
	 .kind = VP_EDIT_SITE,
	 .discipline = VP_DISCIPLINE_STOP,
	 .len = 5,
	 .old = {9, 9, 9, 9, 9},
	 .new = {0xe9, 1, 2, 3, 4},
	 .rest = {0x0f, 0x1f, 0x44, 0, 0}},
};

static uint8_t *make(struct vp_ledger *l)
{
	uint8_t *buf;

	memset(l, 0, sizeof(*l));
	l->self = vp_gva(SELF);
	l->state = VP_LEDGER_APPLYING;
	l->seq = 5;
	l->flags = VP_LEDGER_UNSIGNED;
	l->n_edits = 2;
	l->text = "CVE-2026-0001";
	l->text_len = 13;
	l->payload_len = 70;
	l->size = vp_ledger_size(2, 13, 70, &l->payload_off);
	memset(l->id, 0xab, sizeof(l->id));
	strcpy(l->name, "fix");
	strcpy(l->version, "1.0");
	buf = malloc(l->size);
	memset(buf, 0x55, l->size);
	assert_int_equal(vp_ledger_encode(buf, l->size, l, edits), VP_OK);
	return buf;
}

static void test_record_reads_back_as_written(void **state)
{
	struct vp_ledger l, got;
	uint8_t *buf = make(&l);
	struct vp_edit e;

	(void)state;
	assert_int_equal(l.size % VP_LEDGER_ALIGN, 0);
	assert_int_equal(l.payload_off % VP_LEDGER_ALIGN, 0);
	assert_int_equal(vp_ledger_decode(buf, l.size, l.self, &got), VP_OK);
	assert_int_equal(got.size, l.size);
	assert_int_equal(got.seq, 5);
	assert_int_equal(got.flags, VP_LEDGER_UNSIGNED);
	assert_string_equal(got.name, "fix");
	assert_string_equal(got.version, "1.0");
	assert_int_equal(got.text_len, 13);
	assert_memory_equal(got.text, "CVE-2026-0001", 13);
	assert_memory_equal(got.id, l.id, sizeof(l.id));
	vp_ledger_edit(&got, 1, &e);
	assert_int_equal(e.gva.v, edits[1].gva.v);
	assert_int_equal(e.len, 5);
	assert_memory_equal(e.new, edits[1].new, 8);
	assert_memory_equal(e.rest, edits[1].rest, 8);
	assert_memory_equal(e.old, edits[1].rest, 8); /* the guest's own, not what was replaced */
	free(buf);
}

static void test_state_word_alone_may_change(void **state)
{
	static const uint64_t states[] = {VP_LEDGER_APPLYING, VP_LEDGER_APPLIED,
					  VP_LEDGER_REVERTING, VP_LEDGER_REVERTED};
	struct vp_ledger l, got;
	uint8_t *buf = make(&l);

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		vp_st64(buf + VP_LEDGER_STATE_OFF, states[i]);
		assert_int_equal(vp_ledger_decode(buf, l.size, l.self, &got), VP_OK);
		assert_int_equal(got.state, states[i]);
		assert_non_null(vp_ledger_state_name(got.state));
	}
	assert_memory_equal(buf + VP_LEDGER_STATE_OFF, "reverted", 8);
	free(buf);
}

static void test_each_flipped_bit_is_no_record(void **state)
{
	struct vp_ledger l, got;
	uint8_t *buf = make(&l);

	(void)state;
	for (size_t i = 0; i < l.size; i++)
		for (unsigned bit = 1; bit < 256; bit <<= 1) {
			int r;

			buf[i] ^= (uint8_t)bit;
			r = vp_ledger_decode(buf, l.size, l.self, &got);
			assert_true(r == VP_E_LEDGER || (r == VP_E_VERSION && i >= 8 && i < 12));
			buf[i] ^= (uint8_t)bit;
		}
	free(buf);
}

static void test_each_truncation_is_no_record(void **state)
{
	struct vp_ledger l, got;
	uint8_t *buf = make(&l);

	(void)state;
	for (size_t n = 0; n < l.size; n++) {
		uint8_t *copy = malloc(n + 1);

		memcpy(copy, buf, n);
		assert_int_equal(vp_ledger_decode(copy, n, l.self, &got), VP_E_LEDGER);
		free(copy);
	}
	free(buf);
}

static void test_copy_of_a_record_elsewhere_is_no_record(void **state)
{
	struct vp_ledger l, got;
	uint8_t *buf = make(&l);

	(void)state;
	assert_int_equal(vp_ledger_decode(buf, l.size, vp_gva(SELF + 64), &got), VP_E_LEDGER);
	free(buf);
}

/* A literal is what format 1 has no word for; nothing else makes a record one of format 2. */
static void test_record_with_a_literal_is_of_format_2(void **state)
{
	struct vp_edit two[2] = {edits[0], edits[1]}, e;
	struct vp_ledger l, got;
	uint8_t *buf = make(&l);

	(void)state;
	assert_int_equal(vp_ld32(buf + 8), 1);
	two[0].kind = VP_EDIT_LITERAL;
	assert_int_equal(vp_ledger_encode(buf, l.size, &l, two), VP_OK);
	assert_int_equal(vp_ld32(buf + 8), 2);
	assert_int_equal(vp_ledger_extent(buf), l.size);
	assert_int_equal(vp_ledger_decode(buf, l.size, l.self, &got), VP_OK);
	vp_ledger_edit(&got, 0, &e);
	assert_int_equal(e.kind, VP_EDIT_LITERAL);
	assert_int_equal(e.new[0], 3);
	vp_st32(buf + 8, 1); /* and the checksum made right: format 1 does not have it */
	vp_st32(buf + 24, 0);
	vp_st64(buf + VP_LEDGER_STATE_OFF, 0);
	vp_st32(buf + 24, vp_crc32c(0, buf, l.size));
	vp_st64(buf + VP_LEDGER_STATE_OFF, VP_LEDGER_APPLYING);
	assert_int_equal(vp_ledger_decode(buf, l.size, l.self, &got), VP_E_LEDGER);
	two[0].len = 5;
	assert_int_equal(vp_ledger_encode(buf, l.size, &l, two), VP_E_RANGE);
	two[0].len = 8;
	two[0].discipline = VP_DISCIPLINE_LITERAL; /* how it came there is not the guest's */
	assert_int_equal(vp_ledger_encode(buf, l.size, &l, two), VP_E_RANGE);
	free(buf);
}

static void test_what_does_not_fit_is_not_written(void **state)
{
	struct vp_ledger l;
	uint8_t *buf = make(&l);
	struct vp_edit bad[2] = {edits[0], edits[1]};
	uint32_t off;

	(void)state;
	assert_int_equal(vp_ledger_size(VP_LEDGER_EDITS_MAX + 1, 0, 0, &off), 0);
	assert_int_equal(vp_ledger_size(0, VP_LEDGER_TEXT_MAX + 1, 0, &off), 0);
	assert_int_equal(vp_ledger_size(0, 0, UINT32_MAX, &off), 0);
	assert_int_equal(vp_ledger_encode(buf, l.size - 1, &l, edits), VP_E_RANGE);
	bad[1].kind = VP_EDIT_STATE;
	assert_int_equal(vp_ledger_encode(buf, l.size, &l, bad), VP_E_RANGE);
	bad[1] = edits[1];
	bad[1].len = 9;
	assert_int_equal(vp_ledger_encode(buf, l.size, &l, bad), VP_E_RANGE);
	memset(l.name, 'a', sizeof(l.name));
	assert_int_equal(vp_ledger_encode(buf, l.size, &l, edits), VP_E_RANGE);
	strcpy(l.name, "a b");
	assert_int_equal(vp_ledger_encode(buf, l.size, &l, edits), VP_E_RANGE);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_reads_back_as_written),
		cmocka_unit_test(test_state_word_alone_may_change),
		cmocka_unit_test(test_each_flipped_bit_is_no_record),
		cmocka_unit_test(test_each_truncation_is_no_record),
		cmocka_unit_test(test_copy_of_a_record_elsewhere_is_no_record),
		cmocka_unit_test(test_record_with_a_literal_is_of_format_2),
		cmocka_unit_test(test_what_does_not_fit_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
