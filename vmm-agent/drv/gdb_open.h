/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding out which VM answers at a QMP socket. */
#ifndef VP_DRV_GDB_OPEN_H
#define VP_DRV_GDB_OPEN_H

#include "vmm-agent/drv/gdb_int.h"

int gdb_create(const char *name, const char *path, struct diag *diag, struct gdb **ret) VP_MUST_USE;
void gdb_destroy(struct gdb *g);

/* How many vCPUs, and a host thread of one of them. */
int gdb_query_vcpus(struct gdb *g, uint64_t deadline, struct diag *diag, unsigned *n_ret,
		    pid_t *tid_ret) VP_MUST_USE;

#endif
