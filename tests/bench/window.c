// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How long a guest is held, by every way there is, side by side.
 *
 *   window DIR [ROUNDS]     results go into DIR; every series gets so many rounds (200)
 *
 * A round is every operation once, in an order that is new each time, on one and the same guest. A
 * pass is a guest of every size one after the other, with its share of the rounds; there are
 * several, so that a load on the machine that comes and goes is spread over all sizes alike. What
 * changes something also takes it back: these give two samples a round.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/report.h"
#include "vmm-agent/base/clock.h"

#define PASSES  5
#define WARM_UP 3

/* Who gets which operations. */
enum list {
	BASE = 1 << 0,  /* every guest under QEMU */
	WHOLE = 1 << 1, /* those that get it all */
	OTHER = 1 << 2, /* those under the example VMM */
};

static const struct guest_kind {
	enum bare_vmm vmm;
	unsigned vcpus, busy, every; /* of `every` rounds one */
	unsigned lists;
} kinds[] = {
	{BARE_MICROVM_KVM, 2, 2, 1, BASE | WHOLE},
	{BARE_MICROVM_KVM, 1, 1, 1, BASE},
	{BARE_MICROVM_KVM, 2, 1, 1, BASE},
	{BARE_MICROVM_KVM, 2, 0, 1, BASE | WHOLE},
	{BARE_MICROVM_KVM, 1, 0, 1, BASE},
	{BARE_MICROVM_KVM, 4, 0, 1, BASE},
	{BARE_MICROVM_KVM, 8, 0, 1, BASE},
	{BARE_MICROVM_KVM, 16, 0, 1, BASE},
	{BARE_MICROVM_KVM, 4, 4, 5, BASE},
	{BARE_MICROVM_KVM, 8, 8, 5, BASE},
	{BARE_MICROVM_KVM, 16, 16, 10, BASE},
	{BARE_COMMAND, 2, 2, 1, OTHER},
	{BARE_COMMAND, 2, 0, 1, OTHER},
	{BARE_COMMAND, 16, 0, 1, OTHER},
};

static const struct {
	enum op op;
	unsigned sites, every;
	unsigned lists;
} ops[] = {
	{OP_NONE, 0, 1, BASE | OTHER},
	{OP_KVM, 1, 1, BASE},
	{OP_APPLY, 1, 1, WHOLE | OTHER},
	{OP_INPROC, 1, 1, OTHER},
	{OP_GDB, 1, 1, BASE},
	{OP_QMP, 0, 1, BASE},
	{OP_HOLD, 0, 1, BASE | OTHER},
	{OP_LITERAL, 1, 1, BASE},
	{OP_TRAP, 1, 1, BASE},
	{OP_PTRACE, 0, 1, BASE | OTHER},
	{OP_PTRACE_FIFO, 0, 1, BASE | OTHER},
	{OP_KVM, 10, 1, WHOLE},
	{OP_KVM, 100, 1, WHOLE},
	{OP_KVM, 1000, 1, WHOLE},
	{OP_KVM, 10000, 3, WHOLE},
	{OP_GDB, 10, 3, WHOLE},
	{OP_GDB, 100, 10, WHOLE},
	{OP_GDB, 1000, 30, WHOLE},
	{OP_GDB, 10000, 100, WHOLE},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))
#define N_OPS   (sizeof(ops) / sizeof(ops[0]))

/* xorshift32: the same orders in every run. */
static unsigned next_random(unsigned *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void shuffle(unsigned *order, unsigned n, unsigned *state)
{
	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	for (unsigned i = n; i > 1; i--) {
		unsigned j = next_random(state) % i, t = order[i - 1];

		order[i - 1] = order[j];
		order[j] = t;
	}
}

struct run {
	struct report report;
	struct rig rig;
	unsigned random;
};

static bool warm_up(struct run *r, unsigned op)
{
	struct samples none = {.n = 0};
	bool ok = rig_run(&r->rig, ops[op].op, ops[op].sites, &none);

	stat_deinit(&none);
	return ok;
}

static bool wanted(const struct guest_kind *k, unsigned op)
{
	return (k->lists & ops[op].lists) && (k->busy > 0 || ops[op].op != OP_NONE);
}

/* In the order in which they are told. */
static bool all_series(struct report *r)
{
	for (unsigned i = 0; i < N_KINDS; i++)
		for (unsigned op = 0; op < N_OPS; op++) {
			const struct guest_kind *k = &kinds[i];
			const struct series s = {
				.vmm = k->vmm,
				.vcpus = k->vcpus,
				.busy = k->busy,
				.op = ops[op].op,
				.sites = ops[op].sites,
				.judged = (long)k->busy <= sysconf(_SC_NPROCESSORS_ONLN),
			};

			if (wanted(k, op) && !report_series(r, &s))
				return false;
		}
	return true;
}

/* round: below 0 while it warms up. */
static bool one(struct run *r, const struct guest_kind *k, unsigned op, int round)
{
	struct series *s;

	if (!wanted(k, op) || round % (int)ops[op].every != 0)
		return true;
	if (round < 0)
		return warm_up(r, op);
	s = report_series(&r->report, &(struct series){.vmm = k->vmm,
						       .vcpus = k->vcpus,
						       .busy = k->busy,
						       .op = ops[op].op,
						       .sites = ops[op].sites});
	return s && rig_run(&r->rig, ops[op].op, ops[op].sites, &s->samples);
}

static bool measure(struct run *r, const struct guest_kind *k, unsigned pass, unsigned rounds)
{
	unsigned order[N_OPS];
	const char *words;

	for (int i = -WARM_UP; i < (int)rounds; i++) {
		shuffle(order, N_OPS, &r->random);
		for (unsigned j = 0; j < N_OPS; j++)
			if (!one(r, k, order[j], i < 0 ? i : (int)(pass * rounds) + i))
				return false;
	}
	words = rig_check(&r->rig);
	if (words)
		fprintf(stderr, "bench: the guest saw what cannot be: %s\n", words);
	return !words;
}

static bool pass(struct run *r, unsigned pass_no, unsigned rounds)
{
	for (unsigned i = 0; i < N_KINDS; i++) {
		const struct guest_kind *k = &kinds[i];
		unsigned n = (rounds + k->every - 1) / k->every;
		bool ok;

		if (isatty(2))
			fprintf(stderr, "pass %u of %u: %s, %u vCPUs, %u busy          \r",
				pass_no + 1, r->report.passes, bare_vmm_name(k->vmm), k->vcpus,
				k->busy);
		ok = rig_start(&r->rig, k->vmm, k->vcpus, k->busy) && measure(r, k, pass_no, n);

		rig_stop(&r->rig);
		if (!ok)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static struct run r;
	const char *missing = bare_missing(BARE_MICROVM_KVM);
	uint64_t from = clock_now();

	if (argc < 2 || argc > 3) {
		fputs("usage: window DIR [ROUNDS]\n", stderr);
		return 2;
	}
	if (missing) {
		printf("%s is missing\n", missing);
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	r.random = 1;
	r.report.rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 200;
	r.report.passes = r.report.rounds < PASSES ? 1 : PASSES;
	if (!all_series(&r.report))
		return 1;
	for (unsigned i = 0; i < r.report.passes; i++)
		if (!pass(&r, i, (r.report.rounds + r.report.passes - 1) / r.report.passes))
			return 1;
	if (isatty(2))
		fprintf(stderr, "%72s\r", "");
	r.report.took_ns = clock_now() - from;
	if (!report_write(&r.report, argv[1]))
		return 1;
	report_print(&r.report);
	return 0;
}
