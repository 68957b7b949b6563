/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest memory that holds page tables only: a few entries at chosen addresses, all else absent. */
#ifndef VP_TESTS_LIB_TABLES_H
#define VP_TESTS_LIB_TABLES_H

#include "arch/arch.h"

#define TABLES_MAX 64

struct tables {
	struct {
		uint64_t at;
		uint64_t entry;
	} e[TABLES_MAX];
	unsigned n;
	unsigned reads;   /* fetches so far */
	unsigned fail_at; /* the fetch that fails, counted from 1; 0 for none */
	int fail_with;
};

/* Sets or replaces the entry at a guest physical address. */
void tables_set(struct tables *t, uint64_t at, uint64_t entry);

/* An arch_read_fn: VP_E_RANGE where there is no entry. Anything but a naturally aligned entry of
 * eight bytes ends the test. */
int tables_fetch(void *ctx, vp_gpa_t at, void *buf, size_t len);

/* An arch_read_fn on a uint64_t seed: every entry is random, biased to look plausible. */
int tables_fetch_random(void *ctx, vp_gpa_t at, void *buf, size_t len);

#endif
