/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "vmm-agent/base/sha256.h"

/* The examples of FIPS 180-4's authors (csrc.nist.gov, SHA256.pdf). */
static void test_published_examples(void **state)
{
	static const uint8_t abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
					0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
					0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
					0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
	uint8_t got[32];

	(void)state;
	sha256("abc", 3, got);
	assert_memory_equal(got, abc, 32);
}

static void test_equals_libcrypto_at_every_length(void **state)
{
	uint8_t buf[1000], got[32], want[32];

	(void)state;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t len = 0; len <= sizeof(buf); len++) {
		assert_int_equal(EVP_Digest(buf, len, want, NULL, EVP_sha256(), NULL), 1);
		sha256(buf, len, got);
		assert_memory_equal(got, want, 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_examples),
		cmocka_unit_test(test_equals_libcrypto_at_every_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
