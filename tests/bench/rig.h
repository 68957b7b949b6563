/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bare-metal guest with every way into it open at once, and one operation by each of them. */
#ifndef VP_TESTS_BENCH_RIG_H
#define VP_TESTS_BENCH_RIG_H

#include <stdio.h>

#include "qmp/qmp.h"
#include "tests/bench/stat.h"
#include "tests/guests/x86-64/ctl.h"
#include "tests/lib/bare.h"
#include "tests/lib/vmmctl.h"
#include "vmm-agent/engine/engine.h"
#include "vmm-agent/engine/holder.h"

#define RIG_SITES_MAX 10000u

enum op {
	OP_NONE,   /* nothing: what the guest sees of the machine's own noise */
	OP_KVM,    /* a change of n sites by the kvm driver, in a holder; then it is taken back */
	OP_GDB,    /* the same by QEMU's debug stub */
	OP_APPLY,  /* apply and revert of a bundle by the kvm driver, all that the command does */
	OP_QMP,    /* stop and cont by vpatch's own client */
	OP_HOLD,   /* the kvm driver's hold and release in a holder, no work inside */
	OP_PTRACE, /* hold and release by floor.c */
	OP_PTRACE_FIFO, /* the same at a real-time priority */
	OP_INPROC,      /* apply and revert by libvpatch in the VMM; the example VMM's alone */
	OP_LITERAL,     /* one data word stored while the guest runs: all of a literal's change */
	OP_TRAP, /* the stores and syncs of a trap's change, at a place that nobody executes */
	OPS,
};

extern const char *const op_name[OPS];

/* n sites changed, there and back. */
struct change {
	struct eng_txn there, back;
};

struct floor {
	pid_t pid;
	FILE *in, *out;
};

struct way {
	struct vp_target *t;
	struct guest *g;
};

struct rig {
	struct bare b;
	char dir[64]; /* temporary: sockets, then the engine's state */
	struct way kvm, gdb;
	struct hf_bundle *fix;
	struct qmp *qmp;
	struct vmm_control control;
	struct floor floor[2]; /* of OP_PTRACE and OP_PTRACE_FIFO */
	uint32_t toggles;      /* of what the busy CPUs call */
	struct {
		unsigned sites;
		struct change change;
	} made[8];
	unsigned n_made;
	struct diag diag;
};

/* vmm: BARE_MICROVM_KVM, or BARE_COMMAND for the example VMM. False with words on stderr; rig_stop
 * is due in every case. */
bool rig_start(struct rig *r, enum bare_vmm vmm, unsigned vcpus, unsigned busy);
void rig_stop(struct rig *r);

/*
 * One operation, or the two of a change there and back, a sample each. A guest that was busy for a
 * moment is tried again; that counts as failed. False with words on stderr: it cannot be gone on.
 */
bool rig_run(struct rig *r, enum op op, unsigned sites, struct samples *ret);

/* NULL if all that the guest saw since its start is possible, else words. */
const char *rig_check(struct rig *r);

#endif
