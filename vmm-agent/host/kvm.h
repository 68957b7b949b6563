/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A vCPU's registers out of KVM, by the ioctls that the host's architecture has for that. */
#ifndef VP_HOST_KVM_H
#define VP_HOST_KVM_H

#include "arch/arch.h"

/* The architecture of the guests that KVM runs on this host; NULL: none that vpatch knows. */
const struct arch_ops *host_kvm_arch(void);

/* From the vCPU's own thread, outside KVM_RUN. VP_E_IO when KVM refuses. */
int host_kvm_regs(int vcpu_fd, struct arch_regs *ret) VP_MUST_USE;

#endif
