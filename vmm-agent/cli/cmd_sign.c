/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <stdlib.h>

int cmd_sign(struct cli *cli)
{
	const char *in = cli->pos[0], *file = cli->opt[OPT_OUTPUT] ? cli->opt[OPT_OUTPUT] : in;
	const char *digest = cli->opt[OPT_DIGEST] ? cli->opt[OPT_DIGEST] : "sha256";
	uint8_t *buf = NULL, *signed_buf = NULL;
	size_t len = 0, signed_len = 0;
	int r = hf_read_file(in, &cli->diag, &buf, &len);

	out_str(cli->out.obj, "file", file);
	out_str(cli->out.obj, "digest", digest);
	if (r < 0)
		return r;
	r = hf_sign(buf, len, cli->opt[OPT_KEY], cli->opt[OPT_CERT], digest, &cli->diag,
		    &signed_buf, &signed_len);
	if (r < 0)
		diag_prefix(&cli->diag, "%.200s", in);
	if (r == VP_OK)
		r = cli_replace_file(file, signed_buf, signed_len, &cli->diag);
	if (r == VP_OK) {
		cli->out.changed = true;
		out_line(&cli->out, OUT_GOOD, "%s: signed", file);
	}
	free(signed_buf);
	free(buf);
	return r;
}
