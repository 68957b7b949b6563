/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* struct alt_instr of Linux 6.1: only its size is asked for, and a bare-metal guest has none. */
#ifndef VP_TESTS_GUESTS_ALTERNATIVE_H
#define VP_TESTS_GUESTS_ALTERNATIVE_H

#include <linux/types.h>

struct alt_instr {
	int instr_offset, repl_offset;
	u16 cpuid, flags;
	u8 instrlen, replacementlen;
} __attribute__((packed));

#endif
