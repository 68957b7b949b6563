// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/strike.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"

#define HOLDER "vpatch-holder"

static cpu_set_t all;

const char *strike_role_name(enum strike_role role)
{
	static const char *const names[] = {"holder", "main", "both"};

	return names[role];
}

const char *strike_step_name(enum strike_step step)
{
	static const char *const names[] = {"before",       "held",    "between stores",
					    "after stores", "leaving", "after"};

	return names[step];
}

bool strike_init(void)
{
	return sched_getaffinity(0, sizeof(all), &all) == 0 &&
	       prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

/* One processor is ours while we wait for the instant, the command has the others: it must not wait
 * for us, nor the instant for either. */
static void sharpen(const struct strike *s)
{
	const struct sched_param param = {.sched_priority = 2};
	int cpu = sched_getcpu();
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) < 2 || cpu < 0)
		return;
	CPU_CLR(cpu, &set);
	(void)sched_setaffinity(s->main, sizeof(set), &set);
	(void)sched_setaffinity(s->holder, sizeof(set), &set);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
	(void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param);
}

void strike_over(void)
{
	const struct sched_param param = {0};

	(void)sched_setscheduler(0, SCHED_OTHER, &param);
	(void)sched_setaffinity(0, sizeof(all), &all);
}

/* --- until there is a holder --------------------------------------------------------------------- */

static bool comm_of(pid_t pid, char buf[32])
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, 31);
	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n - 1 : 0] = '\0';
	return n > 0;
}

static pid_t run(const char *const *argv, const char *out, const int *go)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (go) {
		char c;

		close(go[1]);
		if (read(go[0], &c, 1) != 1)
			_exit(127);
	}
	if (out) {
		int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, 1);
		dup2(fd, 2);
	}
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

static pid_t spawn_traced(const char *const *argv, const char *out)
{
	int go[2];
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		return -1;
	pid = run(argv, out, go);
	if (pid > 0 &&
	    ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACEFORK | PTRACE_O_TRACESYSGOOD) == 0)
		(void)!write(go[1], "g", 1);
	close(go[0]);
	close(go[1]);
	return pid;
}

/* A forked child's first steps, until it has a name of its own. Stopped when this returns. */
static bool await_name(pid_t pid, char name[32])
{
	char first[32];
	int status;

	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status) || !comm_of(pid, first))
		return false;
	while (comm_of(pid, name) && strcmp(name, first) == 0) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 ||
		    waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
			return false;
	}
	return true;
}

/* Zeroed but for the phase: nobody else's page begins like this. */
static bool is_page(const struct eng_progress *p)
{
	return p->phase == ENG_ARMED && p->begun == 0 && p->end == 0 && p->cause == 0 &&
	       p->held_at == 0 && p->free_at == 0;
}

static const struct eng_progress *map_one(pid_t pid, const char *range)
{
	char path[128];
	void *at;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%s", (int)pid, range);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	at = mmap(NULL, sizeof(struct eng_progress), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return NULL;
	if (is_page(at))
		return at;
	munmap(at, sizeof(struct eng_progress));
	return NULL;
}

/* Shared anonymous memory shows as "/dev/zero (deleted)". */
static const struct eng_progress *map_page(pid_t pid)
{
	const struct eng_progress *found = NULL;
	char path[64], line[512], range[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		if (strstr(line, "/dev/zero") && sscanf(line, "%63s", range) == 1)
			found = map_one(pid, range);
	if (f)
		fclose(f);
	return found;
}

/* At a fork of the command's. True: it is the holder. */
static bool on_fork(struct strike *s)
{
	unsigned long child = 0;
	char name[32] = "";

	ptrace(PTRACE_GETEVENTMSG, s->main, NULL, &child);
	if (!await_name((pid_t)child, name))
		return false;
	if (strcmp(name, HOLDER) == 0) {
		s->holder = (pid_t)child;
		s->holder_lives = true;
		s->prog = map_page(s->holder);
		return true;
	}
	ptrace(PTRACE_DETACH, (pid_t)child, NULL, NULL);
	return false;
}

bool strike_begin(struct strike *s, const char *const *argv, const char *out)
{
	int status;

	memset(s, 0, sizeof(*s));
	s->main = spawn_traced(argv, out);
	while (s->main > 0 && waitpid(s->main, &status, __WALL) == s->main) {
		int event = status >> 16;

		if (!WIFSTOPPED(status)) {
			s->ended = true;
			s->status = status;
			return false;
		}
		if (event == PTRACE_EVENT_FORK && on_fork(s))
			return s->prog;
		ptrace(PTRACE_CONT, s->main, NULL,
		       (void *)(uintptr_t)(event ? 0u : (unsigned)WSTOPSIG(status)));
	}
	return false;
}

void strike_go(struct strike *s)
{
	sharpen(s);
	s->went = clock_now();
	ptrace(PTRACE_DETACH, s->main, NULL, NULL);
	ptrace(PTRACE_DETACH, s->holder, NULL, NULL);
}

/* --- the instant --------------------------------------------------------------------------------- */

bool strike_on(struct strike *s)
{
	int status;

	/* Every signal is blocked there: it stops for nothing else. */
	s->stepped = ptrace(PTRACE_SYSCALL, s->holder, NULL, NULL) == 0 &&
		     waitpid(s->holder, &status, __WALL) == s->holder && WIFSTOPPED(status);
	s->holder_lives = s->stepped;
	return s->stepped;
}

bool strike_go_to(struct strike *s, unsigned n)
{
	s->went = clock_now();
	ptrace(PTRACE_DETACH, s->main, NULL, NULL);
	while (n-- > 0)
		if (!strike_on(s))
			return false;
	return true;
}

void strike_send(struct strike *s, enum strike_role role, int sig)
{
	int to_holder = role == STRIKE_MAIN ? 0 : sig;

	/* Nobody but the command or, when that is gone, we ourselves waits for them: while that has
	 * not been done the numbers are theirs. */
	if (role != STRIKE_HOLDER && !s->ended)
		kill(s->main, sig);
	if (s->stepped)
		ptrace(PTRACE_DETACH, s->holder, NULL, (void *)(uintptr_t)(unsigned)to_holder);
	else if (to_holder && s->holder_lives)
		kill(s->holder, to_holder);
	s->stepped = false;
}

static uint32_t phase(const struct strike *s)
{
	return __atomic_load_n(&s->prog->phase, __ATOMIC_ACQUIRE);
}

enum strike_step strike_look(const struct strike *s, uint32_t stores)
{
	uint32_t begun = __atomic_load_n(&s->prog->begun, __ATOMIC_ACQUIRE);

	switch (phase(s)) {
	case ENG_ARMED:
		return STRIKE_BEFORE;
	case ENG_HELD:
		return begun == 0 ? STRIKE_HELD : begun < stores ? STRIKE_BETWEEN : STRIKE_STORED;
	case ENG_LEAVING:
		return STRIKE_LEAVING;
	default:
		return STRIKE_AFTER;
	}
}

bool strike_await(const struct strike *s, uint32_t want, uint64_t until)
{
	while (phase(s) < want)
		if (clock_now() > until)
			return false;
	return true;
}

/* --- the end ------------------------------------------------------------------------------------- */

/* Whether any child but the VMM is left, dead or alive; kills them if told to. */
static bool others_left(pid_t vmm, bool end)
{
	char path[64];
	bool left = false;
	FILE *f;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "re");
	while (f && fscanf(f, "%d", &pid) == 1) {
		if (pid == vmm)
			continue;
		left = true;
		if (end)
			kill(pid, SIGKILL);
	}
	if (f)
		fclose(f);
	return left;
}

static void reap(struct strike *s, pid_t vmm)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		if (pid == s->main) {
			s->ended = true;
			s->status = status;
		}
		if (pid == s->holder)
			s->holder_lives = false;
		if (pid == vmm)
			s->vmm_ended = true;
	}
}

bool strike_end(struct strike *s, pid_t vmm, uint64_t until)
{
	bool good = true;

	for (;; usleep(500)) {
		reap(s, vmm);
		if (!others_left(vmm, false))
			break;
		if (clock_now() > until) {
			good = false;
			others_left(vmm, true);
		}
	}
	if (s->prog)
		munmap((void *)(uintptr_t)s->prog, sizeof(*s->prog));
	s->prog = NULL;
	return good;
}

int strike_run(const char *const *argv, const char *out)
{
	pid_t pid = run(argv, out, NULL);
	int status = 0;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 128;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
