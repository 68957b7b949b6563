// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A guest through its stub's site table: the whole of one that is not Linux, and the named sites of one
 * that is. What a table says becomes symbols (its functions), an arena, places for trap records.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/sha256.h"
#include "vmm-agent/guest/internal.h"

int guest_stub(struct guest *g, unsigned flags, struct diag *diag, const struct guest_sites **ret)
{
	if (!g->stub) {
		int r = guest_sites_open(g->t, flags, diag, &g->stub);

		if (r < 0)
			return r;
	}
	*ret = g->stub;
	return VP_OK;
}

/* Which image, and where it lies: the same for whoever looks, until the guest is started anew at another
 * place. */
static void identify(struct guest *g)
{
	const struct vp_sites *s = &g->stub->table;
	uint8_t raw[16 + VP_SITES_ID_MAX], hash[32];

	vp_st64(raw, s->self.v);
	vp_st64(raw + 8, g->stub->page.v);
	memcpy(raw + 16, s->id, sizeof(s->id));
	sha256(raw, sizeof(raw), hash);
	memcpy(g->info.boot_id, hash, sizeof(g->info.boot_id));
	memcpy(g->info.build_id, s->id, sizeof(g->info.build_id));
	g->info.build_id_len = s->id_len;
	snprintf(g->info.release, sizeof(g->info.release), "%s", GUEST_NO_RELEASE);
}

int guest_open_stub(struct vp_target *t, unsigned flags, struct diag *diag, struct guest **ret)
{
	struct guest *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return diag_set(diag, VP_E_NOMEM, "guest: no memory");
	g->t = t;
	g->ops = vp_target_info(t)->arch;
	g->info.arch = g->ops;
	r = guest_sites_open(t, flags, diag, &g->stub);
	if (r < 0) {
		guest_close(g);
		return r;
	}
	g->info.mmu = g->stub->mmu;
	g->info.n_symbols = g->stub->table.sites.n;
	g->info.registers_seen = true;
	identify(g);
	*ret = g;
	return VP_OK;
}

const struct vp_sites *guest_sites_table(const struct guest *g)
{
	return g->stub ? &g->stub->table : NULL;
}

/* --- sites ------------------------------------------------------------------------------------- */

int guest_site(struct guest *g, const char *name, unsigned flags, struct diag *diag,
	       struct vp_site *ret)
{
	const struct guest_sites *s;
	uint32_t i;
	int r = guest_stub(g, flags, diag, &s);

	if (r < 0)
		return r;
	r = vp_sites_named(&s->table, name, &i);
	if (r == VP_OK)
		return vp_sites_site(&s->table, i, ret);
	return diag_set(diag, r,
			r == VP_E_NO_SITE ? "%s: the guest's site table has no site of that name: "
					    "vpatch sites lists them"
					  : "%s: the guest's site table has several sites of that "
					    "name",
			name);
}

bool guest_site_at(const struct guest *g, vp_gva_t at, size_t len, struct vp_site *ret)
{
	uint32_t i;

	return g->stub && vp_sites_find(&g->stub->table, at, &i) == VP_OK &&
	       vp_sites_site(&g->stub->table, i, ret) == VP_OK &&
	       vp_fits(at.v - ret->at.v, len, ret->len);
}

bool guest_literal_at(const struct guest *g, vp_gva_t at, size_t len, struct vp_site *ret,
		      uint8_t *rest)
{
	uint8_t word[8];

	for (uint32_t i = 0; g->stub && len <= sizeof(word) && i < g->stub->table.sites.n; i++) {
		if (vp_sites_site(&g->stub->table, i, ret) < 0)
			return false;
		if (ret->kind == VP_SITE_LITERAL ? ret->at.v != at.v || ret->len != len
						 : at.v == 0 || ret->literal.v != at.v)
			continue;
		vp_st64(word, ret->literal_rest);
		memcpy(rest, ret->kind == VP_SITE_LITERAL ? ret->rest : word, len);
		return true;
	}
	return false;
}

int guest_literal_gpa(struct guest *g, vp_gva_t at, size_t len, vp_gpa_t *ret)
{
	return g->stub ? guest_sites_gpa(g->stub, at, len, GUEST_SITES_DATA, ret) : VP_E_RANGE;
}

/* --- its functions, as symbols -------------------------------------------------------------------- */

static void fill(const struct vp_site *site, struct guest_sym *ret)
{
	ret->addr = site->at;
	ret->size = site->len;
	ret->type = site->kind == VP_SITE_LITERAL ? 'D' : 't';
	if (site->name)
		snprintf(ret->name, sizeof(ret->name), "%s", site->name);
	else
		snprintf(ret->name, sizeof(ret->name), "site@%#" PRIx64, site->at.v);
}

int stub_sym(struct guest *g, const char *name, struct diag *diag, struct guest_sym *ret)
{
	struct vp_site site;
	int r = guest_site(g, name, 0, diag, &site);

	if (r == VP_E_NO_SITE)
		return diag_set(diag, VP_E_SYM_UNKNOWN,
				"%s: the guest is not Linux, and its site table has no function of "
				"that name",
				name);
	if (r == VP_OK)
		fill(&site, ret);
	return r;
}

int stub_sym_at(struct guest *g, vp_gva_t at, struct guest_sym *ret)
{
	struct vp_site site;

	if (!guest_site_at(g, at, 1, &site))
		return VP_E_SYM_UNKNOWN;
	fill(&site, ret);
	return VP_OK;
}

int stub_sym_each(struct guest *g, int (*fn)(void *ctx, const struct guest_sym *sym), void *ctx)
{
	int r = VP_OK;

	for (uint32_t i = 0; r == VP_OK && i < g->stub->table.sites.n; i++) {
		struct guest_sym sym;
		struct vp_site site;

		r = vp_sites_site(&g->stub->table, i, &site);
		if (r < 0)
			return r;
		fill(&site, &sym);
		r = fn(ctx, &sym);
	}
	return r;
}

/* --- in the window -------------------------------------------------------------------------------- */

static int say_changed(const struct guest *g, struct diag *diag)
{
	return diag_set(diag, VP_E_GUEST_CHANGED,
			"%s: the guest's site table is not where and what it was: try again",
			vp_target_info(g->t)->name);
}

int guest_check_table(struct guest *g, struct diag *diag)
{
	int r = g->stub ? guest_sites_still(g->stub) : VP_OK;

	if (r == VP_OK)
		return r;
	return r == VP_E_GUEST_CHANGED
		       ? say_changed(g, diag)
		       : diag_set(diag, r, "the guest's site table: %s", vp_err_sentence(r));
}

int stub_check_held(struct guest *g, struct vp_paused *p, vp_gva_t *pcs, struct diag *diag)
{
	unsigned vcpus = vp_target_info(g->t)->vcpus, agreed = 0;
	int r = guest_check_table(g, diag);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < vcpus; i++) {
		struct arch_regs regs;

		r = vp_regs(p, i, &regs);
		if (r < 0)
			return diag_set(diag, r, "registers of vCPU %u: %s", i, vp_err_sentence(r));
		if (pcs)
			pcs[i] = vp_gva(regs.have & 1u << ARCH_REG_PC ? regs.v[ARCH_REG_PC] : 0);
		r = guest_sites_vcpu(g->stub, &regs);
		if (r == VP_E_GUEST_CHANGED)
			return say_changed(g, diag);
		if (r < 0 && r != VP_E_UNSUPPORTED)
			return diag_set(diag, r, "vCPU %u: %s", i, vp_err_sentence(r));
		agreed += r == VP_OK;
	}
	return agreed ? VP_OK : say_changed(g, diag);
}

/* --- trap records ----------------------------------------------------------------------------------- */

int guest_trap_records(struct guest *g, struct guest_trap *ret, size_t cap, size_t *n_ret)
{
	size_t n = 0;

	for (uint32_t i = 0; g->stub && i < g->stub->table.traps.n; i++) {
		struct vp_trap_space space;
		int r = vp_sites_traps(&g->stub->table, i, &space);

		if (r < 0)
			return r;
		for (uint64_t off = 0; off < space.len && n < cap; off += VP_TRAP_RECORD) {
			struct guest_trap *t = &ret[n];
			uint8_t at[8] = {0};

			t->gva = vp_gva(space.at.v + off);
			r = guest_sites_gpa(g->stub, t->gva, VP_TRAP_RECORD, GUEST_SITES_DATA,
					    &t->gpa);
			if (r == VP_OK)
				r = vp_read(g->t, t->gpa, at, sizeof(at));
			if (r < 0)
				return r;
			n += vp_ld64(at) == 0; /* another's, or one that a dead agent has left */
		}
	}
	*n_ret = n;
	return VP_OK;
}
