// SPDX-License-Identifier: LGPL-2.1-or-later
/* What every site guest does: it publishes its table, then each CPU calls the probe that the host chose
 * and counts what comes of it. */
#include "tests/guests/sites/guest.h"

#define TABLE_LEN 16384
#define ARENA_LEN 65536
#define PAGE      4096

struct ctl ctl = {.probe = CTL_NO_PROBE};

uint8_t vpatch_table[TABLE_LEN] __attribute__((aligned(VP_SITES_ALIGN)));
static uint8_t ledger[PAGE] __attribute__((aligned(PAGE)));
static uint8_t records[256 * VP_TRAP_RECORD] __attribute__((aligned(VP_TRAP_RECORD)));
VPATCH_ARENA(vpatch_arena, ARENA_LEN);

static int publish(void)
{
	const struct vp_arena arena = vpatch_stub_arena(vpatch_arena, ARENA_LEN);
	const struct vp_ledger_space space = {vp_gva((uintptr_t)ledger), sizeof(ledger)};
	const struct vpatch_stub stub = {
		.table = vpatch_table,
		.table_len = sizeof(vpatch_table),
		.id = build_id,
		.id_kind = VP_SITES_ID_BUILD,
		.id_len = sizeof(build_id),
		.entry_literals = n_dispatchers > 0,
		.n_arenas = 1,
		.n_dispatchers = n_dispatchers,
		.n_ledgers = 1,
		.arenas = &arena,
		.dispatchers = dispatchers,
		.ledgers = &space,
		.traps = records,
		.traps_len = sizeof(records),
	};

	return vpatch_stub_publish(&stub);
}

/* Where the compiler put a site only the table knows. */
static int place(void)
{
	struct vp_sites s;
	int r = vp_sites_decode(vpatch_table, sizeof(vpatch_table), vp_gva((uintptr_t)vpatch_table),
				&s);

	for (unsigned i = 0; r == VP_OK && i < n_probes; i++) {
		struct vp_site site;
		uint32_t k;

		if (probes[i].site != 0)
			continue;
		r = vp_sites_named(&s, probes[i].name, &k);
		if (r == VP_OK)
			r = vp_sites_site(&s, k, &site);
		if (r == VP_OK)
			probes[i].site = site.at.v;
	}
	return r;
}

static uint64_t get(const uint64_t *p)
{
	return *(const volatile uint64_t *)p;
}

/* For counts of this CPU's own. */
static void put(uint64_t *p, uint64_t v)
{
	*(volatile uint64_t *)p = v;
}

static void one_call(struct ctl_cpu *c, const struct probe *p)
{
	uint64_t e1, e2, r, broken = 0;

	e1 = get(&ctl.expect);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	r = arch_call(p->call, &broken);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	e2 = get(&ctl.expect);
	if (broken != 0) {
		put(&c->wrong, c->wrong + 1);
		put(&c->last, CTL_BROKEN | broken);
	} else if (r == p->old) {
		put(&c->old, c->old + 1);
	} else if (r == p->new) {
		put(&c->new, c->new + 1);
	} else {
		put(&c->wrong, c->wrong + 1);
		put(&c->last, r);
	}
	if (e1 == e2 &&
	    (((e1 & 3) == CTL_OLD && r != p->old) || ((e1 & 3) == CTL_NEW && r != p->new)))
		put(&c->stale, c->stale + 1);
}

/* False: there is none to call. */
static bool one_round(struct ctl_cpu *c, uint64_t probe)
{
	uint64_t from = probe, to = probe + 1;

	if (probe == CTL_SET) {
		from = get(&ctl.from);
		to = get(&ctl.to);
	}
	if (from >= to || to > n_probes)
		return false;
	while (from < to)
		one_call(c, &probes[from++]);
	return true;
}

static void __attribute__((noreturn)) loop(struct ctl_cpu *c)
{
	for (;;)
		if (one_round(c, get(&ctl.probe)))
			put(&c->ticks, c->ticks + 1);
		else
			arch_relax();
}

/* The one that starts the others counts them, so that each has its number before it runs. */
static void start_all(void)
{
	unsigned cpu = 1;

	while (cpu < CTL_CPUS_MAX && arch_start(cpu)) {
		while (get(&ctl.cpus) < cpu)
			arch_relax();
		cpu++;
	}
}

void site_main(unsigned cpu)
{
	if (cpu == 0) {
		int r = publish();

		if (r == VP_OK)
			r = place();
		put(&ctl.error, (uint64_t)(int64_t)r);
		if (r < 0)
			arch_park();
		put(&ctl.n_probes, n_probes);
		start_all();
		put(&ctl.cpus, get(&ctl.cpus) + 1);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		put(&ctl.magic, CTL_MAGIC);
	} else {
		put(&ctl.cpus, cpu);
	}
	loop(&ctl.cpu[cpu]);
}

bool site_trap(unsigned cpu, uintptr_t pc, struct vpatch_trap *ret)
{
	uint64_t flags = get(&ctl.flags);
	struct ctl_cpu *c = &ctl.cpu[cpu];

	if (flags & CTL_NO_HANDLER)
		return false;
	*ret = flags & CTL_NO_REREAD ? vpatch_stub_record(pc) : vpatch_stub_trap(pc);
	switch (ret->act) {
	case VPATCH_TRAP_JUMP:
	case VPATCH_TRAP_CALL:
		put(&c->traps, c->traps + 1);
		return true;
	case VPATCH_TRAP_AGAIN:
		ret->pc = pc;
		put(&c->rereads, c->rereads + 1);
		return true;
	default:
		return false;
	}
}

void site_fault(unsigned cpu, uint64_t cause, uint64_t pc, uint64_t addr)
{
	struct ctl_cpu *c = &ctl.cpu[cpu];

	put(&c->cause, cause);
	put(&c->pc, pc);
	put(&c->addr, addr);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	put(&c->faults, c->faults + 1);
	arch_park();
}
