/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A transaction as data. The planner makes it once; window, undo, watchdog, journal and recover
 * work on this same list and nothing computes it again.
 *
 * steps[] are stored in their order. Two steps may change the same word one after the other (the
 * state of a ledger record goes applied, reverting, reverted): they form a chain, and a word of
 * a chain that is not reached yet holds the old value of an earlier link.
 *
 * area is a piece of the arena that holds nothing but filler before and a ledger record with its
 * payload after; it is written ahead of all steps. A step inside it (the record's own state word)
 * finds there what the area has just put.
 *
 * A transaction is live when its sites and literals have another discipline than stop; then all of them
 * have, and the tracer's records stay as they are. A site whose discipline takes a literal with it has that
 * literal's edit in the step behind its own. State words are nobody's but ours: they are `stop` always.
 */
#ifndef VP_ENGINE_TXN_H
#define VP_ENGINE_TXN_H

#include "vmm-agent/engine/engine.h"

#define ENG_STEPS_MAX   (2 * VP_LEDGER_EDITS_MAX + 8)
#define ENG_QUIET_MAX   4
#define ENG_LOCATOR_MAX 256
#define ENG_HOST_BOOT   40         /* /proc/sys/kernel/random/boot_id and its NUL */
#define ENG_TXN_MAX     (4u << 20) /* bytes of one serialised */

enum eng_op { ENG_OP_APPLY = 1, ENG_OP_REVERT = 2 };

struct eng_area {
	vp_gva_t gva;
	vp_gpa_t gpa;
	uint32_t len; /* 0: the transaction writes no area */
	uint8_t *old, *new;
};

/* The record in which a guest's trap handler finds one trap: VP_TRAP_RECORD bytes, protocol/sites_abi.h. */
struct eng_trap {
	vp_gva_t gva; /* 0: none */
	vp_gpa_t gpa;
};

struct eng_step {
	struct eng_edit e;
	struct eng_trap
		trap; /* of discipline trap; several steps may use one, one after the other */
	bool literal; /* of a site: the next step is its literal */
	int32_t prev; /* the earlier step at the same address, -1 if none */
	bool last;    /* no later step at the same address */
	bool in_area;
};

struct eng_txn {
	enum eng_op op;
	struct vp_identity id;
	uint8_t boot_id[16];           /* of the guest */
	char host_boot[ENG_HOST_BOOT]; /* pids and start times mean something within one of these */
	bool was_running;              /* what the guest was found as, and is to be left as */
	char locator[ENG_LOCATOR_MAX];
	char name[VP_LEDGER_NAME], version[VP_LEDGER_VERSION_LEN];
	struct eng_area area;
	struct eng_step *steps;
	uint32_t n_steps;
	struct guest_quiet quiet[ENG_QUIET_MAX];
	uint32_t n_quiet;
};

/* Zeroed, with room for ENG_STEPS_MAX steps. NULL without memory. */
struct eng_txn *eng_txn_create(enum eng_op op);
void eng_txn_destroy(struct eng_txn *txn);

/* Room for an area of len bytes. VP_E_NOMEM, VP_E_RANGE. */
int eng_txn_area(struct eng_txn *txn, vp_gva_t gva, vp_gpa_t gpa, uint32_t len) VP_MUST_USE;
/* Appends a step; symbol may be NULL. VP_E_RANGE when it is full or the edit impossible. */
int eng_txn_add(struct eng_txn *txn, const struct vp_edit *edit, const char *symbol) VP_MUST_USE;
/* The literal of the site that was added last. */
int eng_txn_add_literal(struct eng_txn *txn, const struct vp_edit *edit,
			const char *symbol) VP_MUST_USE;
/* A step that changes a record's state word. */
int eng_txn_add_state(struct eng_txn *txn, vp_gva_t record, vp_gpa_t gpa, uint64_t from,
		      uint64_t to) VP_MUST_USE;
/* After the last step: finds chains and checks that they hang together. VP_E_INTERNAL when steps
 * overlap or a chain does not go on where it stopped. */
int eng_txn_finish(struct eng_txn *txn) VP_MUST_USE;

/* A site, or a literal. */
bool eng_step_is_word(const struct eng_step *step);
/* Whether the guest runs while it is carried out. */
bool eng_txn_live(const struct eng_txn *txn);

/* The oldest format that can express it: 1, or 2 for one that is live or has a literal. */
uint32_t eng_txn_version(const struct eng_txn *txn);
/* Serialised in that format, little-endian, layout in txn.c. *buf_ret is malloc'ed. */
int eng_txn_encode(const struct eng_txn *txn, uint8_t **buf_ret, size_t *len_ret) VP_MUST_USE;
/* VP_E_JOURNAL for anything that eng_txn_encode would not have written. */
int eng_txn_decode(uint32_t version, const uint8_t *buf, size_t len,
		   struct eng_txn **ret) VP_MUST_USE;

/* The words for one step: "version_proc_show", "the tracer's record of X", "the ledger". */
const char *eng_step_place(const struct eng_step *step, char *buf, size_t len);

#endif
