// SPDX-License-Identifier: GPL-2.0-only
/* Two functions that must change together, in one of which tasks sleep: named pipes cannot be opened. */
#include <vpatch/hotfix.h>

#include <linux/fs.h>
#include <linux/seq_file.h>

VPATCH_NAME("quiet");
VPATCH_VERSION("1");
VPATCH_CONSISTENCY_QUIESCE;

static int quiet_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "quiet\n");
	return 0;
}

static int quiet_fifo_open(struct inode *inode, struct file *filp)
{
	return -ENXIO;
}

VPATCH_REPLACE(cmdline_proc_show, quiet_cmdline_proc_show);
VPATCH_REPLACE(fifo_open, quiet_fifo_open);
