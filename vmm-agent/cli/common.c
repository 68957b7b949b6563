/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What several commands do. */
#include "vmm-agent/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm-agent/domain/domain.h"

/* --- settings ---------------------------------------------------------------------------------- */

static bool parse_discipline(const char *word, enum vp_discipline *ret)
{
	for (int d = VP_DISCIPLINE_STOP; d <= VP_DISCIPLINE_LITERAL; d++)
		if (strcmp(word, arch_discipline_name((enum vp_discipline)d)) == 0) {
			*ret = (enum vp_discipline)d;
			return true;
		}
	return strcmp(word, "auto") == 0;
}

int cli_settings(struct cli *cli)
{
	const char *deadline = cli->opt[OPT_DEADLINE], *driver = cli->opt[OPT_DRIVER],
		   *discipline = cli->opt[OPT_DISCIPLINE];

	if (deadline && !conf_duration(deadline, &cli->conf.deadline_ns))
		return diag_set(&cli->diag, VP_E_USAGE,
				"--deadline %.40s: give a time from 10us to 10s, such as 10ms",
				deadline);
	if (driver && !conf_driver(driver))
		return diag_set(&cli->diag, VP_E_USAGE, "--driver %.40s: give auto, kvm or gdb",
				driver);
	if (discipline && !parse_discipline(discipline, &cli->discipline))
		return diag_set(&cli->diag, VP_E_USAGE,
				"--discipline %.40s: give auto, stop, word, trap, skip or literal",
				discipline);
	if (driver)
		snprintf(cli->conf.driver, sizeof(cli->conf.driver), "%s", driver);
	return VP_OK;
}

struct eng_dirs cli_dirs(const struct cli *cli)
{
	return (struct eng_dirs){cli->conf.state_dir, cli->conf.run_dir};
}

void cli_trust(const struct cli *cli, struct hf_trust *ret)
{
	const struct conf *c = &cli->conf;
	/* A directory that the configuration names must be there: a slip of the pen must not undo
	 * every revocation. The default one may be missing, as before make install. */
	bool revoked = c->revoked_given || access(c->revoked_dir, F_OK) == 0;

	*ret = (struct hf_trust){c->certs_dir, revoked ? c->revoked_dir : NULL};
}

int cli_domain_open(struct cli *cli, const char *name, struct vp_target **ret)
{
	struct dom_opts opts = {.driver = cli->conf.driver};

	cli->out.subject = name;
	out_str(cli->out.obj, "domain", name);
	return dom_open(name, &opts, &cli->diag, ret);
}

/* --- bundles ----------------------------------------------------------------------------------- */

int cli_bundle_read(struct cli *cli, const char *file, struct cli_bundle *ret)
{
	struct hf_trust trust;
	int r;

	memset(ret, 0, sizeof(*ret));
	out_str(cli->out.obj, "file", file);
	r = hf_read_file(file, &cli->diag, &ret->buf, &ret->len);
	if (r < 0)
		return r;
	cli_trust(cli, &trust);
	diag_init(&ret->words);
	ret->verdict = hf_verify(ret->buf, ret->len, &trust, &ret->words, &ret->signer);
	return VP_OK;
}

int cli_bundle_parse(struct cli *cli, const char *file, struct cli_bundle *b)
{
	if (hf_open(b->buf, b->len, &cli->diag, &b->b) < 0)
		return diag_prefix(&cli->diag, "%.200s", file);
	return VP_OK;
}

void cli_bundle_deinit(struct cli_bundle *b)
{
	hf_close(b->b);
	free(b->buf);
	memset(b, 0, sizeof(*b));
}

void cli_signer_json(struct cli *cli, const struct cli_bundle *b)
{
	struct json_object *o = json_object_new_object();

	out_bool(o, "present", b->signer.present);
	out_bool(o, "trusted", b->signer.trusted);
	out_str(o, "subject", b->signer.subject);
	out_str(o, "digest", b->signer.digest);
	json_object_object_add(cli->out.obj, "signer", o);
}

/* --- files ------------------------------------------------------------------------------------- */

static int write_all(int fd, const uint8_t *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

int cli_replace_file(const char *file, const uint8_t *buf, size_t len, struct diag *diag)
{
	mode_t mask = umask(0);
	char *tmp;
	int fd, e;

	umask(mask);
	if (asprintf(&tmp, "%s.XXXXXX", file) < 0)
		return diag_set(diag, VP_E_NOMEM, "%.200s: no memory to write it", file);
	fd = mkostemp(tmp, O_CLOEXEC);
	e = fd < 0 ? errno : write_all(fd, buf, len);
	if (!e && fchmod(fd, 0666 & ~mask) < 0)
		e = errno;
	if (fd >= 0 && close(fd) < 0 && !e)
		e = errno;
	if (!e && rename(tmp, file) < 0)
		e = errno;
	if (e && fd >= 0)
		unlink(tmp);
	free(tmp);
	return e ? diag_errno(diag, e, "%.200s", file) : VP_OK;
}

/* --- reports ----------------------------------------------------------------------------------- */

static const char *kind_name(uint8_t kind)
{
	switch (kind) {
	case VP_EDIT_SITE:
		return "site";
	case VP_EDIT_TRACER:
		return "tracer";
	case VP_EDIT_STATE:
		return "state";
	case VP_EDIT_LITERAL:
		return "literal";
	default:
		return "unknown";
	}
}

static size_t edit_len(const struct vp_edit *e)
{
	return e->len <= VP_EDIT_MAX ? e->len : VP_EDIT_MAX;
}

const char *cli_discipline_name(uint8_t discipline)
{
	const char *name = arch_discipline_name((enum vp_discipline)discipline);

	return name ? name : "unknown";
}

struct json_object *cli_edits_json(const struct eng_edit *edits, size_t n, bool how)
{
	struct json_object *a = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		const struct vp_edit *e = &edits[i].edit;
		struct json_object *o = json_object_new_object();

		out_str(o, "symbol", edits[i].symbol);
		out_addr(o, "address", e->gva.v);
		out_str(o, "kind", kind_name(e->kind));
		out_hex(o, "old", e->old, edit_len(e));
		out_hex(o, "new", e->new, edit_len(e));
		if (how)
			out_str(o, "discipline", cli_discipline_name(e->discipline));
		json_object_array_add(a, o);
	}
	return a;
}

void cli_edits_rows(struct cli *cli, const struct eng_edit *edits, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct vp_edit *e = &edits[i].edit;
		char old[2 * OUT_HEX_MAX + 1], new[2 * OUT_HEX_MAX + 1];

		if (e->kind == VP_EDIT_STATE)
			continue; /* the ledger's own word says nothing to people */
		out_row(&cli->out, kind_name(e->kind), "0x%016" PRIx64 "  %s -> %s  %s", e->gva.v,
			out_hex_text(old, e->old, edit_len(e)),
			out_hex_text(new, e->new, edit_len(e)), edits[i].symbol);
	}
}

static void report_json(struct cli *cli, const struct eng_report *r)
{
	struct json_object *o = cli->out.obj, *payload = json_object_new_object();

	out_str(o, "name", r->name);
	out_str(o, "version", r->version);
	out_str(o, "replaced_version", r->replaced_version);
	out_bool(o, "dry_run", cli->opt[OPT_DRY_RUN] != NULL);
	out_bool(o, "inline_unchecked", r->inline_unchecked);
	out_bool(o, "unsigned", r->unsigned_ok);
	out_bool(o, "live", r->live);
	out_str(o, "why_stop", r->why_stop);
	out_us(o, "window_us", r->window_ns);
	out_us(o, "mixed_us", r->mixed_ns);
	out_addr(payload, "address", r->payload.v);
	out_int(payload, "len", r->payload_len);
	json_object_object_add(o, "payload", payload);
	out_int(o, "arena_free", r->arena_free);
	json_object_object_add(o, "edits", cli_edits_json(r->edits, r->n_edits, true));
}

/* "trap", "word, literal": each once, in the order of the edits. */
static const char *disciplines(const struct eng_report *r, char *text, size_t len)
{
	unsigned seen = 0;
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; i < r->n_edits && n < len; i++) {
		unsigned bit = 1u << (r->edits[i].edit.discipline & 31);

		if (!(seen & bit))
			n += (size_t)snprintf(text + n, len - n, "%s%s", n ? ", " : "",
					      cli_discipline_name(r->edits[i].edit.discipline));
		seen |= bit;
	}
	return text;
}

static void report_discipline(struct cli *cli, const struct eng_report *r)
{
	char text[64];

	if (r->live)
		out_row(&cli->out, "discipline", "%s, while the guest runs",
			disciplines(r, text, sizeof(text)));
	else if (r->why_stop[0])
		out_row(&cli->out, "discipline", "stop: %s", r->why_stop);
}

static void report_times(struct cli *cli, const struct eng_report *r)
{
	char text[OUT_TIME_LEN];

	if (r->window_ns)
		out_row(&cli->out, "window", "%s", out_time_text(text, r->window_ns));
	if (r->mixed_ns)
		out_row(&cli->out, "mixed", "%s, in which the guest ran with old and new words",
			out_time_text(text, r->mixed_ns));
}

void cli_report(struct cli *cli, const char *verb, const struct eng_report *r)
{
	char size[OUT_SIZE_LEN], size2[OUT_SIZE_LEN];
	/* without words to change there is nothing that could be done */
	bool dry = cli->opt[OPT_DRY_RUN] && r->n_edits > 0;

	cli->out.changed = r->changed;
	report_json(cli, r);
	for (size_t i = 0; i < r->n_notes && i < ENG_NOTES_MAX; i++)
		out_note(&cli->out, "%s", r->notes[i]);
	if (cli->diag.err != VP_OK)
		return; /* the words of the failure say what there is to say */
	out_line(&cli->out, OUT_GOOD, "%s: %s %s %s%s%s", cli->out.subject, r->name, r->version,
		 dry          ? "can be "
		 : r->changed ? ""
			      : "is ",
		 verb,
		 dry          ? "; nothing was changed"
		 : r->changed ? ""
			      : " already; nothing was changed");
	if (r->inline_unchecked)
		out_row(&cli->out, "inlining",
			"inline-unchecked: inlined copies of the old "
			"functions were not looked for");
	if (r->unsigned_ok)
		out_row(&cli->out, "signature", "unsigned: let in by --allow-unsigned");
	if (r->replaced_version[0])
		out_row(&cli->out, "instead of", "version %s", r->replaced_version);
	report_discipline(cli, r);
	report_times(cli, r);
	if (r->payload_len)
		out_row(&cli->out, "payload", "0x%016" PRIx64 "  %s, %s left", r->payload.v,
			out_size_text(size, r->payload_len), out_size_text(size2, r->arena_free));
	cli_edits_rows(cli, r->edits, r->n_edits);
}
