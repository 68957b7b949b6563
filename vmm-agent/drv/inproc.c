/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/inproc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/driver.h"
#include "vmm-agent/drv/inproc_int.h"
#include "vmm-agent/drv/vmm_mem.h"
#include "vmm-agent/host/host.h"
#include "vmm-agent/host/kvm.h"

#define HOLD_NS (2 * CLOCK_NS_PER_SEC) /* where the caller has no deadline */

/* A target: the VM, and its RAM as it was when the target was opened. */
struct inproc {
	struct vp_inproc *vp;
	uint64_t generation;
	struct vp_ram *ram;
	uint64_t *hva;
	size_t n_ram;
};

/* --- memory ---------------------------------------------------------------------------------- */

/* With slots_lock held. What of [at, at + len) lies in the range that `at` lies in. */
static uint8_t *ram_run(const struct inproc *p, vp_gpa_t at, size_t len, size_t *run_ret)
{
	for (size_t i = 0; i < p->n_ram; i++) {
		uint64_t off = at.v - p->ram[i].start.v, left;

		if (at.v < p->ram[i].start.v || off >= p->ram[i].len)
			continue;
		left = p->ram[i].len - off;
		*run_ret = left < len ? (size_t)left : len;
		return (uint8_t *)(uintptr_t)p->hva[i] + off;
	}
	return NULL;
}

/* Keeps the slots' memory mapped until slots_unlock. */
static int slots_lock(const struct inproc *p)
{
	pthread_rwlock_rdlock(&p->vp->slots_lock);
	if (p->vp->generation == p->generation)
		return VP_OK;
	pthread_rwlock_unlock(&p->vp->slots_lock);
	return VP_E_GUEST_CHANGED;
}

static void slots_unlock(const struct inproc *p)
{
	pthread_rwlock_unlock(&p->vp->slots_lock);
}

static int drv_read(void *self, vp_gpa_t at, void *buf, size_t len)
{
	const struct inproc *p = self;
	uint8_t *to = buf;
	int r = slots_lock(p);

	if (r < 0)
		return r;
	while (r == VP_OK && len > 0) {
		size_t run = 0;
		const uint8_t *from = ram_run(p, at, len, &run);

		if (!from) {
			r = VP_E_RANGE;
			break;
		}
		host_load(to, from, run);
		to += run;
		at.v += run;
		len -= run;
	}
	slots_unlock(p);
	return r;
}

/*
 * The seam has seen to it that all of it lies in one range. Held or live: the mapping is the one that KVM
 * has the guest's memory from, so a store that is whole here is whole for the guest.
 *
 * KVM's dirty log has the guest's own stores only. What a thread of the VMM stores the VMM has to note
 * itself: mark_dirty is called behind the store, so that what a migration had sent of the page before is
 * sent again.
 */
static int drv_write(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	const struct inproc *p = self;
	size_t run = 0;
	uint8_t *to;
	int r = slots_lock(p);

	if (r < 0)
		return r;
	to = ram_run(p, at, len, &run);
	if (to && run == len) {
		host_store(to, buf, len);
		host_code_changed(to, len);
	} else {
		r = VP_E_RANGE;
	}
	slots_unlock(p);
	if (r == VP_OK && p->vp->mark_dirty)
		p->vp->mark_dirty(p->vp->ctx, at.v, len);
	return r;
}

static int drv_find_pages(void *self, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
			  size_t *n_ret, struct diag *diag)
{
	const struct inproc *p = self;
	struct vmm_mem mem = {.pid = getpid(), .ram = p->ram, .hva = p->hva, .n = p->n_ram};
	int r = slots_lock(p);

	if (r < 0)
		return diag_set(diag, r, "%s: its memory slots have changed: try again",
				p->vp->name);
	r = vmm_mem_find_pages(&mem, prefix, n, found, cap, n_ret, diag);
	slots_unlock(p);
	return r;
}

static int drv_ram(void *self, const struct vp_ram **ret, size_t *n_ret, struct diag *diag)
{
	const struct inproc *p = self;

	(void)diag;
	*ret = p->ram;
	*n_ret = p->n_ram;
	return VP_OK;
}

/* --- the hold -------------------------------------------------------------------------------- */

static uint32_t drv_caps(void *self)
{
	const struct inproc *p = self;

	return VP_CAP_HOLD_HERE | VP_CAP_STORE_LIVE | (p->vp->mark_dirty ? VP_CAP_WRITE_DIRTY : 0u);
}

static int drv_run_state(void *self, enum vp_run_state *ret, char words[32], struct diag *diag)
{
	static const struct {
		enum vp_run_state state;
		const char *words;
	} states[] = {
		[VP_INPROC_RUNNING] = {VP_RUN_RUNNING, "running"},
		[VP_INPROC_PAUSED] = {VP_RUN_PAUSED, "paused"},
		[VP_INPROC_MIGRATING] = {VP_RUN_MIGRATING, "migrating"},
		[VP_INPROC_ENDED] = {VP_RUN_SHUTDOWN, "ended"},
	};
	const struct vp_inproc *vp = ((struct inproc *)self)->vp;
	int now = vp->state ? vp->state(vp->ctx) : VP_INPROC_RUNNING;

	if (now < 0 || (size_t)now >= sizeof(states) / sizeof(states[0]))
		return diag_set(diag, VP_E_PROTO, "%s: the VMM's state callback gave %d", vp->name,
				now);
	*ret = states[now].state;
	snprintf(words, 32, "%s", states[now].words);
	return VP_OK;
}

static int drv_check(void *self, struct diag *diag)
{
	const struct inproc *p = self;
	enum vp_run_state state;
	char words[32];
	int r = drv_run_state(self, &state, words, diag);

	if (r < 0)
		return r;
	if (state == VP_RUN_MIGRATING)
		return diag_set(diag, VP_E_MIGRATING, "%s: is migrating: try again later",
				p->vp->name);
	if (state == VP_RUN_SHUTDOWN)
		return diag_set(diag, VP_E_SHUTDOWN, "%s: has ended", p->vp->name);
	r = slots_lock(p);
	if (r < 0)
		return diag_set(diag, r, "%s: its memory slots have changed: try again",
				p->vp->name);
	slots_unlock(p);
	return VP_OK;
}

static int prepare(struct inproc *p, struct diag *diag)
{
	if (host_sync_prepare() < 0)
		return diag_set(diag, VP_E_UNSUPPORTED,
				"%s: the host's kernel does not synchronise the instruction "
				"streams of a process's threads (membarrier(2), SYNC_CORE)",
				p->vp->name);
	return drv_check(p, diag);
}

/* VP_AFTER_RUN or not, release lets go what was held and nothing else: a VM that its operator has
 * paused does not run because its vCPUs leave our gate. */
static int drv_arm(void *self, enum vp_after after, struct diag *diag)
{
	(void)after;
	return prepare(self, diag);
}

static void drv_disarm(void *self)
{
	inproc_release(((struct inproc *)self)->vp);
}

static int drv_pause(void *self, uint64_t deadline, struct diag *diag)
{
	const struct inproc *p = self;
	int r = slots_lock(p);

	if (r < 0)
		return diag_set(diag, r, "%s: its memory slots have changed since: try again",
				p->vp->name);
	slots_unlock(p);
	return inproc_hold(p->vp, deadline == VP_NO_DEADLINE ? clock_in(HOLD_NS) : deadline, diag);
}

static int drv_takeover(void *self, struct diag *diag)
{
	return inproc_hold(((struct inproc *)self)->vp, clock_in(HOLD_NS), diag);
}

static int drv_regs(void *self, unsigned vcpu, struct arch_regs *ret)
{
	const struct inproc_vcpu *v = &((struct inproc *)self)->vp->vcpus[vcpu];

	if (v->regs_err == VP_OK)
		*ret = v->regs;
	return v->regs_err;
}

static int drv_peek_regs(void *self, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	struct vp_inproc *vp = ((struct inproc *)self)->vp;
	bool left_held = __atomic_load_n(&vp->held, __ATOMIC_SEQ_CST);
	int r = inproc_hold(vp, clock_in(HOLD_NS), diag);

	if (r < 0)
		return r;
	r = drv_regs(self, vcpu, ret);
	if (!left_held)
		inproc_release(vp);
	if (r < 0)
		return diag_set(diag, r, "%s: KVM does not give the registers of vCPU %u", vp->name,
				vcpu);
	return VP_OK;
}

/* The stores and what the caches need have been done word by word; every vCPU's thread is in its
 * gate, or away, and goes through this before it enters the guest. */
static int drv_sync(void *self)
{
	(void)self;
	return host_sync_cores();
}

static int drv_resume(void *self)
{
	inproc_release(((struct inproc *)self)->vp);
	return VP_OK;
}

/* --- live ------------------------------------------------------------------------------------ */

static int drv_live_begin(void *self, struct diag *diag)
{
	struct inproc *p = self;
	enum vp_run_state state = VP_RUN_RUNNING;
	char words[32];
	int r = prepare(p, diag);

	if (r == VP_OK)
		r = drv_run_state(p, &state, words, diag);
	if (r == VP_OK &&
	    (state != VP_RUN_RUNNING || __atomic_load_n(&p->vp->held, __ATOMIC_SEQ_CST)))
		r = diag_set(diag, VP_E_DISCIPLINE,
			     "%s: does not run: use --discipline stop, which costs it nothing",
			     p->vp->name);
	return r;
}

/* Of level DATA nothing is left: each store has had its cache maintenance, which reaches every core. */
static int drv_live_sync(void *self, enum arch_sync sync, uint64_t deadline, struct diag *diag)
{
	const struct inproc *p = self;

	if (sync != ARCH_SYNC_ALL)
		return VP_OK;
	return inproc_roll(p->vp, deadline == VP_NO_DEADLINE ? clock_in(HOLD_NS) : deadline, diag);
}

static void drv_live_end(void *self)
{
	(void)self;
}

/* A guest that must not run (vp_leave_held) stays held: nothing is released here. */
static void drv_close(void *self)
{
	struct inproc *p = self;

	free(p->ram);
	free(p->hva);
	free(p);
}

static const struct vp_driver driver = {
	.name = "inproc",
	.caps = drv_caps,
	.close = drv_close,
	.ram = drv_ram,
	.run_state = drv_run_state,
	.read = drv_read,
	.find_pages = drv_find_pages,
	.peek_regs = drv_peek_regs,
	.check = drv_check,
	.arm = drv_arm,
	.disarm = drv_disarm,
	.pause = drv_pause,
	.takeover = drv_takeover,
	.regs = drv_regs,
	.write = drv_write,
	.sync = drv_sync,
	.resume = drv_resume,
	.live_begin = drv_live_begin,
	.live_store = drv_write,
	.live_sync = drv_live_sync,
	.live_end = drv_live_end,
};

/* --- targets --------------------------------------------------------------------------------- */

static int snapshot(struct inproc *p)
{
	struct vp_inproc *vp = p->vp;
	int r = VP_OK;

	pthread_rwlock_rdlock(&vp->slots_lock);
	p->generation = vp->generation;
	p->ram = calloc(vp->n_slots + 1, sizeof(*p->ram));
	p->hva = calloc(vp->n_slots + 1, sizeof(*p->hva));
	if (!p->ram || !p->hva)
		r = VP_E_NOMEM;
	for (size_t i = 0; r == VP_OK && i < vp->n_slots; i++) {
		const struct vp_inproc_slot *s = &vp->slots[i];

		if (s->flags & VP_INPROC_READONLY)
			continue;
		p->ram[p->n_ram] = (struct vp_ram){vp_gpa(s->gpa), s->len};
		p->hva[p->n_ram++] = (uint64_t)(uintptr_t)s->hva;
	}
	pthread_rwlock_unlock(&vp->slots_lock);
	return r;
}

static int create_target(struct inproc *p, struct diag *diag, struct vp_target **ret)
{
	const struct vp_inproc *vp = p->vp;
	struct vp_target_info info = {
		.name = vp->name,
		.driver = driver.name,
		.accel = "kvm",
		.id = {.pid = getpid()},
		.arch = host_kvm_arch(),
		.vcpus = vp->n_vcpus,
	};
	char locator[32];

	memcpy(info.id.uuid, vp->uuid, sizeof(info.id.uuid));
	snprintf(locator, sizeof(locator), INPROC_LOCATOR "%d", (int)info.id.pid);
	info.locator = locator;
	if (vmm_start_time(info.id.pid, &info.id.start_time) < 0)
		return diag_set(diag, VP_E_IO, "%s: /proc/self/stat cannot be read", vp->name);
	return vp_target_create(&driver, p, &info, diag, ret);
}

int drv_inproc_open(struct vp_inproc *vp, struct diag *diag, struct vp_target **ret)
{
	struct inproc *p = calloc(1, sizeof(*p));
	vp_gpa_t page = {__atomic_load_n(&vp->kernel, __ATOMIC_RELAXED) - 1};
	int r;

	if (!p)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", vp->name);
	p->vp = vp;
	r = snapshot(p);
	if (r < 0)
		diag_set(diag, r, "%s: no memory", vp->name);
	else if (p->n_ram == 0)
		r = diag_set(diag, VP_E_USAGE, "%s: has no memory slot that the guest can write",
			     vp->name);
	else
		r = create_target(p, diag, ret);
	if (r < 0)
		drv_close(p);
	else if (page.v != UINT64_MAX)
		vp_note_kernel(*ret, &page);
	return r;
}

void drv_inproc_close(struct vp_inproc *vp, struct vp_target *t)
{
	vp_gpa_t page;
	bool noted = t && vp_noted_kernel(t, &page);

	__atomic_store_n(&vp->kernel, noted ? page.v + 1 : 0, __ATOMIC_RELAXED);
	vp_target_close(t);
}
