/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* kallsyms of a synthetic kernel: a list of symbols, and the tables that scripts/kallsyms.c makes. */
#ifndef VP_TESTS_LIB_GUESTSYMS_H
#define VP_TESTS_LIB_GUESTSYMS_H

#include <stdbool.h>
#include <stdint.h>

struct guestsym {
	uint64_t addr;
	char text[64]; /* type and name */
};

struct guestsyms {
	struct guestsym *s;
	unsigned n, room;
};

/* Where the tables are to stand. */
struct guestsyms_to {
	uint8_t *num, *names, *tokens, *index, *offsets, *base;
};

void guestsyms_init(struct guestsyms *s, unsigned room);
void guestsyms_deinit(struct guestsyms *s);

__attribute__((format(printf, 3, 4))) void guestsyms_add(struct guestsyms *s, uint64_t addr,
							 const char *fmt, ...);

/* Sorts by address, of two at one address the first stays the first, and writes. percpu: an address
 * below 4096 stays itself and the others count from base downwards (ABSOLUTE_PERCPU). */
void guestsyms_write(struct guestsyms *s, uint64_t base, bool percpu,
		     const struct guestsyms_to *to);

#endif
