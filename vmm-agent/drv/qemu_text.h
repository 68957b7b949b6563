/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU's human monitor writes, read. The texts are not a stable interface; each reader takes
 * only the lines whose whole shape it knows and leaves the rest out.
 */
#ifndef VP_DRV_QEMU_TEXT_H
#define VP_DRV_QEMU_TEXT_H

#include "arch/arch.h"

#define QEMU_RAM_MAX 256 /* ranges */

struct qemu_range {
	uint64_t start, len;
};

/*
 * Guest RAM out of `info mtree -f -o`: the flat view of the address space "memory", ranges of type
 * ram that are memory of the machine itself (a memory backend, priority 0). Left out: ROM, flash,
 * video memory, BARs that happen to be RAM, firmware. Ascending. VP_E_PROTO for a text that is not
 * such a list, VP_E_RANGE for more than cap ranges.
 */
int qemu_text_ram(const char *text, struct qemu_range *found, size_t cap,
		  size_t *n_ret) VP_MUST_USE;

/* The host virtual address in the answer to `gpa2hva`. VP_E_UNMAPPED for any other answer. */
int qemu_text_hva(const char *text, uint64_t *ret) VP_MUST_USE;

/*
 * Registers of one vCPU out of `info registers -a` of an x86 guest, those of names (ARCH_REG_MAX,
 * as in arch_ops.reg_names) that the text has. VP_E_PROTO if the vCPU or its pc is not there.
 */
int qemu_text_regs(const char *text, unsigned cpu, const char *const *names,
		   struct arch_regs *ret) VP_MUST_USE;

#endif
