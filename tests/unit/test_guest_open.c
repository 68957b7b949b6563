// SPDX-License-Identifier: LGPL-2.1-or-later
/* The circle: the true kernel is found, whatever a guest user plants around it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"
#include "tests/lib/guestimg.h"
#include "vmm-agent/guest/guest.h"

struct world {
	struct fake *f;
	struct guestimg img;
	struct vp_target *t;
	struct guest *g;
	struct diag diag;
};

static const struct arch_ops *arch_of(void **state)
{
	return *state;
}

static void world_init(struct world *w, const struct arch_ops *arch,
		       const struct guestimg_opts *opts)
{
	memset(w, 0, sizeof(*w));
	diag_init(&w->diag);
	w->f = fake_create(arch, 2);
	guestimg_ram(w->f, arch, 3);
	guestimg_build(w->f, arch, opts, &w->img);
	assert_int_equal(fake_open(w->f, &w->diag, &w->t), VP_OK);
}

static void world_deinit(struct world *w)
{
	assert_string_equal(fake_violation(w->f), "");
	vp_target_close(w->t);
	fake_destroy(w->f);
}

static int open_with(struct world *w, unsigned flags)
{
	return guest_open(w->t, flags, &w->diag, &w->g);
}

static void expect(struct world *w, int err, const char *words)
{
	int r = open_with(w, GUEST_MAY_HOLD);

	if (r != err || !strstr(w->diag.text, words))
		print_message("%s: %s\n", vp_err_reason(r), w->diag.text);
	assert_int_equal(r, err);
	assert_non_null(strstr(w->diag.text, words));
}

static void test_open_finds_the_kernel(void **state)
{
	struct guestimg_opts opts = {.kaslr = 0x3200000};
	const struct guest_info *info;
	struct world w;

	world_init(&w, arch_of(state), &opts);
	if (open_with(&w, GUEST_MAY_HOLD) != VP_OK)
		fail_msg("%s", w.diag.text);
	info = guest_info(w.g);
	assert_string_equal(info->release, "6.1.0-0-test");
	assert_int_equal(info->build_id_len, 20);
	assert_true(info->kaslr == 0x3200000);
	assert_true(info->text.v == w.img.text.v && info->text_end.v == w.img.text_end.v);
	assert_true(info->vmcoreinfo.v == w.img.vmcoreinfo.v);
	assert_true(info->mmu.root.v == w.img.root.v);
	assert_int_equal(info->n_symbols, w.img.n_symbols);
	assert_true(info->registers_seen);
	assert_true(info->data_symbols == (info->arch->id == ARCH_X86_64));
	guest_close(w.g);
	world_deinit(&w);
}

static void test_open_without_registers_says_so(void **state)
{
	struct world w;

	world_init(&w, arch_of(state), NULL);
	fake_caps(w.f, 0);
	vp_target_close(w.t);
	assert_int_equal(fake_open(w.f, &w.diag, &w.t), VP_OK);
	assert_int_equal(open_with(&w, 0), VP_OK);
	assert_false(guest_info(w.g)->registers_seen);
	guest_close(w.g);
	world_deinit(&w);
}

static uint64_t searches(const struct world *w)
{
	return fake_op_calls(w->f, FAKE_FIND_PAGES);
}

/* An open target looks first where it found the kernel, and proves it like any other page. */
static void test_open_again_searches_only_when_it_must(void **state)
{
	struct guestimg_opts moved = {.at = GUESTIMG_RAM, .kaslr = 0x200000};
	struct guestimg second;
	struct world w;
	uint64_t n;

	world_init(&w, arch_of(state), NULL);
	vp_target_close(w.t);
	fake_find_pages(w.f, true);
	assert_int_equal(fake_open(w.f, &w.diag, &w.t), VP_OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
		assert_true(guest_info(w.g)->vmcoreinfo.v == w.img.vmcoreinfo.v);
		guest_close(w.g);
		assert_int_equal(searches(&w), 1);
	}
	/* Rebooted into another place: the old page is still there, the registers are not. */
	guestimg_build(w.f, w.img.arch, &moved, &second);
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	assert_true(guest_info(w.g)->vmcoreinfo.v == second.vmcoreinfo.v);
	guest_close(w.g);
	assert_int_equal(searches(&w), 2);
	/* A failure forgets it. */
	fake_state(w.f, VP_RUN_RUNNING, NULL);
	memset(fake_mem(w.f, second.vmcoreinfo, 16), 0, 16);
	expect(&w, VP_E_NOT_LINUX, "");
	n = searches(&w);
	assert_true(n > 2);
	memcpy(fake_mem(w.f, second.vmcoreinfo, 10), "OSRELEASE=", 10);
	expect(&w, VP_E_NOT_LINUX, ""); /* and none has a stub */
	assert_int_equal(searches(&w), n + 2);
	world_deinit(&w);
}

/* A guest user's whole fake kernel, page tables and all, in front of and behind the true one. */
static void test_open_passes_over_a_whole_forged_kernel(void **state)
{
	struct guestimg_opts at = {.at = GUESTIMG_RAM};
	struct guestimg_opts before = {.release = "6.6.6-evil", .keep_regs = true};
	struct guestimg_opts behind = {.release = "6.6.6-evil",
				       .kaslr = 0x200000,
				       .at = 2 * GUESTIMG_RAM,
				       .keep_regs = true};
	struct guestimg forged;
	struct world w;

	world_init(&w, arch_of(state), &at);
	guestimg_build(w.f, w.img.arch, &before, &forged);
	guestimg_build(w.f, w.img.arch, &behind, &forged);
	if (open_with(&w, GUEST_MAY_HOLD) != VP_OK)
		fail_msg("%s", w.diag.text);
	assert_string_equal(guest_info(w.g)->release, "6.1.0-0-test");
	assert_true(guest_info(w.g)->vmcoreinfo.v == w.img.vmcoreinfo.v);
	guest_close(w.g);
	world_deinit(&w);
}

static void test_open_without_registers_refuses_two_kernels(void **state)
{
	struct guestimg_opts forgery = {
		.release = "6.6.6-evil", .kaslr = 0x200000, .at = GUESTIMG_RAM, .keep_regs = true};
	struct guestimg forged;
	struct world w;

	world_init(&w, arch_of(state), NULL);
	guestimg_build(w.f, w.img.arch, &forgery, &forged);
	fake_caps(w.f, 0);
	vp_target_close(w.t);
	assert_int_equal(fake_open(w.f, &w.diag, &w.t), VP_OK);
	assert_int_equal(open_with(&w, 0), VP_E_GUEST_AMBIGUOUS);
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	assert_string_equal(guest_info(w.g)->release, "6.1.0-0-test");
	guest_close(w.g);
	world_deinit(&w);
}

/* A page in front of the true one that is right in all but one thing. */
static void try_forged_page(void **state, const char *key, const char *value)
{
	struct guestimg_opts at = {.at = GUESTIMG_RAM};
	struct guestimg page;
	struct world w;

	world_init(&w, arch_of(state), &at);
	page = w.img;
	page.vmcoreinfo = vp_gpa(w.img.ram - GUESTIMG_RAM + 0x5000);
	memcpy(fake_mem(w.f, page.vmcoreinfo, 4096), fake_mem(w.f, w.img.vmcoreinfo, 4096), 4096);
	guestimg_vmcoreinfo_set(&page, key, value);
	if (open_with(&w, GUEST_MAY_HOLD) != VP_OK)
		fail_msg("%s=%s: %s", key, value ? value : "", w.diag.text);
	if (guest_info(w.g)->vmcoreinfo.v != w.img.vmcoreinfo.v)
		fail_msg("%s=%s was believed", key, value ? value : "");
	guest_close(w.g);
	world_deinit(&w);
}

static void test_open_passes_over_pages_with_one_lie(void **state)
{
	static const char *const lies[][2] = {
		{"OSRELEASE", "6.6.6-evil"},
		{"BUILD-ID", "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"},
		{"PAGESIZE", "65536"},
		{"PAGESIZE", "none"},
		{"SYMBOL(_stext)", "ffffffff90000000"},
		{"SYMBOL(_stext)", "0"},
		{"SYMBOL(_stext)", NULL},
		{"SYMBOL(init_uts_ns)", "ffff888000000000"},
		{"OFFSET(uts_namespace.name)", "-1"},
		{"SYMBOL(kallsyms_names)", "ffff888000001000"},
		{"SYMBOL(kallsyms_names)", NULL},
		{"SYMBOL(kallsyms_num_syms)", "ffffffffffffffff"},
		{"SYMBOL(kallsyms_token_table)", "0"},
		{"SYMBOL(kallsyms_token_index)", "ffff000000000000"},
		{"SYMBOL(kallsyms_relative_base)", "8"},
		{"SYMBOL(kallsyms_relative_base)", NULL},
		{"SYMBOL(kallsyms_offsets)", "ffffffffffffffff"},
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
		try_forged_page(state, lies[i][0], lies[i][1]);
	if (arch_of(state)->id == ARCH_X86_64) {
		try_forged_page(state, "NUMBER(phys_base)", "4096");
		try_forged_page(state, "SYMBOL(init_top_pgt)", "ffffffff81000000");
		/* nothing is changed, but the kernel's own pointer says where the true page is */
		try_forged_page(state, "NUMBER(nothing)", NULL);
	} else {
		try_forged_page(state, "NUMBER(kimage_voffset)", "0x1000");
		try_forged_page(state, "NUMBER(TCR_EL1_T1SZ)", "0x40");
		try_forged_page(state, "SYMBOL(swapper_pg_dir)", "ffff800008000000");
	}
}

/* Symbol tables of the user's own making, in memory that the linear map shows to the kernel. */
static void test_open_passes_over_tables_in_the_linear_map(void **state)
{
	static const char *const keys[] = {"kallsyms_names",       "kallsyms_num_syms",
					   "kallsyms_token_table", "kallsyms_token_index",
					   "kallsyms_offsets",     "kallsyms_relative_base"};
	static const unsigned offs[] = {0x1008, 0x1000, 0x4000, 0x5000, 0x6000, 0x7000};
	struct guestimg_opts at = {.at = GUESTIMG_RAM};
	struct guestimg page;
	struct world w;
	uint64_t copy;

	world_init(&w, arch_of(state), &at);
	page = w.img;
	page.vmcoreinfo = vp_gpa(w.img.ram + 0x5000); /* in front of the true one, and mapped */
	copy = w.img.ram + 0x8000;
	memcpy(fake_mem(w.f, page.vmcoreinfo, 4096), fake_mem(w.f, w.img.vmcoreinfo, 4096), 4096);
	memcpy(fake_mem(w.f, vp_gpa(copy), 0x8000), guestimg_at(&w.img, w.img.rodata), 0x8000);
	for (unsigned i = 0; i < 6; i++) {
		char key[64], value[32];

		snprintf(key, sizeof(key), "SYMBOL(%s)", keys[i]);
		snprintf(value, sizeof(value), "%llx",
			 (unsigned long long)guestimg_linear(&w.img, vp_gpa(copy + offs[i])).v);
		guestimg_vmcoreinfo_set(&page, key, value);
	}
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	assert_true(guest_info(w.g)->vmcoreinfo.v == w.img.vmcoreinfo.v);
	guest_close(w.g);
	world_deinit(&w);
}

static void test_open_is_not_drowned_in_candidates(void **state)
{
	struct guestimg_opts at = {.at = GUESTIMG_RAM, .keep_regs = false};
	struct world w;

	world_init(&w, arch_of(state), &at);
	for (uint64_t off = 0; off < GUESTIMG_RAM; off += 4096) {
		char *p = fake_mem(w.f, vp_gpa(w.img.ram - GUESTIMG_RAM + off), 4096);

		memcpy(p, fake_mem(w.f, w.img.vmcoreinfo, 4096), 4096);
		memcpy(p + 10, "6.6", 3); /* all is right but the release */
	}
	for (uint64_t off = 0; off < GUESTIMG_RAM; off += 4096)
		strcpy(fake_mem(w.f, vp_gpa(w.img.ram + GUESTIMG_RAM + off), 4096), "OSRELEASE=");
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	assert_true(guest_info(w.g)->vmcoreinfo.v == w.img.vmcoreinfo.v);
	guest_close(w.g);
	world_deinit(&w);
}

static void test_open_refuses_damage(void **state)
{
	struct world w;

	world_init(&w, arch_of(state), NULL);
	memset(guestimg_at(&w.img, vp_gva(w.img.rodata.v + 0x5000)), 0xff, 512);
	expect(&w, VP_E_GUEST_CORRUPT, "symbol table");
	world_deinit(&w);

	world_init(&w, arch_of(state), NULL);
	memset(guestimg_at(&w.img, vp_gva(w.img.rodata.v + 0x1010)), 0xff, 64);
	expect(&w, VP_E_GUEST_CORRUPT, "symbol table");
	world_deinit(&w);

	world_init(&w, arch_of(state), NULL);
	((char *)fake_mem(w.f, w.img.vmcoreinfo, 4096))[200] = '\x01';
	expect(&w, VP_E_GUEST_CORRUPT, "VMCOREINFO");
	world_deinit(&w);
}

static void test_open_refuses_what_is_no_linux(void **state)
{
	struct world w;

	world_init(&w, arch_of(state), NULL);
	memset(fake_mem(w.f, w.img.vmcoreinfo, 4096), 0, 4096);
	expect(&w, VP_E_NOT_LINUX, "or it is still booting");
	world_deinit(&w);

	/* the page is a leftover: no vCPU runs that kernel (kexec, or a reset) */
	world_init(&w, arch_of(state), NULL);
	for (unsigned i = 0; i < 2; i++)
		memset(fake_regs(w.f, i)->v, 0, sizeof(fake_regs(w.f, i)->v));
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_E_NOT_LINUX);
	world_deinit(&w);
}

static void test_open_refuses_a_booting_kernel(void **state)
{
	struct guestimg_opts opts = {.booting = true};
	struct world w;

	world_init(&w, arch_of(state), &opts);
	expect(&w, VP_E_BOOTING, "still booting");
	world_deinit(&w);
}

/* A frame record at `at`. */
static void frame(struct world *w, uint64_t at, uint64_t next, uint64_t ret)
{
	vp_st64(guestimg_at(&w->img, vp_gva(at)), next);
	vp_st64(guestimg_at(&w->img, vp_gva(at + 8)), ret);
}

static void expect_alive(struct world *w)
{
	assert_int_equal(open_with(w, GUEST_MAY_HOLD), VP_OK);
	guest_close(w->g);
}

/* Where no variable tells, stacks do: func[0] is a function that panic() waits in. */
static void stacks_tell(struct world *w, struct arch_regs *regs)
{
	const uint64_t page = regs->v[ARCH_REG_SP] & ~0xfffull, in_panic = w->img.panic.v + 0x20;
	const uint64_t irq = page - 0x2000;

	/* a word that is no return address, and one that is another's */
	frame(w, regs->v[ARCH_REG_FP], 0, 0);
	vp_st64(guestimg_at(&w->img, vp_gva(regs->v[ARCH_REG_SP] + 8)), in_panic);
	expect_alive(w);
	frame(w, regs->v[ARCH_REG_FP], 0, in_panic & 0x007fffffffffffff);
	expect_alive(w);
	/* the frame of panic() begins in the stack's next page */
	regs->v[ARCH_REG_FP] = page - 16;
	frame(w, page - 16, page + 32, 0);
	frame(w, page + 32, 0, in_panic);
	expect(w, VP_E_PANICKED, "panic");
	/* an interrupt on a stack of its own, two frames deep */
	regs->v[ARCH_REG_FP] = irq + 16;
	frame(w, irq + 16, irq + 64, 0);
	frame(w, irq + 64, page - 16, 0);
	expect(w, VP_E_PANICKED, "panic");
	/* a chain in circles, and one that leaves the address space */
	frame(w, irq + 64, irq + 16, 0);
	expect_alive(w);
	frame(w, irq + 64, 0xfffffffffffffff8, 0);
	expect_alive(w);
	/* no frame pointer: any word of the stack may be it */
	regs->have &= ~(1u << ARCH_REG_FP);
	regs->v[ARCH_REG_SP] = page - 64;
	expect(w, VP_E_PANICKED, "panic");
}

static void test_open_refuses_a_panicked_kernel(void **state)
{
	struct arch_regs *regs;
	struct world w;

	world_init(&w, arch_of(state), NULL);
	guestimg_regs(&w.img, 0, vp_gva(w.img.panic.v + 8));
	expect(&w, VP_E_PANICKED, "panic");
	/* below panic(), in a function that it waits in */
	guestimg_regs(&w.img, 0, w.img.func[0]);
	regs = fake_regs(w.f, 0);
	if (w.img.panic_cpu.v)
		vp_st32(fake_mem(w.f, w.img.panic_cpu, 4), 1);
	else
		frame(&w, regs->v[ARCH_REG_FP] = regs->v[ARCH_REG_SP] + 32, 0,
		      (w.img.panic.v + 0x20) & 0x00ffffffffffffff);
	expect(&w, VP_E_PANICKED, "panic");
	if (!w.img.panic_cpu.v)
		stacks_tell(&w, regs);
	world_deinit(&w);

	world_init(&w, arch_of(state), NULL);
	fake_state(w.f, VP_RUN_PANICKED, "guest-panicked");
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_E_PANICKED);
	world_deinit(&w);
}

static void test_open_survives_a_driver_that_fails_at_each_call(void **state)
{
	uint64_t calls;
	struct world w;

	world_init(&w, arch_of(state), NULL);
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	guest_close(w.g);
	calls = fake_calls(w.f);
	for (uint64_t n = 1; n <= calls; n++) {
		int r;

		fake_fail(w.f, n, VP_E_DISCONNECTED, true);
		r = open_with(&w, GUEST_MAY_HOLD);
		/* The boot identity and the tracer's layout are read after everything else has
		 * been shown; their lack is not a failure of the opening. */
		if (r == VP_OK)
			guest_close(w.g);
		else
			assert_int_equal(r, VP_E_DISCONNECTED);
		fake_fail(w.f, 0, VP_OK, false);
	}
	world_deinit(&w);
}

static void test_boot_id_tells_boots_apart(void **state)
{
	struct guestimg_opts opts = {.canary = 1};
	uint8_t first[16];
	struct world w;

	world_init(&w, arch_of(state), &opts);
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	memcpy(first, guest_info(w.g)->boot_id, 16);
	guest_close(w.g);
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	assert_memory_equal(first, guest_info(w.g)->boot_id, 16);
	guest_close(w.g);
	world_deinit(&w);
	opts.canary = 2;
	if (arch_of(state)->id == ARCH_ARM64)
		opts.kaslr = 0x200000;
	world_init(&w, arch_of(state), &opts);
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	assert_memory_not_equal(first, guest_info(w.g)->boot_id, 16);
	guest_close(w.g);
	world_deinit(&w);
}

static struct vp_paused *hold(struct world *w)
{
	struct vp_paused *p;

	assert_int_equal(vp_arm(w->t, VP_AFTER_AS_FOUND, &w->diag), VP_OK);
	assert_int_equal(vp_pause(w->t, VP_NO_DEADLINE, &w->diag, &p), VP_OK);
	return p;
}

static void test_held_check_agrees_and_gives_pcs(void **state)
{
	struct vp_paused *p;
	vp_gva_t pcs[2];
	struct world w;

	world_init(&w, arch_of(state), NULL);
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	guestimg_regs(&w.img, 1, w.img.func[3]);
	p = hold(&w);
	assert_int_equal(guest_check_held(w.g, p, pcs, &w.diag), VP_OK);
	assert_true(pcs[1].v == w.img.func[3].v);
	assert_int_equal(vp_resume(p), VP_OK);
	guest_close(w.g);
	world_deinit(&w);
}

static void test_held_check_sees_another_kernel_and_a_panic(void **state)
{
	struct guestimg_opts other = {.kaslr = 0x200000, .at = GUESTIMG_RAM, .keep_regs = true};
	struct guestimg second;
	struct vp_paused *p;
	struct world w;

	world_init(&w, arch_of(state), NULL);
	assert_int_equal(open_with(&w, GUEST_MAY_HOLD), VP_OK);
	guestimg_build(w.f, w.img.arch, &other, &second);
	p = hold(&w);
	guestimg_regs(&second, 1, second.func[0]);
	assert_int_equal(guest_check_held(w.g, p, NULL, &w.diag), VP_E_GUEST_CHANGED);
	guestimg_regs(&w.img, 1, vp_gva(w.img.panic.v + 4));
	assert_int_equal(guest_check_held(w.g, p, NULL, &w.diag), VP_E_PANICKED);
	/* one vCPU that was never started is no sign of anything; all of them are */
	memset(fake_regs(w.f, 1)->v, 0, sizeof(fake_regs(w.f, 1)->v));
	assert_int_equal(guest_check_held(w.g, p, NULL, &w.diag), VP_OK);
	memset(fake_regs(w.f, 0)->v, 0, sizeof(fake_regs(w.f, 0)->v));
	assert_int_equal(guest_check_held(w.g, p, NULL, &w.diag), VP_E_GUEST_CHANGED);
	assert_int_equal(vp_resume(p), VP_OK);
	guest_close(w.g);
	world_deinit(&w);
}

/* Its instructions are known, its kernels are not: it says so before it reads a byte. */
static void test_open_refuses_an_architecture_without_a_layout(void **state)
{
	struct world w = {0};

	(void)state;
	diag_init(&w.diag);
	w.f = fake_create(arch_get(ARCH_THUMB2), 2);
	fake_ram_add(w.f, vp_gpa(0x80000000), 1u << 20);
	assert_int_equal(fake_open(w.f, &w.diag, &w.t), VP_OK);
	expect(&w, VP_E_UNSUPPORTED, "guest architecture `thumb2` is not supported");
	assert_null(w.g);
	world_deinit(&w);
}

static int on_x86(void **state)
{
	*state = (void *)(uintptr_t)arch_get(ARCH_X86_64);
	return 0;
}

static int on_arm64(void **state)
{
	*state = (void *)(uintptr_t)arch_get(ARCH_ARM64);
	return 0;
}

#define BOTH(test)                                            \
	{#test " on x86-64", test, on_x86, NULL, NULL},       \
	{                                                     \
#test " on arm64", test, on_arm64, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_open_finds_the_kernel),
		BOTH(test_open_without_registers_says_so),
		BOTH(test_open_again_searches_only_when_it_must),
		BOTH(test_open_passes_over_a_whole_forged_kernel),
		BOTH(test_open_without_registers_refuses_two_kernels),
		BOTH(test_open_passes_over_pages_with_one_lie),
		BOTH(test_open_passes_over_tables_in_the_linear_map),
		BOTH(test_open_is_not_drowned_in_candidates),
		BOTH(test_open_refuses_damage),
		BOTH(test_open_refuses_what_is_no_linux),
		BOTH(test_open_refuses_a_booting_kernel),
		BOTH(test_open_refuses_a_panicked_kernel),
		BOTH(test_open_survives_a_driver_that_fails_at_each_call),
		BOTH(test_boot_id_tells_boots_apart),
		BOTH(test_held_check_agrees_and_gives_pcs),
		BOTH(test_held_check_sees_another_kernel_and_a_panic),
		cmocka_unit_test(test_open_refuses_an_architecture_without_a_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
