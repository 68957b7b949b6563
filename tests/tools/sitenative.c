// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Toggles the sites of the x86-64 site guest while native CPUs run them:
 *
 *	sitenative inproc|kvm IMAGE [--toggles N] [--seconds S] [--cpus N] [--probe NAME]
 *		[--sites N] [--least N] [--bad NAME] [--early]
 *
 * inproc: this process is the VMM (tests/vmm) and libvpatch is in it; kvm: QEMU is, and driver kvm comes
 * from outside. Every site that a breakpoint may stand over, or the one of --probe, changes in lockstep, as
 * in one change of many sites; a toggle is one site's change, and every CPU goes round all of them. Each
 * time every call that began behind the change has to give the new result, of every site. --bad: programs
 * of tests/lib/sitebad.h, and exit 0 says that they were seen to be wrong. Exit 0 otherwise: nothing
 * impossible was seen in N toggles, or those of S seconds, and these were not less than --least. 2: usage; 77: what is missing.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "protocol/sites_abi.h"
#include "tests/lib/sitejob.h"
#include "tests/vmm/vmm.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/inproc.h"

#define SECOND CLOCK_NS_PER_SEC
#define SYNC   (30 * SECOND)
#define LINGER (5 * SECOND)

struct run {
	struct siteguest_opts opts;
	const char *how, *probe;
	const struct sitebad *bad;
	bool early;
	unsigned toggles, seconds, least, sites;
	struct siteguest g;
	struct vmm vmm;
	struct sitejob job[SITEGUEST_PROBES];
	unsigned n;
	unsigned from, to;
	struct diag diag;
};

static bool same(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static int open_inproc(struct siteguest *g, struct diag *diag, struct vp_target **ret)
{
	struct run *r = g->opts.ctx;

	r->vmm.kernel = g->opts.elf;
	r->vmm.mem = "64M";
	r->vmm.n_vcpus = g->opts.cpus;
	vmm_start(&r->vmm);
	return drv_inproc_open(r->vmm.vp, diag, ret);
}

/* --- the sites --------------------------------------------------------------------------------- */

static bool wanted(const struct run *r, const struct probe *p)
{
	return p->discipline & 1u << VP_DISCIPLINE_TRAP && (!r->probe || same(r->probe, p->name));
}

#define ROUND_ENDS 1 /* what was added before goes round without this one */

static int add(struct run *r, unsigned probe)
{
	struct sitejob *j = &r->job[r->n];
	struct arch_poke_ask a;
	int err = sitejob_describe(j, &r->g, probe, r->early, &r->diag);

	if (err < 0)
		return err;
	j->discipline = VP_DISCIPLINE_TRAP;
	j->bad = r->bad;
	a = sitejob_ask(j, true);
	if (r->bad && !sitebad_fits(r->bad, r->opts.arch, j->p->name, &a))
		return r->n > 0 ? ROUND_ENDS
				: diag_set(&r->diag, VP_E_USAGE, "%s: not such a site", j->p->name);
	/* One behind the other: they are a round. */
	if (r->n == 0)
		r->from = probe;
	r->to = probe + 1;
	r->n++;
	return sitejob_make(j, &r->diag);
}

static int collect(struct run *r)
{
	int err = VP_OK;

	if (r->sites > r->g.n_records)
		r->sites = r->g.n_records;
	for (unsigned i = 0; err == VP_OK && i < r->g.n_probes && r->n < r->sites; i++)
		if (wanted(r, &r->g.probes[i]))
			err = add(r, i);
	if (err == ROUND_ENDS)
		err = VP_OK;
	if (err == VP_OK && (r->n == 0 || r->n != r->to - r->from))
		return diag_set(&r->diag, VP_E_USAGE, "no such probes");
	return err;
}

/* A trap stands until whoever met it has gone on, or cannot. */
static int linger(void *ctx, size_t i)
{
	struct run *r = ctx;

	if (i == 0)
		(void)!siteguest_rounds(&r->g, 2, clock_in(LINGER), &r->diag);
	return VP_OK;
}

static int toggle(struct run *r, bool on)
{
	const struct eng_poke_watch watch = {.event = linger, .ctx = r};
	struct siteguest *g = &r->g;
	struct eng_poke poke[SITEGUEST_PROBES];
	int err = siteguest_expect(g, CTL_EITHER);

	for (unsigned i = 0; i < r->n; i++)
		poke[i] = sitejob_poke(&r->job[i], on,
				       vp_gpa(g->record.v + (uint64_t)i * VP_TRAP_RECORD));
	if (err == VP_OK)
		err = eng_poke_run(g->l, poke, r->n, r->bad ? &watch : NULL, clock_in(SYNC),
				   &r->diag, NULL);
	if (err == VP_OK)
		err = siteguest_expect(g, on ? CTL_NEW : CTL_OLD);
	if (err == VP_OK)
		err = siteguest_rounds(g, 2, clock_in(g->opts.patience), &r->diag);
	return err == VP_OK ? siteguest_sound(g, &r->diag) : err;
}

/* --- a run ------------------------------------------------------------------------------------- */

static void say(const struct run *r, unsigned done, uint64_t ns)
{
	const struct siteguest *g = &r->g;

	printf("%s %s%s: %u toggles of %u sites, %.0f/s", r->how, r->bad ? r->bad->name : "trap",
	       r->early ? " early" : "", done, r->n, done / ((double)(ns ? ns : 1) / SECOND));
	for (unsigned i = 0; i < g->ctl.cpus; i++) {
		const struct ctl_cpu *c = &g->ctl.cpu[i], *f = &g->first.cpu[i];

		printf("; CPU %u: %" PRIu64 " old, %" PRIu64 " new, %" PRIu64 " traps, %" PRIu64
		       " rereads, %" PRIu64 " wrong, %" PRIu64 " stale, %" PRIu64 " faults",
		       i, c->old - f->old, c->new - f->new, c->traps - f->traps,
		       c->rereads - f->rereads, c->wrong - f->wrong, c->stale - f->stale,
		       c->faults - f->faults);
	}
	printf("\n");
}

static int run(struct run *r, unsigned *done, uint64_t *ns)
{
	uint64_t start, until;
	bool on = false;
	int err = collect(r);

	if (err == VP_OK && r->bad && r->bad->no_reread)
		err = siteguest_flags(&r->g, CTL_NO_REREAD);
	if (err == VP_OK)
		err = siteguest_choose_set(&r->g, r->from, r->to, &r->diag);
	start = clock_now();
	until = r->seconds ? clock_in(r->seconds * SECOND) : UINT64_MAX;
	/* Ends at what was there before. */
	while (err == VP_OK && (on || (*done < r->toggles && clock_now() < until))) {
		on = !on;
		err = toggle(r, on);
		*done += r->n;
	}
	*ns = clock_now() - start;
	if (err == VP_OK && !r->bad)
		err = siteguest_saw_both(&r->g, true, &r->diag);
	return err;
}

static bool judge(struct run *r, int err, unsigned done, uint64_t ns)
{
	bool seen = err == VP_E_PANICKED || err == VP_E_TORN || err == VP_E_DEADLINE;

	if (r->g.t)
		say(r, done, ns);
	if (r->bad && seen)
		printf("%s %s: seen: %s\n", r->how, r->bad->name, r->diag.text);
	else if (r->bad && err == VP_OK)
		fprintf(stderr, "sitenative: %s: %s: nothing was seen\n", r->bad->name,
			r->bad->words);
	else if (err != VP_OK)
		fprintf(stderr, "sitenative: %s: %s\n", r->how, r->diag.text);
	if (!r->bad && r->early && siteguest_rereads(&r->g) == 0 && err == VP_OK) {
		fprintf(stderr, "sitenative: no handler had to look at the site again\n");
		return false;
	}
	if (!r->bad && done < r->least && err == VP_OK) {
		fprintf(stderr, "sitenative: fewer than %u toggles\n", r->least);
		return false;
	}
	return r->bad ? seen : err == VP_OK;
}

/* --- arguments --------------------------------------------------------------------------------- */

static bool number(const char *text, unsigned *ret)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	*ret = (unsigned)v;
	return *end == '\0' && v > 0 && v < 1000000000;
}

static bool find_bad(struct run *r, const char *name)
{
	for (unsigned i = 0; !r->bad && sitebad_at(i); i++)
		if (same(sitebad_at(i)->name, name))
			r->bad = sitebad_at(i);
	return r->bad;
}

static bool parse(struct run *r, int argc, char **argv)
{
	static const struct option options[] = {
		{"toggles", required_argument, NULL, 't'},
		{"seconds", required_argument, NULL, 's'},
		{"sites", required_argument, NULL, 'n'},
		{"cpus", required_argument, NULL, 'c'},
		{"probe", required_argument, NULL, 'p'},
		{"least", required_argument, NULL, 'l'},
		{"bad", required_argument, NULL, 'b'},
		{"early", no_argument, NULL, 'e'},
		{NULL, 0, NULL, 0},
	};
	bool ok = true;
	int c;

	while (ok && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 't')
			ok = number(optarg, &r->toggles);
		else if (c == 's')
			ok = number(optarg, &r->seconds);
		else if (c == 'c')
			ok = number(optarg, &r->opts.cpus) && r->opts.cpus <= CTL_CPUS_MAX;
		else if (c == 'l')
			ok = number(optarg, &r->least);
		else if (c == 'n')
			ok = number(optarg, &r->sites);
		else if (c == 'p')
			r->probe = optarg;
		else if (c == 'b')
			ok = find_bad(r, optarg);
		else if (c == 'e')
			r->early = true;
		else
			ok = false;
	}
	if (!ok || argc - optind != 2)
		return false;
	r->how = argv[optind];
	r->opts.elf = argv[optind + 1];
	r->opts.way = same(r->how, "kvm") ? SITEGUEST_KVM : SITEGUEST_OWN;
	return same(r->how, "kvm") || same(r->how, "inproc");
}

int main(int argc, char **argv)
{
	static struct run r = {.toggles = 100000,
			       .sites = SITEGUEST_PROBES,
			       .opts.cpus = 2,
			       .opts.open = open_inproc};
	unsigned done = 0;
	uint64_t ns = 0;
	bool ok;
	int err;

	if (!parse(&r, argc, argv)) {
		fprintf(stderr,
			"usage: sitenative inproc|kvm IMAGE [--toggles N] [--seconds S] "
			"[--cpus N] [--probe NAME] [--sites N] [--least N] [--bad NAME] [--early]\n");
		return 2;
	}
	r.opts.arch = arch_get(ARCH_X86_64);
	r.opts.ctx = &r;
	if (siteguest_missing(r.opts.arch, r.opts.way)) {
		printf("%s is missing\n", siteguest_missing(r.opts.arch, r.opts.way));
		return 77;
	}
	prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	err = siteguest_start(&r.g, &r.opts, &r.diag);
	if (err == VP_OK)
		err = run(&r, &done, &ns);
	ok = judge(&r, err, done, ns);
	siteguest_stop(&r.g);
	if (r.vmm.vp) {
		vmm_quit(&r.vmm);
		vmm_wait(&r.vmm);
	}
	return ok ? 0 : 1;
}
