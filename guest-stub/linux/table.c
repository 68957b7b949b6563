// SPDX-License-Identifier: GPL-2.0
/* The table: docs/abi.md has the format, README.md here how it comes and goes. */
#include <linux/kernel.h>
#include <linux/random.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>
#include "guest-stub/linux/vpatch_stub.h"
#include "protocol/bytes.h"

#define MAGIC_LEN VP_SITES_OFF_GENERATION

static u8 *table; /* NULL: none is published */
static size_t table_size;

static int by_address(const void *a, const void *b)
{
	const struct vp_site *x = a, *y = b;

	return x->at.v < y->at.v ? -1 : x->at.v > y->at.v;
}

/*
 * Written beside and copied, the magic last: a host that looks at this moment finds no table, not a
 * damaged one. The first generation is different for each load, so that a host that has read another
 * load's table, which may have lain at the same address, notices.
 */
static int publish(const struct vp_sites_new *t, u8 *to, size_t size)
{
	u32 generation = get_random_u32() & ~1u;
	u8 *draft = vmalloc(size);
	int r = -ENOMEM;

	if (draft)
		r = vp_sites_encode(draft, size, t) < 0 ? -EINVAL : 0;
	if (r == 0) {
		vp_st32(draft + VP_SITES_OFF_GENERATION, generation);
		vp_st32(draft + size - VP_SITES_TAIL, generation);
		memcpy(to + MAGIC_LEN, draft + MAGIC_LEN, size - MAGIC_LEN);
		smp_wmb();
		memcpy(to, draft, MAGIC_LEN);
		memset(draft, 0, MAGIC_LEN); /* or it would look like one, once it is free */
	}
	vfree(draft);
	return r;
}

int table_publish(const struct stub_sites *sites, size_t *ret)
{
	u8 id[VP_SITES_ID_MAX];
	struct vp_dispatcher dispatcher;
	struct vp_ledger_space ledger;
	struct vp_arena arena;
	struct vp_sites_new t = {
		.arch = STUB_ARCH,
		.id_kind = VP_SITES_ID_BUILD,
		.id = id,
		.n_sites = sites->n + slots_count(),
		.n_arenas = 1,
		.n_dispatchers = arch_dispatcher(&dispatcher),
		.n_ledgers = 1,
		.arenas = &arena,
		.dispatchers = &dispatcher,
		.ledgers = &ledger,
	};
	struct vp_site *all = vmalloc(array_size(t.n_sites, sizeof(*all)));
	int r = ksym_build_id(id);
	u8 *to = NULL;
	u32 size;

	if (r < 0 || !all) {
		vfree(all);
		return r < 0 ? r : -ENOMEM;
	}
	t.id_len = r;
	memcpy(all, sites->site, sites->n * sizeof(*all));
	for (u32 i = 0; i < slots_count(); i++)
		slots_describe(i, &all[sites->n + i]);
	sort(all, t.n_sites, sizeof(*all), by_address, NULL);
	t.sites = all;
	arena_describe(&arena, &ledger);
	size = vp_sites_size(&t);
	to = size ? vzalloc(size) : NULL;
	t.self = vp_gva((unsigned long)to);
	r = to ? publish(&t, to, size) : -ENOMEM;
	vfree(all);
	if (r < 0) {
		pr_err("no table of %u bytes for %u sites: %d\n", size, t.n_sites, r);
		vfree(to);
		return r;
	}
	table = to;
	table_size = size;
	*ret = size;
	return 0;
}

static void withdraw(void)
{
	memset(table, 0, MAGIC_LEN);
	smp_wmb();
	vfree(table);
	table = NULL;
}

/*
 * The generation turns odd first, then everything is looked at. The host does it the other way
 * round: it writes its record and its code, then reads the generation, then switches. One of the two
 * sees the other (README.md).
 */
int table_release(void)
{
	if (!table)
		return -ENOENT;
	if (vp_sites_begin(table, table_size) < 0)
		return -EIO;
	smp_mb();
	if (slots_at_rest() && arena_at_rest()) {
		withdraw();
		return 0;
	}
	return vp_sites_end(table, table_size) < 0 ? -EIO : -EBUSY;
}

void table_withdraw(void)
{
	if (table)
		withdraw();
}

unsigned long table_address(void)
{
	return (unsigned long)table;
}
