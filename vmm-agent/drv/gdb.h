/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way into a QEMU, TCG or KVM, through its QMP socket: RAM is read from outside out of the
 * process, and the guest is held, looked at and written through QEMU's own gdbstub, which is the
 * only writer that TCG's translations and migration's dirty log both see.
 */
#ifndef VP_DRV_GDB_H
#define VP_DRV_GDB_H

#include "vmm-agent/drv/qemu.h"
#include "vmm-agent/target.h"

/*
 * name is what the user typed, for words; path is the QMP socket. Neither pauses nor changes
 * anything. VP_E_NO_DOMAIN (nobody listens), VP_E_NOT_QMP, VP_E_MONITOR_BUSY, VP_E_PERM (the
 * socket, or the process's memory), VP_E_UNSUPPORTED (architecture, process in another pid
 * namespace).
 */
int drv_gdb_open(const char *name, const char *path, struct diag *diag,
		 struct vp_target **ret) VP_MUST_USE;

/* The same of a QEMU that is open already, which the target owns on success. */
int drv_gdb_take(struct qemu *m, struct diag *diag, struct vp_target **ret) VP_MUST_USE;

/*
 * For another driver of the same QEMU, while its guest migrates: holds the guest by the stub, writes
 * what these pieces hold to where they lie, lets it go. m stays the caller's. VP_E_MIGRATING when it
 * is too late for that, the guest has stopped for its last pages.
 */
int gdb_rewrite(struct qemu *m, const struct vp_io *io, size_t n, struct diag *diag) VP_MUST_USE;

#endif
