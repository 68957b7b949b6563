// SPDX-License-Identifier: GPL-2.0-only
/* A static branch spelt out by hand: the kernel would have to know its site. */
/* refused: __jump_table */
#include <vpatch/hotfix.h>

#include <linux/jump_label.h>
#include <linux/seq_file.h>

VPATCH_NAME("jump_table");
VPATCH_VERSION("1");

extern struct static_key_false sched_schedstats;

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	if (arch_static_branch(&sched_schedstats.key, false))
		seq_puts(m, "on\n");
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
