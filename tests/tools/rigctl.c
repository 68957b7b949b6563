// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The host's end of the test rig.
 *
 *   rigctl cmd SOCKET SECONDS COMMAND [<stdin]   runs COMMAND in the guest; output and exit code
 *                                                are the command's, 124 when SECONDS pass,
 *                                                125 when the guest does not answer
 *   rigctl qmp SOCKET JSON...                    sends each command to QMP, prints each answer
 *                                                and exits 1 if one of them is an error
 *   rigctl events SOCKET                         prints QMP's events as they come, until killed
 *
 * Standard input is handed to the guest only if it is a file or a pipe and -i is given.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHUNK     1024
#define NO_ANSWER 125

struct line_in {
	int fd;
	char buf[4096];
	size_t at, n;
	int64_t end;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("rigctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(NO_ANSWER);
}

static int dial(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(sa.sun_path))
		fail("%s: too long for a socket", path);
	strcpy(sa.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		fail("%s: %s", path, strerror(errno));
	return fd;
}

/* One caller at a time: QEMU serves one client a socket and lets others wait for ever. */
static void take_turn(const char *path)
{
	char lock[256];
	int fd;

	snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		fail("%s: %s", lock, strerror(errno));
}

static void put(int fd, const char *p, size_t n, int64_t end)
{
	while (n) {
		struct pollfd pf = {.fd = fd, .events = POLLOUT};
		int64_t left = end - now_ms();
		ssize_t w;

		if (left <= 0 || poll(&pf, 1, left) <= 0)
			fail("the guest takes no input");
		w = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (w < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (w <= 0)
			fail("the guest has gone: %s", strerror(errno));
		p += w;
		n -= w;
	}
}

static int in_byte(struct line_in *in)
{
	while (in->at == in->n) {
		struct pollfd pf = {.fd = in->fd, .events = POLLIN};
		int64_t left = in->end - now_ms();
		ssize_t n;

		if (left <= 0 || poll(&pf, 1, left < 60000 ? left : 60000) < 0)
			fail("no answer in time");
		n = recv(in->fd, in->buf, sizeof(in->buf), MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			fail("the guest has gone");
		in->at = 0;
		in->n = n;
	}
	return (unsigned char)in->buf[in->at++];
}

static char *in_line(struct line_in *in, char *line, size_t cap)
{
	size_t n = 0;
	int c;

	while ((c = in_byte(in)) != '\n')
		if (n + 1 < cap)
			line[n++] = c;
	if (n && line[n - 1] == '\r')
		n--;
	line[n] = '\0';
	return line;
}

/* Reads frames until one of KIND ('A' or 'E') for this id; output on the way is passed on. */
static int await(struct line_in *in, const char *id, char kind)
{
	char line[160], got[33], k;
	int v;

	for (;;) {
		v = 0;
		if (sscanf(in_line(in, line, sizeof(line)), "%c %32s %d", &k, got, &v) < 2)
			continue;
		if (strcmp(got, id))
			continue;
		if (k == 'O') {
			for (; v > 0; v--)
				putchar(in_byte(in));
			continue;
		}
		if (k == kind)
			return v;
	}
}

static char *slurp(size_t *n_ret)
{
	size_t n = 0, cap = 1 << 16;
	char *buf = malloc(cap);
	ssize_t r;

	while (buf && (r = read(0, buf + n, cap - n)) > 0) {
		n += r;
		if (n == cap)
			buf = realloc(buf, cap *= 2);
	}
	if (!buf)
		fail("no memory");
	*n_ret = n;
	return buf;
}

static int cmd(const char *path, int seconds, const char *command, int with_input)
{
	struct line_in in = {.end = now_ms() + (seconds + 20) * 1000LL};
	size_t cmdlen = strlen(command), inlen = 0, total, at;
	char id[33], head[160], *input = NULL, *body;
	uint64_t nonce[2];
	int status;

	if (with_input)
		input = slurp(&inlen);
	if (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce))
		fail("getrandom: %s", strerror(errno));
	snprintf(id, sizeof(id), "%016llx%016llx", (unsigned long long)nonce[0],
		 (unsigned long long)nonce[1]);
	total = cmdlen + inlen;
	body = malloc(total + 1);
	if (!body)
		fail("no memory");
	memcpy(body, command, cmdlen);
	if (inlen)
		memcpy(body + cmdlen, input, inlen);
	take_turn(path);
	in.fd = dial(path);
	put(in.fd, head,
	    snprintf(head, sizeof(head), "\nR %s %d %zu %zu\n", id, seconds, cmdlen, inlen),
	    in.end);
	for (at = 0; at < total;) {
		size_t n = total - at < CHUNK ? total - at : CHUNK;

		put(in.fd, body + at, n, in.end);
		at += n;
		await(&in, id, 'A');
	}
	status = await(&in, id, 'E');
	free(body);
	free(input);
	return fflush(stdout) ? NO_ANSWER : status;
}

static int qmp(const char *path, char **commands)
{
	struct line_in in = {.end = now_ms() + 30000};
	static char line[1 << 20];
	int bad = 0;

	take_turn(path);
	in.fd = dial(path);
	in_line(&in, line, sizeof(line));
	put(in.fd, "{\"execute\":\"qmp_capabilities\"}\n", 31, in.end);
	while (!strstr(in_line(&in, line, sizeof(line)), "\"return\""))
		;
	for (; *commands; commands++) {
		put(in.fd, *commands, strlen(*commands), in.end);
		put(in.fd, "\n", 1, in.end);
		do {
			in_line(&in, line, sizeof(line));
		} while (strncmp(line, "{\"return\"", 9) && strncmp(line, "{\"error\"", 8));
		bad |= line[2] == 'e';
		puts(line);
	}
	return bad;
}

__attribute__((noreturn)) static void events(const char *path)
{
	struct line_in in = {.end = INT64_MAX};
	static char line[1 << 16];

	in.fd = dial(path);
	in_line(&in, line, sizeof(line));
	put(in.fd, "{\"execute\":\"qmp_capabilities\"}\n", 31, now_ms() + 10000);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (;;)
		puts(in_line(&in, line, sizeof(line)));
}

int main(int argc, char **argv)
{
	int with_input = argc > 1 && !strcmp(argv[1], "-i");

	argv += with_input;
	argc -= with_input;
	if (argc == 5 && !strcmp(argv[1], "cmd"))
		return cmd(argv[2], atoi(argv[3]), argv[4], with_input);
	if (argc >= 4 && !strcmp(argv[1], "qmp"))
		return qmp(argv[2], argv + 3);
	if (argc == 3 && !strcmp(argv[1], "events"))
		events(argv[2]);
	fprintf(stderr,
		"usage: rigctl [-i] cmd SOCKET SECONDS COMMAND | qmp SOCKET JSON... | events SOCKET\n");
	return 2;
}
