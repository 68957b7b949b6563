// SPDX-License-Identifier: GPL-2.0
/* Function entries as the kernel's own ftrace makes them, and what a branch reaches. */
#include <linux/ftrace.h>
#include <linux/kernel.h>
#include <linux/pgtable.h>
#include <linux/sizes.h>
#include "guest-stub/linux/vpatch_stub.h"
#include "protocol/bytes.h"

#ifdef CONFIG_X86_64

/* Modules are where call and jmp rel32 reach all of the kernel; Linux, Documentation/x86/x86_64/mm.rst */
int arch_reach(unsigned long *lo, unsigned long *hi)
{
	*lo = MODULES_VADDR;
	*hi = MODULES_END;
	return 0;
}

bool arch_site(unsigned long record, struct vp_site *ret)
{
	/* nopl 0(%rax,%rax); Intel SDM vol. 2B, NOP, table 4-12 */
	static const u8 nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	const u8 *text = (const u8 *)record;

	/* call rel32 while it is traced, int3 while that is being changed; SDM vol. 2A, CALL */
	if (memcmp(text, nop5, sizeof(nop5)) && text[0] != 0xe8 && text[0] != 0xcc)
		return false;
	ret->at = vp_gva(record);
	ret->sequence = VP_SEQ_X86_NOP5;
	ret->len = sizeof(nop5);
	memcpy(ret->rest, nop5, sizeof(nop5));
	return true;
}

unsigned long arch_record(const struct vp_site *site)
{
	return site->at.v;
}

bool arch_dispatcher(struct vp_dispatcher *ret)
{
	return false;
}

#else

/* A range in which `reach` bytes span the arena and all of [first, last). */
static int reach_of(const char *first, const char *last, unsigned long reach, unsigned long *lo,
		    unsigned long *hi)
{
	unsigned long start = ksym_address(first), end = ksym_address(last);

	if (!start || end <= start || end - start >= reach) {
		pr_err("the kernel's text cannot be told from %s and %s\n", first, last);
		return -ENOENT;
	}
	*lo = PAGE_ALIGN(end - reach);
	*hi = (start + reach) & PAGE_MASK;
	return 0;
}

#endif

#ifdef CONFIG_ARM64

/* b and bl: 128 MiB either way; Arm ARM DDI 0487, C6.2, BL. Modules are farther away than that. */
int arch_reach(unsigned long *lo, unsigned long *hi)
{
	return reach_of("_stext", "_etext", SZ_128M, lo, hi);
}

#define INSN_MOV_X9_X30 0xaa1e03e9 /* mov x9, x30: orr x9, xzr, x30; Arm ARM C6.2 */
#define INSN_NOP        0xd503201f
#define INSN_BL         0x94000000 /* and the upper six bits */

/* The record is the second word of the two; Linux, arch/arm64/kernel/ftrace.c, ftrace_call_adjust */
bool arch_site(unsigned long record, struct vp_site *ret)
{
	const u8 *text = (const u8 *)record - 4;
	u32 second = vp_ld32(text + 4);

	if (vp_ld32(text) != INSN_MOV_X9_X30 ||
	    (second != INSN_NOP && (second & 0xfc000000) != INSN_BL))
		return false;
	ret->at = vp_gva(record - 4);
	ret->sequence = VP_SEQ_ARM64_TWO;
	ret->len = 8;
	vp_st32(ret->rest, INSN_MOV_X9_X30);
	vp_st32(ret->rest + 4, INSN_NOP);
	return true;
}

unsigned long arch_record(const struct vp_site *site)
{
	return site->at.v + 4;
}

bool arch_dispatcher(struct vp_dispatcher *ret)
{
	return false;
}

#endif

#ifdef CONFIG_RISCV

/* auipc and jalr: 2 GiB either way; RISC-V unprivileged ISA 2.4. The kernel lies at the end of the address
 * space, and what is behind its beginning is its own. */
int arch_reach(unsigned long *lo, unsigned long *hi)
{
	int r = reach_of("_start", "_end", SZ_2G - SZ_4K, lo, hi);

	*hi = ksym_address("_start") & PAGE_MASK;
	return r;
}

#define INSN_NOP      0x00000013 /* addi x0, x0, 0; RISC-V unprivileged ISA 2.4 */
#define INSN_AUIPC_T0 0x00000297 /* and the upper twenty bits */
#define INSN_JALR_T0  0x000282e7 /* jalr t0, imm(t0), and the upper twelve bits */
#define is_auipc(w)   (((w)&0xfff) == INSN_AUIPC_T0)
#define is_jalr(w)    (((w)&0xfffff) == INSN_JALR_T0)

#ifdef CONFIG_DYNAMIC_FTRACE_WITH_CALL_OPS
static u64 ops_at_rest; /* what the literals of functions that nobody traces hold */

/*
 * The literal lies in front of the function, the record is its second word; Linux,
 * arch/riscv/kernel/ftrace.c, ftrace_call_adjust, and mcount-dyn.S, ftrace_caller.
 */
bool arch_site(unsigned long record, struct vp_site *ret)
{
	const u8 *text = (const u8 *)record - 4;
	u32 first = vp_ld32(text), second = vp_ld32(text + 4);

	if (!is_auipc(first) || (second != INSN_NOP && !is_jalr(second)))
		return false;
	if (second == INSN_NOP)
		ops_at_rest = vp_ld64(text - 8);
	if (!ops_at_rest)
		return false;
	ret->at = vp_gva(record - 4);
	ret->sequence = VP_SEQ_RISCV_OPS_A;
	ret->len = 8;
	ret->literal = vp_gva(record - 12);
	ret->literal_rest = ops_at_rest;
	ret->dispatcher = 0;
	vp_st32(ret->rest, first);
	vp_st32(ret->rest + 4, INSN_NOP);
	return true;
}

unsigned long arch_record(const struct vp_site *site)
{
	return site->at.v + 4;
}

bool arch_dispatcher(struct vp_dispatcher *ret)
{
	*ret = (struct vp_dispatcher){
		.at = vp_gva(ksym_address("ftrace_caller")),
		.reach = SZ_2G,
		.kind = VP_DISPATCHER_OPS,
		.reg = 5, /* t0, the end of the site; RISC-V ELF psABI, DWARF register numbers */
		.literal_off = -16,
		.inner_off = offsetof(struct ftrace_ops, func),
	};
	return true;
}
#else
bool arch_site(unsigned long record, struct vp_site *ret)
{
	const u8 *text = (const u8 *)record;
	u32 first = vp_ld32(text), second = vp_ld32(text + 4);

	if ((first != INSN_NOP && !is_auipc(first)) || (second != INSN_NOP && !is_jalr(second)))
		return false;
	ret->at = vp_gva(record);
	ret->sequence = VP_SEQ_RISCV_PAIR;
	ret->len = 8;
	vp_st32(ret->rest, INSN_NOP);
	vp_st32(ret->rest + 4, INSN_NOP);
	return true;
}

unsigned long arch_record(const struct vp_site *site)
{
	return site->at.v;
}

bool arch_dispatcher(struct vp_dispatcher *ret)
{
	return false;
}
#endif

#endif
