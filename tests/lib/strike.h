/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals to a vpatch that changes a guest, at an instant chosen by its window. The command is
 * traced only until its holder exists; from strike_go on both run as they would by themselves, and
 * the page that they share is seen here too, whoever of them lives.
 */
#ifndef VP_TESTS_LIB_STRIKE_H
#define VP_TESTS_LIB_STRIKE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm-agent/engine/window.h"

enum strike_role { STRIKE_HOLDER, STRIKE_MAIN, STRIKE_BOTH, STRIKE_ROLES };

enum strike_step {
	STRIKE_BEFORE,  /* vCPUs are being held, perhaps some are already */
	STRIKE_HELD,    /* all are, nothing is stored yet */
	STRIKE_BETWEEN, /* some stores are begun */
	STRIKE_STORED,  /* the last store is begun */
	STRIKE_LEAVING, /* they are being let go */
	STRIKE_AFTER,
	STRIKE_STEPS,
};

struct strike {
	pid_t main, holder;
	bool holder_lives;               /* as far as anybody has waited for it */
	const struct eng_progress *prog; /* shared with both; NULL: there was no holder */
	uint64_t went;                   /* when strike_go was called */
	bool stepped;                    /* the holder is stopped at a system call */
	bool ended;                      /* the command; then: */
	int status;
	bool vmm_ended;
};

const char *strike_role_name(enum strike_role role);
const char *strike_step_name(enum strike_step step);

/* Orphans of killed commands are to come to us. Idempotent. */
bool strike_init(void);

/* Runs argv, output into the file (NULL: ours), until its holder is about to hold. False: there was none, and
 * s->ended says whether the command came to its end by itself. */
bool strike_begin(struct strike *s, const char *const *argv, const char *out);
/* Lets both run. Until strike_over we have a processor for ourselves, if there are two. */
void strike_go(struct strike *s);
void strike_over(void);
/* In place of strike_go: the command runs, the holder stops where its nth system call begins or ends
 * (entry and exit count one each) and takes its signal there. False: it has come to its end. */
bool strike_go_to(struct strike *s, unsigned n);
bool strike_on(struct strike *s); /* one step further */
void strike_send(struct strike *s, enum strike_role role, int sig);

/* What the page says now; stores is its `begun` after the last one. */
enum strike_step strike_look(const struct strike *s, uint32_t stores);
/* Waits, without sleeping, for a phase or one behind it. False: time is over. */
bool strike_await(const struct strike *s, uint32_t phase, uint64_t until);

/* Waits until nothing but the VMM is left of our children. False: something was, and is killed. */
bool strike_end(struct strike *s, pid_t vmm, uint64_t until);

/* Runs argv to its end: its exit code, 128 and more for a signal. */
int strike_run(const char *const *argv, const char *out);

#endif
