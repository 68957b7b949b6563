// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guest kernel memory by virtual address, every page of it walked and its permissions checked. */
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define CACHE_SLOTS    256u
#define CANDIDATES_MIN 4096u
#define CANDIDATES_MAX (1u << 20)

struct mem_cache {
	struct vp_target *t;
	uint64_t tag[CACHE_SLOTS]; /* page number plus one; 0: empty */
	uint8_t page[CACHE_SLOTS][GUEST_PAGE];
};

struct mem_cache *mem_cache_create(struct vp_target *t)
{
	/* Not zeroed: its pages are not touched before they are read. */
	struct mem_cache *c = malloc(sizeof(*c));

	if (c) {
		c->t = t;
		mem_cache_forget(c);
	}
	return c;
}

void mem_cache_forget(struct mem_cache *c)
{
	memset(c->tag, 0, sizeof(c->tag));
}

void mem_cache_destroy(struct mem_cache *c)
{
	free(c);
}

int mem_cache_read(void *cache, vp_gpa_t at, void *buf, size_t len)
{
	struct mem_cache *c = cache;
	uint64_t page = at.v / GUEST_PAGE;
	size_t off = (size_t)(at.v % GUEST_PAGE), slot = (size_t)(page % CACHE_SLOTS);

	if (!vp_fits(off, len, GUEST_PAGE))
		return vp_read(c->t, at, buf, len);
	if (c->tag[slot] != page + 1) {
		int r;

		c->tag[slot] = 0;
		r = vp_read(c->t, vp_gpa(page * GUEST_PAGE), c->page[slot], GUEST_PAGE);
		if (r < 0)
			return r;
		c->tag[slot] = page + 1;
	}
	memcpy(buf, c->page[slot] + off, len);
	return VP_OK;
}

static int read_now(void *target, vp_gpa_t at, void *buf, size_t len)
{
	return vp_read(target, at, buf, len);
}

bool guest_err_is_fatal(int err)
{
	return err < 0 && err != VP_E_RANGE && err != VP_E_UNMAPPED && err != VP_E_GUEST_CORRUPT &&
	       err != VP_E_UNSUPPORTED;
}

int mem_walk(struct vp_target *t, struct mem_cache *cache, const struct arch_mmu *mmu, vp_gva_t at,
	     enum mem_want want, struct arch_xlate *ret)
{
	const struct arch_ops *ops = vp_target_info(t)->arch;
	struct arch_xlate x;
	int r;

	if (cache)
		r = ops->walk(mmu, at, mem_cache_read, cache, &x);
	else
		r = ops->walk(mmu, at, read_now, t, &x);
	if (r < 0) /* a table outside RAM, or an impossible entry, maps nothing */
		return guest_err_is_fatal(r) ? r : VP_E_UNMAPPED;
	if (!x.present || x.user || (want == MEM_TEXT && !x.executable) ||
	    (want == MEM_DATA && (!x.writable || (x.executable && !x.blind))))
		return VP_E_UNMAPPED;
	*ret = x;
	return VP_OK;
}

/* Bytes from `at` to the end of the page that x found, at most len. */
static size_t page_run(vp_gva_t at, const struct arch_xlate *x, size_t len)
{
	uint64_t size = 1ull << x->page_log;
	uint64_t run = size - (at.v & (size - 1));

	return len < run ? len : (size_t)run;
}

int mem_read(struct vp_target *t, struct mem_cache *cache, const struct arch_mmu *mmu, vp_gva_t at,
	     enum mem_want want, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (len > 0 && len - 1 > UINT64_MAX - at.v)
		return VP_E_UNMAPPED;
	while (len > 0) {
		struct arch_xlate x;
		size_t run;
		int r = mem_walk(t, cache, mmu, at, want, &x);

		if (r < 0)
			return r;
		run = page_run(at, &x, len);
		r = vp_read(t, x.gpa, to, run);
		if (r < 0)
			return guest_err_is_fatal(r) ? r : VP_E_UNMAPPED;
		to += run;
		len -= run;
		at.v += run;
	}
	return VP_OK;
}

int mem_contiguous(struct vp_target *t, struct mem_cache *cache, const struct arch_mmu *mmu,
		   vp_gva_t at, size_t len, enum mem_want want, vp_gpa_t *ret)
{
	vp_gpa_t first = {0}, next = {0};
	size_t done = 0;

	if (len == 0 || len - 1 > UINT64_MAX - at.v)
		return VP_E_RANGE;
	while (done < len) {
		struct arch_xlate x;
		size_t run;
		int r = mem_walk(t, cache, mmu, vp_gva(at.v + done), want, &x);

		if (r < 0)
			return r;
		if (done == 0)
			first = x.gpa;
		else if (x.gpa.v != next.v)
			return VP_E_UNMAPPED;
		run = page_run(vp_gva(at.v + done), &x, len - done);
		next.v = x.gpa.v + run;
		done += run;
	}
	*ret = first;
	return VP_OK;
}

int mem_candidates(struct vp_target *t, const void *prefix, size_t n, const char *what,
		   struct diag *diag, vp_gpa_t **ret, size_t *n_ret)
{
	for (size_t cap = CANDIDATES_MIN; cap <= CANDIDATES_MAX; cap *= 16) {
		vp_gpa_t *pages = calloc(cap, sizeof(*pages));
		int r;

		if (!pages)
			return diag_set(diag, VP_E_NOMEM, "list of candidate pages: no memory");
		r = vp_find_pages(t, prefix, n, pages, cap, n_ret, diag);
		if (r == VP_OK) {
			*ret = pages;
			return VP_OK;
		}
		free(pages);
		if (r != VP_E_RANGE)
			return r;
	}
	return diag_set(diag, VP_E_GUEST_AMBIGUOUS,
			"%s: more than %u pages of guest memory pretend to be %s: somebody in the "
			"guest fills its memory with them",
			vp_target_info(t)->name, CANDIDATES_MAX, what);
}

int guest_xlate(struct guest *g, vp_gva_t at, struct arch_xlate *ret)
{
	int r = g->ops->walk(&g->info.mmu, at, read_now, g->t, ret);

	return r < 0 && !guest_err_is_fatal(r) ? VP_E_UNMAPPED : r;
}

int guest_read(struct guest *g, vp_gva_t at, void *buf, size_t len)
{
	return mem_read(g->t, NULL, &g->info.mmu, at, MEM_KERNEL, buf, len);
}

int guest_text_gpa(struct guest *g, vp_gva_t at, size_t len, vp_gpa_t *gpa_ret)
{
	uint64_t size = g->info.text_end.v - g->info.text.v;
	struct vp_site site;

	if (guest_is_stub(g) || guest_site_at(g, at, len, &site))
		return guest_sites_gpa(g->stub, at, len, GUEST_SITES_TEXT, gpa_ret);
	if (at.v < g->info.text.v || len == 0 || !vp_fits(at.v - g->info.text.v, len, size))
		return VP_E_RANGE;
	return mem_contiguous(g->t, NULL, &g->info.mmu, at, len, MEM_TEXT, gpa_ret);
}

int guest_data_gpa(struct guest *g, vp_gva_t at, size_t len, vp_gpa_t *gpa_ret)
{
	uint64_t text = g->info.text.v, end = g->info.text_end.v;

	if (guest_is_stub(g))
		return guest_sites_gpa(g->stub, at, len, GUEST_SITES_DATA, gpa_ret);
	if (g->layout->blind && len > 0 && at.v < end && (at.v >= text || text - at.v < len))
		return VP_E_UNMAPPED; /* what the tables would say of text */
	return mem_contiguous(g->t, NULL, &g->info.mmu, at, len, MEM_DATA, gpa_ret);
}
