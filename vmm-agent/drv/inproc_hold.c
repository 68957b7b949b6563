/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holding the vCPUs of one's own process.
 *
 *   holder                                      vCPU thread, ahead of each KVM_RUN: the gate
 *
 *   missing = n, of this hold
 *   hold = odd                        (1)       where = IN, if it was away        (a)
 *   each: where AWAY?  counted        (2)       asked? then asked, immediate_exit = 0
 *         else immediate_exit = 1     (3)       hold even? KVM_RUN                (b)
 *              asked = 1              (4)       complete the last exit, note registers,
 *         kick                                  counted; wait while hold is the same
 *   wait until missing is 0                     from the top
 *   ...
 *   hold = even, wake all
 *
 * No thread can slip into KVM_RUN and stay: if (b) reads the even value, then (1), and with it
 * (3), comes after the gate's own clearing, so KVM_RUN comes out by immediate_exit or by the kick.
 * No immediate_exit stays behind when the hold has ended: asked, which leads to its clearing, is set
 * after it, and a thread that clears between (3) and (4) does so once more.
 * No thread is counted away and then found running: where is read after (1) and hold after (a), all
 * in one order, so whoever was counted away reads the odd value when it comes back.
 * No thread is counted twice: a hold has a number, and whoever puts it into ack counts. One that was
 * late for a hold that was given up finds another number in missing and is not counted at all.
 *
 * A hold may be of one vCPU only (whose): then the others pass the gate. whose is written before hold is,
 * so a gate that reads hold and then the whose of a later one has read a hold that is over, and may do
 * with it what it likes; the later one is odd before (3), and finds it by immediate_exit or by the kick.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/inproc_int.h"
#include "vmm-agent/host/host.h"
#include "vmm-agent/host/kvm.h"

#define MISSING_BITS 11 /* VP_VCPU_MAX and 0 */
#define MISSING_MASK ((1u << MISSING_BITS) - 1)
#define EVERYBODY    UINT32_MAX

_Static_assert(VP_VCPU_MAX <= MISSING_MASK, "the count of vCPUs has room");

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

static long futex(uint32_t *at, int op, uint32_t value, const struct timespec *until)
{
	return syscall(SYS_futex, at, op | FUTEX_PRIVATE_FLAG, value, until, NULL,
		       FUTEX_BITSET_MATCH_ANY);
}

static void set_immediate_exit(struct inproc_vcpu *v, uint8_t value)
{
	__atomic_store_n(&v->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

/* True for the one who may count this vCPU in this hold. */
static bool claim(struct inproc_vcpu *v, uint32_t hold)
{
	uint32_t ack = load(&v->ack);

	while (ack != hold)
		if (__atomic_compare_exchange_n(&v->ack, &ack, hold, false, __ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST))
			return true;
	return false;
}

/* One less is missing; what this thread wrote before is seen by whoever reads the 0. */
static void count(struct vp_inproc *vp, uint32_t hold)
{
	uint32_t missing = load(&vp->missing), left;

	do {
		if (missing >> MISSING_BITS != (hold & UINT32_MAX >> MISSING_BITS))
			return;
		left = missing - 1;
	} while (!__atomic_compare_exchange_n(&vp->missing, &missing, left, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	if ((left & MISSING_MASK) == 0)
		futex(&vp->missing, FUTEX_WAKE, 1, NULL);
}

/* --- the vCPU's side ------------------------------------------------------------------------- */

/*
 * An exit for I/O or MMIO is finished by the next KVM_RUN: until then KVM_GET_REGS may show the
 * instruction as not executed, or, between the parts of one, a state that is no instruction
 * boundary. KVM_RUN with immediate_exit does only that (Documentation/virt/kvm/api.rst, KVM_RUN)
 * and comes back with EINTR; with 0 when there is more of the same instruction to emulate.
 */
static bool complete(struct inproc_vcpu *v)
{
	bool more;

	set_immediate_exit(v, 1);
	more = ioctl(v->fd, KVM_RUN, 0) == 0 && v->run->exit_reason != KVM_EXIT_INTR;
	set_immediate_exit(v, 0);
	return more;
}

static void note_registers(struct inproc_vcpu *v)
{
	v->regs = (struct arch_regs){0};
	v->regs_err = host_kvm_regs(v->fd, &v->regs);
}

static void know_thread(struct inproc_vcpu *v)
{
	pthread_t self = pthread_self();

	if (v->known && pthread_equal(v->thread, self))
		return;
	__atomic_store_n(&v->known, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->thread, self, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->known, 1, __ATOMIC_SEQ_CST);
}

static int gate_slowly(struct vp_inproc *vp, struct inproc_vcpu *v)
{
	while (true) {
		uint32_t hold, whose;

		if (__atomic_exchange_n(&v->asked, 0, __ATOMIC_SEQ_CST))
			set_immediate_exit(v, 0);
		hold = load(&vp->hold);
		whose = load(&vp->whose);
		if (!(hold & 1) || (whose != EVERYBODY && v != &vp->vcpus[whose]))
			return 0;
		/* One that was counted while away is as it was: its registers are being read. */
		if (load(&v->ack) != hold && complete(v))
			return 1;
		if (claim(v, hold)) {
			if (whose == EVERYBODY)
				note_registers(v);
			count(vp, hold);
		}
		while (load(&vp->hold) == hold)
			futex(&vp->hold, FUTEX_WAIT, hold, NULL);
	}
}

int vp_inproc_gate(struct vp_inproc *vp, unsigned vcpu)
{
	struct inproc_vcpu *v;

	if (vcpu >= vp->n_vcpus)
		return VP_E_RANGE;
	v = &vp->vcpus[vcpu];
	know_thread(v);
	if (__atomic_load_n(&v->where, __ATOMIC_RELAXED) == INPROC_AWAY)
		store(&v->where, INPROC_IN);
	if (!load(&v->asked) && !(load(&vp->hold) & 1))
		return 0;
	return gate_slowly(vp, v);
}

int vp_inproc_leave(struct vp_inproc *vp, unsigned vcpu)
{
	struct inproc_vcpu *v;
	uint32_t hold, whose;

	if (vcpu >= vp->n_vcpus)
		return VP_E_RANGE;
	v = &vp->vcpus[vcpu];
	know_thread(v);
	if (load(&v->where) == INPROC_AWAY)
		return 0;
	if (complete(v))
		return 1;
	note_registers(v);
	store(&v->where, INPROC_AWAY);
	/* A hold that began before it could see that. */
	hold = load(&vp->hold);
	whose = load(&vp->whose);
	if (hold & 1 && (whose == EVERYBODY || whose == vcpu) && claim(v, hold))
		count(vp, hold);
	return 0;
}

/* --- the holder's side ----------------------------------------------------------------------- */

static bool on_vcpu_thread(struct vp_inproc *vp)
{
	for (unsigned i = 0; i < vp->n_vcpus; i++) {
		struct inproc_vcpu *v = &vp->vcpus[i];

		if (load(&v->known) && load(&v->where) == INPROC_IN &&
		    pthread_equal(__atomic_load_n(&v->thread, __ATOMIC_SEQ_CST), pthread_self()))
			return true;
	}
	return false;
}

static void call(struct vp_inproc *vp, unsigned first, unsigned end, uint32_t hold)
{
	for (unsigned i = first; i < end; i++) {
		struct inproc_vcpu *v = &vp->vcpus[i];

		if (load(&v->where) == INPROC_AWAY) {
			if (claim(v, hold))
				count(vp, hold);
		} else {
			set_immediate_exit(v, 1);
			store(&v->asked, 1);
		}
	}
	/* All of them stand still within the time that one takes, not one after another. */
	for (unsigned i = first; i < end; i++)
		if (load(&vp->vcpus[i].ack) != hold)
			vp->kick(vp->ctx, i);
}

/* The number of vCPUs that are still missing. */
static unsigned await_all(struct vp_inproc *vp, uint64_t deadline)
{
	struct timespec until = {(time_t)(deadline / CLOCK_NS_PER_SEC),
				 (long)(deadline % CLOCK_NS_PER_SEC)};

	while (true) {
		uint32_t missing = load(&vp->missing);

		if ((missing & MISSING_MASK) == 0)
			return 0;
		/* Absolute, CLOCK_MONOTONIC: futex(2), FUTEX_WAIT_BITSET */
		if (futex(&vp->missing, FUTEX_WAIT_BITSET, missing, &until) < 0 &&
		    errno == ETIMEDOUT)
			return load(&vp->missing) & MISSING_MASK;
	}
}

static int say_missing(struct vp_inproc *vp, unsigned first, unsigned end, uint32_t hold,
		       unsigned missing, struct diag *diag)
{
	while (first + 1 < end && load(&vp->vcpus[first].ack) == hold)
		first++;
	return diag_set(diag, VP_E_DEADLINE,
			"%s: %u of %u vCPUs did not come to the gate in time (the first is vCPU "
			"%u); the guest runs on: try again",
			vp->name, missing, vp->n_vcpus, first);
}

static void let_go(struct vp_inproc *vp, uint32_t hold)
{
	store(&vp->hold, hold + 1);
	futex(&vp->hold, FUTEX_WAKE, INT_MAX, NULL);
}

/* Of one vCPU, or of EVERYBODY. All go on where it fails. */
static int hold_whose(struct vp_inproc *vp, uint32_t whose, uint64_t deadline, struct diag *diag)
{
	unsigned first = whose == EVERYBODY ? 0 : whose;
	unsigned end = whose == EVERYBODY ? vp->n_vcpus : whose + 1;
	uint32_t hold = vp->hold + 1; /* nobody else writes it */
	unsigned missing;
	int r;

	store(&vp->missing, hold << MISSING_BITS | (end - first));
	store(&vp->whose, whose);
	store(&vp->hold, hold);
	call(vp, first, end, hold);
	missing = await_all(vp, deadline);
	if (missing == 0)
		return VP_OK;
	r = say_missing(vp, first, end, hold, missing, diag);
	let_go(vp, hold);
	return r;
}

/* One at a time, whoever holds; not a vCPU's own thread, which could not come to its gate. */
static int begin(struct vp_inproc *vp, struct diag *diag)
{
	if (on_vcpu_thread(vp))
		return diag_set(diag, VP_E_USAGE,
				"%s: a vCPU's own thread cannot hold it: call from another thread",
				vp->name);
	if (pthread_mutex_trylock(&vp->holding) != 0)
		return diag_set(diag, VP_E_LOCKED, "%s: another thread is holding it: try again",
				vp->name);
	return VP_OK;
}

int inproc_hold(struct vp_inproc *vp, uint64_t deadline, struct diag *diag)
{
	int r = begin(vp, diag);

	if (r < 0)
		return r;
	if (!vp->held) {
		r = hold_whose(vp, EVERYBODY, deadline, diag);
		vp->held = r == VP_OK;
	}
	pthread_mutex_unlock(&vp->holding);
	return r;
}

void inproc_release(struct vp_inproc *vp)
{
	pthread_mutex_lock(&vp->holding);
	if (vp->held) {
		vp->held = false;
		let_go(vp, vp->hold);
	}
	pthread_mutex_unlock(&vp->holding);
}

/* --- one vCPU after the other ------------------------------------------------------------------- */

static int sync_cores(const struct vp_inproc *vp, struct diag *diag)
{
	int r = host_sync_cores();

	return r < 0 ? diag_set(diag, r, "%s: membarrier: %s", vp->name, vp_err_sentence(r)) : r;
}

/*
 * Each vCPU's thread is brought out of the guest and to its gate, and while it waits there every thread
 * of this process serialises: membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, promises a core
 * serialising instruction ahead of a thread's next instruction in user mode, and it is from user mode
 * that KVM_RUN is called (Documentation/virt/kvm/api.rst, 4.10). Entering the guest is nothing to lean
 * on: neither VM entry nor SYSRET is in the list of Intel SDM vol. 3A, "Serializing Instructions"; how
 * the kernel keeps the promise nevertheless is in Documentation/features/sched/membarrier-sync-core.
 * A thread that is inside KVM_RUN is promised nothing, which is why it has to come out first and why the
 * barrier follows while it is known to be out.
 *
 * Nobody is passed over on a guess:
 *  - in the guest, or halted in KVM, or waiting there to be started: the
 *    kick ends KVM_RUN with EINTR, and a halted one that comes back goes to sleep again;
 *  - in the VMM, handling an exit: waited for. KVM may hold the decoded rest of that instruction; the
 *    gate has it finished first (complete), so that what is fetched next is fetched after the store;
 *  - away: it said that it enters KVM_RUN only by its gate, and there it would find this hold. It is in
 *    user mode, or asleep in a system call that ends there, and the barrier is for it as for any thread;
 *  - held by somebody else meanwhile: all are at their gates or away, and one barrier does for all.
 */
int inproc_roll(struct vp_inproc *vp, uint64_t deadline, struct diag *diag)
{
	int r = begin(vp, diag);

	if (r < 0)
		return r;
	if (vp->held)
		r = sync_cores(vp, diag);
	for (unsigned i = 0; !vp->held && r == VP_OK && i < vp->n_vcpus; i++) {
		r = hold_whose(vp, i, deadline, diag);
		if (r < 0)
			break;
		r = sync_cores(vp, diag);
		let_go(vp, vp->hold);
	}
	pthread_mutex_unlock(&vp->holding);
	return r;
}
