/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvpatch inside a VMM: what its authors hand over, and the gate that its vCPU threads go through.
 *
 *	for (;;) {
 *		if (vp_inproc_gate(vp, i) == 0)      as the last thing before KVM_RUN
 *			ioctl(vcpu_fd, KVM_RUN, 0);
 *		if (asked to stop) ...               the VMM's own requests
 *		switch (run->exit_reason) ...        what KVM_RUN came out with, handled whole
 *	}
 *
 * The library holds the guest by setting immediate_exit of every vCPU and calling kick for each, all
 * at once; each thread comes out of KVM_RUN, arrives at its gate and is parked there, until the
 * change is made or the deadline has passed, after which all go on. For a change under running vCPUs it
 * does the same with one vCPU at a time. Nothing of the guest but its memory is touched.
 *
 * Functions return 0 or a negative code that vp_reason() and vp_strerror() (vpatch.h) explain.
 * `words`, where a function takes it, is the caller's memory for one line that says what went wrong
 * and where; NULL, 0 for none.
 */
#ifndef VPATCH_INPROC_H
#define VPATCH_INPROC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef VP_API
#define VP_API __attribute__((visibility("default")))
#endif

#define VP_INPROC_READONLY 1u /* the guest cannot write it: not RAM */

/* A KVM memory slot. gpa, len and hva are multiples of the page size; hva stays mapped, readable and,
 * unless READONLY, writable. */
struct vp_inproc_slot {
	uint64_t gpa; /* guest physical address */
	uint64_t len; /* bytes */
	void *hva;
	uint32_t flags;
	uint32_t reserved; /* zero */
};

enum vp_inproc_state {
	VP_INPROC_RUNNING,
	VP_INPROC_PAUSED, /* by its operator: it is patched and stays paused */
	VP_INPROC_MIGRATING,
	VP_INPROC_ENDED, /* shut down, or its state is not to be used any more */
};

struct vp_inproc_vcpu {
	int fd;    /* of the vCPU */
	void *run; /* its struct kvm_run, mapped */
};

/*
 * The VM. Copied by vp_inproc_open, strings and arrays too; what they name (descriptors, mappings,
 * ctx) stays the VMM's and valid until vp_inproc_close. Callbacks may come from any thread that
 * calls into the library, and from none else.
 */
struct vp_inproc_vm {
	size_t size;                        /* sizeof(struct vp_inproc_vm) */
	const char *name;                   /* for words; NULL: "vm" */
	uint8_t uuid[16];                   /* zero where it has none */
	const struct vp_inproc_vcpu *vcpus; /* all there are, whether started by the guest or not */
	size_t n_vcpus;                     /* 1 to 1024 */
	const struct vp_inproc_slot *slots; /* in any order, no overlap */
	size_t n_slots;
	void *ctx; /* handed to the callbacks */
	/*
	 * Makes the thread of that vCPU leave KVM_RUN should it be there, as pthread_kill with a
	 * handled signal does. Must not wait for the thread.
	 */
	void (*kick)(void *ctx, unsigned vcpu);
	/* The library has written len bytes at gpa: for the VMM's own log of dirty pages. NULL: there is
	 * none, and what is written while a migration begins may be missing at its other end. */
	void (*mark_dirty)(void *ctx, uint64_t gpa, uint64_t len);
	/* enum vp_inproc_state, now. NULL: always RUNNING. */
	int (*state)(void *ctx);
};

struct vp_inproc;

/* Before or after the vCPU threads start. One handle a VM. */
VP_API int vp_inproc_open(const struct vp_inproc_vm *vm, struct vp_inproc **ret, char *words,
			  size_t words_len);

/* When no thread is in any other call on the handle, nor will be: the vCPU threads have ended, or
 * call the gate no more. NULL is fine. */
VP_API void vp_inproc_close(struct vp_inproc *vp);

/*
 * From the thread of that vCPU, between the handling of one exit and the next KVM_RUN, with nothing
 * in between. Returns at once when no hold is wanted. Otherwise completes what KVM has pending of
 * the last exit, notes the registers, and waits until the guest is let go; signals do not end the
 * wait.
 *
 * 0: call KVM_RUN. 1: completing the last exit has led to another one, which stands in kvm_run as if
 * KVM_RUN had returned 0: handle it, then come back to the gate.
 *
 * immediate_exit may have been cleared. A VMM that sets it for requests of its own keeps those in a
 * variable, too, and looks at it after the gate.
 */
VP_API int vp_inproc_gate(struct vp_inproc *vp, unsigned vcpu);

/*
 * From the thread of that vCPU, with the last exit handled: it will not enter KVM_RUN before its next
 * vp_inproc_gate. For a thread that waits long in the VMM (the VM is paused, say) or ends; it counts
 * as held meanwhile. A thread that does neither this nor comes to its gate makes a change fail with
 * the reason `deadline`. 0, or 1 as vp_inproc_gate gives it, and then it has not left.
 */
VP_API int vp_inproc_leave(struct vp_inproc *vp, unsigned vcpu);

/*
 * The memory slots are now these. To be called after a slot was added and before the memory of one
 * that goes is unmapped; waits while the library reads or writes guest memory. A change that is
 * under way fails with the reason `guest-changed` and is put back. On an error the handle has no
 * slots.
 */
VP_API int vp_inproc_set_slots(struct vp_inproc *vp, const struct vp_inproc_slot *slots,
			       size_t n_slots, char *words, size_t words_len);

#ifdef __cplusplus
}
#endif

#endif
