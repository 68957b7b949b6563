/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What guest memory means: the Linux kernel that runs in a target, found from VMCOREINFO, page
 * tables and kallsyms in guest RAM, with no help from the guest and no debug package.
 *
 * Everything read is hostile: a guest user can plant pages that look like ours. A candidate has
 * to close a circle (vCPU registers, page tables, kallsyms, its own address outside the linear
 * map); what does not is passed over, two that do are refused (VP_E_GUEST_AMBIGUOUS).
 *
 * A struct guest keeps copies made once at open (symbols, text layout). What may change under it
 * (translations, flags, locks, bytes) is read afresh by every call that says "now".
 */
#ifndef VP_GUEST_GUEST_H
#define VP_GUEST_GUEST_H

#include "protocol/ledger.h"
#include "vmm-agent/guest/sites.h"
#include "vmm-agent/target.h"

#define GUEST_NAME_MAX   512 /* KSYM_NAME_LEN of 6.1 and later */
#define GUEST_NO_RELEASE "-" /* of a guest that is not Linux */

struct guest;

enum guest_open_flag {
	/* Where only vCPU registers tell two candidates apart and the driver cannot read them from a
	 * running guest, a hold of the shortest kind may be used. Without it (a dry run) they are refused. */
	GUEST_MAY_HOLD = 1 << 0,
	GUEST_STATE_KNOWN = 1 << 1, /* the caller has asked for the run state just now */
};

struct guest_info {
	const struct arch_ops *arch;
	bool is_linux;        /* else what is known is what its stub's site table says */
	char release[128];    /* OSRELEASE, as uname -r says; or GUEST_NO_RELEASE */
	uint8_t build_id[64]; /* of vmlinux, build_id_len bytes; 0 where VMCOREINFO has none. Or the
			       * site table's identity */
	unsigned build_id_len;
	uint8_t boot_id[16]; /* the same for one boot of one guest, whoever reads it */
	uint64_t kaslr;      /* KERNELOFFSET: how far the kernel was moved */
	vp_gva_t text;       /* _stext */
	vp_gva_t text_end;   /* _etext */
	vp_gpa_t vmcoreinfo;
	struct arch_mmu mmu; /* the kernel's own root */
	size_t n_symbols;
	bool data_symbols;   /* KALLSYMS_ALL */
	bool registers_seen; /* the circle was closed with vCPU registers, not without */
};

/*
 * The Linux kernel of a guest or, where there is none that can be read, what a stub's site table says
 * (info.is_linux false): its functions are the symbols, its arenas the arena, and nothing else is known.
 *
 * VP_E_NOT_LINUX, VP_E_BOOTING, VP_E_PANICKED, VP_E_GUEST_CORRUPT, VP_E_GUEST_AMBIGUOUS or the target's.
 */
int guest_open(struct vp_target *t, unsigned flags, struct diag *diag,
	       struct guest **ret) VP_MUST_USE;
void guest_close(struct guest *g);
const struct guest_info *guest_info(const struct guest *g);

/*
 * In the window: the registers of every held vCPU agree with the kernel that was opened, and no vCPU
 * is where a kernel that is going down would be. VP_E_GUEST_CHANGED or VP_E_PANICKED otherwise.
 * pcs (may be NULL) gets each vCPU's program counter. Allocates nothing.
 */
int guest_check_held(struct guest *g, struct vp_paused *p, vp_gva_t *pcs,
		     struct diag *diag) VP_MUST_USE;

/* --- symbols ------------------------------------------------------------------------------ */

struct guest_sym {
	vp_gva_t addr;
	uint64_t size; /* to the next symbol of another address; 0 where that is not known */
	char type;     /* nm's letter; '?' is never given */
	char name[GUEST_NAME_MAX];
};

/* "vfs_read+0x10", "0xffff… outside the kernel image". */
void guest_sym_words(struct guest *g, vp_gva_t at, char *words, size_t cap);

/*
 * The symbol of that name. sympos as livepatch has it: 0 = must be unique (VP_E_SYM_AMBIGUOUS
 * otherwise, words list the addresses), N = the Nth of that name in address order.
 *
 * A kernel without data symbols (info.data_symbols false) is asked for its exported variables too:
 * the entry of __ksymtab or __ksymtab_gpl of that name, as type 'D' ('R' where it is a constant),
 * size 0. A per-CPU variable's address is the one that code uses, not memory to be read.
 */
int guest_sym(struct guest *g, const char *name, unsigned sympos, struct diag *diag,
	      struct guest_sym *ret) VP_MUST_USE;
/*
 * Where the kernel's own calls to sym lead now that it has rewritten them at boot: sym itself but for
 * the thunks of x86's mitigations. VP_E_SYM_UNKNOWN for code outside the kernel's text (__init),
 * VP_E_UNSUPPORTED where it cannot be told.
 */
int guest_call_target(struct guest *g, const struct guest_sym *sym, struct diag *diag,
		      vp_gva_t *ret) VP_MUST_USE;
/* The symbol that at lies in. VP_E_SYM_UNKNOWN outside all. */
int guest_sym_at(struct guest *g, vp_gva_t at, struct guest_sym *ret) VP_MUST_USE;
/* All of kallsyms, in its order; stops at and returns the first non-zero of fn. */
int guest_sym_each(struct guest *g, int (*fn)(void *ctx, const struct guest_sym *sym),
		   void *ctx) VP_MUST_USE;
/* Compiler clones of a function (NAME.constprop.N, NAME.isra.N, NAME.part.N, NAME.cold excepted):
 * calls fn for each. */
int guest_sym_clones(struct guest *g, const char *name,
		     int (*fn)(void *ctx, const struct guest_sym *sym), void *ctx) VP_MUST_USE;

/* --- memory, now -------------------------------------------------------------------------- */

int guest_xlate(struct guest *g, vp_gva_t at, struct arch_xlate *ret) VP_MUST_USE;
/* Kernel memory by virtual address; VP_E_UNMAPPED where not mapped or where user mode may reach it. */
int guest_read(struct guest *g, vp_gva_t at, void *buf, size_t len) VP_MUST_USE;
/* [at, at + len) is guest kernel text: inside _stext.._etext, present, executable, not user;
 * *gpa_ret is where it lies, contiguous over len. VP_E_UNMAPPED or VP_E_RANGE otherwise. */
int guest_text_gpa(struct guest *g, vp_gva_t at, size_t len, vp_gpa_t *gpa_ret) VP_MUST_USE;
/* The same for kernel data: present, writable, not executable, not user. */
int guest_data_gpa(struct guest *g, vp_gva_t at, size_t len, vp_gpa_t *gpa_ret) VP_MUST_USE;

/* --- the stub's site table ------------------------------------------------------------------ */

/* Looked for when it is first asked for, and kept. Errors of guest_sites_open. */
int guest_stub(struct guest *g, unsigned flags, struct diag *diag,
	       const struct guest_sites **ret) VP_MUST_USE;

/* Of one that has been found; NULL otherwise. */
const struct vp_sites *guest_sites_table(const struct guest *g);

/* The one site of that name. VP_E_NO_SITE, VP_E_SYM_AMBIGUOUS; or guest_stub's. */
int guest_site(struct guest *g, const char *name, unsigned flags, struct diag *diag,
	       struct vp_site *ret) VP_MUST_USE;
/* The site that [at, at + len) is bytes of, of a table that has been found already. */
bool guest_site_at(const struct guest *g, vp_gva_t at, size_t len, struct vp_site *ret);

/* A literal of such a table: the site that it belongs to, or that is one, and the len bytes that rest in it. */
bool guest_literal_at(const struct guest *g, vp_gva_t at, size_t len, struct vp_site *ret,
		      uint8_t *rest);
/* Where it lies: memory of the kernel's, text or data. VP_E_RANGE if the guest has no such table. */
int guest_literal_gpa(struct guest *g, vp_gva_t at, size_t len, vp_gpa_t *ret) VP_MUST_USE;
/* The table, if one has been found, is where and what it was: VP_E_GUEST_CHANGED otherwise. */
int guest_check_table(struct guest *g, struct diag *diag) VP_MUST_USE;

/* Where records for the guest's trap handler can be put, at most cap, those that are free now; *n_ret 0
 * where it has no handler that reads them. */
struct guest_trap {
	vp_gva_t gva;
	vp_gpa_t gpa;
};
int guest_trap_records(struct guest *g, struct guest_trap *ret, size_t cap,
		       size_t *n_ret) VP_MUST_USE;

/* --- arena: caves in kernel text, and the ledger in them ------------------------------------ */

struct guest_cave {
	vp_gva_t start; /* aligned to VP_LEDGER_ALIGN */
	uint64_t len;   /* multiple of VP_LEDGER_ALIGN, all filler now */
	uint8_t filler[4];
	uint8_t filler_len;
};

struct guest_record {
	struct vp_ledger l; /* points into bytes */
	vp_gpa_t gpa;       /* of the record, contiguous */
	uint8_t *bytes;     /* l.size bytes, copied once */
};

/* What the arena holds, from one pass over the kernel text. Owned by the caller. */
struct guest_arena {
	struct guest_cave *caves; /* largest first */
	size_t n_caves;
	uint64_t free;                /* bytes in them */
	struct guest_record *records; /* valid ledger records, by seq */
	size_t n_records;
	size_t n_damaged; /* places with the magic that are not a valid record */
	bool newer;       /* a record of a newer format was met: the whole ledger is refused */
};

/* Reads it now. Text that must not be used (entry text that KPTI clones, trampolines, idmap,
 * hypervisor text) is never a cave. */
int guest_arena_read(struct guest *g, struct diag *diag, struct guest_arena *ret) VP_MUST_USE;
void guest_arena_deinit(struct guest_arena *a);

/* --- who stands where --------------------------------------------------------------------------- */

/* Text that nobody may stand in the middle of: everything behind its first byte. */
struct guest_span {
	vp_gva_t at;
	uint64_t len;
};

/* Ahead of the hold. VP_E_QUIESCE where vCPUs, tasks and what interrupts have left cannot all be found,
 * or somebody always stands there. */
int guest_outside_prepare(struct guest *g, const struct guest_span *spans, size_t n,
			  struct diag *diag) VP_MUST_USE;
/* In the hold: VP_E_SITE_IN_USE, and the words name vCPU or task and address, when somebody is inside,
 * or may be: any word of a kernel stack counts. Allocates nothing. */
int guest_check_outside(struct guest *g, struct vp_paused *p, const struct guest_span *spans,
			size_t n, struct diag *diag) VP_MUST_USE;

/* --- the guest's own patchers ----------------------------------------------------------------- */

/* A word that is zero under mask while nobody in the guest is patching text. */
struct guest_quiet {
	vp_gpa_t gpa;
	uint64_t mask;
	char name[32]; /* "text_mutex" */
};

/* text_mutex and ftrace_lock, where they can be found; *n_ret 0 where they cannot. */
int guest_quiet_words(struct guest *g, struct guest_quiet *ret, size_t cap, size_t *n_ret,
		      struct diag *diag) VP_MUST_USE;

/* How the guest's own tracer stands to one site. */
struct guest_tracer {
	bool readable;     /* its records can be read: data symbols, BTF, a function tracer */
	bool found;        /* the ftrace record of the site could be found */
	vp_gva_t flags_at; /* its flags word, 8 bytes of data */
	vp_gpa_t flags_gpa;
	uint64_t flags;
	uint64_t
		flags_taken; /* the value that makes ftrace leave the site alone (FTRACE_FL_DISABLED) */
	bool taken;          /* it has that value's bit already */
	bool idle;     /* count zero, none of ENABLED, IPMODIFY, DIRECT; taken does not matter */
	bool covered;  /* a registered ftrace_ops would trace the function: not safe to give back */
	char who[128]; /* who holds or covers it: "function_trace_call, klp_ftrace_handler"; "" */
};

/* Reads it now. found false (and VP_OK) where the guest has no data symbols or no BTF. */
int guest_tracer(struct guest *g, vp_gva_t site, struct diag *diag,
		 struct guest_tracer *ret) VP_MUST_USE;

/* Says who took a site whose bytes are bytes, from what they branch to: "kprobe (int3)",
 * "function tracer (call to ftrace_caller)", "a jump to SYMBOL+0x10". */
void guest_site_who(struct guest *g, vp_gva_t site, const uint8_t *bytes, size_t len, char *words,
		    size_t cap);

#endif
