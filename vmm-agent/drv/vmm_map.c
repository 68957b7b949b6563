// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm-agent/drv/vmm_map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS_MAX 4096u

/* A number of maps' line, and what is behind it must begin with `end`. */
static bool number(const char **at, int base, char end, uint64_t *ret)
{
	char *behind;

	*ret = strtoull(*at, &behind, base);
	if (behind == *at || *behind != end)
		return false;
	*at = behind + 1;
	return true;
}

/* `7f3e00000000-7f3e04000000 rw-p 00000000 00:00 0 name`; proc_pid_maps(5) */
static bool parse_line(const char *line, struct vmm_map *ret)
{
	const char *perms;
	uint64_t end;

	if (!number(&line, 16, '-', &ret->hva) || !number(&line, 16, ' ', &end) || end <= ret->hva)
		return false;
	ret->len = end - ret->hva;
	perms = line;
	if (strcspn(perms, " ") != 4)
		return false;
	line += 5;
	ret->read = perms[0] == 'r';
	ret->write = perms[1] == 'w';
	ret->shared = perms[3] == 's';
	return number(&line, 16, ' ', &ret->off) && number(&line, 16, ':', &ret->major) &&
	       number(&line, 16, ' ', &ret->minor) && number(&line, 10, ' ', &ret->ino);
}

/* A host's map is as long as it likes; it is read line by line. */
int vmm_map_each(pid_t pid, bool (*fn)(const struct vmm_map *m, void *ctx), void *ctx)
{
	char path[64], *line = NULL;
	size_t cap = 0;
	bool more = true;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT || errno == ESRCH ? VP_E_NO_DOMAIN : VP_E_PERM;
	while (more && getline(&line, &cap, f) > 0) {
		struct vmm_map m = {0};

		if (parse_line(line, &m))
			more = fn(&m, ctx);
	}
	free(line);
	fclose(f);
	return VP_OK;
}

/* A regular file of that inode, long enough: looked at before it is opened, for an open of something else
 * may block or do something. */
static int open_if(const char *path, const struct vmm_map *m, int access)
{
	struct stat st;
	int fd;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != m->ino)
		return -1;
	fd = open(path, access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == m->ino && st.st_size >= 0 &&
	    (uint64_t)st.st_size >= m->off && (uint64_t)st.st_size - m->off >= m->len)
		return fd;
	close(fd);
	return -1;
}

int vmm_map_file(pid_t pid, const struct vmm_map *m, int access)
{
	char path[96];
	struct dirent *e;
	unsigned n = 0;
	int fd = -1;
	DIR *d;

	if (m->ino == 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && fd < 0 && n++ < FDS_MAX && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%.32s", (int)pid, e->d_name);
		fd = open_if(path, m, access);
	}
	if (d)
		closedir(d);
	if (fd >= 0)
		return fd;
	/* A VMM that has closed it. Asks for more than the descriptors do: CAP_CHECKPOINT_RESTORE. */
	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, m->hva,
		 m->hva + m->len);
	return open_if(path, m, access);
}
