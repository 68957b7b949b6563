/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line: one row a command, one file a command. Help, man page, completion and the
 * option parser are all made from the two tables here.
 */
#ifndef VP_CLI_CLI_H
#define VP_CLI_CLI_H

#include "vmm-agent/cli/conf.h"
#include "vmm-agent/cli/out.h"
#include "vmm-agent/engine/engine.h"

enum opt_id {
	OPT_HELP,
	OPT_JSON,
	OPT_CONFIG,
	OPT_DRIVER,
	OPT_DRY_RUN,
	OPT_DEADLINE,
	OPT_DISCIPLINE,
	OPT_ALLOW_UNSIGNED,
	OPT_ALLOW_DOWNGRADE,
	OPT_SYMBOLS,
	OPT_SLOTS,
	OPT_VCPUS,
	OPT_KERNEL,
	OPT_IMAGE,
	OPT_VMLINUX,
	OPT_BUILD_ID,
	OPT_OUTPUT,
	OPT_VERBOSE,
	OPT_PERF_DATA,
	OPT_FOLLOW,
	OPT_KEY,
	OPT_CERT,
	OPT_DIGEST,
	OPT_VERSION,
	OPT_MAN,
	OPT_BASH,
	OPT_COUNT,
};
#define OPT_BIT(id) (1u << (id))

struct opt {
	const char *name;
	char letter;      /* 0: none */
	const char *arg;  /* NULL: takes none; FILE and DIR complete to paths, a|b to its words */
	const char *help; /* NULL: not shown */
};
extern const struct opt cli_opts[OPT_COUNT];

struct cli {
	const struct cmd *cmd;
	const char *opt[OPT_COUNT]; /* NULL: not given; "" for one without argument */
	char **pos;
	int n_pos;
	struct conf conf;
	enum vp_discipline discipline; /* that --discipline names; 0: none */
	struct out out;
	struct diag diag;
};

struct cmd {
	const char *name;
	const char *args; /* "DOMAIN FILE"; optional ones in brackets */
	int min, max;     /* how many of them */
	unsigned opts;    /* OPT_BIT()s taken, besides the ones that all commands take */
	unsigned need;    /* those that must be given */
	bool conf;        /* reads the configuration */
	int (*run)(struct cli *cli);
	const char *summary;
	const char *help;
	const char *example; /* lines, newline-separated */
};
extern const struct cmd cli_cmds[];
extern const unsigned cli_n_cmds;
#define CLI_OPTS (OPT_BIT(OPT_HELP) | OPT_BIT(OPT_JSON) | OPT_BIT(OPT_CONFIG)) /* of all commands */

const struct cmd *cli_find(const char *name);

/*
 * Options up to the first word (before the command) or among all words (behind it, with the
 * command's own name as argv[0]). *used_ret is how many of argv were options. VP_E_USAGE.
 */
int cli_parse(struct cli *cli, int argc, char **argv, unsigned allowed, bool first,
	      int *used_ret) VP_MUST_USE;

/* --- what several commands do ------------------------------------------------------------------- */

/* A bundle file, read and looked at; deinit it in every case. */
struct cli_bundle {
	uint8_t *buf;
	size_t len;
	int verdict; /* of hf_verify */
	struct diag words;
	struct hf_signer signer;
	struct hf_bundle *b; /* NULL until parsed */
};
/* Reads the file and looks at its signature; only an unreadable file is a failure. */
int cli_bundle_read(struct cli *cli, const char *file, struct cli_bundle *ret) VP_MUST_USE;
/* Parses it, whatever its signature is. */
int cli_bundle_parse(struct cli *cli, const char *file, struct cli_bundle *b) VP_MUST_USE;
void cli_bundle_deinit(struct cli_bundle *b);
/* "signer" of --json: {"present":…,"trusted":…,"subject":…,"digest":…} */
void cli_signer_json(struct cli *cli, const struct cli_bundle *b);
/* Where bundles of this configuration find whom to trust. */
void cli_trust(const struct cli *cli, struct hf_trust *ret);

/* Gives up every capability that work on a guest does not need, for good. */
void cli_drop_rights(void);

/* Opens the domain that the first word names; the words of failures are about it from here on. */
int cli_domain_open(struct cli *cli, const char *name, struct vp_target **ret) VP_MUST_USE;
/* --deadline, --driver and --discipline over the configuration. */
int cli_settings(struct cli *cli) VP_MUST_USE;
struct eng_dirs cli_dirs(const struct cli *cli);

/* Through a file beside it: file is what it was or all of buf, never half of it. */
int cli_replace_file(const char *file, const uint8_t *buf, size_t len,
		     struct diag *diag) VP_MUST_USE;

/*
 * --perf-data. Ahead of the change: says whether a new file can be made there. Behind it: makes it; that
 * it could not be made is a note, for the guest is in the wanted state all the same. Without the
 * option both do nothing.
 */
int cli_perf_check(struct cli *cli) VP_MUST_USE;
void cli_perf_write(struct cli *cli, const struct vp_target *t, const struct eng_report *r);

/* What apply and revert did. verb: "applied", "reverted". */
void cli_report(struct cli *cli, const char *verb, const struct eng_report *r);
/* "trap"; "unknown" for none of them. */
const char *cli_discipline_name(uint8_t discipline);
/* how: of a change, each with its discipline; without, of what stands in the guest. */
struct json_object *cli_edits_json(const struct eng_edit *edits, size_t n, bool how);
void cli_edits_rows(struct cli *cli, const struct eng_edit *edits, size_t n);

/* "function", "nop", ... */
const char *cli_site_kind(uint8_t kind);
/* Bits 1 << enum vp_discipline: which are right at a site of the table, for the kind of change that it
 * is made for; live: the driver can store while the guest runs. */
unsigned cli_site_disciplines(const struct guest_sites *s, const struct vp_site *site, bool live);
const char *cli_discipline_words(unsigned mask, char words[64]);

/* --- pages made from the tables ------------------------------------------------------------------ */

void page_usage(struct out *out, const struct cmd *cmd); /* NULL: of vpatch itself */
void page_man(struct out *out);
void page_bash(struct out *out);
struct json_object *page_json(const struct cmd *cmd);

/* --- commands ------------------------------------------------------------------------------------ */

int cmd_apply(struct cli *cli);
int cmd_build(struct cli *cli);
int cmd_events(struct cli *cli);
int cmd_help(struct cli *cli);
int cmd_inspect(struct cli *cli);
int cmd_recover(struct cli *cli);
int cmd_revert(struct cli *cli);
int cmd_show(struct cli *cli);
int cmd_sign(struct cli *cli);
int cmd_sites(struct cli *cli);
int cmd_status(struct cli *cli);
int cmd_verify(struct cli *cli);
int cmd_version(struct cli *cli);

#endif
