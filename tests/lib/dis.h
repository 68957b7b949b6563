/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A second opinion on instructions: binutils objdump, run once over many of them. */
#ifndef VP_TESTS_LIB_DIS_H
#define VP_TESTS_LIB_DIS_H

#include "arch/arch.h"

struct dis_insn {
	uint64_t at;
	unsigned len;
	uint8_t bytes[ARCH_INSN_MAX];
	char text[128]; /* as objdump prints it, runs of white space made one blank */
};

typedef void (*dis_fn)(void *ctx, const struct dis_insn *insn);

/* Ends the test with 77 (skip), naming what is missing, unless every tool runs. */
void dis_need_tools(const char *const *tools, size_t n);

/* Runs objdump over raw bytes that lie at vma, or over the code sections of an ELF file. Returns
 * the number of instructions handed to fn; a failure of the tool ends the test. */
size_t dis_bytes(enum arch_id arch, const void *bytes, size_t len, uint64_t vma, dis_fn fn,
		 void *ctx);
size_t dis_file(enum arch_id arch, const char *path, dis_fn fn, void *ctx);

/* A directory of its own under TMPDIR, and a way to be rid of it with all its files. */
void dis_tmpdir(char path[64]);
void dis_rmdir(const char *path);

#endif
