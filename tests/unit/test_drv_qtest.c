// SPDX-License-Identifier: LGPL-2.1-or-later
/* Driver qtest against a real QEMU: two arm64 CPUs under TCG that run the code below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "qmp/qmp.h"
#include "tests/lib/qtest.h"
#include "tests/lib/vm.h"
#include "vmm-agent/base/clock.h"

#define SECOND CLOCK_NS_PER_SEC
#define CPUS   2u

#define CODE    0x40100000u
#define SITE    (CODE + 10 * 4)
#define CPU     0x40200000u /* what each CPU writes, 128 bytes apart: rounds, result */
#define SCRATCH 0x40300000u

/* A64, Arm ARM DDI 0487, C6.2 */
#define MOV_X2_1 0xd2800022u
#define MOV_X2_2 0xd2800042u

static const uint32_t code[] = {
	0xd2800060, 0xf2b88000, /* mov x0, #0xc4000003: PSCI CPU_ON */
	0xd2800021,             /* mov x1, #1: the other CPU */
	0x10000082,             /* adr x2, .+16 */
	0xd2801003,             /* mov x3, #128: what it begins with in x0 */
	0xd4000002,             /* hvc #0 */
	0xd2800000,             /* mov x0, #0 */
	0xd2a80401,             /* mov x1, #CPU */
	0x8b000021,             /* add x1, x1, x0 */
	0xd2800003,             /* mov x3, #0 */
	MOV_X2_1,               /* the site */
	0xf9000422,             /* str x2, [x1, #8] */
	0x91000463,             /* add x3, x3, #1 */
	0xf9000023,             /* str x3, [x1] */
	0x17fffffc,             /* b the site */
};

struct ctx {
	struct vm vm;
	char image[128];
	struct vp_target *t;
	struct vp_live *l;
	struct diag diag;
	unsigned waits;
};

#define OK(c, call)                                                                        \
	do {                                                                               \
		int r_ = (call);                                                           \
		if (r_ < 0)                                                                \
			fail_msg("%s: %s (%s)", #call, vp_err_reason(r_), (c)->diag.text); \
	} while (0)

static uint64_t rounds(struct ctx *c, unsigned cpu)
{
	uint8_t buf[8];

	OK(c, vp_read(c->t, vp_gpa(CPU + cpu * 128), buf, sizeof(buf)));
	return vp_ld64(buf);
}

static uint64_t result(struct ctx *c, unsigned cpu)
{
	uint8_t buf[8];

	OK(c, vp_read(c->t, vp_gpa(CPU + cpu * 128 + 8), buf, sizeof(buf)));
	return vp_ld64(buf);
}

static bool passed(struct ctx *c, unsigned cpu, uint64_t n, uint64_t deadline)
{
	uint64_t first = rounds(c, cpu);

	while (rounds(c, cpu) - first < n) {
		if (clock_left(deadline) == 0)
			return false;
		usleep(20); /* the host may have no more CPUs than the guest */
	}
	return true;
}

/* Two more rounds of each: the second of them began after the call. */
static int wait_rounds(void *ctx, uint64_t deadline, struct diag *diag)
{
	struct ctx *c = ctx;

	c->waits++;
	for (unsigned i = 0; i < CPUS; i++)
		if (!passed(c, i, 2, deadline))
			return diag_set(diag, VP_E_DEADLINE, "CPU %u stands still", i);
	return VP_OK;
}

static void start(struct ctx *c, const char *const *more, const char *qtest, bool waits)
{
	struct qtest_wait wait = {wait_rounds, c};
	const char *extra[8] = {"-device"};
	char loader[192], dir[] = "/tmp/vpatch-qtest-XXXXXX";
	FILE *f;

	memset(c, 0, sizeof(*c));
	assert_non_null(mkdtemp(dir));
	snprintf(c->image, sizeof(c->image), "%s/image", dir);
	f = fopen(c->image, "wbe");
	assert_non_null(f);
	for (size_t i = 0; i < sizeof(code) / sizeof(code[0]); i++) {
		uint8_t word[4];

		vp_st32(word, code[i]);
		assert_int_equal(fwrite(word, sizeof(word), 1, f), 1);
	}
	assert_int_equal(fclose(f), 0);
	snprintf(loader, sizeof(loader), "loader,file=%s,addr=%#x,force-raw=on,cpu-num=0", c->image,
		 CODE);
	extra[1] = loader;
	for (int i = 0; more && more[i]; i++)
		extra[2 + i] = more[i];
	assert_true(vm_start_qtest(&c->vm, VM_ARM64_TCG, extra));
	OK(c, qtest_open(c->vm.name, c->vm.qmp, qtest ? qtest : c->vm.qtest, waits ? &wait : NULL,
			 &c->diag, &c->t));
	assert_true(vp_target_caps(c->t) & VP_CAP_STORE_LIVE);
	assert_int_equal(vp_target_info(c->t)->vcpus, CPUS);
	for (unsigned i = 0; i < CPUS; i++)
		assert_true(passed(c, i, 1, clock_in(10 * SECOND)));
}

static void stop(struct ctx *c)
{
	vp_live_close(c->l);
	vp_target_close(c->t);
	vm_stop(&c->vm);
	unlink(c->image);
	*strrchr(c->image, '/') = '\0';
	rmdir(c->image);
}

static void store32(struct ctx *c, uint64_t at, uint32_t v)
{
	uint8_t buf[4];

	vp_st32(buf, v);
	OK(c, vp_live_store(c->l, vp_gpa(at), buf, sizeof(buf)));
}

/* Each CPU runs the word from the sync on, and only that. */
static void check_toggles(bool waits, const char *const *more, unsigned n)
{
	struct ctx c;

	start(&c, more, NULL, waits);
	OK(&c, vp_live_open(c.t, &c.diag, &c.l));
	for (unsigned i = 1; i <= n; i++) {
		store32(&c, SITE, i & 1 ? MOV_X2_2 : MOV_X2_1);
		OK(&c, vp_live_sync(c.l, ARCH_SYNC_ALL, VP_NO_DEADLINE, &c.diag));
		for (unsigned cpu = 0; cpu < CPUS; cpu++) {
			/* Whoever was between the site and the store of its result. */
			assert_true(passed(&c, cpu, 2, clock_in(5 * SECOND)));
			assert_int_equal(result(&c, cpu), i & 1 ? 2 : 1);
		}
	}
	assert_int_equal(c.waits, waits ? n : 0);
	stop(&c);
}

static void test_running_cpus_run_what_was_stored(void **state)
{
	(void)state;
	check_toggles(true, NULL, 200);
	check_toggles(true, (const char *[]){"-singlestep", NULL}, 200);
}

static void test_without_a_callback_the_threads_are_watched(void **state)
{
	(void)state;
	check_toggles(false, NULL, 20);
}

static void test_what_is_stored_is_read_back(void **state)
{
	static const size_t lens[] = {1, 2, 4, 8, 3, 7, 16, 255, 256, 257, 5000};
	uint8_t bytes[5000], back[5000], last[8], first[8];
	struct ctx c;

	(void)state;
	start(&c, NULL, NULL, true);
	OK(&c, vp_live_open(c.t, &c.diag, &c.l));
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		for (unsigned off = 0; off < 9; off++) {
			for (size_t j = 0; j < lens[i]; j++)
				bytes[j] = (uint8_t)(j * 7 + off + i);
			OK(&c, vp_live_store(c.l, vp_gpa(SCRATCH + off), bytes, lens[i]));
			OK(&c, vp_read(c.t, vp_gpa(SCRATCH + off), back, lens[i]));
			assert_memory_equal(bytes, back, lens[i]);
		}
	/* Many without a sync: the later one is never there before the earlier. */
	for (uint64_t i = 1; i <= 500; i++) {
		vp_st64(first, i);
		OK(&c, vp_live_store(c.l, vp_gpa(SCRATCH), first, sizeof(first)));
		OK(&c, vp_live_store(c.l, vp_gpa(SCRATCH + 64), first, sizeof(first)));
	}
	OK(&c, vp_live_sync(c.l, ARCH_SYNC_DATA, VP_NO_DEADLINE, &c.diag));
	OK(&c, vp_read(c.t, vp_gpa(SCRATCH + 64), last, sizeof(last)));
	assert_memory_equal(first, last, sizeof(last));
	assert_int_equal(vp_live_store(c.l, vp_gpa(0x50000000), bytes, 4), VP_E_RANGE);
	assert_int_equal(vp_live_store(c.l, vp_gpa(CODE - 0x100000 + (64u << 20) - 2), bytes, 4),
			 VP_E_RANGE);
	stop(&c);
}

static void test_the_guest_can_be_held_between(void **state)
{
	struct vp_paused *p;
	struct arch_regs regs;
	struct ctx c;
	uint64_t n;

	(void)state;
	start(&c, NULL, NULL, true);
	for (unsigned i = 0; i < CPUS; i++) {
		OK(&c, vp_peek_regs(c.t, i, &regs, &c.diag));
		assert_true(regs.have & 1u << ARCH_REG_PC);
		assert_in_range(regs.v[ARCH_REG_PC], SITE, SITE + 4 * 4);
	}
	for (unsigned i = 0; i < 5; i++) {
		uint8_t word[4];

		OK(&c, vp_live_open(c.t, &c.diag, &c.l));
		store32(&c, SITE, MOV_X2_1);
		vp_live_close(c.l);
		OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
		assert_int_equal(vp_live_open(c.t, &c.diag, &c.l), VP_E_INTERNAL);
		OK(&c, vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p));
		n = rounds(&c, 0);
		vp_st32(word, MOV_X2_2);
		OK(&c, vp_write(p, vp_gpa(SITE), word, sizeof(word)));
		OK(&c, vp_sync(p));
		assert_int_equal(rounds(&c, 0), n);
		OK(&c, vp_resume(p));
		vp_disarm(c.t);
		for (unsigned cpu = 0; cpu < CPUS; cpu++) {
			assert_true(passed(&c, cpu, 2, clock_in(5 * SECOND)));
			assert_int_equal(result(&c, cpu), 2);
		}
	}
	stop(&c);
}

/* A CPU that does not go on: here it runs in a circle that counts nothing. */
static void test_a_cpu_that_does_not_get_on_is_named(void **state)
{
	struct ctx c;

	(void)state;
	start(&c, NULL, NULL, true);
	OK(&c, vp_live_open(c.t, &c.diag, &c.l));
	store32(&c, SITE, 0x14000000); /* b . */
	assert_int_equal(vp_live_sync(c.l, ARCH_SYNC_ALL, clock_in(SECOND / 2), &c.diag),
			 VP_E_DEADLINE);
	assert_non_null(strstr(c.diag.text, "CPU 0 stands still"));
	stop(&c);
}

static void monitor(struct ctx *c, const char *command)
{
	struct qmp_error e;
	struct qmp *q;

	assert_int_equal(qmp_open(c->vm.qmp, clock_in(5 * SECOND), &e, &q), QMP_OK);
	assert_int_equal(qmp_call(q, command, NULL, -1, clock_in(5 * SECOND), &e, NULL), QMP_OK);
	qmp_close(q);
}

static void test_a_guest_that_does_not_run_is_refused(void **state)
{
	struct ctx c;

	(void)state;
	start(&c, NULL, NULL, true);
	vp_target_close(c.t);
	monitor(&c, "stop");
	OK(&c, qtest_open(c.vm.name, c.vm.qmp, c.vm.qtest, NULL, &c.diag, &c.t));
	assert_int_equal(vp_live_open(c.t, &c.diag, &c.l), VP_E_UNSUPPORTED);
	stop(&c);
}

static void test_a_qemu_that_ends_is_noticed(void **state)
{
	uint8_t word[4] = {0};
	struct ctx c;
	int r;

	(void)state;
	start(&c, NULL, NULL, true);
	OK(&c, vp_live_open(c.t, &c.diag, &c.l));
	vm_kill(&c.vm);
	OK(&c, vp_live_store(c.l, vp_gpa(SCRATCH), word, sizeof(word)));
	r = vp_live_sync(c.l, ARCH_SYNC_DATA, VP_NO_DEADLINE, &c.diag);
	assert_int_equal(r, VP_E_DISCONNECTED);
	stop(&c);
}

/* Stores go out ahead of the answers to earlier ones: an answer that is no "OK" still comes out. */
static void test_an_answer_that_is_no_ok_is_an_error(void **state)
{
	static const char *const answers[] = {"FAIL Unknown command\n", "OK\nOK\nOK\n"};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[] = "/tmp/vpatch-qtest-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/qtest", dir);
	for (size_t i = 0; i < 2; i++) {
		uint8_t word[4] = {0};
		struct ctx c;
		int listens = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

		assert_int_equal(bind(listens, (struct sockaddr *)&addr, sizeof(addr)), 0);
		assert_int_equal(listen(listens, 1), 0);
		start(&c, NULL, addr.sun_path, true);
		fd = accept(listens, NULL, NULL);
		assert_true(fd >= 0);
		OK(&c, vp_live_open(c.t, &c.diag, &c.l));
		OK(&c, vp_live_store(c.l, vp_gpa(SCRATCH), word, sizeof(word)));
		OK(&c, vp_live_store(c.l, vp_gpa(SCRATCH), word, sizeof(word)));
		assert_true(write(fd, answers[i], strlen(answers[i])) > 0);
		assert_int_equal(vp_live_sync(c.l, ARCH_SYNC_DATA, VP_NO_DEADLINE, &c.diag),
				 VP_E_PROTO);
		assert_int_equal(vp_live_store(c.l, vp_gpa(SCRATCH), word, sizeof(word)),
				 VP_E_PROTO);
		stop(&c);
		close(fd);
		close(listens);
		unlink(addr.sun_path);
	}
	rmdir(dir);
}

/* The machines that site guests run in. Theirs is a firmware that waits, or a branch to itself: a CPU that
 * faults for ever keeps QEMU's lock from its monitor. */
static void test_every_machine_takes_stores(void **state)
{
	static const struct {
		enum vm_kind kind;
		enum arch_id arch;
		uint64_t ram;
		const char *option; /* by which the image gets there */
		uint32_t loop;
	} machines[] = {
		{VM_X86_TCG, ARCH_X86_64, 0x2000000, NULL, 0},
		{VM_MICROVM_TCG, ARCH_X86_64, 0x2000000, NULL, 0},
		{VM_RISCV64_TCG, ARCH_RISCV64, 0x82000000, "-bios", 0x0000006f},
		{VM_THUMB2_TCG, ARCH_THUMB2, 0x42000000, "-device", 0xeafffffe},
		/* in the order of bytes that it begins with */
		{VM_PPC64LE_TCG, ARCH_PPC64LE, 0x2000000, "-bios", 0x00000048},
	};
	char image[] = "/tmp/vpatch-qtest-XXXXXX";
	int fd = mkstemp(image);

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
		const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
		uint8_t back[8] = {0}, loop[4];
		char value[128] = "";
		const char *extra[4] = {machines[i].option, value};
		struct ctx c = {0};

		if (vm_missing(machines[i].kind)) {
			print_message("%s is missing\n", vm_missing(machines[i].kind));
			continue;
		}
		vp_st32(loop, machines[i].loop);
		for (off_t at = 0; at < 4096; at += 4)
			assert_int_equal(pwrite(fd, loop, 4, at), 4);
		snprintf(value, sizeof(value),
			 machines[i].kind == VM_THUMB2_TCG
				 ? "loader,file=%s,addr=0x40100000,force-raw=on,cpu-num=0"
				 : "%s",
			 image);
		assert_true(vm_start_qtest(&c.vm, machines[i].kind, extra));
		if (qtest_open(c.vm.name, c.vm.qmp, c.vm.qtest, NULL, &c.diag, &c.t) < 0)
			fail_msg("%s: %s", vm_kind_name(machines[i].kind), c.diag.text);
		assert_int_equal(vp_target_info(c.t)->arch->id, machines[i].arch);
		OK(&c, vp_live_open(c.t, &c.diag, &c.l));
		OK(&c, vp_live_store(c.l, vp_gpa(machines[i].ram), bytes, sizeof(bytes)));
		OK(&c, vp_live_sync(c.l, ARCH_SYNC_DATA, VP_NO_DEADLINE, &c.diag));
		/* In the order of their addresses, whichever byte order the target has. */
		OK(&c, vp_read(c.t, vp_gpa(machines[i].ram), back, sizeof(back)));
		assert_memory_equal(bytes, back, sizeof(back));
		vp_live_close(c.l);
		vp_target_close(c.t);
		vm_stop(&c.vm);
	}
	close(fd);
	unlink(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_running_cpus_run_what_was_stored),
		cmocka_unit_test(test_every_machine_takes_stores),
		cmocka_unit_test(test_without_a_callback_the_threads_are_watched),
		cmocka_unit_test(test_what_is_stored_is_read_back),
		cmocka_unit_test(test_the_guest_can_be_held_between),
		cmocka_unit_test(test_a_cpu_that_does_not_get_on_is_named),
		cmocka_unit_test(test_a_guest_that_does_not_run_is_refused),
		cmocka_unit_test(test_a_qemu_that_ends_is_noticed),
		cmocka_unit_test(test_an_answer_that_is_no_ok_is_an_error),
	};
	const char *missing = vm_missing(VM_ARM64_TCG);

	if (missing) {
		printf("skipped: %s is missing\n", missing);
		return 77;
	}
	return cmocka_run_group_tests_name("drv_qtest", tests, NULL, NULL);
}
