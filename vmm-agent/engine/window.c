/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 *   change   verify: kernel, vCPUs, page walks, quiet words, every old byte
 *            area, then steps 0 .. n-1          the deadline is looked at ahead of each batch
 *            read back, sync
 *   undo     steps n-1 .. 0, then the area      what was begun, in the same hold
 */
#include "vmm-agent/engine/verify.h"

#include <string.h>

#include "vmm-agent/base/clock.h"

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
	return eng_window_seam(w, vp_write_all(w->p, w->io, n), "writing the words");
}

static int store_all(struct eng_window *w)
{
	const struct eng_area *a = &w->txn->area;
	int r = eng_window_in_time(w);

	if (r == VP_OK && a->len > 0) {
		mark(w, 1);
		r = eng_window_seam(w, vp_write(w->p, a->gpa, a->new, a->len),
				    "writing the payload");
	}
	for (uint32_t i = 0; r == VP_OK && i < w->txn->n_steps; i += ENG_BATCH) {
		uint32_t left = w->txn->n_steps - i;

		r = eng_window_in_time(w);
		if (r == VP_OK)
			r = store_batch(w, i, left < ENG_BATCH ? left : ENG_BATCH);
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
		if (eng_window_expired(w))
			return VP_E_DEADLINE;
		r = vp_write(w->p, step->e.edit.gpa, step->e.edit.old, step->e.edit.len);
	}
	if (r == VP_OK && begun > 0 && a->len > 0)
		r = vp_write(w->p, a->gpa, a->old, a->len);
	for (uint32_t i = 0; r == VP_OK && i < n; i++) {
		const struct eng_step *step = &w->txn->steps[i];

		if (step->prev < 0 && !step->in_area)
			r = eng_window_holds(w, step->e.edit.gpa, step->e.edit.old,
					     step->e.edit.len);
	}
	if (r == VP_OK && begun > 0 && a->len > 0) {
		r = vp_read(w->t, a->gpa, w->scratch, a->len);
		if (r == VP_OK && memcmp(w->scratch, a->old, a->len) != 0)
			r = VP_E_IO;
	}
	return r == VP_OK ? vp_sync(w->p) : r;
}

enum eng_end eng_window_change(struct eng_window *w)
{
	struct diag why;
	int r = eng_window_verify(w);

	if (r == VP_OK)
		r = store_all(w);
	if (r == VP_OK)
		r = eng_window_read_back(w);
	if (r == VP_OK)
		r = eng_window_in_time(w);
	if (r == VP_OK)
		r = eng_window_seam(w, vp_sync(w->p), "making the instruction stream coherent");
	if (eng_window_expired(w))
		return ENG_END_NONE;
	if (r == VP_OK)
		return ENG_END_NEW;
	why = w->prog->diag; /* the words that count are those of the first failure */
	w->prog->cause = r;
	r = w->prog->begun > 0 ? undo(w) : VP_OK;
	w->prog->diag = why;
	if (eng_window_expired(w))
		return ENG_END_NONE;
	return r == VP_OK ? ENG_END_OLD : ENG_END_TORN;
}
