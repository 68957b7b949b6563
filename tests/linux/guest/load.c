// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The load: processes that read a file all the time and check every answer.
 *
 *   load start [-t TAG] [-n PROCESSES] [-f FILE] TEXT0 TEXT1...
 *        each TEXT is one complete answer; '@' in it stands for what FILE says now (without its
 *        newline), and a newline is added. TEXT0 is the state at the start.
 *   load from [-t TAG] I J      a change from TEXT I to TEXT J is under way: both are right, but
 *                               a process that saw J must not see I again
 *   load any [-t TAG] I J       TEXT I and TEXT J are both right, in any order, until the next rule
 *   load at [-t TAG] I [K]      the change is over: only TEXT I is right. Waits until each
 *                               process has read K (2) more answers under that rule.
 *   load report [-t TAG]        counts; exits 1 if any answer was wrong or out of order
 *   load stop [-t TAG]          report, and ends the processes
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXTS    4
#define TEXT_MAX 1024
#define WORKERS  8
#define ANY      0x80u /* in a rule's from: to and fro */

struct worker {
	pid_t pid;
	uint64_t seen[TEXTS];
	uint64_t wrong;      /* an answer that is none of the texts */
	uint64_t disorder;   /* a text at a time when it is not right */
	uint64_t settled;    /* answers under the present rule */
	uint64_t settled_in; /* the rule that settled counts for */
};

struct state {
	char file[256];
	char text[TEXTS][TEXT_MAX];
	unsigned n_text, n_worker;
	uint64_t rule; /* serial << 16 | from << 8 | to, one word so that it changes at once */
	char bad[TEXT_MAX];
	struct worker worker[WORKERS];
};

static uint64_t peek(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void poke(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

static struct state *state_map(const char *tag, int create)
{
	char path[128];
	struct state *s;
	int fd;

	snprintf(path, sizeof(path), "/run/load.%s", tag);
	fd = open(path, O_RDWR | (create ? O_CREAT | O_TRUNC : 0), 0600);
	if (fd < 0 || (create && ftruncate(fd, sizeof(*s)) < 0)) {
		fprintf(stderr, "load: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (s == MAP_FAILED) {
		perror("load: mmap");
		exit(2);
	}
	return s;
}

static ssize_t read_file(const char *path, char *buf, size_t cap)
{
	int fd = open(path, O_RDONLY);
	size_t at = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while (at < cap - 1 && (n = read(fd, buf + at, cap - 1 - at)) > 0)
		at += n;
	close(fd);
	buf[at] = '\0';
	return at;
}

static int classify(const struct state *s, const char *buf)
{
	for (unsigned i = 0; i < s->n_text; i++)
		if (!strcmp(buf, s->text[i]))
			return i;
	return -1;
}

static void judge(struct state *s, struct worker *w, int got, uint64_t rule, uint64_t *latched)
{
	unsigned from = rule >> 8 & 0xff, to = rule & 0xff;

	if (from & ANY) {
		if ((unsigned)got != (from & ~ANY) && (unsigned)got != to)
			w->disorder++;
	} else if (from == to) {
		if ((unsigned)got != to)
			w->disorder++;
	} else if ((unsigned)got == to) {
		*latched = rule;
	} else if ((unsigned)got != from || *latched == rule) {
		w->disorder++;
	}
	if (w->settled_in != rule) {
		poke(&w->settled, 0);
		poke(&w->settled_in, rule);
	}
	poke(&w->settled, w->settled + 1);
	(void)s;
}

static void work(struct state *s, struct worker *w)
{
	uint64_t latched = 0;
	char buf[TEXT_MAX];

	for (;;) {
		uint64_t before = peek(&s->rule), after;
		int got;

		if (read_file(s->file, buf, sizeof(buf)) < 0)
			buf[0] = '\0';
		after = peek(&s->rule);
		got = classify(s, buf);
		if (got < 0) {
			if (!w->wrong++)
				memcpy(s->bad, buf, sizeof(buf));
			continue;
		}
		poke(&w->seen[got], w->seen[got] + 1);
		if (before == after) /* a read across a change of rule is judged by neither */
			judge(s, w, got, before, &latched);
	}
}

static void expand(char *out, const char *pattern, const char *now)
{
	size_t at = 0;

	for (; *pattern && at < TEXT_MAX - 2; pattern++) {
		if (*pattern == '@')
			at += snprintf(out + at, TEXT_MAX - 2 - at, "%s", now);
		else
			out[at++] = *pattern;
		if (at > TEXT_MAX - 2)
			at = TEXT_MAX - 2;
	}
	out[at++] = '\n';
	out[at] = '\0';
}

static int start(const char *tag, const char *file, unsigned workers, char **texts, int n)
{
	struct state *s = state_map(tag, 1);
	char now[TEXT_MAX];
	ssize_t len;

	len = read_file(file, now, sizeof(now));
	if (len <= 0 || n < 1 || n > TEXTS || workers < 1 || workers > WORKERS) {
		fprintf(stderr, "load: %s does not read, or a wrong count\n", file);
		return 2;
	}
	if (now[len - 1] == '\n')
		now[len - 1] = '\0';
	snprintf(s->file, sizeof(s->file), "%s", file);
	for (int i = 0; i < n; i++)
		expand(s->text[i], texts[i], now);
	s->n_text = n;
	s->n_worker = workers;
	s->rule = 1 << 16;
	for (unsigned i = 0; i < workers; i++) {
		pid_t pid = fork();

		if (!pid) {
			int null = open("/dev/null", O_RDWR);

			dup2(null, 0);
			dup2(null, 1);
			dup2(null, 2);
			setsid();
			work(s, &s->worker[i]);
		}
		s->worker[i].pid = pid;
	}
	return 0;
}

static uint64_t set_rule(struct state *s, unsigned from, unsigned to)
{
	uint64_t rule = ((peek(&s->rule) >> 16) + 1) << 16 | from << 8 | to;

	poke(&s->rule, rule);
	return rule;
}

static int wait_settled(struct state *s, uint64_t rule, uint64_t k)
{
	for (int tick = 0; tick < 60000; tick++) {
		unsigned done = 0;

		for (unsigned i = 0; i < s->n_worker; i++) {
			struct worker *w = &s->worker[i];

			done += peek(&w->settled_in) == rule && peek(&w->settled) >= k;
		}
		if (done == s->n_worker)
			return 0;
		usleep(500);
	}
	fprintf(stderr, "load: a process makes no progress\n");
	return 1;
}

static int report(const struct state *s)
{
	uint64_t seen[TEXTS] = {0}, wrong = 0, disorder = 0, all = 0;
	unsigned alive = 0;

	for (unsigned i = 0; i < s->n_worker; i++) {
		for (unsigned t = 0; t < s->n_text; t++) {
			seen[t] += s->worker[i].seen[t];
			all += s->worker[i].seen[t];
		}
		wrong += s->worker[i].wrong;
		disorder += s->worker[i].disorder;
		alive += !kill(s->worker[i].pid, 0);
	}
	printf("processes %u answers %llu", alive, (unsigned long long)all);
	for (unsigned t = 0; t < s->n_text; t++)
		printf(" text%u %llu", t, (unsigned long long)seen[t]);
	printf(" wrong %llu disorder %llu\n", (unsigned long long)wrong,
	       (unsigned long long)disorder);
	if (wrong)
		printf("first wrong answer: \"%s\"\n", s->bad);
	return wrong || disorder || alive != s->n_worker;
}

int main(int argc, char **argv)
{
	const char *tag = "0", *file = "/proc/version", *verb = argc > 1 ? argv[1] : "";
	unsigned workers = 2;
	struct state *s;
	int c;

	optind = 2;
	while ((c = getopt(argc, argv, "t:n:f:")) != -1) {
		if (c == 't')
			tag = optarg;
		else if (c == 'n')
			workers = atoi(optarg);
		else if (c == 'f')
			file = optarg;
		else
			return 2;
	}
	argv += optind;
	argc -= optind;
	if (!strcmp(verb, "start"))
		return start(tag, file, workers, argv, argc);
	s = state_map(tag, 0);
	if (!strcmp(verb, "from") && argc == 2) {
		set_rule(s, atoi(argv[0]), atoi(argv[1]));
		return 0;
	}
	if (!strcmp(verb, "any") && argc == 2) {
		set_rule(s, atoi(argv[0]) | ANY, atoi(argv[1]));
		return 0;
	}
	if (!strcmp(verb, "at") && argc >= 1)
		return wait_settled(s, set_rule(s, atoi(argv[0]), atoi(argv[0])),
				    argc > 1 ? atoi(argv[1]) : 2);
	if (!strcmp(verb, "report"))
		return report(s);
	if (!strcmp(verb, "stop")) {
		c = report(s);
		for (unsigned i = 0; i < s->n_worker; i++)
			kill(s->worker[i].pid, SIGKILL);
		return c;
	}
	fprintf(stderr, "usage: load start|from|any|at|report|stop\n");
	return 2;
}
