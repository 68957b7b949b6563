/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A QEMU named by its process id: its QMP socket is among those that it listens on. */
#ifndef VP_DOMAIN_PID_H
#define VP_DOMAIN_PID_H

#include "vmm-agent/drv/qemu.h"

/* Decimal, at least 1, nothing behind it; VP_E_USAGE otherwise. */
int dom_parse_pid(const char *text, pid_t *ret) VP_MUST_USE;

/* Whether job control has stopped the process (state T of /proc/PID/stat). */
bool dom_pid_stopped(pid_t pid);

/* The caller owns *ret. VP_E_NO_DOMAIN: there is no such process, or it listens on no socket where
 * its own QMP answers. Otherwise what its monitor's opening said. */
int dom_find_qemu(const char *name, pid_t pid, struct diag *diag, struct qemu **ret) VP_MUST_USE;

/*
 * One line of /proc/PID/net/unix: true if it is a listening stream socket with a path in the file
 * system, which then starts at *path_ret. proc_net_unix(5)
 */
bool dom_unix_listener(const char *line, uint64_t *inode_ret, const char **path_ret);

#endif
