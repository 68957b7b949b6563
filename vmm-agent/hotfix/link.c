/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/hotfix/bundle.h"

#define VENEER_ALIGN 16

/* Room of one veneer. It decides where a payload's ledger record lies, so it stays what it is for
 * the architectures whose hotfixes are linked; an ARCH_VENEER_MAX that grows does not move it. */
#define VENEER_ROOM 16

/* What the guest answered for one symbol, asked once, and the veneer to it. */
struct answer {
	bool known;
	uint64_t value;
	uint64_t veneer; /* its address, 0 for none */
};

struct link {
	const struct hf_bundle *b;
	uint64_t base;
	hf_resolve_fn resolve;
	void *ctx;
	struct answer *answer; /* by symbol index */
	uint8_t *bytes;
	uint32_t len; /* so far */
	uint32_t room;
};

/* A place in the payload, for words. */
struct place {
	const struct obj_section *section;
	const struct obj_symbol *sym;
	struct obj_rela rela;
};

static uint32_t align_up(uint32_t v, uint32_t align)
{
	return (v + align - 1) & ~(align - 1);
}

uint32_t hf_image_size(const struct hf_bundle *b)
{
	if (!b->n_veneer)
		return b->size;
	return align_up(b->size, VENEER_ALIGN) + b->n_veneer * VENEER_ROOM;
}

static void fill(const struct arch_ops *arch, uint8_t *bytes, uint32_t len)
{
	/* Gaps hold what pads kernel text, so that a stray jump there traps. */
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = arch->filler[i % arch->filler_len];
}

static void copy_sections(struct link *l)
{
	const struct obj *o = &l->b->obj;

	fill(l->b->info.arch, l->bytes, l->room);
	for (unsigned i = 1; i < o->n_section; i++)
		if (l->b->place[i] != BUNDLE_NOT_THERE)
			memcpy(l->bytes + l->b->place[i], o->section[i].data, o->section[i].size);
}

static int ask(struct link *l, unsigned index, struct diag *diag, uint64_t *ret)
{
	const struct obj_symbol *sym = &l->b->obj.symbol[index];
	struct bundle_symbol want = {sym->name, sym->name, 0};
	struct answer *a = &l->answer[index];
	vp_gva_t at;
	int r;

	if (!a->known) {
		for (unsigned i = 0; i < l->b->n_symbol; i++)
			if (strcmp(l->b->symbol[i].alias, sym->name) == 0)
				want = l->b->symbol[i];
		r = l->resolve(l->ctx, want.name, want.sympos, diag, &at);
		if (r < 0)
			return r;
		a->value = at.v;
		a->known = true;
	}
	*ret = a->value;
	return VP_OK;
}

static int symbol_value(struct link *l, unsigned index, struct diag *diag, uint64_t *ret)
{
	const struct obj_symbol *sym = &l->b->obj.symbol[index];

	if (index == 0)
		*ret = 0;
	else if (sym->shndx == SHN_UNDEF)
		return ask(l, index, diag, ret);
	else if (sym->shndx == SHN_ABS)
		*ret = sym->value;
	else
		*ret = l->base + l->b->place[sym->shndx] + sym->value;
	return VP_OK;
}

/* One veneer a symbol, made when the first branch to it falls short. */
static int make_veneer(struct link *l, unsigned index, uint64_t to, uint64_t *ret)
{
	struct answer *a = &l->answer[index];
	uint32_t at = align_up(l->len, VENEER_ALIGN);
	unsigned n;
	int r;

	if (!a->veneer) {
		if (at > l->room || l->room - at < VENEER_ROOM)
			return VP_E_REACH;
		r = l->b->info.arch->veneer(l->bytes + at, VENEER_ROOM, vp_gva(l->base + at),
					    vp_gva(to), &n);
		if (r < 0)
			return VP_E_REACH;
		a->veneer = l->base + at;
		l->len = at + n;
	}
	*ret = a->veneer;
	return VP_OK;
}

static int explain(const struct link *l, int err, const struct place *p, struct diag *diag)
{
	const char *type = arch_reloc_name(l->b->info.arch, p->rela.type);
	const char *what = err == VP_E_RELOC   ? "vpatch does not know this relocation"
			   : err == VP_E_REACH ? "the target is out of reach"
					       : "the place is not one for this relocation";

	return diag_set(diag, err == VP_E_RANGE ? VP_E_RELOC : err,
			"payload %s+%#" PRIx64 ": %s (type %u) to %s: %s", p->section->name,
			p->rela.offset, type ? type : "relocation", p->rela.type,
			*p->sym->name ? p->sym->name : "a part of the payload", what);
}

static int relocate(struct link *l, unsigned target, const struct place *p, struct diag *diag)
{
	const struct arch_ops *arch = l->b->info.arch;
	uint32_t off = l->b->place[target] + (uint32_t)p->rela.offset;
	size_t avail = p->section->size - p->rela.offset;
	uint64_t value;
	int r;

	r = symbol_value(l, p->rela.sym, diag, &value);
	if (r < 0)
		return r;
	r = arch->reloc(l->bytes + off, avail, p->rela.type, vp_gva(l->base + off), value,
			p->rela.addend);
	if (r == VP_E_REACH && bundle_may_veneer(l->b, &p->rela)) {
		r = make_veneer(l, p->rela.sym, value, &value);
		if (r == VP_OK)
			r = arch->reloc(l->bytes + off, avail, p->rela.type, vp_gva(l->base + off),
					value, 0);
	}
	return r < 0 ? explain(l, r, p, diag) : VP_OK;
}

static int relocate_all(struct link *l, struct diag *diag)
{
	const struct obj *o = &l->b->obj;
	int r = VP_OK;

	for (unsigned i = 1; r == VP_OK && i < o->n_section; i++) {
		unsigned n = obj_n_rela(&o->section[i]);
		unsigned target = o->section[i].info;

		for (unsigned k = 0; r == VP_OK && k < n; k++) {
			struct place p = {.section = &o->section[target]};

			obj_rela(&o->section[i], k, &p.rela);
			p.sym = &o->symbol[p.rela.sym];
			r = relocate(l, target, &p, diag);
		}
	}
	return r;
}

int hf_link(const struct hf_bundle *b, vp_gva_t base, hf_resolve_fn resolve, void *ctx,
	    struct diag *diag, struct hf_image *ret)
{
	struct link l = {b, base.v, resolve, ctx, NULL, NULL, b->size, hf_image_size(b)};
	int r;

	if (base.v % BUNDLE_ALIGN || l.room > UINT64_MAX - base.v)
		return diag_set(diag, VP_E_RANGE, "payload: it cannot lie at %#" PRIx64, base.v);
	l.bytes = malloc(l.room ? l.room : 1);
	l.answer = calloc(b->obj.n_symbol, sizeof(*l.answer));
	if (!l.bytes || !l.answer) {
		r = diag_set(diag, VP_E_NOMEM, "payload: no memory to link it");
	} else {
		copy_sections(&l);
		r = relocate_all(&l, diag);
	}
	free(l.answer);
	if (r < 0) {
		free(l.bytes);
		return r;
	}
	*ret = (struct hf_image){.bytes = l.bytes, .len = l.len};
	memcpy(ret->entry, b->entry, sizeof(ret->entry));
	return VP_OK;
}

void hf_image_deinit(struct hf_image *img)
{
	free(img->bytes);
	*img = (struct hf_image){0};
}
