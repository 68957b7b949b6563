/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the bare-metal x86-64 guest and its host agree on. boot.S, the tool that makes the guest and
 * tests/lib/bare.c include this; numbers only where the assembler reads it.
 *
 *   guest-physical                                     seen by the guest at
 *   0008000  where CPUs start (SIPI vector 8)
 *   1000000  RAM of the synthetic kernel (guestimg.h)
 *   1400000  its image: text, 4 MiB                    ffffffff81000000 and, by users, 40000000
 *   1a00000    data: GDT, IDT, TSSes from 1a1f000 on   ffffffff81600000
 *   1e00000  the control block, 2 MiB                  50000000, by users too
 *     +0       what is below as struct bare_ctl
 *     +1000    one page a CPU: struct bare_cpu at its start, the user stack at its end
 *
 * The same text, read-only, runs at CPL0 by the kernel's addresses and at CPL3 by the others.
 *
 * What a VMM gives it: 64 MiB of RAM from 0 with the ELF's segments at their physical addresses, the
 * local APICs at fee00000 in xAPIC mode, CPUs with long mode and NX (of KVM: KVM_CREATE_IRQCHIP and
 * KVM_SET_CPUID2; KVM_RUN of a CPU that has not been started gives EAGAIN and is called again),
 * and CPU 0 at the entry of the PVH note, in 32-bit protected mode. Nothing else is looked at.
 */
#ifndef VP_TESTS_GUESTS_X86_64_CTL_H
#define VP_TESTS_GUESTS_X86_64_CTL_H

#define BARE_RAM        0x1000000
#define BARE_CPUS_MAX   16
#define BARE_TRAMPOLINE 0x8000

#define BARE_TEXT        0xffffffff81000000
#define BARE_TEXT_GPA    0x1400000
#define BARE_TEXT_USER   0x40000000
#define BARE_CODE_OFF    0x8000 /* of boot.S in text */
#define BARE_VECTORS_OFF 0xe00  /* in boot.S: what the IDT leads to, 16 bytes each */
#define BARE_FUNC_OFF    0x1000 /* of guest_func0 */
#define BARE_FUNC_SIZE   64

#define BARE_DATA     0xffffffff81600000
#define BARE_DATA_GPA 0x1a00000
#define BARE_ROOT_GPA 0x1a08000
#define BARE_IDT_OFF  0x1f000 /* in data */
#define BARE_KCPU_OFF \
	0x20000 /* in data: one page a CPU: GDT, TSS, and the kernel stack at its end */
#define BARE_VECTORS 32

/* In the page of a CPU's own. */
#define BARE_KCPU_GDTR 0x80
#define BARE_KCPU_IDTR 0x90
#define BARE_KCPU_TSS  0x100

/* Selectors, as Linux has them where it has them. */
#define BARE_CS32   0x08
#define BARE_CS     0x10
#define BARE_DS     0x18
#define BARE_UDS    0x2b
#define BARE_UCS    0x33
#define BARE_TR     0x40
#define BARE_GDTLEN 0x50

#define BARE_CTL_GPA 0x1e00000
#define BARE_CTL     0x50000000
#define BARE_CTL_LEN 0x200000
#define BARE_PAGE    0x1000

#define BARE_MAGIC   0x65726162 /* "bare" */
#define BARE_VERSION 1

#define BARE_MODE_SITES 1 /* call site_00000 and so on in turn instead of guest_func0 */

/* struct bare_ctl */
#define CTL_MAGIC      0x00
#define CTL_GO         0x08
#define CTL_BUSY       0x0c
#define CTL_RING       0x10
#define CTL_MODE       0x14
#define CTL_NEXT       0x18
#define CTL_ARRIVED    0x1c
#define CTL_SITES_OFF  0x20
#define CTL_SITES_END  0x24
#define CTL_FLIPS      0x40
#define CTL_EPOCH      0x80
#define CTL_FAULTS     0xc0
#define CTL_FAULT_CPU  0xc4
#define CTL_FAULT_VEC  0xc8
#define CTL_FAULT_ERR  0xd0
#define CTL_FAULT_RIP  0xd8
#define CTL_FAULT_CS   0xe0
#define CTL_FAULT_RSP  0xe8
#define CTL_FAULT_CR2  0xf0
#define CTL_FAULT_ITER 0xf8

/* struct bare_cpu */
#define CPU_OLD       0x00
#define CPU_NEW       0x08
#define CPU_ITER      0x10
#define CPU_LAST      0x18
#define CPU_EPOCH     0x1c
#define CPU_TURNS     0x20
#define CPU_GAP       0x28
#define CPU_START     0x30
#define CPU_END       0x38
#define CPU_BAD       0x40
#define CPU_BAD_VALUE 0x48
#define CPU_BAD_FLIPS 0x50
#define CPU_BAD_ITER  0x58
#define CPU_LOST      0x60
#define CPU_LOST_OLD  0x68
#define CPU_LOST_NEW  0x70
#define CPU_LOST_ITER 0x78

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

/*
 * flips counts how often any CPU was the first to get another result than the last one had been:
 * odd while the new function runs. A CPU that gets the old result again after a new one was seen
 * makes it too large for ever.
 */
struct bare_ctl {
	uint32_t magic;   /* the guest: its first CPU runs and waits for go */
	uint32_t version; /* in the file, as are the offsets of the sites */
	uint32_t go;      /* the host: start */
	uint32_t busy;    /* the host: how many CPUs call; the others rest in hlt */
	uint32_t ring;    /* the host: 3 or 0, where they call */
	uint32_t mode;    /* the host */
	uint32_t next;    /* the guest: the index of the next CPU */
	uint32_t arrived; /* the guest: CPUs that calls or rests */
	uint32_t sites_off, sites_end;
	uint32_t pad0[6];
	uint32_t flips;
	uint32_t pad1[15];
	uint32_t epoch; /* the host: another one, and every CPU forgets its longest gap */
	uint32_t pad2[15];
	uint32_t faults; /* exceptions; each ends its CPU. What follows is of the first one. */
	uint32_t fault_cpu;
	uint64_t fault_vector, fault_error, fault_rip, fault_cs, fault_rsp, fault_cr2, fault_iter;
};

struct bare_cpu {
	uint64_t old_calls, new_calls; /* counted by the functions themselves */
	uint64_t iterations;
	uint32_t last, epoch; /* the last result; the epoch that gap is of */
	uint64_t turns;       /* how often another result came than before */
	uint64_t gap;         /* between two calls, the longest, in cycles of its TSC */
	uint64_t start, end;  /* of the functions it calls */
	uint64_t bad;         /* impossible results; the first: */
	uint64_t bad_value, bad_flips, bad_iter;
	uint64_t lost; /* times that its counts did not agree with its results; the first: */
	uint64_t lost_old, lost_new, lost_iter;
};

#define BARE_AT(type, field, off) \
	_Static_assert(offsetof(struct type, field) == (off), #type "." #field)
BARE_AT(bare_ctl, go, CTL_GO);
BARE_AT(bare_ctl, arrived, CTL_ARRIVED);
BARE_AT(bare_ctl, sites_off, CTL_SITES_OFF);
BARE_AT(bare_ctl, flips, CTL_FLIPS);
BARE_AT(bare_ctl, epoch, CTL_EPOCH);
BARE_AT(bare_ctl, fault_vector, CTL_FAULT_VEC);
BARE_AT(bare_ctl, fault_iter, CTL_FAULT_ITER);
BARE_AT(bare_cpu, iterations, CPU_ITER);
BARE_AT(bare_cpu, gap, CPU_GAP);
BARE_AT(bare_cpu, bad, CPU_BAD);
BARE_AT(bare_cpu, lost_iter, CPU_LOST_ITER);
#endif

#endif
