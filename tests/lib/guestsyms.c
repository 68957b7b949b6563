// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/guestsyms.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"

#define TOKEN_GUEST 1
#define TOKEN_FUNC  2

void guestsyms_init(struct guestsyms *s, unsigned room)
{
	*s = (struct guestsyms){.s = calloc(room, sizeof(*s->s)), .room = room};
	if (!s->s)
		abort();
}

void guestsyms_deinit(struct guestsyms *s)
{
	free(s->s);
}

void guestsyms_add(struct guestsyms *s, uint64_t addr, const char *fmt, ...)
{
	va_list ap;

	if (s->n == s->room)
		abort();
	s->s[s->n].addr = addr;
	va_start(ap, fmt);
	vsnprintf(s->s[s->n++].text, sizeof(s->s[0].text), fmt, ap);
	va_end(ap);
}

static void sort(struct guestsyms *s)
{
	for (unsigned i = 1; i < s->n; i++)
		for (unsigned k = i; k > 0 && s->s[k].addr < s->s[k - 1].addr; k--) {
			struct guestsym one = s->s[k];

			s->s[k] = s->s[k - 1];
			s->s[k - 1] = one;
		}
}

static size_t put_name(uint8_t *p, const char *text)
{
	static const struct {
		const char *s;
		uint8_t token;
	} packed[] = {{"guest_", TOKEN_GUEST}, {"func", TOKEN_FUNC}};
	size_t n = 0;

	while (*text) {
		bool done = false;

		for (unsigned i = 0; i < 2 && !done; i++) {
			if (strncmp(text, packed[i].s, strlen(packed[i].s)) != 0)
				continue;
			p[1 + n++] = packed[i].token;
			text += strlen(packed[i].s);
			done = true;
		}
		if (!done)
			p[1 + n++] = (uint8_t)*text++;
	}
	p[0] = (uint8_t)n;
	return n + 1;
}

static void put_tokens(uint8_t *table, uint8_t *index)
{
	size_t at = 0;

	for (unsigned i = 0; i < 256; i++) {
		char one[2] = {i > ' ' && i <= '~' ? (char)i : '\0', '\0'};
		const char *s = i == TOKEN_GUEST ? "guest_" : i == TOKEN_FUNC ? "func" : one;

		vp_st16(index + 2 * i, (uint16_t)at);
		strcpy((char *)table + at, s);
		at += strlen(s) + 1;
	}
}

void guestsyms_write(struct guestsyms *s, uint64_t base, bool percpu, const struct guestsyms_to *to)
{
	size_t at = 0;

	sort(s);
	put_tokens(to->tokens, to->index);
	for (unsigned i = 0; i < s->n; i++) {
		uint64_t off = s->s[i].addr - base;

		if (percpu) /* a kernel address is base - 1 - offset */
			off = s->s[i].addr < 4096 ? s->s[i].addr : 0 - off - 1;
		vp_st32(to->offsets + 4 * (size_t)i, (uint32_t)off);
		at += put_name(to->names + at, s->s[i].text);
	}
	vp_st32(to->num, s->n);
	vp_st64(to->base, base);
}
