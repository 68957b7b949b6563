/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --perf-data of apply and revert. */
#include "vmm-agent/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/perf/perf.h"

/* A perf.data file cannot be gone on with: its tables lie behind its records. */
static int is_free(const char *file, struct diag *diag)
{
	struct stat st;

	if (lstat(file, &st) < 0)
		return errno == ENOENT ? VP_OK
				       : diag_errno(diag, errno, "--perf-data %.200s", file);
	if (!S_ISREG(st.st_mode))
		return diag_set(diag, VP_E_IO, "--perf-data %.200s: is not a file: name a new one",
				file);
	if (st.st_size > 0)
		return diag_set(diag, VP_E_IO,
				"--perf-data %.200s: is there already, and each change has a file "
				"of its own: name a new one, or take this one away",
				file);
	return VP_OK;
}

int cli_perf_check(struct cli *cli)
{
	const char *file = cli->opt[OPT_PERF_DATA];
	char *tmp;
	int fd, r;

	if (!file)
		return VP_OK;
	out_str(cli->out.obj, "perf_data", file);
	r = is_free(file, &cli->diag);
	if (r < 0)
		return r;
	if (asprintf(&tmp, "%s.XXXXXX", file) < 0)
		return diag_set(&cli->diag, VP_E_NOMEM, "--perf-data %.200s: no memory", file);
	fd = mkstemp(tmp);
	if (fd < 0)
		r = diag_errno(&cli->diag, errno, "--perf-data %.200s", file);
	else
		unlink(tmp);
	if (fd >= 0)
		close(fd);
	free(tmp);
	return r;
}

static uint64_t wall_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

void cli_perf_write(struct cli *cli, const struct vp_target *t, const struct eng_report *r)
{
	const char *file = cli->opt[OPT_PERF_DATA];
	struct perf_src src = {
		.report = r,
		.host = cli->pos[0],
		.vcpus = vp_target_info(t)->vcpus,
		.wall_ns = wall_now(),
		.clock_ns = clock_now(),
	};
	struct diag diag;
	uint8_t *buf = NULL;
	size_t len = 0;
	int e;

	if (!file || cli->opt[OPT_DRY_RUN])
		return;
	diag_init(&diag);
	e = perf_encode(&src, &buf, &len);
	if (e < 0)
		diag_set(&diag, e, "--perf-data %.200s: %s", file, vp_err_sentence(e));
	else if (is_free(file, &diag) == VP_OK)
		(void)!cli_replace_file(file, buf, len, &diag);
	free(buf);
	if (diag.err != VP_OK)
		out_note(&cli->out,
			 "the guest is in the wanted state, but its text poke events were not "
			 "written: %s",
			 diag.text);
}
