/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/hotfix/section.h"

#include <elf.h>
#include <string.h>

struct rule {
	const char *prefix; /* of the name, or the whole name */
	bool whole;
	enum section_fate fate;
	const char *why; /* SECTION_REFUSE: why, and what the author can do */
};

#define NO_TABLE "the running kernel reads that table only at boot or from a module"

/* The first rule that matches decides; what no rule names is refused. clang-format off */
static const struct rule rules[] = {
	{".vpatch.", false, SECTION_META, NULL},
	{".note.vpatch", true, SECTION_META, NULL},

	/* Not in memory, or for tools. */
	{".comment", true, SECTION_DROP, NULL},
	{".debug_", false, SECTION_DROP, NULL},
	{".discard", false, SECTION_DROP, NULL},
	{".note.GNU-stack", true, SECTION_DROP, NULL},
	{".note.gnu.property", true, SECTION_DROP,
	 NULL}, /* BTI, IBT: the code itself has the pads */
	{".llvm_addrsig", true, SECTION_DROP, NULL},
	{".modinfo", true, SECTION_DROP, NULL},
	/* Unwinding: a payload has none in the guest's tables (docs/coexistence.md). */
	{".orc_", false, SECTION_DROP, NULL},
	{".eh_frame", true, SECTION_DROP, NULL},
	{".init.eh_frame", true, SECTION_DROP, NULL},
	{".sframe", true, SECTION_DROP, NULL},
	/* Optimisations that the kernel makes at boot by rewriting the place; as compiled, the code
	 * keeps its lock prefixes and calls the guest's own thunks and trampolines. */
	{".smp_locks", true, SECTION_DROP, NULL},
	{".retpoline_sites", true, SECTION_DROP, NULL},
	{".return_sites", true, SECTION_DROP, NULL},
	{".call_sites", true, SECTION_DROP, NULL},
	{".static_call_sites", true, SECTION_DROP, NULL},
	{".ibt_endbr_seal", true, SECTION_DROP, NULL},
	{".cfi_sites", true, SECTION_DROP, NULL},

	{".altinstructions", true, SECTION_ALT, NULL},
	{".altinstr_replacement", true, SECTION_DROP, NULL}, /* only .altinstructions names it */

	{".altinstr_aux", true, SECTION_REFUSE,
	 "static_cpu_has() chooses there by a rewritten instruction: use boot_cpu_has()"},
	{".parainstructions", true, SECTION_REFUSE,
	 "a paravirtual call is rewritten at boot, unrewritten it is an unprotected indirect call: call a "
	 "kernel function that does it"},
	{"__ex_table", true, SECTION_REFUSE,
	 "a fault in the payload would find no fixup: reach user memory through functions of the "
	 "kernel, copy_from_user() and copy_to_user() on whole objects or _copy_from_user() and "
	 "_copy_to_user()"},
	{"__bug_table", true, SECTION_REFUSE,
	 "WARN and BUG trap and the running kernel would not know the trap: test the condition and "
	 "pr_warn(), or define VPATCH_PLAIN_WARN ahead of <vpatch/hotfix.h>"},
	{"__jump_table", true, SECTION_REFUSE,
	 "a static key is read by a rewritten instruction: test it with static_branch_likely() or "
	 "static_branch_unlikely() after <vpatch/hotfix.h>, which read the key"},
	{"__tracepoint", false, SECTION_REFUSE,
	 NO_TABLE ": do not define tracepoints, use those the kernel has"},
	{"_ftrace_events", true, SECTION_REFUSE, NO_TABLE ": do not define trace events"},
	{"__bpf_raw_tp_map", true, SECTION_REFUSE, NO_TABLE ": do not define tracepoints"},
	{"__trace_printk_fmt", true, SECTION_REFUSE, NO_TABLE ": use printk() for trace_printk()"},
	{"__dyndbg", false, SECTION_REFUSE,
	 NO_TABLE ": take pr_debug() and dev_dbg() out, or print with pr_info()"},
	{"__mcount_loc", true, SECTION_REFUSE,
	 "the payload was compiled for ftrace: build it with `vpatch build`"},
	{"__patchable_function_entries", true, SECTION_REFUSE,
	 "the payload was compiled for ftrace: build it with `vpatch build`"},
	{"__param", true, SECTION_REFUSE, NO_TABLE ": take module_param() out"},
	{"__ksymtab", false, SECTION_REFUSE, NO_TABLE ": take EXPORT_SYMBOL() out"},
	{"___ksymtab", false, SECTION_REFUSE, NO_TABLE ": take EXPORT_SYMBOL() out"},
	{".export_symbol", true, SECTION_REFUSE, NO_TABLE ": take EXPORT_SYMBOL() out"},
	{"__kcrctab", false, SECTION_REFUSE, NO_TABLE ": take EXPORT_SYMBOL() out"},
	{"___kcrctab", false, SECTION_REFUSE, NO_TABLE ": take EXPORT_SYMBOL() out"},
	{".initcall", false, SECTION_REFUSE,
	 "nobody would call it: take initcalls and module_init() out"},
	{".exitcall", false, SECTION_REFUSE,
	 "nobody would call it: take exitcalls and module_exit() out"},
	{".init.", false, SECTION_REFUSE,
	 "code and data of boot are freed: take __init out, or leave the function out"},
	{".exit.", false, SECTION_REFUSE, "nobody would call it: leave __exit functions out"},
	{".ctors", false, SECTION_REFUSE, "nobody would call constructors: take them out"},
	{".init_array", false, SECTION_REFUSE, "nobody would call constructors: take them out"},
	{".gnu.linkonce.this_module", true, SECTION_REFUSE,
	 "the payload is no module: give `vpatch build` the C file"},
	{"__versions", true, SECTION_REFUSE,
	 "the payload is no module: give `vpatch build` the C file"},
	{".data..percpu", false, SECTION_REFUSE,
	 "a per-CPU variable would need room in every CPU's area: use one the kernel has"},
	{".data.once", true, SECTION_REFUSE,
	 "the payload has no memory to remember that it printed: use printk_ratelimited's kernel-wide "
	 "sibling printk_ratelimit(), or print each time"},
	{".data..once", true, SECTION_REFUSE,
	 "the payload has no memory to remember that it printed: test printk_ratelimit(), or print "
	 "each time"},
	{".data", false, SECTION_REFUSE,
	 "the image is read-only in the guest: make it const, or keep the state in a variable that "
	 "the kernel has"},
	{".bss", false, SECTION_REFUSE,
	 "the image is read-only in the guest: keep the state in a variable that the kernel has"},
	{".tbss", false, SECTION_REFUSE, "kernel code has no thread-local memory: take it out"},
	{".tdata", false, SECTION_REFUSE, "kernel code has no thread-local memory: take it out"},
	{".noinstr.text", true, SECTION_REFUSE,
	 "the kernel's entry code relies on where such functions lie: take noinstr out"},
	{".entry.text", true, SECTION_REFUSE, "entry code cannot be replaced: leave it out"},
	{".kprobes.text", true, SECTION_REFUSE,
	 "the kernel keeps probes off such functions by where they lie: take __kprobes out"},
	{".cpuidle.text", true, SECTION_REFUSE,
	 "the kernel knows an idle CPU by where it stands: take __cpuidle out"},
	{".group", true, SECTION_REFUSE, "only C++ and KASAN make it: build as the kernel does"},

	{".text", false, SECTION_CARRY, NULL},
	{".sched.text", true, SECTION_CARRY,
	 NULL}, /* wchan shows the payload instead of its caller */
	{".spinlock.text", true, SECTION_CARRY, NULL},
	{".ref.text", true, SECTION_CARRY, NULL},
	{".rodata", false, SECTION_CARRY, NULL},
};
/* clang-format on */

static bool is_table(const struct obj_section *s)
{
	return s->type == SHT_NULL || s->type == SHT_SYMTAB || s->type == SHT_STRTAB ||
	       s->type == SHT_RELA;
}

enum section_fate section_fate(const struct obj_section *s, const char **why_ret)
{
	const struct rule *r = NULL;

	if (is_table(s))
		return SECTION_META;
	/* An empty section is a habit of the assembler. */
	if (s->size == 0)
		return SECTION_DROP;
	for (size_t i = 0; !r && i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].whole
			    ? strcmp(s->name, rules[i].prefix) == 0
			    : strncmp(s->name, rules[i].prefix, strlen(rules[i].prefix)) == 0)
			r = &rules[i];
	if (!r) {
		*why_ret =
			"vpatch does not know what the kernel does with it: leave out what makes it";
		return SECTION_REFUSE;
	}
	if (r->fate == SECTION_REFUSE)
		*why_ret = r->why;
	if (r->fate != SECTION_CARRY)
		return r->fate;
	if (s->type != SHT_PROGBITS || !(s->flags & SHF_ALLOC) ||
	    (s->flags & (SHF_WRITE | SHF_TLS | SHF_COMPRESSED | SHF_GROUP))) {
		*why_ret = "it is not plain read-only code or data: make it const";
		return SECTION_REFUSE;
	}
	return SECTION_CARRY;
}
