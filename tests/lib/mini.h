/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VM of this very process with libvpatch in it: x86-64, vCPUs that count in user mode and vCPUs that
 * sleep in KVM. The smallest VMM that has a gate; tests/vmm is a whole one.
 */
#ifndef VP_TESTS_LIB_MINI_H
#define VP_TESTS_LIB_MINI_H

#include <pthread.h>
#include <stdint.h>

#include "vmm-agent/drv/inproc.h"

#define MINI_VCPUS    8
#define MINI_RAM      (2u << 20)
#define MINI_ROM_AT   (1u << 30)
#define MINI_CODE     0x10000u
#define MINI_LOOP_LEN 14
#define MINI_LOOP_END (MINI_CODE + MINI_LOOP_LEN - 1)
#define MINI_VALUE    (MINI_CODE + 1) /* the immediate that the loop stores, 4 bytes */
#define MINI_COUNTERS 0x20000u /* 64 bytes a vCPU: rounds, and the immediate as it ran last */

extern const uint8_t mini_loop[MINI_LOOP_LEN];

struct mini {
	int kvm, vm;
	uint8_t *ram, *rom;
	unsigned vcpus, busy;
	struct vp_inproc_vcpu vcpu[MINI_VCPUS];
	pthread_t thread[MINI_VCPUS];
	struct vp_inproc_slot slots[2];
	struct vp_inproc *vp;
	struct vp_target *t;
	struct diag diag;
	bool stop;
	uint32_t stuck; /* bit i: vCPU i's thread does not go to the gate */
	uint32_t away;  /* bit i: it leaves and waits */
	uint32_t is_away;
	uint32_t runs[MINI_VCPUS]; /* how often the gate let it go to KVM_RUN */
	uint32_t kicks[MINI_VCPUS];
	int state; /* enum vp_inproc_state */
	uint64_t dirty_gpa, dirty_len;
	unsigned n_dirty;
};

/* What this machine lacks; NULL: nothing. */
const char *mini_missing(void);

/* All run, the first `busy` of them in the loop; m->vp and m->t are open. Ends the test where that cannot
 * be. */
struct mini *mini_start(unsigned vcpus, unsigned busy);
void mini_stop(struct mini *m);

struct vp_inproc_vm mini_describe(struct mini *m);
uint64_t *mini_at(struct mini *m, uint64_t gpa);
uint64_t mini_counter(struct mini *m, unsigned i);
bool mini_flag(const uint32_t *word, unsigned i);
void mini_kick(void *ctx, unsigned i);
/* As a VMM does that wants something of a vCPU's thread itself. */
void mini_ask_exit(struct mini *m, unsigned i, uint8_t value);
/* Fails unless every busy one counts on from here. */
void mini_assert_runs(struct mini *m);

#endif
