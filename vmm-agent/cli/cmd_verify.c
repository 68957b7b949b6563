/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

int cmd_verify(struct cli *cli)
{
	const char *file = cli->pos[0];
	struct cli_bundle b;
	int r = cli_bundle_read(cli, file, &b);

	if (r == VP_OK) {
		cli_signer_json(cli, &b);
		r = b.verdict;
		if (r < 0)
			diag_set(&cli->diag, r, "%.200s: %s", file, b.words.text);
		else
			out_line(&cli->out, OUT_GOOD, "%s: signed by %s (%s)", file,
				 b.signer.subject, b.signer.digest);
	}
	cli_bundle_deinit(&b);
	return r;
}
