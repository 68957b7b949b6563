/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Closing the circle around one candidate: what makes a page that starts "OSRELEASE=" the running
 * kernel's. Private to guest/: open.c searches, circle.c judges.
 */
#ifndef VMM_AGENT_GUEST_CIRCLE_H
#define VMM_AGENT_GUEST_CIRCLE_H

#include "vmm-agent/guest/internal.h"

/* How far a candidate came: its failure is worth more words the further it got. */
enum stage { STAGE_NONE, STAGE_PARSED, STAGE_LAID_OUT, STAGE_REGISTERS, STAGE_SYMBOLS };

struct search {
	struct vp_target *t;
	const struct arch_ops *ops;
	const struct guest_layout *layout;
	struct mem_cache *cache;
	bool have_regs;  /* regs translate addresses */
	bool paging_off; /* registers could be read, and no vCPU's did */
	struct arch_regs regs;
	unsigned vcpu; /* whose they are */
	unsigned unpacked;
	enum stage best; /* of the candidates that failed, */
	int best_err;    /* the one that came furthest */
	struct diag best_diag;
};

/* One candidate that is being looked at. */
struct look {
	struct search *s;
	struct guest *g;
	enum stage stage;
	bool writable; /* a page that should be read-only is not */
	struct diag diag;
};

/*
 * Looks at the page k->g->info.vmcoreinfo and fills k->g. k->stage says how far it came, k->diag
 * why it failed. VP_OK: it is the running kernel's. The target's errors are passed on.
 */
int circle_close(struct look *k) VP_MUST_USE;

#endif
