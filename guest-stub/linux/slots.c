// SPDX-License-Identifier: GPL-2.0
/*
 * Literal slots. A function of the list has an ftrace_ops of its own that may change the
 * instruction pointer; it is registered once, when the module is loaded, and does nothing as long as
 * the function's literal is 0. The host switches the function by one store to that word, at any time
 * and without a pause: whoever enters the function loads it once and goes where it says. ftrace
 * keeps the function's entry, so tracers and kprobes on it work as they do on any function.
 */
#include <linux/ftrace.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include "guest-stub/linux/vpatch_stub.h"

struct slot {
	struct ftrace_ops ops;
	const u64 *literal;
	char name[VP_SITE_NAME_MAX + 1];
};

static struct slot *slots;
static u64 *literals;
static u32 n_slots;

static void go_to(struct ftrace_regs *fregs, unsigned long to)
{
#if !defined(CONFIG_DYNAMIC_FTRACE_WITH_ARGS)
	instruction_pointer_set(ftrace_get_regs(fregs),
				to); /* FTRACE_OPS_FL_SAVE_REGS: they are there */
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	ftrace_regs_set_instruction_pointer(fregs, to);
#else
	ftrace_instruction_pointer_set(fregs, to);
#endif
}

/* Calls nothing that could be traced, takes no lock: it may run anywhere, in itself too. The module
 * is built without entries of its own for ftrace. */
static void slot_entered(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			 struct ftrace_regs *fregs)
{
	unsigned long to = READ_ONCE(*container_of(ops, struct slot, ops)->literal);

	if (to)
		go_to(fregs, to);
}

static const struct vp_site *only_site(const char *name, const struct vp_site *sites, u32 n)
{
	const struct vp_site *found = NULL;

	for (u32 i = 0; i < n; i++) {
		if (strcmp(sites[i].name, name))
			continue;
		if (found) {
			pr_err("functions: several are called %s\n", name);
			return NULL;
		}
		found = &sites[i];
	}
	if (!found)
		pr_err("functions: ftrace knows no %s\n", name);
	return found;
}

static int slot_open(struct slot *slot, u64 *literal, const char *name, const struct vp_site *sites,
		     u32 n)
{
	const struct vp_site *site = only_site(name, sites, n);
	int r;

	if (!site || strlen(name) + sizeof(SLOT_SUFFIX) > sizeof(slot->name))
		return -EINVAL;
	snprintf(slot->name, sizeof(slot->name), "%s" SLOT_SUFFIX, name);
	slot->literal = literal;
	slot->ops.func = slot_entered;
	/* As livepatch's: switching ftrace off would put every switched function back. */
	slot->ops.flags = FTRACE_OPS_FL_DYNAMIC | FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT;
#if !defined(CONFIG_DYNAMIC_FTRACE_WITH_ARGS)
	slot->ops.flags |= FTRACE_OPS_FL_SAVE_REGS;
#endif
	r = ftrace_set_filter_ip(&slot->ops, arch_record(site), 0, 0);
	if (r == 0)
		r = register_ftrace_function(&slot->ops);
	if (r < 0) {
		pr_err("functions: %s cannot be taken: %d\n", name, r);
		ftrace_set_filter_ip(&slot->ops, arch_record(site), 1, 0);
	}
	return r;
}

int slots_open(const char *functions, const struct vp_site *sites, u32 n)
{
	char *list, *rest, *name;
	int r = 0;

	if (!functions || !*functions)
		return 0;
	rest = list = kstrdup(functions, GFP_KERNEL);
	slots = vzalloc(SLOTS_MAX * sizeof(*slots));
	literals = vzalloc(SLOTS_MAX * sizeof(*literals));
	if (!list || !slots || !literals)
		r = -ENOMEM;
	while (r == 0 && (name = strsep(&rest, ",")) != NULL) {
		if (!*name)
			continue;
		r = n_slots < SLOTS_MAX
			    ? slot_open(&slots[n_slots], &literals[n_slots], name, sites, n)
			    : -E2BIG;
		if (r == 0)
			n_slots++;
	}
	kfree(list);
	if (r < 0)
		slots_close();
	return r;
}

/* unregister_ftrace_function returns when no task is in the ops' trampoline any more. */
void slots_close(void)
{
	while (n_slots > 0) {
		struct ftrace_ops *ops = &slots[--n_slots].ops;

		unregister_ftrace_function(ops);
		ftrace_free_filter(ops);
	}
	vfree(slots);
	vfree(literals);
	slots = NULL;
	literals = NULL;
}

u32 slots_count(void)
{
	return n_slots;
}

void slots_describe(u32 i, struct vp_site *ret)
{
	*ret = (struct vp_site){
		.at = vp_gva((unsigned long)slots[i].literal),
		.kind = VP_SITE_LITERAL,
		.len = sizeof(*literals),
		.dispatcher = VP_SITE_NO_DISPATCHER,
		.name = slots[i].name,
	};
}

bool slots_at_rest(void)
{
	for (u32 i = 0; i < n_slots; i++)
		if (READ_ONCE(*slots[i].literal))
			return false;
	return true;
}
