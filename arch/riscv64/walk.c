// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sv39, Sv48 and Sv57: The RISC-V Instruction Set Manual, volume II (RV priv.), "Supervisor-Level
 * ISA", with Svnapot and Svpbmt. All levels have the same entry:
 *
 *   63   62..61   60..54     53 ............ 10   9..8   7 6 5 4 3 2 1 0
 *   N    PBMT     reserved   PPN                  RSW    D A G U X W R V
 *
 * With R, W and X clear it points to the next table; else it is a page, however high it stands. One
 * root translates all: user addresses in the lower half, and the kernel, of which every process has a
 * copy of the top entries, in the upper.
 */
#include "arch/riscv64/regs.h"
#include "arch/riscv64/riscv64.h"
#include "protocol/bytes.h"

#define PTE_V        (1ull << 0)
#define PTE_R        (1ull << 1)
#define PTE_W        (1ull << 2)
#define PTE_X        (1ull << 3)
#define PTE_U        (1ull << 4)
#define PTE_A        (1ull << 6)
#define PTE_D        (1ull << 7)
#define PTE_PPN      0x003ffffffffffc00ull
#define PTE_RESERVED (0x7full << 54)
#define PTE_PBMT     (3ull << 61) /* 0 to 2; 3 is reserved */
#define PTE_N        (1ull << 63)

#define PAGE_LOG  12
#define INDEX_LOG 9
#define PPN_LOG   10 /* where an entry's PPN begins */
#define PA_BITS   56

#define NAPOT_PPN 8ull /* ppn[0] is xxxxx1000: 64 KiB, the one size there is; "Svnapot" */
#define NAPOT_LOG 16

int riscv64_mmu_from_regs(const struct arch_regs *regs, struct arch_mmu *ret)
{
	struct arch_mmu mmu = {.granule_log = PAGE_LOG};
	uint64_t satp;

	if (!(regs->have & 1u << RISCV64_REG_SATP))
		return VP_E_UNSUPPORTED;
	/*
	 * Whatever the privilege, in M-mode too, satp is the supervisor's own. (A nested guest of
	 * the hypervisor extension has another; its tables do not map this kernel's text.)
	 */
	if ((regs->have & 1u << RISCV64_REG_PRIV) &&
	    (regs->v[RISCV64_REG_PRIV] & 3) == RISCV64_PRIV_NONE)
		return VP_E_UNSUPPORTED;
	satp = regs->v[RISCV64_REG_SATP];
	switch (RISCV64_SATP_MODE(satp)) {
	case RISCV64_SATP_SV39:
		mmu.levels = 3;
		break;
	case RISCV64_SATP_SV48:
		mmu.levels = 4;
		break;
	case RISCV64_SATP_SV57:
		mmu.levels = 5;
		break;
	default: /* Bare, and what is reserved or for custom use */
		return VP_E_UNSUPPORTED;
	}
	mmu.va_bits = PAGE_LOG + INDEX_LOG * mmu.levels;
	mmu.root = vp_gpa(RISCV64_SATP_PPN(satp) << PAGE_LOG);
	*ret = mmu;
	return VP_OK;
}

/* RV priv., "Supervisor Address Translation and Protection (satp) Register": MODE 0 is Bare, and
 * M-mode has no translation at all. U-mode's view is what PMP leaves of it, which nobody reads. */
int riscv64_mmu_off(const struct arch_regs *regs, struct arch_mmu *ret)
{
	const uint32_t need = 1u << RISCV64_REG_SATP | 1u << RISCV64_REG_PRIV;
	uint64_t priv = regs->v[RISCV64_REG_PRIV];

	if ((regs->have & need) != need || (priv & 3) == RISCV64_PRIV_NONE ||
	    RISCV64_SATP_MODE(regs->v[RISCV64_REG_SATP]))
		return VP_E_UNSUPPORTED;
	if ((priv & 3) == RISCV64_PRIV_U)
		return VP_E_PERM;
	*ret = (struct arch_mmu){.granule_log = PAGE_LOG};
	return VP_OK;
}

static bool mmu_is_sound(const struct arch_mmu *mmu)
{
	if (mmu->granule_log != PAGE_LOG || mmu->levels < 3 || mmu->levels > 5)
		return false;
	if (mmu->va_bits != PAGE_LOG + INDEX_LOG * mmu->levels)
		return false;
	return !(mmu->root.v & ((1ull << PAGE_LOG) - 1)) && mmu->root.v >> PA_BITS == 0;
}

/*
 * "Virtual Address Translation Process": what makes the hardware fault for the entry's own sake. An
 * entry that may be written but not read is reserved (Zicfiss has taken one for user space's shadow
 * stacks, which are none of the kernel's pages).
 */
static bool entry_is_sound(uint64_t pte, unsigned shift)
{
	if (pte & PTE_RESERVED)
		return false;
	if (!(pte &
	      (PTE_R | PTE_W | PTE_X))) /* a table: nothing else may be set, and not the last */
		return shift > PAGE_LOG && !(pte & (PTE_N | PTE_PBMT | PTE_U | PTE_A | PTE_D));
	if ((pte & (PTE_R | PTE_W)) == PTE_W || (pte & PTE_PBMT) == PTE_PBMT)
		return false;
	if (pte & PTE_N)
		return shift == PAGE_LOG && (pte >> PPN_LOG & 15) == NAPOT_PPN;
	/* A large page lies at a multiple of its size. */
	return !((pte & PTE_PPN) >> PPN_LOG & ((1ull << (shift - PAGE_LOG)) - 1));
}

/* A and D do not matter: whether hardware or a fault sets them, the page is mapped. */
static struct arch_xlate leaf(uint64_t pte, unsigned shift, vp_gva_t at)
{
	unsigned log = pte & PTE_N ? NAPOT_LOG : shift;
	uint64_t mask = (1ull << log) - 1;
	uint64_t pa = (pte & PTE_PPN) >> PPN_LOG << PAGE_LOG;

	return (struct arch_xlate){
		.gpa = vp_gpa((pa & ~mask) | (at.v & mask)),
		.page_log = log,
		.present = true,
		.writable = pte & PTE_W,
		.executable = (pte & PTE_X) && !(pte & PTE_U), /* never by S-mode */
		.user = pte & PTE_U,
	};
}

int riscv64_walk(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn fetch, void *ctx,
		 struct arch_xlate *ret)
{
	uint64_t table = mmu->root.v;
	uint64_t sign;
	unsigned shift;

	if (!mmu->levels)
		return arch_walk_off(mmu, at, ret);
	if (!mmu_is_sound(mmu))
		return VP_E_UNSUPPORTED;
	sign = at.v >> (mmu->va_bits - 1);
	if (sign != 0 && sign != UINT64_MAX >> (mmu->va_bits - 1))
		return VP_E_UNMAPPED;
	shift = PAGE_LOG + INDEX_LOG * (mmu->levels - 1);

	for (;; shift -= INDEX_LOG) { /* ends where a table is no sound entry any more */
		uint64_t index = at.v >> shift & ((1u << INDEX_LOG) - 1);
		uint8_t raw[8];
		uint64_t pte;
		int r;

		r = fetch(ctx, vp_gpa(table + 8 * index), raw, sizeof(raw));
		if (r < 0)
			return r;
		pte = vp_ld64(raw);
		if (!(pte & PTE_V)) {
			*ret = (struct arch_xlate){.page_log = shift};
			return VP_OK;
		}
		if (!entry_is_sound(pte, shift))
			return VP_E_GUEST_CORRUPT;
		if (pte & (PTE_R | PTE_W | PTE_X)) {
			*ret = leaf(pte, shift, at);
			return VP_OK;
		}
		table = (pte & PTE_PPN) >> PPN_LOG << PAGE_LOG;
	}
}
