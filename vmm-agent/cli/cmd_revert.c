/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

int cmd_revert(struct cli *cli)
{
	struct eng_opts opts = {
		.dirs = cli_dirs(cli),
		.window_ns = cli->conf.deadline_ns,
		.dry_run = cli->opt[OPT_DRY_RUN] != NULL,
		.discipline = cli->discipline,
	};
	struct eng_report report = {0};
	struct vp_target *t = NULL;
	int r = cli_domain_open(cli, cli->pos[0], &t);

	if (r < 0)
		return r;
	r = eng_revert(t, cli->pos[1], &opts, &cli->diag, &report);
	cli->diag.err = r;
	cli_report(cli, "reverted", &report);
	eng_report_deinit(&report);
	vp_target_close(t);
	return r;
}
