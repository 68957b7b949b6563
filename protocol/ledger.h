/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The ledger: what is applied, kept in guest memory, so that it travels with migration, saves and
 * snapshots. One record a hotfix, in the arena, in front of its payload:
 *
 *     +0    magic        +--------------------------------------------+
 *     +8    version,size |  the whole record, a multiple of 64 bytes  |
 *     +16   self         |  its own address: a copy is not a record   |
 *     +24   crc, flags   |  CRC-32C of all of it, state and crc as 0  |
 *     +32   state        |  one aligned word, the only part that      |
 *     +40   id[32]       |  changes after the first write             |
 *     +72   seq          |                                            |
 *     +80   offsets      |  edits, text, payload                      |
 *     +112  name[64]     |                                            |
 *     +176  version[32]  |                                            |
 *     +208  reserved     +--------------------------------------------+
 *     +256  edits, then text (what it fixes), then, 64-aligned, the payload
 *
 * Little-endian. There is no list and no head: records are found by their magic at 64-byte
 * boundaries of the arena and believed only when self and crc agree. The discipline of its edits is
 * always `stop`: a record says what stands in the guest, not how that came there, so that the same hotfix
 * has the same record whichever way it went in. Format versions are listed
 * in docs/compat.md; a newer version is refused whole and never rewritten.
 */
#ifndef VP_PROTOCOL_LEDGER_H
#define VP_PROTOCOL_LEDGER_H

#include "protocol/edit.h"
#include "protocol/err.h"

#define VP_LEDGER_MAGIC       0x524547444c507601ULL /* "\1vPLDGER" in memory */
#define VP_LEDGER_VERSION     2 /* the newest: records with a literal; all others are written as 1 */
#define VP_LEDGER_ALIGN       64
#define VP_LEDGER_HEAD        256 /* bytes before the edits */
#define VP_LEDGER_EDIT        48  /* bytes of one edit */
#define VP_LEDGER_EDITS_MAX   512 /* in one record */
#define VP_LEDGER_SIZE_MAX    (1u << 20)
#define VP_LEDGER_NAME        64
#define VP_LEDGER_VERSION_LEN 32
#define VP_LEDGER_TEXT_MAX    1024
#define VP_LEDGER_ID          32

#define VP_LEDGER_STATE_OFF 32

/* Values of the state word; in guest memory they read "applying", "applied", "revertng", "reverted" */
#define VP_LEDGER_APPLYING  0x676e69796c707061ULL
#define VP_LEDGER_APPLIED   0x006465696c707061ULL
#define VP_LEDGER_REVERTING 0x676e747265766572ULL
#define VP_LEDGER_REVERTED  0x6465747265766572ULL

enum vp_ledger_flag {
	VP_LEDGER_INLINE_UNCHECKED =
		1 << 0,              /* built without DWARF: inlined copies were not looked for */
	VP_LEDGER_UNSIGNED = 1 << 1, /* applied with --allow-unsigned */
};
#define VP_LEDGER_FLAGS_KNOWN 0x3u

/* A record, decoded. edits and text point into the bytes it was decoded from. */
struct vp_ledger {
	vp_gva_t self;
	uint64_t state;
	uint64_t seq; /* grows by one a record in a guest boot */
	uint32_t size;
	uint32_t flags;
	uint32_t n_edits;
	uint32_t payload_off;
	uint32_t payload_len;
	uint32_t text_len;
	uint8_t id[VP_LEDGER_ID]; /* SHA-256 of the bundle without its signature */
	char name[VP_LEDGER_NAME];
	char version[VP_LEDGER_VERSION_LEN];
	const uint8_t *edits;
	const char *text; /* text_len bytes, not terminated */
};

/* Bytes of a record with these parts, a multiple of VP_LEDGER_ALIGN; 0 if a part is too large.
 * *payload_off is where the payload will lie. */
uint32_t vp_ledger_size(uint32_t n_edits, uint32_t text_len, uint32_t payload_len,
			uint32_t *payload_off);

/*
 * Writes a record of l->size bytes into buf: head, edits, text and padding; the caller has put the
 * payload at l->payload_off before, since the checksum covers it. l->edits is not used. VP_E_RANGE
 * when the parts do not fit together or a string is not terminated.
 */
int vp_ledger_encode(uint8_t *buf, size_t len, const struct vp_ledger *l,
		     const struct vp_edit *edits) VP_MUST_USE;

/*
 * Believes nothing: VP_E_LEDGER when it is not a record (magic, self, crc, lengths, flags,
 * reserves, an unknown state, an edit of an impossible kind or length), VP_E_VERSION when a
 * newer vpatch wrote it. self is where buf was read from; only l->size of len bytes are looked at.
 */
int vp_ledger_decode(const uint8_t *buf, size_t len, vp_gva_t self,
		     struct vp_ledger *ret) VP_MUST_USE;

/* How many bytes have to be read for vp_ledger_decode to tell, by the VP_LEDGER_HEAD bytes of head:
 * at least these, at most VP_LEDGER_SIZE_MAX. */
uint32_t vp_ledger_extent(const uint8_t *head);

/* Edit i of a decoded record; i < n_edits. old is rest: the ledger keeps the guest's own bytes. */
void vp_ledger_edit(const struct vp_ledger *l, uint32_t i, struct vp_edit *ret);

/* "applying", "applied", "reverting", "reverted"; NULL for anything else. */
const char *vp_ledger_state_name(uint64_t state);

#endif
