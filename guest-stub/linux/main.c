// SPDX-License-Identifier: GPL-2.0
/*
 * vpatch_stub: tells the host of this virtual machine where the kernel's functions can be replaced.
 * README.md has the parameters and how the module is unloaded.
 */
#include <linux/init.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include "guest-stub/linux/vpatch_stub.h"

static char *functions;
module_param(functions, charp, 0444);
MODULE_PARM_DESC(functions, "functions with a literal slot: a,b,c");

static uint arena_kib = 256;
module_param(arena_kib, uint, 0444);
MODULE_PARM_DESC(arena_kib, "memory for replacement code (256)");

static uint ledger_kib = 64;
module_param(ledger_kib, uint, 0444);
MODULE_PARM_DESC(ledger_kib, "memory for the host's records (64)");

static DEFINE_MUTEX(lock);
static bool held; /* by a reference to the module itself */

/* A module cannot refuse to be unloaded, but while there is a reference to it nobody tries to. */
static int release(const char *value, const struct kernel_param *param)
{
	bool yes;
	int r = kstrtobool(value, &yes);

	if (r < 0 || !yes)
		return r < 0 ? r : -EINVAL;
	mutex_lock(&lock);
	r = held ? table_release() : -ENODEV;
	if (r == 0) {
		held = false;
		module_put(THIS_MODULE);
		pr_info("released: the table is withdrawn, the module can be unloaded\n");
	} else if (r == -EBUSY) {
		pr_notice("not released: the host uses the arena, ledger space or a literal\n");
	}
	mutex_unlock(&lock);
	return r;
}

static const struct kernel_param_ops release_ops = {.set = release};
module_param_cb(release, &release_ops, NULL, 0200);
MODULE_PARM_DESC(release, "write 1 before the module is unloaded; busy while the host uses it");

static int __init publish(struct stub_sites *sites, size_t *size)
{
	int r = sites_collect(sites);

	if (r == 0)
		r = slots_open(functions, sites->site, sites->n);
	if (r == 0)
		r = table_publish(sites, size);
	if (r < 0)
		slots_close();
	return r;
}

static int __init stub_init(void)
{
	ktime_t begin = ktime_get();
	struct stub_sites sites = {};
	size_t size = 0;
	int r;

	if (!arena_kib || !ledger_kib || arena_kib > SZ_32M / SZ_1K ||
	    ledger_kib > SZ_32M / SZ_1K) {
		pr_err("arena_kib and ledger_kib: 1 to %d\n", SZ_32M / SZ_1K);
		return -EINVAL;
	}
	r = ksym_open();
	if (r == 0)
		r = arena_open(PAGE_ALIGN(arena_kib * SZ_1K), PAGE_ALIGN(ledger_kib * SZ_1K));
	if (r < 0)
		return r;
	r = publish(&sites, &size);
	if (r == 0) {
		__module_get(THIS_MODULE);
		held = true;
		pr_info("%u sites, %u literals, %u entries of no known form, %zu bytes at %#lx in %lld us\n",
			sites.n + slots_count(), slots_count(), sites.odd, size, table_address(),
			ktime_us_delta(ktime_get(), begin));
	} else {
		arena_close();
	}
	sites_free(&sites);
	return r;
}

/*
 * Forced out, without release: the functions are the kernel's own again when slots_close returns, but
 * somebody may still be in replacement code, or about to return there. It stays where it is.
 */
static void __exit stub_exit(void)
{
	bool forced;

	mutex_lock(&lock);
	forced = held;
	table_withdraw();
	slots_close();
	if (!forced)
		arena_close();
	else
		pr_warn("unloaded by force: the arena is left behind\n");
	mutex_unlock(&lock);
}

module_init(stub_init);
module_exit(stub_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("vpatch: the kernel's patchable entries, for the host of this virtual machine");
