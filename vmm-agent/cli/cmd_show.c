/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <string.h>

static const char *consistency_name(enum hf_consistency c)
{
	return c == HF_QUIESCE ? "quiesce" : "entry";
}

static void show_json(struct cli *cli, const struct hf_info *i)
{
	struct json_object *o = cli->out.obj, *list = json_object_new_array();

	out_str(o, "name", i->name);
	out_str(o, "version", i->version);
	out_str(o, "fixes", i->fixes);
	out_str(o, "author", i->author);
	out_str(o, "description", i->description);
	out_hex(o, "id", i->id, sizeof(i->id));
	out_str(o, "arch", i->arch->name);
	out_str(o, "release", i->release);
	out_hex(o, "build_id", i->build_id, i->build_id_len);
	out_str(o, "consistency", consistency_name(i->consistency));
	out_bool(o, "inline_unchecked", !i->inline_checked);
	for (size_t k = 0; k < i->n_replace; k++) {
		struct json_object *r = json_object_new_object();

		out_str(r, "how", hf_how_name(i->replace[k].how));
		out_str(r, "symbol", i->replace[k].symbol);
		out_int(r, "sympos", i->replace[k].sympos);
		out_str(r, "function", i->replace[k].function);
		out_str(r, "clones", i->replace[k].clones);
		if (i->replace[k].word_len)
			out_hex(r, "word", i->replace[k].word, i->replace[k].word_len);
		json_object_array_add(list, r);
	}
	json_object_object_add(o, "replace", list);
}

static void row_if(struct cli *cli, const char *label, const char *value)
{
	if (value[0])
		out_row(&cli->out, label, "%s", value);
}

static void show_rows(struct cli *cli, const struct hf_info *i)
{
	char hex[2 * OUT_HEX_MAX + 1];

	out_line(&cli->out, OUT_BOLD, "%s %s", i->name, i->version);
	row_if(cli, "fixes", i->fixes);
	row_if(cli, "description", i->description);
	row_if(cli, "author", i->author);
	if (strcmp(i->release, GUEST_NO_RELEASE) == 0)
		out_row(&cli->out, "for image", "of a guest that is not Linux, %s", i->arch->name);
	else
		out_row(&cli->out, "for kernel", "%s, %s", i->release, i->arch->name);
	out_row(&cli->out, "build-id", "%s",
		i->build_id_len ? out_hex_text(hex, i->build_id, i->build_id_len)
				: "every build of that release");
	for (size_t k = 0; k < i->n_replace; k++) {
		const struct hf_replace *r = &i->replace[k];

		if (r->how == HF_REPLACE)
			out_row(&cli->out, k ? "" : "replaces", "%s by %s", r->symbol, r->function);
		else if (hf_leads(r))
			out_row(&cli->out, k ? "" : "replaces", "site %s: %s %s", r->symbol,
				hf_how_name(r->how), r->function);
		else
			out_row(&cli->out, k ? "" : "replaces", "site %s: %s%s%s", r->symbol,
				hf_how_name(r->how), r->word_len ? " " : "",
				r->word_len ? out_hex_text(hex, r->word, r->word_len) : "");
		if (r->sympos)
			out_row(&cli->out, "", "  (number %u of that name)", r->sympos);
		if (r->clones[0])
			out_row(&cli->out, "", "  (its clones: %s)", r->clones);
	}
	out_row(&cli->out, "consistency", "%s", consistency_name(i->consistency));
	out_row(&cli->out, "inlining", "%s",
		i->inline_checked ? "checked" : "inline-unchecked: built without --vmlinux");
	out_row(&cli->out, "id", "%s", out_hex_text(hex, i->id, sizeof(i->id)));
}

int cmd_show(struct cli *cli)
{
	const char *file = cli->pos[0];
	struct cli_bundle b;
	int r = cli_bundle_read(cli, file, &b);

	if (r == VP_OK)
		r = cli_bundle_parse(cli, file, &b);
	if (r == VP_OK) {
		show_json(cli, hf_info(b.b));
		out_int(cli->out.obj, "payload_len", hf_image_size(b.b));
		cli_signer_json(cli, &b);
		out_str(cli->out.obj, "signature", vp_err_reason(b.verdict));
		show_rows(cli, hf_info(b.b));
		if (b.verdict == VP_OK)
			out_row(&cli->out, "signed by", "%s (%s), trusted", b.signer.subject,
				b.signer.digest);
		else
			out_row(&cli->out, "signature", "%s: %s", vp_err_reason(b.verdict),
				b.words.text);
	}
	cli_bundle_deinit(&b);
	return r;
}
