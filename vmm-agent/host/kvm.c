/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/host/kvm.h"

#include <linux/kvm.h>
#include <stddef.h>
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

int host_kvm_regs(int vcpu_fd, struct arch_regs *ret)
{
	union {
		struct kvm_msrs head;
		struct {
			uint8_t room[sizeof(struct kvm_msrs)];
			struct kvm_msr_entry entry;
		} one;
	} msr = {.head = {.nmsrs = 1}};
	struct arch_regs got = {0};
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return VP_E_IO;
	put(&got, ARCH_REG_PC, regs.rip);
	put(&got, ARCH_REG_SP, regs.rsp);
	put(&got, X86_64_REG_EFLAGS, regs.rflags);
	put(&got, X86_64_REG_CR0, sregs.cr0);
	put(&got, X86_64_REG_CR3, sregs.cr3);
	put(&got, X86_64_REG_CR4, sregs.cr4);
	put(&got, X86_64_REG_EFER, sregs.efer);
	put(&got, X86_64_REG_CS, sregs.cs.selector);
	put(&got, X86_64_REG_GS_BASE, sregs.gs.base);
	msr.one.entry.index = MSR_KERNEL_GS_BASE;
	if (ioctl(vcpu_fd, KVM_GET_MSRS, &msr) == 1)
		put(&got, X86_64_REG_K_GS_BASE, msr.one.entry.data);
	*ret = got;
	return VP_OK;
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
		{ARCH_REG_PC, CORE(regs.pc)},       {ARCH_REG_SP, CORE(sp_el1)},
		{ARCH_REG_FP, CORE(regs.regs[29])}, {ARM64_REG_CPSR, CORE(regs.pstate)},
		{ARM64_REG_TTBR1, SYS_TTBR1_EL1},   {ARM64_REG_TCR, SYS_TCR_EL1},
		{ARM64_REG_SCTLR, SYS_SCTLR_EL1},   {ARM64_REG_VBAR, SYS_VBAR_EL1},
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
