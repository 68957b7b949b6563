// SPDX-License-Identifier: GPL-2.0-only
/* A function of its own in .init.text: nothing would run it. */
/* refused: .init.text */
#include <vpatch/hotfix.h>

#include <linux/init.h>
#include <linux/seq_file.h>

VPATCH_NAME("init");
VPATCH_VERSION("1");

static int __init never(void)
{
	return 1;
}

static int (*const starter)(void) __used = never;

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "x\n");
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
