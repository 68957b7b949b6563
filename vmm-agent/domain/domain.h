/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a name to a target; the only room that names drivers. */
#ifndef VP_DOMAIN_DOMAIN_H
#define VP_DOMAIN_DOMAIN_H

#include "vmm-agent/target.h"

struct dom_opts {
	const char *driver; /* "kvm", "gdb"; NULL, "" and "auto" leave the choice */
};

/*
 * opts may be NULL. name is `qmp:PATH` (QEMU's QMP socket) or `pid:N` (any process that runs a KVM
 * VM; of a QEMU, also its QMP socket is looked for among those it listens on). VP_E_USAGE for what
 * is neither, VP_E_CONFIG for an unknown driver, VP_E_NO_DOMAIN when nobody is there; otherwise the
 * driver's errors.
 */
int dom_open(const char *name, const struct dom_opts *opts, struct diag *diag,
	     struct vp_target **ret) VP_MUST_USE;

#endif
