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
#include "vmm-agent/engine/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/version.h"

/* Filler left behind a record, so that the search for caves still tells it from what follows. */
#define GAP VP_LEDGER_ALIGN

/* One function that the hotfix replaces. */
struct func {
	const struct hf_replace *want;
	vp_gva_t addr;
	struct vp_edit site;
	bool marks; /* the tracer's record is to be marked, or is by us already */
	struct vp_edit tracer;
};

struct apply {
	struct eng_plan *plan;
	const struct arch_ops *arch;
	const struct hf_bundle *bundle;
	const struct hf_info *info;
	const struct eng_opts *opts;
	struct diag *diag;
	const struct guest_record *cur; /* applied under this name and to be replaced; NULL */
	struct func funcs[HF_REPLACE_MAX];
	size_t n_funcs;
	struct vp_edit edits[2 * HF_REPLACE_MAX]; /* as the ledger gets them */
	const char *symbols[2 * HF_REPLACE_MAX];
	uint32_t n_edits;
};

/* --- kernel and ledger ------------------------------------------------------------------------ */

static int check_kernel(struct apply *a)
{
	const struct guest_info *gi = guest_info(a->plan->g);
	const struct hf_info *hi = a->info;

	if (hi->arch != gi->arch)
		return diag_set(
			a->diag, VP_E_WRONG_ARCH,
			"%s is for %s and the guest is %s: use the bundle for that architecture",
			hi->name, hi->arch->name, gi->arch->name);
	if (strcmp(hi->release, gi->release) != 0)
		return diag_set(
			a->diag, VP_E_WRONG_KERNEL,
			"%s is for kernel %s and the guest runs %s: build it for that release",
			hi->name, hi->release, gi->release);
	if (hi->build_id_len > 0 && (hi->build_id_len != gi->build_id_len ||
				     memcmp(hi->build_id, gi->build_id, hi->build_id_len) != 0))
		return diag_set(
			a->diag, VP_E_WRONG_KERNEL,
			"%s is for another build of kernel %s (the build-ids differ): build it "
			"against the headers of the one that runs",
			hi->name, gi->release);
	if (hi->consistency == HF_QUIESCE)
		return diag_set(
			a->diag, VP_E_QUIESCE,
			"%s asks for consistency \"quiesce\", which does not exist yet: if each "
			"call may see old or new by itself, build it with \"entry\"",
			hi->name);
	if (hi->n_replace == 0 || hi->n_replace > HF_REPLACE_MAX)
		return diag_set(a->diag, VP_E_BUNDLE,
				"%s replaces %zu functions: 1 to %d are possible", hi->name,
				hi->n_replace, HF_REPLACE_MAX);
	return VP_OK;
}

/* What is applied under this name. *done: this very hotfix, nothing is to do. */
static int check_current(struct apply *a, bool *done)
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
	r = eng_look_error(a->info->name, &look, a->diag);
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

/* The edit of a record that lies at the start of a function. */
static bool record_site(const struct guest_record *rec, vp_gva_t func, struct vp_edit *ret)
{
	for (uint32_t i = 0; i < rec->l.n_edits; i++) {
		vp_ledger_edit(&rec->l, i, ret);
		if (ret->kind == VP_EDIT_SITE && ret->gva.v >= func.v &&
		    ret->gva.v - func.v < ENG_ENTRY_BYTES)
			return true;
	}
	return false;
}

static int check_taken(struct apply *a, const struct func *f)
{
	const struct guest_arena *arena = &a->plan->arena;

	for (size_t i = 0; i < arena->n_records; i++) {
		const struct guest_record *rec = &arena->records[i];
		struct vp_edit e;

		if (rec != a->cur && eng_record_live(rec) && record_site(rec, f->addr, &e))
			return diag_set(a->diag, VP_E_SITE_TAKEN,
					"%s is replaced by hotfix %s %s already: revert that first",
					f->want->symbol, rec->l.name, rec->l.version);
	}
	return VP_OK;
}

/* --- sites -------------------------------------------------------------------------------------- */

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

static int check_clones(struct apply *a, const struct func *f)
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

static int entry_error(struct apply *a, const struct func *f, int r, const uint8_t *head,
		       size_t len)
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
static int find_site(struct apply *a, struct func *f, const struct guest_sym *sym)
{
	uint8_t head[ENG_ENTRY_BYTES], now[VP_EDIT_MAX];
	size_t len = sym->size < sizeof(head) ? (size_t)sym->size : sizeof(head);
	struct arch_entry entry = {0};
	struct vp_edit mine;
	bool ours = a->cur && record_site(a->cur, f->addr, &mine) &&
		    vp_fits(mine.gva.v - f->addr.v, mine.len, len);
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
static bool mark_is_ours(struct apply *a, const struct guest_tracer *tr, uint8_t *rest)
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

static int find_tracer(struct apply *a, struct func *f)
{
	struct guest_tracer tr;
	int r = guest_tracer(a->plan->g, f->site.gva, a->diag, &tr);

	if (r < 0)
		return r;
	if (!tr.found && !f->marks)
		return VP_OK;
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

static int plan_func(struct apply *a, const struct hf_replace *want)
{
	struct func *f = &a->funcs[a->n_funcs];
	struct guest_sym sym;
	int r;

	f->want = want;
	r = guest_sym(a->plan->g, want->symbol, want->sympos, a->diag, &sym);
	if (r < 0)
		return r;
	if (sym.type != 't' && sym.type != 'T' && sym.type != 'w' && sym.type != 'W')
		return diag_set(a->diag, VP_E_NO_SITE, "%s is not a function in the guest kernel",
				want->symbol);
	f->addr = sym.addr;
	for (size_t i = 0; i < a->n_funcs; i++)
		if (a->funcs[i].addr.v == f->addr.v)
			return diag_set(a->diag, VP_E_BUNDLE,
					"%s replaces %s and %s, which are one function",
					a->info->name, a->funcs[i].want->symbol, want->symbol);
	r = check_taken(a, f);
	if (r == VP_OK)
		r = check_clones(a, f);
	if (r == VP_OK)
		r = find_site(a, f, &sym);
	if (r == VP_OK)
		r = find_tracer(a, f);
	a->n_funcs += r == VP_OK;
	return r;
}

/* --- payload -------------------------------------------------------------------------------------- */

static int resolve(void *ctx, const char *name, unsigned sympos, struct diag *diag, vp_gva_t *ret)
{
	struct guest_sym sym;
	int r = guest_sym(ctx, name, sympos, diag, &sym);

	if (r == VP_OK)
		*ret = sym.addr;
	return r;
}

/* The edits as the ledger keeps them, in the order in which they are stored. */
static int make_edits(struct apply *a, vp_gva_t base, const struct hf_image *img)
{
	a->n_edits = 0;
	for (size_t i = 0; i < a->n_funcs; i++) {
		if (!a->funcs[i].marks)
			continue;
		a->symbols[a->n_edits] = a->funcs[i].want->symbol;
		a->edits[a->n_edits++] = a->funcs[i].tracer;
	}
	for (size_t i = 0; i < a->n_funcs; i++) {
		struct vp_edit *e = &a->edits[a->n_edits];
		vp_gva_t to = vp_gva(base.v + img->entry[i]);
		uint8_t branch[ARCH_INSN_MAX];
		unsigned len;
		int r;

		*e = a->funcs[i].site;
		r = a->arch->branch(branch, e->gva, to, &len);
		if (r == VP_OK && (len != e->len || img->entry[i] >= img->len))
			r = VP_E_INTERNAL;
		if (r < 0)
			return diag_set(a->diag, r,
					"the branch from %s at %#" PRIx64
					" to the payload at %#" PRIx64 ": %s",
					a->funcs[i].want->symbol, e->gva.v, to.v,
					vp_err_sentence(r));
		memcpy(e->new, branch, len);
		a->symbols[a->n_edits++] = a->funcs[i].want->symbol;
	}
	return VP_OK;
}

static uint32_t text_len(const struct apply *a)
{
	size_t n = strlen(a->info->fixes);

	return n < VP_LEDGER_TEXT_MAX ? (uint32_t)n : VP_LEDGER_TEXT_MAX;
}

static uint32_t edit_count(const struct apply *a)
{
	uint32_t n = 0;

	for (size_t i = 0; i < a->n_funcs; i++)
		n += 1 + a->funcs[i].marks;
	return n;
}

/* Links for a record at self and writes the whole record into *buf_ret (malloc'ed). */
static int make_record(struct apply *a, vp_gva_t self, uint64_t seq, uint8_t **buf_ret,
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

	if (vp_ledger_size(l.n_edits, l.text_len, 0, &l.payload_off) == 0)
		return diag_set(a->diag, VP_E_ARENA_FULL, "%s is too large for a ledger record",
				a->info->name);
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
		r = diag_set(a->diag, l.size ? VP_E_NOMEM : VP_E_ARENA_FULL,
			     "%s: a payload of %u bytes", a->info->name, img.len);
	if (r == VP_OK) {
		memcpy(buf + l.payload_off, img.bytes, img.len);
		r = vp_ledger_encode(buf, l.size, &l, a->edits);
		if (r < 0)
			diag_set(a->diag, r, "%s: its name or version does not fit the ledger",
				 a->info->name);
	}
	hf_image_deinit(&img);
	if (r < 0) {
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
static int reuse(struct apply *a, const struct guest_record **ret)
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
		if (r < 0)
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

static bool all_filler(const struct arch_ops *arch, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != arch->filler[i % arch->filler_len])
			return false;
	return true;
}

static int fill_area(struct apply *a, const struct vp_ledger *l, const uint8_t *bytes)
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
	if (!all_filler(a->arch, a->plan->txn->area.old, l->size))
		return diag_set(a->diag, VP_E_GUEST_CHANGED,
				"the arena at %#" PRIx64 " is in use since a moment ago: try again",
				l->self.v);
	memcpy(a->plan->txn->area.new, bytes, l->size);
	return VP_OK;
}

/* A new record in the first cave that has the room and from which everything is in reach. */
static int place(struct apply *a, struct vp_ledger *ret)
{
	const struct guest_arena *arena = &a->plan->arena;
	uint32_t off;
	uint64_t need = vp_ledger_size(edit_count(a), text_len(a), hf_image_size(a->bundle), &off);
	int r = VP_E_ARENA_FULL;

	for (size_t i = 0; need != 0 && i < arena->n_caves && r != VP_OK; i++) {
		const struct guest_cave *cave = &arena->caves[i];
		uint8_t *buf;

		if (cave->len < GAP || need > cave->len - GAP)
			continue;
		r = make_record(a, cave->start, next_seq(arena), &buf, ret);
		if (r == VP_E_REACH)
			continue;
		if (r < 0)
			return r;
		r = fill_area(a, ret, buf);
		free(buf);
		if (r < 0)
			return r;
	}
	if (r != VP_E_ARENA_FULL)
		return r;
	return diag_set(a->diag, r,
			"%s needs %" PRIu64 " bytes in one piece and the largest free piece of the "
			"guest's arena has %" PRIu64 ": space comes back when the guest reboots",
			a->info->name, need ? need : (uint64_t)hf_image_size(a->bundle),
			arena->n_caves ? arena->caves[0].len : 0);
}

/* --- steps --------------------------------------------------------------------------------------- */

/* Functions that the replaced version had and this one has not go back to the guest. */
static int drop_sites(struct apply *a, bool tracers)
{
	int r = VP_OK;

	for (uint32_t i = 0; a->cur && r == VP_OK && i < a->cur->l.n_edits; i++) {
		struct eng_site site;
		struct vp_edit e;
		bool kept = false;

		vp_ledger_edit(&a->cur->l, i, &e);
		if (e.kind != VP_EDIT_SITE)
			continue;
		for (size_t j = 0; j < a->n_funcs; j++)
			kept = kept || a->funcs[j].site.gva.v == e.gva.v;
		if (kept)
			continue;
		r = eng_site_read(a->plan->g, &a->cur->l, &e, &site);
		if (r == VP_OK && (site.word != ENG_WORD_NEW || !site.trusted))
			r = VP_E_LEDGER;
		if (r < 0)
			return diag_set(a->diag, r, "%s %s: its site at %#" PRIx64 ": %s",
					a->cur->l.name, a->cur->l.version, e.gva.v,
					vp_err_sentence(r));
		memcpy(site.e.new, site.e.rest, site.e.len);
		r = tracers ? eng_plan_give_back(a->plan, &a->cur->l, &site, a->diag)
			    : eng_txn_add(a->plan->txn, &site.e, site.symbol);
	}
	return r;
}

static int make_steps(struct apply *a, vp_gva_t self, vp_gpa_t gpa, bool reused)
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
		r = eng_txn_add(txn, &a->edits[i], a->symbols[i]);
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

static int plan_payload(struct apply *a)
{
	struct eng_report *rep = a->plan->report;
	const struct guest_record *old;
	struct vp_ledger l;
	vp_gpa_t gpa;
	int r = reuse(a, &old);

	if (r == VP_OK && old) {
		/* reuse() has left the edits of this very record behind */
		l = old->l;
		gpa = old->gpa;
	} else if (r == VP_OK) {
		r = place(a, &l);
		gpa = a->plan->txn->area.gpa;
	}
	if (r < 0)
		return r;
	rep->payload = vp_gva(l.self.v + l.payload_off);
	rep->payload_len = l.payload_len;
	rep->arena_free = a->plan->arena.free - (old ? 0 : l.size);
	return make_steps(a, l.self, gpa, old != NULL);
}

static void describe(struct apply *a)
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

static int plan_apply(struct apply *a)
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
		r = plan_func(a, &a->info->replace[i]);
	if (r == VP_OK)
		r = plan_payload(a);
	return r == VP_OK ? eng_plan_end(a->plan, a->diag) : r;
}

int eng_plan_apply(struct eng_plan *plan, const struct hf_bundle *b, const struct eng_opts *opts,
		   struct diag *diag)
{
	struct apply *a;
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
