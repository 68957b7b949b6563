/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A kernel of which some words are wrong: page tables, VMCOREINFO, symbol tables, BTF, ftrace
 * records and lists, ledger. Bit 0 of the first byte picks the architecture, its upper half (15)
 * has the arena read too (slow: it looks at all text); then rows of twelve bytes: region, width (1, 2, 4, 8 bytes), u16 offset, u64 value. Memory is put back after each input.
 * VP_PLANT_GUEST takes the bound of an ftrace hash's size out (vmm-agent/guest/ftrace.c).
 * covers: vmm-agent/guest/open.c vmm-agent/guest/circle.c vmm-agent/guest/memory.c vmm-agent/guest/symbols.c vmm-agent/guest/arena.c vmm-agent/guest/ftrace.c vmm-agent/guest/identity.c vmm-agent/guest/held.c vmm-agent/guest/exports.c
 */
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "tests/lib/guestimg.h"
#include "vmm-agent/guest/guest.h"

#define ROW      12u
#define ROWS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

/* A search for leaks goes through the guest's 32 MiB and takes a hundred times what an input takes;
 * leaks are looked for by the unit tests, under the same sanitizer. */
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

struct world {
	struct guestimg img;
	struct vp_target *t;
};

struct undo {
	uint8_t *at;
	uint8_t old[8];
	unsigned len;
};

static void world_init(struct world *w, enum arch_id id)
{
	struct fake *f = fake_create(arch_get(id), 2);
	struct diag diag;

	diag_init(&diag);
	guestimg_ram(f, arch_get(id), 1);
	guestimg_build(f, arch_get(id), NULL, &w->img);
	if (id == ARCH_X86_64)
		guestimg_add_ops(&w->img, w->img.func[1], w->img.func[5]);
	if (fake_open(f, &diag, &w->t) < 0)
		abort();
}

/* Where row's word lies, NULL for a row that says nothing. */
static uint8_t *place(struct world *w, const uint8_t *row, unsigned len)
{
	static const struct {
		uint32_t base, len;
	} regions[] = {
		{0x80000, 0x1000},             /* VMCOREINFO */
		{0x90000, 0x1200},             /* ftrace records */
		{0xf0000, 0x1000},             /* a process's PGD */
		{0x100000, 0x8000},            /* page tables */
		{0x400000 + 0x10040, 0x1000},  /* the cave: a ledger */
		{0x400000 + 0x401000, 0x6400}, /* symbol tables */
		{0x400000 + 0x408000, 0x1000}, /* arm64: the root */
		{0x400000 + 0x410000, 0x1000}, /* BTF */
		{0x400000 + 0x600000, 0x2400}, /* data */
		{0x400000 + 0x608000, 0x1000}, /* x86-64: the root */
	};
	unsigned i = row[0] % (sizeof(regions) / sizeof(regions[0]));
	uint32_t off = vp_ld16(row + 2);

	if (!vp_fits(off, len, regions[i].len))
		return NULL;
	return fake_mem(w->img.f, vp_gpa(w->img.ram + regions[i].base + off), len);
}

static void look(struct world *w, bool arena)
{
	struct vp_paused *p;
	struct guest_tracer tr;
	struct guest_quiet q[2];
	struct guest_arena a;
	struct guest_sym sym;
	struct diag diag;
	struct guest *g;
	size_t n;

	diag_init(&diag);
	if (guest_open(w->t, GUEST_MAY_HOLD, &diag, &g) < 0) {
		if (!diag.text[0])
			abort(); /* a refusal says why */
		return;
	}
	if (guest_info(g)->mmu.root.v != w->img.root.v || guest_info(g)->text.v != w->img.text.v)
		abort(); /* no word that was changed makes it another kernel */
	(void)guest_sym(g, "dup_func", 2, &diag, &sym);
	(void)guest_sym_at(g, w->img.func[1], &sym);
	(void)guest_quiet_words(g, q, 2, &n, &diag);
	if (guest_tracer(g, w->img.func[1], &diag, &tr) == VP_OK && tr.covered && !tr.found)
		abort();
	if (arena && guest_arena_read(g, &diag, &a) == VP_OK)
		guest_arena_deinit(&a);
	if (vp_arm(w->t, VP_AFTER_AS_FOUND, &diag) == VP_OK) {
		if (vp_pause(w->t, VP_NO_DEADLINE, &diag, &p) == VP_OK) {
			(void)guest_check_held(g, p, NULL, &diag);
			if (vp_resume(p) < 0)
				abort();
		}
		vp_disarm(w->t);
	}
	guest_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world worlds[2];
	struct undo undo[ROWS_MAX];
	unsigned n = 0;
	struct world *w;

	if (size < 1)
		return 0;
	w = &worlds[data[0] & 1];
	if (!w->t)
		world_init(w, data[0] & 1 ? ARCH_ARM64 : ARCH_X86_64);
	for (size_t at = 1; n < ROWS_MAX && vp_fits(at, ROW, size); at += ROW) {
		unsigned len = 1u << (data[at + 1] & 3);
		uint8_t *to = place(w, data + at, len);

		if (!to)
			continue;
		undo[n].at = to;
		undo[n].len = len;
		memcpy(undo[n++].old, to, len);
		memcpy(to, data + at + 4, len);
	}
	look(w, data[0] >> 4 == 15);
	while (n-- > 0)
		memcpy(undo[n].at, undo[n].old, undo[n].len);
	return 0;
}
