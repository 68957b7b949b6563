// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Live stores of the inproc and the kvm driver: words that native CPUs read and run change under them.
 * Each VM has busy vCPUs at CPL3 and halted ones.
 */
/* Runs as root: /dev/kvm, ptrace, BPF. */
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "qmp/qmp.h"
#include "tests/guests/x86-64/ctl.h"
#include "tests/lib/bare.h"
#include "tests/lib/mini.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"

#define SOON \
	(20 * CLOCK_NS_PER_SEC) /* slack of a busy machine; nothing asserted is a measurement */
#define VCPUS  4
#define BUSY   2
#define ROUNDS 100

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

static struct vp_live *live(struct vp_target *t)
{
	struct vp_live *l = NULL;
	struct diag diag;

	diag_init(&diag);
	if (vp_live_open(t, &diag, &l) != VP_OK)
		fail_msg("%s", diag.text);
	return l;
}

static void sync_all(struct vp_live *l)
{
	struct diag diag;

	diag_init(&diag);
	if (vp_live_sync(l, ARCH_SYNC_ALL, clock_in(SOON), &diag) != VP_OK)
		fail_msg("%s", diag.text);
}

/* --- inproc ------------------------------------------------------------------------------------ */

static int start_mini(void **state)
{
	*state = mini_start(VCPUS, BUSY);
	return 0;
}

static int stop_mini(void **state)
{
	mini_stop(*state);
	return 0;
}

/* The loop's first eight bytes, with the immediate in them: one aligned word. */
static void store_value(struct vp_live *l, uint32_t value)
{
	uint8_t word[8];

	memcpy(word, mini_loop, sizeof(word));
	vp_st32(word + (MINI_VALUE - MINI_CODE), value);
	assert_int_equal(vp_live_store(l, vp_gpa(MINI_CODE), word, sizeof(word)), VP_OK);
}

static uint64_t ran_last(struct mini *m, unsigned i)
{
	return __atomic_load_n(mini_at(m, MINI_COUNTERS + i * 64 + 8), __ATOMIC_SEQ_CST);
}

/* Whoever goes on behind a sync runs the new word: two rounds later nobody has the old one. */
static void assert_runs_value(struct mini *m, uint32_t value)
{
	uint64_t until = clock_in(SOON);

	for (unsigned i = 0; i < m->busy; i++) {
		uint64_t was = mini_counter(m, i);

		while (mini_counter(m, i) < was + 2 && clock_left(until) > 0)
			;
		assert_true(mini_counter(m, i) >= was + 2);
		assert_int_equal(ran_last(m, i), value);
	}
}

/* Each was at its gate and has gone from there: no other thing makes these vCPUs leave KVM_RUN. */
static void assert_ran_again(struct mini *m, const uint32_t *runs)
{
	uint64_t until = clock_in(SOON);

	for (unsigned i = 0; i < m->vcpus; i++) {
		while (__atomic_load_n(&m->runs[i], __ATOMIC_SEQ_CST) == runs[i] &&
		       clock_left(until) > 0)
			usleep(10);
		assert_true(__atomic_load_n(&m->runs[i], __ATOMIC_SEQ_CST) != runs[i]);
	}
}

static void test_inproc_every_vcpu_has_synchronised(void **state)
{
	static uint64_t ns[ROUNDS];
	struct mini *m = *state;
	struct vp_live *l;

	assert_true(vp_target_caps(m->t) & VP_CAP_STORE_LIVE);
	l = live(m->t);
	assert_true(vp_live_reaches(l, vp_gpa(0), MINI_RAM));
	assert_false(vp_live_reaches(l, vp_gpa(MINI_ROM_AT), 1));
	for (uint32_t n = 0; n < ROUNDS; n++) {
		uint32_t runs[VCPUS];
		uint64_t t0;

		store_value(l, n + 2);
		assert_int_equal(m->n_dirty, n + 1);
		assert_int_equal(m->dirty_gpa, MINI_CODE);
		assert_int_equal(m->dirty_len, 8);
		for (unsigned i = 0; i < VCPUS; i++)
			runs[i] = __atomic_load_n(&m->runs[i], __ATOMIC_SEQ_CST);
		t0 = clock_now();
		sync_all(l);
		ns[n] = clock_now() - t0;
		assert_ran_again(m, runs);
		assert_runs_value(m, n + 2);
	}
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_DATA, clock_in(SOON), &m->diag), VP_OK);
	vp_live_close(l);
	mini_assert_runs(m);
	say("inproc sync, 2 busy and 2 halted vCPUs", ns, ROUNDS);
}

struct watcher {
	struct mini *m;
	bool done, counted;
};

/* Once vCPU 1 was called: whether vCPU 0 goes on counting while that one does not come. */
static void *watch(void *arg)
{
	struct watcher *w = arg;
	uint64_t was;

	while (!__atomic_load_n(&w->m->kicks[1], __ATOMIC_SEQ_CST))
		usleep(100);
	usleep(20000);
	was = mini_counter(w->m, 0);
	while (!__atomic_load_n(&w->done, __ATOMIC_SEQ_CST) && !w->counted)
		w->counted = mini_counter(w->m, 0) != was;
	return NULL;
}

static void test_inproc_one_that_does_not_come_means_deadline_and_holds_nobody(void **state)
{
	struct mini *m = *state;
	struct watcher w = {.m = m};
	struct vp_live *l = live(m->t);
	pthread_t thread;

	__atomic_store_n(&m->stuck, 2, __ATOMIC_SEQ_CST);
	mini_ask_exit(m, 1, 1);
	mini_kick(m, 1); /* into the trap */
	usleep(5000);
	__atomic_store_n(&m->kicks[1], 0, __ATOMIC_SEQ_CST);
	assert_int_equal(pthread_create(&thread, NULL, watch, &w), 0);
	store_value(l, 7);
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_ALL, clock_in(CLOCK_NS_PER_SEC / 2), &m->diag),
			 VP_E_DEADLINE);
	__atomic_store_n(&w.done, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	assert_true(w.counted);
	assert_non_null(strstr(m->diag.text, "vCPU 1"));
	/* what was stored is in place, and nothing is left behind of the request */
	mini_ask_exit(m, 1, 0);
	__atomic_store_n(&m->stuck, 0, __ATOMIC_SEQ_CST);
	sync_all(l);
	assert_runs_value(m, 7);
	vp_live_close(l);
	mini_assert_runs(m);
}

static void test_inproc_one_that_left_is_not_waited_for(void **state)
{
	struct mini *m = *state;
	struct vp_live *l = live(m->t);

	for (uint32_t n = 0; n < 20; n++) {
		__atomic_store_n(&m->away, 1, __ATOMIC_SEQ_CST);
		mini_ask_exit(m, 0, 1);
		mini_kick(m, 0);
		while (!mini_flag(&m->is_away, 0))
			usleep(50);
		store_value(l, 100 + n);
		sync_all(l);
		assert_true(mini_flag(&m->is_away, 0));
		mini_ask_exit(m, 0, 0);
		__atomic_store_n(&m->away, 0, __ATOMIC_SEQ_CST);
		assert_runs_value(m, 100 + n);
	}
	vp_live_close(l);
}

static void test_inproc_refuses_what_does_not_run_or_has_changed(void **state)
{
	static const struct {
		int state, err;
	} rows[] = {
		{VP_INPROC_PAUSED, VP_E_DISCIPLINE},
		{VP_INPROC_MIGRATING, VP_E_MIGRATING},
		{VP_INPROC_ENDED, VP_E_SHUTDOWN},
	};
	struct mini *m = *state;
	struct vp_live *l;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		m->state = rows[i].state;
		assert_int_equal(vp_live_open(m->t, &m->diag, &l), rows[i].err);
	}
	m->state = VP_INPROC_RUNNING;
	l = live(m->t);
	assert_int_equal(vp_live_store(l, vp_gpa(MINI_ROM_AT), "x", 1), VP_E_RANGE);
	assert_int_equal(vp_inproc_set_slots(m->vp, m->slots, 2, NULL, 0), 0);
	assert_int_equal(vp_live_store(l, vp_gpa(0x30000), "x", 1), VP_E_GUEST_CHANGED);
	vp_live_close(l);
}

/* --- kvm ------------------------------------------------------------------------------------------ */

static struct bare guest; /* shared by the tests that leave it as it was */
static struct vp_target *opened;
static const struct dom_opts by_kvm = {.driver = "kvm"};

static struct bare_opts microvm(const char *backend)
{
	return (struct bare_opts){.vmm = BARE_MICROVM_KVM,
				  .vcpus = VCPUS,
				  .busy = BUSY,
				  .ring = 3,
				  .anonymous = true,
				  .backend = backend};
}

static int start_guest(void **state)
{
	const struct bare_opts opts = microvm("memory-backend-memfd,share=on");

	(void)state;
	return bare_start(&guest, &opts) ? 0 : -1;
}

static int stop_guest(void **state)
{
	(void)state;
	bare_stop(&guest);
	return 0;
}

static int shut(void **state)
{
	(void)state;
	vp_target_close(opened);
	opened = NULL;
	return 0;
}

static struct vp_target *open_it(const char *name)
{
	uint64_t until = clock_in(SOON);
	int r = VP_E_GUEST_CHANGED;
	struct diag diag;

	diag_init(&diag);
	/* A migration that begins or ends changes the slots all the time. */
	while (r == VP_E_GUEST_CHANGED && clock_left(until) > 0)
		r = dom_open(name, &by_kvm, &diag, &opened);
	if (r != VP_OK)
		fail_msg("%s", diag.text);
	return opened;
}

static void assert_runs(void)
{
	const char *words;

	assert_true(bare_wait_calls(&guest, 1000, SOON));
	words = bare_check(&guest, bare_flips(&guest));
	if (words)
		fail_msg("%s", words);
}

/* A number in /proc/TID/status. */
static uint64_t status_of(pid_t tid, const char *field)
{
	char path[64], line[256];
	uint64_t v = UINT64_MAX;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, field, strlen(field)) == 0)
			v = strtoull(line + strlen(field), NULL, 10);
	if (f)
		fclose(f);
	return v;
}

static void assert_untraced(void)
{
	pid_t tid[VCPUS];

	assert_int_equal(bare_threads(&guest, tid, VCPUS), VCPUS);
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(status_of(tid[i], "TracerPid:"), 0);
}

/* The guest's loop reads it in every round and answers in the CPU's own page. */
static void store_epoch(struct vp_live *l, uint32_t epoch)
{
	uint8_t word[4];

	vp_st32(word, epoch);
	assert_int_equal(vp_live_store(l, vp_gpa(BARE_CTL_GPA + CTL_EPOCH), word, 4), VP_OK);
}

static void assert_sees_epoch(struct vp_target *t, uint32_t epoch)
{
	uint64_t until = clock_in(SOON);

	for (unsigned i = 0; i < BUSY; i++) {
		vp_gpa_t at = vp_gpa(BARE_CTL_GPA + (i + 1) * BARE_PAGE + CPU_EPOCH);
		uint8_t word[4] = {0};

		while (vp_ld32(word) != epoch && clock_left(until) > 0)
			assert_int_equal(vp_read(t, at, word, 4), VP_OK);
		assert_int_equal(vp_ld32(word), epoch);
	}
}

static void test_kvm_a_word_changes_under_its_readers(void **state)
{
	static uint64_t ns[ROUNDS];
	struct vp_target *t = open_it(guest.name);
	struct vp_live *l;
	pid_t tid[VCPUS];

	(void)state;
	assert_true(vp_target_caps(t) & VP_CAP_STORE_LIVE);
	assert_int_equal(bare_threads(&guest, tid, VCPUS), VCPUS);
	l = live(t);
	assert_true(vp_live_reaches(l, vp_gpa(BARE_TEXT_GPA), 8));
	for (uint32_t n = 0; n < ROUNDS; n++) {
		uint64_t slept[VCPUS], t0;

		store_epoch(l, 1000 + n);
		for (unsigned i = 0; i < VCPUS; i++)
			slept[i] = status_of(tid[i], "voluntary_ctxt_switches:");
		t0 = clock_now();
		sync_all(l);
		ns[n] = clock_now() - t0;
		/* each has stood still for once */
		for (unsigned i = 0; i < VCPUS; i++)
			assert_true(status_of(tid[i], "voluntary_ctxt_switches:") > slept[i]);
		assert_sees_epoch(t, 1000 + n);
	}
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_DATA, clock_in(SOON), NULL), VP_OK);
	assert_int_equal(vp_live_store(l, vp_gpa(BARE_RAM_MIB << 20), "x", 1), VP_E_RANGE);
	vp_live_close(l);
	assert_untraced();
	shut(NULL);
	assert_runs();
	say("kvm sync, 2 busy and 2 halted vCPUs", ns, ROUNDS);
}

/* Unaligned and long ones too, and what is beside them stays. */
static void test_kvm_stores_what_it_is_told(void **state)
{
	const vp_gpa_t at = vp_gpa(BARE_TEXT_GPA + 0x3000);
	static const char text[] = "what nobody runs yet";
	struct vp_target *t = open_it(guest.name);
	struct vp_live *l = live(t);
	uint8_t was[64], now[64];

	(void)state;
	bare_peek_text(&guest, at.v, was, sizeof(was));
	assert_int_equal(vp_live_store(l, vp_gpa(at.v + 3), text, sizeof(text)), VP_OK);
	bare_peek_text(&guest, at.v, now, sizeof(now));
	assert_memory_equal(now, was, 3);
	assert_memory_equal(now + 3, text, sizeof(text));
	assert_memory_equal(now + 3 + sizeof(text), was + 3 + sizeof(text),
			    sizeof(was) - 3 - sizeof(text));
	assert_int_equal(vp_live_store(l, at, was, sizeof(was)), VP_OK);
	bare_peek_text(&guest, at.v, now, sizeof(now));
	assert_memory_equal(now, was, sizeof(was));
	vp_live_close(l);
	shut(NULL);
}

/* A child that stores and syncs for ever, killed anywhere. */
static void test_kvm_a_killed_one_leaves_the_guest_running(void **state)
{
	struct vp_target *t = open_it(guest.name);

	(void)state;
	for (unsigned n = 0; n < 40; n++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct vp_live *l = NULL;
			uint32_t epoch = 0;

			if (vp_live_open(t, NULL, &l) != VP_OK)
				_exit(1);
			while (true) {
				uint8_t word[4];

				vp_st32(word, ++epoch);
				if (vp_live_store(l, vp_gpa(BARE_CTL_GPA + CTL_EPOCH), word, 4) !=
					    VP_OK ||
				    vp_live_sync(l, ARCH_SYNC_ALL, VP_NO_DEADLINE, NULL) != VP_OK)
					_exit(1);
			}
		}
		usleep(3000 + n * 371);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &(int){0}, 0), pid);
		assert_true(bare_wait_calls(&guest, 100, SOON));
		assert_untraced();
	}
	shut(NULL);
	assert_runs();
}

/* Keeps the CPU that it is bound to. Linux leaves others a twentieth of each second. */
static pid_t hog(int cpu)
{
	pid_t pid = fork();

	if (pid == 0) {
		const struct sched_param high = {.sched_priority = 10};
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) < 0 ||
		    sched_setscheduler(0, SCHED_FIFO, &high) < 0)
			_exit(1);
		alarm(5);
		while (true)
			;
	}
	return pid;
}

static void bind(pid_t tid, int first, int end)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = first; i < end; i++)
		CPU_SET(i, &set);
	assert_return_code(sched_setaffinity(tid, sizeof(set), &set), 0);
}

static void test_kvm_one_that_cannot_stop_means_deadline(void **state)
{
	struct vp_target *t = open_it(guest.name);
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	struct vp_live *l = live(t);
	struct diag diag;
	pid_t tid[VCPUS], pid;
	int r = VP_OK;

	(void)state;
	diag_init(&diag);
	if (cpus < 2) {
		print_message("a second CPU is missing\n");
		vp_live_close(l);
		skip();
	}
	assert_int_equal(bare_threads(&guest, tid, VCPUS), VCPUS);
	bind(0, 1, cpus);
	bind(tid[0], 0, 1);
	pid = hog(0);
	usleep(20000);
	/* the twentieth may be now */
	for (int i = 0; i < 20 && r == VP_OK; i++)
		r = vp_live_sync(l, ARCH_SYNC_ALL, clock_in(5000000), &diag);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	bind(0, 0, cpus);
	bind(tid[0], 0, cpus);
	assert_int_equal(r, VP_E_DEADLINE);
	assert_non_null(strstr(diag.text, "did not stop in time"));
	vp_live_close(l);
	assert_untraced();
	shut(NULL);
	assert_runs();
}

static int qmp_say(const char *command, const char *json)
{
	struct json_object *args = json ? json_tokener_parse(json) : NULL;
	struct qmp_error e = {0};
	struct qmp *q = NULL;
	int r = qmp_open(guest.qmp, clock_in(SOON), &e, &q);

	if (r == 0)
		r = qmp_call(q, command, args, -1, clock_in(SOON), &e, NULL);
	else
		json_object_put(args);
	qmp_close(q);
	return r;
}

static void test_kvm_a_paused_guest_is_refused(void **state)
{
	struct vp_target *t;
	struct vp_live *l;
	struct diag diag;

	(void)state;
	diag_init(&diag);
	assert_int_equal(qmp_say("stop", NULL), 0);
	t = open_it(guest.name);
	assert_int_equal(vp_live_open(t, &diag, &l), VP_E_DISCIPLINE);
	shut(NULL);
	assert_int_equal(qmp_say("cont", NULL), 0);
	assert_runs();
}

/* It begins between the store and its confirmation, which writes it once more by a way that is logged. */
static void test_kvm_a_migration_is_seen_before_and_after(void **state)
{
	uint8_t was[8], is[8] = "migrated", now[8];
	const vp_gpa_t at = vp_gpa(BARE_TEXT_GPA + 0x3000);
	struct vp_io io = {at, is, sizeof(is)};
	uint64_t until = clock_in(SOON);
	struct vp_target *t;
	struct vp_live *l;
	struct diag diag;

	(void)state;
	diag_init(&diag);
	bare_peek_text(&guest, at.v, was, sizeof(was));
	assert_int_equal(qmp_say("migrate-set-parameters", "{\"max-bandwidth\": 1000}"), 0);
	t = open_it(guest.name);
	l = live(t);
	assert_int_equal(vp_live_store(l, at, is, sizeof(is)), VP_OK);
	sync_all(l);
	vp_live_close(l);
	assert_int_equal(vp_confirm(t, &io, 1, &diag), VP_OK);
	shut(NULL); /* its monitor serves one at a time */
	assert_int_equal(qmp_say("migrate", "{\"uri\": \"exec:cat >/dev/null\"}"), 0);
	t = open_it(guest.name);
	assert_int_equal(vp_live_open(t, &diag, &l), VP_E_MIGRATING);
	if (vp_confirm(t, &io, 1, &diag) != VP_OK)
		fail_msg("%s", diag.text);
	bare_peek_text(&guest, at.v, now, sizeof(now));
	assert_memory_equal(now, is, sizeof(is));
	shut(NULL);
	assert_int_equal(qmp_say("migrate_cancel", NULL), 0);
	while (vp_check(open_it(guest.name), &diag) == VP_E_MIGRATING && clock_left(until) > 0)
		shut(NULL); /* it is cancelling */
	shut(NULL);
	bare_poke_text(&guest, at.v, was, sizeof(was));
	assert_runs();
}

static void test_kvm_somebody_elses_tracing_is_left_alone(void **state)
{
	struct vp_target *t = open_it(guest.name);
	struct vp_live *l = live(t);
	pid_t tid[VCPUS], pid;
	struct diag diag;
	int fd[2];
	char c;

	(void)state;
	diag_init(&diag);
	assert_int_equal(bare_threads(&guest, tid, VCPUS), VCPUS);
	assert_int_equal(pipe(fd), 0);
	pid = fork();
	if (pid == 0) {
		(void)!ptrace(PTRACE_SEIZE, tid[1], NULL, NULL);
		(void)!write(fd[1], "x", 1);
		while (true)
			pause();
	}
	assert_int_equal(read(fd[0], &c, 1), 1);
	assert_int_equal(vp_live_sync(l, ARCH_SYNC_ALL, clock_in(SOON), &diag), VP_E_DEBUGGED);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd[0]);
	close(fd[1]);
	sync_all(l);
	vp_live_close(l);
	assert_untraced();
	shut(NULL);
	assert_runs();
}

/* Memory of the VMM's own: a store through its file would miss the guest. */
static void test_kvm_private_ram_is_not_stored_into(void **state)
{
	char file[] = "/tmp/vprig.XXXXXX", in_file[128];
	const char *const backends[] = {"memory-backend-memfd,share=off", "memory-backend-ram",
					in_file};
	int fd = mkstemp(file);

	(void)state;
	assert_return_code(fd, 0);
	assert_return_code(ftruncate(fd, (off_t)BARE_RAM_MIB << 20), 0);
	close(fd);
	snprintf(in_file, sizeof(in_file), "memory-backend-file,share=off,mem-path=%s", file);
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		const struct bare_opts opts = microvm(backends[i]);
		struct vp_live *l;
		struct diag diag;
		struct bare b;
		uint32_t caps;
		int r;

		diag_init(&diag);
		assert_true(bare_start(&b, &opts));
		if (dom_open(b.name, &by_kvm, &diag, &opened) != VP_OK)
			fail_msg("%s: %s", backends[i], diag.text);
		caps = vp_target_caps(opened);
		r = vp_live_open(opened, &diag, &l);
		shut(NULL);
		bare_stop(&b);
		if (caps & VP_CAP_STORE_LIVE)
			fail_msg("%s: taken for shared", backends[i]);
		assert_int_equal(r, VP_E_UNSUPPORTED);
	}
	unlink(file);
}

/* By the process alone, without a monitor; and RAM that is a file with a name. */
static void test_kvm_a_named_file_will_do(void **state)
{
	const struct bare_opts opts = {
		.vmm = BARE_MICROVM_KVM, .vcpus = VCPUS, .busy = BUSY, .ring = 3};
	struct vp_live *l;
	char name[32];
	struct bare b;

	(void)state;
	assert_true(bare_start(&b, &opts));
	snprintf(name, sizeof(name), "pid:%d", (int)b.pid);
	l = live(open_it(name));
	store_epoch(l, 77);
	sync_all(l);
	assert_sees_epoch(opened, 77);
	vp_live_close(l);
	shut(NULL);
	assert_null(bare_check(&b, bare_flips(&b)));
	bare_stop(&b);
}

/* Translated code does not see a store from outside: there is no such way in. */
static void test_gdb_has_no_live_stores(void **state)
{
	const struct bare_opts opts = {.vmm = BARE_MICROVM_TCG, .vcpus = 1, .busy = 1, .ring = 3};
	struct vp_live *l;
	struct diag diag;
	struct bare b;

	(void)state;
	diag_init(&diag);
	assert_true(bare_start(&b, &opts));
	assert_int_equal(dom_open(b.name, NULL, &diag, &opened), VP_OK);
	assert_string_equal(vp_target_info(opened)->driver, "gdb");
	assert_int_equal(vp_live_open(opened, &diag, &l), VP_E_UNSUPPORTED);
	shut(NULL);
	bare_stop(&b);
}

#define INPROC(f) cmocka_unit_test_setup_teardown(f, start_mini, stop_mini)
#define KVM(f)    cmocka_unit_test_teardown(f, shut)

int main(void)
{
	const struct CMUnitTest inproc[] = {
		INPROC(test_inproc_every_vcpu_has_synchronised),
		INPROC(test_inproc_one_that_does_not_come_means_deadline_and_holds_nobody),
		INPROC(test_inproc_one_that_left_is_not_waited_for),
		INPROC(test_inproc_refuses_what_does_not_run_or_has_changed),
	};
	const struct CMUnitTest kvm[] = {
		KVM(test_kvm_a_word_changes_under_its_readers),
		KVM(test_kvm_stores_what_it_is_told),
		KVM(test_kvm_a_killed_one_leaves_the_guest_running),
		KVM(test_kvm_one_that_cannot_stop_means_deadline),
		KVM(test_kvm_a_paused_guest_is_refused),
		KVM(test_kvm_a_migration_is_seen_before_and_after),
		KVM(test_kvm_somebody_elses_tracing_is_left_alone),
		KVM(test_kvm_private_ram_is_not_stored_into),
		KVM(test_kvm_a_named_file_will_do),
		KVM(test_gdb_has_no_live_stores),
	};
	const char *missing = mini_missing() ? mini_missing() : bare_missing(BARE_MICROVM_KVM);
	int bad;

	if (missing || geteuid() != 0) {
		puts(missing ? missing : "root is missing");
		return 77;
	}
	bad = cmocka_run_group_tests(inproc, NULL, NULL);
	return cmocka_run_group_tests(kvm, start_guest, stop_guest) || bad;
}
