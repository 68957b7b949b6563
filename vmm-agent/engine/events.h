/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The text poke events of one VMM: what apply, revert and recover have changed in its guest's text, and
 * when. A file of records of one size, run_dir/events/PID-START, which goes with its VMM:
 *
 *     +0    u32 magic  u32 crc   CRC-32C of what follows
 *     +8    u64 seq              one more than the record's before, also where that was dropped
 *     +16   u64 at_ns  u64 wall_ns
 *     +32   u64 gva  u32 len
 *     +44   u8 op  u8 kind  u8 discipline  u8 0
 *     +48   old[8]  new[8]
 *     +64   name[64]  version[32]  symbol[256], each with its NUL
 *
 * Writers hold the VMM's lock; readers hold nothing and take what checks: the first record that does
 * not ends the file for them, and the next writer cuts it off. Nothing is made durable: after the host's
 * own crash there is no VMM left that the file could be about.
 */
#ifndef VP_ENGINE_EVENTS_H
#define VP_ENGINE_EVENTS_H

#include "vmm-agent/engine/engine.h"

#define ENG_EVENT_SIZE 416u
#define ENG_EVENTS_MAX 4096u /* records of a file; then the older half is dropped */

enum eng_event_op { ENG_EVENT_APPLY = 1, ENG_EVENT_REVERT, ENG_EVENT_RECOVER };
enum eng_event_kind { ENG_EVENT_SITE = 1, ENG_EVENT_PAYLOAD };

struct eng_event {
	uint64_t seq;
	uint64_t at_ns, wall_ns; /* CLOCK_MONOTONIC and CLOCK_REALTIME of one moment */
	vp_gva_t gva;
	uint32_t len;
	uint8_t op, kind;                           /* enum eng_event_op, eng_event_kind */
	uint8_t discipline;                         /* enum vp_discipline; 0 of a payload */
	uint8_t old[VP_EDIT_MAX], new[VP_EDIT_MAX]; /* of a site; a payload's are in the guest */
	char name[VP_LEDGER_NAME], version[VP_LEDGER_VERSION_LEN];
	char symbol[HF_SYMBOL_MAX];
};

/* What one change did. */
struct eng_poked {
	enum eng_event_op op;
	const char *name, *version;
	vp_gva_t payload;
	uint32_t payload_len; /* 0: none was written */
	const struct eng_edit *edits;
	size_t n_edits;
	bool undone; /* the edits were taken back: what they call new was old */
};

/* Adds them to the VMM's file and takes away those of VMMs that are gone. Under the VMM's lock. */
int eng_events_add(const char *run_dir, const struct vp_identity *id, const struct eng_poked *what,
		   struct diag *diag) VP_MUST_USE;

/* Calls fn for every event behind the one of that seq (0: for all), in their order. No file: none. */
int eng_events_read(const char *run_dir, const struct vp_identity *id, uint64_t after,
		    void (*fn)(void *ctx, const struct eng_event *ev), void *ctx,
		    struct diag *diag) VP_MUST_USE;

/* Where the files are; made if missing. Whoever waits for events watches it. */
int eng_events_dir(const char *run_dir, char *path, size_t len, struct diag *diag) VP_MUST_USE;

/* Takes away the files of VMMs that are gone. */
void eng_events_sweep(const char *run_dir);

#endif
