/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hotfixes for the bare-metal guest: compiled as a kernel's payload is, packed as `vpatch build` does. */
#ifndef VP_TESTS_LIB_BAREFIX_H
#define VP_TESTS_LIB_BAREFIX_H

#include "vmm-agent/base/diag.h"

/* From a C file that includes <vpatch/hotfix.h>. Runs $CC (default gcc) with the working directory,
 * the top of the source tree, among the places of headers. VP_E_TOOL, VP_E_IO, and what pack.h has. */
int barefix_build(const char *source, const char *out, struct diag *diag) VP_MUST_USE;

/* One that replaces site_00000 to site_(n-1) by one function. */
int barefix_sites(unsigned n, const char *out, struct diag *diag) VP_MUST_USE;

#endif
