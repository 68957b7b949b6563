// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/bench/rig.h"
#include "vmm-agent/base/clock.h"

void vmm_command(const char *program, const char *dir, char *buf, size_t len)
{
	snprintf(buf, len,
		 "exec '%s' --kernel \"$0\" --mem \"$1\" --vcpus \"$2\" --control '%s/control' "
		 "--state-dir '%s/vmm'",
		 program, dir, dir);
}

bool vmm_control_open(struct control *c, const char *dir)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char path[4096];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/control", dir);
	for (int i = 0; connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0; i++, usleep(10000))
		if (fd < 0 || i == 500)
			return false;
	c->out = fdopen(fd, "r");
	c->in = fdopen(dup(fd), "w");
	if (snprintf(c->fix, sizeof(c->fix), "%s", bare_file("fix.vpatch", path, sizeof(path))) >=
	    (int)sizeof(c->fix))
		return false;
	return c->in && c->out;
}

void vmm_control_close(struct control *c)
{
	if (c->in)
		fclose(c->in);
	if (c->out)
		fclose(c->out);
	*c = (struct control){.in = NULL};
}

/* Of its threads those that are neither the first one, which serves the socket, nor KVM's own. */
unsigned vmm_threads(pid_t pid, pid_t ret[BARE_CPUS_MAX])
{
	char path[64], comm[32];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && n < BARE_CPUS_MAX && (e = readdir(d))) {
		pid_t tid = atoi(e->d_name);
		FILE *f;

		if (tid == 0 || tid == pid)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", (int)pid, (int)tid);
		f = fopen(path, "re");
		if (f && fgets(comm, sizeof(comm), f) && strncmp(comm, "kvm-", 4) != 0)
			ret[n++] = tid;
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return n;
}

int vmm_change(struct control *c, const char *name, bool back, struct diag *diag,
	       struct sample *ret)
{
	uint64_t from = clock_now();
	const char *window;
	char line[512];

	fprintf(c->in, "%s %s\n", back ? "revert" : "apply", back ? name : c->fix);
	fflush(c->in);
	if (!fgets(line, sizeof(line), c->out))
		return diag_set(diag, VP_E_IO, "the VMM does not answer");
	ret->total_ns = clock_now() - from;
	window = strstr(line, " window_ns=");
	if (strncmp(line, "ok ", 3) != 0 || !window)
		return diag_set(diag, VP_E_IO, "%s", line);
	ret->window_ns = strtoull(window + strlen(" window_ns="), NULL, 10);
	return VP_OK;
}
