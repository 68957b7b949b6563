/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/base/steady.h"

#include <sys/mman.h>

void steady_begin(struct steady *s, int priority)
{
	struct sched_param param = {.sched_priority = priority};

	s->policy = sched_getscheduler(0);
	if (s->policy >= 0 && sched_getparam(0, &s->param) < 0)
		s->policy = -1;
	if (s->policy >= 0 && sched_setscheduler(0, SCHED_FIFO, &param) < 0)
		s->policy = -1;
}

void steady_end(const struct steady *s)
{
	if (s->policy >= 0)
		(void)!sched_setscheduler(0, s->policy, &s->param);
}

void steady_lock(void)
{
	(void)!mlockall(MCL_CURRENT | MCL_FUTURE);
}
