// SPDX-License-Identifier: GPL-2.0-only
/* A symbol that no kernel has. */
/* refused: symbol-unknown */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>

VPATCH_NAME("unknown");
VPATCH_VERSION("1");

extern int vpatch_no_such_symbol(void);

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", vpatch_no_such_symbol());
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
