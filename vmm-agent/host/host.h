/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host CPU's own cache maintenance and serialisation, for a process that has the guest's
 * memory mapped and whose threads execute the guest through KVM. The host's architecture is asked
 * for in this room and nowhere else; the guest's is data (arch/).
 *
 *   stores to the text                     by whoever holds the guest
 *   host_code_changed(hva, len)            an instruction fetch from now on gets the new bytes
 *   host_sync_cores()                      nobody goes on with what was fetched before
 *   the vCPUs go on
 */
#ifndef VP_HOST_HOST_H
#define VP_HOST_HOST_H

#include <stddef.h>

#include "protocol/err.h"

/* The name of the architecture vpatch runs on: "x86-64", "arm64", "riscv64". */
const char *host_arch_name(void);

/*
 * Guest memory changes under our hands, and guests look at it under ours. Every naturally aligned datum of
 * up to 8 bytes is read and written at once, as the guest's CPUs would: a page table entry is never seen
 * half, a word never half written. Larger or unaligned ones go in such pieces, ascending; what was stored
 * before is seen before.
 */
void host_load(void *to, const void *from, size_t len);
void host_store(void *to, const void *from, size_t len);

/*
 * The len bytes at hva were stored by this process and will be executed, here or by a guest that
 * has the same page mapped: makes what every core of the host fetches from now on equal to what was
 * stored. Does not reach instructions that a core has fetched already.
 */
void host_code_changed(void *hva, size_t len);

/* Tells the kernel that this process will call host_sync_cores. Before the first call of that; any
 * number of times. VP_E_UNSUPPORTED where the kernel cannot. */
int host_sync_prepare(void) VP_MUST_USE;

/*
 * Every thread of this process has executed a context synchronising (serialising) instruction
 * after the call and before its next instruction in user mode, and so before it next enters a
 * guest. A thread that is inside KVM_RUN meanwhile is not reached before it comes out: hold the
 * guest first. VP_E_UNSUPPORTED without host_sync_prepare.
 */
int host_sync_cores(void) VP_MUST_USE;

#endif
