/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/domain/pid.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKETS_MAX   1024    /* descriptors of one process that are looked at */
#define SO_ACCEPTCON_ 0x10000 /* include/uapi/linux/net.h, __SO_ACCEPTCON: it listens */
#define TYPE_STREAM   1

int dom_parse_pid(const char *text, pid_t *ret)
{
	char *end;
	long v;

	if (*text < '0' || *text > '9')
		return VP_E_USAGE;
	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || *end != '\0' || v < 1 || v > INT32_MAX)
		return VP_E_USAGE;
	*ret = (pid_t)v;
	return VP_OK;
}

bool dom_pid_stopped(pid_t pid)
{
	char path[64], text[512] = "", *p;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	p = strrchr(text, ')'); /* the name may hold anything */
	return p && strncmp(p, ") T", 3) == 0;
}

/* Field n of a line that has one space or more between fields; NULL if it has no so many. */
static const char *field(const char *line, int n)
{
	line += strspn(line, " ");
	for (; n > 0 && *line; n--) {
		line += strcspn(line, " ");
		line += strspn(line, " ");
	}
	return *line ? line : NULL;
}

/* `ffff..: 00000002 00000000 00010000 0001 01 12345 /run/vm.sock` */
bool dom_unix_listener(const char *line, uint64_t *inode_ret, const char **path_ret)
{
	const char *flags = field(line, 3), *path = field(line, 7);

	if (!flags || !path || *path != '/')
		return false;
	if (!(strtoul(flags, NULL, 16) & SO_ACCEPTCON_) ||
	    strtoul(field(line, 4), NULL, 16) != TYPE_STREAM)
		return false;
	*inode_ret = strtoull(field(line, 6), NULL, 10);
	*path_ret = path;
	return true;
}

/* The inodes of the sockets that the process has open. */
static int list_sockets(pid_t pid, uint64_t *inode, size_t *n_ret)
{
	char dir[64], path[128], link[64];
	struct dirent *e;
	size_t n = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)pid);
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? VP_E_NO_DOMAIN : VP_E_PERM;
	while (n < SOCKETS_MAX && (e = readdir(d))) {
		ssize_t len;

		snprintf(path, sizeof(path), "%s/%.32s", dir, e->d_name);
		len = readlink(path, link, sizeof(link) - 1);
		if (len <= 0)
			continue;
		link[len] = '\0';
		if (strncmp(link, "socket:[", 8) == 0)
			inode[n++] = strtoull(link + 8, NULL, 10);
	}
	closedir(d);
	*n_ret = n;
	return VP_OK;
}

static bool has_inode(const uint64_t *inode, size_t n, uint64_t which)
{
	for (size_t i = 0; i < n; i++)
		if (inode[i] == which)
			return true;
	return false;
}

/* What answers there has to be a QMP server of just this process's VM. */
static int try_socket(const char *name, pid_t pid, const char *path, struct diag *diag,
		      struct qemu **ret)
{
	struct qemu *m;
	int r = qemu_create(name, path, diag, &m);

	if (r < 0)
		return r;
	if (m->id.pid != pid) {
		qemu_destroy(m);
		return VP_E_NOT_QMP;
	}
	*ret = m;
	return VP_OK;
}

int dom_find_qemu(const char *name, pid_t pid, struct diag *diag, struct qemu **ret)
{
	uint64_t inode[SOCKETS_MAX];
	char path[64], *line = NULL;
	int r, busy = VP_OK;
	size_t n = 0, cap = 0;
	FILE *f;

	r = list_sockets(pid, inode, &n);
	if (r < 0)
		return diag_set(diag, r,
				r == VP_E_PERM
					? "%s: its descriptors may not be looked at: run vpatch "
					  "as root"
					: "%s: there is no such process",
				name);
	snprintf(path, sizeof(path), "/proc/%d/net/unix", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return diag_errno(diag, errno, "%s: %s", name, path);
	r = VP_E_NO_DOMAIN;
	while (r < 0 && getline(&line, &cap, f) > 0) {
		const char *socket;
		uint64_t which;

		line[strcspn(line, "\n")] = '\0';
		if (!dom_unix_listener(line, &which, &socket) || !has_inode(inode, n, which))
			continue;
		r = try_socket(name, pid, socket, diag, ret);
		/* A reason that the right socket may have is kept; a wrong socket is passed over. */
		if (r < 0 && r != VP_E_NOT_QMP && r != VP_E_NO_DOMAIN)
			busy = r;
	}
	free(line);
	fclose(f);
	if (r == VP_OK)
		return VP_OK;
	if (busy < 0 && diag && diag->err == busy)
		return busy;
	return diag_set(
		diag, busy < 0 ? busy : VP_E_NO_DOMAIN,
		"%s: %s: start QEMU with -qmp unix:PATH,server=on,wait=off or name its socket "
		"by qmp:PATH",
		name,
		busy < 0 ? vp_err_sentence(busy) : "listens on no QMP socket that is seen here");
}
