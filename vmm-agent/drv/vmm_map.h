/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a VMM has mapped, as /proc shows it. */
#ifndef VP_DRV_VMM_MAP_H
#define VP_DRV_VMM_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/err.h"

/* A line of /proc/PID/maps. */
struct vmm_map {
	uint64_t hva, len;
	uint64_t off;               /* in the file */
	uint64_t major, minor, ino; /* ino 0: no file */
	bool read, write, shared;
};

/* Calls fn for every mapping in ascending order until it gives false. VP_E_NO_DOMAIN, VP_E_PERM. */
int vmm_map_each(pid_t pid, bool (*fn)(const struct vmm_map *m, void *ctx), void *ctx) VP_MUST_USE;

/* A descriptor of the regular file that is mapped there; -1: there is none, or it may not be opened.
 * access: O_RDONLY or O_RDWR. */
int vmm_map_file(pid_t pid, const struct vmm_map *m, int access);

#endif
