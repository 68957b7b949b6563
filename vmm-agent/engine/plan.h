/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The planner: every refusal that needs no pause is made here, and the transaction comes out.
 * Nothing is written.
 */
#ifndef VP_ENGINE_PLAN_H
#define VP_ENGINE_PLAN_H

#include "vmm-agent/engine/record.h"

#define ENG_TRAPS_MAX 256

struct eng_plan {
	struct vp_target *t;
	struct guest *g;
	const struct eng_opts *opts;
	bool was_running;         /* when it was begun */
	struct guest_arena arena; /* read by the planner, as the guest has it now */
	/* Trap records that the guest has for us: none, and it has no handler that knows them. */
	struct eng_trap traps[ENG_TRAPS_MAX];
	size_t n_traps;
	struct eng_report *report; /* name, versions, payload and notes are filled */
	struct eng_txn *txn; /* NULL after success: the guest is in the wanted state already */
};

int eng_plan_apply(struct eng_plan *plan, const struct hf_bundle *b, const struct eng_opts *opts,
		   struct diag *diag) VP_MUST_USE;
int eng_plan_revert(struct eng_plan *plan, const char *name, struct diag *diag) VP_MUST_USE;

/* The start of both: what does not depend on the operation. */
int eng_plan_begin(struct eng_plan *plan, enum eng_op op, struct diag *diag) VP_MUST_USE;
int eng_plan_end(struct eng_plan *plan, struct diag *diag) VP_MUST_USE;
void eng_plan_deinit(struct eng_plan *plan);
/*
 * Gives the steps that are there their disciplines (plan_discipline.c); part of eng_plan_end.
 * VP_E_DISCIPLINE when the one that was named is not right.
 */
int eng_plan_discipline(struct eng_plan *plan, struct diag *diag) VP_MUST_USE;

/*
 * Gives the tracer's record of a site back, as the ledger record l knows it: appends the edit to
 * the transaction if that is safe, else leaves the mark and notes it.
 */
int eng_plan_give_back(struct eng_plan *plan, const struct vp_ledger *l,
		       const struct eng_site *site, struct diag *diag) VP_MUST_USE;

/* Appends what puts a site or literal back; a literal behind the site that goes with it belongs to it. */
int eng_plan_put_back(struct eng_plan *plan, const struct eng_site *site) VP_MUST_USE;

/* The one live record of a name, NULL in *ret if there is none. VP_E_LEDGER for several. */
int eng_plan_find_live(const struct eng_plan *plan, const char *name, struct diag *diag,
		       const struct guest_record **ret) VP_MUST_USE;

/* VP_OK for a hotfix that is applied or reverted, else the reason for its state. */
int eng_state_error(const char *name, enum eng_state state, const char *words, struct diag *diag);

#endif
