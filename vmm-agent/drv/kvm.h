/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way into a process that runs a KVM VM, from outside and without its help: memory slots and
 * vCPU threads by a BPF iterator, registers through the shared kvm_run pages, the hold by ptrace,
 * writes through the slots' host addresses. Host and guest are x86-64: no other architecture has
 * KVM_CAP_SYNC_REGS with the registers that are needed.
 *
 * What it needs: CAP_SYS_PTRACE, and CAP_BPF with CAP_PERFMON for the iterator (without them a
 * QEMU's monitor tells the same); CAP_SYS_NICE and CAP_IPC_LOCK make the window steadier.
 */
#ifndef VP_DRV_KVM_H
#define VP_DRV_KVM_H

#include "vmm-agent/drv/qemu.h"
#include "vmm-agent/target.h"

/*
 * name is what the user typed, for words. Neither pauses nor changes anything. VP_E_NO_DOMAIN (no
 * such process, or no VM in it), VP_E_PERM, VP_E_UNSUPPORTED (no KVM, confidential, several VMs in
 * one process, a VMM that uses KVM_CAP_SYNC_REGS itself, a host kernel that is too old).
 */
int drv_kvm_open_pid(const char *name, pid_t pid, struct diag *diag,
		     struct vp_target **ret) VP_MUST_USE;
/* The same of a QEMU that is open already, which the target owns on success. */
int drv_kvm_take(struct qemu *m, struct diag *diag, struct vp_target **ret) VP_MUST_USE;

#endif
