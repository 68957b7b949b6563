/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stores into a guest that runs, from outside its VMM.
 *
 *	store    one access to the shared page (kvm_map.c). For the guest's CPUs it is a store of another
 *	         CPU to the same physical memory; process_vm_writev would be a copy of unknown steps
 *	DATA     nothing: on x86 stores are seen in their order, by loads and by instruction fetch (Intel
 *	         SDM vol. 3A, "Memory Ordering"; "Self-Modifying Code"; AMD64 APM vol. 2, 7.6.1)
 *	ALL      each vCPU thread in turn stopped by ptrace and let go
 *
 * What a CPU owes before it runs text that another has changed is one serialising instruction (SDM
 * vol. 3A, "Handling Self- and Cross-Modifying Code"). Between our store and the next guest instruction
 * of a thread that we have seen stopped lie, in order:
 *  - if it was on a CPU, in the guest or not, an interrupt: PTRACE_INTERRUPT ends in kick_process()
 *    (kernel/sched/core.c), a reschedule IPI; in the guest that is a VM exit (SDM vol. 3C,
 *    "External-interrupt exiting"), and the host's handler of it ends by IRET, which is in SDM's list
 *    "Serializing Instructions";
 *  - if it was not (halted in kvm_vcpu_block, preempted, asleep in the VMM), it had left the guest
 *    before, and came to its stop over a context switch;
 *  - at the stop it is off its CPU: PTRACE_DETACH waits for that (kernel/ptrace.c, ptrace_check_attach).
 *    KVM_RUN has returned, and the next one loads the guest's state anew, on Intel by WRMSR of
 *    MSR_KERNEL_GS_BASE (arch/x86/kvm/vmx/vmx.c, vmx_prepare_switch_to_guest), which is in the list too.
 * Neither SYSRET nor VM entry is in that list, so nothing is built on those. membarrier(2), which would
 * promise it in words, is for one's own process only; driver inproc has it.
 *
 * A thread that was not in the guest is as good as one that was: it goes there by a KVM_RUN that comes
 * after the store. What it may bring back is the rest of an I/O instruction that KVM has decoded before,
 * never a site: no site's instruction leaves the guest.
 *
 * As with a write from outside, KVM's dirty log does not see the store: vp_confirm looks whether a
 * migration began meanwhile.
 */
#include "vmm-agent/drv/kvm_int.h"
#include "vmm-agent/host/host.h"

int kvm_live_begin(void *self, struct diag *diag)
{
	struct kvm *k = self;
	bool stranded = false;
	int r = kvm_check_all(k, &stranded, diag);

	if (r < 0)
		return r;
	if (stranded)
		return kvm_say_stranded(k, VP_E_TORN, diag);
	if (!k->ran)
		return diag_set(diag, VP_E_DISCIPLINE,
				"%s: does not run: use --discipline stop, which costs it nothing",
				k->m->name);
	if (!kvm_map_same(k))
		return diag_set(diag, VP_E_GUEST_CHANGED,
				"%s: its VMM has mapped its memory anew: try again", k->m->name);
	return VP_OK;
}

bool kvm_live_reaches(void *self, vp_gpa_t at, size_t len)
{
	return kvm_map_at(self, at, len) != NULL;
}

int kvm_live_store(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	uint8_t *to = kvm_map_at(self, at, len);

	if (!to)
		return VP_E_RANGE;
	host_store(to, buf, len);
	host_code_changed(to, len);
	return VP_OK;
}

int kvm_live_sync(void *self, enum arch_sync sync, uint64_t deadline, struct diag *diag)
{
	struct kvm *k = self;

	if (sync != ARCH_SYNC_ALL)
		return VP_OK;
	return kvm_roll(k, deadline == VP_NO_DEADLINE ? clock_in(KVM_HOLD_NS) : deadline, diag);
}

void kvm_live_end(void *self)
{
	/* A thread that did not stop in time may have since. */
	(void)!kvm_release(self);
}
