/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A vCPU's registers out of KVM, in the guest architecture's terms: by the ioctls that the host's
 * architecture has for that, or out of the page that KVM shares with the VMM.
 */
#ifndef VP_HOST_KVM_H
#define VP_HOST_KVM_H

#include <linux/kvm.h>
#include <stddef.h>

#include "arch/arch.h"

/* The architecture of the guests that KVM runs on this host; NULL: none that vpatch knows. */
const struct arch_ops *host_kvm_arch(void);

/* From the vCPU's own thread, outside KVM_RUN. VP_E_IO when KVM refuses. */
int host_kvm_regs(int vcpu_fd, struct arch_regs *ret) VP_MUST_USE;

/* Bits of kvm_run.kvm_valid_regs that make KVM store all that is needed into kvm_run.s at every
 * exit; 0 where it cannot (Documentation/virt/kvm/api.rst, KVM_CAP_SYNC_REGS: x86 and s390). */
uint64_t host_sync_mask(void);

/* Where in struct kvm_run the program counter is stored, and how many bytes of kvm_run.s all of it
 * takes; only where host_sync_mask is not 0. */
size_t host_sync_pc_off(void);
size_t host_sync_len(void);

/* Registers out of kvm_run.s. None are known of a vCPU that is in a nested guest or in system
 * management mode: what it has then is not the guest kernel's. */
void host_sync_regs(const struct kvm_run *run, struct arch_regs *ret);

#endif
