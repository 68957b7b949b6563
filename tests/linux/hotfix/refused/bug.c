// SPDX-License-Identifier: GPL-2.0-only
/* A BUG(): the trap is looked up in the bug table. */
/* refused: __bug_table */
#include <vpatch/hotfix.h>

#include <linux/bug.h>
#include <linux/seq_file.h>

VPATCH_NAME("bug");
VPATCH_VERSION("1");

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	BUG_ON(!m->size);
	seq_puts(m, "unreached\n");
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
