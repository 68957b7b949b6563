/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include "vmm-agent/domain/domain.h"

struct recover {
	struct cli *cli;
	struct json_object *list;
	unsigned n;
};

static const struct {
	const char *name, *words;
	enum out_style style;
	bool changed;
} outcomes[] = {
	[ENG_NOTHING] = {"nothing", "no change was under way", OUT_PLAIN, false},
	[ENG_ROLLED_BACK] = {"rolled-back", "the change was undone", OUT_GOOD, true},
	[ENG_COMPLETED] = {"completed", "the change was complete", OUT_GOOD, true},
	[ENG_GONE] = {"gone", "that guest is gone; its record was closed", OUT_PLAIN, true},
	[ENG_SKIPPED] = {"skipped", "another vpatch is at work on it", OUT_WARN, false},
	[ENG_FAILED] = {"failed", "could not be recovered", OUT_BAD, false},
};

static void put_recovered(void *ctx, const struct eng_recovered *r)
{
	struct recover *rec = ctx;
	struct json_object *o = json_object_new_object();
	unsigned i = (unsigned)r->outcome <= ENG_FAILED ? (unsigned)r->outcome : ENG_FAILED;
	int err = i == ENG_FAILED ? r->err : VP_OK;

	rec->n++;
	rec->cli->out.changed |= outcomes[i].changed;
	out_str(o, "locator", r->locator);
	out_str(o, "name", r->name);
	out_str(o, "outcome", outcomes[i].name);
	out_str(o, "reason", vp_err_reason(err));
	out_str(o, "message", r->diag.text);
	json_object_array_add(rec->list, o);
	out_line(&rec->cli->out, outcomes[i].style, "%s: %s%s%s%s%s", r->locator, r->name,
		 r->name[0] ? ": " : "", outcomes[i].words, r->diag.text[0] ? ": " : "",
		 r->diag.text);
}

static int open_locator(void *ctx, const char *locator, struct diag *diag, struct vp_target **ret)
{
	struct cli *cli = ctx;
	struct dom_opts opts = {.driver = cli->conf.driver};

	return dom_open(locator, &opts, diag, ret);
}

int cmd_recover(struct cli *cli)
{
	struct recover rec = {cli, json_object_new_array(), 0};
	struct eng_dirs dirs = cli_dirs(cli);
	int r;

	json_object_object_add(cli->out.obj, "recovered", rec.list);
	r = eng_recover(&dirs, open_locator, cli, put_recovered, &rec, &cli->diag);
	if (r == VP_OK && rec.n == 0)
		out_line(&cli->out, OUT_PLAIN, "nothing to recover");
	return r;
}
