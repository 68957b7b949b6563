/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In a later hold: what another holder, or a change of a running guest, has left. The same order as undo,
 * by what the bytes are and not by what was begun.
 */
#include "vmm-agent/engine/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"
#include "vmm-agent/engine/live.h"

enum looks { LOOKS_OLD, LOOKS_OURS, LOOKS_ALIEN };

/* Each byte is the old or the new one: whole, or torn by a store of ours that did not finish. */
static bool between(const uint8_t *now, const uint8_t *old, const uint8_t *new, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (now[i] != old[i] && now[i] != new[i])
			return false;
	return true;
}

/* A stage of the program that changes a site while the guest runs: what some of its stores have made of
 * the old bytes, or one more store that did not finish. */
static bool is_stage(const struct eng_window *w, const struct eng_step *step, const uint8_t *now)
{
	const struct vp_edit *e = &step->e.edit;
	uint8_t before[VP_EDIT_MAX], after[VP_EDIT_MAX];
	struct arch_poke prog;
	const char *why;

	if (e->kind != VP_EDIT_SITE || e->discipline == VP_DISCIPLINE_STOP ||
	    eng_live_program(w->txn, (uint32_t)(step - w->txn->steps), vp_target_info(w->t)->arch,
			     &prog, &why) < 0)
		return false;
	memcpy(after, e->old, sizeof(after));
	for (unsigned n = 1; n <= prog.n; n++) {
		memcpy(before, after, sizeof(before));
		memcpy(after, e->old, sizeof(after));
		arch_poke_text(&prog, n, after);
		if (between(now, before, after, e->len))
			return true;
	}
	return false;
}

static enum looks look(const struct eng_window *w, const struct eng_step *step, const uint8_t *now)
{
	const struct eng_txn *txn = w->txn;
	const struct eng_step *s = step;

	/* An earlier link of the chain: this step was not reached. */
	while (true) {
		if (memcmp(now, s->e.edit.old, s->e.edit.len) == 0)
			return LOOKS_OLD;
		if (s->prev < 0)
			break;
		s = &txn->steps[s->prev];
	}
	if (between(now, step->e.edit.old, step->e.edit.new, step->e.edit.len))
		return LOOKS_OURS;
	for (s = step; s->prev >= 0; s = &txn->steps[s->prev])
		if (between(now, txn->steps[s->prev].e.edit.old, txn->steps[s->prev].e.edit.new,
			    step->e.edit.len))
			return LOOKS_OLD; /* torn at an earlier link, whose turn comes */
	return is_stage(w, step, now) ? LOOKS_OURS : LOOKS_ALIEN;
}

struct survey {
	bool area_whole, area_old, area_ours;
	bool all_new;
	bool some_old, some_new; /* sites */
};

static int survey_area(struct eng_window *w, struct survey *s)
{
	const struct eng_area *a = &w->txn->area;
	int r;

	s->area_whole = true;
	if (a->len == 0)
		return VP_OK;
	r = eng_window_seam(w, vp_read(w->t, a->gpa, w->scratch, a->len), "reading guest memory");
	if (r < 0)
		return r;
	/* Whatever its state word says: nobody but us writes it, and a store of ours may have torn it. */
	s->area_whole = eng_area_equal(a, w->scratch);
	s->area_old = memcmp(w->scratch, a->old, a->len) == 0;
	s->area_ours = between(w->scratch, a->old, a->new, a->len);
	return VP_OK;
}

static int survey(struct eng_window *w, struct survey *s)
{
	int r = survey_area(w, s);

	s->all_new = s->area_whole;
	for (uint32_t i = 0; r == VP_OK && i < w->txn->n_steps; i++) {
		const struct vp_edit *e = &w->txn->steps[i].e.edit;
		uint8_t now[VP_EDIT_MAX];

		if (!w->txn->steps[i].last)
			continue;
		r = eng_window_seam(w, vp_read(w->t, e->gpa, now, e->len), "reading guest memory");
		if (r < 0)
			break;
		if (memcmp(now, e->new, e->len) != 0)
			s->all_new = false;
		if (!eng_step_is_word(&w->txn->steps[i]))
			continue;
		if (memcmp(now, e->new, e->len) == 0)
			s->some_new = true;
		else
			s->some_old = true;
	}
	return r;
}

static int put_back(struct eng_window *w, const struct eng_step *step, bool *alien)
{
	const struct vp_edit *e = &step->e.edit;
	uint8_t now[VP_EDIT_MAX];
	char place[ENG_PLACE_MAX];
	int r = eng_window_seam(w, vp_read(w->t, e->gpa, now, e->len), "reading guest memory");

	if (r < 0)
		return r;
	switch (look(w, step, now)) {
	case LOOKS_OLD:
		return VP_OK;
	case LOOKS_OURS:
		if (eng_window_expired(w))
			return VP_E_DEADLINE;
		r = eng_window_seam(w, vp_write(w->p, e->gpa, e->old, e->len),
				    "putting a word back");
		return r < 0 ? r : eng_window_holds(w, e->gpa, e->old, e->len);
	default:
		*alien = true;
		w->prog->cause = diag_set(
			&w->prog->diag, VP_E_PARTIAL,
			"%s at %#" PRIx64
			" was changed by the guest itself in between and was left alone: look at "
			"it with vpatch status",
			eng_step_place(step, place, sizeof(place)), e->gva.v);
		return VP_OK;
	}
}

static int retire_area(struct eng_window *w, const struct survey *s, bool *alien)
{
	const struct eng_area *a = &w->txn->area;
	vp_gpa_t state = vp_gpa(a->gpa.v + VP_LEDGER_STATE_OFF);
	uint8_t reverted[8];
	int r;

	if (a->len == 0 || s->area_old)
		return VP_OK;
	if (eng_window_expired(w))
		return VP_E_DEADLINE;
	if (s->area_whole) {
		vp_st64(reverted, VP_LEDGER_REVERTED);
		r = eng_window_seam(w, vp_write(w->p, state, reverted, 8), "retiring the payload");
		return r < 0 ? r : eng_window_holds(w, state, reverted, 8);
	}
	if (!s->area_ours || s->some_new) {
		*alien = true;
		w->prog->cause = diag_set(
			&w->prog->diag, VP_E_PARTIAL,
			"the arena at %#" PRIx64
			" was changed in between and was left alone: look at it with vpatch status",
			a->gva.v);
		return VP_OK;
	}
	/* The area was never whole, so no site pointed at it while the guest ran. */
	r = eng_window_seam(w, vp_write(w->p, a->gpa, a->old, a->len), "clearing the arena");
	if (r == VP_OK)
		r = eng_window_seam(w, vp_read(w->t, a->gpa, w->scratch, a->len),
				    "reading guest memory back");
	if (r == VP_OK && memcmp(w->scratch, a->old, a->len) != 0)
		r = VP_E_IO;
	return r;
}

static bool is_site_of(const struct eng_txn *txn, uint64_t at)
{
	for (uint32_t i = 0; i < txn->n_steps; i++)
		if (txn->steps[i].trap.gva.v != 0 && txn->steps[i].e.edit.gva.v == at)
			return true;
	return false;
}

/*
 * The record of a trap that is gone. Its other fields stay: a handler that has found it and was held in
 * the middle of reading reads on. An odd number means that telling it did not end.
 */
static int withdraw(struct eng_window *w, const struct eng_trap *trap)
{
	uint8_t rec[VP_TRAP_RECORD];
	uint32_t seq;
	int r = eng_window_seam(w, vp_read(w->t, trap->gpa, rec, sizeof(rec)),
				"reading a trap record");

	if (r < 0)
		return r;
	seq = vp_ld32(rec + VP_TRAP_OFF_SEQ);
	if (!(seq & 1) && !is_site_of(w->txn, vp_ld64(rec + VP_TRAP_OFF_AT)))
		return VP_OK; /* withdrawn, or never told */
	if (eng_window_expired(w))
		return VP_E_DEADLINE;
	vp_st64(rec + VP_TRAP_OFF_AT, 0);
	vp_st32(rec + VP_TRAP_OFF_SEQ, seq + (seq & 1));
	r = eng_window_seam(w, vp_write(w->p, trap->gpa, rec, sizeof(rec)),
			    "withdrawing a trap record");
	return r;
}

/* Behind the sites: a trap that stands has its record. */
static int withdraw_all(struct eng_window *w)
{
	int r = VP_OK;

	for (uint32_t i = 0; r == VP_OK && i < w->txn->n_steps; i++)
		if (w->txn->steps[i].trap.gva.v != 0)
			r = withdraw(w, &w->txn->steps[i].trap);
	return r;
}

enum eng_end eng_window_repair(struct eng_window *w)
{
	struct survey s = {0};
	bool alien = false;
	int r = survey(w, &s);

	if (r == VP_OK)
		w->prog->mixed = s.some_old && s.some_new;
	if (r == VP_OK && !s.all_new) {
		for (uint32_t i = w->txn->n_steps; r == VP_OK && i-- > 0;)
			if (!w->txn->steps[i].in_area)
				r = put_back(w, &w->txn->steps[i], &alien);
		if (r == VP_OK)
			r = retire_area(w, &s, &alien);
	}
	if (r == VP_OK)
		r = withdraw_all(w);
	/* Always: the holder before this one may have stored and died ahead of its sync. */
	if (r == VP_OK)
		r = eng_window_seam(w, vp_sync(w->p), "making the instruction stream coherent");
	if (eng_window_expired(w))
		return ENG_END_NONE;
	if (r < 0) {
		w->prog->cause = r;
		return ENG_END_TORN;
	}
	return s.all_new ? ENG_END_NEW : alien ? ENG_END_ALIEN : ENG_END_OLD;
}
