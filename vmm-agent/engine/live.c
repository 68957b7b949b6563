/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 *   verify   page walks, quiet words, every old byte, the trap records    the guest may still change
 *   area     payload and record, sync ALL     nobody runs it yet; every CPU would read it right
 *   table    the stub's is what it was        or the stub is letting go: nothing has changed yet
 *   states   the ledger's words that say what is under way
 *   words    the programs in lockstep, as many at a time as there are trap records for; they read back,
 *   states   and only then do the ledger's words say that it is done
 */
#include "vmm-agent/engine/live.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/poke.h"
#include "vmm-agent/engine/verify.h"

static uint64_t load_le(const uint8_t *p, unsigned len)
{
	return len == 4 ? vp_ld32(p) : vp_ld64(p);
}

/* The literal of step i: it is one, or the next step is. */
static const struct vp_edit *literal_of(const struct eng_txn *txn, uint32_t i)
{
	const struct eng_step *step = &txn->steps[i];

	if (step->e.edit.kind == VP_EDIT_LITERAL)
		return &step->e.edit;
	return step->literal ? &step[1].e.edit : NULL;
}

void eng_live_ask(const struct eng_txn *txn, uint32_t i, struct arch_poke_ask *ret)
{
	const struct vp_edit *e = &txn->steps[i].e.edit;
	const struct vp_edit *lit = literal_of(txn, i);

	*ret = (struct arch_poke_ask){.at = e->gva, .old = e->old, .new = e->new};
	if (e->kind == VP_EDIT_SITE)
		ret->len = e->len;
	if (!lit)
		return;
	ret->literal = lit->gva;
	ret->literal_len = lit->len;
	ret->literal_old = load_le(lit->old, lit->len);
	ret->literal_new = load_le(lit->new, lit->len);
}

int eng_live_program(const struct eng_txn *txn, uint32_t i, const struct arch_ops *ops,
		     struct arch_poke *ret, const char **why)
{
	struct arch_poke_ask ask;

	eng_live_ask(txn, i, &ask);
	ask.discipline = (enum vp_discipline)txn->steps[i].e.edit.discipline;
	/* What the planner has found to be so. */
	ask.live = true;
	ask.handler = true;
	ask.by_hand = true;
	return arch_poke(ops, &ask, ret, why);
}

/* --- the run ---------------------------------------------------------------------------------- */

struct run {
	struct eng_live *live;
	struct eng_window w; /* nobody is held in it: it carries the looks */
	struct vp_live *l;
	struct arch_poke *progs;
	struct eng_poke *pokes;
	uint32_t *steps; /* of each poke */
	size_t n;
	size_t first; /* poke of the batch under way */
};

static int prepare(struct run *run)
{
	const struct eng_txn *txn = run->live->txn;
	struct diag *diag = &run->w.prog->diag;

	for (uint32_t i = 0; i < txn->n_steps; i++) {
		const struct eng_step *step = &txn->steps[i];
		const struct vp_edit *lit = literal_of(txn, i);
		const char *why;
		int r;

		if (!eng_step_is_word(step) || (i > 0 && step[-1].literal))
			continue;
		r = eng_live_program(txn, i, vp_target_info(run->live->t)->arch,
				     &run->progs[run->n], &why);
		if (r < 0)
			return diag_set(diag, r, "%s at %#" PRIx64 ": %s", step->e.symbol,
					step->e.edit.gva.v, why);
		run->pokes[run->n] = (struct eng_poke){
			.prog = &run->progs[run->n],
			.at = step->e.edit.gva,
			.site = step->e.edit.gpa,
			.literal = lit ? lit->gpa : vp_gpa(0),
			.record = step->trap.gpa,
		};
		run->steps[run->n++] = i;
	}
	return VP_OK;
}

static int store(struct run *run, vp_gpa_t at, const void *buf, size_t len, const char *what)
{
	int r = eng_window_in_time(&run->w);

	if (r < 0)
		return r;
	run->live->begun = true;
	return eng_window_seam(&run->w, vp_live_store(run->l, at, buf, len), what);
}

static int put_area(struct run *run)
{
	const struct eng_area *a = &run->live->txn->area;
	int r;

	if (a->len == 0)
		return VP_OK;
	r = store(run, a->gpa, a->new, a->len, "writing the payload");
	return r == VP_OK ? vp_live_sync(run->l, ARCH_SYNC_ALL, run->w.deadline, &run->w.prog->diag)
			  : r;
}

static void changed(struct run *run, size_t i)
{
	uint32_t step = run->steps[run->first + i];

	run->live->poked_at[step] = clock_now();
	if (run->live->txn->steps[step].literal)
		run->live->poked_at[step + 1] = run->live->poked_at[step];
}

static int on_event(void *ctx, size_t i)
{
	changed(ctx, i);
	return VP_OK;
}

/* Without an event in its program a word has changed with its last store. */
static void on_store(void *ctx, size_t i)
{
	struct run *run = ctx;
	const struct arch_poke *prog = run->pokes[run->first + i].prog;

	for (unsigned s = 0; s < prog->n; s++)
		if (prog->step[s].act == ARCH_POKE_EVENT)
			return;
	changed(run, i);
}

/* How many pokes from the first on, of steps below `end`, have no trap record in common. */
static size_t batch(const struct run *run, uint32_t end)
{
	const struct eng_poke *pokes = run->pokes + run->first;
	size_t n = 1;

	for (; run->first + n < run->n && run->steps[run->first + n] < end; n++)
		for (size_t i = 0; i < n; i++)
			if (pokes[i].record.v != 0 && pokes[i].record.v == pokes[n].record.v)
				return n;
	return n;
}

/* The words of steps i to end. */
static int put_words(struct run *run, uint32_t i, uint32_t end)
{
	const struct eng_poke_watch watch = {.event = on_event, .store = on_store, .ctx = run};
	const struct eng_step *steps = run->live->txn->steps;
	int r = VP_OK;

	while (r == VP_OK && run->first < run->n && run->steps[run->first] < end) {
		size_t n = batch(run, end);

		r = eng_window_in_time(&run->w);
		if (r < 0)
			return r;
		run->live->begun = true;
		r = eng_poke_run(run->l, run->pokes + run->first, n, &watch, run->w.deadline,
				 &run->w.prog->diag, NULL);
		run->first += n;
	}
	/* Ahead of the state word that will say that they are there. */
	for (; r == VP_OK && i < end; i++)
		r = eng_window_holds(&run->w, steps[i].e.edit.gpa, steps[i].e.edit.new,
				     steps[i].e.edit.len);
	return r;
}

static int put_steps(struct run *run)
{
	const struct eng_txn *txn = run->live->txn;
	int r = VP_OK;

	for (uint32_t i = 0, end; r == VP_OK && i < txn->n_steps; i = end) {
		const struct vp_edit *e = &txn->steps[i].e.edit;

		for (end = i; end < txn->n_steps && eng_step_is_word(&txn->steps[end]); end++)
			;
		if (end > i) {
			r = put_words(run, i, end);
		} else {
			r = store(run, e->gpa, e->new, e->len, "writing the ledger");
			end++;
		}
	}
	return r;
}

/* A VMM may share some of its memory and keep other pieces for itself. */
static int check_reach(struct run *run)
{
	const struct eng_txn *txn = run->live->txn;
	bool all = txn->area.len == 0 || vp_live_reaches(run->l, txn->area.gpa, txn->area.len);

	for (uint32_t i = 0; all && i < txn->n_steps; i++) {
		const struct eng_step *step = &txn->steps[i];

		all = vp_live_reaches(run->l, step->e.edit.gpa, step->e.edit.len) &&
		      (step->trap.gva.v == 0 ||
		       vp_live_reaches(run->l, step->trap.gpa, VP_TRAP_RECORD));
	}
	if (all)
		return VP_OK;
	return diag_set(&run->w.prog->diag, VP_E_DISCIPLINE,
			"some of what is to change lies in memory that the VMM does not share: use "
			"--discipline stop");
}

static int carry_out(struct run *run)
{
	int r = check_reach(run);

	if (r == VP_OK)
		r = eng_window_verify(&run->w);
	if (r == VP_OK)
		r = put_area(run);
	/* Behind the payload and ahead of the words: a stub that takes its table back looks at the arena
	 * first and clears the table then, so that one of the two sees the other. */
	if (r == VP_OK && run->w.view->table)
		r = run->w.view->table(run->w.view->ctx, &run->w.prog->diag);
	if (r == VP_OK)
		r = put_steps(run);
	return r == VP_OK ? eng_window_read_back(&run->w) : r;
}

static int run_init(struct run *run)
{
	const struct eng_live *live = run->live;
	uint32_t n = live->txn->n_steps;

	run->w = (struct eng_window){
		.t = live->t,
		.txn = live->txn,
		.view = live->view,
		.prog = calloc(1, sizeof(*run->w.prog)),
		.scratch = malloc(live->txn->area.len + 1),
		.deadline = clock_in(live->time_ns),
	};
	run->progs = calloc(n + 1, sizeof(*run->progs));
	run->pokes = calloc(n + 1, sizeof(*run->pokes));
	run->steps = calloc(n + 1, sizeof(*run->steps));
	if (!run->w.prog || !run->w.scratch || !run->progs || !run->pokes || !run->steps)
		return VP_E_NOMEM;
	diag_init(&run->w.prog->diag);
	return VP_OK;
}

static void run_deinit(struct run *run)
{
	free(run->w.prog);
	free(run->w.scratch);
	free(run->progs);
	free(run->pokes);
	free(run->steps);
	free(run);
}

int eng_live_run(struct eng_live *live, struct diag *diag)
{
	struct run *run = calloc(1, sizeof(*run));
	int r;

	live->begun = false;
	if (!run)
		return diag_set(diag, VP_E_NOMEM, "live change: no memory");
	run->live = live;
	r = run_init(run);
	if (r < 0) {
		run_deinit(run);
		return diag_set(diag, r, "live change: no memory");
	}
	r = prepare(run);
	if (r == VP_OK)
		r = vp_live_open(live->t, &run->w.prog->diag, &run->l);
	if (r == VP_OK)
		r = carry_out(run);
	vp_live_close(run->l);
	if (r < 0 && diag)
		*diag = run->w.prog->diag;
	run_deinit(run);
	return r;
}
