/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which discipline a change gets, by hand-made plans; and whole, on a synthetic kernel without a stub. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"
#include "tests/lib/guestimg.h"
#include "tests/lib/sample.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/plan.h"
#include "vmm-agent/engine/vmm.h"

#define TEXT UINT64_C(0x40000000)
#define LIVE (VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY | VP_CAP_STORE_LIVE)

/* --- hand-made plans ---------------------------------------------------------------------------- */

struct desk {
	struct fake *f;
	struct vp_target *t;
	struct eng_opts opts;
	struct eng_report rep;
	struct eng_plan plan;
	struct diag diag;
};

static void desk(struct desk *d, enum arch_id id, uint32_t caps, size_t traps)
{
	memset(d, 0, sizeof(*d));
	diag_init(&d->diag);
	d->f = fake_create(arch_get(id), 1);
	fake_ram_add(d->f, vp_gpa(0), 0x10000);
	fake_caps(d->f, caps);
	assert_int_equal(fake_open(d->f, &d->diag, &d->t), VP_OK);
	d->plan = (struct eng_plan){.t = d->t,
				    .opts = &d->opts,
				    .was_running = true,
				    .report = &d->rep,
				    .n_traps = traps,
				    .txn = eng_txn_create(ENG_OP_APPLY)};
	assert_non_null(d->plan.txn);
	for (size_t i = 0; i < traps; i++)
		d->plan.traps[i] = (struct eng_trap){vp_gva(TEXT + 0x8000 + i * VP_TRAP_RECORD),
						     vp_gpa(0x8000 + i * VP_TRAP_RECORD)};
	assert_int_equal(eng_txn_add_state(d->plan.txn, vp_gva(TEXT + 0x9000), vp_gpa(0x9000),
					   VP_LEDGER_APPLIED, VP_LEDGER_REVERTING),
			 VP_OK);
}

static void desk_end(struct desk *d)
{
	eng_txn_destroy(d->plan.txn);
	vp_target_close(d->t);
	fake_destroy(d->f);
}

/* From a nop, or from these four bytes, to a branch. */
static void site(struct desk *d, uint64_t off, const uint32_t *from)
{
	const struct arch_ops *ops = vp_target_info(d->t)->arch;
	struct vp_edit e = {.gva = vp_gva(TEXT + off),
			    .gpa = vp_gpa(off),
			    .kind = VP_EDIT_SITE,
			    .discipline = VP_DISCIPLINE_STOP};
	unsigned len;

	assert_int_equal(ops->branch(e.new, e.gva, vp_gva(TEXT + 0x4000), &len), VP_OK);
	e.len = (uint8_t)len;
	if (from)
		vp_st32(e.old, *from);
	else
		assert_int_equal(ops->nop(e.old, len), VP_OK);
	assert_int_equal(eng_txn_add(d->plan.txn, &e, "f"), VP_OK);
}

static struct vp_edit literal(uint64_t off)
{
	return (struct vp_edit){.gva = vp_gva(TEXT + off),
				.gpa = vp_gpa(off),
				.kind = VP_EDIT_LITERAL,
				.discipline = VP_DISCIPLINE_STOP,
				.len = 8,
				.new = {1}};
}

/* Chooses and finishes; every word has got d, 0: they are stop, for a reason with these words in it. */
static void chosen(struct desk *d, enum vp_discipline want, const char *why)
{
	const struct eng_txn *txn = d->plan.txn;

	if (eng_plan_discipline(&d->plan, &d->diag) != VP_OK)
		fail_msg("%s", d->diag.text);
	assert_int_equal(eng_txn_finish(d->plan.txn), VP_OK);
	for (uint32_t i = 0; i < txn->n_steps; i++)
		assert_int_equal(txn->steps[i].e.edit.discipline,
				 want && eng_step_is_word(&txn->steps[i]) ? want
									  : VP_DISCIPLINE_STOP);
	assert_int_equal(d->rep.live, want != 0);
	if (!strstr(d->rep.why_stop, why))
		fail_msg("\"%s\" does not say \"%s\"", d->rep.why_stop, why);
	assert_int_equal(d->rep.why_stop[0] != '\0', why[0] != '\0');
	desk_end(d);
}

static void refused(struct desk *d, enum vp_discipline named, const char *why)
{
	d->opts.discipline = named;
	assert_int_equal(eng_plan_discipline(&d->plan, &d->diag), VP_E_DISCIPLINE);
	assert_int_equal(vp_err_exit(VP_E_DISCIPLINE), 1);
	assert_non_null(strstr(d->diag.text, arch_discipline_name(named)));
	if (!strstr(d->diag.text, why))
		fail_msg("\"%s\" does not say \"%s\"", d->diag.text, why);
	assert_false(eng_txn_live(d->plan.txn));
	desk_end(d);
}

static void test_least_disturbing_that_is_right_is_taken(void **state)
{
	struct vp_edit lit = literal(0x2ff8);
	struct desk d;

	(void)state;
	desk(&d, ARCH_ARM64, LIVE, 0);
	site(&d, 0x1000, NULL);
	site(&d, 0x2000, NULL);
	chosen(&d, VP_DISCIPLINE_WORD, "");
	desk(&d, ARCH_X86_64, LIVE, 2);
	site(&d, 0x1000, NULL);
	chosen(&d, VP_DISCIPLINE_TRAP, "");
	desk(&d, ARCH_RISCV64, LIVE, 0);
	site(&d, 0x1000, NULL);
	assert_int_equal(eng_txn_add_literal(d.plan.txn, &lit, "f"), VP_OK);
	chosen(&d, VP_DISCIPLINE_LITERAL, "");
	desk(&d, ARCH_PPC64LE, LIVE, 0);
	assert_int_equal(eng_txn_add(d.plan.txn, &lit, "ops"), VP_OK);
	chosen(&d, VP_DISCIPLINE_LITERAL, "");
}

static void test_traps_share_the_records_there_are(void **state)
{
	struct desk d;

	(void)state;
	desk(&d, ARCH_X86_64, LIVE, 2);
	for (unsigned i = 0; i < 3; i++)
		site(&d, 0x1000 * (i + 1), NULL);
	assert_int_equal(eng_plan_discipline(&d.plan, &d.diag), VP_OK);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(d.plan.txn->steps[i + 1].trap.gpa.v,
				 0x8000 + i % 2 * VP_TRAP_RECORD);
	chosen(&d, VP_DISCIPLINE_TRAP, "");
}

static void test_one_word_that_needs_stop_is_stop_for_all(void **state)
{
	const uint32_t mov = 0xaa1e03e9; /* mov x9, x30; C6.2.248 */
	struct vp_edit flags = literal(0x3000);
	struct desk d;

	(void)state;
	desk(&d, ARCH_ARM64, LIVE, 2);
	site(&d, 0x1000, NULL);
	site(&d, 0x2000, &mov);
	chosen(&d, (enum vp_discipline)0, "f at 0x40002000");
	desk(&d, ARCH_X86_64, LIVE, 0);
	site(&d, 0x1000, NULL);
	chosen(&d, (enum vp_discipline)0, "f at 0x40001000");
	desk(&d, ARCH_X86_64, LIVE & ~VP_CAP_STORE_LIVE, 2);
	site(&d, 0x1000, NULL);
	chosen(&d, (enum vp_discipline)0, "cannot store");
	desk(&d, ARCH_ARM64, LIVE, 0);
	site(&d, 0x1000, NULL);
	d.plan.was_running = false;
	chosen(&d, (enum vp_discipline)0, "does not run");
	desk(&d, ARCH_X86_64, LIVE, 2);
	site(&d, 0x1000, NULL);
	flags.kind = VP_EDIT_TRACER;
	assert_int_equal(eng_txn_add(d.plan.txn, &flags, "f"), VP_OK);
	chosen(&d, (enum vp_discipline)0, "tracer");
	/* and where it was asked for, it needs no reason */
	desk(&d, ARCH_ARM64, LIVE, 0);
	site(&d, 0x1000, NULL);
	d.opts.discipline = VP_DISCIPLINE_STOP;
	chosen(&d, (enum vp_discipline)0, "");
}

static void test_text_poke_events_want_a_moment_between_old_and_new(void **state)
{
	struct desk d;

	(void)state;
	desk(&d, ARCH_ARM64, LIVE, 1);
	site(&d, 0x1000, NULL);
	d.opts.text_poke_events = true;
	chosen(&d, VP_DISCIPLINE_TRAP, "");
	desk(&d, ARCH_ARM64, LIVE, 0);
	site(&d, 0x1000, NULL);
	d.opts.text_poke_events = true;
	chosen(&d, (enum vp_discipline)0, "f at");
	desk(&d, ARCH_ARM64, LIVE, 1);
	site(&d, 0x1000, NULL);
	d.opts.text_poke_events = true;
	refused(&d, VP_DISCIPLINE_WORD, "text poke event");
}

static void test_named_and_not_right_is_refused_with_the_reason(void **state)
{
	struct desk d;

	(void)state;
	desk(&d, ARCH_ARM64, LIVE, 0);
	site(&d, 0x1000, NULL);
	refused(&d, VP_DISCIPLINE_TRAP, "no trap handler");
	desk(&d, ARCH_ARM64, LIVE, 0);
	site(&d, 0x1000, NULL);
	refused(&d, VP_DISCIPLINE_SKIP, "no such stage");
	desk(&d, ARCH_ARM64, LIVE, 0);
	site(&d, 0x1000, NULL);
	refused(&d, VP_DISCIPLINE_LITERAL, "no literal");
	desk(&d, ARCH_X86_64, LIVE, 2);
	site(&d, 0x1000, NULL);
	refused(&d, VP_DISCIPLINE_WORD, "f at 0x40001000");
	desk(&d, ARCH_X86_64, LIVE & ~VP_CAP_STORE_LIVE, 2);
	site(&d, 0x1000, NULL);
	refused(&d, VP_DISCIPLINE_TRAP, "cannot store");
}

/* --- whole ------------------------------------------------------------------------------------- */

struct world {
	struct fake *f;
	struct guestimg img;
	struct vp_target *t;
	struct diag diag;
	struct eng_opts opts;
	struct eng_report rep;
	struct hf_bundle *b;
	char dir[64], run[80];
};

static struct hf_bundle *bundle(struct world *w)
{
	static const char meta[] = "name=fix\0version=1\0replace=guest_func1,0,fixed\0"
				   "consistency=entry";
	struct sample s;
	struct hf_bundle *b;
	uint8_t *buf;
	size_t len;

	sample_init(&s, w->img.arch, meta, sizeof(meta));
	for (unsigned i = 0; i < s.o.n_symbol; i++)
		if (strcmp(s.symbol[i].name, "helper") == 0)
			s.symbol[i].name = "guest_func7";
	if (sample_pack(&s, &w->diag, &buf, &len) < 0 || hf_open(buf, len, &w->diag, &b) < 0)
		fail_msg("bundle: %s", w->diag.text);
	free(buf);
	return b;
}

static int start(void **state, enum arch_id id)
{
	struct world *w = calloc(1, sizeof(*w));
	struct guestimg_opts gopts = {.release = "6.1.0-test", .canary = 0x1122334455667700};

	assert_non_null(w);
	diag_init(&w->diag);
	w->f = fake_create(arch_get(id), 2);
	guestimg_ram(w->f, arch_get(id), 1);
	guestimg_build(w->f, arch_get(id), &gopts, &w->img);
	fake_caps(w->f, LIVE);
	assert_int_equal(fake_open(w->f, &w->diag, &w->t), VP_OK);
	snprintf(w->dir, sizeof(w->dir), "%s/vp-disc-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->run, sizeof(w->run), "%s/run", w->dir);
	w->opts = (struct eng_opts){
		.dirs = {w->dir, w->run}, .window_ns = 10 * CLOCK_NS_PER_SEC, .settle_ns = 1};
	w->b = bundle(w);
	*state = w;
	return 0;
}

static int on_arm64(void **state)
{
	return start(state, ARCH_ARM64);
}

static int on_x86(void **state)
{
	return start(state, ARCH_X86_64);
}

static int stop(void **state)
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
	free(w);
	return 0;
}

static int apply(struct world *w, enum vp_discipline d)
{
	eng_report_deinit(&w->rep);
	diag_init(&w->diag);
	w->opts.discipline = d;
	return eng_apply(w->t, w->b, &w->opts, &w->diag, &w->rep);
}

static int revert(struct world *w, enum vp_discipline d)
{
	eng_report_deinit(&w->rep);
	diag_init(&w->diag);
	w->opts.discipline = d;
	return eng_revert(w->t, "fix", &w->opts, &w->diag, &w->rep);
}

static int status(struct world *w)
{
	struct eng_list list;
	struct guest *g;
	int r;

	assert_int_equal(guest_open(w->t, 0, &w->diag, &g), VP_OK);
	r = eng_status(w->t, g, "fix", &w->opts.dirs, &w->diag, &list);
	eng_list_deinit(&list);
	guest_close(g);
	return r;
}

static void check_times(const struct world *w, uint64_t since)
{
	assert_true(w->rep.n_edits > 0);
	for (size_t i = 0; i < w->rep.n_edits; i++)
		assert_in_range(w->rep.edits[i].poked_at, since, clock_now());
}

static void test_guest_without_a_stub_is_stopped_and_the_reason_told(void **state)
{
	struct world *w = *state;
	uint64_t since = clock_now();

	assert_int_equal(apply(w, (enum vp_discipline)0), VP_OK);
	assert_false(w->rep.live);
	assert_non_null(
		strstr(w->rep.why_stop, w->img.arch->id == ARCH_X86_64 ? "tracer" : "guest_func1"));
	assert_true(w->rep.window_ns > 0);
	assert_int_equal(fake_op_calls(w->f, FAKE_LIVE_BEGIN), 0);
	check_times(w, since);
	assert_int_equal(status(w), VP_OK);
	assert_int_equal(revert(w, (enum vp_discipline)0), VP_OK);
	assert_false(w->rep.live);
	assert_int_equal(apply(w, VP_DISCIPLINE_TRAP), VP_E_DISCIPLINE);
	assert_false(w->rep.changed);
	assert_int_equal(status(w), VP_E_NOT_APPLIED);
}

/* A word outside the architecture's list: only by hand, and said. The record in the guest is the same
 * whichever way the change went. */
static void test_word_by_hand_is_applied_live_and_noted(void **state)
{
	struct world *w = *state;
	uint64_t since = clock_now(), payload, pauses;

	assert_int_equal(apply(w, VP_DISCIPLINE_STOP), VP_OK);
	payload = w->rep.payload.v;
	assert_string_equal(w->rep.why_stop, "");
	pauses = fake_op_calls(w->f, FAKE_PAUSE);
	if (revert(w, VP_DISCIPLINE_WORD) != VP_OK)
		fail_msg("%s", w->diag.text);
	assert_true(w->rep.live && w->rep.changed);
	assert_int_equal(w->rep.n_notes, 1);
	assert_non_null(strstr(w->rep.notes[0], "outside the architecture's list"));
	assert_int_equal(w->rep.window_ns, 0);
	assert_int_equal(w->rep.mixed_ns, 0);
	check_times(w, since);
	assert_int_equal(status(w), VP_E_NOT_APPLIED);
	w->opts.dry_run = true;
	assert_int_equal(apply(w, VP_DISCIPLINE_WORD), VP_OK);
	assert_true(w->rep.live && !w->rep.changed);
	assert_int_equal(status(w), VP_E_NOT_APPLIED);
	w->opts.dry_run = false;
	assert_int_equal(apply(w, VP_DISCIPLINE_WORD), VP_OK);
	assert_true(w->rep.live && w->rep.changed);
	assert_int_equal(w->rep.edits[0].edit.discipline, VP_DISCIPLINE_WORD);
	assert_int_equal(w->rep.payload.v, payload);
	assert_int_equal(status(w), VP_OK);
	assert_int_equal(fake_op_calls(w->f, FAKE_PAUSE), pauses);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_least_disturbing_that_is_right_is_taken),
		cmocka_unit_test(test_traps_share_the_records_there_are),
		cmocka_unit_test(test_one_word_that_needs_stop_is_stop_for_all),
		cmocka_unit_test(test_text_poke_events_want_a_moment_between_old_and_new),
		cmocka_unit_test(test_named_and_not_right_is_refused_with_the_reason),
		cmocka_unit_test_setup_teardown(
			test_guest_without_a_stub_is_stopped_and_the_reason_told, on_arm64, stop),
		cmocka_unit_test_setup_teardown(
			test_guest_without_a_stub_is_stopped_and_the_reason_told, on_x86, stop),
		cmocka_unit_test_setup_teardown(test_word_by_hand_is_applied_live_and_noted,
						on_arm64, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
