/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/base/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool proc_is_stopped(pid_t pid)
{
	char path[32], text[512], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	p = strrchr(text, ')'); /* the name may hold anything */
	return p && (strncmp(p, ") T", 3) == 0 || strncmp(p, ") t", 3) == 0);
}
