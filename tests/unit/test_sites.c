/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "protocol/sites.h"
#include "tests/lib/sitetab.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { X86, ARM64, RISCV, THUMB, PPC, TRAPS6 };

static vp_gva_t self_of(unsigned i)
{
	return sitetab(i)->self;
}

static int decode(unsigned i, const uint8_t *buf, size_t len)
{
	struct vp_sites s;

	return vp_sites_decode(buf, len, self_of(i), &s);
}

static void test_tables_of_all_architectures_read_back_as_written(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SITETABS; i++) {
		const struct vp_sites_new *t = sitetab(i);
		size_t len;
		uint8_t *buf = sitetab_make(i, &len);
		struct vp_sites s;

		assert_non_null(buf);
		assert_int_equal(vp_sites_decode(buf, len, t->self, &s), VP_OK);
		assert_int_equal(s.self.v, t->self.v);
		assert_int_equal(s.arch, t->arch);
		assert_int_equal(s.generation, 0);
		assert_int_equal(s.id_kind, t->id_kind);
		assert_int_equal(s.id_len, t->id_len);
		assert_memory_equal(s.id, t->id, t->id_len);
		assert_int_equal(s.sites.n, t->n_sites);
		for (uint32_t j = 0; j < t->n_sites; j++) {
			const struct vp_site *want = &t->sites[j];
			struct vp_site got;

			assert_int_equal(vp_sites_site(&s, j, &got), VP_OK);
			assert_int_equal(got.at.v, want->at.v);
			assert_int_equal(got.literal.v, want->literal.v);
			assert_int_equal(got.literal_rest, want->literal_rest);
			assert_int_equal(got.kind, want->kind);
			assert_int_equal(got.sequence, want->sequence);
			assert_int_equal(got.len, want->len);
			assert_int_equal(got.flags, want->flags);
			assert_int_equal(got.dispatcher, want->dispatcher);
			assert_memory_equal(got.rest, want->rest, VP_SITE_MAX);
			assert_int_equal(got.name != NULL, want->name != NULL);
			if (got.name)
				assert_string_equal(got.name, want->name);
		}
		assert_int_equal(s.arenas.n, t->n_arenas);
		for (uint32_t j = 0; j < t->n_arenas; j++) {
			struct vp_arena got;

			assert_int_equal(vp_sites_arena(&s, j, &got), VP_OK);
			assert_int_equal(got.at.v, t->arenas[j].at.v);
			assert_int_equal(got.len, t->arenas[j].len);
			assert_int_equal(got.filler_len, t->arenas[j].filler_len);
			assert_memory_equal(got.filler, t->arenas[j].filler, 4);
		}
		assert_int_equal(s.dispatchers.n, t->n_dispatchers);
		for (uint32_t j = 0; j < t->n_dispatchers; j++) {
			struct vp_dispatcher got;

			assert_int_equal(vp_sites_dispatcher(&s, j, &got), VP_OK);
			assert_int_equal(got.at.v, t->dispatchers[j].at.v);
			assert_int_equal(got.reach, t->dispatchers[j].reach);
			assert_int_equal(got.kind, t->dispatchers[j].kind);
			assert_int_equal(got.reg, t->dispatchers[j].reg);
			assert_int_equal(got.literal_off, t->dispatchers[j].literal_off);
			assert_int_equal(got.inner_off, t->dispatchers[j].inner_off);
		}
		assert_int_equal(s.ledgers.n, t->n_ledgers);
		for (uint32_t j = 0; j < t->n_ledgers; j++) {
			struct vp_ledger_space got;

			assert_int_equal(vp_sites_ledger(&s, j, &got), VP_OK);
			assert_int_equal(got.at.v, t->ledgers[j].at.v);
			assert_int_equal(got.len, t->ledgers[j].len);
		}
		assert_int_equal(s.traps.n, t->n_traps);
		for (uint32_t j = 0; j < t->n_traps; j++) {
			struct vp_trap_space got;

			assert_int_equal(vp_sites_traps(&s, j, &got), VP_OK);
			assert_int_equal(got.at.v, t->traps[j].at.v);
			assert_int_equal(got.len, t->traps[j].len);
		}
		free(buf);
	}
}

static void test_entries_that_are_not_there_are_refused(void **state)
{
	struct vp_ledger_space l;
	struct vp_trap_space t;
	struct vp_dispatcher d;
	struct vp_sites s;
	struct vp_arena a;
	struct vp_site site;
	size_t len;
	uint8_t *buf = sitetab_make(X86, &len);

	(void)state;
	assert_int_equal(vp_sites_decode(buf, len, self_of(X86), &s), VP_OK);
	assert_int_equal(vp_sites_site(&s, s.sites.n, &site), VP_E_RANGE);
	assert_int_equal(vp_sites_site(&s, UINT32_MAX, &site), VP_E_RANGE);
	assert_int_equal(vp_sites_arena(&s, s.arenas.n, &a), VP_E_RANGE);
	assert_int_equal(vp_sites_dispatcher(&s, s.dispatchers.n, &d), VP_E_RANGE);
	assert_int_equal(vp_sites_ledger(&s, s.ledgers.n, &l), VP_E_RANGE);
	assert_int_equal(vp_sites_traps(&s, 0, &t), VP_E_RANGE);
	free(buf);
	buf = sitetab_make(TRAPS6, &len);
	assert_int_equal(vp_sites_decode(buf, len, self_of(TRAPS6), &s), VP_OK);
	assert_int_equal(vp_sites_traps(&s, s.traps.n, &t), VP_E_RANGE);
	assert_int_equal(vp_sites_traps(&s, UINT32_MAX, &t), VP_E_RANGE);
	/* to a reader of the five parts it is the same table without them */
	vp_st32(buf + VP_SITES_OFF_HEAD_SIZE, VP_SITES_HEAD);
	assert_int_equal(vp_sites_seal(buf, len), VP_OK);
	assert_int_equal(vp_sites_decode(buf, len, self_of(TRAPS6), &s), VP_OK);
	assert_int_equal(s.traps.n, 0);
	free(buf);
}

static void test_sites_are_found_by_any_of_their_bytes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SITETABS; i++) {
		const struct vp_sites_new *t = sitetab(i);
		size_t len;
		uint8_t *buf = sitetab_make(i, &len);
		struct vp_sites s;
		uint32_t at;

		assert_int_equal(vp_sites_decode(buf, len, t->self, &s), VP_OK);
		for (uint32_t j = 0; j < t->n_sites; j++)
			for (unsigned b = 0; b < t->sites[j].len; b++) {
				vp_gva_t gva = vp_gva(t->sites[j].at.v + b);

				assert_int_equal(vp_sites_find(&s, gva, &at), VP_OK);
				assert_int_equal(at, j);
			}
		assert_int_equal(vp_sites_find(&s, vp_gva(0), &at), VP_E_NO_SITE);
		assert_int_equal(vp_sites_find(&s, vp_gva(UINT64_MAX), &at), VP_E_NO_SITE);
		assert_int_equal(vp_sites_find(&s, vp_gva(t->sites[0].at.v - 1), &at),
				 VP_E_NO_SITE);
		free(buf);
	}
}

static void test_a_name_that_several_sites_have_is_ambiguous(void **state)
{
	struct vp_sites s;
	uint32_t at;
	size_t len;
	uint8_t *buf = sitetab_make(X86, &len);

	(void)state;
	assert_int_equal(vp_sites_decode(buf, len, self_of(X86), &s), VP_OK);
	assert_int_equal(vp_sites_named(&s, "f.jump", &at), VP_OK);
	assert_int_equal(at, 3);
	assert_int_equal(vp_sites_named(&s, "hook", &at), VP_OK);
	assert_int_equal(at, 6);
	assert_int_equal(vp_sites_named(&s, "f", &at), VP_E_SYM_AMBIGUOUS);
	assert_int_equal(vp_sites_named(&s, "f.jum", &at), VP_E_NO_SITE);
	assert_int_equal(vp_sites_named(&s, "f.jumps", &at), VP_E_NO_SITE);
	assert_int_equal(vp_sites_named(&s, "", &at), VP_E_NO_SITE);
	free(buf);
}

/* One field of one table, and what it must not be. */
enum where { HEAD, SITE, ARENA, DISPATCHER, LEDGERS, TRAPS, NAMES };

struct wrong {
	unsigned table;
	enum where where;
	unsigned entry;
	unsigned off;
	unsigned width;
	uint64_t value;
};

#define A                 UINT64_C(0xffffffff81000000) /* where the x86-64 table's sites begin */
#define T                 UINT64_C(0xc0000000)         /* and the Thumb table's */
#define R                 UINT64_C(0xffffffff80000000) /* and RISC-V's */
#define M                 UINT64_C(0xffff800008000000) /* and arm64's */
#define NEAR32(x)         (UINT32_MAX - (x))
#define PART(part, field) VP_SITES_OFF_##part + VP_SITES_PART_##field

/* clang-format off */
static const struct wrong wrongs[] = {
	{X86, HEAD, 0, VP_SITES_OFF_MAGIC, 8, VP_SITES_MAGIC0 + 1},
	{X86, HEAD, 0, VP_SITES_OFF_MAGIC + 8, 8, 0},
	{X86, HEAD, 0, VP_SITES_OFF_VERSION, 4, 0},
	{X86, HEAD, 0, VP_SITES_OFF_VERSION, 4, 2},
	{X86, HEAD, 0, VP_SITES_OFF_VERSION, 4, UINT32_MAX},
	{X86, HEAD, 0, VP_SITES_OFF_SIZE, 4, 0},
	{X86, HEAD, 0, VP_SITES_OFF_SIZE, 4, VP_SITES_HEAD},
	{X86, HEAD, 0, VP_SITES_OFF_SIZE, 4, 728}, /* the last name ends in the tail */
	{X86, HEAD, 0, VP_SITES_OFF_SIZE, 4, 732},
	{X86, HEAD, 0, VP_SITES_OFF_SIZE, 4, 744},
	{X86, HEAD, 0, VP_SITES_OFF_SIZE, 4, VP_SITES_SIZE_MAX + 8},
	{X86, HEAD, 0, VP_SITES_OFF_SIZE, 4, NEAR32(7)},
	{X86, HEAD, 0, VP_SITES_OFF_SIZE, 4, NEAR32(0)},
	{X86, HEAD, 0, VP_SITES_OFF_HEAD_SIZE, 4, 0},
	{X86, HEAD, 0, VP_SITES_OFF_HEAD_SIZE, 4, VP_SITES_HEAD - 8},
	{X86, HEAD, 0, VP_SITES_OFF_HEAD_SIZE, 4, VP_SITES_HEAD + 8}, /* over the sites */
	{X86, HEAD, 0, VP_SITES_OFF_HEAD_SIZE, 4, VP_SITES_HEAD + 4},
	{X86, HEAD, 0, VP_SITES_OFF_HEAD_SIZE, 4, NEAR32(7)},
	{X86, HEAD, 0, VP_SITES_OFF_SELF, 8, 0},
	{X86, HEAD, 0, VP_SITES_OFF_SELF, 8, A + 0x101000},
	{X86, HEAD, 0, VP_SITES_OFF_SELF, 8, A + 0x100800},
	{X86, HEAD, 0, VP_SITES_OFF_FLAGS, 4, 1},
	{X86, HEAD, 0, VP_SITES_OFF_FLAGS, 4, 0x80000000},
	{X86, HEAD, 0, VP_SITES_OFF_ARCH, 2, 0},
	{X86, HEAD, 0, VP_SITES_OFF_ARCH, 2, VP_SITES_ARCH_PPC64LE + 1},
	{X86, HEAD, 0, VP_SITES_OFF_ARCH, 2, UINT16_MAX},
	{X86, HEAD, 0, VP_SITES_OFF_ARCH, 2, VP_SITES_ARCH_ARM64}, /* a nop5 is not its own */
	{X86, HEAD, 0, VP_SITES_OFF_ID_KIND, 1, 0},
	{X86, HEAD, 0, VP_SITES_OFF_ID_KIND, 1, VP_SITES_ID_IMAGE + 1},
	{X86, HEAD, 0, VP_SITES_OFF_ID_LEN, 1, VP_SITES_ID_MIN - 1},
	{X86, HEAD, 0, VP_SITES_OFF_ID_LEN, 1, VP_SITES_ID_MAX + 1},
	{X86, HEAD, 0, VP_SITES_OFF_ID + 20, 1, 1},
	{X86, HEAD, 0, VP_SITES_OFF_ID + 63, 1, 1},
	{X86, HEAD, 0, VP_SITES_OFF_RESERVED, 4, 1},
	{X86, HEAD, 0, PART(SITES, OFF), 4, 0},
	{X86, HEAD, 0, PART(SITES, OFF), 4, VP_SITES_HEAD - 8},
	{X86, HEAD, 0, PART(SITES, OFF), 4, VP_SITES_HEAD + 1},
	{X86, HEAD, 0, PART(SITES, OFF), 4, VP_SITES_HEAD + 8}, /* over the arenas */
	{X86, HEAD, 0, PART(SITES, OFF), 4, 736},
	{X86, HEAD, 0, PART(SITES, OFF), 4, NEAR32(7)},
	{X86, HEAD, 0, PART(SITES, N), 4, 8},
	{X86, HEAD, 0, PART(SITES, N), 4, NEAR32(0)},
	{X86, HEAD, 0, PART(SITES, N), 4, 0x49249249u + 1}, /* times 56 is 64 more than 2^36 */
	{X86, HEAD, 0, PART(SITES, ENTRY), 4, 0},
	{X86, HEAD, 0, PART(SITES, ENTRY), 4, VP_SITE_ENTRY - 8},
	{X86, HEAD, 0, PART(SITES, ENTRY), 4, VP_SITE_ENTRY + 1},
	{X86, HEAD, 0, PART(SITES, ENTRY), 4, NEAR32(7)},
	{X86, HEAD, 0, PART(SITES, RESERVED), 4, 1},
	{X86, HEAD, 0, PART(NAMES, OFF), 4, 0},
	{X86, HEAD, 0, PART(NAMES, OFF), 4, NEAR32(0)},
	{X86, HEAD, 0, PART(NAMES, N), 4, 0}, /* then no site can have one */
	{X86, HEAD, 0, PART(NAMES, N), 4, NEAR32(0)},
	{X86, HEAD, 0, PART(NAMES, ENTRY), 4, 2},
	{X86, HEAD, 0, PART(NAMES, RESERVED), 4, 1},
	{X86, HEAD, 0, PART(ARENAS, OFF), 4, NEAR32(7)},
	{X86, HEAD, 0, PART(ARENAS, N), 4, VP_SITES_ARENAS_MAX + 1},
	{X86, HEAD, 0, PART(ARENAS, N), 4, NEAR32(0)},
	{X86, HEAD, 0, PART(ARENAS, ENTRY), 4, 16},
	{X86, HEAD, 0, PART(DISPATCHERS, OFF), 4, NEAR32(7)},
	{X86, HEAD, 0, PART(DISPATCHERS, N), 4, 0}, /* but sites name one */
	{X86, HEAD, 0, PART(DISPATCHERS, N), 4, 65536},
	{X86, HEAD, 0, PART(DISPATCHERS, N), 4, NEAR32(0)},
	{X86, HEAD, 0, PART(DISPATCHERS, ENTRY), 4, 24},
	{X86, HEAD, 0, PART(LEDGERS, OFF), 4, NEAR32(7)},
	{X86, HEAD, 0, PART(LEDGERS, N), 4, VP_SITES_LEDGERS_MAX + 1},
	{X86, HEAD, 0, PART(LEDGERS, N), 4, NEAR32(0)},
	{X86, HEAD, 0, PART(LEDGERS, ENTRY), 4, 16},

	{X86, SITE, 0, VP_SITE_OFF_AT, 8, 0},
	{X86, SITE, 0, VP_SITE_OFF_AT, 8, A + 1},      /* over the next one */
	{X86, SITE, 0, VP_SITE_OFF_AT, 8, A + 0x30},   /* behind the next one */
	{X86, SITE, 1, VP_SITE_OFF_AT, 8, A},          /* twice the same */
	{X86, SITE, 6, VP_SITE_OFF_AT, 8, UINT64_MAX - 3}, /* round the end of the world */
	{X86, SITE, 6, VP_SITE_OFF_AT, 8, A + 0x400c}, /* a literal that is not aligned */
	{X86, SITE, 6, VP_SITE_OFF_AT, 8, A + 0x4000}, /* the literal of another site */
	{X86, SITE, 6, VP_SITE_OFF_AT, 8, A + 0x100000}, /* in the table */
	{X86, SITE, 5, VP_SITE_OFF_AT, 8, A + 0x2000}, /* in the arena */
	{X86, SITE, 5, VP_SITE_OFF_AT, 8, A + 0x1fff}, /* half in the arena */
	{X86, SITE, 5, VP_SITE_OFF_AT, 8, A + 0x3000}, /* in the ledger space */
	{X86, SITE, 5, VP_SITE_OFF_AT, 8, A + 0x1024}, /* over the dispatcher */
	{X86, SITE, 0, VP_SITE_OFF_KIND, 1, 0},
	{X86, SITE, 0, VP_SITE_OFF_KIND, 1, VP_SITE_LITERAL + 1},
	{X86, SITE, 0, VP_SITE_OFF_KIND, 1, VP_SITE_NOP}, /* but it has a sequence */
	{X86, SITE, 1, VP_SITE_OFF_KIND, 1, VP_SITE_FUNCTION},
	{X86, SITE, 5, VP_SITE_OFF_KIND, 1, VP_SITE_LITERAL}, /* of two bytes */
	{X86, SITE, 4, VP_SITE_OFF_KIND, 1, VP_SITE_WORD}, /* has no dispatcher */
	{X86, SITE, 0, VP_SITE_OFF_SEQUENCE, 1, VP_SEQ_NONE},
	{X86, SITE, 0, VP_SITE_OFF_SEQUENCE, 1, VP_SEQ_PPC64_NOP},
	{X86, SITE, 0, VP_SITE_OFF_SEQUENCE, 1, VP_SEQ_COUNT},
	{X86, SITE, 0, VP_SITE_OFF_SEQUENCE, 1, 255},
	{X86, SITE, 0, VP_SITE_OFF_LEN, 1, 4}, /* not a nop5's */
	{X86, SITE, 5, VP_SITE_OFF_LEN, 1, 0},
	{X86, SITE, 5, VP_SITE_OFF_LEN, 1, 1}, /* with bytes behind the end */
	{X86, SITE, 5, VP_SITE_OFF_LEN, 1, VP_SITE_MAX + 1},
	{X86, SITE, 5, VP_SITE_OFF_LEN, 1, 255},
	{X86, SITE, 6, VP_SITE_OFF_LEN, 1, 4},
	{X86, SITE, 0, VP_SITE_OFF_FLAGS, 1, 2},
	{X86, SITE, 0, VP_SITE_OFF_FLAGS, 1, 0x80},
	{X86, SITE, 0, VP_SITE_OFF_NAME, 4, NEAR32(1)},
	{X86, SITE, 0, VP_SITE_OFF_NAME, 4, 1}, /* an empty one */
	{X86, SITE, 0, VP_SITE_OFF_NAME, 4, 1000},
	{X86, SITE, 0, VP_SITE_OFF_DISPATCHER, 2, 0}, /* without a literal */
	{X86, SITE, 4, VP_SITE_OFF_DISPATCHER, 2, VP_SITE_NO_DISPATCHER},
	{X86, SITE, 4, VP_SITE_OFF_DISPATCHER, 2, 1},
	{X86, SITE, 6, VP_SITE_OFF_DISPATCHER, 2, VP_SITE_NO_DISPATCHER - 1},
	{X86, SITE, 0, VP_SITE_OFF_RESERVED, 2, 1},
	{X86, SITE, 0, VP_SITE_OFF_RESERVED + 2, 4, 1u << 31},
	{X86, SITE, 0, VP_SITE_OFF_REST + 5, 1, 1},
	{X86, SITE, 0, VP_SITE_OFF_REST + 15, 1, 1},
	{X86, SITE, 4, VP_SITE_OFF_LITERAL, 8, 0},
	{X86, SITE, 4, VP_SITE_OFF_LITERAL, 8, A + 0x4004},
	{X86, SITE, 4, VP_SITE_OFF_LITERAL, 8, A + 0x08},       /* the end of one site */
	{X86, SITE, 4, VP_SITE_OFF_LITERAL, 8, A + 0x10},       /* another one's beginning */
	{X86, SITE, 4, VP_SITE_OFF_LITERAL, 8, A + 0x2ff8},     /* in the arena */
	{X86, SITE, 4, VP_SITE_OFF_LITERAL, 8, A + 0x3008},     /* in the ledger space */
	{X86, SITE, 4, VP_SITE_OFF_LITERAL, 8, A + 0x1000f8},   /* in the table */
	{X86, SITE, 6, VP_SITE_OFF_LITERAL, 8, A + 0x5000},     /* of a literal */
	{X86, SITE, 6, VP_SITE_OFF_LITERAL_REST, 8, 1},
	{X86, SITE, 0, VP_SITE_OFF_LITERAL_REST, 8, 1},
	{RISCV, SITE, 2, VP_SITE_OFF_LITERAL, 8, R + 0x10},     /* the one before has it */
	{RISCV, SITE, 1, VP_SITE_OFF_LITERAL, 8, R + 0x38},     /* not in the sites' order */
	{RISCV, SITE, 3, VP_SITE_OFF_AT, 8, R + 0x200000},      /* its dispatcher is too far */
	{RISCV, SITE, 3, VP_SITE_OFF_AT, 8, R + 0x49},
	{RISCV, SITE, 0, VP_SITE_OFF_SEQUENCE, 1, VP_SEQ_RISCV_OPS_A}, /* without a literal */
	{ARM64, SITE, 3, VP_SITE_OFF_AT, 8, UINT64_C(0xffff800008000032)},
	{ARM64, SITE, 3, VP_SITE_OFF_LEN, 1, 6},
	{THUMB, HEAD, 0, VP_SITES_OFF_SELF, 8, UINT64_C(0x1c0100000)},
	{THUMB, SITE, 3, VP_SITE_OFF_AT, 8, UINT64_C(0x1c0000104)}, /* no such address */
	{THUMB, SITE, 3, VP_SITE_OFF_LEN, 1, 8},
	{THUMB, SITE, 2, VP_SITE_OFF_LITERAL, 8, UINT64_C(0x1c0000100)},
	{THUMB, SITE, 2, VP_SITE_OFF_LITERAL_REST, 8, UINT64_C(0x100000000)},
	{THUMB, SITE, 0, VP_SITE_OFF_AT, 8, T + 1}, /* with the Thumb bit */

	{X86, ARENA, 0, VP_ARENA_OFF_AT, 8, 0},
	{X86, ARENA, 0, VP_ARENA_OFF_AT, 8, A - 0xfff},          /* up to the first site */
	{X86, ARENA, 0, VP_ARENA_OFF_AT, 8, A + 0xff000},        /* the table's neighbour: good */
	{X86, ARENA, 0, VP_ARENA_OFF_AT, 8, A + 0xff001},        /* and one byte of the table */
	{X86, ARENA, 0, VP_ARENA_OFF_AT, 8, A + 0x2001},         /* a byte of the ledger space */
	{X86, ARENA, 0, VP_ARENA_OFF_AT, 8, A + 0x1000},         /* the dispatcher */
	{X86, ARENA, 0, VP_ARENA_OFF_LEN, 8, 0},
	{X86, ARENA, 0, VP_ARENA_OFF_LEN, 8, UINT64_MAX},
	{X86, ARENA, 0, VP_ARENA_OFF_LEN, 8, 0x2001},
	{X86, ARENA, 0, VP_ARENA_OFF_FILLER + 1, 1, 1},
	{X86, ARENA, 0, VP_ARENA_OFF_FILLER_LEN, 1, 0},
	{X86, ARENA, 0, VP_ARENA_OFF_FILLER_LEN, 1, 3},
	{X86, ARENA, 0, VP_ARENA_OFF_FILLER_LEN, 1, 255},
	{X86, ARENA, 0, VP_ARENA_OFF_FLAGS, 1, 1},
	{X86, ARENA, 0, VP_ARENA_OFF_RESERVED, 2, 1},
	{ARM64, ARENA, 0, VP_ARENA_OFF_LEN, 8, 0x1001},
	{ARM64, ARENA, 0, VP_ARENA_OFF_LEN, 8, 0x1004},          /* over the second */
	{ARM64, ARENA, 1, VP_ARENA_OFF_AT, 8, UINT64_C(0xffff800008000800)}, /* unsorted */
	{THUMB, ARENA, 0, VP_ARENA_OFF_LEN, 8, UINT64_C(0x100000000) - T},

	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_AT, 8, 0},
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_AT, 8, A + 3},        /* in a site */
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_AT, 8, A + 0x2800},   /* in the arena */
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_AT, 8, A + 0x3000},   /* in ledger space */
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_AT, 8, A + 0x100010}, /* in the table */
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_REACH, 8, 0},
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_REACH, 8, 0x1004}, /* the site is at 0x1005 */
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_KIND, 1, 0},
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_KIND, 1, 3},
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_KIND, 1, VP_DISPATCHER_POINTER}, /* inner_off */
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_FLAGS, 2, 1},
	{X86, DISPATCHER, 0, VP_DISPATCHER_OFF_RESERVED, 4, 1},
	{RISCV, DISPATCHER, 0, VP_DISPATCHER_OFF_AT, 8, R + 0x1001},

	{X86, LEDGERS, 0, VP_LEDGERS_OFF_AT, 8, 0},
	{X86, LEDGERS, 0, VP_LEDGERS_OFF_AT, 8, A + 0x2fc0}, /* over the arena */
	{X86, LEDGERS, 0, VP_LEDGERS_OFF_AT, 8, A + 0x3001},
	{X86, LEDGERS, 0, VP_LEDGERS_OFF_LEN, 8, 0},
	{X86, LEDGERS, 0, VP_LEDGERS_OFF_LEN, 8, 0x3f8},
	{X86, LEDGERS, 0, VP_LEDGERS_OFF_LEN, 8, 0x440}, /* over the next */
	{X86, LEDGERS, 0, VP_LEDGERS_OFF_LEN, 8, UINT64_MAX - 63},
	{X86, LEDGERS, 0, VP_LEDGERS_OFF_FLAGS, 4, 1},
	{X86, LEDGERS, 0, VP_LEDGERS_OFF_RESERVED, 4, 1},

	{TRAPS6, HEAD, 0, PART(TRAPS, OFF), 4, VP_SITES_HEAD},
	{TRAPS6, HEAD, 0, PART(TRAPS, OFF), 4, NEAR32(7)},
	{TRAPS6, HEAD, 0, PART(TRAPS, N), 4, VP_SITES_TRAPS_MAX + 1},
	{TRAPS6, HEAD, 0, PART(TRAPS, N), 4, NEAR32(0)},
	{TRAPS6, HEAD, 0, PART(TRAPS, ENTRY), 4, 16},
	{TRAPS6, HEAD, 0, PART(TRAPS, RESERVED), 4, 1},
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_AT, 8, 0},
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_AT, 8, M + 0x6010},      /* a record is aligned */
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_AT, 8, M},               /* a site */
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_AT, 8, M + 0x200},       /* a dispatcher */
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_AT, 8, M + 0x4000},      /* a literal */
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_AT, 8, M + 0x1000},      /* the arena */
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_AT, 8, M + 0x5e00},      /* ledger space */
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_AT, 8, M + 0x6300},      /* over the next */
	{TRAPS6, TRAPS, 1, VP_TRAPS_OFF_AT, 8, M + 0x5fe0},      /* before the last */
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_LEN, 8, 0},
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_LEN, 8, VP_TRAP_RECORD - 8},
	{TRAPS6, TRAPS, 1, VP_TRAPS_OFF_LEN, 8, 0x100000},       /* over the table */
	{TRAPS6, TRAPS, 1, VP_TRAPS_OFF_LEN, 8, UINT64_MAX - 31},
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_FLAGS, 4, 1},
	{TRAPS6, TRAPS, 0, VP_TRAPS_OFF_RESERVED, 4, 1},

	{X86, NAMES, 0, 0, 1, 0},    /* empty */
	{X86, NAMES, 0, 0, 1, ' '},
	{X86, NAMES, 0, 0, 1, 0x7f},
	{X86, NAMES, 0, 0, 1, 0xff},
};
/* clang-format on */

static uint8_t *field(uint8_t *buf, const struct vp_sites *s, const struct wrong *w)
{
	const struct vp_sites_part *part = w->where == SITE         ? &s->sites
					   : w->where == ARENA      ? &s->arenas
					   : w->where == DISPATCHER ? &s->dispatchers
					   : w->where == LEDGERS    ? &s->ledgers
					   : w->where == TRAPS      ? &s->traps
								    : &s->names;

	if (w->where == HEAD)
		return buf + w->off;
	return buf + (part->at - buf) + w->entry * part->entry + w->off;
}

static void test_each_wrong_field_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(wrongs); i++) {
		const struct wrong *w = &wrongs[i];
		int r, want = VP_E_SITES;
		struct vp_sites s;
		size_t len;
		uint8_t *buf = sitetab_make(w->table, &len), *p;

		assert_int_equal(vp_sites_decode(buf, len, self_of(w->table), &s), VP_OK);
		p = field(buf, &s, w);
		for (unsigned b = 0; b < w->width; b++)
			p[b] = (uint8_t)(w->value >> (8 * b));
		/* With its size damaged it cannot be sealed, and is refused for that. */
		r = vp_sites_seal(buf, len);
		assert_true(r == VP_OK || w->off == VP_SITES_OFF_SIZE);
		if (r == VP_OK)
			vp_st32(buf + vp_ld32(buf + VP_SITES_OFF_SIZE) - VP_SITES_TAIL, 0);
		r = decode(w->table, buf, len);
		if (w->where == ARENA && w->value == A + 0xff000)
			want = VP_OK; /* the one row that shows how near is not too near */
		if (w->where == HEAD && w->off == VP_SITES_OFF_VERSION && w->value > 1)
			want = VP_E_VERSION;
		if (r != want)
			fail_msg("row %zu: %s", i, vp_err_reason(r));
		free(buf);
	}
}

static void test_each_flipped_bit_is_no_table(void **state)
{
	(void)state;
	for (unsigned t = 0; t < SITETABS; t++) {
		size_t len;
		uint8_t *buf = sitetab_make(t, &len);

		for (size_t i = 0; i < len; i++)
			for (unsigned bit = 1; bit < 256; bit <<= 1) {
				int r;

				buf[i] ^= (uint8_t)bit;
				r = decode(t, buf, len);
				assert_true(r == VP_E_SITES || r == VP_E_VERSION ||
					    r == VP_E_GUEST_CHANGED);
				buf[i] ^= (uint8_t)bit;
			}
		free(buf);
	}
}

/* Sealed again: what lies behind the checksum refuses it, or reads it as another sound table. */
static void test_each_flipped_bit_that_is_sealed_is_refused_or_sound(void **state)
{
	(void)state;
	for (unsigned t = 0; t < SITETABS; t++) {
		size_t len;
		uint8_t *buf = sitetab_make(t, &len);

		for (size_t i = VP_SITES_OFF_VERSION; i < len - VP_SITES_TAIL; i++)
			for (unsigned bit = 1; bit < 256; bit <<= 1) {
				struct vp_sites s;
				struct vp_site site;

				buf[i] ^= (uint8_t)bit;
				if (vp_sites_seal(buf, len) == VP_OK &&
				    vp_sites_decode(buf, len, self_of(t), &s) == VP_OK)
					for (uint32_t j = 0; j < s.sites.n; j++) {
						uint32_t at;

						assert_int_equal(vp_sites_site(&s, j, &site),
								 VP_OK);
						assert_int_equal(vp_sites_find(&s, site.at, &at),
								 VP_OK);
						assert_int_equal(at, j);
						assert_in_range(site.len, 1, VP_SITE_MAX);
					}
				buf[i] ^= (uint8_t)bit;
			}
		free(buf);
	}
}

static void test_each_truncation_is_no_table(void **state)
{
	(void)state;
	for (unsigned t = 0; t < SITETABS; t++) {
		size_t len;
		uint8_t *buf = sitetab_make(t, &len);

		for (size_t n = 0; n < len; n++) {
			uint8_t *copy = malloc(n + 1);

			memcpy(copy, buf, n);
			assert_int_equal(decode(t, copy, n), VP_E_SITES);
			free(copy);
		}
		free(buf);
	}
}

static void test_copy_of_a_table_elsewhere_is_no_table(void **state)
{
	struct vp_sites s;
	size_t len;
	uint8_t *buf = sitetab_make(X86, &len);
	vp_gva_t alias = vp_gva(UINT64_C(0xffff888001100000));

	(void)state;
	assert_int_equal(vp_sites_decode(buf, len, alias, &s), VP_E_SITES);
	/* Nor is one of a newer version: a forged one must not hide the real one. */
	vp_st32(buf + VP_SITES_OFF_VERSION, 2);
	assert_int_equal(vp_sites_decode(buf, len, alias, &s), VP_E_SITES);
	free(buf);
}

static void test_peek_tells_how_much_to_copy(void **state)
{
	struct vp_sites_peek p;
	size_t len;
	uint8_t *buf = sitetab_make(X86, &len);

	(void)state;
	assert_int_equal(vp_sites_peek(buf, VP_SITES_HEAD - 1, &p), VP_E_SITES);
	assert_int_equal(vp_sites_peek(buf, VP_SITES_HEAD, &p), VP_OK);
	assert_int_equal(p.self.v, self_of(X86).v);
	assert_int_equal(p.size, len);
	assert_int_equal(p.generation, 0);
	assert_int_equal(p.version, VP_SITES_VERSION);
	assert_int_equal(p.arch, VP_SITES_ARCH_X86_64);
	vp_st32(buf + VP_SITES_OFF_SIZE, VP_SITES_SIZE_MAX + 8);
	assert_int_equal(vp_sites_peek(buf, VP_SITES_HEAD, &p), VP_E_SITES);
	vp_st32(buf + VP_SITES_OFF_SIZE, (uint32_t)len - 4);
	assert_int_equal(vp_sites_peek(buf, VP_SITES_HEAD, &p), VP_E_SITES);
	/* Of a newer one the head is enough to say so. */
	vp_st32(buf + VP_SITES_OFF_VERSION, 2);
	assert_int_equal(vp_sites_peek(buf, VP_SITES_HEAD, &p), VP_OK);
	assert_int_equal(p.size, VP_SITES_HEAD);
	assert_int_equal(decode(X86, buf, VP_SITES_HEAD), VP_E_VERSION);
	/* A table over the end of the address space. */
	vp_st64(buf + VP_SITES_OFF_SELF, UINT64_C(0xfffffffffffff000));
	vp_st32(buf + VP_SITES_OFF_VERSION, 1);
	vp_st32(buf + VP_SITES_OFF_SIZE, 0x1008);
	assert_int_equal(vp_sites_peek(buf, VP_SITES_HEAD, &p), VP_E_SITES);
	vp_st32(buf + VP_SITES_OFF_SIZE, 0x1000);
	assert_int_equal(vp_sites_peek(buf, VP_SITES_HEAD, &p), VP_OK);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_of_all_architectures_read_back_as_written),
		cmocka_unit_test(test_entries_that_are_not_there_are_refused),
		cmocka_unit_test(test_sites_are_found_by_any_of_their_bytes),
		cmocka_unit_test(test_a_name_that_several_sites_have_is_ambiguous),
		cmocka_unit_test(test_each_wrong_field_is_refused),
		cmocka_unit_test(test_each_flipped_bit_is_no_table),
		cmocka_unit_test(test_each_flipped_bit_that_is_sealed_is_refused_or_sound),
		cmocka_unit_test(test_each_truncation_is_no_table),
		cmocka_unit_test(test_copy_of_a_table_elsewhere_is_no_table),
		cmocka_unit_test(test_peek_tells_how_much_to_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
