/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inproc driver: a target for the VM of the very process that vpatch is linked into. */
#ifndef VP_DRV_INPROC_H
#define VP_DRV_INPROC_H

#include "vmm-agent/drv/include/vpatch/inproc.h"
#include "vmm-agent/target.h"

/*
 * A target on the VM, with its memory slots as they are now: a change of them later on makes its
 * calls fail with VP_E_GUEST_CHANGED. vp outlives the target. Not to be held from a vCPU's own
 * thread (VP_E_USAGE).
 *
 * Registers are not live here: only a vCPU's own thread may ask KVM for them, so vp_peek_regs is a
 * hold of the shortest kind and VP_CAP_REGS_LIVE is not given.
 */
int drv_inproc_open(struct vp_inproc *vp, struct diag *diag, struct vp_target **ret) VP_MUST_USE;

/* Closes it; the next one on the VM knows the kernel's page that this one has noted. */
void drv_inproc_close(struct vp_inproc *vp, struct vp_target *t);

/* What lets it be named in a journal: "inproc:PID". Opens nothing: the VMM alone can. */
#define INPROC_LOCATOR "inproc:"

#endif
