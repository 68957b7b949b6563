/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Site tables that grow, that change while they are read, and that the writer refuses to write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "protocol/sites.h"
#include "tests/lib/sitetab.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define HEAD_MORE  24 /* what a later version has added to the head */
#define ENTRY_MORE 16 /* and to every entry */

static int decode(unsigned i, const uint8_t *buf, size_t len, struct vp_sites *ret)
{
	return vp_sites_decode(buf, len, sitetab(i)->self, ret);
}

/* The table as a later version of the same format would write it: all that is new is 0xee. */
static uint8_t *grown(const uint8_t *buf, size_t *len)
{
	static const unsigned parts[] = {VP_SITES_OFF_LEDGERS, VP_SITES_OFF_DISPATCHERS,
					 VP_SITES_OFF_ARENAS, VP_SITES_OFF_SITES,
					 VP_SITES_OFF_NAMES};
	size_t most = *len * 2 + 4096, at = VP_SITES_HEAD_TRAPS + HEAD_MORE;
	uint8_t *to = malloc(most);

	memset(to, 0xee, most);
	memcpy(to, buf, VP_SITES_HEAD);
	memset(to + VP_SITES_OFF_TRAPS, 0, VP_SITES_PART); /* none of them */
	vp_st32(to + VP_SITES_OFF_HEAD_SIZE, VP_SITES_HEAD_TRAPS + HEAD_MORE);
	for (size_t p = 0; p < COUNT(parts); p++) {
		uint32_t from = vp_ld32(buf + parts[p] + VP_SITES_PART_OFF);
		uint32_t n = vp_ld32(buf + parts[p] + VP_SITES_PART_N);
		uint32_t entry = vp_ld32(buf + parts[p] + VP_SITES_PART_ENTRY);
		uint32_t more = entry > 1 ? ENTRY_MORE : 0;

		vp_st32(to + parts[p] + VP_SITES_PART_OFF, (uint32_t)at);
		vp_st32(to + parts[p] + VP_SITES_PART_ENTRY, entry + more);
		for (uint32_t i = 0; i < n; i++)
			memcpy(to + at + (size_t)i * (entry + more), buf + from + i * entry, entry);
		at += (size_t)n * (entry + more) + 8; /* and a gap */
	}
	*len = (at + VP_SITES_TAIL + 40) / 8 * 8;
	vp_st32(to + VP_SITES_OFF_SIZE, (uint32_t)*len);
	vp_st32(to + *len - VP_SITES_TAIL, vp_ld32(buf + VP_SITES_OFF_GENERATION));
	assert_int_equal(vp_sites_seal(to, *len), VP_OK);
	return to;
}

static void test_tables_that_grew_at_their_ends_read_as_before(void **state)
{
	(void)state;
	for (unsigned t = 0; t < SITETABS; t++) {
		size_t len, more;
		uint8_t *buf = sitetab_make(t, &len), *big;
		struct vp_sites a, b;

		more = len;
		big = grown(buf, &more);
		assert_int_equal(decode(t, buf, len, &a), VP_OK);
		assert_int_equal(decode(t, big, more, &b), VP_OK);
		assert_int_equal(a.sites.n, b.sites.n);
		for (uint32_t i = 0; i < a.sites.n; i++) {
			struct vp_site x, y;
			uint32_t at;

			assert_int_equal(vp_sites_site(&a, i, &x), VP_OK);
			assert_int_equal(vp_sites_site(&b, i, &y), VP_OK);
			assert_int_equal(x.at.v, y.at.v);
			assert_int_equal(x.literal.v, y.literal.v);
			assert_memory_equal(x.rest, y.rest, VP_SITE_MAX);
			assert_int_equal(x.name != NULL, y.name != NULL);
			if (x.name)
				assert_string_equal(x.name, y.name);
			assert_int_equal(vp_sites_find(&b, x.at, &at), VP_OK);
			assert_int_equal(at, i);
		}
		for (uint32_t i = 0; i < a.arenas.n; i++) {
			struct vp_arena x, y;

			assert_int_equal(vp_sites_arena(&a, i, &x), VP_OK);
			assert_int_equal(vp_sites_arena(&b, i, &y), VP_OK);
			assert_int_equal(x.at.v, y.at.v);
			assert_int_equal(x.len, y.len);
		}
		free(big);
		free(buf);
	}
}

static void test_what_lies_behind_the_table_is_not_looked_at(void **state)
{
	size_t len;
	uint8_t *buf = sitetab_make(0, &len), *more = malloc(len + 100);
	struct vp_sites s;

	(void)state;
	memset(more, 0xee, len + 100);
	memcpy(more, buf, len);
	assert_int_equal(decode(0, more, len + 100, &s), VP_OK);
	free(more);
	free(buf);
}

/* Parts in each other's place: every one of them is moved onto every other one's first bytes. */
static void test_parts_that_overlap_are_refused(void **state)
{
	static const unsigned parts[] = {VP_SITES_OFF_SITES, VP_SITES_OFF_NAMES,
					 VP_SITES_OFF_ARENAS, VP_SITES_OFF_DISPATCHERS,
					 VP_SITES_OFF_LEDGERS};

	(void)state;
	for (size_t i = 0; i < COUNT(parts); i++)
		for (size_t j = 0; j < COUNT(parts); j++) {
			size_t len;
			uint8_t *buf = sitetab_make(0, &len);
			struct vp_sites s;

			if (i != j) {
				vp_st32(buf + parts[i], vp_ld32(buf + parts[j]) & ~7u);
				assert_int_equal(vp_sites_seal(buf, len), VP_OK);
				assert_int_equal(decode(0, buf, len, &s), VP_E_SITES);
			}
			free(buf);
		}
}

/* With nothing else against them: no site has a name, so any bytes would do as names. */
static void test_parts_that_overlap_are_refused_for_that_alone(void **state)
{
	struct vp_sites_new t = *sitetab(0);
	struct vp_site sites[2] = {t.sites[0], t.sites[1]};
	uint8_t *buf, *names;
	struct vp_sites s;
	size_t len;

	(void)state;
	sites[0].name = sites[1].name = NULL;
	t.sites = sites;
	t.n_sites = 2;
	len = vp_sites_size(&t);
	buf = malloc(len);
	names = buf + VP_SITES_OFF_NAMES;
	for (uint32_t n = 0; n < 2; n++) {
		assert_int_equal(vp_sites_encode(buf, len, &t), VP_OK);
		vp_st32(names + VP_SITES_PART_OFF, VP_SITES_HEAD + 2 * VP_SITE_ENTRY - 1);
		vp_st32(names + VP_SITES_PART_N, n);
		assert_int_equal(vp_sites_seal(buf, len), VP_OK);
		assert_int_equal(decode(0, buf, len, &s), n == 0 ? VP_OK : VP_E_SITES);
	}
	free(buf);
}

static void test_more_entries_than_the_bound_are_refused(void **state)
{
	struct vp_ledger_space ledgers[VP_SITES_LEDGERS_MAX + 1];
	struct vp_sites_new t = *sitetab(0);
	struct vp_sites s;
	uint8_t *buf, *last;
	size_t len;

	(void)state;
	for (size_t i = 0; i < COUNT(ledgers); i++)
		ledgers[i] = (struct vp_ledger_space){vp_gva(0x10000 + i * 64), 64};
	t.n_sites = t.n_arenas = t.n_dispatchers = 0;
	t.ledgers = ledgers;
	t.n_ledgers = VP_SITES_LEDGERS_MAX;
	len = vp_sites_size(&t);
	buf = calloc(1, len + VP_LEDGERS_ENTRY);
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_OK);
	last = buf + VP_SITES_HEAD + (size_t)VP_SITES_LEDGERS_MAX * VP_LEDGERS_ENTRY;
	vp_st64(last + VP_LEDGERS_OFF_AT, ledgers[VP_SITES_LEDGERS_MAX].at.v);
	vp_st64(last + VP_LEDGERS_OFF_LEN, 64);
	len += VP_LEDGERS_ENTRY;
	vp_st32(buf + VP_SITES_OFF_SIZE, (uint32_t)len);
	for (uint32_t more = 0; more < 2; more++) {
		vp_st32(buf + VP_SITES_OFF_LEDGERS + VP_SITES_PART_N, VP_SITES_LEDGERS_MAX + more);
		assert_int_equal(vp_sites_seal(buf, len), VP_OK);
		assert_int_equal(decode(0, buf, len, &s), more ? VP_E_SITES : VP_OK);
	}
	t.n_ledgers++;
	assert_int_equal(vp_sites_size(&t), 0);
	free(buf);
}

static void test_table_at_an_impossible_address_is_none(void **state)
{
	static const struct {
		unsigned table;
		uint64_t self;
		int expect;
	} rows[] = {
		{0, 0, VP_E_SITES},
		{0, 0x10800, VP_E_SITES},
		{0, 0x10000, VP_OK},
		{0, UINT64_C(0xfffffffffffff000), VP_OK},
		{3, UINT64_C(0x1c0100000), VP_E_SITES}, /* no 32-bit guest has that */
		{3, UINT64_C(0xfffff000), VP_OK},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t len;
		uint8_t *buf = sitetab_make(rows[i].table, &len);
		struct vp_sites s;

		vp_st64(buf + VP_SITES_OFF_SELF, rows[i].self);
		assert_int_equal(vp_sites_seal(buf, len), VP_OK);
		assert_int_equal(vp_sites_decode(buf, len, vp_gva(rows[i].self), &s),
				 rows[i].expect);
		free(buf);
	}
}

/* The last thing that is allowed, where test_sites.c has the first that is not. */
static void test_ends_of_what_is_allowed_are_allowed(void **state)
{
	struct vp_sites_new t = *sitetab(0);
	struct vp_dispatcher dispatcher = t.dispatchers[0];
	struct vp_site sites[7];
	size_t len = vp_sites_size(&t);
	uint8_t *buf = malloc(len);

	(void)state;
	memcpy(sites, t.sites, sizeof(sites));
	t.sites = sites;
	t.dispatchers = &dispatcher;
	dispatcher.reach = dispatcher.at.v - sites[4].at.v;
	sites[6].at = vp_gva(UINT64_MAX - 7);
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_OK);
	dispatcher.reach--;
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_E_RANGE);
	t = *sitetab(3);
	memcpy(sites, t.sites, 4 * sizeof(sites[0]));
	t.sites = sites;
	sites[2].literal_rest = UINT32_MAX;
	sites[3].at = vp_gva(UINT32_MAX - 3);
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_OK);
	free(buf);
}

static void test_empty_table_is_a_table(void **state)
{
	struct vp_sites_new t = *sitetab(0);
	uint8_t buf[VP_SITES_HEAD + 8];
	struct vp_sites s;
	uint32_t at;

	(void)state;
	t.n_sites = t.n_arenas = t.n_dispatchers = t.n_ledgers = 0;
	assert_int_equal(vp_sites_size(&t), sizeof(buf));
	assert_int_equal(vp_sites_encode(buf, sizeof(buf), &t), VP_OK);
	/* Where nothing is, nothing is looked for. */
	vp_st32(buf + VP_SITES_OFF_SITES + VP_SITES_PART_OFF, UINT32_MAX);
	vp_st32(buf + VP_SITES_OFF_SITES + VP_SITES_PART_ENTRY, UINT32_MAX);
	assert_int_equal(vp_sites_seal(buf, sizeof(buf)), VP_OK);
	assert_int_equal(vp_sites_decode(buf, sizeof(buf), t.self, &s), VP_OK);
	assert_int_equal(s.sites.n, 0);
	assert_int_equal(vp_sites_find(&s, t.sites[0].at, &at), VP_E_NO_SITE);
	assert_int_equal(vp_sites_named(&s, "f", &at), VP_E_NO_SITE);
}

static void test_odd_or_torn_generation_means_read_again(void **state)
{
	static const uint32_t pairs[][2] = {
		{1, 1},         {1, 0}, {0, 1}, {0, 2}, {2, 0}, {2, 3}, {UINT32_MAX, UINT32_MAX},
		{UINT32_MAX, 0}};
	size_t len;
	uint8_t *buf = sitetab_make(0, &len);
	struct vp_sites s;

	(void)state;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		vp_st32(buf + VP_SITES_OFF_GENERATION, pairs[i][0]);
		vp_st32(buf + len - VP_SITES_TAIL, pairs[i][1]);
		assert_int_equal(decode(0, buf, len, &s), VP_E_GUEST_CHANGED);
	}
	for (uint32_t g = 0; g < 3; g++) { /* UINT32_MAX - 1 and round to 0, 2 */
		vp_st32(buf + VP_SITES_OFF_GENERATION, 2 * g - 2);
		vp_st32(buf + len - VP_SITES_TAIL, 2 * g - 2);
		assert_int_equal(decode(0, buf, len, &s), VP_OK);
		assert_int_equal(s.generation, 2 * g - 2);
	}
	free(buf);
}

/*
 * Every step of a change, and every copy that is made from front to back while it goes on: the bytes
 * up to a cut are of one step, the others of the same or a later one. What is accepted is wholly
 * what was before or wholly what is after; and it is the generation that says so, never the
 * checksum, because a bad checksum is for good.
 */
static void test_copy_made_during_a_change_is_old_or_new_or_refused(void **state)
{
	enum { STEPS = 8 };
	uint8_t *step[STEPS], *mixed;
	size_t len, sites;
	struct vp_sites s;

	(void)state;
	step[0] = sitetab_make(0, &len);
	sites = vp_ld32(step[0] + VP_SITES_OFF_SITES);
	mixed = malloc(len);
	for (unsigned i = 1; i < STEPS; i++) {
		step[i] = malloc(len + 8);
		memcpy(step[i], step[0], len);
	}
	vp_st32(step[1] + len - VP_SITES_TAIL, 1); /* the tail, and then the head */
	for (unsigned i = 2; i < STEPS; i++)
		assert_int_equal(vp_sites_begin(step[i], len), VP_OK);
	/* The guest now has another hook there, and says that its tracer may take it. */
	for (unsigned i = 3; i < STEPS; i++)
		step[i][sites + 6 * VP_SITE_ENTRY + VP_SITE_OFF_REST] ^= 0x10;
	for (unsigned i = 4; i < STEPS; i++)
		step[i][sites + VP_SITE_ENTRY + VP_SITE_OFF_FLAGS] = VP_SITE_SHARED;
	for (unsigned i = 5; i < STEPS; i++)
		assert_int_equal(vp_sites_end(step[i], len), VP_OK);
	vp_st32(step[5] + VP_SITES_OFF_GENERATION, 1); /* sealed; then the head, then the tail */
	vp_st32(step[5] + len - VP_SITES_TAIL, 1);
	vp_st32(step[6] + len - VP_SITES_TAIL, 1);

	for (unsigned i = 0; i < STEPS; i++)
		for (unsigned j = i; j < STEPS; j++)
			for (size_t cut = VP_SITES_OFF_VERSION; cut <= len - VP_SITES_TAIL; cut++) {
				int r;

				memcpy(mixed, step[i], cut);
				memcpy(mixed + cut, step[j] + cut, len - cut);
				r = decode(0, mixed, len, &s);
				if (r != VP_OK) {
					assert_int_equal(r, VP_E_GUEST_CHANGED);
					continue;
				}
				assert_true(s.generation == 0 || s.generation == 2);
				assert_memory_equal(mixed, step[s.generation == 0 ? 0 : 7], len);
			}
	assert_int_equal(decode(0, step[7], len, &s), VP_OK);
	assert_int_equal(s.generation, 2);
	for (unsigned i = 0; i < STEPS; i++)
		free(step[i]);
	free(mixed);
}

static void test_change_that_was_broken_off_is_taken_up_again(void **state)
{
	size_t len;
	uint8_t *buf = sitetab_make(0, &len);
	struct vp_sites s;

	(void)state;
	assert_int_equal(vp_sites_begin(buf, len), VP_OK);
	assert_int_equal(decode(0, buf, len, &s), VP_E_GUEST_CHANGED);
	assert_int_equal(vp_sites_begin(buf, len), VP_OK);
	assert_int_equal(decode(0, buf, len, &s), VP_E_GUEST_CHANGED);
	assert_int_equal(vp_sites_end(buf, len), VP_OK);
	assert_int_equal(decode(0, buf, len, &s), VP_OK);
	assert_int_equal(s.generation, 2);
	free(buf);
}

static void test_what_the_reader_would_refuse_is_not_written(void **state)
{
	struct vp_sites_new t = *sitetab(0);
	struct vp_site sites[2] = {t.sites[1], t.sites[0]};
	size_t len = vp_sites_size(&t);
	uint8_t *buf = malloc(len);
	static char name[VP_SITE_NAME_MAX + 2];

	(void)state;
	assert_int_equal(vp_sites_encode(buf, len - 1, &t), VP_E_RANGE);
	t.n_sites = UINT32_MAX;
	assert_int_equal(vp_sites_size(&t), 0);
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_E_RANGE);
	t.n_sites = 2;
	t.sites = sites;
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_E_RANGE); /* unsorted */
	sites[0] = sitetab(0)->sites[0];
	sites[1] = sitetab(0)->sites[1];
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_OK);
	memset(name, 'n', VP_SITE_NAME_MAX);
	sites[0].name = name;
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_OK);
	memset(name, 'n', VP_SITE_NAME_MAX + 1);
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_E_RANGE);
	sites[0].name = "a b";
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_E_RANGE);
	sites[0].name = "a";
	t.id_len = VP_SITES_ID_MAX + 1;
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_E_RANGE);
	t.id_len = VP_SITES_ID_MIN;
	t.self.v++;
	assert_int_equal(vp_sites_encode(buf, len, &t), VP_E_RANGE);
	free(buf);
}

static void test_sizes_that_cannot_be_right_are_not_sealed(void **state)
{
	static const uint32_t sizes[] = {0, VP_SITES_HEAD, VP_SITES_HEAD + 4, UINT32_MAX,
					 UINT32_MAX - 7};
	size_t len;
	uint8_t *buf = sitetab_make(0, &len), *was = malloc(len);

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		vp_st32(buf + VP_SITES_OFF_SIZE, sizes[i]);
		memcpy(was, buf, len);
		assert_int_equal(vp_sites_seal(buf, len), VP_E_RANGE);
		assert_int_equal(vp_sites_begin(buf, len), VP_E_RANGE);
		assert_int_equal(vp_sites_end(buf, len), VP_E_RANGE);
		assert_int_equal(vp_sites_seal(buf, 0), VP_E_RANGE);
		assert_memory_equal(was, buf, len);
	}
	free(was);
	free(buf);
}

static void test_architectures_have_the_machine_numbers_of_elf(void **state)
{
	(void)state;
	assert_int_equal(vp_sites_machine(VP_SITES_ARCH_X86_64), 62);
	assert_int_equal(vp_sites_machine(VP_SITES_ARCH_ARM64), 183);
	assert_int_equal(vp_sites_machine(VP_SITES_ARCH_RISCV64), 243);
	assert_int_equal(vp_sites_machine(VP_SITES_ARCH_THUMB2), 40);
	assert_int_equal(vp_sites_machine(VP_SITES_ARCH_PPC64LE), 21);
	assert_int_equal(vp_sites_machine(0), 0);
	assert_int_equal(vp_sites_machine(6), 0);
	assert_int_equal(vp_sites_machine(UINT16_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_that_grew_at_their_ends_read_as_before),
		cmocka_unit_test(test_what_lies_behind_the_table_is_not_looked_at),
		cmocka_unit_test(test_parts_that_overlap_are_refused),
		cmocka_unit_test(test_parts_that_overlap_are_refused_for_that_alone),
		cmocka_unit_test(test_more_entries_than_the_bound_are_refused),
		cmocka_unit_test(test_table_at_an_impossible_address_is_none),
		cmocka_unit_test(test_ends_of_what_is_allowed_are_allowed),
		cmocka_unit_test(test_empty_table_is_a_table),
		cmocka_unit_test(test_odd_or_torn_generation_means_read_again),
		cmocka_unit_test(test_copy_made_during_a_change_is_old_or_new_or_refused),
		cmocka_unit_test(test_change_that_was_broken_off_is_taken_up_again),
		cmocka_unit_test(test_what_the_reader_would_refuse_is_not_written),
		cmocka_unit_test(test_sizes_that_cannot_be_right_are_not_sealed),
		cmocka_unit_test(test_architectures_have_the_machine_numbers_of_elf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
