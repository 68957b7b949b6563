// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Finding the guest's kernel: every page that may be its VMCOREINFO is a candidate, and the one
 * around which the circle closes (circle.c) is the kernel's.
 *
 * With registers the first candidate that closes is the kernel: what it could still lie about has
 * been read from the image. Without (a dry run against a driver that would have to hold the
 * guest) all candidates are looked at and two that close are refused.
 *
 * Planting pages costs a guest user memory and the host one page read and one parse each (some
 * 15 us): only a page that knows the true _stext and root gets as far as the tables, and none
 * gets to unpack names unless the token table is one to the letter. Beyond CANDIDATES_MAX pages
 * (4 GiB of forgeries), and without registers beyond UNPACKED_MAX unpacked tables, the guest is
 * refused as VP_E_GUEST_AMBIGUOUS rather than searched for ever.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/circle.h"

#define UNPACKED_MAX 64u
#define PEEK_MAX     8u  /* vCPUs asked for registers before giving up on them */
#define DYING_MAX    64u /* vCPUs looked at for a panic; all of them again in the window */

static void destroy(struct guest *g)
{
	if (!g)
		return;
	kallsyms_deinit(&g->ks);
	btf_deinit(&g->btf);
	exports_deinit(&g->exports);
	guest_contexts_destroy(g->contexts);
	guest_sites_close(g->stub);
	free(g);
}

/* What a forgery or a damaged page leads to is passed over, and its furthest failure kept. */
static void keep_failure(struct look *k, int r)
{
	struct search *s = k->s;

	if (k->stage < s->best || s->best_err == VP_E_BOOTING)
		return;
	s->best = k->stage;
	s->best_err = r;
	s->best_diag = k->diag;
}

/* VP_OK with *ret NULL when the candidate does not close. */
static int look_at(struct search *s, vp_gpa_t page, struct guest **ret)
{
	struct look k = {.s = s};
	int r;

	diag_init(&k.diag);
	*ret = NULL;
	k.g = calloc(1, sizeof(*k.g));
	if (!k.g)
		return VP_E_NOMEM;
	k.g->t = s->t;
	k.g->ops = s->ops;
	k.g->layout = s->layout;
	k.g->info.arch = s->ops;
	k.g->info.vmcoreinfo = page;
	r = circle_close(&k);
	if (r == VP_OK) {
		*ret = k.g;
		return VP_OK;
	}
	destroy(k.g);
	if (r != VP_E_BOOTING && r != VP_E_NOT_LINUX && guest_err_is_fatal(r))
		return r;
	keep_failure(&k, r);
	return VP_OK;
}

static bool same_words(const struct vmcoreinfo *a, const struct vmcoreinfo *b)
{
	return strcmp(a->release, b->release) == 0 && a->build_id_len == b->build_id_len &&
	       memcmp(a->build_id, b->build_id, a->build_id_len) == 0 && a->have == b->have &&
	       memcmp(a->num, b->num, sizeof(a->num)) == 0;
}

/* Whether both pages describe one and the same kernel: a copy of the true page is no second one. */
static bool same_kernel(const struct guest *a, const struct guest *b)
{
	return a->info.mmu.root.v == b->info.mmu.root.v && a->voffset == b->voffset &&
	       a->info.text.v == b->info.text.v && a->ks.n == b->ks.n &&
	       same_words(&a->vmci, &b->vmci);
}

static int say_ambiguous(struct search *s, struct diag *diag)
{
	return diag_set(diag, VP_E_GUEST_AMBIGUOUS,
			"%s: more than one kernel in guest memory looks real, and %s",
			vp_target_info(s->t)->name,
			s->layout->blind
				? "on this architecture no register tells which of them runs"
				: "only the vCPUs' registers could tell: run without --dry-run");
}

static int search_pages(struct search *s, const vp_gpa_t *pages, size_t n, struct diag *diag,
			struct guest **ret)
{
	struct guest *found = NULL, *g;

	for (size_t i = 0; i < n; i++) {
		int r = look_at(s, pages[i], &g);

		if (r < 0) {
			destroy(found);
			return diag_set(diag, r, "%s: reading guest memory: %s",
					vp_target_info(s->t)->name, vp_err_sentence(r));
		}
		if (g && found) {
			bool same = same_kernel(g, found);

			destroy(g);
			if (!same) {
				destroy(found);
				return say_ambiguous(s, diag);
			}
		} else if (g) {
			found = g;
		}
		if (found && s->have_regs)
			break;
		if (!s->have_regs && s->unpacked >= UNPACKED_MAX && i + 1 < n) {
			destroy(found);
			return say_ambiguous(s, diag);
		}
	}
	*ret = found;
	return VP_OK;
}

/* Words of a search that found nothing. */
static int say_nothing(struct search *s, size_t n, struct diag *diag)
{
	const char *name = vp_target_info(s->t)->name;

	if (n == 0)
		return diag_set(diag, VP_E_NOT_LINUX,
				"%s: no Linux kernel is in guest memory (or it is still booting)",
				name);
	if (s->best >= STAGE_REGISTERS && s->best_diag.text[0])
		return diag_set(diag, s->best_err, "%s: %s", name, s->best_diag.text);
	if (s->best >= STAGE_LAID_OUT || s->paging_off)
		return diag_set(diag, VP_E_NOT_LINUX,
				"%s: the vCPUs do not run the kernel that guest memory describes: "
				"the guest is in its firmware, boots, or runs something else",
				name);
	return diag_set(diag, VP_E_GUEST_CORRUPT,
			"%s: what looks like VMCOREINFO in guest memory is damaged, forged or of a "
			"kernel that vpatch does not know",
			name);
}

/* A driver that reads PC, SP and status only has nothing to say about page tables. */
static bool knows_system_registers(const struct arch_regs *regs)
{
	return __builtin_popcount(regs->have >> ARCH_REG_SYS0) >= 3;
}

static int with_each_vcpu(struct search *s, const vp_gpa_t *pages, size_t n, struct diag *diag,
			  struct guest **ret)
{
	unsigned vcpus = vp_target_info(s->t)->vcpus;
	bool asked = false;

	*ret = NULL;
	for (unsigned i = 0; i < vcpus && i < PEEK_MAX && !*ret; i++) {
		struct arch_mmu mmu;
		int r = vp_peek_regs(s->t, i, &s->regs, diag);

		s->vcpu = i;
		if (r == VP_E_UNSUPPORTED)
			break;
		if (r < 0)
			return r;
		asked |= knows_system_registers(&s->regs);
		if (s->ops->mmu_from_regs(&s->regs, &mmu) < 0)
			continue; /* not started, or in its firmware */
		s->have_regs = true;
		r = search_pages(s, pages, n, diag, ret);
		if (r < 0)
			return r;
	}
	s->paging_off = asked && !s->have_regs;
	if (*ret || s->have_regs || s->paging_off)
		return VP_OK;
	return search_pages(s, pages, n, diag, ret);
}

static int search_among(struct search *s, const vp_gpa_t *pages, size_t n, unsigned flags,
			struct diag *diag, struct guest **ret)
{
	int r;

	/* Where no register shows a root, all candidates are looked at: a forged one beside the true
	 * one is noticed. */
	if (s->layout->blind)
		return search_pages(s, pages, n, diag, ret);
	if (vp_target_caps(s->t) & VP_CAP_REGS_LIVE)
		return with_each_vcpu(s, pages, n, diag, ret);
	/* A hold only where registers have something to decide: the window looks at every
	 * vCPU's before the first write anyway. */
	r = search_pages(s, pages, n, diag, ret);
	if (r != VP_E_GUEST_AMBIGUOUS || !(flags & GUEST_MAY_HOLD))
		return r;
	s->unpacked = 0;
	return with_each_vcpu(s, pages, n, diag, ret);
}

static int search(struct search *s, unsigned flags, struct diag *diag, struct guest **ret)
{
	const struct search fresh = *s;
	vp_gpa_t *pages = NULL, noted;
	size_t n = 0;
	int r;

	/* The page of the last time has to close the circle by the same proofs. One of a kernel that
	 * has gone can do so where no registers are read: the window refuses it, and it is
	 * forgotten. */
	if (!s->layout->blind && vp_noted_kernel(s->t, &noted)) {
		r = search_among(s, &noted, 1, flags, diag, ret);
		if (r < 0 || *ret)
			return r;
		*s = fresh;
	}
	r = mem_candidates(s->t, VMCOREINFO_PREFIX, sizeof(VMCOREINFO_PREFIX) - 1, "VMCOREINFO",
			   diag, &pages, &n);
	if (!pages)
		return r < 0 ? r : VP_E_INTERNAL;
	r = search_among(s, pages, n, flags, diag, ret);
	free(pages);
	if (r == VP_OK && !*ret)
		r = say_nothing(s, n, diag);
	return r;
}

/* --- the opened guest --------------------------------------------------------------------------------- */

static void fill_info(struct guest *g)
{
	struct guest_info *info = &g->info;

	snprintf(info->release, sizeof(info->release), "%s", g->vmci.release);
	memcpy(info->build_id, g->vmci.build_id, sizeof(info->build_id));
	info->build_id_len = g->vmci.build_id_len;
	info->kaslr = g->vmci.num[VMCI_KERNELOFFSET];
	info->n_symbols = g->ks.n;
	info->is_linux = true;
}

static int refuse_state(struct vp_target *t, struct diag *diag)
{
	enum vp_run_state state;
	int r = vp_run_state(t, &state, NULL, diag);

	if (r < 0)
		return r;
	if (state == VP_RUN_PANICKED)
		return diag_set(diag, VP_E_PANICKED, "%s: the guest kernel has panicked",
				vp_target_info(t)->name);
	if (state == VP_RUN_SHUTDOWN)
		return diag_set(diag, VP_E_SHUTDOWN, "%s: the guest is shutting down or has ended",
				vp_target_info(t)->name);
	return VP_OK;
}

/* Where the kernel does not tell in a variable, the vCPUs' stacks do; any of them may have panicked. */
static int refuse_dying(struct guest *g, const struct search *s, struct diag *diag)
{
	unsigned vcpus = vp_target_info(g->t)->vcpus;
	int r = guest_check_panic(g, diag);

	if (r < 0 || !g->info.registers_seen)
		return r;
	r = guest_check_vcpu(g, s->vcpu, &s->regs, diag);
	for (unsigned i = 0; r == VP_OK && !g->panic_cpu.v && i < vcpus && i < DYING_MAX; i++) {
		struct arch_regs regs;

		if (i == s->vcpu)
			continue;
		r = vp_peek_regs(g->t, i, &regs, diag);
		if (r == VP_OK)
			r = guest_check_vcpu(g, i, &regs, diag);
	}
	return r;
}

static int open_linux(struct vp_target *t, unsigned flags, struct diag *diag, struct guest **ret)
{
	struct search s = {.t = t, .ops = vp_target_info(t)->arch};
	struct guest *g = NULL;
	int r;

	s.layout = guest_layout(s.ops->id);
	if (!s.layout)
		return diag_set(
			diag, VP_E_UNSUPPORTED,
			"guest architecture `%s` is not supported: this vpatch does not know "
			"how a Linux kernel lays itself out there",
			s.ops->name);
	s.cache = mem_cache_create(t);
	if (!s.cache)
		return diag_set(diag, VP_E_NOMEM, "page cache: no memory");
	r = search(&s, flags, diag, &g);
	if (r == VP_OK && !g)
		r = diag_set(diag, VP_E_INTERNAL,
			     "the search for the guest kernel ended without one");
	if (r == VP_OK) {
		fill_info(g);
		guest_held_prepare(g);
		guest_identify(g, s.cache);
		r = refuse_dying(g, &s, diag);
	}
	mem_cache_destroy(s.cache);
	if (r < 0) {
		vp_note_kernel(t, NULL);
		destroy(g);
		return r;
	}
	vp_note_kernel(t, &g->info.vmcoreinfo);
	*ret = g;
	return VP_OK;
}

/* What is no Linux that can be read may have a stub; what it is without one has been said already. */
int guest_open(struct vp_target *t, unsigned flags, struct diag *diag, struct guest **ret)
{
	int r = flags & GUEST_STATE_KNOWN ? VP_OK : refuse_state(t, diag), stub;
	struct diag why;

	if (r == VP_OK)
		r = open_linux(t, flags, diag, ret);
	if (r != VP_E_NOT_LINUX &&
	    (r != VP_E_UNSUPPORTED || guest_layout(vp_target_info(t)->arch->id)))
		return r;
	diag_init(&why);
	stub = guest_open_stub(t, flags, &why, ret);
	if (stub == VP_OK) {
		if (diag)
			diag_init(diag);
		return VP_OK;
	}
	return stub == VP_E_NO_STUB ? r : diag_set(diag, stub, "%s", why.text);
}

void guest_close(struct guest *g)
{
	destroy(g);
}

const struct guest_info *guest_info(const struct guest *g)
{
	return &g->info;
}
