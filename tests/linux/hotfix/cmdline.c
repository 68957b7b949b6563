// SPDX-License-Identifier: GPL-2.0-only
/* Another function than banner.c's, to be applied beside it. */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>

VPATCH_NAME("cmdline");
VPATCH_VERSION("1");

static int fixed_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "cmdline fixed by vpatch\n");
	return 0;
}

VPATCH_REPLACE(cmdline_proc_show, fixed_cmdline_proc_show);
