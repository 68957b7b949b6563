/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Target descriptions: which number and which place in the `g` packet a register has. GDB manual,
 * appendix G. Only what QEMU writes is understood: includes and registers, no conditions.
 */
#ifndef VP_DRV_GDB_XML_H
#define VP_DRV_GDB_XML_H

#include "arch/arch.h"

#define GDB_XML_INCLUDES 32
#define GDB_XML_NAME     64
#define GDB_REG_MAX      65536u /* numbers beyond are refused */

struct gdb_reg {
	uint32_t num;
	uint32_t bytes;  /* 1 to 8 */
	uint32_t offset; /* in the `g` packet, bytes; valid if placed */
	bool placed;     /* no gap in the numbers before it */
	bool known;
};

/* Filled document by document, in the order that their includes have. */
struct gdb_xml {
	const char *const *want; /* ARCH_REG_MAX names, NULL where none */
	struct gdb_reg reg[ARCH_REG_MAX];
	uint32_t next_num;
	uint64_t next_offset;
	bool placed;
	char include[GDB_XML_INCLUDES][GDB_XML_NAME];
	unsigned n_includes;
};

void gdb_xml_init(struct gdb_xml *x, const char *const *want);

/* Adds one document. VP_E_PROTO if it is not well formed as far as it matters. */
int gdb_xml_add(struct gdb_xml *x, const char *text, size_t len) VP_MUST_USE;

#endif
