/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* What stub.c asks of guest-stub/ARCH/arch.c. */
#ifndef VP_GUEST_STUB_ARCH_H
#define VP_GUEST_STUB_ARCH_H

#include "protocol/sites.h"

/*
 * at is the place of an entry in section __patchable_function_entries, or a function that has one (on
 * ARM with its Thumb bit).
 * Writes the sequence there and fills in at, sequence and len; with `literal`, the address of the
 * literal too. False if nothing is there that the compiler could have left.
 */
bool vpatch_arch_entry(uintptr_t at, bool literal, struct vp_site *ret);

/* Text that the guest wrote is what it runs from now on. */
void vpatch_arch_sync(uintptr_t at, size_t len);

/* What is there now is a trap. */
bool vpatch_arch_is_trap(uintptr_t pc);

#endif
