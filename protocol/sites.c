/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "protocol/sites.h"
#include "protocol/bytes.h"
#include "protocol/sites_crc.h"

#define EM_PPC64   21 /* ELF e_machine, as the System V gABI registers them */
#define EM_ARM     40
#define EM_X86_64  62
#define EM_AARCH64 183
#define EM_RISCV   243

static const struct machine {
	uint16_t elf;
	uint8_t align;   /* instructions start at multiples of this, and are as long */
	uint8_t pointer; /* bytes */
} machines[] = {
	[VP_SITES_ARCH_X86_64] = {EM_X86_64, 1, 8}, [VP_SITES_ARCH_ARM64] = {EM_AARCH64, 4, 8},
	[VP_SITES_ARCH_RISCV64] = {EM_RISCV, 2, 8}, [VP_SITES_ARCH_THUMB2] = {EM_ARM, 2, 4},
	[VP_SITES_ARCH_PPC64LE] = {EM_PPC64, 4, 8},
};
#define MACHINES (sizeof(machines) / sizeof(machines[0]))

static const struct sequence {
	uint8_t arch;
	uint8_t len;
	bool literal; /* goes through a dispatcher that loads one */
} sequences[VP_SEQ_COUNT] = {
	[VP_SEQ_X86_NOP5] = {VP_SITES_ARCH_X86_64, 5, false},
	[VP_SEQ_ARM64_TWO] = {VP_SITES_ARCH_ARM64, 8, false},
	[VP_SEQ_ARM64_THREE] = {VP_SITES_ARCH_ARM64, 12, false},
	[VP_SEQ_ARM64_FOUR] = {VP_SITES_ARCH_ARM64, 16, false},
	[VP_SEQ_RISCV_PAIR] = {VP_SITES_ARCH_RISCV64, 8, false},
	[VP_SEQ_RISCV_OPS_A] = {VP_SITES_ARCH_RISCV64, 8, true},
	[VP_SEQ_RISCV_OPS_B] = {VP_SITES_ARCH_RISCV64, 4, true},
	[VP_SEQ_RISCV_OPS_C] = {VP_SITES_ARCH_RISCV64, 4, true},
	[VP_SEQ_THUMB_WIDE] = {VP_SITES_ARCH_THUMB2, 4, false},
	[VP_SEQ_THUMB_PAIR16] = {VP_SITES_ARCH_THUMB2, 4, false},
	[VP_SEQ_PPC64_MFLR] = {VP_SITES_ARCH_PPC64LE, 8, false},
	[VP_SEQ_PPC64_NOP] = {VP_SITES_ARCH_PPC64LE, 4, false},
};

/* Freestanding: the compiler may ask for memcpy, we do not count on a libc to have it. */
static void copy(uint8_t *to, const uint8_t *from, size_t n)
{
	while (n--)
		*to++ = *from++;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

/* Of powers of two only. A division of 64 bits would be a call into libgcc on 32-bit guests. */
static bool aligned(uint64_t v, unsigned to)
{
	return (v & (to - 1)) == 0;
}

uint16_t vp_sites_machine(uint16_t arch)
{
	return arch < MACHINES ? machines[arch].elf : 0;
}

/* --- ranges of addresses ------------------------------------------------------------------------- */

struct span {
	uint64_t at;
	uint64_t len; /* at least 1; at + len - 1 does not wrap */
};

/* Neither wraps, so a difference that does is larger than either length. */
static bool overlap(struct span a, struct span b)
{
	return b.at - a.at < a.len || a.at - b.at < b.len;
}

/* A range that the guest can address, and not of the table itself, which is nobody's to change. */
static bool span_ok(const struct vp_sites *s, struct span x)
{
	const struct span table = {s->self.v, s->size};
	uint64_t top = machines[s->arch].pointer == 4 ? UINT32_MAX : UINT64_MAX;

	return x.at != 0 && x.len != 0 && x.at <= top && x.len - 1 <= top - x.at &&
	       !overlap(x, table);
}

static const uint8_t *entry(const struct vp_sites_part *p, uint32_t i)
{
	return p->at + (size_t)i * p->entry;
}

typedef struct span (*span_fn)(const uint8_t *e);

static struct span site_span(const uint8_t *e)
{
	return (struct span){vp_ld64(e + VP_SITE_OFF_AT), e[VP_SITE_OFF_LEN]};
}

/* Arenas, ledger space and trap records have them at the same offsets. */
static struct span area_span(const uint8_t *e)
{
	return (struct span){vp_ld64(e + VP_ARENA_OFF_AT), vp_ld64(e + VP_ARENA_OFF_LEN)};
}
_Static_assert(VP_ARENA_OFF_AT == VP_LEDGERS_OFF_AT, "area_span");
_Static_assert(VP_ARENA_OFF_LEN == VP_LEDGERS_OFF_LEN, "area_span");
_Static_assert(VP_ARENA_OFF_AT == VP_TRAPS_OFF_AT, "area_span");
_Static_assert(VP_ARENA_OFF_LEN == VP_TRAPS_OFF_LEN, "area_span");

/* Of ranges that ascend without overlapping, the first that does not end before `at`; n if none. */
static uint32_t bisect(const struct vp_sites_part *p, span_fn span, uint64_t at)
{
	uint32_t lo = 0, hi = p->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		struct span x = span(entry(p, mid));

		if (x.at + (x.len - 1) < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool hits(const struct vp_sites_part *p, span_fn span, struct span x)
{
	uint32_t i = bisect(p, span, x.at);

	return i < p->n && overlap(span(entry(p, i)), x);
}

/* Each range is sound, and each ends before the next begins. */
static bool ascending(const struct vp_sites *s, const struct vp_sites_part *p, span_fn span)
{
	struct span last = {0, 1};

	for (uint32_t i = 0; i < p->n; i++) {
		struct span x = span(entry(p, i));

		if (!span_ok(s, x) || x.at <= last.at + (last.len - 1))
			return false;
		last = x;
	}
	return true;
}

/* --- entries, each by itself and against the others ----------------------------------------------- */

static bool name_ok(const struct vp_sites *s, uint32_t off)
{
	const uint8_t *p;
	uint32_t n = 0, max;

	if (off == VP_SITE_NO_NAME)
		return true;
	if (off >= s->names.n)
		return false;
	p = s->names.at + off;
	max = s->names.n - off;
	if (max > VP_SITE_NAME_MAX + 1)
		max = VP_SITE_NAME_MAX + 1;
	while (n < max && p[n] > 0x20 && p[n] < 0x7f)
		n++;
	return n > 0 && n < max && p[n] == 0;
}

static bool kind_ok(const struct vp_sites *s, const uint8_t *e)
{
	const struct machine *m = &machines[s->arch];
	uint64_t at = vp_ld64(e + VP_SITE_OFF_AT);
	uint8_t kind = e[VP_SITE_OFF_KIND], seq = e[VP_SITE_OFF_SEQUENCE], len = e[VP_SITE_OFF_LEN];

	if (kind < VP_SITE_NOP || kind > VP_SITE_LITERAL || len == 0 || len > VP_SITE_MAX ||
	    (kind == VP_SITE_FUNCTION) != (seq != VP_SEQ_NONE))
		return false;
	if (kind == VP_SITE_LITERAL)
		return (len == 4 || len == m->pointer) && aligned(at, len);
	if (kind == VP_SITE_FUNCTION &&
	    (seq >= VP_SEQ_COUNT || sequences[seq].arch != s->arch || sequences[seq].len != len))
		return false;
	return aligned(at, m->align) && aligned(len, m->align);
}

/* A dispatcher is there for a literal, and the other way round; VP_SITE_LITERAL, which is the
 * literal, may be loaded by other code. */
static bool literal_ok(const struct vp_sites *s, const uint8_t *e)
{
	uint8_t kind = e[VP_SITE_OFF_KIND], pointer = machines[s->arch].pointer;
	uint16_t dispatcher = vp_ld16(e + VP_SITE_OFF_DISPATCHER);
	uint64_t at = vp_ld64(e + VP_SITE_OFF_AT), rest = vp_ld64(e + VP_SITE_OFF_LITERAL_REST);
	struct span literal = {vp_ld64(e + VP_SITE_OFF_LITERAL), pointer};
	uint64_t from, reach;

	if (dispatcher != VP_SITE_NO_DISPATCHER && dispatcher >= s->dispatchers.n)
		return false;
	if (kind == VP_SITE_LITERAL)
		return literal.at == 0 && rest == 0;
	if (literal.at == 0)
		return rest == 0 && dispatcher == VP_SITE_NO_DISPATCHER &&
		       !sequences[e[VP_SITE_OFF_SEQUENCE]].literal;
	if (dispatcher == VP_SITE_NO_DISPATCHER || kind == VP_SITE_WORD ||
	    !aligned(literal.at, pointer) || !span_ok(s, literal) ||
	    (pointer == 4 && rest > UINT32_MAX) || hits(&s->sites, site_span, literal) ||
	    hits(&s->arenas, area_span, literal) || hits(&s->ledgers, area_span, literal) ||
	    hits(&s->traps, area_span, literal))
		return false;
	from = vp_ld64(entry(&s->dispatchers, dispatcher) + VP_DISPATCHER_OFF_AT);
	reach = vp_ld64(entry(&s->dispatchers, dispatcher) + VP_DISPATCHER_OFF_REACH);
	return (at < from ? from - at : at - from) <= reach;
}

static bool site_ok(const struct vp_sites *s, const uint8_t *e)
{
	return kind_ok(s, e) && !(e[VP_SITE_OFF_FLAGS] & ~VP_SITE_FLAGS_KNOWN) &&
	       all_zero(e + VP_SITE_OFF_RESERVED, VP_SITE_OFF_REST - VP_SITE_OFF_RESERVED) &&
	       all_zero(e + VP_SITE_OFF_REST + e[VP_SITE_OFF_LEN],
			VP_SITE_MAX - e[VP_SITE_OFF_LEN]) &&
	       literal_ok(s, e) && name_ok(s, vp_ld32(e + VP_SITE_OFF_NAME)) &&
	       !hits(&s->arenas, area_span, site_span(e)) &&
	       !hits(&s->ledgers, area_span, site_span(e));
}

static bool arena_ok(const struct vp_sites *s, const uint8_t *e)
{
	struct span x = area_span(e);
	uint8_t n = e[VP_ARENA_OFF_FILLER_LEN];

	return (n == 1 || n == 2 || n == 4) && aligned(x.at, n) && aligned(x.len, n) &&
	       aligned(x.at, machines[s->arch].align) &&
	       all_zero(e + VP_ARENA_OFF_FILLER + n, 4u - n) &&
	       !(e[VP_ARENA_OFF_FLAGS] & ~VP_ARENA_FLAGS_KNOWN) &&
	       vp_ld16(e + VP_ARENA_OFF_RESERVED) == 0 && !hits(&s->ledgers, area_span, x);
}

static bool dispatcher_ok(const struct vp_sites *s, const uint8_t *e)
{
	const struct machine *m = &machines[s->arch];
	struct span x = {vp_ld64(e + VP_DISPATCHER_OFF_AT), 1};
	uint8_t kind = e[VP_DISPATCHER_OFF_KIND];

	return span_ok(s, x) && aligned(x.at, m->align) &&
	       vp_ld64(e + VP_DISPATCHER_OFF_REACH) != 0 &&
	       (kind == VP_DISPATCHER_OPS ||
		(kind == VP_DISPATCHER_POINTER && vp_ld32(e + VP_DISPATCHER_OFF_INNER_OFF) == 0)) &&
	       !(vp_ld16(e + VP_DISPATCHER_OFF_FLAGS) & ~VP_DISPATCHER_FLAGS_KNOWN) &&
	       vp_ld32(e + VP_DISPATCHER_OFF_RESERVED) == 0 && !hits(&s->sites, site_span, x) &&
	       !hits(&s->arenas, area_span, x) && !hits(&s->ledgers, area_span, x) &&
	       !hits(&s->traps, area_span, x);
}

static bool ledger_ok(const struct vp_sites *s, const uint8_t *e)
{
	struct span x = area_span(e);

	(void)s;
	return aligned(x.at, VP_LEDGERS_ALIGN) && aligned(x.len, VP_LEDGERS_ALIGN) &&
	       !(vp_ld32(e + VP_LEDGERS_OFF_FLAGS) & ~(uint32_t)VP_LEDGERS_FLAGS_KNOWN) &&
	       vp_ld32(e + VP_LEDGERS_OFF_RESERVED) == 0;
}

static bool traps_ok(const struct vp_sites *s, const uint8_t *e)
{
	struct span x = area_span(e);

	return aligned(x.at, VP_TRAP_RECORD) && aligned(x.len, VP_TRAP_RECORD) &&
	       !(vp_ld32(e + VP_TRAPS_OFF_FLAGS) & ~(uint32_t)VP_TRAPS_FLAGS_KNOWN) &&
	       vp_ld32(e + VP_TRAPS_OFF_RESERVED) == 0 && !hits(&s->sites, site_span, x) &&
	       !hits(&s->arenas, area_span, x) && !hits(&s->ledgers, area_span, x);
}

static bool each(const struct vp_sites *s, const struct vp_sites_part *p,
		 bool (*ok)(const struct vp_sites *s, const uint8_t *e))
{
	for (uint32_t i = 0; i < p->n; i++)
		if (!ok(s, entry(p, i)))
			return false;
	return true;
}

/* No two sites share a literal: what redirects one would redirect the other. Cheap to tell, because
 * literals ascend as their sites do. */
static bool literals_ascend(const struct vp_sites *s)
{
	uint64_t next = 1;

	for (uint32_t i = 0; i < s->sites.n; i++) {
		uint64_t at = vp_ld64(entry(&s->sites, i) + VP_SITE_OFF_LITERAL);

		if (at == 0)
			continue;
		if (at < next)
			return false;
		next = at + machines[s->arch].pointer;
		if (next == 0) /* the very last word there is: no other may follow */
			next = UINT64_MAX;
	}
	return true;
}

/* --- the frame ------------------------------------------------------------------------------------- */

struct bounds {
	uint32_t head_size;
	uint32_t end; /* where the tail begins */
};

static bool part_ok(const uint8_t *buf, unsigned off, const struct bounds *b, uint32_t least,
		    uint32_t most, struct vp_sites_part *ret)
{
	const uint8_t *d = buf + off;
	uint32_t at = vp_ld32(d + VP_SITES_PART_OFF), n = vp_ld32(d + VP_SITES_PART_N);
	uint32_t size = vp_ld32(d + VP_SITES_PART_ENTRY);
	uint32_t end = b->end;

	*ret = (struct vp_sites_part){buf, 0, least};
	if (vp_ld32(d + VP_SITES_PART_RESERVED) != 0)
		return false;
	if (n == 0) /* then the rest says nothing */
		return true;
#ifdef VP_PLANT_SITES /* what the fuzzer is to find: a part that lies behind the end of the table */
	end = VP_SITES_SIZE_MAX;
#endif
	if (n > most || size < least || (least > 1 ? size % 8 || at % 8 : size != least) ||
	    at < b->head_size || !vp_fits(at, (uint64_t)n * size, end))
		return false;
	*ret = (struct vp_sites_part){buf + at, n, size};
	return true;
}

static bool parts_ok(const uint8_t *buf, const struct bounds *b, struct vp_sites *s)
{
	const struct vp_sites_part *parts[] = {&s->sites,       &s->names,   &s->arenas,
					       &s->dispatchers, &s->ledgers, &s->traps};

	if (!part_ok(buf, VP_SITES_OFF_SITES, b, VP_SITE_ENTRY, UINT32_MAX, &s->sites) ||
	    !part_ok(buf, VP_SITES_OFF_NAMES, b, 1, UINT32_MAX, &s->names) ||
	    !part_ok(buf, VP_SITES_OFF_ARENAS, b, VP_ARENA_ENTRY, VP_SITES_ARENAS_MAX,
		     &s->arenas) ||
	    !part_ok(buf, VP_SITES_OFF_DISPATCHERS, b, VP_DISPATCHER_ENTRY,
		     VP_SITES_DISPATCHERS_MAX, &s->dispatchers) ||
	    !part_ok(buf, VP_SITES_OFF_LEDGERS, b, VP_LEDGERS_ENTRY, VP_SITES_LEDGERS_MAX,
		     &s->ledgers))
		return false;
	s->traps = (struct vp_sites_part){buf, 0, VP_TRAPS_ENTRY};
	if (b->head_size >= VP_SITES_HEAD_TRAPS &&
	    !part_ok(buf, VP_SITES_OFF_TRAPS, b, VP_TRAPS_ENTRY, VP_SITES_TRAPS_MAX, &s->traps))
		return false;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		for (size_t j = 0; j < i; j++) {
			struct span x = {(uint64_t)(parts[i]->at - buf),
					 (uint64_t)parts[i]->n * parts[i]->entry};
			struct span y = {(uint64_t)(parts[j]->at - buf),
					 (uint64_t)parts[j]->n * parts[j]->entry};

			if (x.len != 0 && y.len != 0 && overlap(x, y))
				return false;
		}
	return true;
}

int vp_sites_peek(const uint8_t *head, size_t len, struct vp_sites_peek *ret)
{
	struct vp_sites_peek p;

	if (len < VP_SITES_HEAD || vp_ld64(head + VP_SITES_OFF_MAGIC) != VP_SITES_MAGIC0 ||
	    vp_ld64(head + VP_SITES_OFF_MAGIC + 8) != VP_SITES_MAGIC1)
		return VP_E_SITES;
	p.self = vp_gva(vp_ld64(head + VP_SITES_OFF_SELF));
	p.version = vp_ld32(head + VP_SITES_OFF_VERSION);
	p.size = vp_ld32(head + VP_SITES_OFF_SIZE);
	p.generation = vp_ld32(head + VP_SITES_OFF_GENERATION);
	p.arch = vp_ld16(head + VP_SITES_OFF_ARCH);
	if (p.version > VP_SITES_VERSION)
		p.size = VP_SITES_HEAD;
	else if (p.size % 8 != 0 || p.size < VP_SITES_HEAD + VP_SITES_TAIL ||
		 p.size > VP_SITES_SIZE_MAX)
		return VP_E_SITES;
	if (p.version == 0 || p.self.v == 0 || !aligned(p.self.v, VP_SITES_ALIGN) ||
	    p.size - 1 > UINT64_MAX - p.self.v)
		return VP_E_SITES;
	*ret = p;
	return VP_OK;
}

static bool head_ok(const uint8_t *buf, struct vp_sites *s, struct bounds *b)
{
	s->flags = vp_ld32(buf + VP_SITES_OFF_FLAGS);
	s->id_kind = buf[VP_SITES_OFF_ID_KIND];
	s->id_len = buf[VP_SITES_OFF_ID_LEN];
	copy(s->id, buf + VP_SITES_OFF_ID, sizeof(s->id));
	b->head_size = vp_ld32(buf + VP_SITES_OFF_HEAD_SIZE);
	b->end = s->size - VP_SITES_TAIL;
	return b->head_size >= VP_SITES_HEAD && b->head_size % 8 == 0 && b->head_size <= b->end &&
	       !(s->flags & ~(uint32_t)VP_SITES_FLAGS_KNOWN) && vp_sites_machine(s->arch) != 0 &&
	       (machines[s->arch].pointer == 8 ||
		(s->self.v <= UINT32_MAX && s->size - 1 <= UINT32_MAX - s->self.v)) &&
	       (s->id_kind == VP_SITES_ID_BUILD || s->id_kind == VP_SITES_ID_IMAGE) &&
	       s->id_len >= VP_SITES_ID_MIN && s->id_len <= VP_SITES_ID_MAX &&
	       all_zero(s->id + s->id_len, (size_t)VP_SITES_ID_MAX - s->id_len) &&
	       vp_ld32(buf + VP_SITES_OFF_RESERVED) == 0;
}

int vp_sites_decode(const uint8_t *buf, size_t len, vp_gva_t self, struct vp_sites *ret)
{
	struct vp_sites_peek p;
	struct vp_sites s;
	struct bounds b;
	int r = vp_sites_peek(buf, len, &p);

	if (r < 0)
		return r;
	if (p.self.v != self.v || p.size > len)
		return VP_E_SITES;
	if (p.version > VP_SITES_VERSION)
		return VP_E_VERSION;
	/* First of all that follows: a table in the middle of a change is not a bad one. */
	if (p.generation % 2 != 0 || vp_ld32(buf + p.size - VP_SITES_TAIL) != p.generation)
		return VP_E_GUEST_CHANGED;
	s.self = self;
	s.size = p.size;
	s.generation = p.generation;
	s.arch = p.arch;
	if (!head_ok(buf, &s, &b) || !parts_ok(buf, &b, &s) ||
	    vp_ld32(buf + VP_SITES_OFF_CRC) != vp_sites_crc(buf, s.size))
		return VP_E_SITES;
	/* Bisection is only for what ascends: order first, everything else by it. */
	if (!ascending(&s, &s.sites, site_span) || !ascending(&s, &s.arenas, area_span) ||
	    !ascending(&s, &s.ledgers, area_span) || !each(&s, &s.ledgers, ledger_ok) ||
	    !ascending(&s, &s.traps, area_span) || !each(&s, &s.traps, traps_ok) ||
	    !each(&s, &s.arenas, arena_ok) || !each(&s, &s.dispatchers, dispatcher_ok) ||
	    !each(&s, &s.sites, site_ok) || !literals_ascend(&s))
		return VP_E_SITES;
	*ret = s;
	return VP_OK;
}

/* --- looking things up ----------------------------------------------------------------------------- */

int vp_sites_site(const struct vp_sites *s, uint32_t i, struct vp_site *ret)
{
	const uint8_t *e;
	uint32_t name;

	if (i >= s->sites.n)
		return VP_E_RANGE;
	e = entry(&s->sites, i);
	ret->at = vp_gva(vp_ld64(e + VP_SITE_OFF_AT));
	ret->literal = vp_gva(vp_ld64(e + VP_SITE_OFF_LITERAL));
	ret->literal_rest = vp_ld64(e + VP_SITE_OFF_LITERAL_REST);
	ret->kind = e[VP_SITE_OFF_KIND];
	ret->sequence = e[VP_SITE_OFF_SEQUENCE];
	ret->len = e[VP_SITE_OFF_LEN];
	ret->flags = e[VP_SITE_OFF_FLAGS];
	ret->dispatcher = vp_ld16(e + VP_SITE_OFF_DISPATCHER);
	name = vp_ld32(e + VP_SITE_OFF_NAME);
	ret->name = name == VP_SITE_NO_NAME ? NULL : (const char *)s->names.at + name;
	copy(ret->rest, e + VP_SITE_OFF_REST, VP_SITE_MAX);
	return VP_OK;
}

int vp_sites_arena(const struct vp_sites *s, uint32_t i, struct vp_arena *ret)
{
	const uint8_t *e;

	if (i >= s->arenas.n)
		return VP_E_RANGE;
	e = entry(&s->arenas, i);
	ret->at = vp_gva(vp_ld64(e + VP_ARENA_OFF_AT));
	ret->len = vp_ld64(e + VP_ARENA_OFF_LEN);
	copy(ret->filler, e + VP_ARENA_OFF_FILLER, sizeof(ret->filler));
	ret->filler_len = e[VP_ARENA_OFF_FILLER_LEN];
	return VP_OK;
}

int vp_sites_dispatcher(const struct vp_sites *s, uint32_t i, struct vp_dispatcher *ret)
{
	const uint8_t *e;

	if (i >= s->dispatchers.n)
		return VP_E_RANGE;
	e = entry(&s->dispatchers, i);
	ret->at = vp_gva(vp_ld64(e + VP_DISPATCHER_OFF_AT));
	ret->reach = vp_ld64(e + VP_DISPATCHER_OFF_REACH);
	ret->kind = e[VP_DISPATCHER_OFF_KIND];
	ret->reg = e[VP_DISPATCHER_OFF_REG];
	ret->literal_off = (int32_t)vp_ld32(e + VP_DISPATCHER_OFF_LITERAL_OFF);
	ret->inner_off = (int32_t)vp_ld32(e + VP_DISPATCHER_OFF_INNER_OFF);
	return VP_OK;
}

int vp_sites_ledger(const struct vp_sites *s, uint32_t i, struct vp_ledger_space *ret)
{
	const uint8_t *e;

	if (i >= s->ledgers.n)
		return VP_E_RANGE;
	e = entry(&s->ledgers, i);
	ret->at = vp_gva(vp_ld64(e + VP_LEDGERS_OFF_AT));
	ret->len = vp_ld64(e + VP_LEDGERS_OFF_LEN);
	return VP_OK;
}

int vp_sites_traps(const struct vp_sites *s, uint32_t i, struct vp_trap_space *ret)
{
	const uint8_t *e;

	if (i >= s->traps.n)
		return VP_E_RANGE;
	e = entry(&s->traps, i);
	ret->at = vp_gva(vp_ld64(e + VP_TRAPS_OFF_AT));
	ret->len = vp_ld64(e + VP_TRAPS_OFF_LEN);
	return VP_OK;
}

int vp_sites_find(const struct vp_sites *s, vp_gva_t at, uint32_t *ret)
{
	uint32_t i = bisect(&s->sites, site_span, at.v);

	if (i == s->sites.n || vp_ld64(entry(&s->sites, i) + VP_SITE_OFF_AT) > at.v)
		return VP_E_NO_SITE;
	*ret = i;
	return VP_OK;
}

/* The decoder has seen a NUL behind every name. */
static bool named(const struct vp_sites *s, uint32_t i, const char *name)
{
	uint32_t off = vp_ld32(entry(&s->sites, i) + VP_SITE_OFF_NAME);
	const uint8_t *p = s->names.at;

	if (off == VP_SITE_NO_NAME)
		return false;
	for (p += off; *p && *p == (uint8_t)*name; p++)
		name++;
	return *p == 0 && *name == 0;
}

int vp_sites_named(const struct vp_sites *s, const char *name, uint32_t *ret)
{
	uint32_t found = s->sites.n;

	for (uint32_t i = 0; i < s->sites.n; i++) {
		if (!named(s, i, name))
			continue;
		if (found != s->sites.n)
			return VP_E_SYM_AMBIGUOUS;
		found = i;
	}
	if (found == s->sites.n)
		return VP_E_NO_SITE;
	*ret = found;
	return VP_OK;
}
