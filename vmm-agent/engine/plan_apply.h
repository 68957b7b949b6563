/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of the apply planner share: plan.c, plan_site.c, plan_payload.c. */
#ifndef VP_ENGINE_PLAN_APPLY_H
#define VP_ENGINE_PLAN_APPLY_H

#include "vmm-agent/engine/plan.h"

/* One function that the hotfix replaces. */
struct eng_func {
	const struct hf_replace *want;
	vp_gva_t addr;
	uint64_t size;
	struct vp_edit site; /* or a literal that changes by itself */
	struct vp_edit
		literal; /* that changes with the site, whose new word calls its dispatcher; len 0: none */
	bool marks; /* the tracer's record is to be marked, or is by us already */
	struct vp_edit tracer;
};

struct eng_apply_plan {
	struct eng_plan *plan;
	const struct arch_ops *arch;
	const struct hf_bundle *bundle;
	const struct hf_info *info;
	const struct eng_opts *opts;
	struct diag *diag;
	const struct guest_record *cur; /* applied under this name and to be replaced; NULL */
	struct eng_func funcs[HF_REPLACE_MAX];
	size_t n_funcs;
	struct vp_edit edits[2 * HF_REPLACE_MAX]; /* as the ledger gets them */
	const char *symbols[2 * HF_REPLACE_MAX];
	bool paired[2 * HF_REPLACE_MAX]; /* the literal of the edit before */
	uint32_t n_edits;
};

/* Resolves one function, refuses it or appends it to funcs. */
int eng_plan_func(struct eng_apply_plan *a, const struct hf_replace *want) VP_MUST_USE;

/* The same for a site of the guest's site table, by name. */
int eng_plan_table(struct eng_apply_plan *a, const struct hf_replace *want) VP_MUST_USE;

/*
 * Links the payload, at the address of a retired record with just these bytes (*reused) or as a
 * new area of the transaction; fills edits. *l is the record, without text and edits.
 */
int eng_plan_payload(struct eng_apply_plan *a, struct vp_ledger *l, vp_gpa_t *gpa,
		     bool *reused) VP_MUST_USE;

#endif
