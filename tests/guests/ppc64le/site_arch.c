// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"

/* Power ISA 3.1, Book III, 7.5 */
#define VECTOR_PROGRAM    0x700
#define VECTOR_HV_FIRST   0xe00 /* from here to the last their own SRRs are set */
#define VECTOR_HV_LAST    0xea0
#define SRR1_TRAP         0x20000 /* 7.5.9 */
#define VECTOR_OF(behind) ((behind) & ~(uint64_t)0x1f)

struct frame {
	uint64_t r[32];
	uint64_t lr, ctr, xer, cr, srr0, srr1;
};
void site_exception(struct frame *f, uint64_t behind);
void site_boot(unsigned cpu, const uint8_t *tree) __attribute__((noreturn));

extern volatile uint32_t released;

const struct vp_dispatcher dispatchers[] = {VPATCH_PPC64LE_DISPATCHER};
const unsigned n_dispatchers = 1;

static unsigned n_cpus;

#define SPR(n)                                                        \
	({                                                            \
		uint64_t v_;                                          \
		__asm__ volatile("mfspr %0, %1" : "=r"(v_) : "i"(n)); \
		v_;                                                   \
	})
#define SPR_DAR   19
#define SPR_SPRG0 272
#define SPR_HSRR0 314

void site_exception(struct frame *f, uint64_t behind)
{
	unsigned cpu = (unsigned)SPR(SPR_SPRG0);
	uint64_t vector = VECTOR_OF(behind) & 0x1fff;
	struct vpatch_trap t;

	if (vector != VECTOR_PROGRAM || !(f->srr1 & SRR1_TRAP) || !site_trap(cpu, f->srr0, &t)) {
		bool hv = vector >= VECTOR_HV_FIRST && vector <= VECTOR_HV_LAST;

		site_fault(cpu, vector << 32 | (f->srr1 & 0xffffffff),
			   hv ? SPR(SPR_HSRR0) : f->srr0, SPR(SPR_DAR));
	}
	f->srr0 = t.pc;
	if (t.act == VPATCH_TRAP_CALL)
		f->lr = t.link;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool begins(const uint8_t *p, const char *with)
{
	while (*with && *p == (uint8_t)*with)
		p++, with++;
	return !*with;
}

/* The CPUs' nodes in the flattened device tree: Devicetree Specification 0.4, 5.4. Every CPU runs from reset
 * on, and one that is not there never comes. */
static unsigned count_cpus(const uint8_t *tree)
{
	const uint8_t *at = tree + be32(tree + 8), *end = at + be32(tree + 36);
	unsigned n = 0;

	for (; at + 8 < end; at += 4)
		if (be32(at) == 1 && begins(at + 4, "PowerPC,POWER"))
			n++;
	return n;
}

void site_boot(unsigned cpu, const uint8_t *tree)
{
	if (cpu == 0)
		n_cpus = count_cpus(tree);
	site_main(cpu);
}

bool arch_start(unsigned cpu)
{
	if (cpu >= n_cpus)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	released = cpu;
	return true;
}

void arch_relax(void)
{
	__asm__ volatile("or 27, 27, 27"); /* Power ISA 3.1, Book II, 3.2: yields */
}
