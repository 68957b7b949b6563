/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bare-metal x86-64 guest as a file: a synthetic kernel (guestimg.h) 16 MiB up in RAM, real code
 * and tables laid over it, as ELF64 with a PVH note.
 */
#ifndef VP_TESTS_LIB_BAREIMG_H
#define VP_TESTS_LIB_BAREIMG_H

#include "vmm-agent/base/diag.h"

/* boot: what tests/guests/x86-64/boot.S was made into, flat. VP_E_IO, VP_E_RANGE. */
int bareimg_write(const char *boot, unsigned sites, const char *out, struct diag *diag) VP_MUST_USE;

#endif
