/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holding a guest in a process of its own, and watching over it. The picture is in holder.c. */
#ifndef VP_ENGINE_HOLDER_H
#define VP_ENGINE_HOLDER_H

#include "vmm-agent/engine/window.h"

#define ENG_GRACE_NS UINT64_C(500000000) /* a holder may be this late before it is killed */

enum eng_job {
	ENG_JOB_CHANGE, /* vp_pause and do the transaction */
	ENG_JOB_REPAIR, /* vp_takeover and finish or undo what is there */
};

struct eng_hold {
	struct vp_target *t; /* armed */
	const struct eng_txn *txn;
	const struct eng_view *view; /* of CHANGE */
	uint64_t window_ns;          /* of CHANGE; a repair has its own */
	uint64_t grace_ns;           /* 0: ENG_GRACE_NS */
};

struct eng_held {
	enum eng_end end;   /* NONE: the guest may still be held, nobody knows how the words are */
	bool holder_died;   /* and another one had to be sent */
	uint64_t window_ns; /* first vCPU held to last one released, repairs included */
	uint64_t stored_at; /* the last store of CHANGE, CLOCK_MONOTONIC; 0: none */
	uint64_t mixed_ns;  /* at most this long the guest ran on words of both kinds */
};

/* How things stand when a job has not begun: a change has changed nothing; of what a repair was to
 * look at nothing is known. */
static inline enum eng_end eng_hold_unbegun(enum eng_job job)
{
	return job == ENG_JOB_CHANGE ? ENG_END_OLD : ENG_END_NONE;
}

/*
 * Runs a job and, should its holder die, hang or fail to put things back, repair jobs until the
 * guest is whole and running. VP_OK: a change is in place, a repair has come to its end (OLD or
 * NEW). Otherwise the reason why not, with *ret saying how things stand; VP_E_TORN and VP_E_PAUSED
 * are those that leave the guest held, VP_E_DISCONNECTED with end NONE says that the VMM is gone.
 */
int eng_hold_run(const struct eng_hold *hold, enum eng_job job, struct diag *diag,
		 struct eng_held *ret) VP_MUST_USE;

#endif
