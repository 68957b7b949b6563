// SPDX-License-Identifier: LGPL-2.1-or-later
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/bare.h"
#include "tests/lib/vmmctl.h"

void vmm_command(const char *dir, char *buf, size_t len)
{
	char program[4096];

	bare_file("../../../vmm", program, sizeof(program));
	snprintf(buf, len,
		 "exec '%s' --kernel \"$0\" --mem \"$1\" --vcpus \"$2\" --control '%s/control' "
		 "--state-dir '%s/vmm'",
		 program, dir, dir);
}

bool vmm_control_open(struct vmm_control *c, const char *dir)
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

void vmm_control_close(struct vmm_control *c)
{
	if (c->in)
		fclose(c->in);
	if (c->out)
		fclose(c->out);
	*c = (struct vmm_control){.in = NULL};
}

/* "error REASON: words" */
static int error_of(const char *line)
{
	size_t n;

	if (strncmp(line, "error ", 6) != 0)
		return VP_E_PROTO;
	line += 6;
	n = strcspn(line, ":\n");
	for (int row = 0; row < VP_ROW_COUNT; row++) {
		const char *reason = vp_err_reason(-1 - row);

		if (strlen(reason) == n && memcmp(reason, line, n) == 0)
			return -1 - row;
	}
	return VP_E_PROTO;
}

int vmm_change(struct vmm_control *c, const char *name, bool back, struct diag *diag,
	       uint64_t *window_ns)
{
	const char *window;
	char line[512];

	fprintf(c->in, "%s %s\n", back ? "revert" : "apply", back ? name : c->fix);
	fflush(c->in);
	if (!fgets(line, sizeof(line), c->out))
		return diag_set(diag, VP_E_DISCONNECTED, "the VMM does not answer");
	window = strstr(line, " window_ns=");
	if (strncmp(line, "ok ", 3) != 0 || !window)
		return diag_set(diag, error_of(line), "%s", line);
	*window_ns = strtoull(window + strlen(" window_ns="), NULL, 10);
	return VP_OK;
}
