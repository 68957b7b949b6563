/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 *   change   verify: kernel, vCPUs, page walks, quiet words, every old byte
 *            area, then steps 0 .. n-1          the deadline is looked at ahead of each batch
 *            read back, sync
 *   undo     steps n-1 .. 0, then the area      what was begun, in the same hold
 *   repair   the same order, in a later hold    by what the bytes are, not by what was begun
 */
#include "vmm-agent/engine/window.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/clock.h"

#define PLACE_MAX (HF_SYMBOL_MAX + 32)
#define PAGE      4096u /* the smallest of any architecture */
#define LOOK_STEP 16u   /* steps verified, a microsecond each at most, between looks at the clock */

static struct vp_target *target(const struct eng_window *w)
{
	return w->t;
}

static bool expired(const struct eng_window *w)
{
	return __atomic_load_n(&w->prog->phase, __ATOMIC_ACQUIRE) == ENG_EXPIRED;
}

static int seam(struct eng_window *w, int r, const char *what)
{
	if (r < 0)
		return diag_set(&w->prog->diag, r, "%s while the guest was held: %s", what,
				vp_err_sentence(r));
	return VP_OK;
}

static int in_time(struct eng_window *w)
{
	if (expired(w) || clock_left(w->deadline) == 0)
		return diag_set(
			&w->prog->diag, VP_E_DEADLINE,
			"the deadline passed inside the window and everything was put back: try "
			"again, or give a longer --deadline");
	return VP_OK;
}

/* --- verify ----------------------------------------------------------------------------------- */

/* Where the guest's tables say that the edit lies. last was located in this hold, so that what shares
 * its page and its kind need not be. The plan has checked the bounds of text, which do not move. */
static int locate(struct eng_window *w, const struct vp_edit *e, const struct vp_edit *last,
		  vp_gpa_t *ret)
{
	if (last && last->kind == e->kind && last->gva.v / PAGE == e->gva.v / PAGE &&
	    e->gva.v / PAGE == (e->gva.v + e->len - 1) / PAGE) {
		*ret = vp_gpa(last->gpa.v + (e->gva.v - last->gva.v));
		return VP_OK;
	}
	return w->view->locate(w->view->ctx, e->kind, e->gva, e->len, ret);
}

static int check_place(struct eng_window *w, const struct eng_step *step,
		       const struct vp_edit *last)
{
	const struct vp_edit *e = &step->e.edit;
	char place[PLACE_MAX];
	vp_gpa_t gpa;
	int r = locate(w, e, last, &gpa);

	if (r < 0)
		return diag_set(&w->prog->diag, r, "%s at %#" PRIx64 ": %s",
				eng_step_place(step, place, sizeof(place)), e->gva.v,
				vp_err_sentence(r));
	if (gpa.v != e->gpa.v)
		return diag_set(&w->prog->diag, VP_E_GUEST_CHANGED,
				"%s at %#" PRIx64
				" has moved in guest memory since the plan: try again",
				eng_step_place(step, place, sizeof(place)), e->gva.v);
	return VP_OK;
}

static int check_bytes(struct eng_window *w, const struct eng_step *step)
{
	const struct vp_edit *e = &step->e.edit;
	uint8_t now[VP_EDIT_MAX];
	char place[PLACE_MAX];
	int r = seam(w, vp_read(target(w), e->gpa, now, e->len), "reading guest memory");

	if (r == VP_OK && memcmp(now, e->old, e->len) != 0)
		r = diag_set(&w->prog->diag, VP_E_GUEST_CHANGED,
			     "%s at %#" PRIx64 " has changed since the plan: try again",
			     eng_step_place(step, place, sizeof(place)), e->gva.v);
	return r;
}

/* A vCPU strictly inside a site would go on in the middle of the new bytes. */
static int check_pcs(struct eng_window *w, const struct eng_step *step)
{
	const struct vp_edit *e = &step->e.edit;

	for (unsigned i = 0; e->kind == VP_EDIT_SITE && i < w->vcpus; i++)
		if (w->pcs[i].v > e->gva.v && w->pcs[i].v - e->gva.v < e->len)
			return diag_set(&w->prog->diag, VP_E_SITE_IN_USE,
					"vCPU %u stands at %#" PRIx64
					", inside the site of %s: try "
					"again",
					i, w->pcs[i].v, step->e.symbol);
	return VP_OK;
}

static int check_area(struct eng_window *w)
{
	const struct eng_area *a = &w->txn->area;
	vp_gpa_t gpa;
	int r;

	if (a->len == 0)
		return VP_OK;
	r = w->view->locate(w->view->ctx, VP_EDIT_STATE, a->gva, a->len, &gpa);
	if (r < 0)
		return diag_set(&w->prog->diag, r, "the arena at %#" PRIx64 ": %s", a->gva.v,
				vp_err_sentence(r));
	r = seam(w, vp_read(target(w), a->gpa, w->scratch, a->len), "reading guest memory");
	if (r == VP_OK && (gpa.v != a->gpa.v || memcmp(w->scratch, a->old, a->len) != 0))
		r = diag_set(&w->prog->diag, VP_E_GUEST_CHANGED,
			     "the arena at %#" PRIx64 " has changed since the plan: try again",
			     a->gva.v);
	return r;
}

static int check_quiet(struct eng_window *w)
{
	for (uint32_t i = 0; i < w->txn->n_quiet; i++) {
		const struct guest_quiet *q = &w->txn->quiet[i];
		uint8_t now[8];
		int r = seam(w, vp_read(target(w), q->gpa, now, sizeof(now)),
			     "reading guest memory");

		if (r < 0)
			return r;
		if (vp_ld64(now) & q->mask)
			return diag_set(
				&w->prog->diag, VP_E_GUEST_PATCHING,
				"the guest holds its %s, it is changing its own text: try again",
				q->name);
	}
	return VP_OK;
}

/* Only what is read counts here; what it says is judged in the hold. */
void eng_window_rehearse(struct eng_window *w)
{
	const struct eng_area *a = &w->txn->area;
	vp_gpa_t gpa;

	vp_note_reads(w->t, true);
	for (uint32_t i = 0; i < w->txn->n_quiet; i++) {
		uint8_t now[8];

		(void)!vp_read(w->t, w->txn->quiet[i].gpa, now, sizeof(now));
	}
	if (a->len > 0) {
		(void)!w->view->locate(w->view->ctx, VP_EDIT_STATE, a->gva, a->len, &gpa);
		(void)!vp_read(w->t, a->gpa, w->scratch, a->len);
	}
	for (uint32_t i = 0; i < w->txn->n_steps; i++) {
		const struct vp_edit *e = &w->txn->steps[i].e.edit;
		uint8_t now[VP_EDIT_MAX];

		(void)!w->view->locate(w->view->ctx, e->kind, e->gva, e->len, &gpa);
		(void)!vp_read(w->t, e->gpa, now, e->len);
	}
	vp_note_reads(w->t, false);
}

/* Every check there is, before the first byte is written. */
static int verify(struct eng_window *w)
{
	const struct vp_edit *last = NULL;
	int r;

	vp_read_ahead(w->p);
	r = w->view->held(w->view->ctx, w->p, w->pcs, &w->prog->diag);

	if (r == VP_OK)
		r = check_quiet(w);
	if (r == VP_OK)
		r = check_area(w);
	for (uint32_t i = 0; r == VP_OK && i < w->txn->n_steps; i++) {
		const struct eng_step *step = &w->txn->steps[i];

		if (step->prev >= 0 || step->in_area)
			continue; /* holds what an earlier store of ours puts there */
		r = check_place(w, step, last);
		last = &step->e.edit;
		if (r == VP_OK)
			r = check_bytes(w, step);
		if (r == VP_OK)
			r = check_pcs(w, step);
		if (r == VP_OK && i % LOOK_STEP == 0)
			r = in_time(w);
	}
	if (r == VP_OK && w->txn->n_outside > 0)
		r = w->view->outside(w->view->ctx, w->p, w->txn->outside, w->txn->n_outside,
				     &w->prog->diag);
	return r;
}

/* --- change ------------------------------------------------------------------------------------ */

static void mark(struct eng_window *w, uint32_t begun)
{
	w->prog->last_store_at = clock_now();
	w->prog->begun = begun;
}

static int store_batch(struct eng_window *w, uint32_t from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct vp_edit *e = &w->txn->steps[from + i].e.edit;

		w->io[i] = (struct vp_io){e->gpa, (void *)(uintptr_t)e->new, e->len};
	}
	mark(w, from + n + 1);
	return seam(w, vp_write_all(w->p, w->io, n), "writing the words");
}

static int store_all(struct eng_window *w)
{
	const struct eng_area *a = &w->txn->area;
	int r = in_time(w);

	if (r == VP_OK && a->len > 0) {
		mark(w, 1);
		r = seam(w, vp_write(w->p, a->gpa, a->new, a->len), "writing the payload");
	}
	for (uint32_t i = 0; r == VP_OK && i < w->txn->n_steps; i += ENG_BATCH) {
		uint32_t left = w->txn->n_steps - i;

		r = in_time(w);
		if (r == VP_OK)
			r = store_batch(w, i, left < ENG_BATCH ? left : ENG_BATCH);
	}
	return r;
}

static int holds(struct eng_window *w, vp_gpa_t at, const uint8_t *bytes, size_t len)
{
	uint8_t now[VP_EDIT_MAX];
	int r = seam(w, vp_read(target(w), at, now, len), "reading guest memory back");

	if (r == VP_OK && memcmp(now, bytes, len) != 0)
		r = diag_set(&w->prog->diag, VP_E_IO,
			     "a word at physical %#" PRIx64
			     " does not read back as written: the VMM does not let it be changed",
			     at.v);
	return r;
}

/* Equal but for the state word, which the last step changes. */
static bool area_equal(const struct eng_area *a, const uint8_t *now)
{
	const size_t behind = VP_LEDGER_STATE_OFF + 8;

	return memcmp(now, a->new, VP_LEDGER_STATE_OFF) == 0 &&
	       memcmp(now + behind, a->new + behind, a->len - behind) == 0;
}

static int read_back(struct eng_window *w)
{
	const struct eng_area *a = &w->txn->area;
	int r = VP_OK;

	vp_read_ahead(w->p);
	if (a->len > 0) {
		r = seam(w, vp_read(target(w), a->gpa, w->scratch, a->len),
			 "reading guest memory back");
		if (r == VP_OK && !area_equal(a, w->scratch))
			r = diag_set(
				&w->prog->diag, VP_E_IO,
				"the payload at %#" PRIx64
				" does not read back as written: the VMM does not let it be changed",
				a->gva.v);
	}
	for (uint32_t i = 0; r == VP_OK && i < w->txn->n_steps; i++) {
		const struct eng_step *step = &w->txn->steps[i];

		if (step->last)
			r = holds(w, step->e.edit.gpa, step->e.edit.new, step->e.edit.len);
	}
	return r;
}

/*
 * Puts back what this hold has begun, last first. A store that failed may have left half of its
 * bytes, so nothing is compared before it is written; everything is compared after.
 */
static int undo(struct eng_window *w)
{
	const struct eng_area *a = &w->txn->area;
	uint32_t begun = w->prog->begun;
	uint32_t n = begun > 1 ? begun - 1 : 0; /* steps */
	int r = VP_OK;

	for (uint32_t i = n; r == VP_OK && i-- > 0;) {
		const struct eng_step *step = &w->txn->steps[i];

		if (step->in_area)
			continue;
		if (expired(w))
			return VP_E_DEADLINE;
		r = vp_write(w->p, step->e.edit.gpa, step->e.edit.old, step->e.edit.len);
	}
	if (r == VP_OK && begun > 0 && a->len > 0)
		r = vp_write(w->p, a->gpa, a->old, a->len);
	for (uint32_t i = 0; r == VP_OK && i < n; i++) {
		const struct eng_step *step = &w->txn->steps[i];

		if (step->prev < 0 && !step->in_area)
			r = holds(w, step->e.edit.gpa, step->e.edit.old, step->e.edit.len);
	}
	if (r == VP_OK && begun > 0 && a->len > 0) {
		r = vp_read(target(w), a->gpa, w->scratch, a->len);
		if (r == VP_OK && memcmp(w->scratch, a->old, a->len) != 0)
			r = VP_E_IO;
	}
	return r == VP_OK ? vp_sync(w->p) : r;
}

enum eng_end eng_window_change(struct eng_window *w)
{
	struct diag why;
	int r = verify(w);

	if (r == VP_OK)
		r = store_all(w);
	if (r == VP_OK)
		r = read_back(w);
	if (r == VP_OK)
		r = in_time(w);
	if (r == VP_OK)
		r = seam(w, vp_sync(w->p), "making the instruction stream coherent");
	if (expired(w))
		return ENG_END_NONE;
	if (r == VP_OK)
		return ENG_END_NEW;
	why = w->prog->diag; /* the words that count are those of the first failure */
	w->prog->cause = r;
	r = w->prog->begun > 0 ? undo(w) : VP_OK;
	w->prog->diag = why;
	if (expired(w))
		return ENG_END_NONE;
	return r == VP_OK ? ENG_END_OLD : ENG_END_TORN;
}

/* --- repair ------------------------------------------------------------------------------------ */

enum looks { LOOKS_OLD, LOOKS_OURS, LOOKS_ALIEN };

/* Each byte is the old or the new one: whole, or torn by a store of ours that did not finish. */
static bool between(const uint8_t *now, const uint8_t *old, const uint8_t *new, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (now[i] != old[i] && now[i] != new[i])
			return false;
	return true;
}

static enum looks look(const struct eng_txn *txn, const struct eng_step *step, const uint8_t *now)
{
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
	return LOOKS_ALIEN;
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
	r = seam(w, vp_read(target(w), a->gpa, w->scratch, a->len), "reading guest memory");
	if (r < 0)
		return r;
	/* Whatever its state word says: nobody but us writes it, and a store of ours may have torn it. */
	s->area_whole = area_equal(a, w->scratch);
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
		r = seam(w, vp_read(target(w), e->gpa, now, e->len), "reading guest memory");
		if (r < 0)
			break;
		if (memcmp(now, e->new, e->len) != 0)
			s->all_new = false;
		if (e->kind != VP_EDIT_SITE)
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
	char place[PLACE_MAX];
	int r = seam(w, vp_read(target(w), e->gpa, now, e->len), "reading guest memory");

	if (r < 0)
		return r;
	switch (look(w->txn, step, now)) {
	case LOOKS_OLD:
		return VP_OK;
	case LOOKS_OURS:
		if (expired(w))
			return VP_E_DEADLINE;
		r = seam(w, vp_write(w->p, e->gpa, e->old, e->len), "putting a word back");
		return r < 0 ? r : holds(w, e->gpa, e->old, e->len);
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
	if (expired(w))
		return VP_E_DEADLINE;
	if (s->area_whole) {
		vp_st64(reverted, VP_LEDGER_REVERTED);
		r = seam(w, vp_write(w->p, state, reverted, 8), "retiring the payload");
		return r < 0 ? r : holds(w, state, reverted, 8);
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
	r = seam(w, vp_write(w->p, a->gpa, a->old, a->len), "clearing the arena");
	if (r == VP_OK)
		r = seam(w, vp_read(target(w), a->gpa, w->scratch, a->len),
			 "reading guest memory back");
	if (r == VP_OK && memcmp(w->scratch, a->old, a->len) != 0)
		r = VP_E_IO;
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
	/* Always: the holder before this one may have stored and died ahead of its sync. */
	if (r == VP_OK)
		r = seam(w, vp_sync(w->p), "making the instruction stream coherent");
	if (expired(w))
		return ENG_END_NONE;
	if (r < 0) {
		w->prog->cause = r;
		return ENG_END_TORN;
	}
	return s.all_new ? ENG_END_NEW : alien ? ENG_END_ALIEN : ENG_END_OLD;
}

int eng_sites_agree(struct vp_target *t, const struct eng_txn *txn,
		    const struct eng_step **step_ret)
{
	for (uint32_t i = 0; i < txn->n_steps; i++) {
		const struct vp_edit *e = &txn->steps[i].e.edit;
		uint8_t now[VP_EDIT_MAX];
		int r;

		if (e->kind != VP_EDIT_SITE)
			continue;
		r = vp_read(t, e->gpa, now, e->len);
		if (r < 0)
			return r;
		if (memcmp(now, e->new, e->len) != 0) {
			if (step_ret)
				*step_ret = &txn->steps[i];
			return VP_E_PARTIAL;
		}
	}
	return VP_OK;
}
