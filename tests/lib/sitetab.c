/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/sitetab.h"

#include <stdlib.h>

#define NONE     VP_SITE_NO_DISPATCHER
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint8_t id[VP_SITES_ID_MAX] = {0x5a, 1,  2,  3,  4,  5,  6,  7,  8,  9,
					    10,   11, 12, 13, 14, 15, 16, 17, 18, 0xa5};

#define X86 UINT64_C(0xffffffff81000000)
static const struct vp_site x86_sites[] = {
	{.at = {X86},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_X86_NOP5,
	 .len = 5,
	 .flags = VP_SITE_SHARED,
	 .dispatcher = NONE,
	 .name = "f",
	 .rest = {0x0f, 0x1f, 0x44, 0x00, 0x00}}, /* nopl 0(%rax,%rax,1); Intel SDM 2B, NOP */
	{.at = {X86 + 5},
	 .kind = VP_SITE_NOP,
	 .len = 5,
	 .dispatcher = NONE,
	 .name = "f.nop",
	 .rest = {0x0f, 0x1f, 0x44, 0x00, 0x00}},
	{.at = {X86 + 11},
	 .kind = VP_SITE_CALL,
	 .len = 5,
	 .dispatcher = NONE,
	 .name = "f.call",
	 .rest = {0xe8, 0x10, 0, 0, 0}}, /* call +0x10 */
	{.at = {X86 + 16},
	 .kind = VP_SITE_JUMP,
	 .len = 5,
	 .dispatcher = NONE,
	 .name = "f.jump",
	 .rest = {0xe9, 0x20, 0, 0, 0}}, /* jmp +0x20 */
	{.at = {X86 + 0x20},
	 .kind = VP_SITE_CALL,
	 .len = 5,
	 .literal = {X86 + 0x4000},
	 .literal_rest = X86 + 0x5000,
	 .dispatcher = 0,
	 .rest = {0xe8, 0, 0x10, 0, 0}},
	{.at = {X86 + 0x40},
	 .kind = VP_SITE_WORD,
	 .len = 2,
	 .dispatcher = NONE,
	 .name = "f",
	 .rest = {0x31, 0xc0}}, /* xor %eax,%eax */
	{.at = {X86 + 0x4008},
	 .kind = VP_SITE_LITERAL,
	 .len = 8,
	 .dispatcher = 0,
	 .name = "hook",
	 .rest = {0, 0, 0, 0x81, 0xff, 0xff, 0xff, 0xff}},
};
static const struct vp_dispatcher x86_dispatchers[] = {
	{.at = {X86 + 0x1025},
	 .reach = 0x7fffffff,
	 .kind = VP_DISPATCHER_OPS,
	 .reg = 16,
	 .literal_off = -0x20,
	 .inner_off = 16},
};
static const struct vp_arena x86_arenas[] = {
	{.at = {X86 + 0x2000}, .len = 0x1000, .filler = {0xcc}, .filler_len = 1}, /* int3 */
};
static const struct vp_ledger_space x86_ledgers[] = {
	{.at = {X86 + 0x3000}, .len = 0x400},
	{.at = {X86 + 0x3400}, .len = 0x40},
};

#define ARM        UINT64_C(0xffff800008000000)
#define MOV_X9_X30 0xe9, 0x03, 0x1e, 0xaa /* Arm ARM C6.2, MOV (register) */
#define NOP_A64    0x1f, 0x20, 0x03, 0xd5
static const struct vp_site arm64_sites[] = {
	{.at = {ARM},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_ARM64_TWO,
	 .len = 8,
	 .dispatcher = NONE,
	 .name = "two",
	 .rest = {MOV_X9_X30, NOP_A64}},
	{.at = {ARM + 0x10},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_ARM64_THREE,
	 .len = 12,
	 .dispatcher = NONE,
	 .name = "three",
	 .rest = {MOV_X9_X30, NOP_A64, 0xfe, 0x03, 0x09, 0xaa}}, /* mov x30, x9 */
	{.at = {ARM + 0x20},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_ARM64_FOUR,
	 .len = 16,
	 .dispatcher = NONE,
	 .name = "four",
	 .rest = {0xfd, 0x7b, 0xbf, 0xa9,   /* stp x29, x30, [sp, #-16]! */
		  0xfd, 0x03, 0x00, 0x91,   /* mov x29, sp */
		  0x40, 0x00, 0x00, 0x94,   /* bl +0x100 */
		  0xfd, 0x7b, 0xc1, 0xa8}}, /* ldp x29, x30, [sp], #16 */
	{.at = {ARM + 0x30}, .kind = VP_SITE_NOP, .len = 4, .dispatcher = NONE, .rest = {NOP_A64}},
};
static const struct vp_arena arm64_arenas[] = {
	{.at = {ARM + 0x1000}, .len = 0x1000, .filler = {0, 0, 0x20, 0xd4}, .filler_len = 4},
	{.at = {ARM + 0x2000}, .len = 0x800, .filler = {0, 0, 0x20, 0xd4}, .filler_len = 4},
};

static const struct vp_site arm64_traps_sites[] = {
	{.at = {ARM},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_ARM64_TWO,
	 .len = 8,
	 .dispatcher = NONE,
	 .name = "two",
	 .rest = {MOV_X9_X30, NOP_A64}},
	{.at = {ARM + 0x10},
	 .kind = VP_SITE_NOP,
	 .len = 4,
	 .dispatcher = NONE,
	 .name = "nop",
	 .rest = {NOP_A64}},
	{.at = {ARM + 0x14},
	 .kind = VP_SITE_CALL,
	 .len = 4,
	 .literal = {ARM + 0x4000},
	 .literal_rest = ARM + 0x100,
	 .dispatcher = 0,
	 .name = "call",
	 .rest = {0x3b, 0, 0, 0x94}}, /* bl +0xec */
	{.at = {ARM + 0x18},
	 .kind = VP_SITE_JUMP,
	 .len = 4,
	 .dispatcher = NONE,
	 .name = "jump",
	 .rest = {0x40, 0, 0, 0x14}}, /* b +0x100 */
};
static const struct vp_dispatcher arm64_dispatchers[] = {
	{.at = {ARM + 0x200},
	 .reach = 0x7fffffc,
	 .kind = VP_DISPATCHER_POINTER,
	 .reg = 30,
	 .literal_off = 0x3fe8},
};
static const struct vp_ledger_space arm64_ledgers[] = {
	{.at = {ARM + 0x5000}, .len = 0x1000},
};
static const struct vp_trap_space arm64_traps[] = {
	{.at = {ARM + 0x6000}, .len = 16 * VP_TRAP_RECORD},
	{.at = {ARM + 0x6400}, .len = VP_TRAP_RECORD},
};

#define RV     UINT64_C(0xffffffff80000000)
#define NOP_RV 0x13, 0x00, 0x00, 0x00 /* addi x0, x0, 0; RV unpriv. 2.4 */
static const struct vp_site riscv_sites[] = {
	{.at = {RV + 2},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_RISCV_PAIR,
	 .len = 8,
	 .dispatcher = NONE,
	 .name = "pair",
	 .rest = {NOP_RV, NOP_RV}},
	{.at = {RV + 0x18},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_RISCV_OPS_A,
	 .len = 8,
	 .literal = {RV + 0x10},
	 .literal_rest = RV + 0x4000,
	 .dispatcher = 0,
	 .name = "a",
	 .rest = {0x97, 0x12, 0x00, 0x00, NOP_RV}}, /* auipc t0, 1 */
	{.at = {RV + 0x28},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_RISCV_OPS_B,
	 .len = 4,
	 .literal = {RV + 0x20},
	 .literal_rest = RV + 0x4000,
	 .dispatcher = 1,
	 .name = "b",
	 .rest = {NOP_RV}},
	{.at = {RV + 0x48},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_RISCV_OPS_C,
	 .len = 4,
	 .literal = {RV + 0x30},
	 .literal_rest = RV + 0x4000,
	 .dispatcher = 2,
	 .name = "c",
	 .rest = {NOP_RV}},
};
static const struct vp_dispatcher riscv_dispatchers[] = {
	{.at = {RV + 0x1018},
	 .reach = 0x7fffffff,
	 .kind = VP_DISPATCHER_OPS,
	 .reg = 5,
	 .literal_off = -16,
	 .inner_off = 16},
	{.at = {RV + 0x1100},
	 .reach = 0xffffe,
	 .kind = VP_DISPATCHER_POINTER,
	 .reg = 5,
	 .literal_off = -12},
	{.at = {RV + 0x38},
	 .reach = 0xffffe,
	 .kind = VP_DISPATCHER_POINTER,
	 .reg = 5,
	 .literal_off = -28},
};
static const struct vp_arena riscv_arenas[] = {
	{.at = {RV + 0x2000},
	 .len = 0x1000,
	 .filler = {0x02, 0x90},
	 .filler_len = 2}, /* c.ebreak */
};

#define TH UINT64_C(0xc0000000)
static const struct vp_site thumb_sites[] = {
	{.at = {TH + 2},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_THUMB_WIDE,
	 .len = 4,
	 .dispatcher = NONE,
	 .name = "wide",
	 .rest = {0xaf, 0xf3, 0x00, 0x80}}, /* nop.w */
	{.at = {TH + 8},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_THUMB_PAIR16,
	 .len = 4,
	 .dispatcher = NONE,
	 .name = "pair",
	 .rest = {0x00, 0xbf, 0x00, 0xbf}}, /* nop; nop */
	{.at = {TH + 0x10},
	 .kind = VP_SITE_JUMP,
	 .len = 2,
	 .literal = {TH + 0x100},
	 .literal_rest = TH + 0x201,
	 .dispatcher = 0,
	 .rest = {0x7e, 0xe0}}, /* b +0x100 */
	{.at = {TH + 0x104},
	 .kind = VP_SITE_LITERAL,
	 .len = 4,
	 .dispatcher = NONE,
	 .name = "hook",
	 .rest = {1, 2, 0, 0xc0}},
};
static const struct vp_dispatcher thumb_dispatchers[] = {
	{.at = {TH + 0x110},
	 .reach = 0xfffffe,
	 .kind = VP_DISPATCHER_POINTER,
	 .reg = 15,
	 .literal_off = -0x14},
};
static const struct vp_arena thumb_arenas[] = {
	{.at = {TH + 0x2000}, .len = 0x1000, .filler = {0x00, 0xde}, .filler_len = 2}, /* udf #0 */
};

#define PPC UINT64_C(0xc000000000000000)
static const struct vp_site ppc_sites[] = {
	{.at = {PPC + 8},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_PPC64_MFLR,
	 .len = 8,
	 .dispatcher = NONE,
	 .name = "mflr",
	 .rest = {0xa6, 0x02, 0x08, 0x7c, 0, 0, 0, 0x60}}, /* mflr r0; nop */
	{.at = {PPC + 0x18},
	 .kind = VP_SITE_FUNCTION,
	 .sequence = VP_SEQ_PPC64_NOP,
	 .len = 4,
	 .dispatcher = NONE,
	 .name = "nop",
	 .rest = {0, 0, 0, 0x60}}, /* ori r0, r0, 0 */
};
static const struct vp_arena ppc_arenas[] = {
	{.at = {PPC + 0x2000}, .len = 0x1000, .filler = {0x08, 0, 0xe0, 0x7f}, .filler_len = 4},
};

static const struct {
	const char *name;
	struct vp_sites_new table;
} tables[SITETABS] = {
	{"x86-64",
	 {.self = {X86 + 0x100000},
	  .arch = VP_SITES_ARCH_X86_64,
	  .id_kind = VP_SITES_ID_BUILD,
	  .id_len = 20,
	  .id = id,
	  .n_sites = COUNT(x86_sites),
	  .sites = x86_sites,
	  .n_arenas = COUNT(x86_arenas),
	  .arenas = x86_arenas,
	  .n_dispatchers = COUNT(x86_dispatchers),
	  .dispatchers = x86_dispatchers,
	  .n_ledgers = COUNT(x86_ledgers),
	  .ledgers = x86_ledgers}},
	{"arm64",
	 {.self = {ARM + 0x100000},
	  .arch = VP_SITES_ARCH_ARM64,
	  .id_kind = VP_SITES_ID_BUILD,
	  .id_len = 20,
	  .id = id,
	  .n_sites = COUNT(arm64_sites),
	  .sites = arm64_sites,
	  .n_arenas = COUNT(arm64_arenas),
	  .arenas = arm64_arenas}},
	{"riscv64",
	 {.self = {RV + 0x100000},
	  .arch = VP_SITES_ARCH_RISCV64,
	  .id_kind = VP_SITES_ID_IMAGE,
	  .id_len = 32,
	  .id = id,
	  .n_sites = COUNT(riscv_sites),
	  .sites = riscv_sites,
	  .n_arenas = COUNT(riscv_arenas),
	  .arenas = riscv_arenas,
	  .n_dispatchers = COUNT(riscv_dispatchers),
	  .dispatchers = riscv_dispatchers}},
	{"thumb2",
	 {.self = {TH + 0x100000},
	  .arch = VP_SITES_ARCH_THUMB2,
	  .id_kind = VP_SITES_ID_IMAGE,
	  .id_len = 64,
	  .id = id,
	  .n_sites = COUNT(thumb_sites),
	  .sites = thumb_sites,
	  .n_arenas = COUNT(thumb_arenas),
	  .arenas = thumb_arenas,
	  .n_dispatchers = COUNT(thumb_dispatchers),
	  .dispatchers = thumb_dispatchers}},
	{"ppc64le",
	 {.self = {PPC + 0x100000},
	  .arch = VP_SITES_ARCH_PPC64LE,
	  .id_kind = VP_SITES_ID_BUILD,
	  .id_len = 20,
	  .id = id,
	  .n_sites = COUNT(ppc_sites),
	  .sites = ppc_sites,
	  .n_arenas = COUNT(ppc_arenas),
	  .arenas = ppc_arenas}},
	{"arm64-traps",
	 {.self = {ARM + 0x100000},
	  .arch = VP_SITES_ARCH_ARM64,
	  .id_kind = VP_SITES_ID_IMAGE,
	  .id_len = 20,
	  .id = id,
	  .n_sites = COUNT(arm64_traps_sites),
	  .sites = arm64_traps_sites,
	  .n_arenas = COUNT(arm64_arenas),
	  .arenas = arm64_arenas,
	  .n_dispatchers = COUNT(arm64_dispatchers),
	  .dispatchers = arm64_dispatchers,
	  .n_ledgers = COUNT(arm64_ledgers),
	  .ledgers = arm64_ledgers,
	  .n_traps = COUNT(arm64_traps),
	  .traps = arm64_traps}},
};

const char *sitetab_name(unsigned i)
{
	return tables[i].name;
}

const struct vp_sites_new *sitetab(unsigned i)
{
	return &tables[i].table;
}

uint8_t *sitetab_make(unsigned i, size_t *len)
{
	size_t size = vp_sites_size(&tables[i].table);
	void *buf;

	/* malloc'd bytes end where the table ends, so that a sanitizer sees a step too far. */
	if (size == 0 || posix_memalign(&buf, VP_SITES_ALIGN, size) != 0)
		return NULL;
	if (vp_sites_encode(buf, size, &tables[i].table) < 0) {
		free(buf);
		return NULL;
	}
	*len = size;
	return buf;
}
