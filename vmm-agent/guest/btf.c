// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm-agent/guest/btf.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"

#define MAGIC      0xeb9fu
#define VERSION    1u
#define NESTED_MAX 8          /* unnamed structures inside one another */
#define STEPS_MAX  (1u << 20) /* members looked at for one answer: nesting multiplies */

/* struct btf_header */
enum {
	H_MAGIC = 0,
	H_VERSION = 2,
	H_LEN = 4,
	H_TYPES = 8,
	H_TYPES_LEN = 12,
	H_STRS = 16,
	H_STRS_LEN = 20
};
/* struct btf_type: name_off, info, size or type; then what the kind adds */
enum { T_NAME = 0, T_INFO = 4, T_SIZE = 8, T_MORE = 12 };
/* struct btf_member, struct btf_enum, struct btf_enum64 */
enum { M_NAME = 0, M_TYPE = 4, M_OFFSET = 8, M_BYTES = 12 };
enum { E_NAME = 0, E_VALUE = 4, E_BYTES = 8, E_HIGH = 8, E64_BYTES = 12 };

enum kind {
	KIND_INT = 1,
	KIND_PTR,
	KIND_ARRAY,
	KIND_STRUCT,
	KIND_UNION,
	KIND_ENUM,
	KIND_FWD,
	KIND_TYPEDEF,
	KIND_VOLATILE,
	KIND_CONST,
	KIND_RESTRICT,
	KIND_FUNC,
	KIND_FUNC_PROTO,
	KIND_VAR,
	KIND_DATASEC,
	KIND_FLOAT,
	KIND_DECL_TAG,
	KIND_TYPE_TAG,
	KIND_ENUM64,
	KIND_COUNT,
};

static uint32_t vlen(const uint8_t *t)
{
	return vp_ld32(t + T_INFO) & 0xffff;
}

static unsigned kind(const uint8_t *t)
{
	return vp_ld32(t + T_INFO) >> 24 & 0x1f;
}

static bool kind_flag(const uint8_t *t)
{
	return vp_ld32(t + T_INFO) >> 31;
}

static bool more_of(const uint8_t *t, uint32_t *ret)
{
	static const uint8_t fixed[KIND_COUNT] = {
		[KIND_INT] = 4,
		[KIND_ARRAY] = 12,
		[KIND_VAR] = 4,
		[KIND_DECL_TAG] = 4,
	};
	static const uint8_t each[KIND_COUNT] = {
		[KIND_STRUCT] = M_BYTES, [KIND_UNION] = M_BYTES, [KIND_ENUM] = E_BYTES,
		[KIND_FUNC_PROTO] = 8,   [KIND_DATASEC] = 12,    [KIND_ENUM64] = E64_BYTES,
	};
	unsigned k = kind(t);

	if (k == 0 || k >= KIND_COUNT)
		return false;
	*ret = fixed[k] + each[k] * vlen(t);
	return true;
}

/* "" for an offset outside: it equals no name that is asked for. */
static const char *str(const struct btf *b, uint32_t off)
{
	return off < b->strs_len ? b->strs + off : "";
}

int btf_size(const uint8_t *h, size_t len, uint32_t *ret)
{
	uint32_t hdr, types, types_len, strs, strs_len;

	if (len < BTF_HEADER || vp_ld16(h + H_MAGIC) != MAGIC || h[H_VERSION] != VERSION)
		return VP_E_GUEST_CORRUPT;
	hdr = vp_ld32(h + H_LEN);
	types = vp_ld32(h + H_TYPES);
	types_len = vp_ld32(h + H_TYPES_LEN);
	strs = vp_ld32(h + H_STRS);
	strs_len = vp_ld32(h + H_STRS_LEN);
	/* The kernel's own loader wants the sections in this order and without a hole. */
	if (hdr < BTF_HEADER || hdr > 4096 || types != 0 || types_len > BTF_SIZE_MAX ||
	    strs != types_len || strs_len == 0 || strs_len > BTF_SIZE_MAX ||
	    hdr + types_len + strs_len > BTF_SIZE_MAX)
		return VP_E_GUEST_CORRUPT;
	*ret = hdr + types_len + strs_len;
	return VP_OK;
}

static int index_types(struct btf *b)
{
	uint32_t cap = b->types_len / T_MORE;
	uint32_t at = 0;

	if (cap > BTF_TYPES_MAX)
		cap = BTF_TYPES_MAX;
	b->type = calloc(cap ? cap : 1, sizeof(*b->type));
	if (!b->type)
		return VP_E_NOMEM;
	while (at < b->types_len) {
		uint32_t more;

		if (b->n_types == cap || !vp_fits(at, T_MORE, b->types_len) ||
		    !more_of(b->types + at, &more))
			return VP_E_GUEST_CORRUPT;
#ifndef VP_PLANT_BTF /* the planted bug: the last type's members may lie outside */
		if (!vp_fits(at + T_MORE, more, b->types_len))
			return VP_E_GUEST_CORRUPT;
#endif
		b->type[b->n_types++] = at;
		at += T_MORE + more;
	}
	return VP_OK;
}

int btf_parse(uint8_t *bytes, size_t len, struct btf *ret)
{
	struct btf b = {0};
	uint32_t size, hdr;
	int r = btf_size(bytes, len, &size);

	if (r < 0)
		return r;
	if (size > len)
		return VP_E_GUEST_CORRUPT;
	hdr = vp_ld32(bytes + H_LEN);
	b.bytes = bytes;
	b.types = bytes + hdr;
	b.types_len = vp_ld32(bytes + H_TYPES_LEN);
	b.strs = (const char *)bytes + hdr + b.types_len;
	b.strs_len = vp_ld32(bytes + H_STRS_LEN);
	if (b.strs[0] != '\0' || b.strs[b.strs_len - 1] != '\0')
		return VP_E_GUEST_CORRUPT;
	r = index_types(&b);
	if (r < 0) {
		free(b.type);
		return r;
	}
	*ret = b;
	return VP_OK;
}

void btf_deinit(struct btf *b)
{
	free(b->bytes);
	free(b->type);
	*b = (struct btf){0};
}

static const uint8_t *type_at(const struct btf *b, uint32_t i)
{
	return b->types + b->type[i];
}

/* Type `id` without its qualifiers, NULL when that leads nowhere. */
static const uint8_t *plain(const struct btf *b, uint32_t id)
{
	for (unsigned i = 0; i < NESTED_MAX && id >= 1 && id <= b->n_types; i++) {
		const uint8_t *t = type_at(b, id - 1);
		unsigned k = kind(t);

		if (k != KIND_CONST && k != KIND_VOLATILE && k != KIND_TYPE_TAG)
			return t;
		id = vp_ld32(t + T_SIZE);
	}
	return NULL;
}

static bool find(const struct btf *b, const uint8_t *t, const char *member, uint64_t base,
		 unsigned depth, uint32_t *steps, uint64_t *bits_ret)
{
	for (uint32_t i = 0, n = vlen(t); i<n && * steps> 0; i++, (*steps)--) {
		const uint8_t *m = t + T_MORE + (size_t)M_BYTES * i;
		const char *name = str(b, vp_ld32(m + M_NAME));
		uint32_t off = vp_ld32(m + M_OFFSET);
		const uint8_t *inner;

		if (kind_flag(t)) { /* bits 31-24: width of a bit field */
			if (off >> 24 && strcmp(name, member) == 0)
				return false;
			off &= 0xffffff;
		}
		if (strcmp(name, member) == 0) {
			*bits_ret = base + off;
			return true;
		}
		if (*name || depth == NESTED_MAX)
			continue;
		inner = plain(b, vp_ld32(m + M_TYPE));
		if (inner && (kind(inner) == KIND_STRUCT || kind(inner) == KIND_UNION) &&
		    find(b, inner, member, base + off, depth + 1, steps, bits_ret))
			return true;
	}
	return false;
}

bool btf_member(const struct btf *b, const char *structure, const char *member, uint32_t *ret)
{
	uint32_t steps = STEPS_MAX;
	bool found = false;
	uint64_t where = 0;

	for (uint32_t i = 0; i < b->n_types; i++) {
		const uint8_t *t = type_at(b, i);
		uint64_t bits;

		if (kind(t) != KIND_STRUCT || strcmp(str(b, vp_ld32(t + T_NAME)), structure) != 0 ||
		    !find(b, t, member, 0, 0, &steps, &bits))
			continue;
		if (bits % 8 || bits / 8 > UINT32_MAX || (found && bits != where))
			return false;
		found = true;
		where = bits;
	}
	if (found)
		*ret = (uint32_t)(where / 8);
	return found;
}

bool btf_struct_size(const struct btf *b, const char *structure, uint32_t *ret)
{
	bool found = false;
	uint32_t size = 0;

	for (uint32_t i = 0; i < b->n_types; i++) {
		const uint8_t *t = type_at(b, i);

		if (kind(t) != KIND_STRUCT || strcmp(str(b, vp_ld32(t + T_NAME)), structure) != 0)
			continue;
		if (found && vp_ld32(t + T_SIZE) != size)
			return false;
		found = true;
		size = vp_ld32(t + T_SIZE);
	}
	if (found)
		*ret = size;
	return found;
}

typedef void (*enum_fn)(void *ctx, const char *name, uint64_t value);

static void enum_each(const struct btf *b, enum_fn fn, void *ctx)
{
	for (uint32_t i = 0; i < b->n_types; i++) {
		const uint8_t *t = type_at(b, i);
		unsigned k = kind(t);
		size_t step = k == KIND_ENUM ? E_BYTES : E64_BYTES;

		if (k != KIND_ENUM && k != KIND_ENUM64)
			continue;
		for (uint32_t n = 0; n < vlen(t); n++) {
			const uint8_t *e = t + T_MORE + step * n;
			uint64_t v = vp_ld32(e + E_VALUE);

			if (k == KIND_ENUM64)
				v |= (uint64_t)vp_ld32(e + E_HIGH) << 32;
			fn(ctx, str(b, vp_ld32(e + E_NAME)), v);
		}
	}
}

struct wanted {
	const char *name;
	uint64_t value;
	unsigned found, differ;
};

static void match(void *ctx, const char *name, uint64_t value)
{
	struct wanted *w = ctx;

	if (strcmp(name, w->name) != 0)
		return;
	w->differ += w->found && w->value != value;
	w->value = value;
	w->found++;
}

bool btf_enumerator(const struct btf *b, const char *name, uint64_t *ret)
{
	struct wanted w = {.name = name};

	enum_each(b, match, &w);
	if (!w.found || w.differ)
		return false;
	*ret = w.value;
	return true;
}

static void gather(void *ctx, const char *name, uint64_t value)
{
	struct wanted *w = ctx;

	if (strncmp(name, w->name, strlen(w->name)) == 0)
		w->value |= value;
}

uint64_t btf_enumerators_or(const struct btf *b, const char *prefix)
{
	struct wanted w = {.name = prefix};

	enum_each(b, gather, &w);
	return w.value;
}
