// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm-agent/guest/exports.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"

#define NAME_MAX_LEN 511u /* as kallsyms has it: KSYM_NAME_LEN less the NUL */
#define TABLES_MAX   2u
#define ALIASES_MAX  256u /* symbols of one address */

struct finder {
	const struct exports_raw *raw;
	const struct kallsyms *ks;
	size_t work; /* bytes of names that may still be looked at */
	size_t entries, cap, text_len, text_cap;
	unsigned tables;
	struct exports ex;
};

struct entry {
	uint64_t value;
	const char *name; /* ended by a NUL, in the copy */
	size_t name_len;
};

/* --- one entry ---------------------------------------------------------------------------------- */

static bool name_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.' || c == '$';
}

/* The string that the distance in the word at `word` leads to. */
static bool string_from(struct finder *f, size_t word, const char **ret, size_t *len_ret)
{
	const struct exports_raw *raw = f->raw;
	int64_t at = (int64_t)word + (int32_t)vp_ld32(raw->p + word);
	const uint8_t *s;
	size_t n = 0, max;

	if (at < 0 || (uint64_t)at >= raw->len)
		return false;
	s = raw->p + at;
	max = raw->len - (size_t)at;
	if (max > NAME_MAX_LEN + 1)
		max = NAME_MAX_LEN + 1;
	while (n < max && name_char(s[n]))
		n++;
	f->work -= n < f->work ? n : f->work;
	if (n == max || s[n] != '\0')
		return false;
	*ret = (const char *)s;
	*len_ret = n;
	return true;
}

static bool entry_at(struct finder *f, size_t at, struct entry *ret)
{
	const struct exports_raw *raw = f->raw;
	struct entry e;
	const char *ns;
	size_t ns_len;

	if (!vp_fits(at, EXPORTS_ENTRY, raw->len) || f->work == 0)
		return false;
	if (vp_ld32(raw->p + at) == 0) /* nothing exports its own entry; padding looks like that */
		return false;
	e.value = raw->start + at + (uint64_t)(int64_t)(int32_t)vp_ld32(raw->p + at);
	if (e.value - raw->image >= raw->image_len && e.value >= raw->percpu_len)
		return false;
	if (!string_from(f, at + 4, &e.name, &e.name_len) || e.name_len == 0 ||
	    !string_from(f, at + 8, &ns, &ns_len))
		return false;
	*ret = e;
	return true;
}

/* By address, not by name: a bucket of names may be as long as a hostile kernel likes. */
static bool agrees(const struct finder *f, const struct entry *e)
{
	size_t i = kallsyms_at(f->ks, e->value);

	for (unsigned n = 0; n < ALIASES_MAX && i < f->ks->n && f->ks->addr[i] == e->value; n++)
		if (strcmp(kallsyms_name(f->ks, i++), e->name) == 0)
			return true;
	return false;
}

/* --- what is kept --------------------------------------------------------------------------------- */

static int keep(struct finder *f, const struct entry *e)
{
	struct exports *ex = &f->ex;

	if (ex->n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 1024;
		struct exports_var *var = reallocarray(ex->var, cap, sizeof(*var));

		if (!var)
			return VP_E_NOMEM;
		ex->var = var;
		f->cap = cap;
	}
	if (e->name_len + 1 > f->text_cap - f->text_len) {
		size_t cap = f->text_cap ? 2 * f->text_cap : 64u << 10;
		char *text;

		if (cap > EXPORTS_TEXT_MAX)
			return VP_E_GUEST_CORRUPT;
		text = realloc(ex->text, cap);
		if (!text)
			return VP_E_NOMEM;
		ex->text = text;
		f->text_cap = cap;
	}
	memcpy(ex->text + f->text_len, e->name, e->name_len + 1);
	ex->var[ex->n++] = (struct exports_var){e->value, (uint32_t)f->text_len};
	f->text_len += e->name_len + 1;
	return VP_OK;
}

static int by_name(const void *a, const void *b, void *text)
{
	const struct exports_var *x = a, *y = b;

	return strcmp((char *)text + x->name, (char *)text + y->name);
}

/* --- tables --------------------------------------------------------------------------------------- */

/* [lo, hi) is a row of entries. The two tables touch, so it may be both: the order starts anew once. */
static int take(struct finder *f, size_t lo, size_t hi)
{
	const char *before = NULL;
	unsigned agreed = 0;

	for (size_t at = lo; at < hi; at += EXPORTS_ENTRY) {
		struct entry e;
		int r;

		if (!entry_at(f, at, &e) || f->entries++ == EXPORTS_MAX)
			return VP_E_GUEST_CORRUPT;
		if (!before || strcmp(before, e.name) >= 0) {
			if ((before && agreed < EXPORTS_AGREED_MIN) || f->tables++ == TABLES_MAX)
				return VP_E_GUEST_CORRUPT;
			agreed = 0;
		}
		before = e.name;
		if (agrees(f, &e)) {
			agreed++;
			continue;
		}
		r = keep(f, &e);
		if (r < 0)
			return r;
	}
	return agreed >= EXPORTS_AGREED_MIN ? VP_OK : VP_E_GUEST_CORRUPT;
}

/* A row of that few may be chance: words that happen to look like an entry. */
static bool is_table(struct finder *f, size_t lo, size_t hi)
{
	unsigned agreed = 0;
	struct entry e;

	for (size_t at = lo; at < hi && agreed < EXPORTS_AGREED_MIN; at += EXPORTS_ENTRY)
		if (entry_at(f, at, &e) && agrees(f, &e))
			agreed++;
	return agreed == EXPORTS_AGREED_MIN;
}

static int find_all(struct finder *f)
{
	size_t at = 0, floor = 0;
	struct entry e;

	while (vp_fits(at, EXPORTS_ENTRY, f->raw->len)) {
		size_t lo = at, hi = at + EXPORTS_ENTRY;

		if (!entry_at(f, at, &e) || !agrees(f, &e)) {
			at += 4;
			continue;
		}
		while (lo - floor >= EXPORTS_ENTRY && entry_at(f, lo - EXPORTS_ENTRY, &e))
			lo -= EXPORTS_ENTRY;
		while (entry_at(f, hi, &e))
			hi += EXPORTS_ENTRY;
		if (is_table(f, lo, hi)) {
			int r = take(f, lo, hi);

			if (r < 0)
				return r;
		}
		at = floor = hi;
	}
	return f->work > 0 && f->tables > 0 ? VP_OK : VP_E_GUEST_CORRUPT;
}

static int sort(struct exports *ex)
{
	if (ex->n == 0)
		return VP_OK;
	qsort_r(ex->var, ex->n, sizeof(*ex->var), by_name, ex->text);
	for (size_t i = 1; i < ex->n; i++)
		if (by_name(&ex->var[i - 1], &ex->var[i], ex->text) == 0)
			return VP_E_GUEST_CORRUPT;
	return VP_OK;
}

/* What kallsyms names has to be where kallsyms says: nothing of that name may be left. */
static int compare(const struct exports *ex, const struct kallsyms *ks)
{
	uint64_t at;

	for (size_t i = 0; i < ks->n; i++)
		if (exports_addr(ex, kallsyms_name(ks, i), &at))
			return VP_E_GUEST_CORRUPT;
	return VP_OK;
}

int exports_find(const struct exports_raw *raw, const struct kallsyms *ks, struct exports *ret)
{
	struct finder f = {.raw = raw, .ks = ks, .work = EXPORTS_WORK_MAX};
	int r = find_all(&f);

	if (r == VP_OK)
		r = sort(&f.ex);
	if (r == VP_OK)
		r = compare(&f.ex, ks);
	if (r < 0) {
		exports_deinit(&f.ex);
		return r;
	}
	*ret = f.ex;
	return VP_OK;
}

void exports_deinit(struct exports *ex)
{
	free(ex->var);
	free(ex->text);
	*ex = (struct exports){0};
}

bool exports_addr(const struct exports *ex, const char *name, uint64_t *ret)
{
	size_t lo = 0, hi = ex->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = strcmp(ex->text + ex->var[mid].name, name);

		if (order == 0) {
			*ret = ex->var[mid].addr;
			return true;
		}
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}
