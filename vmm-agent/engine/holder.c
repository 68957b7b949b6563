/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that calls is the watchdog. It forks a holder for every job; holder and watchdog
 * share one page, and the phase word in it says who may act:
 *
 *	holder                                            watchdog
 *
 *	ARMED --- vp_pause or vp_takeover --+             waits on the pidfd until
 *	                                    |             deadline + grace
 *	HELD <------------------------------+
 *	  |   verify, store, read back, sync
 *	  |   (or put back what was begun)        \
 *	LEAVING -- vp_resume --+                   +----> EXPIRED  from any of the three, by one
 *	                       |                  /         |      compare-and-swap
 *	DONE <-----------------+ -----> _exit                |
 *	                                                   kill the holder, wait for it,
 *	                                                   send another one to repair
 *
 * Every store and the step from HELD to LEAVING look at the word first, so a holder that was
 * late and wakes up again does nothing more; the repair begins when the old holder has been
 * waited for. Nothing in the holder needs the watchdog: if that dies, the window is finished and
 * the journal stays open for recover. A holder that dies is followed by a repair job, which looks
 * at the bytes alone. A repair is a job like the change, so whoever holds the guest is
 * always a child that may be killed.
 *
 * A guest of this very process (VP_CAP_HOLD_HERE) cannot be held from a fork: there the jobs run
 * on the calling thread, with the same phases and nobody to expire them. The window looks at its
 * deadline between steps as ever.
 */
#include "vmm-agent/engine/holder.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/base/steady.h"
#include "vmm-agent/engine/vmm.h"

#define POLL_US   1000 /* where no descriptor was left for a pidfd */
#define REPAIRS   3
#define LATE_NS   (CLOCK_NS_PER_SEC / 10) /* the watchdog goes first, if there is one */
#define REPAIR_NS (2 * CLOCK_NS_PER_SEC)  /* no deadline of the user's: it must come to an end */

static bool step_phase(struct eng_progress *prog, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&prog->phase, &from, to, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

static uint32_t phase(const struct eng_progress *prog)
{
	return __atomic_load_n(&prog->phase, __ATOMIC_ACQUIRE);
}

/* --- the holder's side ---------------------------------------------------------------------- */

static int take(const struct eng_hold *hold, enum eng_job job, struct eng_window *w)
{
	if (job == ENG_JOB_REPAIR)
		return vp_takeover(hold->t, &w->prog->diag, &w->p);
	return vp_pause(hold->t, w->deadline, &w->prog->diag, &w->p);
}

/* A hold that did not come about. One that may have half come about is for a repair to clear. */
static void not_held(struct eng_progress *prog, int r)
{
	prog->cause = r;
	prog->resumed = r == VP_E_PAUSED ? r : VP_OK;
	prog->end = ENG_END_OLD;
	prog->free_at = clock_now();
	(void)step_phase(prog, ENG_ARMED, ENG_DONE);
}

static void holder_main(const struct eng_hold *hold, enum eng_job job, struct eng_window *w)
{
	struct eng_progress *prog = w->prog;
	enum eng_end end;
	int r;

	w->deadline = job == ENG_JOB_CHANGE ? clock_in(hold->window_ns) : VP_NO_DEADLINE;
	prog->held_at = clock_now();
	r = take(hold, job, w);
	if (r < 0) {
		/* A takeover that failed has said nothing about the words. */
		if (job == ENG_JOB_CHANGE)
			not_held(prog, r);
		return;
	}
	prog->held_at = vp_held_since(w->p);
	if (!step_phase(prog, ENG_ARMED, ENG_HELD))
		return;
	end = job == ENG_JOB_CHANGE ? eng_window_change(w) : eng_window_repair(w);
	if (end == ENG_END_NONE)
		return;
	prog->end = end;
	/* A torn guest does not run; the next job tries again. */
	if (end == ENG_END_TORN)
		(void)!vp_strand(w->p);
	if (end == ENG_END_TORN || !step_phase(prog, ENG_HELD, ENG_LEAVING))
		return;
	prog->resumed = vp_resume(w->p);
	prog->free_at = clock_now();
	(void)step_phase(prog, ENG_LEAVING, ENG_DONE);
}

/*
 * Should nobody watch (the command was stopped, too), the kernel ends a holder that is far too late:
 * a timer of its own fires on a stopped process, and SIGKILL works on it (timer_create(2)).
 */
static void end_at(uint64_t until)
{
	struct sigevent kill_me = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
	struct itimerspec at = {
		.it_value = {(time_t)(until / CLOCK_NS_PER_SEC), (long)(until % CLOCK_NS_PER_SEC)}};
	timer_t timer;

	if (timer_create(CLOCK_MONOTONIC, &kill_me, &timer) == 0)
		(void)!timer_settime(timer, TIMER_ABSTIME, &at, NULL);
}

static void holder(const struct eng_hold *hold, enum eng_job job, struct eng_window *w,
		   uint64_t until)
{
	struct steady before;
	sigset_t all;

	/* Its own session and no signals: a ^C or ^Z at the terminal is for the command. */
	setsid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "vpatch-holder");
	end_at(until);
	steady_lock();
	vp_touch_ahead(hold->t);
	memset(w->scratch, 0, hold->txn->area.len);
	memset(w->pcs, 0, w->vcpus * sizeof(*w->pcs));
	steady_begin(&before, STEADY_HOLDER);
	holder_main(hold, job, w);
	steady_end(&before); /* what is left is an ordinary process's end */
	_exit(0);            /* lint: holder */
}

/* --- the watchdog's side -------------------------------------------------------------------- */

/* Waits until the holder has gone (true) or its time is over. */
static bool await_exit(int pidfd, uint64_t until)
{
	struct pollfd fd = {.fd = pidfd, .events = POLLIN};

	while (true) {
		uint64_t left = clock_left(until);
		struct timespec ts = {(time_t)(left / CLOCK_NS_PER_SEC),
				      (long)(left % CLOCK_NS_PER_SEC)};
		int n = ppoll(&fd, 1, &ts, NULL);

		if (n > 0)
			return true;
		if ((n == 0 && left == 0) || (n < 0 && errno != EINTR))
			return false;
	}
}

static void expire(struct eng_progress *prog)
{
	uint32_t now = phase(prog);

	while (now != ENG_DONE && !step_phase(prog, now, ENG_EXPIRED))
		now = phase(prog);
}

/* The holder is ours and not reaped yet: its pid cannot be anybody else's. */
static bool has_ended(pid_t pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;
}

/* True when the holder came to its end by itself, false when it had to be killed. */
static bool watch(pid_t pid, struct eng_progress *prog, uint64_t until)
{
	int pidfd = pidfd_open(pid, 0);
	bool gone;

	if (pidfd >= 0)
		(void)await_exit(pidfd, until);
	else
		while (!has_ended(pid) && clock_left(until) > 0)
			usleep(POLL_US);
	gone = has_ended(pid);
	if (!gone) {
		expire(prog);
		if (pidfd < 0 || pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0)
			kill(pid, SIGKILL);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (pidfd >= 0)
		close(pidfd);
	return gone;
}

/* True when the job is finished: prog says how. */
static bool run_job(const struct eng_hold *hold, enum eng_job job, struct eng_window *w,
		    bool *expired_ret)
{
	uint64_t time = job == ENG_JOB_CHANGE ? hold->window_ns : REPAIR_NS;
	uint64_t grace = hold->grace_ns ? hold->grace_ns : ENG_GRACE_NS;
	uint64_t until = clock_in(time > UINT64_MAX - grace ? UINT64_MAX : time + grace);
	struct steady before;
	pid_t pid;

	memset(w->prog, 0, sizeof(*w->prog));
	diag_init(&w->prog->diag);
	w->prog->phase = ENG_ARMED;
	if (vp_target_caps(hold->t) & VP_CAP_HOLD_HERE) {
		/* Nobody watches: should this process end, so does the guest. */
		steady_begin(&before, STEADY_HOLDER);
		holder_main(hold, job, w);
		steady_end(&before);
		return phase(w->prog) == ENG_DONE && w->prog->resumed == VP_OK;
	}
	pid = fork();
	if (pid < 0) {
		int r = diag_errno(&w->prog->diag, errno, "starting the holder");

		if (job == ENG_JOB_CHANGE)
			not_held(w->prog, r);
		return job == ENG_JOB_CHANGE;
	}
	if (pid == 0)
		holder(hold, job, w,
		       until > UINT64_MAX - LATE_NS ? UINT64_MAX / 2 : until + LATE_NS);
	steady_begin(&before, STEADY_WATCHER);
	*expired_ret = !watch(pid, w->prog, until);
	steady_end(&before);
	return phase(w->prog) == ENG_DONE && w->prog->resumed == VP_OK;
}

static int window_init(struct eng_window *w, const struct eng_hold *hold)
{
	void *page = mmap(NULL, sizeof(*w->prog), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*w = (struct eng_window){
		.t = hold->t,
		.txn = hold->txn,
		.view = hold->view,
		.vcpus = vp_target_info(hold->t)->vcpus,
		.prog = page == MAP_FAILED ? NULL : page,
	};
	w->pcs = calloc(w->vcpus, sizeof(*w->pcs));
	w->scratch = malloc(hold->txn->area.len + 1);
	return w->prog && w->pcs && w->scratch ? VP_OK : VP_E_NOMEM;
}

static void window_deinit(struct eng_window *w)
{
	if (w->prog)
		munmap(w->prog, sizeof(*w->prog));
	free(w->pcs);
	free(w->scratch);
}

/* Why the first job did not end with everything in place. */
static int why(const struct eng_progress *prog, bool done, bool expired, struct diag *diag)
{
	if (!done && expired)
		return diag_set(diag, VP_E_DEADLINE,
				"the process holding the guest was stuck past its deadline and was "
				"ended; everything was put back: try again");
	if (prog->cause < 0) {
		*diag = prog->diag;
		return diag->err == prog->cause
			       ? prog->cause
			       : diag_set(diag, prog->cause, "%s", vp_err_sentence(prog->cause));
	}
	if (!done)
		return diag_set(diag, VP_E_HOLDER,
				"the process holding the guest died; everything was put back: try "
				"again");
	return VP_OK;
}

static int stranded(const struct eng_hold *hold, const struct eng_progress *prog, bool torn,
		    struct diag *diag)
{
	if (!eng_vmm_alive(&hold->txn->id, hold->txn->host_boot))
		return diag_set(
			diag, VP_E_DISCONNECTED,
			"the VMM ended in the middle of the change: nothing is left to undo");
	if (torn)
		return diag_set(
			diag, VP_E_TORN,
			"the change could not be put back (%s), the guest is left paused: run "
			"vpatch recover",
			prog->diag.text);
	return diag_set(diag, VP_E_PAUSED,
			"the guest could not be held again to finish (%s) and may be paused: run "
			"vpatch recover",
			prog->diag.text);
}

int eng_hold_run(const struct eng_hold *hold, enum eng_job job, struct diag *diag,
		 struct eng_held *ret)
{
	struct eng_window w;
	uint64_t held_at, stored_at;
	bool expired = false, done, torn;
	int r = window_init(&w, hold);

	*ret = (struct eng_held){.end = eng_hold_unbegun(job)};
	if (r < 0) {
		window_deinit(&w);
		return diag_set(diag, r, "holder: no memory");
	}
	if (job == ENG_JOB_CHANGE)
		eng_window_rehearse(&w);
	done = run_job(hold, job, &w, &expired);
	r = why(w.prog, done, expired, diag);
	ret->holder_died = !done;
	held_at = w.prog->held_at;
	stored_at = w.prog->last_store_at;
	ret->stored_at = stored_at;
	torn = !done && w.prog->end == ENG_END_TORN;
	for (int i = 0; !done && i < REPAIRS; i++) {
		done = run_job(hold, ENG_JOB_REPAIR, &w, &expired);
		torn = torn || w.prog->end == ENG_END_TORN;
		if (w.prog->mixed && stored_at != 0 && w.prog->held_at > stored_at &&
		    (vp_target_caps(hold->t) & VP_CAP_DEATH_FREES))
			ret->mixed_ns = w.prog->held_at - stored_at;
	}
	ret->end = done ? (enum eng_end)w.prog->end : ENG_END_NONE;
	ret->window_ns = done && held_at ? w.prog->free_at - held_at : 0;
	if (!done)
		r = stranded(hold, w.prog, torn, diag);
	else if (ret->end == ENG_END_NEW || (job == ENG_JOB_REPAIR && ret->end == ENG_END_OLD))
		r = VP_OK;
	else if (ret->end == ENG_END_ALIEN) {
		*diag = w.prog->diag;
		r = w.prog->cause;
	}
	window_deinit(&w);
	return r;
}
