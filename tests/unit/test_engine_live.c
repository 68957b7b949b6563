/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of a guest that runs: everything that may fail or die does, and what is left is looked at. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"
#include "tests/lib/livescene.h"
#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/journal.h"

static void test_change_is_in_place_and_nobody_was_held(void **state)
{
	(void)state;
	EACH(s, revert)
	{
		struct eng_edit edits[2 * SITES];
		struct arch_poke prog;
		uint64_t before, after;
		const char *why;

		live_again(s, revert);
		assert_int_equal(eng_live_program(s->txn, 1, arch_get(s->k->arch), &prog, &why),
				 VP_OK);
		assert_int_equal(prog.n, s->k->steps);
		memset(edits, 0, sizeof(edits));
		s->report.edits = edits;
		s->report.n_edits = s->k->d == VP_DISCIPLINE_LITERAL ? 2 * SITES : SITES;
		before = clock_now();
		if (live_run(s, LONG) != VP_OK)
			fail_msg("%s: %s", s->k->name, s->diag.text);
		after = clock_now();
		assert_true(live_is_new(s));
		assert_true(s->report.changed);
		assert_int_equal(s->report.window_ns, 0);
		assert_in_range(s->report.mixed_ns, 1, after - before);
		for (size_t i = 0; i < s->report.n_edits; i++)
			assert_in_range(edits[i].poked_at, before, after);
		assert_false(live_journal_open(s));
	}
}

/* What is behind a word reaches every CPU before the word does. */
static void test_area_is_synced_ahead_of_every_word(void **state)
{
	(void)state;
	for (size_t k = 0; k < LIVE_KINDS; k++) {
		struct live_scene *s = live_scene(&live_kinds[k]);
		const struct fake_event *e;
		bool area = false, synced = false;

		live_again(s, false);
		assert_int_equal(live_run(s, LONG), VP_OK);
		for (size_t i = 0; (e = fake_event(s->f, i)); i++) {
			assert_true(e->op != FAKE_ARM && e->op != FAKE_PAUSE &&
				    e->op != FAKE_WRITE);
			if (e->op == FAKE_LIVE_STORE && e->at == AREA)
				area = true;
			else if (e->op == FAKE_LIVE_SYNC && area && e->at == ARCH_SYNC_ALL)
				synced = true;
			else if (e->op == FAKE_LIVE_STORE)
				assert_true(synced);
		}
		assert_true(synced);
		assert_false(fake_lives(s->f));
		live_scene_end(s);
	}
}

static void test_nothing_is_stored_before_everything_is_verified(void **state)
{
	(void)state;
	for (size_t k = 0; k < LIVE_KINDS; k++) {
		struct live_scene *s = live_scene(&live_kinds[k]);
		uint64_t spoil[] = {live_site_off[1] + s->k->skew,
				    live_site_off[2] + s->k->skew + 3,
				    AREA + 100,
				    OTHER + VP_LEDGER_STATE_OFF,
				    live_lit_off[2] + 1,
				    RECORDS + VP_TRAP_OFF_AT,
				    0x9000};
		static const int want[] = {VP_E_GUEST_CHANGED, VP_E_GUEST_CHANGED,
					   VP_E_GUEST_CHANGED, VP_E_GUEST_CHANGED,
					   VP_E_GUEST_CHANGED, VP_E_GUEST_PATCHING,
					   VP_E_GUEST_PATCHING};

		for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
			if ((i == 4 && s->k->d != VP_DISCIPLINE_LITERAL) ||
			    (i == 5 && s->k->d != VP_DISCIPLINE_TRAP))
				continue;
			live_again(s, false);
			s->txn = NULL; /* the hook would find what is spoilt */
			*live_mem(s, spoil[i]) ^= 0x40;
			s->txn = s->apply;
			fake_hook(s->f, NULL, NULL);
			assert_int_equal(live_run(s, LONG), want[i]);
			fake_hook(s->f, live_hook, s);
			assert_int_equal(fake_op_calls(s->f, FAKE_LIVE_STORE), 0);
			assert_int_equal(fake_op_calls(s->f, FAKE_ARM), 0);
			assert_false(live_journal_open(s));
			assert_false(s->report.changed);
			s->txn = NULL;
		}
		live_scene_end(s);
	}
}

static void check_failed(struct live_scene *s, int r, uint64_t nth, bool for_good)
{
	enum eng_outcome outcome;

	if (r == VP_OK) {
		assert_true(live_is_new(s) && fake_runs(s->f));
		return;
	}
	assert_true(s->diag.text[0] != '\0');
	if (vp_err_exit(r) != 4) {
		if (!live_is_old(s) || !fake_runs(s->f) || live_journal_open(s))
			fail_msg("%s: call %lu %s: %s", s->k->name, (unsigned long)nth,
				 for_good ? "for good" : "once", s->diag.text);
		return;
	}
	if (!live_journal_open(s)) { /* done, but the last look at it failed */
		assert_int_equal(r, VP_E_PARTIAL);
		assert_true(live_is_new(s) && fake_runs(s->f));
		return;
	}
	assert_true(for_good);
	assert_non_null(strstr(s->diag.text, "vpatch recover"));
	assert_int_equal(live_recover(s, &outcome), VP_OK);
	live_ends_whole(s, outcome);
}

static void test_driver_fails_at_each_call(void **state)
{
	static const int errors[] = {VP_E_IO, VP_E_DEADLINE, VP_E_UNSUPPORTED};

	(void)state;
	EACH(s, revert)
	{
		uint64_t total;

		live_again(s, revert);
		total = fake_calls(s->f);
		assert_int_equal(live_run(s, LONG), VP_OK);
		total = fake_calls(s->f) - total;
		assert_true(total > 20);
		for (unsigned how = 0; how < 2 * total; how++) {
			uint64_t nth = how / 2 + 1;
			int r;

			live_again(s, revert);
			fake_fail(s->f, nth, errors[how % 3], how % 2);
			r = live_run(s, LONG);
			fake_fail(s->f, 0, 0, false);
			check_failed(s, r, nth, how % 2);
		}
	}
}

/* A way in that stores and then cannot any more: busy, and the guest is as before. */
static void test_way_in_that_stops_storing_is_busy_and_put_back(void **state)
{
	static const enum fake_op ops[] = {FAKE_LIVE_STORE, FAKE_LIVE_SYNC};

	(void)state;
	EACH(s, revert)
	{
		for (unsigned how = 0; how < 4; how++) {
			int err = how < 2 ? VP_E_UNSUPPORTED : VP_E_DEADLINE, r;

			live_again(s, revert);
			fake_fail_op(s->f, ops[how % 2], 2, err, true);
			r = live_run(s, LONG);
			fake_fail_op(s->f, ops[how % 2], 0, 0, false);
			if (s->k->steps == 1 && revert && how % 2)
				continue; /* it has one sync */
			assert_int_equal(r, how < 2 ? VP_E_GUEST_CHANGED : VP_E_DEADLINE);
			assert_int_equal(vp_err_exit(r), 3);
			assert_true(s->report.window_ns > 0);
			assert_true(live_is_old(s) && fake_runs(s->f));
			assert_false(live_journal_open(s));
		}
	}
}

static void test_deadline_passing_at_each_call_puts_everything_back(void **state)
{
	unsigned late = 0;

	(void)state;
	EACH(s, revert)
	{
		uint64_t n;

		live_again(s, revert);
		assert_int_equal(live_run(s, LONG), VP_OK);
		n = s->plot->seen;
		for (uint64_t at = 1; at <= n; at += 2) {
			int r;

			live_again(s, revert);
			s->plot->sleep_at = at;
			s->plot->sleep_ns = 12 * CLOCK_NS_PER_MS;
			r = live_run(s, 10 * CLOCK_NS_PER_MS);
			assert_true(r == VP_OK || r == VP_E_DEADLINE);
			assert_true(r == VP_OK ? live_is_new(s) : live_is_old(s));
			assert_true(fake_runs(s->f));
			assert_false(live_journal_open(s));
			late += r == VP_E_DEADLINE;
		}
	}
	assert_true(late > 100);
}

static void in_child(struct live_scene *s, int (*what)(struct live_scene *s))
{
	pid_t pid;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid = fork();
	if (pid == 0) {
		if (s->plot->who)
			s->plot->who = getpid();
		_exit(what(s) == VP_OK ? 0 : 1);
	}
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	s->plot->die_at = 0;
	s->plot->who = s->test;
}

static int do_run(struct live_scene *s)
{
	return live_run(s, LONG);
}

static int do_recover(struct live_scene *s)
{
	enum eng_outcome outcome;

	return live_recover(s, &outcome);
}

static void test_killed_at_each_call_the_guest_runs_and_is_recovered(void **state)
{
	unsigned completed = 0, back = 0;

	(void)state;
	EACH(s, revert)
	{
		uint64_t n;

		live_again(s, revert);
		assert_int_equal(live_run(s, LONG), VP_OK);
		n = s->plot->seen;
		for (uint64_t at = 1; at <= n; at++) {
			enum eng_outcome outcome;

			live_again(s, revert);
			s->plot->die_at = at;
			in_child(s, do_run);
			assert_true(fake_runs(s->f));
			if (!live_journal_open(s)) {
				assert_true(live_is_new(s) && at >= n - 2 * SITES);
				continue; /* the look at the sites behind the end */
			}
			assert_int_equal(live_recover(s, &outcome), VP_OK);
			live_ends_whole(s, outcome);
			completed += outcome == ENG_COMPLETED;
			back += outcome == ENG_ROLLED_BACK;
		}
	}
	assert_true(completed > 0 && back > 100);
}

/* Everything that recover does may be its last, too: its own calls and its holder's, with whom the
 * hold ends. */
static void test_recover_killed_at_each_call_can_be_run_again(void **state)
{
	(void)state;
	EACH(s, revert)
	{
		uint64_t n;

		live_again(s, revert);
		assert_int_equal(live_run(s, LONG), VP_OK);
		n = s->plot->seen;
		for (uint64_t at = 1; at <= 90; at += 2) {
			enum eng_outcome outcome;

			fake_caps(s->f, VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY | VP_CAP_STORE_LIVE |
						VP_CAP_DEATH_FREES);
			live_again(s, revert);
			s->plot->die_at = n / 2 + at % (n / 3);
			in_child(s, do_run);
			if (!live_journal_open(s))
				continue;
			s->plot->who = 0;
			s->plot->seen = 0;
			s->plot->die_at = at;
			in_child(s, do_recover);
			/* the guest has run on what the dead holder left; the hook looks at that */
			if (!live_journal_open(s)) {
				assert_true(live_is_old(s) || live_is_new(s));
				continue;
			}
			assert_int_equal(live_recover(s, &outcome), VP_OK);
			live_ends_whole(s, outcome);
		}
	}
}

/* Puts a site to the state behind n steps of its program, with the record that a trap has then. */
static void put_stage(struct live_scene *s, uint32_t step, unsigned n)
{
	const struct eng_step *st = &s->txn->steps[step];
	struct arch_poke prog;
	const char *why;

	assert_int_equal(eng_live_program(s->txn, step, arch_get(s->k->arch), &prog, &why), VP_OK);
	arch_poke_text(&prog, n, live_mem(s, st->e.edit.gpa.v));
	for (unsigned i = 0; i < n && i < prog.n; i++) {
		uint8_t *rec = live_mem(s, st->trap.gpa.v);

		if (prog.step[i].act == ARCH_POKE_STORE && prog.step[i].literal)
			memcpy(live_mem(s, st[1].e.edit.gpa.v), st[1].e.edit.new, st[1].e.edit.len);
		if (prog.step[i].act == ARCH_POKE_TELL) {
			vp_st64(rec + VP_TRAP_OFF_AT, st->e.edit.gva.v);
			vp_st64(rec + VP_TRAP_OFF_NEXT, prog.emul.next.v);
			vp_st64(rec + VP_TRAP_OFF_TARGET, prog.emul.target.v);
			vp_st32(rec + VP_TRAP_OFF_SEQ, 2);
		}
		if (prog.step[i].act == ARCH_POKE_FORGET)
			vp_st64(rec + VP_TRAP_OFF_AT, 0);
	}
}

static void test_recover_from_each_pair_of_stages(void **state)
{
	(void)state;
	EACH(s, revert)
	{
		uint32_t second = s->k->d == VP_DISCIPLINE_LITERAL ? 3 : 2;

		for (unsigned how = 0; how < (s->k->steps + 1) * (s->k->steps + 1); how++) {
			unsigned a = how / (s->k->steps + 1), b = how % (s->k->steps + 1);
			enum eng_outcome outcome;

			if (s->k->records == 1 && a > 0 && a < s->k->steps)
				continue; /* one after the other */
			live_again(s, revert);
			memcpy(live_mem(s, AREA), s->apply->area.new, s->apply->area.len);
			vp_st64(live_mem(s, revert ? AREA : OTHER) + VP_LEDGER_STATE_OFF,
				VP_LEDGER_REVERTING);
			put_stage(s, 1, a);
			put_stage(s, second, b);
			/* telling that did not end */
			if (s->k->records > 1 && b == 0 && a % 2)
				vp_st32(live_mem(s, RECORDS + VP_TRAP_RECORD + VP_TRAP_OFF_SEQ), 7);
			assert_int_equal(eng_journal_begin(s->dir, s->txn, &s->diag), VP_OK);
			assert_int_equal(live_recover(s, &outcome), VP_OK);
			assert_int_equal(outcome, ENG_ROLLED_BACK);
			live_ends_whole(s, outcome);
		}
	}
}

/* All words are new and a record is still told: done, and the record withdrawn. */
static void test_recover_of_all_new_words_withdraws_the_records(void **state)
{
	(void)state;
	EACH(s, revert)
	{
		enum eng_outcome outcome;
		uint8_t *rec = live_mem(s, RECORDS);

		live_again(s, revert);
		assert_int_equal(live_run(s, LONG), VP_OK);
		if (s->k->records) {
			vp_st64(rec + VP_TRAP_OFF_AT, s->txn->steps[1].e.edit.gva.v);
			assert_false(live_is_new(s));
		}
		assert_int_equal(eng_journal_begin(s->dir, s->txn, &s->diag), VP_OK);
		assert_int_equal(live_recover(s, &outcome), VP_OK);
		assert_int_equal(outcome, ENG_COMPLETED);
		live_ends_whole(s, outcome);
	}
}

/* Bytes that are no stage are the guest's own, and a record of somebody else's trap stays. */
static void test_recover_leaves_what_is_no_stage_and_no_record_of_ours(void **state)
{
	struct live_scene *s = live_scene(&live_kinds[0]);
	static const uint8_t alien[5] = {0xcc, 0x12, 0x34, 0x56, 0x78};
	uint8_t *rec = live_mem(s, RECORDS + 2 * VP_TRAP_RECORD);
	enum eng_outcome outcome;

	(void)state;
	live_again(s, false);
	memcpy(live_mem(s, AREA), s->apply->area.new, s->apply->area.len);
	put_stage(s, 1, 3);
	memcpy(live_mem(s, s->txn->steps[2].e.edit.gpa.v), alien, 5);
	vp_st64(rec + VP_TRAP_OFF_AT, 0x1234);
	assert_int_equal(eng_journal_begin(s->dir, s->txn, &s->diag), VP_OK);
	fake_hook(s->f, NULL, NULL);
	assert_int_equal(live_recover(s, &outcome), VP_E_PARTIAL);
	assert_memory_equal(live_mem(s, s->txn->steps[2].e.edit.gpa.v), alien, 5);
	assert_memory_equal(live_mem(s, s->txn->steps[1].e.edit.gpa.v), s->txn->steps[1].e.edit.old,
			    5);
	assert_int_equal(vp_ld64(rec + VP_TRAP_OFF_AT), 0x1234);
	assert_int_equal(vp_ld64(live_mem(s, RECORDS + VP_TRAP_OFF_AT)), 0);
	assert_true(fake_runs(s->f));
	live_scene_end(s);
}

/* A data word that no instruction of ours goes with, of both lengths. */
static void test_literal_without_a_site(void **state)
{
	static const struct live_kind lone[] = {
		{"lone literal", ARCH_PPC64LE, VP_DISCIPLINE_LITERAL, 0, 0, 1},
		{"lone literal of 32 bits", ARCH_THUMB2, VP_DISCIPLINE_LITERAL, 0, 0, 1}};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vp_edit e = {.gva = vp_gva(TEXT + live_lit_off[0] + 4 * i),
				    .gpa = vp_gpa(live_lit_off[0] + 4 * i),
				    .kind = VP_EDIT_LITERAL,
				    .discipline = VP_DISCIPLINE_LITERAL,
				    .len = i ? 4 : 8,
				    .old = {1, 1, 1, 1},
				    .new = {2, 2, 2, 2}};
		struct live_scene *s = live_scene(&live_kinds[3]);
		struct eng_txn *txn = live_txn(s, ENG_OP_APPLY);
		const struct fake_event *ev;
		unsigned stores = 0;

		s->k = &lone[i];
		assert_int_equal(eng_txn_add(txn, &e, "ops"), VP_OK);
		assert_int_equal(eng_txn_finish(txn), VP_OK);
		memset(live_mem(s, live_lit_off[0]), 0xee, 16);
		memcpy(live_mem(s, e.gpa.v), e.old, e.len);
		s->txn = txn;
		assert_int_equal(live_run(s, LONG), VP_OK);
		assert_memory_equal(live_mem(s, e.gpa.v), e.new, e.len);
		assert_int_equal(*live_mem(s, e.gpa.v + e.len), 0xee);
		for (size_t j = 0; (ev = fake_event(s->f, j)); j++) {
			stores += ev->op == FAKE_LIVE_STORE;
			if (ev->op == FAKE_LIVE_STORE)
				assert_int_equal(ev->len, e.len);
		}
		assert_int_equal(stores, 1);
		s->txn = NULL;
		live_scene_end(s);
		eng_txn_destroy(txn);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_change_is_in_place_and_nobody_was_held),
		cmocka_unit_test(test_area_is_synced_ahead_of_every_word),
		cmocka_unit_test(test_nothing_is_stored_before_everything_is_verified),
		cmocka_unit_test(test_driver_fails_at_each_call),
		cmocka_unit_test(test_way_in_that_stops_storing_is_busy_and_put_back),
		cmocka_unit_test(test_deadline_passing_at_each_call_puts_everything_back),
		cmocka_unit_test(test_killed_at_each_call_the_guest_runs_and_is_recovered),
		cmocka_unit_test(test_recover_killed_at_each_call_can_be_run_again),
		cmocka_unit_test(test_recover_from_each_pair_of_stages),
		cmocka_unit_test(test_recover_of_all_new_words_withdraws_the_records),
		cmocka_unit_test(test_recover_leaves_what_is_no_stage_and_no_record_of_ours),
		cmocka_unit_test(test_literal_without_a_site),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
