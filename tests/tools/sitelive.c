// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Toggles the sites of a site guest while its CPUs run them, under TCG:
 *
 *	sitelive ARCH IMAGE [--probe NAME|all] [--discipline each|live|auto|stop|word|trap|skip|literal]
 *		[--toggles N] [--cpus N] [--singlestep] [--early] [--no-reread]
 *	sitelive ARCH IMAGE --bad NAME|all [--probe ...] ...
 *	sitelive ARCH IMAGE --list              probes, their disciplines, and with ! what is bad
 *
 * A toggle is one edit, old to new or back, by the program that arch_poke gives for it; ahead of it the
 * CPUs are told to expect either result, behind it the one. `each` is every discipline that the probe is
 * to be run with, `live` is those but stop, and one by its name goes for the probes that have it. Exit 0: every CPU had both results of every probe and nothing else. --bad: the program
 * is one that is known to be wrong, and exit 0 says that this was seen. --early: a trap's record goes
 * before every CPU has left the handler, which is what the handler's second look is for; it has to be seen
 * to look. 2: usage; 77: what is missing.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "tests/lib/sitejob.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/poke.h"

#define SECOND      CLOCK_NS_PER_SEC
#define HOLD_NS     (5 * SECOND)
#define PATIENCE    (3 * SECOND) /* of a bad program, whose CPUs may never come round */
#define NO_REREAD   "no-reread"  /* as a flag of the guest's handler */
#define DISCIPLINES (VP_DISCIPLINE_LITERAL + 1)
#define EACH        ((1u << DISCIPLINES) - 2)

struct run {
	struct siteguest_opts opts;
	const char *probe;    /* NULL: all */
	const char *bad;      /* NULL: none */
	unsigned disciplines; /* 1 << VP_DISCIPLINE_*, 0: auto */
	bool early;
	bool no_reread;
	bool list;
	unsigned toggles;
	struct siteguest g;
	struct diag diag;
};

/* One probe and what is done to it. */
struct job {
	struct run *r;
	struct sitejob s;
};

static bool same(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static int describe(struct job *j, struct run *run, unsigned probe)
{
	j->r = run;
	return sitejob_describe(&j->s, &run->g, probe, run->early, &run->diag);
}

/* --- one toggle -------------------------------------------------------------------------------- */

static int store_held(struct job *j, struct vp_paused *p, bool on)
{
	const struct arch_poke *prog = &j->s.prog[on];
	uint8_t expect[8];
	vp_gpa_t at;
	int r = VP_OK;

	for (unsigned i = 0; r == VP_OK && i < prog->n; i++) {
		const struct arch_poke_step *s = &prog->step[i];

		if (s->act == ARCH_POKE_STORE)
			r = vp_write(p, s->literal ? j->s.literal : vp_gpa(j->s.site.v + s->off),
				     s->bytes, s->len);
	}
	/* Nobody runs in between: there is no moment at which either may be. */
	siteguest_expected(&j->r->g, on ? CTL_NEW : CTL_OLD, expect, &at);
	if (r == VP_OK)
		r = vp_write(p, at, expect, sizeof(expect));
	return r == VP_OK ? vp_sync(p) : r;
}

static int toggle_held(struct job *j, bool on)
{
	struct siteguest *g = &j->r->g;
	struct diag *diag = &j->r->diag;
	struct vp_paused *p;
	int r, end;

	r = vp_pause(g->t, clock_in(HOLD_NS), diag, &p);
	if (r == VP_OK) {
		r = store_held(j, p, on);
		end = vp_resume(p);
		if (r < 0 || end < 0)
			r = diag_set(diag, r < 0 ? r : end, "in the hold: %s",
				     vp_err_sentence(r < 0 ? r : end));
	}
	return r;
}

static int toggle_live(struct job *j, bool on)
{
	struct siteguest *g = &j->r->g;
	const struct eng_poke poke = sitejob_poke(&j->s, on, g->record);
	int r = siteguest_expect(g, CTL_EITHER);

	if (r == VP_OK)
		r = eng_poke_run(g->l, &poke, 1, NULL, VP_NO_DEADLINE, &j->r->diag, NULL);
	return r == VP_OK ? siteguest_expect(g, on ? CTL_NEW : CTL_OLD) : r;
}

static bool holds(const struct job *j)
{
	return j->s.prog[1].discipline == VP_DISCIPLINE_STOP;
}

static int toggle(struct job *j, bool on)
{
	struct siteguest *g = &j->r->g;
	int r = holds(j) ? toggle_held(j, on) : toggle_live(j, on);

	if (r == VP_OK)
		r = siteguest_rounds(g, 2, clock_in(g->opts.patience), &j->r->diag);
	return r == VP_OK ? siteguest_sound(g, &j->r->diag) : r;
}

/* --- a run ------------------------------------------------------------------------------------- */

static void summary(const struct job *j, const char *how, unsigned n, uint64_t ns)
{
	const struct siteguest *g = &j->r->g;

	printf("%s %s %s%s: %u toggles, %.0f/s", g->opts.arch->name, j->s.p->name, how,
	       g->opts.singlestep ? " -singlestep" : "", n,
	       n / ((double)(ns ? ns : 1) / CLOCK_NS_PER_SEC));
	for (unsigned i = 0; i < g->ctl.cpus; i++) {
		const struct ctl_cpu *c = &g->ctl.cpu[i], *f = &g->first.cpu[i];

		printf("; CPU %u: %" PRIu64 " old, %" PRIu64 " new", i, c->old - f->old,
		       c->new - f->new);
		if (c->traps - f->traps)
			printf(", %" PRIu64 " traps", c->traps - f->traps);
		if (c->rereads - f->rereads)
			printf(", %" PRIu64 " rereads", c->rereads - f->rereads);
	}
	printf("\n");
}

/* One arming is enough for many holds, and costs more than they do. */
static int toggles(struct job *j, unsigned probe, unsigned *n_ret, uint64_t *ns_ret)
{
	struct siteguest *g = &j->r->g;
	int r = siteguest_choose(g, probe, &j->r->diag);

	if (r == VP_OK && holds(j)) {
		vp_live_close(g->l);
		g->l = NULL;
		r = vp_arm(g->t, VP_AFTER_AS_FOUND, &j->r->diag);
	}
	*ns_ret = clock_now();
	for (*n_ret = 0; r == VP_OK && *n_ret < j->r->toggles; ++*n_ret)
		r = toggle(j, !(*n_ret & 1));
	*ns_ret = clock_now() - *ns_ret;
	if (!g->l) {
		struct diag *diag = r == VP_OK ? &j->r->diag : NULL;
		int again;

		vp_disarm(g->t);
		again = vp_live_open(g->t, diag, &g->l);
		r = r == VP_OK ? again : r;
	}
	return r;
}

/* Every toggle is made and nothing impossible is seen. */
static bool good(struct job *j, unsigned probe, const char *how)
{
	struct siteguest *g = &j->r->g;
	struct diag *diag = &j->r->diag;
	uint64_t ns = 0;
	unsigned n = 0;
	int r = sitejob_make(&j->s, &j->r->diag);

	if (r == VP_OK && j->r->no_reread)
		r = siteguest_flags(g, CTL_NO_REREAD);
	if (r == VP_OK)
		r = toggles(j, probe, &n, &ns);
	if (r == VP_OK)
		r = siteguest_saw_both(g, j->s.prog[1].discipline == VP_DISCIPLINE_TRAP, diag);
	if (r == VP_OK && j->r->early && siteguest_rereads(g) == 0)
		r = diag_set(diag, VP_E_TORN, "no handler had to look at the site again");
	if (r == VP_OK)
		summary(j, how, n, ns);
	else
		fprintf(stderr, "sitelive: %s %s %s%s: toggle %u: %s\n", g->opts.arch->name,
			j->s.p->name, how, g->opts.singlestep ? " -singlestep" : "", n, diag->text);
	return r == VP_OK;
}

static bool wanted(const struct run *r, const struct probe *p)
{
	return r->probe ? same(r->probe, p->name) : !(p->discipline & PROBE_ALIKE);
}

static bool good_edit(struct run *r, unsigned probe, enum vp_discipline d)
{
	struct job j;

	if (describe(&j, r, probe) < 0) {
		fprintf(stderr, "sitelive: %s: %s\n", j.s.p->name, r->diag.text);
		return false;
	}
	j.s.discipline = d;
	return good(&j, probe, d ? arch_discipline_name(d) : "auto");
}

static bool good_probe(struct run *r, unsigned i, unsigned *n)
{
	bool ok = true;

	if (!r->disciplines) {
		++*n;
		return good_edit(r, i, 0);
	}
	for (int d = 1; ok && d < DISCIPLINES; d++)
		if (r->disciplines & r->g.probes[i].discipline & 1u << d) {
			ok = good_edit(r, i, (enum vp_discipline)d);
			++*n;
		}
	return ok;
}

static int run_good(struct run *r)
{
	unsigned n = 0;
	bool ok = siteguest_start(&r->g, &r->opts, &r->diag) == VP_OK;

	if (!ok)
		fprintf(stderr, "sitelive: %s\n", r->diag.text);
	for (unsigned i = 0; ok && i < r->g.n_probes; i++) {
		if (!wanted(r, &r->g.probes[i]) || r->g.probes[i].discipline & PROBE_BAD)
			continue;
		ok = good_probe(r, i, &n);
	}
	siteguest_stop(&r->g);
	if (ok && n == 0)
		fprintf(stderr, "sitelive: no such probe\n");
	return ok && n > 0 ? 0 : 1;
}

/* Something impossible is seen before the toggles end. The guest is spoiled by it. */
static bool bad(struct job *j, unsigned probe)
{
	struct siteguest *g = &j->r->g;
	struct diag *diag = &j->r->diag;
	uint64_t ns = 0;
	unsigned n = 0;
	int r = sitejob_make(&j->s, &j->r->diag);

	if (r == VP_OK && j->s.bad->no_reread)
		r = siteguest_flags(g, CTL_NO_REREAD);
	if (r < 0) {
		fprintf(stderr, "sitelive: %s: %s\n", j->s.p->name, diag->text);
		return false;
	}
	r = toggles(j, probe, &n, &ns);
	if (r == VP_E_PANICKED || r == VP_E_TORN || r == VP_E_DEADLINE) {
		printf("%s %s %s%s: seen at toggle %u: %s\n", g->opts.arch->name, j->s.p->name,
		       j->s.bad->name, g->opts.singlestep ? " -singlestep" : "", n, diag->text);
		return true;
	}
	if (r == VP_OK)
		summary(j, j->s.bad->name, n, ns);
	fprintf(stderr, "sitelive: %s %s: %s: %s\n", j->s.p->name, j->s.bad->name, j->s.bad->words,
		r == VP_OK ? "and nothing was seen" : diag->text);
	return false;
}

/* One bad program on each probe that it fits; where it is not about the architecture, on the first. Each
 * run spoils its guest. False: the tool itself failed. */
static bool bad_program(struct run *r, const struct sitebad *b, unsigned *n, unsigned *seen)
{
	unsigned fits = 0;

	for (unsigned i = 0; !r->g.t || i < r->g.n_probes; i++) {
		struct arch_poke_ask a;
		struct job j;

		if (fits > 0 && b->arch == ARCH_COUNT)
			break;
		if ((!r->g.t && siteguest_start(&r->g, &r->opts, &r->diag) < 0) ||
		    describe(&j, r, i) < 0) {
			fprintf(stderr, "sitelive: %s\n", r->diag.text);
			return false;
		}
		j.s.bad = b;
		a = sitejob_ask(&j.s, true);
		if (!wanted(r, j.s.p) || !sitebad_fits(b, r->opts.arch, &a))
			continue;
		fits++;
		*seen += bad(&j, i);
		siteguest_stop(&r->g);
		if (i + 1 == r->g.n_probes)
			break;
	}
	*n += fits;
	return true;
}

static int run_bad(struct run *r)
{
	unsigned n = 0, seen = 0;
	bool ok = true;

	r->opts.patience = PATIENCE;
	for (unsigned i = 0; ok && sitebad_at(i); i++)
		if ((same(r->bad, "all") && !sitebad_at(i)->native) ||
		    same(r->bad, sitebad_at(i)->name))
			ok = bad_program(r, sitebad_at(i), &n, &seen);
	siteguest_stop(&r->g);
	if (ok && n == 0)
		fprintf(stderr, "sitelive: %s: fits no such probe\n", r->bad);
	return ok && n > 0 && seen == n ? 0 : 1;
}

static int list(struct run *r)
{
	if (siteguest_start(&r->g, &r->opts, &r->diag) < 0) {
		fprintf(stderr, "sitelive: %s\n", r->diag.text);
		return 1;
	}
	for (unsigned i = 0; i < r->g.n_probes; i++) {
		const struct probe *p = &r->g.probes[i];
		struct job j;

		printf("%s%s", p->name, p->discipline & PROBE_BAD ? " bad" : "");
		for (int d = 1; d < DISCIPLINES; d++)
			if (p->discipline >> d & 1)
				printf(" %s", arch_discipline_name((enum vp_discipline)d));
		for (unsigned b = 0; sitebad_at(b) && describe(&j, r, i) == VP_OK; b++) {
			struct arch_poke_ask a = sitejob_ask(&j.s, true);

			if (sitebad_fits(sitebad_at(b), r->opts.arch, &a))
				printf(" !%s", sitebad_at(b)->name);
		}
		printf("\n");
	}
	siteguest_stop(&r->g);
	return 0;
}

/* --- arguments --------------------------------------------------------------------------------- */

static bool number(const char *text, unsigned *ret)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	*ret = (unsigned)v;
	return *end == '\0' && v > 0 && v < 1000000000;
}

static bool discipline(struct run *r, const char *text)
{
	r->disciplines = same(text, "each")   ? EACH
			 : same(text, "live") ? EACH & ~(1u << VP_DISCIPLINE_STOP)
					      : 0;
	for (int d = 1; d < DISCIPLINES; d++)
		if (same(text, arch_discipline_name((enum vp_discipline)d)))
			r->disciplines = 1u << d;
	return r->disciplines || same(text, "auto");
}

static bool parse(struct run *r, int argc, char **argv)
{
	static const struct option options[] = {
		{"probe", required_argument, NULL, 'p'},
		{"discipline", required_argument, NULL, 'd'},
		{"toggles", required_argument, NULL, 't'},
		{"cpus", required_argument, NULL, 'c'},
		{"bad", required_argument, NULL, 'b'},
		{"singlestep", no_argument, NULL, 's'},
		{"early", no_argument, NULL, 'e'},
		{"no-reread", no_argument, NULL, 'n'},
		{"list", no_argument, NULL, 'l'},
		{NULL, 0, NULL, 0},
	};
	bool ok = true;
	int c;

	while (ok && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			r->probe = same(optarg, "all") ? NULL : optarg;
			break;
		case 'd':
			ok = discipline(r, optarg);
			break;
		case 't':
			ok = number(optarg, &r->toggles);
			break;
		case 'c':
			ok = number(optarg, &r->opts.cpus) && r->opts.cpus <= CTL_CPUS_MAX;
			break;
		case 'b':
			r->bad = optarg;
			break;
		case 's':
			r->opts.singlestep = true;
			break;
		case 'e':
			r->early = true;
			break;
		case 'n':
			r->no_reread = true;
			break;
		case 'l':
			r->list = true;
			break;
		default:
			ok = false;
		}
	}
	if (!ok || argc - optind != 2)
		return false;
	r->opts.arch = arch_by_name(argv[optind]);
	r->opts.elf = argv[optind + 1];
	r->toggles += r->toggles & 1; /* back at what was there */
	return r->opts.arch != NULL;
}

int main(int argc, char **argv)
{
	struct run r = {.disciplines = EACH, .toggles = 1000};
	const char *missing;

	if (!parse(&r, argc, argv)) {
		fprintf(stderr,
			"usage: sitelive ARCH IMAGE [--probe NAME|all] [--toggles N] [--cpus N] "
			"[--singlestep] [--discipline each|live|auto|NAME] [--early] [--no-reread] | "
			"--bad NAME|all | --list\n");
		return 2;
	}
	missing = siteguest_missing(r.opts.arch, r.opts.way);
	if (missing) {
		printf("%s is missing\n", missing);
		return 77;
	}
	/* Waiting is a few microseconds at a time, and not fifty more. */
	prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (r.list)
		return list(&r);
	return r.bad ? run_bad(&r) : run_good(&r);
}
