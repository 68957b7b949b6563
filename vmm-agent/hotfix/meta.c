/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The strings that the macros of <vpatch/hotfix.h> leave in .vpatch.meta: "key=value", NUL between. */
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/hotfix/bundle.h"
#include "vmm-agent/hotfix/pack.h"

static int bad(struct diag *diag, const char *macro, const char *value, const char *what)
{
	diag_set(diag, VP_E_BUNDLE, "%s(%.200s): %s", macro, value, what);
	return VP_E_BUNDLE;
}

/* Cuts s at its next comma and returns what is behind it; NULL if there is none. */
static char *cut(char *s)
{
	char *comma = strchr(s, ',');

	if (!comma)
		return NULL;
	*comma = '\0';
	return comma + 1;
}

static int number(const char *s, uint32_t *ret)
{
	uint32_t v = 0;

	if (!*s)
		return VP_E_BUNDLE;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || v > VP_NOTE_SYMPOS_MAX)
			return VP_E_BUNDLE;
		v = v * 10 + (uint32_t)(*s - '0');
	}
	if (v > VP_NOTE_SYMPOS_MAX)
		return VP_E_BUNDLE;
	*ret = v;
	return VP_OK;
}

static int take_replace(struct pack_meta *m, char *value, struct diag *diag)
{
	struct pack_replace rep = {.symbol = value, .clones = ""};
	char *pos = cut(value);
	char *function = pos ? cut(pos) : NULL;

	if (!function || number(pos, &rep.sympos) < 0)
		return bad(diag, "VPATCH_REPLACE_NTH", value,
			   "the position must be a plain number from 1 on");
	rep.function = function;
	if (!bundle_is_symbol(rep.symbol, VP_NOTE_SYMBOL_MAX) ||
	    !bundle_is_symbol(rep.function, VP_NOTE_SYMBOL_MAX))
		return bad(diag, "VPATCH_REPLACE", value, "name two functions");
	if (m->n_replace == VP_NOTE_REPLACE_MAX)
		return bad(diag, "VPATCH_REPLACE", value, "a hotfix replaces at most 64 functions");
	for (unsigned i = 0; i < m->n_replace; i++)
		if (!m->replace[i].how && strcmp(m->replace[i].symbol, rep.symbol) == 0 &&
		    (m->replace[i].sympos == rep.sympos || !m->replace[i].sympos || !rep.sympos))
			return bad(diag, "VPATCH_REPLACE", value, "the function is replaced twice");
	m->replace[m->n_replace++] = rep;
	return VP_OK;
}

/* Two hexadecimal digits a byte. */
static bool take_word(const char *s, struct pack_replace *rep)
{
	size_t n = strlen(s);

	if (n == 0 || n % 2 || n / 2 > sizeof(rep->word) || strspn(s, "0123456789abcdef") != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint8_t digit = (uint8_t)(s[i] <= '9' ? s[i] - '0' : s[i] - 'a' + 10);

		rep->word[i / 2] = (uint8_t)(rep->word[i / 2] << 4 | digit);
	}
	rep->word_len = (unsigned)(n / 2);
	return true;
}

/* What stands behind the site's name. */
static bool site_more_fits(struct pack_replace *rep, const char *more)
{
	switch (rep->how) {
	case VP_NOTE_SITE_CALL:
	case VP_NOTE_SITE_JUMP:
		return bundle_is_symbol(more, VP_NOTE_SYMBOL_MAX);
	case VP_NOTE_SITE_NOP:
		return !*more;
	case VP_NOTE_SITE_WORD:
		return take_word(more, rep);
	default:
		return false;
	}
}

/* site.call=SITE,FUNCTION site.jump=SITE,FUNCTION site.nop=SITE site.word=SITE,HEX */
static int take_site(struct pack_meta *m, const char *how, char *value, struct diag *diag)
{
	static const char *const hows[] = {"call", "jump", "nop", "word"};
	struct pack_replace rep = {.symbol = value, .function = "", .clones = ""};
	char *more = cut(value);

	for (uint32_t i = 0; i < 4; i++)
		if (strcmp(how, hows[i]) == 0)
			rep.how = VP_NOTE_SITE_CALL + i;
	if (!*value || strlen(value) > VP_NOTE_SYMBOL_MAX || strchr(value, ' '))
		return bad(diag, "VPATCH_SITE", value, "name a site of the guest's site table");
	if (!site_more_fits(&rep, more ? more : ""))
		return bad(diag, "VPATCH_SITE", value,
			   "give a function of the source, or a word in quotes as it lies in "
			   "memory, two lower-case hexadecimal digits a byte");
	if (rep.how == VP_NOTE_SITE_CALL || rep.how == VP_NOTE_SITE_JUMP)
		rep.function = more;
	if (m->n_replace == VP_NOTE_REPLACE_MAX)
		return bad(diag, "VPATCH_SITE", value, "a hotfix changes at most 64 places");
	for (unsigned i = 0; i < m->n_replace; i++)
		if (m->replace[i].how && strcmp(m->replace[i].symbol, rep.symbol) == 0)
			return bad(diag, "VPATCH_SITE", value, "the site is changed twice");
	m->replace[m->n_replace++] = rep;
	return VP_OK;
}

static int take_symbol(struct pack_meta *m, char *value, struct diag *diag)
{
	struct pack_symbol sym = {.alias = value};
	char *name = cut(value);
	char *pos = name ? cut(name) : NULL;

	if (!pos || number(pos, &sym.sympos) < 0)
		return bad(diag, "VPATCH_SYMBOL", value,
			   "the position must be a plain number from 1 on");
	sym.name = name;
	if (!bundle_is_symbol(sym.alias, VP_NOTE_SYMBOL_MAX) ||
	    !bundle_is_symbol(sym.name, VP_NOTE_SYMBOL_MAX))
		return bad(diag, "VPATCH_SYMBOL", value, "name a symbol");
	if (m->n_symbol == VP_NOTE_SYMBOLS_MAX)
		return bad(diag, "VPATCH_SYMBOL", value, "there are more than 256 of them");
	for (unsigned i = 0; i < m->n_symbol; i++)
		if (strcmp(m->symbol[i].alias, sym.alias) == 0)
			return bad(diag, "VPATCH_SYMBOL", value, "it is given twice");
	m->symbol[m->n_symbol++] = sym;
	return VP_OK;
}

static int take_consistency(struct pack_meta *m, char *value, struct diag *diag)
{
	uint32_t v = strcmp(value, "entry") == 0     ? VP_NOTE_ENTRY
		     : strcmp(value, "quiesce") == 0 ? VP_NOTE_QUIESCE
						     : 0;

	if (!v || m->consistency)
		return bad(diag, "VPATCH_CONSISTENCY", value, "say it once, _ENTRY or _QUIESCE");
	m->consistency = v;
	return VP_OK;
}

static int take_text(struct pack_meta *m, const char *key, char *value, struct diag *diag)
{
	struct {
		const char *key, *macro;
		const char **to;
		size_t max;
		bool name;
	} const texts[] = {
		{"name", "VPATCH_NAME", &m->name, VP_NOTE_NAME_MAX, true},
		{"version", "VPATCH_VERSION", &m->version, VP_NOTE_VERSION_MAX, true},
		{"fixes", "VPATCH_FIXES", &m->fixes, VP_NOTE_FIXES_MAX, false},
		{"author", "VPATCH_AUTHOR", &m->author, VP_NOTE_TEXT_MAX, false},
		{"description", "VPATCH_DESCRIPTION", &m->description, VP_NOTE_TEXT_MAX, false},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(texts[i].key, key) != 0)
			continue;
		if (*texts[i].to)
			return bad(diag, texts[i].macro, value, "it is given twice");
		if (texts[i].name && !bundle_is_name(value, texts[i].max))
			return bad(
				diag, texts[i].macro, value,
				texts[i].max == VP_NOTE_NAME_MAX
					? "at most 63 letters, digits and ._+-, a letter or digit first"
					: "at most 31 letters, digits and ._+-, a letter or digit first");
		if (strlen(value) > texts[i].max)
			return bad(diag, texts[i].macro, value, "at most 1023 characters");
		for (const char *p = value; *p; p++)
			if (*p < 0x20 || *p > 0x7e)
				return bad(diag, texts[i].macro, value, "printable ASCII only");
		*texts[i].to = value;
		return VP_OK;
	}
	return diag_set(
		diag, VP_E_VERSION,
		"section .vpatch.meta: the source was compiled with a newer <vpatch/hotfix.h>");
}

static int take_clones(struct pack_meta *m, char *value, struct diag *diag)
{
	char *clones = cut(value);

	if (!clones || !bundle_is_clones(clones))
		return bad(diag, "VPATCH_CLONES", value,
			   "give the clones' names, separated by one space");
	for (unsigned i = 0; i < m->n_replace; i++) {
		if (m->replace[i].how || strcmp(m->replace[i].symbol, value) != 0)
			continue;
		if (*m->replace[i].clones)
			return bad(diag, "VPATCH_CLONES", value, "it is given twice");
		m->replace[i].clones = clones;
		return VP_OK;
	}
	return bad(diag, "VPATCH_CLONES", value, "the hotfix does not replace that function");
}

/* Clones belong to a replacement that may be written behind them: they are taken last. */
static int take(struct pack_meta *m, char *item, bool clones, struct diag *diag)
{
	char *value = strchr(item, '=');

	if (!value)
		return bad(diag, ".vpatch.meta", item, "no macro of <vpatch/hotfix.h> makes it");
	if ((strncmp(item, "clones=", 7) == 0) != clones)
		return VP_OK;
	*value++ = '\0';
	if (clones)
		return take_clones(m, value, diag);
	if (strcmp(item, "replace") == 0)
		return take_replace(m, value, diag);
	if (strncmp(item, "site.", 5) == 0)
		return take_site(m, item + 5, value, diag);
	if (strcmp(item, "symbol") == 0)
		return take_symbol(m, value, diag);
	if (strcmp(item, "consistency") == 0)
		return take_consistency(m, value, diag);
	return take_text(m, item, value, diag);
}

/* text is cut up on the first pass; shadow holds the same strings whole for the second. */
static int take_all(struct pack_meta *m, char *text, char *shadow, size_t len, struct diag *diag)
{
	int r = VP_OK;

	for (unsigned pass = 0; pass < 2; pass++) {
		char *base = pass ? shadow : text;

		/* The string's length in the shadow, which cut() has not shortened yet. */
		for (size_t at = 0, n; r == VP_OK && at < len; at += n + 1) {
			n = strlen(shadow + at);
			if (n)
				r = take(m, base + at, pass == 1, diag);
		}
	}
	if (r == VP_OK && !m->n_replace)
		return diag_set(diag, VP_E_BUNDLE,
				"the hotfix replaces nothing: say VPATCH_REPLACE(old, new)");
	return r;
}

int pack_meta(const struct obj *o, struct diag *diag, struct pack_meta *ret)
{
	const struct obj_section *s = &o->section[obj_find(o, ".vpatch.meta")];
	size_t len = s->data ? s->size : 0;
	char *text = calloc(2, len + 1);
	struct pack_meta m = {0};
	int r;

	if (!text)
		return diag_set(diag, VP_E_NOMEM, "no memory for what the macros say");
	if (len) {
		memcpy(text, s->data, len);
		memcpy(text + len + 1, s->data, len);
	}
	r = take_all(&m, text, text + len + 1, len, diag);
	if (r < 0) {
		free(text);
		return r;
	}
	*ret = m;
	ret->text = text;
	return VP_OK;
}

void pack_meta_deinit(struct pack_meta *meta)
{
	free(meta->text);
	*meta = (struct pack_meta){0};
}
