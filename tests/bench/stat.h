/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Samples and what can be said of them without believing in a distribution. */
#ifndef VP_TESTS_BENCH_STAT_H
#define VP_TESTS_BENCH_STAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sample {
	uint64_t window_ns; /* first vCPU held to last one released */
	uint64_t total_ns;  /* of the whole operation, what needs no hold included */
	uint64_t gap_ns; /* the longest that a guest CPU stood still meanwhile; 0: none is busy */
};

struct samples {
	struct sample *v;
	size_t n, cap;
	unsigned failed; /* operations without a sample */
};

enum field { WINDOW, TOTAL, GAP, FIELDS };

extern const char *const stat_field_name[FIELDS];

struct figures {
	size_t n;
	uint64_t min, p10, median, p90, p99, max;
	uint64_t low, high; /* where the median of such runs lies, 95 of 100 times */
};

bool stat_add(struct samples *s, const struct sample *sample);
void stat_deinit(struct samples *s);

/* The values of one field in ascending order, malloc'ed; NULL when there are none. */
uint64_t *stat_sorted(const struct samples *s, enum field field);

/* All zero when there are none. */
struct figures stat_of(const struct samples *s, enum field field);

#endif
