/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "protocol/ledger.h"
#include "protocol/bytes.h"

enum head_off {
	OFF_MAGIC = 0,
	OFF_VERSION = 8,
	OFF_SIZE = 12,
	OFF_SELF = 16,
	OFF_CRC = 24,
	OFF_FLAGS = 28,
	OFF_ID = 40,
	OFF_SEQ = 72,
	OFF_N_EDITS = 80,
	OFF_TEXT_LEN = 84,
	OFF_PAYLOAD_OFF = 88,
	OFF_PAYLOAD_LEN = 92,
	OFF_RESERVED1 = 96, /* to 112 */
	OFF_NAME = 112,
	OFF_VERSION_STR = 176,
	OFF_RESERVED2 = 208, /* to VP_LEDGER_HEAD */
};

enum edit_off {
	EDIT_GVA = 0,
	EDIT_GPA = 8,
	EDIT_KIND = 16,
	EDIT_DISCIPLINE = 17,
	EDIT_LEN = 18,
	EDIT_RESERVED = 19, /* to 32 */
	EDIT_REST = 32,
	EDIT_NEW = 40,
};

/* Freestanding: the compiler may ask for memcpy, we do not count on a libc to have it. */
static void copy(uint8_t *to, const uint8_t *from, size_t n)
{
	while (n--)
		*to++ = *from++;
}

static void zero(uint8_t *p, size_t n)
{
	while (n--)
		*p++ = 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

/* A string field: printable ASCII, at least one byte, a NUL and nothing but NULs behind it. */
static bool string_ok(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] > 0x20 && p[i] < 0x7f)
		i++;
	return i > 0 && i < n && all_zero(p + i, n - i);
}

static bool state_known(uint64_t state)
{
	return vp_ledger_state_name(state) != NULL;
}

uint32_t vp_ledger_size(uint32_t n_edits, uint32_t text_len, uint32_t payload_len,
			uint32_t *payload_off)
{
	uint32_t off;

	if (n_edits > VP_LEDGER_EDITS_MAX || text_len > VP_LEDGER_TEXT_MAX ||
	    payload_len > VP_LEDGER_SIZE_MAX / 2)
		return 0;
	off = VP_LEDGER_HEAD + n_edits * VP_LEDGER_EDIT + text_len;
	off = (off + VP_LEDGER_ALIGN - 1) & ~(uint32_t)(VP_LEDGER_ALIGN - 1);
	*payload_off = off;
	return (off + payload_len + VP_LEDGER_ALIGN - 1) & ~(uint32_t)(VP_LEDGER_ALIGN - 1);
}

static uint32_t record_crc(const uint8_t *buf, uint32_t size)
{
	static const uint8_t none[8];
	uint32_t crc = vp_crc32c(0, buf, OFF_CRC);

	crc = vp_crc32c(crc, none, 4);
	crc = vp_crc32c(crc, buf + OFF_FLAGS, VP_LEDGER_STATE_OFF - OFF_FLAGS);
	crc = vp_crc32c(crc, none, 8);
	return vp_crc32c(crc, buf + OFF_ID, size - OFF_ID);
}

static bool kind_ok(const uint8_t *e, uint32_t version)
{
	if (e[EDIT_KIND] == VP_EDIT_LITERAL)
		return version >= 2 && (e[EDIT_LEN] == 4 || e[EDIT_LEN] == 8);
	return e[EDIT_KIND] == VP_EDIT_SITE || e[EDIT_KIND] == VP_EDIT_TRACER;
}

static bool edit_ok(const uint8_t *e, uint32_t version)
{
	return kind_ok(e, version) && e[EDIT_DISCIPLINE] == VP_DISCIPLINE_STOP &&
	       e[EDIT_LEN] >= 1 && e[EDIT_LEN] <= VP_EDIT_MAX &&
	       all_zero(e + EDIT_RESERVED, EDIT_REST - EDIT_RESERVED) &&
	       all_zero(e + EDIT_REST + e[EDIT_LEN], VP_EDIT_MAX - e[EDIT_LEN]) &&
	       all_zero(e + EDIT_NEW + e[EDIT_LEN], VP_EDIT_MAX - e[EDIT_LEN]);
}

static void put_edit(uint8_t *e, const struct vp_edit *edit)
{
	zero(e, VP_LEDGER_EDIT);
	vp_st64(e + EDIT_GVA, edit->gva.v);
	vp_st64(e + EDIT_GPA, edit->gpa.v);
	e[EDIT_KIND] = edit->kind;
	e[EDIT_DISCIPLINE] = edit->discipline;
	e[EDIT_LEN] = edit->len;
	if (edit->len <= VP_EDIT_MAX) {
		copy(e + EDIT_REST, edit->rest, edit->len);
		copy(e + EDIT_NEW, edit->new, edit->len);
	}
}

int vp_ledger_encode(uint8_t *buf, size_t len, const struct vp_ledger *l,
		     const struct vp_edit *edits)
{
	uint32_t payload_off;
	uint32_t size = vp_ledger_size(l->n_edits, l->text_len, l->payload_len, &payload_off);
	uint32_t version = 1;
	uint8_t *p;

	if (size == 0 || size != l->size || size > len || payload_off != l->payload_off ||
	    !state_known(l->state) || (l->flags & ~VP_LEDGER_FLAGS_KNOWN) ||
	    !string_ok((const uint8_t *)l->name, sizeof(l->name)) ||
	    !string_ok((const uint8_t *)l->version, sizeof(l->version)))
		return VP_E_RANGE;
	for (uint32_t i = 0; i < l->n_edits; i++)
		if (edits[i].kind == VP_EDIT_LITERAL)
			version = 2;
	zero(buf, payload_off);
	vp_st64(buf + OFF_MAGIC, VP_LEDGER_MAGIC);
	vp_st32(buf + OFF_VERSION, version);
	vp_st32(buf + OFF_SIZE, size);
	vp_st64(buf + OFF_SELF, l->self.v);
	vp_st32(buf + OFF_FLAGS, l->flags);
	vp_st64(buf + VP_LEDGER_STATE_OFF, l->state);
	copy(buf + OFF_ID, l->id, sizeof(l->id));
	vp_st64(buf + OFF_SEQ, l->seq);
	vp_st32(buf + OFF_N_EDITS, l->n_edits);
	vp_st32(buf + OFF_TEXT_LEN, l->text_len);
	vp_st32(buf + OFF_PAYLOAD_OFF, payload_off);
	vp_st32(buf + OFF_PAYLOAD_LEN, l->payload_len);
	copy(buf + OFF_NAME, (const uint8_t *)l->name, sizeof(l->name));
	copy(buf + OFF_VERSION_STR, (const uint8_t *)l->version, sizeof(l->version));
	p = buf + VP_LEDGER_HEAD;
	for (uint32_t i = 0; i < l->n_edits; i++, p += VP_LEDGER_EDIT) {
		put_edit(p, &edits[i]);
		if (!edit_ok(p, version))
			return VP_E_RANGE;
	}
	copy(p, (const uint8_t *)l->text, l->text_len);
	zero(buf + payload_off + l->payload_len, size - payload_off - l->payload_len);
	vp_st32(buf + OFF_CRC, record_crc(buf, size));
	return VP_OK;
}

static bool layout_ok(const uint8_t *buf, size_t len, uint32_t size)
{
	uint32_t payload_off;
	uint32_t payload_len = vp_ld32(buf + OFF_PAYLOAD_LEN);

#ifdef VP_PLANT_LEDGER /* what the fuzzer is to find: a record longer than the bytes there are */
	len = VP_LEDGER_SIZE_MAX;
#endif
	return size <= len &&
	       vp_ledger_size(vp_ld32(buf + OFF_N_EDITS), vp_ld32(buf + OFF_TEXT_LEN), payload_len,
			      &payload_off) == size &&
	       vp_ld32(buf + OFF_PAYLOAD_OFF) == payload_off;
}

int vp_ledger_decode(const uint8_t *buf, size_t len, vp_gva_t self, struct vp_ledger *ret)
{
	struct vp_ledger l;
	uint32_t version;

	if (len < VP_LEDGER_HEAD || vp_ld64(buf + OFF_MAGIC) != VP_LEDGER_MAGIC ||
	    vp_ld64(buf + OFF_SELF) != self.v)
		return VP_E_LEDGER;
	version = vp_ld32(buf + OFF_VERSION);
	if (version > VP_LEDGER_VERSION)
		return VP_E_VERSION;
	l.self = self;
	l.size = vp_ld32(buf + OFF_SIZE);
	l.flags = vp_ld32(buf + OFF_FLAGS);
	l.state = vp_ld64(buf + VP_LEDGER_STATE_OFF);
	if (version == 0 || l.size < VP_LEDGER_HEAD || l.size > VP_LEDGER_SIZE_MAX ||
	    !layout_ok(buf, len, l.size) || (l.flags & ~VP_LEDGER_FLAGS_KNOWN) ||
	    !state_known(l.state) || !string_ok(buf + OFF_NAME, VP_LEDGER_NAME) ||
	    !string_ok(buf + OFF_VERSION_STR, VP_LEDGER_VERSION_LEN) ||
	    !all_zero(buf + OFF_RESERVED1, OFF_NAME - OFF_RESERVED1) ||
	    !all_zero(buf + OFF_RESERVED2, VP_LEDGER_HEAD - OFF_RESERVED2) ||
	    vp_ld32(buf + OFF_CRC) != record_crc(buf, l.size))
		return VP_E_LEDGER;
	l.seq = vp_ld64(buf + OFF_SEQ);
	l.n_edits = vp_ld32(buf + OFF_N_EDITS);
	l.text_len = vp_ld32(buf + OFF_TEXT_LEN);
	l.payload_off = vp_ld32(buf + OFF_PAYLOAD_OFF);
	l.payload_len = vp_ld32(buf + OFF_PAYLOAD_LEN);
	copy(l.id, buf + OFF_ID, sizeof(l.id));
	copy((uint8_t *)l.name, buf + OFF_NAME, sizeof(l.name));
	copy((uint8_t *)l.version, buf + OFF_VERSION_STR, sizeof(l.version));
	l.edits = buf + VP_LEDGER_HEAD;
	l.text = (const char *)l.edits + l.n_edits * VP_LEDGER_EDIT;
	for (uint32_t i = 0; i < l.n_edits; i++)
		if (!edit_ok(l.edits + (size_t)i * VP_LEDGER_EDIT, version))
			return VP_E_LEDGER;
	*ret = l;
	return VP_OK;
}

uint32_t vp_ledger_extent(const uint8_t *head)
{
	uint32_t version = vp_ld32(head + OFF_VERSION), size = vp_ld32(head + OFF_SIZE);

	return version == 0 || version > VP_LEDGER_VERSION || size < VP_LEDGER_HEAD ||
			       size > VP_LEDGER_SIZE_MAX
		       ? VP_LEDGER_HEAD
		       : size;
}

void vp_ledger_edit(const struct vp_ledger *l, uint32_t i, struct vp_edit *ret)
{
	const uint8_t *e = l->edits + (size_t)i * VP_LEDGER_EDIT;

	ret->gva = vp_gva(vp_ld64(e + EDIT_GVA));
	ret->gpa = vp_gpa(vp_ld64(e + EDIT_GPA));
	ret->kind = e[EDIT_KIND];
	ret->discipline = e[EDIT_DISCIPLINE];
	ret->len = e[EDIT_LEN];
	copy(ret->rest, e + EDIT_REST, VP_EDIT_MAX);
	copy(ret->old, e + EDIT_REST, VP_EDIT_MAX);
	copy(ret->new, e + EDIT_NEW, VP_EDIT_MAX);
}

const char *vp_ledger_state_name(uint64_t state)
{
	switch (state) {
	case VP_LEDGER_APPLYING:
		return "applying";
	case VP_LEDGER_APPLIED:
		return "applied";
	case VP_LEDGER_REVERTING:
		return "reverting";
	case VP_LEDGER_REVERTED:
		return "reverted";
	default:
		return NULL;
	}
}
