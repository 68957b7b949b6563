// SPDX-License-Identifier: LGPL-2.1-or-later
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define WORDS_ADDRESSES 6           /* of an ambiguous name, in its sentence */
#define INIT_MAX        (64u << 20) /* no kernel gives back more: 6.1 has some 8 MiB */

static void fill(const struct guest *g, size_t i, struct guest_sym *ret)
{
	uint64_t end = kallsyms_end(&g->ks, i);

	ret->addr = vp_gva(g->ks.addr[i]);
	ret->size = end ? end - g->ks.addr[i] : 0;
	ret->type = kallsyms_type(&g->ks, i);
	snprintf(ret->name, sizeof(ret->name), "%s", kallsyms_name(&g->ks, i));
}

static int say_ambiguous(const struct guest *g, const char *name, struct diag *diag)
{
	char list[WORDS_ADDRESSES * 20 + 8] = "";
	size_t at = 0;
	unsigned n = 0;

	for (size_t i = kallsyms_find(&g->ks, name, g->ks.n); i < g->ks.n;
	     i = kallsyms_find(&g->ks, name, i), n++)
		if (n < WORDS_ADDRESSES)
			at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%#" PRIx64,
					       n ? " " : "", g->ks.addr[i]);
	return diag_set(diag, VP_E_SYM_AMBIGUOUS,
			"%s: the guest kernel has %u symbols of that name (%s%s): "
			"say which with sympos",
			name, n, list, n > WORDS_ADDRESSES ? " ..." : "");
}

/*
 * A per-CPU variable is named by where its first value was: beside the init text, in what the kernel
 * gave back when it had booted and does not map any longer.
 */
static int given_back(struct guest *g, uint64_t at)
{
	uint64_t page = 1ull << g->info.mmu.granule_log, init = g->init_text.start;
	uint64_t lo = (at < init ? at : init) & ~(page - 1), hi = at < init ? init : at;
	struct mem_cache *cache;
	struct arch_xlate x;
	int r = VP_E_UNMAPPED;

	if (g->init_text.len == 0 || hi - lo > INIT_MAX)
		return VP_E_UNMAPPED;
	cache = mem_cache_create(g->t);
	if (!cache)
		return VP_E_NOMEM;
	for (; r == VP_E_UNMAPPED && lo <= hi; lo += page)
		r = mem_walk(g->t, cache, &g->info.mmu, vp_gva(lo), MEM_KERNEL, &x);
	mem_cache_destroy(cache);
	if (guest_err_is_fatal(r))
		return r;
	return r == VP_OK ? VP_E_UNMAPPED : VP_OK;
}

/* What an exported variable's address is: 'D' or 'R', or a negative error. */
static int kind_of(struct guest *g, uint64_t at)
{
	struct arch_xlate x;
	int r;

	if (at < g->layout->percpu_len)
		return 'D';
	r = mem_walk(g->t, NULL, &g->info.mmu, vp_gva(at), MEM_KERNEL, &x);
	if (r == VP_OK && x.gpa.v == at - g->voffset)
		return x.writable ? 'D' : 'R';
	if (r == VP_E_UNMAPPED)
		r = given_back(g, at);
	else if (r == VP_OK)
		r = VP_E_UNMAPPED;
	return r < 0 ? r : 'D';
}

/* The table's word is checked against the page tables: what it gives is of the kernel's image, as
 * it is mapped now, or a per-CPU variable's place there. */
static int exported(struct guest *g, const char *name, struct diag *diag, struct guest_sym *ret)
{
	uint64_t at;
	int kind;

	if (g->info.data_symbols)
		return diag_set(diag, VP_E_SYM_UNKNOWN, "%s: the guest kernel has no such symbol",
				name);
	if (g->exports.n == 0)
		return diag_set(
			diag, VP_E_SYM_UNKNOWN,
			"%s: the guest kernel has no such function, and its variables cannot "
			"be found: it was built without KALLSYMS_ALL, and its table of exports "
			"is not as expected",
			name);
	if (!exports_addr(&g->exports, name, &at))
		return diag_set(
			diag, VP_E_SYM_UNKNOWN,
			"%s: the guest kernel has no such function and exports no such variable "
			"(it was built without KALLSYMS_ALL: others cannot be found)",
			name);
	kind = kind_of(g, at);
	if (kind < 0)
		return diag_set(diag, guest_err_is_fatal(kind) ? kind : VP_E_SYM_UNKNOWN,
				"%s: the guest kernel exports it at %#" PRIx64
				", which is not in its image: nothing of that name can be used",
				name, at);
	ret->addr = vp_gva(at);
	ret->size = 0;
	ret->type = (char)kind;
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	return VP_OK;
}

int guest_sym(struct guest *g, const char *name, unsigned sympos, struct diag *diag,
	      struct guest_sym *ret)
{
	size_t i = kallsyms_find(&g->ks, name, g->ks.n);
	unsigned nth = 1;

	if (guest_is_stub(g))
		return stub_sym(g, name, diag, ret);
	if (i < g->ks.n && sympos == 0 && kallsyms_find(&g->ks, name, i) < g->ks.n)
		return say_ambiguous(g, name, diag);
	while (i < g->ks.n && nth < sympos) {
		i = kallsyms_find(&g->ks, name, i);
		nth++;
	}
	if (i == g->ks.n && sympos > 1)
		return diag_set(diag, VP_E_SYM_UNKNOWN,
				"%s: the guest kernel has no symbol number %u of that name", name,
				sympos);
	if (i == g->ks.n)
		return exported(g, name, diag, ret);
	fill(g, i, ret);
	return VP_OK;
}

static bool in(const struct guest_range *r, uint64_t at)
{
	return at - r->start < r->len && at >= r->start;
}

int guest_sym_at(struct guest *g, vp_gva_t at, struct guest_sym *ret)
{
	size_t i;

	if (guest_is_stub(g))
		return stub_sym_at(g, at, ret);
	/* Between the last symbol of text and the first of init text nothing is named when only
	 * functions are in the table; kernel/kallsyms.c asks is_ksym_addr for the same reason. */
	if (!in(&g->image, at.v) && !in(&g->init_text, at.v))
		return VP_E_SYM_UNKNOWN;
	i = kallsyms_at(&g->ks, at.v);
	if (i == g->ks.n || kallsyms_end(&g->ks, i) <= at.v)
		return VP_E_SYM_UNKNOWN;
	fill(g, i, ret);
	return VP_OK;
}

int guest_sym_each(struct guest *g, int (*fn)(void *ctx, const struct guest_sym *sym), void *ctx)
{
	struct guest_sym sym;

	if (guest_is_stub(g))
		return stub_sym_each(g, fn, ctx);
	for (size_t i = 0; i < g->ks.n; i++) {
		int r;

		fill(g, i, &sym);
		r = fn(ctx, &sym);
		if (r != 0)
			return r;
	}
	return VP_OK;
}

/*
 * gcc's names for a copy of a function: NAME, then one or more of constprop, isra and part with
 * their numbers. The cold half of a function (NAME.cold) is reached from its hot half alone.
 */
static bool is_clone_suffix(const char *s)
{
	static const char *const words[] = {"constprop", "isra", "part"};
	bool clone = false;

	while (*s == '.') {
		size_t n = strcspn(++s, ".");
		bool known = n > 0 && strspn(s, "0123456789") >= n;

		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (n == strlen(words[i]) && memcmp(s, words[i], n) == 0)
				known = clone = true;
		if (!known)
			return false;
		s += n;
	}
	return clone && *s == '\0';
}

int guest_sym_clones(struct guest *g, const char *name,
		     int (*fn)(void *ctx, const struct guest_sym *sym), void *ctx)
{
	size_t len = strlen(name);
	struct guest_sym sym;

	for (size_t i = 0; i < g->ks.n; i++) {
		const char *s = kallsyms_name(&g->ks, i);
		int r;

		if (strncmp(s, name, len) != 0 || !is_clone_suffix(s + len))
			continue;
		fill(g, i, &sym);
		r = fn(ctx, &sym);
		if (r != 0)
			return r;
	}
	return VP_OK;
}

bool guest_sym_addr(const struct guest *g, const char *name, vp_gva_t *ret)
{
	size_t i = kallsyms_find(&g->ks, name, g->ks.n);

	if (i == g->ks.n || kallsyms_find(&g->ks, name, i) < g->ks.n)
		return false;
	*ret = vp_gva(g->ks.addr[i]);
	return true;
}

bool guest_var(struct guest *g, const char *name, void *buf, size_t len)
{
	vp_gva_t at;

	return guest_sym_addr(g, name, &at) && guest_read(g, at, buf, len) == VP_OK;
}

void guest_sym_words(struct guest *g, vp_gva_t at, char *words, size_t cap)
{
	struct guest_sym sym;

	if (guest_sym_at(g, at, &sym) < 0)
		snprintf(words, cap, "%#" PRIx64 "%s", at.v,
			 guest_is_stub(g) ? "" : " outside the kernel image");
	else if (at.v == sym.addr.v)
		snprintf(words, cap, "%s", sym.name);
	else
		snprintf(words, cap, "%s+%#" PRIx64, sym.name, at.v - sym.addr.v);
}

/* A traced function's first bytes call the trampoline of whoever traces it. */
static void say_call(struct guest *g, vp_gva_t target, char *words, size_t cap)
{
	char to[160];

	guest_sym_words(g, target, to, sizeof(to));
	if (strncmp(to, "ftrace_", 7) == 0 || strcmp(to, "__fentry__") == 0)
		snprintf(words, cap, "function tracer (call to %s)", to);
	else if (strstr(to, "outside"))
		snprintf(words, cap, "function tracer, kprobe or BPF (call to a trampoline at %s)",
			 to);
	else
		snprintf(words, cap, "a call to %s", to);
}

void guest_site_who(struct guest *g, vp_gva_t site, const uint8_t *bytes, size_t len, char *words,
		    size_t cap)
{
	struct arch_insn insn;
	char to[160];

	if (cap == 0)
		return;
	if (g->ops->decode(bytes, len, site, &insn) < 0) {
		snprintf(words, cap, "bytes that are no instruction");
		return;
	}
	switch (insn.kind) {
	case ARCH_INSN_TRAP:
		snprintf(words, cap, "kprobe (%s)",
			 g->ops->id == ARCH_X86_64 ? "int3" : "trap instruction");
		break;
	case ARCH_INSN_CALL:
		say_call(g, insn.target, words, cap);
		break;
	case ARCH_INSN_BRANCH:
		guest_sym_words(g, insn.target, to, sizeof(to));
		snprintf(words, cap, "a jump to %s", to);
		break;
	case ARCH_INSN_NOP:
		snprintf(words, cap, "nobody (a nop)");
		break;
	default:
		snprintf(words, cap, "an instruction that is not the function's own entry");
		break;
	}
}
