/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* The guest's half of the site table: what a stub or a build-time tool needs to write one. */
#include "protocol/bytes.h"
#include "protocol/sites.h"
#include "protocol/sites_crc.h"

static void copy(uint8_t *to, const uint8_t *from, size_t n)
{
	while (n--)
		*to++ = *from++;
}

static uint32_t name_len(const char *name)
{
	uint32_t n = 0;

	while (name && name[n] && n <= VP_SITE_NAME_MAX)
		n++;
	return n;
}

struct layout {
	uint32_t head, sites, arenas, dispatchers, ledgers, traps, names, n_names, size;
};

static bool lay_out(const struct vp_sites_new *t, struct layout *l)
{
	/* The oldest form that says it. */
	uint64_t at = t->n_traps ? VP_SITES_HEAD_TRAPS : VP_SITES_HEAD, names = 0;

	if (t->n_sites > VP_SITES_SIZE_MAX / VP_SITE_ENTRY || t->n_arenas > VP_SITES_ARENAS_MAX ||
	    t->n_dispatchers > VP_SITES_DISPATCHERS_MAX || t->n_ledgers > VP_SITES_LEDGERS_MAX ||
	    t->n_traps > VP_SITES_TRAPS_MAX)
		return false;
	l->head = (uint32_t)at;
	l->sites = (uint32_t)at;
	at += (uint64_t)t->n_sites * VP_SITE_ENTRY;
	l->arenas = (uint32_t)at;
	at += (uint64_t)t->n_arenas * VP_ARENA_ENTRY;
	l->dispatchers = (uint32_t)at;
	at += (uint64_t)t->n_dispatchers * VP_DISPATCHER_ENTRY;
	l->ledgers = (uint32_t)at;
	at += (uint64_t)t->n_ledgers * VP_LEDGERS_ENTRY;
	l->traps = (uint32_t)at;
	at += (uint64_t)t->n_traps * VP_TRAPS_ENTRY;
	l->names = (uint32_t)at;
	for (uint32_t i = 0; i < t->n_sites; i++)
		if (t->sites[i].name)
			names += name_len(t->sites[i].name) + 1;
	l->n_names = (uint32_t)names;
	at = (at + names + VP_SITES_TAIL + 7) / 8 * 8;
	l->size = (uint32_t)at;
	return at <= VP_SITES_SIZE_MAX;
}

uint32_t vp_sites_size(const struct vp_sites_new *t)
{
	struct layout l;

	return lay_out(t, &l) ? l.size : 0;
}

static void put_part(uint8_t *d, uint32_t at, uint32_t n, uint32_t entry)
{
	vp_st32(d + VP_SITES_PART_OFF, at);
	vp_st32(d + VP_SITES_PART_N, n);
	vp_st32(d + VP_SITES_PART_ENTRY, entry);
}

static void put_head(uint8_t *buf, const struct vp_sites_new *t, const struct layout *l)
{
	vp_st64(buf + VP_SITES_OFF_MAGIC, VP_SITES_MAGIC0);
	vp_st64(buf + VP_SITES_OFF_MAGIC + 8, VP_SITES_MAGIC1);
	vp_st32(buf + VP_SITES_OFF_VERSION, VP_SITES_VERSION);
	vp_st32(buf + VP_SITES_OFF_SIZE, l->size);
	vp_st32(buf + VP_SITES_OFF_HEAD_SIZE, l->head);
	vp_st64(buf + VP_SITES_OFF_SELF, t->self.v);
	vp_st16(buf + VP_SITES_OFF_ARCH, t->arch);
	buf[VP_SITES_OFF_ID_KIND] = t->id_kind;
	buf[VP_SITES_OFF_ID_LEN] = t->id_len;
	if (t->id_len <= VP_SITES_ID_MAX)
		copy(buf + VP_SITES_OFF_ID, t->id, t->id_len);
	put_part(buf + VP_SITES_OFF_SITES, l->sites, t->n_sites, VP_SITE_ENTRY);
	put_part(buf + VP_SITES_OFF_NAMES, l->names, l->n_names, 1);
	put_part(buf + VP_SITES_OFF_ARENAS, l->arenas, t->n_arenas, VP_ARENA_ENTRY);
	put_part(buf + VP_SITES_OFF_DISPATCHERS, l->dispatchers, t->n_dispatchers,
		 VP_DISPATCHER_ENTRY);
	put_part(buf + VP_SITES_OFF_LEDGERS, l->ledgers, t->n_ledgers, VP_LEDGERS_ENTRY);
	if (t->n_traps)
		put_part(buf + VP_SITES_OFF_TRAPS, l->traps, t->n_traps, VP_TRAPS_ENTRY);
}

/* *name is where the next name goes, counted from the first. */
static void put_site(uint8_t *e, const struct vp_site *site, uint8_t *names, uint32_t *name)
{
	vp_st64(e + VP_SITE_OFF_AT, site->at.v);
	vp_st64(e + VP_SITE_OFF_LITERAL, site->literal.v);
	e[VP_SITE_OFF_KIND] = site->kind;
	e[VP_SITE_OFF_SEQUENCE] = site->sequence;
	e[VP_SITE_OFF_LEN] = site->len;
	e[VP_SITE_OFF_FLAGS] = site->flags;
	vp_st32(e + VP_SITE_OFF_NAME, VP_SITE_NO_NAME);
	if (site->name) {
		vp_st32(e + VP_SITE_OFF_NAME, *name);
		copy(names + *name, (const uint8_t *)site->name, name_len(site->name));
		*name += name_len(site->name) + 1;
	}
	vp_st16(e + VP_SITE_OFF_DISPATCHER, site->dispatcher);
	copy(e + VP_SITE_OFF_REST, site->rest, VP_SITE_MAX);
	vp_st64(e + VP_SITE_OFF_LITERAL_REST, site->literal_rest);
}

static void put_arena(uint8_t *e, const struct vp_arena *arena)
{
	vp_st64(e + VP_ARENA_OFF_AT, arena->at.v);
	vp_st64(e + VP_ARENA_OFF_LEN, arena->len);
	copy(e + VP_ARENA_OFF_FILLER, arena->filler, sizeof(arena->filler));
	e[VP_ARENA_OFF_FILLER_LEN] = arena->filler_len;
}

static void put_dispatcher(uint8_t *e, const struct vp_dispatcher *d)
{
	vp_st64(e + VP_DISPATCHER_OFF_AT, d->at.v);
	vp_st64(e + VP_DISPATCHER_OFF_REACH, d->reach);
	e[VP_DISPATCHER_OFF_KIND] = d->kind;
	e[VP_DISPATCHER_OFF_REG] = d->reg;
	vp_st32(e + VP_DISPATCHER_OFF_LITERAL_OFF, (uint32_t)d->literal_off);
	vp_st32(e + VP_DISPATCHER_OFF_INNER_OFF, (uint32_t)d->inner_off);
}

/* Ledger space and trap records begin alike; the rest of both is zero. */
static void put_area(uint8_t *e, vp_gva_t at, uint64_t len)
{
	vp_st64(e + VP_LEDGERS_OFF_AT, at.v);
	vp_st64(e + VP_LEDGERS_OFF_LEN, len);
}
_Static_assert(VP_LEDGERS_OFF_AT == VP_TRAPS_OFF_AT, "put_area");
_Static_assert(VP_LEDGERS_OFF_LEN == VP_TRAPS_OFF_LEN, "put_area");

int vp_sites_encode(uint8_t *buf, size_t len, const struct vp_sites_new *t)
{
	struct vp_sites check;
	uint32_t name = 0;
	struct layout l;

	if (!lay_out(t, &l) || l.size > len)
		return VP_E_RANGE;
	for (uint32_t i = 0; i < l.size; i++)
		buf[i] = 0;
	put_head(buf, t, &l);
	for (uint32_t i = 0; i < t->n_sites; i++)
		put_site(buf + l.sites + i * VP_SITE_ENTRY, &t->sites[i], buf + l.names, &name);
	for (uint32_t i = 0; i < t->n_arenas; i++)
		put_arena(buf + l.arenas + i * VP_ARENA_ENTRY, &t->arenas[i]);
	for (uint32_t i = 0; i < t->n_dispatchers; i++)
		put_dispatcher(buf + l.dispatchers + i * VP_DISPATCHER_ENTRY, &t->dispatchers[i]);
	for (uint32_t i = 0; i < t->n_ledgers; i++)
		put_area(buf + l.ledgers + i * VP_LEDGERS_ENTRY, t->ledgers[i].at,
			 t->ledgers[i].len);
	for (uint32_t i = 0; i < t->n_traps; i++)
		put_area(buf + l.traps + i * VP_TRAPS_ENTRY, t->traps[i].at, t->traps[i].len);
	if (vp_sites_seal(buf, len) < 0 || vp_sites_decode(buf, l.size, t->self, &check) < 0)
		return VP_E_RANGE;
	return VP_OK;
}

/* Where the tail is; 0 if the head's size cannot be right. */
static uint32_t tail(const uint8_t *buf, size_t len)
{
	uint32_t size;

	if (len < VP_SITES_HEAD + VP_SITES_TAIL)
		return 0;
	size = vp_ld32(buf + VP_SITES_OFF_SIZE);
	if (size < VP_SITES_HEAD + VP_SITES_TAIL || size > len || size % 8 != 0)
		return 0;
	return size - VP_SITES_TAIL;
}

int vp_sites_seal(uint8_t *buf, size_t len)
{
	uint32_t at = tail(buf, len);

	if (at == 0)
		return VP_E_RANGE;
	vp_st32(buf + VP_SITES_OFF_CRC, vp_sites_crc(buf, at + VP_SITES_TAIL));
	return VP_OK;
}

/* One aligned store: byte by byte a reader could see a generation that never was. */
static void publish(uint8_t *at, uint32_t generation)
{
	typedef uint32_t __attribute__((may_alias)) word;
	union {
		uint8_t b[4];
		uint32_t v;
	} u;

	vp_st32(u.b, generation);
	*(volatile word *)(void *)at = u.v;
}

static void barrier(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/*
 * The order is for a reader that copies once, from front to back, as for one that reads the head
 * again behind its copy: the tail turns odd before the first change, the head turns even behind the
 * last one and the tail behind the head. A copy whose head is even and equal to its tail was begun
 * after one change had ended and finished before the next one began.
 */
int vp_sites_begin(uint8_t *buf, size_t len)
{
	uint32_t at = tail(buf, len), generation;

	if (at == 0)
		return VP_E_RANGE;
	generation = vp_ld32(buf + VP_SITES_OFF_GENERATION) | 1;
	publish(buf + at, generation);
	publish(buf + VP_SITES_OFF_GENERATION, generation);
	barrier();
	return VP_OK;
}

int vp_sites_end(uint8_t *buf, size_t len)
{
	uint32_t at = tail(buf, len), generation;

	if (at == 0)
		return VP_E_RANGE;
	generation = (vp_ld32(buf + VP_SITES_OFF_GENERATION) | 1) + 1;
	vp_st32(buf + VP_SITES_OFF_CRC, vp_sites_crc(buf, at + VP_SITES_TAIL));
	barrier();
	publish(buf + VP_SITES_OFF_GENERATION, generation);
	barrier();
	publish(buf + at, generation);
	return VP_OK;
}
