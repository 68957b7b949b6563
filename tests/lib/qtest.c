// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where a store is naturally aligned, QEMU makes it as a whole: qtest.c hands a `write` to
 * address_space_write, which calls memmove once for what lies in one region, and a C library's memmove
 * of 1, 2, 4 or 8 bytes is stores of that size. Not so `writel` and its like, which swap bytes by the
 * target's order, and a ppc64le machine's target is big-endian.
 */
#include "tests/lib/qtest.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/driver.h"
#include "vmm-agent/drv/gdb.h"

#define ANSWER_NS   (5 * CLOCK_NS_PER_SEC)
#define SYNC_NS     (10 * CLOCK_NS_PER_SEC) /* without a deadline: a stall of 3 s is none yet */
#define LEFT_NS     (2 * CLOCK_NS_PER_MS)
#define PENDING_MAX 32u  /* QEMU's answers to them fit into the socket, whoever reads them */
#define STORE_MAX   256u /* bytes a command */
#define COMMAND_MAX (64 + 2 * STORE_MAX)
#define OUT_MAX     4096u

struct qtest {
	struct vp_target *way; /* driver gdb's */
	struct vp_paused *held;
	struct qtest_wait wait;
	int fd;
	unsigned pending; /* commands without their answer */
	size_t n_out;     /* of them not sent yet */
	char out[OUT_MAX];
	int failed; /* the first error; the stream is of no use after it */
	size_t len; /* of the line that has begun */
	char line[128];
};

/* --- the socket -------------------------------------------------------------------------------- */

static int failed(struct qtest *q, int err)
{
	if (q->failed == VP_OK)
		q->failed = err;
	return q->failed;
}

static int take_line(struct qtest *q)
{
	q->line[q->len] = '\0';
	q->len = 0;
	if (q->pending == 0 || strcmp(q->line, "OK") != 0)
		return failed(q, VP_E_PROTO);
	q->pending--;
	return VP_OK;
}

static int take(struct qtest *q, const char *buf, size_t n)
{
	int r = VP_OK;

	for (size_t i = 0; r == VP_OK && i < n; i++) {
		if (buf[i] == '\n')
			r = take_line(q);
		else if (q->len + 1 < sizeof(q->line))
			q->line[q->len++] = buf[i];
		else
			r = take_line(q); /* longer than any that we know */
	}
	return r;
}

static int send_all(struct qtest *q)
{
	for (size_t at = 0; q->failed == VP_OK && at < q->n_out;) {
		ssize_t n = send(q->fd, q->out + at, q->n_out - at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			(void)failed(q, errno == EPIPE || errno == ECONNRESET ? VP_E_DISCONNECTED
									      : VP_E_IO);
		else
			at += (size_t)n;
	}
	q->n_out = 0;
	return q->failed;
}

/* Until every command has been answered: what they stored is in place. */
static int settle(struct qtest *q, uint64_t deadline)
{
	char buf[256];

	if (q->n_out > 0)
		(void)send_all(q);
	while (q->failed == VP_OK && q->pending > 0) {
		struct pollfd p = {.fd = q->fd, .events = POLLIN};
		int ms = (int)(clock_left(deadline) / CLOCK_NS_PER_MS);
		ssize_t n;

		n = poll(&p, 1, ms > 0 ? ms : 1);
		if (n == 0 && clock_left(deadline) == 0)
			return failed(q, VP_E_TIMEOUT);
		if (n <= 0 && (n == 0 || errno == EINTR))
			continue;
		n = n < 0 ? n : recv(q->fd, buf, sizeof(buf), 0);
		if (n <= 0)
			return failed(q,
				      n == 0 || errno == ECONNRESET ? VP_E_DISCONNECTED : VP_E_IO);
		(void)take(q, buf, (size_t)n);
	}
	return q->failed;
}

/* QEMU takes what is sent at once in one go, and its main thread has to get its lock away from CPUs that
 * take exceptions only once for it. */
static int put(struct qtest *q, uint64_t at, const uint8_t *bytes, size_t len)
{
	int n = 0, r = VP_OK;

	if (q->pending >= PENDING_MAX || q->n_out + COMMAND_MAX > sizeof(q->out))
		r = settle(q, clock_in(ANSWER_NS));
	if (r < 0)
		return r;
	n = snprintf(q->out + q->n_out, COMMAND_MAX, "write 0x%" PRIx64 " 0x%zx 0x", at, len);
	for (size_t i = 0; i < len; i++)
		n += snprintf(q->out + q->n_out + n, COMMAND_MAX - (size_t)n, "%02x", bytes[i]);
	q->out[q->n_out + (size_t)n] = '\n';
	q->n_out += (size_t)n + 1;
	q->pending++;
	return VP_OK;
}

/* --- live -------------------------------------------------------------------------------------- */

static int live_begin(void *self, struct diag *diag)
{
	struct qtest *q = self;
	enum vp_run_state state;
	char words[32];
	int r = vp_check(q->way, diag);

	if (r == VP_OK)
		r = vp_run_state(q->way, &state, words, diag);
	if (r == VP_OK && state != VP_RUN_RUNNING)
		r = diag_set(diag, VP_E_UNSUPPORTED, "%s: does not run (%s)",
			     vp_target_info(q->way)->name, words);
	return r;
}

static int live_store(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	struct qtest *q = self;
	const uint8_t *bytes = buf;
	int r = q->failed;

	while (r == VP_OK && len > 0) {
		size_t n = len < STORE_MAX ? len : STORE_MAX;

		r = put(q, at.v, bytes, n);
		at.v += n;
		bytes += n;
		len -= n;
	}
	return r;
}

/* Nanoseconds that the thread has had a CPU: /proc/PID/task/TID/schedstat, the first field. */
static bool cpu_time(pid_t pid, pid_t tid, uint64_t *ret)
{
	char path[64];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fscanf(f, "%" SCNu64, ret) == 1;
	fclose(f);
	return ok;
}

static int wait_thread(struct qtest *q, unsigned i, const struct vp_vcpu *vcpu, uint64_t deadline,
		       struct diag *diag)
{
	const struct vp_target_info *info = vp_target_info(q->way);
	uint64_t first, now;

	if (!cpu_time(info->id.pid, vcpu->tid, &first))
		return diag_set(diag, VP_E_DISCONNECTED, "%s: vCPU %u has no thread", info->name,
				i);
	do {
		if (vmm_thread_state(vcpu->tid) == VP_VCPU_WAITING ||
		    (cpu_time(info->id.pid, vcpu->tid, &now) && now - first >= LEFT_NS))
			return VP_OK;
		usleep(200);
	} while (clock_left(deadline) > 0);
	return diag_set(diag, VP_E_DEADLINE, "%s: vCPU %u does not get on", info->name, i);
}

static int wait_threads(struct qtest *q, uint64_t deadline, struct diag *diag)
{
	struct vp_vcpu *vcpus;
	int r = vp_vcpus(q->way, &vcpus, diag);

	if (r < 0)
		return r;
	for (unsigned i = 0; r == VP_OK && i < vp_target_info(q->way)->vcpus; i++)
		r = wait_thread(q, i, &vcpus[i], deadline, diag);
	free(vcpus);
	return r;
}

static int live_sync(void *self, enum arch_sync sync, uint64_t deadline, struct diag *diag)
{
	struct qtest *q = self;
	uint64_t limit = deadline == VP_NO_DEADLINE ? clock_in(SYNC_NS) : deadline;
	int r = settle(q, clock_in(ANSWER_NS));

	if (r < 0)
		return diag_set(diag, r, "%s: qtest: %s%s%s", vp_target_info(q->way)->name,
				vp_err_sentence(r), r == VP_E_PROTO ? ": " : "",
				r == VP_E_PROTO ? q->line : "");
	if (sync != ARCH_SYNC_ALL)
		return VP_OK;
	return q->wait.all ? q->wait.all(q->wait.ctx, limit, diag) : wait_threads(q, limit, diag);
}

static void live_end(void *self)
{
	(void)!settle(self, clock_in(ANSWER_NS));
}

/* --- the rest is driver gdb's ------------------------------------------------------------------ */

static struct vp_target *way(void *self)
{
	return ((struct qtest *)self)->way;
}

static uint32_t drv_caps(void *self)
{
	return vp_target_caps(way(self)) | VP_CAP_STORE_LIVE;
}

static int drv_ram(void *self, const struct vp_ram **ret, size_t *n_ret, struct diag *diag)
{
	return vp_ram(way(self), ret, n_ret, diag);
}

static int drv_run_state(void *self, enum vp_run_state *ret, char words[32], struct diag *diag)
{
	return vp_run_state(way(self), ret, words, diag);
}

/* What was stored before is read, also where its answer has not come. */
static int drv_read(void *self, vp_gpa_t at, void *buf, size_t len)
{
	int r = settle(self, clock_in(ANSWER_NS));

	return r < 0 ? r : vp_read(way(self), at, buf, len);
}

static int drv_find_pages(void *self, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
			  size_t *n_ret, struct diag *diag)
{
	return vp_find_pages(way(self), prefix, n, found, cap, n_ret, diag);
}

static int drv_slots(void *self, struct vp_slot **ret, size_t *n_ret, struct diag *diag)
{
	return vp_slots(way(self), ret, n_ret, diag);
}

static int drv_vcpus(void *self, struct vp_vcpu **ret, struct diag *diag)
{
	return vp_vcpus(way(self), ret, diag);
}

static int drv_peek_regs(void *self, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	return vp_peek_regs(way(self), vcpu, ret, diag);
}

static int drv_peek_all(void *self, struct arch_regs *ret, struct diag *diag)
{
	return vp_peek_all(way(self), ret, diag);
}

static int drv_check(void *self, struct diag *diag)
{
	return vp_check(way(self), diag);
}

static int drv_arm(void *self, enum vp_after after, struct diag *diag)
{
	return vp_arm(way(self), after, diag);
}

static void drv_disarm(void *self)
{
	vp_disarm(way(self));
}

static int drv_pause(void *self, uint64_t deadline, struct diag *diag)
{
	return vp_pause(way(self), deadline, diag, &((struct qtest *)self)->held);
}

static int drv_takeover(void *self, struct diag *diag)
{
	return vp_takeover(way(self), diag, &((struct qtest *)self)->held);
}

static uint64_t drv_held_since(void *self)
{
	return vp_held_since(((struct qtest *)self)->held);
}

static int drv_regs(void *self, unsigned vcpu, struct arch_regs *ret)
{
	return vp_regs(((struct qtest *)self)->held, vcpu, ret);
}

static int drv_write(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	return vp_write(((struct qtest *)self)->held, at, buf, len);
}

static int drv_sync(void *self)
{
	return vp_sync(((struct qtest *)self)->held);
}

static int drv_resume(void *self)
{
	return vp_resume(((struct qtest *)self)->held);
}

static int drv_strand(void *self)
{
	return vp_strand(((struct qtest *)self)->held);
}

static void drv_close(void *self)
{
	struct qtest *q = self;

	vp_target_close(q->way);
	if (q->fd >= 0)
		close(q->fd);
	free(q);
}

static const struct vp_driver driver = {
	.name = "qtest",
	.caps = drv_caps,
	.close = drv_close,
	.ram = drv_ram,
	.run_state = drv_run_state,
	.read = drv_read,
	.find_pages = drv_find_pages,
	.slots = drv_slots,
	.vcpus = drv_vcpus,
	.peek_regs = drv_peek_regs,
	.peek_all = drv_peek_all,
	.check = drv_check,
	.arm = drv_arm,
	.disarm = drv_disarm,
	.pause = drv_pause,
	.takeover = drv_takeover,
	.held_since = drv_held_since,
	.regs = drv_regs,
	.write = drv_write,
	.sync = drv_sync,
	.resume = drv_resume,
	.strand = drv_strand,
	.live_begin = live_begin,
	.live_store = live_store,
	.live_sync = live_sync,
	.live_end = live_end,
};

/* --- opening ----------------------------------------------------------------------------------- */

static int connect_to(struct qtest *q, const char *path, struct diag *diag)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	q->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (q->fd < 0 || connect(q->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return diag_errno(diag, errno, "%s: QEMU's qtest", path);
	return VP_OK;
}

int qtest_open(const char *name, const char *qmp, const char *qtest, const struct qtest_wait *wait,
	       struct diag *diag, struct vp_target **ret)
{
	struct qtest *q = calloc(1, sizeof(*q));
	struct vp_target_info info;
	int r;

	if (!q)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", name);
	q->fd = -1;
	if (wait)
		q->wait = *wait;
	r = drv_gdb_open(name, qmp, diag, &q->way);
	if (r == VP_OK) {
		info = *vp_target_info(q->way);
		info.driver = driver.name;
		r = strcmp(info.accel, "tcg") == 0
			    ? connect_to(q, qtest, diag)
			    : diag_set(diag, VP_E_UNSUPPORTED, "%s: is not under TCG", name);
	}
	if (r == VP_OK)
		r = vp_target_create(&driver, q, &info, diag, ret);
	if (r < 0)
		drv_close(q);
	return r;
}
