/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hand-made transaction on the fake guest: two sites, a tracer's flags word, an area with a
 * record in it. Everything that may fail is made to fail, once and for good, and after each of
 * them the guest's memory, its vCPUs and the exit code have to agree.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "tests/lib/fake.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/journal.h"
#include "vmm-agent/engine/vmm.h"

#define RAM    0x100000u
#define TEXT   UINT64_C(0xffffffff81000000)
#define SITE_A 0x1000u
#define SITE_B 0x2ffeu /* crosses a page */
#define FLAGS  0x8000u
#define AREA   0x10000u

static const uint8_t nop[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
static const uint8_t jmp_a[5] = {0xe9, 0x11, 0x22, 0x33, 0x44};
static const uint8_t jmp_b[5] = {0xe9, 0x55, 0x66, 0x77, 0x08};

enum kill_whom { KILL_NOBODY, KILL_SELF, KILL_PARENT, KILL_BOTH };

/* In MAP_SHARED memory: the hook runs in holders too. */
struct plot {
	pid_t watchdog;
	enum kill_whom whom;
	uint64_t at; /* the nth driver call of a holder */
	uint64_t seen;
	bool once; /* only the first holder is a victim */
	pid_t first;
	uint64_t sleep_at, sleep_ns;
};

struct scene {
	struct fake *f;
	struct vp_target *t;
	struct eng_txn *txn;
	struct eng_view view;
	struct plot *plot;
	char dir[64];
	struct diag diag;
	struct eng_report report;
	uint32_t caps;
};

static int view_held(void *ctx, struct vp_paused *p, vp_gva_t *pcs, struct diag *diag)
{
	struct vp_target *t = vp_paused_target(p);

	(void)ctx;
	for (unsigned i = 0; i < vp_target_info(t)->vcpus; i++) {
		struct arch_regs regs;
		int r = vp_regs(p, i, &regs);

		if (r < 0)
			return diag_set(diag, r, "registers");
		pcs[i] = vp_gva(regs.v[ARCH_REG_PC]);
	}
	return VP_OK;
}

static int view_locate(void *ctx, enum vp_edit_kind kind, vp_gva_t at, size_t len, vp_gpa_t *ret)
{
	(void)ctx;
	(void)kind;
	(void)len;
	*ret = vp_gpa(at.v - TEXT);
	return VP_OK;
}

static void hook(struct fake *f, enum fake_op op, uint64_t nth, void *ctx)
{
	struct plot *plot = ctx;
	pid_t me = getpid();

	(void)f;
	(void)op;
	(void)nth;
	if (me == plot->watchdog)
		return;
	if (plot->first == 0)
		plot->first = me;
	if (plot->once && plot->first != me)
		return;
	plot->seen++;
	if (plot->seen == plot->sleep_at) {
		struct timespec ts = {(time_t)(plot->sleep_ns / CLOCK_NS_PER_SEC),
				      (long)(plot->sleep_ns % CLOCK_NS_PER_SEC)};
		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
	}
	if (plot->seen != plot->at)
		return;
	if (plot->whom == KILL_PARENT || plot->whom == KILL_BOTH)
		kill(plot->watchdog, SIGKILL);
	if (plot->whom == KILL_SELF || plot->whom == KILL_BOTH)
		kill(me, SIGKILL);
}

static void add_site(struct eng_txn *txn, uint64_t off, const uint8_t *new, const char *name)
{
	struct vp_edit e = {.gva = vp_gva(TEXT + off),
			    .gpa = vp_gpa(off),
			    .kind = VP_EDIT_SITE,
			    .discipline = VP_DISCIPLINE_STOP,
			    .len = 5};

	memcpy(e.old, nop, 5);
	memcpy(e.new, new, 5);
	memcpy(e.rest, nop, 5);
	assert_int_equal(eng_txn_add(txn, &e, name), VP_OK);
}

static void make_txn(struct scene *s)
{
	struct vp_ledger l = {.self = vp_gva(TEXT + AREA), .state = VP_LEDGER_APPLYING, .seq = 1};
	struct vp_edit flags = {.gva = vp_gva(TEXT + FLAGS),
				.gpa = vp_gpa(FLAGS),
				.kind = VP_EDIT_TRACER,
				.discipline = VP_DISCIPLINE_STOP,
				.len = 8};
	uint8_t *rec;

	s->txn = eng_txn_create(ENG_OP_APPLY);
	assert_non_null(s->txn);
	s->txn->id = vp_target_info(s->t)->id;
	eng_host_boot(s->txn->host_boot, sizeof(s->txn->host_boot));
	s->txn->was_running = true;
	strcpy(s->txn->locator, "fake:1");
	strcpy(s->txn->name, "fix");
	strcpy(s->txn->version, "1");
	l.payload_len = 100;
	l.size = vp_ledger_size(0, 0, l.payload_len, &l.payload_off);
	strcpy(l.name, "fix");
	strcpy(l.version, "1");
	assert_int_equal(eng_txn_area(s->txn, l.self, vp_gpa(AREA), l.size), VP_OK);
	rec = s->txn->area.new;
	memset(rec + l.payload_off, 0x90, l.payload_len);
	assert_int_equal(vp_ledger_encode(rec, l.size, &l, NULL), VP_OK);
	memset(s->txn->area.old, 0xcc, l.size);
	vp_st64(flags.old, 1);
	vp_st64(flags.new, 3);
	vp_st64(flags.rest, 1);
	assert_int_equal(eng_txn_add(s->txn, &flags, "a"), VP_OK);
	add_site(s->txn, SITE_A, jmp_a, "a");
	add_site(s->txn, SITE_B, jmp_b, "b");
	assert_int_equal(eng_txn_add_state(s->txn, l.self, vp_gpa(AREA), VP_LEDGER_APPLYING,
					   VP_LEDGER_APPLIED),
			 VP_OK);
	/* as a replaced record's state would go, twice over one word */
	assert_int_equal(eng_txn_add_state(s->txn, vp_gva(TEXT + 0x20000), vp_gpa(0x20000),
					   VP_LEDGER_APPLIED, VP_LEDGER_REVERTING),
			 VP_OK);
	assert_int_equal(eng_txn_add_state(s->txn, vp_gva(TEXT + 0x20000), vp_gpa(0x20000),
					   VP_LEDGER_REVERTING, VP_LEDGER_REVERTED),
			 VP_OK);
	assert_int_equal(eng_txn_finish(s->txn), VP_OK);
}

/* The way back of make_txn, on what it left. */
static struct eng_txn *make_revert(const struct eng_txn *apply)
{
	struct eng_txn *txn = eng_txn_create(ENG_OP_REVERT);

	assert_non_null(txn);
	txn->id = apply->id;
	memcpy(txn->host_boot, apply->host_boot, sizeof(txn->host_boot));
	txn->was_running = true;
	strcpy(txn->locator, "fake:1");
	strcpy(txn->name, "fix");
	strcpy(txn->version, "1");
	assert_int_equal(eng_txn_add_state(txn, apply->area.gva, apply->area.gpa, VP_LEDGER_APPLIED,
					   VP_LEDGER_REVERTING),
			 VP_OK);
	for (uint32_t i = 3; i-- > 0;) {
		struct vp_edit e = apply->steps[i].e.edit;

		memcpy(e.old, apply->steps[i].e.edit.new, e.len);
		memcpy(e.new, apply->steps[i].e.edit.rest, e.len);
		assert_int_equal(eng_txn_add(txn, &e, apply->steps[i].e.symbol), VP_OK);
	}
	assert_int_equal(eng_txn_add_state(txn, apply->area.gva, apply->area.gpa,
					   VP_LEDGER_REVERTING, VP_LEDGER_REVERTED),
			 VP_OK);
	assert_int_equal(eng_txn_finish(txn), VP_OK);
	return txn;
}

static void put_state(struct scene *s, bool applied)
{
	uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);

	memset(m, 0xcc, RAM);
	memcpy(m + SITE_A, applied ? jmp_a : nop, 5);
	memcpy(m + SITE_B, applied ? jmp_b : nop, 5);
	vp_st64(m + FLAGS, applied ? 3 : 1);
	vp_st64(m + 0x20000 + VP_LEDGER_STATE_OFF,
		applied ? VP_LEDGER_REVERTED : VP_LEDGER_APPLIED);
	if (applied && s->txn) {
		memcpy(m + AREA, s->txn->area.new, s->txn->area.len);
		vp_st64(m + AREA + VP_LEDGER_STATE_OFF, VP_LEDGER_APPLIED);
	}
}

static uint64_t my_start_time(void)
{
	struct vp_identity id = {.pid = getpid()};
	char stat[1024];
	FILE *f = fopen("/proc/self/stat", "r");
	char *p;

	assert_non_null(f);
	assert_non_null(fgets(stat, sizeof(stat), f));
	fclose(f);
	p = strrchr(stat, ')') + 2;
	for (int i = 3; i < 22; i++)
		p = strchr(p, ' ') + 1;
	id.start_time = strtoull(p, NULL, 10);
	assert_true(eng_vmm_alive(&id, ""));
	return id.start_time;
}

static struct scene *scene(uint32_t caps)
{
	struct scene *s = calloc(1, sizeof(*s));
	struct vp_identity id = {.pid = getpid(), .start_time = my_start_time()};

	s->f = fake_create(arch_get(ARCH_X86_64), 2);
	fake_ram_add(s->f, vp_gpa(0), RAM);
	fake_identity(s->f, &id);
	s->caps = caps;
	fake_caps(s->f, caps);
	for (unsigned i = 0; i < 2; i++) {
		fake_regs(s->f, i)->v[ARCH_REG_PC] = TEXT + 0x5000;
		fake_regs(s->f, i)->have = 1;
	}
	diag_init(&s->diag);
	assert_int_equal(fake_open(s->f, &s->diag, &s->t), VP_OK);
	s->view = (struct eng_view){.held = view_held, .locate = view_locate};
	make_txn(s);
	put_state(s, false);
	s->plot = (struct plot *)fake_mem(s->f, vp_gpa(RAM - 4096), 4096);
	memset(s->plot, 0, sizeof(*s->plot));
	s->plot->watchdog = getpid();
	fake_hook(s->f, hook, s->plot);
	/* without a disk under it where possible: there are hundreds of fsyncs */
	snprintf(s->dir, sizeof(s->dir), "%s/vp-engine-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(s->dir));
	return s;
}

static void scene_end(struct scene *s)
{
	char cmd[128];

	assert_string_equal(fake_violation(s->f), "");
	fake_hook(s->f, NULL, NULL);
	vp_target_close(s->t);
	fake_destroy(s->f);
	eng_txn_destroy(s->txn);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", s->dir);
	assert_int_equal(system(cmd), 0);
	free(s);
}

/* Puts the fake back to before a run; its target with it. */
static void again(struct scene *s, bool applied)
{
	fake_fail(s->f, 0, 0, false);
	vp_target_close(s->t);
	put_state(s, applied);
	s->plot = (struct plot *)fake_mem(s->f, vp_gpa(RAM - 4096), 4096);
	memset(s->plot, 0, sizeof(*s->plot));
	s->plot->watchdog = getpid();
	assert_int_equal(fake_open(s->f, &s->diag, &s->t), VP_OK);
	memset(&s->report, 0, sizeof(s->report));
	diag_init(&s->diag);
}

static int run_txn(struct scene *s, const struct eng_txn *txn, uint64_t window_ns)
{
	struct eng_change c = {
		.t = s->t,
		.txn = txn,
		.view = &s->view,
		.state_dir = s->dir,
		.window_ns = window_ns,
		.grace_ns = 200 * CLOCK_NS_PER_MS,
		.settle_ns = 1,
	};

	return eng_change_run(&c, &s->diag, &s->report);
}

static int recover_txn(struct scene *s, enum eng_outcome *ret)
{
	struct eng_txn *txn = NULL;
	char key[ENG_KEY_MAX];
	int r;

	eng_vmm_key(&vp_target_info(s->t)->id, key);
	r = eng_journal_open_entry(s->dir, key, &s->diag, &txn);
	*ret = ENG_NOTHING;
	if (r == VP_OK && txn) {
		struct eng_change c = {
			.t = s->t, .txn = txn, .view = &s->view, .state_dir = s->dir};

		r = eng_change_recover(&c, &s->diag, ret);
	}
	eng_txn_destroy(txn);
	return r;
}

static bool journal_open(struct scene *s)
{
	struct eng_txn *txn = NULL;
	char key[ENG_KEY_MAX];

	eng_vmm_key(&vp_target_info(s->t)->id, key);
	assert_int_equal(eng_journal_open_entry(s->dir, key, &s->diag, &txn), VP_OK);
	eng_txn_destroy(txn);
	return txn != NULL;
}

/* --- what the guest's memory is ------------------------------------------------------------------- */

/* Everything as make_txn wants it, or as it was before. */
static bool is_new(struct scene *s)
{
	const uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);
	uint32_t len = s->txn->area.len;
	uint8_t want[4096];

	memcpy(want, s->txn->area.new, len);
	vp_st64(want + VP_LEDGER_STATE_OFF, VP_LEDGER_APPLIED);
	return memcmp(m + SITE_A, jmp_a, 5) == 0 && memcmp(m + SITE_B, jmp_b, 5) == 0 &&
	       vp_ld64(m + FLAGS) == 3 && memcmp(m + AREA, want, len) == 0 &&
	       vp_ld64(m + 0x20000 + VP_LEDGER_STATE_OFF) == VP_LEDGER_REVERTED;
}

/* The area may be filler again or hold a retired record. */
static bool is_old(struct scene *s)
{
	const uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);
	uint32_t len = s->txn->area.len;
	uint8_t want[4096];

	memcpy(want, s->txn->area.new, len);
	vp_st64(want + VP_LEDGER_STATE_OFF, VP_LEDGER_REVERTED);
	return memcmp(m + SITE_A, nop, 5) == 0 && memcmp(m + SITE_B, nop, 5) == 0 &&
	       vp_ld64(m + FLAGS) == 1 &&
	       (memcmp(m + AREA, want, len) == 0 || memcmp(m + AREA, s->txn->area.old, len) == 0) &&
	       vp_ld64(m + 0x20000 + VP_LEDGER_STATE_OFF) == VP_LEDGER_APPLIED;
}

/* The revert's two ends. */
static bool is_reverted(struct scene *s)
{
	const uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);

	return memcmp(m + SITE_A, nop, 5) == 0 && memcmp(m + SITE_B, nop, 5) == 0 &&
	       vp_ld64(m + FLAGS) == 1 &&
	       vp_ld64(m + AREA + VP_LEDGER_STATE_OFF) == VP_LEDGER_REVERTED;
}

/* No word is half of one and half of the other. */
static bool untorn(struct scene *s)
{
	const uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);

	return (memcmp(m + SITE_A, nop, 5) == 0 || memcmp(m + SITE_A, jmp_a, 5) == 0) &&
	       (memcmp(m + SITE_B, nop, 5) == 0 || memcmp(m + SITE_B, jmp_b, 5) == 0);
}

/* A site that is redirected has its payload. */
static bool payload_behind_sites(struct scene *s)
{
	const uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);
	uint32_t len = s->txn->area.len;

	if (memcmp(m + SITE_A, nop, 5) == 0 && memcmp(m + SITE_B, nop, 5) == 0)
		return true;
	return memcmp(m + AREA + 256, s->txn->area.new + 256, len - 256) == 0;
}

/* --- tests ---------------------------------------------------------------------------------------- */

static void test_change_is_wholly_in_place_and_reported(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);

	(void)state;
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_OK);
	assert_true(is_new(s));
	assert_true(fake_runs(s->f));
	assert_true(s->report.changed);
	assert_true(s->report.window_ns > 0);
	assert_int_equal(s->report.mixed_ns, 0);
	assert_false(journal_open(s));
	assert_false(fake_armed(s->f));
	scene_end(s);
}

static void test_nothing_is_written_before_everything_is_verified(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);
	uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);
	static const uint64_t spoil[] = {SITE_A + 1, SITE_B + 4, FLAGS, AREA + 100,
					 0x20000 + VP_LEDGER_STATE_OFF};

	(void)state;
	for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
		again(s, false);
		m[spoil[i]] ^= 0x40;
		assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_E_GUEST_CHANGED);
		assert_int_equal(fake_op_calls(s->f, FAKE_WRITE), 0);
		assert_true(fake_runs(s->f));
		assert_false(journal_open(s));
		assert_false(s->report.changed);
	}
	scene_end(s);
}

static void test_vcpu_inside_a_site_or_a_held_lock_is_busy(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);

	(void)state;
	fake_regs(s->f, 1)->v[ARCH_REG_PC] = TEXT + SITE_A + 2;
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_E_SITE_IN_USE);
	fake_regs(s->f, 1)->v[ARCH_REG_PC] = TEXT + SITE_A;
	s->txn->n_quiet = 1;
	s->txn->quiet[0] = (struct guest_quiet){vp_gpa(0x9000), 0xff, "text_mutex"};
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_E_GUEST_PATCHING);
	assert_non_null(strstr(s->diag.text, "text_mutex"));
	assert_int_equal(fake_op_calls(s->f, FAKE_WRITE), 0);
	*(uint64_t *)fake_mem(s->f, vp_gpa(0x9000), 8) = 0;
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_OK);
	assert_true(is_new(s));
	scene_end(s);
}

/* One failing call: what the code says has to be what the memory says. */
static void check_failed_run(struct scene *s, int r, bool old, bool new, uint64_t nth,
			     bool for_good)
{
	int exit = vp_err_exit(r);

	if (r == VP_OK) {
		assert_true(new);
		assert_true(fake_runs(s->f));
		return;
	}
	assert_true(s->diag.text[0] != '\0');
	if (exit != 4) {
		if (!old || !fake_runs(s->f))
			fail_msg("call %lu %s: %s, but old %d runs %d", (unsigned long)nth,
				 for_good ? "for good" : "once", s->diag.text, old,
				 fake_runs(s->f));
		assert_false(journal_open(s));
		return;
	}
	if (r == VP_E_PARTIAL) {
		/* done, but the last look at it failed */
		assert_true(new &&fake_runs(s->f));
		assert_false(journal_open(s));
		return;
	}
	/* left held or unknown: the journal is open, and recover brings an end */
	assert_true(r == VP_E_TORN || r == VP_E_PAUSED);
	assert_true(r == VP_E_PAUSED || fake_held(s->f));
	assert_true(for_good);
	assert_non_null(strstr(s->diag.text, "vpatch recover"));
	assert_true(journal_open(s));
}

static void fail_each_call(uint32_t caps, bool revert)
{
	struct scene *s = scene(caps);
	struct eng_txn *txn = revert ? make_revert(s->txn) : NULL;
	uint64_t total;

	again(s, revert);
	total = fake_calls(s->f);
	assert_int_equal(run_txn(s, revert ? txn : s->txn, CLOCK_NS_PER_SEC), VP_OK);
	total = fake_calls(s->f) - total;
	for (int for_good = 0; for_good < 2; for_good++) {
		for (uint64_t nth = 1; nth <= total; nth++) {
			enum eng_outcome outcome;
			int r;

			again(s, revert);
			fake_fail(s->f, nth, VP_E_IO, for_good);
			r = run_txn(s, revert ? txn : s->txn, CLOCK_NS_PER_SEC);
			fake_fail(s->f, 0, 0, false);
			check_failed_run(s, r, revert ? is_new(s) : is_old(s),
					 revert ? is_reverted(s) : is_new(s), nth, for_good);
			if (vp_err_exit(r) != 4 || r == VP_E_PARTIAL)
				continue;
			assert_int_equal(recover_txn(s, &outcome), VP_OK);
			assert_true(fake_runs(s->f));
			assert_true(outcome == ENG_ROLLED_BACK || outcome == ENG_COMPLETED);
			if (revert)
				assert_true(outcome == ENG_COMPLETED ? is_reverted(s) : is_new(s));
			else
				assert_true(outcome == ENG_COMPLETED ? is_new(s) : is_old(s));
			assert_false(journal_open(s));
		}
	}
	eng_txn_destroy(txn);
	scene_end(s);
}

/* Words that no undo could put right: neither disarm nor close may let the guest run on them. */
static void torn_guest_stays_held(uint32_t caps)
{
	struct scene *s = scene(caps);
	enum eng_outcome outcome;

	fake_fail_op(s->f, FAKE_WRITE, 3, VP_E_IO, true);
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_E_TORN);
	assert_true(fake_held(s->f));
	vp_target_close(s->t);
	assert_true(fake_held(s->f));
	fake_fail_op(s->f, FAKE_WRITE, 0, 0, false);
	assert_int_equal(fake_open(s->f, &s->diag, &s->t), VP_OK);
	assert_int_equal(recover_txn(s, &outcome), VP_OK);
	assert_true(fake_runs(s->f));
	assert_true(is_old(s));
	scene_end(s);
}

static void test_torn_guest_stays_held_until_recover(void **state)
{
	(void)state;
	torn_guest_stays_held(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);
}

/* A recover that could not look has not rolled back: the entry stays open. */
static void test_recover_without_memory_leaves_the_entry_open(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	(void)state;
	skip(); /* the sanitizer wants memory of its own */
#else
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);
	enum eng_outcome outcome;
	struct rlimit was, none;
	int r;

	(void)state;
	fake_fail_op(s->f, FAKE_WRITE, 3, VP_E_IO, true);
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_E_TORN);
	fake_fail_op(s->f, FAKE_WRITE, 0, 0, false);
	assert_int_equal(getrlimit(RLIMIT_AS, &was), 0);
	none = (struct rlimit){0, was.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
	r = recover_txn(s, &outcome);
	assert_int_equal(setrlimit(RLIMIT_AS, &was), 0);
	assert_int_equal(r, VP_E_NOMEM);
	assert_true(journal_open(s));
	assert_int_equal(recover_txn(s, &outcome), VP_OK);
	assert_int_equal(outcome, ENG_ROLLED_BACK);
	assert_true(is_old(s));
	scene_end(s);
#endif
}

static void test_apply_driver_fails_at_each_call(void **state)
{
	(void)state;
	fail_each_call(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY, false);
}

static void test_revert_driver_fails_at_each_call(void **state)
{
	(void)state;
	fail_each_call(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY, true);
}

/* A guest that no fork can hold: everything happens on the thread that asked for it. */
static void test_guest_of_this_process_is_held_here(void **state)
{
	const uint32_t caps = VP_CAP_WRITE_DIRTY | VP_CAP_HOLD_HERE;
	struct scene *s = scene(caps);
	const struct fake_event *e;

	(void)state;
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_OK);
	assert_true(is_new(s) && fake_runs(s->f));
	assert_true(s->report.window_ns > 0);
	assert_false(journal_open(s));
	for (size_t i = 0; (e = fake_event(s->f, i)); i++)
		assert_int_equal(e->pid, getpid());
	scene_end(s);
	fail_each_call(caps, false);
	fail_each_call(caps, true);
	torn_guest_stays_held(caps);
}

static void test_deadline_of_a_guest_of_this_process_puts_everything_back(void **state)
{
	struct scene *s = scene(VP_CAP_WRITE_DIRTY | VP_CAP_HOLD_HERE);
	unsigned late = 0;

	(void)state;
	for (uint64_t at = 1; at < 100; at++) {
		bool reached;
		int r;

		again(s, false);
		s->plot->watchdog = 0; /* the hook is for this process, too */
		s->plot->sleep_at = at;
		s->plot->sleep_ns = 30 * CLOCK_NS_PER_MS;
		r = run_txn(s, s->txn, 25 * CLOCK_NS_PER_MS);
		reached = s->plot->seen >= at;
		assert_true(fake_runs(s->f));
		assert_false(journal_open(s));
		assert_true(r == VP_OK || r == VP_E_DEADLINE);
		assert_true(r == VP_OK ? is_new(s) : is_old(s));
		late += r == VP_E_DEADLINE;
		if (!reached)
			break;
	}
	assert_true(late > 10);
	scene_end(s);
}

static uint64_t holder_calls(struct scene *s, const struct eng_txn *txn, bool revert)
{
	again(s, revert);
	s->plot->at = 0;
	assert_int_equal(run_txn(s, txn, CLOCK_NS_PER_SEC), VP_OK);
	return s->plot->seen;
}

static void test_holder_killed_at_each_call_is_followed_by_a_repair(void **state)
{
	(void)state;
	for (int frees = 0; frees < 2; frees++) {
		struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY |
					(frees ? VP_CAP_DEATH_FREES : 0));
		struct eng_txn *back = make_revert(s->txn);

		for (int revert = 0; revert < 2; revert++) {
			const struct eng_txn *txn = revert ? back : s->txn;
			uint64_t n = holder_calls(s, txn, revert);

			for (uint64_t at = 1; at <= n; at++) {
				int r;

				again(s, revert);
				s->plot->whom = KILL_SELF;
				s->plot->at = at;
				s->plot->once = true;
				r = run_txn(s, txn, CLOCK_NS_PER_SEC);
				assert_true(fake_runs(s->f));
				assert_false(journal_open(s));
				assert_true(r == VP_OK || r == VP_E_HOLDER);
				if (revert)
					assert_true(r == VP_OK ? is_reverted(s) : is_new(s));
				else
					assert_true(r == VP_OK ? is_new(s) : is_old(s));
			}
		}
		eng_txn_destroy(back);
		scene_end(s);
	}
}

/* The command in a child that may be killed; its holder is then ours to wait for. */
static void run_in_child(struct scene *s, const struct eng_txn *txn)
{
	pid_t pid;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid = fork();
	if (pid == 0) {
		s->plot->watchdog = getpid();
		_exit(run_txn(s, txn, CLOCK_NS_PER_SEC) == VP_OK ? 0 : 1);
	}
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

static void test_watchdog_killed_at_each_call_leaves_the_window_to_its_holder(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);
	uint64_t n = holder_calls(s, s->txn, false);

	(void)state;
	for (uint64_t at = 1; at <= n; at++) {
		enum eng_outcome outcome;

		again(s, false);
		s->plot->whom = KILL_PARENT;
		s->plot->at = at;
		run_in_child(s, s->txn);
		assert_true(fake_runs(s->f));
		assert_true(is_new(s));
		assert_true(journal_open(s));
		s->plot->at = 0;
		s->plot->watchdog = getpid();
		assert_int_equal(recover_txn(s, &outcome), VP_OK);
		assert_int_equal(outcome, ENG_COMPLETED);
		assert_true(is_new(s));
		assert_false(journal_open(s));
	}
	scene_end(s);
}

static void test_both_killed_at_each_call_is_recovered(void **state)
{
	(void)state;
	for (int frees = 0; frees < 2; frees++) {
		struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY |
					(frees ? VP_CAP_DEATH_FREES : 0));
		struct eng_txn *back = make_revert(s->txn);

		for (int revert = 0; revert < 2; revert++) {
			const struct eng_txn *txn = revert ? back : s->txn;
			uint64_t n = holder_calls(s, txn, revert);

			for (uint64_t at = 1; at <= n; at++) {
				enum eng_outcome outcome;

				again(s, revert);
				s->plot->whom = KILL_BOTH;
				s->plot->at = at;
				run_in_child(s, txn);
				assert_true(untorn(s));
				assert_true(payload_behind_sites(s));
				assert_true(journal_open(s));
				s->plot->at = 0;
				s->plot->watchdog = getpid();
				assert_int_equal(recover_txn(s, &outcome), VP_OK);
				assert_true(fake_runs(s->f));
				assert_false(journal_open(s));
				if (outcome == ENG_COMPLETED)
					assert_true(revert ? is_reverted(s) : is_new(s));
				else
					assert_true(revert ? is_new(s) : is_old(s));
			}
		}
		eng_txn_destroy(back);
		scene_end(s);
	}
}

static void test_recover_killed_at_each_call_can_be_run_again(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);

	(void)state;
	for (uint64_t at = 1; at <= 40; at++) {
		enum eng_outcome outcome;
		struct plot *plot;

		again(s, false);
		plot = s->plot;
		plot->whom = KILL_BOTH;
		plot->at = 18; /* in the middle of the stores */
		run_in_child(s, s->txn);
		assert_true(journal_open(s));
		plot->seen = 0;
		plot->at = at;
		plot->whom = KILL_SELF;
		plot->once = true;
		plot->first = 0;
		plot->watchdog = getpid();
		assert_int_equal(recover_txn(s, &outcome), VP_OK);
		assert_true(fake_runs(s->f));
		assert_true(is_old(s) || is_new(s));
		assert_false(journal_open(s));
	}
	scene_end(s);
}

static void test_deadline_passing_at_each_call_puts_everything_back(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);
	uint64_t n = holder_calls(s, s->txn, false);

	(void)state;
	for (uint64_t at = 1; at <= n; at++) {
		int r;

		again(s, false);
		s->plot->sleep_at = at;
		s->plot->sleep_ns = 60 * CLOCK_NS_PER_MS;
		r = run_txn(s, s->txn, 50 * CLOCK_NS_PER_MS);
		assert_true(fake_runs(s->f));
		assert_false(journal_open(s));
		assert_true(r == VP_OK || r == VP_E_DEADLINE);
		/* only what comes after the last look at the clock may still succeed */
		assert_true(r == VP_OK ? is_new(s) && at >= n - 1 : is_old(s));
	}
	scene_end(s);
}

static void test_hung_holder_is_killed_and_its_work_undone(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);
	uint64_t n = holder_calls(s, s->txn, false);

	(void)state;
	for (uint64_t at = 1; at <= n; at += 3) {
		uint64_t before;
		int r;

		again(s, false);
		s->plot->sleep_at = at;
		s->plot->sleep_ns = 30 * CLOCK_NS_PER_SEC;
		s->plot->once = true;
		before = clock_now();
		r = run_txn(s, s->txn, 20 * CLOCK_NS_PER_MS);
		/* 20 ms and the grace, not the 30 s that it sleeps; the rest is slack */
		assert_true(clock_now() - before < 10 * CLOCK_NS_PER_SEC);
		assert_true(fake_runs(s->f));
		assert_false(journal_open(s));
		assert_true(r == VP_OK || r == VP_E_DEADLINE);
		assert_true(r == VP_OK ? is_new(s) : is_old(s));
	}
	scene_end(s);
}

static void test_recover_leaves_what_the_guest_itself_has_changed(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY | VP_CAP_DEATH_FREES);
	static const uint8_t call[5] = {0xe8, 1, 2, 3, 4};
	uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);
	enum eng_outcome outcome;
	uint64_t n = holder_calls(s, s->txn, false);

	(void)state;
	again(s, false);
	s->plot->whom = KILL_BOTH;
	s->plot->at = n - 9; /* all sites are redirected, the record not yet applied */
	run_in_child(s, s->txn);
	s->plot->at = 0;
	memcpy(m + SITE_B, call, 5);
	assert_int_equal(recover_txn(s, &outcome), VP_E_PARTIAL);
	assert_non_null(strstr(s->diag.text, "b at"));
	assert_memory_equal(m + SITE_A, nop, 5);
	assert_memory_equal(m + SITE_B, call, 5);
	assert_true(fake_runs(s->f));
	assert_false(journal_open(s));
	scene_end(s);
}

static void test_payload_that_was_whole_is_retired_and_never_erased_later(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY | VP_CAP_DEATH_FREES);
	const uint8_t *m = fake_mem(s->f, vp_gpa(0), RAM);
	uint64_t n = holder_calls(s, s->txn, false);
	enum eng_outcome outcome;

	(void)state;
	again(s, false);
	s->plot->whom = KILL_BOTH;
	s->plot->at = n - 12; /* the payload is there, the first site not yet */
	run_in_child(s, s->txn);
	s->plot->at = 0;
	assert_int_equal(recover_txn(s, &outcome), VP_OK);
	assert_int_equal(outcome, ENG_ROLLED_BACK);
	assert_true(is_old(s));
	assert_int_equal(vp_ld64(m + AREA + VP_LEDGER_STATE_OFF), VP_LEDGER_REVERTED);
	scene_end(s);
}

static void test_guest_found_paused_stays_paused(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);

	(void)state;
	fake_state(s->f, VP_RUN_PAUSED, "paused");
	s->txn->was_running = false;
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_OK);
	assert_true(is_new(s));
	assert_false(fake_held(s->f));
	assert_false(fake_runs(s->f));
	scene_end(s);
}

static void test_migrating_guest_is_refused_untouched(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE);

	(void)state;
	fake_state(s->f, VP_RUN_MIGRATING, "postmigrate");
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_E_MIGRATING);
	assert_true(is_old(s));
	assert_false(journal_open(s));
	scene_end(s);
}

static void test_full_disk_leaves_the_guest_untouched(void **state)
{
	struct scene *s = scene(VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY);
	struct rlimit was, small;
	uint64_t calls;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	for (rlim_t limit = 0; limit < 2000; limit += 333) {
		again(s, false);
		calls = fake_op_calls(s->f, FAKE_PAUSE);
		small = was;
		small.rlim_cur = limit;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
		assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_E_DISK_FULL);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
		assert_int_equal(fake_op_calls(s->f, FAKE_PAUSE), calls);
		assert_true(is_old(s));
		assert_false(journal_open(s));
	}
	assert_int_equal(run_txn(s, s->txn, 10 * CLOCK_NS_PER_SEC), VP_OK);
	scene_end(s);
}

static void test_second_vpatch_on_one_domain_is_locked_out(void **state)
{
	struct vp_identity id = {.pid = 4711, .start_time = 99};
	char dir[] = "/tmp/vp-engine-XXXXXX", cmd[64];
	struct diag diag;
	int a, b;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(eng_lock(dir, &id, &diag, &a), VP_OK);
	assert_int_equal(eng_lock(dir, &id, &diag, &b), VP_E_LOCKED);
	id.start_time++;
	assert_int_equal(eng_lock(dir, &id, &diag, &b), VP_OK);
	eng_unlock(dir, &id, b);
	id.start_time--;
	eng_unlock(dir, &id, a);
	assert_int_equal(eng_lock(dir, &id, &diag, &b), VP_OK);
	eng_unlock(dir, &id, b);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

static void test_lock_stays_while_an_heir_lives(void **state)
{
	struct vp_identity id = {.pid = 4711, .start_time = 99};
	char dir[] = "/tmp/vp-engine-XXXXXX", cmd[64];
	struct diag diag;
	int a, b, gate[2];
	pid_t pid;
	char c;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(pipe(gate), 0);
	assert_int_equal(eng_lock(dir, &id, &diag, &a), VP_OK);
	pid = fork();
	if (pid == 0) {
		close(gate[1]);
		_exit(read(gate[0], &c, 1) != 0);
	}
	close(a); /* the watchdog died, the holder has not */
	assert_int_equal(eng_lock(dir, &id, &diag, &b), VP_E_LOCKED);
	close(gate[0]);
	close(gate[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(eng_lock(dir, &id, &diag, &b), VP_OK);
	eng_unlock(dir, &id, b);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_change_is_wholly_in_place_and_reported),
		cmocka_unit_test(test_nothing_is_written_before_everything_is_verified),
		cmocka_unit_test(test_vcpu_inside_a_site_or_a_held_lock_is_busy),
		cmocka_unit_test(test_apply_driver_fails_at_each_call),
		cmocka_unit_test(test_revert_driver_fails_at_each_call),
		cmocka_unit_test(test_holder_killed_at_each_call_is_followed_by_a_repair),
		cmocka_unit_test(test_watchdog_killed_at_each_call_leaves_the_window_to_its_holder),
		cmocka_unit_test(test_both_killed_at_each_call_is_recovered),
		cmocka_unit_test(test_recover_killed_at_each_call_can_be_run_again),
		cmocka_unit_test(test_deadline_passing_at_each_call_puts_everything_back),
		cmocka_unit_test(test_hung_holder_is_killed_and_its_work_undone),
		cmocka_unit_test(test_recover_leaves_what_the_guest_itself_has_changed),
		cmocka_unit_test(test_payload_that_was_whole_is_retired_and_never_erased_later),
		cmocka_unit_test(test_torn_guest_stays_held_until_recover),
		cmocka_unit_test(test_guest_of_this_process_is_held_here),
		cmocka_unit_test(test_deadline_of_a_guest_of_this_process_puts_everything_back),
		cmocka_unit_test(test_recover_without_memory_leaves_the_entry_open),
		cmocka_unit_test(test_guest_found_paused_stays_paused),
		cmocka_unit_test(test_migrating_guest_is_refused_untouched),
		cmocka_unit_test(test_full_disk_leaves_the_guest_untouched),
		cmocka_unit_test(test_second_vpatch_on_one_domain_is_locked_out),
		cmocka_unit_test(test_lock_stays_while_an_heir_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
