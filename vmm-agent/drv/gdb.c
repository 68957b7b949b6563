/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/gdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm-agent/drv/gdb_int.h"

#define RESUME_WAIT_NS (CLOCK_NS_PER_SEC / 10) /* for QEMU's word that it runs; then it is asked */
#define STOP_WAIT_NS   (CLOCK_NS_PER_SEC / 10) /* for QEMU's word that it stopped */
#define GDB_LATE_NS    (CLOCK_NS_PER_SEC)      /* the engine ends its own holders before */
#define GONE_WAIT_MS   500 /* a killed QEMU's sockets close before its process has ended */

static uint32_t drv_caps(void *self)
{
	const struct gdb *g = self;

	/* A stub's write goes through QEMU's own memory API, which marks it dirty. On x86 the monitor
	 * shows every register that is needed without a hold; on arm64 it has no TTBR1_EL1. */
	return VP_CAP_WRITE_DIRTY | (g->m->arch->id == ARCH_X86_64 ? VP_CAP_REGS_LIVE : 0u);
}

static int drv_ram(void *self, const struct vp_ram **ret, size_t *n_ret, struct diag *diag)
{
	struct gdb *g = self;

	(void)diag;
	*ret = g->m->ram;
	*n_ret = g->m->n_ram;
	return VP_OK;
}

static int drv_run_state(void *self, enum vp_run_state *ret, char words[32], struct diag *diag)
{
	return qemu_run_state(((struct gdb *)self)->m, clock_in(QEMU_CALL_NS), ret, words, diag);
}

static int drv_read(void *self, vp_gpa_t at, void *buf, size_t len)
{
	return vmm_mem_read(&((struct gdb *)self)->m->mem, at, buf, len);
}

static int drv_read_all(void *self, const struct vp_io *io, size_t n)
{
	return vmm_mem_read_all(&((struct gdb *)self)->m->mem, io, n);
}

static int drv_find_pages(void *self, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
			  size_t *n_ret, struct diag *diag)
{
	return vmm_mem_find_pages(&((struct gdb *)self)->m->mem, prefix, n, found, cap, n_ret,
				  diag);
}

static int drv_slots(void *self, struct vp_slot **ret, size_t *n_ret, struct diag *diag)
{
	return qemu_slots(((struct gdb *)self)->m, ret, n_ret, diag);
}

static int drv_vcpus(void *self, struct vp_vcpu **ret, struct diag *diag)
{
	return qemu_vcpus(((struct gdb *)self)->m, ret, diag);
}

/* --- arming -------------------------------------------------------------------------------- */

/* Whether QEMU has a character device whose label begins with these n bytes. */
static int has_device(struct gdb *g, const char *name, size_t n, uint64_t deadline,
		      struct diag *diag, bool *ret)
{
	struct json_object *list = NULL;
	int r = qemu_call(g->m, "query-chardev", NULL, -1, deadline, diag, &list);

	if (r < 0)
		return r;
	*ret = false;
	for (size_t i = 0;
	     json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
	     i++) {
		const char *label = qmp_get_str(json_object_array_get_idx(list, i), "label");

		*ret = *ret || (label && strncmp(label, name, n) == 0);
	}
	json_object_put(list);
	return VP_OK;
}

/* `-gdb` and `-s` name their character device "gdb". A stub that somebody started on a device of
 * another name cannot be told from any other device. */
static int check_debugger(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	bool found;
	int r = has_device(g, "gdb", sizeof("gdb"), deadline, diag, &found);

	if (r == VP_OK && found)
		return diag_set(diag, VP_E_DEBUGGED,
				"%s: QEMU's gdbstub is in use: end it with `gdbserver none` in the "
				"monitor",
				g->m->name);
	return r;
}

/* --- letting go ---------------------------------------------------------------------------- */

static bool vmm_gone(const struct gdb *g)
{
	for (int i = 0; i < GONE_WAIT_MS; i++) {
		uint64_t start;

		if (vmm_start_time(g->m->id.pid, &start) < 0 || start != g->m->id.start_time)
			return true;
		usleep(1000);
	}
	return false;
}

/* The guest could not be let go, or it could not be learned whether it was. */
static int not_let_go(struct gdb *g, int err)
{
	bool unreachable = err == VP_E_DISCONNECTED || err == VP_E_NO_DOMAIN;

	return unreachable && vmm_gone(g) ? VP_E_DISCONNECTED : VP_E_PAUSED;
}

/* By the monitor, whatever state the stub is in. */
static int let_go_by_monitor(struct gdb *g, struct diag *diag)
{
	char status[32] = "";
	int r = gdb_stub_clear(g, clock_in(GDB_SURE_NS), diag, NULL);

	if (r == VP_OK)
		r = qemu_status(g->m, clock_in(GDB_SURE_NS), status, diag);
	if (r == VP_OK && g->run_again && strcmp(status, "paused") == 0) {
		r = qemu_call(g->m, "cont", NULL, -1, clock_in(GDB_SURE_NS), diag, NULL);
		if (r == VP_OK)
			r = qemu_status(g->m, clock_in(GDB_SURE_NS), status, diag);
		if (r == VP_OK && strcmp(status, "paused") == 0)
			r = VP_E_PAUSED;
	}
	if (r < 0)
		return not_let_go(g, r);
	g->sh->held = false;
	return VP_OK;
}

/* `D` lets the guest run before it is answered. Without the stub's answer nothing is believed. */
static int detach(struct gdb *g)
{
	const char *reply;
	size_t len;
	int r = g->fd < 0 ? VP_E_DISCONNECTED
			  : rsp_call(&g->rsp, clock_in(GDB_SURE_NS), "D", &reply, &len);

	if (r < 0)
		return r;
	return strcmp(reply, "OK") == 0 ? VP_OK : VP_E_PROTO;
}

static int drv_resume(void *self)
{
	struct gdb *g = self;
	char status[32];

	qemu_events_forget(g->m);
	/* A guest that was found paused must not run a single instruction: no `D`, which lets it
	 * run; the stub goes and the guest stays as it is. */
	if (!g->run_again || detach(g) < 0)
		return let_go_by_monitor(g, NULL);
	/* QEMU's own word, after the stub's: it runs. */
	if (!qemu_event_came(g->m, "RESUME", clock_in(RESUME_WAIT_NS)) &&
	    (qemu_status(g->m, clock_in(GDB_SURE_NS), status, NULL) < 0 ||
	     strcmp(status, "paused") == 0))
		return let_go_by_monitor(g, NULL);
	g->sh->held = false;
	gdb_stub_hang_up(g);
	return VP_OK;
}

/* Leaves QEMU and the guest as they were found. */
static void put_as_found(struct gdb *g)
{
	g->run_again = g->ran && !g->sh->leave;
	if (g->sh->held)
		(void)let_go_by_monitor(g, NULL);
	else
		(void)!gdb_stub_clear(g, clock_in(QEMU_CALL_NS), NULL, NULL);
}

static int check_all(struct gdb *g, uint64_t deadline, struct diag *diag, bool *runs)
{
	int r;

	if (g->m->kvm && g->m->arch->id != ARCH_X86_64)
		return diag_set(
			diag, VP_E_UNSUPPORTED,
			"%s: QEMU's gdbstub does not make the instruction caches of a %s KVM "
			"guest coherent",
			g->m->name, g->m->arch->name);
	r = check_debugger(g, deadline, diag);
	if (r == VP_OK)
		r = qemu_check_state(g->m, deadline, diag, runs);
	return r == VP_OK ? qemu_check_vcpus(g->m, deadline, diag, NULL) : r;
}

static int drv_check(void *self, struct diag *diag)
{
	bool runs;

	return check_all(self, clock_in(QEMU_CALL_NS), diag, &runs);
}

static int drv_arm(void *self, enum vp_after after, struct diag *diag)
{
	struct gdb *g = self;
	uint64_t deadline = clock_in(QEMU_CALL_NS);
	bool runs = false, left = false;
	int r = check_all(g, deadline, diag, &runs);

	/* What a dead agent left; it may be the reason why the guest is paused. */
	if (r == VP_OK)
		r = gdb_stub_clear(g, deadline, diag, &left);
	if (r < 0)
		return r;
	g->sh->leave = false;
	g->ran = runs || left || after == VP_AFTER_RUN;
	g->run_again = g->ran;
	/* Held already: by the dead. From here on it is ours to let go. */
	g->sh->held = g->ran && !runs;
	r = gdb_stub_prepare(g, deadline, diag);
	if (r == VP_OK)
		r = gdb_guard_start(g, put_as_found, diag);
	if (r < 0)
		put_as_found(g);
	return r;
}

static void drv_disarm(void *self)
{
	struct gdb *g = self;

	put_as_found(g);
	gdb_guard_stop(g);
	gdb_stub_hang_up(g);
}

/* --- the hold ------------------------------------------------------------------------------ */

/* The hold failed: the guest is given back. diag keeps the words of the failure unless that
 * failed too. */
static int give_back(struct gdb *g, int err, struct diag *diag)
{
	struct diag second;
	int r;

	diag_init(&second);
	r = let_go_by_monitor(g, &second);
	if (r == VP_OK)
		return err == VP_E_TIMEOUT
			       ? diag_set(diag, VP_E_DEADLINE,
					  "%s: could not be held in time; it runs on", g->m->name)
			       : err;
	if (r == VP_E_DISCONNECTED)
		return diag_set(diag, r, "%s: QEMU ended while the guest was being held",
				g->m->name);
	return diag_set(diag, r, "%s: could not be let go (%s): run `cont` in QEMU's monitor",
			g->m->name, second.text);
}

/* Calls the stub; sets it up anew first where that is needed, or where nobody listens there: a
 * fork may have had to do the same. */
static int call_stub(struct gdb *g, uint64_t deadline, struct diag *diag, bool *stopped)
{
	int r = VP_E_DISCONNECTED;

	if (g->sh->ready)
		r = gdb_stub_call(g, deadline, diag, stopped);
	if (r != VP_E_DISCONNECTED || g->fd >= 0)
		return r;
	r = gdb_stub_clear(g, deadline, diag, NULL);
	if (r == VP_OK)
		r = gdb_stub_prepare(g, deadline, diag);
	return r == VP_OK ? gdb_stub_call(g, deadline, diag, stopped) : r;
}

/*
 * No stop reply came. From QEMU 8.1 on none does (gdbstub.c, allow_stop_reply), so the monitor is
 * asked: its event STOP, after those that were there before the call, says that the call stopped a
 * guest that ran. Otherwise it was held already: an operator has stopped it since it was armed, and
 * wants it to stay so, or it has come to an end. Whatever the events said, it must not run.
 */
static int look_who_holds(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	bool ours = qemu_event_came(g->m, "STOP", clock_in(STOP_WAIT_NS)), runs = true;
	int r;

	g->sh->leave = !ours;
	g->run_again = ours;
	r = qemu_check_state(g->m, deadline, diag, &runs);
	if (r == VP_OK && runs)
		return diag_set(diag, VP_E_PROTO, "%s: QEMU's gdbstub does not hold the guest",
				g->m->name);
	return r;
}

static int drv_pause(void *self, uint64_t deadline, struct diag *diag)
{
	struct gdb *g = self;
	uint64_t limit = deadline == VP_NO_DEADLINE ? clock_in(QEMU_CALL_NS) : deadline;
	bool by_the_dead = g->sh->held, stopped = false;
	int r;

	g->sh->leave = false;
	g->sh->held_until = limit > UINT64_MAX - GDB_LATE_NS ? UINT64_MAX : limit + GDB_LATE_NS;
	g->run_again = g->ran;
	qemu_events_forget(g->m);
	r = call_stub(g, limit, diag, &stopped);
	/* Somebody let a guest go on that was found paused. */
	if (r == VP_OK && stopped && !by_the_dead)
		g->run_again = true;
	if (r == VP_OK && g->ran && !by_the_dead && !stopped)
		r = look_who_holds(g, limit, diag);
	return r < 0 ? give_back(g, r, diag) : VP_OK;
}

/*
 * Whoever held the guest died at an unknown place: the monitor may be in the middle of a reply,
 * the stub in the middle of a packet. Both are set right before they are used.
 */
static int drv_takeover(void *self, struct diag *diag)
{
	struct gdb *g = self;
	bool stopped;
	int r;

	g->run_again = g->ran && !g->sh->leave;
	g->sh->held_until = clock_in(2 * GDB_SURE_NS + GDB_LATE_NS);
	r = qemu_reconnect(g->m, clock_in(GDB_SURE_NS), diag);
	if (r == VP_OK)
		r = call_stub(g, clock_in(GDB_SURE_NS), diag, &stopped);
	if (r < 0) {
		r = not_let_go(g, r);
		diag_prefix(diag, "%s", vp_err_sentence(r));
		if (diag)
			diag->err = r;
	}
	return r;
}

static int drv_regs(void *self, unsigned vcpu, struct arch_regs *ret)
{
	return gdb_stub_regs(self, vcpu, clock_in(GDB_SURE_NS), ret);
}

static int drv_write(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	return gdb_write(self, at, buf, len);
}

static int drv_write_all(void *self, const struct vp_io *io, size_t n)
{
	return gdb_write_all(self, io, n);
}

/*
 * Nothing is left to do. TCG: the stub's write has thrown the translations of the page away, and
 * a vCPU looks them up again when it goes on. x86 KVM: stores are seen by instruction fetch
 * (Intel SDM vol. 3, 12.6; AMD64 APM vol. 2, 7.6.1), and every vCPU has left the guest and enters
 * it again, after which nothing fetched before is left. Other KVM hosts are refused by arm.
 */
static int drv_sync(void *self)
{
	(void)self;
	return VP_OK;
}

/* --- registers without a window ------------------------------------------------------------ */

/* n vCPUs from this one on, in one hold. */
static int peek_by_hold(struct gdb *g, unsigned vcpu, unsigned n, struct arch_regs *ret,
			struct diag *diag)
{
	bool armed = g->sh->ready, others = false;
	int r = VP_OK, end;

	/* Arming clears what dead agents left. Whoever only looks has no lock that says they are dead. */
	if (!armed)
		r = has_device(g, GDB_LABEL, sizeof(GDB_LABEL) - 1, clock_in(QEMU_CALL_NS), diag,
			       &others);
	if (r == VP_OK && others)
		r = diag_set(diag, VP_E_LOCKED,
			     "%s: another vpatch is at work on it, or one died: try again, or run "
			     "vpatch recover",
			     g->m->name);
	if (r == VP_OK && !armed)
		r = drv_arm(g, VP_AFTER_AS_FOUND, diag);
	if (r < 0)
		return r;
	r = drv_pause(g, clock_in(QEMU_CALL_NS), diag);
	if (r == VP_OK) {
		for (unsigned i = 0; r == VP_OK && i < n; i++) {
			r = drv_regs(g, vcpu + i, &ret[i]);
			if (r < 0)
				diag_set(diag, r, "%s: registers of vCPU %u: %s", g->m->name,
					 vcpu + i, vp_err_sentence(r));
		}
		end = drv_resume(g);
		if (end < 0)
			r = diag_set(diag, end, "%s: %s", g->m->name, vp_err_sentence(end));
	}
	if (!armed)
		drv_disarm(g);
	return r;
}

static int drv_peek_regs(void *self, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	return drv_caps(self) & VP_CAP_REGS_LIVE
		       ? qemu_regs(((struct gdb *)self)->m, vcpu, ret, diag)
		       : peek_by_hold(self, vcpu, 1, ret, diag);
}

static int drv_peek_all(void *self, struct arch_regs *ret, struct diag *diag)
{
	struct gdb *g = self;
	int r = VP_OK;

	if (!(drv_caps(g) & VP_CAP_REGS_LIVE))
		return peek_by_hold(g, 0, g->m->vcpus, ret, diag);
	for (unsigned i = 0; r == VP_OK && i < g->m->vcpus; i++)
		r = qemu_regs(g->m, i, &ret[i], diag);
	return r;
}

/* --- opening -------------------------------------------------------------------------------- */

static void destroy(struct gdb *g)
{
	gdb_guard_stop(g);
	gdb_stub_hang_up(g);
	gdb_stub_forget(g);
	qemu_destroy(g->m);
	if (g->sh)
		munmap(g->sh, sizeof(*g->sh));
	free(g);
}

static struct gdb *create(void)
{
	struct gdb *g = calloc(1, sizeof(*g));
	void *shared;

	if (!g)
		return NULL;
	g->fd = -1;
	g->door = -1;
	g->guard_pipe = -1;
	shared = mmap(NULL, sizeof(*g->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED) {
		free(g);
		return NULL;
	}
	g->sh = shared;
	return g;
}

static void drv_close(void *self)
{
	destroy(self);
}

static const struct vp_driver driver = {
	.name = "gdb",
	.caps = drv_caps,
	.close = drv_close,
	.ram = drv_ram,
	.run_state = drv_run_state,
	.read = drv_read,
	.read_all = drv_read_all,
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
	.regs = drv_regs,
	.write = drv_write,
	.write_all = drv_write_all,
	.sync = drv_sync,
	.resume = drv_resume,
};

int drv_gdb_take(struct qemu *m, struct diag *diag, struct vp_target **ret)
{
	char locator[PATH_MAX + 8];
	struct gdb *g = create();
	int r;

	if (!g)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", m->name);
	g->m = m;
	snprintf(locator, sizeof(locator), "qmp:%s", m->path);
	r = vp_target_create(&driver, g,
			     &(struct vp_target_info){.name = m->name,
						      .locator = locator,
						      .driver = driver.name,
						      .accel = m->kvm ? "kvm" : "tcg",
						      .id = m->id,
						      .arch = m->arch,
						      .vcpus = m->vcpus},
			     diag, ret);
	if (r < 0) {
		g->m = NULL;
		destroy(g);
	}
	return r;
}

int drv_gdb_open(const char *name, const char *path, struct diag *diag, struct vp_target **ret)
{
	struct qemu *m;
	int r = qemu_create(name, path, diag, &m);

	if (r < 0)
		return r;
	r = drv_gdb_take(m, diag, ret);
	if (r < 0)
		qemu_destroy(m);
	return r;
}

static int rewrite_held(struct gdb *g, const struct vp_io *io, size_t n, struct diag *diag)
{
	char status[32];
	/* A guest that migration has stopped is not ours to let go on, and its last pages are on
	 * their way. */
	int r = qemu_status(g->m, clock_in(GDB_SURE_NS), status, diag);

	if (r == VP_OK && strcmp(status, "paused") != 0)
		return diag_set(diag, VP_E_MIGRATING, "%s: is in the state `%s`", g->m->name,
				status);
	for (size_t i = 0; r == VP_OK && i < n; i++) {
		uint8_t *bytes = malloc(io[i].len ? io[i].len : 1);

		if (!bytes)
			return diag_set(diag, VP_E_NOMEM, "%s: no memory", g->m->name);
		r = vmm_mem_read(&g->m->mem, io[i].at, bytes, io[i].len);
		if (r == VP_OK)
			r = drv_write(g, io[i].at, bytes, io[i].len);
		free(bytes);
		if (r < 0)
			diag_set(diag, r, "%s: writing again: %s", g->m->name, vp_err_sentence(r));
	}
	return r;
}

int gdb_rewrite(struct qemu *m, const struct vp_io *io, size_t n, struct diag *diag)
{
	struct gdb *g = create();
	uint64_t deadline = clock_in(QEMU_CALL_NS);
	bool stopped = false;
	char status[32] = "";
	int r;

	if (!g)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", m->name);
	g->m = m;
	r = qemu_status(m, deadline, status, diag);
	g->ran = g->run_again = strcmp(status, "running") == 0;
	if (r == VP_OK)
		r = gdb_stub_prepare(g, deadline, diag);
	if (r == VP_OK)
		r = gdb_guard_start(g, put_as_found, diag);
	if (r == VP_OK)
		r = gdb_stub_call(g, deadline, diag, &stopped);
	if (r == VP_OK)
		r = rewrite_held(g, io, n, diag);
	if (g->sh->held && drv_resume(g) < 0 && r == VP_OK)
		r = diag_set(diag, VP_E_PAUSED, "%s: could not be let go", m->name);
	drv_disarm(g);
	g->m = NULL;
	destroy(g);
	return r;
}
