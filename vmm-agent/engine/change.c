/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/change.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "protocol/sites_abi.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/journal.h"
#include "vmm-agent/engine/live.h"
#include "vmm-agent/engine/vmm.h"

void eng_note(struct eng_report *report, const char *fmt, ...)
{
	char note[sizeof(report->notes[0])];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(note, sizeof(note), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < report->n_notes; i++)
		if (strcmp(report->notes[i], note) == 0)
			return;
	if (report->n_notes < ENG_NOTES_MAX)
		report->n_notes++;
	memcpy(report->notes[report->n_notes - 1], note, sizeof(note));
}

/* From the journal's intent to its end nothing of the terminal's or an init's interrupts us: what
 * is pending is delivered when the mask is put back. */
static void block_signals(sigset_t *before)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTSTP);
	sigprocmask(SIG_BLOCK, &set, before);
}

static int close_entry(const struct eng_change *c, enum eng_end end, struct diag *diag)
{
	enum eng_journal_type type =
		end == ENG_END_NEW ? ENG_JOURNAL_COMMITTED : ENG_JOURNAL_ROLLED_BACK;
	char key[ENG_KEY_MAX];

	eng_vmm_key(&c->txn->id, key);
	if (end == ENG_END_NONE)
		return VP_OK; /* still open: that is what recover goes by */
	return eng_journal_end(c->state_dir, key, type, diag);
}

/* Holds the guest for a job, armed before and disarmed after. */
static int hold(const struct eng_change *c, enum eng_job job, struct diag *diag,
		struct eng_held *ret)
{
	struct eng_hold h = {c->t, c->txn, c->view, c->window_ns, c->grace_ns};
	enum vp_after after =
		job == ENG_JOB_REPAIR && c->txn->was_running ? VP_AFTER_RUN : VP_AFTER_AS_FOUND;
	int r = vp_arm(c->t, after, diag);

	*ret = (struct eng_held){.end = eng_hold_unbegun(job)};
	if (r < 0)
		return r;
	r = eng_hold_run(&h, job, diag, ret);
	if (r == VP_E_TORN)
		vp_leave_held(c->t);
	else
		vp_disarm(c->t);
	return r;
}

/* The other end of what was asked for ahead of the window: whether the guest migrates. */
static int confirm(const struct eng_change *c, struct diag *diag)
{
	const struct eng_txn *txn = c->txn;
	struct vp_io *io;
	size_t n = 0;
	int r;

	if (vp_target_caps(c->t) & VP_CAP_WRITE_DIRTY)
		return VP_OK;
	io = calloc(2 * (size_t)txn->n_steps + 1, sizeof(*io));
	if (!io)
		return diag_set(diag, VP_E_NOMEM, "list of what was written: no memory");
	if (txn->area.len > 0)
		io[n++] = (struct vp_io){txn->area.gpa, NULL, txn->area.len};
	for (uint32_t i = 0; i < txn->n_steps; i++) {
		const struct eng_step *step = &txn->steps[i];

		io[n++] = (struct vp_io){step->e.edit.gpa, NULL, step->e.edit.len};
		if (step->trap.gva.v != 0)
			io[n++] = (struct vp_io){step->trap.gpa, NULL, VP_TRAP_RECORD};
	}
	r = vp_confirm(c->t, io, n, diag);
	free(io);
	return r;
}

/* A process that ends gives up its memory first and is seen to be gone a little later. */
static bool vmm_ends(const struct eng_change *c)
{
	const struct timespec tick = {.tv_nsec = 5000000};

	for (int i = 0; i < 100; i++) {
		if (!eng_vmm_alive(&c->txn->id, c->txn->host_boot))
			return true;
		nanosleep(&tick, NULL);
	}
	return false;
}

/* Where the guest's locks cannot be read, a vCPU may have been held between its own check and its
 * own poke. */
static int settle(const struct eng_change *c, struct diag *diag)
{
	uint64_t ns = c->settle_ns ? c->settle_ns : ENG_SETTLE_NS;
	struct timespec ts = {(time_t)(ns / CLOCK_NS_PER_SEC), (long)(ns % CLOCK_NS_PER_SEC)};
	const struct eng_step *step = NULL;
	int r;

	if (c->txn->n_quiet > 0)
		return VP_OK;
	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
	r = eng_sites_agree(c->t, c->txn, &step);
	if (r == VP_OK)
		return VP_OK;
	if (!step && vmm_ends(c))
		return diag_set(diag, VP_E_DISCONNECTED,
				"the VMM ended right after the change: nothing is left of it");
	if (step)
		return diag_set(
			diag, VP_E_PARTIAL,
			"%s at %#" PRIx64
			" was changed by the guest itself right after the window: look at it "
			"with vpatch status",
			step->e.symbol, step->e.edit.gva.v);
	return diag_set(diag, VP_E_PARTIAL,
			"the change is in place, but the sites could not be read again after the "
			"window (%s): look at them with vpatch status",
			vp_err_sentence(r));
}

/* Undoes in a hold what a live change has begun; why and *diag say what stopped it. */
static int undo_live(const struct eng_change *c, int why, struct diag *diag,
		     struct eng_report *report, struct eng_held *held)
{
	struct diag hdiag;
	int r;

	diag_init(&hdiag);
	r = hold(c, ENG_JOB_REPAIR, &hdiag, held);
	if (r == VP_OK && held->end == ENG_END_NEW) {
		eng_note(report,
			 "the guest had to be held for an end, when everything was in "
			 "place already: %s",
			 diag->text);
		return VP_OK;
	}
	/* A way in that can store and then cannot: busy, as far as the guest goes. */
	if (r == VP_OK && why == VP_E_UNSUPPORTED)
		return diag_set(diag, VP_E_GUEST_CHANGED,
				"the VMM stopped storing into the running guest (%s); everything "
				"was put back: try again, or with --discipline stop",
				vp_err_sentence(why));
	if (r == VP_OK)
		return why;
	if (held->end == ENG_END_NONE && r != VP_E_DISCONNECTED && vp_err_exit(r) != 4)
		return diag_set(diag, VP_E_PARTIAL,
				"%s; the guest runs on and could not be held to put things back "
				"(%s): run vpatch recover",
				vp_err_sentence(why), hdiag.text);
	*diag = hdiag;
	return r;
}

/* Of several words that change one after the other, from the first on. */
static uint64_t mixed_since(const struct eng_txn *txn, const uint64_t *poked_at)
{
	uint64_t first = 0;
	unsigned n = 0;

	for (uint32_t i = 0; i < txn->n_steps; i++) {
		if (txn->steps[i].e.edit.kind != VP_EDIT_SITE)
			continue;
		n++;
		if (poked_at[i] != 0 && (first == 0 || poked_at[i] < first))
			first = poked_at[i];
	}
	return n > 1 ? first : 0;
}

static int live(const struct eng_change *c, struct diag *diag, struct eng_report *report,
		uint64_t *poked_at, struct eng_held *held)
{
	struct eng_live live = {.t = c->t,
				.txn = c->txn,
				.view = c->view,
				.time_ns = c->window_ns,
				.poked_at = poked_at};
	uint64_t since;
	int r = eng_live_run(&live, diag);

	*held = (struct eng_held){.end = r == VP_OK ? ENG_END_NEW : ENG_END_OLD};
	if (r < 0 && live.begun)
		r = undo_live(c, r, diag, report, held);
	since = mixed_since(c->txn, poked_at);
	if (since != 0)
		held->mixed_ns = clock_now() - since - held->window_ns;
	return r;
}

/* The report's edits are the steps without the ledger's own. */
static void report_times(const struct eng_txn *txn, const uint64_t *poked_at, uint64_t stored_at,
			 struct eng_report *report)
{
	size_t n = 0;

	for (uint32_t i = 0; i < txn->n_steps && n < report->n_edits; i++)
		if (txn->steps[i].e.edit.kind != VP_EDIT_STATE)
			report->edits[n++].poked_at = poked_at[i] ? poked_at[i] : stored_at;
}

static int change(const struct eng_change *c, struct diag *diag, struct eng_report *report,
		  struct eng_held *held)
{
	uint64_t *poked_at = calloc(c->txn->n_steps + 1, sizeof(*poked_at));
	int r;

	*held = (struct eng_held){.end = ENG_END_OLD};
	if (!poked_at)
		return diag_set(diag, VP_E_NOMEM, "change: no memory");
	if (eng_txn_live(c->txn))
		r = live(c, diag, report, poked_at, held);
	else
		r = hold(c, ENG_JOB_CHANGE, diag, held);
	report->window_ns = held->window_ns;
	report->mixed_ns = held->mixed_ns;
	if (held->end == ENG_END_NEW)
		report_times(c->txn, poked_at, held->stored_at, report);
	free(poked_at);
	return r;
}

static int run(const struct eng_change *c, struct diag *diag, struct eng_report *report)
{
	struct eng_held held;
	struct diag jdiag;
	int r = eng_journal_begin(c->state_dir, c->txn, diag);

	if (r < 0)
		return r;
	r = change(c, diag, report, &held);
	diag_init(&jdiag);
	if (close_entry(c, held.end, &jdiag) < 0)
		eng_note(report, "the journal could not be closed, vpatch recover will do it: %s",
			 jdiag.text);
	if (held.end == ENG_END_NEW) {
		report->changed = true;
		if (held.holder_died)
			eng_note(report,
				 "the process holding the guest died when everything was in "
				 "place already");
	}
	if (r == VP_OK)
		r = confirm(c, diag);
	return r == VP_OK ? settle(c, diag) : r;
}

int eng_change_run(const struct eng_change *c, struct diag *diag, struct eng_report *report)
{
	sigset_t before;
	int r;

	block_signals(&before);
	r = run(c, diag, report);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

int eng_change_recover(const struct eng_change *c, struct diag *diag, enum eng_outcome *ret)
{
	struct eng_held held;
	sigset_t before;
	int r, closed;

	*ret = ENG_FAILED;
	block_signals(&before);
	r = hold(c, ENG_JOB_REPAIR, diag, &held);
	closed = close_entry(c, held.end, r < 0 ? NULL : diag);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (r == VP_OK)
		r = closed;
	if (r == VP_OK)
		*ret = held.end == ENG_END_NEW ? ENG_COMPLETED : ENG_ROLLED_BACK;
	return r;
}
