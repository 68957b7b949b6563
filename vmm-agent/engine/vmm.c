/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_TRIES 16

void eng_vmm_key(const struct vp_identity *id, char key[ENG_KEY_MAX])
{
	snprintf(key, ENG_KEY_MAX, "%d-%" PRIu64, (int)id->pid, id->start_time);
}

bool eng_vmm_parse(const char *key, struct vp_identity *ret)
{
	struct vp_identity id = {0};
	char again[ENG_KEY_MAX];
	unsigned long pid;
	char *end;

	if (key[0] < '1' || key[0] > '9')
		return false;
	pid = strtoul(key, &end, 10);
	if (*end != '-' || pid > INT_MAX)
		return false;
	id.pid = (pid_t)pid;
	id.start_time = strtoull(end + 1, NULL, 10); /* what it did not take shows below */
	eng_vmm_key(&id, again);
	if (strcmp(key, again) != 0)
		return false;
	*ret = id;
	return true;
}

/* A small file of /proc, terminated; false when it cannot be read. */
static bool read_small(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, len - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	return true;
}

void eng_host_boot(char *buf, size_t len)
{
	if (!read_small("/proc/sys/kernel/random/boot_id", buf, len))
		buf[0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
}

/* Field 22 of /proc/PID/stat; the second field may hold blanks and brackets (proc(5)), so the
 * count begins behind the last ')'. */
static bool start_time(pid_t pid, uint64_t *ret, char *state_ret)
{
	char path[32], stat[1024];
	const char *p;
	char *end;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!read_small(path, stat, sizeof(stat)))
		return false;
	p = strrchr(stat, ')');
	if (!p || p[1] != ' ')
		return false;
	p += 2;
	*state_ret = *p;
	for (int field = 3; field < 22; field++) {
		p = strchr(p, ' ');
		if (!p)
			return false;
		p++;
	}
	*ret = strtoull(p, &end, 10);
	return end != p;
}

bool eng_vmm_alive(const struct vp_identity *id, const char *host_boot)
{
	char now[64];
	uint64_t start;
	char state;

	eng_host_boot(now, sizeof(now));
	if (host_boot[0] && now[0] && strcmp(host_boot, now) != 0)
		return false;
	return start_time(id->pid, &start, &state) && start == id->start_time && state != 'Z' &&
	       state != 'X';
}

static int sync_parent(const char *path)
{
	char parent[PATH_MAX];
	char *slash;
	int fd, r;

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (!slash)
		return 0;
	slash[slash == parent ? 1 : 0] = '\0';
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	r = fsync(fd);
	close(fd);
	return r;
}

int eng_mkdirs(const char *path, struct diag *diag)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(part))
		return diag_set(diag, VP_E_IO, "directory %s: the name is too long", path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) == 0) {
			if (sync_parent(part) < 0)
				return diag_errno(diag, errno, "directory %s", part);
		} else if (errno != EEXIST) {
			return diag_errno(diag, errno, "directory %s: cannot make it", part);
		}
	}
	return VP_OK;
}

static int lock_path(const char *run_dir, const struct vp_identity *id, char *path, size_t len,
		     struct diag *diag)
{
	char key[ENG_KEY_MAX];
	int n;

	eng_vmm_key(id, key);
	n = snprintf(path, len, "%s/lock/%s", run_dir, key);
	if (n < 0 || (size_t)n >= len)
		return diag_set(diag, VP_E_IO, "lock %s: the name is too long", run_dir);
	return VP_OK;
}

/* Whether the file that was locked is still the one that others would open. */
static bool still_there(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int lock_once(const char *path, struct diag *diag, int *fd_ret)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int saved;

	if (fd < 0)
		return diag_errno(diag, errno, "lock %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*fd_ret = fd;
		return VP_OK;
	}
	saved = errno;
	close(fd);
	if (saved == EWOULDBLOCK)
		return diag_set(
			diag, VP_E_LOCKED,
			"another vpatch is at work on this domain (%s): try again when it is "
			"done",
			path);
	return diag_errno(diag, saved, "lock %s", path);
}

int eng_lock(const char *run_dir, const struct vp_identity *id, struct diag *diag, int *fd_ret)
{
	char path[PATH_MAX];
	int r = lock_path(run_dir, id, path, sizeof(path), diag);

	if (r == VP_OK) {
		char *slash = strrchr(path, '/');

		*slash = '\0';
		r = eng_mkdirs(path, diag);
		*slash = '/';
	}
	for (int i = 0; r == VP_OK && i < LOCK_TRIES; i++) {
		int fd = -1;

		r = lock_once(path, diag, &fd);
		if (r < 0)
			return r;
		if (still_there(fd, path)) {
			*fd_ret = fd;
			return VP_OK;
		}
		close(fd); /* its owner took it away between our open and our lock */
	}
	return r < 0 ? r : diag_set(diag, VP_E_LOCKED, "lock %s: taken again and again", path);
}

void eng_unlock(const char *run_dir, const struct vp_identity *id, int fd)
{
	char path[PATH_MAX];

	if (fd < 0)
		return;
	if (lock_path(run_dir, id, path, sizeof(path), NULL) == VP_OK)
		unlink(path);
	close(fd);
}
