// SPDX-License-Identifier: LGPL-2.1-or-later
/* An architecture that has a table and nothing more is refused in words by the floors above it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "tests/lib/fake.h"
#include "tests/lib/sample.h"
#include "vmm-agent/guest/guest.h"

#define E_MACHINE_AT 18 /* of an ELF header, of either class */

static const enum arch_id table_only[] = {ARCH_PPC64LE, ARCH_THUMB2};

#define COUNT (sizeof(table_only) / sizeof(table_only[0]))

static void test_a_guest_whose_kernel_cannot_be_read_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		const struct arch_ops *a = arch_get(table_only[i]);
		bool laid_out = a->id != ARCH_THUMB2; /* then there is none in this memory */
		struct fake *f = fake_create(a, 1);
		struct vp_target *t;
		struct guest *g;
		struct diag d;

		diag_init(&d);
		fake_ram_add(f, vp_gpa(0), 1 << 20);
		assert_int_equal(fake_open(f, &d, &t), VP_OK);
		assert_int_equal(guest_open(t, GUEST_MAY_HOLD, &d, &g),
				 laid_out ? VP_E_NOT_LINUX : VP_E_UNSUPPORTED);
		assert_true(laid_out || strstr(d.text, a->name));
		vp_target_close(t);
		fake_destroy(f);
	}
}

static void test_a_bundle_that_cannot_be_linked_is_refused(void **state)
{
	static const char meta[] = "replace=old_function,0,fixed";

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		const struct arch_ops *a = arch_get(table_only[i]);
		struct hf_bundle *b;
		struct sample s;
		struct diag d;
		uint8_t *buf;
		size_t len;

		diag_init(&d);
		sample_init(&s, arch_get(ARCH_X86_64), meta, sizeof(meta));
		assert_int_equal(sample_pack(&s, &d, &buf, &len), VP_OK);
		vp_st16(buf + E_MACHINE_AT, a->elf_machine);
		assert_int_equal(hf_open(buf, len, &d, &b), VP_E_WRONG_ARCH);
		assert_non_null(strstr(d.text, a->name));
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_guest_whose_kernel_cannot_be_read_is_refused),
		cmocka_unit_test(test_a_bundle_that_cannot_be_linked_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
