// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Signals to the command, its holder or both while they change a bare-metal guest on native vCPUs.
 *
 *   bareharm kill|stop DRIVER ROLE COUNT DEADLINE_MS VPATCH BUNDLE NAME
 *
 * kill: SIGKILL, most of them at a random instant inside the window, the others at one around it.
 * stop: SIGSTOP inside the window, and SIGCONT when the guest has run again or did not.
 * ROLE: holder, main (the command) or both. VPATCH is the command, which finds its configuration
 * by itself; BUNDLE a hotfix of the guest's function by that NAME; DEADLINE_MS what it has as its
 * deadline.
 *
 * After each: the guest goes on within a second (of the deadline and its grace), recover ends well, the word
 * is old or new as the command said, no entry is open, and the guest saw what these changes explain
 * and nothing else. Prints a histogram by step. Exit code as a row's.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/guests/x86-64/ctl.h"
#include "tests/lib/bare.h"
#include "tests/lib/strike.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/vmm_mem.h"
#include "vmm-agent/engine/holder.h"

#define SECOND     CLOCK_NS_PER_SEC
#define MS         CLOCK_NS_PER_MS
#define BOOT_EVERY 16 /* so that a payload is written anew now and then */
#define TRIES      5
#define LEARN      6 /* changes; an even number */
#define CALLS      200
#define WORD       5
#define PATIENCE   (30 * SECOND)
#define MISSES     20 /* in a row: the host is too busy to hit the window */

enum state { OLD, NEW, TORN };

struct harm {
	struct bare b;
	int sig;
	const char *driver, *vpatch, *bundle, *name;
	enum strike_role role;
	uint64_t deadline_ns;
	char dir[64], out[80];
	uint8_t word_old[WORD], word_new[WORD];
	bool booted, knows_new;
	enum state state;
	/* what the guest's checker must say */
	uint64_t turns[2];
	uint32_t flips;
	/* of the changes before: stores that a change begins, and how long it is held */
	uint32_t stores;
	/* system calls of a holder, the last before it holds, the last before all is over */
	unsigned steps, first_step, last_step;
	unsigned stepped; /* kills that went by them */
	uint64_t before_ns, held_ns;
	unsigned starved, killed, hist[STRIKE_STEPS], done, missed, hidden, recovered[2];
	uint64_t longest_ns; /* from the signal until the guest calls again */
};

static __attribute__((format(printf, 2, 3))) bool bad(const struct harm *h, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	printf("%s, %s, number %u: ", h->driver, strike_role_name(h->role), h->done + 1);
	vprintf(fmt, ap);
	va_end(ap);
	printf("; the last command said:\n");
	f = fopen(h->out, "re");
	while (f && fgets(line, sizeof(line), f))
		printf("  %s", line);
	if (f)
		fclose(f);
	return false;
}

static uint64_t rnd(uint64_t n)
{
	return n ? (((uint64_t)random() << 31) | (uint64_t)random()) % n : 0;
}

/* --- the guest ----------------------------------------------------------------------------------- */

static const struct bare_cpu *cpu(const struct harm *h, unsigned i)
{
	return (const void *)((const uint8_t *)h->b.ram + BARE_CTL_GPA + (i + 1) * BARE_PAGE);
}

static uint64_t turns(const struct harm *h, unsigned i)
{
	return __atomic_load_n(&cpu(h, i)->turns, __ATOMIC_ACQUIRE);
}

static enum state look(const struct harm *h)
{
	uint8_t now[WORD];

	bare_peek_text(&h->b, bare_site_gpa(&h->b, 0), now, WORD);
	if (memcmp(now, h->word_old, WORD) == 0)
		return OLD;
	return h->knows_new && memcmp(now, h->word_new, WORD) != 0 ? TORN : NEW;
}

/* Until both CPUs have had the result that the present word gives. */
static bool seen(const struct harm *h, enum state state)
{
	uint64_t until = clock_in(10 * SECOND);

	while (__atomic_load_n(&cpu(h, 0)->last, __ATOMIC_ACQUIRE) != (uint32_t)state ||
	       __atomic_load_n(&cpu(h, 1)->last, __ATOMIC_ACQUIRE) != (uint32_t)state) {
		if (clock_now() > until)
			return false;
		usleep(50);
	}
	return true;
}

/*
 * What was seen since the last time, when the word was changed so many times in sight. A repair of the
 * command's own may follow its holder's death so soon that a CPU sees the undone change or not.
 */
static bool account(struct harm *h, unsigned changes, bool may_hide)
{
	uint32_t flips = bare_flips(&h->b), more = flips - h->flips - changes;
	uint64_t most = 0;
	const char *words;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t extra = turns(h, i) - h->turns[i] - changes;

		if (extra != 0 && !(may_hide && extra == 2))
			return bad(h, "CPU %u turned %lld times more than its word changed", i,
				   (long long)extra);
		most = extra > most ? extra : most;
		h->turns[i] += changes + extra;
	}
	if (more != most)
		return bad(h, "%d flips more than explained", (int)(more - most));
	h->flips = flips;
	h->hidden += most != 0;
	for (unsigned i = 0; i < 2; i++)
		if (cpu(h, i)->bad || cpu(h, i)->lost)
			return bad(h, "impossible: %s", bare_check(&h->b, flips));
	words = bare_check(&h->b, flips);
	if (words && h->turns[0] == flips && h->turns[1] == flips)
		return bad(h, "impossible: %s", words);
	if (words && strstr(words, "exception"))
		return bad(h, "%s", words);
	return true;
}

static bool boot(struct harm *h)
{
	const struct bare_opts opts = {.vmm = BARE_MICROVM_KVM, .vcpus = 2, .busy = 2, .ring = 3};

	bare_stop(&h->b);
	if (!bare_start(&h->b, &opts))
		return false;
	bare_peek_text(&h->b, bare_site_gpa(&h->b, 0), h->word_old, WORD);
	h->state = OLD;
	h->turns[0] = h->turns[1] = h->flips = 0;
	return true;
}

/* Whether nothing but the host's own load keeps it from calling: both threads are in the guest, or wait
 * for a processor to be so. */
static bool starves(const struct harm *h)
{
	pid_t tid[2];

	return bare_threads(&h->b, tid, 2) == 2 && vmm_thread_state(tid[0]) == VP_VCPU_RUNNING &&
	       vmm_thread_state(tid[1]) == VP_VCPU_RUNNING;
}

/* Calls again within the time; longer where its threads only wait for a processor. */
static bool calls(struct harm *h, uint64_t limit)
{
	if (bare_wait_calls(&h->b, CALLS, limit))
		return true;
	h->starved++;
	return starves(h) && bare_wait_calls(&h->b, CALLS, PATIENCE);
}

/* --- the commands -------------------------------------------------------------------------------- */

static int vpatch(struct harm *h, const char *verb, const char *what, const char *with)
{
	const char *argv[] = {h->vpatch, verb, "--driver", h->driver, what, with, NULL};

	int r = 3;

	/* A monitor that a busy host keeps from answering. */
	for (unsigned i = 0; r == 3 && i < TRIES; i++)
		r = strike_run(argv, h->out);
	return r;
}

static bool begin(struct harm *h, struct strike *s)
{
	bool old = h->state == OLD;
	const char *argv[] = {h->vpatch, old ? "apply" : "revert",  "--driver", h->driver,
			      h->b.name, old ? h->bundle : h->name, NULL};

	for (unsigned i = 0; i < TRIES; i++)
		if (strike_begin(s, argv, h->out))
			return true;
		else if (!s->ended || !WIFEXITED(s->status) || WEXITSTATUS(s->status) != 3)
			return false;
	return false;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a && a < b ? a : b;
}

/* The least: when nobody else had the processor. */
static bool time_it(struct harm *h, struct strike *s)
{
	uint64_t held;
	bool ok, in_time;

	strike_go(s);
	ok = strike_await(s, ENG_HELD, clock_in(PATIENCE));
	held = clock_now();
	in_time = strike_look(s, h->stores) < STRIKE_AFTER;
	ok = ok && strike_await(s, ENG_DONE, clock_in(PATIENCE));
	if (in_time) {
		h->before_ns = least(h->before_ns, held - s->went);
		h->held_ns = least(h->held_ns, clock_now() - held);
	}
	strike_over();
	return ok;
}

/* From its name to its end. The least: who waits on a busy host asks more often. */
static bool count_steps(struct harm *h, struct strike *s)
{
	unsigned n, first = 0, last = 0;

	if (!strike_go_to(s, 1))
		return false;
	for (n = 1; strike_on(s); n++) {
		enum strike_step now = strike_look(s, h->stores);

		if (now == STRIKE_BEFORE)
			first = n + 1;
		if (now < STRIKE_AFTER)
			last = n + 1;
	}
	if (h->steps && h->steps < n)
		return true;
	h->steps = n;
	h->first_step = first;
	h->last_step = last;
	return true;
}

/* A change that nobody disturbs: how many stores, and how long. */
static bool learn(struct harm *h, bool by_step)
{
	struct strike s;
	bool ok;

	if (!begin(h, &s))
		return bad(h, "an undisturbed change does not come to its window");
	ok = by_step ? count_steps(h, &s) : time_it(h, &s);
	h->stores = s.prog->begun;
	if (!strike_end(&s, h->b.pid, clock_in(PATIENCE)) || !ok ||
	    (s.status != 0 && (!WIFEXITED(s.status) || WEXITSTATUS(s.status) != 3)))
		return bad(h, "an undisturbed change failed: status %#x", s.status);
	if (s.status != 0) /* busy; the next one */
		return true;
	if (!h->knows_new)
		bare_peek_text(&h->b, bare_site_gpa(&h->b, 0), h->word_new, WORD);
	h->knows_new = true;
	h->state = look(h);
	return seen(h, h->state) && account(h, 1, false);
}

/* Puts right what is left, and asks whether all agree. */
static bool put_right(struct harm *h, enum state was)
{
	enum state after = look(h), end;
	int r;

	if (after == TORN)
		return bad(h, "the word is torn");
	if (!seen(h, after))
		return bad(h, "the guest does not run what its word says");
	r = vpatch(h, "recover", NULL, NULL);
	if (r != 0)
		return bad(h, "recover: exit %d", r);
	end = look(h);
	if (end == TORN || !seen(h, end))
		return bad(h, "recover: the word is torn or not run");
	h->recovered[0] += after == end;
	h->recovered[1] += after != end;
	if (!account(h, (was != after) + (after != end),
		     h->role == STRIKE_HOLDER || h->sig == SIGSTOP))
		return false;
	h->state = end;
	r = vpatch(h, "status", h->b.name, h->name);
	if (r != (end == NEW ? 0 : 1))
		return bad(h, "status: exit %d, and the word is %s", r, end == NEW ? "new" : "old");
	return true;
}

/* --- one of them --------------------------------------------------------------------------------- */

/* Spins: a sleep would be longer than a window. */
static void wait_ns(uint64_t ns)
{
	uint64_t until = clock_in(ns);

	while (clock_now() < until)
		;
}

static enum strike_step strike(struct harm *h, struct strike *s)
{
	bool inside = h->sig == SIGSTOP || rnd(100) < 80;
	enum strike_step step;

	if (h->sig == SIGKILL && rnd(3) == 0) {
		h->stepped++;
		(void)strike_go_to(s, inside ? h->first_step + 1 +
						       (unsigned)rnd(h->last_step - h->first_step)
					     : 1 + (unsigned)rnd(h->steps));
		step = strike_look(s, h->stores);
		strike_send(s, h->role, h->sig);
		return step;
	}
	strike_go(s);
	if (inside) {
		strike_await(s, ENG_HELD, clock_in(PATIENCE));
		wait_ns(rnd(h->held_ns * 3 / 4));
	} else {
		wait_ns(rnd(h->before_ns + 2 * h->held_ns));
	}
	strike_send(s, h->role, h->sig);
	/* The one that is hit may be on its way for a moment; whoever waits for it starts anew later. */
	step = strike_look(s, h->stores);
	for (unsigned i = 0; i < 20 && step < STRIKE_AFTER; i++) {
		enum strike_step now = strike_look(s, h->stores);

		step = now > step ? now : step;
	}
	strike_over();
	return step;
}

/*
 * The stub's guard ends a command that was stopped while its holder was, or was stuck: on a busy host
 * that may be any.
 */
static bool may_be_killed(const struct harm *h)
{
	return h->role != STRIKE_HOLDER && (h->sig == SIGKILL || strcmp(h->driver, "gdb") == 0);
}

/* What the command says by its exit code is what is. */
static bool believes(struct harm *h, const struct strike *s, enum state was)
{
	enum state want = was == OLD ? NEW : OLD, now = look(h);

	if (!s->ended)
		return bad(h, "the command did not end");
	if (WIFSIGNALED(s->status) && WTERMSIG(s->status) == SIGKILL && may_be_killed(h)) {
		h->killed++;
		return true;
	}
	if (!WIFEXITED(s->status) || (WEXITSTATUS(s->status) != 0 && WEXITSTATUS(s->status) != 3))
		return bad(h, "the command ended with status %#x", s->status);
	if ((WEXITSTATUS(s->status) == 0) != (now == want))
		return bad(h, "exit %d, and the word is %s", WEXITSTATUS(s->status),
			   now == want ? "changed" : "not changed");
	return true;
}

static bool one(struct harm *h)
{
	uint64_t limit = h->sig == SIGKILL ? SECOND : h->deadline_ns + ENG_GRACE_NS + SECOND;
	enum strike_step step;
	enum state was;
	struct strike s;
	uint64_t from;
	bool runs, ended;

	if (h->done % BOOT_EVERY == 0 && !h->booted && !boot(h))
		return false;
	h->booted = true;
	was = h->state;
	if (!begin(h, &s))
		return bad(h, "the command has no holder: status %#x", s.status);
	step = strike(h, &s);
	from = clock_now();
	runs = calls(h, limit);
	from = clock_now() - from;
	if (h->sig == SIGSTOP)
		strike_send(&s, h->role, SIGCONT);
	ended = strike_end(&s, h->b.pid, clock_in(PATIENCE));
	if (s.vmm_ended)
		return bad(h, "the VMM ended, signalled in step \"%s\"", strike_step_name(step));
	if (!runs)
		return bad(h, "the guest stood still for %llu ms, signalled in step \"%s\"",
			   (unsigned long long)(limit / MS), strike_step_name(step));
	if (!ended)
		return bad(h, "a process was left, signalled in step \"%s\"",
			   strike_step_name(step));
	if (!believes(h, &s, was) || !put_right(h, was))
		return false;
	/* One that came too late to stop anybody inside shows nothing. */
	if (h->sig == SIGSTOP && (step < STRIKE_HELD || step > STRIKE_STORED)) {
		h->missed++;
		return h->missed < MISSES * (h->done + 1) || bad(h, "no window was hit");
	}
	h->longest_ns = from > h->longest_ns ? from : h->longest_ns;
	h->hist[step]++;
	h->done++;
	h->booted = h->done % BOOT_EVERY != 0;
	return true;
}

static void report(const struct harm *h)
{
	unsigned in = 0;

	for (unsigned i = STRIKE_HELD; i <= STRIKE_LEAVING; i++)
		in += h->hist[i];
	printf("%s, %s to %s: %u, inside the window %u;", h->driver,
	       h->sig == SIGKILL ? "SIGKILL" : "SIGSTOP", strike_role_name(h->role), h->done, in);
	for (unsigned i = 0; i < STRIKE_STEPS; i++)
		printf(" %s %u%s", strike_step_name(i), h->hist[i],
		       i + 1 < STRIKE_STEPS ? "," : "");
	printf("\n  %.0f us from the start of a holder until it holds, held for %.0f us at least",
	       (double)h->before_ns / 1e3, (double)h->held_ns / 1e3);
	printf("; %u at one of its %u steps", h->stepped, h->steps);
	printf("\n  the guest called again after at most %.1f ms; recover changed the word %u times, not "
	       "%u times; %u changes were undone in the command's own repair in sight of the "
	       "guest; %u times the host kept it from calling, %u commands were killed\n",
	       (double)h->longest_ns / (double)MS, h->recovered[1], h->recovered[0], h->hidden,
	       h->starved, h->killed);
}

static bool harm(struct harm *h, unsigned count)
{
	bool ok = boot(h) && strike_init();

	for (unsigned i = 0; ok && (i < LEARN || h->held_ns == 0 || h->steps == 0 || !h->knows_new);
	     i++)
		ok = learn(h, i % 2) && i < MISSES * LEARN;
	h->booted = ok;
	while (ok && h->done < count)
		ok = one(h);
	report(h);
	/* Half of them inside, or it was not what it says; of a few that is a matter of luck. */
	if (ok && h->sig == SIGKILL && count >= 100 &&
	    2 * (h->hist[STRIKE_BEFORE] + h->hist[STRIKE_AFTER]) > count) {
		printf("fewer than half of them hit the window\n");
		ok = false;
	}
	return ok;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: bareharm kill|stop DRIVER holder|main|both COUNT DEADLINE_MS VPATCH BUNDLE "
		"NAME\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct harm h = {.role = STRIKE_ROLES, .dir = "/tmp/vprig.harm.XXXXXX"};
	const char *missing = bare_missing(BARE_MICROVM_KVM);
	bool ok;

	if (argc != 9)
		return usage();
	h.sig = strcmp(argv[1], "kill") == 0 ? SIGKILL : SIGSTOP;
	h.driver = argv[2];
	for (unsigned i = 0; i < STRIKE_ROLES; i++)
		if (strcmp(argv[3], strike_role_name(i)) == 0)
			h.role = i;
	if (h.role == STRIKE_ROLES)
		return usage();
	h.deadline_ns = (uint64_t)atoi(argv[5]) * MS;
	h.vpatch = argv[6];
	h.bundle = argv[7];
	h.name = argv[8];
	if (missing) {
		printf("%s is missing\n", missing);
		return 77;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	srandom((unsigned)getpid());
	if (!mkdtemp(h.dir))
		return 1;
	snprintf(h.out, sizeof(h.out), "%s/out", h.dir);
	ok = harm(&h, (unsigned)atoi(argv[4]));
	bare_stop(&h.b);
	unlink(h.out);
	rmdir(h.dir);
	return ok ? 0 : 1;
}
