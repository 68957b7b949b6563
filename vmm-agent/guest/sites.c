// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Finding and reading the site table. A forged page costs a user of the guest a page and the host one
 * read of 200 bytes and, if its address is possible, one walk; nothing is copied before the circle is
 * closed, and of tables that do close it no more than TABLES_MAX are.
 */
#include "vmm-agent/guest/sites.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define TABLES_MAX 16u
#define COPIES     8u
#define PLACES     32u /* of RAM, to know a linear map by */
#define COPY_WAIT \
	250000 /* ns, doubled each time: a large table takes the guest some milliseconds */

/* A vCPU's view of memory. */
struct view {
	struct arch_mmu mmu;
	bool certain; /* the registers leave no doubt which root is the kernel's */
};

struct search {
	struct vp_target *t;
	const struct arch_ops *ops;
	struct mem_cache *cache;
	struct diag *diag;
	vp_gpa_t *pages; /* the candidates */
	size_t n_pages;
	struct view *view;
	unsigned n_views;
	bool asked_linux, is_linux;
	/* of the map that was asked about last */
	bool memo_known, memo_linear;
	vp_gpa_t memo_root;
	uint64_t memo_distance;
	unsigned n_tables;                  /* that closed the circle */
	struct guest_sites *found, *linear; /* by which rule; sites.h */
	int bad;                            /* of a table that closed it and is none */
	struct diag bad_diag;
};

void guest_sites_close(struct guest_sites *s)
{
	if (!s)
		return;
	free(s->bytes);
	free(s);
}

/* --- who the kernel is, by the vCPUs' registers ------------------------------------------------------ */

static bool same_mmu(const struct arch_mmu *a, const struct arch_mmu *b)
{
	return a->root.v == b->root.v && a->levels == b->levels &&
	       a->granule_log == b->granule_log && a->va_bits == b->va_bits &&
	       a->lpa52 == b->lpa52 && a->flags == b->flags && a->n_alt == b->n_alt;
}

static void take_view(struct search *s, const struct arch_regs *regs, struct view *off)
{
	struct view v = {0};
	int r = s->ops->mmu_off(regs, &v.mmu);

	if (r == VP_OK) {
		v.certain = true;
		*off = v;
	}
	if (r != VP_E_UNSUPPORTED || s->ops->mmu_from_regs(regs, &v.mmu) < 0)
		return;
	v.certain = v.mmu.n_alt == 0;
	for (unsigned i = 0; i < s->n_views; i++)
		if (same_mmu(&s->view[i].mmu, &v.mmu))
			return;
	s->view[s->n_views++] = v;
}

/*
 * All of them: a vCPU that translates nothing stands for the kernel only where none does, since it may
 * be one that the kernel has not started.
 */
static int take_views(struct search *s, unsigned flags)
{
	unsigned vcpus = vp_target_info(s->t)->vcpus;
	struct arch_regs *regs;
	struct view off = {0};
	int r;

	if (!(vp_target_caps(s->t) & VP_CAP_REGS_LIVE) && !(flags & GUEST_MAY_HOLD))
		return diag_set(s->diag, VP_E_UNSUPPORTED,
				"%s: what looks like a site table is in guest memory, and only the "
				"vCPUs' registers tell whose it is: run without --dry-run",
				vp_target_info(s->t)->name);
	regs = calloc(vcpus, sizeof(*regs));
	r = regs ? vp_peek_all(s->t, regs, s->diag)
		 : diag_set(s->diag, VP_E_NOMEM, "registers: no memory");
	for (unsigned i = 0; r == VP_OK && i < vcpus; i++)
		take_view(s, &regs[i], &off);
	free(regs);
	if (r < 0)
		return r;
	if (!s->n_views && off.certain)
		s->view[s->n_views++] = off;
	return VP_OK;
}

/* --- the circle ----------------------------------------------------------------------------------------- */

/* Whether a guest could be Linux: its kernel is not in the linear map alone, and its users' pages are. */
static int ask_linux(struct search *s)
{
	vp_gpa_t page;
	size_t n = 0;
	int r;

	if (s->asked_linux)
		return VP_OK;
	r = vp_find_pages(s->t, VMCOREINFO_PREFIX, sizeof(VMCOREINFO_PREFIX) - 1, &page, 1, &n,
			  s->diag);
	if (r < 0 && r != VP_E_RANGE)
		return r;
	s->is_linux = n > 0 || r == VP_E_RANGE;
	s->asked_linux = true;
	return VP_OK;
}

/*
 * Whether the map that leads from `at` to `page` leads to most of RAM at the same distance: then it is
 * there to reach every page, a user's too. Places all over RAM tell.
 */
static int in_linear_map(struct search *s, const struct arch_mmu *mmu, vp_gva_t at, vp_gpa_t page,
			 bool *ret)
{
	uint64_t distance = at.v - page.v, total = 0, place = 0;
	const struct vp_ram *ram;
	unsigned n = 0;
	size_t n_ram;
	int r = vp_ram(s->t, &ram, &n_ram, s->diag);

	if (r < 0)
		return r;
	if (s->memo_known && s->memo_root.v == mmu->root.v && s->memo_distance == distance) {
		*ret = s->memo_linear;
		return VP_OK;
	}
	for (size_t i = 0; i < n_ram; i++)
		total += ram[i].len;
	for (size_t i = 0; i < n_ram; place -= ram[i++].len)
		for (; place < ram[i].len; place += total / PLACES + 1) {
			vp_gpa_t to = vp_gpa((ram[i].start.v + place) & ~(GUEST_PAGE - 1ull));
			struct arch_xlate x;

			r = mem_walk(s->t, s->cache, mmu, vp_gva(to.v + distance), MEM_KERNEL, &x);
			if (guest_err_is_fatal(r))
				return r;
			n += r == VP_OK && x.gpa.v == to.v;
		}
	s->memo_known = true;
	s->memo_root = mmu->root;
	s->memo_distance = distance;
	*ret = s->memo_linear = n >= PLACES / 2;
	return VP_OK;
}

enum circle { CIRCLE_OPEN, CIRCLE_CLOSED, CIRCLE_LINEAR };

static int close_by(struct search *s, const struct arch_mmu *mmu, vp_gva_t self, vp_gpa_t page,
		    enum circle *ret)
{
	struct arch_xlate x;
	bool linear = true;
	int r = mem_walk(s->t, s->cache, mmu, self, MEM_KERNEL, &x);

	*ret = CIRCLE_OPEN;
	if (r < 0)
		return guest_err_is_fatal(r) ? r : VP_OK;
	if (x.gpa.v != page.v)
		return VP_OK;
	r = in_linear_map(s, mmu, self, page, &linear);
	if (r < 0 || !linear) {
		*ret = r < 0 ? CIRCLE_OPEN : CIRCLE_CLOSED;
		return r;
	}
	r = ask_linux(s);
	if (r == VP_OK && !s->is_linux)
		*ret = CIRCLE_LINEAR;
	return r;
}

/* By a view's root and by the others that the registers leave possible. */
static int close_by_view(struct search *s, const struct view *v, vp_gva_t self, vp_gpa_t page,
			 struct arch_mmu *mmu, enum circle *ret)
{
	int r = VP_OK;

	*ret = CIRCLE_OPEN;
	for (unsigned i = 0; r == VP_OK && *ret == CIRCLE_OPEN && i <= v->mmu.n_alt; i++) {
		*mmu = v->mmu;
		mmu->n_alt = 0;
		memset(mmu->alt, 0, sizeof(mmu->alt));
		if (i > 0)
			mmu->root = v->mmu.alt[i - 1];
		r = close_by(s, mmu, self, page, ret);
	}
	return r;
}

/* A root that is only possible may be a page of a user's: asked when no certain one knows the page. */
static int close_circle(struct search *s, vp_gva_t self, vp_gpa_t page, struct arch_mmu *mmu,
			enum circle *ret)
{
	*ret = CIRCLE_OPEN;
	for (unsigned certain = 2; certain-- > 0;) {
		bool any = false;

		for (unsigned i = 0; i < s->n_views; i++) {
			int r;

			if (s->view[i].certain != (certain == 1))
				continue;
			any = true;
			r = close_by_view(s, &s->view[i], self, page, mmu, ret);
			if (r < 0 || *ret != CIRCLE_OPEN)
				return r;
		}
		if (any && certain)
			break;
	}
	return VP_OK;
}

/* --- the copy ------------------------------------------------------------------------------------------- */

static int peek(struct vp_target *t, vp_gpa_t page, struct vp_sites_peek *ret)
{
	uint8_t head[VP_SITES_HEAD];
	int r = vp_read(t, page, head, sizeof(head));

	return r < 0 ? r : vp_sites_peek(head, sizeof(head), ret);
}

/* In ascending order, so that it is old, new or refused. The pages it lies in are the kernel's. */
static int copy_once(struct search *s, struct guest_sites *g, const struct vp_sites_peek *head)
{
	struct vp_sites_peek behind;
	int r = mem_read(g->t, s->cache, &g->mmu, head->self, MEM_KERNEL, g->bytes, head->size);

	if (r < 0)
		return guest_err_is_fatal(r) ? r : VP_E_SITES;
	r = peek(g->t, g->page, &behind);
	if (r < 0)
		return r;
	if (behind.generation != head->generation || behind.generation % 2 ||
	    behind.size != head->size || behind.self.v != head->self.v)
		return VP_E_GUEST_CHANGED;
	return vp_sites_decode(g->bytes, head->size, head->self, &g->table);
}

static void wait_a_little(unsigned i)
{
	struct timespec ts = {.tv_nsec = (long)COPY_WAIT << i};

	nanosleep(&ts, NULL);
}

static int copy_table(struct search *s, struct guest_sites *g, struct vp_sites_peek head)
{
	int r = VP_E_GUEST_CHANGED;

	for (unsigned i = 0; r == VP_E_GUEST_CHANGED && i < COPIES; i++) {
		if (i > 0) {
			wait_a_little(i);
			r = peek(g->t, g->page, &head);
			if (r < 0)
				return r;
		}
		free(g->bytes);
		g->bytes = malloc(head.size);
		if (!g->bytes)
			return VP_E_NOMEM;
		r = copy_once(s, g, &head);
	}
	return r;
}

static int judge(struct search *s, const struct guest_sites *g, int r)
{
	const char *name = vp_target_info(s->t)->name;
	struct diag *diag = &s->bad_diag;

	if (r == VP_E_GUEST_CHANGED)
		return diag_set(diag, r, "%s: the guest keeps changing its site table: try again",
				name);
	if (r == VP_E_VERSION)
		return diag_set(
			diag, r,
			"%s: the stub in the guest is newer than this vpatch: use a newer one",
			name);
	if (r == VP_E_SITES)
		return diag_set(diag, r, "%s: the site table at %#" PRIx64 " is damaged", name,
				g->page.v);
	if (r == VP_OK && vp_sites_machine(g->table.arch) != s->ops->elf_machine)
		return diag_set(diag, VP_E_WRONG_ARCH,
				"%s: the site table is of another architecture than the guest, %s",
				name, s->ops->name);
	return r;
}

/* A table that closed the circle: kept, or the reason why not. */
static int keep(struct search *s, struct guest_sites *g, enum circle how)
{
	struct guest_sites **to = how == CIRCLE_CLOSED ? &s->found : &s->linear;

	if (!*to) {
		*to = g;
		return VP_OK;
	}
	guest_sites_close(g);
	return diag_set(s->diag, VP_E_GUEST_AMBIGUOUS,
			"%s: two site tables in guest memory, at %#" PRIx64
			" and another place, look real",
			vp_target_info(s->t)->name, (*to)->page.v);
}

static int read_table(struct search *s, const struct vp_sites_peek *head, vp_gpa_t page,
		      const struct arch_mmu *mmu, enum circle how)
{
	struct guest_sites *g;
	int r;

	if (++s->n_tables > TABLES_MAX)
		return diag_set(s->diag, VP_E_GUEST_AMBIGUOUS,
				"%s: more than %u site tables in guest memory look real",
				vp_target_info(s->t)->name, TABLES_MAX);
	g = calloc(1, sizeof(*g));
	if (!g)
		return VP_E_NOMEM;
	g->t = s->t;
	g->page = page;
	g->mmu = *mmu;
	r = copy_table(s, g, *head);
	r = judge(s, g, r);
	if (r == VP_OK)
		return keep(s, g, how);
	guest_sites_close(g);
	if (r != VP_E_GUEST_CHANGED && r != VP_E_VERSION && r != VP_E_SITES && r != VP_E_WRONG_ARCH)
		return r;
	s->bad = r;
	return VP_OK;
}

/* --- the search ----------------------------------------------------------------------------------------- */

static int look_at(struct search *s, vp_gpa_t page)
{
	struct vp_sites_peek head;
	struct arch_mmu mmu;
	enum circle how = CIRCLE_OPEN;
	int r = peek(s->t, page, &head);

	if (r == VP_E_SITES)
		return VP_OK;
	if (r == VP_OK)
		r = close_circle(s, head.self, page, &mmu, &how);
	if (r < 0 || how == CIRCLE_OPEN)
		return r;
	return read_table(s, &head, page, &mmu, how);
}

/* One that is mapped by itself puts those in the shade that lie in a linear map: a user's page does. */
static int choose(struct search *s, struct guest_sites **ret)
{
	struct guest_sites **from = s->found ? &s->found : &s->linear;
	const char *name = vp_target_info(s->t)->name;

	*ret = *from;
	*from = NULL;
	if (*ret)
		return VP_OK;
	if (s->bad) {
		diag_set(s->diag, s->bad, "%s", s->bad_diag.text);
		return s->bad;
	}
	if (s->n_pages)
		return diag_set(s->diag, VP_E_NO_STUB,
				"%s: %zu page%s of guest memory look%s like a site table, and none "
				"is the guest kernel's own: stale, or forged",
				name, s->n_pages, s->n_pages == 1 ? "" : "s",
				s->n_pages == 1 ? "s" : "");
	return diag_set(s->diag, VP_E_NO_STUB,
			"%s: no site table is in guest memory: the guest has no stub", name);
}

static int search(struct search *s, unsigned flags, struct guest_sites **ret)
{
	uint8_t magic[16];
	int r;

	vp_st64(magic, VP_SITES_MAGIC0);
	vp_st64(magic + 8, VP_SITES_MAGIC1);
	r = mem_candidates(s->t, magic, sizeof(magic), "a site table", s->diag, &s->pages,
			   &s->n_pages);
	if (r == VP_OK && s->n_pages)
		r = take_views(s, flags);
	for (size_t i = 0; r == VP_OK && i < s->n_pages; i++)
		r = look_at(s, s->pages[i]);
	return r == VP_OK ? choose(s, ret) : r;
}

int guest_sites_open(struct vp_target *t, unsigned flags, struct diag *diag,
		     struct guest_sites **ret)
{
	struct search s = {.t = t, .ops = vp_target_info(t)->arch, .diag = diag};
	struct view *views = calloc(vp_target_info(t)->vcpus + 1, sizeof(*views));
	struct guest_sites *found = NULL;
	int r;

	diag_init(&s.bad_diag);
	s.view = views;
	s.cache = mem_cache_create(t);
	r = s.cache && views ? search(&s, flags, &found) : VP_E_NOMEM;
	mem_cache_destroy(s.cache);
	free(s.pages);
	free(views);
	guest_sites_close(s.found);
	guest_sites_close(s.linear);
	if (r < 0)
		return diag->err == r ? r
				      : diag_set(diag, r, "%s: reading guest memory: %s",
						 vp_target_info(t)->name, vp_err_sentence(r));
	*ret = found;
	return VP_OK;
}

/* --- now ------------------------------------------------------------------------------------------------ */

int guest_sites_gpa(const struct guest_sites *s, vp_gva_t at, size_t len, enum guest_sites_use use,
		    vp_gpa_t *ret)
{
	return mem_contiguous(s->t, NULL, &s->mmu, at, len,
			      use == GUEST_SITES_TEXT ? MEM_TEXT : MEM_KERNEL, ret);
}

int guest_sites_read(const struct guest_sites *s, vp_gva_t at, size_t len, void *buf)
{
	return mem_read(s->t, NULL, &s->mmu, at, MEM_KERNEL, buf, len);
}

/* The checksum stands for all of it: a table that says something else has another. */
int guest_sites_still(const struct guest_sites *s)
{
	uint8_t head[VP_SITES_HEAD];
	vp_gpa_t page;
	int r = guest_sites_gpa(s, s->table.self, sizeof(head), GUEST_SITES_DATA, &page);

	if (guest_err_is_fatal(r))
		return r;
	if (r < 0 || page.v != s->page.v)
		return VP_E_GUEST_CHANGED;
	r = vp_read(s->t, page, head, sizeof(head));
	if (r < 0)
		return r;
	return memcmp(head, s->bytes, sizeof(head)) == 0 ? VP_OK : VP_E_GUEST_CHANGED;
}

int guest_sites_vcpu(const struct guest_sites *s, const struct arch_regs *regs)
{
	const struct arch_ops *ops = vp_target_info(s->t)->arch;
	struct arch_mmu mmu;
	unsigned n_alt;

	if (ops->mmu_off(regs, &mmu) == VP_OK)
		return same_mmu(&mmu, &s->mmu) ? VP_OK : VP_E_UNSUPPORTED;
	if (ops->mmu_from_regs(regs, &mmu) < 0)
		return VP_E_UNSUPPORTED;
	n_alt = mmu.n_alt;
	mmu.n_alt = 0;
	for (unsigned i = 0; i <= n_alt; i++) {
		struct arch_xlate x;
		int r;

		if (i > 0)
			mmu.root = mmu.alt[i - 1];
		r = mem_walk(s->t, NULL, &mmu, s->table.self, MEM_KERNEL, &x);
		if (guest_err_is_fatal(r))
			return r;
		if (r == VP_OK && x.gpa.v == s->page.v)
			return VP_OK;
	}
	return VP_E_GUEST_CHANGED;
}
