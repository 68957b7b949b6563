// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/guestbtf.h"

#include <string.h>

#include "protocol/bytes.h"

#define STRS_MAX  2048
#define TYPES_MAX 2048

struct out {
	uint8_t types[TYPES_MAX];
	char strs[STRS_MAX];
	uint32_t types_len, strs_len, id;
};

static uint32_t str(struct out *o, const char *s)
{
	uint32_t at = o->strs_len;

	if (!*s)
		return 0;
	memcpy(o->strs + at, s, strlen(s) + 1);
	o->strs_len += (uint32_t)strlen(s) + 1;
	return at;
}

static void word(struct out *o, uint32_t v)
{
	vp_st32(o->types + o->types_len, v);
	o->types_len += 4;
}

/* Returns the type's number. */
static uint32_t type(struct out *o, const char *name, unsigned kind, unsigned vlen, uint32_t size)
{
	word(o, str(o, name));
	word(o, kind << 24 | vlen);
	word(o, size);
	return ++o->id;
}

static void member(struct out *o, const char *name, uint32_t id, uint32_t off)
{
	word(o, str(o, name));
	word(o, id);
	word(o, off * 8);
}

static void value(struct out *o, const char *name, uint32_t v)
{
	word(o, str(o, name));
	word(o, v);
}

static void put_types(struct out *o)
{
	uint32_t l, inner;

	l = type(o, "unsigned long", 1, 0, 8); /* INT */
	word(o, 64);
	type(o, "mutex", 4, 1, 32); /* STRUCT */
	member(o, "owner", l, 0);
	type(o, "ftrace_page", 4, 4, 24);
	member(o, "next", l, 0);
	member(o, "records", l, 8);
	member(o, "index", l, 16);
	member(o, "order", l, 20);
	type(o, "dyn_ftrace", 4, 2, 16);
	member(o, "ip", l, 0);
	member(o, "flags", l, 8);
	type(o, "ftrace_ops", 4, 3, 24);
	member(o, "func", l, 0);
	member(o, "next", l, 8);
	member(o, "func_hash", l, 16);
	type(o, "ftrace_ops_hash", 4, 2, 16);
	member(o, "notrace_hash", l, 0);
	member(o, "filter_hash", l, 8);
	type(o, "ftrace_hash", 4, 3, 24);
	member(o, "size_bits", l, 0);
	member(o, "buckets", l, 8);
	member(o, "count", l, 16);
	type(o, "hlist_node", 4, 2, 16);
	member(o, "next", l, 0);
	member(o, "pprev", l, 8);
	type(o, "ftrace_func_entry", 4, 2, 24);
	member(o, "hlist", o->id - 1, 0);
	member(o, "ip", l, 16);
	inner = type(o, "", 4, 2, 16);
	member(o, "pid", l, 0);
	member(o, "stack_canary", l, 8);
	type(o, "task_struct", 4, 2, 128);
	member(o, "flags", l, 0);
	member(o, "", inner, GUESTBTF_CANARY - 8);
	type(o, "", 6, 9, 4); /* ENUM; include/linux/ftrace.h of 6.1 */
	value(o, "FTRACE_FL_ENABLED", 1u << 31);
	value(o, "FTRACE_FL_REGS", 1u << 30);
	value(o, "FTRACE_FL_REGS_EN", 1u << 29);
	value(o, "FTRACE_FL_TRAMP", 1u << 28);
	value(o, "FTRACE_FL_TRAMP_EN", 1u << 27);
	value(o, "FTRACE_FL_IPMODIFY", 1u << 26);
	value(o, "FTRACE_FL_DISABLED", 1u << 25);
	value(o, "FTRACE_FL_DIRECT", 1u << 24);
	value(o, "FTRACE_FL_DIRECT_EN", 1u << 23);
}

size_t guestbtf_write(uint8_t *at)
{
	struct out o = {.strs_len = 1};

	put_types(&o);
	vp_st16(at, 0xeb9f);
	at[2] = 1;
	at[3] = 0;
	vp_st32(at + 4, 24);
	vp_st32(at + 8, 0);
	vp_st32(at + 12, o.types_len);
	vp_st32(at + 16, o.types_len);
	vp_st32(at + 20, o.strs_len);
	memcpy(at + 24, o.types, o.types_len);
	memcpy(at + 24 + o.types_len, o.strs, o.strs_len);
	return 24 + o.types_len + o.strs_len;
}
