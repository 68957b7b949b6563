/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of driver kvm: one process that runs a KVM VM. */
#ifndef VP_DRV_KVM_INT_H
#define VP_DRV_KVM_INT_H

#include <signal.h>
#include <sys/uio.h>
#include <time.h>

#include "vmm-agent/driver.h"
#include "vmm-agent/drv/kvm_scan.h"
#include "vmm-agent/drv/qemu.h"
#include "vmm-agent/drv/vmm_map.h"

#define KVM_SURE_NS  (2 * CLOCK_NS_PER_SEC) /* each step of holding again after a death */
#define KVM_HOLD_NS  (1 * CLOCK_NS_PER_SEC) /* a hold that has no deadline of its own */
#define KVM_RAM_MAX  KVM_SCAN_SLOTS
#define KVM_MAPS_MAX 64
#define KVM_RUN_LEN  4096u /* bytes: a struct kvm_run takes less than its page */

/* Slots that KVM makes for itself have the highest numbers: include/linux/kvm_host.h,
 * KVM_USER_MEM_SLOTS is SHRT_MAX less KVM_INTERNAL_MEM_SLOTS (3 on x86). */
#define KVM_INTERNAL_SLOTS (INT16_MAX - 3)

/* What the processes that share a target must agree on, whoever dies. In MAP_SHARED memory. */
struct kvm_shared {
	bool stranded; /* the VMM is stopped by SIGSTOP: what is in the guest must not run */
};

struct kvm_thread {
	pid_t tid;
	uint64_t run; /* where the VMM has this vCPU's struct kvm_run */
	bool seized, stopped;
	bool known;  /* regs are those of the present hold */
	bool cached; /* by_qmp holds what the monitor said while the VM stood still */
	struct arch_regs regs, by_qmp;
	char *copy; /* room for a struct kvm_run: what was read of its page last */
};

/* A piece of a file that the VMM has mapped shared, and that we have mapped, too. */
struct kvm_map {
	struct vmm_map v; /* there */
	uint8_t *at;      /* here */
	bool proven;      /* by the look that was taken last */
};

/* Interrupts waiting from the deadline of a hold on. */
struct kvm_alarm {
	bool on;
	timer_t timer;
	struct sigaction action; /* what was there before */
	sigset_t mask;
};

struct kvm_bpf;

struct kvm {
	/* Without a monitor (m->path is "") only name, arch, id and vcpus. */
	struct qemu *m;
	struct kvm_shared *sh;
	struct kvm_bpf *bpf; /* NULL: not permitted here; slots and threads come from the monitor */
	struct bpf_link *link;
	struct kvm_scan scan; /* at open; compared at arm and at every hold */
	struct vp_ram ram[KVM_RAM_MAX];
	uint64_t hva[KVM_RAM_MAX];
	size_t n_ram;
	struct vmm_mem mem;
	struct kvm_map map[KVM_MAPS_MAX]; /* for live stores */
	unsigned n_maps;
	struct kvm_alarm alarm;
	struct kvm_thread *thread;    /* m.vcpus of them */
	struct iovec *local, *remote; /* as many: no room for them is made inside a window */
	bool marked;                  /* our mark is in the kvm_run pages */
	bool owns;                    /* m goes with this */
	bool ran;                     /* when armed: the VM was not stopped by its VMM */
	uint64_t held_at;             /* when the first vCPU of the present hold was interrupted */
};

extern const struct vp_driver kvm_driver;
void kvm_destroy(struct kvm *k);

/* kvm_bpf.c: the iterator. */
/* VP_E_PERM where BPF is not permitted, VP_E_UNSUPPORTED where the kernel cannot do it. */
int kvm_bpf_load(struct kvm *k, struct diag *diag) VP_MUST_USE;
void kvm_bpf_unload(struct kvm *k);
/* Looks at the process now. */
int kvm_bpf_scan(struct kvm *k, struct kvm_scan *ret, struct diag *diag) VP_MUST_USE;
/* Whether slots and vCPUs are now those of the scan at open. Costs some 50 us. */
bool kvm_bpf_same(struct kvm *k);
bool kvm_scan_same(const struct kvm_scan *a, const struct kvm_scan *b);

/* kvm_run.c: the vCPUs' shared pages. */
/* Where the VMM has them: fills thread[].run by vCPU id. */
int kvm_run_find(struct kvm *k, const uint32_t *id, struct diag *diag) VP_MUST_USE;
/* Refuses a VMM that uses these fields itself. A dead agent's mark is no reason: the next one goes
 * over it. stranded_ret: that agent had stopped the VMM. */
int kvm_run_check(struct kvm *k, bool *stranded_ret, struct diag *diag) VP_MUST_USE;
/* From here on KVM stores a vCPU's registers whenever it leaves the guest. */
int kvm_run_mark(struct kvm *k, bool stranded) VP_MUST_USE;
int kvm_run_unmark(struct kvm *k) VP_MUST_USE;
/* What was stored since the mark, for every vCPU that is stopped and has left the guest since. */
int kvm_run_read(struct kvm *k) VP_MUST_USE;

/* kvm_map.c: the guest's memory in ours. */
/* Maps what can be; none of it where the VMM's memory is its own. */
void kvm_map_open(struct kvm *k);
void kvm_map_close(struct kvm *k);
/* Whether the VMM still has all of it where it was, from where it was. */
bool kvm_map_same(struct kvm *k);
/* Where [at, at + len) of guest memory is; NULL: not here, or not in one piece. */
uint8_t *kvm_map_at(const struct kvm *k, vp_gpa_t at, size_t len);

/* kvm_live.c: stores while the guest runs. */
int kvm_live_begin(void *self, struct diag *diag) VP_MUST_USE;
bool kvm_live_reaches(void *self, vp_gpa_t at, size_t len);
int kvm_live_store(void *self, vp_gpa_t at, const void *buf, size_t len) VP_MUST_USE;
int kvm_live_sync(void *self, enum arch_sync sync, uint64_t deadline,
		  struct diag *diag) VP_MUST_USE;
void kvm_live_end(void *self);

/* kvm.c: what arming and storing live need to know first. Refuses a guest that migrates, ends or has
 * changed; k->ran says whether it runs. */
int kvm_check_all(struct kvm *k, bool *stranded_ret, struct diag *diag) VP_MUST_USE;
int kvm_say_stranded(const struct kvm *k, int err, struct diag *diag);

/* kvm_hold.c: ptrace. */
/* Every vCPU thread stopped; need_regs: with its registers known. All of them run on failure. */
int kvm_hold(struct kvm *k, uint64_t deadline, bool need_regs, struct diag *diag) VP_MUST_USE;
int kvm_release(struct kvm *k) VP_MUST_USE;
/* Each vCPU thread in turn stopped and let go. VP_E_DEADLINE: one did not stop in time. */
int kvm_roll(struct kvm *k, uint64_t deadline, struct diag *diag) VP_MUST_USE;

#endif
