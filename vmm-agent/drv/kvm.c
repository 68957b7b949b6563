/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/kvm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/kvm.h>

#include "vmm-agent/drv/gdb.h"
#include "vmm-agent/drv/kvm_int.h"

static bool has_qmp(const struct kvm *k)
{
	return k->m->path[0] != '\0';
}

/*
 * A write from outside is not in KVM's dirty log, so no VP_CAP_WRITE_DIRTY: the guest must not be
 * migrating, before and after.
 */
static uint32_t drv_caps(void *self)
{
	const struct kvm *k = self;

	return VP_CAP_DEATH_FREES | (has_qmp(k) ? VP_CAP_REGS_LIVE : 0u) |
	       (k->n_maps > 0 ? VP_CAP_STORE_LIVE : 0u);
}

static int drv_ram(void *self, const struct vp_ram **ret, size_t *n_ret, struct diag *diag)
{
	struct kvm *k = self;

	(void)diag;
	*ret = k->ram;
	*n_ret = k->n_ram;
	return VP_OK;
}

static int drv_run_state(void *self, enum vp_run_state *ret, char words[32], struct diag *diag)
{
	struct kvm *k = self;

	if (has_qmp(k))
		return qemu_run_state(k->m, clock_in(QEMU_CALL_NS), ret, words, diag);
	/* What its VMM thinks of it nobody tells. That it does not run shows in a hold. */
	*ret = VP_RUN_RUNNING;
	snprintf(words, 32, "running");
	return VP_OK;
}

static int drv_read(void *self, vp_gpa_t at, void *buf, size_t len)
{
	return vmm_mem_read(&((struct kvm *)self)->mem, at, buf, len);
}

static int drv_read_all(void *self, const struct vp_io *io, size_t n)
{
	return vmm_mem_read_all(&((struct kvm *)self)->mem, io, n);
}

static int drv_find_pages(void *self, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
			  size_t *n_ret, struct diag *diag)
{
	return vmm_mem_find_pages(&((struct kvm *)self)->mem, prefix, n, found, cap, n_ret, diag);
}

/* Without the iterator: what the monitor calls RAM. */
static int drv_slots(void *self, struct vp_slot **ret, size_t *n_ret, struct diag *diag)
{
	struct kvm *k = self;
	struct kvm_scan *now;
	int r;

	if (!k->bpf)
		return qemu_slots(k->m, ret, n_ret, diag);
	now = malloc(sizeof(*now));
	*ret = calloc(KVM_SCAN_SLOTS, sizeof(**ret));
	if (!now || !*ret)
		r = diag_set(diag, VP_E_NOMEM, "%s: no memory", k->m->name);
	else
		r = kvm_bpf_scan(k, now, diag);
	for (unsigned i = 0; r == VP_OK && i < now->n_slots; i++) {
		const struct kvm_scan_slot *s = &now->slot[i];

		(*ret)[i] = (struct vp_slot){vp_gpa(s->gpa),
					     s->size,
					     s->hva,
					     s->id,
					     (s->flags & KVM_MEM_READONLY) != 0,
					     (s->flags & KVM_MEM_LOG_DIRTY_PAGES) != 0};
	}
	if (r == VP_OK)
		*n_ret = now->n_slots;
	else
		free(*ret);
	free(now);
	return r;
}

static int drv_vcpus(void *self, struct vp_vcpu **ret, struct diag *diag)
{
	struct kvm *k = self;

	*ret = calloc(k->m->vcpus, sizeof(**ret));
	if (!*ret)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", k->m->name);
	for (unsigned i = 0; i < k->m->vcpus; i++)
		(*ret)[i] = (struct vp_vcpu){k->thread[i].tid, vmm_thread_state(k->thread[i].tid)};
	return VP_OK;
}

/* --- arming -------------------------------------------------------------------------------- */

/* Logging of every slot that a guest can run from is what a migration turns on; that of one is a
 * display's. */
static bool all_logged(const struct kvm_scan *s)
{
	unsigned writable = 0, logged = 0;

	for (unsigned i = 0; i < s->n_slots; i++) {
		if (s->slot[i].flags & KVM_MEM_READONLY || s->slot[i].id >= KVM_INTERNAL_SLOTS)
			continue;
		writable++;
		logged += (s->slot[i].flags & KVM_MEM_LOG_DIRTY_PAGES) != 0;
	}
	return logged > 0 && logged == writable;
}

static int migrating(const struct kvm *k, struct diag *diag)
{
	return diag_set(diag, VP_E_MIGRATING,
			"%s: is migrating (the writes to its memory are logged): try again later",
			k->m->name);
}

static int check_slots(struct kvm *k, struct diag *diag)
{
	struct kvm_scan now;
	int r;

	if (!k->bpf)
		return VP_OK;
	r = kvm_bpf_scan(k, &now, diag);
	if (r < 0)
		return r;
	if (!has_qmp(k) && all_logged(&now))
		return migrating(k, diag);
	if (!kvm_scan_same(&now, &k->scan))
		return diag_set(diag, VP_E_GUEST_CHANGED,
				"%s: its memory slots or vCPUs have changed: try again",
				k->m->name);
	return VP_OK;
}

int kvm_check_all(struct kvm *k, bool *stranded_ret, struct diag *diag)
{
	uint64_t deadline = clock_in(QEMU_CALL_NS);
	int r = VP_OK;

	k->ran = true;
	/* A VMM that a dead agent has stopped answers nobody. */
	r = kvm_run_check(k, stranded_ret, diag);
	if (r < 0 || *stranded_ret)
		return r;
	if (has_qmp(k)) {
		r = qemu_check_state(k->m, deadline, diag, &k->ran);
		if (r == VP_OK)
			r = qemu_check_vcpus(k->m, deadline, diag, NULL);
	}
	return r == VP_OK ? check_slots(k, diag) : r;
}

static int drv_check(void *self, struct diag *diag)
{
	bool stranded = false;

	return kvm_check_all(self, &stranded, diag);
}

/*
 * A VM that its VMM has stopped does not enter KVM_RUN, so KVM stores nothing. The monitor says
 * what its registers are; they stay so until a vCPU runs, and then KVM has stored others.
 */
static int learn_regs(struct kvm *k, struct diag *diag)
{
	int r = VP_OK;

	for (unsigned i = 0; r == VP_OK && i < k->m->vcpus; i++) {
		struct kvm_thread *t = &k->thread[i];

		r = qemu_regs(k->m, i, &t->by_qmp, diag);
		t->cached = r == VP_OK;
	}
	return r;
}

static void forget_regs(struct kvm *k)
{
	for (unsigned i = 0; i < k->m->vcpus; i++)
		k->thread[i].cached = false;
}

int kvm_say_stranded(const struct kvm *k, int err, struct diag *diag)
{
	return diag_set(diag, err,
			"%s: a change to it could not be undone and its VMM is stopped: run vpatch "
			"recover",
			k->m->name);
}

static int drv_arm(void *self, enum vp_after after, struct diag *diag)
{
	struct kvm *k = self;
	bool stranded = false;
	int r = kvm_check_all(k, &stranded, diag);

	if (r < 0)
		return r;
	if (stranded && after != VP_AFTER_RUN)
		return kvm_say_stranded(k, VP_E_TORN, diag);
	k->sh->stranded = stranded;
	r = kvm_run_mark(k, stranded);
	if (r < 0)
		diag_set(diag, r, "%s: kvm_run pages: %s", k->m->name, vp_err_sentence(r));
	if (r == VP_OK && !k->ran)
		r = learn_regs(k, diag);
	if (r < 0)
		(void)!kvm_run_unmark(k);
	return r;
}

static void drv_disarm(void *self)
{
	struct kvm *k = self;

	forget_regs(k);
	(void)!kvm_run_unmark(k);
}

/* --- the hold ------------------------------------------------------------------------------ */

static int drv_pause(void *self, uint64_t deadline, struct diag *diag)
{
	struct kvm *k = self;

	/* As late as can be: between this and the hold lie microseconds. */
	if (k->bpf && !kvm_bpf_same(k))
		return diag_set(
			diag, VP_E_GUEST_CHANGED,
			"%s: its memory slots or vCPUs have changed since the plan: try again",
			k->m->name);
	return kvm_hold(k, deadline == VP_NO_DEADLINE ? clock_in(KVM_HOLD_NS) : deadline,
			!k->sh->stranded, diag);
}

/* A repair goes by memory alone; and a VMM that is stopped by a signal has nothing to store. */
static int drv_takeover(void *self, struct diag *diag)
{
	struct kvm *k = self;
	int r = kvm_hold(k, clock_in(KVM_SURE_NS), false, diag);

	return r == VP_E_DEADLINE || r == VP_E_DEBUGGED ? VP_E_PAUSED : r;
}

static uint64_t drv_held_since(void *self)
{
	return ((struct kvm *)self)->held_at;
}

static int drv_regs(void *self, unsigned vcpu, struct arch_regs *ret)
{
	const struct kvm_thread *t = &((struct kvm *)self)->thread[vcpu];

	if (!t->known)
		return VP_E_UNSUPPORTED;
	*ret = t->regs;
	return VP_OK;
}

static int drv_write(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	return vmm_mem_write(&((struct kvm *)self)->mem, at, buf, len);
}

static int drv_write_all(void *self, const struct vp_io *io, size_t n)
{
	return vmm_mem_write_all(&((struct kvm *)self)->mem, io, n);
}

/*
 * Nothing is left to do: stores are seen by instruction fetch (Intel SDM vol. 3, 12.6; AMD64 APM
 * vol. 2, 7.6.1), and between the stores and its next guest instruction every vCPU's thread is
 * scheduled, returns from an interrupt (IRET serialises: SDM vol. 3, 9.3) and enters the guest
 * anew, after which nothing that was fetched before is left.
 */
static int drv_sync(void *self)
{
	(void)self;
	return VP_OK;
}

static int drv_resume(void *self)
{
	struct kvm *k = self;
	bool stranded = k->sh->stranded;
	int r;

	if (stranded && kill(k->m->id.pid, SIGCONT) < 0)
		return VP_E_DISCONNECTED;
	r = kvm_release(k);
	if (stranded) {
		k->sh->stranded = false;
		(void)!kvm_run_unmark(k);
	}
	return r;
}

/* Held by ptrace, it would run on when this process ends. SIGSTOP outlives everybody. */
static int drv_strand(void *self)
{
	struct kvm *k = self;

	(void)!kvm_run_mark(k, true);
	k->sh->stranded = true;
	return kill(k->m->id.pid, SIGSTOP) < 0 ? VP_E_DISCONNECTED : VP_OK;
}

/*
 * What was written is in no dirty log, so a migration that began meanwhile may have sent the pages
 * from before. QEMU's stub writes them once more: its writes are logged.
 */
static int drv_confirm(void *self, const struct vp_io *io, size_t n, struct diag *diag)
{
	struct kvm *k = self;
	enum vp_run_state state = VP_RUN_RUNNING;
	char words[32] = "";
	struct kvm_scan now;
	struct diag why;
	int r = VP_OK;

	diag_init(&why);
	if (k->bpf && (kvm_bpf_scan(k, &now, &why) < 0 || !kvm_scan_same(&now, &k->scan)))
		return diag_set(
			diag, VP_E_PARTIAL,
			"%s: its memory slots were changed during the change: look at it with "
			"vpatch status",
			k->m->name);
	if (has_qmp(k))
		r = qemu_run_state(k->m, clock_in(QEMU_CALL_NS), &state, words, &why);
	else if (k->bpf && all_logged(&now))
		state = VP_RUN_MIGRATING;
	if (r == VP_OK && state != VP_RUN_MIGRATING)
		return VP_OK;
	if (r == VP_OK && has_qmp(k))
		r = gdb_rewrite(k->m, io, n, &why);
	else if (r == VP_OK)
		r = diag_set(&why, VP_E_UNSUPPORTED, "its VMM has no monitor that is known");
	if (r == VP_OK || r == VP_E_DISCONNECTED || r == VP_E_NO_DOMAIN)
		return VP_OK; /* a VMM that is gone: the engine sees to that */
	return diag_set(diag, VP_E_PARTIAL,
			"%s: began to migrate during the change, and its destination may have only "
			"some of it (%s): look there with vpatch status when it has arrived",
			k->m->name, why.text);
}

/* --- registers without a window ------------------------------------------------------------ */

static int peek_by_hold(struct kvm *k, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	bool armed = k->marked;
	bool stranded = false;
	int r = armed ? VP_OK : kvm_run_check(k, &stranded, diag);

	if (r == VP_OK && stranded)
		return kvm_say_stranded(k, VP_E_PENDING, diag);
	if (r == VP_OK)
		r = kvm_hold(k, clock_in(KVM_HOLD_NS), true, diag);
	if (r == VP_OK) {
		r = drv_regs(k, vcpu, ret);
		if (kvm_release(k) < 0)
			r = diag_set(diag, VP_E_DISCONNECTED, "%s: %s", k->m->name,
				     vp_err_sentence(VP_E_DISCONNECTED));
	}
	if (!armed)
		(void)!kvm_run_unmark(k);
	return r;
}

static int drv_peek_regs(void *self, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	struct kvm *k = self;

	return has_qmp(k) ? qemu_regs(k->m, vcpu, ret, diag) : peek_by_hold(k, vcpu, ret, diag);
}

static void drv_close(void *self)
{
	kvm_destroy(self);
}

const struct vp_driver kvm_driver = {
	.name = "kvm",
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
	.check = drv_check,
	.arm = drv_arm,
	.disarm = drv_disarm,
	.pause = drv_pause,
	.takeover = drv_takeover,
	.held_since = drv_held_since,
	.regs = drv_regs,
	.write = drv_write,
	.write_all = drv_write_all,
	.sync = drv_sync,
	.resume = drv_resume,
	.strand = drv_strand,
	.live_begin = kvm_live_begin,
	.live_reaches = kvm_live_reaches,
	.live_store = kvm_live_store,
	.live_sync = kvm_live_sync,
	.live_end = kvm_live_end,
	.confirm = drv_confirm,
};
