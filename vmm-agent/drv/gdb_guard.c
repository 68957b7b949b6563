/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's stub leaves a guest paused when its client goes, so somebody has to be left to say
 * `cont`: a process that does nothing but wait for the end of all the others.
 *
 *	command --+--- holder          both have the pipe's writing end
 *	          |
 *	          +--- guard           reads it: a byte never comes, the end does when the last
 *	                               of them is gone, whatever killed them
 *
 * It keeps no descriptor but the pipe: QEMU takes the next monitor client only when the last
 * descriptor of this one is closed, and the lock is for those who change words. What words a dead
 * holder left is not its business either: each is whole, and recover repairs the set.
 */
#include "vmm-agent/drv/gdb_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/base/proc.h"

#define TICK_MS 100

/*
 * A command that was stopped (SIGSTOP) while the guest is held keeps the monitor to itself and lets
 * go of nothing. Far past the deadline it is ended, which is a death like any other.
 */
static void end_a_stopped_one(const struct gdb *g, pid_t command)
{
	if (g->sh->armed && g->sh->held && clock_left(g->sh->held_until) == 0 &&
	    getppid() == command && proc_is_stopped(command))
		kill(command, SIGKILL);
}

static void await_the_end(const struct gdb *g, int pipe_end, pid_t command)
{
	struct pollfd fd = {.fd = pipe_end, .events = POLLIN};
	int n;

	while ((n = poll(&fd, 1, TICK_MS)) <= 0)
		if (n == 0)
			end_a_stopped_one(g, command);
}

static void keep_only(int fd)
{
	if (fd > 0)
		(void)close_range(0, (unsigned)fd - 1, 0);
	(void)close_range((unsigned)fd + 1, ~0u, 0);
}

static void guard(struct gdb *g, int pipe_end, pid_t command, void (*let_go)(struct gdb *g))
{
	sigset_t all;

	/* Its own session and no signals: what ends the command's group does not end this. */
	setsid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "vpatch-guard");
	(void)!chdir("/");
	keep_only(pipe_end);
	g->m->q = NULL; /* closed above; qemu_call connects anew */
	g->fd = -1;
	g->door = -1;
	await_the_end(g, pipe_end, command);
	if (g->sh->armed)
		let_go(g);
	_exit(0); /* lint: holder */
}

int gdb_guard_start(struct gdb *g, void (*let_go)(struct gdb *g), struct diag *diag)
{
	pid_t command = getpid();
	int end[2];

	if (pipe2(end, O_CLOEXEC) < 0)
		return diag_errno(diag, errno, "%s: starting the guard", g->m->name);
	g->sh->armed = true;
	g->guard = fork();
	if (g->guard < 0) {
		g->sh->armed = false;
		close(end[0]);
		close(end[1]);
		return diag_errno(diag, errno, "%s: starting the guard", g->m->name);
	}
	if (g->guard == 0)
		guard(g, end[0], command, let_go);
	close(end[0]);
	g->guard_pipe = end[1];
	return VP_OK;
}

void gdb_guard_stop(struct gdb *g)
{
	if (g->guard_pipe < 0)
		return;
	g->sh->armed = false;
	close(g->guard_pipe);
	g->guard_pipe = -1;
	while (waitpid(g->guard, NULL, 0) < 0 && errno == EINTR)
		;
}
