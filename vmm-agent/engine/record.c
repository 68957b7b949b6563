/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/record.h"

#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"

bool eng_record_live(const struct guest_record *rec)
{
	return rec->l.state != VP_LEDGER_REVERTED;
}

/* Puts the resting bytes in the site's place and asks the architecture whether that is the
 * function's own entry, with its site just here. */
static bool rests(struct guest *g, const struct vp_edit *e, const struct guest_sym *sym,
		  struct arch_entry *ret)
{
	const struct arch_ops *arch = guest_info(g)->arch;
	uint8_t head[ENG_ENTRY_BYTES];
	uint64_t off = e->gva.v - sym->addr.v;
	size_t len = sym->size < sizeof(head) ? (size_t)sym->size : sizeof(head);

	if (!vp_fits(off, e->len, len) || guest_read(g, sym->addr, head, len) < 0)
		return false;
	memcpy(head + off, e->rest, e->len);
	return arch->entry(head, len, sym->addr, ret) == VP_OK && ret->site_off == off &&
	       ret->site_len == e->len;
}

static bool leads_to_payload(struct guest *g, const struct vp_ledger *l, const struct vp_edit *e)
{
	struct arch_insn insn;

	return guest_info(g)->arch->decode(e->new, e->len, e->gva, &insn) == VP_OK &&
	       insn.kind == ARCH_INSN_BRANCH && insn.len == e->len &&
	       insn.target.v >= l->self.v + l->payload_off &&
	       insn.target.v - l->self.v - l->payload_off < l->payload_len;
}

/* The site table has the resting bytes too. */
static bool rests_in_table(struct guest *g, const struct vp_edit *e, struct eng_site *ret)
{
	struct vp_site site;

	if (!guest_site_at(g, e->gva, e->len, &site))
		return false;
	if (site.name)
		snprintf(ret->symbol, sizeof(ret->symbol), "%s", site.name);
	/* Idle, since there is no tracer that we know of. */
	ret->entry = (struct arch_entry){.site_len = e->len, .tracer_idle = true};
	ret->trusted = memcmp(e->rest, site.rest + (e->gva.v - site.at.v), e->len) == 0;
	return true;
}

/* Where an edit of this kind lies now. */
static int locate(void *ctx, enum vp_edit_kind kind, vp_gva_t at, size_t len, vp_gpa_t *ret)
{
	int r = VP_E_RANGE;

	if (kind == VP_EDIT_LITERAL)
		r = guest_literal_gpa(ctx, at, len, ret);
	if (r == VP_E_RANGE && kind != VP_EDIT_TRACER)
		r = guest_text_gpa(ctx, at, len, ret);
	/* A literal may lie ahead of the function that loads it, or among the data. */
	if (kind == VP_EDIT_TRACER || (kind == VP_EDIT_LITERAL && r == VP_E_RANGE))
		r = guest_data_gpa(ctx, at, len, ret);
	return r;
}

/* What rests in a literal nobody but the table says. */
static void literal_in_table(struct guest *g, const struct vp_edit *e, struct eng_site *ret)
{
	struct vp_site site;
	uint8_t rest[VP_EDIT_MAX];

	if (!guest_literal_at(g, e->gva, e->len, &site, rest))
		return;
	if (site.name)
		snprintf(ret->symbol, sizeof(ret->symbol), "%s", site.name);
	if (site.kind != VP_SITE_LITERAL)
		ret->owner = site.at;
	ret->owner_len = site.len;
	ret->entry.tracer_idle = true;
	ret->trusted = memcmp(e->rest, rest, e->len) == 0;
}

bool eng_edit_is_word(const struct vp_edit *e)
{
	return e->kind == VP_EDIT_SITE || e->kind == VP_EDIT_LITERAL;
}

int eng_need_table(struct guest *g, const struct guest_arena *arena, unsigned flags,
		   struct diag *diag)
{
	const struct guest_sites *s;

	for (size_t i = 0; i < arena->n_records; i++)
		for (uint32_t j = 0; j < arena->records[i].l.n_edits; j++) {
			struct vp_edit e;
			int r;

			vp_ledger_edit(&arena->records[i].l, j, &e);
			if (e.kind != VP_EDIT_LITERAL)
				continue;
			r = guest_stub(g, flags, diag, &s);
			return r == VP_E_NO_STUB && !eng_record_live(&arena->records[i]) ? VP_OK
											 : r;
		}
	return VP_OK;
}

int eng_site_read(struct guest *g, const struct vp_ledger *l, const struct vp_edit *e,
		  struct eng_site *ret)
{
	struct guest_sym sym;
	int r;

	*ret = (struct eng_site){.e = *e};
	r = locate(g, (enum vp_edit_kind)e->kind, e->gva, e->len, &ret->e.gpa);
	if (r == VP_OK)
		r = guest_read(g, e->gva, ret->e.old, e->len);
	if (r < 0)
		return r;
	snprintf(ret->symbol, sizeof(ret->symbol), "%#llx", (unsigned long long)e->gva.v);
	if (e->kind == VP_EDIT_LITERAL)
		literal_in_table(g, e, ret);
	else if (!rests_in_table(g, e, ret) && guest_sym_at(g, e->gva, &sym) == VP_OK) {
		snprintf(ret->symbol, sizeof(ret->symbol), "%.*s", HF_SYMBOL_MAX - 1, sym.name);
		ret->trusted = rests(g, e, &sym, &ret->entry) && leads_to_payload(g, l, e);
	}
	ret->word = memcmp(ret->e.old, e->new, e->len) == 0    ? ENG_WORD_NEW
		    : memcmp(ret->e.old, e->rest, e->len) == 0 ? ENG_WORD_REST
							       : ENG_WORD_OTHER;
	return VP_OK;
}

/* A branch, a call or a trap where our branch was: the guest's own patcher put it there. */
static void look_other(struct guest *g, const struct eng_site *site, struct eng_look *look)
{
	struct arch_insn insn;
	char who[128] = "";
	bool patched = site->e.kind == VP_EDIT_SITE &&
		       guest_info(g)->arch->decode(site->e.old, site->e.len, site->e.gva, &insn) ==
			       VP_OK &&
		       (insn.kind == ARCH_INSN_BRANCH || insn.kind == ARCH_INSN_CALL ||
			insn.kind == ARCH_INSN_TRAP);

	if (site->e.kind == VP_EDIT_SITE)
		guest_site_who(g, site->e.gva, site->e.old, site->e.len, who, sizeof(who));
	if (look->state != ENG_ALTERED)
		look->state = patched ? ENG_SHADOWED : ENG_ALTERED;
	snprintf(look->words, sizeof(look->words), "%.80s holds %.120s", site->symbol,
		 who[0] ? who : "bytes that nobody here wrote");
}

/* The word is ours; does the guest's tracer believe that it has the function? */
static int look_tracer(struct guest *g, const struct eng_site *site, struct eng_look *look)
{
	struct guest_tracer tr;
	int r;

	if (look->state == ENG_ALTERED)
		return VP_OK; /* there is worse already */
	if (site->trusted && !site->entry.shared && !site->entry.tracer_idle) {
		look->state = ENG_SHADOWED;
		snprintf(look->words, sizeof(look->words),
			 "the guest's tracer has taken %.80s since", site->symbol);
		return VP_OK;
	}
	r = guest_tracer(g, site->e.gva, NULL, &tr);
	if (r < 0 || !tr.found || tr.idle)
		return r;
	look->state = ENG_SHADOWED;
	snprintf(look->words, sizeof(look->words), "%.100s has taken %.80s since",
		 tr.who[0] ? tr.who : "the guest's tracer", site->symbol);
	return VP_OK;
}

static void judge(uint64_t state, struct eng_look *look)
{
	/* First: other words at a site may be those of this hotfix's other version. */
	if (state == VP_LEDGER_APPLYING || state == VP_LEDGER_REVERTING) {
		look->state = ENG_PARTIAL;
		snprintf(look->words, sizeof(look->words),
			 "a change was interrupted (%s): %u of %u sites are redirected",
			 vp_ledger_state_name(state), look->n_new,
			 look->n_new + look->n_rest + look->n_other);
	} else if (look->state != ENG_ALTERED && look->n_rest > 0) {
		look->state = ENG_PARTIAL;
		snprintf(look->words, sizeof(look->words),
			 "the ledger says applied, but %u of %u sites are not redirected",
			 look->n_rest, look->n_new + look->n_rest + look->n_other);
	}
}

int eng_record_look(struct guest *g, const struct guest_record *rec, struct eng_look *ret)
{
	*ret = (struct eng_look){.state = ENG_APPLIED};
	for (uint32_t i = 0; i < rec->l.n_edits; i++) {
		struct vp_edit e;
		struct eng_site site;
		int r;

		vp_ledger_edit(&rec->l, i, &e);
		if (!eng_edit_is_word(&e))
			continue;
		r = eng_site_read(g, &rec->l, &e, &site);
		if (r < 0)
			return r;
		ret->n_new += site.word == ENG_WORD_NEW;
		ret->n_rest += site.word == ENG_WORD_REST;
		ret->n_other += site.word == ENG_WORD_OTHER;
		if (!eng_record_live(rec))
			continue; /* others may have the function by now */
		if (site.word == ENG_WORD_OTHER)
			look_other(g, &site, ret);
		else if (site.word == ENG_WORD_NEW && e.kind == VP_EDIT_SITE)
			r = look_tracer(g, &site, ret);
		if (r < 0)
			return r;
	}
	if (eng_record_live(rec)) {
		judge(rec->l.state, ret);
	} else if (ret->n_new > 0) {
		ret->state = ENG_PARTIAL;
		snprintf(ret->words, sizeof(ret->words),
			 "the ledger says reverted, but %u sites are redirected", ret->n_new);
	} else {
		ret->state = ENG_REVERTED;
	}
	return VP_OK;
}

static int view_held(void *ctx, struct vp_paused *p, vp_gva_t *pcs, struct diag *diag)
{
	return guest_check_held(ctx, p, pcs, diag);
}

static int view_outside(void *ctx, struct vp_paused *p, const struct guest_span *spans, size_t n,
			struct diag *diag)
{
	return guest_check_outside(ctx, p, spans, n, diag);
}

static int view_table(void *ctx, struct diag *diag)
{
	return guest_check_table(ctx, diag);
}

struct eng_view eng_view_of(struct guest *g)
{
	return (struct eng_view){.held = view_held,
				 .locate = locate,
				 .table = view_table,
				 .outside = view_outside,
				 .ctx = g};
}
