/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The site table: where a guest's stub says that its text may be changed, and with what. The guest
 * writes it, the host copies it and reads the copy. Nothing that the host changes lies in it.
 *
 *     +0    magic[16]    +--------------------------------------------+ self, page-aligned
 *     +16   generation   |  odd while the guest changes the table     |
 *     +20   version,size |  size in bytes, a multiple of 8            |
 *     +28   head_size    |  where the head ends: it grows at its end  |
 *     +32   self         |  its own address: a copy is no table       |
 *     +40   crc, flags   |  CRC-32C of all but crc and generations    |
 *     +48   arch,id_kind |                                            |
 *     +51   id_len       |                                            |
 *     +52   reserved     |                                            |
 *     +56   id[64]       |  which kernel or image this is             |
 *     +120  sites        |  five parts: offset, count, bytes an entry,|
 *     +136  names        |  reserved. An entry grows at its end       |
 *     +152  arenas       |                                            |
 *     +168  dispatchers  |                                            |
 *     +184  ledgers      |                                            |
 *     +200  traps        |  the sixth, where head_size is 216         |
 *     head_size          +--------------------------------------------+
 *                        |  the parts, in any order, at multiples of  |
 *                        |  8 (names anywhere), with gaps if need be  |
 *     size-4 generation  +--------------------------------------------+ size
 *
 * Little-endian. There are offsets and indices, and no pointers from one part of the table to
 * another: nothing can be followed in a circle. docs/abi.md goes field by field and says how the
 * table grows, how a guest changes it, and what a host checks in which order.
 */
#ifndef VP_PROTOCOL_SITES_H
#define VP_PROTOCOL_SITES_H

#include "protocol/addr.h"
#include "protocol/err.h"
#include "protocol/sites_abi.h"

/* A part of a decoded table; `at` points into the bytes it was decoded from. */
struct vp_sites_part {
	const uint8_t *at;
	uint32_t n;
	uint32_t entry; /* bytes from one to the next; of names 1 */
};

/* A table, decoded. */
struct vp_sites {
	vp_gva_t self;
	uint32_t size;
	uint32_t generation;
	uint32_t flags;
	uint16_t arch;   /* VP_SITES_ARCH_* */
	uint8_t id_kind; /* VP_SITES_ID_* */
	uint8_t id_len;
	uint8_t id[VP_SITES_ID_MAX];
	struct vp_sites_part sites;
	struct vp_sites_part names;
	struct vp_sites_part arenas;
	struct vp_sites_part dispatchers;
	struct vp_sites_part ledgers;
	struct vp_sites_part traps;
};

struct vp_site {
	vp_gva_t at;           /* of Thumb code without the Thumb bit */
	vp_gva_t literal;      /* the data word that its dispatcher loads for it; 0: none. No other
				* site's, and ascending as the sites do */
	uint64_t literal_rest; /* what that word holds at rest */
	uint8_t kind;          /* VP_SITE_NOP .. */
	uint8_t sequence;      /* VP_SEQ_*, of VP_SITE_FUNCTION */
	uint8_t len;           /* bytes that may change */
	uint8_t flags;
	uint16_t dispatcher;       /* index, or VP_SITE_NO_DISPATCHER */
	const char *name;          /* NULL: none. Not unique: kernels have static functions */
	uint8_t rest[VP_SITE_MAX]; /* what a revert leaves there; len bytes, then zeroes */
};

struct vp_arena {
	vp_gva_t at;
	uint64_t len;
	uint8_t filler[4];  /* what unused space holds, repeated from `at` on */
	uint8_t filler_len; /* 1, 2 or 4 */
};

struct vp_dispatcher {
	vp_gva_t at;
	uint64_t reach;      /* a site lies at most that far from it, before or behind */
	uint8_t kind;        /* VP_DISPATCHER_* */
	uint8_t reg;         /* DWARF number of the register it counts from */
	int32_t literal_off; /* from that register to the literal */
	int32_t inner_off;   /* of VP_DISPATCHER_OPS: from the structure to the address; else 0 */
};

struct vp_ledger_space {
	vp_gva_t at;
	uint64_t len;
};

/* Records of VP_TRAP_RECORD bytes: what whoever meets a trap at a site does instead. Its being there
 * says that the guest's trap handler reads them. */
struct vp_trap_space {
	vp_gva_t at;
	uint64_t len;
};

/* What the first VP_SITES_HEAD bytes say, before anything is believed. */
struct vp_sites_peek {
	vp_gva_t self;
	uint32_t version;
	uint32_t size; /* how many bytes to copy; at most VP_SITES_SIZE_MAX */
	uint32_t generation;
	uint16_t arch;
};

/*
 * Cheap, for the head of a page that may be a table; VP_E_SITES if it is none. A newer version is
 * not refused here, because a forged one would be in the way of the real one: it has to close the
 * circle first, like any other, and vp_sites_decode of its head then says VP_E_VERSION.
 * When the generation behind the copy is not the one before it, copy again.
 */
int vp_sites_peek(const uint8_t *head, size_t len, struct vp_sites_peek *ret) VP_MUST_USE;

/*
 * Believes nothing. self is the address that buf was copied from; of len bytes the first size are
 * looked at. VP_E_SITES when it is not a table in every part, VP_E_VERSION when a newer stub wrote
 * it, VP_E_GUEST_CHANGED when the guest was changing it: copy again. Neither allocates nor recurses;
 * about n log n steps for n sites. *ret points into buf.
 */
int vp_sites_decode(const uint8_t *buf, size_t len, vp_gva_t self,
		    struct vp_sites *ret) VP_MUST_USE;

/* Entry i of a decoded table. VP_E_RANGE if there is none. */
int vp_sites_site(const struct vp_sites *s, uint32_t i, struct vp_site *ret) VP_MUST_USE;
int vp_sites_arena(const struct vp_sites *s, uint32_t i, struct vp_arena *ret) VP_MUST_USE;
int vp_sites_dispatcher(const struct vp_sites *s, uint32_t i,
			struct vp_dispatcher *ret) VP_MUST_USE;
int vp_sites_ledger(const struct vp_sites *s, uint32_t i, struct vp_ledger_space *ret) VP_MUST_USE;
int vp_sites_traps(const struct vp_sites *s, uint32_t i, struct vp_trap_space *ret) VP_MUST_USE;

/* The site that covers this address, by bisection. VP_E_NO_SITE if none does. */
int vp_sites_find(const struct vp_sites *s, vp_gva_t at, uint32_t *ret) VP_MUST_USE;

/* The one site of that name, looked for in all of them. VP_E_NO_SITE for none, VP_E_SYM_AMBIGUOUS
 * for several. */
int vp_sites_named(const struct vp_sites *s, const char *name, uint32_t *ret) VP_MUST_USE;

/* ELF's e_machine of a VP_SITES_ARCH_*; 0 for anything else. */
uint16_t vp_sites_machine(uint16_t arch);

/* What to write. The arrays are the caller's; sites, arenas, ledgers and traps ascend by address. */
struct vp_sites_new {
	vp_gva_t self;
	uint16_t arch;
	uint8_t id_kind;
	uint8_t id_len;
	const uint8_t *id;
	uint32_t n_sites;
	uint32_t n_arenas;
	uint32_t n_dispatchers;
	uint32_t n_ledgers;
	uint32_t n_traps;
	const struct vp_site *sites;
	const struct vp_arena *arenas;
	const struct vp_dispatcher *dispatchers;
	const struct vp_ledger_space *ledgers;
	const struct vp_trap_space *traps;
};

/* Bytes of the table with these entries, each name written once a site; 0 if that is too many. */
uint32_t vp_sites_size(const struct vp_sites_new *t);

/* Writes the table of vp_sites_size bytes, with generation 0 and sealed. VP_E_RANGE when it does not
 * fit into len, or is one that vp_sites_decode refuses. */
int vp_sites_encode(uint8_t *buf, size_t len, const struct vp_sites_new *t) VP_MUST_USE;

/* Makes the checksum right. VP_E_RANGE when the size in the head does not fit into len. */
int vp_sites_seal(uint8_t *buf, size_t len) VP_MUST_USE;

/*
 * Around a change by the guest that runs with the table at buf, which is aligned as a table is: one
 * change at a time, and the size stays what it was. _end seals. The barriers are for other CPUs, and
 * the host is one of them. VP_E_RANGE as vp_sites_seal, and nothing is changed.
 */
int vp_sites_begin(uint8_t *buf, size_t len) VP_MUST_USE;
int vp_sites_end(uint8_t *buf, size_t len) VP_MUST_USE;

#endif
