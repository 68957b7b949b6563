/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A Linux kernel of 10 MiB that never ran, in the memory of a fake guest: page tables, VMCOREINFO,
 * kallsyms, functions with patchable entries, a cave, and on x86-64 BTF, ftrace records and data
 * symbols (arm64 has none of these, as Debian's kernel has not, but a table of exports).
 *
 *   struct fake *f = fake_create(arch_get(ARCH_X86_64), 2);
 *   struct guestimg img;
 *   guestimg_ram(f, arch_get(ARCH_X86_64), 1);      before the first fake_open
 *   guestimg_build(f, arch_get(ARCH_X86_64), NULL, &img);
 *   fake_open(f, &diag, &t); guest_open(t, GUEST_MAY_HOLD, &diag, &g);
 *
 *      RAM + 0       80000        90000          f0000        100000   400000
 *      |  ...  | VMCOREINFO | ftrace records | process PGD | tables | image ... |
 *
 *      image + 0     1000        10000   30000   200000          3ff000  400000   600000  800000
 *      | code | functions | code | CAVE | code | reserved text | _etext | rodata | data | init |
 *
 * With opts.sites the cave is 1.5 MiB long and that many more functions follow it:
 *
 *      image + 0     1000        10000   190000   1a0000         300000          3ff000
 *      | code | functions | code | CAVE | code | sites ... | code | reserved text | _etext | ...
 *
 * Every address of the image is mapped by 2 MiB pages, and RAM once more by the linear map.
 */
#ifndef VP_TESTS_LIB_GUESTIMG_H
#define VP_TESTS_LIB_GUESTIMG_H

#include "tests/lib/fake.h"

#define GUESTIMG_FUNCS     8
#define GUESTIMG_FUNC_SIZE 64
#define GUESTIMG_EXPORTS   12
#define GUESTIMG_RAM       (16ull << 20)
#define GUESTIMG_SITES_MAX 10000
#define GUESTIMG_RELEASE   "6.1.0-0-test"

extern const uint8_t guestimg_build_id[20];

struct guestimg_opts {
	const char *release; /* NULL: GUESTIMG_RELEASE */
	uint64_t kaslr;      /* multiple of 2 MiB; how far the image is moved */
	uint64_t canary;     /* of init_task (x86-64): what tells one boot from another */
	bool no_tracer;      /* without BTF, so without ftrace records too */
	bool booting;        /* init text still executable */
	unsigned sites;      /* site_00000 ...: so many more functions; x86-64 */
	uint64_t at;         /* where in RAM it lies; 0: at the start. Multiple of 16 MiB */
	bool keep_regs; /* leave the vCPUs' registers alone: a second kernel, or a forged one */
};

struct guestimg {
	struct fake *f;
	const struct arch_ops *arch;
	struct guestimg_opts opts;
	uint64_t ram;  /* where this kernel's RAM starts */
	vp_gpa_t phys; /* of the image */
	vp_gva_t text, text_end;
	vp_gva_t rodata, data, init;
	vp_gva_t cave; /* the one that guest_arena_read gives */
	uint64_t cave_len;
	vp_gva_t func[GUESTIMG_FUNCS]; /* guest_func0 ...: 5-byte nop, or mov x9,x30; nop */
	vp_gva_t site;   /* of site_00000; the others follow, each as long as func[i] */
	vp_gva_t dup[2]; /* both named dup_func */
	vp_gva_t thunk; /* x86-64: __x86_indirect_thunk_rax, +0x20 __x86_return_thunk, +0x40 its ITS
			 * form, +0x60 its_return_thunk */
	vp_gva_t return_thunk; /* x86-64: the variable x86_return_thunk, the plain thunk in it */
	vp_gva_t tiny[2];      /* tiny_func0, tiny_func1: 16 bytes, one behind the other */
	vp_gva_t panic;
	vp_gva_t uts;
	vp_gpa_t vmcoreinfo;
	vp_gpa_t root;
	vp_gpa_t flags[GUESTIMG_FUNCS]; /* of func[i]'s ftrace record; x86-64 */
	vp_gpa_t text_mutex, ftrace_lock, panic_cpu, system_state; /* x86-64 */
	vp_gva_t exports; /* arm64: two tables, one behind the other, of 6 entries each */
	unsigned n_symbols;
	uint64_t next_table; /* private */
};

/* Gives the guest n times 16 MiB of RAM at gpa 0 (x86-64) or 1 GiB (arm64). */
void guestimg_ram(struct fake *f, const struct arch_ops *arch, unsigned n);
void guestimg_build(struct fake *f, const struct arch_ops *arch, const struct guestimg_opts *opts,
		    struct guestimg *ret);

/* What a page is mapped for. The user's are x86-64's alone, and so is device memory. */
enum guestimg_prot {
	GUESTIMG_TEXT,
	GUESTIMG_RODATA,
	GUESTIMG_DATA,
	GUESTIMG_INIT,
	GUESTIMG_USER_TEXT, /* read-only */
	GUESTIMG_USER_DATA,
	GUESTIMG_DEVICE,
};

/* Maps one more 2 MiB page in the kernel's own page tables. */
void guestimg_map(struct guestimg *img, uint64_t va, uint64_t pa, enum guestimg_prot prot);

/* Memory behind an address of the image or of the linear map. */
void *guestimg_at(const struct guestimg *img, vp_gva_t at);
vp_gpa_t guestimg_gpa(const struct guestimg *img, vp_gva_t at);
vp_gva_t guestimg_linear(const struct guestimg *img, vp_gpa_t at);

/* Registers an ftrace_ops with handler func that traces `only`, or everything when only.v is 0.
 * x86-64. One at a time. */
void guestimg_add_ops(const struct guestimg *img, vp_gva_t only, vp_gva_t func);

/* Makes entry i of the tables of exports say that the name at `name` is at value. arm64. */
void guestimg_export(const struct guestimg *img, unsigned i, uint64_t value, uint64_t name);

/* Rewrites one KEY=value line of VMCOREINFO; value NULL takes the line out. */
void guestimg_vmcoreinfo_set(const struct guestimg *img, const char *key, const char *value);

/* Sets a vCPU's registers as this kernel would have them, at pc. */
void guestimg_regs(const struct guestimg *img, unsigned vcpu, vp_gva_t pc);

#endif
