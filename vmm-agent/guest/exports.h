/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The variables that a kernel exports to its modules, from the tables that its own module loader
 * reads: __ksymtab and __ksymtab_gpl, side by side in the constants, each sorted by name. An entry
 * (include/linux/export.h, struct kernel_symbol under CONFIG_HAVE_ARCH_PREL32_RELOCATIONS) is
 * three words, each the distance from itself to what it means:
 *
 *   value_offset       s32   the function or variable
 *   name_offset        s32   its name, in __ksymtab_strings
 *   namespace_offset   s32   "" or a namespace, there too
 */
#ifndef VP_GUEST_EXPORTS_H
#define VP_GUEST_EXPORTS_H

#include "vmm-agent/guest/kallsyms.h"

#define EXPORTS_ENTRY      12u
#define EXPORTS_MAX        65536u      /* entries, functions too; 6.1 has 12 thousand */
#define EXPORTS_TEXT_MAX   (4u << 20)  /* names of variables */
#define EXPORTS_WORK_MAX   (64u << 20) /* bytes of names looked at in all */
#define EXPORTS_AGREED_MIN 4u          /* functions that make a table of a row of entries */

/* Constants of the image, copied out of the guest. */
struct exports_raw {
	const uint8_t *p;
	size_t len;
	uint64_t start;            /* address of p[0], multiple of 4 */
	uint64_t image, image_len; /* where functions and variables may lie */
	uint64_t percpu_len; /* values below are offsets of per-CPU variables; 0: there are none */
};

struct exports_var {
	uint64_t addr;
	uint32_t name; /* offset in text */
};

/* What kallsyms does not name, sorted by name. */
struct exports {
	size_t n;
	struct exports_var *var;
	char *text;
};

/*
 * VP_E_GUEST_CORRUPT unless there are one or two tables, sorted, of no name twice, and all of
 * whose names that kallsyms knows too have the address that kallsyms gives; VP_E_NOMEM.
 */
int exports_find(const struct exports_raw *raw, const struct kallsyms *ks,
		 struct exports *ret) VP_MUST_USE;
void exports_deinit(struct exports *ex);

/* False if no variable of that name is exported. */
bool exports_addr(const struct exports *ex, const char *name, uint64_t *ret);

#endif
