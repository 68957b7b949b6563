// SPDX-License-Identifier: GPL-2.0-only
/* A fault that the kernel must find in its exception table. */
/* refused: __ex_table */
#include <vpatch/hotfix.h>

#include <linux/uaccess.h>
#include <linux/seq_file.h>

VPATCH_NAME("extable");
VPATCH_VERSION("1");

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	int x = 0;

	__get_kernel_nofault(&x, m, int, fault);
	seq_printf(m, "%d\n", x);
fault:
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
