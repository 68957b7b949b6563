// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sites that are switched by a literal, of an arm64 guest that is not Linux, through its stub's table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/arm64/regs.h"
#include "protocol/bytes.h"
#include "protocol/sites.h"
#include "tests/lib/fake.h"
#include "tests/lib/sample.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/engine.h"

#define RAM        UINT64_C(0x40000000)
#define RAM_LEN    UINT64_C(0x100000)
#define FUNC       (RAM + 0x1008) /* mov x9, x30; nop, behind its literal */
#define CALLS      (RAM + 0x2008) /* the same, and calls its dispatcher at rest */
#define ZERO       (RAM + 0x3008) /* the same as the first, but its literal rests at 0 */
#define HOOK       (RAM + 0x4000) /* a literal by itself, at rest 0 */
#define DISPATCHER (RAM + 0x6000)
#define ARENA      (RAM + 0x10000)
#define TABLE      (RAM + 0x20000)
#define MOV_X9_X30 0xaa1e03e9u /* Arm ARM C6.2, MOV (register) */
#define NOP        0xd503201fu

struct world {
	struct fake *f;
	struct vp_target *t;
	struct vp_site sites[4];
	struct diag diag;
	struct eng_opts opts;
	struct eng_report rep;
	struct hf_bundle *b;
	uint8_t *rest; /* of RAM */
	char dir[64], run[80];
	uint64_t synced_at;
};

static uint8_t *at(struct world *w, uint64_t gva)
{
	return (uint8_t *)fake_mem(w->f, vp_gpa(RAM), RAM_LEN) + (gva - RAM);
}

static const uint8_t image_id[20] = {1, 2, 3, 4, 5};

static void put_table(struct world *w)
{
	static const struct vp_dispatcher dispatcher = {.at = {DISPATCHER},
							.reach = 0x7fffffc,
							.kind = VP_DISPATCHER_POINTER,
							.reg = 30,
							.literal_off = -16};
	static const struct vp_arena arena = {
		.at = {ARENA}, .len = 0x4000, .filler = {0, 0, 0x20, 0xd4}, .filler_len = 4};
	const struct vp_sites_new t = {.self = vp_gva(TABLE),
				       .arch = VP_SITES_ARCH_ARM64,
				       .id_kind = VP_SITES_ID_IMAGE,
				       .id_len = sizeof(image_id),
				       .id = image_id,
				       .n_sites = 4,
				       .n_arenas = 1,
				       .n_dispatchers = 1,
				       .sites = w->sites,
				       .arenas = &arena,
				       .dispatchers = &dispatcher};

	assert_int_equal(vp_sites_encode(at(w, TABLE), 0x2000, &t), VP_OK);
}

static void put_function(struct world *w, unsigned i, const char *name, uint64_t func,
			 uint64_t rest, bool calls)
{
	struct vp_site *s = &w->sites[i];
	unsigned len;

	*s = (struct vp_site){.at = vp_gva(func),
			      .literal = vp_gva(func - 8),
			      .literal_rest = rest,
			      .kind = VP_SITE_FUNCTION,
			      .sequence = VP_SEQ_ARM64_TWO,
			      .len = 8,
			      .name = name};
	vp_st32(s->rest, MOV_X9_X30);
	vp_st32(s->rest + 4, NOP);
	if (calls)
		assert_int_equal(
			arch_get(ARCH_ARM64)
				->call(s->rest + 4, vp_gva(func + 4), vp_gva(DISPATCHER), &len),
			VP_OK);
	memcpy(at(w, func), s->rest, 8);
	vp_st64(at(w, func - 8), rest);
}

static struct hf_bundle *bundle(struct world *w, const char *meta, size_t len)
{
	struct pack_kernel kernel = {.release = GUEST_NO_RELEASE, .build_id_len = sizeof(image_id)};
	struct hf_bundle *b;
	struct sample s;
	uint8_t *buf;

	memcpy(kernel.build_id, image_id, sizeof(image_id));
	sample_init(&s, arch_get(ARCH_ARM64), meta, len);
	for (unsigned i = 0; i < s.o.n_symbol; i++)
		if (strcmp(s.symbol[i].name, "helper") == 0) { /* of the image */
			s.symbol[i].shndx = SHN_ABS;
			s.symbol[i].value = DISPATCHER;
		}
	if (sample_pack_for(&s, &kernel, &w->diag, &buf, &len) < 0 ||
	    hf_open(buf, len, &w->diag, &b) < 0)
		fail_msg("bundle: %s", w->diag.text);
	free(buf);
	return b;
}
#define BUNDLE(w, meta) bundle(w, meta, sizeof(meta))
#define ALL                                                           \
	"name=fix\0version=1\0consistency=entry\0replace=f,0,fixed\0" \
	"replace=calls,0,fixed\0site.call=hook,fixed"

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	diag_init(&w->diag);
	w->f = fake_create(arch_get(ARCH_ARM64), 2);
	fake_ram_add(w->f, vp_gpa(RAM), RAM_LEN);
	fake_caps(w->f, VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY | VP_CAP_STORE_LIVE);
	assert_int_equal(fake_open(w->f, &w->diag, &w->t), VP_OK);
	for (unsigned i = 0; i < 2; i++) { /* at EL1, MMU off */
		static const struct {
			unsigned reg;
			uint64_t v;
		} regs[] = {{ARCH_REG_PC, RAM + 0x8000},
			    {ARM64_REG_CPSR, 0x3c5},
			    {ARM64_REG_SCTLR, 0x30d00800},
			    {ARM64_REG_TTBR1, 0},
			    {ARM64_REG_TCR, 0}};
		struct arch_regs *r = fake_regs(w->f, i);

		memset(r, 0, sizeof(*r));
		for (unsigned k = 0; k < sizeof(regs) / sizeof(regs[0]); k++) {
			r->v[regs[k].reg] = regs[k].v;
			r->have |= 1u << regs[k].reg;
		}
	}
	put_function(w, 0, "f", FUNC, FUNC + 8, false);
	put_function(w, 1, "calls", CALLS, CALLS + 8, true);
	put_function(w, 2, "zero", ZERO, 0, false);
	w->sites[3] = (struct vp_site){.at = vp_gva(HOOK),
				       .kind = VP_SITE_LITERAL,
				       .len = 8,
				       .dispatcher = VP_SITE_NO_DISPATCHER,
				       .name = "hook"};
	for (uint64_t i = 0; i < 0x4000; i += 4)
		vp_st32(at(w, ARENA + i), 0xd4200000); /* brk #0 */
	put_table(w);
	w->rest = malloc(RAM_LEN);
	assert_non_null(w->rest);
	memcpy(w->rest, at(w, RAM), RAM_LEN);
	snprintf(w->dir, sizeof(w->dir), "%s/vp-lit-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->run, sizeof(w->run), "%s/run", w->dir);
	w->opts = (struct eng_opts){
		.dirs = {w->dir, w->run}, .window_ns = 10 * CLOCK_NS_PER_SEC, .settle_ns = 1};
	w->b = BUNDLE(w, ALL);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char cmd[96];

	assert_string_equal(fake_violation(w->f), "");
	hf_close(w->b);
	eng_report_deinit(&w->rep);
	vp_target_close(w->t);
	fake_destroy(w->f);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", w->dir);
	assert_int_equal(system(cmd), 0);
	free(w->rest);
	free(w);
	return 0;
}

static int apply(struct world *w, struct hf_bundle *b, enum vp_discipline d)
{
	eng_report_deinit(&w->rep);
	diag_init(&w->diag);
	w->opts.discipline = d;
	return eng_apply(w->t, b, &w->opts, &w->diag, &w->rep);
}

static int revert(struct world *w, enum vp_discipline d)
{
	eng_report_deinit(&w->rep);
	diag_init(&w->diag);
	w->opts.discipline = d;
	return eng_revert(w->t, "fix", &w->opts, &w->diag, &w->rep);
}

static void must(struct world *w, int r)
{
	if (r != VP_OK)
		fail_msg("%s: %s", vp_err_reason(r), w->diag.text);
}

static int status(struct world *w)
{
	struct eng_list list;
	struct guest *g;
	int r;

	must(w, guest_open(w->t, 0, &w->diag, &g));
	r = eng_status(w->t, g, "fix", &w->opts.dirs, &w->diag, &list);
	eng_list_deinit(&list);
	guest_close(g);
	return r;
}

/* The sites and literals, without arena and table. */
static bool all_old(struct world *w)
{
	return memcmp(at(w, RAM), w->rest, 0x8000) == 0;
}

static bool all_new(struct world *w)
{
	uint64_t to = vp_ld64(at(w, HOOK));
	uint8_t call[4], old[8];
	unsigned len;

	assert_int_equal(
		arch_get(ARCH_ARM64)->call(call, vp_gva(FUNC + 4), vp_gva(DISPATCHER), &len),
		VP_OK);
	memcpy(old, w->sites[1].rest, 8);
	return to > ARENA && to < ARENA + 0x4000 && vp_ld64(at(w, FUNC - 8)) == to &&
	       vp_ld64(at(w, CALLS - 8)) == to && vp_ld32(at(w, FUNC)) == MOV_X9_X30 &&
	       memcmp(at(w, FUNC + 4), call, 4) == 0 && memcmp(at(w, CALLS), old, 8) == 0;
}

static void test_a_literal_and_one_word_go_in_and_out(void **state)
{
	struct world *w = *state;

	for (int live = 0; live < 2; live++) {
		enum vp_discipline d = live ? (enum vp_discipline)0 : VP_DISCIPLINE_STOP;
		uint64_t pauses = fake_op_calls(w->f, FAKE_PAUSE);

		must(w, apply(w, w->b, d));
		assert_int_equal(w->rep.live, live);
		assert_int_equal(w->rep.n_edits, 4);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(w->rep.edits[i].edit.discipline,
					 live ? VP_DISCIPLINE_LITERAL : VP_DISCIPLINE_STOP);
		assert_true(all_new(w));
		must(w, status(w));
		must(w, revert(w, d));
		assert_int_equal(w->rep.live, live);
		assert_true(all_old(w));
		assert_int_equal(status(w), VP_E_NOT_APPLIED);
		assert_int_equal(fake_op_calls(w->f, FAKE_PAUSE) > pauses, !live);
	}
}

static void refused(struct world *w, struct hf_bundle *b, int err, const char *words)
{
	int r = apply(w, b, (enum vp_discipline)0);

	if (r != err || !strstr(w->diag.text, words))
		fail_msg("%s: %s", vp_err_reason(r), w->diag.text);
	assert_memory_equal(at(w, RAM), w->rest, RAM_LEN);
	hf_close(b);
}

static void test_what_a_literal_cannot_be_is_refused(void **state)
{
	struct world *w = *state;

	refused(w, BUNDLE(w, "name=fix\0version=1\0replace=zero,0,fixed"), VP_E_NO_SITE,
		"rests at 0");
	refused(w, BUNDLE(w, "name=fix\0version=1\0consistency=entry\0site.jump=hook,fixed"),
		VP_E_NO_SITE, "VPATCH_SITE_CALL");
	refused(w, BUNDLE(w, "name=fix\0version=1\0consistency=quiesce\0site.call=hook,fixed"),
		VP_E_NO_SITE, "VPATCH_CONSISTENCY_ENTRY");
}

/* The ledger lies in guest memory: what it says of a literal is nothing without the table. */
static void test_a_literal_goes_back_only_to_what_the_table_says(void **state)
{
	struct world *w = *state;

	must(w, apply(w, w->b, (enum vp_discipline)0));
	w->sites[0].literal_rest += 4;
	put_table(w);
	assert_int_equal(revert(w, (enum vp_discipline)0), VP_E_LEDGER);
	assert_true(all_new(w));
	w->sites[0].literal_rest -= 4;
	put_table(w);
	vp_st64(at(w, HOOK), 0x1234);
	assert_int_not_equal(status(w), VP_OK);
	assert_int_equal(revert(w, (enum vp_discipline)0), VP_E_SHADOWED);
}

/* The stub lets go of its table when the payload is there and no word is yet. */
static void let_go(struct fake *f, enum fake_op op, uint64_t nth, void *ctx)
{
	struct world *w = ctx;

	(void)f;
	if (op == FAKE_LIVE_SYNC && w->synced_at == 0) {
		w->synced_at = nth;
		vp_st64(at(w, TABLE), 0);
	}
}

static void test_a_table_that_goes_ahead_of_the_words_is_noticed(void **state)
{
	struct world *w = *state;

	fake_hook(w->f, let_go, w);
	assert_int_equal(apply(w, w->b, (enum vp_discipline)0), VP_E_GUEST_CHANGED);
	fake_hook(w->f, NULL, NULL);
	assert_true(w->synced_at != 0);
	assert_true(all_old(w));
}

static int open_again(void *ctx, const char *locator, struct diag *diag, struct vp_target **ret)
{
	struct world *w = ctx;

	(void)locator;
	return fake_open(w->f, diag, ret);
}

static void hear(void *ctx, const struct eng_recovered *r)
{
	(void)ctx;
	(void)r;
}

/* Whatever call fails: old or new, and from there back to rest. */
static void each_call(struct world *w, enum vp_discipline d, bool back)
{
	uint64_t calls, total;

	must(w, apply(w, w->b, d));
	calls = fake_calls(w->f);
	must(w, revert(w, d));
	total = fake_calls(w->f) - calls + 40;
	for (uint64_t nth = 1; nth <= total; nth++) {
		int r;

		if (back)
			must(w, apply(w, w->b, d));
		fake_fail(w->f, nth, VP_E_IO, false);
		r = back ? revert(w, d) : apply(w, w->b, d);
		fake_fail(w->f, 0, 0, false);
		if (vp_err_exit(r) == 4)
			must(w, eng_recover(&w->opts.dirs, open_again, w, hear, w, &w->diag));
		assert_true(fake_runs(w->f));
		assert_true(all_old(w) || all_new(w));
		if (r == VP_OK)
			assert_true(back ? all_old(w) : all_new(w));
		if (all_new(w))
			must(w, revert(w, d));
		assert_true(all_old(w));
	}
}

static void test_any_call_of_a_stopped_change_may_fail(void **state)
{
	each_call(*state, VP_DISCIPLINE_STOP, false);
	each_call(*state, VP_DISCIPLINE_STOP, true);
}

static void test_any_call_of_a_live_change_may_fail(void **state)
{
	each_call(*state, VP_DISCIPLINE_LITERAL, false);
	each_call(*state, VP_DISCIPLINE_LITERAL, true);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_a_literal_and_one_word_go_in_and_out),
		CASE(test_what_a_literal_cannot_be_is_refused),
		CASE(test_a_literal_goes_back_only_to_what_the_table_says),
		CASE(test_a_table_that_goes_ahead_of_the_words_is_noticed),
		CASE(test_any_call_of_a_stopped_change_may_fail),
		CASE(test_any_call_of_a_live_change_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
