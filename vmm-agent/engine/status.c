/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the guest's ledger says, held against the guest's bytes. Reads only. */
#include "vmm-agent/engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm-agent/engine/journal.h"
#include "vmm-agent/engine/plan.h"
#include "vmm-agent/engine/vmm.h"

const char *eng_state_name(enum eng_state s)
{
	static const char *const names[] = {
		[ENG_APPLIED] = "applied",   [ENG_REVERTED] = "reverted", [ENG_PARTIAL] = "partial",
		[ENG_SHADOWED] = "shadowed", [ENG_ALTERED] = "altered",
	};

	return (size_t)s < sizeof(names) / sizeof(names[0]) ? names[s] : "unknown";
}

void eng_list_deinit(struct eng_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->hotfixes[i].edits);
	free(l->hotfixes);
	l->hotfixes = NULL;
	l->n = 0;
	guest_arena_deinit(&l->arena);
}

/* A tracer's edit is of the function whose record it lies in; without a name if the tracer's records
 * cannot be read. */
static void name_tracer(struct guest *g, struct eng_hotfix *h, const struct eng_edit *site)
{
	struct guest_tracer tr;

	if (guest_tracer(g, site->edit.gva, NULL, &tr) < 0 || !tr.found)
		return;
	for (uint32_t i = 0; i < h->l.n_edits; i++)
		if (h->edits[i].edit.kind == VP_EDIT_TRACER &&
		    h->edits[i].edit.gva.v == tr.flags_at.v)
			memcpy(h->edits[i].symbol, site->symbol, sizeof(site->symbol));
}

static int fill_edits(struct guest *g, struct eng_hotfix *h)
{
	bool marks = false;

	h->edits = calloc(h->l.n_edits + 1, sizeof(*h->edits));
	if (!h->edits)
		return VP_E_NOMEM;
	for (uint32_t i = 0; i < h->l.n_edits; i++) {
		struct eng_edit *e = &h->edits[i];
		uint8_t rest[VP_EDIT_MAX];
		struct guest_sym sym;
		struct vp_site site;

		vp_ledger_edit(&h->l, i, &e->edit);
		if (e->edit.kind == VP_EDIT_SITE && guest_sym_at(g, e->edit.gva, &sym) == VP_OK)
			snprintf(e->symbol, sizeof(e->symbol), "%.*s", HF_SYMBOL_MAX - 1, sym.name);
		if (e->edit.kind == VP_EDIT_LITERAL &&
		    guest_literal_at(g, e->edit.gva, e->edit.len, &site, rest) && site.name)
			snprintf(e->symbol, sizeof(e->symbol), "%s", site.name);
		marks = marks || e->edit.kind == VP_EDIT_TRACER;
	}
	for (uint32_t i = 0; marks && i < h->l.n_edits; i++)
		if (h->edits[i].edit.kind == VP_EDIT_SITE)
			name_tracer(g, h, &h->edits[i]);
	return VP_OK;
}

static int fill(struct guest *g, const struct guest_record *rec, struct diag *diag,
		struct eng_hotfix *h)
{
	struct eng_look look;
	int r = eng_record_look(g, rec, &look);

	h->l = rec->l;
	if (r == VP_OK)
		r = fill_edits(g, h);
	if (r < 0)
		return diag_set(diag, r, "hotfix %s in the ledger: %s", rec->l.name,
				vp_err_sentence(r));
	h->state = look.state;
	memcpy(h->words, look.words, sizeof(h->words));
	memcpy(h->fixes, rec->l.text, rec->l.text_len);
	for (uint32_t i = 0; i < rec->l.text_len; i++)
		if (h->fixes[i] < 0x20 || h->fixes[i] > 0x7e)
			h->fixes[i] = '?';
	return VP_OK;
}

/* An entry that a living vpatch has open is its business, not ours. */
static int check_pending(struct vp_target *t, struct guest *g, const struct eng_dirs *dirs,
			 struct diag *diag, bool *ret)
{
	const struct vp_identity *id = &vp_target_info(t)->id;
	struct eng_txn *txn = NULL;
	char key[ENG_KEY_MAX];
	int r, fd;

	eng_vmm_key(id, key);
	r = eng_journal_open_entry(dirs->state_dir, key, diag, &txn);
	if (r < 0 || !txn)
		return r == VP_E_PERM ? VP_OK : r; /* somebody who may only look */
	if (eng_vmm_alive(&txn->id, txn->host_boot) &&
	    memcmp(txn->boot_id, guest_info(g)->boot_id, sizeof(txn->boot_id)) == 0 &&
	    eng_lock(dirs->run_dir, id, NULL, &fd) == VP_OK) {
		eng_unlock(dirs->run_dir, id, fd);
		*ret = true;
	}
	eng_txn_destroy(txn);
	return VP_OK;
}

static int verdict(const struct eng_list *list, const char *name, struct diag *diag)
{
	const struct eng_hotfix *worst = NULL;
	bool live = false;

	if (list->pending)
		return diag_set(diag, VP_E_PENDING,
				"an earlier change was interrupted: run vpatch recover");
	for (size_t i = 0; i < list->n; i++) {
		const struct eng_hotfix *h = &list->hotfixes[i];

		live = live || h->state != ENG_REVERTED;
		if (h->state == ENG_PARTIAL || h->state == ENG_ALTERED)
			worst = h;
		else if (h->state == ENG_SHADOWED && !worst)
			worst = h;
	}
	if (worst)
		return eng_state_error(worst->l.name, worst->state, worst->words, diag);
	if (name && !live)
		return diag_set(diag, VP_E_NOT_APPLIED, "%s is not applied", name);
	return VP_OK;
}

static int fill_list(struct guest *g, const char *name, struct diag *diag, struct eng_list *ret)
{
	ret->hotfixes = calloc(ret->arena.n_records + 1, sizeof(*ret->hotfixes));
	if (!ret->hotfixes)
		return diag_set(diag, VP_E_NOMEM, "status: no memory");
	for (size_t i = 0; i < ret->arena.n_records; i++) {
		const struct guest_record *rec = &ret->arena.records[i];
		int r;

		if (name && strcmp(name, rec->l.name) != 0)
			continue;
		r = fill(g, rec, diag, &ret->hotfixes[ret->n++]);
		if (r < 0)
			return r;
	}
	return VP_OK;
}

int eng_status(struct vp_target *t, struct guest *g, const char *name, const struct eng_dirs *dirs,
	       struct diag *diag, struct eng_list *ret)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	r = guest_arena_read(g, diag, &ret->arena);
	if (r == VP_OK && ret->arena.newer)
		r = diag_set(diag, VP_E_VERSION,
			     "the guest's ledger was written by a newer vpatch: use that one");
	if (r == VP_OK)
		r = eng_need_table(g, &ret->arena, GUEST_MAY_HOLD, diag);
	if (r == VP_OK)
		r = fill_list(g, name, diag, ret);
	if (r == VP_OK)
		r = check_pending(t, g, dirs, diag, &ret->pending);
	return r == VP_OK ? verdict(ret, name, diag) : r;
}
