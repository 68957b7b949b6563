// SPDX-License-Identifier: GPL-2.0-only
/* A static key of its own: its sites would have to be patched when it is switched. */
/* refused: .bss .data __jump_table */
#include <vpatch/hotfix.h>

#include <linux/jump_label.h>
#include <linux/seq_file.h>

VPATCH_NAME("static_key");
VPATCH_VERSION("1");

DEFINE_STATIC_KEY_FALSE(own_key);

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	if (static_branch_unlikely(&own_key))
		seq_puts(m, "on\n");
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
