/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <getopt.h>
#include <string.h>

const struct opt cli_opts[OPT_COUNT] = {
	[OPT_HELP] = {"help", 'h', NULL, "say what the command does and how, with an example"},
	[OPT_JSON] = {"json", 0, NULL, "print one JSON object on stdout, for errors too"},
	[OPT_CONFIG] = {"config", 0, "FILE", "read the settings from FILE"},
	[OPT_DRIVER] = {"driver", 0, "auto|kvm|gdb", "the way into the guest (default auto)"},
	[OPT_DRY_RUN] = {"dry-run", 0, NULL,
			 "do everything that needs no pause, change nothing, exit as apply would"},
	[OPT_DEADLINE] = {"deadline", 0, "TIME",
			  "the longest the guest may be held, or a change of the running guest "
			  "may take, 10us to 10s (default 100ms)"},
	[OPT_DISCIPLINE] = {"discipline", 0, "auto|stop|word|trap|skip|literal",
			    "how the words reach the guest's CPUs (default auto: the least "
			    "disturbing that is right)"},
	[OPT_ALLOW_UNSIGNED] = {"allow-unsigned", 0, NULL,
				"take a bundle without a trusted signature; never a revoked one"},
	[OPT_ALLOW_DOWNGRADE] = {"allow-downgrade", 0, NULL,
				 "let an older version take the place of a newer one"},
	[OPT_SYMBOLS] = {"symbols", 0, NULL, "print the guest's kallsyms instead"},
	[OPT_SLOTS] = {"slots", 0, NULL, "print the VM's memory slots as well"},
	[OPT_VCPUS] = {"vcpus", 0, NULL,
		       "print the vCPUs' threads, what they do and where they stand as well"},
	[OPT_KERNEL] = {"kernel", 0, "DIR",
			"the guest kernel's headers, as for an external module"},
	[OPT_IMAGE] = {"image", 0, "FILE",
		       "instead of --kernel: the ELF that a guest runs which is not Linux"},
	[OPT_VMLINUX] = {"vmlinux", 0, "FILE",
			 "the kernel with DWARF, to look for inlined copies of the old functions"},
	[OPT_BUILD_ID] = {"build-id", 0, "HEX", "the build-id of the kernel the bundle is for"},
	[OPT_OUTPUT] = {"output", 'o', "FILE", "where the result goes"},
	[OPT_VERBOSE] = {"verbose", 'v', NULL, "show what the kernel's build system says"},
	[OPT_PERF_DATA] = {"perf-data", 0, "FILE",
			   "make a perf.data file of the guest with the text poke events"},
	[OPT_FOLLOW] = {"follow", 0, NULL, "go on as they come, until the domain ends"},
	[OPT_KEY] = {"key", 0, "FILE", "private key, PEM (passphrase: KBUILD_SIGN_PIN)"},
	[OPT_CERT] = {"cert", 0, "FILE", "the key's certificate, PEM or DER"},
	[OPT_DIGEST] = {"digest", 0, "sha256|sha384|sha512", "default sha256"},
	[OPT_VERSION] = {"version", 0, NULL, NULL},
	[OPT_MAN] = {"man", 0, NULL, NULL},
	[OPT_BASH] = {"bash-completion", 0, NULL, NULL},
};

static int find_long(const char *token)
{
	size_t n = strcspn(token, "=");

	for (int i = 0; i < OPT_COUNT; i++)
		if (strlen(cli_opts[i].name) == n && strncmp(cli_opts[i].name, token, n) == 0)
			return i;
	return -1;
}

static const char *hint(const struct cli *cli)
{
	return cli->cmd ? cli->cmd->name : "help";
}

/* getopt_long takes abbreviations, and a script that uses one breaks with the next option: so
 * every long option has to be one of ours in full before getopt_long sees it. */
static int refuse_abbreviations(struct cli *cli, int argc, char **argv, unsigned allowed)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		int id;

		if (strncmp(argv[i], "--", 2) != 0)
			continue;
		id = find_long(argv[i] + 2);
		if (id < 0)
			return diag_set(&cli->diag, VP_E_USAGE,
					"%.100s: there is no such option: see vpatch help",
					argv[i]);
		if (cli->cmd && !(allowed & OPT_BIT(id)))
			return diag_set(&cli->diag, VP_E_USAGE,
					"--%s: is not for %s: see vpatch help %s",
					cli_opts[id].name, hint(cli), hint(cli));
	}
	return VP_OK;
}

static void fill_tables(unsigned allowed, bool first, struct option *longs, char *shorts)
{
	if (first)
		*shorts++ = '+'; /* stop at the first word */
	*shorts++ = ':';         /* a missing argument is told from an unknown option */
	for (int i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &cli_opts[i];

		if (!(allowed & OPT_BIT(i)))
			continue;
		*longs++ = (struct option){o->name, o->arg ? required_argument : no_argument, NULL,
					   256 + i};
		if (o->letter) {
			*shorts++ = o->letter;
			if (o->arg)
				*shorts++ = ':';
		}
	}
	*longs = (struct option){0};
	*shorts = '\0';
}

static int id_of(int code)
{
	if (code >= 256)
		return code - 256;
	for (int i = 0; i < OPT_COUNT; i++)
		if (cli_opts[i].letter && cli_opts[i].letter == code)
			return i;
	return -1;
}

static int refuse(struct cli *cli, int code, char **argv)
{
	const char *what = optind > 0 ? argv[optind - 1] : "";

	if (code == ':' && id_of(optopt) >= 0) {
		const struct opt *o = &cli_opts[id_of(optopt)];

		return diag_set(&cli->diag, VP_E_USAGE, "--%s: needs its %s: see vpatch help %s",
				o->name, o->arg, hint(cli));
	}
	if (optopt >= 256)
		return diag_set(&cli->diag, VP_E_USAGE, "--%s: takes no value: see vpatch help %s",
				cli_opts[id_of(optopt)].name, hint(cli));
	return diag_set(&cli->diag, VP_E_USAGE,
			"%.100s: there is no such option: see vpatch help %s", what, hint(cli));
}

int cli_parse(struct cli *cli, int argc, char **argv, unsigned allowed, bool first, int *used_ret)
{
	struct option longs[OPT_COUNT + 1];
	char shorts[2 * OPT_COUNT + 3];
	int code, r;

	/* In front of the command other options may follow, but they are the command's to judge. */
	r = first ? VP_OK : refuse_abbreviations(cli, argc, argv, allowed);
	if (r < 0)
		return r;
	fill_tables(allowed, first, longs, shorts);
	opterr = 0;
	optind = 0; /* GNU: start afresh */
	while ((code = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		int id = id_of(code);

		if (id < 0 || code == '?' || code == ':')
			return refuse(cli, code, argv);
		cli->opt[id] = optarg ? optarg : "";
	}
	*used_ret = optind;
	return VP_OK;
}
