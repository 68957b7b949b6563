// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/mini.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86-64/regs.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/host/kvm.h"

/* mov $imm32, %eax; mov %rax, 8(%rdi); incq (%rdi); jmp: Intel SDM vol. 2 */
const uint8_t mini_loop[MINI_LOOP_LEN] = {0xb8, 1,    0,    0,    0,    0x48, 0x89,
					  0x47, 0x08, 0x48, 0xff, 0x07, 0xeb, 0xf2};

struct seat {
	struct mini *m;
	unsigned i;
};

static void on_kick(int sig)
{
	(void)sig;
}

bool mini_flag(const uint32_t *word, unsigned i)
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
		while (mini_flag(&m->stuck, i) && !stopping(m))
			usleep(500);
		if (mini_flag(&m->away, i)) {
			if (vp_inproc_leave(m->vp, i) != 0)
				abort();
			__atomic_fetch_or(&m->is_away, 1u << i, __ATOMIC_SEQ_CST);
			while (mini_flag(&m->away, i) && !stopping(m))
				usleep(500);
			__atomic_fetch_and(&m->is_away, ~(1u << i), __ATOMIC_SEQ_CST);
		}
		if (vp_inproc_gate(m->vp, i) != 0)
			continue;
		__atomic_fetch_add(&m->runs[i], 1, __ATOMIC_SEQ_CST);
		if (ioctl(m->vcpu[i].fd, KVM_RUN, 0) < 0 && errno != EINTR)
			abort();
	}
	(void)!vp_inproc_leave(m->vp, i);
	return NULL;
}

void mini_kick(void *ctx, unsigned i)
{
	struct mini *m = ctx;

	__atomic_fetch_add(&m->kicks[i], 1, __ATOMIC_SEQ_CST);
	pthread_kill(m->thread[i], SIGUSR1);
}

void mini_ask_exit(struct mini *m, unsigned i, uint8_t value)
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

const char *mini_missing(void)
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
	struct kvm_regs regs = {.rip = MINI_CODE, .rdi = MINI_COUNTERS + i * 64, .rflags = 2};
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

static void set_state(int fd, uint32_t state)
{
	struct kvm_mp_state mp = {.mp_state = state};

	assert_return_code(ioctl(fd, KVM_SET_MP_STATE, &mp), errno);
}

uint64_t *mini_at(struct mini *m, uint64_t gpa)
{
	return (uint64_t *)(void *)(m->ram + gpa);
}

uint64_t mini_counter(struct mini *m, unsigned i)
{
	return __atomic_load_n(mini_at(m, MINI_COUNTERS + i * 64), __ATOMIC_SEQ_CST);
}

static void build_vm(struct mini *m)
{
	int size;

	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	assert_return_code(m->vm, errno);
	m->ram = mmap(NULL, MINI_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	m->rom = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(m->ram, MAP_FAILED);
	assert_ptr_not_equal(m->rom, MAP_FAILED);
	/* With it KVM keeps halted vCPUs to itself. */
	assert_return_code(ioctl(m->vm, KVM_CREATE_IRQCHIP, 0), errno);
	add_slot(m, 0, 0, MINI_RAM, m->ram, 0);
	add_slot(m, 1, MINI_ROM_AT, 4096, m->rom, VP_INPROC_READONLY);
	*mini_at(m, 0x1000) = 0x2007; /* present, writable, user */
	*mini_at(m, 0x2000) = 0x3007;
	*mini_at(m, 0x3000) = 0x87; /* and large */
	memcpy(m->ram + MINI_CODE, mini_loop, sizeof(mini_loop));
	size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	assert_return_code(size, errno);
	for (unsigned i = 0; i < m->vcpus; i++) {
		m->vcpu[i].fd = ioctl(m->vm, KVM_CREATE_VCPU, i);
		assert_return_code(m->vcpu[i].fd, errno);
		m->vcpu[i].run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED,
				      m->vcpu[i].fd, 0);
		assert_ptr_not_equal(m->vcpu[i].run, MAP_FAILED);
		set_registers(m->vcpu[i].fd, i);
		set_state(m->vcpu[i].fd, i < m->busy ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_HALTED);
	}
}

struct vp_inproc_vm mini_describe(struct mini *m)
{
	return (struct vp_inproc_vm){
		.size = sizeof(struct vp_inproc_vm),
		.name = "mini",
		.vcpus = m->vcpu,
		.n_vcpus = m->vcpus,
		.slots = m->slots,
		.n_slots = 2,
		.ctx = m,
		.kick = mini_kick,
		.mark_dirty = mark_dirty,
		.state = vm_state,
	};
}

struct mini *mini_start(unsigned vcpus, unsigned busy)
{
	struct sigaction sa = {.sa_handler = on_kick};
	struct mini *m = calloc(1, sizeof(*m));
	struct vp_inproc_vm vm;
	char words[256];

	assert_non_null(m);
	assert_true(vcpus <= MINI_VCPUS && busy <= vcpus);
	m->vcpus = vcpus;
	m->busy = busy;
	diag_init(&m->diag);
	build_vm(m);
	sigaction(SIGUSR1, &sa, NULL);
	vm = mini_describe(m);
	assert_int_equal(vp_inproc_open(&vm, &m->vp, words, sizeof(words)), 0);
	assert_string_equal(words, "");
	for (unsigned i = 0; i < m->vcpus; i++) {
		struct seat *seat = malloc(sizeof(*seat));

		assert_non_null(seat);
		*seat = (struct seat){m, i};
		assert_int_equal(pthread_create(&m->thread[i], NULL, vcpu_main, seat), 0);
	}
	assert_int_equal(drv_inproc_open(m->vp, &m->diag, &m->t), VP_OK);
	return m;
}

void mini_stop(struct mini *m)
{
	if (!m)
		return;
	vp_target_close(m->t);
	__atomic_store_n(&m->stop, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < m->vcpus; i++) {
		mini_ask_exit(m, i, 1);
		mini_kick(m, i);
		pthread_join(m->thread[i], NULL);
		close(m->vcpu[i].fd);
	}
	vp_inproc_close(m->vp);
	close(m->vm);
	close(m->kvm);
	munmap(m->ram, MINI_RAM);
	munmap(m->rom, 4096);
	free(m);
}

void mini_assert_runs(struct mini *m)
{
	uint64_t until = clock_in(20 * CLOCK_NS_PER_SEC);

	for (unsigned i = 0; i < m->busy; i++) {
		uint64_t was = mini_counter(m, i);

		while (mini_counter(m, i) == was && clock_left(until) > 0)
			usleep(50);
		assert_true(mini_counter(m, i) > was);
	}
}
