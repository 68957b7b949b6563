// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How the guest's own patchers stand to a site: its ftrace record, whoever has registered with
 * ftrace (kernel/trace/ftrace.c, include/linux/ftrace.h), and the mutexes they hold while at work.
 *
 *   ftrace_pages_start -> ftrace_page { next, records, index } -> dyn_ftrace { ip, flags } [index]
 *   ftrace_ops_list -> ftrace_ops { next, func, func_hash } -> ... -> &ftrace_list_end
 *   func_hash -> { filter_hash, notrace_hash } -> ftrace_hash { size_bits, buckets, count }
 *   buckets[i] -> ftrace_func_entry { hlist, ip } -> ...
 *
 * Everything is by BTF offsets, and every walk is bounded: the guest may change the lists while
 * they are read. A walk that comes to no end is VP_E_GUEST_CORRUPT, never "not covered".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define PAGES_MAX     65536u /* groups of records */
#define INDEX_MAX     65536u /* records in one */
#define OPS_MAX       4096u
#define SIZE_BITS_MAX 16u /* FTRACE_HASH_MAX_BITS is 12 */
#define ENTRIES_MAX   262144u
#define MUTEX_FLAGS   7u /* kernel/locking/mutex.h: the low bits of mutex.owner are not the owner */

struct ft {
	struct guest *g;
	struct mem_cache *cache; /* of page tables */
	uint32_t pg_next, pg_records, pg_index, pg_size;
	uint32_t rec_ip, rec_flags, rec_size;
	uint32_t ops_next, ops_func, ops_hash;
	uint32_t filter, notrace;
	uint32_t h_bits, h_buckets, h_count;
	uint32_t e_next, e_ip;
	uint64_t fl_enabled, fl_ipmodify, fl_disabled, fl_direct, count_mask;
};

static bool ft_layout(struct ft *f)
{
	const struct btf *b = &f->g->btf;
	uint32_t hlist, next;
	uint64_t all;

	if (!btf_member(b, "ftrace_page", "next", &f->pg_next) ||
	    !btf_member(b, "ftrace_page", "records", &f->pg_records) ||
	    !btf_member(b, "ftrace_page", "index", &f->pg_index) ||
	    !btf_member(b, "dyn_ftrace", "ip", &f->rec_ip) ||
	    !btf_member(b, "dyn_ftrace", "flags", &f->rec_flags) ||
	    !btf_struct_size(b, "dyn_ftrace", &f->rec_size) ||
	    !btf_member(b, "ftrace_ops", "next", &f->ops_next) ||
	    !btf_member(b, "ftrace_ops", "func", &f->ops_func) ||
	    !btf_member(b, "ftrace_ops", "func_hash", &f->ops_hash) ||
	    !btf_member(b, "ftrace_ops_hash", "filter_hash", &f->filter) ||
	    !btf_member(b, "ftrace_ops_hash", "notrace_hash", &f->notrace) ||
	    !btf_member(b, "ftrace_hash", "size_bits", &f->h_bits) ||
	    !btf_member(b, "ftrace_hash", "buckets", &f->h_buckets) ||
	    !btf_member(b, "ftrace_hash", "count", &f->h_count) ||
	    !btf_member(b, "ftrace_func_entry", "hlist", &hlist) ||
	    !btf_member(b, "hlist_node", "next", &next) ||
	    !btf_member(b, "ftrace_func_entry", "ip", &f->e_ip) ||
	    !btf_enumerator(b, "FTRACE_FL_ENABLED", &f->fl_enabled) ||
	    !btf_enumerator(b, "FTRACE_FL_IPMODIFY", &f->fl_ipmodify) ||
	    !btf_enumerator(b, "FTRACE_FL_DISABLED", &f->fl_disabled) ||
	    !btf_enumerator(b, "FTRACE_FL_DIRECT", &f->fl_direct))
		return false;
	f->e_next = hlist + next;
	/* The count takes the bits below the lowest flag. */
	all = btf_enumerators_or(b, "FTRACE_FL_");
	f->count_mask = (all & (0 - all)) - 1;
	return f->rec_size >= 16 && f->rec_size <= 64 && f->rec_ip <= f->rec_size - 8 &&
	       f->rec_flags <= f->rec_size - 8;
}

static int ld(const struct ft *f, uint64_t at, void *buf, size_t len)
{
	return mem_read(f->g->t, f->cache, &f->g->info.mmu, vp_gva(at), MEM_KERNEL, buf, len);
}

static int ld_ptr(const struct ft *f, uint64_t at, uint64_t *ret)
{
	uint8_t raw[8];
	int r = ld(f, at, raw, sizeof(raw));

	if (r == VP_OK)
		*ret = vp_ld64(raw);
	return r;
}

static int ld_int(const struct ft *f, uint64_t at, uint64_t *ret)
{
	uint8_t raw[4];
	int r = ld(f, at, raw, sizeof(raw));

	if (r == VP_OK)
		*ret = vp_ld32(raw);
	return r;
}

/* --- the record ---------------------------------------------------------------------------------- */

/* Looks through one group; records ascend, so its ends tell whether it is worth reading whole. */
static int search_group(const struct ft *f, uint64_t records, uint64_t n, uint64_t ip, uint8_t *buf,
			uint64_t *at_ret)
{
	uint64_t first = 0, last = 0;
	int r = ld_ptr(f, records + f->rec_ip, &first);

	if (r == VP_OK)
		r = ld_ptr(f, records + (n - 1) * f->rec_size + f->rec_ip, &last);
	if (r < 0 || ip < first || ip > last)
		return r;
	r = ld(f, records, buf, (size_t)n * f->rec_size);
	for (uint64_t i = 0; r == VP_OK && i < n; i++)
		if (vp_ld64(buf + i * f->rec_size + f->rec_ip) == ip)
			*at_ret = records + i * f->rec_size;
	return r;
}

/* *at_ret stays 0 when ftrace knows no such place. */
static int find_record(const struct ft *f, uint64_t ip, uint64_t *at_ret)
{
	uint8_t *buf = malloc((size_t)INDEX_MAX * f->rec_size);
	uint64_t pg = 0;
	vp_gva_t start;
	int r = VP_OK;

	if (!buf)
		return VP_E_NOMEM;
	*at_ret = 0;
	if (!guest_sym_addr(f->g, "ftrace_pages_start", &start))
		r = VP_E_SYM_UNKNOWN;
	if (r == VP_OK)
		r = ld_ptr(f, start.v, &pg);
	for (unsigned i = 0; r == VP_OK && pg && !*at_ret; i++) {
		uint64_t records = 0, n = 0;

		r = i < PAGES_MAX ? ld_ptr(f, pg + f->pg_records, &records) : VP_E_GUEST_CORRUPT;
		if (r == VP_OK)
			r = ld_int(f, pg + f->pg_index, &n);
		if (r == VP_OK && n > INDEX_MAX)
			r = VP_E_GUEST_CORRUPT;
		if (r == VP_OK && n)
			r = search_group(f, records, n, ip, buf, at_ret);
		if (r == VP_OK)
			r = ld_ptr(f, pg + f->pg_next, &pg);
	}
	free(buf);
	return r;
}

/* --- who has registered ---------------------------------------------------------------------------- */

/* Whether a hash holds ip; all buckets are walked, which needs no knowledge of the hash function. */
static int hash_has(const struct ft *f, uint64_t hash, uint64_t ip, bool *ret)
{
	uint64_t bits, buckets, seen = 0;
	uint8_t *heads;
	int r = ld_int(f, hash + f->h_bits, &bits);

	if (r == VP_OK)
		r = ld_ptr(f, hash + f->h_buckets, &buckets);
	if (r != VP_OK)
		return r;
#ifndef VP_PLANT_GUEST /* the planted bug: a hash may say that it has 2^4000000000 buckets */
	if (bits > SIZE_BITS_MAX)
		return VP_E_GUEST_CORRUPT;
#endif
	heads = malloc((size_t)8 << bits);
	if (!heads)
		return VP_E_NOMEM;
	*ret = false;
	r = ld(f, buckets, heads, (size_t)8 << bits);
	for (size_t i = 0; r == VP_OK && i < (size_t)1 << bits && !*ret; i++) {
		uint64_t e = vp_ld64(heads + 8 * i), at;

		while (r == VP_OK && e && !*ret) {
			r = seen++ < ENTRIES_MAX ? ld_ptr(f, e + f->e_ip, &at) : VP_E_GUEST_CORRUPT;
			*ret = r == VP_OK && at == ip;
			if (r == VP_OK)
				r = ld_ptr(f, e + f->e_next, &e);
		}
	}
	free(heads);
	return r;
}

/* As ftrace_ops_test does: an empty filter takes all, an empty notrace takes away none. */
static int hash_test(const struct ft *f, uint64_t hash, uint64_t ip, bool empty, bool *ret)
{
	uint64_t count = 0;
	int r = VP_OK;

	if (hash)
		r = ld_ptr(f, hash + f->h_count, &count);
	*ret = empty;
	return r == VP_OK && count ? hash_has(f, hash, ip, ret) : r;
}

static int ops_cover(const struct ft *f, uint64_t ops, uint64_t ip, bool *ret)
{
	uint64_t hashes, filter, notrace;
	bool out = false;
	int r = ld_ptr(f, ops + f->ops_hash, &hashes);

	*ret = true;
	if (r != VP_OK || !hashes)
		return r;
	r = ld_ptr(f, hashes + f->filter, &filter);
	if (r == VP_OK)
		r = ld_ptr(f, hashes + f->notrace, &notrace);
	if (r == VP_OK)
		r = hash_test(f, filter, ip, true, ret);
	if (r == VP_OK && *ret)
		r = hash_test(f, notrace, ip, false, &out);
	*ret = *ret && !out;
	return r;
}

static void add_who(const struct ft *f, uint64_t func, struct guest_tracer *tr)
{
	size_t at = strlen(tr->who);
	struct guest_sym sym;
	const char *name = guest_sym_at(f->g, vp_gva(func), &sym) == VP_OK ? sym.name : "a module";

	if (at + strlen(name) + 3 > sizeof(tr->who))
		return;
	snprintf(tr->who + at, sizeof(tr->who) - at, "%s%s", at ? ", " : "", name);
}

static int find_users(const struct ft *f, uint64_t ip, struct guest_tracer *tr)
{
	uint64_t ops = 0, func;
	vp_gva_t list, end;
	int r;

	if (!guest_sym_addr(f->g, "ftrace_ops_list", &list) ||
	    !guest_sym_addr(f->g, "ftrace_list_end", &end))
		return VP_E_SYM_UNKNOWN;
	r = ld_ptr(f, list.v, &ops);
	for (unsigned i = 0; r == VP_OK && ops && ops != end.v; i++) {
		bool covers = false;

		r = i < OPS_MAX ? ops_cover(f, ops, ip, &covers) : VP_E_GUEST_CORRUPT;
		if (r == VP_OK && covers) {
			tr->covered = true;
			r = ld_ptr(f, ops + f->ops_func, &func);
			if (r == VP_OK)
				add_who(f, func, tr);
		}
		if (r == VP_OK)
			r = ld_ptr(f, ops + f->ops_next, &ops);
	}
	return r;
}

/* --- the answers -------------------------------------------------------------------------------------- */

static int fill(const struct ft *f, uint64_t at, struct guest_tracer *tr)
{
	int r;

	tr->flags_at = vp_gva(at + f->rec_flags);
	r = guest_data_gpa(f->g, tr->flags_at, 8, &tr->flags_gpa);
	if (r == VP_OK)
		r = ld_ptr(f, tr->flags_at.v, &tr->flags);
	if (r < 0)
		return r;
	tr->found = true;
	tr->flags_taken = tr->flags | f->fl_disabled;
	tr->taken = (tr->flags & f->fl_disabled) != 0;
	tr->idle = !(tr->flags & (f->count_mask | f->fl_enabled | f->fl_ipmodify | f->fl_direct));
	return VP_OK;
}

int guest_tracer(struct guest *g, vp_gva_t site, struct diag *diag, struct guest_tracer *ret)
{
	struct ft f = {.g = g};
	struct guest_tracer tr = {0};
	uint64_t at = 0;
	int r;

	if (!g->info.data_symbols || !ft_layout(&f)) {
		*ret = tr;
		return VP_OK;
	}
	f.cache = mem_cache_create(g->t);
	r = f.cache ? find_record(&f, site.v, &at) : VP_E_NOMEM;
	if (r == VP_OK && at)
		r = fill(&f, at, &tr);
	if (r == VP_OK && at)
		r = find_users(&f, site.v, &tr);
	mem_cache_destroy(f.cache);
	if (r == VP_E_SYM_UNKNOWN) { /* a kernel without the function tracer */
		*ret = (struct guest_tracer){0};
		return VP_OK;
	}
	if (r < 0)
		return diag_set(
			diag, guest_err_is_fatal(r) ? r : VP_E_GUEST_CORRUPT,
			"the guest's tracer records cannot be read to their end (they change, "
			"or are damaged): try again");
	*ret = tr;
	ret->readable = true;
	return VP_OK;
}

int guest_quiet_words(struct guest *g, struct guest_quiet *ret, size_t cap, size_t *n_ret,
		      struct diag *diag)
{
	static const char *const names[] = {"text_mutex", "ftrace_lock"};
	uint32_t owner;
	size_t n = 0;

	if (!btf_member(&g->btf, "mutex", "owner", &owner)) {
		*n_ret = 0;
		return VP_OK;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && n < cap; i++) {
		struct guest_quiet q = {.mask = ~(uint64_t)MUTEX_FLAGS};
		vp_gva_t at;
		int r;

		if (!guest_sym_addr(g, names[i], &at))
			continue;
		r = guest_data_gpa(g, vp_gva(at.v + owner), 8, &q.gpa);
		if (r < 0)
			return diag_set(diag, r, "%s of the guest kernel: %s", names[i],
					vp_err_sentence(r));
		snprintf(q.name, sizeof(q.name), "%s", names[i]);
		ret[n++] = q;
	}
	*n_ret = n;
	return VP_OK;
}
