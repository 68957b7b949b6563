/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ledger record held against the bytes that are there now. The record is the guest's word; what
 * is believed of it is what the guest kernel's own text confirms.
 */
#ifndef VP_ENGINE_RECORD_H
#define VP_ENGINE_RECORD_H

#include "vmm-agent/engine/engine.h"
#include "vmm-agent/engine/window.h"

#define ENG_ENTRY_BYTES 32 /* of a function's start, that its patchable entry lies in */

enum eng_word { ENG_WORD_NEW, ENG_WORD_REST, ENG_WORD_OTHER };

/* One site or literal of a record, now. */
struct eng_site {
	struct vp_edit e; /* gpa by a walk just made; old is what is there now */
	char symbol[HF_SYMBOL_MAX];
	enum eng_word word;
	/* The record's resting bytes are this function's own patchable entry, and its new ones a branch
	 * into its payload; or the site table has them too: only then may they be written back without journal or bundle. */
	bool trusted;
	struct arch_entry entry; /* of the resting bytes; valid when trusted */
	/* Of a literal: the site that goes with it, 0 if the table has none. */
	vp_gva_t owner;
	unsigned owner_len;
};

/* A record, looked at as a whole. */
struct eng_look {
	enum eng_state state;
	char words[256];
	uint32_t n_new, n_rest, n_other; /* of its sites */
};

/* VP_E_UNMAPPED, VP_E_RANGE when the site is not guest kernel text. */
int eng_site_read(struct guest *g, const struct vp_ledger *l, const struct vp_edit *e,
		  struct eng_site *ret) VP_MUST_USE;
int eng_record_look(struct guest *g, const struct guest_record *rec,
		    struct eng_look *ret) VP_MUST_USE;

/* Of a record: a site, or a literal. */
bool eng_edit_is_word(const struct vp_edit *e);
/* The stub's table, where a record needs it to be believed: those with a literal do. */
int eng_need_table(struct guest *g, const struct guest_arena *arena, unsigned flags,
		   struct diag *diag) VP_MUST_USE;

/* A hotfix that is applied or half so: anything but reverted. */
bool eng_record_live(const struct guest_record *rec);

/* The guest kernel as the window sees it. */
struct eng_view eng_view_of(struct guest *g);

#endif
