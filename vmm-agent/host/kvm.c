/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/host/kvm.h"

#include <string.h>
#include <sys/ioctl.h>

#if defined(__x86_64__)

#include "arch/x86-64/regs.h"

#define MSR_KERNEL_GS_BASE 0xc0000102u /* Intel SDM vol. 4, IA32_KERNEL_GS_BASE */

const struct arch_ops *host_kvm_arch(void)
{
	return arch_get(ARCH_X86_64);
}

static void put(struct arch_regs *r, unsigned reg, uint64_t v)
{
	r->v[reg] = v;
	r->have |= 1u << reg;
}

static void fill(const struct kvm_regs *regs, const struct kvm_sregs *sregs, struct arch_regs *ret)
{
	memset(ret, 0, sizeof(*ret));
	put(ret, ARCH_REG_PC, regs->rip);
	put(ret, ARCH_REG_SP, regs->rsp);
	put(ret, X86_64_REG_EFLAGS, regs->rflags);
	put(ret, X86_64_REG_CR0, sregs->cr0);
	put(ret, X86_64_REG_CR3, sregs->cr3);
	put(ret, X86_64_REG_CR4, sregs->cr4);
	put(ret, X86_64_REG_EFER, sregs->efer);
	put(ret, X86_64_REG_CS, sregs->cs.selector);
	put(ret, X86_64_REG_GS_BASE, sregs->gs.base);
}

int host_kvm_regs(int vcpu_fd, struct arch_regs *ret)
{
	union {
		struct kvm_msrs head;
		struct {
			uint8_t room[sizeof(struct kvm_msrs)];
			struct kvm_msr_entry entry;
		} one;
	} msr = {.head = {.nmsrs = 1}};
	struct arch_regs got;
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return VP_E_IO;
	fill(&regs, &sregs, &got);
	msr.one.entry.index = MSR_KERNEL_GS_BASE;
	if (ioctl(vcpu_fd, KVM_GET_MSRS, &msr) == 1)
		put(&got, X86_64_REG_K_GS_BASE, msr.one.entry.data);
	*ret = got;
	return VP_OK;
}

/* Bits of kvm_run.flags, arch/x86/include/uapi/asm/kvm.h; the second since Linux 6.9. */
#define RUN_SMM        (1u << 0)
#define RUN_GUEST_MODE (1u << 2)

uint64_t host_sync_mask(void)
{
	return KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

size_t host_sync_pc_off(void)
{
	return offsetof(struct kvm_run, s.regs.regs.rip);
}

size_t host_sync_len(void)
{
	return sizeof(struct kvm_sync_regs);
}

void host_sync_regs(const struct kvm_run *run, struct arch_regs *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!(run->flags & (RUN_SMM | RUN_GUEST_MODE)))
		fill(&run->s.regs.regs, &run->s.regs.sregs, ret);
}

#elif defined(__aarch64__)

#include "arch/arm64/regs.h"

/* Documentation/virt/kvm/api.rst, KVM_SET_ONE_REG: the core registers and those of Arm ARM D19.2. */
#define CORE(field) \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(field))
#define SYS_TTBR1_EL1 ARM64_SYS_REG(3, 0, 2, 0, 1)
#define SYS_TCR_EL1   ARM64_SYS_REG(3, 0, 2, 0, 2)
#define SYS_SCTLR_EL1 ARM64_SYS_REG(3, 0, 1, 0, 0)
#define SYS_VBAR_EL1  ARM64_SYS_REG(3, 0, 12, 0, 0)

const struct arch_ops *host_kvm_arch(void)
{
	return arch_get(ARCH_ARM64);
}

int host_kvm_regs(int vcpu_fd, struct arch_regs *ret)
{
	static const struct {
		unsigned reg;
		uint64_t id;
	} wanted[] = {
		{ARCH_REG_PC, CORE(regs.pc)},        {ARCH_REG_SP, CORE(sp_el1)},
		{ARCH_REG_FP, CORE(regs.regs[29])},  {ARCH_REG_LR, CORE(regs.regs[30])},
		{ARM64_REG_CPSR, CORE(regs.pstate)}, {ARM64_REG_TTBR1, SYS_TTBR1_EL1},
		{ARM64_REG_TCR, SYS_TCR_EL1},        {ARM64_REG_SCTLR, SYS_SCTLR_EL1},
		{ARM64_REG_VBAR, SYS_VBAR_EL1},
	};
	struct arch_regs got = {0};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct kvm_one_reg one = {.id = wanted[i].id,
					  .addr = (uintptr_t)&got.v[wanted[i].reg]};

		if (ioctl(vcpu_fd, KVM_GET_ONE_REG, &one) < 0)
			return VP_E_IO;
		got.have |= 1u << wanted[i].reg;
	}
	*ret = got;
	return VP_OK;
}

#else

const struct arch_ops *host_kvm_arch(void)
{
	return NULL; /* no such guest is known yet: arch/ has no table of it */
}

int host_kvm_regs(int vcpu_fd, struct arch_regs *ret)
{
	(void)vcpu_fd;
	(void)ret;
	return VP_E_UNSUPPORTED;
}

#endif

#if !defined(__x86_64__)

uint64_t host_sync_mask(void)
{
	return 0;
}

size_t host_sync_pc_off(void)
{
	return 0;
}

size_t host_sync_len(void)
{
	return 0;
}

void host_sync_regs(const struct kvm_run *run, struct arch_regs *ret)
{
	(void)run;
	memset(ret, 0, sizeof(*ret));
}

#endif
