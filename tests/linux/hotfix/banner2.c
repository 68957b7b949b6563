// SPDX-License-Identifier: GPL-2.0-only
/* The banner of /proc/version, with a mark by which people and tests can tell it. */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>
#include <linux/utsname.h>

VPATCH_NAME("banner");
VPATCH_VERSION("2");
VPATCH_FIXES("a banner that does not say that it was fixed");

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s version %s (fixed by vpatch, version 2) %s\n", utsname()->sysname,
		   utsname()->release, utsname()->version);
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
