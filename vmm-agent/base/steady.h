/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For as long as a guest is held: the holder's thread ahead of ordinary ones, its memory in place.
 * Without the rights (CAP_SYS_NICE, CAP_IPC_LOCK) or where a control group forbids it, things stay
 * as they were; a window is then as long as the scheduler makes it.
 */
#ifndef VP_BASE_STEADY_H
#define VP_BASE_STEADY_H

#include <sched.h>

#define STEADY_WATCHER 2 /* real-time priorities: who may have to end the holder is ahead of it */
#define STEADY_HOLDER  1

struct steady {
	int policy; /* -1: nothing was changed */
	struct sched_param param;
};

/* Makes the calling thread SCHED_FIFO of this priority; a fork inherits it. */
void steady_begin(struct steady *s, int priority);
void steady_end(const struct steady *s);

/* Locks all memory of this process for good, so that nothing of it faults. */
void steady_lock(void);

#endif
