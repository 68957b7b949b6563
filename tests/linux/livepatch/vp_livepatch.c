// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's own livepatch of the function that hotfix/banner.c replaces, to compare with. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/utsname.h>

static int fixed_version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s version %s (livepatch) %s\n", utsname()->sysname, utsname()->release,
		   utsname()->version);
	return 0;
}

static struct klp_func funcs[] = {
	{.old_name = "version_proc_show", .new_func = fixed_version_proc_show},
	{},
};

static struct klp_object objs[] = {
	{.funcs = funcs},
	{},
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init vp_livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit vp_livepatch_exit(void)
{
}

module_init(vp_livepatch_init);
module_exit(vp_livepatch_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
