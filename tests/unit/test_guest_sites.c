// SPDX-License-Identifier: LGPL-2.1-or-later
/* The stub's site table is found, whatever a guest user plants around it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arm64/regs.h"
#include "arch/ppc64le/regs.h"
#include "arch/riscv64/regs.h"
#include "arch/thumb2/regs.h"
#include "protocol/bytes.h"
#include "tests/lib/guestimg.h"
#include "tests/lib/sitetab.h"
#include "vmm-agent/guest/guest.h"
#include "vmm-agent/guest/sites.h"

#define MIB2  (2ull << 20)
#define SPARE (GUESTIMG_RAM + 4 * MIB2) /* of RAM: pages that no kernel has */

/* Where modules lie. */
static uint64_t module_va(const struct arch_ops *arch)
{
	return arch->id == ARCH_X86_64 ? 0xffffffffa0000000 : 0xffff800040000000;
}

struct world {
	struct fake *f;
	struct guestimg img;
	struct vp_target *t;
	struct guest_sites *s;
	struct diag diag;
};

static const struct arch_ops *arch_of(void **state)
{
	return *state;
}

static void world_init(struct world *w, const struct arch_ops *arch)
{
	memset(w, 0, sizeof(*w));
	diag_init(&w->diag);
	w->f = fake_create(arch, 2);
	guestimg_ram(w->f, arch, 3);
	guestimg_build(w->f, arch, NULL, &w->img);
	for (uint64_t gpa = w->img.ram + GUESTIMG_RAM; gpa < w->img.ram + 3 * GUESTIMG_RAM;
	     gpa += MIB2)
		guestimg_map(&w->img, guestimg_linear(&w->img, vp_gpa(gpa)).v, gpa, GUESTIMG_DATA);
	assert_int_equal(fake_open(w->f, &w->diag, &w->t), VP_OK);
}

static void world_deinit(struct world *w)
{
	assert_string_equal(fake_violation(w->f), "");
	vp_target_close(w->t);
	fake_destroy(w->f);
}

static uint8_t *at_gpa(struct world *w, uint64_t gpa)
{
	return fake_mem(w->f, vp_gpa(gpa), 4096);
}

/* The architecture's own table with another address for itself; returns its size. */
static size_t put(struct world *w, unsigned arch, uint64_t gpa, uint64_t self)
{
	struct vp_sites_new t = *sitetab(arch);
	size_t size = vp_sites_size(&t);
	uint8_t *to = fake_mem(w->f, vp_gpa(gpa), size);

	t.self = vp_gva(self);
	assert_non_null(to);
	assert_int_equal(vp_sites_encode(to, size, &t), VP_OK);
	return size;
}

static unsigned tab_of(const struct arch_ops *arch)
{
	for (unsigned i = 0; i < SITETABS; i++)
		if (strcmp(sitetab_name(i), arch->name) == 0 ||
		    (arch->id == ARCH_THUMB2 && strcmp(sitetab_name(i), "thumb2") == 0))
			return i;
	fail();
	return 0;
}

/* RAM behind the kernel's own, by number of a 2 MiB page. */
static uint64_t spare(struct world *w, unsigned n)
{
	return w->img.ram + SPARE + n * MIB2;
}

/* As a module has it: page n of the spare RAM, mapped for the kernel outside the linear map. */
static uint64_t put_in_module(struct world *w, unsigned n)
{
	uint64_t va = module_va(w->img.arch) + n * MIB2;

	guestimg_map(&w->img, va, spare(w, n), GUESTIMG_DATA);
	put(w, tab_of(w->img.arch), spare(w, n) + 0x3000, va + 0x3000);
	return va + 0x3000;
}

static void expect(struct world *w, unsigned flags, int err, const char *words)
{
	int r = guest_sites_open(w->t, flags, &w->diag, &w->s);

	if (r != err || (err && !strstr(w->diag.text, words)))
		print_message("%s: %s\n", r ? vp_err_reason(r) : "ok", w->diag.text);
	assert_int_equal(r, err);
	if (err) {
		assert_int_equal(w->diag.err, err);
		assert_non_null(strstr(w->diag.text, words));
	}
}

static void expect_at(struct world *w, uint64_t self, uint64_t gpa)
{
	expect(w, GUEST_MAY_HOLD, VP_OK, "");
	assert_true(w->s->table.self.v == self);
	assert_true(w->s->page.v == gpa);
	assert_int_equal(w->s->table.sites.n, sitetab(tab_of(vp_target_info(w->t)->arch))->n_sites);
	guest_sites_close(w->s);
}

/* --- the true one ----------------------------------------------------------------------------- */

static void test_a_table_in_a_module_is_found(void **state)
{
	struct vp_site site;
	struct world w;
	uint64_t self;
	uint8_t raw[16];
	vp_gpa_t gpa;

	world_init(&w, arch_of(state));
	self = put_in_module(&w, 0);
	expect(&w, 0, VP_OK, "");
	assert_true(w.s->table.self.v == self);
	assert_int_equal(vp_sites_site(&w.s->table, 0, &site), VP_OK);
	assert_non_null(site.name);
	assert_int_equal(guest_sites_gpa(w.s, w.img.func[0], 8, GUEST_SITES_TEXT, &gpa), VP_OK);
	assert_true(gpa.v == guestimg_gpa(&w.img, w.img.func[0]).v);
	assert_int_equal(guest_sites_gpa(w.s, vp_gva(self), 8, GUEST_SITES_TEXT, &gpa),
			 VP_E_UNMAPPED);
	assert_int_equal(guest_sites_read(w.s, vp_gva(self), sizeof(raw), raw), VP_OK);
	assert_true(vp_ld64(raw) == VP_SITES_MAGIC0);
	assert_int_equal(guest_sites_vcpu(w.s, fake_regs(w.f, 0)), VP_OK);
	guest_sites_close(w.s);
	assert_int_equal(fake_op_calls(w.f, FAKE_PAUSE), 0);
	world_deinit(&w);
}

static void test_a_guest_without_a_stub_says_so(void **state)
{
	struct world w;

	world_init(&w, arch_of(state));
	expect(&w, GUEST_MAY_HOLD, VP_E_NO_STUB, "the guest has no stub");
	assert_int_equal(fake_op_calls(w.f, FAKE_PEEK_REGS), 0);
	world_deinit(&w);
}

static void test_registers_are_needed_and_a_hold_must_be_allowed(void **state)
{
	struct world w;

	world_init(&w, arch_of(state));
	fake_caps(w.f, 0);
	vp_target_close(w.t);
	assert_int_equal(fake_open(w.f, &w.diag, &w.t), VP_OK);
	expect(&w, 0, VP_E_NO_STUB, "has no stub"); /* that needs no registers */
	put_in_module(&w, 0);
	expect(&w, 0, VP_E_UNSUPPORTED, "without --dry-run");
	expect(&w, GUEST_MAY_HOLD, VP_OK, "");
	guest_sites_close(w.s);
	world_deinit(&w);
}

static void test_a_table_that_changes_is_noticed(void **state)
{
	struct world w;
	uint64_t self;
	struct arch_regs regs;

	world_init(&w, arch_of(state));
	self = put_in_module(&w, 0);
	expect(&w, 0, VP_OK, "");
	assert_int_equal(guest_sites_still(w.s), VP_OK);
	put(&w, tab_of(arch_of(state)), spare(&w, 0) + 0x3000, self + 0x1000);
	assert_int_equal(guest_sites_still(w.s), VP_E_GUEST_CHANGED);
	put(&w, tab_of(arch_of(state)), spare(&w, 0) + 0x3000, self);
	assert_int_equal(guest_sites_still(w.s), VP_OK);
	guestimg_map(&w.img, module_va(arch_of(state)), spare(&w, 1), GUESTIMG_DATA);
	assert_int_equal(guest_sites_still(w.s), VP_E_GUEST_CHANGED);
	assert_int_equal(guest_sites_vcpu(w.s, fake_regs(w.f, 0)), VP_E_GUEST_CHANGED);
	memset(&regs, 0, sizeof(regs));
	assert_int_equal(guest_sites_vcpu(w.s, &regs), VP_E_UNSUPPORTED);
	guest_sites_close(w.s);
	world_deinit(&w);
}

/* --- forged by a guest user --------------------------------------------------------------------- */

static void test_a_page_of_a_users_is_passed_over(void **state)
{
	const uint64_t va = 0x7f0000000000;
	struct world w;
	uint64_t self, user;

	world_init(&w, arch_of(state));
	user = spare(&w, 5);
	if (arch_of(state)->id == ARCH_X86_64) { /* mapped for a user, in the kernel's own tables */
		struct guestimg mine = w.img;

		mine.root = vp_gpa(w.img.ram + 0xf0000);
		guestimg_map(&mine, va, user, GUESTIMG_USER_DATA);
		w.img.next_table = mine.next_table;
	}
	put(&w, tab_of(arch_of(state)), user, va);
	expect(&w, GUEST_MAY_HOLD, VP_E_NO_STUB, "none is the guest kernel's own");
	self = put_in_module(&w, 0);
	expect_at(&w, self, spare(&w, 0) + 0x3000);
	world_deinit(&w);
}

static void test_the_linear_map_proves_nothing(void **state)
{
	struct world w;
	uint64_t self, user;

	world_init(&w, arch_of(state));
	user = spare(&w, 4) + 0x5000;
	put(&w, tab_of(arch_of(state)), user, guestimg_linear(&w.img, vp_gpa(user)).v);
	expect(&w, GUEST_MAY_HOLD, VP_E_NO_STUB, "none is the guest kernel's own");
	self = put_in_module(&w, 0);
	expect_at(&w, self, spare(&w, 0) + 0x3000);
	world_deinit(&w);
}

/* A newer version in a user's page must not be in the way either. */
static void test_a_stale_copy_and_a_newer_one_are_not_counted(void **state)
{
	struct world w;
	uint64_t self, user;
	uint8_t *copy;

	world_init(&w, arch_of(state));
	self = put_in_module(&w, 1);
	user = spare(&w, 0) + 0x7000; /* met first */
	memcpy(at_gpa(&w, user), at_gpa(&w, spare(&w, 1) + 0x3000), 4096);
	copy = at_gpa(&w, user + 0x10000);
	memcpy(copy, at_gpa(&w, user), 4096);
	vp_st32(copy + VP_SITES_OFF_VERSION, VP_SITES_VERSION + 1);
	expect_at(&w, self, spare(&w, 1) + 0x3000);
	world_deinit(&w);
}

static void test_memory_full_of_candidates_costs_little(void **state)
{
	struct world w;
	uint64_t self, reads;

	world_init(&w, arch_of(state));
	self = put_in_module(&w, 6);
	for (unsigned i = 0; i < 2048; i++) {
		uint64_t gpa = spare(&w, 0) + i * 4096ull;

		put(&w, tab_of(arch_of(state)), gpa,
		    i % 2 ? module_va(arch_of(state)) + i * 4096ull
			  : guestimg_linear(&w.img, vp_gpa(gpa)).v);
	}
	reads = fake_op_calls(w.f, FAKE_READ);
	expect_at(&w, self, spare(&w, 6) + 0x3000);
	reads = fake_op_calls(w.f, FAKE_READ) - reads;
	assert_true(reads < 2048 + 256); /* one each, the walks come from a cache */
	assert_int_equal(fake_op_calls(w.f, FAKE_FIND_PAGES), 2); /* one for Linux */
	world_deinit(&w);
}

/* --- two, damaged, changing ---------------------------------------------------------------------- */

static void test_two_true_tables_are_ambiguous(void **state)
{
	struct world w;
	uint64_t self;

	world_init(&w, arch_of(state));
	self = put_in_module(&w, 0);
	put_in_module(&w, 1);
	expect(&w, GUEST_MAY_HOLD, VP_E_GUEST_AMBIGUOUS, "two site tables");
	/* one of them damaged: it is none */
	at_gpa(&w, spare(&w, 1) + 0x3000)[VP_SITES_OFF_CRC] ^= 1;
	expect_at(&w, self, spare(&w, 0) + 0x3000);
	at_gpa(&w, spare(&w, 0) + 0x3000)[VP_SITES_OFF_CRC] ^= 1;
	expect(&w, GUEST_MAY_HOLD, VP_E_SITES, "is damaged");
	world_deinit(&w);
}

static void test_a_newer_table_is_named(void **state)
{
	struct world w;

	world_init(&w, arch_of(state));
	put_in_module(&w, 0);
	vp_st32(at_gpa(&w, spare(&w, 0) + 0x3000) + VP_SITES_OFF_VERSION, VP_SITES_VERSION + 1);
	expect(&w, GUEST_MAY_HOLD, VP_E_VERSION, "newer than this vpatch");
	world_deinit(&w);
}

static void test_a_table_of_another_architecture_is_refused(void **state)
{
	struct world w;

	world_init(&w, arch_of(state));
	put_in_module(&w, 0);
	put(&w, tab_of(arch_get(ARCH_PPC64LE)), spare(&w, 0) + 0x3000,
	    module_va(arch_of(state)) + 0x3000);
	expect(&w, GUEST_MAY_HOLD, VP_E_WRONG_ARCH, "another architecture");
	world_deinit(&w);
}

/* The table is made anew, one generation on, under the reader's hands. */
struct changing {
	uint8_t *head;
	size_t size;
	unsigned reads, times; /* at so many reads of the driver it has changed again */
	bool odd;              /* and is left in the middle of a change */
};

static void change(struct fake *f, enum fake_op op, uint64_t nth, void *ctx)
{
	struct changing *c = ctx;
	uint32_t next;

	(void)f;
	(void)nth;
	if (op != FAKE_READ || c->times == 0 || ++c->reads % 4)
		return;
	c->times--;
	next = (vp_ld32(c->head + VP_SITES_OFF_GENERATION) & ~1u) + (c->odd && c->times ? 1 : 2);
	vp_st32(c->head + VP_SITES_OFF_GENERATION, next);
	vp_st32(c->head + c->size - VP_SITES_TAIL, next);
}

static void test_a_table_that_changes_while_it_is_read_is_read_again(void **state)
{
	struct changing c = {.times = 3};
	struct world w;
	uint64_t self;

	world_init(&w, arch_of(state));
	self = put_in_module(&w, 0);
	c.head = at_gpa(&w, spare(&w, 0) + 0x3000);
	c.size = vp_ld32(c.head + VP_SITES_OFF_SIZE);
	fake_hook(w.f, change, &c);
	expect_at(&w, self, spare(&w, 0) + 0x3000);
	assert_in_range(c.times, 0, 2);
	c = (struct changing){c.head, c.size, 0, 3, true};
	expect_at(&w, self, spare(&w, 0) + 0x3000);
	assert_in_range(c.times, 0, 2);
	c.times = 0;
	vp_st32(c.head + VP_SITES_OFF_GENERATION, 5); /* a change that never ends */
	expect(&w, GUEST_MAY_HOLD, VP_E_GUEST_CHANGED, "keeps changing");
	world_deinit(&w);
}

/* Tables of more than a page are read page by page, each for the kernel only. */
static void test_every_page_must_be_the_kernels(void **state)
{
	static struct vp_site sites[200];
	struct vp_sites_new t = *sitetab(tab_of(arch_get(ARCH_X86_64)));
	struct world w;
	uint64_t va;
	size_t size;

	world_init(&w, arch_of(state));
	va = module_va(arch_of(state));
	guestimg_map(&w.img, va, spare(&w, 0), GUESTIMG_DATA);
	guestimg_map(&w.img, va + MIB2, spare(&w, 1), GUESTIMG_DATA);
	for (unsigned i = 0; i < 200; i++)
		sites[i] = (struct vp_site){.at = vp_gva(w.img.text.v + 0x1000 + 8 * i),
					    .kind = VP_SITE_NOP,
					    .len = 5,
					    .dispatcher = VP_SITE_NO_DISPATCHER,
					    .rest = {0x0f, 0x1f, 0x44, 0, 0}};
	t.self = vp_gva(va + MIB2 - 4096);
	t.sites = sites;
	t.n_sites = 200;
	size = vp_sites_size(&t);
	assert_true(size > 4096);
	assert_int_equal(
		vp_sites_encode(fake_mem(w.f, vp_gpa(spare(&w, 0) + MIB2 - 4096), size), size, &t),
		VP_OK);
	expect(&w, GUEST_MAY_HOLD, VP_OK, "");
	assert_int_equal(w.s->table.sites.n, 200);
	guest_sites_close(w.s);
	w.img.root = vp_gpa(w.img.ram + 0xf0000); /* every level has to allow it */
	guestimg_map(&w.img, va + MIB2, spare(&w, 1), GUESTIMG_USER_DATA);
	expect(&w, GUEST_MAY_HOLD, VP_E_SITES, "damaged");
	world_deinit(&w);
}

/* --- guests that are not Linux ------------------------------------------------------------------- */

static void set(struct arch_regs *r, unsigned i, uint64_t v)
{
	r->v[i] = v;
	r->have |= 1u << i;
}

/* A privileged vCPU that translates nothing; user: the same in user mode. */
static void regs_off(enum arch_id id, struct arch_regs *r, bool user)
{
	memset(r, 0, sizeof(*r));
	set(r, ARCH_REG_PC, 0x10000);
	switch (id) {
	case ARCH_ARM64:
		set(r, ARM64_REG_CPSR, user ? 0 : 0x3c5);
		set(r, ARM64_REG_SCTLR, 0x30d00800);
		set(r, ARM64_REG_TTBR1, 0);
		set(r, ARM64_REG_TCR, 0);
		break;
	case ARCH_RISCV64:
		set(r, RISCV64_REG_SATP, 0);
		set(r, RISCV64_REG_PRIV, user ? 0 : 3);
		break;
	case ARCH_THUMB2:
		set(r, THUMB2_REG_CPSR, user ? 0x30 : 0x33);
		set(r, THUMB2_REG_SCTLR, 0);
		break;
	case ARCH_PPC64LE:
		set(r, PPC64LE_REG_MSR,
		    PPC64LE_MSR_SF | PPC64LE_MSR_HV | PPC64LE_MSR_LE | (user ? PPC64LE_MSR_PR : 0));
		set(r, PPC64LE_REG_HRMOR, 0);
		break;
	default:
		fail();
	}
}

static void bare_init(struct world *w, enum arch_id id)
{
	memset(w, 0, sizeof(*w));
	diag_init(&w->diag);
	w->f = fake_create(arch_get(id), 2);
	fake_ram_add(w->f, vp_gpa(0x40000000), 8 << 20);
	fake_find_pages(w->f, true);
	assert_int_equal(fake_open(w->f, &w->diag, &w->t), VP_OK);
	for (unsigned i = 0; i < 2; i++)
		regs_off(id, fake_regs(w->f, i), false);
}

static void test_a_guest_without_translation_is_believed(void **state)
{
	static const enum arch_id ids[] = {ARCH_ARM64, ARCH_RISCV64, ARCH_THUMB2, ARCH_PPC64LE};

	(void)state;
	for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct world w;
		vp_gpa_t gpa;

		bare_init(&w, ids[i]);
		put(&w, tab_of(arch_get(ids[i])), 0x40100000, 0x40100000);
		put(&w, tab_of(arch_get(ids[i])), 0x40200000, 0x40300000); /* a copy */
		expect(&w, 0, VP_OK, "");
		assert_true(w.s->page.v == 0x40100000);
		assert_int_equal(
			guest_sites_gpa(w.s, vp_gva(0x40001000), 8, GUEST_SITES_TEXT, &gpa), VP_OK);
		assert_true(gpa.v == 0x40001000);
		assert_int_equal(guest_sites_vcpu(w.s, fake_regs(w.f, 1)), VP_OK);
		guest_sites_close(w.s);
		/* a vCPU in user mode does not count, and one in the kernel's is enough */
		regs_off(ids[i], fake_regs(w.f, 0), true);
		expect_at(&w, 0x40100000, 0x40100000);
		regs_off(ids[i], fake_regs(w.f, 1), true);
		expect(&w, 0, VP_E_NO_STUB, "none is the guest kernel's own");
		world_deinit(&w);
	}
}

/* Otherwise a vCPU that Linux has not started would prove every page of RAM. */
static void test_an_idle_vcpu_proves_nothing_beside_one_that_translates(void **state)
{
	struct world w;

	(void)state;
	bare_init(&w, ARCH_RISCV64);
	put(&w, tab_of(arch_get(ARCH_RISCV64)), 0x40100000, 0x40100000);
	expect_at(&w, 0x40100000, 0x40100000);
	set(fake_regs(w.f, 0), RISCV64_REG_SATP, 8ull << 60 | 0x40400000 >> 12);
	set(fake_regs(w.f, 0), RISCV64_REG_PRIV, 1);
	expect(&w, 0, VP_E_NO_STUB, "none is the guest kernel's own");
	/* the same with tables that map all of it to itself: a kernel of that kind */
	vp_st64(fake_mem(w.f, vp_gpa(0x40400000 + 8), 8), 0x40000000ull >> 12 << 10 | 0xcf);
	expect_at(&w, 0x40100000, 0x40100000);
	/* which Linux is not */
	strcpy((char *)fake_mem(w.f, vp_gpa(0x40500000), 64), "OSRELEASE=6.12.0");
	expect(&w, 0, VP_E_NO_STUB, "none is the guest kernel's own");
	world_deinit(&w);
}

static void test_users_may_not_reach_the_table_of_a_bare_kernel(void **state)
{
	struct world w;
	uint64_t leaf = 0x40000000ull >> 12 << 10 | 0xcf;

	(void)state;
	bare_init(&w, ARCH_RISCV64);
	put(&w, tab_of(arch_get(ARCH_RISCV64)), 0x40100000, 0x40100000);
	for (unsigned i = 0; i < 2; i++) {
		set(fake_regs(w.f, i), RISCV64_REG_SATP, 8ull << 60 | 0x40400000 >> 12);
		set(fake_regs(w.f, i), RISCV64_REG_PRIV, i);
	}
	vp_st64(fake_mem(w.f, vp_gpa(0x40400000 + 8), 8), leaf | 0x10); /* U */
	expect(&w, 0, VP_E_NO_STUB, "none is the guest kernel's own");
	vp_st64(fake_mem(w.f, vp_gpa(0x40400000 + 8), 8), leaf);
	expect_at(&w, 0x40100000, 0x40100000);
	/* one that only a kernel maps puts the others in the shade */
	vp_st64(fake_mem(w.f, vp_gpa(0x40400000 + 16), 8), 0x40401000ull >> 12 << 10 | 1);
	vp_st64(fake_mem(w.f, vp_gpa(0x40401000), 8), 0x40600000ull >> 12 << 10 | 0xcf);
	put(&w, tab_of(arch_get(ARCH_RISCV64)), 0x40600000, 0x80000000);
	expect_at(&w, 0x80000000, 0x40600000);
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
		BOTH(test_a_table_in_a_module_is_found),
		BOTH(test_a_guest_without_a_stub_says_so),
		BOTH(test_registers_are_needed_and_a_hold_must_be_allowed),
		BOTH(test_a_table_that_changes_is_noticed),
		BOTH(test_a_page_of_a_users_is_passed_over),
		BOTH(test_the_linear_map_proves_nothing),
		BOTH(test_a_stale_copy_and_a_newer_one_are_not_counted),
		BOTH(test_memory_full_of_candidates_costs_little),
		BOTH(test_two_true_tables_are_ambiguous),
		BOTH(test_a_newer_table_is_named),
		BOTH(test_a_table_of_another_architecture_is_refused),
		BOTH(test_a_table_that_changes_while_it_is_read_is_read_again),
		{"test_every_page_must_be_the_kernels", test_every_page_must_be_the_kernels, on_x86,
		 NULL, NULL},
		cmocka_unit_test(test_a_guest_without_translation_is_believed),
		cmocka_unit_test(test_an_idle_vcpu_proves_nothing_beside_one_that_translates),
		cmocka_unit_test(test_users_may_not_reach_the_table_of_a_bare_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
