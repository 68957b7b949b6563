/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

static enum out_style style_of(enum eng_state s)
{
	return s == ENG_APPLIED ? OUT_GOOD : s == ENG_REVERTED ? OUT_PLAIN : OUT_BAD;
}

static struct json_object *hotfix_json(const struct eng_hotfix *h)
{
	struct json_object *o = json_object_new_object();

	out_str(o, "name", h->l.name);
	out_str(o, "version", h->l.version);
	out_str(o, "state", eng_state_name(h->state));
	out_str(o, "fixes", h->fixes);
	out_hex(o, "id", h->l.id, sizeof(h->l.id));
	out_bool(o, "inline_unchecked", h->l.flags & VP_LEDGER_INLINE_UNCHECKED);
	out_bool(o, "unsigned", h->l.flags & VP_LEDGER_UNSIGNED);
	out_addr(o, "record", h->l.self.v);
	out_int(o, "size", h->l.size);
	out_str(o, "words", h->words);
	json_object_object_add(o, "edits",
			       cli_edits_json(h->edits, h->edits ? h->l.n_edits : 0, false));
	return o;
}

static void put_hotfix(struct cli *cli, const struct eng_hotfix *h)
{
	char hex[2 * OUT_HEX_MAX + 1];

	out_line(&cli->out, style_of(h->state), "%-24s %-10s %-9s %s", h->l.name, h->l.version,
		 eng_state_name(h->state), h->fixes);
	if (h->words[0])
		out_row(&cli->out, "", "%s", h->words);
	if (h->l.flags & VP_LEDGER_INLINE_UNCHECKED)
		out_row(&cli->out, "",
			"inline-unchecked: inlined copies of the old functions were "
			"not looked for");
	if (h->l.flags & VP_LEDGER_UNSIGNED)
		out_row(&cli->out, "", "unsigned: let in by --allow-unsigned");
	if (cli->n_pos < 2)
		return;
	out_row(&cli->out, "id", "%s", out_hex_text(hex, h->l.id, sizeof(h->l.id)));
	cli_edits_rows(cli, h->edits, h->edits ? h->l.n_edits : 0);
}

static void put_list(struct cli *cli, const struct eng_list *l)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < l->n; i++) {
		json_object_array_add(list, hotfix_json(&l->hotfixes[i]));
		put_hotfix(cli, &l->hotfixes[i]);
	}
	json_object_object_add(cli->out.obj, "hotfixes", list);
	out_int(cli->out.obj, "arena_free", l->arena.free);
	out_bool(cli->out.obj, "pending", l->pending);
	if (l->n == 0 && cli->n_pos < 2)
		out_line(&cli->out, OUT_PLAIN, "%s: no hotfix is applied", cli->out.subject);
}

int cmd_status(struct cli *cli)
{
	const char *name = cli->n_pos > 1 ? cli->pos[1] : NULL;
	struct eng_dirs dirs = cli_dirs(cli);
	struct eng_list l = {0};
	struct guest *g = NULL;
	struct vp_target *t = NULL;
	int r = cli_domain_open(cli, cli->pos[0], &t);

	if (r < 0)
		return r;
	r = guest_open(t, GUEST_MAY_HOLD, &cli->diag, &g);
	if (r == VP_OK) {
		r = eng_status(t, g, name, &dirs, &cli->diag, &l);
		if (r == VP_OK || r == VP_E_NOT_APPLIED || vp_err_exit(r) == 4)
			put_list(cli, &l);
		eng_list_deinit(&l);
	}
	guest_close(g);
	vp_target_close(t);
	return r;
}
