/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Revert needs neither journal nor bundle: the record says which words to put back. It is believed
 * only where the guest kernel's own text confirms it (record.h).
 */
#include "vmm-agent/engine/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/vmm.h"

static int find_traps(struct eng_plan *plan, struct diag *diag)
{
	struct guest_trap traps[ENG_TRAPS_MAX];
	int r = guest_trap_records(plan->g, traps, ENG_TRAPS_MAX, &plan->n_traps);

	if (r < 0)
		return diag_set(diag, r, "the guest's trap records: %s", vp_err_sentence(r));
	for (size_t i = 0; i < plan->n_traps; i++)
		plan->traps[i] = (struct eng_trap){traps[i].gva, traps[i].gpa};
	return VP_OK;
}

int eng_plan_begin(struct eng_plan *plan, enum eng_op op, struct diag *diag)
{
	const struct vp_target_info *info = vp_target_info(plan->t);
	int r = guest_arena_read(plan->g, diag, &plan->arena);

	if (r < 0)
		return r;
	if (plan->arena.newer)
		return diag_set(diag, VP_E_VERSION,
				"the guest's ledger was written by a newer vpatch: use that one");
	if (plan->arena.n_damaged > 0)
		eng_note(plan->report,
			 "%zu places in the arena look like ledger records and are not",
			 plan->arena.n_damaged);
	plan->txn = eng_txn_create(op);
	if (!plan->txn)
		return diag_set(diag, VP_E_NOMEM, "plan: no memory");
	plan->txn->id = info->id;
	memcpy(plan->txn->boot_id, guest_info(plan->g)->boot_id, sizeof(plan->txn->boot_id));
	eng_host_boot(plan->txn->host_boot, sizeof(plan->txn->host_boot));
	if (strlen(info->locator) >= sizeof(plan->txn->locator))
		return diag_set(diag, VP_E_RANGE, "%s: the name is too long for the journal",
				info->locator);
	memcpy(plan->txn->locator, info->locator, strlen(info->locator));
	plan->txn->was_running = plan->was_running;
	/* Ahead of the trap records, which the table has. */
	r = eng_need_table(plan->g, &plan->arena, plan->opts->dry_run ? 0 : GUEST_MAY_HOLD, diag);
	return r == VP_OK ? find_traps(plan, diag) : r;
}

int eng_plan_end(struct eng_plan *plan, struct diag *diag)
{
	size_t n = 0;
	int r = guest_quiet_words(plan->g, plan->txn->quiet, ENG_QUIET_MAX, &n, diag);

	if (r < 0)
		return r;
	plan->txn->n_quiet = (uint32_t)n;
	r = eng_plan_discipline(plan, diag);
	if (r < 0)
		return r;
	r = eng_txn_finish(plan->txn);
	if (r < 0)
		return diag_set(diag, r, "plan: two changes of the hotfix meet in one word");
	return VP_OK;
}

void eng_plan_deinit(struct eng_plan *plan)
{
	eng_txn_destroy(plan->txn);
	plan->txn = NULL;
	guest_arena_deinit(&plan->arena);
}

int eng_plan_find_live(const struct eng_plan *plan, const char *name, struct diag *diag,
		       const struct guest_record **ret)
{
	*ret = NULL;
	for (size_t i = 0; i < plan->arena.n_records; i++) {
		const struct guest_record *rec = &plan->arena.records[i];

		if (!eng_record_live(rec) || strcmp(rec->l.name, name) != 0)
			continue;
		if (*ret)
			return diag_set(
				diag, VP_E_PARTIAL,
				"%s: two versions of it, %s and %s, are in the ledger as not "
				"reverted: a change was interrupted, run vpatch recover where it "
				"was made, or vpatch revert, which takes both back",
				name, (*ret)->l.version, rec->l.version);
		*ret = rec;
	}
	return VP_OK;
}

int eng_state_error(const char *name, enum eng_state state, const char *words, struct diag *diag)
{
	switch (state) {
	case ENG_SHADOWED:
		return diag_set(diag, VP_E_SHADOWED, "%s: %s: end that in the guest first", name,
				words);
	case ENG_PARTIAL:
		return diag_set(diag, VP_E_PARTIAL, "%s: %s: vpatch revert puts it back", name,
				words);
	case ENG_ALTERED:
		return diag_set(diag, VP_E_PARTIAL,
				"%s: %s: vpatch leaves such bytes alone, find out in the guest "
				"what wrote them, or reboot it",
				name, words);
	default:
		return VP_OK;
	}
}

/* The tracer edit of a record for the flags word at `at`. */
static bool find_tracer(const struct vp_ledger *l, vp_gva_t at, struct vp_edit *ret)
{
	for (uint32_t i = 0; i < l->n_edits; i++) {
		vp_ledger_edit(l, i, ret);
		if (ret->kind == VP_EDIT_TRACER && ret->gva.v == at.v && ret->len == 8)
			return true;
	}
	return false;
}

/* Two records of one hotfix may know the same mark. */
static bool planned(const struct eng_txn *txn, const char *symbol)
{
	for (uint32_t i = 0; i < txn->n_steps; i++)
		if (txn->steps[i].e.edit.kind == VP_EDIT_TRACER &&
		    strcmp(txn->steps[i].e.symbol, symbol) == 0)
			return true;
	return false;
}

int eng_plan_give_back(struct eng_plan *plan, const struct vp_ledger *l,
		       const struct eng_site *site, struct diag *diag)
{
	struct guest_tracer tr;
	struct vp_edit e;
	uint64_t mark;
	int r;

	if (!site->entry.shared || planned(plan->txn, site->symbol))
		return VP_OK;
	r = guest_tracer(plan->g, site->e.gva, diag, &tr);
	if (r < 0)
		return r;
	if (!tr.found || !find_tracer(l, tr.flags_at, &e)) {
		eng_note(
			plan->report,
			"the tracer's record of %.80s was not found: it stays as it is, and the guest may "
			"not be able to trace the function until it reboots",
			site->symbol);
		return VP_OK;
	}
	mark = vp_ld64(e.new) ^ vp_ld64(e.rest);
	if (tr.flags != vp_ld64(e.new) || tr.flags != tr.flags_taken || mark == 0 ||
	    (mark & (mark - 1)) != 0 || !(tr.flags & mark)) {
		if (tr.taken)
			eng_note(
				plan->report,
				"the tracer's record of %.80s has changed since and stays marked: the guest "
				"cannot trace the function until it reboots",
				site->symbol);
		return VP_OK;
	}
	if (tr.covered) {
		eng_note(
			plan->report,
			"%.80s is covered by %.80s: its tracer record stays marked, the guest cannot trace "
			"it until the same revert is run with no tracer running",
			site->symbol, tr.who[0] ? tr.who : "a tracer");
		return VP_OK;
	}
	memcpy(e.old, e.new, e.len);
	memcpy(e.new, e.rest, e.len);
	e.gpa = tr.flags_gpa;
	r = eng_txn_add(plan->txn, &e, site->symbol);
	return r < 0 ? diag_set(diag, r, "plan: too many changes") : VP_OK;
}

static int check_site(const char *name, const struct eng_site *site, struct guest *g,
		      struct diag *diag)
{
	char who[128] = "";

	if (site->word == ENG_WORD_OTHER) {
		if (site->e.kind == VP_EDIT_SITE)
			guest_site_who(g, site->e.gva, site->e.old, site->e.len, who, sizeof(who));
		return diag_set(diag, VP_E_SHADOWED,
				"%s: %s at %#" PRIx64 " holds %s: end that in the guest first",
				name, site->symbol, site->e.gva.v,
				who[0] ? who : "bytes nobody here wrote");
	}
	if (!site->trusted)
		return diag_set(
			diag, VP_E_LEDGER,
			"%s: the ledger's bytes for %s at %#" PRIx64
			" are not that function's own entry: nothing was put back; see vpatch "
			"status, a reboot of the guest ends the hotfix",
			name, site->symbol, site->e.gva.v);
	return VP_OK;
}

/* The word is another record's of the same hotfix, which this revert takes back too: an upgrade
 * stopped halfway. */
static bool sibling_has(const struct eng_plan *plan, const struct guest_record *rec,
			const struct eng_site *site)
{
	for (size_t i = 0; i < plan->arena.n_records; i++) {
		const struct guest_record *other = &plan->arena.records[i];
		struct vp_edit e;

		if (other == rec || strcmp(other->l.name, rec->l.name) != 0)
			continue;
		for (uint32_t j = 0; j < other->l.n_edits; j++) {
			vp_ledger_edit(&other->l, j, &e);
			if (e.kind == site->e.kind && e.gva.v == site->e.gva.v &&
			    e.len == site->e.len && memcmp(e.new, site->e.old, e.len) == 0)
				return true;
		}
	}
	return false;
}

int eng_plan_put_back(struct eng_plan *plan, const struct eng_site *site)
{
	const struct eng_txn *txn = plan->txn;
	const struct eng_step *last = txn->n_steps ? &txn->steps[txn->n_steps - 1] : NULL;
	struct vp_edit e = site->e;

	memcpy(e.new, e.rest, e.len);
	if (last && last->e.edit.kind == VP_EDIT_SITE && site->owner.v != 0 &&
	    last->e.edit.gva.v - site->owner.v < site->owner_len)
		return eng_txn_add_literal(plan->txn, &e, site->symbol);
	return eng_txn_add(plan->txn, &e, site->symbol);
}

/* Words first, the tracer's marks after: the tracer never sees a branch it does not know. */
static int plan_sites(struct eng_plan *plan, const struct guest_record *rec, bool tracers,
		      struct diag *diag)
{
	int r = VP_OK;

	for (uint32_t i = 0; r == VP_OK && i < rec->l.n_edits; i++) {
		struct vp_edit e;
		struct eng_site site;

		vp_ledger_edit(&rec->l, i, &e);
		if (tracers ? e.kind != VP_EDIT_SITE : !eng_edit_is_word(&e))
			continue;
		r = eng_site_read(plan->g, &rec->l, &e, &site);
		if (r < 0)
			return diag_set(diag, r, "%s: a site at %#" PRIx64 " is not kernel text",
					rec->l.name, e.gva.v);
		if (site.word == ENG_WORD_OTHER && sibling_has(plan, rec, &site))
			continue;
		if (site.word != ENG_WORD_NEW && !eng_record_live(rec))
			continue; /* others may have the function by now */
		r = check_site(rec->l.name, &site, plan->g, diag);
		if (r == VP_OK && tracers) {
			r = eng_plan_give_back(plan, &rec->l, &site, diag);
		} else if (r == VP_OK && site.word == ENG_WORD_NEW) {
			if (eng_plan_put_back(plan, &site) < 0)
				r = diag_set(diag, VP_E_RANGE, "plan: too many changes");
		}
	}
	return r;
}

static int plan_record(struct eng_plan *plan, const struct guest_record *rec, struct diag *diag)
{
	struct eng_txn *txn = plan->txn;
	int r = VP_OK;

	if (rec->l.state != VP_LEDGER_REVERTING)
		r = eng_txn_add_state(txn, rec->l.self, rec->gpa, rec->l.state,
				      VP_LEDGER_REVERTING);
	if (r == VP_OK)
		r = plan_sites(plan, rec, false, diag);
	if (r == VP_OK)
		r = plan_sites(plan, rec, true, diag);
	if (r == VP_OK)
		r = eng_txn_add_state(txn, rec->l.self, rec->gpa, VP_LEDGER_REVERTING,
				      VP_LEDGER_REVERTED);
	return r;
}

/* The last record of a name, NULL if the ledger never had one. */
static const struct guest_record *known(const struct eng_plan *plan, const char *name)
{
	for (size_t i = plan->arena.n_records; i-- > 0;)
		if (strcmp(plan->arena.records[i].l.name, name) == 0)
			return &plan->arena.records[i];
	return NULL;
}

static void describe(struct eng_plan *plan, const struct guest_record *rec)
{
	struct eng_report *rep = plan->report;

	memcpy(rep->name, rec->l.name, sizeof(rep->name));
	memcpy(rep->version, rec->l.version, sizeof(rep->version));
	memcpy(plan->txn->name, rec->l.name, sizeof(plan->txn->name));
	memcpy(plan->txn->version, rec->l.version, sizeof(plan->txn->version));
	rep->inline_unchecked = rec->l.flags & VP_LEDGER_INLINE_UNCHECKED;
	rep->unsigned_ok = rec->l.flags & VP_LEDGER_UNSIGNED;
	rep->payload = vp_gva(rec->l.self.v + rec->l.payload_off);
	rep->payload_len = rec->l.payload_len;
	rep->arena_free = plan->arena.free;
}

/* A retired record whose payload is called all the same: the guest had taken the site when the change
 * was undone, and has put our word back since. */
static bool redirects(const struct eng_plan *plan, const struct guest_record *rec)
{
	struct eng_look look;

	return eng_record_look(plan->g, rec, &look) == VP_OK && look.n_new > 0;
}

/* What earlier reverts had to leave: marks on the tracer's records of functions that nobody has. */
static int plan_marks(struct eng_plan *plan, const char *name, struct diag *diag)
{
	int r = VP_OK;

	for (size_t i = plan->arena.n_records; r == VP_OK && i-- > 0;) {
		const struct vp_ledger *l = &plan->arena.records[i].l;

		for (uint32_t j = 0; r == VP_OK && j < l->n_edits; j++) {
			struct eng_site site;
			struct vp_edit e;

			vp_ledger_edit(l, j, &e);
			if (strcmp(l->name, name) == 0 && e.kind == VP_EDIT_SITE &&
			    eng_site_read(plan->g, l, &e, &site) == VP_OK &&
			    site.word == ENG_WORD_REST && site.trusted)
				r = eng_plan_give_back(plan, l, &site, diag);
		}
	}
	return r;
}

int eng_plan_revert(struct eng_plan *plan, const char *name, struct diag *diag)
{
	const struct guest_record *last;
	bool any = false;
	int r = eng_plan_begin(plan, ENG_OP_REVERT, diag);

	/* An upgrade that was interrupted and then migrated leaves two records of the name: both go. */
	for (size_t i = 0; r == VP_OK && i < plan->arena.n_records; i++) {
		const struct guest_record *rec = &plan->arena.records[i];

		if (strcmp(rec->l.name, name) != 0 ||
		    (!eng_record_live(rec) && !redirects(plan, rec)))
			continue;
		any = true;
		describe(plan, rec);
		r = plan_record(plan, rec, diag);
	}
	if (r < 0)
		return r;
	if (any)
		return eng_plan_end(plan, diag);
	last = known(plan, name);
	if (!last)
		return diag_set(
			diag, VP_E_NOT_APPLIED,
			"%s: the guest's ledger has no hotfix of that name: vpatch status lists "
			"what it has",
			name);
	describe(plan, last);
	r = plan_marks(plan, name, diag);
	if (r < 0 || plan->txn->n_steps > 0)
		return r < 0 ? r : eng_plan_end(plan, diag);
	eng_txn_destroy(plan->txn);
	plan->txn = NULL;
	return VP_OK;
}
