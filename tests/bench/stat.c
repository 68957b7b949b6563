// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/bench/stat.h"

#include <math.h>
#include <stdlib.h>

const char *const stat_field_name[FIELDS] = {
	[WINDOW] = "window_ns",
	[TOTAL] = "total_ns",
	[GAP] = "guest_gap_ns",
};

static uint64_t get(const struct sample *s, enum field field)
{
	switch (field) {
	case WINDOW:
		return s->window_ns;
	case TOTAL:
		return s->total_ns;
	default:
		return s->gap_ns;
	}
}

bool stat_add(struct samples *s, const struct sample *sample)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 256;
		struct sample *v = realloc(s->v, cap * sizeof(*v));

		if (!v)
			return false;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = *sample;
	return true;
}

void stat_deinit(struct samples *s)
{
	free(s->v);
	*s = (struct samples){.n = 0};
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

uint64_t *stat_sorted(const struct samples *s, enum field field)
{
	uint64_t *v = s->n ? malloc(s->n * sizeof(*v)) : NULL;

	for (size_t i = 0; v && i < s->n; i++)
		v[i] = get(&s->v[i], field);
	if (v)
		qsort(v, s->n, sizeof(*v), by_value);
	return v;
}

static uint64_t quantile(const uint64_t *v, size_t n, double q)
{
	size_t i = (size_t)ceil(q * (double)n);

	return v[i > 0 ? i - 1 : 0];
}

struct figures stat_of(const struct samples *s, enum field field)
{
	uint64_t *v = stat_sorted(s, field);
	struct figures f = {.n = 0};
	double spread;

	if (!v)
		return f;
	/* Ranks around the median: binomial, by its normal approximation. */
	spread = 1.96 * 0.5 / sqrt((double)s->n);
	f = (struct figures){
		.n = s->n,
		.min = v[0],
		.p10 = quantile(v, s->n, 0.1),
		.median = quantile(v, s->n, 0.5),
		.p90 = quantile(v, s->n, 0.9),
		.p99 = quantile(v, s->n, 0.99),
		.max = v[s->n - 1],
		.low = quantile(v, s->n, spread < 0.5 ? 0.5 - spread : 0),
		.high = quantile(v, s->n, spread < 0.5 ? 0.5 + spread : 1),
	};
	free(v);
	return f;
}
