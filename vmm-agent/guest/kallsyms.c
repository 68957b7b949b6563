// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm-agent/guest/kallsyms.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"

#define NAME_MAX_LEN 511u  /* KSYM_NAME_LEN less the NUL (6.1 and later); the type comes on top */
#define BIG_LEN      0x80u /* kernel/kallsyms.c: bit 7 of a length says that a second byte follows */

/* How offsets become addresses; kernel/kallsyms.c, kallsyms_sym_address. */
enum mode {
	MODE_PERCPU, /* CONFIG_KALLSYMS_ABSOLUTE_PERCPU: >= 0 is the address, else base - 1 - it */
	MODE_RELATIVE, /* base + unsigned offset */
	MODE_PLACE,    /* the offset's own address + signed offset: offset_to_ptr() */
};

struct token {
	const uint8_t *s;
	uint32_t len;
};

static bool printable(const uint8_t *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return false;
	return true;
}

/* Every token starts where the index says, right behind the NUL of the one before. */
static bool load_tokens(const struct kallsyms_raw *raw, struct token *tok)
{
	size_t at = 0;

	for (unsigned i = 0; i < KALLSYMS_TOKENS; i++) {
		const uint8_t *nul;

		if (vp_ld16(raw->index + 2 * i) != at || at >= raw->tokens_len)
			return false;
		nul = memchr(raw->tokens + at, '\0', raw->tokens_len - at);
		if (!nul)
			return false;
		tok[i].s = raw->tokens + at;
		tok[i].len = (uint32_t)(nul - tok[i].s);
		if (tok[i].len > NAME_MAX_LEN + 1 || !printable(tok[i].s, tok[i].len))
			return false;
		at += tok[i].len + 1;
	}
	return true;
}

struct text {
	char *p;
	size_t len, cap;
};

static int text_room(struct text *t, size_t need)
{
	size_t cap = t->cap ? t->cap : 1 << 20;
	char *p;

	if (need <= t->cap - t->len)
		return VP_OK;
	while (need > cap - t->len)
		cap *= 2;
	if (cap > KALLSYMS_TEXT_MAX)
		return VP_E_GUEST_CORRUPT;
	p = realloc(t->p, cap);
	if (!p)
		return VP_E_NOMEM;
	t->p = p;
	t->cap = cap;
	return VP_OK;
}

/* Unpacks the name at *at and moves behind it. */
static int unpack(const struct kallsyms_raw *raw, const struct token *tok, size_t *at,
		  struct text *text)
{
	size_t len, start = text->len;
	int r = text_room(text, NAME_MAX_LEN + 2);

	if (r < 0)
		return r;
	if (!vp_fits(*at, 1, raw->names_len))
		return VP_E_GUEST_CORRUPT;
	len = raw->names[(*at)++];
	if (len & BIG_LEN) {
		if (!vp_fits(*at, 1, raw->names_len))
			return VP_E_GUEST_CORRUPT;
		len = (len & ~(size_t)BIG_LEN) | (size_t)raw->names[(*at)++] << 7;
	}
#ifdef VP_PLANT_KALLSYMS /* the planted bug: a name may run over the end of the table */
	if (len > NAME_MAX_LEN + 1)
#else
	if (!vp_fits(*at, len, raw->names_len))
#endif
		return VP_E_GUEST_CORRUPT;
	for (; len > 0; len--) {
		const struct token *t = &tok[raw->names[(*at)++]];

		if (t->len > NAME_MAX_LEN + 1 - (text->len - start))
			return VP_E_GUEST_CORRUPT;
		memcpy(text->p + text->len, t->s, t->len);
		text->len += t->len;
	}
	if (text->len - start < 2) /* a type and at least one character */
		return VP_E_GUEST_CORRUPT;
	text->p[text->len++] = '\0';
	return VP_OK;
}

static int unpack_all(const struct kallsyms_raw *raw, struct kallsyms *ks)
{
	struct token tok[KALLSYMS_TOKENS];
	struct text text = {0};
	size_t at = 0;
	int r = load_tokens(raw, tok) ? VP_OK : VP_E_GUEST_CORRUPT;

	for (size_t i = 0; r == VP_OK && i < raw->n; i++) {
		ks->name[i] = (uint32_t)text.len;
		r = unpack(raw, tok, &at, &text);
	}
	ks->text = text.p; /* the caller frees it in any case */
	return r;
}

static uint64_t address(const struct kallsyms_raw *raw, enum mode mode, size_t i)
{
	uint32_t raw_off = vp_ld32(raw->offsets + 4 * i);
	int64_t off = (int32_t)raw_off;

	if (mode == MODE_PLACE)
		return raw->place + 4 * i + (uint64_t)off;
	if (mode == MODE_RELATIVE)
		return raw->base + raw_off;
	return off >= 0 ? (uint64_t)off : raw->base - 1 - (uint64_t)off;
}

static bool addresses(const struct kallsyms_raw *raw, enum mode mode, struct kallsyms *ks)
{
	for (size_t i = 0; i < raw->n; i++) {
		ks->addr[i] = address(raw, mode, i);
		if (i > 0 && ks->addr[i] < ks->addr[i - 1])
			return false;
	}
	return true;
}

static uint32_t hash(const char *s)
{
	uint32_t h = 2166136261u; /* FNV-1a, RFC draft-eastlake-fnv */

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return h;
}

static void index_names(struct kallsyms *ks)
{
	for (size_t i = 0; i <= ks->mask; i++)
		ks->bucket[i] = (uint32_t)ks->n;
	for (size_t i = ks->n; i-- > 0;) { /* backwards: chains then run in address order */
		uint32_t *head = &ks->bucket[hash(kallsyms_name(ks, i)) & ks->mask];

		ks->next[i] = *head;
		*head = (uint32_t)i;
	}
}

size_t kallsyms_find(const struct kallsyms *ks, const char *name, size_t after)
{
	size_t i;

	if (ks->n == 0)
		return 0;
	i = after < ks->n ? ks->next[after] : ks->bucket[hash(name) & ks->mask];
	while (i < ks->n && strcmp(kallsyms_name(ks, i), name) != 0)
		i = ks->next[i];
	return i;
}

/* Which of the ways the guest's kernel was built for shows where they put _stext. */
static bool place(const struct kallsyms_raw *raw, uint64_t stext, struct kallsyms *ks)
{
	size_t i = kallsyms_find(ks, "_stext", ks->n);

	if (i == ks->n)
		return false;
	if (raw->place)
		return address(raw, MODE_PLACE, i) == stext && addresses(raw, MODE_PLACE, ks);
	if (address(raw, MODE_PERCPU, i) == stext && addresses(raw, MODE_PERCPU, ks))
		return true;
	return address(raw, MODE_RELATIVE, i) == stext && addresses(raw, MODE_RELATIVE, ks);
}

static int allocate(struct kallsyms *ks, size_t n)
{
	size_t buckets = 1;

	while (buckets < n)
		buckets *= 2;
	ks->n = n;
	ks->mask = (uint32_t)(buckets - 1);
	ks->addr = calloc(n, sizeof(*ks->addr));
	ks->name = calloc(n, sizeof(*ks->name));
	ks->next = calloc(n, sizeof(*ks->next));
	ks->bucket = calloc(buckets, sizeof(*ks->bucket));
	return ks->addr && ks->name && ks->next && ks->bucket ? VP_OK : VP_E_NOMEM;
}

int kallsyms_decode(const struct kallsyms_raw *raw, uint64_t stext, struct kallsyms *ret)
{
	struct kallsyms ks = {0};
	int r;

	if (raw->n == 0 || raw->n > KALLSYMS_SYMS_MAX || raw->names_len > KALLSYMS_NAMES_MAX)
		return VP_E_GUEST_CORRUPT;
	r = allocate(&ks, raw->n);
	if (r == VP_OK)
		r = unpack_all(raw, &ks);
	if (r == VP_OK) {
		index_names(&ks);
		if (!place(raw, stext, &ks))
			r = VP_E_GUEST_CORRUPT;
	}
	if (r < 0) {
		kallsyms_deinit(&ks);
		return r;
	}
	*ret = ks;
	return VP_OK;
}

void kallsyms_deinit(struct kallsyms *ks)
{
	free(ks->addr);
	free(ks->name);
	free(ks->text);
	free(ks->next);
	free(ks->bucket);
	*ks = (struct kallsyms){0};
}

size_t kallsyms_at(const struct kallsyms *ks, uint64_t at)
{
	size_t lo = 0, hi = ks->n; /* the first index whose address is above at */

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ks->addr[mid] <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0)
		return ks->n;
	at = ks->addr[lo - 1];
	for (hi = lo - 1, lo = 0; lo < hi;) { /* the first of those at the same address */
		size_t mid = lo + (hi - lo) / 2;

		if (ks->addr[mid] < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint64_t kallsyms_end(const struct kallsyms *ks, size_t i)
{
	uint64_t at = ks->addr[i];
	size_t lo = i, hi = ks->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ks->addr[mid] <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < ks->n ? ks->addr[lo] : 0;
}
