// SPDX-License-Identifier: GPL-2.0-only
/* A per-CPU variable of its own: each CPU would need a copy. */
/* refused: .data..percpu .altinstructions */
#include <vpatch/hotfix.h>

#include <linux/percpu.h>
#include <linux/seq_file.h>

VPATCH_NAME("percpu");
VPATCH_VERSION("1");

static DEFINE_PER_CPU(int, own_count);

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", this_cpu_inc_return(own_count));
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
