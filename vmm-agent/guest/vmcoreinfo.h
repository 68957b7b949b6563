/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The text page in which a Linux kernel tells a crash dumper about itself
 * (Documentation/admin-guide/kdump/vmcoreinfo.rst): lines of KEY=value, then zeros.
 */
#ifndef VP_GUEST_VMCOREINFO_H
#define VP_GUEST_VMCOREINFO_H

#include "protocol/err.h"
#include "protocol/int.h"

#define VMCOREINFO_PREFIX "OSRELEASE="
#define VMCOREINFO_PAGE   4096u

enum vmcoreinfo_num {
	VMCI_PAGESIZE,
	VMCI_KERNELOFFSET,
	VMCI_STEXT,
	VMCI_SWAPPER,
	VMCI_INIT_TOP_PGT,
	VMCI_UTS,
	VMCI_UTS_NAME, /* OFFSET(uts_namespace.name) */
	VMCI_KS_NAMES,
	VMCI_KS_NUM,
	VMCI_KS_TOKENS,
	VMCI_KS_INDEX,
	VMCI_KS_OFFSETS,
	VMCI_KS_BASE,
	VMCI_PHYS_BASE,
	VMCI_L5,
	VMCI_VA_BITS,
	VMCI_KIMAGE_VOFFSET,
	VMCI_T1SZ,
	VMCI_PHYS_OFFSET,
	VMCI_VA_KERNEL_PA_OFFSET,
	VMCI_COUNT,
};

struct vmcoreinfo {
	char release[65]; /* __NEW_UTS_LEN and a NUL */
	uint8_t build_id[64];
	unsigned build_id_len;
	uint64_t num[VMCI_COUNT]; /* a negative number in two's complement */
	uint32_t have;            /* bit i: num[i] is known */
};

static inline bool vmci_has(const struct vmcoreinfo *v, enum vmcoreinfo_num i)
{
	return v->have >> i & 1;
}

/* The name a symbol's row has in kallsyms, NULL for a row that is no symbol. */
const char *vmcoreinfo_symbol(enum vmcoreinfo_num i);

/* Reads len (at most a page of) bytes. VP_E_GUEST_CORRUPT for anything that a kernel would not
 * write: a line that is no KEY=value, a number that is none, a key given twice with two values. */
int vmcoreinfo_parse(const uint8_t *page, size_t len, struct vmcoreinfo *ret) VP_MUST_USE;

#endif
