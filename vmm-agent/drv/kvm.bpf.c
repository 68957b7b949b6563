// SPDX-License-Identifier: GPL-2.0-only
/*
 * An iterator over the open files of one process (BPF_TRACE_ITER "task_file") that looks at its
 * KVM VM: memory slots, vCPUs and their threads. It reads and changes nothing. Structures are the
 * kernel's, cut down to what is read; CO-RE puts the running kernel's offsets in (include/linux/
 * kvm_host.h since 5.17, where slots moved into trees and a hash by number).
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "vmm-agent/drv/kvm_scan.h"

#define ANON_INODE_FS_MAGIC 0x09041934 /* include/uapi/linux/magic.h */
#define NAME_LEN            16
#define SLOT_STEPS          4096 /* buckets and slots together */

char LICENSE[] SEC("license") = "GPL";

#define KERNEL __attribute__((preserve_access_index))

struct qstr {
	const unsigned char *name;
} KERNEL;
struct dentry {
	struct qstr d_name;
} KERNEL;
struct path {
	struct dentry *dentry;
} KERNEL;
struct super_block {
	unsigned long s_magic;
} KERNEL;
struct inode {
	struct super_block *i_sb;
} KERNEL;
struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
} KERNEL;
struct task_struct {
	int tgid;
} KERNEL;
struct bpf_iter__task_file {
	struct task_struct *task;
	__u32 fd;
	struct file *file;
} KERNEL;

struct upid {
	int nr;
} KERNEL;
struct pid {
	struct upid numbers[1];
} KERNEL;

struct hlist_node {
	struct hlist_node *next;
} KERNEL;
struct hlist_head {
	struct hlist_node *first;
} KERNEL;
typedef struct {
	int counter;
} KERNEL atomic_t;

struct kvm_memslots {
	__u64 generation;
	struct hlist_head id_hash[128];
	int node_idx;
} KERNEL;
struct kvm_memory_slot {
	struct hlist_node id_node[2];
	__u64 base_gfn;
	unsigned long npages;
	unsigned long userspace_addr;
	__u32 flags;
	short id;
} KERNEL;
struct kvm_arch {
	__u8 vm_type;
} KERNEL;
struct kvm {
	struct kvm_memslots *memslots[1];
	struct kvm_arch arch;
	__u32 dirty_ring_size;
	atomic_t nr_memslots_dirty_logging;
} KERNEL;
struct kvm_vcpu_arch {
	_Bool guest_state_protected;
} KERNEL;
struct kvm_vcpu {
	struct kvm *kvm;
	int vcpu_id;
	struct pid *pid;
	struct kvm_vcpu_arch arch;
} KERNEL;

struct kvm_scan scan;

/* The name that anon_inode_getfile() gave it; a file of that name on a disk is something else. */
static bool anon_name(struct file *file, char name[NAME_LEN])
{
	const unsigned char *at;

	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != ANON_INODE_FS_MAGIC)
		return false;
	at = BPF_CORE_READ(file, f_path.dentry, d_name.name);
	return bpf_probe_read_kernel_str(name, NAME_LEN, at) > 0;
}

static bool begins(const char name[NAME_LEN], const char *with, int n)
{
	for (int i = 0; i < n; i++)
		if (name[i] != with[i])
			return false;
	return true;
}

/* Whether this is the VM that is described: the first one met. */
static bool is_ours(struct kvm *kvm)
{
	if (scan.kvm == 0) {
		scan.kvm = (__u64)(unsigned long)kvm;
		scan.n_vms = 1;
	} else if (scan.kvm != (__u64)(unsigned long)kvm) {
		scan.n_vms = 2;
		return false;
	}
	return true;
}

struct walk {
	struct kvm_memslots *slots;
	__u64 node; /* struct hlist_node, or 0: go on with the next bucket */
	__u32 bucket, buckets;
	__u32 idx;
};

static void put_slot(const struct walk *w)
{
	struct kvm_memory_slot *s =
		(void *)(unsigned long)(w->node -
					bpf_core_field_offset(struct kvm_memory_slot, id_node) -
					w->idx * bpf_core_type_size(struct hlist_node));
	struct kvm_scan_slot *to = &scan.slot[scan.n_slots & (KVM_SCAN_SLOTS - 1)];

	if (scan.n_slots++ >= KVM_SCAN_SLOTS)
		return;
	to->gpa = BPF_CORE_READ(s, base_gfn) << 12;
	to->size = (__u64)BPF_CORE_READ(s, npages) << 12;
	to->hva = BPF_CORE_READ(s, userspace_addr);
	to->flags = BPF_CORE_READ(s, flags);
	to->id = (__u16)BPF_CORE_READ(s, id);
}

static long step(__u32 i, struct walk *w)
{
	__u64 next = 0;

	(void)i;
	if (w->node) {
		put_slot(w);
		bpf_probe_read_kernel(&next, sizeof(next), (void *)(unsigned long)w->node);
		w->node = next;
		return 0;
	}
	if (w->bucket >= w->buckets)
		return 1;
	bpf_probe_read_kernel(&next, sizeof(next),
			      (char *)w->slots +
				      bpf_core_field_offset(struct kvm_memslots, id_hash) +
				      w->bucket * sizeof(next));
	w->node = next;
	w->bucket++;
	return 0;
}

static void look_at_vm(struct kvm *kvm)
{
	struct walk w = {};
	struct kvm_memslots *slots;

	if (!is_ours(kvm) || scan.memslots)
		return;
	if (!bpf_core_field_exists(struct kvm_memslots, id_hash) ||
	    !bpf_core_field_exists(struct kvm_memory_slot, id_node)) {
		scan.unsupported = 1;
		return;
	}
	slots = BPF_CORE_READ(kvm, memslots[0]);
	w.slots = slots;
	scan.memslots = (__u64)(unsigned long)slots;
	scan.generation = BPF_CORE_READ(slots, generation);
	w.idx = BPF_CORE_READ(slots, node_idx) & 1;
	w.buckets = bpf_core_field_size(struct kvm_memslots, id_hash) / sizeof(void *);
	scan.vm_type = ~0u;
	if (bpf_core_field_exists(struct kvm_arch, vm_type)) {
		scan.vm_type = 0; /* one byte or eight, by the kernel's age */
		bpf_probe_read_kernel(&scan.vm_type,
				      bpf_core_field_size(struct kvm_arch, vm_type) & 3 ?: 4,
				      &kvm->arch.vm_type);
	}
	if (bpf_core_field_exists(struct kvm, dirty_ring_size))
		scan.dirty_ring = BPF_CORE_READ(kvm, dirty_ring_size);
	scan.log_dirty = ~0u;
	if (bpf_core_field_exists(struct kvm, nr_memslots_dirty_logging))
		scan.log_dirty = BPF_CORE_READ(kvm, nr_memslots_dirty_logging.counter);
	bpf_loop(SLOT_STEPS, step, &w, 0);
	if (w.node || w.bucket < w.buckets)
		scan.cut_short = 1;
	scan.generation_after = BPF_CORE_READ(slots, generation);
	if (BPF_CORE_READ(kvm, memslots[0]) != slots)
		scan.generation_after = ~0ull;
}

static void look_at_vcpu(struct kvm_vcpu *vcpu)
{
	struct kvm_scan_vcpu *to = &scan.vcpu[scan.n_vcpus & (KVM_SCAN_VCPUS - 1)];
	struct pid *pid;

	if (!is_ours(BPF_CORE_READ(vcpu, kvm)) || scan.n_vcpus++ >= KVM_SCAN_VCPUS)
		return;
	to->vcpu = (__u64)(unsigned long)vcpu;
	to->id = BPF_CORE_READ(vcpu, vcpu_id);
	pid = BPF_CORE_READ(vcpu, pid);
	to->tid = pid ? BPF_CORE_READ(pid, numbers[0].nr) : 0;
	if (bpf_core_field_exists(struct kvm_vcpu_arch, guest_state_protected))
		to->protected_ = BPF_CORE_READ(vcpu, arch.guest_state_protected);
}

SEC("iter/task_file")
int kvm_scan(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	char name[NAME_LEN] = {};

	if (!file || !ctx->task || !anon_name(file, name))
		return 0;
	if (begins(name, "kvm-vm", 7))
		look_at_vm(BPF_CORE_READ(file, private_data));
	else if (begins(name, "kvm-vcpu:", 9))
		look_at_vcpu(BPF_CORE_READ(file, private_data));
	return 0;
}
