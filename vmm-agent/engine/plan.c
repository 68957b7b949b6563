/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plan of an apply:
 *
 *	kernel    release, build-id, architecture, consistency
 *	ledger    what is applied under this name, who else has which function
 *	sites     function by function: symbol, clones, entry bytes, the tracer's record
 *	payload   at the address of a retired record of the same hotfix if that has just these
 *	          bytes, else in the first cave that is large enough and in reach
 *	steps     tracer marks, sites, the record's state; around them, for an upgrade, the state
 *	          of the record that is replaced
 */
#include "vmm-agent/engine/plan_apply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/version.h"

/* --- kernel and ledger ------------------------------------------------------------------------ */

static int check_kernel(struct eng_apply_plan *a)
{
	const struct guest_info *gi = guest_info(a->plan->g);
	const struct hf_info *hi = a->info;

	if (hi->arch != gi->arch)
		return diag_set(
			a->diag, VP_E_WRONG_ARCH,
			"%s is for %s and the guest is %s: use the bundle for that architecture",
			hi->name, hi->arch->name, gi->arch->name);
	if (!gi->is_linux && strcmp(hi->release, GUEST_NO_RELEASE) != 0)
		return diag_set(a->diag, VP_E_WRONG_KERNEL,
				"%s is for Linux %s and the guest is not Linux", hi->name,
				hi->release);
	if (!gi->is_linux && hi->build_id_len == 0)
		return diag_set(a->diag, VP_E_WRONG_KERNEL,
				"%s names no image: build it with --image", hi->name);
	if (strcmp(hi->release, gi->release) != 0)
		return diag_set(
			a->diag, VP_E_WRONG_KERNEL,
			"%s is for kernel %s and the guest runs %s: build it for that release",
			hi->name, hi->release, gi->release);
	if (hi->build_id_len > 0 && (hi->build_id_len != gi->build_id_len ||
				     memcmp(hi->build_id, gi->build_id, hi->build_id_len) != 0))
		return diag_set(a->diag, VP_E_WRONG_KERNEL,
				"%s is for another build of %s%s (the build-ids differ): build it "
				"for the one that runs",
				hi->name, gi->is_linux ? "kernel " : "the image",
				gi->is_linux ? gi->release : "");
	if (hi->n_replace == 0 || hi->n_replace > HF_REPLACE_MAX)
		return diag_set(a->diag, VP_E_BUNDLE,
				"%s replaces %zu functions: 1 to %d are possible", hi->name,
				hi->n_replace, HF_REPLACE_MAX);
	return VP_OK;
}

/* What is applied under this name. *done: this very hotfix, nothing is to do. */
static int check_current(struct eng_apply_plan *a, bool *done)
{
	struct eng_look look;
	int cmp, r;

	r = eng_plan_find_live(a->plan, a->info->name, a->diag, &a->cur);
	if (r < 0 || !a->cur)
		return r;
	r = eng_record_look(a->plan->g, a->cur, &look);
	if (r < 0)
		return diag_set(a->diag, r, "%s: its record in the ledger: %s", a->info->name,
				vp_err_sentence(r));
	if (memcmp(a->cur->l.id, a->info->id, sizeof(a->info->id)) == 0 &&
	    a->cur->l.state == VP_LEDGER_APPLIED && look.n_rest == 0 && look.n_other == 0) {
		if (look.words[0])
			eng_note(a->plan->report, "%s", look.words);
		*done = true;
		return VP_OK;
	}
	r = eng_state_error(a->info->name, look.state, look.words, a->diag);
	if (r < 0)
		return r;
	cmp = eng_version_cmp(a->info->version, a->cur->l.version);
	if (cmp <= 0 && !a->opts->allow_downgrade)
		return diag_set(
			a->diag, VP_E_DOWNGRADE,
			cmp < 0 ? "%s %s is applied and %s is older: --allow-downgrade does it all "
				  "the same"
				: "%s %s is applied already with other content than this %s: give "
				  "the new one a higher version, or use --allow-downgrade",
			a->info->name, a->cur->l.version, a->info->version);
	memcpy(a->plan->report->replaced_version, a->cur->l.version, VP_LEDGER_VERSION_LEN);
	return VP_OK;
}

/* --- steps --------------------------------------------------------------------------------------- */

/* Functions that the replaced version had and this one has not go back to the guest. */
static int drop_sites(struct eng_apply_plan *a, bool tracers)
{
	int r = VP_OK;

	for (uint32_t i = 0; a->cur && r == VP_OK && i < a->cur->l.n_edits; i++) {
		struct eng_site site;
		struct vp_edit e;
		bool kept = false;

		vp_ledger_edit(&a->cur->l, i, &e);
		if (tracers ? e.kind != VP_EDIT_SITE : !eng_edit_is_word(&e))
			continue;
		for (size_t j = 0; j < a->n_funcs; j++)
			kept = kept || a->funcs[j].site.gva.v == e.gva.v ||
			       (a->funcs[j].literal.len > 0 &&
				a->funcs[j].literal.gva.v == e.gva.v);
		if (kept)
			continue;
		r = eng_site_read(a->plan->g, &a->cur->l, &e, &site);
		if (r == VP_OK && (site.word != ENG_WORD_NEW || !site.trusted))
			r = VP_E_LEDGER;
		if (r < 0)
			return diag_set(a->diag, r,
					"%s %s: its site at %#" PRIx64 ": %s: see vpatch status",
					a->cur->l.name, a->cur->l.version, e.gva.v,
					vp_err_sentence(r));
		r = tracers ? eng_plan_give_back(a->plan, &a->cur->l, &site, a->diag)
			    : eng_plan_put_back(a->plan, &site);
	}
	return r;
}

static int make_steps(struct eng_apply_plan *a, vp_gva_t self, vp_gpa_t gpa, bool reused)
{
	struct eng_txn *txn = a->plan->txn;
	const struct guest_record *cur = a->cur;
	int r = VP_OK;

	if (cur)
		r = eng_txn_add_state(txn, cur->l.self, cur->gpa, VP_LEDGER_APPLIED,
				      VP_LEDGER_REVERTING);
	if (r == VP_OK && reused)
		r = eng_txn_add_state(txn, self, gpa, VP_LEDGER_REVERTED, VP_LEDGER_APPLYING);
	for (uint32_t i = 0; r == VP_OK && i < a->n_edits; i++)
		r = a->paired[i] ? eng_txn_add_literal(txn, &a->edits[i], a->symbols[i])
				 : eng_txn_add(txn, &a->edits[i], a->symbols[i]);
	if (r == VP_OK)
		r = drop_sites(a, false);
	if (r == VP_OK)
		r = drop_sites(a, true);
	if (r == VP_OK)
		r = eng_txn_add_state(txn, self, gpa, VP_LEDGER_APPLYING, VP_LEDGER_APPLIED);
	if (r == VP_OK && cur)
		r = eng_txn_add_state(txn, cur->l.self, cur->gpa, VP_LEDGER_REVERTING,
				      VP_LEDGER_REVERTED);
	if (r == VP_E_RANGE)
		return diag_set(a->diag, r, "%s makes too many changes", a->info->name);
	return r;
}

/* Nobody inside a function that is replaced, so that no caller sees the old of one and the new of another. */
static int plan_outside(struct eng_apply_plan *a)
{
	struct eng_txn *txn = a->plan->txn;

	if (a->info->consistency != HF_QUIESCE)
		return VP_OK;
	for (size_t i = 0; i < a->n_funcs; i++)
		txn->outside[txn->n_outside++] =
			(struct guest_span){a->funcs[i].addr, a->funcs[i].size};
	return guest_outside_prepare(a->plan->g, txn->outside, txn->n_outside, a->diag);
}

static int plan_words(struct eng_apply_plan *a)
{
	struct eng_report *rep = a->plan->report;
	struct vp_ledger l = {0};
	vp_gpa_t gpa;
	bool reused;
	int r = eng_plan_payload(a, &l, &gpa, &reused);

	if (r < 0)
		return r;
	rep->payload = vp_gva(l.self.v + l.payload_off);
	rep->payload_len = l.payload_len;
	rep->arena_free = a->plan->arena.free - (reused ? 0 : l.size);
	return make_steps(a, l.self, gpa, reused);
}

static void describe(struct eng_apply_plan *a)
{
	struct eng_report *rep = a->plan->report;
	struct eng_txn *txn = a->plan->txn;

	snprintf(rep->name, sizeof(rep->name), "%s", a->info->name);
	snprintf(rep->version, sizeof(rep->version), "%s", a->info->version);
	snprintf(txn->name, sizeof(txn->name), "%s", a->info->name);
	snprintf(txn->version, sizeof(txn->version), "%s", a->info->version);
	rep->inline_unchecked = !a->info->inline_checked;
	rep->unsigned_ok = a->opts->unsigned_ok;
	rep->arena_free = a->plan->arena.free;
	if (strlen(a->info->fixes) > VP_LEDGER_TEXT_MAX)
		eng_note(rep, "the text of what it fixes is cut to %d bytes in the ledger",
			 VP_LEDGER_TEXT_MAX);
}

static int plan_apply(struct eng_apply_plan *a)
{
	bool done = false;
	int r;

	describe(a);
	r = check_kernel(a);
	if (r == VP_OK)
		r = check_current(a, &done);
	if (done) {
		a->plan->report->payload = vp_gva(a->cur->l.self.v + a->cur->l.payload_off);
		a->plan->report->payload_len = a->cur->l.payload_len;
		eng_txn_destroy(a->plan->txn);
		a->plan->txn = NULL;
		return VP_OK;
	}
	for (size_t i = 0; r == VP_OK && i < a->info->n_replace; i++)
		r = eng_plan_func(a, &a->info->replace[i]);
	if (r == VP_OK)
		r = plan_outside(a);
	if (r == VP_OK)
		r = plan_words(a);
	return r == VP_OK ? eng_plan_end(a->plan, a->diag) : r;
}

int eng_plan_apply(struct eng_plan *plan, const struct hf_bundle *b, const struct eng_opts *opts,
		   struct diag *diag)
{
	struct eng_apply_plan *a;
	int r = eng_plan_begin(plan, ENG_OP_APPLY, diag);

	if (r < 0)
		return r;
	a = calloc(1, sizeof(*a));
	if (!a)
		return diag_set(diag, VP_E_NOMEM, "plan: no memory");
	a->plan = plan;
	a->arch = guest_info(plan->g)->arch;
	a->bundle = b;
	a->info = hf_info(b);
	a->opts = opts;
	a->diag = diag;
	r = plan_apply(a);
	free(a);
	return r;
}
