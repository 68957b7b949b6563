// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/bare.h"

/* QEMU (-name debug-threads=on) and the example VMM name them "CPU 0/KVM". */
static bool is_vcpu(pid_t pid, const char *tid)
{
	char path[64], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", (int)pid, tid);
	f = fopen(path, "re");
	if (f && !fgets(name, sizeof(name), f))
		name[0] = '\0';
	if (f)
		fclose(f);
	return strstr(name, "/KVM");
}

unsigned bare_threads(const struct bare *b, pid_t *ret, unsigned cap)
{
	char path[64];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)b->pid);
	d = opendir(path);
	while (d && n < cap && (e = readdir(d)))
		if (atoi(e->d_name) > 0 && is_vcpu(b->pid, e->d_name))
			ret[n++] = atoi(e->d_name);
	if (d)
		closedir(d);
	return n;
}

void bare_nice(const struct bare *b)
{
	const struct sched_param none = {0};
	pid_t tid[64];
	unsigned n = bare_threads(b, tid, 64);

	for (unsigned i = 0; i < n; i++)
		(void)sched_setscheduler(tid[i], SCHED_IDLE, &none);
}
