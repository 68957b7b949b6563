// SPDX-License-Identifier: GPL-2.0-only
/* A variable with a value: the arena is read-only for the guest. */
/* refused: .data */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>

VPATCH_NAME("data");
VPATCH_VERSION("1");

static int calls = 41;

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", ++calls);
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
