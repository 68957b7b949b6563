/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done to a guest while it is held: comparisons (verify.h), stores, the barrier. Nothing here
 * allocates, resolves or asks the VMM anything but memory and registers.
 */
#ifndef VP_ENGINE_WINDOW_H
#define VP_ENGINE_WINDOW_H

#include "vmm-agent/engine/txn.h"

/* How a change sees the guest kernel. guest/ stands behind it; a hand-made one in tests. */
struct eng_view {
	/* guest_check_held */
	int (*held)(void *ctx, struct vp_paused *p, vp_gva_t *pcs, struct diag *diag);
	/* Walks the page tables now: where [at, at + len) of this kind of edit lies. */
	int (*locate)(void *ctx, enum vp_edit_kind kind, vp_gva_t at, size_t len, vp_gpa_t *ret);
	/* guest_check_table, ahead of a live change's words; may be NULL */
	int (*table)(void *ctx, struct diag *diag);
	/* guest_check_outside */
	int (*outside)(void *ctx, struct vp_paused *p, const struct guest_span *spans, size_t n,
		       struct diag *diag);
	void *ctx;
};

/* Where a trap's record lies now: it is data. */
int eng_trap_locate(const struct eng_view *view, const struct eng_trap *trap,
		    vp_gpa_t *ret) VP_MUST_USE;

/*
 * Who may act. One word in shared memory; the picture is in holder.c. The holder may store only
 * while it reads ENG_HELD.
 */
enum eng_phase { ENG_ARMED = 1, ENG_HELD, ENG_LEAVING, ENG_DONE, ENG_EXPIRED };

/* How a job ended, as far as guest memory goes. */
enum eng_end {
	ENG_END_NONE,  /* the holder has not said */
	ENG_END_OLD,   /* everything is what it was before, a retired payload apart */
	ENG_END_NEW,   /* everything is in place */
	ENG_END_ALIEN, /* undone, apart from words that somebody else has changed since */
	ENG_END_TORN,  /* undoing failed: the guest must not run */
};

/* Stores between two looks at the deadline. */
#define ENG_BATCH 256u

/* Lies in memory shared by holder and watchdog. */
struct eng_progress {
	uint32_t phase; /* enum eng_phase, atomic */
	uint32_t begun; /* stores begun: 1 the area, 1 + i step i */
	uint32_t end;   /* enum eng_end; valid from ENG_LEAVING on */
	int cause;      /* why the end is not NEW */
	int resumed;    /* what vp_resume said; valid in ENG_DONE */
	bool mixed;     /* repair found old and new words side by side */
	struct diag diag;
	uint64_t held_at, last_store_at, free_at;
};

struct eng_window {
	struct vp_target *t;
	struct vp_paused *p; /* while it is held; NULL: it runs, see live.c */
	const struct eng_txn *txn;
	const struct eng_view *view;
	struct eng_progress *prog;
	uint64_t deadline;
	vp_gva_t *pcs; /* one a vCPU */
	unsigned vcpus;
	uint8_t *scratch; /* txn->area.len bytes */
	struct vp_io io[ENG_BATCH];
};

/* Ahead of the hold: notes what the window will read, so that it reads all of it at once. */
void eng_window_rehearse(struct eng_window *w);

/*
 * Verifies everything, then stores, reads back and syncs. On failure what was stored is put back
 * within the same hold. Returns how it ended; cause and words are in prog.
 * ENG_END_NONE: the watchdog has taken over, touch nothing more.
 */
enum eng_end eng_window_change(struct eng_window *w);

/*
 * In a later hold: what another holder left is completed if everything is in place already and
 * put back otherwise. The guest may have run in between, so a payload that is there whole is
 * retired, not erased, and a word that is neither old nor new nor a stage between the two is somebody
 * else's and stays. Records of traps that a live change left are withdrawn.
 */
enum eng_end eng_window_repair(struct eng_window *w);

/* Whether every site and literal holds what the transaction put there; the guest may be running. The step
 * that does not is in *step_ret (may be NULL). */
int eng_sites_agree(struct vp_target *t, const struct eng_txn *txn,
		    const struct eng_step **step_ret) VP_MUST_USE;

#endif
