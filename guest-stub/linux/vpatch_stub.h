/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stub for Linux, in five parts: what the kernel does not export (ksym), what depends on the
 * architecture (arch), memory for the host (arena), literal slots (slots), and the table.
 *
 * Functions return 0 or a negative errno and have said why in the kernel's log. All of them sleep.
 */
#ifndef VP_GUEST_STUB_LINUX_H
#define VP_GUEST_STUB_LINUX_H

#undef pr_fmt
#define pr_fmt(fmt) "vpatch_stub: " fmt

#include <linux/types.h>
#include "protocol/sites.h"

/* --- ksym.c: calls that are not exported ---------------------------------------------------------- */

int ksym_open(void);

/* Of a symbol of the kernel's; 0 if it has none of that name. */
unsigned long ksym_address(const char *name);

/* The kernel's own symbols, ascending, functions and others, until fn returns other than 0. */
int ksym_each(int (*fn)(void *data, const char *name, unsigned long at), void *data);

/* The ftrace record that begins in [start, end]; 0 if none does. */
unsigned long ksym_ftrace_record(unsigned long start, unsigned long end);

/* Zeroed whole pages in [lo, hi), to be given back by vfree; NULL if there are none. */
void *ksym_vmalloc_in(size_t len, unsigned long lo, unsigned long hi);

/* Pages of the above: from now on to execute, and not to write. */
int ksym_make_text(void *at, size_t len);

/* The kernel's GNU build-id; returns its length. */
int ksym_build_id(u8 id[VP_SITES_ID_MAX]);

/* --- arch.c ---------------------------------------------------------------------------------------- */

/* VP_SITES_ARCH_*, and what unused arena holds. */
#if defined(CONFIG_X86_64)
#define STUB_ARCH       VP_SITES_ARCH_X86_64
#define STUB_FILLER     0xcc /* int3; Intel SDM vol. 2A, INT n/INTO/INT3 */
#define STUB_FILLER_LEN 1
#elif defined(CONFIG_ARM64) && defined(CONFIG_CPU_LITTLE_ENDIAN)
#define STUB_ARCH       VP_SITES_ARCH_ARM64
#define STUB_FILLER     0xd4200000 /* brk #0; Arm ARM DDI 0487, C6.2, BRK */
#define STUB_FILLER_LEN 4
#elif defined(CONFIG_RISCV) && defined(CONFIG_64BIT)
#define STUB_ARCH       VP_SITES_ARCH_RISCV64
#define STUB_FILLER     0x9002 /* c.ebreak; RISC-V unprivileged ISA, "C" extension */
#define STUB_FILLER_LEN 2
#else
#error "no stub for this architecture"
#endif

/* Symbols that begin here can have their ftrace record no further behind than that. */
#define STUB_RECORD_MAX 8

/* Where an arena is in branch reach of all of the kernel's text. */
int arch_reach(unsigned long *lo, unsigned long *hi);

/* The site of an ftrace record; false for an entry that is in none of the known forms. */
bool arch_site(unsigned long record, struct vp_site *ret);

/* The record that a site was made of. */
unsigned long arch_record(const struct vp_site *site);

/* What arch_site's sites have in common; false if there is none. Asked behind the last arch_site. */
bool arch_dispatcher(struct vp_dispatcher *ret);

/* --- arena.c --------------------------------------------------------------------------------------- */

/* Executable memory full of trap instructions, and ledger space full of zeroes. */
int arena_open(size_t arena_len, size_t ledger_len);
void arena_close(void);

/* False once the host has used either. */
bool arena_at_rest(void);

void arena_describe(struct vp_arena *arena, struct vp_ledger_space *ledger);

/* --- slots.c --------------------------------------------------------------------------------------- */

#define SLOTS_MAX   512
#define SLOT_SUFFIX ".literal" /* a literal is named after its function */

/* A literal word and an ftrace_ops for each function of the list "a,b,c", which are looked for in
 * sites; a name that none or several have is refused. */
int slots_open(const char *functions, const struct vp_site *sites, u32 n);
void slots_close(void);

u32 slots_count(void);
void slots_describe(u32 i, struct vp_site *ret);

/* False while the host has one of them switched. */
bool slots_at_rest(void);

/* --- sites.c, table.c ------------------------------------------------------------------------------ */

struct stub_sites {
	struct vp_site *site; /* ascending */
	char *names;
	u32 n;
	u32 odd; /* entries in none of the known forms */
};

/* One site for each function that ftrace knows. */
int sites_collect(struct stub_sites *ret);
void sites_free(struct stub_sites *sites);

/* Publishes functions, slots, arena and ledger space. The size of the table comes back. */
int table_publish(const struct stub_sites *sites, size_t *ret);

/*
 * Takes the table back if the host needs nothing of it: -EBUSY when a literal, the arena or ledger
 * space is in use, and the table stays. table_withdraw does not ask.
 */
int table_release(void);
void table_withdraw(void);
unsigned long table_address(void);

#endif
