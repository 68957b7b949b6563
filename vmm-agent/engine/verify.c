/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"
#include "vmm-agent/base/clock.h"

#define PAGE      4096u /* the smallest of any architecture */
#define LOOK_STEP 16u   /* steps verified, a microsecond each at most, between looks at the clock */

bool eng_window_expired(const struct eng_window *w)
{
	return __atomic_load_n(&w->prog->phase, __ATOMIC_ACQUIRE) == ENG_EXPIRED;
}

int eng_window_seam(struct eng_window *w, int r, const char *what)
{
	if (r < 0)
		return diag_set(&w->prog->diag, r, "%s while the guest %s: %s", what,
				w->p ? "was held" : "ran", vp_err_sentence(r));
	return VP_OK;
}

int eng_window_in_time(struct eng_window *w)
{
	if (eng_window_expired(w) || clock_left(w->deadline) == 0)
		return diag_set(
			&w->prog->diag, VP_E_DEADLINE,
			"the deadline passed and everything was put back: try again, or give a "
			"longer --deadline");
	return VP_OK;
}

int eng_trap_locate(const struct eng_view *view, const struct eng_trap *trap, vp_gpa_t *ret)
{
	return view->locate(view->ctx, VP_EDIT_TRACER, trap->gva, VP_TRAP_RECORD, ret);
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
	char place[ENG_PLACE_MAX];
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
	char place[ENG_PLACE_MAX];
	int r = eng_window_seam(w, vp_read(w->t, e->gpa, now, e->len), "reading guest memory");

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

/* The record for a trap is where it was, and nobody's. */
static int check_trap(struct eng_window *w, const struct eng_step *step)
{
	const struct eng_trap *trap = &step->trap;
	uint8_t at[8];
	vp_gpa_t gpa;
	int r = eng_trap_locate(w->view, trap, &gpa);

	if (r == VP_OK && gpa.v != trap->gpa.v)
		r = VP_E_GUEST_CHANGED;
	if (r == VP_OK)
		r = vp_read(w->t, vp_gpa(trap->gpa.v + VP_TRAP_OFF_AT), at, sizeof(at));
	if (r < 0)
		return diag_set(&w->prog->diag, r, "the trap record at %#" PRIx64 ": %s",
				trap->gva.v, vp_err_sentence(r));
	if (vp_ld64(at) != 0)
		return diag_set(&w->prog->diag, VP_E_GUEST_PATCHING,
				"the trap record at %#" PRIx64 " is in use for %#" PRIx64
				": try --discipline stop",
				trap->gva.v, vp_ld64(at));
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
	r = eng_window_seam(w, vp_read(w->t, a->gpa, w->scratch, a->len), "reading guest memory");
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
		int r = eng_window_seam(w, vp_read(w->t, q->gpa, now, sizeof(now)),
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

int eng_window_verify(struct eng_window *w)
{
	const struct vp_edit *last = NULL;
	int r = VP_OK;

	if (w->p) {
		vp_read_ahead(w->p);
		r = w->view->held(w->view->ctx, w->p, w->pcs, &w->prog->diag);
	}
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
		if (r == VP_OK && w->p)
			r = check_pcs(w, step);
		if (r == VP_OK && step->trap.gva.v != 0)
			r = check_trap(w, step);
		if (r == VP_OK && i % LOOK_STEP == 0)
			r = eng_window_in_time(w);
	}
	return r;
}

/* --- read back ------------------------------------------------------------------------------- */

int eng_window_holds(struct eng_window *w, vp_gpa_t at, const uint8_t *bytes, size_t len)
{
	uint8_t now[VP_EDIT_MAX];
	int r = eng_window_seam(w, vp_read(w->t, at, now, len), "reading guest memory back");

	if (r == VP_OK && memcmp(now, bytes, len) != 0)
		r = diag_set(&w->prog->diag, VP_E_IO,
			     "a word at physical %#" PRIx64
			     " does not read back as written: the VMM does not let it be changed",
			     at.v);
	return r;
}

bool eng_area_equal(const struct eng_area *a, const uint8_t *now)
{
	const size_t behind = VP_LEDGER_STATE_OFF + 8;

	return memcmp(now, a->new, VP_LEDGER_STATE_OFF) == 0 &&
	       memcmp(now + behind, a->new + behind, a->len - behind) == 0;
}

int eng_window_read_back(struct eng_window *w)
{
	const struct eng_area *a = &w->txn->area;
	int r = VP_OK;

	if (w->p)
		vp_read_ahead(w->p);
	if (a->len > 0) {
		r = eng_window_seam(w, vp_read(w->t, a->gpa, w->scratch, a->len),
				    "reading guest memory back");
		if (r == VP_OK && !eng_area_equal(a, w->scratch))
			r = diag_set(
				&w->prog->diag, VP_E_IO,
				"the payload at %#" PRIx64
				" does not read back as written: the VMM does not let it be changed",
				a->gva.v);
	}
	for (uint32_t i = 0; r == VP_OK && i < w->txn->n_steps; i++) {
		const struct eng_step *step = &w->txn->steps[i];

		if (step->last)
			r = eng_window_holds(w, step->e.edit.gpa, step->e.edit.new,
					     step->e.edit.len);
	}
	return r;
}

int eng_sites_agree(struct vp_target *t, const struct eng_txn *txn,
		    const struct eng_step **step_ret)
{
	for (uint32_t i = 0; i < txn->n_steps; i++) {
		const struct vp_edit *e = &txn->steps[i].e.edit;
		uint8_t now[VP_EDIT_MAX];
		int r;

		if (!eng_step_is_word(&txn->steps[i]))
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
