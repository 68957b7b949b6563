/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The payload of an apply: linked, wrapped in its ledger record, and given a place in the arena. */
#include "vmm-agent/engine/plan_apply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"

/* Filler left behind a record, so that the search for caves still tells it from what follows. */
#define GAP VP_LEDGER_ALIGN

static int resolve(void *ctx, const char *name, unsigned sympos, struct diag *diag, vp_gva_t *ret)
{
	struct guest_sym sym;
	int r = guest_sym(ctx, name, sympos, diag, &sym);

	return r == VP_OK ? guest_call_target(ctx, &sym, diag, ret) : r;
}

/* What a dispatcher branches to. */
static int make_literal(struct eng_apply_plan *a, vp_gva_t to, uint8_t *buf, unsigned len)
{
	uint8_t word[8];

	if (a->arch->id == ARCH_THUMB2)
		to.v |= 1; /* a branch to a register's value goes by bit 0: ARMv7-M ARM, A7.7.20 BX */
	if (len < sizeof(word) && to.v >> 8 * len != 0)
		return VP_E_REACH;
	vp_st64(word, to.v);
	memcpy(buf, word, len);
	return VP_OK;
}

/* What is put at a site, of the site's length; to is the function in the payload that it leads to. */
static int make_word(struct eng_apply_plan *a, const struct eng_func *f, vp_gva_t to, uint8_t *buf)
{
	unsigned len = f->site.len;
	int r = VP_OK;

	if (f->literal.len > 0) {
		memcpy(buf, f->site.new, len);
		return VP_OK;
	}
	if (f->site.kind == VP_EDIT_LITERAL && f->want->how != HF_SITE_WORD)
		return make_literal(a, to, buf, len);
	switch (f->want->how) {
	case HF_REPLACE:
	case HF_SITE_JUMP:
		r = a->arch->branch(buf, f->site.gva, to, &len);
		break;
	case HF_SITE_CALL:
		r = a->arch->call(buf, f->site.gva, to, &len);
		break;
	case HF_SITE_NOP:
		r = a->arch->nop(buf, len);
		break;
	case HF_SITE_WORD:
		memcpy(buf, f->want->word, len);
		break;
	}
	return r == VP_OK && len != f->site.len ? VP_E_INTERNAL : r;
}

/* The edits as the ledger keeps them, in the order in which they are stored. */
static int make_edits(struct eng_apply_plan *a, vp_gva_t base, const struct hf_image *img)
{
	a->n_edits = 0;
	for (size_t i = 0; i < a->n_funcs; i++) {
		if (!a->funcs[i].marks)
			continue;
		a->paired[a->n_edits] = false;
		a->symbols[a->n_edits] = a->funcs[i].want->symbol;
		a->edits[a->n_edits++] = a->funcs[i].tracer;
	}
	for (size_t i = 0; i < a->n_funcs; i++) {
		struct vp_edit *e = &a->edits[a->n_edits];
		vp_gva_t to = vp_gva(base.v + img->entry[i]);
		uint8_t word[ARCH_INSN_MAX];
		int r = VP_E_INTERNAL;

		*e = a->funcs[i].site;
		if (!hf_leads(a->funcs[i].want) || img->entry[i] < img->len)
			r = make_word(a, &a->funcs[i], to, word);
		if (r < 0)
			return diag_set(a->diag, r,
					"the branch from %s at %#" PRIx64
					" to the payload at %#" PRIx64 ": %s",
					a->funcs[i].want->symbol, e->gva.v, to.v,
					vp_err_sentence(r));
		memcpy(e->new, word, e->len);
		a->paired[a->n_edits] = false;
		a->symbols[a->n_edits++] = a->funcs[i].want->symbol;
		if (a->funcs[i].literal.len == 0)
			continue;
		e = &a->edits[a->n_edits];
		*e = a->funcs[i].literal;
		r = make_literal(a, to, e->new, e->len);
		if (r < 0)
			return diag_set(a->diag, r, "the literal of %s at %#" PRIx64 ": %s",
					a->funcs[i].want->symbol, e->gva.v, vp_err_sentence(r));
		a->paired[a->n_edits] = true;
		a->symbols[a->n_edits++] = a->funcs[i].want->symbol;
	}
	return VP_OK;
}

static uint32_t text_len(const struct eng_apply_plan *a)
{
	size_t n = strlen(a->info->fixes);

	return n < VP_LEDGER_TEXT_MAX ? (uint32_t)n : VP_LEDGER_TEXT_MAX;
}

static uint32_t edit_count(const struct eng_apply_plan *a)
{
	uint32_t n = 0;

	for (size_t i = 0; i < a->n_funcs; i++)
		n += 1 + a->funcs[i].marks + (a->funcs[i].literal.len > 0);
	return n;
}

/* Whatever the guest's arena has. */
static int too_large(struct eng_apply_plan *a, uint32_t len)
{
	return diag_set(a->diag, VP_E_ARENA_FULL,
			"%s has a payload of %" PRIu32 " bytes and a hotfix may have %u: make it "
			"smaller, or split it into several hotfixes",
			a->info->name, len, VP_LEDGER_SIZE_MAX / 2);
}

/* Links for a record at self and writes the whole record into *buf_ret (malloc'ed). */
static int make_record(struct eng_apply_plan *a, vp_gva_t self, uint64_t seq, uint8_t **buf_ret,
		       struct vp_ledger *ret)
{
	struct vp_ledger l = {
		.self = self,
		.state = VP_LEDGER_APPLYING,
		.seq = seq,
		.flags = (a->info->inline_checked ? 0u : VP_LEDGER_INLINE_UNCHECKED) |
			 (a->opts->unsigned_ok ? VP_LEDGER_UNSIGNED : 0u),
		.n_edits = edit_count(a),
		.text_len = text_len(a),
		.text = a->info->fixes,
	};
	struct hf_image img = {0};
	uint8_t *buf = NULL;
	int r;

	if (vp_ledger_size(l.n_edits, l.text_len, hf_image_size(a->bundle), &l.payload_off) == 0)
		return too_large(a, hf_image_size(a->bundle));
	r = hf_link(a->bundle, vp_gva(self.v + l.payload_off), resolve, a->plan->g, a->diag, &img);
	if (r < 0)
		return r;
	r = make_edits(a, vp_gva(self.v + l.payload_off), &img);
	l.payload_len = img.len;
	l.size = vp_ledger_size(l.n_edits, l.text_len, l.payload_len, &l.payload_off);
	memcpy(l.id, a->info->id, sizeof(l.id));
	snprintf(l.name, sizeof(l.name), "%s", a->info->name);
	snprintf(l.version, sizeof(l.version), "%s", a->info->version);
	if (r == VP_OK)
		buf = l.size ? calloc(1, l.size) : NULL;
	if (r == VP_OK && !buf)
		r = l.size ? diag_set(a->diag, VP_E_NOMEM, "%s: no memory for its payload",
				      a->info->name)
			   : too_large(a, img.len);
	if (r == VP_OK) {
		memcpy(buf + l.payload_off, img.bytes, img.len);
		r = vp_ledger_encode(buf, l.size, &l, a->edits);
		if (r < 0)
			diag_set(a->diag, r, "%s: its name or version does not fit the ledger",
				 a->info->name);
	}
	hf_image_deinit(&img);
	if (r != VP_OK) {
		free(buf);
		return r;
	}
	*buf_ret = buf;
	*ret = l;
	return VP_OK;
}

static bool same_record(const uint8_t *a, const uint8_t *b, uint32_t size)
{
	const uint32_t behind = VP_LEDGER_STATE_OFF + 8;

	return memcmp(a, b, VP_LEDGER_STATE_OFF) == 0 &&
	       memcmp(a + behind, b + behind, size - behind) == 0;
}

/* A retired record of this hotfix that has just the bytes a new one would have: nothing is written
 * then, since a task may still be inside that payload. */
static int reuse(struct eng_apply_plan *a, const struct guest_record **ret)
{
	const struct guest_arena *arena = &a->plan->arena;

	*ret = NULL;
	for (size_t i = 0; i < arena->n_records; i++) {
		const struct guest_record *rec = &arena->records[i];
		struct vp_ledger l;
		uint8_t *buf;
		bool same;
		int r;

		if (eng_record_live(rec) || memcmp(rec->l.id, a->info->id, VP_LEDGER_ID) != 0)
			continue;
		r = make_record(a, rec->l.self, rec->l.seq, &buf, &l);
		if (r == VP_E_REACH)
			continue;
		if (r != VP_OK)
			return r;
		same = l.size == rec->l.size && same_record(buf, rec->bytes, l.size);
		free(buf);
		if (same) {
			*ret = rec;
			return VP_OK;
		}
	}
	return VP_OK;
}

static uint64_t next_seq(const struct guest_arena *arena)
{
	uint64_t seq = 0;

	for (size_t i = 0; i < arena->n_records; i++)
		if (arena->records[i].l.seq > seq)
			seq = arena->records[i].l.seq;
	return seq == UINT64_MAX ? seq : seq + 1;
}

static bool all_filler(const struct guest_cave *cave, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != cave->filler[i % cave->filler_len])
			return false;
	return true;
}

static int fill_area(struct eng_apply_plan *a, const struct guest_cave *cave,
		     const struct vp_ledger *l, const uint8_t *bytes)
{
	vp_gpa_t gpa;
	int r = guest_text_gpa(a->plan->g, l->self, l->size, &gpa);

	if (r == VP_OK)
		r = eng_txn_area(a->plan->txn, l->self, gpa, l->size);
	if (r == VP_OK)
		r = vp_read(a->plan->t, gpa, a->plan->txn->area.old, l->size);
	if (r < 0)
		return diag_set(a->diag, r, "the arena at %#" PRIx64 ": %s", l->self.v,
				vp_err_sentence(r));
	if (!all_filler(cave, a->plan->txn->area.old, l->size))
		return diag_set(a->diag, VP_E_GUEST_CHANGED,
				"the arena at %#" PRIx64 " is in use since a moment ago: try again",
				l->self.v);
	memcpy(a->plan->txn->area.new, bytes, l->size);
	return VP_OK;
}

/* A new record in the first cave that has the room and from which everything is in reach. */
static int place(struct eng_apply_plan *a, struct vp_ledger *ret)
{
	const struct guest_arena *arena = &a->plan->arena;
	uint32_t off, len = hf_image_size(a->bundle);
	uint64_t need = vp_ledger_size(edit_count(a), text_len(a), len, &off);
	uint64_t room = arena->n_caves && arena->caves[0].len > GAP ? arena->caves[0].len - GAP : 0;
	int r = VP_E_ARENA_FULL;

	if (need == 0)
		return too_large(a, len);
	for (size_t i = 0; i < arena->n_caves && r != VP_OK; i++) {
		const struct guest_cave *cave = &arena->caves[i];
		uint8_t *buf;

		if (cave->len < GAP || need > cave->len - GAP)
			continue;
		r = make_record(a, cave->start, next_seq(arena), &buf, ret);
		if (r == VP_E_REACH)
			continue;
		if (r != VP_OK)
			return r;
		r = fill_area(a, cave, ret, buf);
		free(buf);
		if (r < 0)
			return r;
	}
	if (r != VP_E_ARENA_FULL)
		return r;
	return diag_set(a->diag, r,
			"%s needs %" PRIu64 " bytes in one piece and the largest free piece of the "
			"guest's arena has %" PRIu64 ": space comes back when the guest reboots",
			a->info->name, need, room);
}

int eng_plan_payload(struct eng_apply_plan *a, struct vp_ledger *l, vp_gpa_t *gpa, bool *reused)
{
	const struct guest_record *old;
	int r = reuse(a, &old);

	if (r < 0)
		return r;
	*reused = old != NULL;
	if (old) {
		/* reuse() has left the edits of this very record behind */
		*l = old->l;
		*gpa = old->gpa;
		return VP_OK;
	}
	r = place(a, l);
	*gpa = a->plan->txn->area.gpa;
	return r;
}
