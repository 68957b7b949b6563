/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/host/kvm_regs.h"

#include <string.h>

#if defined(__x86_64__)

#include "arch/x86-64/regs.h"

/* arch/x86/include/uapi/asm/kvm.h; the second since Linux 6.9, so older headers lack it */
#define RUN_SMM        (1u << 0)
#define RUN_GUEST_MODE (1u << 2)

const struct arch_ops *host_arch(void)
{
	return arch_get(ARCH_X86_64);
}

uint64_t host_sync_mask(void)
{
	return KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

size_t host_sync_pc_off(void)
{
	return offsetof(struct kvm_run, s.regs.regs.rip);
}

static void set(struct arch_regs *r, unsigned i, uint64_t v)
{
	r->v[i] = v;
	r->have |= 1u << i;
}

void host_sync_regs(const struct kvm_run *run, struct arch_regs *ret)
{
	const struct kvm_regs *regs = &run->s.regs.regs;
	const struct kvm_sregs *sregs = &run->s.regs.sregs;

	memset(ret, 0, sizeof(*ret));
	if (run->flags & (RUN_SMM | RUN_GUEST_MODE))
		return;
	set(ret, ARCH_REG_PC, regs->rip);
	set(ret, ARCH_REG_SP, regs->rsp);
	set(ret, X86_64_REG_CR0, sregs->cr0);
	set(ret, X86_64_REG_CR3, sregs->cr3);
	set(ret, X86_64_REG_CR4, sregs->cr4);
	set(ret, X86_64_REG_EFER, sregs->efer);
	set(ret, X86_64_REG_CS, sregs->cs.selector);
	set(ret, X86_64_REG_EFLAGS, regs->rflags);
	set(ret, X86_64_REG_GS_BASE, sregs->gs.base);
}

#else

const struct arch_ops *host_arch(void)
{
#if defined(__aarch64__)
	return arch_get(ARCH_ARM64);
#else
	return NULL;
#endif
}

uint64_t host_sync_mask(void)
{
	return 0;
}

size_t host_sync_pc_off(void)
{
	return 0;
}

void host_sync_regs(const struct kvm_run *run, struct arch_regs *ret)
{
	(void)run;
	memset(ret, 0, sizeof(*ret));
}

#endif
