/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/gdb_xml.h"

#include <string.h>

/* A stretch of the document. */
struct span {
	const char *at;
	size_t len;
};

void gdb_xml_init(struct gdb_xml *x, const char *const *want)
{
	memset(x, 0, sizeof(*x));
	x->want = want;
	x->placed = true;
}

static bool span_is(struct span s, const char *word)
{
	return s.len == strlen(word) && memcmp(s.at, word, s.len) == 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void take(struct span *s, size_t n)
{
	s->at += n;
	s->len -= n;
}

static void skip_space(struct span *s)
{
	while (s->len > 0 && is_space(*s->at))
		take(s, 1);
}

/* Up to any of the characters of stop, or the end. */
static struct span take_until(struct span *s, const char *stop)
{
	struct span word = {s->at, 0};

	while (s->len > 0 && (*s->at == '\0' || !strchr(stop, *s->at))) {
		take(s, 1);
		word.len++;
	}
	return word;
}

/* One name="value"; false at the end of the tag or where it is malformed. */
static bool take_attr(struct span *tag, struct span *name, struct span *value)
{
	char quote[2] = "";

	skip_space(tag);
	*name = take_until(tag, "= \t\r\n/");
	skip_space(tag);
	if (name->len == 0 || tag->len == 0 || *tag->at != '=')
		return false;
	take(tag, 1);
	skip_space(tag);
	if (tag->len == 0 || (*tag->at != '"' && *tag->at != '\''))
		return false;
	quote[0] = *tag->at;
	take(tag, 1);
	*value = take_until(tag, quote);
	if (tag->len == 0)
		return false;
	take(tag, 1);
	return true;
}

static bool to_number(struct span s, uint32_t max, uint32_t *ret)
{
	uint64_t v = 0;

	if (s.len == 0 || s.len > 9)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] < '0' || s.at[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.at[i] - '0');
	}
	if (v > max)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static int add_reg(struct gdb_xml *x, struct span tag)
{
	struct span name, value, reg = {NULL, 0};
	uint32_t bits = 0, num = x->next_num;

	while (take_attr(&tag, &name, &value)) {
		bool ok = true;

		if (span_is(name, "name"))
			reg = value;
		else if (span_is(name, "bitsize"))
			ok = to_number(value, 1u << 16, &bits);
		else if (span_is(name, "regnum"))
			ok = to_number(value, GDB_REG_MAX, &num);
		if (!ok)
			return VP_E_PROTO;
	}
	if (!reg.at || bits == 0 || num > GDB_REG_MAX)
		return VP_E_PROTO;
	/* A gap would be filled by registers that the description does not show. */
	if (num != x->next_num)
		x->placed = false;
	for (unsigned i = 0; i < ARCH_REG_MAX; i++) {
		if (!x->want[i] || x->reg[i].known || bits > 64 || bits % 8 != 0 ||
		    !span_is(reg, x->want[i]))
			continue;
		x->reg[i] = (struct gdb_reg){.num = num,
					     .bytes = bits / 8,
					     .offset = (uint32_t)x->next_offset,
					     .placed = x->placed,
					     .known = true};
	}
	x->next_num = num + 1;
	x->next_offset += bits / 8;
	if (bits % 8 != 0 || x->next_offset > UINT32_MAX / 2)
		x->placed = false;
	if (!x->placed)
		x->next_offset = 0;
	return VP_OK;
}

/* The name goes back to the stub in a request: letters, digits, dot, dash and underscore only. */
static bool plain_name(struct span s)
{
	if (s.len == 0 || s.len >= GDB_XML_NAME)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.at[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '-' || c == '_'))
			return false;
	}
	return true;
}

static int add_include(struct gdb_xml *x, struct span tag)
{
	struct span name, value;

	while (take_attr(&tag, &name, &value)) {
		if (!span_is(name, "href"))
			continue;
		if (!plain_name(value) || x->n_includes == GDB_XML_INCLUDES)
			return VP_E_PROTO;
		memcpy(x->include[x->n_includes], value.at, value.len);
		x->include[x->n_includes][value.len] = '\0';
		x->n_includes++;
		return VP_OK;
	}
	return VP_E_PROTO;
}

static int skip_comment(struct span *doc)
{
	const char *end = memmem(doc->at, doc->len, "-->", 3);

	if (!end)
		return VP_E_PROTO;
	take(doc, (size_t)(end - doc->at) + 3);
	return VP_OK;
}

int gdb_xml_add(struct gdb_xml *x, const char *text, size_t len)
{
	struct span doc = {text, len};
	unsigned includes = x->n_includes;
	bool regs = false;

	for (;;) {
		struct span tag, word;
		int r = VP_OK;

		(void)take_until(&doc, "<");
		if (doc.len == 0)
			break;
		if (doc.len >= 4 && memcmp(doc.at, "<!--", 4) == 0) {
			r = skip_comment(&doc);
			if (r < 0)
				return r;
			continue;
		}
		take(&doc, 1);
		tag = take_until(&doc, ">");
		if (doc.len == 0)
			return VP_E_PROTO;
		word = take_until(&tag, " \t\r\n/");
		if (span_is(word, "reg")) {
			regs = true;
			r = add_reg(x, tag);
		} else if (span_is(word, "xi:include")) {
			r = add_include(x, tag);
		}
		if (r < 0)
			return r;
	}
	/* Includes are read after the document that names them, so one that has registers of its
	 * own as well would be numbered wrongly. QEMU writes none. */
	return regs && x->n_includes != includes ? VP_E_PROTO : VP_OK;
}
