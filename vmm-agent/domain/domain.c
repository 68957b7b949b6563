/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/domain/domain.h"

#include <string.h>

#include "vmm-agent/domain/pid.h"
#include "vmm-agent/drv/gdb.h"
#include "vmm-agent/drv/inproc.h"

static bool has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static int open_pid(const char *name, struct diag *diag, struct vp_target **ret)
{
	pid_t pid;
	int r = dom_parse_pid(name + strlen("pid:"), &pid);

	if (r < 0)
		return diag_set(diag, r, "%s: not a process id: write pid:N", name);
	return dom_open_pid(name, pid, diag, ret);
}

static int check_driver(const struct dom_opts *opts, struct diag *diag)
{
	const char *driver = opts && opts->driver ? opts->driver : "";

	if (*driver == '\0' || strcmp(driver, "auto") == 0 || strcmp(driver, "gdb") == 0)
		return VP_OK;
	return diag_set(diag, VP_E_CONFIG, "driver %s: there is none of that name: use gdb or auto",
			driver);
}

int dom_open(const char *name, const struct dom_opts *opts, struct diag *diag,
	     struct vp_target **ret)
{
	int r = check_driver(opts, diag);

	if (r < 0)
		return r;
	if (has_prefix(name, "qmp:")) {
		const char *path = name + strlen("qmp:");

		if (*path == '\0')
			return diag_set(diag, VP_E_USAGE,
					"qmp: names no socket: write qmp:/path/to/qmp.sock");
		return drv_gdb_open(name, path, diag, ret);
	}
	if (has_prefix(name, "pid:"))
		return open_pid(name, diag, ret);
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
