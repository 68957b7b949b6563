/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * What a bundle says of itself: ELF notes in the section .note.vpatch of the relocatable object.
 *
 *     +0  namesz  7            +--------------------+
 *     +4  descsz               |  one ELF note, the |
 *     +8  type    below        |  next one follows  |
 *     +12 "vpatch\0" and a 0   |  at a multiple of  |
 *     +20 desc, padded with 0  |  4                 |
 *                              +--------------------+
 *
 * Little-endian. The first note is FORMAT; a bundle whose format or whose note types are not
 * known is refused whole. Strings are printable ASCII (0x20 to 0x7e), end in one NUL that descsz
 * counts, and are as long as the bounds below allow, the NUL not counted. Each type but REPLACE, SITE
 * and SYMBOL comes at most once. docs/bundle.md goes field by field.
 */
#ifndef VP_PROTOCOL_NOTE_H
#define VP_PROTOCOL_NOTE_H

#include "protocol/int.h"

#define VP_NOTE_SECTION  ".note.vpatch"
#define VP_NOTE_OWNER    "vpatch"
#define VP_NOTE_OWNER_SZ 7
#define VP_NOTE_HEAD     20 /* bytes before desc: three words, the owner and its padding */
#define VP_NOTE_ALIGN    4

#define VP_NOTE_FORMAT_VERSION 2 /* 1 for a bundle that names no site */

enum vp_note_type {
	VP_NOTE_FORMAT = 1,      /* u32: 1, or 2 with what is marked so. Comes first. */
	VP_NOTE_NAME = 2,        /* string, must be there */
	VP_NOTE_VERSION = 3,     /* string, must be there */
	VP_NOTE_FIXES = 4,       /* string: CVE ids, text */
	VP_NOTE_AUTHOR = 5,      /* string */
	VP_NOTE_DESCRIPTION = 6, /* string */
	VP_NOTE_RELEASE =
		7, /* string, must be there: `uname -r` of the kernel it is for, or "-" for
				  * a guest that is not Linux */
	VP_NOTE_BUILD_ID = 8,    /* bytes: that kernel's GNU build-id, or the site table's identity;
				  * absent: any build */
	VP_NOTE_CONSISTENCY = 9, /* u32: enum vp_note_consistency, must be there */
	VP_NOTE_FLAGS = 10,      /* u32: VP_NOTE_INLINE_CHECKED; no other bit */
	VP_NOTE_REPLACE = 11,    /* u32 sympos, then three strings: symbol, function, clones */
	VP_NOTE_SYMBOL = 12, /* u32 sympos, then two strings: name in the payload, in the guest */
	VP_NOTE_SITE =
		13, /* format 2. u32 enum vp_note_site, two strings: site, function ("" of NOP and
			      * WORD), and of WORD 1 to 8 bytes more */
	VP_NOTE_TYPE_COUNT
};

enum vp_note_site {
	VP_NOTE_SITE_CALL = 1,
	VP_NOTE_SITE_JUMP = 2,
	VP_NOTE_SITE_NOP = 3,
	VP_NOTE_SITE_WORD = 4,
};

enum vp_note_consistency {
	VP_NOTE_ENTRY = 1,
	VP_NOTE_QUIESCE = 2,
};

#define VP_NOTE_INLINE_CHECKED 0x1u

/* Bounds, in bytes without the NUL. */
#define VP_NOTE_NAME_MAX     63   /* the ledger keeps it in 64 */
#define VP_NOTE_VERSION_MAX  31   /* and this in 32 */
#define VP_NOTE_FIXES_MAX    1023 /* and this in its text */
#define VP_NOTE_TEXT_MAX     1023
#define VP_NOTE_RELEASE_MAX  63 /* __NEW_UTS_LEN is 64 */
#define VP_NOTE_BUILD_ID_MIN 8
#define VP_NOTE_BUILD_ID_MAX 64
#define VP_NOTE_SYMBOL_MAX   255
#define VP_NOTE_CLONES_MAX   1023
#define VP_NOTE_REPLACE_MAX  64 /* REPLACE and SITE notes in a bundle, at least one */
#define VP_NOTE_WORD_MAX     8
#define VP_NOTE_SYMBOLS_MAX  256 /* SYMBOL notes */
#define VP_NOTE_SYMPOS_MAX   65535
#define VP_NOTE_SECTION_MAX  (256u << 10) /* bytes of the whole section */

#endif
