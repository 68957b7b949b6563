// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One site of an apply that the guest's site table names: a place that a hotfix asks for by name, or a
 * function of a guest that is not Linux. The table says where, and what rests there; the walk and the
 * bytes say whether that is so.
 *
 *	site with a literal   its dispatcher's literal leads to the payload, and one word of the site calls
 *	                      the dispatcher: VPATCH_REPLACE of a function, VPATCH_SITE_CALL of the others
 *	LITERAL               the word itself gets the address of the payload: VPATCH_SITE_CALL
 *	any other             one word, which leads to the payload itself
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/engine/plan_apply.h"

#define RESTS_AT_ZERO \
	"has a literal that rests at 0, where a CPU inside its dispatcher would go after a revert"

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
			if (eng_edit_is_word(&e) &&
			    (e.gva.v - site->at.v < site->len ||
			     (site->literal.v != 0 && e.gva.v == site->literal.v)))
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

static unsigned pointer_len(const struct eng_apply_plan *a)
{
	return a->arch->id == ARCH_THUMB2 ? 4 : 8;
}

static int check_literal(struct eng_apply_plan *a, const struct hf_replace *want,
			 const struct vp_site *site)
{
	static const uint8_t none[VP_SITE_MAX];

	if (want->how != HF_SITE_CALL && want->how != HF_SITE_WORD)
		return refuse(a, site, "is a data word: say VPATCH_SITE_CALL or VPATCH_SITE_WORD");
	if (want->how == HF_SITE_CALL && site->len != pointer_len(a))
		return refuse(a, site, "is a data word, and too short for an address");
	if (want->how == HF_SITE_WORD && want->word_len != site->len)
		return refuse(a, site, "is of another length than the word for it");
	if (site->dispatcher != VP_SITE_NO_DISPATCHER && memcmp(site->rest, none, site->len) == 0)
		return refuse(a, site, RESTS_AT_ZERO);
	if (a->info->consistency == HF_QUIESCE)
		return refuse(a, site,
			      "is a data word, and nobody knows who is inside of what it leads to: "
			      "say VPATCH_CONSISTENCY_ENTRY");
	return VP_OK;
}

/* Whether the site is one of what is asked for. */
static int check_kind(struct eng_apply_plan *a, const struct hf_replace *want,
		      const struct vp_site *site, unsigned insn_len)
{
	if (site->kind == VP_SITE_LITERAL)
		return check_literal(a, want, site);
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

/* The edit has its place and what rests there; this is where it lies and what it holds. */
static int check_bytes(struct eng_apply_plan *a, struct vp_edit *e, const struct vp_site *site)
{
	bool text = e->kind == VP_EDIT_SITE;
	uint8_t now[VP_EDIT_MAX];
	struct vp_edit mine;
	char who[128] = "something else";
	int r = text ? guest_text_gpa(a->plan->g, e->gva, e->len, &e->gpa)
		     : guest_literal_gpa(a->plan->g, e->gva, e->len, &e->gpa);

	if (r == VP_OK)
		r = vp_read(a->plan->t, e->gpa, now, e->len);
	if (r < 0)
		return diag_set(a->diag, r, "site %s: %s at %#" PRIx64 ": %s", site->name,
				text ? "text" : "its literal", e->gva.v, vp_err_sentence(r));
	memcpy(e->old, e->rest, e->len);
	if (a->cur && record_edit(a->cur, e, &mine))
		memcpy(e->old, mine.new, e->len);
	if (memcmp(now, e->old, e->len) == 0)
		return VP_OK;
	if (text)
		guest_site_who(a->plan->g, e->gva, now, e->len, who, sizeof(who));
	return diag_set(
		a->diag, text && site->flags & VP_SITE_SHARED ? VP_E_SITE_TRACED : VP_E_SITE_BYTES,
		"site %s: %s at %#" PRIx64 " does not hold what the site table says, but %s",
		site->name, text ? "text" : "its literal", e->gva.v, who);
}

/* --- sites whose dispatcher loads a literal ------------------------------------------------------- */

static bool by_literal(const struct hf_replace *want, const struct vp_site *site)
{
	return site->literal.v != 0 &&
	       (want->how == HF_REPLACE ||
		(want->how == HF_SITE_CALL && site->kind != VP_SITE_FUNCTION));
}

/* Where in its site the word lies that calls the dispatcher, by sequence; less than 0: there is none. */
static int word_off(const struct vp_site *site)
{
	switch (site->kind == VP_SITE_FUNCTION ? site->sequence : VP_SEQ_NONE) {
	case VP_SEQ_NONE:
	case VP_SEQ_RISCV_OPS_B:
	case VP_SEQ_RISCV_OPS_C:
	case VP_SEQ_THUMB_WIDE:
	case VP_SEQ_PPC64_NOP:
		return 0;
	case VP_SEQ_ARM64_TWO:
	case VP_SEQ_ARM64_THREE:
	case VP_SEQ_RISCV_OPS_A:
	case VP_SEQ_PPC64_MFLR:
		return 4;
	case VP_SEQ_ARM64_FOUR:
		return 8;
	default: /* two instructions would change */
		return -1;
	}
}

/* The site's word that calls the dispatcher, into f->site.new. */
static int make_call(struct eng_apply_plan *a, const struct vp_site *site, vp_gva_t to,
		     struct vp_edit *e)
{
	unsigned len = e->len;
	int r;

	if (site->kind == VP_SITE_FUNCTION && site->sequence == VP_SEQ_RISCV_OPS_A)
		return a->arch->dispatch_behind(e->new, site->rest, e->gva, to);
	if (site->kind == VP_SITE_FUNCTION)
		r = a->arch->dispatch(e->new, e->gva, to, &len);
	else
		r = site->kind == VP_SITE_JUMP ? a->arch->branch(e->new, e->gva, to, &len)
					       : a->arch->call(e->new, e->gva, to, &len);
	return r == VP_OK && len != e->len ? VP_E_RANGE : r;
}

static int plan_literal(struct eng_apply_plan *a, struct eng_func *f, const struct vp_site *site)
{
	struct vp_edit lit = {.gva = site->literal,
			      .kind = VP_EDIT_LITERAL,
			      .discipline = VP_DISCIPLINE_STOP,
			      .len = (uint8_t)pointer_len(a)};
	struct vp_dispatcher d;
	int off = word_off(site), r;

	r = vp_sites_dispatcher(guest_sites_table(a->plan->g), site->dispatcher, &d);
	if (r < 0)
		return refuse(a, site, "has no dispatcher");
	if (d.kind != VP_DISPATCHER_POINTER)
		return refuse(a, site,
			      "has a dispatcher that wants a structure of the guest's tracer, "
			      "which a hotfix cannot give it");
	if (site->literal_rest == 0)
		return refuse(a, site, RESTS_AT_ZERO);
	if (off < 0)
		return refuse(a, site, "needs more than one instruction to call its dispatcher");
	for (unsigned i = 0; i < lit.len; i++)
		lit.rest[i] = (uint8_t)(site->literal_rest >> 8 * i);
	f->site.gva.v += (unsigned)off;
	f->site.len = (uint8_t)(site->kind == VP_SITE_FUNCTION ? 4 : site->len);
	memcpy(f->site.rest, site->rest + off, f->site.len);
	r = make_call(a, site, d.at, &f->site);
	if (r < 0)
		return diag_set(a->diag, r, "site %s at %#" PRIx64 ": a call of its dispatcher: %s",
				site->name, site->at.v, vp_err_sentence(r));
	r = check_bytes(a, &lit, site);
	if (r == VP_OK)
		r = check_bytes(a, &f->site, site);
	/* It calls its dispatcher at rest. */
	if (r == VP_OK && memcmp(f->site.rest, f->site.new, f->site.len) == 0)
		f->site = lit;
	else
		f->literal = lit;
	return r;
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
	*f = (struct eng_func){.want = want};
	f->addr = site.at;
	f->size = site.len;
	for (size_t i = 0; i < a->n_funcs; i++)
		if (a->funcs[i].addr.v == f->addr.v)
			return diag_set(a->diag, VP_E_BUNDLE, "%s changes site %s twice",
					a->info->name, want->symbol);
	f->site = (struct vp_edit){
		.gva = site.at,
		.kind = site.kind == VP_SITE_LITERAL ? VP_EDIT_LITERAL : VP_EDIT_SITE,
		.discipline = VP_DISCIPLINE_STOP,
		.len = (uint8_t)(site.kind == VP_SITE_FUNCTION ? len : site.len),
	};
	if (by_literal(want, &site)) {
		r = plan_literal(a, f, &site);
	} else {
		memcpy(f->site.rest, site.rest, f->site.len);
		r = check_bytes(a, &f->site, &site);
	}
	a->n_funcs += r == VP_OK;
	return r;
}
