/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "protocol/err.h"
#include "vmm-agent/base/diag.h"

static const int errs[] = {
#define VP_ROW(name, exit, reason, sentence) VP_E_##name,
	VP_ERRORS(VP_ROW)
#undef VP_ROW
};

static void test_every_error_has_reason_sentence_and_exit(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		const char *reason = vp_err_reason(errs[i]);

		assert_true(errs[i] < 0);
		assert_in_range(vp_err_exit(errs[i]), 1, 4);
		assert_true(strlen(vp_err_sentence(errs[i])) > 10);
		assert_int_equal(strspn(reason, "abcdefghijklmnopqrstuvwxyz-"), strlen(reason));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(reason, vp_err_reason(errs[j]));
	}
}

static void test_unknown_errors_are_internal(void **state)
{
	(void)state;
	assert_string_equal(vp_err_reason(VP_OK), "ok");
	assert_int_equal(vp_err_exit(VP_OK), 0);
	assert_string_equal(vp_err_reason(INT32_MIN), "internal");
	assert_string_equal(vp_err_reason(INT32_MAX), "internal");
	assert_string_equal(vp_err_reason(-1 - VP_ROW_COUNT), "internal");
}

static void test_fits_never_wraps(void **state)
{
	(void)state;
	assert_true(vp_fits(0, 0, 0));
	assert_true(vp_fits(8, 8, 16));
	assert_false(vp_fits(9, 8, 16));
	assert_false(vp_fits(17, 0, 16));
	assert_false(vp_fits(UINT64_MAX, 2, UINT64_MAX));
	assert_false(vp_fits(2, UINT64_MAX, 16));
	assert_true(vp_fits(0, UINT64_MAX, UINT64_MAX));
}

static void test_loads_and_stores_are_little_endian_at_any_alignment(void **state)
{
	uint8_t b[16] = {0};

	(void)state;
	for (size_t off = 0; off < 8; off++) {
		vp_st64(b + off, 0x8877665544332211ULL);
		assert_int_equal(b[off], 0x11);
		assert_int_equal(b[off + 7], 0x88);
		assert_int_equal(vp_ld64(b + off), 0x8877665544332211ULL);
		assert_int_equal(vp_ld32(b + off + 4), 0x88776655u);
		assert_int_equal(vp_ld16(b + off + 2), 0x4433);
	}
}

static void test_crc32c_gives_the_published_vectors(void **state)
{
	uint8_t b[32];

	(void)state;
	/* RFC 3720 appendix B.4 */
	memset(b, 0, sizeof(b));
	assert_int_equal(vp_crc32c(0, b, sizeof(b)), 0x8a9136aau);
	memset(b, 0xff, sizeof(b));
	assert_int_equal(vp_crc32c(0, b, sizeof(b)), 0x62a8ab43u);
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	assert_int_equal(vp_crc32c(0, b, sizeof(b)), 0x46dd794eu);
	assert_int_equal(vp_crc32c(vp_crc32c(0, b, 7), b + 7, 25), 0x46dd794eu);
}

static void test_diag_carries_words_and_code_together(void **state)
{
	struct diag d;

	(void)state;
	diag_init(&d);
	assert_int_equal(diag_set(&d, VP_E_RANGE, "table %d", 3), VP_E_RANGE);
	assert_int_equal(diag_prefix(&d, "guest %s", "a"), VP_E_RANGE);
	assert_string_equal(d.text, "guest a: table 3");
	assert_int_equal(diag_set(NULL, VP_E_IO, "x"), VP_E_IO);
}

static void test_diag_lets_no_control_byte_through(void **state)
{
	struct diag d;
	const char *utf8 = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7";

	(void)state;
	diag_init(&d);
	diag_set(&d, VP_E_IO, "a\x1b[31mb\r\n\x7f\x80\xc2\x9b\xc0\xaf\xed\xa0\x80\xff");
	assert_string_equal(d.text, "a?[31mb??????????\?\?");
	diag_set(&d, VP_E_IO, "%s", utf8);
	assert_string_equal(d.text, utf8);
	/* cut in the middle of a sequence at the end of the buffer */
	diag_set(&d, VP_E_IO, "%01021d\xe2\x82\xac", 0);
	assert_int_equal(strlen(d.text), sizeof(d.text) - 1);
	assert_int_equal(strspn(d.text, "0?"), sizeof(d.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_error_has_reason_sentence_and_exit),
		cmocka_unit_test(test_unknown_errors_are_internal),
		cmocka_unit_test(test_fits_never_wraps),
		cmocka_unit_test(test_loads_and_stores_are_little_endian_at_any_alignment),
		cmocka_unit_test(test_crc32c_gives_the_published_vectors),
		cmocka_unit_test(test_diag_carries_words_and_code_together),
		cmocka_unit_test(test_diag_lets_no_control_byte_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
