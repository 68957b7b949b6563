/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of this room share. */
#ifndef VP_GUEST_INTERNAL_H
#define VP_GUEST_INTERNAL_H

#include "arch/arch.h"
#include "vmm-agent/guest/btf.h"
#include "vmm-agent/guest/exports.h"
#include "vmm-agent/guest/guest.h"
#include "vmm-agent/guest/kallsyms.h"
#include "vmm-agent/guest/vmcoreinfo.h"

#define GUEST_PAGE        4096u
#define GUEST_DYING_MAX   24             /* functions of a kernel that goes down */
#define GUEST_IMAGE_MAX   (256ull << 20) /* no kernel image is longer, text to end */
#define GUEST_TEXT_MAX    (128ull << 20)
/* With pointer authentication the top bits of a return address hold its signature. */
#define GUEST_KERNEL_TOP  (0xffffull << 48)
#define GUEST_KERNEL_HALF (1ull << 55) /* a signature never takes this bit (Arm ARM, AddPAC()) */

/* [first, last] of text that the arena must leave alone, by symbol, rounded out to round_log. */
struct guest_reserved {
	const char *first, *last;
	unsigned round_log; /* 0: the granule of the page tables */
};

/* What differs between the architectures in how Linux lays itself out; layout.c. */
struct guest_layout {
	/* The kernel's own root and page geometry, and virtual minus physical address of the image,
	 * from VMCOREINFO. VP_E_GUEST_CORRUPT where the page does not say it. */
	int (*derive)(const struct vmcoreinfo *v, struct arch_mmu *mmu, uint64_t *voffset_ret);
	/* Where the image may lie: outside the linear map. */
	bool (*in_image)(const struct vmcoreinfo *v, vp_gva_t at);
	bool one_root; /* every vCPU's kernel root is the kernel's own, not a process's copy */
	const struct guest_reserved *reserved;
	size_t n_reserved;
	bool blind; /* no register and no memory shows the page tables: see arch_xlate.blind */
	uint64_t percpu_len; /* symbols of per-CPU variables lie below, outside the image; or 0 */
};
/* NULL for an architecture whose Linux is not read yet. */
const struct guest_layout *guest_layout(enum arch_id id);

struct guest_range {
	uint64_t start, len;
};

struct guest {
	struct vp_target *t;
	const struct arch_ops *ops;
	const struct guest_layout *layout;
	struct guest_info info;
	struct kallsyms ks;
	struct vmcoreinfo vmci;
	uint64_t voffset;
	struct guest_range image, init_text; /* what symbols may be asked for */
	vp_gpa_t text_gpa;                   /* of _stext */
	struct guest_range dying[GUEST_DYING_MAX];
	size_t n_dying;
	struct guest_range panic;  /* the function panic(); len 0: not there */
	vp_gpa_t panic_cpu;        /* v 0: not there */
	struct btf btf;            /* n_types 0: none */
	struct contexts *contexts; /* NULL until guest_outside_prepare */
	struct exports exports;    /* n 0: none, or kallsyms has data symbols */
	struct guest_sites *stub;  /* NULL: not looked for. layout NULL: it is all there is */
};

static inline bool guest_is_stub(const struct guest *g)
{
	return !g->layout;
}

/* --- memory.c ------------------------------------------------------------------------------- */

/* True for an error of the way in, not of what the guest's memory holds. */
bool guest_err_is_fatal(int err);

/* Reads physical memory through 4 KiB pages kept in a small cache: for one look at a guest, during
 * which a page table is taken to stay as it was when first read. */
struct mem_cache;
struct mem_cache *mem_cache_create(struct vp_target *t);
void mem_cache_destroy(struct mem_cache *c);
void mem_cache_forget(struct mem_cache *c);
int mem_cache_read(void *cache, vp_gpa_t at, void *buf, size_t len) VP_MUST_USE;

/* How mem_each came to a page: what a piece of memory has to be. */
enum mem_want {
	MEM_KERNEL, /* present, not user */
	MEM_TEXT,   /* and executable */
	MEM_DATA,   /* and writable, not executable */
};
/* Walks once: VP_E_UNMAPPED where the mapping is not what is wanted. cache may be NULL: now. */
int mem_walk(struct vp_target *t, struct mem_cache *cache, const struct arch_mmu *mmu, vp_gva_t at,
	     enum mem_want want, struct arch_xlate *ret) VP_MUST_USE;
/* Copies kernel memory. */
int mem_read(struct vp_target *t, struct mem_cache *cache, const struct arch_mmu *mmu, vp_gva_t at,
	     enum mem_want want, void *buf, size_t len) VP_MUST_USE;
/* [at, at + len) lies in one piece of physical memory, and is what is wanted. */
int mem_contiguous(struct vp_target *t, struct mem_cache *cache, const struct arch_mmu *mmu,
		   vp_gva_t at, size_t len, enum mem_want want, vp_gpa_t *ret) VP_MUST_USE;

/* The pages that start with the n bytes of prefix, *ret malloc'ed. VP_E_GUEST_AMBIGUOUS where they
 * are more than anybody needs; what says in words what they pretend to be. */
int mem_candidates(struct vp_target *t, const void *prefix, size_t n, const char *what,
		   struct diag *diag, vp_gpa_t **ret, size_t *n_ret) VP_MUST_USE;

/* --- stub.c --------------------------------------------------------------------------------- */

/* A guest by its stub's table alone. */
int guest_open_stub(struct vp_target *t, unsigned flags, struct diag *diag,
		    struct guest **ret) VP_MUST_USE;
/* Their namesakes guest_... for such a guest. */
int stub_sym(struct guest *g, const char *name, struct diag *diag,
	     struct guest_sym *ret) VP_MUST_USE;
int stub_sym_at(struct guest *g, vp_gva_t at, struct guest_sym *ret) VP_MUST_USE;
int stub_sym_each(struct guest *g, int (*fn)(void *ctx, const struct guest_sym *sym),
		  void *ctx) VP_MUST_USE;
int stub_check_held(struct guest *g, struct vp_paused *p, vp_gva_t *pcs,
		    struct diag *diag) VP_MUST_USE;

/* --- symbols.c ------------------------------------------------------------------------------ */

/* The address of the one symbol of that name; false if there is none, or several. */
bool guest_sym_addr(const struct guest *g, const char *name, vp_gva_t *ret);
/* Reads a 64-, 32- or 8-bit variable of that name; false where it is not there. */
bool guest_var(struct guest *g, const char *name, void *buf, size_t len);

/* --- held.c --------------------------------------------------------------------------------- */

/* Fills what guest_check_held needs. */
void guest_held_prepare(struct guest *g);
/* Whether one vCPU is where a kernel that goes down would be: VP_E_PANICKED. */
int guest_check_vcpu(struct guest *g, unsigned vcpu, const struct arch_regs *regs,
		     struct diag *diag) VP_MUST_USE;
int guest_check_panic(struct guest *g, struct diag *diag) VP_MUST_USE;
/* Whether registers and kernel belong together: VP_E_GUEST_CHANGED; VP_E_UNSUPPORTED when the
 * vCPU does not translate addresses at all. */
int guest_check_root(struct vp_target *t, struct mem_cache *cache, const struct arch_ops *ops,
		     const struct guest_layout *layout, const struct arch_regs *regs,
		     vp_gpa_t own_root, vp_gva_t text, vp_gpa_t text_gpa,
		     struct arch_mmu *mmu_ret) VP_MUST_USE;

/* --- contexts.c ----------------------------------------------------------------------------- */

void guest_contexts_destroy(struct contexts *c);

/* --- identity.c ----------------------------------------------------------------------------- */

/* The image's constants, from the end of the text on, copied once. */
struct guest_ro {
	uint8_t *p;
	size_t len;
	uint64_t start; /* address of p[0] */
};
int guest_ro_read(struct guest *g, struct mem_cache *cache, struct guest_ro *ret) VP_MUST_USE;
void guest_ro_deinit(struct guest_ro *ro);

/* Finds BTF and exported variables, fills info.boot_id. */
void guest_identify(struct guest *g, struct mem_cache *cache);

#endif
