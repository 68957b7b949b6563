// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/guests/sites/guest.h"
#include "tests/guests/x86-64/site_boot.h"

#define VECTOR_BP 3
#define GATE      0x8e /* 64-bit interrupt gate; Intel SDM vol. 3A, 6.14.1 */
#define DPL3      0x60
#define TSS_LEN   104
#define TSS_RSP0  1 /* in 32-bit words */
#define TSS_IOMAP 25
#define AVAILABLE 0x89       /* a TSS; 3.5 */
#define ICR       0xfee00300 /* 11.6.1 */
#define SEND_INIT 0xc4500    /* all but self, assert, INIT */
#define SEND_SIPI (0xc4600 | SITE_TRAMPOLINE >> 12)
#define IPI_TURNS 200
#define KERNEL    __attribute__((section(".data.kernel")))

struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

void site_boot(unsigned cpu) __attribute__((noreturn));
void site_exception(struct frame *f);

extern char vectors[], kernel_stacks[], stacks[];
extern uint64_t gdt[];
extern volatile uint32_t starting;

const struct vp_dispatcher dispatchers[1];
const unsigned n_dispatchers;

static KERNEL uint64_t idt[2 * SITE_VECTORS] = {1};
static KERNEL uint32_t tss[SITE_CPUS][TSS_LEN / 4] = {{1}};

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static void make_idt(void)
{
	for (unsigned i = 0; i < SITE_VECTORS; i++) {
		uint64_t to = (uintptr_t)vectors + SITE_VECTOR_LEN * i;
		uint64_t type = i == VECTOR_BP ? GATE | DPL3 : GATE;

		idt[2 * i] = (to & 0xffff) | SITE_CS << 16 | type << 40 | (to >> 16 & 0xffff) << 48;
		idt[2 * i + 1] = to >> 32;
	}
}

static void make_tss(unsigned cpu)
{
	uint64_t at = (uintptr_t)tss[cpu];
	uint64_t top = (uintptr_t)kernel_stacks + SITE_STACK_SIZE * (uint64_t)(cpu + 1);
	uint64_t *d = &gdt[SITE_TR / 8 + 2 * cpu];

	tss[cpu][0] = 0;
	tss[cpu][TSS_RSP0] = (uint32_t)top;
	tss[cpu][TSS_RSP0 + 1] = (uint32_t)(top >> 32);
	tss[cpu][TSS_IOMAP] = TSS_LEN << 16;
	d[0] = (TSS_LEN - 1) | (at & 0xffffff) << 16 | (uint64_t)AVAILABLE << 40 |
	       (at >> 24 & 0xff) << 56;
	d[1] = at >> 32;
}

void site_boot(unsigned cpu)
{
	const struct table g = {SITE_GDTLEN - 1, (uintptr_t)gdt};
	const struct table i = {sizeof(idt) - 1, (uintptr_t)idt};

	if (cpu == 0)
		make_idt();
	make_tss(cpu);
	__asm__ volatile("lgdt %0; lidt %1; ltr %w2"
			 :
			 : "m"(g), "m"(i), "r"(SITE_TR + 16 * cpu)
			 : "memory");
	site_main(cpu);
}

static unsigned cpu_of(const struct frame *f)
{
	const char *base = f->cs & 3 ? kernel_stacks : stacks;

	return (unsigned)(((uintptr_t)f - (uintptr_t)base) >> SITE_STACK_LOG) % SITE_CPUS;
}

void site_exception(struct frame *f)
{
	unsigned cpu = cpu_of(f);
	struct vpatch_trap t;
	uint64_t cr2;

	if (f->vector != VECTOR_BP || !site_trap(cpu, f->rip - 1, &t)) {
		__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
		site_fault(cpu, f->vector << 32 | f->error, f->rip, cr2);
	}
	f->rip = t.pc;
	if (t.act == VPATCH_TRAP_CALL) {
		f->rsp -= sizeof(uint64_t);
		*(volatile uint64_t *)f->rsp = t.link;
	}
}

/* By a register: not every KVM that emulates this code gets a store to an absolute address right. */
static void send(uint32_t what)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(what), "r"((uint64_t)ICR) : "memory");
	for (unsigned i = 0; i < IPI_TURNS; i++)
		arch_relax();
}

/* Intel SDM vol. 3A, 9.4.4.1: INIT, start-up, start-up. Who runs ignores the second. All start at once, and
 * wait in site_boot.S for their turn. */
bool arch_start(unsigned cpu)
{
	uint32_t a = 1, b, c, d;

	/* How many numbers APICs have: CPUID 01H EBX[23:16], where EDX[28] says so. */
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	if (!(d >> 28 & 1) || cpu >= (b >> 16 & 0xff) || cpu >= SITE_CPUS)
		return false;
	starting = cpu;
	if (cpu == 1) {
		send(SEND_INIT);
		send(SEND_SIPI);
		send(SEND_SIPI);
	}
	return true;
}

void arch_relax(void)
{
	__asm__ volatile("pause");
}
