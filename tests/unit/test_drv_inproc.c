/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inproc driver on a VM of this very process: two vCPUs that count in user mode. */
/* Runs as root: /dev/kvm. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86-64/regs.h"
#include "protocol/bytes.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/inproc.h"
#include "vmm-agent/host/kvm.h"

#define VCPUS    2
#define RAM      (2u << 20)
#define ROM_AT   (1u << 30)
#define CODE     0x10000u
#define LOOP_END (CODE + 13)
#define VALUE    (CODE + 1) /* the immediate that the loop stores */
#define COUNTERS 0x20000u
#define HOLDS    1000

/* mov $imm32, %eax; mov %rax, 8(%rdi); incq (%rdi); jmp: Intel SDM vol. 2 */
static const uint8_t loop[] = {0xb8, 1,    0,    0,    0,    0x48, 0x89,
			       0x47, 0x08, 0x48, 0xff, 0x07, 0xeb, 0xf2};

struct mini {
	int kvm, vm;
	uint8_t *ram, *rom;
	struct vp_inproc_vcpu vcpu[VCPUS];
	pthread_t thread[VCPUS];
	bool started;
	struct vp_inproc_slot slots[2];
	struct vp_inproc *vp;
	struct vp_target *t;
	struct diag diag;
	bool stop;
	uint32_t stuck; /* bit i: vCPU i's thread does not go to the gate */
	uint32_t away;  /* bit i: it leaves and waits */
	uint32_t is_away;
	int state;
	uint64_t dirty_gpa, dirty_len;
	unsigned n_dirty;
};

struct seat {
	struct mini *m;
	unsigned i;
};

static void on_kick(int sig)
{
	(void)sig;
}

static bool flag(const uint32_t *word, unsigned i)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST) >> i & 1;
}

static bool stopping(struct mini *m)
{
	return __atomic_load_n(&m->stop, __ATOMIC_SEQ_CST);
}

static void *vcpu_main(void *arg)
{
	struct seat *seat = arg;
	struct mini *m = seat->m;
	unsigned i = seat->i;

	free(seat);
	while (!stopping(m)) {
		while (flag(&m->stuck, i) && !stopping(m))
			usleep(500);
		if (flag(&m->away, i)) {
			if (vp_inproc_leave(m->vp, i) != 0)
				abort();
			__atomic_fetch_or(&m->is_away, 1u << i, __ATOMIC_SEQ_CST);
			while (flag(&m->away, i) && !stopping(m))
				usleep(500);
			__atomic_fetch_and(&m->is_away, ~(1u << i), __ATOMIC_SEQ_CST);
		}
		if (vp_inproc_gate(m->vp, i) == 0 && ioctl(m->vcpu[i].fd, KVM_RUN, 0) < 0 &&
		    errno != EINTR)
			abort();
	}
	(void)!vp_inproc_leave(m->vp, i);
	return NULL;
}

static void kick(void *ctx, unsigned i)
{
	struct mini *m = ctx;

	pthread_kill(m->thread[i], SIGUSR1);
}

/* As a VMM does that wants something of a vCPU's thread itself. */
static void ask_exit(struct mini *m, unsigned i, uint8_t value)
{
	struct kvm_run *run = m->vcpu[i].run;

	__atomic_store_n(&run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

static void mark_dirty(void *ctx, uint64_t gpa, uint64_t len)
{
	struct mini *m = ctx;

	m->dirty_gpa = gpa;
	m->dirty_len = len;
	m->n_dirty++;
}

static int vm_state(void *ctx)
{
	return ((struct mini *)ctx)->state;
}

static const char *missing(void)
{
	int fd;

	if (!host_kvm_arch() || host_kvm_arch()->id != ARCH_X86_64)
		return "the little guest is x86-64's";
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return "/dev/kvm cannot be used";
	close(fd);
	return NULL;
}

static void add_slot(struct mini *m, unsigned n, uint64_t gpa, uint64_t len, uint8_t *mem,
		     uint32_t flags)
{
	struct kvm_userspace_memory_region r = {
		.slot = n,
		.flags = flags ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = gpa,
		.memory_size = len,
		.userspace_addr = (uintptr_t)mem,
	};

	assert_return_code(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &r), errno);
	m->slots[n] = (struct vp_inproc_slot){.gpa = gpa, .len = len, .hva = mem, .flags = flags};
}

/* Long mode, ring 3, the first 2 MiB mapped as they are. */
static void set_registers(int fd, unsigned i)
{
	struct kvm_regs regs = {.rip = CODE, .rdi = COUNTERS + i * 64, .rflags = 2};
	struct kvm_segment data = {.limit = 0xffffffff,
				   .selector = 0x2b,
				   .type = 3,
				   .present = 1,
				   .dpl = 3,
				   .db = 1,
				   .s = 1,
				   .g = 1};
	struct kvm_segment code = {.limit = 0xffffffff,
				   .selector = 0x33,
				   .type = 11,
				   .present = 1,
				   .dpl = 3,
				   .s = 1,
				   .l = 1,
				   .g = 1};
	struct kvm_sregs sregs;

	assert_return_code(ioctl(fd, KVM_GET_SREGS, &sregs), errno);
	sregs.cs = code;
	sregs.ss = sregs.ds = sregs.es = data;
	sregs.cr3 = 0x1000;
	sregs.cr4 = X86_64_CR4_PAE;
	sregs.cr0 = X86_64_CR0_PE | X86_64_CR0_PG;
	sregs.efer = X86_64_EFER_LMA | 1 << 8; /* LME */
	assert_return_code(ioctl(fd, KVM_SET_SREGS, &sregs), errno);
	assert_return_code(ioctl(fd, KVM_SET_REGS, &regs), errno);
}

static uint64_t *at(struct mini *m, uint64_t gpa)
{
	return (uint64_t *)(void *)(m->ram + gpa);
}

static uint64_t counter(struct mini *m, unsigned i)
{
	return __atomic_load_n(at(m, COUNTERS + i * 64), __ATOMIC_SEQ_CST);
}

static void build_vm(struct mini *m)
{
	int size;

	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	assert_return_code(m->vm, errno);
	m->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	m->rom = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(m->ram, MAP_FAILED);
	assert_ptr_not_equal(m->rom, MAP_FAILED);
	add_slot(m, 0, 0, RAM, m->ram, 0);
	add_slot(m, 1, ROM_AT, 4096, m->rom, VP_INPROC_READONLY);
	*at(m, 0x1000) = 0x2007; /* present, writable, user */
	*at(m, 0x2000) = 0x3007;
	*at(m, 0x3000) = 0x87; /* and large */
	memcpy(m->ram + CODE, loop, sizeof(loop));
	size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	assert_return_code(size, errno);
	for (unsigned i = 0; i < VCPUS; i++) {
		m->vcpu[i].fd = ioctl(m->vm, KVM_CREATE_VCPU, i);
		assert_return_code(m->vcpu[i].fd, errno);
		m->vcpu[i].run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED,
				      m->vcpu[i].fd, 0);
		assert_ptr_not_equal(m->vcpu[i].run, MAP_FAILED);
		set_registers(m->vcpu[i].fd, i);
	}
}

static struct vp_inproc_vm describe(struct mini *m)
{
	return (struct vp_inproc_vm){
		.size = sizeof(struct vp_inproc_vm),
		.name = "mini",
		.vcpus = m->vcpu,
		.n_vcpus = VCPUS,
		.slots = m->slots,
		.n_slots = 2,
		.ctx = m,
		.kick = kick,
		.mark_dirty = mark_dirty,
		.state = vm_state,
	};
}

static int start(void **state)
{
	struct sigaction sa = {.sa_handler = on_kick};
	struct mini *m = calloc(1, sizeof(*m));
	struct vp_inproc_vm vm;
	char words[256];

	if (missing()) {
		free(m);
		*state = NULL;
		return 0;
	}
	assert_non_null(m);
	diag_init(&m->diag);
	build_vm(m);
	sigaction(SIGUSR1, &sa, NULL);
	vm = describe(m);
	assert_int_equal(vp_inproc_open(&vm, &m->vp, words, sizeof(words)), 0);
	assert_string_equal(words, "");
	for (unsigned i = 0; i < VCPUS; i++) {
		struct seat *seat = malloc(sizeof(*seat));

		assert_non_null(seat);
		*seat = (struct seat){m, i};
		assert_int_equal(pthread_create(&m->thread[i], NULL, vcpu_main, seat), 0);
	}
	assert_int_equal(drv_inproc_open(m->vp, &m->diag, &m->t), VP_OK);
	*state = m;
	return 0;
}

static int stop(void **state)
{
	struct mini *m = *state;

	if (!m)
		return 0;
	vp_target_close(m->t);
	__atomic_store_n(&m->stop, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < VCPUS; i++) {
		ask_exit(m, i, 1);
		kick(m, i);
		pthread_join(m->thread[i], NULL);
		close(m->vcpu[i].fd);
	}
	vp_inproc_close(m->vp);
	close(m->vm);
	close(m->kvm);
	munmap(m->ram, RAM);
	munmap(m->rom, 4096);
	free(m);
	return 0;
}

static struct mini *mini(void **state)
{
	if (!*state) {
		print_message("%s\n", missing());
		skip();
	}
	return *state;
}

/* Both count on from here. */
static void assert_runs(struct mini *m)
{
	uint64_t until = clock_in(20 * CLOCK_NS_PER_SEC);

	for (unsigned i = 0; i < VCPUS; i++) {
		uint64_t was = counter(m, i);

		while (counter(m, i) == was && clock_left(until) > 0)
			usleep(50);
		assert_true(counter(m, i) > was);
	}
}

static struct vp_paused *hold(struct mini *m)
{
	struct vp_paused *p = NULL;
	int r = vp_pause(m->t, clock_in(20 * CLOCK_NS_PER_SEC), &m->diag, &p);

	if (r < 0)
		fail_msg("%s", m->diag.text);
	return p;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void say(const char *what, uint64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), by_value);
	print_message("%s: median %" PRIu64 " us, 99 of 100 %" PRIu64 " us\n", what,
		      ns[n / 2] / 1000, ns[n * 99 / 100] / 1000);
}

static void test_held_vcpus_stand_still_and_go_on(void **state)
{
	static uint64_t in[HOLDS], out[HOLDS];
	struct mini *m = mini(state);

	assert_runs(m);
	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	for (unsigned n = 0; n < HOLDS; n++) {
		uint64_t count[VCPUS], t0 = clock_now(), t1, t2;
		struct vp_paused *p = hold(m);

		t1 = clock_now();
		for (unsigned i = 0; i < VCPUS; i++) {
			struct arch_regs regs;
			struct arch_mmu mmu;

			assert_int_equal(vp_regs(p, i, &regs), VP_OK);
			assert_in_range(regs.v[ARCH_REG_PC], CODE, LOOP_END);
			assert_int_equal(regs.v[X86_64_REG_CR3], 0x1000);
			assert_int_equal(regs.v[X86_64_REG_CS] & 3, 3);
			assert_int_equal(arch_get(ARCH_X86_64)->mmu_from_regs(&regs, &mmu), VP_OK);
			count[i] = counter(m, i);
		}
		if (n % 100 == 0)
			usleep(1000);
		for (unsigned i = 0; i < VCPUS; i++)
			assert_int_equal(counter(m, i), count[i]);
		t2 = clock_now();
		assert_int_equal(vp_resume(p), VP_OK);
		in[n] = t1 - t0;
		out[n] = clock_now() - t2;
		if (n % 50 == 0)
			assert_runs(m);
	}
	vp_disarm(m->t);
	assert_runs(m);
	say("hold", in, HOLDS);
	say("release", out, HOLDS);
}

static void test_a_write_is_marked_dirty_and_executed(void **state)
{
	struct mini *m = mini(state);

	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	for (uint32_t n = 2; n < 200; n++) {
		struct vp_paused *p = hold(m);
		uint64_t until = clock_in(20 * CLOCK_NS_PER_SEC);
		uint8_t imm[4], back[4];

		vp_st32(imm, n);
		assert_int_equal(vp_write(p, vp_gpa(VALUE), imm, 4), VP_OK);
		assert_int_equal(vp_read(m->t, vp_gpa(VALUE), back, 4), VP_OK);
		assert_memory_equal(imm, back, 4);
		assert_int_equal(m->n_dirty, n - 1);
		assert_int_equal(m->dirty_gpa, VALUE);
		assert_int_equal(m->dirty_len, 4);
		assert_int_equal(vp_sync(p), VP_OK);
		assert_int_equal(vp_resume(p), VP_OK);
		for (unsigned i = 0; i < VCPUS; i++) {
			while (*(volatile uint64_t *)at(m, COUNTERS + i * 64 + 8) != n &&
			       clock_left(until) > 0)
				;
			assert_int_equal(*at(m, COUNTERS + i * 64 + 8), n);
		}
	}
	vp_disarm(m->t);
	assert_true(vp_target_caps(m->t) & VP_CAP_WRITE_DIRTY);
	assert_true(vp_target_caps(m->t) & VP_CAP_HOLD_HERE);
}

static void test_a_vcpu_that_stays_away_from_the_gate_means_deadline(void **state)
{
	struct mini *m = mini(state);
	struct vp_paused *p;

	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	for (unsigned n = 0; n < 20; n++) {
		uint64_t was, t0;

		__atomic_store_n(&m->stuck, 2, __ATOMIC_SEQ_CST);
		kick(m, 1); /* into the trap */
		ask_exit(m, 1, 1);
		usleep(2000);
		t0 = clock_now();
		assert_int_equal(vp_pause(m->t, clock_in(20000000), &m->diag, &p), VP_E_DEADLINE);
		assert_non_null(strstr(m->diag.text, "vCPU 1"));
		assert_true(clock_now() - t0 < 10 * CLOCK_NS_PER_SEC);
		was = counter(m, 0);
		while (counter(m, 0) == was)
			;
		ask_exit(m, 1, 0);
		__atomic_store_n(&m->stuck, 0, __ATOMIC_SEQ_CST);
		assert_runs(m); /* no request to leave KVM_RUN is left behind */
	}
	p = hold(m);
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(m->t);
}

static void test_a_vcpu_that_left_counts_as_held(void **state)
{
	struct mini *m = mini(state);
	struct arch_regs regs;
	struct vp_paused *p;
	uint64_t was;

	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	for (unsigned n = 0; n < 50; n++) {
		__atomic_store_n(&m->away, 1, __ATOMIC_SEQ_CST);
		ask_exit(m, 0, 1);
		kick(m, 0);
		while (!flag(&m->is_away, 0))
			usleep(50);
		p = hold(m);
		assert_int_equal(vp_regs(p, 0, &regs), VP_OK);
		assert_in_range(regs.v[ARCH_REG_PC], CODE, LOOP_END);
		was = counter(m, 0);
		/* it comes back while it is held, and waits */
		ask_exit(m, 0, 0);
		__atomic_store_n(&m->away, 0, __ATOMIC_SEQ_CST);
		usleep(2000);
		assert_int_equal(counter(m, 0), was);
		assert_int_equal(vp_resume(p), VP_OK);
		assert_runs(m);
	}
	vp_disarm(m->t);
}

static void test_changed_slots_are_noticed(void **state)
{
	struct mini *m = mini(state);
	struct vp_paused *p;
	uint8_t byte = 0;
	char words[128];

	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	assert_int_equal(vp_inproc_set_slots(m->vp, m->slots, 1, NULL, 0), 0);
	assert_int_equal(vp_pause(m->t, clock_in(CLOCK_NS_PER_SEC), &m->diag, &p),
			 VP_E_GUEST_CHANGED);
	vp_disarm(m->t);
	vp_target_close(m->t);

	/* and in the window */
	assert_int_equal(drv_inproc_open(m->vp, &m->diag, &m->t), VP_OK);
	assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), VP_OK);
	p = hold(m);
	assert_int_equal(vp_inproc_set_slots(m->vp, m->slots, 2, NULL, 0), 0);
	assert_int_equal(vp_write(p, vp_gpa(0x30000), &byte, 1), VP_E_GUEST_CHANGED);
	assert_int_equal(vp_read(m->t, vp_gpa(0x30000), &byte, 1), VP_E_GUEST_CHANGED);
	assert_int_equal(vp_resume(p), VP_OK);
	vp_disarm(m->t);
	vp_target_close(m->t);
	assert_runs(m);

	/* an overlap is refused, and nothing is left to write to */
	m->slots[1].gpa = RAM - 4096;
	assert_true(vp_inproc_set_slots(m->vp, m->slots, 2, words, sizeof(words)) < 0);
	assert_non_null(strstr(words, "overlap"));
	m->t = NULL;
	assert_int_equal(drv_inproc_open(m->vp, &m->diag, &m->t), VP_E_USAGE);
}

static void test_read_only_slots_are_not_ram(void **state)
{
	struct mini *m = mini(state);
	const struct vp_ram *ram;
	vp_gpa_t found[4];
	uint8_t byte;
	size_t n;

	assert_int_equal(vp_ram(m->t, &ram, &n, &m->diag), VP_OK);
	assert_int_equal(n, 1);
	assert_int_equal(ram[0].len, RAM);
	assert_int_equal(vp_read(m->t, vp_gpa(ROM_AT), &byte, 1), VP_E_RANGE);
	assert_int_equal(vp_find_pages(m->t, loop, sizeof(loop), found, 4, &n, &m->diag), VP_OK);
	assert_int_equal(n, 1);
	assert_int_equal(found[0].v, CODE);
}

static void test_states_are_refused(void **state)
{
	static const struct {
		int state, err;
	} rows[] = {
		{VP_INPROC_RUNNING, VP_OK},
		{VP_INPROC_PAUSED, VP_OK},
		{VP_INPROC_MIGRATING, VP_E_MIGRATING},
		{VP_INPROC_ENDED, VP_E_SHUTDOWN},
		{17, VP_E_PROTO},
	};
	struct mini *m = mini(state);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		m->state = rows[i].state;
		assert_int_equal(vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag), rows[i].err);
		vp_disarm(m->t);
	}
}

static void test_registers_without_a_window(void **state)
{
	struct mini *m = mini(state);
	struct arch_regs regs;

	for (unsigned i = 0; i < VCPUS; i++) {
		assert_int_equal(vp_peek_regs(m->t, i, &regs, &m->diag), VP_OK);
		assert_in_range(regs.v[ARCH_REG_PC], CODE, LOOP_END);
	}
	assert_runs(m);
}

static void test_what_a_vmm_hands_over_is_checked(void **state)
{
	struct mini *m = mini(state);
	struct vp_inproc_vm vm = describe(m);
	struct vp_inproc *vp = NULL;
	char words[128] = "";

	vm.size--;
	assert_true(vp_inproc_open(&vm, &vp, words, sizeof(words)) < 0);
	assert_true(words[0] != '\0');
	vm = describe(m);
	vm.n_vcpus = 0;
	assert_true(vp_inproc_open(&vm, &vp, NULL, 0) < 0);
	vm = describe(m);
	vm.kick = NULL;
	assert_true(vp_inproc_open(&vm, &vp, NULL, 0) < 0);
	m->slots[0].len++;
	vm = describe(m);
	assert_true(vp_inproc_open(&vm, &vp, NULL, 0) < 0);
	m->slots[0].len--;
	m->slots[0].flags = 8;
	assert_true(vp_inproc_open(&vm, &vp, NULL, 0) < 0);
	assert_null(vp);
	assert_true(vp_inproc_gate(m->vp, VCPUS) < 0);
}

#define ROW(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(test_held_vcpus_stand_still_and_go_on),
		ROW(test_a_write_is_marked_dirty_and_executed),
		ROW(test_a_vcpu_that_stays_away_from_the_gate_means_deadline),
		ROW(test_a_vcpu_that_left_counts_as_held),
		ROW(test_changed_slots_are_noticed),
		ROW(test_read_only_slots_are_not_ram),
		ROW(test_states_are_refused),
		ROW(test_registers_without_a_window),
		ROW(test_what_a_vmm_hands_over_is_checked),
	};

	if (missing()) {
		printf("%s\n", missing());
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
