/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a planned transaction to its end: journal, hold or live change, journal. Under the lock. */
#ifndef VP_ENGINE_CHANGE_H
#define VP_ENGINE_CHANGE_H

#include "vmm-agent/engine/holder.h"

#define ENG_SETTLE_NS UINT64_C(1000000000) /* until the sites are read again after the release */

struct eng_change {
	struct vp_target *t;
	const struct eng_txn *txn;
	const struct eng_view *view;
	const char *state_dir;
	uint64_t window_ns; /* of a hold; a live change may take as long */
	uint64_t grace_ns;  /* 0: ENG_GRACE_NS */
	uint64_t settle_ns; /* 0: ENG_SETTLE_NS */
};

/* VP_OK: the transaction is in place. Times and notes go to the report, and to its edits, which are the
 * words of the transaction in their order or not there at all. */
int eng_change_run(const struct eng_change *c, struct diag *diag,
		   struct eng_report *report) VP_MUST_USE;

/* Finishes or undoes an entry that the journal has open; its VM and boot have been checked. */
int eng_change_recover(const struct eng_change *c, struct diag *diag,
		       enum eng_outcome *ret) VP_MUST_USE;

/* Adds a note that is not there yet; when there are too many it takes the last one's place. */
void eng_note(struct eng_report *report, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
