// SPDX-License-Identifier: LGPL-2.1-or-later
/* Driver gdb against real QEMUs: TCG and KVM x86-64, TCG arm64. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "qmp/qmp.h"
#include "tests/lib/vm.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/gdb.h"

#define SECOND CLOCK_NS_PER_SEC

/* The seed of what is random here; printed, and taken from SEED if that is set. */
static unsigned seed;

struct ctx {
	enum vm_kind kind;
	struct vm vm;
	struct vp_target *t;
	struct diag diag;
};

static vp_gpa_t scratch(enum vm_kind kind)
{
	/* Memory that no firmware touches once it waits. */
	return vp_gpa(kind == VM_ARM64_TCG ? 0x42000000 : 0x2000000);
}

static void open_target(struct ctx *c)
{
	diag_init(&c->diag);
	if (drv_gdb_open(c->vm.name, c->vm.qmp, &c->diag, &c->t) < 0)
		fail_msg("open: %s", c->diag.text);
}

static void start(struct ctx *c, enum vm_kind kind, const char *const *extra)
{
	const char *missing = vm_missing(kind);

	memset(c, 0, sizeof(*c));
	c->kind = kind;
	if (missing) {
		print_message("%s: %s is missing\n", vm_kind_name(kind), missing);
		skip();
	}
	assert_true(vm_start(&c->vm, kind, extra));
	open_target(c);
}

static void stop(struct ctx *c)
{
	vp_target_close(c->t);
	vm_stop(&c->vm);
}

#define OK(c, call)                                                                        \
	do {                                                                               \
		int r_ = (call);                                                           \
		if (r_ < 0)                                                                \
			fail_msg("%s: %s (%s)", #call, vp_err_reason(r_), (c)->diag.text); \
	} while (0)

static enum vp_run_state state_of(struct ctx *c)
{
	enum vp_run_state state;
	char words[32];

	OK(c, vp_run_state(c->t, &state, words, &c->diag));
	return state;
}

/* A monitor command by a client of the test's own, while no target is open. */
static void monitor(struct ctx *c, const char *command)
{
	struct qmp_error e;
	struct qmp *q;

	assert_int_equal(qmp_open(c->vm.qmp, clock_in(5 * SECOND), &e, &q), QMP_OK);
	assert_int_equal(qmp_call(q, command, NULL, -1, clock_in(5 * SECOND), &e, NULL), QMP_OK);
	qmp_close(q);
}

static bool vcpus_move(struct ctx *c)
{
	struct arch_regs a = {0}, b = {0};

	for (int i = 0; i < 200; i++) {
		OK(c, vp_peek_regs(c->t, 0, &b, &c->diag));
		if (i > 0 && memcmp(&a, &b, sizeof(a)) != 0)
			return true;
		a = b;
	}
	return false;
}

static void check_identity_and_ram(enum vm_kind kind)
{
	struct ctx c;
	const struct vp_target_info *info;
	const struct vp_ram *ram;
	uint64_t total = 0;
	size_t n;

	start(&c, kind, NULL);
	info = vp_target_info(c.t);
	assert_int_equal(info->id.pid, c.vm.pid);
	assert_true(info->id.start_time > 0);
	assert_string_equal(info->locator, c.vm.name);
	assert_string_equal(info->accel, kind == VM_X86_KVM ? "kvm" : "tcg");
	assert_ptr_equal(info->arch, arch_get(kind == VM_ARM64_TCG ? ARCH_ARM64 : ARCH_X86_64));
	assert_int_equal(info->vcpus, 2);
	OK(&c, vp_ram(c.t, &ram, &n, &c.diag));
	for (size_t i = 0; i < n; i++)
		total += ram[i].len;
	/* All of it but the hole and the ROM shadow below 1 MiB; no video memory on top. */
	assert_true(total <= 64u << 20 && total >= 63u << 20);
	stop(&c);
}

static void check_write_is_read_back(enum vm_kind kind)
{
	uint8_t big[10000], back[10000];
	uint64_t word = 0x1122334455667788, got = 0;
	struct vp_paused *p;
	struct arch_regs regs;
	struct ctx c;
	vp_gpa_t at, found[4];
	size_t n;

	start(&c, kind, NULL);
	at = scratch(kind);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + i / 256);
	OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
	assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	OK(&c, vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p));
	assert_int_equal(state_of(&c), VP_RUN_PAUSED);
	for (unsigned i = 0; i < 2; i++) {
		OK(&c, vp_regs(p, i, &regs));
		assert_true(regs.have & 1u << ARCH_REG_PC);
		assert_true(regs.have & 1u << ARCH_REG_SP);
	}
	OK(&c, vp_write(p, at, &word, sizeof(word)));
	OK(&c, vp_read(c.t, at, &got, sizeof(got)));
	assert_int_equal(got, word);
	OK(&c, vp_write(p, vp_gpa(at.v + 4093), big, sizeof(big)));
	OK(&c, vp_read(c.t, vp_gpa(at.v + 4093), back, sizeof(back)));
	assert_memory_equal(big, back, sizeof(big));
	assert_int_equal(vp_write(p, vp_gpa(UINT64_C(0xfff000000000)), big, 8), VP_E_RANGE);
	OK(&c, vp_sync(p));
	OK(&c, vp_resume(p));
	assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	assert_int_equal(vp_write(p, at, &word, 8), VP_E_INTERNAL);
	vp_disarm(c.t);
	assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	OK(&c, vp_find_pages(c.t, &word, sizeof(word), found, 4, &n, &c.diag));
	assert_int_equal(n, 1);
	assert_int_equal(found[0].v, at.v);
	assert_true(vcpus_move(&c) || kind != VM_X86_TCG);
	stop(&c);
}

/* Neighbours in a page go as one, with what is between them; an overlap, a piece over a page's end and a
 * page that is met again come out as if each had gone by itself. */
static void check_pieces_are_written_in_their_order(enum vm_kind kind)
{
	enum { LEN = 5 * 4096, PIECES = 600 };
	static uint8_t model[LEN], back[LEN], data[PIECES][32];
	static struct vp_io io[PIECES];
	struct vp_paused *p;
	struct ctx c;
	vp_gpa_t at;

	start(&c, kind, NULL);
	at = scratch(kind);
	for (unsigned i = 0; i < LEN; i++)
		model[i] = (uint8_t)rand();
	for (unsigned i = 0; i < PIECES; i++) {
		size_t len = 1 + (unsigned)rand() % sizeof(data[i]);
		/* First in ascending order, then anywhere. */
		size_t off = i < PIECES / 2 ? i * (LEN / (PIECES / 2)) : (unsigned)rand();

		off %= LEN - sizeof(data[i]);
		for (size_t j = 0; j < len; j++)
			data[i][j] = (uint8_t)rand();
		io[i] = (struct vp_io){vp_gpa(at.v + off), data[i], len};
	}
	OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
	OK(&c, vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p));
	OK(&c, vp_write(p, at, model, LEN));
	OK(&c, vp_write_all(p, io, PIECES));
	for (unsigned i = 0; i < PIECES; i++)
		memcpy(model + (io[i].at.v - at.v), data[i], io[i].len);
	OK(&c, vp_read(c.t, at, back, LEN));
	assert_memory_equal(back, model, LEN);
	OK(&c, vp_write_all(p, io, 0));
	OK(&c, vp_resume(p));
	vp_disarm(c.t);
	stop(&c);
}

static void check_paused_stays_paused(enum vm_kind kind)
{
	struct arch_regs before[2], after[2];
	struct vp_paused *p;
	struct ctx c;

	start(&c, kind, NULL);
	vp_target_close(c.t);
	monitor(&c, "stop");
	open_target(&c);
	assert_int_equal(state_of(&c), VP_RUN_PAUSED);
	for (int round = 0; round < 5; round++) {
		OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
		OK(&c, vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p));
		for (unsigned i = 0; i < 2; i++)
			OK(&c, vp_regs(p, i, round == 0 ? &before[i] : &after[i]));
		OK(&c, vp_resume(p));
		assert_int_equal(state_of(&c), VP_RUN_PAUSED);
		vp_disarm(c.t);
		assert_int_equal(state_of(&c), VP_RUN_PAUSED);
	}
	assert_memory_equal(before, after, sizeof(before));
	vp_target_close(c.t);
	monitor(&c, "cont");
	open_target(&c);
	assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	stop(&c);
}

/* The character devices, less the one that the stub itself makes for good the first time. */
static char *chardevs(struct ctx *c)
{
	struct json_object *list = NULL, *left = json_object_new_array();
	struct qmp_error e;
	struct qmp *q;
	char *ret;

	assert_int_equal(qmp_open(c->vm.qmp, clock_in(5 * SECOND), &e, &q), QMP_OK);
	assert_int_equal(qmp_call(q, "query-chardev", NULL, -1, clock_in(5 * SECOND), &e, &list),
			 QMP_OK);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *dev = json_object_array_get_idx(list, i);

		if (strcmp(qmp_get_str(dev, "filename"), "gdb") != 0)
			json_object_array_add(left, json_object_get(dev));
	}
	ret = strdup(json_object_to_json_string(left));
	json_object_put(list);
	json_object_put(left);
	qmp_close(q);
	return ret;
}

static void check_200_rounds_leave_nothing(enum vm_kind kind)
{
	char *before, *after;
	struct vp_paused *p;
	uint64_t word;
	struct ctx c;

	start(&c, kind, NULL);
	vp_target_close(c.t);
	before = chardevs(&c);
	open_target(&c);
	for (int i = 0; i < 200; i++) {
		if (i % 4 == 0)
			OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
		OK(&c, vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p));
		word = (uint64_t)i;
		OK(&c, vp_write(p, scratch(kind), &word, sizeof(word)));
		OK(&c, vp_resume(p));
		if (i % 4 == 3)
			vp_disarm(c.t);
	}
	assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	vp_target_close(c.t);
	after = chardevs(&c);
	assert_string_equal(before, after);
	free(before);
	free(after);
	c.t = NULL;
	stop(&c);
}

/* The monitor's text and the stub's `g` and `p` speak of the same registers. */
static void check_peek_equals_regs(enum vm_kind kind)
{
	struct arch_regs peek, regs;
	const struct arch_ops *arch;
	struct vp_paused *p;
	struct ctx c;

	start(&c, kind, NULL);
	vp_target_close(c.t);
	monitor(&c, "stop"); /* or they would move on in between */
	open_target(&c);
	arch = vp_target_info(c.t)->arch;
	for (unsigned vcpu = 0; vcpu < 2; vcpu++) {
		OK(&c, vp_peek_regs(c.t, vcpu, &peek, &c.diag));
		OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
		OK(&c, vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p));
		OK(&c, vp_regs(p, vcpu, &regs));
		OK(&c, vp_resume(p));
		vp_disarm(c.t);
		for (unsigned i = 0; i < ARCH_REG_MAX; i++) {
			uint32_t bit = 1u << i;

			/* EL2 is emulated only on request. */
			if (arch->reg_names[i] && !strstr(arch->reg_names[i], "EL2") &&
			    !(regs.have & bit))
				fail_msg("%s is not given", arch->reg_names[i]);
			if ((peek.have & bit) && peek.v[i] != regs.v[i])
				fail_msg("%s: %#llx and %#llx", arch->reg_names[i],
					 (unsigned long long)peek.v[i],
					 (unsigned long long)regs.v[i]);
		}
		assert_true(peek.have & 1u << ARCH_REG_PC);
		assert_true(peek.have & 1u << ARCH_REG_SYS0);
	}
	stop(&c);
}

/* --- QEMU's death ---------------------------------------------------------------------------- */

enum stage { BEFORE_ARM, BEFORE_PAUSE, BEFORE_REGS, BEFORE_WRITE, BEFORE_RESUME, BEFORE_DISARM };

static void die_at(struct ctx *c, enum stage now, enum stage when)
{
	if (now == when)
		vm_kill(&c->vm);
}

static void qemu_dies(enum vm_kind kind, enum stage when)
{
	uint64_t word = 1, begun;
	struct vp_paused *p = NULL;
	struct arch_regs regs;
	struct ctx c;
	int r;

	start(&c, kind, NULL);
	begun = clock_now();
	die_at(&c, BEFORE_ARM, when);
	r = vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag);
	if (when == BEFORE_ARM)
		assert_int_equal(r, VP_E_DISCONNECTED);
	if (r == VP_OK) {
		die_at(&c, BEFORE_PAUSE, when);
		r = vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p);
		if (when == BEFORE_PAUSE)
			assert_int_equal(r, VP_E_DISCONNECTED);
	}
	if (p) {
		die_at(&c, BEFORE_REGS, when);
		r = vp_regs(p, 0, &regs);
		if (when == BEFORE_REGS)
			assert_int_equal(r, VP_E_DISCONNECTED);
		die_at(&c, BEFORE_WRITE, when);
		r = vp_write(p, scratch(kind), &word, sizeof(word));
		if (when <= BEFORE_WRITE)
			assert_true(r == VP_E_DISCONNECTED || r == VP_E_PROTO);
		die_at(&c, BEFORE_RESUME, when);
		r = vp_resume(p);
		if (when <= BEFORE_RESUME)
			assert_int_equal(r, VP_E_DISCONNECTED);
		else
			assert_int_equal(r, VP_OK);
	}
	die_at(&c, BEFORE_DISARM, when);
	vp_disarm(c.t);
	/* Nobody waits for what will not come. */
	assert_true(clock_now() - begun < 2 * SECOND);
	stop(&c);
}

static void test_qemu_killed_at_each_stage_is_a_clean_error(void **state)
{
	(void)state;
	for (int when = BEFORE_ARM; when <= BEFORE_DISARM; when++)
		qemu_dies(VM_X86_TCG, (enum stage)when);
	qemu_dies(VM_ARM64_TCG, BEFORE_RESUME);
}

/* --- the agent's death ----------------------------------------------------------------------- */

static void hold_for_ever(struct ctx *c);

/* An agent that arms and then holds over and over; returns when it has armed. */
static pid_t start_agent(const struct ctx *c)
{
	int armed[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(armed), 0);
	pid = fork();
	if (pid == 0) {
		struct ctx mine = *c;

		close(armed[0]);
		if (drv_gdb_open(c->vm.name, c->vm.qmp, NULL, &mine.t) < 0 ||
		    vp_arm(mine.t, VP_AFTER_AS_FOUND, NULL) < 0 || write(armed[1], "", 1) != 1)
			_exit(1);
		hold_for_ever(&mine);
	}
	close(armed[1]);
	assert_int_equal(read(armed[0], &byte, 1), 1);
	close(armed[0]);
	return pid;
}

/* The holder's work over and over, until it is killed. */
static void hold_for_ever(struct ctx *c)
{
	for (;;) {
		struct arch_regs regs;
		struct vp_paused *p;
		uint64_t word = 7;

		if (vp_pause(c->t, clock_in(2 * SECOND), NULL, &p) < 0)
			continue;
		(void)!vp_regs(p, 0, &regs);
		(void)!vp_write(p, scratch(c->kind), &word, sizeof(word));
		(void)!vp_resume(p);
	}
}

static void kill_after(pid_t pid, unsigned us)
{
	usleep(us);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The same, and the guard that would let the guest go dies before it. */
static void kill_all_after(pid_t pid, unsigned us)
{
	char path[64], comm[32] = "";
	pid_t guard;
	FILE *f;

	usleep(us);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "r");
	assert_non_null(f);
	if (fscanf(f, "%d", &guard) != 1)
		guard = 0;
	fclose(f);
	if (guard > 0) {
		snprintf(path, sizeof(path), "/proc/%d/comm", guard);
		f = fopen(path, "r");
		if (f && fgets(comm, sizeof(comm), f) && strcmp(comm, "vpatch-guard\n") == 0)
			kill(guard, SIGKILL);
		if (f)
			fclose(f);
	}
	kill_after(pid, 0);
}

static void check_takeover(enum vm_kind kind, int rounds)
{
	struct vp_paused *p;
	uint64_t word = 9, got;
	int held = 0;
	struct ctx c;

	start(&c, kind, NULL);
	for (int i = 0; i < rounds; i++) {
		pid_t pid;

		OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
		pid = fork();
		if (pid == 0)
			hold_for_ever(&c);
		kill_after(pid, (unsigned)rand() % 6000);
		OK(&c, vp_takeover(c.t, &c.diag, &p));
		held += state_of(&c) == VP_RUN_PAUSED;
		OK(&c, vp_write(p, scratch(kind), &word, sizeof(word)));
		OK(&c, vp_read(c.t, scratch(kind), &got, sizeof(got)));
		assert_int_equal(got, word);
		OK(&c, vp_resume(p));
		assert_int_equal(state_of(&c), VP_RUN_RUNNING);
		vp_disarm(c.t);
		assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	}
	assert_int_equal(held, rounds);
	stop(&c);
}

static void test_takeover_after_a_killed_holder_always_ends_running(void **state)
{
	(void)state;
	check_takeover(VM_X86_TCG, 100);
	check_takeover(VM_ARM64_TCG, 50);
}

static void test_takeover_works_under_kvm(void **state)
{
	(void)state;
	check_takeover(VM_X86_KVM, 30);
}

/* Both processes of an agent die; a new one comes, as recover does or as an apply would. */
static void fresh_after_death(enum vp_after after)
{
	struct vp_paused *p;
	int was_held = 0;
	struct ctx c;

	start(&c, VM_X86_TCG, NULL);
	vp_target_close(c.t);
	for (int i = 0; i < 60; i++) {
		pid_t pid = start_agent(&c);

		kill_all_after(pid, (unsigned)rand() % 20000);
		open_target(&c);
		was_held += state_of(&c) == VP_RUN_PAUSED;
		OK(&c, vp_arm(c.t, after, &c.diag));
		if (after == VP_AFTER_RUN)
			OK(&c, vp_takeover(c.t, &c.diag, &p));
		else
			OK(&c, vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p));
		OK(&c, vp_resume(p));
		assert_int_equal(state_of(&c), VP_RUN_RUNNING);
		vp_target_close(c.t);
	}
	print_message("found held by the dead: %d of 60\n", was_held);
	assert_true(was_held > 0);
	c.t = NULL;
	stop(&c);
}

static void test_fresh_agent_takes_over_from_a_dead_one(void **state)
{
	(void)state;
	fresh_after_death(VP_AFTER_RUN);
}

static void test_fresh_agent_sees_that_a_dead_one_paused_it(void **state)
{
	(void)state;
	fresh_after_death(VP_AFTER_AS_FOUND);
}

static void test_arming_and_disarming_frees_a_guest_held_by_the_dead(void **state)
{
	struct vp_paused *p;
	struct ctx c;
	pid_t pid;

	(void)state;
	start(&c, VM_X86_TCG, NULL);
	vp_target_close(c.t);
	pid = fork();
	if (pid == 0) {
		if (drv_gdb_open(c.vm.name, c.vm.qmp, NULL, &c.t) < 0 ||
		    vp_arm(c.t, VP_AFTER_AS_FOUND, NULL) < 0 ||
		    vp_pause(c.t, clock_in(SECOND), NULL, &p) < 0)
			_exit(1);
		raise(SIGSTOP);
	}
	waitpid(pid, NULL, WUNTRACED);
	kill_all_after(pid, 0);
	open_target(&c);
	assert_int_equal(state_of(&c), VP_RUN_PAUSED);
	OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
	vp_disarm(c.t);
	assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	stop(&c);
}

/* Nobody comes: the guard alone is left when the agent dies, wherever it was. */
static void test_guest_runs_within_a_second_of_everybodys_death(void **state)
{
	struct ctx c;

	(void)state;
	start(&c, VM_X86_TCG, NULL);
	vp_target_close(c.t);
	for (int i = 0; i < 40; i++) {
		pid_t pid = start_agent(&c);
		uint64_t died;

		kill_after(pid, (unsigned)rand() % 20000);
		died = clock_now();
		usleep(50000); /* the guard is first at the monitor */
		open_target(&c);
		while (state_of(&c) != VP_RUN_RUNNING)
			assert_true(clock_now() - died < SECOND);
		vp_target_close(c.t);
	}
	c.t = NULL;
	stop(&c);
}

/* --- refusals -------------------------------------------------------------------------------- */

static int arm_with(const char *const *extra)
{
	struct ctx c;
	int r;

	start(&c, VM_X86_TCG, extra);
	r = vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag);
	assert_int_equal(c.diag.err, r);
	stop(&c);
	return r;
}

static void test_a_guest_that_may_not_be_held_is_refused(void **state)
{
	const char *const not_started[] = {"-S", NULL};
	const char *const gdb[] = {"-gdb", "tcp:127.0.0.1:0", NULL};
	const char *const incoming[] = {"-incoming", "defer", NULL};

	(void)state;
	assert_int_equal(arm_with(not_started), VP_E_BOOTING);
	assert_int_equal(arm_with(gdb), VP_E_DEBUGGED);
	assert_int_equal(arm_with(incoming), VP_E_MIGRATING);
}

static void test_a_socket_without_qemu_is_refused(void **state)
{
	struct vp_target *t;
	struct diag diag;
	char path[] = "/tmp/vpatch-none-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	diag_init(&diag);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(drv_gdb_open("x", path, &diag, &t), VP_E_NO_DOMAIN);
	unlink(path);
	assert_int_equal(drv_gdb_open("x", path, &diag, &t), VP_E_NO_DOMAIN);
	assert_true(drv_gdb_open("x", "/", &diag, &t) < 0);
}

static void test_a_monitor_in_use_is_busy(void **state)
{
	struct vp_target *second;
	struct ctx c;

	(void)state;
	start(&c, VM_X86_TCG, NULL);
	assert_int_equal(drv_gdb_open("second", c.vm.qmp, &c.diag, &second), VP_E_MONITOR_BUSY);
	stop(&c);
}

static void test_a_deadline_that_cannot_be_met_leaves_the_guest_running(void **state)
{
	struct vp_paused *p;
	struct ctx c;
	int late = 0;

	(void)state;
	start(&c, VM_X86_TCG, NULL);
	OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
	for (int i = 0; i < 60; i++) {
		int r = vp_pause(c.t, clock_in((uint64_t)i * 200000), &c.diag, &p);

		if (r == VP_OK) {
			OK(&c, vp_resume(p));
		} else {
			assert_int_equal(r, VP_E_DEADLINE);
			late++;
		}
		assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	}
	print_message("deadline missed: %d of 60\n", late);
	assert_true(late > 0);
	stop(&c);
}

/* QEMU itself stands still for a while: the hold comes too late and must not last. */
static void test_a_qemu_that_hangs_does_not_stay_held(void **state)
{
	struct vp_paused *p;
	struct ctx c;
	pid_t waker;

	(void)state;
	start(&c, VM_X86_TCG, NULL);
	OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
	kill(c.vm.pid, SIGSTOP);
	waker = fork();
	if (waker == 0) {
		usleep(300000);
		kill(c.vm.pid, SIGCONT);
		_exit(0);
	}
	assert_int_equal(vp_pause(c.t, clock_in(SECOND / 20), &c.diag, &p), VP_E_DEADLINE);
	waitpid(waker, NULL, 0);
	assert_int_equal(state_of(&c), VP_RUN_RUNNING);
	stop(&c);
}

/* --- the window ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void measure(enum vm_kind kind)
{
	enum { ROUNDS = 101 };
	uint64_t window[ROUNDS], word = 5, begun;
	vp_gpa_t found[4];
	size_t n;
	struct ctx c;

	start(&c, kind, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		struct arch_regs regs;
		struct vp_paused *p;

		OK(&c, vp_arm(c.t, VP_AFTER_AS_FOUND, &c.diag));
		begun = clock_now();
		OK(&c, vp_pause(c.t, clock_in(2 * SECOND), &c.diag, &p));
		OK(&c, vp_regs(p, 0, &regs));
		OK(&c, vp_regs(p, 1, &regs));
		OK(&c, vp_write(p, scratch(kind), &word, sizeof(word)));
		OK(&c, vp_resume(p));
		window[i] = clock_now() - begun;
		vp_disarm(c.t);
	}
	begun = clock_now();
	OK(&c, vp_find_pages(c.t, "OSRELEASE=", 10, found, 4, &n, &c.diag));
	begun = clock_now() - begun;
	print_message("%s: first %llu us, then", vm_kind_name(kind),
		      (unsigned long long)window[0] / 1000);
	qsort(window, ROUNDS, sizeof(window[0]), by_value);
	print_message(" %llu us at best, %llu median; looked through RAM in %llu us\n",
		      (unsigned long long)window[0] / 1000,
		      (unsigned long long)window[ROUNDS / 2] / 1000,
		      (unsigned long long)begun / 1000);
	stop(&c);
}

/* --- the table ------------------------------------------------------------------------------- */

#define EACH(claim, check)                                 \
	static void test_##claim##_x86_tcg(void **state)   \
	{                                                  \
		(void)state;                               \
		check(VM_X86_TCG);                         \
	}                                                  \
	static void test_##claim##_x86_kvm(void **state)   \
	{                                                  \
		(void)state;                               \
		check(VM_X86_KVM);                         \
	}                                                  \
	static void test_##claim##_arm64_tcg(void **state) \
	{                                                  \
		(void)state;                               \
		check(VM_ARM64_TCG);                       \
	}
#define EACH_ROW(claim)                                                                     \
	cmocka_unit_test(test_##claim##_x86_tcg), cmocka_unit_test(test_##claim##_x86_kvm), \
		cmocka_unit_test(test_##claim##_arm64_tcg)

EACH(identity_and_ram_are_the_vms_own, check_identity_and_ram)
EACH(a_write_is_read_back, check_write_is_read_back)
EACH(pieces_are_written_in_their_order, check_pieces_are_written_in_their_order)
EACH(a_paused_guest_stays_paused, check_paused_stays_paused)
EACH(rounds_leave_no_chardev, check_200_rounds_leave_nothing)
EACH(peeked_registers_equal_held_ones, check_peek_equals_regs)
EACH(window_is_measured, measure)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_ROW(identity_and_ram_are_the_vms_own),
		EACH_ROW(a_write_is_read_back),
		EACH_ROW(pieces_are_written_in_their_order),
		EACH_ROW(a_paused_guest_stays_paused),
		EACH_ROW(rounds_leave_no_chardev),
		EACH_ROW(peeked_registers_equal_held_ones),
		cmocka_unit_test(test_qemu_killed_at_each_stage_is_a_clean_error),
		cmocka_unit_test(test_takeover_after_a_killed_holder_always_ends_running),
		cmocka_unit_test(test_takeover_works_under_kvm),
		cmocka_unit_test(test_guest_runs_within_a_second_of_everybodys_death),
		cmocka_unit_test(test_fresh_agent_takes_over_from_a_dead_one),
		cmocka_unit_test(test_fresh_agent_sees_that_a_dead_one_paused_it),
		cmocka_unit_test(test_arming_and_disarming_frees_a_guest_held_by_the_dead),
		cmocka_unit_test(test_a_guest_that_may_not_be_held_is_refused),
		cmocka_unit_test(test_a_socket_without_qemu_is_refused),
		cmocka_unit_test(test_a_monitor_in_use_is_busy),
		cmocka_unit_test(test_a_deadline_that_cannot_be_met_leaves_the_guest_running),
		cmocka_unit_test(test_a_qemu_that_hangs_does_not_stay_held),
		EACH_ROW(window_is_measured),
	};
	const char *given = getenv("SEED");
	int missing = 0;

	for (int kind = 0; kind < VM_KINDS; kind++)
		missing += vm_missing((enum vm_kind)kind) != NULL;
	if (missing == VM_KINDS) {
		printf("skipped: no qemu-system-x86_64 and no qemu-system-aarch64\n");
		return 77;
	}
	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)clock_now();
	printf("SEED=%u\n", seed);
	srand(seed);
	return cmocka_run_group_tests_name("drv_gdb", tests, NULL, NULL);
}
