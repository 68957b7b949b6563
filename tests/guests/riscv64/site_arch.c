// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"

#define CAUSE_BREAKPOINT 3        /* RV priv., scause */
#define SBI_HSM          0x48534d /* RISC-V SBI, "Hart State Management Extension"; hart_start is 0 */

struct frame {
	uint64_t x[32];
	uint64_t pc, pad;
};
void site_exception(struct frame *f);

extern char secondary[];
extern const uint64_t phys_offset; /* virtual minus physical */
extern uint64_t boot_hart;
void dispatch_near(void);
void dispatch_far(void);
void dispatch_own(void);
void dispatch_own_on(void);

/* In the order of site_functions.S. */
const struct vp_dispatcher dispatchers[] = {
	VPATCH_RISCV64_DISPATCHER,
	VPATCH_RISCV64_DISPATCHER_NEAR(dispatch_near),
	VPATCH_RISCV64_DISPATCHER_NEAR(dispatch_far),
	VPATCH_RISCV64_DISPATCHER_OWN(dispatch_own),
	VPATCH_RISCV64_DISPATCHER_OWN(dispatch_own_on),
	VPATCH_RISCV64_DISPATCHER_OPS,
};
const unsigned n_dispatchers = sizeof(dispatchers) / sizeof(dispatchers[0]);

#define CSR(name)                                               \
	({                                                      \
		uint64_t v_;                                    \
		__asm__ volatile("csrr %0, " #name : "=r"(v_)); \
		v_;                                             \
	})

void site_exception(struct frame *f)
{
	uint64_t cause = CSR(scause);
	unsigned cpu = (unsigned)f->x[4]; /* tp */
	struct vpatch_trap t;

	if (cause != CAUSE_BREAKPOINT || !site_trap(cpu, f->pc, &t))
		site_fault(cpu, cause, f->pc, CSR(stval));
	f->pc = t.pc;
	if (t.act == VPATCH_TRAP_CALL)
		f->x[1] = t.link;
}

/* The SBI may have let any hart come first. */
bool arch_start(unsigned cpu)
{
	register uint64_t a0 __asm__("a0") = cpu <= boot_hart ? cpu - 1 : cpu;
	register uint64_t a1 __asm__("a1") = (uintptr_t)secondary - phys_offset;
	register uint64_t a2 __asm__("a2") = 0;
	register uint64_t a6 __asm__("a6") = 0;
	register uint64_t a7 __asm__("a7") = SBI_HSM;

	__asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
	return a0 == 0;
}

void arch_relax(void)
{
	__asm__ volatile(".4byte 0x0100000f"); /* pause; RV unpriv., Zihintpause */
}
