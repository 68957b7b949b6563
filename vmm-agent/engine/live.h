/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A transaction carried out while the guest runs. Nobody is held, so there is no holder and no watchdog:
 * the caller stores, and who dies leaves the guest running on old words, new words and stages of a poke
 * program, each of which runs right. Undoing is a repair in a hold (window.h).
 */
#ifndef VP_ENGINE_LIVE_H
#define VP_ENGINE_LIVE_H

#include "arch/poke.h"
#include "vmm-agent/engine/window.h"

/*
 * What the architecture is asked about step i, a site or a literal without one, and about the literal that
 * goes with it. The ask points into the transaction. What the way in and the guest can do is left open.
 */
void eng_live_ask(const struct eng_txn *txn, uint32_t i, struct arch_poke_ask *ret);

/* The program of step i of a live transaction, the same whenever it is asked for. Errors of arch_poke. */
int eng_live_program(const struct eng_txn *txn, uint32_t i, const struct arch_ops *ops,
		     struct arch_poke *ret, const char **why) VP_MUST_USE;

struct eng_live {
	struct vp_target *t;
	const struct eng_txn *txn; /* live */
	const struct eng_view *view;
	uint64_t time_ns; /* the longest that it may take */
	/* filled */
	uint64_t *poked_at; /* txn->n_steps: when the step's word changed; 0: not begun */
	bool begun;         /* the first store has been: a failure is for a repair */
};

/* VP_OK: everything is in place and reads back. */
int eng_live_run(struct eng_live *live, struct diag *diag) VP_MUST_USE;

#endif
