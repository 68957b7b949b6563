/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holding vCPU threads by ptrace(2), without touching their registers.
 *
 *	SEIZE all            nobody is stopped; the thread's signals come to us from here on, so
 *	                     it lasts as long as the hold and no longer
 *	mark                 KVM will store registers at the next exit (kvm_run.c)
 *	INTERRUPT all        then wait for all: a thread in KVM_RUN leaves the guest with EINTR and
 *	                     stops on its way back to user space, before it runs an instruction there
 *	read kvm_run         a mark that is still whole: this thread was not in the guest, it emulates
 *	                     a device, say. It alone runs on and is interrupted again
 *	DETACH all           each runs on at once
 *	unmark
 *
 * When this process dies the kernel detaches and the threads run on (ptrace(2), PTRACE_SEIZE
 * without PTRACE_O_EXITKILL). Nothing is asked of the VMM in between: a monitor command that needs
 * a vCPU thread would hang.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm-agent/drv/kvm_int.h"

#define AGAIN_NS      (20 * 1000) /* for a thread outside the guest to get back into it */
#define ALL_NS        (200 * 1000)
#define SEIZE_WAIT_NS (100 * CLOCK_NS_PER_MS) /* for a dead tracer to be gone */
#define STOP_WAIT_NS  (100 * CLOCK_NS_PER_MS) /* for a thread that is to be let go */
#define AGAIN         1
#define ALL_ROUNDS    16u

static int gone(const struct kvm *k, struct diag *diag)
{
	return diag_set(diag, VP_E_DISCONNECTED, "%s: a vCPU thread or its process ended",
			k->m->name);
}

/* Field TracerPid of /proc/PID/status. */
static pid_t tracer_of(pid_t tid)
{
	char path[64], line[256];
	pid_t tracer = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "TracerPid:", 10) == 0)
			tracer = (pid_t)strtol(line + 10, NULL, 10);
	fclose(f);
	return tracer;
}

static int seize_error(struct kvm *k, pid_t tracer, struct diag *diag)
{
	if (tracer)
		return diag_set(diag, VP_E_DEBUGGED,
				"%s: process %d traces its vCPU threads: end that debugger",
				k->m->name, (int)tracer);
	return diag_set(diag, VP_E_PERM,
			"%s: may not hold its vCPU threads: run vpatch as root or with "
			"CAP_SYS_PTRACE (and look at kernel.yama.ptrace_scope)",
			k->m->name);
}

static int seize_one(struct kvm *k, struct kvm_thread *t, struct diag *diag)
{
	uint64_t until = clock_in(SEIZE_WAIT_NS);

	while (ptrace(PTRACE_SEIZE, t->tid, NULL, NULL) < 0) {
		pid_t tracer;

		if (errno == ESRCH)
			return gone(k, diag);
		if (errno != EPERM)
			return diag_errno(diag, errno, "%s: PTRACE_SEIZE", k->m->name);
		tracer = tracer_of(t->tid);
		if (tracer == 0 || clock_left(until) == 0)
			return seize_error(k, tracer, diag);
		usleep(1000); /* a holder that was killed is still there for a moment */
	}
	t->seized = true;
	return VP_OK;
}

static int interrupt(struct kvm *k, struct diag *diag)
{
	for (unsigned i = 0; i < k->m->vcpus; i++)
		if (!k->thread[i].stopped &&
		    ptrace(PTRACE_INTERRUPT, k->thread[i].tid, NULL, NULL) < 0)
			return gone(k, diag);
	return VP_OK;
}

/* One status of a thread. Signals that arrive ahead of our stop go to whom they were meant for. */
static int take_status(struct kvm *k, struct kvm_thread *t, int status, struct diag *diag)
{
	int sig;

	if (!WIFSTOPPED(status)) {
		t->seized = false;
		return gone(k, diag);
	}
	sig = WSTOPSIG(status);
	if (status >> 16 == PTRACE_EVENT_STOP) { /* ours, or a group-stop, which is as good */
		t->stopped = true;
		return VP_OK;
	}
	if (ptrace(PTRACE_CONT, t->tid, NULL, (void *)(uintptr_t)(unsigned)sig) < 0)
		return gone(k, diag);
	return VP_OK;
}

/* The timer of the hold ends a wait that lasts too long. */
static int wait_for(struct kvm *k, unsigned i, uint64_t deadline, struct diag *diag)
{
	struct kvm_thread *t = &k->thread[i];
	int r = VP_OK;

	while (r == VP_OK && !t->stopped) {
		int status;

		if (waitpid(t->tid, &status, __WALL) == t->tid)
			r = take_status(k, t, status, diag);
		else if (errno != EINTR)
			r = gone(k, diag);
		else if (clock_left(deadline) == 0)
			r = diag_set(diag, VP_E_DEADLINE,
				     "%s: the thread of vCPU %u did not stop in time", k->m->name,
				     i);
	}
	return r;
}

/* One after the other: by the time the first has stopped the others mostly have, too. */
static int wait_stopped(struct kvm *k, uint64_t deadline, struct diag *diag)
{
	int r = VP_OK;

	for (unsigned i = 0; r == VP_OK && i < k->m->vcpus; i++)
		r = wait_for(k, i, deadline, diag);
	return r;
}

/*
 * Lets those run again whose registers are not known, for a moment; all of them in every ALL_ROUNDS
 * of these: one that is stopped in the VMM, with a lock of its, may be what another one waits for.
 */
static int again(struct kvm *k, bool all, uint64_t deadline, struct diag *diag)
{
	struct timespec ts = {0, all ? ALL_NS : AGAIN_NS};
	unsigned unknown = 0;

	for (unsigned i = 0; i < k->m->vcpus; i++)
		unknown += !k->thread[i].known;
	if (unknown == 0)
		return VP_OK;
	if (clock_left(deadline) == 0)
		return diag_set(
			diag, VP_E_DEADLINE,
			"%s: %u of %u vCPUs did not enter the guest in time: the VMM has "
			"stopped it, emulates its interrupt controller (kernel_irqchip=off) or "
			"is overloaded: try again, or --driver gdb",
			k->m->name, unknown, k->m->vcpus);
	/* Marked anew while everybody still stands: what is stored from here on is of their next exit. */
	if (all && kvm_run_mark(k, k->sh->stranded) < 0)
		return gone(k, diag);
	for (unsigned i = 0; i < k->m->vcpus; i++) {
		struct kvm_thread *t = &k->thread[i];

		if (t->known && !all)
			continue;
		t->known = t->stopped = false;
		if (ptrace(PTRACE_CONT, t->tid, NULL, NULL) < 0)
			return gone(k, diag);
	}
	nanosleep(&ts, NULL);
	if (all)
		k->held_at = clock_now();
	return AGAIN;
}

static int hold_all(struct kvm *k, uint64_t deadline, bool need_regs, struct diag *diag)
{
	int r = AGAIN;

	for (unsigned round = 1; r == AGAIN; round++) {
		r = interrupt(k, diag);
		if (r == VP_OK)
			r = wait_stopped(k, deadline, diag);
		if (r < 0 || !need_regs)
			return r;
		r = kvm_run_read(k);
		if (r < 0)
			return diag_set(diag, r, "%s: kvm_run pages: %s", k->m->name,
					vp_err_sentence(r));
		r = again(k, round % ALL_ROUNDS == 0, deadline, diag);
	}
	return r;
}

/* --- the timer that ends waiting ----------------------------------------------------------- */

static void interrupted(int sig)
{
	(void)sig;
}

/* From the deadline on SIGALRM interrupts this thread, again and again: none is missed by coming
 * between a look at the clock and a wait. */
static int alarm_begin(struct kvm *k, uint64_t deadline, struct diag *diag)
{
	struct kvm_alarm *a = &k->alarm;
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
	struct sigaction act = {.sa_handler = interrupted}; /* no SA_RESTART */
	struct itimerspec at = {
		.it_interval = {0, CLOCK_NS_PER_MS},
		.it_value = {(time_t)(deadline / CLOCK_NS_PER_SEC),
			     (long)(deadline % CLOCK_NS_PER_SEC)},
	};
	sigset_t alrm;

	ev._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &ev, &a->timer) < 0)
		return diag_errno(diag, errno, "%s: a timer", k->m->name);
	sigemptyset(&alrm);
	sigaddset(&alrm, SIGALRM);
	sigaction(SIGALRM, &act, &a->action);
	pthread_sigmask(SIG_UNBLOCK, &alrm, &a->mask);
	(void)!timer_settime(a->timer, TIMER_ABSTIME, &at, NULL);
	a->on = true;
	return VP_OK;
}

/* Behind the release: none of it belongs into a window. */
static void alarm_end(struct kvm_alarm *a)
{
	if (!a->on)
		return;
	a->on = false;
	timer_delete(a->timer);
	pthread_sigmask(SIG_SETMASK, &a->mask, NULL);
	sigaction(SIGALRM, &a->action, NULL);
}

/* --- letting go --------------------------------------------------------------------------- */

/* A thread must be stopped to be detached from; that it has to be, its own signal may do. */
static int stop_for_detach(struct kvm_thread *t)
{
	uint64_t until = clock_in(STOP_WAIT_NS);
	int status = 0;

	if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
		return 0;
	while (waitpid(t->tid, &status, __WALL | WNOHANG) != t->tid && clock_left(until) > 0)
		usleep(50);
	return WIFSTOPPED(status) && status >> 16 != PTRACE_EVENT_STOP ? WSTOPSIG(status) : 0;
}

/* False: it has ended, or it could not be stopped and stays ours to let go. */
static bool let_go(struct kvm_thread *t)
{
	unsigned sig = 0;
	bool ok;

	if (!t->seized)
		return true;
	if (!t->stopped)
		sig = (unsigned)stop_for_detach(t);
	ok = ptrace(PTRACE_DETACH, t->tid, NULL, (void *)(uintptr_t)sig) == 0;
	/* A thread that is there and was not to be stopped (it does not get to run, say) stops when it can,
	 * by what was asked of it: whoever looks at it next lets it go, or our end does. */
	t->seized = !ok && tracer_of(t->tid) == getpid();
	t->stopped = false;
	return ok;
}

int kvm_release(struct kvm *k)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < k->m->vcpus; i++)
		lost += !let_go(&k->thread[i]);
	alarm_end(&k->alarm);
	return lost ? VP_E_DISCONNECTED : VP_OK;
}

/* --- the whole ------------------------------------------------------------------------------ */

static int start(struct kvm *k, uint64_t deadline, struct diag *diag)
{
	for (unsigned i = 0; i < k->m->vcpus; i++) {
		(void)let_go(&k->thread[i]); /* of a hold that failed */
		k->thread[i].known = k->thread[i].stopped = k->thread[i].seized = false;
	}
	return alarm_begin(k, deadline, diag);
}

int kvm_hold(struct kvm *k, uint64_t deadline, bool need_regs, struct diag *diag)
{
	int r = start(k, deadline, diag);

	for (unsigned i = 0; r == VP_OK && i < k->m->vcpus; i++)
		r = seize_one(k, &k->thread[i], diag);
	if (r == VP_OK && need_regs) {
		r = kvm_run_mark(k, k->sh->stranded);
		if (r < 0)
			diag_set(diag, r, "%s: kvm_run pages: %s", k->m->name, vp_err_sentence(r));
	}
	if (r == VP_OK) {
		k->held_at = clock_now();
		r = hold_all(k, deadline, need_regs, diag);
	}
	if (r < 0)
		(void)!kvm_release(k);
	return r;
}

/*
 * SEIZE, INTERRUPT, the stop, DETACH for one thread after the other: no two stand still at once, and none
 * longer than that takes. Registers are not asked for, so nothing is put into the kvm_run pages.
 * kvm_live.c has what it is good for.
 */
int kvm_roll(struct kvm *k, uint64_t deadline, struct diag *diag)
{
	int r = start(k, deadline, diag);

	for (unsigned i = 0; r == VP_OK && i < k->m->vcpus; i++) {
		struct kvm_thread *t = &k->thread[i];

		r = seize_one(k, t, diag);
		if (r == VP_OK && ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
			r = gone(k, diag);
		if (r == VP_OK)
			r = wait_for(k, i, deadline, diag);
		if (r == VP_OK && !let_go(t))
			r = gone(k, diag);
	}
	if (kvm_release(k) < 0 && r == VP_OK)
		r = gone(k, diag);
	return r;
}
