/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/pages.h"

#include <stdlib.h>
#include <string.h>

#include "vmm-agent/driver.h"

void pages_deinit(struct pages *p)
{
	free(p->no);
	free(p->io);
	free(p->copy);
	memset(p, 0, sizeof(*p));
}

static void note_one(struct pages *p, uint64_t no)
{
	/* Reads come in runs: most repeat the page before. */
	if (p->failed || (p->n > 0 && p->no[p->n - 1] == no))
		return;
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 64;
		uint64_t *more = reallocarray(p->no, cap, sizeof(*more));

		if (!more) {
			p->failed = true;
			return;
		}
		p->no = more;
		p->cap = cap;
	}
	p->no[p->n++] = no;
}

void pages_note(struct pages *p, vp_gpa_t at, size_t len)
{
	if (len == 0)
		return;
	for (uint64_t no = at.v / PAGES_SIZE; no <= (at.v + len - 1) / PAGES_SIZE; no++)
		note_one(p, no);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_unique(struct pages *p)
{
	size_t to = 0;

	qsort(p->no, p->n, sizeof(*p->no), by_number);
	for (size_t i = 0; i < p->n; i++)
		if (to == 0 || p->no[to - 1] != p->no[i])
			p->no[to++] = p->no[i];
	p->n = to;
}

bool pages_seal(struct pages *p)
{
	if (p->failed || p->n == 0)
		return false;
	sort_unique(p);
	p->copy = malloc(p->n * PAGES_SIZE);
	p->io = calloc(p->n, sizeof(*p->io));
	if (!p->copy || !p->io)
		return false;
	for (size_t i = 0; i < p->n; i++) {
		struct vp_io *last = p->n_io ? &p->io[p->n_io - 1] : NULL;

		if (last && p->no[i] == p->no[i - 1] + 1) {
			last->len += PAGES_SIZE;
			continue;
		}
		p->io[p->n_io++] = (struct vp_io){vp_gpa(p->no[i] * PAGES_SIZE),
						  p->copy + i * PAGES_SIZE, PAGES_SIZE};
	}
	return true;
}

static const uint8_t *find(const struct pages *p, uint64_t no)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->no[mid] == no)
			return p->copy + mid * PAGES_SIZE;
		if (p->no[mid] < no)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

bool pages_get(const struct pages *p, vp_gpa_t at, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (!p->loaded)
		return false;
	while (len > 0) {
		const uint8_t *page = find(p, at.v / PAGES_SIZE);
		size_t off = (size_t)(at.v % PAGES_SIZE);
		size_t run = PAGES_SIZE - off < len ? PAGES_SIZE - off : len;

		if (!page)
			return false;
		memcpy(to, page + off, run);
		to += run;
		at.v += run;
		len -= run;
	}
	return true;
}
