// SPDX-License-Identifier: LGPL-2.1-or-later
/* What an opened guest is asked for: symbols, memory, arena, tracer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "tests/lib/guestimg.h"
#include "vmm-agent/guest/guest.h"

struct world {
	struct fake *f;
	struct guestimg img;
	struct vp_target *t;
	struct guest *g;
	struct diag diag;
};

static int start(void **state, enum arch_id id)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	diag_init(&w->diag);
	w->f = fake_create(arch_get(id), 2);
	guestimg_ram(w->f, arch_get(id), 1);
	guestimg_build(w->f, arch_get(id), NULL, &w->img);
	assert_int_equal(fake_open(w->f, &w->diag, &w->t), VP_OK);
	assert_int_equal(guest_open(w->t, GUEST_MAY_HOLD, &w->diag, &w->g), VP_OK);
	*state = w;
	return 0;
}

static int on_x86(void **state)
{
	return start(state, ARCH_X86_64);
}

static int on_arm64(void **state)
{
	return start(state, ARCH_ARM64);
}

static int stop(void **state)
{
	struct world *w = *state;

	assert_string_equal(fake_violation(w->f), "");
	guest_close(w->g);
	vp_target_close(w->t);
	fake_destroy(w->f);
	free(w);
	return 0;
}

/* --- symbols -------------------------------------------------------------------------------- */

static void test_sym_by_name(void **state)
{
	struct world *w = *state;
	struct guest_sym sym;

	assert_int_equal(guest_sym(w->g, "guest_func3", 0, &w->diag, &sym), VP_OK);
	assert_true(sym.addr.v == w->img.func[3].v && sym.size == GUESTIMG_FUNC_SIZE);
	assert_int_equal(sym.type, 'T');
	assert_string_equal(sym.name, "guest_func3");
	assert_int_equal(guest_sym(w->g, "guest_func3", 1, &w->diag, &sym), VP_OK);
	assert_int_equal(guest_sym(w->g, "guest_func3", 2, &w->diag, &sym), VP_E_SYM_UNKNOWN);
	assert_int_equal(guest_sym(w->g, "no_such", 0, &w->diag, &sym), VP_E_SYM_UNKNOWN);
	assert_int_equal(guest_sym(w->g, "", 0, &w->diag, &sym), VP_E_SYM_UNKNOWN);
}

static void test_sym_ambiguous_names_list_their_addresses(void **state)
{
	struct world *w = *state;
	struct guest_sym sym;
	char want[32];

	assert_int_equal(guest_sym(w->g, "dup_func", 0, &w->diag, &sym), VP_E_SYM_AMBIGUOUS);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(want, sizeof(want), "%#llx", (unsigned long long)w->img.dup[i].v);
		assert_non_null(strstr(w->diag.text, want));
		assert_int_equal(guest_sym(w->g, "dup_func", i + 1, &w->diag, &sym), VP_OK);
		assert_true(sym.addr.v == w->img.dup[i].v);
	}
}

/* --- exported variables -------------------------------------------------------------------------- */

static void expect_var(struct world *w, const char *name, char type, uint64_t at)
{
	struct guest_sym sym;
	int r = guest_sym(w->g, name, 0, &w->diag, &sym);

	if (r < 0)
		fail_msg("%s", w->diag.text);
	assert_string_equal(sym.name, name);
	assert_true(sym.addr.v == at && sym.type == type && sym.size == 0);
}

static void expect_no_var(struct world *w, const char *name, const char *words)
{
	struct guest_sym sym;

	assert_int_equal(guest_sym(w->g, name, 0, &w->diag, &sym), VP_E_SYM_UNKNOWN);
	if (!strstr(w->diag.text, words))
		fail_msg("%s", w->diag.text);
}

static void open_again(struct world *w)
{
	guest_close(w->g);
	w->g = NULL;
	if (guest_open(w->t, GUEST_MAY_HOLD, &w->diag, &w->g) != VP_OK)
		fail_msg("%s", w->diag.text);
}

static uint64_t name_of(const struct world *w, unsigned i)
{
	const uint8_t *p = guestimg_at(&w->img, vp_gva(w->img.exports.v + 12 * i + 4));

	return w->img.exports.v + 12 * i + 4 + (uint64_t)(int64_t)(int32_t)vp_ld32(p);
}

static void test_exported_variables_are_symbols(void **state)
{
	struct world *w = *state;
	struct guest_sym sym;

	expect_var(w, "init_task", 'D', w->img.data.v + 0x1000);
	expect_var(w, "jiffies", 'D', w->img.data.v + 0x2084);
	expect_var(w, "guest_constant", 'R', w->img.rodata.v + 0x7200);
	expect_var(w, "cpu_number", 'D', w->img.init.v + 0x20040); /* per-CPU: not mapped */
	assert_int_equal(guest_sym(w->g, "init_task", 1, &w->diag, &sym), VP_OK);
	assert_int_equal(guest_sym(w->g, "init_task", 2, &w->diag, &sym), VP_E_SYM_UNKNOWN);
	expect_no_var(w, "not_exported", "exports no such variable");
	/* Functions stay as kallsyms has them. */
	assert_int_equal(guest_sym(w->g, "guest_func4", 0, &w->diag, &sym), VP_OK);
	assert_true(sym.type == 'T' && sym.size == GUESTIMG_FUNC_SIZE);
}

static void test_exported_variable_outside_the_image_is_refused(void **state)
{
	struct world *w = *state;

	/* not mapped, and mapped memory lies between it and init */
	guestimg_export(&w->img, 5, w->img.init.v + (128u << 20), name_of(w, 5));
	open_again(w);
	expect_no_var(w, "jiffies", "not in its image");
	expect_var(w, "init_task", 'D', w->img.data.v + 0x1000);
	/* not in reach of an image at all: no entry, so the row ends there and is too short */
	guestimg_export(&w->img, 5, w->img.text.v - 0x1000, name_of(w, 5));
	open_again(w);
	expect_no_var(w, "jiffies", "");
}

static void test_exports_that_contradict_kallsyms_are_not_used(void **state)
{
	struct world *w = *state;

	guestimg_export(&w->img, 9, w->img.func[4].v, name_of(w, 9));
	open_again(w);
	expect_no_var(w, "init_task", "not as expected");
	expect_no_var(w, "cpu_number", "not as expected");
}

static void test_exports_out_of_order_are_not_used(void **state)
{
	struct world *w = *state;
	uint64_t a = name_of(w, 4), b = name_of(w, 5);

	guestimg_export(&w->img, 4, w->img.data.v + 0x2084, b);
	guestimg_export(&w->img, 5, w->img.data.v + 0x1000, a);
	open_again(w);
	expect_no_var(w, "init_task", "not as expected");
	/* one name in both tables */
	guestimg_export(&w->img, 4, w->img.data.v + 0x1000, a);
	guestimg_export(&w->img, 5, w->img.data.v + 0x2084, b);
	guestimg_export(&w->img, 6, w->img.data.v + 0x1000, a);
	open_again(w);
	expect_no_var(w, "init_task", "not as expected");
}

static void test_exports_with_a_name_outside_end_there(void **state)
{
	struct world *w = *state;

	guestimg_export(&w->img, 6, w->img.data.v, w->img.data.v + 0x100); /* not a constant */
	open_again(w);
	expect_no_var(w, "cpu_number", "exports no such variable");
	expect_var(w, "init_task", 'D', w->img.data.v + 0x1000);
	/* a name that never ends */
	memset(guestimg_at(&w->img, vp_gva(w->img.rodata.v + 0x20000)), 'a', 0x10000);
	guestimg_export(&w->img, 6, w->img.data.v, w->img.rodata.v + 0x20000);
	open_again(w);
	expect_no_var(w, "cpu_number", "exports no such variable");
	/* a name that is none */
	strcpy(guestimg_at(&w->img, vp_gva(w->img.rodata.v + 0x20000)), "cpu\x1b[2J");
	open_again(w);
	expect_no_var(w, "cpu_number", "exports no such variable");
}

static void test_exports_without_functions_are_not_a_table(void **state)
{
	struct world *w = *state;

	/* three functions are left in each of the two */
	guestimg_export(&w->img, 3, 0, name_of(w, 3));
	guestimg_export(&w->img, 8, 0, name_of(w, 8));
	open_again(w);
	expect_no_var(w, "init_task", "not as expected");
}

/* n entries, in order and of valid names, in place of the tables. */
static void fill_with_exports(struct world *w, unsigned n)
{
	struct guestimg img = w->img;

	img.exports = vp_gva(img.rodata.v + 0x20000);
	for (unsigned i = 0; i < n; i++) {
		uint64_t name = img.rodata.v + 0x110000 + 8ull * i;

		snprintf(guestimg_at(&img, vp_gva(name)), 8, "h%06u", i);
		if (i < 4)
			guestimg_export(&img, i, img.func[i].v, name_of(w, i));
		else
			guestimg_export(&img, i, img.data.v, name);
	}
	memset(guestimg_at(&w->img, w->img.exports), 0, 12ul * GUESTIMG_EXPORTS);
}

static void test_exports_without_end_are_not_used(void **state)
{
	struct world *w = *state;

	fill_with_exports(w, 80000);
	open_again(w);
	expect_no_var(w, "h000100", "not as expected");
}

static void test_exports_of_one_table_do(void **state)
{
	struct world *w = *state;

	fill_with_exports(w, 60000);
	open_again(w);
	expect_var(w, "h000100", 'D', w->img.data.v);
	expect_var(w, "h059999", 'D', w->img.data.v);
	expect_no_var(w, "h060000", "exports no such variable");
}

static void test_exports_are_not_asked_where_kallsyms_has_data(void **state)
{
	struct world *w = *state;

	assert_true(guest_info(w->g)->data_symbols);
	expect_no_var(w, "cpu_number", "no such symbol");
}

static void test_sym_at_address(void **state)
{
	struct world *w = *state;
	struct guest_sym sym;

	assert_int_equal(guest_sym_at(w->g, vp_gva(w->img.func[2].v + 5), &sym), VP_OK);
	assert_string_equal(sym.name, "guest_func2");
	assert_int_equal(guest_sym_at(w->g, w->img.text, &sym), VP_OK);
	assert_string_equal(sym.name, "_stext"); /* the first of two at one address */
	assert_int_equal(guest_sym_at(w->g, vp_gva(w->img.text.v - 1), &sym), VP_E_SYM_UNKNOWN);
	assert_int_equal(guest_sym_at(w->g, vp_gva(0), &sym), VP_E_SYM_UNKNOWN);
	assert_int_equal(guest_sym_at(w->g, vp_gva(UINT64_MAX), &sym), VP_E_SYM_UNKNOWN);
	assert_int_equal(guest_sym_at(w->g, vp_gva(w->img.init.v + 8), &sym), VP_OK);
	assert_string_equal(sym.name, "_sinittext");
}

static int count(void *ctx, const struct guest_sym *sym)
{
	(void)sym;
	++*(unsigned *)ctx;
	return 0;
}

static int stop_at_third(void *ctx, const struct guest_sym *sym)
{
	(void)sym;
	return ++*(unsigned *)ctx == 3 ? 42 : 0;
}

static void test_sym_each_gives_all_and_stops_when_told(void **state)
{
	struct world *w = *state;
	unsigned n = 0;

	assert_int_equal(guest_sym_each(w->g, count, &n), 0);
	assert_int_equal(n, w->img.n_symbols);
	n = 0;
	assert_int_equal(guest_sym_each(w->g, stop_at_third, &n), 42);
}

static void test_sym_clones_leave_cold_parts_out(void **state)
{
	struct world *w = *state;
	unsigned n = 0;

	assert_int_equal(guest_sym_clones(w->g, "guest_func0", count, &n), 0);
	assert_int_equal(n, 2); /* .constprop.0 and .isra.0.part.3, not .cold */
	n = 0;
	assert_int_equal(guest_sym_clones(w->g, "guest_func", count, &n), 0);
	assert_int_equal(n, 0);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void test_memory_is_what_the_tables_say(void **state)
{
	struct world *w = *state;
	struct arch_xlate x;
	uint8_t buf[64];
	vp_gpa_t gpa;

	assert_int_equal(guest_xlate(w->g, w->img.func[0], &x), VP_OK);
	assert_true(x.present && x.executable && !x.user && !x.writable);
	assert_int_equal(guest_read(w->g, w->img.func[0], buf, sizeof(buf)), VP_OK);
	assert_memory_equal(buf, guestimg_at(&w->img, w->img.func[0]), sizeof(buf));
	assert_int_equal(guest_read(w->g, vp_gva(0), buf, 1), VP_E_UNMAPPED);
	assert_int_equal(guest_read(w->g, vp_gva(UINT64_MAX - 3), buf, 8), VP_E_UNMAPPED);

	assert_int_equal(guest_text_gpa(w->g, w->img.func[1], 64, &gpa), VP_OK);
	assert_true(gpa.v == guestimg_gpa(&w->img, w->img.func[1]).v);
	assert_int_equal(guest_text_gpa(w->g, w->img.data, 8, &gpa), VP_E_RANGE);
	assert_int_equal(guest_text_gpa(w->g, vp_gva(w->img.text_end.v - 4), 8, &gpa), VP_E_RANGE);
	assert_int_equal(guest_text_gpa(w->g, vp_gva(w->img.text.v - 4), 8, &gpa), VP_E_RANGE);
	assert_int_equal(guest_text_gpa(w->g, w->img.text, 0, &gpa), VP_E_RANGE);
	assert_int_equal(guest_text_gpa(w->g, w->img.text, SIZE_MAX, &gpa), VP_E_RANGE);

	assert_int_equal(guest_data_gpa(w->g, w->img.data, 8, &gpa), VP_OK);
	assert_true(gpa.v == guestimg_gpa(&w->img, w->img.data).v);
	assert_int_equal(guest_data_gpa(w->g, w->img.text, 8, &gpa), VP_E_UNMAPPED);
	assert_int_equal(guest_data_gpa(w->g, w->img.rodata, 8, &gpa), VP_E_UNMAPPED);
	assert_int_equal(guest_data_gpa(w->g, w->img.data, SIZE_MAX, &gpa), VP_E_RANGE);
}

/* The guest may change its tables after the opening: each call walks them anew. */
static void test_memory_open_to_user_mode_is_not_the_kernels(void **state)
{
	struct world *w = *state;
	uint64_t bit = w->img.arch->id == ARCH_X86_64 ? 4 : 0x40;
	uint64_t table = w->img.root.v, va = w->img.data.v;
	uint8_t buf[8];
	vp_gpa_t gpa;

	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		uint8_t *e = fake_mem(w->f, vp_gpa(table + 8 * (va >> shift & 511)), 8);

		table = vp_ld64(e) & 0x0000fffffffff000;
		if (w->img.arch->id == ARCH_X86_64 || shift == 21)
			vp_st64(e, vp_ld64(e) | bit);
	}
	assert_int_equal(guest_data_gpa(w->g, w->img.data, 8, &gpa), VP_E_UNMAPPED);
	assert_int_equal(guest_read(w->g, w->img.data, buf, 8), VP_E_UNMAPPED);
}

/* --- arena ----------------------------------------------------------------------------------- */

static void test_arena_is_the_cave_and_not_the_reserved_text(void **state)
{
	struct world *w = *state;
	struct guest_arena a;

	assert_int_equal(guest_arena_read(w->g, &w->diag, &a), VP_OK);
	assert_int_equal(a.n_caves, 1);
	assert_true(a.caves[0].start.v == w->img.cave.v && a.caves[0].len == w->img.cave_len);
	assert_true(a.free == w->img.cave_len);
	assert_int_equal(a.n_records, 0);
	assert_int_equal(a.n_damaged, 0);
	assert_false(a.newer);
	guest_arena_deinit(&a);
}

/* Puts a record at the start of the cave plus off; returns its size. */
static uint32_t put_record(struct world *w, uint64_t off, uint64_t seq, uint32_t payload_len)
{
	struct vp_edit e = {.gva = w->img.func[0],
			    .gpa = guestimg_gpa(&w->img, w->img.func[0]),
			    .kind = VP_EDIT_SITE,
			    .discipline = VP_DISCIPLINE_STOP,
			    .len = 4};
	struct vp_ledger l = {.self = vp_gva(w->img.cave.v + off),
			      .state = VP_LEDGER_APPLIED,
			      .seq = seq,
			      .n_edits = 1,
			      .payload_len = payload_len,
			      .name = "fix",
			      .version = "1",
			      .text = ""};
	uint8_t *at = guestimg_at(&w->img, l.self);

	l.size = vp_ledger_size(1, 0, payload_len, &l.payload_off);
	memset(at, 0x90, l.size);
	assert_int_equal(vp_ledger_encode(at, l.size, &l, &e), VP_OK);
	return l.size;
}

static void test_arena_records_take_their_space(void **state)
{
	struct world *w = *state;
	struct guest_arena a;
	uint32_t first = put_record(w, 0, 2, 100), second = put_record(w, 0x8000, 1, 64);

	assert_int_equal(guest_arena_read(w->g, &w->diag, &a), VP_OK);
	assert_int_equal(a.n_records, 2);
	assert_true(a.records[0].l.seq == 1 && a.records[1].l.seq == 2); /* by seq */
	assert_true(a.records[1].gpa.v == guestimg_gpa(&w->img, w->img.cave).v);
	assert_int_equal(a.n_caves, 2);
	assert_true(a.caves[0].start.v >= w->img.cave.v + 0x8000 + second ||
		    a.caves[0].start.v >= w->img.cave.v + first);
	for (size_t i = 0; i < a.n_caves; i++) {
		assert_true(a.caves[i].start.v % VP_LEDGER_ALIGN == 0);
		assert_true(a.caves[i].len % VP_LEDGER_ALIGN == 0);
	}
	assert_true(a.free < w->img.cave_len - first - second + 2 * VP_LEDGER_ALIGN);
	guest_arena_deinit(&a);
}

/* The text is looked at piece by piece: what lies across two is whole. */
static void test_arena_record_across_pieces(void **state)
{
	struct world *w = *state;
	uint64_t off = 0x20000 - 0x40 - (w->img.cave.v - w->img.text.v);
	uint32_t size = put_record(w, off, 1, 100);
	struct guest_arena a;

	assert_int_equal(guest_arena_read(w->g, &w->diag, &a), VP_OK);
	assert_int_equal(a.n_records, 1);
	assert_true(a.records[0].l.self.v == w->img.cave.v + off && a.records[0].l.size == size);
	assert_memory_equal(a.records[0].bytes, guestimg_at(&w->img, a.records[0].l.self), size);
	assert_int_equal(a.n_caves, 2);
	assert_int_equal(a.n_damaged, 0);
	guest_arena_deinit(&a);
	/* The guest's text may end anywhere behind the magic. */
	vp_st32(guestimg_at(&w->img, vp_gva(w->img.cave.v + off + 12)), VP_LEDGER_SIZE_MAX);
	assert_int_equal(guest_arena_read(w->g, &w->diag, &a), VP_OK);
	assert_int_equal(a.n_records, 0);
	assert_int_equal(a.n_damaged, 1);
	guest_arena_deinit(&a);
}

static void test_arena_counts_damage_and_refuses_the_future(void **state)
{
	struct world *w = *state;
	uint8_t *at = guestimg_at(&w->img, w->img.cave);
	struct guest_arena a;

	put_record(w, 0, 1, 100);
	memcpy(at + 0x4000, at, 0x200); /* a copy is not a record */
	at[200] ^= 1;
	put_record(w, 0x8000, 2, 0);
	assert_int_equal(guest_arena_read(w->g, &w->diag, &a), VP_OK);
	assert_int_equal(a.n_records, 1);
	assert_int_equal(a.n_damaged, 2);
	assert_false(a.newer);
	guest_arena_deinit(&a);

	vp_st32(at + 0x8000 + 8, VP_LEDGER_VERSION + 1);
	assert_int_equal(guest_arena_read(w->g, &w->diag, &a), VP_OK);
	assert_true(a.newer);
	guest_arena_deinit(&a);
}

static void test_arena_record_inside_a_record_is_damage(void **state)
{
	struct world *w = *state;
	struct guest_arena a;
	uint8_t inner[512];
	uint32_t size = put_record(w, 0x400, 2, 0);
	struct vp_ledger l;
	struct vp_edit e;

	assert_true(size <= sizeof(inner));
	memcpy(inner, guestimg_at(&w->img, vp_gva(w->img.cave.v + 0x400)), size);
	put_record(w, 0, 1, 0x1000);
	memcpy(guestimg_at(&w->img, vp_gva(w->img.cave.v + 0x400)), inner, size);
	/* encode the outer one again over the payload that now holds a whole record */
	memset(&l, 0, sizeof(l));
	l = (struct vp_ledger){.self = w->img.cave,
			       .state = VP_LEDGER_APPLIED,
			       .seq = 1,
			       .n_edits = 1,
			       .payload_len = 0x1000,
			       .name = "fix",
			       .version = "1",
			       .text = ""};
	e = (struct vp_edit){.gva = w->img.func[0],
			     .kind = VP_EDIT_SITE,
			     .discipline = VP_DISCIPLINE_STOP,
			     .len = 4};
	l.size = vp_ledger_size(1, 0, 0x1000, &l.payload_off);
	assert_int_equal(vp_ledger_encode(guestimg_at(&w->img, w->img.cave), l.size, &l, &e),
			 VP_OK);
	assert_int_equal(guest_arena_read(w->g, &w->diag, &a), VP_OK);
	assert_int_equal(a.n_records, 1);
	assert_int_equal(a.n_damaged, 1);
	guest_arena_deinit(&a);
}

/* --- tracer ----------------------------------------------------------------------------------- */

static void test_tracer_unknown_where_the_guest_does_not_tell(void **state)
{
	struct world *w = *state;
	struct guest_quiet q[2];
	struct guest_tracer tr;
	size_t n = 9;

	assert_int_equal(guest_tracer(w->g, w->img.func[0], &w->diag, &tr), VP_OK);
	assert_false(tr.found);
	assert_int_equal(guest_quiet_words(w->g, q, 2, &n, &w->diag), VP_OK);
	assert_int_equal(n, 0);
}

static void test_tracer_record_of_an_idle_site(void **state)
{
	struct world *w = *state;
	struct guest_tracer tr;

	for (unsigned i = 0; i < GUESTIMG_FUNCS; i++) {
		assert_int_equal(guest_tracer(w->g, w->img.func[i], &w->diag, &tr), VP_OK);
		assert_true(tr.found && tr.idle && !tr.taken && !tr.covered);
		assert_true(tr.flags_gpa.v == w->img.flags[i].v);
		assert_true(tr.flags_taken == 1u << 25);
		assert_string_equal(tr.who, "");
	}
	assert_int_equal(guest_tracer(w->g, vp_gva(w->img.func[0].v + 4), &w->diag, &tr), VP_OK);
	assert_false(tr.found);
}

static void test_tracer_flags_that_mean_use(void **state)
{
	static const struct {
		uint64_t flags;
		bool idle, taken;
	} rows[] = {
		{1u << 25, true, true},   {1u << 31, false, false}, {1, false, false},
		{0x7fffff, false, false}, {1u << 26, false, false}, {1u << 24, false, false},
	};
	struct world *w = *state;
	struct guest_tracer tr;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		vp_st64(fake_mem(w->f, w->img.flags[1], 8), rows[i].flags);
		assert_int_equal(guest_tracer(w->g, w->img.func[1], &w->diag, &tr), VP_OK);
		assert_true(tr.flags == rows[i].flags);
		assert_int_equal(tr.idle, rows[i].idle);
		assert_int_equal(tr.taken, rows[i].taken);
	}
}

static void test_tracer_covers_by_filter_or_without_one(void **state)
{
	struct world *w = *state;
	struct guest_tracer tr;

	guestimg_add_ops(&w->img, vp_gva(0), w->img.func[5]);
	assert_int_equal(guest_tracer(w->g, w->img.func[0], &w->diag, &tr), VP_OK);
	assert_true(tr.covered);
	assert_string_equal(tr.who, "guest_func5");
	guestimg_add_ops(&w->img, w->img.func[1], vp_gva(0xffffffffc0000000));
	assert_int_equal(guest_tracer(w->g, w->img.func[0], &w->diag, &tr), VP_OK);
	assert_false(tr.covered);
	assert_int_equal(guest_tracer(w->g, w->img.func[1], &w->diag, &tr), VP_OK);
	assert_true(tr.covered);
	assert_string_equal(tr.who, "a module");
}

/* A list that leads back to itself is no reason to walk for ever, nor to say "not covered". */
static void test_tracer_endless_lists_are_refused(void **state)
{
	struct world *w = *state;
	struct guest_tracer tr;
	vp_gva_t ops;

	guestimg_add_ops(&w->img, w->img.func[1], w->img.func[5]);
	ops = vp_gva(w->img.data.v + 0x2200);
	vp_st64(guestimg_at(&w->img, vp_gva(ops.v + 8)), ops.v);
	assert_int_equal(guest_tracer(w->g, w->img.func[0], &w->diag, &tr), VP_E_GUEST_CORRUPT);
	vp_st64(guestimg_at(&w->img, vp_gva(ops.v + 8)), 0x1000);
	assert_int_equal(guest_tracer(w->g, w->img.func[0], &w->diag, &tr), VP_E_GUEST_CORRUPT);
	guestimg_add_ops(&w->img, w->img.func[1], w->img.func[5]);
	vp_st64(guestimg_at(&w->img, vp_gva(w->img.data.v + 0x2380)), w->img.data.v + 0x2380);
	assert_int_equal(guest_tracer(w->g, w->img.func[0], &w->diag, &tr), VP_E_GUEST_CORRUPT);
}

static void test_quiet_words_are_the_mutexes_owners(void **state)
{
	struct world *w = *state;
	struct guest_quiet q[4];
	size_t n = 0;

	assert_int_equal(guest_quiet_words(w->g, q, 4, &n, &w->diag), VP_OK);
	assert_int_equal(n, 2);
	assert_string_equal(q[0].name, "text_mutex");
	assert_true(q[0].gpa.v == w->img.text_mutex.v && q[0].mask == ~(uint64_t)7);
	assert_string_equal(q[1].name, "ftrace_lock");
	assert_true(q[1].gpa.v == w->img.ftrace_lock.v);
	assert_int_equal(guest_quiet_words(w->g, q, 1, &n, &w->diag), VP_OK);
	assert_int_equal(n, 1);
}

static void test_site_who_names_what_took_it(void **state)
{
	struct world *w = *state;
	const struct arch_ops *ops = w->img.arch;
	uint8_t buf[16] = {0};
	char words[160];
	unsigned len;

	assert_int_equal(ops->trap(buf, &len), VP_OK);
	guest_site_who(w->g, w->img.func[0], buf, sizeof(buf), words, sizeof(words));
	assert_non_null(strstr(words, "kprobe"));
	assert_int_equal(ops->branch(buf, w->img.func[0], vp_gva(w->img.func[2].v + 16), &len),
			 VP_OK);
	guest_site_who(w->g, w->img.func[0], buf, sizeof(buf), words, sizeof(words));
	assert_string_equal(words, "a jump to guest_func2+0x10");
	assert_int_equal(ops->call(buf, w->img.func[0], vp_gva(w->img.text.v - 0x10000), &len),
			 VP_OK);
	guest_site_who(w->g, w->img.func[0], buf, sizeof(buf), words, sizeof(words));
	assert_non_null(strstr(words, "trampoline"));
	guest_site_who(w->g, w->img.func[0], buf, 0, words, sizeof(words));
	assert_non_null(strstr(words, "no instruction"));
}

#define X86(test)   cmocka_unit_test_setup_teardown(test, on_x86, stop)
#define ARM64(test) cmocka_unit_test_setup_teardown(test, on_arm64, stop)
#define BOTH(test)  X86(test), ARM64(test)

/* --- what a payload's calls lead to --------------------------------------------------------- */

static int target_of(struct world *w, const char *name, vp_gva_t *ret)
{
	struct guest_sym sym;

	assert_int_equal(guest_sym(w->g, name, 0, &w->diag, &sym), VP_OK);
	return guest_call_target(w->g, &sym, &w->diag, ret);
}

static void test_payload_returns_as_the_kernel_does(void **state)
{
	struct world *w = *state;
	uint8_t *variable = guestimg_at(&w->img, w->img.return_thunk);
	vp_gva_t at;

	assert_int_equal(target_of(w, "__x86_return_thunk", &at), VP_OK);
	assert_int_equal(at.v, w->img.thunk.v + 0x20);
	vp_st64(variable, w->img.thunk.v + 0x60);
	assert_int_equal(target_of(w, "__x86_return_thunk", &at), VP_OK);
	assert_int_equal(at.v, w->img.thunk.v + 0x60);
	/* data is no thunk */
	vp_st64(variable, w->img.data.v);
	assert_int_equal(target_of(w, "__x86_return_thunk", &at), VP_E_UNSUPPORTED);
	assert_int_equal(target_of(w, "__x86_indirect_thunk_rax", &at), VP_E_UNSUPPORTED);
}

static void test_payload_branches_by_its_thunks_where_the_kernel_does(void **state)
{
	struct world *w = *state;
	uint8_t *variable = guestimg_at(&w->img, w->img.return_thunk);
	uint8_t *thunk = guestimg_at(&w->img, w->img.thunk);
	vp_gva_t at;

	memcpy(thunk, "\xff\xe0\xcc", 3); /* jmp *%rax */
	assert_int_equal(target_of(w, "__x86_indirect_thunk_rax", &at), VP_OK);
	assert_int_equal(at.v, w->img.thunk.v);
	vp_st64(variable, w->img.thunk.v + 0x60);
	assert_int_equal(target_of(w, "__x86_indirect_thunk_rax", &at), VP_OK);
	assert_int_equal(at.v, w->img.thunk.v + 0x40);
	memcpy(thunk, "\xe8\x01\x00", 3); /* a retpoline is no weaker */
	assert_int_equal(target_of(w, "__x86_indirect_thunk_rax", &at), VP_OK);
	assert_int_equal(at.v, w->img.thunk.v);
}

static void test_init_function_is_nothing_to_call(void **state)
{
	struct world *w = *state;
	vp_gva_t at;

	assert_int_equal(target_of(w, "guest_func0", &at), VP_OK);
	assert_int_equal(at.v, w->img.func[0].v);
	assert_int_equal(target_of(w, "_sinittext", &at), VP_E_SYM_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_sym_by_name),
		BOTH(test_sym_ambiguous_names_list_their_addresses),
		BOTH(test_sym_at_address),
		ARM64(test_exported_variables_are_symbols),
		ARM64(test_exported_variable_outside_the_image_is_refused),
		ARM64(test_exports_that_contradict_kallsyms_are_not_used),
		ARM64(test_exports_out_of_order_are_not_used),
		ARM64(test_exports_with_a_name_outside_end_there),
		ARM64(test_exports_without_functions_are_not_a_table),
		ARM64(test_exports_without_end_are_not_used),
		ARM64(test_exports_of_one_table_do),
		X86(test_exports_are_not_asked_where_kallsyms_has_data),
		BOTH(test_sym_each_gives_all_and_stops_when_told),
		BOTH(test_sym_clones_leave_cold_parts_out),
		BOTH(test_memory_is_what_the_tables_say),
		BOTH(test_memory_open_to_user_mode_is_not_the_kernels),
		BOTH(test_arena_is_the_cave_and_not_the_reserved_text),
		BOTH(test_arena_records_take_their_space),
		BOTH(test_arena_counts_damage_and_refuses_the_future),
		BOTH(test_arena_record_inside_a_record_is_damage),
		BOTH(test_arena_record_across_pieces),
		ARM64(test_tracer_unknown_where_the_guest_does_not_tell),
		X86(test_tracer_record_of_an_idle_site),
		X86(test_tracer_flags_that_mean_use),
		X86(test_tracer_covers_by_filter_or_without_one),
		X86(test_tracer_endless_lists_are_refused),
		X86(test_quiet_words_are_the_mutexes_owners),
		BOTH(test_site_who_names_what_took_it),
		cmocka_unit_test_setup_teardown(test_payload_returns_as_the_kernel_does, on_x86,
						stop),
		cmocka_unit_test_setup_teardown(
			test_payload_branches_by_its_thunks_where_the_kernel_does, on_x86, stop),
		cmocka_unit_test_setup_teardown(test_init_function_is_nothing_to_call, on_x86,
						stop),
		cmocka_unit_test_setup_teardown(test_init_function_is_nothing_to_call, on_arm64,
						stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
