/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was measured: as JSON, as data for a plot, and as words beside what it should be. */
#ifndef VP_TESTS_BENCH_REPORT_H
#define VP_TESTS_BENCH_REPORT_H

#include "tests/bench/rig.h"

#define SERIES_MAX 256

struct series {
	enum bare_vmm vmm;
	unsigned vcpus, busy;
	enum op op;
	unsigned sites;
	bool judged; /* false: more busy vCPUs than cores measure the scheduler */
	struct samples samples;
};

struct report {
	struct series series[SERIES_MAX];
	unsigned n;
	unsigned rounds, passes;
	uint64_t took_ns;
};

/* NULL when it is not there. */
const struct series *report_find(const struct report *r, const struct series *like);
/* Made when it is not there; NULL when there are too many. */
struct series *report_series(struct report *r, const struct series *like);

/* DIR/window.json, window.csv (every sample) and window.dat; false with words on stderr. */
bool report_write(const struct report *r, const char *dir);

/* The table and the targets, on stdout. */
void report_print(const struct report *r);

#endif
