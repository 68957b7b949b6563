/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A good site table for each architecture, with every kind and sequence that it has. */
#ifndef VP_TESTS_LIB_SITETAB_H
#define VP_TESTS_LIB_SITETAB_H

#include "protocol/sites.h"

#define SITETABS 6

/* "x86-64", "arm64", "riscv64", "thumb2", "ppc64le", and "arm64-traps" with all six parts; i < SITETABS. */
const char *sitetab_name(unsigned i);

/* What table i says. */
const struct vp_sites_new *sitetab(unsigned i);

/* Its bytes: *len of them, aligned as a table is. The caller frees them. */
uint8_t *sitetab_make(unsigned i, size_t *len);

#endif
