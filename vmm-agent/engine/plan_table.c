// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One site of an apply that the guest's site table names: a place that a hotfix asks for by name, or a
 * function of a guest that is not Linux. The table says where, and what rests there; the walk and the
 * bytes say whether that is so.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm-agent/engine/plan_apply.h"

/* The edit of a record at this place. */
static bool record_edit(const struct guest_record *rec, const struct vp_edit *at,
			struct vp_edit *ret)
{
	for (uint32_t i = 0; i < rec->l.n_edits; i++) {
		vp_ledger_edit(&rec->l, i, ret);
		if (ret->kind == at->kind && ret->gva.v == at->gva.v && ret->len == at->len)
			return true;
	}
	return false;
}

static int check_taken(struct eng_apply_plan *a, const struct vp_site *site)
{
	const struct guest_arena *arena = &a->plan->arena;

	for (size_t i = 0; i < arena->n_records; i++) {
		const struct guest_record *rec = &arena->records[i];

		if (rec == a->cur || !eng_record_live(rec))
			continue;
		for (uint32_t j = 0; j < rec->l.n_edits; j++) {
			struct vp_edit e;

			vp_ledger_edit(&rec->l, j, &e);
			if (e.kind == VP_EDIT_SITE && e.gva.v - site->at.v < site->len)
				return diag_set(
					a->diag, VP_E_SITE_TAKEN,
					"site %s is taken by hotfix %s %s already: revert that "
					"first",
					site->name, rec->l.name, rec->l.version);
		}
	}
	return VP_OK;
}

static int refuse(struct eng_apply_plan *a, const struct vp_site *site, const char *why)
{
	return diag_set(a->diag, VP_E_NO_SITE, "site %s at %#" PRIx64 " %s", site->name, site->at.v,
			why);
}

/* Whether the site is one of what is asked for. */
static int check_kind(struct eng_apply_plan *a, const struct hf_replace *want,
		      const struct vp_site *site, unsigned insn_len)
{
	if (site->kind == VP_SITE_LITERAL)
		return refuse(a, site, "is a data word, which a hotfix cannot name yet");
	if (want->how == HF_REPLACE && site->kind != VP_SITE_FUNCTION)
		return refuse(a, site, "is no function: say VPATCH_SITE_CALL or another of them");
	if (site->kind == VP_SITE_FUNCTION && want->how != HF_REPLACE && want->how != HF_SITE_JUMP)
		return refuse(a, site, "is a function's entry: say VPATCH_REPLACE");
	if (site->kind == VP_SITE_FUNCTION && guest_info(a->plan->g)->is_linux)
		return refuse(a, site,
			      "is a function of Linux: say VPATCH_REPLACE and the "
			      "function's symbol");
	if (want->how == HF_SITE_WORD && want->word_len != site->len)
		return refuse(a, site, "is of another length than the word for it");
	if (want->how != HF_SITE_WORD && want->how != HF_SITE_NOP &&
	    (site->kind == VP_SITE_FUNCTION ? site->len < insn_len : site->len != insn_len))
		return refuse(a, site, "has not the length of a branch");
	if (site->kind != VP_SITE_FUNCTION && site->len > VP_EDIT_MAX)
		return refuse(a, site, "is longer than one word");
	return VP_OK;
}

static int check_bytes(struct eng_apply_plan *a, struct eng_func *f, const struct vp_site *site)
{
	uint8_t now[VP_EDIT_MAX];
	struct vp_edit mine;
	char who[128] = "";
	int r = guest_text_gpa(a->plan->g, f->site.gva, f->site.len, &f->site.gpa);

	if (r == VP_OK)
		r = vp_read(a->plan->t, f->site.gpa, now, f->site.len);
	if (r < 0)
		return diag_set(a->diag, r, "site %s at %#" PRIx64 ": %s", site->name,
				f->site.gva.v, vp_err_sentence(r));
	memcpy(f->site.rest, site->rest, f->site.len);
	memcpy(f->site.old, site->rest, f->site.len);
	if (a->cur && record_edit(a->cur, &f->site, &mine))
		memcpy(f->site.old, mine.new, f->site.len);
	if (memcmp(now, f->site.old, f->site.len) == 0)
		return VP_OK;
	guest_site_who(a->plan->g, f->site.gva, now, f->site.len, who, sizeof(who));
	return diag_set(a->diag, site->flags & VP_SITE_SHARED ? VP_E_SITE_TRACED : VP_E_SITE_BYTES,
			"site %s at %#" PRIx64 " does not hold what the site table says, but %s",
			site->name, f->site.gva.v, who);
}

int eng_plan_table(struct eng_apply_plan *a, const struct hf_replace *want)
{
	struct eng_func *f = &a->funcs[a->n_funcs];
	uint8_t branch[ARCH_INSN_MAX];
	struct vp_site site;
	unsigned len;
	int r = guest_site(a->plan->g, want->symbol, a->opts->dry_run ? 0 : GUEST_MAY_HOLD, a->diag,
			   &site);

	if (r == VP_OK)
		r = a->arch->branch(branch, site.at, site.at, &len);
	if (r == VP_OK)
		r = check_kind(a, want, &site, len);
	if (r == VP_OK)
		r = check_taken(a, &site);
	if (r < 0)
		return r;
	f->want = want;
	f->addr = site.at;
	f->size = site.len;
	for (size_t i = 0; i < a->n_funcs; i++)
		if (a->funcs[i].addr.v == f->addr.v)
			return diag_set(a->diag, VP_E_BUNDLE, "%s changes site %s twice",
					a->info->name, want->symbol);
	f->site = (struct vp_edit){
		.gva = site.at,
		.kind = VP_EDIT_SITE,
		.discipline = VP_DISCIPLINE_STOP,
		.len = (uint8_t)(site.kind == VP_SITE_FUNCTION ? len : site.len),
	};
	f->marks = false;
	r = check_bytes(a, f, &site);
	a->n_funcs += r == VP_OK;
	return r;
}
