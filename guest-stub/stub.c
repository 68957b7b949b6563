/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "guest-stub/stub.h"
#include "guest-stub/arch.h"
#include "protocol/bytes.h"

#define MAGIC_LEN 16u /* ahead of everything else */

struct record {
	int32_t at, literal, name;
	uint8_t kind, sequence, len, pad;
	uint16_t dispatcher, pad2;
};
_Static_assert(sizeof(struct record) == VPATCH_RECORD_LEN, "as VPATCH_RECORD writes it");

/* A guest may have none of either. */
#define LINKER_SYMBOL __attribute__((weak, visibility("hidden")))
extern const struct record __start_vpatch_sites[] LINKER_SYMBOL;
extern const struct record __stop_vpatch_sites[] LINKER_SYMBOL;
extern const uintptr_t __start___patchable_function_entries[] LINKER_SYMBOL;
extern const uintptr_t __stop___patchable_function_entries[] LINKER_SYMBOL;

static uintptr_t from_here(const int32_t *p)
{
	return (uintptr_t)p + (uintptr_t)(intptr_t)*p;
}

/* --- the sites -------------------------------------------------------------------------------- */

struct sites {
	const struct vpatch_stub *stub;
	struct vp_site *at; /* the end of the table's room */
	uint32_t n, room;
};

static bool entry(uintptr_t at, bool literal, struct vp_site *site)
{
	site->kind = VP_SITE_FUNCTION;
	if (!vpatch_arch_entry(at, literal, site))
		return false;
	vpatch_arch_sync((uintptr_t)site->at.v, site->len);
	if (site->literal.v)
		site->dispatcher = 0;
	return true;
}

static bool add(struct sites *s, const struct vp_site *site)
{
	if (s->n == s->room)
		return false;
	s->at[s->n] = *site;
	s->n++;
	return true;
}

static bool add_record(struct sites *s, const struct record *r)
{
	struct vp_site site = {
		.at = vp_gva(from_here(&r->at)),
		.kind = r->kind,
		.sequence = r->sequence,
		.len = r->len,
		.dispatcher = r->dispatcher,
		.name = (const char *)from_here(&r->name),
	};

	if (r->literal)
		site.literal = vp_gva(from_here(&r->literal));
	if (r->len == 0 && !entry((uintptr_t)site.at.v, false, &site))
		return false;
	return add(s, &site);
}

static bool add_entry(struct sites *s, uintptr_t at)
{
	struct vp_site site = {.dispatcher = VP_SITE_NO_DISPATCHER};

	return entry(at, s->stub->entry_literals, &site) && add(s, &site);
}

/* An entry with a name goes ahead of the same one without. */
static bool less(const struct vp_site *a, const struct vp_site *b)
{
	return a->at.v != b->at.v ? a->at.v < b->at.v : a->name && !b->name;
}

static void sift(struct vp_site *at, uint32_t i, uint32_t n)
{
	for (;;) {
		uint32_t kid = 2 * i + 1;
		struct vp_site tmp;

		if (kid < n && kid + 1 < n && less(&at[kid], &at[kid + 1]))
			kid++;
		if (kid >= n || !less(&at[i], &at[kid]))
			return;
		tmp = at[i];
		at[i] = at[kid];
		at[kid] = tmp;
		i = kid;
	}
}

/* Heapsort: objects are linked in any order, and there is no more room than this. */
static void sort(struct vp_site *at, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		sift(at, i, n);
	while (n-- > 1) {
		struct vp_site tmp = at[0];

		at[0] = at[n];
		at[n] = tmp;
		sift(at, 0, n);
	}
}

/* One a place, under its name, and with what rests there. */
static void finish(struct sites *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		struct vp_site *site = &s->at[n];

		if (n > 0 && s->at[n - 1].at.v == s->at[i].at.v && !s->at[i].name) {
			site[-1].literal = s->at[i].literal;
			site[-1].dispatcher = s->at[i].dispatcher;
			continue;
		}
		*site = s->at[i];
		n++;
	}
	s->n = n;
	for (struct vp_site *site = s->at; site < s->at + n; site++) {
		for (uint32_t k = 0; k < site->len && k < VP_SITE_MAX; k++)
			site->rest[k] = ((const uint8_t *)(uintptr_t)site->at.v)[k];
		if (site->literal.v)
			site->literal_rest = *(const uintptr_t *)(uintptr_t)site->literal.v;
	}
}

static size_t records(void)
{
	return ((uintptr_t)__stop_vpatch_sites - (uintptr_t)__start_vpatch_sites) /
	       sizeof(struct record);
}

static size_t entries(void)
{
	return ((uintptr_t)__stop___patchable_function_entries -
		(uintptr_t)__start___patchable_function_entries) /
	       sizeof(uintptr_t);
}

static bool collect(struct sites *s)
{
	for (size_t i = 0; i < records(); i++)
		if (!add_record(s, &__start_vpatch_sites[i]))
			return false;
	for (size_t i = 0; i < entries(); i++)
		if (!add_entry(s, __start___patchable_function_entries[i]))
			return false;
	sort(s->at, s->n);
	finish(s);
	return true;
}

/* --- the table -------------------------------------------------------------------------------- */

static struct {
	const uint8_t *at;
	size_t len;
} traps;

/*
 * The table was made one magic further on, where nobody looks for one. What comes to the page's head
 * last is the magic itself: a host that meets the page before has not found a table.
 */
static void announce(uint8_t *table, size_t len, uint32_t size)
{
	volatile uint64_t *magic = (volatile uint64_t *)(void *)table;
	const uint8_t *made = table + MAGIC_LEN;

	for (uint32_t i = MAGIC_LEN; i < size; i++)
		table[i] = made[i];
	for (size_t i = size; i < len; i++)
		table[i] = 0;
	magic[1] = VP_SITES_MAGIC1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	magic[0] = VP_SITES_MAGIC0;
}

int vpatch_stub_publish(const struct vpatch_stub *stub)
{
	const struct vp_trap_space trap_space = {vp_gva((uintptr_t)stub->traps), stub->traps_len};
	size_t n = records() + entries();
	uintptr_t end = ((uintptr_t)stub->table + stub->table_len) & ~(uintptr_t)7;
	struct sites s = {.stub = stub, .room = (uint32_t)n};
	struct vp_sites_new t = {
		.self = vp_gva((uintptr_t)stub->table),
		.arch = VPATCH_ARCH,
		.id_kind = stub->id_kind,
		.id_len = stub->id_len,
		.id = stub->id,
		.n_arenas = stub->n_arenas,
		.n_dispatchers = stub->n_dispatchers,
		.n_ledgers = stub->n_ledgers,
		.n_traps = stub->traps != NULL,
		.arenas = stub->arenas,
		.dispatchers = stub->dispatchers,
		.ledgers = stub->ledgers,
		.traps = &trap_space,
	};
	uint32_t size;
	int r;

	if (n > stub->table_len / sizeof(struct vp_site))
		return VP_E_RANGE;
	s.at = (struct vp_site *)(end - n * sizeof(struct vp_site));
	if (!collect(&s))
		return VP_E_RANGE;
	t.n_sites = s.n;
	t.sites = s.at;
	size = vp_sites_size(&t);
	if (size == 0 || MAGIC_LEN + size > (uintptr_t)s.at - (uintptr_t)stub->table)
		return VP_E_RANGE;
	r = vp_sites_encode(stub->table + MAGIC_LEN, size, &t);
	if (r < 0)
		return r;
	traps.at = stub->traps;
	traps.len = stub->traps_len;
	announce(stub->table, stub->table_len, size);
	return VP_OK;
}

struct vp_arena vpatch_stub_arena(const void *at, size_t len)
{
	struct vp_arena a = {.at = vp_gva((uintptr_t)at), .len = len};
	uint8_t filler[4];

	vp_st32(filler, VPATCH_FILLER);
	a.filler_len = VPATCH_FILLER_LEN;
	for (unsigned i = 0; i < VPATCH_FILLER_LEN; i++)
		a.filler[i] = filler[i];
	return a;
}

/* --- traps ------------------------------------------------------------------------------------ */

#define TRIES \
	16 /* a record is five stores of the host's; a trap that went is seen as soon as it has */

static uint32_t ld32(const uint8_t *p)
{
	return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

/* The host's addresses are 64 bits wide; of a 32-bit guest the upper half is zero. */
static uintptr_t ld_address(const uint8_t *p)
{
	return __atomic_load_n((const uintptr_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

/* False: the host was writing it. */
static bool look(const uint8_t *rec, uintptr_t pc, struct vpatch_trap *ret)
{
	uint32_t seq, kind;
	uintptr_t next, target;

	/* Most are another's, in whatever state. */
	if (ld_address(rec + VP_TRAP_OFF_AT) != pc)
		return true;
	seq = ld32(rec + VP_TRAP_OFF_SEQ);
	if (seq & 1)
		return false;
	if (ld_address(rec + VP_TRAP_OFF_AT) != pc)
		return true;
	kind = ld32(rec + VP_TRAP_OFF_KIND);
	next = ld_address(rec + VP_TRAP_OFF_NEXT);
	target = ld_address(rec + VP_TRAP_OFF_TARGET);
	if (ld32(rec + VP_TRAP_OFF_SEQ) != seq)
		return false;
	if (kind == VP_TRAP_NOP)
		*ret = (struct vpatch_trap){VPATCH_TRAP_JUMP, next, 0};
	else if (kind == VP_TRAP_BRANCH)
		*ret = (struct vpatch_trap){VPATCH_TRAP_JUMP, target, 0};
	else if (kind == VP_TRAP_CALL)
		*ret = (struct vpatch_trap){VPATCH_TRAP_CALL, target, next};
	return true;
}

struct vpatch_trap vpatch_stub_record(uintptr_t pc)
{
	struct vpatch_trap t = {.act = VPATCH_TRAP_OTHER};

	for (size_t i = 0; i + VP_TRAP_RECORD <= traps.len; i += VP_TRAP_RECORD) {
		/* One that is being written is not the one of a trap that somebody has met: the
		 * record comes first, so it need not be waited for without end. */
		for (unsigned n = 0; n < TRIES; n++)
			if (look(traps.at + i, pc, &t))
				break;
		if (t.act != VPATCH_TRAP_OTHER)
			break;
	}
	return t;
}

struct vpatch_trap vpatch_stub_trap(uintptr_t pc)
{
	struct vpatch_trap t;

	/* A record goes only after its trap: who finds none and still sees the trap is between the
	 * trap of another change and his record, or it is somebody else's. */
	for (unsigned n = 0; n < TRIES; n++) {
		t = vpatch_stub_record(pc);
		if (t.act != VPATCH_TRAP_OTHER)
			return t;
		if (!vpatch_arch_is_trap(pc)) {
			t.act = VPATCH_TRAP_AGAIN;
			return t;
		}
	}
	return t;
}
