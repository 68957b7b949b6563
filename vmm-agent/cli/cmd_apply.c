/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

/*
 * Only a missing or foreign signature can be waived: not a revocation, nor a signature that is
 * damaged, nor revocations that cannot be read.
 */
static int admit(struct cli *cli, const char *file, struct cli_bundle *b, bool *unsigned_ret)
{
	bool asked = cli->opt[OPT_ALLOW_UNSIGNED] != NULL;

	*unsigned_ret = b->verdict == VP_E_UNTRUSTED && asked && !cli->conf.always;
	if (b->verdict == VP_OK)
		return VP_OK;
	if (*unsigned_ret) {
		struct hf_trust trust;

		cli_trust(cli, &trust);
		if (hf_check_revoked(b->buf, b->len, &trust, &cli->diag) < 0)
			return diag_prefix(&cli->diag, "%.200s", file);
		out_note(&cli->out, "%.200s: let in by --allow-unsigned: %s", file, b->words.text);
		return VP_OK;
	}
	return diag_set(&cli->diag, b->verdict, "%.200s: %s%s", file, b->words.text,
			b->verdict == VP_E_UNTRUSTED && asked
				? " (--allow-unsigned does not count: require-signature = always)"
				: "");
}

static int apply(struct cli *cli, struct vp_target *t, const struct hf_bundle *b, bool unsigned_ok)
{
	struct eng_opts opts = {
		.dirs = cli_dirs(cli),
		.window_ns = cli->conf.deadline_ns,
		.dry_run = cli->opt[OPT_DRY_RUN] != NULL,
		.allow_downgrade = cli->opt[OPT_ALLOW_DOWNGRADE] != NULL,
		.unsigned_ok = unsigned_ok,
		.discipline = cli->discipline,
	};
	struct eng_report report = {0};
	int r = eng_apply(t, b, &opts, &cli->diag, &report);

	cli->diag.err = r;
	cli_report(cli, "applied", &report);
	eng_report_deinit(&report);
	return r;
}

static int with_bundle(struct cli *cli, const char *file, struct cli_bundle *b)
{
	struct vp_target *t = NULL;
	bool unsigned_ok = false;
	int r = admit(cli, file, b, &unsigned_ok);

	cli_signer_json(cli, b);
	if (r == VP_OK)
		r = cli_bundle_parse(cli, file, b);
	if (r == VP_OK)
		r = cli_domain_open(cli, cli->pos[0], &t);
	if (r < 0)
		return r;
	r = apply(cli, t, b->b, unsigned_ok);
	vp_target_close(t);
	return r;
}

int cmd_apply(struct cli *cli)
{
	struct cli_bundle b;
	int r;

	cli->out.subject = cli->pos[0];
	out_str(cli->out.obj, "domain", cli->pos[0]);
	r = cli_bundle_read(cli, cli->pos[1], &b);
	if (r == VP_OK)
		r = with_bundle(cli, cli->pos[1], &b);
	cli_bundle_deinit(&b);
	return r;
}
