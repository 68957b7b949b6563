/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs poke programs on a guest that runs. Several go in lockstep: step i of each, one sync for all of
 * them, then step i + 1, so that a hundred sites cost as many syncs as one.
 *
 *	word     store . . . . . . . . . . . . . . . . . . . sync ALL
 *	trap     record, sync, trap, sync, tail, sync, event, head, sync, record withdrawn
 *
 * Any step may be the last one that is reached: what stands in the guest then is an instruction of the
 * program, and a trap has its record. The caller repairs by holding the guest.
 */
#ifndef VP_ENGINE_POKE_H
#define VP_ENGINE_POKE_H

#include "arch/poke.h"
#include "vmm-agent/target.h"

struct eng_poke {
	const struct arch_poke *prog;
	vp_gva_t at;      /* of the site */
	vp_gpa_t site;    /* where it is; contiguous */
	vp_gpa_t literal; /* of discipline literal */
	vp_gpa_t
		record; /* of discipline trap: VP_TRAP_RECORD bytes that no other poke has meanwhile */
};

/* What else happens, between steps of the program. */
struct eng_poke_watch {
	/* The moment of the text poke event of poke i. An error ends the run. */
	int (*event)(void *ctx, size_t i);
	/* Ahead of each store of poke i. */
	void (*store)(void *ctx, size_t i);
	void *ctx;
};

/* watch may be NULL. Driver's errors, VP_E_DEADLINE; *begun_ret (may be NULL) is how many steps of the
 * programs have been begun. */
int eng_poke_run(struct vp_live *l, const struct eng_poke *pokes, size_t n,
		 const struct eng_poke_watch *watch, uint64_t deadline, struct diag *diag,
		 unsigned *begun_ret) VP_MUST_USE;

#endif
