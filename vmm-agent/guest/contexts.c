// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whether anybody stands inside a piece of text: what runs, and what will go on running. Conservative:
 * every word of a kernel stack may be a return address or the place where an interrupt came.
 *
 *   init_task.tasks -> task_struct.tasks -> ...             every process,
 *   task.signal->thread_head -> task_struct.thread_node     and its threads
 *   task.stack .. its guard page                            from the saved stack pointer on
 *   vCPU: pc, link register, what its stack pointer points to
 *
 * Tasks on a CPU are looked at as vCPUs, whose stacks they are; below a stack pointer only what has been
 * lies. One on no vCPU's stack runs in user mode, as long as no more are so than vCPUs are; otherwise its
 * stack is looked through whole.
 *
 * An interrupt's stack is not the task's. What it interrupted is linked from it: x86-64 puts the old
 * stack pointer into its last word (arch/x86/include/asm/irq_stack.h) or, where the CPU itself switches,
 * as the last but one (Intel SDM vol. 3, 6.14.2); elsewhere frame records go on from one stack to the
 * other. Idle tasks are in no list: they stand in the functions of parked[], and nowhere else, because
 * they are not preempted (kernel/sched/idle.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define STACK_MIN  (16u << 10) /* THREAD_SIZE of all of them without KASAN */
#define STACK_MAX  (64u << 10) /* no kernel stack is larger; a guard page ends it before */
#define LINKS_MAX  5u          /* words of an exception's frame at the top of its stack */
#define HOPS_MAX   4u          /* stacks of one vCPU: task, interrupt, NMI and one more */
#define LOOSE_MAX  VP_VCPU_MAX
#define FRAMES_MAX 512u
#define TASKS_MAX  (1u << 20)
#define COMM_LEN   16u

struct contexts {
	struct guest *g;
	struct mem_cache *cache;
	const struct guest_span *spans;
	size_t n_spans;
	vp_gva_t init_task;
	uint64_t *stacks; /* where vCPUs were followed to, HOPS_MAX each */
	unsigned n_stacks, n_user;
	uint64_t loose[LOOSE_MAX]; /* tasks on a CPU and on no vCPU's stack */
	unsigned n_loose;
	uint32_t tasks, signal, thread_node, thread_head, stack, pid, comm, on_cpu, saved_sp;
	uint8_t page[GUEST_PAGE];
};

static bool members(struct contexts *c)
{
	const struct btf *b = &c->g->btf;
	uint32_t thread, context = 0, sp;

	if (!btf_member(b, "task_struct", "tasks", &c->tasks) ||
	    !btf_member(b, "task_struct", "signal", &c->signal) ||
	    !btf_member(b, "task_struct", "thread_node", &c->thread_node) ||
	    !btf_member(b, "task_struct", "stack", &c->stack) ||
	    !btf_member(b, "task_struct", "pid", &c->pid) ||
	    !btf_member(b, "task_struct", "comm", &c->comm) ||
	    !btf_member(b, "task_struct", "on_cpu", &c->on_cpu) ||
	    !btf_member(b, "task_struct", "thread", &thread) ||
	    !btf_member(b, "signal_struct", "thread_head", &c->thread_head))
		return false;
	/* x86-64 and riscv64; ppc64; arm64 */
	if (!btf_member(b, "thread_struct", "sp", &sp) &&
	    !btf_member(b, "thread_struct", "ksp", &sp) &&
	    (!btf_member(b, "thread_struct", "cpu_context", &context) ||
	     !btf_member(b, "cpu_context", "sp", &sp)))
		return false;
	c->saved_sp = thread + context + sp;
	return true;
}

void guest_contexts_destroy(struct contexts *c)
{
	if (!c)
		return;
	mem_cache_destroy(c->cache);
	free(c->stacks);
	free(c);
}

static int create(struct guest *g, struct diag *diag, struct contexts **ret)
{
	struct contexts *c = calloc(1, sizeof(*c));
	struct guest_sym sym;
	int r = VP_OK;

	if (!c)
		return diag_set(diag, VP_E_NOMEM, "list of tasks: no memory");
	c->g = g;
	c->cache = mem_cache_create(g->t);
	c->stacks = calloc((size_t)vp_target_info(g->t)->vcpus * HOPS_MAX, sizeof(*c->stacks));
	if (!c->cache || !c->stacks)
		r = diag_set(diag, VP_E_NOMEM, "page cache: no memory");
	else if (!members(c) || guest_sym(g, "init_task", 0, NULL, &sym) < 0)
		r = diag_set(
			diag, VP_E_QUIESCE,
			"the tasks of this kernel cannot be walked (no BTF, or init_task is not "
			"found), so nobody can tell who stands inside the functions: if each "
			"call may see old or new by itself, build it with \"entry\"");
	if (r < 0) {
		guest_contexts_destroy(c);
		return r;
	}
	c->init_task = sym.addr;
	*ret = c;
	return VP_OK;
}

static const struct guest_span *span_of(const struct contexts *c, uint64_t at)
{
	for (size_t i = 0; i < c->n_spans; i++)
		if (at > c->spans[i].at.v && at - c->spans[i].at.v < c->spans[i].len)
			return &c->spans[i];
	return NULL;
}

int guest_outside_prepare(struct guest *g, const struct guest_span *spans, size_t n,
			  struct diag *diag)
{
	static const char *const parked[] = {
		"do_idle",         "cpu_startup_entry",      "schedule_idle", "__schedule",
		"__switch_to",     "__switch_to_asm",        "cpu_switch_to", "_switch",
		"start_secondary", "secondary_start_kernel", "smp_callin"};
	int r = g->contexts ? VP_OK : create(g, diag, &g->contexts);

	for (size_t i = 0; r == VP_OK && i < sizeof(parked) / sizeof(parked[0]); i++) {
		struct guest_sym sym;

		if (guest_sym(g, parked[i], 0, NULL, &sym) < 0)
			continue;
		for (size_t j = 0; j < n; j++)
			if (spans[j].at.v - sym.addr.v < sym.size ||
			    sym.addr.v - spans[j].at.v < spans[j].len)
				return diag_set(diag, VP_E_QUIESCE,
						"idle tasks always stand inside %s: it can only be "
						"replaced with consistency \"entry\"",
						parked[i]);
	}
	return r;
}

static int ld(struct contexts *c, uint64_t at, void *buf, size_t len)
{
	return mem_read(c->g->t, c->cache, &c->g->info.mmu, vp_gva(at), MEM_KERNEL, buf, len);
}

static int ld_ptr(struct contexts *c, uint64_t at, uint64_t *ret)
{
	uint8_t raw[8];
	int r = ld(c, at, raw, sizeof(raw));

	if (r == VP_OK)
		*ret = vp_ld64(raw);
	return r;
}

/* --- one stack ---------------------------------------------------------------------------------- */

static int say_inside(struct contexts *c, uint64_t at, const char *who, struct diag *diag)
{
	char where[160];

	guest_sym_words(c->g, vp_gva(at), where, sizeof(where));
	return diag_set(diag, VP_E_SITE_IN_USE, "%s stands in %s (%#" PRIx64 "): try again", who,
			where, at);
}

/*
 * Every word from sp to the end of what is mapped there. links (may be NULL) gets the last words of it.
 * *hit_ret is the address inside a span, 0 if there is none.
 */
static int scan(struct contexts *c, uint64_t sp, uint64_t links[LINKS_MAX], uint64_t *hit_ret)
{
	uint64_t at = sp & ~7ull, end = at + STACK_MAX;

	*hit_ret = 0;
	while (at < end) {
		size_t off = (size_t)(at % GUEST_PAGE), len = GUEST_PAGE - off;
		int r = ld(c, at, c->page + off, len);

		if (guest_err_is_fatal(r))
			return r;
		if (r < 0)
			break; /* the guard page, or no stack at all */
		for (size_t i = off; i < GUEST_PAGE; i += 8) {
			uint64_t word = vp_ld64(c->page + i);

			if (word & GUEST_KERNEL_HALF && span_of(c, word | GUEST_KERNEL_TOP)) {
				*hit_ret = word | GUEST_KERNEL_TOP;
				return VP_OK;
			}
		}
		for (unsigned i = 0; links && i < LINKS_MAX; i++)
			links[i] = off < GUEST_PAGE - 8 * (i + 1)
					   ? vp_ld64(c->page + GUEST_PAGE - 8 * (i + 1))
					   : 0;
		at += len;
	}
	return VP_OK;
}

/* --- vCPUs -------------------------------------------------------------------------------------- */

static bool kernel_stack(uint64_t at)
{
	return at & GUEST_KERNEL_HALF && at % 8 == 0;
}

/* The frame record after those on the stack that begins at sp: one on another stack, or 0. */
static uint64_t frame_elsewhere(struct contexts *c, uint64_t sp, uint64_t fp)
{
	for (unsigned i = 0; i < FRAMES_MAX && kernel_stack(fp); i++) {
		if (fp < sp || fp - sp >= STACK_MAX)
			return fp;
		if (ld_ptr(c, fp, &fp) < 0)
			return 0;
	}
	return 0;
}

static int look_at_vcpu(struct contexts *c, unsigned vcpu, const struct arch_regs *regs,
			struct diag *diag)
{
	uint64_t pc = regs->v[ARCH_REG_PC], sp = regs->v[ARCH_REG_SP], hit = 0;
	uint64_t fp = regs->have & 1u << ARCH_REG_FP ? regs->v[ARCH_REG_FP] : 0;
	char who[32];

	snprintf(who, sizeof(who), "vCPU %u", vcpu);
	if (!(regs->have & 1u << ARCH_REG_PC) || !(regs->have & 1u << ARCH_REG_SP))
		return diag_set(diag, VP_E_QUIESCE, "vCPU %u: its registers are not all given",
				vcpu);
	if (span_of(c, pc))
		return say_inside(c, pc, who, diag);
	if (regs->have & 1u << ARCH_REG_LR && span_of(c, regs->v[ARCH_REG_LR] | GUEST_KERNEL_TOP))
		return say_inside(c, regs->v[ARCH_REG_LR] | GUEST_KERNEL_TOP, who, diag);
	c->n_user += !(pc & GUEST_KERNEL_HALF);
	for (unsigned hop = 0; pc & GUEST_KERNEL_HALF && hop < HOPS_MAX && kernel_stack(sp);
	     hop++) {
		uint64_t links[LINKS_MAX] = {0}, next;
		int r = scan(c, sp, links, &hit);

		if (r < 0)
			return diag_set(diag, r, "the stack of vCPU %u: %s", vcpu,
					vp_err_sentence(r));
		if (hit)
			return say_inside(c, hit, who, diag);
		c->stacks[c->n_stacks++] = sp;
		next = frame_elsewhere(c, sp, fp);
		/* The last word, and the last but one, as the comment above says. */
		for (unsigned i = 0; !next && i < 2; i++)
			if (kernel_stack(links[i]) && (links[i] < sp || links[i] - sp >= STACK_MAX))
				next = links[i];
		sp = next;
	}
	return VP_OK;
}

/* --- tasks -------------------------------------------------------------------------------------- */

static bool followed(const struct contexts *c, uint64_t stack)
{
	for (unsigned i = 0; i < c->n_stacks; i++)
		if (c->stacks[i] - stack < STACK_MIN)
			return true;
	return false;
}

static int look_at_stack(struct contexts *c, uint64_t task, uint64_t from, struct diag *diag)
{
	uint8_t raw[4], comm[COMM_LEN + 1] = {0};
	uint64_t hit = 0;
	char who[64];
	int r = scan(c, from, NULL, &hit);

	if (r < 0 || !hit)
		return r;
	if (task == 0)
		return say_inside(c, hit, "a task on a vCPU", diag);
	if (ld(c, task + c->comm, comm, COMM_LEN) < 0 || ld(c, task + c->pid, raw, 4) < 0)
		return say_inside(c, hit, "a task", diag);
	for (size_t i = 0; i < COMM_LEN && comm[i]; i++)
		if (comm[i] < 0x20 || comm[i] > 0x7e)
			comm[i] = '?';
	snprintf(who, sizeof(who), "task %" PRIu32 " (%s)", vp_ld32(raw), (const char *)comm);
	return say_inside(c, hit, who, diag);
}

static int look_at_task(struct contexts *c, uint64_t task, struct diag *diag)
{
	uint64_t stack = 0, sp = 0;
	uint8_t raw[4];
	int r = ld_ptr(c, task + c->stack, &stack);

	if (r < 0 || stack == 0) /* one that has ended and is not waited for yet */
		return r;
	r = ld(c, task + c->on_cpu, raw, sizeof(raw));
	if (r < 0)
		return r;
	if (vp_ld32(raw) != 0) {
		if (followed(c, stack))
			return VP_OK;
		if (c->n_loose == LOOSE_MAX)
			return VP_E_GUEST_CORRUPT;
		c->loose[c->n_loose++] = stack;
		return VP_OK;
	}
	r = ld_ptr(c, task + c->saved_sp, &sp);
	if (r < 0)
		return r;
	return look_at_stack(c, task, sp - stack < STACK_MAX ? sp : stack, diag);
}

/* More of them than vCPUs in user mode: one is between two tasks, or an interrupt's way back was lost. */
static int look_at_loose(struct contexts *c, struct diag *diag)
{
	int r = VP_OK;

	for (unsigned i = 0; r == VP_OK && c->n_loose > c->n_user && i < c->n_loose; i++)
		r = look_at_stack(c, 0, c->loose[i], diag);
	return r;
}

static int look_at_process(struct contexts *c, uint64_t leader, unsigned *seen, struct diag *diag)
{
	uint64_t signal = 0, head, node = 0;
	int r = ld_ptr(c, leader + c->signal, &signal);

	if (r < 0)
		return r;
	if (signal == 0)
		return look_at_task(c, leader, diag);
	head = signal + c->thread_head;
	r = ld_ptr(c, head, &node);
	while (r == VP_OK && node != head) {
		if (++*seen > TASKS_MAX)
			return VP_E_GUEST_CORRUPT;
		r = look_at_task(c, node - c->thread_node, diag);
		if (r == VP_OK)
			r = ld_ptr(c, node, &node);
	}
	return r;
}

static int look_at_tasks(struct contexts *c, struct diag *diag)
{
	uint64_t head = c->init_task.v + c->tasks, node = 0;
	unsigned seen = 0;
	int r = look_at_task(c, c->init_task.v, diag);

	if (r == VP_OK)
		r = ld_ptr(c, head, &node);
	while (r == VP_OK && node != head) {
		if (++seen > TASKS_MAX)
			r = VP_E_GUEST_CORRUPT;
		if (r == VP_OK)
			r = look_at_process(c, node - c->tasks, &seen, diag);
		if (r == VP_OK)
			r = ld_ptr(c, node, &node);
	}
	return r;
}

int guest_check_outside(struct guest *g, struct vp_paused *p, const struct guest_span *spans,
			size_t n, struct diag *diag)
{
	unsigned vcpus = vp_target_info(g->t)->vcpus;
	struct contexts *c = g->contexts;
	int r = VP_OK;

	if (!c)
		return diag_set(diag, VP_E_INTERNAL, "contexts were not prepared for");
	c->spans = spans;
	c->n_spans = n;
	c->n_stacks = c->n_user = c->n_loose = 0;
	mem_cache_forget(c->cache);
	for (unsigned i = 0; r == VP_OK && i < vcpus; i++) {
		struct arch_regs regs;

		r = vp_regs(p, i, &regs);
		if (r < 0)
			return diag_set(diag, r, "registers of vCPU %u: %s", i, vp_err_sentence(r));
		r = look_at_vcpu(c, i, &regs, diag);
	}
	if (r < 0)
		return r;
	r = look_at_tasks(c, diag);
	if (r == VP_OK)
		r = look_at_loose(c, diag);
	if (r < 0 && r != VP_E_SITE_IN_USE)
		r = diag_set(diag, r == VP_E_UNMAPPED ? VP_E_GUEST_CHANGED : r,
			     "the guest's list of tasks: %s", vp_err_sentence(r));
	return r;
}
