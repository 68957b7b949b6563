/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

int cmd_version(struct cli *cli)
{
	struct json_object *formats = json_object_new_object();

	out_str(cli->out.obj, "version", VP_VERSION);
	out_int(formats, "ledger", VP_LEDGER_VERSION);
	json_object_object_add(cli->out.obj, "formats", formats);
	out_raw(&cli->out, "vpatch %s (ledger format %d)\n", VP_VERSION, VP_LEDGER_VERSION);
	return VP_OK;
}
