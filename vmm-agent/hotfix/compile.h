/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's own build system, run on one C file. Inside this room only. */
#ifndef VP_HOTFIX_COMPILE_H
#define VP_HOTFIX_COMPILE_H

#include "arch/arch.h"
#include "vmm-agent/hotfix/hotfix.h"

/* The architecture that the headers are for, by their configuration. */
int compile_arch(const char *kernel, struct diag *diag, const struct arch_ops **ret) VP_MUST_USE;

/* The release that the headers are for, of at most len - 1 characters. */
int compile_release(const char *kernel, struct diag *diag, char *buf, size_t len) VP_MUST_USE;

/* Compiles args->source. *buf_ret is the object, malloc'ed. VP_E_TOOL when the compiler refuses. */
int compile_object(const struct hf_build *args, const struct arch_ops *arch, struct diag *diag,
		   uint8_t **buf_ret, size_t *len_ret) VP_MUST_USE;

/* Reads a file of at most max bytes, with a NUL behind it that *len_ret does not count. */
int compile_slurp(const char *path, size_t max, struct diag *diag, uint8_t **buf_ret,
		  size_t *len_ret) VP_MUST_USE;

#endif
