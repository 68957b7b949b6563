// SPDX-License-Identifier: LGPL-2.1-or-later
/* Relocations: byte for byte what ld makes of the same object, and each limit of overflow. */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gelf.h>
#include <libelf.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "protocol/bytes.h"
#include "tests/lib/dis.h"

#define SLOT      8u   /* one relocated word, padded */
#define EACH      120u /* relocations of each type */
#define CASES_MAX (48u * EACH)

static uint64_t rng = 0xa4093822299f31d0ull; /* the same sequence in every run */

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* One type: what its value may be, as the ABI documents say, and the word it is applied to. */
struct row {
	uint32_t type;
	bool place;     /* the value is relative to the place */
	bool page;      /* ... of 4 KiB pages */
	unsigned align; /* of the value */
	int64_t lo;
	int64_t hi; /* inclusive */
	uint32_t word;
	int below, above; /* the error one step beyond, VP_OK where the value may wrap */
};

#define S(bits)  -(1ll << ((bits)-1)), (1ll << ((bits)-1)) - 1
#define U(bits)  0, (1ll << (bits)) - 1
#define HA(bits) -(1ll << ((bits)-1)) - 0x8000, (1ll << ((bits)-1)) - 1 - 0x8000
#define ANY      INT64_MIN, INT64_MAX
#define REACH    VP_E_REACH, VP_E_REACH
#define NO_CHECK VP_OK, VP_OK

static const struct row x86_rows[] = {
	{1, false, false, 1, ANY, 0, NO_CHECK}, /* 64 */
	{2, true, false, 1, S(32), 0, REACH},   /* PC32 */
	{4, true, false, 1, S(32), 0, REACH},   /* PLT32 */
	{10, false, false, 1, U(32), 0, REACH}, /* 32 */
	{11, false, false, 1, S(32), 0, REACH}, /* 32S */
	{12, false, false, 1, U(16), 0, REACH}, /* 16 */
	{13, true, false, 1, S(16), 0, REACH},  /* PC16 */
	{14, false, false, 1, S(8), 0, REACH},  /* 8 */
	{15, true, false, 1, S(8), 0, REACH},   /* PC8 */
	{24, true, false, 1, ANY, 0, NO_CHECK}, /* PC64 */
};

#define MOVZ 0xd2800003u
#define MOVK 0xf2800003u

static const struct row arm64_rows[] = {
	{257, false, false, 1, ANY, 0, NO_CHECK},              /* ABS64 */
	{258, false, false, 1, U(32), 0, REACH},               /* ABS32 */
	{259, false, false, 1, U(16), 0, REACH},               /* ABS16 */
	{260, true, false, 1, ANY, 0, NO_CHECK},               /* PREL64 */
	{261, true, false, 1, S(32), 0, REACH},                /* PREL32 */
	{262, true, false, 1, S(16), 0, REACH},                /* PREL16 */
	{263, false, false, 1, U(16), MOVZ, REACH},            /* MOVW_UABS_G0 */
	{264, false, false, 1, ANY, MOVK, NO_CHECK},           /* MOVW_UABS_G0_NC */
	{265, false, false, 1, U(32), MOVZ | 1 << 21, REACH},  /* MOVW_UABS_G1 */
	{266, false, false, 1, ANY, MOVK | 1 << 21, NO_CHECK}, /* MOVW_UABS_G1_NC */
	{267, false, false, 1, U(48), MOVZ | 2 << 21, REACH},  /* MOVW_UABS_G2 */
	{268, false, false, 1, ANY, MOVK | 2 << 21, NO_CHECK}, /* MOVW_UABS_G2_NC */
	{269, false, false, 1, ANY, MOVK | 3 << 21, NO_CHECK}, /* MOVW_UABS_G3 */
	{270, false, false, 1, S(17), MOVZ, REACH},            /* MOVW_SABS_G0 */
	{271, false, false, 1, S(33), MOVZ | 1 << 21, REACH},  /* MOVW_SABS_G1 */
	{272, false, false, 1, S(49), MOVZ | 2 << 21, REACH},  /* MOVW_SABS_G2 */
	{273, true, false, 4, S(21), 0x58000003, REACH},       /* LD_PREL_LO19: ldr x3 */
	{274, true, false, 1, S(21), 0x10000003, REACH},       /* ADR_PREL_LO21: adr x3 */
	{275, true, true, 1, S(33), 0x90000003, REACH},        /* ADR_PREL_PG_HI21: adrp x3 */
	{276, true, true, 1, S(33), 0x90000003, NO_CHECK},     /* ADR_PREL_PG_HI21_NC */
	{277, false, false, 1, ANY, 0x91000063, NO_CHECK},     /* ADD_ABS_LO12_NC: add x3, x3 */
	{278, false, false, 1, ANY, 0x39400063, NO_CHECK},     /* LDST8: ldrb w3, [x3] */
	{279, true, false, 4, S(16), 0x37280003, REACH},       /* TSTBR14: tbnz w3, #5 */
	{280, true, false, 4, S(21), 0xb4000003, REACH},       /* CONDBR19: cbz x3 */
	{282, true, false, 4, S(28), 0x14000000, REACH},       /* JUMP26: b */
	{283, true, false, 4, S(28), 0x94000000, REACH},       /* CALL26: bl */
	{284, false, false, 2, ANY, 0x79400063, NO_CHECK},     /* LDST16: ldrh w3, [x3] */
	{285, false, false, 4, ANY, 0xb9400063, NO_CHECK},     /* LDST32: ldr w3, [x3] */
	{286, false, false, 8, ANY, 0xf9400063, NO_CHECK},     /* LDST64: ldr x3, [x3] */
	{287, true, false, 1, S(17), MOVZ, REACH},             /* MOVW_PREL_G0 */
	{288, true, false, 1, ANY, MOVK, NO_CHECK},            /* MOVW_PREL_G0_NC */
	{289, true, false, 1, S(33), MOVZ | 1 << 21, REACH},   /* MOVW_PREL_G1 */
	{290, true, false, 1, ANY, MOVK | 1 << 21, NO_CHECK},  /* MOVW_PREL_G1_NC */
	{291, true, false, 1, S(49), MOVZ | 2 << 21, REACH},   /* MOVW_PREL_G2 */
	{292, true, false, 1, ANY, MOVK | 2 << 21, NO_CHECK},  /* MOVW_PREL_G2_NC */
	{293, true, false, 1, ANY, MOVZ | 3 << 21, NO_CHECK},  /* MOVW_PREL_G3 */
	{299, false, false, 16, ANY, 0x3dc00063, NO_CHECK},    /* LDST128: ldr q3, [x3] */
};

/* Beyond its 32 bits an upper part is rounded to what its signed lower part completes. */
#define UPPER -(1ll << 31) - 0x800, (1ll << 31) - 0x801

static const struct row riscv64_rows[] = {
	{1, false, false, 1, U(32), 0, REACH},            /* 32 */
	{2, false, false, 1, ANY, 0, NO_CHECK},           /* 64 */
	{16, true, false, 2, S(13), 0x00a58063, REACH},   /* BRANCH: beq a1, a0 */
	{17, true, false, 2, S(21), 0x000000ef, REACH},   /* JAL: jal ra */
	{18, true, false, 2, UPPER, 0x00000097, REACH},   /* CALL: auipc ra */
	{19, true, false, 2, UPPER, 0x00000317, REACH},   /* CALL_PLT: auipc t1 */
	{23, true, false, 1, UPPER, 0x00000517, REACH},   /* PCREL_HI20: auipc a0 */
	{26, false, false, 1, UPPER, 0x00000537, REACH},  /* HI20: lui a0 */
	{27, false, false, 1, ANY, 0x00053503, NO_CHECK}, /* LO12_I: ld a0, (a0) */
	{28, false, false, 1, ANY, 0x00b53023, NO_CHECK}, /* LO12_S: sd a1, (a0) */
	{33, false, false, 1, ANY, 0, NO_CHECK},          /* ADD8 */
	{34, false, false, 1, ANY, 0, NO_CHECK},          /* ADD16 */
	{35, false, false, 1, ANY, 0, NO_CHECK},          /* ADD32 */
	{36, false, false, 1, ANY, 0, NO_CHECK},          /* ADD64 */
	{37, false, false, 1, ANY, 0, NO_CHECK},          /* SUB8 */
	{38, false, false, 1, ANY, 0, NO_CHECK},          /* SUB16 */
	{39, false, false, 1, ANY, 0, NO_CHECK},          /* SUB32 */
	{40, false, false, 1, ANY, 0, NO_CHECK},          /* SUB64 */
	{44, true, false, 2, S(9), 0xc101, REACH},        /* RVC_BRANCH: c.beqz a0 */
	{45, true, false, 2, S(12), 0xa001, REACH},       /* RVC_JUMP: c.j */
	{52, false, false, 1, ANY, 0, NO_CHECK},          /* SUB6 */
	{53, false, false, 1, ANY, 0, NO_CHECK},          /* SET6 */
	{54, false, false, 1, ANY, 0, NO_CHECK},          /* SET8 */
	{55, false, false, 1, ANY, 0, NO_CHECK},          /* SET16 */
	{56, false, false, 1, ANY, 0, NO_CHECK},          /* SET32 */
	{57, true, false, 1, S(32), 0, REACH},            /* 32_PCREL */
};

/* HIGHER and its kin take any value; so do the low halves. */
static const struct row ppc64le_rows[] = {
	{1, false, false, 1, U(32), 0, REACH},             /* ADDR32 */
	{3, false, false, 1, S(16), 0x38600000, REACH},    /* ADDR16: li r3 */
	{4, false, false, 1, ANY, 0x38630000, NO_CHECK},   /* ADDR16_LO: addi r3,r3 */
	{5, false, false, 1, S(32), 0x3c600000, REACH},    /* ADDR16_HI: lis r3 */
	{6, false, false, 1, HA(32), 0x3c600000, REACH},   /* ADDR16_HA */
	{10, true, false, 4, S(26), 0x48000001, REACH},    /* REL24: bl */
	{11, true, false, 4, S(16), 0x41820000, REACH},    /* REL14: beq */
	{24, false, false, 1, U(32), 0, REACH},            /* UADDR32 */
	{25, false, false, 1, S(16), 0, REACH},            /* UADDR16 */
	{26, true, false, 1, S(32), 0, REACH},             /* REL32 */
	{38, false, false, 1, ANY, 0, NO_CHECK},           /* ADDR64 */
	{39, false, false, 1, ANY, 0x60630000, NO_CHECK},  /* ADDR16_HIGHER: ori r3,r3 */
	{40, false, false, 1, ANY, 0x38630000, NO_CHECK},  /* ADDR16_HIGHERA */
	{41, false, false, 1, ANY, 0x3c600000, NO_CHECK},  /* ADDR16_HIGHEST */
	{42, false, false, 1, ANY, 0x3c600000, NO_CHECK},  /* ADDR16_HIGHESTA */
	{43, false, false, 1, ANY, 0, NO_CHECK},           /* UADDR64 */
	{44, true, false, 1, ANY, 0, NO_CHECK},            /* REL64 */
	{56, false, false, 4, S(16), 0xe8600000, REACH},   /* ADDR16_DS: ld r3,0(0) */
	{57, false, false, 4, ANY, 0xe8630002, NO_CHECK},  /* ADDR16_LO_DS: lwa r3,0(r3) */
	{110, false, false, 1, ANY, 0x64630000, NO_CHECK}, /* ADDR16_HIGH: oris r3,r3 */
	{111, false, false, 1, ANY, 0x3c630000, NO_CHECK}, /* ADDR16_HIGHA: addis r3,r3 */
	{116, true, false, 4, S(26), 0x48000001, REACH},   /* REL24_NOTOC */
	{132, true, false, 1, S(34), 0x06100000, REACH},   /* PCREL34: the prefix of pla */
	{249, true, false, 1, S(16), 0x38600000, REACH},   /* REL16 */
	{250, true, false, 1, ANY, 0x38630000, NO_CHECK},  /* REL16_LO */
	{251, true, false, 1, S(32), 0x3c600000, REACH},   /* REL16_HI */
	{252, true, false, 1, HA(32), 0x3c600000, REACH},  /* REL16_HA */
};

struct suite {
	enum arch_id arch;
	const char *as, *ld;
	uint64_t base;
	const struct row *rows;
	size_t n;
};

static const struct suite suites[] = {
	{ARCH_X86_64, "as", "ld", 0xffffffff81000000ull, x86_rows,
	 sizeof(x86_rows) / sizeof(x86_rows[0])},
	{ARCH_ARM64, "aarch64-linux-gnu-as", "aarch64-linux-gnu-ld", 0xffff800010000000ull,
	 arm64_rows, sizeof(arm64_rows) / sizeof(arm64_rows[0])},
	{ARCH_RISCV64, "riscv64-linux-gnu-as -mno-relax", "riscv64-linux-gnu-ld --no-relax",
	 0xffffffc081000000ull, riscv64_rows, sizeof(riscv64_rows) / sizeof(riscv64_rows[0])},
	{ARCH_PPC64LE, "powerpc64le-linux-gnu-as", "powerpc64le-linux-gnu-ld",
	 0xc000000010000000ull, ppc64le_rows, sizeof(ppc64le_rows) / sizeof(ppc64le_rows[0])},
};

/* A value that the type can hold: its limits first, then some of everything between. */
static int64_t value_of(const struct row *row, unsigned i)
{
	uint64_t span = (uint64_t)row->hi - (uint64_t)row->lo;
	int64_t v;

	if (i == 0)
		v = row->lo;
	else if (i == 1)
		v = row->hi;
	else if (i == 2)
		v = 0;
	else if (i % 2)
		v = (int64_t)((uint64_t)row->lo +
			      (span == UINT64_MAX ? rnd() : rnd() % (span + 1)));
	else /* small ones too, of either sign */
		v = (int64_t)(rnd() >> (rnd() % 64)) * (row->lo < 0 && rnd() % 2 ? -1 : 1);
	v &= -(int64_t)row->align;
	return v < row->lo ? row->lo : v > row->hi ? row->hi & -(int64_t)row->align : v;
}

/* The symbol value that gives `v` at P with addend A. */
static uint64_t symbol_for(const struct row *row, uint64_t p, int64_t addend, uint64_t v)
{
	if (row->page)
		p &= ~0xfffull;
	return v + (row->place ? p : 0) - (uint64_t)addend;
}

static const char *short_name(const struct suite *s, const struct row *row)
{
	const char *name = arch_reloc_name(arch_get(s->arch), row->type);

	assert_non_null(name);
	return name;
}

struct link {
	char dir[64];
	uint8_t in[CASES_MAX * SLOT];
	uint8_t out[CASES_MAX * SLOT];
	uint64_t sym[CASES_MAX];
	int64_t addend[CASES_MAX];
	size_t n;
};

static FILE *create(const struct link *l, const char *name)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", l->dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	return f;
}

/* R_RISCV_SUB*: V - S - A (psABI, Relocations), and V - S + A until binutils 2.41 (its bug 31179). */
static bool ld_may_err(const struct suite *s, const struct row *row)
{
	return s->arch == ARCH_RISCV64 && ((row->type >= 37 && row->type <= 40) || row->type == 52);
}

/* The object and the linker script that says where its symbols are. */
static void write_sources(const struct suite *s, struct link *l)
{
	FILE *asm_file = create(l, "in.s"), *script = create(l, "in.ld");

	fprintf(asm_file, ".text\n.globl _start\n_start:\n");
	fprintf(script, "ENTRY(_start)\n");
	for (size_t t = 0; t < s->n; t++) {
		const struct row *row = &s->rows[t];

		for (unsigned i = 0; i < EACH; i++) {
			size_t k = l->n++;
			uint64_t p = s->base + SLOT * k;
			int64_t a =
				i % 3 ? (int64_t)(rnd() % 64) * row->align - 16 * row->align : 0;

			if (ld_may_err(s, row))
				a = 0;
			/* ld for ppc64 names stubs by addends, and asserts them not negative. */
			if (s->arch == ARCH_PPC64LE && a < 0)
				a = -a;
			/* The last words of a page have rules of their own, tested below. */
			if (row->page && (p & 0xfff) >= 0xff8)
				p = 0;
			l->addend[k] = a;
			l->sym[k] = symbol_for(row, p, a, (uint64_t)value_of(row, i));
			vp_st32(l->in + SLOT * k, row->word);
			fprintf(asm_file, ".long %#x, 0\n", row->word);
			if (!p) {
				l->addend[k] = INT64_MIN; /* no relocation here */
				continue;
			}
			fprintf(asm_file, ".reloc %#zx, %s, s%zu + %" PRId64 "\n", SLOT * k,
				short_name(s, row), k, a);
			fprintf(script, "s%zu = %#" PRIx64 ";\n", k, l->sym[k]);
		}
	}
	fprintf(script, "SECTIONS { . = %#" PRIx64 "; .text : { *(.text) } }\n", s->base);
	assert_int_equal(fclose(asm_file), 0);
	assert_int_equal(fclose(script), 0);
}

static void run_linker(const struct suite *s, struct link *l)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "cd %s && %s -o in.o in.s && %s -o out -T in.ld in.o", l->dir,
		 s->as, s->ld);
	assert_int_equal(system(cmd), 0);
}

/* The bytes of .text, which must start at the base. */
static void load_text(const struct suite *s, struct link *l)
{
	char path[128];
	Elf_Scn *scn = NULL;
	GElf_Shdr sh = {0};
	Elf *e;
	int fd;

	snprintf(path, sizeof(path), "%s/out", l->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	elf_version(EV_CURRENT);
	e = elf_begin(fd, ELF_C_READ, NULL);
	assert_non_null(e);
	while ((scn = elf_nextscn(e, scn))) {
		assert_non_null(gelf_getshdr(scn, &sh));
		if (sh.sh_addr == s->base && (sh.sh_flags & SHF_EXECINSTR))
			break;
	}
	assert_non_null(scn);
	assert_true(sh.sh_size >= SLOT * l->n);
	assert_int_equal(pread(fd, l->out, SLOT * l->n, (off_t)sh.sh_offset), SLOT * l->n);
	elf_end(e);
	close(fd);
}

static void test_relocations_give_the_bytes_that_ld_gives(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		const struct suite *s = &suites[i];
		const struct arch_ops *a = arch_get(s->arch);
		struct link *l = calloc(1, sizeof(*l));
		size_t compared = 0;

		assert_non_null(l);
		assert_true(s->n * EACH <= CASES_MAX);
		dis_tmpdir(l->dir);
		write_sources(s, l);
		run_linker(s, l);
		load_text(s, l);
		for (size_t k = 0; k < l->n; k++) {
			const struct row *row = &s->rows[k / EACH];
			uint8_t *slot = l->in + SLOT * k;
			int r;

			if (l->addend[k] == INT64_MIN)
				continue;
			r = a->reloc(slot, SLOT, row->type, vp_gva(s->base + SLOT * k), l->sym[k],
				     l->addend[k]);
			if (r != VP_OK || memcmp(slot, l->out + SLOT * k, SLOT))
				print_message("%s: case %zu: %d\n", arch_reloc_name(a, row->type),
					      k % EACH, r);
			assert_int_equal(r, VP_OK);
			assert_memory_equal(slot, l->out + SLOT * k, SLOT);
			compared++;
		}
		print_message("%s: %zu relocations of %zu types agree with ld\n", a->name, compared,
			      s->n);
		dis_rmdir(l->dir);
		free(l);
	}
}

static int apply(const struct suite *s, const struct row *row, uint64_t p, uint64_t v, uint8_t *loc)
{
	return arch_get(s->arch)->reloc(loc, SLOT, row->type, vp_gva(p), symbol_for(row, p, 0, v),
					0);
}

static void test_one_step_beyond_its_limit_a_relocation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		const struct suite *s = &suites[i];

		for (size_t t = 0; t < s->n; t++) {
			const struct row *row = &s->rows[t];
			/* Pages count in whole ones. */
			uint64_t step = row->page ? 0x1000 : row->align;
			uint64_t lo = (uint64_t)row->lo & -step, hi = (uint64_t)row->hi & -step;
			uint8_t loc[SLOT] = {0}, before[SLOT];

			vp_st32(loc, row->word);
			memcpy(before, loc, SLOT);
			assert_int_equal(apply(s, row, s->base, lo - step, loc), row->below);
			assert_int_equal(apply(s, row, s->base, hi + step, loc), row->above);
			if (row->below != VP_OK)
				assert_memory_equal(loc, before, SLOT);
			assert_int_equal(apply(s, row, s->base, lo, loc), VP_OK);
			assert_int_equal(apply(s, row, s->base, hi, loc), VP_OK);
		}
	}
}

static void test_a_value_or_place_out_of_step_is_refused(void **state)
{
	(void)state;
	for (size_t i = 1; i < sizeof(suites) / sizeof(suites[0]); i++) {
		const struct suite *s = &suites[i];
		unsigned step = arch_get(s->arch)->insn_align;
		uint8_t loc[SLOT] = {0};

		for (size_t t = 0; t < s->n; t++) {
			const struct row *row = &s->rows[t];

			for (unsigned off = 1; off < row->align; off++)
				assert_int_equal(apply(s, row, s->base, off, loc), VP_E_RANGE);
			for (unsigned off = 1; row->word && off < step; off++) /* an instruction */
				assert_int_equal(apply(s, row, s->base + off, 0, loc), VP_E_RANGE);
		}
	}
}

/* The field's own bytes, counted by which room is just enough. */
static void test_a_relocation_keeps_inside_its_section(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		const struct suite *s = &suites[i];
		const struct arch_ops *a = arch_get(s->arch);

		for (size_t t = 0; t < s->n; t++) {
			const struct row *row = &s->rows[t];
			uint64_t sym = symbol_for(row, s->base, 0, 0);
			unsigned enough = 0;

			for (unsigned avail = 0; avail <= 8; avail++) {
				uint8_t *loc = calloc(1, avail ? avail : 1);
				int r;

				assert_non_null(loc);
				r = a->reloc(loc, avail, row->type, vp_gva(s->base), sym, 0);
				free(loc);
				if (r == VP_OK && !enough)
					enough = avail;
				assert_int_equal(r, enough ? VP_OK : VP_E_RANGE);
			}
			assert_true(enough == 1 || enough == 2 || enough == 4 || enough == 8);
		}
	}
}

/* ADRP in the last two words of a page becomes ADR where that reaches (erratum 843419). */
static void test_arm64_adrp_at_the_end_of_a_page_becomes_adr(void **state)
{
	const struct arch_ops *a = arch_get(ARCH_ARM64);
	const uint64_t page = 0xffff800010000000ull;
	uint8_t loc[4];

	(void)state;
	for (uint64_t off = 0xff0; off < 0x1000; off += 4) {
		bool last = off >= 0xff8;

		vp_st32(loc, 0x90000003);
		assert_int_equal(a->reloc(loc, 4, 275, vp_gva(page + off), page + 0x5678, 0),
				 VP_OK);
		if (last) { /* adr x3, page + 0x5000 */
			uint64_t rel = 0x5000 - off;

			assert_int_equal(vp_ld32(loc), 0x10000003 | (uint32_t)(rel & 3) << 29 |
							       (uint32_t)(rel >> 2) << 5);
		} else {
			assert_int_equal(vp_ld32(loc), 0xb0000003 | 1 << 5);
		}
		/* Out of ADR's reach it stays what it was. */
		vp_st32(loc, 0x90000003);
		assert_int_equal(a->reloc(loc, 4, 275, vp_gva(page + off), page + 0x200000, 0),
				 VP_OK);
		assert_int_equal(vp_ld32(loc), 0x90000003 | 0x200 >> 2 << 5);
	}
}

/* A linker that relaxes would take nops away: without one they must be just those that align. */
static void test_riscv64_padding_must_be_just_right(void **state)
{
	static const struct {
		uint64_t p;
		int64_t addend;
		size_t avail;
		const char *bytes;
		int err;
	} rows[] = {
		{0x1000, 0, 0, "", VP_OK},
		{0x1002, 2, 2, "\x01\x00", VP_OK},
		{0x1002, 6, 6, "\x01\x00\x13\x00\x00\x00", VP_OK},
		{0x1002, 6, 8, "\x01\x00\x01\x00\x01\x00\x82\x80", VP_OK},
		{0x1004, 6, 6, "\x01\x00\x13\x00\x00\x00", VP_E_RANGE}, /* 4 would do */
		{0x1000, 2, 2, "\x01\x00", VP_E_RANGE},                 /* none would */
		{0x1002, 6, 5, "\x01\x00\x13\x00\x00", VP_E_RANGE},     /* beyond its section */
		{0x1002, 2, 2, "\x00\x00", VP_E_RANGE},                 /* no nops */
		{0x1002, 2, 4, "\x13\x00\x00\x00", VP_E_RANGE},         /* half of one */
		{0x1002, -2, 2, "\x01\x00", VP_E_RANGE},
		{0x1000, INT64_MAX, 2, "\x01\x00", VP_E_RANGE},
	};
	const struct arch_ops *a = arch_get(ARCH_RISCV64);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t *loc = malloc(rows[i].avail + 1);

		assert_non_null(loc);
		memcpy(loc, rows[i].bytes, rows[i].avail);
		assert_int_equal(
			a->reloc(loc, rows[i].avail, 43, vp_gva(rows[i].p), 0, rows[i].addend),
			rows[i].err);
		assert_memory_equal(loc, rows[i].bytes, rows[i].avail);
		/* What a linker may do with it, none here does. */
		assert_int_equal(a->reloc(loc, rows[i].avail, 51, vp_gva(0x1001), 0, 0), VP_OK);
		assert_memory_equal(loc, rows[i].bytes, rows[i].avail);
		free(loc);
	}
	assert_string_equal(arch_reloc_name(a, 43), "R_RISCV_ALIGN");
}

/* What is there is counted on: 6 bits leave the other two, and nothing but the field changes. */
static void test_riscv64_sums_start_from_what_is_there(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t before, value, after;
	} rows[] = {
		{33, 0x1122334455667788, 0x1ff, 0x1122334455667787},
		{34, 0x1122334455667788, 0x8879, 0x1122334455660001},
		{35, 0x1122334455667788, 0x100000001, 0x1122334455667789},
		{36, 0x1122334455667788, 0x1000000000000000, 0x2122334455667788},
		{37, 0x1122334455667788, 0x89, 0x11223344556677ff},
		{38, 0x1122334455667788, 0x7789, 0x112233445566ffff},
		{39, 0x1122334455667788, 0x55667789, 0x11223344ffffffff},
		{40, 0x1122334455667788, 0x1122334455667789, 0xffffffffffffffff},
		{52, 0x11223344556677c1, 2, 0x11223344556677ff},
		{53, 0x11223344556677c1, 0x7f, 0x11223344556677ff},
		{53, 0x11223344556677ff, 0x40, 0x11223344556677c0},
	};
	const struct arch_ops *a = arch_get(ARCH_RISCV64);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t loc[8];

		vp_st64(loc, rows[i].before);
		assert_int_equal(
			a->reloc(loc, 8, rows[i].type, vp_gva(0x1001), rows[i].value - 16, 16),
			VP_OK);
		assert_true(vp_ld64(loc) == rows[i].after);
	}
}

static void test_references_to_a_got_or_toc_are_refused_by_name(void **state)
{
	static const struct {
		enum arch_id arch;
		uint32_t type;
	} rows[] = {{ARCH_X86_64, 9},
		    {ARCH_X86_64, 25},
		    {ARCH_X86_64, 26},
		    {ARCH_X86_64, 41},
		    {ARCH_X86_64, 42},
		    {ARCH_ARM64, 307},
		    {ARCH_ARM64, 311},
		    {ARCH_ARM64, 312},
		    {ARCH_PPC64LE, 14},
		    {ARCH_PPC64LE, 47},
		    {ARCH_PPC64LE, 48},
		    {ARCH_PPC64LE, 50},
		    {ARCH_PPC64LE, 51},
		    {ARCH_PPC64LE, 64},
		    {ARCH_PPC64LE, 120},
		    {ARCH_PPC64LE, 133},
		    {ARCH_RISCV64, 20},
		    {ARCH_RISCV64, 21},
		    {ARCH_RISCV64, 41},
		    /* not a GOT: low parts whose symbol is a label */
		    {ARCH_RISCV64, 24},
		    {ARCH_RISCV64, 25}};
	uint8_t loc[8] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct arch_ops *a = arch_get(rows[i].arch);

		assert_non_null(arch_reloc_name(a, rows[i].type));
		assert_int_equal(a->reloc(loc, 8, rows[i].type, vp_gva(0), 0, 0), VP_E_RELOC);
	}
}

int main(void)
{
	static const char *const tools[] = {"as",
					    "ld",
					    "aarch64-linux-gnu-as",
					    "aarch64-linux-gnu-ld",
					    "riscv64-linux-gnu-as",
					    "riscv64-linux-gnu-ld",
					    "powerpc64le-linux-gnu-as",
					    "powerpc64le-linux-gnu-ld"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_relocations_give_the_bytes_that_ld_gives),
		cmocka_unit_test(test_one_step_beyond_its_limit_a_relocation_is_refused),
		cmocka_unit_test(test_a_value_or_place_out_of_step_is_refused),
		cmocka_unit_test(test_a_relocation_keeps_inside_its_section),
		cmocka_unit_test(test_arm64_adrp_at_the_end_of_a_page_becomes_adr),
		cmocka_unit_test(test_riscv64_padding_must_be_just_right),
		cmocka_unit_test(test_riscv64_sums_start_from_what_is_there),
		cmocka_unit_test(test_references_to_a_got_or_toc_are_refused_by_name),
	};

	dis_need_tools(tools, 6);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
