// SPDX-License-Identifier: GPL-2.0-only
/* A payload larger than a bundle may have. */
/* refused: payload */
#include <vpatch/hotfix.h>

#include <linux/seq_file.h>

VPATCH_NAME("huge");
VPATCH_VERSION("1");

static const char filling[3 << 20] = {1};

static int big_version_proc_show(struct seq_file *m, void *v)
{
	seq_putc(m, filling[m->count]);
	return 0;
}

VPATCH_REPLACE(version_proc_show, big_version_proc_show);
