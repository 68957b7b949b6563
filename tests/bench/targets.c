// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/bench/targets.h"

struct at {
	enum bare_vmm vmm;
	unsigned vcpus, busy;
	enum op op;
	unsigned sites;
};

/* Median in nanoseconds; 0 when it was not measured. */
static double median_of(const struct report *r, struct at at, enum field field)
{
	const struct series like = {
		.vmm = at.vmm, .vcpus = at.vcpus, .busy = at.busy, .op = at.op, .sites = at.sites};
	const struct series *s = report_find(r, &like);

	return s ? (double)stat_of(&s->samples, field).median : 0;
}

static double median(const struct report *r, struct at at)
{
	return median_of(r, at, WINDOW);
}

struct list {
	const struct report *r;
	struct target *target;
	unsigned n;
};

/* (a - b) / by */
static void add_slope(struct list *l, struct target t, struct at a, struct at b, double by)
{
	double x = median(l->r, a), y = median(l->r, b);

	if (x == 0 || y == 0 || l->n == TARGETS_MAX)
		return;
	t.figure = (x - y) / by;
	l->target[l->n++] = t;
}

static void add_ratio(struct list *l, struct target t, struct at a, struct at b)
{
	double x = median(l->r, a), y = median(l->r, b);

	if (x == 0 || y == 0 || l->n == TARGETS_MAX)
		return;
	t.figure = x / y;
	l->target[l->n++] = t;
}

/* What a CPU of the guest missed, as it saw itself: without the machine's own noise it would be less. */
static void add_gap_ratio(struct list *l, struct target t, struct at a, struct at b)
{
	double x = median_of(l->r, a, GAP), y = median_of(l->r, b, GAP);

	if (x == 0 || y == 0 || l->n == TARGETS_MAX)
		return;
	t.figure = x / y;
	l->target[l->n++] = t;
}

#define T(name, words, most) ((struct target){name, words, most, 0})
#define QEMU(...)            ((struct at){BARE_MICROVM_KVM, __VA_ARGS__})
#define OTHER(...)           ((struct at){BARE_COMMAND, __VA_ARGS__})

unsigned targets_of(const struct report *r, struct target ret[TARGETS_MAX])
{
	struct list l = {.r = r, .target = ret};
	const struct at kvm = QEMU(2, 2, OP_KVM, 1), apply = QEMU(2, 2, OP_APPLY, 1);
	const struct at qmp = QEMU(2, 2, OP_QMP, 0), hold = QEMU(2, 2, OP_HOLD, 0);

	add_ratio(&l, T("kvm_per_qmp_ratio", "kvm : QMP stop+cont, 2 busy vCPUs", 0.2), kvm, qmp);
	add_ratio(&l, T("apply_per_qmp_ratio", "the same of a whole apply", 0.2), apply, qmp);
	add_ratio(&l, T("kvm_per_floor_ratio", "kvm : floor, vpatch's own hold", 1.3), kvm, hold);
	add_ratio(&l, T("kvm_per_ptrace_ratio", "kvm : floor, ptrace alone", 1.3), kvm,
		  QEMU(2, 2, OP_PTRACE, 0));
	add_ratio(&l, T("kvm_per_ptrace_fifo_ratio", "kvm : floor, ptrace alone, real-time", 1.3),
		  kvm, QEMU(2, 2, OP_PTRACE_FIFO, 0));
	add_ratio(&l, T("apply_per_floor_ratio", "a whole apply : floor, vpatch's own hold", 1.3),
		  apply, hold);
	add_slope(&l, T("busy_vcpu_us", "a second busy vCPU, us", 10), kvm, QEMU(1, 1, OP_KVM, 1),
		  1e3);
	add_slope(&l, T("halted_vcpu_us", "a further halted vCPU (1 to 16), us", 10),
		  QEMU(16, 0, OP_KVM, 1), QEMU(1, 0, OP_KVM, 1), 15e3);
	add_slope(&l, T("floor_busy_vcpu_us", "the same of the floor (1 to 2 busy), us", 0),
		  QEMU(2, 2, OP_PTRACE_FIFO, 0), QEMU(1, 1, OP_PTRACE_FIFO, 0), 1e3);
	add_slope(&l, T("floor_halted_vcpu_us", "the same of the floor (1 to 16 halted), us", 0),
		  QEMU(16, 0, OP_PTRACE_FIFO, 0), QEMU(1, 0, OP_PTRACE_FIFO, 0), 15e3);
	add_slope(&l, T("busy_site_us", "a further site (1 to 10,000), busy, us", 1),
		  QEMU(2, 2, OP_KVM, 10000), kvm, 9999e3);
	add_slope(&l, T("idle_site_us", "a further site (1 to 10,000), idle, us", 1),
		  QEMU(2, 0, OP_KVM, 10000), QEMU(2, 0, OP_KVM, 1), 9999e3);
	add_ratio(&l, T("inproc_per_kvm_ratio", "inproc : kvm, whole applies, 2 busy vCPUs", 1),
		  OTHER(2, 2, OP_INPROC, 1), OTHER(2, 2, OP_APPLY, 1));
	add_ratio(&l, T("inproc_per_kvm_idle_ratio", "inproc : kvm, whole applies, 2 halted", 1),
		  OTHER(2, 0, OP_INPROC, 1), OTHER(2, 0, OP_APPLY, 1));
	add_gap_ratio(&l, T("gap_literal_per_stop_ratio", "guest's gap, live literal : stop", 1),
		      QEMU(2, 2, OP_LITERAL, 1), kvm);
	add_gap_ratio(&l, T("gap_trap_per_stop_ratio", "guest's gap, live trap : stop", 1),
		      QEMU(2, 2, OP_TRAP, 1), kvm);
	return l.n;
}
