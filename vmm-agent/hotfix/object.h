/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A relocatable ELF64 little-endian object, read with every offset, count, name and index checked
 * before anything is handed out. Nothing here is trusted to be a bundle: the compiler's object
 * and a bundle are read by the same code.
 */
#ifndef VP_HOTFIX_OBJECT_H
#define VP_HOTFIX_OBJECT_H

#include <stddef.h>

#include "protocol/int.h"
#include "vmm-agent/base/diag.h"

#define OBJ_SECTIONS_MAX 4096
#define OBJ_SYMBOLS_MAX  65536
#define OBJ_RELAS_MAX    65536 /* in one section */

struct obj_section {
	const char *name;
	uint32_t type;
	uint64_t flags;
	const uint8_t *data; /* NULL for SHT_NOBITS and the null section */
	uint64_t size;
	uint32_t link, info;
	uint64_t align; /* a power of two, at least 1 */
};

struct obj_symbol {
	const char *name;
	uint8_t bind, type;
	uint16_t shndx; /* below n_section, or SHN_ABS, or SHN_COMMON */
	uint64_t value, size;
};

struct obj_rela {
	uint64_t offset; /* inside the section that it is for */
	uint32_t type;
	uint32_t sym; /* below n_symbol */
	int64_t addend;
};

struct obj {
	uint8_t *bytes; /* a copy: names and data point into it */
	size_t len;
	size_t headers_end; /* the first byte behind the section headers */
	uint16_t machine;
	struct obj_section *section;
	unsigned n_section;
	struct obj_symbol *symbol; /* symbol[0] is the null symbol */
	unsigned n_symbol;
};

/* Copies buf and checks it. VP_E_BUNDLE with words that begin with what is wrong. */
int obj_open(const uint8_t *buf, size_t len, struct diag *diag, struct obj *ret) VP_MUST_USE;
void obj_deinit(struct obj *o);

/* Relocations of an SHT_RELA section. */
unsigned obj_n_rela(const struct obj_section *s);
void obj_rela(const struct obj_section *s, unsigned i, struct obj_rela *ret);

/* Index of the section of that name, 0 if there is none. */
unsigned obj_find(const struct obj *o, const char *name);

#endif
