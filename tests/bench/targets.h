/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the window should be, beside what it is. */
#ifndef VP_TESTS_BENCH_TARGETS_H
#define VP_TESTS_BENCH_TARGETS_H

#include "tests/bench/report.h"

#define TARGETS_MAX 16

struct target {
	const char *name;  /* with its unit, for machines */
	const char *words; /* for people */
	double most;       /* 0: nothing is asked of it */
	double figure;
};

/* Those whose series were measured; how many. */
unsigned targets_of(const struct report *r, struct target ret[TARGETS_MAX]);

#endif
