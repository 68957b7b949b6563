/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's own symbol table as scripts/kallsyms.c packs it:
 *
 *   num_syms       u32
 *   names          per symbol: length (one byte, or two with bit 7 of the first set), then that
 *                  many token numbers; the tokens together are the type's letter and the name
 *   token_index    256 u16: where each token starts in
 *   token_table    the tokens, each ended by a NUL
 *   offsets        num_syms s32, ascending by address, see kallsyms_decode
 *   relative_base  u64; none where each offset counts from its own place (as seen in 7.2)
 */
#ifndef VP_GUEST_KALLSYMS_H
#define VP_GUEST_KALLSYMS_H

#include "protocol/err.h"
#include "protocol/int.h"

#define KALLSYMS_SYMS_MAX  (1u << 20)
#define KALLSYMS_NAMES_MAX (16u << 20) /* packed */
#define KALLSYMS_TEXT_MAX  (64u << 20) /* unpacked */
#define KALLSYMS_TOKENS    256u
#define KALLSYMS_TABLE_MAX 65536u /* what a u16 index reaches */

/* The tables, copied out of the guest. */
struct kallsyms_raw {
	uint32_t n;
	const uint8_t *names;
	size_t names_len; /* may reach beyond the last name */
	const uint8_t *tokens;
	size_t tokens_len;      /* likewise */
	const uint8_t *index;   /* KALLSYMS_TOKENS * 2 bytes */
	const uint8_t *offsets; /* n * 4 bytes */
	uint64_t base;
	uint64_t place; /* address of the first offset, where there is no base; else 0 */
};

struct kallsyms {
	size_t n;
	uint64_t *addr;   /* ascending */
	uint32_t *name;   /* offset in text */
	char *text;       /* per symbol: the type's letter, the name, NUL */
	uint32_t *bucket; /* n + 1 is the end */
	uint32_t *next;   /* in address order */
	uint32_t mask;
};

/*
 * VP_E_GUEST_CORRUPT unless everything is as scripts/kallsyms.c writes it, _stext is there and lies
 * at stext, and addresses ascend; VP_E_NOMEM.
 */
int kallsyms_decode(const struct kallsyms_raw *raw, uint64_t stext,
		    struct kallsyms *ret) VP_MUST_USE;
void kallsyms_deinit(struct kallsyms *ks);

static inline char kallsyms_type(const struct kallsyms *ks, size_t i)
{
	return ks->text[ks->name[i]];
}

static inline const char *kallsyms_name(const struct kallsyms *ks, size_t i)
{
	return ks->text + ks->name[i] + 1;
}

/* The symbols of that name in address order: from n_symbols (none so far) to the first, from one
 * to the next; n_symbols when there is none left. */
size_t kallsyms_find(const struct kallsyms *ks, const char *name, size_t after);

/* The first symbol of the address that at lies behind; n_symbols if at is below all. */
size_t kallsyms_at(const struct kallsyms *ks, uint64_t at);
/* The address of the next symbol of another address; 0 if there is none. */
uint64_t kallsyms_end(const struct kallsyms *ks, size_t i);

#endif
