/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/host/host.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)

const char *host_arch_name(void)
{
	return "x86-64";
}

/*
 * Stores are seen by instruction fetch, on every processor and through every linear address, with
 * no instruction asked for: Intel SDM vol. 3, "Self-Modifying Code" and "Handling Self- and
 * Cross-Modifying Code"; AMD64 APM vol. 2, 7.6.1 "Cache Organization and Operation". What both ask of
 * the processor that will run the new bytes is one serialising instruction before it does:
 * host_sync_cores.
 */
void host_code_changed(void *hva, size_t len)
{
	(void)hva;
	(void)len;
	/* Stores leave in program order (SDM vol. 3, "Memory Ordering"); this keeps the compiler to
	 * it, and has them out of the store buffer before anybody is told (SDM vol. 2, MFENCE). */
	__asm__ volatile("mfence" ::: "memory");
}

#elif defined(__aarch64__)

const char *host_arch_name(void)
{
	return "arm64";
}

/* CTR_EL0: Arm ARM (DDI 0487), D19.2. Linux lets EL0 read it, emulated where cores differ. */
#define CTR_IMINLINE(v) (4u << ((v)&15))         /* bytes: log2 of words in [3:0] */
#define CTR_DMINLINE(v) (4u << ((v) >> 16 & 15)) /* [19:16] */
#define CTR_IDC         (UINT64_C(1) << 28) /* no data cache clean to the point of unification */
#define CTR_DIC         (UINT64_C(1) << 29) /* no instruction cache invalidation */

/*
 * Arm ARM B2.7.4 "Ordering and synchronization of data and instruction accesses" and its example
 * sequences in K13: store, DC CVAU, DSB ISH, IC IVAU, DSB ISH, then a context synchronisation event
 * on each PE that will run it (host_sync_cores; ERET into the guest is one). Linux allows both
 * instructions to EL0 (SCTLR_EL1.UCI). Both are broadcast to the inner shareable domain, where every
 * PE of one Linux system is.
 *
 * By the host's address for the guest's page, which is right as long as host and guest agree about
 * what kind of memory it is. They do: stage 2 maps RAM slots Normal, Inner and Outer Write-Back
 * Cacheable, Inner Shareable, as the host's own mapping is (D8, stage 2 memory attributes). With
 * FEAT_S2FWB (HCR_EL2.FWB) stage 2 decides alone, and the guest's accesses are write-back whatever
 * its stage 1 says. Without it a guest that runs with its MMU or caches off reads past the caches;
 * such a vCPU runs no kernel text that vpatch would change (guest_check_held), but the line is
 * cleaned only to the point of unification, so it is not promised to see the change at once.
 *
 * An instruction cache may be tagged by VMID (VPIPT, CTR_EL0.L1Ip = 0b10): then IC IVAU at EL0 of the
 * host does not reach the guest's lines. No longer part of the architecture, it is refused by
 * host_sync_prepare.
 */
#define CTR_L1IP(v)     ((v) >> 14 & 3)
#define L1IP_VPIPT      2

static uint64_t read_ctr(void)
{
	uint64_t v;

	__asm__ volatile("mrs %0, ctr_el0" : "=r"(v));
	return v;
}

void host_code_changed(void *hva, size_t len)
{
	uint64_t ctr = read_ctr();
	uintptr_t from = (uintptr_t)hva, to = from + len;

	if (!(ctr & CTR_IDC))
		for (uintptr_t p = from & ~(uintptr_t)(CTR_DMINLINE(ctr) - 1); p < to;
		     p += CTR_DMINLINE(ctr))
			__asm__ volatile("dc cvau, %0" ::"r"(p) : "memory"); /* C5.3 */
	__asm__ volatile("dsb ish" ::: "memory");                            /* C6.2 */
	if (!(ctr & CTR_DIC)) {
		for (uintptr_t p = from & ~(uintptr_t)(CTR_IMINLINE(ctr) - 1); p < to;
		     p += CTR_IMINLINE(ctr))
			__asm__ volatile("ic ivau, %0" ::"r"(p) : "memory"); /* C5.3 */
		__asm__ volatile("dsb ish" ::: "memory");
	}
	__asm__ volatile("isb" ::: "memory"); /* C6.2: this PE, should the caller run it */
}

#elif defined(__riscv) && __riscv_xlen == 64

const char *host_arch_name(void)
{
	return "riscv64";
}

#ifndef SYS_riscv_flush_icache
#define SYS_riscv_flush_icache 259 /* arch/riscv/include/uapi/asm/unistd.h */
#endif
#define FLUSH_ALL 0ul /* not SYS_RISCV_FLUSH_ICACHE_LOCAL: every hart the process may run on */

/*
 * FENCE.I is local to a hart, and another hart needs the stores to be visible first: RISC-V
 * unprivileged ISA, "Zifencei". The kernel does both, at once on
 * harts that run the process and ahead of user mode on those that will
 * (Documentation/arch/riscv/cmodx.rst, riscv_flush_icache(2)).
 */
static long flush(const void *hva, size_t len)
{
	return syscall(SYS_riscv_flush_icache, hva, (const char *)hva + len, FLUSH_ALL);
}

void host_code_changed(void *hva, size_t len)
{
	__asm__ volatile("fence rw, rw" ::: "memory"); /* RV unpriv. 2.7 */
	if (flush(hva, len) < 0)
		__asm__ volatile("fence.i" ::: "memory"); /* this hart at least; see sync_cores */
}

#else
#error "no cache maintenance for this host: write it here, from the architecture's manual"
#endif

/* --- every core ------------------------------------------------------------------------------- */

#if defined(__riscv)

/* membarrier has no SYNC_CORE here; the flush of the whole process is as strong. */
int host_sync_prepare(void)
{
	return VP_OK;
}

int host_sync_cores(void)
{
	return flush(NULL, 0) < 0 ? VP_E_UNSUPPORTED : VP_OK;
}

#else

static int membarrier(int cmd)
{
	return syscall(SYS_membarrier, cmd, 0, 0) < 0 ? VP_E_UNSUPPORTED : VP_OK;
}

int host_sync_prepare(void)
{
#if defined(__aarch64__)
	if (CTR_L1IP(read_ctr()) == L1IP_VPIPT)
		return VP_E_UNSUPPORTED;
#endif
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE);
}

/*
 * membarrier(2). x86: IRET on the way back to user mode, or sync_core_before_usermode() (SDM vol. 3,
 * "Serializing Instructions"). That list has no VM entry in it: the vCPUs do leave the guest and
 * enter it again, but it is this that is relied on. arm64: the kernel's ERET (Arm ARM, glossary,
 * "Context synchronization event").
 */
int host_sync_cores(void)
{
	return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
}

#endif
