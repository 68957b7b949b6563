/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest whose memory is a file, as QMP pmemsave writes it: nothing can be written, nothing runs. */
#ifndef VP_TESTS_LIB_RAMFILE_H
#define VP_TESTS_LIB_RAMFILE_H

#include "vmm-agent/target.h"

/* base is where the file starts in guest-physical memory. regs (of one vCPU, copied) may be NULL:
 * then the driver cannot read registers. */
int ramfile_open(const char *path, vp_gpa_t base, const struct arch_ops *arch,
		 const struct arch_regs *regs, struct diag *diag,
		 struct vp_target **ret) VP_MUST_USE;

#endif
