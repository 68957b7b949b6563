/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Help, man page and bash completion, made from the tables of commands and options. */
#include "vmm-agent/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 78

static const struct {
	int code;
	const char *words;
} exits[] = {
	{0, "in the wanted state"},
	{1, "not in the wanted state; the guest is as it was before"},
	{2, "the command line or the configuration is not right"},
	{3, "busy or interrupted; the guest is as it was before: try again"},
	{4, "an operator is needed; the message says what to run"},
};

static const struct {
	const char *name, *words;
} domains[] = {
	{"qmp:PATH", "the QMP socket of a QEMU"},
	{"pid:N", "the process of a QEMU"},
};

static bool takes(const struct cmd *cmd, int id)
{
	unsigned all = cmd ? cmd->opts | CLI_OPTS : CLI_OPTS;

	return (all & OPT_BIT(id)) && cli_opts[id].help;
}

/* --- help -------------------------------------------------------------------------------------- */

/* Breaks at spaces. */
static void put_wrapped(struct out *out, const char *text, int indent, int column)
{
	int at = column;

	while (*text) {
		int n = (int)strcspn(text, " ");

		if (at > indent && at + 1 + n > WIDTH) {
			out_raw(out, "\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			out_raw(out, " ");
			at++;
		}
		out_raw(out, "%.*s", n, text);
		at += n;
		text += n;
		text += strspn(text, " ");
	}
	out_raw(out, "\n");
}

static void opt_name(char *to, size_t cap, const struct opt *o)
{
	char letter[8] = "    ";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	snprintf(to, cap, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
}

static void put_options(struct out *out, const struct cmd *cmd)
{
	out_raw(out, "\noptions:\n");
	for (int i = 0; i < OPT_COUNT; i++) {
		char name[64];
		int n;

		if (!takes(cmd, i))
			continue;
		opt_name(name, sizeof(name), &cli_opts[i]);
		n = (int)strlen(name);
		out_raw(out, "  %-28s", name);
		if (n > 27)
			out_raw(out, "\n%*s", 30, "");
		put_wrapped(out, cli_opts[i].help, 30, 30);
	}
}

static void put_example(struct out *out, const char *lines, const char *before, const char *after)
{
	while (*lines) {
		int n = (int)strcspn(lines, "\n");

		out_raw(out, "%s%.*s%s", before, n, lines, after);
		lines += n;
		lines += *lines == '\n';
	}
}

static void command_usage(struct out *out, const struct cmd *cmd)
{
	out_raw(out, "usage: vpatch %s [options]%s%s\n\n", cmd->name, *cmd->args ? " " : "",
		cmd->args);
	put_wrapped(out, cmd->help, 0, 0);
	put_options(out, cmd);
	out_raw(out, "\nexample:\n");
	put_example(out, cmd->example, "  ", "\n");
}

void page_usage(struct out *out, const struct cmd *cmd)
{
	if (cmd) {
		command_usage(out, cmd);
		return;
	}
	out_raw(out, "usage: vpatch COMMAND [options] ...\n\n"
		     "Changes the kernel of a running guest from its host.\n\ncommands:\n");
	for (unsigned i = 0; i < cli_n_cmds; i++)
		out_raw(out, "  %-10s %s\n", cli_cmds[i].name, cli_cmds[i].summary);
	out_raw(out, "\nA DOMAIN is:\n");
	for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++)
		out_raw(out, "  %-10s %s\n", domains[i].name, domains[i].words);
	put_options(out, NULL);
	out_raw(out, "\nexit codes:\n");
	for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++)
		out_raw(out, "  %d  %s\n", exits[i].code, exits[i].words);
	out_raw(out, "\nexample:\n  vpatch inspect qmp:/run/web-07.sock\n"
		     "  vpatch help apply\n");
}

struct json_object *page_json(const struct cmd *cmd)
{
	struct json_object *o = json_object_new_object(), *opts = json_object_new_array();

	out_str(o, "name", cmd->name);
	out_str(o, "arguments", cmd->args);
	out_str(o, "summary", cmd->summary);
	out_str(o, "help", cmd->help);
	out_str(o, "example", cmd->example);
	for (int i = 0; i < OPT_COUNT; i++) {
		struct json_object *p;

		if (!takes(cmd, i))
			continue;
		p = json_object_new_object();
		out_str(p, "name", cli_opts[i].name);
		out_str(p, "argument", cli_opts[i].arg ? cli_opts[i].arg : "");
		out_str(p, "help", cli_opts[i].help);
		json_object_array_add(opts, p);
	}
	json_object_object_add(o, "options", opts);
	return o;
}

/* --- man page ---------------------------------------------------------------------------------- */

/* man(7): a backslash is \e, a minus that people copy is \-, a line may not begin with a dot. */
static void put_roff(struct out *out, const char *s)
{
	if (*s == '.' || *s == '\'')
		out_raw(out, "\\&");
	for (; *s; s++) {
		if (*s == '\\')
			out_raw(out, "\\e");
		else if (*s == '-')
			out_raw(out, "\\-");
		else if (*s == '\n')
			out_raw(out, "\n.br\n");
		else
			out_raw(out, "%c", *s);
	}
}

static void put_item(struct out *out, const char *tag, const char *text)
{
	out_raw(out, ".TP\n.B ");
	put_roff(out, tag);
	out_raw(out, "\n");
	put_roff(out, text);
	out_raw(out, "\n");
}

static void man_options(struct out *out, unsigned opts)
{
	for (int i = 0; i < OPT_COUNT; i++) {
		char name[64];

		if (!(opts & OPT_BIT(i)) || !cli_opts[i].help)
			continue;
		opt_name(name, sizeof(name), &cli_opts[i]);
		put_item(out, name + strspn(name, " "), cli_opts[i].help);
	}
}

static void man_commands(struct out *out)
{
	out_raw(out, ".SH COMMANDS\n");
	for (unsigned i = 0; i < cli_n_cmds; i++) {
		const struct cmd *c = &cli_cmds[i];

		out_raw(out, ".SS ");
		put_roff(out, c->name);
		out_raw(out, "%s", *c->args ? " " : "");
		put_roff(out, c->args);
		out_raw(out, "\n");
		put_roff(out, c->help);
		out_raw(out, "\n");
		man_options(out, c->opts);
		out_raw(out, ".PP\nExample:\n.PP\n.nf\n.RS\n");
		put_roff(out, c->example);
		out_raw(out, "\n.RE\n.fi\n");
	}
}

static void man_reasons(struct out *out)
{
	static const int errs[] = {
#define VP_ROW(name, exit, reason, sentence) VP_E_##name,
		VP_ERRORS(VP_ROW)
#undef VP_ROW
	};

	out_raw(out,
		".SH JSON\n"
		"With \\-\\-json a command prints one object, whether it succeeds or fails. Every\n"
		"object has\n.I schema\n(\"vpatch.apply/1\" and so on),\n.I changed\nand\n"
		".IR reason ,\nwhich is \"ok\" or one of those below, and besides\n.I exit\nand\n"
		".IR message .\nAddresses are strings in hex. The number behind a reason is the exit "
		"code.\n");
	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		char tag[64];

		snprintf(tag, sizeof(tag), "%s (%d)", vp_err_reason(errs[i]), vp_err_exit(errs[i]));
		put_item(out, tag, vp_err_sentence(errs[i]));
	}
}

static void man_settings(struct out *out)
{
	static const struct {
		const char *tag, *text;
	} keys[] = {
		{"deadline = TIME", "The longest a guest may be held, from 10us to 10s. Past it "
				    "everything is put back. Default 100ms."},
		{"driver = auto|kvm|gdb", "The way into a guest. Default auto."},
		{"require-signature = yes|always",
		 "yes: a bundle without a trusted signature is refused unless --allow-unsigned is "
		 "given. always: it is refused in any case. Default yes."},
		{"certs-dir = DIR",
		 "Whose bundles are taken: X.509 certificates in *.pem, *.crt, *.der, *.cer and "
		 "*.x509. The signer must be one of them; there are no chains, and as for kernel "
		 "modules no expiry. Where it is given, the key usage must allow signing. With no "
		 "certificate, every bundle is refused. Default " VP_SYSCONFDIR "/vpatch/certs.d."},
		{"revoked-dir = DIR",
		 "What is refused, --allow-unsigned or not: certificates (their keys under other "
		 "certificates too), and files *.sha256 with the ids of bundles that vpatch show "
		 "prints. If it cannot be read or understood, everything is refused. Default " VP_SYSCONFDIR
		 "/vpatch/revoked.d."},
		{"state-dir = DIR",
		 "Where changes under way are recorded. Default " VP_LOCALSTATEDIR "/lib/vpatch."},
		{"run-dir = DIR", "Where the locks of domains are. Default " VP_RUNDIR "/vpatch."},
	};

	out_raw(out, ".SH CONFIGURATION\nThe file has lines of the form key = value; # starts a "
		     "comment line. A key that is not known or a value that is not right ends the "
		     "command with exit code 2.\n");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		put_item(out, keys[i].tag, keys[i].text);
}

static void man_files(struct out *out)
{
	out_raw(out, ".SH ENVIRONMENT\n");
	put_item(out, "VPATCH_CONFIG", "The configuration file, where --config is not given.");
	put_item(out, "KBUILD_SIGN_PIN", "The passphrase of the key that vpatch sign uses.");
	put_item(out, "NO_COLOR", "When set and not empty, there are no colours.");
	out_raw(out, ".SH FILES\n");
	put_item(out, CONF_FILE, "Configuration.");
	put_item(out, VP_SYSCONFDIR "/vpatch/certs.d", "Whose bundles are taken.");
	put_item(out, VP_SYSCONFDIR "/vpatch/revoked.d", "What is refused.");
	put_item(out, VP_DATADIR "/include/vpatch/hotfix.h",
		 "What the source of a hotfix includes.");
}

void page_man(struct out *out)
{
	out_raw(out,
		".TH VPATCH 1 \"\" \"vpatch %s\" \"User Commands\"\n"
		".SH NAME\nvpatch \\- change the kernel of a running guest from its host\n"
		".SH SYNOPSIS\n.B vpatch\n.RI [ options ]\n.I command\n.RI [ options ] \" ...\"\n"
		".SH DESCRIPTION\n"
		"vpatch replaces functions of the kernel that runs in a guest: the guest's vCPUs "
		"are held for some tens of microseconds, one word is changed at each function, "
		"and every later call runs the fixed code. The guest needs no reboot, no login "
		"and no package.\n",
		VP_VERSION);
	out_raw(out, ".PP\nA DOMAIN is one of\n");
	for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++)
		put_item(out, domains[i].name, domains[i].words);
	out_raw(out, ".SH OPTIONS\nOf all commands:\n");
	man_options(out, CLI_OPTS);
	man_commands(out);
	out_raw(out, ".SH \"EXIT STATUS\"\n");
	for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
		char tag[8];

		snprintf(tag, sizeof(tag), "%d", exits[i].code);
		put_item(out, tag, exits[i].words);
	}
	man_settings(out);
	man_files(out);
	man_reasons(out);
	out_raw(out, ".SH \"SEE ALSO\"\n.BR virsh (1),\n.BR qemu (1)\n");
}

/* --- bash completion --------------------------------------------------------------------------- */

/* "--a | --b | -c": the options whose argument is arg; NULL: any argument. */
static void bash_options(struct out *out, const char *arg)
{
	for (int i = 0, n = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &cli_opts[i];

		if (!o->arg || (arg && strcmp(o->arg, arg) != 0))
			continue;
		out_raw(out, "%s--%s", n++ ? " | " : "", o->name);
		if (o->letter)
			out_raw(out, " | -%c", o->letter);
	}
}

/* The words that may stand behind an option, a|b|c. */
static void bash_choices(struct out *out)
{
	for (int i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &cli_opts[i];
		const char *p;

		if (!o->help || !o->arg || !strchr(o->arg, '|'))
			continue;
		out_raw(out, "  --%s) mapfile -t COMPREPLY < <(compgen -W '", o->name);
		for (p = o->arg; *p; p++)
			out_raw(out, "%c", *p == '|' ? ' ' : *p);
		out_raw(out, "' -- \"$cur\"); return ;;\n");
	}
}

static void bash_commands(struct out *out)
{
	out_raw(out, "  case $cmd in\n  '') words='");
	for (unsigned i = 0; i < cli_n_cmds; i++)
		out_raw(out, "%s%s", i ? " " : "", cli_cmds[i].name);
	out_raw(out, "' opts='--help --version --json --config' ;;\n");
	for (unsigned i = 0; i < cli_n_cmds; i++) {
		const struct cmd *c = &cli_cmds[i];

		out_raw(out, "  %s) opts='", c->name);
		for (int k = 0, n = 0; k < OPT_COUNT; k++)
			if (takes(c, k))
				out_raw(out, "%s--%s", n++ ? " " : "", cli_opts[k].name);
		out_raw(out, "' args='%s' ;;\n", c->args);
	}
	out_raw(out, "  esac\n");
}

void page_bash(struct out *out)
{
	out_raw(out, "# bash completion for vpatch, made by `vpatch help --bash-completion`\n"
		     "_vpatch()\n{\n"
		     "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		     "  local cmd= words= opts= args= arg= i n=0\n"
		     "  case $prev in\n  ");
	bash_options(out, "FILE");
	out_raw(out, ") mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n  ");
	bash_options(out, "DIR");
	out_raw(out, ") mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); return ;;\n");
	bash_choices(out);
	out_raw(out, "  esac\n"
		     "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
		     "    case ${COMP_WORDS[i]} in\n");
	out_raw(out, "    ");
	bash_options(out, NULL);
	out_raw(out, ") ((i++)) ;;\n"
		     "    -*) ;;\n"
		     "    *) if [[ -z $cmd ]]; then cmd=${COMP_WORDS[i]}; else ((n++)); fi ;;\n"
		     "    esac\n"
		     "  done\n");
	bash_commands(out);
	out_raw(out, "  if [[ $cur == -* ]]; then\n"
		     "    mapfile -t COMPREPLY < <(compgen -W \"$opts\" -- \"$cur\")\n"
		     "    return\n"
		     "  fi\n"
		     "  read -ra args <<<\"$args\"\n"
		     "  arg=${args[n]-}\n"
		     "  case $arg in\n"
		     "  '[COMMAND]') words='");
	for (unsigned i = 0; i < cli_n_cmds; i++)
		out_raw(out, "%s%s", i ? " " : "", cli_cmds[i].name);
	out_raw(out,
		"' ;;\n"
		"  FILE | SOURCE.c) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n"
		"  esac\n"
		"  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
		"}\n"
		"complete -o filenames -F _vpatch vpatch\n");
}
