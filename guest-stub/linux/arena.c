// SPDX-License-Identifier: GPL-2.0
/* Memory for the host: replacement code in branch reach of the kernel, and its records. */
#include <linux/kernel.h>
#include <linux/vmalloc.h>
#include <asm/cacheflush.h>
#include "guest-stub/linux/vpatch_stub.h"
#include "protocol/bytes.h"

static u8 *arena, *ledger;
static size_t arena_size, ledger_size;

static u8 filler(size_t i)
{
	return (u32)STUB_FILLER >> 8 * (i % STUB_FILLER_LEN);
}

int arena_open(size_t arena_len, size_t ledger_len)
{
	unsigned long lo, hi;
	int r = arch_reach(&lo, &hi);

	if (r < 0)
		return r;
	ledger = vzalloc(ledger_len);
	arena = ksym_vmalloc_in(arena_len, lo, hi);
	if (!arena || !ledger) {
		pr_err("no %zu bytes between %#lx and %#lx\n", arena_len, lo, hi);
		arena_close();
		return -ENOMEM;
	}
	arena_size = arena_len;
	ledger_size = ledger_len;
	for (size_t i = 0; i < arena_len; i++)
		arena[i] = filler(i);
	flush_icache_range((unsigned long)arena, (unsigned long)arena + arena_len);
	r = ksym_make_text(arena, arena_len);
	if (r < 0) {
		pr_err("the arena cannot be made executable: %d\n", r);
		arena_close();
	}
	return r;
}

void arena_close(void)
{
	vfree(arena);
	vfree(ledger);
	arena = ledger = NULL;
}

bool arena_at_rest(void)
{
	for (size_t i = 0; i < arena_size; i++)
		if (READ_ONCE(arena[i]) != filler(i))
			return false;
	for (size_t i = 0; i < ledger_size; i++)
		if (READ_ONCE(ledger[i]))
			return false;
	return true;
}

void arena_describe(struct vp_arena *a, struct vp_ledger_space *l)
{
	*a = (struct vp_arena){.at = vp_gva((unsigned long)arena),
			       .len = arena_size,
			       .filler_len = STUB_FILLER_LEN};
	for (size_t i = 0; i < STUB_FILLER_LEN; i++)
		a->filler[i] = filler(i);
	*l = (struct vp_ledger_space){.at = vp_gva((unsigned long)ledger), .len = ledger_size};
}
