/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An example VMM: what its parts share. vmm.c runs the guest, control.c patches it, main.c has the options. */
#ifndef VP_TESTS_VMM_VMM_H
#define VP_TESTS_VMM_VMM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vpatch/inproc.h>
#include <vpatch/vpatch.h>

#define VCPUS_MAX 64

struct vmm;

struct vcpu {
	struct vmm *vmm;
	unsigned id;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
};

struct vmm {
	int kvm, vm;
	const char *kernel, *mem, *control, *state_dir;
	uint8_t *ram;
	uint64_t ram_len;
	uint32_t entry; /* physical, of PVH */
	unsigned n_vcpus;
	struct vcpu vcpu[VCPUS_MAX];
	struct vp_inproc *vp;
	atomic_bool quit;
	pthread_mutex_t lock; /* paused, n_paused */
	pthread_cond_t changed;
	bool paused;
	unsigned n_paused;
	atomic_ulong dirty; /* pages that libvpatch has marked */
};

/* elf.c: segments and entry of v->kernel, into v->ram. */
void load_kernel(struct vmm *v);
void die(const char *what) __attribute__((noreturn));

/* kernel, mem, n_vcpus are set, the rest is zero: the guest runs when it returns. */
void vmm_start(struct vmm *v);
/* Until it has ended, and it is gone. */
void vmm_wait(struct vmm *v);

/* Every vCPU stands outside KVM_RUN when it returns. */
void vmm_pause(struct vmm *v);
void vmm_cont(struct vmm *v);
void vmm_quit(struct vmm *v);
/* Makes the thread of that vCPU look at what it is asked. */
void vmm_kick(struct vmm *v, unsigned i);

/* Serves the control socket until `quit`. */
void control_run(struct vmm *v);

#endif
