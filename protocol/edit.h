/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * One word at one address. The planner makes a vp_edit once; journal, ledger, events, JSON and
 * disassembly serialise it, nothing computes it again.
 */
#ifndef VP_PROTOCOL_EDIT_H
#define VP_PROTOCOL_EDIT_H

#include "protocol/addr.h"

#define VP_EDIT_MAX 8 /* bytes: one aligned or covering word */

enum vp_edit_kind {
	VP_EDIT_SITE = 1,    /* instruction bytes at a patch site */
	VP_EDIT_TRACER = 2,  /* the guest ftrace's own record of a site (data) */
	VP_EDIT_STATE = 3,   /* the state word of a ledger record */
	VP_EDIT_LITERAL = 4, /* a data word that code loads: 8 bytes, in 32-bit guests 4 */
};

/* How an edit reaches running CPUs; arch/poke.h has the programs. */
enum vp_discipline {
	VP_DISCIPLINE_STOP = 1, /* every vCPU held */
	VP_DISCIPLINE_WORD,     /* one store while they run */
	VP_DISCIPLINE_TRAP,     /* over a trap; who meets it is emulated past it */
	VP_DISCIPLINE_SKIP,     /* over a branch that leads behind the site */
	VP_DISCIPLINE_LITERAL, /* one data word that a dispatcher loads, and one instruction at most */
};

struct vp_edit {
	vp_gva_t gva;
	vp_gpa_t gpa;
	uint8_t kind;             /* enum vp_edit_kind */
	uint8_t discipline;       /* enum vp_discipline */
	uint8_t len;              /* 1 to VP_EDIT_MAX */
	uint8_t old[VP_EDIT_MAX]; /* what must be there before this change */
	uint8_t new[VP_EDIT_MAX]; /* what is there after it */
	uint8_t rest
		[VP_EDIT_MAX]; /* what a revert leaves there: the guest's own bytes. Differs from
				    * old when this change replaces an earlier hotfix */
};

#endif
