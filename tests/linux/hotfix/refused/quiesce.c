// SPDX-License-Identifier: GPL-2.0-only
/* Asks that no task is inside a replaced function, which vpatch cannot give yet. */
/* refused: quiesce */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>

VPATCH_NAME("quiesce");
VPATCH_VERSION("1");

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	return 0;
}

static int fixed_cmdline_proc_show(struct seq_file *m, void *v)
{
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
VPATCH_REPLACE(cmdline_proc_show, fixed_cmdline_proc_show);
