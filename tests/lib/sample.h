/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A compiler's object, made by hand in memory, to pack bundles out of. Never fails: asserts. */
#ifndef VP_TESTS_LIB_SAMPLE_H
#define VP_TESTS_LIB_SAMPLE_H

#include <elf.h>

#include "vmm-agent/hotfix/hotfix.h"
#include "vmm-agent/hotfix/pack.h"

#define SAMPLE_SECTIONS 24
#define SAMPLE_SYMBOLS  24
#define SAMPLE_RELAS    16 /* a section */

struct sample {
	struct obj o;
	struct obj_section section[SAMPLE_SECTIONS];
	struct obj_symbol symbol[SAMPLE_SYMBOLS];
	uint8_t rela[SAMPLE_SECTIONS][SAMPLE_RELAS * 24]; /* for the section of that index */
	unsigned n_rela[SAMPLE_SECTIONS];
	unsigned text; /* index of .text */
};

/*
 * .text with a function `fixed` of a few instructions that calls `helper` of the guest, .rodata
 * that points to it, and a .vpatch.meta with the strings of meta (len counts their NULs).
 */
void sample_init(struct sample *s, const struct arch_ops *arch, const char *meta, size_t len);

unsigned sample_section(struct sample *s, const char *name, uint32_t type, uint64_t flags,
			const void *data, uint64_t size, uint64_t align);
unsigned sample_symbol(struct sample *s, const char *name, unsigned bind, unsigned type,
		       unsigned shndx, uint64_t value, uint64_t size);
void sample_rela(struct sample *s, unsigned target, uint64_t offset, uint32_t type, unsigned sym,
		 int64_t addend);

/* Meta and bundle, as `vpatch build` makes them, for release 6.1.0-test. */
int sample_pack(struct sample *s, struct diag *diag, uint8_t **buf, size_t *len);
/* The same for another kernel or image. */
int sample_pack_for(struct sample *s, const struct pack_kernel *kernel, struct diag *diag,
		    uint8_t **buf, size_t *len);

/* A resolver: every name is the guest's, at a place near *(uint64_t *)ctx that its hash gives. */
int sample_resolve(void *ctx, const char *name, unsigned sympos, struct diag *diag, vp_gva_t *ret);

#endif
