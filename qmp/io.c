/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The socket: non-blocking throughout, every wait against an absolute deadline. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "qmp/priv.h"

#define NSEC 1000000000ull

uint64_t qmp_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC + (uint64_t)ts.tv_nsec;
}

/* Waits for events on sock (or just waits, if -1). QMP_E_TIMEOUT once the deadline has passed. */
static int wait_for(int sock, short events, uint64_t deadline, struct qmp_error *err)
{
	struct pollfd p = {.fd = sock, .events = events};

	for (;;) {
		uint64_t now = qmp_now();
		struct timespec left;
		int n;

		if (now >= deadline)
			return qmp_fail(err, QMP_E_TIMEOUT, "QEMU did not answer in time");
		left.tv_sec = (time_t)((deadline - now) / NSEC);
		left.tv_nsec = (long)((deadline - now) % NSEC);
		n = ppoll(&p, 1, deadline == UINT64_MAX ? NULL : &left, NULL);
		if (n > 0)
			return QMP_OK;
		if (n < 0 && errno != EINTR)
			return qmp_fail_sys(err, QMP_E_SYS, errno, "cannot wait on the QMP socket");
	}
}

static int path_failed(const char *path, int sys, struct qmp_error *err)
{
	switch (sys) {
	case ENOENT:
	case ENOTDIR:
	case ECONNREFUSED: /* a socket nobody listens on, or no socket */
		return qmp_fail_sys(err, QMP_E_ABSENT, sys, "%s", path);
	case EACCES:
	case EPERM:
		return qmp_fail_sys(err, QMP_E_PERM, sys, "%s", path);
	default:
		return qmp_fail_sys(err, QMP_E_SYS, sys, "%s: cannot connect", path);
	}
}

/*
 * A full backlog (EAGAIN) means that clients already wait behind the one that QEMU serves, and
 * no poll tells when that ends.
 */
static int connect_retry(int sock, const struct sockaddr_un *to, const char *path,
			 uint64_t deadline, struct qmp_error *err)
{
	for (;;) {
		uint64_t pause = qmp_now() + NSEC / 100;

		if (connect(sock, (const struct sockaddr *)to, sizeof(*to)) == 0 ||
		    errno == EISCONN)
			return QMP_OK;
		switch (errno) {
		case EINTR:
			break;
		case EAGAIN:
			if (qmp_now() >= deadline)
				return qmp_fail(err, QMP_E_BUSY,
						"%s: other clients hold this monitor", path);
			(void)!wait_for(-1, 0, pause < deadline ? pause : deadline, NULL);
			break;
		default:
			return path_failed(path, errno, err);
		}
	}
}

/* sun_path holds 107 bytes; a longer path is reached through a descriptor of the socket file. */
static int set_path(struct sockaddr_un *to, const char *path, struct qmp_error *err, int *ret)
{
	size_t len = strlen(path);
	int fd = -1;

	if (len < sizeof(to->sun_path)) {
		memcpy(to->sun_path, path, len + 1);
	} else {
		fd = open(path, O_PATH | O_CLOEXEC);
		if (fd < 0)
			return path_failed(path, errno, err);
		snprintf(to->sun_path, sizeof(to->sun_path), "/proc/self/fd/%d", fd);
	}
	*ret = fd;
	return QMP_OK;
}

int qmp_io_connect(const char *path, uint64_t deadline, struct qmp_error *err, int *ret)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int via = -1;
	int sock, r;

	r = set_path(&to, path, err, &via);
	if (r < 0)
		return r;
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = sock < 0 ? qmp_fail_sys(err, QMP_E_SYS, errno, "cannot make a socket")
		     : connect_retry(sock, &to, path, deadline, err);
	if (via >= 0)
		close(via);
	if (r < 0) {
		if (sock >= 0)
			close(sock);
		return r;
	}
	*ret = sock;
	return QMP_OK;
}

/* One sendmsg; the fd rides on its first byte. */
static ssize_t send_some(int sock, const char *buf, size_t len, int fd)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;

	if (fd >= 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int closed(struct qmp_error *err)
{
	return qmp_fail(err, QMP_E_CLOSED, "QEMU closed the monitor connection");
}

int qmp_io_send(int sock, const char *buf, size_t len, int fd, uint64_t deadline,
		struct qmp_error *err, size_t *sent_ret)
{
	*sent_ret = 0;
	while (*sent_ret < len) {
		ssize_t n = send_some(sock, buf + *sent_ret, len - *sent_ret, *sent_ret ? -1 : fd);
		int r;

		if (n >= 0) {
			*sent_ret += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EPIPE || errno == ECONNRESET)
			return closed(err);
		if (errno != EAGAIN)
			return qmp_fail_sys(err, QMP_E_SYS, errno, "cannot send to QEMU");
		r = wait_for(sock, POLLOUT, deadline, err);
		if (r < 0)
			return r;
	}
	return QMP_OK;
}

int qmp_io_recv(int sock, char *buf, size_t cap, uint64_t deadline, struct qmp_error *err,
		size_t *ret)
{
	for (;;) {
		/* Without room for control data, descriptors sent to us are closed by the kernel. */
		ssize_t n = recv(sock, buf, cap, MSG_DONTWAIT);
		int r;

		if (n > 0) {
			*ret = (size_t)n;
			return QMP_OK;
		}
		if (n == 0 || errno == ECONNRESET)
			return closed(err);
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return qmp_fail_sys(err, QMP_E_SYS, errno, "cannot receive from QEMU");
		r = wait_for(sock, POLLIN, deadline, err);
		if (r < 0)
			return r;
	}
}
