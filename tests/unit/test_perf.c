/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* perf.data files, byte by byte, against include/uapi/linux/perf_event.h and perf's file format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/perf_event.h>

#include "protocol/bytes.h"
#include "vmm-agent/perf/perf.h"

#define TEXT     UINT64_C(0xffffffff81000000)
#define TEXT_END UINT64_C(0xffffffff82000000)

struct world {
	struct eng_report rep;
	struct eng_edit edits[3];
	struct perf_src src;
	uint8_t payload[11];
	uint8_t *buf;
	size_t len;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	w->edits[0] = (struct eng_edit){
		.edit = {.gva = vp_gva(0xffff888001091108), .kind = VP_EDIT_TRACER, .len = 8}};
	w->edits[1] = (struct eng_edit){.edit = {.gva = vp_gva(TEXT + 0x1000),
						 .kind = VP_EDIT_SITE,
						 .len = 5,
						 .old = {0x0f, 0x1f, 0x44, 0x00, 0x00},
						 .new = {0xe9, 0xbb, 0xf1, 0x00, 0x00}},
					.poked_at = 7000000009};
	w->edits[2] = (struct eng_edit){.edit = {.gva = vp_gva(TEXT + 0x2000),
						 .kind = VP_EDIT_SITE,
						 .len = 4,
						 .old = {1, 2, 3, 4},
						 .new = {5, 6, 7, 8}},
					.poked_at = 7000000010};
	w->edits[0].poked_at = 7000000009;
	memset(w->payload, 0xc3, sizeof(w->payload));
	w->rep = (struct eng_report){
		.changed = true,
		.name = "fix-one",
		.guest = {.arch = arch_get(ARCH_X86_64),
			  .release = "6.1.0-test",
			  .build_id = {1, 2, 3},
			  .build_id_len = 20,
			  .text = vp_gva(TEXT),
			  .text_end = vp_gva(TEXT_END)},
		.payload = vp_gva(TEXT + 0x101c0),
		.payload_len = sizeof(w->payload),
		.payload_bytes = w->payload,
		.edits = w->edits,
		.n_edits = 3,
	};
	w->src = (struct perf_src){&w->rep, "web-07", 2, 1000, 2000};
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	free(w->buf);
	free(w);
	return 0;
}

static void encode(struct world *w)
{
	free(w->buf);
	w->buf = NULL;
	assert_int_equal(perf_encode(&w->src, &w->buf, &w->len), VP_OK);
	assert_true(w->len > 256);
}

/* The nth record, from 0; NULL behind the last. Each is checked as perf checks it. */
static const uint8_t *record(const struct world *w, unsigned nth)
{
	uint64_t at = vp_ld64(w->buf + 40), end = at + vp_ld64(w->buf + 48);

	assert_true(end <= w->len);
	for (unsigned i = 0; at < end; i++) {
		uint16_t size = vp_ld16(w->buf + at + 6);

		assert_int_equal(at % 8, 0);
		assert_int_equal(size % 8, 0);
		assert_true(size >= 8 && size <= end - at);
		assert_int_equal(vp_ld16(w->buf + at + 4), PERF_RECORD_MISC_KERNEL);
		if (i == nth)
			return w->buf + at;
		at += size;
	}
	assert_int_equal(at, end);
	return NULL;
}

/* --- claims -------------------------------------------------------------------------------------- */

static void test_header_and_attr_are_perfs_own(void **state)
{
	struct world *w = *state;
	struct perf_event_attr attr;

	encode(w);
	assert_memory_equal(w->buf, "PERFILE2", 8);
	assert_int_equal(vp_ld64(w->buf + 8), 104);
	assert_int_equal(vp_ld64(w->buf + 16), PERF_ATTR_SIZE_VER5 + 16);
	assert_int_equal(vp_ld64(w->buf + 32), PERF_ATTR_SIZE_VER5 + 16); /* one attr */
	memset(&attr, 0, sizeof(attr));
	memcpy(&attr, w->buf + vp_ld64(w->buf + 24), PERF_ATTR_SIZE_VER5);
	assert_int_equal(attr.size, PERF_ATTR_SIZE_VER5);
	assert_int_equal(attr.type, PERF_TYPE_SOFTWARE);
	assert_int_equal(attr.config, PERF_COUNT_SW_DUMMY);
	assert_int_equal(attr.sample_type, PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
						   PERF_SAMPLE_CPU | PERF_SAMPLE_IDENTIFIER);
	assert_true(attr.sample_id_all && attr.mmap && attr.ksymbol && attr.text_poke &&
		    attr.use_clockid && attr.exclude_user);
	assert_false(attr.comm || attr.freq || attr.inherit || attr.bpf_event || attr.cgroup);
	assert_int_equal(attr.clockid, 1); /* CLOCK_MONOTONIC */
	/* its ids: one u64, which the records name */
	assert_int_equal(vp_ld64(w->buf + vp_ld64(w->buf + 24) + PERF_ATTR_SIZE_VER5 + 8), 8);
	assert_int_equal(
		vp_ld64(w->buf + vp_ld64(w->buf + vp_ld64(w->buf + 24) + PERF_ATTR_SIZE_VER5)), 1);
}

static void test_pokes_are_golden_bytes_in_the_order_of_the_stores(void **state)
{
	static const uint8_t payload[] = {
		0x14, 0,    0,    0,    1,    0,    0x40, 0,    /* TEXT_POKE, KERNEL, 64 bytes */
		0xc0, 0x01, 0x01, 0x81, 0xff, 0xff, 0xff, 0xff, /* addr */
		0,    0,    11,   0,    0xc3, 0xc3, 0xc3, 0xc3, /* no old bytes, 11 new ones */
		0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0,    /* and padding */
		0,    0,    0,    0,    0,    0,    0,    0,    /* pid, tid */
		0x09, 0x86, 0x3b, 0xa1, 0x01, 0,    0,    0,    /* 7000000009 ns */
		0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    /* no CPU of the guest's */
		1,    0,    0,    0,    0,    0,    0,    0,    /* id */
	};
	static const uint8_t site[] = {
		0x14, 0,    0,    0,    1,    0,    0x40, 0,    0x00, 0x10, 0x00, 0x81, 0xff,
		0xff, 0xff, 0xff, 5,    0,    5,    0,    0x0f, 0x1f, 0x44, 0x00, 0x00, 0xe9,
		0xbb, 0xf1, 0x00, 0x00, 0,    0,    0,    0,    0,    0,    0,    0,    0,
		0,    0x09, 0x86, 0x3b, 0xa1, 0x01, 0,    0,    0,    0xff, 0xff, 0xff, 0xff,
		0,    0,    0,    0,    1,    0,    0,    0,    0,    0,    0,    0,
	};
	struct world *w = *state;

	encode(w);
	assert_int_equal(vp_ld32(record(w, 0)), PERF_RECORD_MMAP);
	assert_memory_equal(record(w, 1), payload, sizeof(payload));
	assert_memory_equal(record(w, 2), site, sizeof(site));
	assert_int_equal(vp_ld64(record(w, 3) + 8), TEXT + 0x2000);
	assert_int_equal(vp_ld64(record(w, 3) + 40), 7000000010);
	assert_null(record(w, 4)); /* the tracer's word is data */
}

static void test_kernel_is_mapped_by_name_and_reference_symbol(void **state)
{
	struct world *w = *state;
	const uint8_t *p;

	encode(w);
	p = record(w, 0);
	assert_int_equal(vp_ld32(p + 8), UINT32_MAX);
	assert_int_equal(vp_ld64(p + 16), TEXT);
	assert_int_equal(vp_ld64(p + 24), TEXT_END - TEXT);
	assert_int_equal(vp_ld64(p + 32), TEXT);
	assert_string_equal(p + 40, "[kernel.kallsyms]_stext");
}

/* A symbol inside the kernel's own map would be put at that map's beginning by perf. */
static void test_payload_outside_the_kernels_text_has_a_symbol_first(void **state)
{
	struct world *w = *state;
	const uint8_t *p;

	w->rep.payload = vp_gva(TEXT_END);
	encode(w);
	p = record(w, 1);
	assert_int_equal(vp_ld32(p), PERF_RECORD_KSYMBOL);
	assert_int_equal(vp_ld64(p + 8), TEXT_END);
	assert_int_equal(vp_ld32(p + 16), 11);
	assert_int_equal(vp_ld16(p + 20), PERF_RECORD_KSYMBOL_TYPE_OOL);
	assert_int_equal(vp_ld16(p + 22), 0);
	assert_string_equal(p + 24, "vpatch_fix-one");
	assert_int_equal(vp_ld32(record(w, 2)), PERF_RECORD_TEXT_POKE);
	assert_int_equal(vp_ld64(record(w, 2) + 8), TEXT_END);
}

static void test_long_payload_is_several_pokes(void **state)
{
	struct world *w = *state;
	uint32_t len = 2 * PERF_CHUNK + 3;
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i / PERF_CHUNK + 1);
	w->rep.payload_bytes = bytes;
	w->rep.payload_len = len;
	encode(w);
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *p = record(w, 1 + i);
		uint16_t n = vp_ld16(p + 18);

		assert_int_equal(vp_ld64(p + 8), w->rep.payload.v + (uint64_t)i * PERF_CHUNK);
		assert_int_equal(vp_ld16(p + 16), 0);
		assert_int_equal(n, i < 2 ? PERF_CHUNK : 3);
		assert_int_equal(p[20], i + 1);
		assert_int_equal(p[20 + n - 1], i + 1);
	}
	assert_non_null(record(w, 5));
	assert_null(record(w, 6));
	free(bytes);
}

static void test_change_that_was_made_before_is_no_poke(void **state)
{
	struct world *w = *state;

	w->rep.changed = false;
	w->rep.payload_bytes = NULL;
	encode(w);
	assert_non_null(record(w, 0));
	assert_null(record(w, 1));
}

/* Each lies where the table says, in the order of its bit, and the last one ends the file. */
static void test_features_are_where_the_table_says(void **state)
{
	static const unsigned order[] = {2, 3, 4, 5, 6, 7, 23, 29};
	static const char *const text[] = {NULL, "web-07", "6.1.0-test", "vpatch " VP_VERSION,
					   "x86_64"};
	struct world *w = *state;
	const uint8_t *table;
	uint64_t bits = 0, end;

	encode(w);
	for (unsigned i = 0; i < 8; i++)
		bits |= UINT64_C(1) << order[i];
	assert_int_equal(vp_ld64(w->buf + 72), bits);
	table = w->buf + vp_ld64(w->buf + 40) + vp_ld64(w->buf + 48);
	end = (uint64_t)(table - w->buf) + 8 * 16;
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(vp_ld64(table + 16 * i), end);
		end += vp_ld64(table + 16 * i + 8);
		if (i < 5 && text[i]) {
			const uint8_t *s = w->buf + vp_ld64(table + 16 * i);

			assert_int_equal(vp_ld32(s) % 64, 0);
			assert_int_equal(vp_ld32(s) + 4, vp_ld64(table + 16 * i + 8));
			assert_string_equal(s + 4, text[i]);
		}
	}
	assert_int_equal(end, w->len);
	/* build-id: header, pid, 20 bytes, their number, the kernel's name */
	table = w->buf + vp_ld64(table);
	assert_int_equal(vp_ld16(table + 4), PERF_RECORD_MISC_KERNEL | 1 << 15);
	assert_int_equal(vp_ld16(table + 6), 8 + 4 + 24 + 64);
	assert_memory_equal(table + 12, w->rep.guest.build_id, 20);
	assert_int_equal(table[32], 20);
	assert_string_equal(table + 36, "[kernel.kallsyms]");
}

static void test_build_id_that_perf_cannot_hold_is_left_out(void **state)
{
	static const unsigned lens[] = {0, 21, 64};
	struct world *w = *state;

	for (unsigned i = 0; i < 3; i++) {
		w->rep.guest.build_id_len = lens[i];
		encode(w);
		assert_int_equal(vp_ld64(w->buf + 72) & 1 << 2, 0);
	}
}

static void test_every_architecture_has_its_machine_name(void **state)
{
	static const char *const names[ARCH_COUNT] = {"x86_64", "aarch64", "riscv64", "ppc64le",
						      "armv7l"};
	struct world *w = *state;

	for (int id = 0; id < ARCH_COUNT; id++) {
		w->rep.guest.arch = arch_get(id);
		encode(w);
		assert_non_null(memmem(w->buf, w->len, names[id], strlen(names[id]) + 1));
	}
}

static void test_reports_that_no_engine_makes_are_refused(void **state)
{
	struct world *w = *state;
	struct eng_report good = w->rep;

	w->edits[2].edit.len = VP_EDIT_MAX + 1;
	assert_int_equal(perf_encode(&w->src, &w->buf, &w->len), VP_E_RANGE);
	w->edits[2].edit.len = 255;
	assert_int_equal(perf_encode(&w->src, &w->buf, &w->len), VP_E_RANGE);
	w->edits[2].edit.len = 4;
	w->rep.guest.text_end = vp_gva(TEXT - 1);
	assert_int_equal(perf_encode(&w->src, &w->buf, &w->len), VP_E_RANGE);
	w->rep = good;
	w->rep.guest.arch = NULL;
	assert_int_equal(perf_encode(&w->src, &w->buf, &w->len), VP_E_RANGE);
	w->rep = good;
	w->rep.payload = vp_gva(UINT64_MAX - 3);
	assert_int_equal(perf_encode(&w->src, &w->buf, &w->len), VP_E_RANGE);
	w->rep = good;
	memset(w->rep.name, 'x', sizeof(w->rep.name)); /* no NUL */
	w->rep.payload = vp_gva(TEXT_END);
	encode(w);
	assert_int_equal(strlen((const char *)record(w, 1) + 24), 7 + sizeof(w->rep.name));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_header_and_attr_are_perfs_own),
		T(test_pokes_are_golden_bytes_in_the_order_of_the_stores),
		T(test_kernel_is_mapped_by_name_and_reference_symbol),
		T(test_payload_outside_the_kernels_text_has_a_symbol_first),
		T(test_long_payload_is_several_pokes),
		T(test_change_that_was_made_before_is_no_poke),
		T(test_features_are_where_the_table_says),
		T(test_build_id_that_perf_cannot_hold_is_left_out),
		T(test_every_architecture_has_its_machine_name),
		T(test_reports_that_no_engine_makes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
