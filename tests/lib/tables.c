// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>
#include <stdlib.h>

#include "protocol/bytes.h"
#include "tests/lib/tables.h"

static void one_entry_only(vp_gpa_t at, size_t len)
{
	if (len == 8 && !(at.v & 7))
		return;
	fprintf(stderr, "tables: a walk fetched %zu bytes at %#llx\n", len,
		(unsigned long long)at.v);
	abort();
}

void tables_set(struct tables *t, uint64_t at, uint64_t entry)
{
	unsigned i;

	for (i = 0; i < t->n; i++)
		if (t->e[i].at == at)
			break;
	if (i == TABLES_MAX)
		abort();
	if (i == t->n)
		t->n++;
	t->e[i].at = at;
	t->e[i].entry = entry;
}

int tables_fetch(void *ctx, vp_gpa_t at, void *buf, size_t len)
{
	struct tables *t = ctx;

	one_entry_only(at, len);
	if (++t->reads == t->fail_at)
		return t->fail_with;
	for (unsigned i = 0; i < t->n; i++) {
		if (t->e[i].at != at.v)
			continue;
		vp_st64(buf, t->e[i].entry);
		return VP_OK;
	}
	return VP_E_RANGE;
}

int tables_fetch_random(void *ctx, vp_gpa_t at, void *buf, size_t len)
{
	uint64_t *seed = ctx;
	uint64_t v;

	one_entry_only(at, len);
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	v = *seed;
	if (v >> 60) /* mostly present, and with clear reserved bits */
		v = (v & 0x0000ffffc0000f7cull) | 3 | (v >> 61 == 7 ? 0x80 : 0);
	vp_st64(buf, v);
	return VP_OK;
}
