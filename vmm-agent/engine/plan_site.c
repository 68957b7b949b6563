/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One function of an apply: its symbol, who has it, its entry bytes, the tracer's record of it. */
#include "vmm-agent/engine/plan_apply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"

/* Bytes of a function that its patchable entry may lie in; what follows is the next function's. */
static size_t entry_len(const struct guest_sym *sym)
{
	return sym->size < ENG_ENTRY_BYTES ? (size_t)sym->size : ENG_ENTRY_BYTES;
}

/* The edit of a record that lies at the start of a function. */
static bool record_site(const struct guest_record *rec, const struct guest_sym *sym,
			struct vp_edit *ret)
{
	for (uint32_t i = 0; i < rec->l.n_edits; i++) {
		vp_ledger_edit(&rec->l, i, ret);
		if (ret->kind == VP_EDIT_SITE && ret->gva.v >= sym->addr.v &&
		    vp_fits(ret->gva.v - sym->addr.v, ret->len, entry_len(sym)))
			return true;
	}
	return false;
}

static int check_taken(struct eng_apply_plan *a, const struct eng_func *f,
		       const struct guest_sym *sym)
{
	const struct guest_arena *arena = &a->plan->arena;

	for (size_t i = 0; i < arena->n_records; i++) {
		const struct guest_record *rec = &arena->records[i];
		struct vp_edit e;

		if (rec != a->cur && eng_record_live(rec) && record_site(rec, sym, &e))
			return diag_set(a->diag, VP_E_SITE_TAKEN,
					"%s is replaced by hotfix %s %s already: revert that first",
					f->want->symbol, rec->l.name, rec->l.version);
	}
	return VP_OK;
}

struct clone_check {
	const char *listed;
	char missing[HF_SYMBOL_MAX];
};

static bool in_list(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; p && (p = strstr(p, name)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

static int clone_seen(void *ctx, const struct guest_sym *sym)
{
	struct clone_check *check = ctx;

	if (in_list(check->listed, sym->name))
		return 0;
	snprintf(check->missing, sizeof(check->missing), "%.*s", HF_SYMBOL_MAX - 1, sym->name);
	return 1;
}

static int check_clones(struct eng_apply_plan *a, const struct eng_func *f)
{
	struct clone_check check = {.listed = f->want->clones};
	int r = guest_sym_clones(a->plan->g, f->want->symbol, clone_seen, &check);

	if (r < 0)
		return diag_set(a->diag, r, "%s: %s", f->want->symbol, vp_err_sentence(r));
	if (r > 0)
		return diag_set(
			a->diag, VP_E_CLONES,
			"the kernel has a clone %s of %s that the hotfix does not replace: list it "
			"with VPATCH_CLONES if its callers may keep the old code",
			check.missing, f->want->symbol);
	return VP_OK;
}

static int entry_error(struct eng_apply_plan *a, const struct eng_func *f, int r,
		       const uint8_t *head, size_t len)
{
	char who[128] = "";

	guest_site_who(a->plan->g, f->addr, head, len, who, sizeof(who));
	if (r == VP_E_SITE_TRACED)
		return diag_set(a->diag, r, "%s is taken by the guest itself, %s: end that first",
				f->want->symbol,
				who[0] ? who : "its bytes are not the resting ones");
	return diag_set(
		a->diag, r,
		"%s at %#" PRIx64
		" does not begin with a patchable entry%s%s: functions marked notrace cannot be "
		"replaced",
		f->want->symbol, f->addr.v, who[0] ? ", it holds " : "", who);
}

/* Finds the site in what rests at the function's start: its bytes now, or, under the hotfix that
 * is being replaced, the bytes that were there before it. */
static int find_site(struct eng_apply_plan *a, struct eng_func *f, const struct guest_sym *sym)
{
	uint8_t head[ENG_ENTRY_BYTES], now[VP_EDIT_MAX];
	size_t len = entry_len(sym);
	struct arch_entry entry = {0};
	struct vp_edit mine;
	bool ours = a->cur && record_site(a->cur, sym, &mine);
	int r = guest_read(a->plan->g, f->addr, head, len);

	if (r == VP_OK && ours)
		memcpy(head + (mine.gva.v - f->addr.v), mine.rest, mine.len);
	if (r == VP_OK)
		r = a->arch->entry(head, len, f->addr, &entry);
	if (r < 0)
		return entry_error(a, f, r, head, len);
	f->site = (struct vp_edit){
		.gva = vp_gva(f->addr.v + entry.site_off),
		.kind = VP_EDIT_SITE,
		.discipline = VP_DISCIPLINE_STOP,
		.len = (uint8_t)entry.site_len,
	};
	if (entry.site_len > VP_EDIT_MAX || !vp_fits(entry.site_off, entry.site_len, len))
		return diag_set(a->diag, VP_E_INTERNAL, "%s: a site of %u bytes", f->want->symbol,
				entry.site_len);
	r = guest_text_gpa(a->plan->g, f->site.gva, f->site.len, &f->site.gpa);
	if (r == VP_OK)
		r = guest_read(a->plan->g, f->site.gva, now, f->site.len);
	if (r < 0)
		return diag_set(a->diag, r, "%s at %#" PRIx64 ": %s", f->want->symbol, f->addr.v,
				vp_err_sentence(r));
	memcpy(f->site.rest, head + entry.site_off, f->site.len);
	memcpy(f->site.old, ours ? mine.new : f->site.rest, f->site.len);
	if (memcmp(now, f->site.old, f->site.len) != 0 || (ours && mine.gva.v != f->site.gva.v))
		return diag_set(a->diag, VP_E_SITE_BYTES,
				"%s at %#" PRIx64 " holds other bytes than a moment ago: try again",
				f->want->symbol, f->site.gva.v);
	if (!entry.shared && !entry.tracer_idle)
		return diag_set(a->diag, VP_E_SITE_TRACED,
				"the guest's tracer is at %s: end that first", f->want->symbol);
	f->marks = entry.shared;
	return VP_OK;
}

/* The mark on a tracer's record is ours if a record of the ledger has set it: the one that is
 * replaced, or one whose revert had to leave it. */
static bool mark_is_ours(struct eng_apply_plan *a, const struct guest_tracer *tr, uint8_t *rest)
{
	const struct guest_arena *arena = &a->plan->arena;

	for (size_t i = arena->n_records; i-- > 0;) {
		const struct guest_record *rec = &arena->records[i];

		for (uint32_t j = 0; j < rec->l.n_edits; j++) {
			struct vp_edit e;

			vp_ledger_edit(&rec->l, j, &e);
			if (e.kind != VP_EDIT_TRACER || e.gva.v != tr->flags_at.v || e.len != 8 ||
			    vp_ld64(e.new) != tr->flags)
				continue;
			memcpy(rest, e.rest, 8);
			return true;
		}
	}
	return false;
}

static int find_tracer(struct eng_apply_plan *a, struct eng_func *f)
{
	struct guest_tracer tr;
	int r = guest_tracer(a->plan->g, f->site.gva, a->diag, &tr);

	if (r < 0)
		return r;
	if (!tr.found && !f->marks)
		return VP_OK;
	if (!tr.found && tr.readable)
		return diag_set(
			a->diag, VP_E_NO_SITE,
			"%s begins with a nop, but it is none of the guest tracer's: no patchable "
			"entry; functions marked notrace cannot be replaced",
			f->want->symbol);
	if (!tr.found)
		return diag_set(
			a->diag, VP_E_UNSUPPORTED,
			"the guest tracer's record of %s cannot be found, and the tracer would "
			"overwrite the site one day: this kernel (no BTF or no kallsyms of data?) "
			"cannot be patched",
			f->want->symbol);
	if (!tr.idle)
		return diag_set(a->diag, VP_E_SITE_TRACED,
				"%s is traced by %s: end that in the guest first", f->want->symbol,
				tr.who[0] ? tr.who : "the guest");
	if (!f->marks)
		return VP_OK;
	f->tracer = (struct vp_edit){
		.gva = tr.flags_at,
		.gpa = tr.flags_gpa,
		.kind = VP_EDIT_TRACER,
		.discipline = VP_DISCIPLINE_STOP,
		.len = 8,
	};
	vp_st64(f->tracer.old, tr.flags);
	vp_st64(f->tracer.new, tr.flags_taken);
	vp_st64(f->tracer.rest, tr.flags);
	if (tr.taken && !mark_is_ours(a, &tr, f->tracer.rest))
		return diag_set(
			a->diag, VP_E_SITE_TRACED,
			"the guest tracer's record of %s is marked as taken, and not by vpatch: "
			"whatever did that has to go first",
			f->want->symbol);
	return VP_OK;
}

int eng_plan_func(struct eng_apply_plan *a, const struct hf_replace *want)
{
	struct eng_func *f = &a->funcs[a->n_funcs];
	struct guest_sym sym;
	int r;

	if (want->how != HF_REPLACE || !guest_info(a->plan->g)->is_linux)
		return eng_plan_table(a, want);
	f->want = want;
	r = guest_sym(a->plan->g, want->symbol, want->sympos, a->diag, &sym);
	if (r < 0)
		return r;
	if (sym.type != 't' && sym.type != 'T' && sym.type != 'w' && sym.type != 'W')
		return diag_set(a->diag, VP_E_NO_SITE, "%s is not a function in the guest kernel",
				want->symbol);
	f->addr = sym.addr;
	f->size = sym.size;
	for (size_t i = 0; i < a->n_funcs; i++)
		if (a->funcs[i].addr.v == f->addr.v)
			return diag_set(a->diag, VP_E_BUNDLE,
					"%s replaces %s and %s, which are one function",
					a->info->name, a->funcs[i].want->symbol, want->symbol);
	r = check_taken(a, f, &sym);
	if (r == VP_OK)
		r = check_clones(a, f);
	if (r == VP_OK)
		r = find_site(a, f, &sym);
	if (r == VP_OK)
		r = find_tracer(a, f);
	a->n_funcs += r == VP_OK;
	return r;
}
