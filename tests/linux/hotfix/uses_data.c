// SPDX-License-Identifier: GPL-2.0-only
/* Variables of the kernel, by their own names: plain, per-CPU, a bitmap, a structure. */
#include <vpatch/hotfix.h>

#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/smp.h>
#include <linux/topology.h>

VPATCH_NAME("uses_data");
VPATCH_VERSION("1");

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "cpus %u here %u seconds %lu init %s\n", num_online_cpus(),
		   raw_smp_processor_id(), (unsigned long)(jiffies - INITIAL_JIFFIES) / HZ,
		   init_task.comm);
	seq_printf(m, "offsets %px %px node %d\n", (void *)per_cpu_offset(0),
		   (void *)per_cpu_offset(1), numa_node_id());
	return 0;
}

VPATCH_REPLACE(version_proc_show, fixed_version_proc_show);
