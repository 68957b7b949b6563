// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is read once from the kernel's constants: BTF, exported variables, and what tells one boot
 * from another.
 *
 * The boot identity is made of values that the kernel chose while it booted and does not change
 * afterwards: where image and page tables lie, where the linear map, vmalloc and vmemmap begin
 * (KASLR), where VMCOREINFO was allocated, and init_task's stack canary. It may repeat when a
 * guest without KASLR and without any randomness at boot is booted twice; restoring one saved
 * state twice repeats it by design.
 */
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define RO_MAX (64u << 20)

void guest_ro_deinit(struct guest_ro *ro)
{
	free(ro->p);
	*ro = (struct guest_ro){0};
}

/* How far from the end of the text kernel memory goes on that is read-only and of the image. */
static int ro_length(struct guest *g, struct mem_cache *cache, uint64_t start, size_t *ret)
{
	size_t len = 0;

	while (len < RO_MAX) {
		vp_gva_t at = vp_gva(start + len);
		struct arch_xlate x;
		int r = mem_walk(g->t, cache, &g->info.mmu, at, MEM_KERNEL, &x);
		uint64_t run;

		if (guest_err_is_fatal(r))
			return r;
		if (r < 0 || x.writable || x.gpa.v != at.v - g->voffset)
			break;
		run = (1ull << x.page_log) - (at.v & ((1ull << x.page_log) - 1));
		len += run < RO_MAX - len ? (size_t)run : RO_MAX - len;
	}
	*ret = len;
	return VP_OK;
}

int guest_ro_read(struct guest *g, struct mem_cache *cache, struct guest_ro *ret)
{
	uint64_t page = 1ull << g->info.mmu.granule_log;
	struct guest_ro ro = {.start = (g->info.text_end.v + page - 1) & ~(page - 1)};
	int r;

	*ret = (struct guest_ro){0};
	r = ro_length(g, cache, ro.start, &ro.len);
	if (r < 0)
		return r;
	if (ro.len == 0)
		return VP_E_UNMAPPED;
	ro.p = malloc(ro.len);
	if (!ro.p)
		return VP_E_NOMEM;
	r = vp_read(g->t, vp_gpa(ro.start - g->voffset), ro.p, ro.len);
	if (r < 0) {
		free(ro.p);
		return r;
	}
	*ret = ro;
	return VP_OK;
}

/* --- BTF -------------------------------------------------------------------------------------------- */

static void take_btf(struct guest *g, const uint8_t *p, size_t len)
{
	uint8_t *copy;
	uint32_t size;

	if (btf_size(p, len, &size) < 0 || size > len)
		return;
	copy = malloc(size);
	if (!copy)
		return;
	memcpy(copy, p, size);
	if (btf_parse(copy, size, &g->btf) < 0)
		free(copy);
}

static void btf_by_symbol(struct guest *g, struct mem_cache *cache, vp_gva_t at)
{
	uint8_t header[BTF_HEADER];
	uint32_t size;
	uint8_t *p;

	if (guest_read(g, at, header, sizeof(header)) < 0 ||
	    btf_size(header, sizeof(header), &size) < 0)
		return;
	p = malloc(size);
	if (!p)
		return;
	if (mem_read(g->t, cache, &g->info.mmu, at, MEM_KERNEL, p, size) < 0 ||
	    btf_parse(p, size, &g->btf) < 0)
		free(p);
}

static void btf_by_magic(struct guest *g, const struct guest_ro *ro)
{
	static const uint8_t magic[8] = {0x9f, 0xeb, 1, 0, BTF_HEADER, 0, 0, 0};
	const uint8_t *at = ro->p;

	while (g->btf.n_types == 0 &&
	       (at = memmem(at, ro->len - (size_t)(at - ro->p), magic, sizeof(magic))) != NULL) {
		if ((size_t)(at - ro->p) % 4 == 0)
			take_btf(g, at, ro->len - (size_t)(at - ro->p));
		at++;
	}
}

/* --- exported variables, where kallsyms has none ---------------------------------------------------------- */

static void take_exports(struct guest *g, const struct guest_ro *ro)
{
	struct exports_raw raw = {
		.p = ro->p,
		.len = ro->len,
		.start = ro->start,
		.image = g->info.text.v,
		.image_len = GUEST_IMAGE_MAX,
		.percpu_len = g->layout->percpu_len,
	};

	/* Without the table a name is refused where it is asked for; nothing else needs it. */
	if (exports_find(&raw, &g->ks, &g->exports) < 0)
		g->exports = (struct exports){0};
}

/* --- boot identity ------------------------------------------------------------------------------------------ */

struct mix {
	uint64_t a, b;
};

/* Two FNV-1a lanes with different starts: an identity, not a secret. */
static void mix(struct mix *m, const void *p, size_t n)
{
	const uint8_t *s = p;

	for (size_t i = 0; i < n; i++) {
		m->a = (m->a ^ s[i]) * 0x100000001b3ull;
		m->b = (m->b ^ (s[i] + 0x5bu)) * 0x100000001b3ull;
	}
}

static void mix64(struct mix *m, uint64_t v)
{
	uint8_t raw[8];

	vp_st64(raw, v);
	mix(m, raw, sizeof(raw));
}

static void mix_var(struct guest *g, struct mix *m, const char *name)
{
	uint8_t raw[8];

	if (guest_var(g, name, raw, sizeof(raw)))
		mix(m, raw, sizeof(raw));
}

/* arm64 has no symbol for the start of its linear map; a forged page could lie about it, so it
 * counts only if the page tables agree that it maps the kernel's first page of text there. */
static void mix_linear_map(struct guest *g, struct mix *m)
{
	uint64_t va_bits = g->vmci.num[VMCI_VA_BITS], phys = g->vmci.num[VMCI_PHYS_OFFSET];
	struct arch_xlate x;
	vp_gva_t at;

	if (!vmci_has(&g->vmci, VMCI_PHYS_OFFSET) || va_bits < 36 || va_bits > 52)
		return;
	/* __phys_to_virt: (x - PHYS_OFFSET) | PAGE_OFFSET, asm/memory.h */
	at = vp_gva((g->text_gpa.v - phys) | (0 - (1ull << va_bits)));
	if (guest_xlate(g, at, &x) == VP_OK && x.present && !x.user && x.gpa.v == g->text_gpa.v)
		mix64(m, phys);
}

static void mix_canary(struct guest *g, struct mix *m)
{
	struct guest_sym task;
	uint32_t off;
	uint8_t raw[8];

	if (btf_member(&g->btf, "task_struct", "stack_canary", &off) &&
	    guest_sym(g, "init_task", 0, NULL, &task) == VP_OK &&
	    guest_read(g, vp_gva(task.addr.v + off), raw, sizeof(raw)) == VP_OK)
		mix(m, raw, sizeof(raw));
}

void guest_identify(struct guest *g, struct mem_cache *cache)
{
	struct mix m = {0xcbf29ce484222325ull, 0x84222325cbf29ce4ull};
	struct guest_ro ro = {0};
	vp_gva_t at;

	if (guest_sym_addr(g, "__start_BTF", &at)) {
		btf_by_symbol(g, cache, at);
	} else if (!g->info.data_symbols && guest_ro_read(g, cache, &ro) == VP_OK) {
		btf_by_magic(g, &ro);
		take_exports(g, &ro);
	}
	mix(&m, g->info.build_id, g->info.build_id_len);
	mix64(&m, g->info.text.v);
	mix64(&m, g->voffset);
	mix64(&m, g->info.mmu.root.v);
	mix_var(g, &m, "page_offset_base");
	mix_var(g, &m, "vmalloc_base");
	mix_var(g, &m, "vmemmap_base");
	mix_var(g, &m, "vmcoreinfo_data");
	mix_linear_map(g, &m);
	mix_canary(g, &m);
	guest_ro_deinit(&ro);
	vp_st64(g->info.boot_id, m.a);
	vp_st64(g->info.boot_id + 8, m.b);
}
