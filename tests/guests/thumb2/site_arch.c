// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"

#define PREFETCH_ABORT 3 /* BKPT is one; DDI 0406C, A8.8.24 */
#define IFSR_STATUS    0x40f
#define IFSR_DEBUG     0x2        /* B3.13.3 */
#define PSCI_CPU_ON    0x84000003 /* Arm DEN 0022, 5.1.4 */
#define THUMB          1u

struct frame {
	uint32_t r[13];
	uint32_t lr, pc, cpsr;
};
void site_exception(struct frame *f, unsigned kind);

extern char secondary[];
extern char offset[]; /* of the linker script: virtual minus physical */

/* None: a branch reaches 16 MiB, and so does a call. */
const struct vp_dispatcher dispatchers[1];
const unsigned n_dispatchers;

#define CP15(op)                                                    \
	({                                                          \
		uint32_t v_;                                        \
		__asm__ volatile("mrc p15, 0, %0, " op : "=r"(v_)); \
		v_;                                                 \
	})

void site_exception(struct frame *f, unsigned kind)
{
	unsigned cpu = CP15("c13, c0, 4");
	uint32_t ifsr = CP15("c5, c0, 1");
	struct vpatch_trap t;

	if (kind != PREFETCH_ABORT || (ifsr & IFSR_STATUS) != IFSR_DEBUG ||
	    !site_trap(cpu, f->pc, &t))
		site_fault(cpu,
			   (uint64_t)kind << 32 |
				   (kind == PREFETCH_ABORT ? ifsr : CP15("c5, c0, 0")),
			   f->pc, kind == PREFETCH_ABORT ? CP15("c6, c0, 2") : CP15("c6, c0, 0"));
	f->pc = t.pc;
	if (t.act == VPATCH_TRAP_CALL)
		f->lr = t.link | THUMB;
}

bool arch_start(unsigned cpu)
{
	register uint32_t r0 __asm__("r0") = PSCI_CPU_ON;
	register uint32_t r1 __asm__("r1") = cpu; /* MPIDR: virt has up to 8 in a cluster */
	register uint32_t r2 __asm__("r2") = (uintptr_t)secondary - (uintptr_t)offset;
	register uint32_t r3 __asm__("r3") = cpu;

	__asm__ volatile(".inst.w 0xf7e08000" /* hvc 0; B9.3.4 */
			 : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
			 :
			 : "memory");
	return r0 == 0;
}

void arch_relax(void)
{
	__asm__ volatile("yield");
}
