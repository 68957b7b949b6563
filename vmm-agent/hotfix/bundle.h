/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A parsed bundle, as the reader leaves it to the linker. Inside this room only. */
#ifndef VP_HOTFIX_BUNDLE_H
#define VP_HOTFIX_BUNDLE_H

#include "protocol/note.h"
#include "vmm-agent/hotfix/hotfix.h"
#include "vmm-agent/hotfix/object.h"

#define BUNDLE_ALIGN     64         /* the base of an image, and the most a section may ask for */
#define BUNDLE_IMAGE_MAX (1u << 20) /* bytes of an image */
#define BUNDLE_NOT_THERE UINT32_MAX /* in place[]: the section is not part of the image */

/* A symbol of the payload that stands for one of the guest by another name or position. */
struct bundle_symbol {
	const char *alias;
	const char *name;
	unsigned sympos;
};

struct hf_bundle {
	uint32_t format; /* of its notes */
	struct obj obj;  /* owns every string */
	struct hf_info info;
	struct hf_replace replace[HF_REPLACE_MAX];
	uint32_t entry[HF_REPLACE_MAX]; /* offset of each replacement in the image */
	struct bundle_symbol *symbol;
	unsigned n_symbol;
	uint32_t *place; /* offset of each section in the image */
	uint32_t size;   /* of the image without veneers */
	uint32_t n_veneer;
};

/* Puts names into b->info, b->replace and b->symbol, out of the note section. */
int bundle_notes(struct hf_bundle *b, const struct obj_section *s, struct diag *diag) VP_MUST_USE;

/* True for a string of 1 to max characters of a kernel symbol. */
bool bundle_is_symbol(const char *s, size_t max);
/* True for a string of 1 to max of [A-Za-z0-9._+-], the first one a letter or digit. */
bool bundle_is_name(const char *s, size_t max);
/* True for symbols separated by one space each, or for "". */
bool bundle_is_clones(const char *s);

/* True if the relocation is a branch that a veneer can carry: to a guest symbol, as it is. */
bool bundle_may_veneer(const struct hf_bundle *b, const struct obj_rela *rela);

#endif
