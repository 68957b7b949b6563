// SPDX-License-Identifier: LGPL-2.1-or-later
/* Whether the vCPUs run the kernel that was opened, and whether that kernel is alive. */
#include <inttypes.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define STACK_LOOK        4096u       /* bytes above the stack pointer that are looked through */
#define PANIC_CPU_INVALID 0xffffffffu /* include/linux/panic.h: -1 */
#define STACK_HOPS        4u
#define FRAME_RECORD      16u /* AAPCS64, "The frame pointer": the caller's record, the return address */

int guest_check_root(struct vp_target *t, struct mem_cache *cache, const struct arch_ops *ops,
		     const struct guest_layout *layout, const struct arch_regs *regs,
		     vp_gpa_t own_root, vp_gva_t text, vp_gpa_t text_gpa, struct arch_mmu *mmu_ret)
{
	struct arch_mmu mmu;
	unsigned n_alt;
	int r = ops->mmu_from_regs(regs, &mmu);

	if (r < 0)
		return VP_E_UNSUPPORTED;
	n_alt = mmu.n_alt;
	mmu.n_alt = 0;
	for (unsigned i = 0; i <= n_alt; i++) {
		struct arch_xlate x;

		if (i > 0)
			mmu.root = mmu.alt[i - 1];
		if (layout->one_root && mmu.root.v != own_root.v)
			continue;
		r = mem_walk(t, cache, &mmu, text, MEM_TEXT, &x);
		if (guest_err_is_fatal(r))
			return r;
		if (r == VP_OK && x.gpa.v == text_gpa.v) {
			*mmu_ret = mmu;
			return VP_OK;
		}
	}
	return VP_E_GUEST_CHANGED;
}

static bool in(const struct guest_range *r, uint64_t at)
{
	return at >= r->start && at - r->start < r->len;
}

void guest_held_prepare(struct guest *g)
{
	/* Where a vCPU of a kernel that has panicked, or leaves for another, is found. */
	static const char *const names[GUEST_DYING_MAX] = {
		"panic",
		"nmi_panic",
		"panic_smp_self_stop",
		"nmi_panic_self_stop",
		"crash_kexec",
		"__crash_kexec",
		"machine_crash_shutdown",
		"native_machine_crash_shutdown",
		"machine_kexec",
		"kernel_kexec",
		"relocate_kernel",
		"crash_save_cpu",
		"stop_this_cpu",
		"local_cpu_stop",
		"ipi_cpu_crash_stop",
		"machine_halt",
		"machine_power_off",
		"machine_restart",
		"native_machine_halt",
		"native_machine_power_off",
		"native_machine_restart",
		"native_machine_emergency_restart",
		"emergency_restart",
	};
	vp_gva_t at;

	for (size_t i = 0; i < GUEST_DYING_MAX && names[i]; i++) {
		struct guest_sym sym;

		if (guest_sym(g, names[i], 0, NULL, &sym) < 0)
			continue;
		g->dying[g->n_dying++] = (struct guest_range){sym.addr.v, sym.size};
		if (i == 0)
			g->panic = g->dying[0];
	}
	if (!guest_sym_addr(g, "panic_cpu", &at) ||
	    guest_data_gpa(g, at, sizeof(uint32_t), &g->panic_cpu) < 0)
		g->panic_cpu = vp_gpa(0);
}

int guest_check_panic(struct guest *g, struct diag *diag)
{
	uint8_t raw[4];
	int r;

	if (g->panic_cpu.v == 0)
		return VP_OK;
	r = vp_read(g->t, g->panic_cpu, raw, sizeof(raw));
	if (r < 0)
		return diag_set(diag, r, "panic_cpu of the guest kernel: %s", vp_err_sentence(r));
	if (vp_ld32(raw) == PANIC_CPU_INVALID)
		return VP_OK;
	return diag_set(diag, VP_E_PANICKED,
			"the guest kernel has panicked on its CPU %" PRIu32 ": look at its console",
			vp_ld32(raw));
}

/* What is mapped of the stack from `at` on, at most STACK_LOOK bytes; 0 if it is no stack. */
static size_t read_stack(struct guest *g, uint64_t at, uint8_t stack[STACK_LOOK])
{
	uint64_t page = GUEST_PAGE - at % GUEST_PAGE;

	if (at % 8)
		return 0;
	if (guest_read(g, vp_gva(at), stack, STACK_LOOK) == VP_OK)
		return STACK_LOOK;
	return guest_read(g, vp_gva(at), stack, (size_t)page) == VP_OK ? (size_t)page : 0;
}

static bool returns_to_panic(const struct guest *g, uint64_t word)
{
	return word & GUEST_KERNEL_HALF && in(&g->panic, word | GUEST_KERNEL_TOP);
}

/*
 * Frames below panic() are live as long as it prints and waits. The chain of frame records leads
 * there, also from an interrupt's handler, on a stack of its own; it leads upwards within a stack.
 */
static bool chain_has_panic(struct guest *g, uint64_t fp)
{
	for (unsigned hop = 0; hop < STACK_HOPS && fp != 0; hop++) {
		uint8_t stack[STACK_LOOK];
		uint64_t at = fp, from = fp;
		size_t n = read_stack(g, at, stack);

		while (fp >= from && vp_fits(fp - at, FRAME_RECORD, n) && fp % 8 == 0) {
			const uint8_t *record = stack + (fp - at);

			if (returns_to_panic(g, vp_ld64(record + 8)))
				return true;
			from = fp + FRAME_RECORD;
			fp = vp_ld64(record);
		}
	}
	return false;
}

/* Without frame records every word may be a return address. */
static bool stack_has_panic(struct guest *g, uint64_t sp)
{
	uint8_t stack[STACK_LOOK];
	size_t n = read_stack(g, sp, stack);

	for (size_t i = 0; vp_fits(i, 8, n); i += 8)
		if (returns_to_panic(g, vp_ld64(stack + i)))
			return true;
	return false;
}

static int look_at_stacks(struct guest *g, unsigned vcpu, const struct arch_regs *regs,
			  struct diag *diag)
{
	bool found = false;

	if (g->panic.len == 0)
		return VP_OK;
	if (regs->have & 1u << ARCH_REG_FP)
		found = chain_has_panic(g, regs->v[ARCH_REG_FP]);
	else if (regs->have & 1u << ARCH_REG_SP)
		found = stack_has_panic(g, regs->v[ARCH_REG_SP]);
	if (!found)
		return VP_OK;
	return diag_set(
		diag, VP_E_PANICKED,
		"the guest kernel has panicked (vCPU %u is below panic()): look at its console",
		vcpu);
}

int guest_check_vcpu(struct guest *g, unsigned vcpu, const struct arch_regs *regs,
		     struct diag *diag)
{
	uint64_t pc = regs->v[ARCH_REG_PC];

	if (!(regs->have & 1u << ARCH_REG_PC))
		return VP_OK;
	for (size_t i = 0; i < g->n_dying; i++) {
		char at[160];

		if (!in(&g->dying[i], pc))
			continue;
		guest_sym_words(g, vp_gva(pc), at, sizeof(at));
		return diag_set(diag, VP_E_PANICKED,
				"the guest kernel is going down (vCPU %u is in %s): look at its "
				"console",
				vcpu, at);
	}
	/* Where panic_cpu can be read there is nothing to look for. */
	if (g->panic_cpu.v == 0 && in(&g->image, pc))
		return look_at_stacks(g, vcpu, regs, diag);
	return VP_OK;
}

static int say_changed(unsigned vcpu, int r, struct diag *diag)
{
	if (r == VP_E_GUEST_CHANGED)
		return diag_set(diag, r,
				"vCPU %u runs another kernel than the one that was looked at: the "
				"guest has rebooted or is about to, try again",
				vcpu);
	return diag_set(diag, r, "registers of vCPU %u: %s", vcpu, vp_err_sentence(r));
}

int guest_check_held(struct guest *g, struct vp_paused *p, vp_gva_t *pcs, struct diag *diag)
{
	unsigned vcpus = vp_target_info(g->t)->vcpus, agreed = 0;
	int r;

	if (guest_is_stub(g))
		return stub_check_held(g, p, pcs, diag);
	for (unsigned i = 0; i < vcpus; i++) {
		struct arch_regs regs;
		struct arch_mmu mmu;

		r = vp_regs(p, i, &regs);
		if (r < 0)
			return say_changed(i, r, diag);
		if (pcs)
			pcs[i] = vp_gva(regs.have & 1u << ARCH_REG_PC ? regs.v[ARCH_REG_PC] : 0);
		r = guest_check_root(g->t, NULL, g->ops, g->layout, &regs, g->info.mmu.root,
				     g->info.text, g->text_gpa, &mmu);
		if (r == VP_E_UNSUPPORTED)
			continue; /* a vCPU that the guest has not started translates nothing */
		if (r == VP_OK)
			r = guest_check_vcpu(g, i, &regs, diag);
		else
			r = say_changed(i, r, diag);
		if (r < 0)
			return r;
		agreed++;
	}
	if (agreed == 0)
		return diag_set(diag, VP_E_GUEST_CHANGED,
				"no vCPU runs the kernel that was looked at: the guest is "
				"rebooting, try again");
	r = guest_check_table(g, diag);
	return r == VP_OK ? guest_check_panic(g, diag) : r;
}
