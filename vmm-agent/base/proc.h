/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel tells of a process. */
#ifndef VP_BASE_PROC_H
#define VP_BASE_PROC_H

#include <stdbool.h>
#include <sys/types.h>

/* Whether job control or a debugger has stopped it: state T or t of /proc/PID/stat, proc(5). */
bool proc_is_stopped(pid_t pid);

#endif
