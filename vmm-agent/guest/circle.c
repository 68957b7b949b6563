// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Closing the circle around one candidate.
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
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/circle.h"

#define UTS_RELEASE    130u /* struct new_utsname: sysname[65], nodename[65], release[65] */
#define UTS_NAME_MAX   4096u
#define SYSTEM_RUNNING 3u /* include/linux/kernel.h, since 5.17 */

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
		k->writable |= read_only && x.writable && !x.blind;
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
	if (r != VP_OK)
		return r;
	raw->n = vp_ld32(word);
	if (raw->n == 0 || raw->n > KALLSYMS_SYMS_MAX)
		return VP_E_GUEST_CORRUPT;
	if (vmci_has(v, VMCI_KS_BASE)) {
		r = image_read(k, vp_gva(v->num[VMCI_KS_BASE]), word, 8, true);
		raw->base = vp_ld64(word);
	} else {
		raw->place = v->num[VMCI_KS_OFFSETS];
	}
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
	const uint32_t need = ((1u << (VMCI_KS_OFFSETS + 1)) - 1) & ~((1u << VMCI_KS_NAMES) - 1);
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
	vp_gva_t at;
	int r;

	if (g->layout->blind && !guest_sym_addr(g, "system_state", &at))
		return diag_set(
			&k->diag, VP_E_NOT_LINUX,
			"the page tables of the guest kernel %s cannot be seen from outside, "
			"and it does not name its variables (CONFIG_KALLSYMS_ALL): whether it "
			"has booted cannot be told",
			g->vmci.release);
	if (g->init_text.len && !g->layout->blind) {
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
	if (r != VP_OK || x.gpa.v != g->info.vmcoreinfo.v)
		return corrupt(k, "VMCOREINFO");
	return VP_OK;
}

int circle_close(struct look *k)
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
