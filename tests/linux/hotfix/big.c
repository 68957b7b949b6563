// SPDX-License-Identifier: GPL-2.0-only
/* A payload larger than any gap between the functions of an arm64 kernel. */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>

VPATCH_NAME("big");
VPATCH_VERSION("1");

static const char filling[512 << 10] = {1};

static int big_version_proc_show(struct seq_file *m, void *v)
{
	seq_putc(m, filling[m->count]);
	return 0;
}

VPATCH_REPLACE(version_proc_show, big_version_proc_show);
