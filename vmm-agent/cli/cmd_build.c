/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool has_header(const char *dir)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/vpatch/hotfix.h", dir);
	return access(path, R_OK) == 0;
}

/* Where <vpatch/hotfix.h> is: beside the program as it was built, or as it was installed (which may
 * have been moved as a whole), or where it was configured to be. */
static int find_include(struct cli *cli, char dir[PATH_MAX + 32])
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	exe[n < 0 ? 0 : n] = '\0';
	slash = strrchr(exe, '/');
	if (slash) {
		*slash = '\0';
		snprintf(dir, PATH_MAX + 32, "%s/include", exe);
		if (has_header(dir))
			return VP_OK;
		snprintf(dir, PATH_MAX + 32, "%s/../share/vpatch/include", exe);
		if (has_header(dir))
			return VP_OK;
	}
	snprintf(dir, PATH_MAX + 32, "%s/include", VP_DATADIR);
	if (has_header(dir))
		return VP_OK;
	return diag_set(&cli->diag, VP_E_TOOL,
			"%s/vpatch/hotfix.h is missing: install vpatch with make install", dir);
}

int cmd_build(struct cli *cli)
{
	char include[PATH_MAX + 32];
	struct hf_build args = {
		.source = cli->pos[0],
		.kernel = cli->opt[OPT_KERNEL],
		.image = cli->opt[OPT_IMAGE],
		.vmlinux = cli->opt[OPT_VMLINUX],
		.build_id = cli->opt[OPT_BUILD_ID],
		.include_dir = include,
		.out = cli->opt[OPT_OUTPUT],
		.verbose = cli->opt[OPT_VERBOSE] != NULL,
	};
	int r;

	if (!args.kernel == !args.image)
		return diag_set(&cli->diag, VP_E_USAGE,
				"build: say what the hotfix is for, with --kernel DIR for Linux or "
				"--image FILE for another guest");
	out_str(cli->out.obj, "file", args.out);
	r = find_include(cli, include);
	if (r == VP_OK)
		r = hf_build(&args, &cli->diag);
	if (r < 0)
		return r;
	cli->out.changed = true;
	out_bool(cli->out.obj, "inline_unchecked", !args.vmlinux);
	if (!args.vmlinux && args.kernel)
		out_note(&cli->out,
			 "%s: inline-unchecked: give --vmlinux with DWARF to look for "
			 "inlined copies of the old functions",
			 args.out);
	out_line(&cli->out, OUT_GOOD, "%s: built; sign it with vpatch sign", args.out);
	return VP_OK;
}
