/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The example VMM (tests/vmm) as a bare_opts.command, and its control socket. */
#ifndef VP_TESTS_LIB_VMMCTL_H
#define VP_TESTS_LIB_VMMCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm-agent/base/diag.h"

struct vmm_control {
	FILE *in, *out;
	char fix[256]; /* path of the bundle */
};

/* What bare_start runs, by a shell. dir: for its socket and its state. */
void vmm_command(const char *dir, char *buf, size_t len);
bool vmm_control_open(struct vmm_control *c, const char *dir);
void vmm_control_close(struct vmm_control *c); /* fine on a zeroed one */
/* One apply of the bundle, or the revert of it by name, in the VMM itself. */
int vmm_change(struct vmm_control *c, const char *name, bool back, struct diag *diag,
	       uint64_t *window_ns) VP_MUST_USE;

#endif
