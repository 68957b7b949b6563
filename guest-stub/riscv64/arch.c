/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "guest-stub/stub.h"
#include "guest-stub/arch.h"

#define NOP      0x00000013u /* addi x0, x0, 0; RV unpriv. 2.4.1 */
#define C_NOP    0x0001u     /* "C", RVC Instruction Set Listings */
#define AUIPC_T0 0x00000297u /* auipc t0; 2.4.1 */
#define EBREAK   0x00100073u /* 2.8 */
#define C_EBREAK 0x9002u
#define ENTRY    8u

/* With C an instruction may begin at any even address. */
static uint32_t get(uintptr_t at)
{
	const volatile uint16_t *h = (const volatile uint16_t *)at;

	return h[0] | (uint32_t)h[1] << 16;
}

static void put(uintptr_t at, uint32_t insn)
{
	volatile uint16_t *h = (volatile uint16_t *)at;

	h[0] = (uint16_t)insn;
	h[1] = (uint16_t)(insn >> 16);
}

/* Nops of either length. */
static bool nops(uintptr_t at, uintptr_t len)
{
	uintptr_t end = at + len;

	while (at < end) {
		uint32_t insn = get(at);

		if ((uint16_t)insn == C_NOP)
			at += 2;
		else if (insn == NOP)
			at += 4;
		else
			return false;
	}
	return at == end;
}

/* Where the compiler left a line of nops ahead of it A, else the pair. */
bool vpatch_arch_entry(uintptr_t at, bool literal, struct vp_site *ret)
{
	bool room = nops(at, VPATCH_LINE) && nops(at + VPATCH_LINE, ENTRY);
	uint64_t off;

	if (room)
		at += VPATCH_LINE;
	if (!nops(at, ENTRY) || (room && literal && at % VPATCH_LINE != 0))
		return false;
	ret->at = vp_gva(at);
	ret->len = ENTRY;
	put(at, NOP);
	put(at + 4, NOP);
	ret->sequence = VP_SEQ_RISCV_PAIR;
	if (!room || !literal)
		return true;
	/* JALR adds a signed lower part: what it completes is rounded. */
	off = (uint64_t)(uintptr_t)vpatch_riscv64_dispatch - at + 0x800;
	put(at, AUIPC_T0 | ((uint32_t)off & 0xfffff000u));
	ret->sequence = VP_SEQ_RISCV_OPS_A;
	ret->literal = vp_gva(at - sizeof(uint64_t));
	/* Behind the entry: a CPU may still be on its way through the dispatcher when the entry is a
	 * nop again and the literal what it was. */
	*(volatile uint64_t *)(at - sizeof(uint64_t)) = at + ENTRY;
	return true;
}

#ifndef VPATCH_RISCV64_NO_SBI /* the guest runs in M-mode, or above something that is no SBI */
/* remote_fence_i of every hart that runs: RISC-V SBI, "RFENCE Extension" */
static void others_fence_i(void)
{
	register uintptr_t a0 __asm__("a0") = 0;             /* hart_mask */
	register uintptr_t a1 __asm__("a1") = (uintptr_t)-1; /* hart_mask_base: all of them */
	register uintptr_t a6 __asm__("a6") = 0;             /* FID */
	register uintptr_t a7 __asm__("a7") = 0x52464e43;    /* EID "RFNC" */

	__asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a6), "r"(a7) : "memory");
}
#else
static void others_fence_i(void)
{
}
#endif

/*
 * FENCE.I is the hart's own. For the others the stores come first, by a data fence, then each of them runs
 * one (RV unpriv., Zifencei). There is no cache to maintain by address.
 */
void vpatch_arch_sync(uintptr_t at, size_t len)
{
	(void)at;
	(void)len;
	__asm__ volatile("fence rw, rw" : : : "memory");
	others_fence_i();
	__asm__ volatile("fence.i" : : : "memory");
}

bool vpatch_arch_is_trap(uintptr_t pc)
{
	uint16_t first = __atomic_load_n((const uint16_t *)pc, __ATOMIC_ACQUIRE);

	return first == C_EBREAK || (first == (uint16_t)EBREAK && get(pc) == EBREAK);
}
