// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The test rig's hand inside a guest: runs shell commands that arrive on a serial port.
 *
 *   host:  "R id seconds cmdlen inlen\n", then cmdlen + inlen bytes in chunks of 1024
 *   guest: "\nA id\n" behind each chunk, so that the tty's buffer never runs over
 *          "\nO id len\n" and len bytes of output, as often as there is some
 *          "\nE id status\n"
 *
 * Each frame begins with a newline and carries the host's id: what an earlier, abandoned request
 * left on the line cannot be taken for an answer to the present one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CHUNK    1024
#define BODY_MAX (8 << 20)

static int put(int fd, const void *buf, size_t n)
{
	const char *p = buf;

	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return -1;
		p += w;
		n -= w;
	}
	return 0;
}

/* A body that stops coming was abandoned by the host: give up after five seconds. */
static int get(int fd, char *buf, size_t n)
{
	while (n) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t r;

		if (poll(&p, 1, 5000) <= 0)
			return -1;
		r = read(fd, buf, n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -1;
		buf += r;
		n -= r;
	}
	return 0;
}

static int get_line(int fd, char *line, size_t cap)
{
	size_t n = 0;
	char c;

	for (;;) {
		ssize_t r = read(fd, &c, 1);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -1;
		if (c == '\n')
			break;
		if (n + 1 < cap)
			line[n++] = c;
	}
	line[n] = '\0';
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void frame_out(int tty, const char *id, const char *buf, size_t n)
{
	char head[96];

	put(tty, head, snprintf(head, sizeof(head), "\nO %s %zu\n", id, n));
	put(tty, buf, n);
}

/* Background children may keep the pipe open: the command has ended when its shell has. */
static int run(int tty, const char *id, char *cmd, int in, int seconds)
{
	int64_t end = now_ms() + seconds * 1000LL;
	int pipefd[2], status = 0, ended = 0, pidfd;
	char buf[CHUNK];
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return 125;
	pid = fork();
	if (pid < 0)
		return 125;
	if (!pid) {
		setsid();
		dup2(in, 0);
		dup2(pipefd[1], 1);
		dup2(pipefd[1], 2);
		execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
		_exit(127);
	}
	close(pipefd[1]);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	for (;;) {
		struct pollfd p[2] = {{.fd = pipefd[0], .events = POLLIN},
				      {.fd = ended ? -1 : pidfd, .events = POLLIN}};
		int64_t left = end - now_ms();
		ssize_t n = 0;

		if (poll(p, 2, ended ? 0 : left > 0 ? left : 0) < 0 && errno != EINTR)
			break;
		if (p[0].revents) {
			n = read(pipefd[0], buf, sizeof(buf));
			if (n > 0)
				frame_out(tty, id, buf, n);
		}
		if (p[1].revents & POLLIN)
			ended = waitpid(pid, &status, 0) == pid;
		if (n <= 0 && ended)
			break;
		if (p[0].revents && n <= 0) { /* output closed early: only the end is awaited */
			close(pipefd[0]);
			pipefd[0] = -1;
		}
		if (!ended && left <= 0) {
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			status = 124 << 8;
			break;
		}
	}
	if (pipefd[0] >= 0)
		close(pipefd[0]);
	close(pidfd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void serve(int tty)
{
	char line[160], id[33], reply[96], *body;
	unsigned seconds, cmdlen, inlen;
	size_t at, total;
	int in, status;

	if (get_line(tty, line, sizeof(line)) < 0) {
		sleep(1);
		return;
	}
	if (sscanf(line, "R %32s %u %u %u", id, &seconds, &cmdlen, &inlen) != 4)
		return;
	if (cmdlen > BODY_MAX || inlen > BODY_MAX)
		return;
	total = (size_t)cmdlen + inlen;
	body = malloc(total + 1);
	if (!body)
		return;
	for (at = 0; at < total;) {
		size_t n = total - at < CHUNK ? total - at : CHUNK;

		if (get(tty, body + at, n) < 0) {
			free(body);
			return;
		}
		at += n;
		put(tty, reply, snprintf(reply, sizeof(reply), "\nA %s\n", id));
	}
	in = memfd_create("stdin", MFD_CLOEXEC);
	if (in < 0 || put(in, body + cmdlen, inlen) < 0 || lseek(in, 0, SEEK_SET) < 0) {
		status = 125;
	} else {
		body[cmdlen] = '\0';
		status = run(tty, id, body, in, seconds);
	}
	if (in >= 0)
		close(in);
	free(body);
	put(tty, reply, snprintf(reply, sizeof(reply), "\nE %s %d\n", id, status));
}

int main(int argc, char **argv)
{
	struct termios t;
	int tty, console;

	if (argc != 2) {
		fprintf(stderr, "usage: agent TTY\n");
		return 2;
	}
	tty = open(argv[1], O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tty < 0 || tcgetattr(tty, &t) < 0) {
		perror(argv[1]);
		return 1;
	}
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	cfsetspeed(&t, B115200);
	if (tcsetattr(tty, TCSAFLUSH, &t) < 0) {
		perror(argv[1]);
		return 1;
	}
	/* Said only now: what came before the flush above is lost. */
	console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (console >= 0)
		dprintf(console, "vpatch-guest: ready on %s\n", argv[1]);
	for (;;)
		serve(tty);
}
