// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The floor under a window: the threads held and released by ptrace(2), and nothing else. It has
 * nothing of vpatch in it.
 *
 *   floor [-f] TID...        -f: at a real-time priority, where that is allowed
 *
 * One line in, one hold, one line out: "WINDOW_NS TOTAL_NS", then how long it took to interrupt them
 * all, to wait for them all, and to let them all go.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	const struct sched_param fifo = {.sched_priority = 1};
	int from = argc > 1 && strcmp(argv[1], "-f") == 0 ? 2 : 1, status;
	char line[16];

	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		perror("floor: mlockall");
	if (from == 2 && sched_setscheduler(0, SCHED_FIFO, &fifo) < 0)
		perror("floor: SCHED_FIFO");
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t called = now(), held, asked, stopped, freed, bad = 0;

		for (int i = from; i < argc; i++)
			bad |= ptrace(PTRACE_SEIZE, atoi(argv[i]), 0, 0) < 0;
		held = now();
		for (int i = from; i < argc; i++)
			bad |= ptrace(PTRACE_INTERRUPT, atoi(argv[i]), 0, 0) < 0;
		asked = now();
		for (int i = from; i < argc; i++)
			bad |= waitpid(atoi(argv[i]), &status, __WALL) < 0 || !WIFSTOPPED(status);
		stopped = now();
		for (int i = from; i < argc; i++)
			bad |= ptrace(PTRACE_DETACH, atoi(argv[i]), 0, 0) < 0;
		freed = now();
		printf("%ju %ju %ju %ju %ju\n", bad ? 0 : (uintmax_t)(freed - held),
		       (uintmax_t)(freed - called), (uintmax_t)(asked - held),
		       (uintmax_t)(stopped - asked), (uintmax_t)(freed - stopped));
		fflush(stdout);
	}
	return 0;
}
