/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this host's KVM gives of a vCPU's registers, put into the guest architecture's terms. A KVM
 * guest is of its host's architecture.
 */
#ifndef VP_HOST_KVM_REGS_H
#define VP_HOST_KVM_REGS_H

#include <linux/kvm.h>
#include <stddef.h>

#include "arch/arch.h"

/* The host's own architecture; NULL if vpatch does not know it. */
const struct arch_ops *host_arch(void);

/* Bits of kvm_run.kvm_valid_regs that make KVM store all that is needed into kvm_run.s at every
 * exit; 0 where it cannot (Documentation/virt/kvm/api.rst, 6.x KVM_CAP_SYNC_REGS: x86 and s390). */
uint64_t host_sync_mask(void);

/* Where in struct kvm_run the program counter is stored; only where host_sync_mask is not 0. */
size_t host_sync_pc_off(void);

/* Registers out of kvm_run.s. None are known of a vCPU that is in a nested guest or in system
 * management mode: what it has then is not the guest kernel's. */
void host_sync_regs(const struct kvm_run *run, struct arch_regs *ret);

#endif
