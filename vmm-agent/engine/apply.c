/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* eng_apply and eng_revert: lock, look, plan, change. */
#include "vmm-agent/engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/journal.h"
#include "vmm-agent/engine/plan.h"
#include "vmm-agent/engine/vmm.h"

struct session {
	struct vp_target *t;
	const struct eng_opts *opts;
	struct diag *diag;
	int lock;
	struct guest *g;
	struct eng_plan plan;
};

void eng_report_deinit(struct eng_report *r)
{
	free(r->edits);
	r->edits = NULL;
	r->n_edits = 0;
}

static int check_state(struct session *s, enum vp_run_state *ret)
{
	char words[32];
	int r = vp_run_state(s->t, ret, words, s->diag);

	if (r < 0)
		return r;
	switch (*ret) {
	case VP_RUN_RUNNING:
	case VP_RUN_PAUSED:
		return VP_OK;
	case VP_RUN_MIGRATING:
		return diag_set(s->diag, VP_E_MIGRATING,
				"the guest is migrating (%s): try again when it has arrived",
				words);
	case VP_RUN_SHUTDOWN:
		return diag_set(s->diag, VP_E_SHUTDOWN, "the guest is shutting down or off (%s)",
				words);
	case VP_RUN_PANICKED:
		return diag_set(s->diag, VP_E_PANICKED, "the guest kernel has panicked (%s)",
				words);
	default:
		return diag_set(
			s->diag, VP_E_UNSUPPORTED,
			"the VMM says the guest is \"%s\": only a guest that runs or is paused "
			"can be patched",
			words);
	}
}

/* An open entry is for recover, unless what it is about has ended. */
static int check_journal(struct session *s)
{
	const struct vp_identity *id = &vp_target_info(s->t)->id;
	const char *dir = s->opts->dirs.state_dir;
	struct eng_txn *txn = NULL;
	char key[ENG_KEY_MAX];
	int r;

	eng_vmm_key(id, key);
	r = eng_journal_open_entry(dir, key, s->diag, &txn);
	if (r < 0 || !txn)
		return r;
	if (eng_vmm_alive(&txn->id, txn->host_boot) &&
	    memcmp(txn->boot_id, guest_info(s->g)->boot_id, sizeof(txn->boot_id)) == 0)
		r = diag_set(s->diag, VP_E_PENDING,
			     "an earlier change of hotfix %s was interrupted: run vpatch recover",
			     txn->name);
	else if (!s->opts->dry_run)
		r = eng_journal_end(dir, key, ENG_JOURNAL_GONE, s->diag);
	eng_txn_destroy(txn);
	return r;
}

static int session_open(struct session *s, struct vp_target *t, const struct eng_opts *opts,
			struct diag *diag, struct eng_report *report)
{
	enum vp_run_state state = VP_RUN_OTHER;
	int r;

	memset(report, 0, sizeof(*report));
	*s = (struct session){.t = t, .opts = opts, .diag = diag, .lock = -1};
	r = eng_lock(opts->dirs.run_dir, &vp_target_info(t)->id, diag, &s->lock);
	if (r == VP_OK)
		r = check_state(s, &state);
	if (r == VP_OK)
		r = guest_open(t, GUEST_STATE_KNOWN | (opts->dry_run ? 0 : GUEST_MAY_HOLD), diag,
			       &s->g);
	if (r == VP_OK)
		r = check_journal(s);
	s->plan = (struct eng_plan){.t = t,
				    .g = s->g,
				    .opts = opts,
				    .was_running = state == VP_RUN_RUNNING,
				    .report = report};
	return r;
}

static void session_close(struct session *s, int r)
{
	/* Whatever was wrong, the next one looks for the kernel anew. */
	if (r < 0)
		vp_note_kernel(s->t, NULL);
	eng_plan_deinit(&s->plan);
	if (s->g)
		guest_close(s->g);
	eng_unlock(s->opts->dirs.run_dir, &vp_target_info(s->t)->id, s->lock);
}

/* The words that were or would be changed, the ledger's own left out. */
static int report_edits(struct session *s)
{
	const struct eng_txn *txn = s->plan.txn;
	struct eng_report *rep = s->plan.report;

	rep->edits = calloc(txn->n_steps + 1, sizeof(*rep->edits));
	if (!rep->edits)
		return diag_set(s->diag, VP_E_NOMEM, "report: no memory");
	for (uint32_t i = 0; i < txn->n_steps; i++)
		if (txn->steps[i].e.edit.kind != VP_EDIT_STATE)
			rep->edits[rep->n_edits++] = txn->steps[i].e;
	return VP_OK;
}

static int carry_out(struct session *s)
{
	struct eng_view view = eng_view_of(s->g);
	struct eng_change change = {
		.t = s->t,
		.txn = s->plan.txn,
		.view = &view,
		.state_dir = s->opts->dirs.state_dir,
		.window_ns = s->opts->window_ns,
		.settle_ns = s->opts->settle_ns,
	};
	int r;

	if (!s->plan.txn)
		return VP_OK;
	r = report_edits(s);
	if (r < 0)
		return r;
	if (s->opts->dry_run)
		return vp_check(s->t, s->diag);
	return eng_change_run(&change, s->diag, s->plan.report);
}

int eng_apply(struct vp_target *t, const struct hf_bundle *b, const struct eng_opts *opts,
	      struct diag *diag, struct eng_report *report)
{
	struct session s;
	int r = session_open(&s, t, opts, diag, report);

	if (r == VP_OK)
		r = eng_plan_apply(&s.plan, b, opts, diag);
	if (r == VP_OK)
		r = carry_out(&s);
	session_close(&s, r);
	return r;
}

int eng_revert(struct vp_target *t, const char *name, const struct eng_opts *opts,
	       struct diag *diag, struct eng_report *report)
{
	struct session s;
	int r = session_open(&s, t, opts, diag, report);

	if (r == VP_OK)
		r = eng_plan_revert(&s.plan, name, diag);
	if (r == VP_OK)
		r = carry_out(&s);
	session_close(&s, r);
	return r;
}
