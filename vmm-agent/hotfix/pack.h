/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the compiler's object to a bundle. Inside this room only. */
#ifndef VP_HOTFIX_PACK_H
#define VP_HOTFIX_PACK_H

#include "protocol/note.h"
#include "vmm-agent/hotfix/object.h"

struct pack_replace {
	const char *symbol, *function, *clones;
	uint32_t sympos;
	uint32_t how; /* enum vp_note_site; 0: REPLACE */
	uint8_t word[VP_NOTE_WORD_MAX];
	unsigned word_len;
};

struct pack_symbol {
	const char *alias, *name;
	uint32_t sympos;
};

/* What the author's macros say. Owns text; every string points into it or is the caller's. */
struct pack_meta {
	char *text;
	const char *name, *version, *fixes, *author, *description; /* NULL where not given */
	uint32_t consistency;                                      /* 0 where not given */
	struct pack_replace replace[VP_NOTE_REPLACE_MAX];
	unsigned n_replace;
	struct pack_symbol symbol[VP_NOTE_SYMBOLS_MAX];
	unsigned n_symbol;
};

/* What the build knows besides. */
struct pack_kernel {
	const char *release;
	uint8_t build_id[VP_NOTE_BUILD_ID_MAX];
	unsigned build_id_len;
	bool inline_checked;
};

/* Reads the section .vpatch.meta of o. VP_E_BUNDLE names the macro that is not right. */
int pack_meta(const struct obj *o, struct diag *diag, struct pack_meta *ret) VP_MUST_USE;
void pack_meta_deinit(struct pack_meta *meta);

/*
 * Makes the bundle: carried sections, their relocations, the symbols that these need and the notes.
 * VP_E_SECTION names what cannot be carried. The same object and meta give the same bytes.
 * *out is malloc'ed.
 */
int pack_bundle(const struct obj *o, const struct pack_meta *meta, const struct pack_kernel *kernel,
		struct diag *diag, uint8_t **out, size_t *out_len) VP_MUST_USE;

/* VP_OK if the DWARF of vmlinux shows no inlined copy of a replaced function outside of the replaced
 * ones; VP_E_CLONES names where one is. Fills in the build-id that vmlinux has. */
int inline_check(const char *vmlinux, const struct pack_meta *meta, struct diag *diag,
		 struct pack_kernel *kernel) VP_MUST_USE;

#endif
