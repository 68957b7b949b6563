/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define TARGET_OPTS (OPT_BIT(OPT_DRIVER))

const struct cmd cli_cmds[] = {
	{"build", "SOURCE.c", 1, 1,
	 OPT_BIT(OPT_KERNEL) | OPT_BIT(OPT_IMAGE) | OPT_BIT(OPT_VMLINUX) | OPT_BIT(OPT_BUILD_ID) |
		 OPT_BIT(OPT_OUTPUT) | OPT_BIT(OPT_VERBOSE),
	 OPT_BIT(OPT_OUTPUT), false, cmd_build, "make a hotfix out of a C file",
	 "Compiles SOURCE.c with the guest kernel's own build system and packs it into a bundle. The "
	 "source includes <vpatch/hotfix.h> and names what it replaces with VPATCH_REPLACE(old, new). "
	 "Without --vmlinux, copies of an old function that the compiler has inlined elsewhere "
	 "cannot be looked for; the bundle then says inline-unchecked, and so do apply and status. With --image instead of "
	 "--kernel the guest is not Linux: the source is compiled without a kernel's headers, and what it "
	 "uses of the guest gets the addresses that it has in that ELF file.",
	 "vpatch build fix.c --kernel /usr/src/linux-headers-6.1.0-56-amd64 -o fix.vpatch"},
	{"sign", "FILE", 1, 1,
	 OPT_BIT(OPT_KEY) | OPT_BIT(OPT_CERT) | OPT_BIT(OPT_OUTPUT) | OPT_BIT(OPT_DIGEST),
	 OPT_BIT(OPT_KEY) | OPT_BIT(OPT_CERT), false, cmd_sign,
	 "sign a bundle, as kernel modules are signed",
	 "Appends a signature to FILE, replacing one that is there; with -o the result goes to "
	 "another file. The kernel's own scripts/sign-file makes the same signature, also with keys "
	 "in a token.",
	 "vpatch sign fix.vpatch --key signing.key --cert signing.pem"},
	{"verify", "FILE", 1, 1, 0, 0, true, cmd_verify,
	 "say whether a bundle is signed by somebody trusted",
	 "Exits 0 only if FILE is signed by one of the certificates of certs.d and neither the "
	 "certificate, nor its key, nor the bundle has been revoked. As the kernel decides for "
	 "modules, a certificate does not expire: revoke it.",
	 "vpatch verify fix.vpatch"},
	{"show", "FILE", 1, 1, 0, 0, true, cmd_show,
	 "describe a bundle: what it is for and what it changes",
	 "Prints what the bundle says of itself, its id, and who signed it. The id is what goes into a "
	 "*.sha256 file of revoked.d.",
	 "vpatch show fix.vpatch"},
	{"inspect", "DOMAIN", 1, 1,
	 TARGET_OPTS | OPT_BIT(OPT_SYMBOLS) | OPT_BIT(OPT_SLOTS) | OPT_BIT(OPT_VCPUS), 0, true,
	 cmd_inspect, "describe a guest: its kernel, its vCPUs, its room for hotfixes",
	 "Reads the guest and changes nothing. It is held, for a moment, only "
	 "where nothing but a vCPU's registers tells its kernel from what looks like one.",
	 "vpatch inspect qmp:/run/web-07.sock\nvpatch inspect qmp:/run/web-07.sock --symbols"},
	{"sites", "DOMAIN [GLOB]", 1, 2, TARGET_OPTS, 0, true, cmd_sites,
	 "list the patch sites that a guest's stub has published",
	 "Reads the site table of the guest's stub, Linux or not: where its text may be changed, what "
	 "stands there now (rest, changed by somebody, taken by a hotfix), and which disciplines are right "
	 "there with this driver for what the site is made for. GLOB is matched against the sites' names, "
	 "as a shell does.",
	 "vpatch sites qmp:/run/rtos.sock\nvpatch sites qmp:/run/rtos.sock 'net_*' --json"},
	{"apply", "DOMAIN FILE", 2, 2,
	 TARGET_OPTS | OPT_BIT(OPT_DRY_RUN) | OPT_BIT(OPT_DEADLINE) | OPT_BIT(OPT_DISCIPLINE) |
		 OPT_BIT(OPT_ALLOW_UNSIGNED) | OPT_BIT(OPT_ALLOW_DOWNGRADE) |
		 OPT_BIT(OPT_PERF_DATA),
	 0, true, cmd_apply, "change the running guest's kernel",
	 "Verifies FILE, plans the change, holds the guest's vCPUs, replaces one word at each "
	 "function and lets the guest go on. Nothing is written before everything is verified; what "
	 "cannot be completed within --deadline is put back. Where every word of the hotfix can be "
	 "changed while the guest runs, it is not held: see --discipline. A hotfix that is applied already is "
	 "left alone. If an earlier change was interrupted, run vpatch recover first. With --perf-data, "
	 "perf script --show-text-poke-events reads what was changed and when; FILE must not exist "
	 "yet or be empty, and is there when the command exits 0.",
	 "vpatch apply qmp:/run/web-07.sock fix.vpatch --dry-run\nvpatch apply qmp:/run/web-07.sock fix.vpatch --deadline 10ms"},
	{"status", "DOMAIN [NAME]", 1, 2, TARGET_OPTS, 0, true, cmd_status,
	 "say which hotfixes a guest has",
	 "Reads the guest's own ledger and the patched functions, not the host's disk. With NAME, says "
	 "what that hotfix changed and exits 0 only if it is wholly applied.",
	 "vpatch status qmp:/run/web-07.sock\nvpatch status qmp:/run/web-07.sock fix-cve-2024-1086"},
	{"revert", "DOMAIN NAME", 2, 2,
	 TARGET_OPTS | OPT_BIT(OPT_DRY_RUN) | OPT_BIT(OPT_DEADLINE) | OPT_BIT(OPT_DISCIPLINE) |
		 OPT_BIT(OPT_PERF_DATA),
	 0, true, cmd_revert, "take a hotfix back",
	 "Puts the kernel's own words back. The replacement code stays in the guest, unused, since a "
	 "task may still return into it.",
	 "vpatch revert qmp:/run/web-07.sock fix-cve-2024-1086"},
	{"events", "DOMAIN", 1, 1, TARGET_OPTS | OPT_BIT(OPT_FOLLOW), 0, true, cmd_events,
	 "print what vpatch has changed in a guest's text, and when",
	 "One line an edit, in the order in which they were made, since the domain was started; the "
	 "oldest are dropped when there are thousands. Times are of the host's CLOCK_MONOTONIC. With "
	 "--json every line is an object, of schema vpatch.event/1, and the command's own object is "
	 "the last one. --follow ends, with exit code 0, when the domain does or at SIGINT or SIGTERM.",
	 "vpatch events qmp:/run/web-07.sock\nvpatch events qmp:/run/web-07.sock --follow --json"},
	{"recover", "", 0, 0, TARGET_OPTS, 0, true, cmd_recover,
	 "finish or undo what a dead vpatch left",
	 "Goes through the journals of this host. Changes that another vpatch is at work on are left "
	 "alone; those of guests that are gone are closed.",
	 "vpatch recover"},
	{"help", "[COMMAND]", 0, 1, OPT_BIT(OPT_MAN) | OPT_BIT(OPT_BASH), 0, false, cmd_help,
	 "say what a command does and how", "Without COMMAND, lists the commands.",
	 "vpatch help apply"},
	{"version", "", 0, 0, 0, 0, false, cmd_version, "print the version",
	 "Prints the version of vpatch and of the formats it writes.", "vpatch version"},
};
const unsigned cli_n_cmds = sizeof(cli_cmds) / sizeof(cli_cmds[0]);

const struct cmd *cli_find(const char *name)
{
	for (unsigned i = 0; i < cli_n_cmds; i++)
		if (strcmp(cli_cmds[i].name, name) == 0)
			return &cli_cmds[i];
	return NULL;
}

/* A file opened later must not become our stdout: a journal would get the results written into
 * it. The way round is the wrong one, so that writing is noticed. */
static void guard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", (fd == 0 ? O_WRONLY : O_RDONLY) | O_NOCTTY) != fd)
			return;
}

static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

static int check_words(struct cli *cli)
{
	const struct cmd *cmd = cli->cmd;

	for (int i = 0; i < OPT_COUNT; i++)
		if ((cmd->need & OPT_BIT(i)) && !cli->opt[i])
			return diag_set(&cli->diag, VP_E_USAGE,
					"%s: --%s %s is missing: see vpatch help %s", cmd->name,
					cli_opts[i].name, cli_opts[i].arg, cmd->name);
	for (int i = 0; i < cli->n_pos; i++)
		if (cli->pos[i][0] == '\0')
			return diag_set(&cli->diag, VP_E_USAGE,
					"%s: an empty word names nothing: see vpatch help %s",
					cmd->name, cmd->name);
	if (cli->n_pos >= cmd->min && cli->n_pos <= cmd->max)
		return VP_OK;
	return diag_set(&cli->diag, VP_E_USAGE, "%s takes %s%s%s: see vpatch help %s", cmd->name,
			*cmd->args ? cmd->args : "no words", cli->n_pos > cmd->max ? ", not " : "",
			cli->n_pos > cmd->max ? cli->pos[cmd->max] : "", cmd->name);
}

static int run_command(struct cli *cli, int argc, char **argv)
{
	int used, r;

	cli->out.command = cli->cmd->name;
	r = cli_parse(cli, argc, argv, CLI_OPTS | cli->cmd->opts, false, &used);
	if (r < 0)
		return r;
	cli->pos = argv + used;
	cli->n_pos = argc - used;
	if (cli->opt[OPT_HELP]) {
		json_object_object_add(cli->out.obj, "command", page_json(cli->cmd));
		page_usage(&cli->out, cli->cmd);
		return VP_OK;
	}
	r = check_words(cli);
	if (r == VP_OK && cli->cmd->conf)
		r = conf_read(cli->opt[OPT_CONFIG], &cli->diag, &cli->conf);
	if (r == VP_OK && cli->cmd->conf)
		r = cli_settings(cli);
	if (r == VP_OK && cli->cmd->opts & OPT_BIT(OPT_DRIVER))
		cli_drop_rights();
	return r < 0 ? r : cli->cmd->run(cli);
}

static int run(struct cli *cli, int argc, char **argv)
{
	int used, r;

	r = cli_parse(cli, argc, argv, CLI_OPTS | OPT_BIT(OPT_VERSION), true, &used);
	if (r < 0)
		return r;
	if (cli->opt[OPT_HELP] || cli->opt[OPT_VERSION]) {
		cli->cmd = cli_find(cli->opt[OPT_HELP] ? "help" : "version");
		cli->out.command = cli->cmd->name;
		return cli->cmd->run(cli);
	}
	if (used >= argc)
		return diag_set(
			&cli->diag, VP_E_USAGE,
			"a command is missing: see vpatch help, or try vpatch inspect DOMAIN");
	cli->cmd = cli_find(argv[used]);
	if (!cli->cmd)
		return diag_set(&cli->diag, VP_E_USAGE,
				"%.100s: there is no such command: see vpatch help", argv[used]);
	return run_command(cli, argc - used, argv + used);
}

int main(int argc, char **argv)
{
	struct cli cli = {0};
	int r;

	guard_descriptors();
	signal(SIGPIPE, SIG_IGN); /* whoever reads our output may not end a change half-way */
	out_init(&cli.out, wants_json(argc, argv));
	diag_init(&cli.diag);
	r = run(&cli, argc, argv);
	return out_finish(&cli.out, r, &cli.diag);
}
