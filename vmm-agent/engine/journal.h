/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host's record of what is under way. One file a VMM, one transaction a file:
 *
 *     +0    "vpJOURNL"  u32 version  u32 0
 *     +16   record: u32 magic  u32 type  u32 len  u32 crc   len bytes, padded to 8
 *           INTENT     the whole transaction (txn.c)
 *           one of COMMITTED, ROLLED_BACK, GONE   when it came to its end
 *           zeroes     the room kept for that second record
 *
 * crc is CRC-32C over type, len and the bytes. The file is made beside its place, made durable,
 * and renamed into it before anything is written to the guest, so the INTENT in it is whole; it
 * replaces only a file whose entry is closed. The closing record goes into room that is there
 * already, so a full disk does not keep an entry open. A record that ends before its length
 * says, or is nothing but zeroes, was torn by a crash and never happened; anything else that
 * does not check is damage.
 */
#ifndef VP_ENGINE_JOURNAL_H
#define VP_ENGINE_JOURNAL_H

#include "vmm-agent/engine/txn.h"

#define ENG_JOURNAL_VERSION 2 /* the newest: see eng_txn_version */

enum eng_journal_type {
	ENG_JOURNAL_INTENT = 1,
	ENG_JOURNAL_COMMITTED = 2,
	ENG_JOURNAL_ROLLED_BACK = 3,
	ENG_JOURNAL_GONE = 4, /* VMM or guest boot ended first */
};

/*
 * What buf says. *ret is the transaction that is open, NULL when none is. VP_E_JOURNAL for damage,
 * VP_E_VERSION for a newer format.
 */
int eng_journal_parse(const uint8_t *buf, size_t len, struct diag *diag,
		      struct eng_txn **ret) VP_MUST_USE;

/* Reads the journal of one VMM; no file: nothing is open. */
int eng_journal_open_entry(const char *state_dir, const char *key, struct diag *diag,
			   struct eng_txn **ret) VP_MUST_USE;

/* Notes the intent, durably. On failure nothing is left that would be open. */
int eng_journal_begin(const char *state_dir, const struct eng_txn *txn,
		      struct diag *diag) VP_MUST_USE;
/* Closes the entry of that VMM, durably. */
int eng_journal_end(const char *state_dir, const char *key, enum eng_journal_type type,
		    struct diag *diag) VP_MUST_USE;
/* Takes a journal away: its VMM is gone. */
void eng_journal_forget(const char *state_dir, const char *key);

/* Calls fn with the key of every journal there is. Stops at and returns the first non-zero of fn. */
int eng_journal_each(const char *state_dir, int (*fn)(void *ctx, const char *key), void *ctx,
		     struct diag *diag) VP_MUST_USE;

#endif
