// SPDX-License-Identifier: GPL-2.0-only
/* Another hotfix for the function that banner.c takes. */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>

VPATCH_NAME("rival");
VPATCH_VERSION("1");

static int rival_version_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "rival\n");
	return 0;
}

VPATCH_REPLACE(version_proc_show, rival_version_proc_show);
