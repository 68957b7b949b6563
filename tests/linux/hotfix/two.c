// SPDX-License-Identifier: GPL-2.0-only
/* Two functions in one window. They do not depend on each other, so `entry` is enough. */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>
#include <linux/utsname.h>

VPATCH_NAME("two");
VPATCH_VERSION("1");
VPATCH_CONSISTENCY_ENTRY;

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s version %s (two, first) %s\n", utsname()->sysname, utsname()->release,
		   utsname()->version);
	return 0;
}

static int fixed_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "two, second\n");
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
VPATCH_REPLACE(cmdline_proc_show, fixed_cmdline_proc_show);
