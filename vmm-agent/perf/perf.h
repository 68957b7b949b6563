/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The edits of one change as a perf.data file of the guest: what `perf record` inside the guest would
 * have got, had the guest's kernel changed its text itself. docs/perf.md says what perf makes of it.
 */
#ifndef VP_PERF_PERF_H
#define VP_PERF_PERF_H

#include "vmm-agent/engine/engine.h"

#define PERF_BUILD_ID_MAX 20     /* bytes; perf keeps no more (tools/perf/util/build-id.h) */
#define PERF_CHUNK        32768u /* bytes of one text poke: a record's size is a u16 */

struct perf_src {
	const struct eng_report *report; /* of a change that has been made, or had been before */
	const char *host;                /* what the file calls the guest */
	unsigned vcpus;
	uint64_t wall_ns, clock_ns; /* CLOCK_REALTIME and CLOCK_MONOTONIC of one moment */
};

/*
 * The whole file, little-endian as every guest is; *buf_ret is malloc'ed. VP_E_RANGE for a report
 * that no engine makes (an edit longer than VP_EDIT_MAX, text that ends before it begins),
 * VP_E_NOMEM.
 */
int perf_encode(const struct perf_src *src, uint8_t **buf_ret, size_t *len_ret) VP_MUST_USE;

#endif
