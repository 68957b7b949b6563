/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one clock that deadlines and windows are measured by. */
#ifndef VP_BASE_CLOCK_H
#define VP_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_MS  UINT64_C(1000000)
#define CLOCK_NS_PER_SEC UINT64_C(1000000000)

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* What is left until an absolute deadline: 0 once it has passed. */
static inline uint64_t clock_left(uint64_t deadline)
{
	uint64_t now = clock_now();

	return deadline > now ? deadline - now : 0;
}

/* ns after now, without wrapping. */
static inline uint64_t clock_in(uint64_t ns)
{
	uint64_t now = clock_now();

	return ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
}

#endif
