/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plan, apply, revert, status and recover, in the order that docs/design.md gives. The engine knows
 * a target through the seam, a kernel through guest/, a bundle through hotfix/; it names no driver,
 * no libvirt, no KVM, and it prints nothing.
 */
#ifndef VP_ENGINE_ENGINE_H
#define VP_ENGINE_ENGINE_H

#include "protocol/edit.h"
#include "protocol/ledger.h"
#include "vmm-agent/guest/guest.h"
#include "vmm-agent/hotfix/hotfix.h"
#include "vmm-agent/target.h"

#define ENG_NOTES_MAX 8

/* Where the engine keeps its own files. Made (0700) when missing. */
struct eng_dirs {
	const char *state_dir; /* journals: state_dir/journal/PID-START.vpj */
	const char *run_dir;   /* locks: run_dir/lock/PID-START */
};

struct eng_opts {
	struct eng_dirs dirs;
	uint64_t window_ns; /* the longest window; past it everything is put back */
	bool dry_run;
	bool allow_downgrade;
	bool unsigned_ok; /* the bundle came without a trusted signature and was let in; recorded */
	enum vp_discipline discipline; /* named by hand; 0: the least disturbing that is right */
	bool text_poke_events;         /* are wanted of this change: then `word` is never picked */
	/* Where the guest's locks cannot be read: until the sites are looked at again; 0: a second */
	uint64_t settle_ns;
};

/* One changed word, for people and --json: the planner's edit and what it belongs to. */
struct eng_edit {
	struct vp_edit edit;
	char symbol[HF_SYMBOL_MAX]; /* function of a site */
	/* CLOCK_MONOTONIC ns when the word changed: under stop the window's last store; live the moment of
	 * the text poke event where the program has one, else that of the store. 0: it did not */
	uint64_t poked_at;
};

struct eng_report {
	bool changed;
	char name[VP_LEDGER_NAME], version[VP_LEDGER_VERSION_LEN];
	char replaced_version
		[VP_LEDGER_VERSION_LEN]; /* of the hotfix this one took the place of; "" */
	bool inline_unchecked, unsigned_ok;
	vp_gva_t payload; /* where the payload lies or would lie */
	uint32_t payload_len;
	bool live; /* the guest runs while its words change; each edit says how */
	char why_stop
		[256]; /* why nothing less than stop was right; "" where stop was named, or live */
	uint64_t window_ns; /* first vCPU held to last one released; 0 when there was none */
	uint64_t mixed_ns;  /* how long the set was mixed while the guest ran; 0 normally */
	uint64_t arena_free;
	struct eng_edit *edits; /* malloc'ed by the engine */
	size_t n_edits;
	char notes[ENG_NOTES_MAX][256]; /* what the user should know although it worked */
	size_t n_notes;
};

void eng_report_deinit(struct eng_report *r);

/*
 * All return VP_OK when the guest is in the wanted state, else the reason; the report is filled as
 * far as things went and must be deinited in every case.
 *
 * A hotfix that is applied already: VP_OK, changed false, no window.
 */
int eng_apply(struct vp_target *t, const struct hf_bundle *b, const struct eng_opts *opts,
	      struct diag *diag, struct eng_report *report) VP_MUST_USE;
int eng_revert(struct vp_target *t, const char *name, const struct eng_opts *opts,
	       struct diag *diag, struct eng_report *report) VP_MUST_USE;

/* --- status --------------------------------------------------------------------------------------- */

enum eng_state {
	ENG_APPLIED,
	ENG_REVERTED, /* retired: its payload stays in the arena */
	ENG_PARTIAL,  /* words of both kinds, or the record says a change was under way */
	ENG_SHADOWED, /* applied, but the guest's own patcher has taken a site since */
	ENG_ALTERED,  /* a site holds neither its old nor its new bytes */
};

struct eng_hotfix {
	struct vp_ledger l;   /* decoded; points into the list's bytes */
	enum eng_state state; /* of the bytes, not of the record's word */
	char fixes[VP_LEDGER_TEXT_MAX + 1];
	struct eng_edit *edits;
	char words[256]; /* who has taken what, for SHADOWED, PARTIAL and ALTERED; else "" */
};

struct eng_list {
	struct guest_arena arena;
	struct eng_hotfix *hotfixes;
	size_t n;
	bool pending; /* the journal has an open entry for this VM: vpatch recover */
};

/* What the ledger holds and whether the bytes agree. name NULL: all. VP_E_NOT_APPLIED when name
 * is given and there is no applied hotfix of it; VP_E_PARTIAL, VP_E_SHADOWED when one is so;
 * VP_E_PENDING. The list is filled and must be deinited in all those cases. */
int eng_status(struct vp_target *t, struct guest *g, const char *name, const struct eng_dirs *dirs,
	       struct diag *diag, struct eng_list *ret) VP_MUST_USE;
void eng_list_deinit(struct eng_list *l);
const char *eng_state_name(enum eng_state s);

/* --- recover --------------------------------------------------------------------------------------- */

/* Opens the VM that a journal names. VP_E_NO_DOMAIN when it is gone. */
typedef int (*eng_open_fn)(void *ctx, const char *locator, struct diag *diag,
			   struct vp_target **ret);

enum eng_outcome {
	ENG_NOTHING, /* no change was under way */
	ENG_ROLLED_BACK,
	ENG_COMPLETED, /* everything was in place: the entry was closed as done */
	ENG_GONE,      /* VMM or guest boot is gone: closed */
	ENG_SKIPPED,   /* a living vpatch is at work on it */
	ENG_FAILED,
};

struct eng_recovered {
	char locator[256];
	char name[VP_LEDGER_NAME];
	enum eng_outcome outcome;
	int err; /* of FAILED */
	struct diag diag;
};

/* Finishes or undoes what dead agents left, journal by journal; fn is told of each. Returns the worst. */
int eng_recover(const struct eng_dirs *dirs, eng_open_fn open, void *open_ctx,
		void (*fn)(void *ctx, const struct eng_recovered *r), void *ctx,
		struct diag *diag) VP_MUST_USE;

/* The same for one VMM alone; fn is not called when its journal has nothing open. */
int eng_recover_one(const struct vp_identity *id, const struct eng_dirs *dirs, eng_open_fn open,
		    void *open_ctx, void (*fn)(void *ctx, const struct eng_recovered *r),
		    void *ctx) VP_MUST_USE;

#endif
