// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The arena: runs of trap instructions that the linker left between the parts of kernel text, and
 * the ledger records that earlier hotfixes put there.
 *
 *     code  | guard |  cave, 64-byte aligned, all filler  | guard |  code
 *
 * A cave never touches code: at least CAVE_GUARD bytes of filler stay on both sides, so that what
 * runs off the end of a function still meets a trap, and a symbol that starts at the run keeps
 * what it points at. Short runs are not taken: they may be data (tables of zeros on arm64, where
 * the filler is zero), and a hotfix would not fit.
 */
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define PIECE       (64u << 10) /* of text, looked at while it is in the cache */
#define RUN_MIN     256u
#define CAVE_GUARD  16u
#define CAVES_MAX   4096u
#define RECORDS_MAX 4096u

/* Offsets in the text. */
struct run {
	uint64_t from, to;
};

struct build {
	struct guest *g;
	struct guest_arena *a;
	struct mem_cache *cache; /* of page tables: text is thousands of pages */
	vp_gva_t text;           /* kernel text, or an arena of a stub's */
	size_t len;
	const uint8_t *filler;
	unsigned filler_len;
	uint64_t fill; /* eight bytes of filler */
	uint8_t *used; /* one byte for each VP_LEDGER_ALIGN bytes of text: not to be given out */
	size_t n_units;
	struct run *runs; /* of filler, RUN_MIN long at least */
	size_t n_runs;
	bool in_run;
	uint64_t run_from;
	size_t records_end; /* behind the last record so far */
};

/* --- what must be left alone ---------------------------------------------------------------------- */

static void use(struct build *b, uint64_t from, uint64_t to)
{
	uint64_t first = from / VP_LEDGER_ALIGN;
	uint64_t last = (to + VP_LEDGER_ALIGN - 1) / VP_LEDGER_ALIGN;

	for (uint64_t i = first; i < last && i < b->n_units; i++)
		b->used[i] = 1;
}

/* Offsets in the text of an address range rounded out, clipped to the text. */
static void use_addresses(struct build *b, uint64_t first, uint64_t last, unsigned round_log)
{
	uint64_t round = 1ull << round_log, text = b->text.v;
	uint64_t from = first & ~(round - 1);
	uint64_t to = (last + round - 1) & ~(round - 1);

	from = from > text ? from - text : 0;
	if (to <= text)
		return;
	to -= text;
	use(b, from, to < b->len ? to : b->len);
}

static void use_reserved(struct build *b)
{
	const struct guest_layout *layout = b->g->layout;

	for (size_t i = 0; i < layout->n_reserved; i++) {
		const struct guest_reserved *rsv = &layout->reserved[i];
		unsigned round = rsv->round_log ? rsv->round_log : b->g->info.mmu.granule_log;
		struct guest_sym first, last;

		if (guest_sym(b->g, rsv->first, 0, NULL, &first) < 0 ||
		    guest_sym(b->g, rsv->last, 0, NULL, &last) < 0)
			continue;
		if (last.addr.v <= first.addr.v) /* one symbol: at least its page */
			last.addr.v = first.addr.v + 1;
		use_addresses(b, first.addr.v, last.addr.v, round);
	}
}

/* --- records ---------------------------------------------------------------------------------------- */

static int add_record(struct guest_arena *a, const struct guest_record *rec)
{
	struct guest_record *grown;

	if (a->n_records == RECORDS_MAX)
		return VP_E_LEDGER;
	if (a->n_records % 64 == 0) {
		grown = realloc(a->records, (a->n_records + 64) * sizeof(*grown));
		if (!grown)
			return VP_E_NOMEM;
		a->records = grown;
	}
	a->records[a->n_records++] = *rec;
	return VP_OK;
}

static int read_text(struct build *b, size_t off, void *buf, size_t len)
{
	return mem_read(b->g->t, b->cache, &b->g->info.mmu, vp_gva(b->text.v + off), MEM_TEXT, buf,
			len);
}

/* What may be a record, copied once; *len_ret bytes. */
static int copy_record(struct build *b, size_t off, uint8_t **ret, size_t *len_ret)
{
	uint8_t head[VP_LEDGER_HEAD];
	size_t len = b->len - off;
	int r;

	if (len >= sizeof(head)) {
		r = read_text(b, off, head, sizeof(head));
		if (r < 0)
			return r;
		if (vp_ledger_extent(head) < len)
			len = vp_ledger_extent(head);
	}
	*ret = malloc(len);
	*len_ret = len;
	return *ret ? read_text(b, off, *ret, len) : VP_E_NOMEM;
}

/* A record at this offset of the text, or damage: not kept then. */
static int judge(struct build *b, size_t off, size_t len, struct guest_record *rec, bool *keep)
{
	vp_gva_t at = vp_gva(b->text.v + off);
	int r = vp_ledger_decode(rec->bytes, len, at, &rec->l);

	*keep = false;
	if (r == VP_E_VERSION) {
		b->a->newer = true;
		return VP_OK;
	}
	if (r < 0) {
		/* A payload may hold anything, the magic too: inside a record it means nothing. */
		b->a->n_damaged += off >= b->records_end;
		return VP_OK;
	}
	if (off < b->records_end || mem_contiguous(b->g->t, b->cache, &b->g->info.mmu, at,
						   rec->l.size, MEM_TEXT, &rec->gpa) < 0) {
		b->a->n_damaged++;
		return VP_OK;
	}
	b->records_end = off + rec->l.size;
	use(b, off, b->records_end);
	r = add_record(b->a, rec);
	*keep = r == VP_OK;
	return r;
}

static int look_at(struct build *b, size_t off)
{
	struct guest_record rec = {0};
	size_t len;
	bool keep = false;
	int r = copy_record(b, off, &rec.bytes, &len);

	if (r == VP_OK)
		r = judge(b, off, len, &rec, &keep);
	if (!keep)
		free(rec.bytes);
	return r;
}

static int by_seq(const void *a, const void *b)
{
	const struct guest_record *x = a, *y = b;

	if (x->l.seq != y->l.seq)
		return x->l.seq < y->l.seq ? -1 : 1;
	return x->l.self.v < y->l.self.v ? -1 : x->l.self.v > y->l.self.v;
}

/* --- caves ----------------------------------------------------------------------------------------- */

/* Cuts [from, to) where physical memory jumps or is not kernel text, and keeps the first piece of
 * each. */
static int add_cave(struct build *b, uint64_t from, uint64_t to)
{
	struct guest_arena *a = b->a;
	vp_gva_t at = vp_gva(b->text.v + from);
	struct guest_cave *grown;
	vp_gpa_t gpa;
	int r;

	if (to - from < VP_LEDGER_ALIGN || a->n_caves == CAVES_MAX)
		return VP_OK;
	r = mem_contiguous(b->g->t, b->cache, &b->g->info.mmu, at, (size_t)(to - from), MEM_TEXT,
			   &gpa);
	if (guest_err_is_fatal(r))
		return r;
	if (r < 0)
		return VP_OK; /* not one piece of text: left alone whole */
	if (a->n_caves % 64 == 0) {
		grown = realloc(a->caves, (a->n_caves + 64) * sizeof(*grown));
		if (!grown)
			return VP_E_NOMEM;
		a->caves = grown;
	}
	grown = &a->caves[a->n_caves++];
	*grown = (struct guest_cave){at, to - from, .filler_len = (uint8_t)b->filler_len};
	memcpy(grown->filler, b->filler, b->filler_len);
	a->free += to - from;
	return VP_OK;
}

/* Gives out what is not used of a run of filler, [from, to) in whole units. */
static int split_run(struct build *b, uint64_t from, uint64_t to)
{
	uint64_t unit = from / VP_LEDGER_ALIGN, end = to / VP_LEDGER_ALIGN;

	while (unit < end) {
		uint64_t start;
		int r;

		while (unit < end && b->used[unit])
			unit++;
		start = unit;
		while (unit < end && !b->used[unit])
			unit++;
		r = add_cave(b, start * VP_LEDGER_ALIGN, unit * VP_LEDGER_ALIGN);
		if (r < 0)
			return r;
	}
	return VP_OK;
}

static int by_len(const void *a, const void *b)
{
	const struct guest_cave *x = a, *y = b;

	if (x->len != y->len)
		return x->len > y->len ? -1 : 1;
	return x->start.v < y->start.v ? -1 : x->start.v > y->start.v;
}

/* The filler repeats every filler_len bytes (a divisor of 8): eight of them make one word. */
static uint64_t filler_word(const struct build *b)
{
	uint8_t raw[8];

	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = b->filler[i % b->filler_len];
	return vp_ld64(raw);
}

static int find_caves(struct build *b)
{
	int r = VP_OK;

	for (size_t i = 0; r == VP_OK && i < b->n_runs; i++) {
		/* One guard more at the end of the text: what follows it is not known. */
		uint64_t from = (b->runs[i].from + CAVE_GUARD + VP_LEDGER_ALIGN - 1) &
				~(VP_LEDGER_ALIGN - 1ull);
		uint64_t to = (b->runs[i].to - CAVE_GUARD) & ~(VP_LEDGER_ALIGN - 1ull);

		if (from < to)
			r = split_run(b, from, to);
	}
	return r;
}

/* --- the pass over the text ------------------------------------------------------------------------ */

static int end_run(struct build *b, uint64_t to)
{
	struct run *grown;

	b->in_run = false;
	if (to - b->run_from < RUN_MIN)
		return VP_OK;
	if (b->n_runs % 64 == 0) {
		grown = realloc(b->runs, (b->n_runs + 64) * sizeof(*grown));
		if (!grown)
			return VP_E_NOMEM;
		b->runs = grown;
	}
	b->runs[b->n_runs++] = (struct run){b->run_from, to};
	return VP_OK;
}

/* The first of the words, eight bytes each, from i on that is fill, or that is not; words if none. */
static size_t next_word(const uint8_t *piece, size_t i, size_t words, uint64_t fill, bool is_fill)
{
	while (i < words && (vp_ld64(piece + 8 * i) == fill) != is_fill)
		i++;
	return i;
}

/* The n bytes at offset off: where filler begins and ends. */
static int find_runs(struct build *b, size_t off, const uint8_t *piece, size_t n)
{
	size_t words = n / 8, i = 0;
	int r = VP_OK;

	while (r == VP_OK) {
		i = next_word(piece, i, words, b->fill, !b->in_run);
		if (i == words)
			break;
		if (b->in_run) {
			r = end_run(b, off + 8 * i);
		} else {
			b->in_run = true;
			b->run_from = off + 8 * i;
		}
	}
	return r;
}

/* off is a multiple of VP_LEDGER_ALIGN. */
static int find_records(struct build *b, size_t off, const uint8_t *piece, size_t n)
{
	int r = VP_OK;

	for (size_t i = 0; r == VP_OK && vp_fits(i, 8, n); i += VP_LEDGER_ALIGN)
		if (vp_ld64(piece + i) == VP_LEDGER_MAGIC)
			r = look_at(b, off + i);
	return r;
}

static int pass(struct build *b)
{
	uint8_t *piece = malloc(PIECE);
	int r = piece ? VP_OK : VP_E_NOMEM;

	for (size_t off = 0; r == VP_OK && off < b->len; off += PIECE) {
		size_t n = b->len - off < PIECE ? b->len - off : PIECE;

		r = read_text(b, off, piece, n);
		if (r == VP_OK)
			r = find_runs(b, off, piece, n);
		if (r == VP_OK)
			r = find_records(b, off, piece, n);
	}
	free(piece);
	return r == VP_OK && b->in_run ? end_run(b, b->len & ~(size_t)7) : r;
}

/* One stretch of text, added to what the arena has. */
static int read_stretch(struct build *b)
{
	int r = VP_E_NOMEM;

	b->fill = filler_word(b);
	b->n_units = b->len / VP_LEDGER_ALIGN + 1;
	b->used = calloc(b->n_units, 1);
	b->n_runs = 0;
	b->in_run = false;
	b->records_end = 0;
	if (b->used) {
		if (!guest_is_stub(b->g))
			use_reserved(b);
		r = pass(b);
	}
	if (r == VP_OK)
		r = find_caves(b);
	free(b->runs);
	free(b->used);
	b->runs = NULL;
	b->used = NULL;
	return r;
}

static int read_stub(struct build *b)
{
	const struct vp_sites *s = &b->g->stub->table;
	int r = VP_OK;

	for (uint32_t i = 0; r == VP_OK && i < s->arenas.n; i++) {
		struct vp_arena arena;
		uint64_t skip;

		r = vp_sites_arena(s, i, &arena);
		skip = -arena.at.v % VP_LEDGER_ALIGN;
		if (r < 0 || arena.len < skip + VP_LEDGER_ALIGN)
			continue;
		b->text = vp_gva(arena.at.v + skip);
		b->len = (size_t)(arena.len - skip);
		b->filler = arena.filler;
		b->filler_len = arena.filler_len;
		if (skip % arena.filler_len)
			continue;
		r = read_stretch(b);
		/* An arena that is not mapped as text, or no longer: nothing is put there. */
		if (r == VP_E_UNMAPPED)
			r = VP_OK;
	}
	b->filler = NULL; /* it was the last arena's */
	return r;
}

int guest_arena_read(struct guest *g, struct diag *diag, struct guest_arena *ret)
{
	struct guest_arena a = {0};
	struct build b = {.g = g,
			  .a = &a,
			  .text = g->info.text,
			  .len = (size_t)(g->info.text_end.v - g->info.text.v),
			  .filler = g->ops->filler,
			  .filler_len = g->ops->filler_len};
	int r = VP_E_NOMEM;

	if (g->info.text.v % VP_LEDGER_ALIGN)
		return diag_set(diag, VP_E_GUEST_CORRUPT, "guest kernel text is not aligned");
	b.cache = mem_cache_create(g->t);
	if (b.cache)
		r = guest_is_stub(g) ? read_stub(&b) : read_stretch(&b);
	if (r == VP_OK && a.n_caves)
		qsort(a.caves, a.n_caves, sizeof(*a.caves), by_len);
	if (r == VP_OK && a.n_records)
		qsort(a.records, a.n_records, sizeof(*a.records), by_seq);
	mem_cache_destroy(b.cache);
	if (r < 0) {
		guest_arena_deinit(&a);
		return diag_set(diag, r, "reading the guest kernel's text: %s", vp_err_sentence(r));
	}
	*ret = a;
	return VP_OK;
}

void guest_arena_deinit(struct guest_arena *a)
{
	for (size_t i = 0; i < a->n_records; i++)
		free(a->records[i].bytes);
	free(a->caves);
	free(a->records);
	*a = (struct guest_arena){0};
}
