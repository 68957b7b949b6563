/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
/*
 * What the iterator in kvm.bpf.c finds out about a process that runs KVM VMs; shared by the BPF
 * program and its loader. Kernel addresses stand for objects and are never followed by us.
 */
#ifndef VP_DRV_KVM_SCAN_H
#define VP_DRV_KVM_SCAN_H

#include <linux/types.h>

#define KVM_SCAN_SLOTS 512 /* powers of two: the program masks with them */
#define KVM_SCAN_VCPUS 1024

struct kvm_scan_slot {
	__u64 gpa, size, hva; /* bytes */
	__u32 flags;          /* KVM_MEM_* of linux/kvm.h */
	__u32 id;             /* slot number */
};

struct kvm_scan_vcpu {
	__u64 vcpu; /* struct kvm_vcpu */
	__u32 id;   /* as KVM_CREATE_VCPU had it */
	__u32 tid;  /* thread that last entered KVM_RUN, in the first pid namespace; 0: none yet */
	__u32 protected_; /* its registers are encrypted */
	__u32 pad;
};

struct kvm_scan {
	__u64 kvm;        /* struct kvm; 0: no VM found */
	__u64 memslots;   /* struct kvm_memslots that was walked */
	__u64 generation; /* of it, before the walk */
	__u64 generation_after;
	__u32 n_vms;      /* VMs met; only the first one is described */
	__u32 n_slots;    /* may exceed KVM_SCAN_SLOTS: the rest was left out */
	__u32 n_vcpus;    /* the same */
	__u32 vm_type;    /* KVM_X86_*_VM; ~0 where the kernel does not keep one */
	__u32 dirty_ring; /* bytes of a vCPU's dirty ring; 0: none */
	__u32 log_dirty; /* slots whose writes are logged; ~0 where the kernel does not count them */
	__u32 unsupported; /* this kernel keeps its slots in a form that the program does not know */
	__u32 cut_short;   /* a list had no end within bounds */
	struct kvm_scan_slot slot[KVM_SCAN_SLOTS];
	struct kvm_scan_vcpu vcpu[KVM_SCAN_VCPUS];
};

#endif
