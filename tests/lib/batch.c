// SPDX-License-Identifier: LGPL-2.1-or-later
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/batch.h"
#include "tests/lib/dis.h"

#define SAMPLES 6000

uint64_t batch_rnd(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

void batch_init(struct batch *b, enum arch_id arch, uint64_t vma, size_t cap)
{
	memset(b, 0, sizeof(*b));
	b->arch = arch;
	b->vma = vma;
	b->cap = cap * ARCH_VENEER_MAX;
	b->code = calloc(1, b->cap);
	b->text = calloc(cap * ARCH_VENEER_MAX / 2, sizeof(*b->text));
	assert_non_null(b->code);
	assert_non_null(b->text);
}

vp_gva_t batch_at(const struct batch *b)
{
	return vp_gva(b->vma + b->len);
}

uint8_t *batch_room(struct batch *b)
{
	assert_true(b->cap - b->len >= ARCH_VENEER_MAX);
	return b->code + b->len;
}

void batch_take(struct batch *b, unsigned len, const char *fmt, ...)
{
	char text[512], *save = NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *s = strtok_r(text, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
		snprintf(b->text[b->n++], sizeof(b->text[0]), "%s", s);
	b->len += len;
}

static void compare(void *ctx, const struct dis_insn *insn)
{
	struct batch *b = ctx;

	assert_true(b->seen < b->n);
	if (strcmp(insn->text, b->text[b->seen]))
		print_message("at %#" PRIx64 ": ", insn->at);
	assert_string_equal(insn->text, b->text[b->seen]);
	b->seen++;
}

void batch_check(struct batch *b)
{
	dis_bytes(b->arch, b->code, b->len, b->vma, compare, b);
	assert_int_equal(b->seen, b->n);
	free(b->code);
	free(b->text);
}

int64_t batch_distance(uint64_t *rng, unsigned i, int64_t lo, int64_t hi, unsigned align)
{
	int64_t step = align;
	const int64_t first[] = {lo, hi, lo + step, hi - step, 0, step, -step};
	const unsigned n = sizeof(first) / sizeof(first[0]);
	int64_t v;

	if (i < n)
		return first[i];
	if (i < n + 64) {
		v = (int64_t)(1ull << (i - n) / 2);
		v = i & 1 ? v : -v;
	} else {
		v = lo + (int64_t)(batch_rnd(rng) % (uint64_t)(hi - lo));
	}
	v &= -step;
	return v < lo ? lo : v > hi ? hi : v;
}

void batch_branches(enum arch_id id, uint64_t vma, bool call, const char *mnemonic, int64_t lo,
		    int64_t hi)
{
	const struct arch_ops *a = arch_get(id);
	uint64_t rng = 0x243f6a8885a308d3ull; /* the same sequence in every run */
	struct batch b;

	batch_init(&b, id, vma, SAMPLES);
	for (unsigned i = 0; i < SAMPLES; i++) {
		vp_gva_t at = batch_at(&b);
		int64_t d = batch_distance(&rng, i, lo, hi, a->insn_align);
		vp_gva_t to = vp_gva(at.v + (uint64_t)d);
		uint8_t *room = batch_room(&b);
		struct arch_insn insn;
		unsigned len = 0;
		int r = call ? a->call(room, at, to, &len) : a->branch(room, at, to, &len);

		assert_int_equal(r, VP_OK);
		assert_int_equal(a->decode(room, len, at, &insn), VP_OK);
		assert_int_equal(insn.kind, call ? ARCH_INSN_CALL : ARCH_INSN_BRANCH);
		assert_int_equal(insn.target.v, to.v);
		assert_int_equal(insn.len, len);
		batch_take(&b, len, "%s %#" PRIx64, mnemonic, to.v);
	}
	batch_check(&b);
}

void batch_refused(enum arch_id id, uint64_t at, uint64_t to, int err)
{
	const struct arch_ops *a = arch_get(id);
	uint8_t buf[ARCH_INSN_MAX], before[ARCH_INSN_MAX];
	unsigned len = 77;

	memset(buf, 0xa5, sizeof(buf));
	memset(before, 0xa5, sizeof(before));
	assert_int_equal(a->branch(buf, vp_gva(at), vp_gva(to), &len), err);
	assert_int_equal(a->call(buf, vp_gva(at), vp_gva(to), &len), err);
	assert_int_equal(len, 77);
	assert_memory_equal(buf, before, sizeof(buf));
}
