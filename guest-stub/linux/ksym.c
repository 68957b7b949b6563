// SPDX-License-Identifier: GPL-2.0
/*
 * What the stub needs of the kernel and is not exported. kprobes resolve one name,
 * kallsyms_lookup_name, and that resolves the rest. All of it is called by static calls, which are
 * direct ones where that matters: kernels with CONFIG_X86_KERNEL_IBT take the landing pad away from
 * functions that nobody in the kernel calls through a pointer.
 */
#include <linux/ctype.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/static_call.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/hex.h>
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#include <linux/vmcore_info.h>
#else
#include <linux/crash_core.h>
#endif
#include "guest-stub/linux/vpatch_stub.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define SYMBOL_MODULE
#else
#define SYMBOL_MODULE struct module *module,
#endif

/* Prototypes, as the kernel has them; nothing of these names is ever linked. */
typedef int symbol_fn(void *data, const char *name, SYMBOL_MODULE unsigned long at);
unsigned long stub_lookup(const char *name);
int stub_each(symbol_fn *fn, void *data);
unsigned long stub_record(unsigned long start, unsigned long end);
void *stub_vmalloc(unsigned long size, unsigned long align, unsigned long start, unsigned long end,
		   gfp_t gfp, pgprot_t prot, unsigned long flags, int node, const void *caller);
int stub_set_memory(unsigned long at, int pages);

DEFINE_STATIC_CALL_NULL(lookup, stub_lookup);
DEFINE_STATIC_CALL_NULL(each, stub_each);
DEFINE_STATIC_CALL_NULL(record, stub_record);
DEFINE_STATIC_CALL_NULL(vmalloc_range, stub_vmalloc);
DEFINE_STATIC_CALL_NULL(memory_ro, stub_set_memory);
DEFINE_STATIC_CALL_NULL(memory_x, stub_set_memory);

/* A disabled kprobe is resolved and never written into the text. */
static unsigned long probe_address(const char *name)
{
	struct kprobe probe = {.symbol_name = name, .flags = KPROBE_FLAG_DISABLED};
	unsigned long at;

	if (register_kprobe(&probe) < 0)
		return 0;
	at = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return at;
}

unsigned long ksym_address(const char *name)
{
	return static_call(lookup)(name);
}

/* Under one name or, in later kernels, another. */
static unsigned long need(const char *name, const char *later)
{
	unsigned long at = ksym_address(name);

	if (!at && later)
		at = ksym_address(later);
	if (!at)
		pr_err("this kernel has no %s\n", name);
	return at;
}

int ksym_open(void)
{
	unsigned long at = probe_address("kallsyms_lookup_name");
	unsigned long on_each, location, vmalloc_at, ro, x;

	if (!at) {
		pr_err("kallsyms_lookup_name was not found: are there kprobes?\n");
		return -ENOENT;
	}
	static_call_update(lookup, (typeof(&stub_lookup))at);
	on_each = need("kallsyms_on_each_symbol", NULL);
	location = need("ftrace_location_range", NULL);
	vmalloc_at = need("__vmalloc_node_range", "__vmalloc_node_range_noprof");
	ro = need("set_memory_ro", NULL);
	x = need("set_memory_x", NULL);
	if (!on_each || !location || !vmalloc_at || !ro || !x)
		return -ENOENT;
	static_call_update(each, (typeof(&stub_each))on_each);
	static_call_update(record, (typeof(&stub_record))location);
	static_call_update(vmalloc_range, (typeof(&stub_vmalloc))vmalloc_at);
	static_call_update(memory_ro, (typeof(&stub_set_memory))ro);
	static_call_update(memory_x, (typeof(&stub_set_memory))x);
	return 0;
}

struct each_arg {
	int (*fn)(void *data, const char *name, unsigned long at);
	void *data;
};

static int each_symbol(void *data, const char *name, SYMBOL_MODULE unsigned long at)
{
	struct each_arg *arg = data;

	return arg->fn(arg->data, name, at);
}

int ksym_each(int (*fn)(void *data, const char *name, unsigned long at), void *data)
{
	struct each_arg arg = {fn, data};

	return static_call(each)(each_symbol, &arg);
}

unsigned long ksym_ftrace_record(unsigned long start, unsigned long end)
{
	return static_call(record)(start, end);
}

void *ksym_vmalloc_in(size_t len, unsigned long lo, unsigned long hi)
{
	return static_call(vmalloc_range)(len, PAGE_SIZE, lo, hi, GFP_KERNEL | __GFP_ZERO,
					  PAGE_KERNEL, VM_FLUSH_RESET_PERMS, NUMA_NO_NODE,
					  __builtin_return_address(0));
}

int ksym_make_text(void *at, size_t len)
{
	int r = static_call(memory_ro)((unsigned long)at, len / PAGE_SIZE);

	return r ? r : static_call(memory_x)((unsigned long)at, len / PAGE_SIZE);
}

/* VMCOREINFO, where the host looks for it too: Linux, include/linux/vmcore_info.h, BUILD-ID. */
int ksym_build_id(u8 id[VP_SITES_ID_MAX])
{
	static const char key[] = "\nBUILD-ID=";
	const char *hex = strnstr(phys_to_virt(paddr_vmcoreinfo_note()), key, VMCOREINFO_BYTES);
	int n = 0;

	if (!hex) {
		pr_err("VMCOREINFO names no build-id\n");
		return -ENOENT;
	}
	for (hex += sizeof(key) - 1; n < VP_SITES_ID_MAX && isxdigit(hex[0]); hex += 2)
		if (hex2bin(&id[n++], hex, 1) < 0)
			return -EINVAL;
	return n;
}
