/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A copy of some pages of guest memory, taken in one go: first which pages are wanted is noted,
 * then they are read. What is decided in a window is decided on such a copy, because one read of
 * ten pages costs a tenth of ten reads.
 */
#ifndef VP_PAGES_H
#define VP_PAGES_H

#include <stddef.h>

#include "protocol/addr.h"
#include "protocol/err.h"

#define PAGES_SIZE 4096u

struct vp_io;

struct pages {
	uint64_t *no; /* page numbers, ascending once sealed */
	size_t n, cap;
	struct vp_io *io; /* runs of adjoining pages, for the driver; made by pages_seal */
	size_t n_io;
	uint8_t *copy;
	bool failed; /* no memory while noting: the set is incomplete and stays unused */
	bool loaded;
};

/* All zero is an empty set. */
void pages_deinit(struct pages *p);
/* Notes the pages of [at, at + len). */
void pages_note(struct pages *p, vp_gpa_t at, size_t len);
/* Makes io and room for the copy. False: nothing was noted, or there is no memory. */
bool pages_seal(struct pages *p);
/* Copies out of a loaded set. False if not all of [at, at + len) is in it. */
bool pages_get(const struct pages *p, vp_gpa_t at, void *buf, size_t len);

#endif
