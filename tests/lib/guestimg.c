// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/guestimg.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arm64/regs.h"
#include "arch/x86-64/regs.h"
#include "protocol/bytes.h"
#include "tests/lib/guestbtf.h"
#include "tests/lib/guestsyms.h"

#define MIB2       (2ull << 20)
#define TEXT_LEN   0x3ff000u
#define FUNCS_OFF  0x1000u
#define PANIC_OFF  0x3000u
#define DUP_OFF    0x4000u
#define CLONE_OFF  0x5000u
#define CAVE_OFF   0x10000u
#define SITES_OFF  0x1a0000u
#define RODATA_OFF 0x400000u
#define DATA_OFF   0x600000u
#define INIT_OFF   0x800000u
#define IMAGE_OFF  0x400000u /* in RAM */
#define IMAGE_LEN  0xa00000u

#define X86_MAP      0xffffffff80000000ull
#define X86_LINEAR   0xffff888000000000ull
#define ARM64_IMAGE  0xffff800008000000ull
#define ARM64_LINEAR 0xffff000000000000ull
#define ARM64_RAM    0x40000000ull
#define SYMBOLS_MAX  64 /* without the sites */

/* Offsets in rodata and data. */
enum {
	RO_EXPORTS = 0x5400, /* arm64; names behind them */
	RO_STRINGS = 0x5800,
	RO_BUILD_ID = 0x7100,
	RO_NOTE = 0x7200,
	RO_ROOT = 0x8000, /* arm64 */
	RO_BTF = 0x10000,
};
enum {
	D_UTS = 0x100,
	D_TASK = 0x1000,
	D_TEXT_MUTEX = 0x2000,
	D_FTRACE_LOCK = 0x2040,
	D_PANIC_CPU = 0x2080,
	D_STATE = 0x2084,
	D_PAGES_START = 0x2090,
	D_OPS_LIST = 0x2098,
	D_LIST_END = 0x20a0,
	D_RETURN_THUNK = 0x20a8,
	D_VMCI = 0x2100,
	D_PAGE_OFFSET = 0x2108,
	D_OPS = 0x2200,     /* one ftrace_ops */
	D_HASHES = 0x2280,  /* its ftrace_ops_hash */
	D_FILTER = 0x2300,  /* ftrace_hash */
	D_BUCKETS = 0x2340, /* one bucket */
	D_ENTRY = 0x2380,   /* ftrace_func_entry */
	D_ROOT = 0x8000,    /* x86-64 */
};

/* What grows with the number of functions: offsets in text, then in rodata. */
struct spread {
	uint32_t cave_end, reserved;
	uint32_t num, names, tokens, index, offsets, base; /* of kallsyms */
};

static const struct spread narrow = {0x30000, 0x201000, 0x1000, 0x1008,
				     0x4000,  0x5000,   0x6000, 0x7000};
static const struct spread wide = {0x190000, 0x301000, 0x20000, 0x20008,
				   0x80000,  0x90000,  0xa0000, 0xb0000};

static const struct spread *spread(const struct guestimg *img)
{
	return img->opts.sites ? &wide : &narrow;
}

const uint8_t guestimg_build_id[20] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
				       11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

static bool is_x86(const struct guestimg *img)
{
	return img->arch->id == ARCH_X86_64;
}

static uint64_t ram_base(const struct arch_ops *arch)
{
	return arch->id == ARCH_X86_64 ? 0 : ARM64_RAM;
}

void guestimg_ram(struct fake *f, const struct arch_ops *arch, unsigned n)
{
	fake_ram_add(f, vp_gpa(ram_base(arch)), n * GUESTIMG_RAM);
	fake_find_pages(f, true);
}

static uint8_t *phys(const struct guestimg *img, uint64_t at)
{
	uint8_t *p = fake_mem(img->f, vp_gpa(at), 1);

	if (!p) {
		fprintf(stderr, "guestimg: %#" PRIx64 " is outside RAM\n", at);
		abort();
	}
	return p;
}

vp_gpa_t guestimg_gpa(const struct guestimg *img, vp_gva_t at)
{
	uint64_t linear = is_x86(img) ? X86_LINEAR : ARM64_LINEAR;

	if (at.v >= img->text.v && at.v - img->text.v < IMAGE_LEN)
		return vp_gpa(at.v - img->text.v + img->phys.v);
	return vp_gpa(at.v - linear + (is_x86(img) ? 0 : ARM64_RAM));
}

vp_gva_t guestimg_linear(const struct guestimg *img, vp_gpa_t at)
{
	return is_x86(img) ? vp_gva(X86_LINEAR + at.v) : vp_gva(ARM64_LINEAR + at.v - ARM64_RAM);
}

void *guestimg_at(const struct guestimg *img, vp_gva_t at)
{
	return phys(img, guestimg_gpa(img, at).v);
}

/* --- page tables ------------------------------------------------------------------------------------ */

static uint64_t leaf_bits(const struct guestimg *img, enum guestimg_prot prot)
{
	/* x86-64: present, accessed, dirty, large; RW; US; PWT, PCD; NX. arm64: block, AF, inner
	 * shareable; AP[2]; PXN, UXN. */
	static const uint64_t x86[] = {
		[GUESTIMG_TEXT] = 0xe1,
		[GUESTIMG_RODATA] = 0x80000000000000e1,
		[GUESTIMG_DATA] = 0x80000000000000e3,
		[GUESTIMG_INIT] = 0x80000000000000e3,
		[GUESTIMG_USER_TEXT] = 0xe5,
		[GUESTIMG_USER_DATA] = 0x80000000000000e7,
		[GUESTIMG_DEVICE] = 0x80000000000000fb,
	};
	static const uint64_t arm64[] = {0x0040000000000781, 0x0060000000000781, 0x0060000000000701,
					 0x0060000000000701};

	return is_x86(img) ? x86[prot] : arm64[prot];
}

static uint64_t table_entry(const struct guestimg *img, uint64_t table)
{
	return table | (is_x86(img) ? 0x63 : 3);
}

void guestimg_map(struct guestimg *img, uint64_t va, uint64_t pa, enum guestimg_prot prot)
{
	uint64_t table = img->root.v;

	for (unsigned shift = 39; shift > 21; shift -= 9) {
		uint8_t *e = phys(img, table + 8 * (va >> shift & 511));

		if (vp_ld64(e) == 0) {
			vp_st64(e, table_entry(img, img->next_table));
			img->next_table += 4096;
		}
		if (prot == GUESTIMG_USER_TEXT || prot == GUESTIMG_USER_DATA)
			vp_st64(e, vp_ld64(e) | 4); /* every level has to allow it */
		table = vp_ld64(e) & 0x0000fffffffff000ull;
	}
	vp_st64(phys(img, table + 8 * (va >> 21 & 511)), pa | leaf_bits(img, prot));
}

static void build_tables(struct guestimg *img)
{
	static const enum guestimg_prot prots[] = {GUESTIMG_TEXT, GUESTIMG_TEXT, GUESTIMG_RODATA,
						   GUESTIMG_DATA, GUESTIMG_INIT};
	uint64_t pgd = img->ram + 0xf0000;

	img->next_table = img->ram + 0x100000;
	for (unsigned i = 0; i < 5; i++) {
		enum guestimg_prot prot = prots[i];

		if (prot == GUESTIMG_INIT && img->opts.booting)
			prot = GUESTIMG_TEXT;
		else if (prot == GUESTIMG_INIT && !is_x86(img))
			continue; /* arm64 unmaps it */
		guestimg_map(img, img->text.v + i * MIB2, img->phys.v + i * MIB2, prot);
	}
	for (uint64_t off = 0; off < GUESTIMG_RAM; off += MIB2)
		guestimg_map(img, guestimg_linear(img, vp_gpa(img->ram + off)).v, img->ram + off,
			     GUESTIMG_DATA);
	memcpy(phys(img, pgd), phys(img, img->root.v), 4096); /* a process's: the kernel's half */
}

/* --- text ---------------------------------------------------------------------------------------------- */

static void put_code(struct guestimg *img, uint64_t from, uint64_t to)
{
	uint8_t *p = guestimg_at(img, vp_gva(img->text.v + from));
	unsigned unit = is_x86(img) ? 1 : 4;

	for (; from < to; from += unit, p += unit)
		if (img->arch->nop(p, unit) < 0)
			abort();
}

static void put_function(struct guestimg *img, vp_gva_t at)
{
	static const uint8_t x86[] = {0x0f, 0x1f, 0x44, 0x00, 0x00, /* nopl 0x0(%rax,%rax,1) */
				      0x31, 0xc0, 0xc3};            /* xor %eax,%eax; ret */
	static const uint8_t arm64[] = {0xe9, 0x03, 0x1e, 0xaa,     /* mov x9, x30 */
					0x1f, 0x20, 0x03, 0xd5,     /* nop */
					0x3f, 0x23, 0x03, 0xd5,     /* paciasp */
					0xbf, 0x23, 0x03, 0xd5,     /* autiasp */
					0xc0, 0x03, 0x5f, 0xd6};    /* ret */

	if (is_x86(img))
		memcpy(guestimg_at(img, at), x86, sizeof(x86));
	else
		memcpy(guestimg_at(img, at), arm64, sizeof(arm64));
}

static void build_text(struct guestimg *img)
{
	uint8_t *p = guestimg_at(img, img->text);

	for (size_t i = 0; i < RODATA_OFF; i++)
		p[i] = img->arch->filler[i % img->arch->filler_len];
	put_code(img, 0, CAVE_OFF);
	put_code(img, spread(img)->cave_end, spread(img)->reserved);
	put_code(img, TEXT_LEN - 0x1000, RODATA_OFF);
	img->cave = vp_gva(img->text.v + CAVE_OFF + 64);
	img->cave_len = spread(img)->cave_end - CAVE_OFF - 128;
	for (unsigned i = 0; i < GUESTIMG_FUNCS; i++) {
		img->func[i] = vp_gva(img->text.v + FUNCS_OFF + i * GUESTIMG_FUNC_SIZE);
		put_function(img, img->func[i]);
	}
	img->site = vp_gva(img->text.v + SITES_OFF);
	for (unsigned i = 0; i < img->opts.sites; i++)
		put_function(img, vp_gva(img->site.v + i * GUESTIMG_FUNC_SIZE));
	img->panic = vp_gva(img->text.v + PANIC_OFF);
	for (unsigned i = 0; i < 2; i++) {
		img->dup[i] = vp_gva(img->text.v + DUP_OFF + i * GUESTIMG_FUNC_SIZE);
		put_function(img, img->dup[i]);
	}
	img->thunk = vp_gva(img->panic.v + 0x400);
	for (unsigned i = 0; i < 2; i++) {
		img->tiny[i] = vp_gva(img->panic.v + 0x200 + i * 16);
		put_function(img, img->tiny[i]);
	}
}

/* --- symbols ---------------------------------------------------------------------------------------------- */

/* Nearly in address order: the tables of symbols have no fixed place. */
static void list_symbols(const struct guestimg *img, struct guestsyms *s)
{
	uint64_t text = img->text.v, ro = img->rodata.v, data = img->data.v;
	const struct spread *to = spread(img);
	bool x86 = is_x86(img);

	if (x86)
		guestsyms_add(s, 0, "Afixed_percpu_data");
	guestsyms_add(s, text, "T_stext");
	guestsyms_add(s, text, "T_text");
	for (unsigned i = 0; i < GUESTIMG_FUNCS; i++)
		guestsyms_add(s, img->func[i].v, "Tguest_func%u", i);
	guestsyms_add(s, text + FUNCS_OFF + GUESTIMG_FUNCS * GUESTIMG_FUNC_SIZE, "tafter_funcs");
	guestsyms_add(s, img->panic.v, "Tpanic");
	guestsyms_add(s, img->panic.v + 0x100, "tafter_panic");
	guestsyms_add(s, img->tiny[0].v, "ttiny_func0");
	guestsyms_add(s, img->tiny[1].v, "ttiny_func1");
	guestsyms_add(s, img->tiny[1].v + 16, "tafter_tiny");
	if (x86) {
		guestsyms_add(s, img->thunk.v, "T__x86_indirect_thunk_rax");
		guestsyms_add(s, img->thunk.v + 0x20, "T__x86_return_thunk");
		guestsyms_add(s, img->thunk.v + 0x40, "T__x86_indirect_its_thunk_rax");
		guestsyms_add(s, img->thunk.v + 0x60, "Tits_return_thunk");
	}
	guestsyms_add(s, img->dup[0].v, "tdup_func");
	guestsyms_add(s, img->dup[1].v, "tdup_func");
	guestsyms_add(s, text + CLONE_OFF, "tguest_func0.constprop.0");
	guestsyms_add(s, text + CLONE_OFF + 64, "tguest_func0.isra.0.part.3");
	guestsyms_add(s, text + CLONE_OFF + 128, "tguest_func0.cold");
	guestsyms_add(s, text + CAVE_OFF - 64, "tlast_before_cave");
	guestsyms_add(s, text + to->cave_end, "tfirst_after_cave");
	for (unsigned i = 0; i < img->opts.sites; i++)
		guestsyms_add(s, img->site.v + i * GUESTIMG_FUNC_SIZE, "Tsite_%05u", i);
	if (img->opts.sites)
		guestsyms_add(s, img->site.v + img->opts.sites * GUESTIMG_FUNC_SIZE,
			      "tafter_sites");
	guestsyms_add(s, text + to->reserved - 0xff0,
		      x86 ? "T__entry_text_start" : "T__idmap_text_start");
	guestsyms_add(s, text + TEXT_LEN - 0x1000, x86 ? "T__entry_text_end" : "T__idmap_text_end");
	guestsyms_add(s, text + TEXT_LEN, x86 ? "T_etext" : "D_etext");
	if (x86) {
		guestsyms_add(s, ro + to->num, "Rkallsyms_num_syms");
		guestsyms_add(s, ro + to->names, "Rkallsyms_names");
		guestsyms_add(s, ro + to->tokens, "Rkallsyms_token_table");
		guestsyms_add(s, ro + to->index, "Rkallsyms_token_index");
		guestsyms_add(s, ro + to->offsets, "Rkallsyms_offsets");
		guestsyms_add(s, ro + to->base, "Rkallsyms_relative_base");
		guestsyms_add(s, ro + RO_BUILD_ID, "Dvmlinux_build_id");
		if (!img->opts.no_tracer)
			guestsyms_add(s, ro + RO_BTF, "R__start_BTF");
		guestsyms_add(s, data + D_UTS, "Dinit_uts_ns");
		guestsyms_add(s, data + D_TASK, "Dinit_task");
		guestsyms_add(s, data + D_TEXT_MUTEX, "Dtext_mutex");
		guestsyms_add(s, data + D_FTRACE_LOCK, "dftrace_lock");
		guestsyms_add(s, data + D_PANIC_CPU, "Dpanic_cpu");
		guestsyms_add(s, data + D_STATE, "Dsystem_state");
		guestsyms_add(s, data + D_PAGES_START, "dftrace_pages_start");
		guestsyms_add(s, data + D_OPS_LIST, "Dftrace_ops_list");
		guestsyms_add(s, data + D_LIST_END, "Dftrace_list_end");
		guestsyms_add(s, data + D_RETURN_THUNK, "Dx86_return_thunk");
		guestsyms_add(s, data + D_VMCI, "Bvmcoreinfo_data");
		guestsyms_add(s, data + D_PAGE_OFFSET, "Bpage_offset_base");
		guestsyms_add(s, data + D_ROOT, "Dinit_top_pgt");
	}
	guestsyms_add(s, img->init.v, "T_sinittext");
	guestsyms_add(s, img->init.v + 0x10000, "T_einittext");
	if (x86)
		guestsyms_add(s, img->text.v + IMAGE_LEN, "B_end");
}

static void build_symbols(struct guestimg *img)
{
	uint8_t *ro = guestimg_at(img, img->rodata);
	const struct spread *at = spread(img);
	const struct guestsyms_to to = {.num = ro + at->num,
					.names = ro + at->names,
					.tokens = ro + at->tokens,
					.index = ro + at->index,
					.offsets = ro + at->offsets,
					.base = ro + at->base};
	struct guestsyms s;

	guestsyms_init(&s, SYMBOLS_MAX + img->opts.sites);
	list_symbols(img, &s);
	guestsyms_write(&s, img->text.v, is_x86(img), &to);
	img->n_symbols = s.n;
	guestsyms_deinit(&s);
}

/* --- exported variables ---------------------------------------------------------------------------------- */

void guestimg_export(const struct guestimg *img, unsigned i, uint64_t value, uint64_t name)
{
	uint64_t at = img->exports.v + 12 * i;
	uint8_t *p = guestimg_at(img, vp_gva(at));

	vp_st32(p, (uint32_t)(value - at));
	vp_st32(p + 4, (uint32_t)(name - at - 4));
	vp_st32(p + 8, (uint32_t)(img->rodata.v + RO_STRINGS - at - 8)); /* "" */
}

/* __ksymtab, and __ksymtab_gpl right behind it. */
static void build_exports(struct guestimg *img)
{
	const struct {
		const char *name;
		uint64_t value;
	} all[GUESTIMG_EXPORTS] = {
		{"guest_func0", img->func[0].v},       {"guest_func1", img->func[1].v},
		{"guest_func2", img->func[2].v},       {"guest_func3", img->func[3].v},
		{"init_task", img->data.v + D_TASK},   {"jiffies", img->data.v + D_STATE},
		{"cpu_number", img->init.v + 0x20040}, {"guest_constant", img->rodata.v + RO_NOTE},
		{"guest_func4", img->func[4].v},       {"guest_func5", img->func[5].v},
		{"guest_func6", img->func[6].v},       {"guest_func7", img->func[7].v},
	};
	uint64_t name = img->rodata.v + RO_STRINGS + 1;

	img->exports = vp_gva(img->rodata.v + RO_EXPORTS);
	for (unsigned i = 0; i < GUESTIMG_EXPORTS; i++) {
		strcpy(guestimg_at(img, vp_gva(name)), all[i].name);
		guestimg_export(img, i, all[i].value, name);
		name += strlen(all[i].name) + 1;
	}
}

/* --- VMCOREINFO ------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void line(char *page, const char *fmt, ...)
{
	size_t at = strlen(page);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(page + at, 4096 - at, fmt, ap);
	va_end(ap);
}

static void build_vmcoreinfo(struct guestimg *img)
{
	char *page = (char *)phys(img, img->vmcoreinfo.v);
	const struct spread *to = spread(img);
	uint64_t ro = img->rodata.v, data = img->data.v;

	memset(page, 0, 4096);
	line(page, "OSRELEASE=%s\nBUILD-ID=", img->opts.release);
	for (size_t i = 0; i < sizeof(guestimg_build_id); i++)
		line(page, "%02x", guestimg_build_id[i]);
	line(page,
	     "\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=%" PRIx64 "\nOFFSET(uts_namespace.name)=0\n",
	     data + D_UTS);
	line(page, "SYMBOL(swapper_pg_dir)=%" PRIx64 "\nSYMBOL(_stext)=%" PRIx64 "\n",
	     is_x86(img) ? data + D_ROOT : ro + RO_ROOT, img->text.v);
	line(page,
	     "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\nSYMBOL(kallsyms_names)=%" PRIx64
	     "\nSYMBOL(kallsyms_num_syms)=%" PRIx64 "\nSYMBOL(kallsyms_token_table)=%" PRIx64
	     "\nSYMBOL(kallsyms_token_index)=%" PRIx64 "\nSYMBOL(kallsyms_offsets)=%" PRIx64
	     "\nSYMBOL(kallsyms_relative_base)=%" PRIx64 "\n",
	     ro + to->names, ro + to->num, ro + to->tokens, ro + to->index, ro + to->offsets,
	     ro + to->base);
	if (is_x86(img))
		line(page,
		     "NUMBER(phys_base)=%" PRId64 "\nSYMBOL(init_top_pgt)=%" PRIx64
		     "\nNUMBER(pgtable_l5_enabled)=0\n",
		     (int64_t)(img->phys.v - (img->text.v - X86_MAP)), data + D_ROOT);
	else
		line(page,
		     "NUMBER(VA_BITS)=48\nNUMBER(kimage_voffset)=0x%" PRIx64
		     "\nNUMBER(PHYS_OFFSET)=0x%llx\nNUMBER(TCR_EL1_T1SZ)=0x10\n",
		     img->text.v - img->phys.v, ARM64_RAM);
	line(page, "KERNELOFFSET=%" PRIx64 "\n", img->opts.kaslr);
}

void guestimg_vmcoreinfo_set(const struct guestimg *img, const char *key, const char *value)
{
	char *page = (char *)phys(img, img->vmcoreinfo.v), copy[4096], *save = NULL;
	size_t n = strlen(key);

	memcpy(copy, page, sizeof(copy));
	memset(page, 0, 4096);
	for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (strncmp(l, key, n) != 0 || l[n] != '=')
			line(page, "%s\n", l);
		else if (value)
			line(page, "%s=%s\n", key, value);
	}
}

/* --- data --------------------------------------------------------------------------------------------------- */

static void st(const struct guestimg *img, vp_gva_t at, uint64_t v)
{
	vp_st64(guestimg_at(img, at), v);
}

static void build_tracer(struct guestimg *img)
{
	uint64_t pages = img->ram + 0x90000, records = img->ram + 0x91000;
	uint64_t data = img->data.v;
	vp_gva_t pg[2] = {guestimg_linear(img, vp_gpa(pages)),
			  guestimg_linear(img, vp_gpa(pages + 64))};
	vp_gva_t rec = guestimg_linear(img, vp_gpa(records));

	guestbtf_write(guestimg_at(img, vp_gva(img->rodata.v + RO_BTF)));
	st(img, vp_gva(data + D_PAGES_START), pg[0].v);
	st(img, vp_gva(data + D_OPS_LIST), data + D_LIST_END);
	/* one group with the last address, then one with the functions */
	st(img, pg[0], pg[1].v);
	st(img, vp_gva(pg[0].v + 8), rec.v);
	st(img, vp_gva(pg[0].v + 16), 1);
	st(img, rec, img->dup[1].v);
	st(img, vp_gva(pg[1].v + 8), rec.v + 0x100);
	st(img, vp_gva(pg[1].v + 16), GUESTIMG_FUNCS);
	for (unsigned i = 0; i < GUESTIMG_FUNCS; i++) {
		st(img, vp_gva(rec.v + 0x100 + 16 * i), img->func[i].v);
		img->flags[i] = vp_gpa(records + 0x100 + 16 * i + 8);
	}
	if (!img->opts.sites)
		return;
	st(img, pg[1], pg[1].v + 64);
	st(img, vp_gva(pg[1].v + 64 + 8), rec.v + 0x1000);
	st(img, vp_gva(pg[1].v + 64 + 16), img->opts.sites);
	for (unsigned i = 0; i < img->opts.sites; i++)
		st(img, vp_gva(rec.v + 0x1000 + 16 * i), img->site.v + i * GUESTIMG_FUNC_SIZE);
}

void guestimg_add_ops(const struct guestimg *img, vp_gva_t only, vp_gva_t func)
{
	uint64_t data = img->data.v;

	st(img, vp_gva(data + D_OPS), func.v);
	st(img, vp_gva(data + D_OPS + 8), data + D_LIST_END);
	st(img, vp_gva(data + D_OPS + 16), data + D_HASHES);
	st(img, vp_gva(data + D_HASHES), 0); /* notrace_hash */
	st(img, vp_gva(data + D_HASHES + 8), data + D_FILTER);
	st(img, vp_gva(data + D_FILTER), 0); /* size_bits: one bucket */
	st(img, vp_gva(data + D_FILTER + 8), data + D_BUCKETS);
	st(img, vp_gva(data + D_FILTER + 16), only.v ? 1 : 0);
	st(img, vp_gva(data + D_BUCKETS), only.v ? data + D_ENTRY : 0);
	st(img, vp_gva(data + D_ENTRY), 0);
	st(img, vp_gva(data + D_ENTRY + 16), only.v);
	st(img, vp_gva(data + D_OPS_LIST), data + D_OPS);
}

static void build_data(struct guestimg *img)
{
	uint64_t ro = img->rodata.v, data = img->data.v;
	uint8_t *note = guestimg_at(img, vp_gva(ro + RO_NOTE));

	img->uts = vp_gva(data + D_UTS);
	strcpy((char *)guestimg_at(img, img->uts), "Linux");
	strcpy((char *)guestimg_at(img, vp_gva(data + D_UTS + 130)), img->opts.release);
	vp_st32(note, 4);
	vp_st32(note + 4, sizeof(guestimg_build_id));
	vp_st32(note + 8, 3); /* NT_GNU_BUILD_ID */
	memcpy(note + 12, "GNU", 4);
	memcpy(note + 16, guestimg_build_id, sizeof(guestimg_build_id));
	if (!is_x86(img)) {
		build_exports(img);
		return;
	}
	memcpy(guestimg_at(img, vp_gva(ro + RO_BUILD_ID)), guestimg_build_id,
	       sizeof(guestimg_build_id));
	st(img, vp_gva(data + D_TASK + GUESTBTF_CANARY), img->opts.canary);
	vp_st32(guestimg_at(img, vp_gva(data + D_PANIC_CPU)), 0xffffffff);
	vp_st32(guestimg_at(img, vp_gva(data + D_STATE)), img->opts.booting ? 1 : 3);
	st(img, vp_gva(data + D_VMCI), guestimg_linear(img, img->vmcoreinfo).v);
	st(img, vp_gva(data + D_PAGE_OFFSET), X86_LINEAR);
	img->return_thunk = vp_gva(data + D_RETURN_THUNK);
	st(img, img->return_thunk, img->thunk.v + 0x20);
	img->text_mutex = guestimg_gpa(img, vp_gva(data + D_TEXT_MUTEX));
	img->ftrace_lock = guestimg_gpa(img, vp_gva(data + D_FTRACE_LOCK));
	img->panic_cpu = guestimg_gpa(img, vp_gva(data + D_PANIC_CPU));
	img->system_state = guestimg_gpa(img, vp_gva(data + D_STATE));
	if (!img->opts.no_tracer)
		build_tracer(img);
}

/* --- registers ------------------------------------------------------------------------------------------------ */

static void set(struct arch_regs *r, unsigned i, uint64_t v)
{
	r->v[i] = v;
	r->have |= 1u << i;
}

void guestimg_regs(const struct guestimg *img, unsigned vcpu, vp_gva_t pc)
{
	struct arch_regs *r = fake_regs(img->f, vcpu);

	if (!r)
		return;
	memset(r, 0, sizeof(*r));
	set(r, ARCH_REG_PC, pc.v);
	/* a stack in the linear map */
	set(r, ARCH_REG_SP,
	    guestimg_linear(img, vp_gpa(img->ram + 0xe0000 + vcpu * 4096)).v + 0xf00);
	if (is_x86(img)) {
		set(r, X86_64_REG_CR0, 0x80050033);
		set(r, X86_64_REG_CR3, img->ram + 0xf0000);
		set(r, X86_64_REG_CR4, 0x6f0);
		set(r, X86_64_REG_EFER, 0xd01);
		set(r, X86_64_REG_CS, 0x10);
		return;
	}
	set(r, ARCH_REG_FP, 0);
	set(r, ARM64_REG_CPSR, 0x3c5); /* EL1h */
	set(r, ARM64_REG_TTBR1, img->root.v);
	set(r, ARM64_REG_TCR, 0x10 | 0x10 << 16 | 2ull << 30 | 5ull << 32);
	set(r, ARM64_REG_SCTLR, 1);
}

void guestimg_build(struct fake *f, const struct arch_ops *arch, const struct guestimg_opts *opts,
		    struct guestimg *ret)
{
	struct guestimg img = {.f = f, .arch = arch};

	if (opts)
		img.opts = *opts;
	if (!img.opts.release)
		img.opts.release = GUESTIMG_RELEASE;
	if (img.opts.sites > GUESTIMG_SITES_MAX || (img.opts.sites && !is_x86(&img)))
		abort();
	img.ram = ram_base(arch) + img.opts.at;
	img.phys = vp_gpa(img.ram + IMAGE_OFF);
	img.text = vp_gva((is_x86(&img) ? X86_MAP + 0x1000000 : ARM64_IMAGE) + img.opts.kaslr);
	img.text_end = vp_gva(img.text.v + TEXT_LEN);
	img.rodata = vp_gva(img.text.v + RODATA_OFF);
	img.data = vp_gva(img.text.v + DATA_OFF);
	img.init = vp_gva(img.text.v + INIT_OFF);
	img.vmcoreinfo = vp_gpa(img.ram + 0x80000);
	img.root = guestimg_gpa(&img, is_x86(&img) ? vp_gva(img.data.v + D_ROOT)
						   : vp_gva(img.rodata.v + RO_ROOT));
	memset(phys(&img, img.ram), 0, GUESTIMG_RAM);
	build_tables(&img);
	build_text(&img);
	build_symbols(&img);
	build_vmcoreinfo(&img);
	build_data(&img);
	if (!img.opts.keep_regs)
		for (unsigned i = 0; i < FAKE_VCPU_MAX; i++)
			guestimg_regs(&img, i, vp_gva(img.text.v + 0x100));
	*ret = img;
}
