// SPDX-License-Identifier: GPL-2.0-only
/* An exported symbol: the guest kernel would not know of it. */
/* refused: ___ksymtab __ksymtab */
#include <vpatch/hotfix.h>

#include <linux/export.h>
#include <linux/seq_file.h>

VPATCH_NAME("export");
VPATCH_VERSION("1");

int vpatch_own(void);
int vpatch_own(void)
{
	return 1;
}
EXPORT_SYMBOL_GPL(vpatch_own);

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", vpatch_own());
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
