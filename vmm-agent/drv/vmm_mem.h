/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest RAM in the VMM's address space, read and written from outside. */
#ifndef VP_DRV_VMM_MEM_H
#define VP_DRV_VMM_MEM_H

#include <sys/types.h>
#include <sys/uio.h>

#include "protocol/addr.h"
#include "vmm-agent/base/diag.h"
#include "vmm-agent/target.h"

struct vmm_mem {
	pid_t pid;
	const struct vp_ram *ram; /* ascending, n of them */
	const uint64_t *hva;      /* where each starts in the VMM */
	size_t n;
};

/*
 * Whether every range lies in readable mappings of the process: that it is the one that runs the
 * VM. VP_E_NO_DOMAIN if it does not, VP_E_PERM if it may not be looked at.
 */
int vmm_mem_check(const struct vmm_mem *m, struct diag *diag) VP_MUST_USE;

/* at and len lie in RAM (the seam sees to that); may cross adjoining ranges. VP_E_PERM without the
 * right to trace the process, VP_E_DISCONNECTED when it is gone. */
int vmm_mem_read(const struct vmm_mem *m, vp_gpa_t at, void *buf, size_t len) VP_MUST_USE;

/* The same the other way. The VMM's own write tracking does not see it. */
int vmm_mem_write(const struct vmm_mem *m, vp_gpa_t at, const void *buf, size_t len) VP_MUST_USE;

/* Where [at, at + len) lies in the VMM; 0 if not in one range. */
uint64_t vmm_mem_hva(const struct vmm_mem *m, vp_gpa_t at, size_t len);

/* The pieces of our memory and of the process's, pair by pair, in as few system calls as can be.
 * write: ours to its. All of it or an error. */
int vmm_transfer(pid_t pid, const struct iovec *local, const struct iovec *remote, size_t n,
		 bool write) VP_MUST_USE;

/* n pieces, each within one range, in their order and in as few system calls as can be. */
int vmm_mem_read_all(const struct vmm_mem *m, const struct vp_io *io, size_t n) VP_MUST_USE;
int vmm_mem_write_all(const struct vmm_mem *m, const struct vp_io *io, size_t n) VP_MUST_USE;

/* As vp_find_pages. */
int vmm_mem_find_pages(const struct vmm_mem *m, const void *prefix, size_t n, vp_gpa_t *found,
		       size_t cap, size_t *n_ret, struct diag *diag) VP_MUST_USE;

/* Field 22 of /proc/PID/stat. VP_E_NO_DOMAIN if there is no such living process. */
int vmm_start_time(pid_t pid, uint64_t *ret) VP_MUST_USE;

/* What a vCPU's thread does, as far as the kernel shows it. */
enum vp_vcpu_state vmm_thread_state(pid_t tid);

/* The process that thread tid belongs to. VP_E_NO_DOMAIN if there is no such thread. */
int vmm_thread_group(pid_t tid, pid_t *ret) VP_MUST_USE;

#endif
