/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Instructions that an encoder made, each with the text that objdump must print for it. */
#ifndef VP_TESTS_LIB_BATCH_H
#define VP_TESTS_LIB_BATCH_H

#include "arch/arch.h"

struct batch {
	enum arch_id arch;
	uint64_t vma;
	uint8_t *code;
	char (*text)[64];
	size_t len, cap;
	size_t n, seen;
};

/* Room for cap instructions or veneers. */
void batch_init(struct batch *b, enum arch_id arch, uint64_t vma, size_t cap);
/* Where the next instruction lies, as the guest sees it, and here. */
vp_gva_t batch_at(const struct batch *b);
uint8_t *batch_room(struct batch *b);
/* Takes len bytes at batch_room(); one line of text an instruction, separated by newlines. */
void batch_take(struct batch *b, unsigned len, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Fails the test unless objdump agrees with all of it; gives the memory back. */
void batch_check(struct batch *b);

/*
 * The i-th distance from an instruction's own start that a branch must reach: both ends of
 * [lo, hi], around zero, every power of two, then a sample of the rest, in steps of align.
 */
int64_t batch_distance(uint64_t *rng, unsigned i, int64_t lo, int64_t hi, unsigned align);
uint64_t batch_rnd(uint64_t *rng);

/* Branches or calls over all of [lo, hi]; decode must read them back. */
void batch_branches(enum arch_id id, uint64_t vma, bool call, const char *mnemonic, int64_t lo,
		    int64_t hi);
/* Branch and call answer err and write nothing. */
void batch_refused(enum arch_id id, uint64_t at, uint64_t to, int err);

#endif
