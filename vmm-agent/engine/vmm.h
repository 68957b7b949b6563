/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which VMM process a lock and a journal belong to, and whether it lives. Keyed by pid and start
 * time, never by the name that was typed: `web-07`, `qmp:` and `pid:` may be one guest.
 */
#ifndef VP_ENGINE_VMM_H
#define VP_ENGINE_VMM_H

#include "vmm-agent/base/diag.h"
#include "vmm-agent/target.h"

#define ENG_KEY_MAX 48 /* "PID-START" and its NUL */

void eng_vmm_key(const struct vp_identity *id, char key[ENG_KEY_MAX]);
/* The other way round; false for anything that eng_vmm_key does not write. */
bool eng_vmm_parse(const char *key, struct vp_identity *ret);

/* The host's boot id: pids and start times mean something only within one. "" if unknown. */
void eng_host_boot(char *buf, size_t len);

/* Whether the process of that pid and start time still lives. host_boot: of when it was noted. */
bool eng_vmm_alive(const struct vp_identity *id, const char *host_boot);

/* Makes a directory and its parents, 0700, durably. */
int eng_mkdirs(const char *path, struct diag *diag) VP_MUST_USE;

/*
 * One lock a domain: run_dir/lock/PID-START, held by every process that has the descriptor, so a
 * holder keeps it when its watchdog dies. VP_E_LOCKED when somebody else is at work.
 */
int eng_lock(const char *run_dir, const struct vp_identity *id, struct diag *diag,
	     int *fd_ret) VP_MUST_USE;
/* Takes the file away and lets go. Only when no holder lives any more. */
void eng_unlock(const char *run_dir, const struct vp_identity *id, int fd);

#endif
