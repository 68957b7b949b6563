// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"

#define VECTOR_SYNC_SPX \
	4 /* synchronous, from the current level with its own stack; DDI 0487 D1.10.2 */
#define ESR_EC(esr) ((esr) >> 26 & 0x3f)
#define EC_BRK      0x3c       /* D13.2.37 */
#define PSCI_CPU_ON 0xc4000003 /* Arm DEN 0022, 5.1.4 */

struct frame {
	uint64_t x[31];
	uint64_t elr, spsr;
};
void site_exception(struct frame *f, unsigned vector);

extern char secondary[];
extern char offset[]; /* of the linker script: virtual minus physical */

const struct vp_dispatcher dispatchers[] = {VPATCH_ARM64_DISPATCHER};
const unsigned n_dispatchers = 1;

#define SYSREG(name)                                           \
	({                                                     \
		uint64_t v_;                                   \
		__asm__ volatile("mrs %0, " #name : "=r"(v_)); \
		v_;                                            \
	})

void site_exception(struct frame *f, unsigned vector)
{
	unsigned cpu = (unsigned)SYSREG(tpidr_el1);
	uint64_t esr = SYSREG(esr_el1);
	struct vpatch_trap t;

	if (vector != VECTOR_SYNC_SPX || ESR_EC(esr) != EC_BRK || !site_trap(cpu, f->elr, &t))
		site_fault(cpu, (uint64_t)vector << 32 | esr, f->elr, SYSREG(far_el1));
	f->elr = t.pc;
	if (t.act == VPATCH_TRAP_CALL)
		f->x[30] = t.link;
}

bool arch_start(unsigned cpu)
{
	register uint64_t x0 __asm__("x0") = PSCI_CPU_ON;
	register uint64_t x1 __asm__("x1") = cpu; /* MPIDR: virt has up to 8 in a cluster */
	register uint64_t x2 __asm__("x2") = (uintptr_t)secondary - (uintptr_t)offset;
	register uint64_t x3 __asm__("x3") = cpu;

	__asm__ volatile("hvc 0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
	return x0 == 0;
}

void arch_relax(void)
{
	__asm__ volatile("yield");
}
