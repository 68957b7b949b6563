/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/hotfix/bundle.h"

_Static_assert(VP_NOTE_NAME_MAX + 1 == VP_LEDGER_NAME, "the ledger keeps the name");
_Static_assert(VP_NOTE_VERSION_MAX + 1 == VP_LEDGER_VERSION_LEN, "and the version");
_Static_assert(VP_NOTE_FIXES_MAX + 1 == VP_LEDGER_TEXT_MAX, "and the text");
_Static_assert(VP_NOTE_SYMBOL_MAX + 1 == HF_SYMBOL_MAX, "symbols");
_Static_assert(VP_NOTE_REPLACE_MAX == HF_REPLACE_MAX, "replacements");
_Static_assert((int)VP_NOTE_ENTRY == (int)HF_ENTRY && (int)VP_NOTE_QUIESCE == (int)HF_QUIESCE,
	       "consistency");

/* What is left of one note's desc. */
struct desc {
	const uint8_t *p;
	size_t len;
};

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool made_of(const char *s, size_t max, const char *more)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (n == max || (!is_alnum(s[n]) && !strchr(more, s[n])))
			return false;
	return n > 0;
}

bool bundle_is_symbol(const char *s, size_t max)
{
	return made_of(s, max, "_.$");
}

bool bundle_is_name(const char *s, size_t max)
{
	return is_alnum(s[0]) && made_of(s, max, "._+-");
}

bool bundle_is_clones(const char *s)
{
	if (!*s)
		return true;
	if (strlen(s) > VP_NOTE_CLONES_MAX)
		return false;
	while (*s) {
		size_t n = strcspn(s, " ");
		char one[HF_SYMBOL_MAX];

		if (n == 0 || n >= sizeof(one))
			return false;
		memcpy(one, s, n);
		one[n] = '\0';
		if (!bundle_is_symbol(one, VP_NOTE_SYMBOL_MAX))
			return false;
		s += n;
		if (*s == ' ' && *++s == '\0')
			return false;
	}
	return true;
}

static int bad(struct diag *diag, uint32_t type, const char *what)
{
	diag_set(diag, VP_E_BUNDLE, "note %u: %s", type, what);
	return VP_E_BUNDLE;
}

static int take_u32(struct desc *d, uint32_t *ret)
{
	if (d->len < 4)
		return VP_E_BUNDLE;
	*ret = vp_ld32(d->p);
	d->p += 4;
	d->len -= 4;
	return VP_OK;
}

static int take_string(struct desc *d, size_t max, const char **ret)
{
	const uint8_t *end = d->len ? memchr(d->p, 0, d->len) : NULL;
	size_t n;

	if (!end)
		return VP_E_BUNDLE;
	n = (size_t)(end - d->p);
	if (n > max)
		return VP_E_BUNDLE;
	for (size_t i = 0; i < n; i++)
		if (d->p[i] < 0x20 || d->p[i] > 0x7e)
			return VP_E_BUNDLE;
	*ret = (const char *)d->p;
	d->p += n + 1;
	d->len -= n + 1;
	return VP_OK;
}

static int read_text(struct hf_bundle *b, uint32_t type, struct desc *d)
{
	switch (type) {
	case VP_NOTE_NAME:
		return take_string(d, VP_NOTE_NAME_MAX, &b->info.name);
	case VP_NOTE_VERSION:
		return take_string(d, VP_NOTE_VERSION_MAX, &b->info.version);
	case VP_NOTE_FIXES:
		return take_string(d, VP_NOTE_FIXES_MAX, &b->info.fixes);
	case VP_NOTE_AUTHOR:
		return take_string(d, VP_NOTE_TEXT_MAX, &b->info.author);
	case VP_NOTE_DESCRIPTION:
		return take_string(d, VP_NOTE_TEXT_MAX, &b->info.description);
	case VP_NOTE_RELEASE:
		return take_string(d, VP_NOTE_RELEASE_MAX, &b->info.release);
	default:
		return VP_E_INTERNAL;
	}
}

static int read_replace(struct hf_bundle *b, struct desc *d)
{
	struct hf_replace *rep = &b->replace[b->info.n_replace];
	const char *symbol, *function, *clones;
	uint32_t sympos;

	if (b->info.n_replace == HF_REPLACE_MAX || take_u32(d, &sympos) < 0 ||
	    sympos > VP_NOTE_SYMPOS_MAX || take_string(d, VP_NOTE_SYMBOL_MAX, &symbol) < 0 ||
	    take_string(d, VP_NOTE_SYMBOL_MAX, &function) < 0 ||
	    take_string(d, VP_NOTE_CLONES_MAX, &clones) < 0)
		return VP_E_BUNDLE;
	if (!bundle_is_symbol(symbol, VP_NOTE_SYMBOL_MAX) ||
	    !bundle_is_symbol(function, VP_NOTE_SYMBOL_MAX) || !bundle_is_clones(clones))
		return VP_E_BUNDLE;
	/* The same function twice: also when one says "the only one" and the other "the second". */
	for (size_t i = 0; i < b->info.n_replace; i++)
		if (strcmp(b->replace[i].symbol, symbol) == 0 && b->replace[i].how == HF_REPLACE &&
		    (b->replace[i].sympos == sympos || !b->replace[i].sympos || !sympos))
			return VP_E_BUNDLE;
	memcpy(rep->symbol, symbol, strlen(symbol) + 1);
	memcpy(rep->function, function, strlen(function) + 1);
	rep->sympos = sympos;
	rep->clones = clones;
	b->info.n_replace++;
	return VP_OK;
}

static bool is_site(const char *s)
{
	for (size_t i = 0; s[i]; i++)
		if (i == VP_NOTE_SYMBOL_MAX || s[i] == ' ')
			return false;
	return *s != '\0';
}

static int read_site(struct hf_bundle *b, struct desc *d)
{
	struct hf_replace *rep = &b->replace[b->info.n_replace];
	const char *site, *function;
	uint32_t how;

	if (b->info.n_replace == HF_REPLACE_MAX || take_u32(d, &how) < 0 ||
	    how < VP_NOTE_SITE_CALL || how > VP_NOTE_SITE_WORD ||
	    take_string(d, VP_NOTE_SYMBOL_MAX, &site) < 0 || !is_site(site) ||
	    take_string(d, VP_NOTE_SYMBOL_MAX, &function) < 0)
		return VP_E_BUNDLE;
	rep->how = (enum hf_how)how;
	if (hf_leads(rep) ? !bundle_is_symbol(function, VP_NOTE_SYMBOL_MAX) : *function != '\0')
		return VP_E_BUNDLE;
	if (rep->how == HF_SITE_WORD) {
		if (d->len == 0 || d->len > sizeof(rep->word))
			return VP_E_BUNDLE;
		memcpy(rep->word, d->p, d->len);
		rep->word_len = (unsigned)d->len;
		d->len = 0;
	}
	for (size_t i = 0; i < b->info.n_replace; i++)
		if (strcmp(b->replace[i].symbol, site) == 0 && b->replace[i].how != HF_REPLACE)
			return VP_E_BUNDLE;
	memcpy(rep->symbol, site, strlen(site) + 1);
	memcpy(rep->function, function, strlen(function) + 1);
	rep->clones = "";
	b->info.n_replace++;
	return VP_OK;
}
_Static_assert((int)HF_SITE_CALL == VP_NOTE_SITE_CALL && (int)HF_SITE_JUMP == VP_NOTE_SITE_JUMP &&
		       (int)HF_SITE_NOP == VP_NOTE_SITE_NOP &&
		       (int)HF_SITE_WORD == VP_NOTE_SITE_WORD,
	       "read_site");

static int read_symbol(struct hf_bundle *b, struct desc *d)
{
	struct bundle_symbol s;
	uint32_t sympos;

	if (b->n_symbol == VP_NOTE_SYMBOLS_MAX || take_u32(d, &sympos) < 0 ||
	    sympos > VP_NOTE_SYMPOS_MAX || take_string(d, VP_NOTE_SYMBOL_MAX, &s.alias) < 0 ||
	    take_string(d, VP_NOTE_SYMBOL_MAX, &s.name) < 0 ||
	    !bundle_is_symbol(s.alias, VP_NOTE_SYMBOL_MAX) ||
	    !bundle_is_symbol(s.name, VP_NOTE_SYMBOL_MAX))
		return VP_E_BUNDLE;
	s.sympos = sympos;
	for (unsigned i = 0; i < b->n_symbol; i++)
		if (strcmp(b->symbol[i].alias, s.alias) == 0)
			return VP_E_BUNDLE;
	b->symbol[b->n_symbol++] = s;
	return VP_OK;
}

static int read_build_id(struct hf_bundle *b, struct desc *d)
{
	if (d->len < VP_NOTE_BUILD_ID_MIN || d->len > VP_NOTE_BUILD_ID_MAX)
		return VP_E_BUNDLE;
	memcpy(b->info.build_id, d->p, d->len);
	b->info.build_id_len = (unsigned)d->len;
	d->len = 0;
	return VP_OK;
}

static int read_number(struct hf_bundle *b, uint32_t type, struct desc *d)
{
	uint32_t v;

	if (take_u32(d, &v) < 0)
		return VP_E_BUNDLE;
	if (type == VP_NOTE_CONSISTENCY) {
		if (v != VP_NOTE_ENTRY && v != VP_NOTE_QUIESCE)
			return VP_E_BUNDLE;
		b->info.consistency = (enum hf_consistency)v;
		return VP_OK;
	}
	if (v & ~VP_NOTE_INLINE_CHECKED)
		return VP_E_BUNDLE;
	b->info.inline_checked = v & VP_NOTE_INLINE_CHECKED;
	return VP_OK;
}

/* One note behind FORMAT. seen has a bit for each type met. */
static int read_note(struct hf_bundle *b, uint32_t type, struct desc *d, uint32_t *seen,
		     struct diag *diag)
{
	int r;

	if (type <= VP_NOTE_FORMAT || type >= VP_NOTE_TYPE_COUNT ||
	    (type == VP_NOTE_SITE && b->format < 2))
		return type == VP_NOTE_FORMAT
			       ? bad(diag, type, "it comes twice")
			       : diag_set(diag, VP_E_VERSION,
					  "note %u: this vpatch does not know it: use a newer one",
					  type);
	if (type != VP_NOTE_REPLACE && type != VP_NOTE_SITE && type != VP_NOTE_SYMBOL &&
	    (*seen & 1u << type))
		return bad(diag, type, "it comes twice");
	*seen |= 1u << type;
	if (type == VP_NOTE_REPLACE)
		r = read_replace(b, d);
	else if (type == VP_NOTE_SITE)
		r = read_site(b, d);
	else if (type == VP_NOTE_SYMBOL)
		r = read_symbol(b, d);
	else if (type == VP_NOTE_BUILD_ID)
		r = read_build_id(b, d);
	else if (type == VP_NOTE_CONSISTENCY || type == VP_NOTE_FLAGS)
		r = read_number(b, type, d);
	else
		r = read_text(b, type, d);
	if (r < 0 || d->len)
		return bad(diag, type, "it does not hold what it must hold");
	return VP_OK;
}

static int read_format(struct hf_bundle *b, uint32_t type, struct desc *d, struct diag *diag)
{
	uint32_t v;

	if (type != VP_NOTE_FORMAT || take_u32(d, &v) < 0 || d->len || v == 0)
		return bad(diag, type, "the first note must give the format's version");
	b->format = v;
	if (v > VP_NOTE_FORMAT_VERSION)
		return diag_set(
			diag, VP_E_VERSION,
			"the bundle has format %u and this vpatch knows %u: use a newer one", v,
			VP_NOTE_FORMAT_VERSION);
	return VP_OK;
}

static int next_note(const struct obj_section *s, uint64_t *at, uint32_t *type, struct desc *d,
		     struct diag *diag)
{
	static const uint8_t owner[8] = VP_NOTE_OWNER;
	const uint8_t *p = s->data + *at;
	uint32_t descsz, padded;

	if (!vp_fits(*at, VP_NOTE_HEAD, s->size))
		return bad(diag, 0, "the notes end too early");
	descsz = vp_ld32(p + 4);
	*type = vp_ld32(p + 8);
	if (vp_ld32(p) != VP_NOTE_OWNER_SZ || memcmp(p + 12, owner, sizeof(owner)) != 0)
		return bad(diag, *type, "it is not vpatch's");
	if (descsz > VP_NOTE_SECTION_MAX)
		return bad(diag, *type, "it is too long");
	padded = (descsz + VP_NOTE_ALIGN - 1) & ~(uint32_t)(VP_NOTE_ALIGN - 1);
	if (!vp_fits(*at + VP_NOTE_HEAD, padded, s->size))
		return bad(diag, *type, "the notes end too early");
	for (uint32_t i = descsz; i < padded; i++)
		if (p[VP_NOTE_HEAD + i])
			return bad(diag, *type, "its padding is not zero");
	*d = (struct desc){p + VP_NOTE_HEAD, descsz};
	*at += VP_NOTE_HEAD + padded;
	return VP_OK;
}

static int check_strings(const struct hf_info *info, struct diag *diag)
{
	if (!bundle_is_name(info->name, VP_NOTE_NAME_MAX))
		return bad(diag, VP_NOTE_NAME, "the name must be made of letters, digits and ._+-");
	if (!bundle_is_name(info->version, VP_NOTE_VERSION_MAX))
		return bad(diag, VP_NOTE_VERSION,
			   "the version must be made of letters, digits and ._+-");
	if (!made_of(info->release, VP_NOTE_RELEASE_MAX, "._+-~"))
		return bad(diag, VP_NOTE_RELEASE, "it is no kernel release");
	return VP_OK;
}

int bundle_notes(struct hf_bundle *b, const struct obj_section *s, struct diag *diag)
{
	const uint32_t needed = 1u << VP_NOTE_NAME | 1u << VP_NOTE_VERSION | 1u << VP_NOTE_RELEASE |
				1u << VP_NOTE_CONSISTENCY;
	uint64_t at = 0;
	uint32_t seen = 0, type;
	struct desc d;
	int r;

	if (s->size > VP_NOTE_SECTION_MAX)
		return bad(diag, 0, "the notes are too long");
	r = next_note(s, &at, &type, &d, diag);
	if (r == VP_OK)
		r = read_format(b, type, &d, diag);
	while (r == VP_OK && at < s->size) {
		r = next_note(s, &at, &type, &d, diag);
		if (r == VP_OK)
			r = read_note(b, type, &d, &seen, diag);
	}
	if (r < 0)
		return r;
	if ((seen & needed) != needed || b->info.n_replace == 0)
		return diag_set(diag, VP_E_BUNDLE,
				"name, version, release, consistency or replacements are missing");
	return check_strings(&b->info, diag);
}
