// SPDX-License-Identifier: LGPL-2.1-or-later
/* How Linux lays itself out on each architecture: from VMCOREINFO's numbers to page tables. */
#include "vmm-agent/guest/internal.h"

/* --- x86-64: Documentation/arch/x86/x86_64/mm.rst -------------------------------------------- */

#define X86_START_KERNEL_MAP 0xffffffff80000000ull
#define X86_KERNEL_IMAGE_MAX (1ull << 30) /* KERNEL_IMAGE_SIZE with KASLR; modules follow */

static bool x86_in_image(const struct vmcoreinfo *v, vp_gva_t at)
{
	(void)v;
	return at.v >= X86_START_KERNEL_MAP && at.v - X86_START_KERNEL_MAP < X86_KERNEL_IMAGE_MAX;
}

static int x86_derive(const struct vmcoreinfo *v, struct arch_mmu *mmu, uint64_t *voffset_ret)
{
	enum vmcoreinfo_num root =
		vmci_has(v, VMCI_INIT_TOP_PGT) ? VMCI_INIT_TOP_PGT : VMCI_SWAPPER;
	uint64_t voffset;

	if (!vmci_has(v, root) || !vmci_has(v, VMCI_PHYS_BASE) ||
	    v->num[VMCI_PAGESIZE] != GUEST_PAGE || !x86_in_image(v, vp_gva(v->num[root])))
		return VP_E_GUEST_CORRUPT;
	/* __pa() of an image address: x - __START_KERNEL_map + phys_base, which is signed */
	voffset = X86_START_KERNEL_MAP - v->num[VMCI_PHYS_BASE];
	*mmu = (struct arch_mmu){.granule_log = 12};
	mmu->levels = vmci_has(v, VMCI_L5) && v->num[VMCI_L5] ? 5 : 4;
	mmu->va_bits = mmu->levels == 5 ? 57 : 48;
	mmu->root = vp_gpa(v->num[root] - voffset);
	*voffset_ret = voffset;
	return VP_OK;
}

/*
 * KPTI clones the entry text into user tables by whole PMDs (arch/x86/mm/pti.c,
 * pti_clone_entry_text): what lies in them is mapped while user code runs.
 */
static const struct guest_reserved x86_reserved[] = {
	{"__entry_text_start", "__entry_text_end", 21},
	{"relocate_kernel", "relocate_kernel", 12}, /* copied away whole by kexec */
	{"restore_registers", "restore_registers", 12},
	{"core_restore_code", "core_restore_code", 12},
};

/* --- arm64: Documentation/arch/arm64/memory.rst ------------------------------------------------ */

/* The lower half of the kernel's space is the linear map since 5.4, the image lies in the upper;
 * before it was the other way round, and such kernels (without kallsyms in VMCOREINFO) are not read. */
static bool arm64_in_image(const struct vmcoreinfo *v, vp_gva_t at)
{
	uint64_t va_bits = vmci_has(v, VMCI_VA_BITS) ? v->num[VMCI_VA_BITS] : 0;

	if (va_bits < 36 || va_bits > 52)
		return false;
	/* _PAGE_END(VA_BITS_MIN), where VA_BITS_MIN is 48 at most */
	return at.v >= 0 - (1ull << ((va_bits > 48 ? 48 : va_bits) - 1));
}

/*
 * KERNELOFFSET is how far the image was moved from where it was linked: behind the modules' region
 * of 128 MiB (until 6.4) or 2 GiB, at the start of the upper half (arch/arm64/include/asm/memory.h,
 * KIMAGE_VADDR). _stext is 0 or 64 KiB into the image.
 */
static bool arm64_offset_fits(const struct vmcoreinfo *v)
{
	uint64_t half = 0 - (1ull << ((v->num[VMCI_VA_BITS] > 48 ? 48 : v->num[VMCI_VA_BITS]) - 1));
	uint64_t linked = v->num[VMCI_STEXT] - v->num[VMCI_KERNELOFFSET] - half;
	uint64_t base = linked & ~0x1fffffull, rest = linked & 0x1fffff;

	return (base == 128u << 20 || base == 2ull << 30) && (rest == 0 || rest == 0x10000);
}

static unsigned log2_of(uint64_t v)
{
	unsigned log = 0;

	while (v >>= 1)
		log++;
	return log;
}

static int arm64_derive(const struct vmcoreinfo *v, struct arch_mmu *mmu, uint64_t *voffset_ret)
{
	uint64_t t1sz = v->num[VMCI_T1SZ];
	unsigned granule = log2_of(v->num[VMCI_PAGESIZE]);
	unsigned per_level = granule - 3;

	if (!vmci_has(v, VMCI_SWAPPER) || !vmci_has(v, VMCI_KIMAGE_VOFFSET) ||
	    !vmci_has(v, VMCI_T1SZ) || t1sz < 12 || t1sz > 39 ||
	    (granule != 12 && granule != 14 && granule != 16) ||
	    v->num[VMCI_PAGESIZE] != 1ull << granule ||
	    !arm64_in_image(v, vp_gva(v->num[VMCI_SWAPPER])) || !arm64_offset_fits(v))
		return VP_E_GUEST_CORRUPT;
	*mmu = (struct arch_mmu){.granule_log = granule, .va_bits = 64 - (unsigned)t1sz};
	mmu->levels = (mmu->va_bits - granule + per_level - 1) / per_level;
	mmu->root = vp_gpa(v->num[VMCI_SWAPPER] - v->num[VMCI_KIMAGE_VOFFSET]);
	*voffset_ret = v->num[VMCI_KIMAGE_VOFFSET];
	return VP_OK;
}

/* Text that also runs with other tables or elsewhere: the identity map, EL2, the KPTI trampoline,
 * kexec and hibernation, which copy it. */
static const struct guest_reserved arm64_reserved[] = {
	{"__idmap_text_start", "__idmap_text_end", 0},
	{"__hyp_idmap_text_start", "__hyp_idmap_text_end", 0},
	{"__hyp_text_start", "__hyp_text_end", 0},
	{"__entry_tramp_text_start", "__entry_tramp_text_end", 0},
	{"tramp_vectors", "tramp_exit", 0},
	{"__relocate_new_kernel_start", "__relocate_new_kernel_end", 0},
	{"__hibernate_exit_text_start", "__hibernate_exit_text_end", 0},
	{"arm64_relocate_new_kernel", "arm64_relocate_new_kernel", 0},
	{"swsusp_arch_suspend_exit", "swsusp_arch_suspend_exit", 0},
};

/* --- riscv64: Documentation/arch/riscv/vm-layout.rst -------------------------------------------- */

/* KERNEL_LINK_ADDR (asm/pgtable.h): the last 2 GiB, whatever the size of the address space, and with
 * KASLR too. Modules, BPF and vmalloc lie below, and the linear map far below (PAGE_OFFSET). */
#define RISCV64_KERNEL_LINK_ADDR 0xffffffff80000000ull

static bool riscv64_in_image(const struct vmcoreinfo *v, vp_gva_t at)
{
	(void)v;
	return at.v >= RISCV64_KERNEL_LINK_ADDR;
}

/* NUMBER(va_kernel_pa_offset), since 6.5, is virtual minus physical address of the image, as the name
 * says it; VA_BITS is of the mode that the kernel has found the CPU to have. */
static int riscv64_derive(const struct vmcoreinfo *v, struct arch_mmu *mmu, uint64_t *voffset_ret)
{
	uint64_t va_bits = v->num[VMCI_VA_BITS], voffset = v->num[VMCI_VA_KERNEL_PA_OFFSET];

	if (!vmci_has(v, VMCI_SWAPPER) || !vmci_has(v, VMCI_VA_KERNEL_PA_OFFSET) ||
	    !vmci_has(v, VMCI_VA_BITS) || (va_bits != 39 && va_bits != 48 && va_bits != 57) ||
	    v->num[VMCI_PAGESIZE] != GUEST_PAGE || voffset % GUEST_PAGE ||
	    !riscv64_in_image(v, vp_gva(v->num[VMCI_SWAPPER])))
		return VP_E_GUEST_CORRUPT;
	*mmu = (struct arch_mmu){.granule_log = 12, .va_bits = (unsigned)va_bits};
	mmu->levels = (mmu->va_bits - 12) / 9;
	mmu->root = vp_gpa(v->num[VMCI_SWAPPER] - voffset);
	*voffset_ret = voffset;
	return VP_OK;
}

/* What is copied away, or runs with other tables: kexec and hibernation (arch/riscv/kernel). */
static const struct guest_reserved riscv64_reserved[] = {
	{"riscv_kexec_relocate", "riscv_kexec_norelocate", 0},
	{"hibernate_core_restore_code", "hibernate_core_restore_code", 0},
	{"hibernate_restore_image", "hibernate_restore_image", 0},
};

/* --- ppc64le: arch/powerpc/include/asm/page.h --------------------------------------------------------- */

/*
 * The kernel copies itself to the beginning of RAM (arch/powerpc/kernel/head_64.S, copy_to_here), where
 * the linear map has it at PAGE_OFFSET; only a crash kernel runs elsewhere, and is none to be patched.
 * Its image is part of the linear map, so any RAM close behind could pretend to be: see layout->blind.
 */
#define PPC64LE_PAGE_OFFSET 0xc000000000000000ull

static bool ppc64le_in_image(const struct vmcoreinfo *v, vp_gva_t at)
{
	(void)v;
	return at.v >= PPC64LE_PAGE_OFFSET && at.v - PPC64LE_PAGE_OFFSET < GUEST_IMAGE_MAX;
}

static int ppc64le_derive(const struct vmcoreinfo *v, struct arch_mmu *mmu, uint64_t *voffset_ret)
{
	if (v->num[VMCI_STEXT] != PPC64LE_PAGE_OFFSET ||
	    (v->num[VMCI_PAGESIZE] != 4096 && v->num[VMCI_PAGESIZE] != 65536))
		return VP_E_GUEST_CORRUPT;
	*mmu = (struct arch_mmu){.granule_log = 12, .va_bits = 64}; /* arch/ppc64le/walk.c */
	*voffset_ret = PPC64LE_PAGE_OFFSET;
	return VP_OK;
}

/* Interrupt vectors run with relocation off, at fixed real addresses; kexec copies the last one. */
static const struct guest_reserved ppc64le_reserved[] = {
	{"_stext", "__end_interrupts", 16},
	{"kexec_smp_wait", "kexec_sequence", 12},
	{"relocate_new_kernel", "relocate_new_kernel", 12},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* x86-64 links its per-CPU variables at 0 (until 6.14); they are some 200 KiB with every driver built in. */
#define X86_PERCPU_LEN (2u << 20)

static const struct guest_layout layouts[ARCH_COUNT] = {
	[ARCH_X86_64] = {.derive = x86_derive,
			 .in_image = x86_in_image,
			 .reserved = x86_reserved,
			 .n_reserved = COUNT(x86_reserved),
			 .percpu_len = X86_PERCPU_LEN},
	[ARCH_ARM64] = {.derive = arm64_derive,
			.in_image = arm64_in_image,
			.one_root = true,
			.reserved = arm64_reserved,
			.n_reserved = COUNT(arm64_reserved)},
	[ARCH_RISCV64] = {.derive = riscv64_derive,
			  .in_image = riscv64_in_image,
			  .reserved = riscv64_reserved,
			  .n_reserved = COUNT(riscv64_reserved)},
	[ARCH_PPC64LE] = {.derive = ppc64le_derive,
			  .in_image = ppc64le_in_image,
			  .blind = true,
			  .reserved = ppc64le_reserved,
			  .n_reserved = COUNT(ppc64le_reserved)},
};

const struct guest_layout *guest_layout(enum arch_id id)
{
	if ((unsigned)id >= COUNT(layouts) || !layouts[id].derive)
		return NULL;
	return &layouts[id];
}
