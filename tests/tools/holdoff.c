// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * holdoff journal|armed COMMAND...: runs a vpatch and stops it, before its window, at the end of the
 * call that gives its journal its name or when its holder has just come to be. Prints "here", waits for
 * a line, lets it go on by itself, and ends with its exit code. "unreached": it never came there.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/strike.h"

static bool names_it(uint64_t nr)
{
#ifdef SYS_rename
	if (nr == SYS_rename)
		return true;
#endif
	return nr == SYS_renameat || nr == SYS_renameat2;
}

/* Steps by system calls until a file was renamed. Stopped when this returns true. */
static bool until_named(pid_t pid, int *status)
{
	bool named = false;

	while (waitpid(pid, status, __WALL) == pid && WIFSTOPPED(*status)) {
		struct __ptrace_syscall_info si = {0};
		int sig = WSTOPSIG(*status);

		if (sig == (SIGTRAP | 0x80)) {
			sig = 0;
			ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(si), &si);
			if (si.op == PTRACE_SYSCALL_INFO_EXIT && named)
				return true;
			named = si.op == PTRACE_SYSCALL_INFO_ENTRY && names_it(si.entry.nr);
		} else if (*status >> 16) {
			sig = 0;
		}
		ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(uintptr_t)(unsigned)sig);
	}
	return false;
}

static void await_word(void)
{
	char line[16];

	printf("here\n");
	(void)!fgets(line, sizeof(line), stdin);
}

static int ended(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int at_journal(char **argv)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		raise(SIGSTOP);
		execv(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, &status, WUNTRACED);
	ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD);
	kill(pid, SIGCONT);
	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	if (!until_named(pid, &status)) {
		printf("unreached\n");
		return ended(status);
	}
	await_word();
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	waitpid(pid, &status, 0);
	return ended(status);
}

static int at_armed(char **argv)
{
	struct strike s;
	int status = 0;

	if (!strike_init())
		return 127;
	if (!strike_begin(&s, (const char *const *)argv, NULL)) {
		printf("unreached\n");
		return s.ended ? ended(s.status) : 127;
	}
	await_word();
	strike_go(&s);
	strike_over();
	waitpid(s.main, &status, 0);
	return ended(status);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2 && strcmp(argv[1], "journal") == 0)
		return at_journal(argv + 2);
	if (argc > 2 && strcmp(argv[1], "armed") == 0)
		return at_armed(argv + 2);
	fprintf(stderr, "usage: holdoff journal|armed COMMAND...\n");
	return 2;
}
