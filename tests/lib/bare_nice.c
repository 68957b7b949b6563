// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tests/lib/bare.h"

void bare_nice(const struct bare *b)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)b->pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (atoi(e->d_name) > 0)
			(void)setpriority(PRIO_PROCESS, (id_t)atoi(e->d_name), 10);
	if (d)
		closedir(d);
}
