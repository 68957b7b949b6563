/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/domain/domain.h"

#include <string.h>

#include "vmm-agent/base/proc.h"
#include "vmm-agent/domain/pid.h"
#include "vmm-agent/drv/gdb.h"
#include "vmm-agent/drv/inproc.h"
#include "vmm-agent/drv/kvm.h"

enum choice { AUTO, GDB, KVM };

static int parse_driver(const struct dom_opts *opts, struct diag *diag, enum choice *ret)
{
	const char *driver = opts && opts->driver ? opts->driver : "";

	if (*driver == '\0' || strcmp(driver, "auto") == 0)
		*ret = AUTO;
	else if (strcmp(driver, "gdb") == 0)
		*ret = GDB;
	else if (strcmp(driver, "kvm") == 0)
		*ret = KVM;
	else
		return diag_set(diag, VP_E_CONFIG,
				"driver %s: there is none of that name: use kvm, gdb or auto",
				driver);
	return VP_OK;
}

static bool has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/*
 * Under KVM the kvm driver, whose window is shorter by far. Where it cannot (this host, this VMM,
 * these rights) QEMU's own stub does; under TCG the stub is the only one that translations see.
 */
static int take_qemu(struct qemu *m, enum choice choice, struct diag *diag, struct vp_target **ret)
{
	int r = VP_E_UNSUPPORTED;

	if (choice == KVM || (choice == AUTO && m->kvm))
		r = drv_kvm_take(m, diag, ret);
	if (choice == GDB || (choice == AUTO && (r == VP_E_UNSUPPORTED || r == VP_E_PERM)))
		r = drv_gdb_take(m, diag, ret);
	if (r < 0)
		qemu_destroy(m);
	return r;
}

static int open_qmp(const char *name, const char *path, enum choice choice, struct diag *diag,
		    struct vp_target **ret)
{
	struct qemu *m;
	int r;

	if (*path == '\0')
		return diag_set(diag, VP_E_USAGE,
				"qmp: names no socket: write qmp:/path/to/qmp.sock");
	r = qemu_create(name, path, diag, &m);
	return r == VP_OK ? take_qemu(m, choice, diag, ret) : r;
}

/* A QEMU is known best by its monitor. A VMM that has none that answers is known by KVM alone. */
static int open_pid(const char *name, enum choice choice, struct diag *diag, struct vp_target **ret)
{
	struct diag by_qmp;
	struct qemu *m;
	pid_t pid;
	int r = dom_parse_pid(name + strlen("pid:"), &pid);

	if (r < 0)
		return diag_set(diag, r, "%s: not a process id: write pid:N", name);
	/* Stopped by a signal it answers nobody; driver kvm does not ask it. */
	if (choice != GDB && proc_is_stopped(pid))
		return drv_kvm_open_pid(name, pid, diag, ret);
	diag_init(&by_qmp);
	r = dom_find_qemu(name, pid, &by_qmp, &m);
	if (r == VP_OK)
		return take_qemu(m, choice, diag, ret);
	/* A socket that says nothing is QEMU's monitor in other hands, or not QEMU's at all. */
	if (choice != GDB &&
	    (r == VP_E_NO_DOMAIN || (r == VP_E_MONITOR_BUSY && !dom_is_qemu(pid)))) {
		int by_kvm = drv_kvm_open_pid(name, pid, diag, ret);

		if (by_kvm != VP_E_NO_DOMAIN)
			return by_kvm;
	}
	if (diag)
		*diag = by_qmp;
	return r;
}

int dom_open(const char *name, const struct dom_opts *opts, struct diag *diag,
	     struct vp_target **ret)
{
	enum choice choice = AUTO;
	int r = parse_driver(opts, diag, &choice);

	if (r < 0)
		return r;
	if (has_prefix(name, "qmp:"))
		return open_qmp(name, name + strlen("qmp:"), choice, diag, ret);
	if (has_prefix(name, "pid:"))
		return open_pid(name, choice, diag, ret);
	if (has_prefix(name, INPROC_LOCATOR))
		return diag_set(
			diag, VP_E_PENDING,
			"%s: a VMM with libvpatch in it, which alone can reach its guest: have "
			"it call vp_recover(), or end it",
			name);
	if (strchr(name, '/'))
		return diag_set(diag, VP_E_USAGE, "%s: a path is not a domain: write qmp:%s", name,
				name);
	return diag_set(diag, VP_E_USAGE, "%s: names come by libvirt: use qmp:PATH", name);
}
