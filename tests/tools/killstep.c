// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Kills a command, or the process that it forked, at a chosen system call.
 *
 *   killstep --count -- COMMAND...
 *        runs COMMAND to its end and prints "main N holder N exit N": the system-call stops of
 *        the command itself and of all its children (the holder); entry and exit count one each
 *   killstep --role main|holder|both --step N -- COMMAND...
 *        SIGKILL to exactly that process at its Nth stop; all others run on untraced. For both,
 *        the steps are the holder's, and the main process is killed first.
 *        Prints "killed ROLE step N syscall NR entry" (or "result R exit"), waits for whoever
 *        is left, and prints "main exit N" or "main signal N"; "unreached" if there were fewer
 *        steps.
 *
 * A kill at an entry stop means that the call never ran, a kill at an exit stop that it ran and
 * the caller never learned of it. Exit code: 0 killed or counted, 1 unreached, 2 usage or trouble,
 * 3 something was still running after --patience SECONDS (20).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TASKS 64

enum role { MAIN, HOLDER, BOTH, ROLES };
static const char *const role_name[ROLES] = {"main", "holder", "both"};

struct task {
	pid_t pid;  /* thread id */
	pid_t tgid; /* process */
	enum role role;
	int stopped;
};

struct trace {
	struct task task[TASKS];
	unsigned n_task;
	pid_t main;
	int started; /* steps count from the exec on */
	uint64_t steps[2];
	int main_status, main_ended;
	enum role victim;
	uint64_t at; /* 0: only count */
	int patience;
};

static void die(const char *what)
{
	fprintf(stderr, "killstep: %s: %s\n", what, strerror(errno));
	exit(2);
}

static pid_t tgid_of(pid_t tid)
{
	char path[64], line[128];
	int tgid = tid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			break;
	if (f)
		fclose(f);
	return tgid;
}

static struct task *task_of(struct trace *t, pid_t pid)
{
	for (unsigned i = 0; i < t->n_task; i++)
		if (t->task[i].pid == pid)
			return &t->task[i];
	if (t->n_task == TASKS) {
		errno = E2BIG;
		die("too many tasks");
	}
	t->task[t->n_task] = (struct task){.pid = pid, .tgid = tgid_of(pid)};
	t->task[t->n_task].role = t->task[t->n_task].tgid == t->main ? MAIN : HOLDER;
	return &t->task[t->n_task++];
}

static void task_gone(struct trace *t, pid_t pid, int status)
{
	if (pid == t->main) {
		t->main_ended = 1;
		t->main_status = status;
	}
	for (unsigned i = 0; i < t->n_task; i++)
		if (t->task[i].pid == pid) {
			t->task[i] = t->task[--t->n_task];
			return;
		}
}

static pid_t spawn(char **argv)
{
	int go[2];
	pid_t pid;
	char c;

	if (pipe(go) < 0)
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		close(go[1]);
		if (read(go[0], &c, 1) != 1)
			_exit(127);
		close(go[0]);
		execvp(argv[0], argv);
		fprintf(stderr, "killstep: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(go[0]);
	if (ptrace(PTRACE_SEIZE, pid, 0,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
			   PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) < 0)
		die("ptrace");
	if (write(go[1], "g", 1) != 1)
		die("write");
	close(go[1]);
	return pid;
}

static void resume(struct task *task, int sig)
{
	task->stopped = 0;
	if (ptrace(PTRACE_SYSCALL, task->pid, 0, (long)sig) < 0 && errno != ESRCH)
		die("resume");
}

/* The signal that a stopped task would have received by itself. */
static int pending_signal(int status)
{
	if (status >> 16 || WSTOPSIG(status) == (SIGTRAP | 0x80))
		return 0;
	return WSTOPSIG(status);
}

/* Lets every task but the killed go. One that runs is interrupted first: only a stopped task can
 * be detached. What it stopped for is not lost: a signal goes with the detach. */
static void release(struct trace *t, pid_t killed_a, pid_t killed_b)
{
	for (unsigned i = 0; i < t->n_task; i++) {
		struct task *task = &t->task[i];
		int status, sig = 0;

		if (task->tgid == killed_a || task->tgid == killed_b)
			continue;
		if (!task->stopped) {
			ptrace(PTRACE_INTERRUPT, task->pid, 0, 0);
			if (waitpid(task->pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) {
				if (task->pid == t->main) {
					t->main_ended = 1;
					t->main_status = status;
				}
				continue;
			}
			sig = pending_signal(status);
		}
		ptrace(PTRACE_DETACH, task->pid, 0, (long)sig);
	}
}

static int await_end(struct trace *t)
{
	struct timespec tick = {.tv_nsec = 2000000};
	int status;
	pid_t pid;

	for (int i = 0; i < t->patience * 500; i++) {
		while ((pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
			if (WIFSTOPPED(status)) { /* forked just now: its first stop */
				ptrace(PTRACE_DETACH, pid, 0, (long)pending_signal(status));
			} else if (pid == t->main) {
				t->main_ended = 1;
				t->main_status = status;
			}
		}
		if (pid < 0 && errno == ECHILD)
			return 0;
		nanosleep(&tick, NULL);
	}
	printf("still running\n");
	return 3;
}

static void print_end(const struct trace *t)
{
	if (t->main_ended && WIFSIGNALED(t->main_status))
		printf("main signal %d\n", WTERMSIG(t->main_status));
	else if (t->main_ended)
		printf("main exit %d\n", WEXITSTATUS(t->main_status));
}

static int strike(struct trace *t, const struct task *task)
{
	struct __ptrace_syscall_info si = {0};
	pid_t first = task->tgid, second = 0;
	int r;

	ptrace(PTRACE_GET_SYSCALL_INFO, task->pid, sizeof(si), &si);
	if (t->victim == BOTH && task->tgid != t->main) {
		second = first;
		first = t->main;
	}
	/* The stopped one is let go with the signal: a traced zombie is seen by pidfd but not by its
	 * parent's wait(), which no real death looks like. At an entry stop the call does not run. */
	if (second)
		kill(first, SIGKILL);
	if (ptrace(PTRACE_DETACH, task->pid, 0, (long)SIGKILL) < 0)
		kill(task->tgid, SIGKILL);
	release(t, first, second);
	printf("killed %s step %llu ", role_name[t->victim], (unsigned long long)t->at);
	if (si.op == PTRACE_SYSCALL_INFO_ENTRY)
		printf("syscall %llu entry\n", (unsigned long long)si.entry.nr);
	else
		printf("result %lld exit\n", (long long)si.exit.rval);
	fflush(stdout);
	r = await_end(t);
	print_end(t);
	return r;
}

/* One stop of one task. Returns 1 if it is the one to strike at. */
static int on_stop(struct trace *t, struct task *task, int status)
{
	int sig = WSTOPSIG(status), event = status >> 16;

	task->stopped = 1;
	if (sig == (SIGTRAP | 0x80)) {
		enum role counted = t->victim == BOTH ? HOLDER : t->victim;

		if (t->started) {
			t->steps[task->role]++;
			if (t->at && task->role == counted && t->steps[counted] == t->at)
				return 1;
		}
		resume(task, 0);
	} else if (event == PTRACE_EVENT_STOP &&
		   (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU)) {
		task->stopped = 0;
		ptrace(PTRACE_LISTEN, task->pid, 0, 0);
	} else if (event) {
		if (event == PTRACE_EVENT_EXEC)
			t->started = 1;
		resume(task, 0);
	} else {
		resume(task, sig);
	}
	return 0;
}

static int follow(struct trace *t)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		struct task *task;

		if (!WIFSTOPPED(status)) {
			task_gone(t, pid, status);
			continue;
		}
		task = task_of(t, pid);
		if (on_stop(t, task, status))
			return strike(t, task);
	}
	if (t->at) {
		printf("unreached\n");
		print_end(t);
		return 1;
	}
	printf("main %llu holder %llu exit %d\n", (unsigned long long)t->steps[MAIN],
	       (unsigned long long)t->steps[HOLDER],
	       WIFEXITED(t->main_status) ? WEXITSTATUS(t->main_status)
					 : 128 + WTERMSIG(t->main_status));
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: killstep --count | --role main|holder|both --step N "
			"[--patience SECONDS] -- COMMAND...\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"count", no_argument, NULL, 'c'},
						{"role", required_argument, NULL, 'r'},
						{"step", required_argument, NULL, 's'},
						{"patience", required_argument, NULL, 'p'},
						{0}};
	struct trace t = {.patience = 20};
	int c, count = 0, role = -1;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (c == 'c')
			count = 1;
		else if (c == 's')
			t.at = strtoull(optarg, NULL, 10);
		else if (c == 'p')
			t.patience = atoi(optarg);
		else if (c != 'r')
			return usage();
		for (int i = 0; c == 'r' && i < ROLES; i++)
			if (!strcmp(optarg, role_name[i]))
				role = i;
	}
	if (optind == argc || count == (t.at != 0) || (!count && role < 0))
		return usage();
	t.victim = count ? MAIN : role;
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* Orphans of a killed main process come here, so that their end can be awaited. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		die("prctl");
	t.main = spawn(argv + optind);
	task_of(&t, t.main);
	return follow(&t);
}
