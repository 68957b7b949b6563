/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

static void help_json(struct cli *cli, const struct cmd *only)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < cli_n_cmds; i++)
		if (!only || only == &cli_cmds[i])
			json_object_array_add(list, page_json(&cli_cmds[i]));
	json_object_object_add(cli->out.obj, "commands", list);
}

int cmd_help(struct cli *cli)
{
	const struct cmd *cmd = cli->n_pos > 0 ? cli_find(cli->pos[0]) : NULL;

	if (cli->n_pos > 0 && !cmd)
		return diag_set(&cli->diag, VP_E_USAGE,
				"%.100s: there is no such command: see vpatch help", cli->pos[0]);
	help_json(cli, cmd);
	if (cli->opt[OPT_MAN])
		page_man(&cli->out);
	else if (cli->opt[OPT_BASH])
		page_bash(&cli->out);
	else
		page_usage(&cli->out, cmd);
	return VP_OK;
}
