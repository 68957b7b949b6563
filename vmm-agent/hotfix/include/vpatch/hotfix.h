/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later */
/*
 * For authors of hotfixes. A hotfix is a C file, compiled by `vpatch build` against the headers of
 * the guest's kernel:
 *
 *	#include <vpatch/hotfix.h>
 *	#include <linux/seq_file.h>
 *
 *	static int fixed_show(struct seq_file *m, void *v)
 *	{
 *		seq_puts(m, "fixed\n");
 *		return 0;
 *	}
 *
 *	VPATCH_NAME("version-fix");
 *	VPATCH_VERSION("1");
 *	VPATCH_FIXES("CVE-2099-0001");
 *	VPATCH_REPLACE(version_proc_show, fixed_show);
 *
 * Functions and data of the kernel are used by declaring them, exported or not; the guest's own
 * symbol table gives their addresses. What a payload cannot have (writable data, WARN, ...) is
 * refused by name; docs/bundle.md lists it.
 *
 * It is included first: what is read here at run time would otherwise be an instruction that the
 * kernel rewrites at boot and never would in a payload, and the inline functions of other headers
 * must see it so. No structure changes its layout by it.
 */
#ifndef VPATCH_HOTFIX_H
#define VPATCH_HOTFIX_H

#ifdef __VPATCH_IMAGE__ /* of `vpatch build --image`: there is no kernel to include anything of */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define __used                __attribute__((used))
#define __section(name)       __attribute__((section(name)))
#define __aligned(n)          __attribute__((aligned(n)))
#define __vpatch_paste(a, b)  a##b
#define __vpatch_unique(a, b) __vpatch_paste(a, b)
#define __UNIQUE_ID(prefix)   __vpatch_unique(prefix, __COUNTER__)
#else

#ifndef __KERNEL__
#error "a hotfix is kernel code: compile it with vpatch build"
#endif
#if defined(_LINUX_JUMP_LABEL_H) || defined(_LINUX_BUG_H)
#error "include <vpatch/hotfix.h> ahead of every other header"
#endif

/* A payload stands for code of the kernel proper, which is not a module. */
#undef MODULE

#include <linux/compiler.h>
#include <linux/types.h>
#include <linux/version.h>

/* --- CPU features ------------------------------------------------------------------------------ */

#ifdef CONFIG_ARM64
#include <asm/alternative-macros.h>
#include <asm/cpucaps.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#define __vpatch_cpucaps system_cpucaps
#else
#define __vpatch_cpucaps cpu_hwcaps
#endif
extern unsigned long __vpatch_cpucaps[(ARM64_NCAPS + 63) / 64];

/* The kernel's own answer, out of its bitmap. The LL/SC atomics are right on every CPU. */
static __always_inline bool __vpatch_cpucap(unsigned long cap)
{
	if (cap == ARM64_HAS_LSE_ATOMICS)
		return false;
#ifdef ARM64_ALWAYS_SYSTEM
	if (cap == ARM64_ALWAYS_BOOT || cap == ARM64_ALWAYS_SYSTEM)
		return true;
#endif
	return *(const volatile unsigned long *)&__vpatch_cpucaps[cap / 64] >> (cap % 64) & 1;
}
#define alternative_has_feature_likely(cap)   __vpatch_cpucap(cap)
#define alternative_has_feature_unlikely(cap) __vpatch_cpucap(cap)
#define alternative_has_cap_likely(cap)       __vpatch_cpucap(cap)
#define alternative_has_cap_unlikely(cap)     __vpatch_cpucap(cap)
#endif

/* --- WARN and BUG without a table, where the author asks for it --------------------------------- */

/*
 * With VPATCH_PLAIN_WARN defined ahead of this file, WARN and WARN_ON call the kernel's function that
 * warns instead of trapping into it, and the _ONCE ones, which would have to remember, are held back
 * by the kernel's printk_ratelimit(). BUG says where and traps.
 */
#ifdef VPATCH_PLAIN_WARN
#include <linux/bug.h>
#include <linux/printk.h>

#define __vpatch_here                     \
	({                                \
		__label__ __vpatch_label; \
	__vpatch_label:                   \
		(void *)&&__vpatch_label; \
	})
#define __vpatch_warn_if(condition, allowed, taint, print...)                         \
	({                                                                            \
		int __vpatch_ret = !!(condition);                                     \
		if (unlikely(__vpatch_ret) && (allowed)) {                            \
			print;                                                        \
			__warn(__FILE__, __LINE__, __vpatch_here, taint, NULL, NULL); \
		}                                                                     \
		unlikely(__vpatch_ret);                                               \
	})
#undef WARN
#undef WARN_ON
#undef WARN_ONCE
#undef WARN_ON_ONCE
#undef WARN_TAINT
#undef WARN_TAINT_ONCE
#undef BUG
#undef BUG_ON
#define WARN_ON(condition)      __vpatch_warn_if(condition, true, TAINT_WARN, (void)0)
#define WARN_ON_ONCE(condition) __vpatch_warn_if(condition, printk_ratelimit(), TAINT_WARN, (void)0)
#define WARN(condition, format...) \
	__vpatch_warn_if(condition, true, TAINT_WARN, printk(KERN_WARNING format))
#define WARN_ONCE(condition, format...) \
	__vpatch_warn_if(condition, printk_ratelimit(), TAINT_WARN, printk(KERN_WARNING format))
#define WARN_TAINT(condition, taint, format...) \
	__vpatch_warn_if(condition, true, taint, printk(KERN_WARNING format))
#define WARN_TAINT_ONCE(condition, taint, format...) \
	__vpatch_warn_if(condition, printk_ratelimit(), taint, printk(KERN_WARNING format))
#ifdef CONFIG_X86_64
#define __VPATCH_TRAP "ud2"
#else
#define __VPATCH_TRAP "brk #0x800" /* BUG_BRK_IMM */
#endif
#define BUG()                                                                   \
	do {                                                                    \
		printk(KERN_CRIT "kernel BUG at %s:%d!\n", __FILE__, __LINE__); \
		asm volatile(__VPATCH_TRAP);                                    \
		unreachable();                                                  \
	} while (0)
#define BUG_ON(condition)                \
	do {                             \
		if (unlikely(condition)) \
			BUG();           \
	} while (0)
#endif /* VPATCH_PLAIN_WARN */

/* --- static keys: read, not rewritten ---------------------------------------------------------- */

#include <linux/jump_label.h>

/* -1 means that somebody is enabling it just now, which counts as enabled. */
#define __vpatch_key(key) (READ_ONCE((key)->enabled.counter) != 0)
#undef static_branch_likely
#undef static_branch_unlikely
#undef static_key_false
#undef static_key_true
#define static_branch_likely(x)   likely(__vpatch_key(&(x)->key))
#define static_branch_unlikely(x) unlikely(__vpatch_key(&(x)->key))
#define static_key_false(key)     unlikely(__vpatch_key(key))
#define static_key_true(key)      likely(__vpatch_key(key))

#ifdef CONFIG_ARM64
#include <asm/irqflags.h>
#include <asm/percpu.h>
#include <asm/sysreg.h>

/* The per-CPU offset is in the register of the exception level that the kernel runs at. */
static __always_inline unsigned long __vpatch_my_cpu_offset(void)
{
	unsigned long el, off;

	asm("mrs %0, CurrentEL" : "=r"(el)); /* bits 3:2; DDI 0487 C5.2.1 */
	if (unlikely((el & 0xc) == 0x8))
		asm("mrs %0, tpidr_el2"
		    : "=r"(off)
		    : "Q"(*(const unsigned long *)current_stack_pointer));
	else
		asm("mrs %0, tpidr_el1"
		    : "=r"(off)
		    : "Q"(*(const unsigned long *)current_stack_pointer));
	return off;
}
#undef __my_cpu_offset
#define __my_cpu_offset __vpatch_my_cpu_offset()

/* Interrupts are masked in DAIF, or with pseudo-NMIs in the GIC's priority mask. */
#ifdef ARM64_HAS_GIC_PRIO_MASKING
#define __VPATCH_PMR ARM64_HAS_GIC_PRIO_MASKING
#else
#define __VPATCH_PMR ARM64_HAS_IRQ_PRIO_MASKING
#endif
#ifdef CONFIG_ARM64_PSEUDO_NMI
#define __vpatch_pmr() unlikely(__vpatch_cpucap(__VPATCH_PMR))
#else
#define __vpatch_pmr() false
#endif

static __always_inline unsigned long __vpatch_save_flags(void)
{
	unsigned long flags;

	if (__vpatch_pmr())
		return read_sysreg_s(SYS_ICC_PMR_EL1);
	asm volatile("mrs %0, daif" : "=r"(flags) : : "memory");
	return flags;
}

static __always_inline void __vpatch_restore(unsigned long flags)
{
	if (__vpatch_pmr()) {
		barrier();
		write_sysreg_s(flags, SYS_ICC_PMR_EL1);
		/* Unmasking must be seen by the GIC; harmless where it is not needed. */
		asm volatile("dsb sy" : : : "memory");
		return;
	}
	asm volatile("msr daif, %0" : : "r"(flags) : "memory");
}

static __always_inline void __vpatch_irq_enable(void)
{
	if (__vpatch_pmr())
		__vpatch_restore(GIC_PRIO_IRQON);
	else
		asm volatile("msr daifclr, #3" : : : "memory");
}

static __always_inline void __vpatch_irq_disable(void)
{
	if (__vpatch_pmr()) {
		write_sysreg_s(GIC_PRIO_IRQOFF, SYS_ICC_PMR_EL1);
		barrier();
	} else {
		asm volatile("msr daifset, #3" : : : "memory");
	}
}

static __always_inline int __vpatch_flags_off(unsigned long flags)
{
	if (__vpatch_pmr())
		return (int)flags != GIC_PRIO_IRQON;
	return !!(flags & PSR_I_BIT);
}

static __always_inline unsigned long __vpatch_irq_save(void)
{
	unsigned long flags = __vpatch_save_flags();

	if (!__vpatch_flags_off(flags))
		__vpatch_irq_disable();
	return flags;
}
#define arch_local_irq_enable()         __vpatch_irq_enable()
#define arch_local_irq_disable()        __vpatch_irq_disable()
#define arch_local_save_flags()         __vpatch_save_flags()
#define arch_irqs_disabled_flags(flags) __vpatch_flags_off(flags)
#define arch_irqs_disabled()            __vpatch_flags_off(__vpatch_save_flags())
#define arch_local_irq_save()           __vpatch_irq_save()
#define arch_local_irq_restore(flags)   __vpatch_restore(flags)
#endif /* CONFIG_ARM64 */

#ifdef CONFIG_X86_64
#ifdef CONFIG_PARAVIRT
#include <asm/paravirt_types.h>
#ifdef _ASM_X86_PARAVIRT_H
#error "<asm/paravirt.h> came before the paravirtual calls could be made safe: tell vpatch"
#endif
/* The kernel turns these indirect calls into direct ones at boot; a payload calls through the
 * kernel's own retpoline. rax carries no argument of any of them. */
#if defined(paravirt_alt) && defined(CONFIG_RETPOLINE)
#undef paravirt_alt
#undef PARAVIRT_CALL
#undef ____PVOP_ALT_CALL
#define paravirt_alt(insn) insn
#define PARAVIRT_CALL      "movq %[paravirt_opptr], %%rax\n\tcall __x86_indirect_thunk_rax\n\t"
#define ____PVOP_ALT_CALL(ret, op, alt, cond, clbr, call_clbr, extra_clbr, ...) \
	({                                                                      \
		PVOP_CALL_ARGS;                                                 \
		PVOP_TEST_NULL(op);                                             \
		asm volatile(PARAVIRT_CALL                                      \
			     : call_clbr, ASM_CALL_CONSTRAINT                   \
			     : paravirt_type(op), ##__VA_ARGS__                 \
			     : "memory", "cc" extra_clbr);                      \
		ret;                                                            \
	})
#endif
#endif
#include <asm/cpufeature.h>
#undef static_cpu_has
#define static_cpu_has(bit) boot_cpu_has(bit)
#endif /* CONFIG_X86_64 */

/*
 * Features whose alternatives only make code faster: the instruction as compiled is right on every
 * CPU. `vpatch build` refuses alternatives on any other.
 */
#include <asm/alternative.h>
static const u16 __vpatch_alt[] __used __section(".vpatch.alt") __aligned(2) = {
	sizeof(struct alt_instr),
#ifdef CONFIG_ARM64
	ARM64_HAS_LSE_ATOMICS,
#endif
#ifdef CONFIG_X86_64
	X86_FEATURE_REP_GOOD,     X86_FEATURE_ERMS, X86_FEATURE_FSRM,          X86_FEATURE_POPCNT,
	X86_FEATURE_XMM,          X86_FEATURE_XMM2, X86_FEATURE_3DNOWPREFETCH,
#endif
};

#endif /* __VPATCH_IMAGE__ */

/* --- what an author writes --------------------------------------------------------------------- */

/* In the order of the source, which gcc turns round if it may. */
#define __vpatch_section(name) __used __attribute__((no_reorder)) __section(name) __aligned(1)
#define __vpatch_meta(string) \
	static const char __UNIQUE_ID(vpatch_meta)[] __vpatch_section(".vpatch.meta") = string
#define __vpatch_keep(function)                                                              \
	static const void *const __UNIQUE_ID(vpatch_keep) __used __section(".vpatch.keep") = \
		(const void *)(function)

/* Letters, digits and ._+-; the file's name is the default. At most 63 characters. */
#define VPATCH_NAME(string)        __vpatch_meta("name=" string)
/* The same characters, at most 31; "1" is the default. A higher version replaces a lower one. */
#define VPATCH_VERSION(string)     __vpatch_meta("version=" string)
/* One line each, at most 1023 characters of printable ASCII. */
#define VPATCH_FIXES(string)       __vpatch_meta("fixes=" string)
#define VPATCH_AUTHOR(string)      __vpatch_meta("author=" string)
#define VPATCH_DESCRIPTION(string) __vpatch_meta("description=" string)

/* Calls of the kernel's function `old` go to `new`, a function of this file. `old` must be the only
 * one of its name; otherwise say which, counting from 1 in the order of /proc/kallsyms. */
#define VPATCH_REPLACE(old, new)                   \
	__vpatch_meta("replace=" #old ",0," #new); \
	__vpatch_keep(new)
#define VPATCH_REPLACE_NTH(old, sympos, new)                 \
	__vpatch_meta("replace=" #old "," #sympos "," #new); \
	__vpatch_keep(new)

/*
 * Sites of the guest's site table, by the names that vpatch sites lists: what stands there becomes a
 * call or a branch to a function of this file, nothing, or one instruction in hexadecimal, as it lies in
 * memory: VPATCH_SITE_WORD(tick, "1f2003d5"). A name may have any printable characters but the comma.
 *
 * Of a site that is a data word (FUNCTION.literal of the stub for Linux), VPATCH_SITE_CALL makes the word
 * the function's address; consistency is then entry. A site whose dispatcher loads a literal is switched
 * by that literal: VPATCH_REPLACE of a function, VPATCH_SITE_CALL of the others.
 */
#define VPATCH_SITE_CALL(site, function)                 \
	__vpatch_meta("site.call=" #site "," #function); \
	__vpatch_keep(function)
#define VPATCH_SITE_JUMP(site, function)                 \
	__vpatch_meta("site.jump=" #site "," #function); \
	__vpatch_keep(function)
#define VPATCH_SITE_NOP(site)       __vpatch_meta("site.nop=" #site)
#define VPATCH_SITE_WORD(site, hex) __vpatch_meta("site.word=" #site "," hex)

/* The compiler's clones of `old` (".constprop.0", ...) that the author has looked at and that may
 * stay as they are: their full names, separated by spaces. */
#define VPATCH_CLONES(old, string) __vpatch_meta("clones=" #old "," string)

/* The kernel has several symbols of this name: which one a declaration means, counting from 1. */
#define VPATCH_SYMBOL(name, sympos)           __vpatch_meta("symbol=" #name "," #name "," #sympos)
/* The same under a name of the author's own, for one that a header has taken or for two of them. */
#define VPATCH_SYMBOL_AS(alias, name, sympos) __vpatch_meta("symbol=" #alias "," #name "," #sympos)

/* Each call sees old or new, function by function: the default for one function. */
#define VPATCH_CONSISTENCY_ENTRY   __vpatch_meta("consistency=entry")
/* No vCPU and no task inside any replaced function: the default for several. */
#define VPATCH_CONSISTENCY_QUIESCE __vpatch_meta("consistency=quiesce")

#endif /* VPATCH_HOTFIX_H */
