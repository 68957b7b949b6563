// SPDX-License-Identifier: LGPL-2.1-or-later
/* The parsers of the guest room on bytes alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "tests/lib/guestbtf.h"
#include "vmm-agent/guest/btf.h"
#include "vmm-agent/guest/kallsyms.h"
#include "vmm-agent/guest/vmcoreinfo.h"

#define HEAD "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff81000000\n"

static int parse(const char *text, struct vmcoreinfo *v)
{
	uint8_t page[VMCOREINFO_PAGE] = {0};

	memcpy(page, text, strlen(text));
	return vmcoreinfo_parse(page, sizeof(page), v);
}

static void test_vmcoreinfo_reads_every_form_of_number(void **state)
{
	struct vmcoreinfo v;

	(void)state;
	assert_int_equal(parse(HEAD "NUMBER(phys_base)=-232783872\nNUMBER(kimage_voffset)="
				    "0xffffb9aba5a00000\nKERNELOFFSET=13200000\n"
				    "BUILD-ID=00ff10\nNUMBER(unknown)=7\n",
			       &v),
			 VP_OK);
	assert_string_equal(v.release, "6.1.0");
	assert_true(v.num[VMCI_PHYS_BASE] == 0 - 232783872ull);
	assert_true(v.num[VMCI_KIMAGE_VOFFSET] == 0xffffb9aba5a00000);
	assert_true(v.num[VMCI_KERNELOFFSET] == 0x13200000);
	assert_int_equal(v.build_id_len, 3);
	assert_false(vmci_has(&v, VMCI_SWAPPER));
}

static void test_vmcoreinfo_refuses_what_a_kernel_would_not_write(void **state)
{
	static const char *const bad[] = {
		"",
		"OSRELEASE=\n",
		"OSRELEASE=6.1.0\nPAGESIZE=4096\n", /* no _stext */
		HEAD "no equals sign\n",
		HEAD "=value\n",
		HEAD "KEY=with space\n",
		HEAD "KEY=\x1b[2J\n",
		HEAD "KEY=no newline",
		HEAD "\n",
		HEAD "KERNELOFFSET=0x10\n",
		HEAD "KERNELOFFSET=FF\n",
		HEAD "KERNELOFFSET=\n",
		HEAD "KERNELOFFSET=11111111111111111\n",
		HEAD "NUMBER(phys_base)=--1\n",
		HEAD "NUMBER(phys_base)=99999999999999999999\n",
		HEAD "NUMBER(phys_base)=1x\n",
		HEAD "NUMBER(kimage_voffset)=0x\n",
		HEAD "BUILD-ID=0\n",
		HEAD "BUILD-ID=zz\n",
		HEAD "BUILD-ID=00\nBUILD-ID=00\n",
		HEAD "SYMBOL(_stext)=1\n",
		HEAD "OSRELEASE=6.1.1\n",
		"OSRELEASE=0123456789012345678901234567890123456789012345678901234567890123456789\n"
		"PAGESIZE=4096\nSYMBOL(_stext)=1\n",
	};
	struct vmcoreinfo v;
	uint8_t page[VMCOREINFO_PAGE] = HEAD;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i], &v) != VP_E_GUEST_CORRUPT)
			fail_msg("row %zu was taken", i);
	page[VMCOREINFO_PAGE - 1] = 1; /* something behind the end */
	assert_int_equal(vmcoreinfo_parse(page, sizeof(page), &v), VP_E_GUEST_CORRUPT);
}

static void test_vmcoreinfo_full_page_may_end_in_half_a_line(void **state)
{
	uint8_t page[VMCOREINFO_PAGE];
	struct vmcoreinfo v;

	(void)state;
	memset(page, 'x', sizeof(page));
	memcpy(page, HEAD, strlen(HEAD));
	assert_int_equal(vmcoreinfo_parse(page, sizeof(page), &v), VP_OK);
}

/* Four symbols; every token stands for its own character. */
struct table {
	uint8_t index[512], tokens[1024], offsets[16], names[1024];
	struct kallsyms_raw raw;
};

static void table_init(struct table *t, const char *const names[4], const int32_t offs[4])
{
	size_t at = 0;

	memset(t, 0, sizeof(*t));
	for (unsigned i = 0; i < 256; i++) {
		vp_st16(t->index + 2 * i, (uint16_t)at);
		if (i > ' ' && i <= '~')
			t->tokens[at++] = (uint8_t)i;
		at++;
	}
	t->raw.tokens_len = at;
	at = 0;
	for (unsigned i = 0; i < 4; i++) {
		size_t n = strlen(names[i]);

		if (n >= 128)
			t->names[at++] = (uint8_t)(n & 0x7f) | 0x80;
		t->names[at++] = (uint8_t)(n >= 128 ? n >> 7 : n);
		memcpy(t->names + at, names[i], n);
		at += n;
		vp_st32(t->offsets + 4 * i, (uint32_t)offs[i]);
	}
	t->raw = (struct kallsyms_raw){.n = 4,
				       .names = t->names,
				       .names_len = at,
				       .tokens = t->tokens,
				       .tokens_len = t->raw.tokens_len,
				       .index = t->index,
				       .offsets = t->offsets,
				       .base = 0x1000};
}

static void test_kallsyms_all_kinds_of_offsets(void **state)
{
	static const char *const names[] = {"Ap", "T_stext", "tf", "tf"};
	static const int32_t percpu[] = {8, -1, -17, -33}, relative[] = {0, 0, 16, 32};
	static const int32_t place[] = {-0x1000, -0x1004, -0xff8,
					-0xfec}; /* of 0x2000, 0x2004... */
	struct kallsyms ks;
	struct table t;

	(void)state;
	table_init(&t, names, percpu);
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_OK);
	assert_true(ks.addr[0] == 8 && ks.addr[1] == 0x1000 && ks.addr[3] == 0x1020);
	assert_int_equal(kallsyms_find(&ks, "f", ks.n), 2);
	assert_int_equal(kallsyms_find(&ks, "f", 2), 3);
	assert_int_equal(kallsyms_find(&ks, "f", 3), 4);
	assert_int_equal(kallsyms_at(&ks, 0x101f), 2);
	assert_true(kallsyms_end(&ks, 2) == 0x1020 && kallsyms_end(&ks, 3) == 0);
	kallsyms_deinit(&ks);
	table_init(&t, names, relative);
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_OK);
	assert_true(ks.addr[3] == 0x1020);
	assert_int_equal(kallsyms_at(&ks, 0x1000), 0); /* the first of two */
	kallsyms_deinit(&ks);
	table_init(&t, names, place);
	t.raw.place = 0x2000;
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_OK);
	assert_true(ks.addr[1] == 0x1000 && ks.addr[2] == 0x1010 && ks.addr[3] == 0x1020);
	kallsyms_deinit(&ks);
	table_init(&t, names, relative); /* with a place no other kind is tried */
	t.raw.place = 0x2000;
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_E_GUEST_CORRUPT);
}

static void test_kallsyms_long_names_have_two_bytes_of_length(void **state)
{
	static const int32_t offs[] = {0, 16, 32, 48};
	const char *names[] = {"T_stext", "ta", NULL, "tb"};
	char big[400] = "t";
	struct kallsyms ks;
	struct table t;

	(void)state;
	memset(big + 1, 'x', sizeof(big) - 2);
	names[2] = big;
	table_init(&t, names, offs);
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_OK);
	assert_string_equal(kallsyms_name(&ks, 2), big + 1);
	assert_string_equal(kallsyms_name(&ks, 3), "b");
	kallsyms_deinit(&ks);
}

static void test_kallsyms_refuses_damage(void **state)
{
	static const char *const names[] = {"T_stext", "ta", "tb", "tc"};
	static const int32_t offs[] = {0, 16, 32, 48}, unsorted[] = {0, 32, 16, 48};
	struct kallsyms ks;
	struct table t;

	(void)state;
	table_init(&t, names, offs);
	assert_int_equal(kallsyms_decode(&t.raw, 0x2000, &ks), VP_E_GUEST_CORRUPT);
	t.raw.names_len--;
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_E_GUEST_CORRUPT);
	t.raw.names_len++;
	t.raw.n = 0;
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_E_GUEST_CORRUPT);
	t.raw.n = KALLSYMS_SYMS_MAX + 1;
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_E_GUEST_CORRUPT);
	table_init(&t, names, unsorted);
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_E_GUEST_CORRUPT);
	table_init(&t, names, offs);
	t.index[20]++;
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_E_GUEST_CORRUPT);
	table_init(&t, names, offs);
	t.raw.tokens_len--;
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_E_GUEST_CORRUPT);
	table_init(&t, names, offs);
	t.names[0] = 1; /* a type and no name; all that follows is out of step */
	assert_int_equal(kallsyms_decode(&t.raw, 0x1000, &ks), VP_E_GUEST_CORRUPT);
}

static uint8_t *btf_bytes(size_t *len)
{
	uint8_t *p = calloc(1, 8192);

	assert_non_null(p);
	*len = guestbtf_write(p);
	return p;
}

static void test_btf_members_and_enumerators(void **state)
{
	struct btf b;
	uint64_t v;
	uint32_t off;
	size_t len;
	uint8_t *p = btf_bytes(&len);

	(void)state;
	assert_int_equal(btf_parse(p, len, &b), VP_OK);
	assert_true(btf_member(&b, "dyn_ftrace", "flags", &off) && off == 8);
	assert_true(btf_member(&b, "task_struct", "stack_canary", &off) && off == GUESTBTF_CANARY);
	assert_false(btf_member(&b, "task_struct", "nothing", &off));
	assert_false(btf_member(&b, "nothing", "flags", &off));
	assert_true(btf_struct_size(&b, "dyn_ftrace", &off) && off == 16);
	assert_true(btf_enumerator(&b, "FTRACE_FL_DISABLED", &v) && v == 1u << 25);
	assert_false(btf_enumerator(&b, "FTRACE_FL_", &v));
	assert_true(btf_enumerators_or(&b, "FTRACE_FL_") == 0xff800000);
	btf_deinit(&b);
}

static void test_btf_refuses_every_cut(void **state)
{
	struct btf b;
	size_t len;
	uint8_t *p = btf_bytes(&len);

	(void)state;
	for (size_t n = 0; n < len; n++)
		assert_int_equal(btf_parse(p, n, &b), VP_E_GUEST_CORRUPT);
	vp_st32(p + 12, vp_ld32(p + 12) - 4); /* the last type's last word is now a string */
	vp_st32(p + 16, vp_ld32(p + 16) - 4);
	vp_st32(p + 20, vp_ld32(p + 20) + 4);
	assert_int_equal(btf_parse(p, len, &b), VP_E_GUEST_CORRUPT);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vmcoreinfo_reads_every_form_of_number),
		cmocka_unit_test(test_vmcoreinfo_refuses_what_a_kernel_would_not_write),
		cmocka_unit_test(test_vmcoreinfo_full_page_may_end_in_half_a_line),
		cmocka_unit_test(test_kallsyms_all_kinds_of_offsets),
		cmocka_unit_test(test_kallsyms_long_names_have_two_bytes_of_length),
		cmocka_unit_test(test_kallsyms_refuses_damage),
		cmocka_unit_test(test_btf_members_and_enumerators),
		cmocka_unit_test(test_btf_refuses_every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
