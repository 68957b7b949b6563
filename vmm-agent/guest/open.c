// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Finding the guest's kernel, and closing the circle around it.
 *
 * A candidate is a page of RAM that starts "OSRELEASE=". Any user of the guest can write such
 * pages, and anything they point to, in memory of his own. What he cannot do is put bytes into
 * the kernel's image, or change a vCPU's page-table root. So a candidate is the running kernel's
 * only if all of this holds, in this order, cheapest first:
 *
 *   parse      it is what the kernel writes, to the letter
 *   layout     its own page-table root maps _stext as kernel text, where its numbers say, inside
 *              the image's part of the address space and outside the linear map
 *   registers  a vCPU's root maps _stext to the same place; on arm64 it is that root
 *   kallsyms   the symbol tables lie in read-only kernel memory of the image, decode to the last
 *              byte, ascend, have _stext where VMCOREINFO has it, and so every other symbol that
 *              both know
 *   release    init_uts_ns in the image says the same, and the build-id stands in read-only
 *              image memory
 *   itself     where the kernel's vmcoreinfo_data can be read, it points to this very page
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
#include "vmm-agent/guest/internal.h"

#define CANDIDATES_MIN 4096u
#define CANDIDATES_MAX (1u << 20)
#define UNPACKED_MAX   64u
#define PEEK_MAX       8u   /* vCPUs asked for registers before giving up on them */
#define DYING_MAX      64u  /* vCPUs looked at for a panic; all of them again in the window */
#define UTS_RELEASE    130u /* struct new_utsname: sysname[65], nodename[65], release[65] */
#define UTS_NAME_MAX   4096u
#define SYSTEM_RUNNING 3u /* include/linux/kernel.h, since 5.17 */

/* How far a candidate came: its failure is worth more words the further it got. */
enum stage { STAGE_NONE, STAGE_PARSED, STAGE_LAID_OUT, STAGE_REGISTERS, STAGE_SYMBOLS };

struct search {
	struct vp_target *t;
	const struct arch_ops *ops;
	const struct guest_layout *layout;
	struct mem_cache *cache;
	bool have_regs;  /* regs translate addresses */
	bool paging_off; /* registers could be read, and no vCPU's did */
	struct arch_regs regs;
	unsigned unpacked;
	enum stage best; /* of the candidates that failed, */
	int best_err;    /* the one that came furthest */
	struct diag best_diag;
};

/* One candidate that is being looked at. */
struct look {
	struct search *s;
	struct guest *g;
	enum stage stage;
	bool writable; /* a page that should be read-only is not */
	struct diag diag;
};

/* --- reading the image ------------------------------------------------------------------------- */

/* [at, at + len) is part of the kernel's image by its address, and physically where the image is. */
static int image_read(struct look *k, vp_gva_t at, void *buf, size_t len, bool read_only)
{
	struct guest *g = k->g;
	uint8_t *to = buf;

	if (!vp_fits(at.v - g->vmci.num[VMCI_STEXT], len, GUEST_IMAGE_MAX) ||
	    !g->layout->in_image(&g->vmci, at))
		return VP_E_GUEST_CORRUPT;
	while (len > 0) {
		struct arch_xlate x;
		uint64_t run;
		int r = mem_walk(g->t, k->s->cache, &g->info.mmu, at, MEM_KERNEL, &x);

		if (r < 0)
			return guest_err_is_fatal(r) ? r : VP_E_GUEST_CORRUPT;
		if (x.gpa.v != at.v - g->voffset)
			return VP_E_GUEST_CORRUPT;
		k->writable |= read_only && x.writable;
		run = (1ull << x.page_log) - (at.v & ((1ull << x.page_log) - 1));
		run = run < len ? run : len;
		r = vp_read(g->t, x.gpa, to, (size_t)run);
		if (r < 0)
			return guest_err_is_fatal(r) ? r : VP_E_GUEST_CORRUPT;
		to += run;
		at.v += run;
		len -= (size_t)run;
	}
	return VP_OK;
}

/* --- kallsyms ------------------------------------------------------------------------------------ */

struct tables {
	uint8_t *names, *offsets;
	uint8_t index[KALLSYMS_TOKENS * 2];
	uint8_t *tokens;
};

static void tables_deinit(struct tables *tb)
{
	free(tb->names);
	free(tb->tokens);
	free(tb->offsets);
}

/* Copies `len` bytes of the image into new memory. */
static int image_copy(struct look *k, uint64_t at, size_t len, uint8_t **ret)
{
	uint8_t *p = malloc(len ? len : 1);
	int r;

	if (!p)
		return VP_E_NOMEM;
	r = image_read(k, vp_gva(at), p, len, true);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	return VP_OK;
}

/* A table that ends where it likes is read up to the nearest table behind it: scripts/kallsyms.c
 * has put the token table behind the names and the index behind the tokens in every version. */
static int table_room(const struct vmcoreinfo *v, enum vmcoreinfo_num table, uint64_t max,
		      uint64_t *ret)
{
	uint64_t room = 0;

	for (unsigned i = VMCI_KS_NAMES; i <= VMCI_KS_BASE; i++) {
		uint64_t to = v->num[i] - v->num[table];

		if (v->num[i] > v->num[table] && (room == 0 || to < room))
			room = to;
	}
	if (room == 0 || room > max)
		return VP_E_GUEST_CORRUPT;
	*ret = room;
	return VP_OK;
}

static int read_tables(struct look *k, struct tables *tb, struct kallsyms_raw *raw)
{
	const struct vmcoreinfo *v = &k->g->vmci;
	uint64_t names, tokens;
	uint8_t word[8];
	int r = table_room(v, VMCI_KS_NAMES, KALLSYMS_NAMES_MAX, &names);

	if (r == VP_OK)
		r = table_room(v, VMCI_KS_TOKENS, KALLSYMS_TABLE_MAX, &tokens);
	if (r == VP_OK)
		r = image_read(k, vp_gva(v->num[VMCI_KS_NUM]), word, 4, true);
	if (r < 0)
		return r;
	raw->n = vp_ld32(word);
	if (raw->n == 0 || raw->n > KALLSYMS_SYMS_MAX)
		return VP_E_GUEST_CORRUPT;
	r = image_read(k, vp_gva(v->num[VMCI_KS_BASE]), word, 8, true);
	raw->base = vp_ld64(word);
	if (r == VP_OK)
		r = image_read(k, vp_gva(v->num[VMCI_KS_INDEX]), tb->index, sizeof(tb->index),
			       true);
	if (r == VP_OK)
		r = image_copy(k, v->num[VMCI_KS_TOKENS], (size_t)tokens, &tb->tokens);
	if (r == VP_OK)
		r = image_copy(k, v->num[VMCI_KS_OFFSETS], (size_t)raw->n * 4, &tb->offsets);
	if (r == VP_OK)
		r = image_copy(k, v->num[VMCI_KS_NAMES], (size_t)names, &tb->names);
	raw->names = tb->names;
	raw->names_len = (size_t)names;
	raw->tokens = tb->tokens;
	raw->tokens_len = (size_t)tokens;
	raw->index = tb->index;
	raw->offsets = tb->offsets;
	return r;
}

static int read_kallsyms(struct look *k)
{
	const uint32_t need = ((1u << (VMCI_KS_BASE + 1)) - 1) & ~((1u << VMCI_KS_NAMES) - 1);
	struct kallsyms_raw raw = {0};
	struct tables tb = {0};
	int r;

	if ((k->g->vmci.have & need) != need)
		return diag_set(
			&k->diag, VP_E_NOT_LINUX,
			"the guest kernel %s does not tell where its symbols are (VMCOREINFO "
			"has them since Linux 6.0): it cannot be patched",
			k->g->vmci.release);
	k->s->unpacked++;
	r = read_tables(k, &tb, &raw);
	if (r == VP_OK)
		r = kallsyms_decode(&raw, k->g->vmci.num[VMCI_STEXT], &k->g->ks);
	tables_deinit(&tb);
	if (r == VP_E_GUEST_CORRUPT)
		return diag_set(&k->diag, r,
				"the symbol table of the guest kernel %s is not one that a kernel "
				"would have: its memory is damaged",
				k->g->vmci.release);
	return r;
}

/* --- the circle ------------------------------------------------------------------------------------ */

static int lay_out(struct look *k)
{
	struct guest *g = k->g;
	struct arch_xlate x;
	int r = g->layout->derive(&g->vmci, &g->info.mmu, &g->voffset);

	if (r < 0)
		return r;
	g->info.text = vp_gva(g->vmci.num[VMCI_STEXT]);
	g->text_gpa = vp_gpa(g->info.text.v - g->voffset);
	if (!g->layout->in_image(&g->vmci, g->info.text) || g->info.text.v % GUEST_PAGE)
		return VP_E_GUEST_CORRUPT;
	r = mem_walk(g->t, k->s->cache, &g->info.mmu, g->info.text, MEM_TEXT, &x);
	if (r == VP_OK && x.gpa.v != g->text_gpa.v)
		r = VP_E_GUEST_CORRUPT;
	return r;
}

static int agree_with_registers(struct look *k)
{
	struct guest *g = k->g;
	struct arch_mmu mmu;
	int r;

	if (!k->s->have_regs)
		return VP_OK;
	r = guest_check_root(g->t, k->s->cache, g->ops, g->layout, &k->s->regs, g->info.mmu.root,
			     g->info.text, g->text_gpa, &mmu);
	if (r < 0)
		return r == VP_E_GUEST_CHANGED ? VP_E_GUEST_CORRUPT : r;
	/* The registers know more than VMCOREINFO does: how entries are to be read. */
	mmu.root = g->info.mmu.root;
	g->info.mmu = mmu;
	g->info.registers_seen = true;
	return VP_OK;
}

static int corrupt(struct look *k, const char *what)
{
	return diag_set(&k->diag, VP_E_GUEST_CORRUPT,
			"%s of the guest kernel %s and its symbols do not agree: its memory is "
			"damaged",
			what, k->g->vmci.release);
}

static int agree_with_symbols(struct look *k)
{
	struct guest *g = k->g;
	const struct vmcoreinfo *v = &g->vmci;
	vp_gva_t at, end, init, init_end;

	for (unsigned i = 0; i < VMCI_COUNT; i++) {
		const char *name = vmcoreinfo_symbol(i);

		if (name && vmci_has(v, i) && guest_sym_addr(g, name, &at) && at.v != v->num[i])
			return corrupt(k, name);
	}
	if (!guest_sym_addr(g, "_etext", &end) || end.v <= g->info.text.v ||
	    end.v - g->info.text.v > GUEST_TEXT_MAX)
		return corrupt(k, "_etext");
	g->info.text_end = end;
	g->image = (struct guest_range){g->info.text.v, end.v - g->info.text.v};
	if (guest_sym_addr(g, "_sinittext", &init) && guest_sym_addr(g, "_einittext", &init_end) &&
	    init_end.v > init.v && init_end.v - init.v < GUEST_TEXT_MAX)
		g->init_text = (struct guest_range){init.v, init_end.v - init.v};
	g->info.data_symbols = guest_sym_addr(g, "init_task", &at);
	if (g->info.data_symbols && guest_sym_addr(g, "_end", &end) && end.v > g->info.text.v &&
	    end.v - g->info.text.v <= GUEST_IMAGE_MAX)
		g->image.len = end.v - g->info.text.v;
	return VP_OK;
}

/* Init text is executable until the kernel frees it, right before it starts init; then it makes
 * its constants read-only. */
static int still_booting(struct look *k)
{
	struct guest *g = k->g;
	struct arch_xlate x;
	uint8_t state[4];
	int r;

	if (g->init_text.len) {
		r = mem_walk(g->t, k->s->cache, &g->info.mmu, vp_gva(g->init_text.start), MEM_TEXT,
			     &x);
		if (guest_err_is_fatal(r))
			return r;
		if (r == VP_OK && x.gpa.v == g->init_text.start - g->voffset)
			return diag_set(&k->diag, VP_E_BOOTING,
					"the guest kernel %s is still booting: try again",
					g->vmci.release);
	}
	if (guest_var(g, "system_state", state, sizeof(state)) && vp_ld32(state) < SYSTEM_RUNNING)
		return diag_set(&k->diag, VP_E_BOOTING,
				"the guest kernel %s is still booting: try again", g->vmci.release);
	if (k->writable)
		return diag_set(&k->diag, VP_E_BOOTING,
				"the guest kernel %s has not write-protected its constants: it is "
				"still booting (try again), or was started with rodata=off, which "
				"vpatch does not handle",
				g->vmci.release);
	return VP_OK;
}

static int agree_with_uts(struct look *k)
{
	const struct vmcoreinfo *v = &k->g->vmci;
	char release[sizeof(v->release)];
	uint64_t off = v->num[VMCI_UTS_NAME];
	int r;

	if (!vmci_has(v, VMCI_UTS) || !vmci_has(v, VMCI_UTS_NAME) || off > UTS_NAME_MAX)
		return corrupt(k, "init_uts_ns");
	r = image_read(k, vp_gva(v->num[VMCI_UTS] + off + UTS_RELEASE), release, sizeof(release),
		       false);
	if (r == VP_OK && memcmp(release, v->release, strlen(v->release) + 1) != 0)
		r = VP_E_GUEST_CORRUPT;
	return r == VP_E_GUEST_CORRUPT ? corrupt(k, "the release") : r;
}

/* An ELF note of type NT_GNU_BUILD_ID with this content, 4-byte aligned. */
static bool has_note(const uint8_t *p, size_t len, const struct vmcoreinfo *v)
{
	uint8_t note[16 + sizeof(v->build_id)];
	size_t n = 16 + v->build_id_len;
	const uint8_t *at = p;

	vp_st32(note, 4);
	vp_st32(note + 4, v->build_id_len);
	vp_st32(note + 8, 3);
	memcpy(note + 12, "GNU", 4);
	memcpy(note + 16, v->build_id, v->build_id_len);
	while ((at = memmem(at, len - (size_t)(at - p), note, n)) != NULL) {
		if ((size_t)(at - p) % 4 == 0)
			return true;
		at++;
	}
	return false;
}

/* Where there is a variable with it that is quickest; else it stands somewhere behind the text. */
static int agree_with_build_id(struct look *k)
{
	struct guest *g = k->g;
	const struct vmcoreinfo *v = &g->vmci;
	uint8_t id[sizeof(v->build_id)];
	struct guest_ro ro;
	vp_gva_t at;
	bool same;
	int r;

	if (v->build_id_len == 0)
		return VP_OK;
	if (guest_sym_addr(g, "vmlinux_build_id", &at)) {
		r = image_read(k, at, id, v->build_id_len, true);
		same = r == VP_OK && memcmp(id, v->build_id, v->build_id_len) == 0;
	} else {
		r = guest_ro_read(g, k->s->cache, &ro);
		same = r == VP_OK && has_note(ro.p, ro.len, v);
		guest_ro_deinit(&ro);
	}
	if (r == VP_E_NOMEM || guest_err_is_fatal(r))
		return r;
	return same ? VP_OK : corrupt(k, "the build-id");
}

static int points_to_itself(struct look *k)
{
	struct guest *g = k->g;
	struct arch_xlate x;
	uint8_t raw[8];
	vp_gva_t at;
	int r;

	if (!guest_sym_addr(g, "vmcoreinfo_data", &at))
		return VP_OK;
	r = image_read(k, at, raw, sizeof(raw), false);
	if (r == VP_OK)
		r = mem_walk(g->t, k->s->cache, &g->info.mmu, vp_gva(vp_ld64(raw)), MEM_DATA, &x);
	if (guest_err_is_fatal(r))
		return r;
	if (r < 0 || x.gpa.v != g->info.vmcoreinfo.v)
		return corrupt(k, "VMCOREINFO");
	return VP_OK;
}

static int close_circle(struct look *k)
{
	struct guest *g = k->g;
	uint8_t page[VMCOREINFO_PAGE];
	int r = vp_read(g->t, g->info.vmcoreinfo, page, sizeof(page));

	if (r < 0)
		return r;
	r = vmcoreinfo_parse(page, sizeof(page), &g->vmci);
	if (r < 0)
		return r;
	k->stage = STAGE_PARSED;
	r = lay_out(k);
	if (r < 0)
		return r;
	k->stage = STAGE_LAID_OUT;
	r = agree_with_registers(k);
	if (r < 0)
		return r;
	k->stage = STAGE_REGISTERS;
	r = read_kallsyms(k);
	if (r == VP_OK)
		r = agree_with_symbols(k);
	if (r < 0)
		return r;
	k->stage = STAGE_SYMBOLS;
	r = agree_with_uts(k);
	if (r == VP_OK)
		r = still_booting(k);
	if (r == VP_OK)
		r = agree_with_build_id(k);
	return r == VP_OK ? points_to_itself(k) : r;
}

/* --- the search ------------------------------------------------------------------------------------- */

static void destroy(struct guest *g)
{
	if (!g)
		return;
	kallsyms_deinit(&g->ks);
	btf_deinit(&g->btf);
	exports_deinit(&g->exports);
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
	r = close_circle(&k);
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
			"%s: more than one kernel in guest memory looks real, and only the vCPUs' "
			"registers could tell: run without --dry-run",
			vp_target_info(s->t)->name);
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

static int find_pages(struct vp_target *t, vp_gpa_t **pages_ret, size_t *n_ret, struct diag *diag)
{
	for (size_t cap = CANDIDATES_MIN; cap <= CANDIDATES_MAX; cap *= 16) {
		vp_gpa_t *pages = calloc(cap, sizeof(*pages));
		int r;

		if (!pages)
			return diag_set(diag, VP_E_NOMEM, "list of candidate pages: no memory");
		r = vp_find_pages(t, VMCOREINFO_PREFIX, sizeof(VMCOREINFO_PREFIX) - 1, pages, cap,
				  n_ret, diag);
		if (r == VP_OK) {
			*pages_ret = pages;
			return VP_OK;
		}
		free(pages);
		if (r != VP_E_RANGE)
			return r;
	}
	return diag_set(diag, VP_E_GUEST_AMBIGUOUS,
			"%s: more than %u pages of guest memory pretend to be VMCOREINFO: somebody "
			"in the guest fills its memory with them",
			vp_target_info(t)->name, CANDIDATES_MAX);
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

static int search(struct search *s, unsigned flags, struct diag *diag, struct guest **ret)
{
	vp_gpa_t *pages = NULL;
	size_t n = 0;
	int r = find_pages(s->t, &pages, &n, diag);

	if (!pages)
		return r < 0 ? r : VP_E_INTERNAL;
	if (vp_target_caps(s->t) & VP_CAP_REGS_LIVE) {
		r = with_each_vcpu(s, pages, n, diag, ret);
	} else {
		/* A hold only where registers have something to decide: the window looks at every
		 * vCPU's before the first write anyway. */
		r = search_pages(s, pages, n, diag, ret);
		if (r == VP_E_GUEST_AMBIGUOUS && (flags & GUEST_MAY_HOLD)) {
			s->unpacked = 0;
			r = with_each_vcpu(s, pages, n, diag, ret);
		}
	}
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
static int refuse_dying(struct guest *g, struct diag *diag)
{
	unsigned vcpus = vp_target_info(g->t)->vcpus;
	int r = guest_check_panic(g, diag);

	if (!g->info.registers_seen || g->panic_cpu.v)
		vcpus = g->info.registers_seen ? 1 : 0;
	for (unsigned i = 0; r == VP_OK && i < vcpus && i < DYING_MAX; i++) {
		struct arch_regs regs;

		r = vp_peek_regs(g->t, i, &regs, diag);
		if (r == VP_OK)
			r = guest_check_vcpu(g, i, &regs, diag);
	}
	return r;
}

int guest_open(struct vp_target *t, unsigned flags, struct diag *diag, struct guest **ret)
{
	struct search s = {.t = t, .ops = vp_target_info(t)->arch};
	struct guest *g = NULL;
	int r = refuse_state(t, diag);

	if (r < 0)
		return r;
	s.layout = guest_layout(s.ops->id);
	s.cache = mem_cache_create(t);
	if (!s.cache)
		return diag_set(diag, VP_E_NOMEM, "page cache: no memory");
	r = search(&s, flags, diag, &g);
	if (r == VP_OK) {
		fill_info(g);
		guest_held_prepare(g);
		guest_identify(g, s.cache);
		r = refuse_dying(g, diag);
	}
	mem_cache_destroy(s.cache);
	if (r < 0) {
		destroy(g);
		return r;
	}
	*ret = g;
	return VP_OK;
}

void guest_close(struct guest *g)
{
	destroy(g);
}

const struct guest_info *guest_info(const struct guest *g)
{
	return &g->info;
}
