/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/fake.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/driver.h"

struct order {
	uint64_t at; /* value of the counter that fails; 0: none */
	int err;
	bool for_good;
};

struct fake { /* lies in MAP_SHARED memory */
	const struct arch_ops *arch;
	struct vp_target_info info;
	char name[64], locator[256];
	uint32_t caps;
	bool driver_finds, log_reads;
	struct vp_ram ram[FAKE_RAM_MAX];
	uint8_t *mem[FAKE_RAM_MAX];
	size_t n_ram;
	struct arch_regs regs[FAKE_VCPU_MAX];
	enum vp_run_state state;
	char state_words[32];
	/* what outlives a holder */
	pid_t holder; /* 0: not held */
	pid_t armer;  /* 0: not armed */
	pid_t liver;  /* 0: not open for live stores */
	bool unsynced;
	uint64_t calls, op_calls[FAKE_OPS];
	struct order any, one[FAKE_OPS];
	fake_hook_fn hook;
	void *hook_ctx;
	struct fake_event log[FAKE_LOG_MAX];
	size_t n_log;
	char violation[256];
};

/* One open target; private to its process, as a real driver's is. */
struct handle {
	struct fake *f;
	bool run_after;
};

static void *shared(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		perror("fake: mmap");
		abort();
	}
	return p;
}

struct fake *fake_create(const struct arch_ops *arch, unsigned vcpus)
{
	struct fake *f = shared(sizeof(*f));

	f->arch = arch;
	f->caps = VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY;
	f->info.driver = "fake";
	f->info.accel = "none";
	f->info.arch = arch;
	f->info.vcpus = vcpus < FAKE_VCPU_MAX ? vcpus : FAKE_VCPU_MAX;
	f->info.id.pid = getpid();
	f->info.id.start_time = 1;
	memset(f->info.id.uuid, 0xfa, sizeof(f->info.id.uuid));
	fake_name(f, "fake", "fake:1");
	fake_state(f, VP_RUN_RUNNING, "running");
	return f;
}

void fake_destroy(struct fake *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n_ram; i++)
		munmap(f->mem[i], (size_t)f->ram[i].len);
	munmap(f, sizeof(*f));
}

void fake_ram_add(struct fake *f, vp_gpa_t start, uint64_t len)
{
	if (f->n_ram == FAKE_RAM_MAX)
		abort();
	f->ram[f->n_ram].start = start;
	f->ram[f->n_ram].len = len;
	f->mem[f->n_ram++] = shared((size_t)len);
}

void fake_name(struct fake *f, const char *name, const char *locator)
{
	snprintf(f->name, sizeof(f->name), "%s", name);
	snprintf(f->locator, sizeof(f->locator), "%s", locator);
	f->info.name = f->name;
	f->info.locator = f->locator;
}

void fake_identity(struct fake *f, const struct vp_identity *id)
{
	f->info.id = *id;
}

void fake_caps(struct fake *f, uint32_t caps)
{
	f->caps = caps;
}

void fake_find_pages(struct fake *f, bool driver)
{
	f->driver_finds = driver;
}

void *fake_mem(struct fake *f, vp_gpa_t at, uint64_t len)
{
	for (size_t i = 0; i < f->n_ram; i++) {
		uint64_t off = at.v - f->ram[i].start.v;

		if (at.v >= f->ram[i].start.v && vp_fits(off, len, f->ram[i].len))
			return f->mem[i] + off;
	}
	return NULL;
}

struct arch_regs *fake_regs(struct fake *f, unsigned vcpu)
{
	return vcpu < f->info.vcpus ? &f->regs[vcpu] : NULL;
}

void fake_state(struct fake *f, enum vp_run_state state, const char *words)
{
	f->state = state;
	snprintf(f->state_words, sizeof(f->state_words), "%s", words);
}

void fake_log_reads(struct fake *f, bool on)
{
	f->log_reads = on;
}

void fake_fail(struct fake *f, uint64_t nth, int err, bool for_good)
{
	f->any = (struct order){nth ? f->calls + nth : 0, err, for_good};
}

void fake_fail_op(struct fake *f, enum fake_op op, uint64_t nth, int err, bool for_good)
{
	f->one[op] = (struct order){nth ? f->op_calls[op] + nth : 0, err, for_good};
}

void fake_hook(struct fake *f, fake_hook_fn fn, void *ctx)
{
	f->hook = fn;
	f->hook_ctx = ctx;
}

uint64_t fake_calls(const struct fake *f)
{
	return f->calls;
}

uint64_t fake_op_calls(const struct fake *f, enum fake_op op)
{
	return f->op_calls[op];
}

const char *fake_op_name(enum fake_op op)
{
	static const char *const names[FAKE_OPS] = {
		"ram",    "run_state",  "read",       "find_pages", "peek_regs", "arm",
		"disarm", "pause",      "takeover",   "regs",       "write",     "sync",
		"resume", "live_begin", "live_store", "live_sync",  "live_end",  "close",
	};

	return names[op];
}

const struct fake_event *fake_event(const struct fake *f, size_t i)
{
	size_t n = f->n_log < FAKE_LOG_MAX ? f->n_log : FAKE_LOG_MAX;

	return i < n ? &f->log[i] : NULL;
}

static bool alive(pid_t pid)
{
	return pid == getpid() || kill(pid, 0) == 0 || errno == EPERM;
}

bool fake_held(const struct fake *f)
{
	return f->holder != 0 && (!(f->caps & VP_CAP_DEATH_FREES) || alive(f->holder));
}

bool fake_armed(const struct fake *f)
{
	return f->armer != 0;
}

bool fake_lives(const struct fake *f)
{
	return f->liver != 0 && alive(f->liver);
}

bool fake_runs(const struct fake *f)
{
	return f->state == VP_RUN_RUNNING && !fake_held(f);
}

const char *fake_violation(const struct fake *f)
{
	return f->violation;
}

__attribute__((format(printf, 2, 3))) static void violate(struct fake *f, const char *fmt, ...)
{
	va_list ap;

	if (f->violation[0])
		return; /* the first one is the one to look at */
	va_start(ap, fmt);
	vsnprintf(f->violation, sizeof(f->violation), fmt, ap);
	va_end(ap);
}

static bool due(struct order *order, uint64_t count)
{
	if (order->at == 0 || count < order->at || (count > order->at && !order->for_good))
		return false;
	return true;
}

/* Counts, runs the hook, and says what this call has been told to fail with. */
static int enter(struct fake *f, enum fake_op op)
{
	uint64_t nth = __atomic_add_fetch(&f->calls, 1, __ATOMIC_SEQ_CST);
	uint64_t op_nth = __atomic_add_fetch(&f->op_calls[op], 1, __ATOMIC_SEQ_CST);

	if (f->hook)
		f->hook(f, op, nth, f->hook_ctx);
	if (due(&f->any, nth))
		return f->any.err;
	return due(&f->one[op], op_nth) ? f->one[op].err : VP_OK;
}

static int leave(struct fake *f, enum fake_op op, uint64_t at, uint64_t len, const void *bytes,
		 int result)
{
	size_t i;

	if (op == FAKE_READ && !f->log_reads)
		return result;
	i = __atomic_fetch_add(&f->n_log, 1, __ATOMIC_SEQ_CST);
	if (i < FAKE_LOG_MAX) {
		struct fake_event *e = &f->log[i];

		*e = (struct fake_event){op, getpid(), at, len, {0}, result};
		if (bytes)
			memcpy(e->bytes, bytes, len < sizeof(e->bytes) ? len : sizeof(e->bytes));
	}
	return result;
}

static uint32_t drv_caps(void *self)
{
	return ((struct handle *)self)->f->caps;
}

static void drv_close(void *self)
{
	struct handle *h = self;

	(void)enter(h->f, FAKE_CLOSE);
	leave(h->f, FAKE_CLOSE, 0, 0, NULL, VP_OK);
	free(h);
}

static int drv_ram(void *self, const struct vp_ram **ret, size_t *n_ret, struct diag *diag)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_RAM);

	if (r < 0)
		return diag_set(diag, leave(f, FAKE_RAM, 0, 0, NULL, r), "fake: ram");
	*ret = f->ram;
	*n_ret = f->n_ram;
	return leave(f, FAKE_RAM, 0, 0, NULL, VP_OK);
}

static int drv_run_state(void *self, enum vp_run_state *ret, char words[32], struct diag *diag)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_RUN_STATE);

	if (r < 0)
		return diag_set(diag, leave(f, FAKE_RUN_STATE, 0, 0, NULL, r), "fake: run_state");
	/* A guest that a dead holder left held looks to everybody as if an operator had paused it. */
	*ret = f->state == VP_RUN_RUNNING && fake_held(f) ? VP_RUN_PAUSED : f->state;
	snprintf(words, 32, "%s", *ret == f->state ? f->state_words : "paused");
	return leave(f, FAKE_RUN_STATE, 0, 0, NULL, VP_OK);
}

static int drv_read(void *self, vp_gpa_t at, void *buf, size_t len)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_READ);
	const void *mem = fake_mem(f, at, len);

	if (r == VP_OK && !mem)
		violate(f, "a read of %zu bytes at %#llx got past the range check", len,
			(unsigned long long)at.v);
	if (r == VP_OK && mem)
		memcpy(buf, mem, len);
	return leave(f, FAKE_READ, at.v, len, NULL, r);
}

static int drv_find_pages(void *self, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
			  size_t *n_ret, struct diag *diag)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_FIND_PAGES);
	size_t count = 0;

	for (size_t i = 0; r == VP_OK && i < f->n_ram; i++) {
		uint64_t off = (4096 - f->ram[i].start.v % 4096) % 4096;

		for (; r == VP_OK && vp_fits(off, 4096, f->ram[i].len); off += 4096) {
			if (memcmp(f->mem[i] + off, prefix, n) != 0)
				continue;
			if (count == cap)
				r = VP_E_RANGE;
			else
				found[count++] = vp_gpa(f->ram[i].start.v + off);
		}
	}
	if (r < 0)
		return diag_set(diag, leave(f, FAKE_FIND_PAGES, 0, n, NULL, r), "fake: find_pages");
	*n_ret = count;
	return leave(f, FAKE_FIND_PAGES, 0, n, NULL, VP_OK);
}

static int drv_peek_regs(void *self, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_PEEK_REGS);

	if (r < 0)
		return diag_set(diag, leave(f, FAKE_PEEK_REGS, vcpu, 0, NULL, r),
				"fake: peek_regs");
	*ret = f->regs[vcpu];
	return leave(f, FAKE_PEEK_REGS, vcpu, 0, NULL, VP_OK);
}

static int may_arm(const struct fake *f, enum vp_after after)
{
	switch (f->state) {
	case VP_RUN_RUNNING:
	case VP_RUN_PAUSED:
		return VP_OK;
	case VP_RUN_MIGRATING:
		return VP_E_MIGRATING;
	case VP_RUN_SHUTDOWN:
		return VP_E_SHUTDOWN;
	case VP_RUN_PANICKED:
		return after == VP_AFTER_RUN ? VP_OK : VP_E_PANICKED;
	default:
		return VP_E_UNSUPPORTED;
	}
}

static int drv_arm(void *self, enum vp_after after, struct diag *diag)
{
	struct handle *h = self;
	struct fake *f = h->f;
	int r = enter(f, FAKE_ARM);

	if (r == VP_OK)
		r = may_arm(f, after);
	if (r == VP_OK && f->armer != 0 && alive(f->armer) && f->armer != getpid())
		r = VP_E_DEBUGGED;
	if (r < 0)
		return diag_set(diag, leave(f, FAKE_ARM, after, 0, NULL, r), "fake: arm");
	if (fake_lives(f))
		violate(f, "armed while process %d stores live", (int)f->liver);
	h->run_after = after == VP_AFTER_RUN || (f->state == VP_RUN_RUNNING && !fake_held(f));
	f->armer = getpid();
	return leave(f, FAKE_ARM, after, 0, NULL, VP_OK);
}

static void drv_disarm(void *self)
{
	struct fake *f = ((struct handle *)self)->f;

	(void)enter(f, FAKE_DISARM);
	f->armer = 0;
	/* as the gdb driver does: what a dead holder left held is let go */
	if (f->holder != 0 && !alive(f->holder) && ((struct handle *)self)->run_after)
		f->holder = 0;
	leave(f, FAKE_DISARM, 0, 0, NULL, VP_OK);
}

static int drv_pause(void *self, uint64_t deadline, struct diag *diag)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_PAUSE);

	if (r == VP_OK && clock_left(deadline) == 0)
		r = VP_E_DEADLINE;
	if (r < 0)
		return diag_set(diag, leave(f, FAKE_PAUSE, 0, 0, NULL, r), "fake: pause");
	if (fake_held(f))
		violate(f, "paused while process %d holds the guest", (int)f->holder);
	f->holder = getpid();
	f->unsynced = false;
	return leave(f, FAKE_PAUSE, 0, 0, NULL, VP_OK);
}

static int drv_takeover(void *self, struct diag *diag)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_TAKEOVER);

	if (r < 0)
		return diag_set(diag, leave(f, FAKE_TAKEOVER, 0, 0, NULL, VP_E_PAUSED),
				"fake: takeover");
	if (fake_held(f) && f->holder != getpid() && alive(f->holder))
		violate(f, "taken over from process %d, which lives", (int)f->holder);
	f->holder = getpid();
	return leave(f, FAKE_TAKEOVER, 0, 0, NULL, VP_OK);
}

static int drv_regs(void *self, unsigned vcpu, struct arch_regs *ret)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_REGS);

	if (r == VP_OK)
		*ret = f->regs[vcpu];
	return leave(f, FAKE_REGS, vcpu, 0, NULL, r);
}

static int drv_write(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_WRITE);
	void *mem = fake_mem(f, at, len);

	if (f->holder != getpid())
		violate(f, "a write at %#llx by a process that does not hold the guest",
			(unsigned long long)at.v);
	if (!mem)
		violate(f, "a write of %zu bytes at %#llx got past the range check", len,
			(unsigned long long)at.v);
	else
		memcpy(mem, buf, r < 0 ? len / 2 : len);
	f->unsynced = true;
	return leave(f, FAKE_WRITE, at.v, len, buf, r);
}

static int drv_sync(void *self)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_SYNC);

	if (r == VP_OK)
		f->unsynced = false;
	return leave(f, FAKE_SYNC, 0, 0, NULL, r);
}

static int drv_resume(void *self)
{
	struct handle *h = self;
	struct fake *f = h->f;
	int r = enter(f, FAKE_RESUME);

	if (r < 0)
		return leave(f, FAKE_RESUME, 0, 0, NULL, r == VP_E_DISCONNECTED ? r : VP_E_PAUSED);
	if (f->holder != getpid())
		violate(f, "resumed by a process that does not hold the guest");
	if (f->unsynced)
		violate(f, "resumed after a write without a sync");
	f->holder = 0;
	f->unsynced = false;
	if (h->run_after)
		fake_state(f, VP_RUN_RUNNING, "running");
	return leave(f, FAKE_RESUME, 0, 0, NULL, VP_OK);
}

static int drv_live_begin(void *self, struct diag *diag)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_LIVE_BEGIN);

	if (r == VP_OK)
		r = may_arm(f, VP_AFTER_AS_FOUND);
	if (r == VP_OK && !fake_runs(f))
		r = VP_E_DISCIPLINE;
	if (r < 0)
		return diag_set(diag, leave(f, FAKE_LIVE_BEGIN, 0, 0, NULL, r), "fake: live_begin");
	if (fake_lives(f))
		violate(f, "stored into live by two at a time, one of them process %d",
			(int)f->liver);
	f->liver = getpid();
	return leave(f, FAKE_LIVE_BEGIN, 0, 0, NULL, VP_OK);
}

static int drv_live_store(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_LIVE_STORE);
	bool word = (len == 1 || len == 2 || len == 4 || len == 8) && at.v % len == 0;
	bool for_good = f->any.for_good || f->one[FAKE_LIVE_STORE].for_good;
	size_t n = r == VP_OK ? len : !word ? len / 2 : for_good ? 0 : len;
	void *mem = fake_mem(f, at, len);

	if (f->liver == 0 || fake_held(f))
		violate(f, "a live store at %#llx into a guest that is %s",
			(unsigned long long)at.v, f->liver ? "held" : "not open for it");
	if (!mem)
		violate(f, "a live store of %zu bytes at %#llx got past the range check", len,
			(unsigned long long)at.v);
	else
		memcpy(mem, buf, n);
	return leave(f, FAKE_LIVE_STORE, at.v, len, buf, r);
}

static int drv_live_sync(void *self, enum arch_sync sync, uint64_t deadline, struct diag *diag)
{
	struct fake *f = ((struct handle *)self)->f;
	int r = enter(f, FAKE_LIVE_SYNC);

	if (f->liver == 0 || fake_held(f))
		violate(f, "a live sync of a guest that is %s",
			f->liver ? "held" : "not open for it");
	if (r == VP_OK && clock_left(deadline) == 0)
		r = VP_E_DEADLINE;
	leave(f, FAKE_LIVE_SYNC, sync, 0, NULL, r);
	return r < 0 ? diag_set(diag, r, "fake: live_sync") : VP_OK;
}

static void drv_live_end(void *self)
{
	struct fake *f = ((struct handle *)self)->f;

	(void)enter(f, FAKE_LIVE_END);
	f->liver = 0;
	leave(f, FAKE_LIVE_END, 0, 0, NULL, VP_OK);
}

#define FAKE_DRIVER(find)                                                             \
	{                                                                             \
		.name = "fake", .caps = drv_caps, .close = drv_close, .ram = drv_ram, \
		.run_state = drv_run_state, .read = drv_read, .find_pages = (find),   \
		.peek_regs = drv_peek_regs, .arm = drv_arm, .disarm = drv_disarm,     \
		.pause = drv_pause, .takeover = drv_takeover, .regs = drv_regs,       \
		.write = drv_write, .sync = drv_sync, .resume = drv_resume,           \
		.live_begin = drv_live_begin, .live_store = drv_live_store,           \
		.live_sync = drv_live_sync, .live_end = drv_live_end,                 \
	}

static const struct vp_driver reads_pages = FAKE_DRIVER(NULL);
static const struct vp_driver finds_pages = FAKE_DRIVER(drv_find_pages);

int fake_open(struct fake *f, struct diag *diag, struct vp_target **ret)
{
	struct handle *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return diag_set(diag, VP_E_NOMEM, "fake: no memory");
	h->f = f;
	r = vp_target_create(f->driver_finds ? &finds_pages : &reads_pages, h, &f->info, diag, ret);
	if (r < 0)
		free(h);
	return r;
}
