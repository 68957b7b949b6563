/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the two halves of the inproc driver share: inproc.c has memory, inproc_hold.c the vCPUs. */
#ifndef VP_DRV_INPROC_INT_H
#define VP_DRV_INPROC_INT_H

#include <pthread.h>

#include "vmm-agent/drv/inproc.h"

struct kvm_run;

enum inproc_where { INPROC_IN, INPROC_AWAY };

/* One vCPU, on cache lines of its own: its thread looks at it ahead of every KVM_RUN. */
struct inproc_vcpu {
	int fd;
	struct kvm_run *run;
	uint32_t where; /* enum inproc_where; written by its thread */
	uint32_t asked; /* the holder has set immediate_exit and nobody has cleared it since */
	uint32_t ack;   /* last hold it was counted in */
	uint32_t known; /* thread is set */
	pthread_t thread;
	struct arch_regs regs; /* its thread's, read by the holder when it has arrived */
	int regs_err;
} __attribute__((aligned(128)));

struct vp_inproc {
	char name[64];
	uint8_t uuid[16];
	void *ctx;
	void (*kick)(void *ctx, unsigned vcpu);
	void (*mark_dirty)(void *ctx, uint64_t gpa, uint64_t len);
	int (*state)(void *ctx);

	pthread_mutex_t holding;                    /* one hold at a time; guards held */
	bool held;                                  /* all vCPUs are parked or away */
	uint32_t hold __attribute__((aligned(64))); /* odd: a hold is wanted; a futex */
	uint32_t whose; /* of the present hold: a vCPU, or all of them */
	uint32_t missing __attribute__((aligned(64))); /* hold << 11 | vCPUs to come; a futex */

	pthread_rwlock_t slots_lock;  /* slots, n_slots, generation; read: their memory stays */
	struct vp_inproc_slot *slots; /* ascending */
	size_t n_slots;
	uint64_t generation;

	uint64_t kernel; /* see vp_note_kernel: the page, plus one; 0: none. Atomic. */

	unsigned n_vcpus;
	struct inproc_vcpu *vcpus;
};

/* Holds all vCPUs. VP_E_DEADLINE: not all came in time, and all go on. */
int inproc_hold(struct vp_inproc *vp, uint64_t deadline, struct diag *diag) VP_MUST_USE;
/* Lets go; fine when nothing is held. */
void inproc_release(struct vp_inproc *vp);
/* Each vCPU in turn: out of the guest, its thread serialised, and on. VP_E_DEADLINE: one did not come out
 * in time; all run on. */
int inproc_roll(struct vp_inproc *vp, uint64_t deadline, struct diag *diag) VP_MUST_USE;

#endif
