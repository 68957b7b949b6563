/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hand-made transactions that the fake guest gets while it runs, by every discipline. Ahead of every
 * driver call of whoever makes it the guest's memory has to be something that CPUs run right: text of the
 * program, a trap with its record, a redirected site with its payload and its literal.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"
#include "tests/lib/fake.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/journal.h"
#include "vmm-agent/engine/live.h"
#include "vmm-agent/engine/vmm.h"

#define RAM     0x100000u
#define TEXT    UINT64_C(0x40000000)
#define AREA    0x10000u
#define OTHER   0x20000u /* a record that is replaced */
#define RECORDS 0x8000u
#define SITES   3
#define LONG    (30 * CLOCK_NS_PER_SEC)

static const uint32_t site_off[SITES] = {0x1000, 0x2ffc, 0x4008};
static const uint32_t lit_off[SITES] = {0xff8, 0x2ff0, 0x4000};

struct kind {
	const char *name;
	enum arch_id arch;
	enum vp_discipline d;
	unsigned records; /* fewer than sites: in batches */
	unsigned skew;    /* of the sites: across a page for those that may */
	unsigned steps;   /* of the program, so that a change of it is noticed here */
};

static const struct kind kinds[] = {
	{"x86-64 trap", ARCH_X86_64, VP_DISCIPLINE_TRAP, 3, 2, 6},
	{"x86-64 trap, two records", ARCH_X86_64, VP_DISCIPLINE_TRAP, 2, 2, 6},
	{"arm64 trap", ARCH_ARM64, VP_DISCIPLINE_TRAP, 1, 0, 5},
	{"arm64 word", ARCH_ARM64, VP_DISCIPLINE_WORD, 0, 0, 1},
	{"riscv64 literal", ARCH_RISCV64, VP_DISCIPLINE_LITERAL, 0, 0, 2},
	{"thumb2 trap", ARCH_THUMB2, VP_DISCIPLINE_TRAP, 3, 2, 6},
	{"thumb2 skip", ARCH_THUMB2, VP_DISCIPLINE_SKIP, 0, 2, 3},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* In MAP_SHARED memory: the hook runs in other processes too. */
struct plot {
	pid_t who; /* whose calls count; 0: everybody's but the test's */
	uint64_t seen, die_at, sleep_at, sleep_ns;
	char bad[256];
};

struct scene {
	const struct kind *k;
	struct fake *f;
	struct vp_target *t;
	struct eng_txn *apply, *revert, *txn; /* txn: the one under way */
	struct eng_view view;
	struct plot *plot;
	pid_t test;
	char dir[64];
	struct diag diag;
	struct eng_report report;
};

static uint8_t *mem(struct scene *s, uint64_t off)
{
	return (uint8_t *)fake_mem(s->f, vp_gpa(0), RAM) + off;
}

/* --- what is right ------------------------------------------------------------------------------ */

static bool between(const uint8_t *now, const uint8_t *a, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (now[i] != a[i] && now[i] != b[i])
			return false;
	return true;
}

static bool record_right(struct scene *s, const struct arch_poke *prog, uint64_t at)
{
	for (unsigned i = 0; i < s->k->records; i++) {
		const uint8_t *rec = mem(s, RECORDS + i * VP_TRAP_RECORD);

		if (vp_ld64(rec + VP_TRAP_OFF_AT) == at && !(vp_ld32(rec + VP_TRAP_OFF_SEQ) & 1))
			return vp_ld64(rec + VP_TRAP_OFF_NEXT) == prog->emul.next.v &&
			       (prog->emul.kind == ARCH_INSN_NOP ||
				vp_ld64(rec + VP_TRAP_OFF_TARGET) == prog->emul.target.v);
	}
	return false;
}

static bool payload_whole(struct scene *s)
{
	const struct eng_area *a = &s->apply->area;

	return memcmp(mem(s, AREA + VP_LEDGER_HEAD), a->new + VP_LEDGER_HEAD,
		      a->len - VP_LEDGER_HEAD) == 0;
}

/* NULL, or what is wrong with step i as CPUs meet it now. */
static const char *wrong_site(struct scene *s, uint32_t i)
{
	const struct vp_edit *e = &s->txn->steps[i].e.edit;
	const uint8_t *now = mem(s, e->gpa.v), *jump = s->apply == s->txn ? e->new : e->old;
	const struct arch_ops *ops = arch_get(s->k->arch);
	uint8_t text[VP_EDIT_MAX], stage[VP_EDIT_MAX];
	struct arch_poke prog;
	unsigned head = 0;
	const char *why;
	bool known = false, trap = false;

	if (eng_live_program(s->txn, i, ops, &prog, &why) < 0)
		return why;
	if (prog.discipline == VP_DISCIPLINE_TRAP &&
	    ops->live->stage(stage, e->len, VP_DISCIPLINE_TRAP, &head) == VP_OK)
		trap = memcmp(now, stage, head) == 0;
	for (unsigned n = 0; n <= prog.n && !known; n++) {
		memcpy(text, e->old, e->len);
		arch_poke_text(&prog, n, text);
		known = memcmp(now, text, e->len) == 0;
	}
	/* Nobody runs what is behind a trap. */
	if (!known && !(trap && between(now + head, e->old + head, e->new + head, e->len - head)))
		return "bytes that are no stage";
	if (trap && !record_right(s, &prog, e->gva.v))
		return "a trap without its record";
	if ((trap || memcmp(now, jump, e->len) == 0) && !payload_whole(s))
		return "redirected without its payload";
	if (s->txn->steps[i].literal && memcmp(now, jump, e->len) == 0) {
		const struct vp_edit *lit = &s->txn->steps[i + 1].e.edit;

		if (memcmp(mem(s, lit->gpa.v), s->apply == s->txn ? lit->new : lit->old,
			   lit->len) != 0)
			return "an instruction without its literal";
	}
	return NULL;
}

static bool is_site(const struct eng_txn *txn, uint32_t i)
{
	return txn->steps[i].e.edit.kind == VP_EDIT_SITE;
}

static void hook(struct fake *f, enum fake_op op, uint64_t nth, void *ctx)
{
	struct scene *s = ctx;
	struct plot *plot = s->plot;

	for (uint32_t i = 0; s->txn && !fake_held(f) && i < s->txn->n_steps; i++) {
		const char *why = is_site(s->txn, i) ? wrong_site(s, i) : NULL;

		if (why && !plot->bad[0])
			snprintf(plot->bad, sizeof(plot->bad), "%s: call %lu (%s): site %u: %s",
				 s->k->name, (unsigned long)nth, fake_op_name(op), i, why);
	}
	if (plot->who ? getpid() != plot->who : getpid() == s->test)
		return;
	plot->seen++;
	if (plot->seen == plot->sleep_at) {
		struct timespec ts = {0, (long)plot->sleep_ns};

		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
	}
	if (plot->seen == plot->die_at)
		kill(getpid(), SIGKILL);
}

/* --- the scene ---------------------------------------------------------------------------------- */

static int view_held(void *ctx, struct vp_paused *p, vp_gva_t *pcs, struct diag *diag)
{
	(void)ctx;
	(void)p;
	(void)diag;
	pcs[0] = pcs[1] = vp_gva(TEXT + 0x9000);
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

static void site_bytes(const struct kind *k, vp_gva_t at, uint8_t *old, uint8_t *new, unsigned *len)
{
	const struct arch_ops *ops = arch_get(k->arch);
	vp_gva_t to = vp_gva(TEXT + AREA + VP_LEDGER_HEAD);

	if (k->arch == ARCH_THUMB2)
		assert_int_equal(ops->call(new, at, to, len), VP_OK);
	else
		assert_int_equal(ops->branch(new, at, to, len), VP_OK);
	if (k->d == VP_DISCIPLINE_SKIP) {
		unsigned n;

		assert_int_equal(ops->live->stage(old, *len, k->d, &n), VP_OK);
		assert_int_equal(ops->nop(old + n, *len - n), VP_OK);
	} else if (k->arch == ARCH_THUMB2) {
		assert_int_equal(ops->call(old, at, vp_gva(at.v + 0x100), len), VP_OK);
	} else {
		assert_int_equal(ops->nop(old, *len), VP_OK);
	}
	if (k->d == VP_DISCIPLINE_LITERAL) /* jalr t0, 0(t0) behind an auipc; RV unpriv. 2.5.1 */
		vp_st32(new, 0x000282e7);
}

static struct eng_txn *new_txn(struct scene *s, enum eng_op op)
{
	struct eng_txn *txn = eng_txn_create(op);

	assert_non_null(txn);
	txn->id = vp_target_info(s->t)->id;
	eng_host_boot(txn->host_boot, sizeof(txn->host_boot));
	txn->was_running = true;
	strcpy(txn->locator, "fake:1");
	strcpy(txn->name, "fix");
	strcpy(txn->version, "1");
	txn->n_quiet = 1;
	txn->quiet[0] = (struct guest_quiet){vp_gpa(0x9000), 0xff, "text_mutex"};
	return txn;
}

static void add_site(struct scene *s, struct eng_txn *txn, unsigned i, bool back)
{
	const struct kind *k = s->k;
	uint64_t off = site_off[i] + k->skew;
	struct vp_edit e = {.gva = vp_gva(TEXT + off),
			    .gpa = vp_gpa(off),
			    .kind = VP_EDIT_SITE,
			    .discipline = k->d};
	uint8_t old[VP_EDIT_MAX] = {0}, new[VP_EDIT_MAX] = {0};
	unsigned len;

	site_bytes(k, e.gva, old, new, &len);
	e.len = (uint8_t)len;
	memcpy(e.old, back ? new : old, len);
	memcpy(e.new, back ? old : new, len);
	memcpy(e.rest, old, len);
	assert_int_equal(eng_txn_add(txn, &e, "site"), VP_OK);
	if (k->records) {
		struct eng_trap *trap = &txn->steps[txn->n_steps - 1].trap;

		*trap = (struct eng_trap){vp_gva(TEXT + RECORDS), vp_gpa(RECORDS)};
		trap->gva.v += i % k->records * VP_TRAP_RECORD;
		trap->gpa.v += i % k->records * VP_TRAP_RECORD;
	}
	if (k->d != VP_DISCIPLINE_LITERAL)
		return;
	e = (struct vp_edit){.gva = vp_gva(TEXT + lit_off[i]),
			     .gpa = vp_gpa(lit_off[i]),
			     .kind = VP_EDIT_LITERAL,
			     .discipline = VP_DISCIPLINE_LITERAL,
			     .len = 8};
	vp_st64(back ? e.new : e.old, 0x1111);
	vp_st64(back ? e.old : e.new, 0x2222 + i);
	vp_st64(e.rest, 0x1111);
	assert_int_equal(eng_txn_add_literal(txn, &e, "site"), VP_OK);
}

static void add_state(struct eng_txn *txn, uint64_t off, uint64_t from, uint64_t to)
{
	assert_int_equal(eng_txn_add_state(txn, vp_gva(TEXT + off), vp_gpa(off), from, to), VP_OK);
}

static void make_apply(struct scene *s)
{
	struct vp_ledger l = {.self = vp_gva(TEXT + AREA), .state = VP_LEDGER_APPLYING, .seq = 1};
	struct eng_txn *txn = new_txn(s, ENG_OP_APPLY);

	l.payload_len = 100;
	l.size = vp_ledger_size(0, 0, l.payload_len, &l.payload_off);
	strcpy(l.name, "fix");
	strcpy(l.version, "1");
	assert_int_equal(eng_txn_area(txn, l.self, vp_gpa(AREA), l.size), VP_OK);
	memset(txn->area.new + l.payload_off, 0x90, l.payload_len);
	assert_int_equal(vp_ledger_encode(txn->area.new, l.size, &l, NULL), VP_OK);
	memset(txn->area.old, 0xcc, l.size);
	add_state(txn, OTHER, VP_LEDGER_APPLIED, VP_LEDGER_REVERTING);
	for (unsigned i = 0; i < SITES; i++)
		add_site(s, txn, i, false);
	add_state(txn, AREA, VP_LEDGER_APPLYING, VP_LEDGER_APPLIED);
	add_state(txn, OTHER, VP_LEDGER_REVERTING, VP_LEDGER_REVERTED);
	assert_int_equal(eng_txn_finish(txn), VP_OK);
	s->apply = txn;
}

static void make_revert(struct scene *s)
{
	struct eng_txn *txn = new_txn(s, ENG_OP_REVERT);

	add_state(txn, AREA, VP_LEDGER_APPLIED, VP_LEDGER_REVERTING);
	for (unsigned i = 0; i < SITES; i++)
		add_site(s, txn, i, true);
	add_state(txn, AREA, VP_LEDGER_REVERTING, VP_LEDGER_REVERTED);
	assert_int_equal(eng_txn_finish(txn), VP_OK);
	s->revert = txn;
}

static void put_state(struct scene *s, bool applied)
{
	struct eng_txn *apply = s->apply;

	memset(mem(s, 0), 0xcc, RAM - 4096);
	memset(mem(s, RECORDS), 0, 0x2000);
	for (uint32_t i = 0; i < apply->n_steps; i++) {
		const struct vp_edit *e = &apply->steps[i].e.edit;

		memcpy(mem(s, e->gpa.v), applied ? e->new : e->old, e->len);
	}
	memcpy(mem(s, AREA), applied ? apply->area.new : apply->area.old, apply->area.len);
	vp_st64(mem(s, OTHER + VP_LEDGER_STATE_OFF),
		applied ? VP_LEDGER_REVERTED : VP_LEDGER_APPLIED);
	if (applied)
		vp_st64(mem(s, AREA + VP_LEDGER_STATE_OFF), VP_LEDGER_APPLIED);
	memset(s->plot, 0, sizeof(*s->plot));
	s->plot->who = s->test;
}

static struct vp_identity me(void)
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
	return id;
}

static struct scene *scene(const struct kind *k)
{
	struct scene *s = calloc(1, sizeof(*s));
	struct vp_identity id = me();

	s->k = k;
	s->test = getpid();
	s->f = fake_create(arch_get(k->arch), 2);
	fake_ram_add(s->f, vp_gpa(0), RAM);
	fake_identity(s->f, &id);
	fake_caps(s->f, VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY | VP_CAP_STORE_LIVE);
	diag_init(&s->diag);
	assert_int_equal(fake_open(s->f, &s->diag, &s->t), VP_OK);
	s->view = (struct eng_view){view_held, view_locate, NULL};
	s->plot = (struct plot *)mem(s, RAM - 4096);
	make_apply(s);
	make_revert(s);
	put_state(s, false);
	fake_hook(s->f, hook, s);
	snprintf(s->dir, sizeof(s->dir), "%s/vp-live-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(s->dir));
	return s;
}

/* Nothing that happened since the last time was wrong for a CPU of the guest. */
static void check_right(struct scene *s)
{
	assert_string_equal(s->plot->bad, "");
	assert_string_equal(fake_violation(s->f), "");
}

static void scene_end(struct scene *s)
{
	char cmd[128];

	check_right(s);
	fake_hook(s->f, NULL, NULL);
	vp_target_close(s->t);
	fake_destroy(s->f);
	eng_txn_destroy(s->apply);
	eng_txn_destroy(s->revert);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", s->dir);
	assert_int_equal(system(cmd), 0);
	free(s);
}

static void again(struct scene *s, bool revert)
{
	fake_fail(s->f, 0, 0, false);
	check_right(s);
	s->txn = NULL;
	vp_target_close(s->t);
	put_state(s, revert);
	assert_int_equal(fake_open(s->f, &s->diag, &s->t), VP_OK);
	memset(&s->report, 0, sizeof(s->report));
	diag_init(&s->diag);
	s->txn = revert ? s->revert : s->apply;
}

static int run(struct scene *s, uint64_t time_ns)
{
	struct eng_change c = {
		.t = s->t,
		.txn = s->txn,
		.view = &s->view,
		.state_dir = s->dir,
		.window_ns = time_ns,
		.grace_ns = 200 * CLOCK_NS_PER_MS,
		.settle_ns = 1,
	};

	return eng_change_run(&c, &s->diag, &s->report);
}

static struct eng_txn *open_entry(struct scene *s)
{
	struct eng_txn *txn = NULL;
	char key[ENG_KEY_MAX];

	eng_vmm_key(&vp_target_info(s->t)->id, key);
	assert_int_equal(eng_journal_open_entry(s->dir, key, &s->diag, &txn), VP_OK);
	return txn;
}

static bool journal_open(struct scene *s)
{
	struct eng_txn *txn = open_entry(s);

	eng_txn_destroy(txn);
	return txn != NULL;
}

static int recover(struct scene *s, enum eng_outcome *ret)
{
	struct eng_txn *txn = open_entry(s);
	struct eng_change c = {.t = s->t, .txn = txn, .view = &s->view, .state_dir = s->dir};
	int r = VP_OK;

	*ret = ENG_NOTHING;
	if (txn)
		r = eng_change_recover(&c, &s->diag, ret);
	eng_txn_destroy(txn);
	return r;
}

/* --- how things are ------------------------------------------------------------------------------- */

static bool words_are(struct scene *s, bool new)
{
	for (uint32_t i = 0; i < s->txn->n_steps; i++) {
		const struct vp_edit *e = &s->txn->steps[i].e.edit;

		if (eng_step_is_word(&s->txn->steps[i]) &&
		    memcmp(mem(s, e->gpa.v), new ? e->new : e->old, e->len) != 0)
			return false;
	}
	return true;
}

static bool records_free(struct scene *s)
{
	for (unsigned i = 0; i < s->k->records; i++) {
		const uint8_t *rec = mem(s, RECORDS + i * VP_TRAP_RECORD);

		if (vp_ld64(rec + VP_TRAP_OFF_AT) != 0 || (vp_ld32(rec + VP_TRAP_OFF_SEQ) & 1))
			return false;
	}
	return true;
}

static uint64_t state_of(struct scene *s, uint64_t off)
{
	return vp_ld64(mem(s, off + VP_LEDGER_STATE_OFF));
}

static bool is_new(struct scene *s)
{
	bool revert = s->txn == s->revert;

	return words_are(s, true) && records_free(s) && payload_whole(s) &&
	       state_of(s, AREA) == (revert ? VP_LEDGER_REVERTED : VP_LEDGER_APPLIED) &&
	       (revert || state_of(s, OTHER) == VP_LEDGER_REVERTED);
}

/* The area may be filler again or hold a retired record. */
static bool is_old(struct scene *s)
{
	const struct eng_area *a = &s->apply->area;

	if (!words_are(s, false) || !records_free(s))
		return false;
	if (s->txn == s->revert)
		return payload_whole(s) && state_of(s, AREA) == VP_LEDGER_APPLIED;
	return state_of(s, OTHER) == VP_LEDGER_APPLIED &&
	       (memcmp(mem(s, AREA), a->old, a->len) == 0 ||
		(payload_whole(s) && state_of(s, AREA) == VP_LEDGER_REVERTED));
}

static void ends_whole(struct scene *s, enum eng_outcome outcome)
{
	assert_true(fake_runs(s->f));
	assert_false(journal_open(s));
	assert_true(outcome == ENG_COMPLETED || outcome == ENG_ROLLED_BACK);
	assert_true(outcome == ENG_COMPLETED ? is_new(s) : is_old(s));
	check_right(s);
}

#define EACH(s, revert)                                                              \
	for (size_t k_ = 0; k_ < KINDS; k_++)                                        \
		for (struct scene *s = scene(&kinds[k_]); s; scene_end(s), s = NULL) \
			for (int revert = 0; revert < 2; revert++)

/* --- tests ---------------------------------------------------------------------------------------- */

static void test_change_is_in_place_and_nobody_was_held(void **state)
{
	(void)state;
	EACH(s, revert)
	{
		struct eng_edit edits[2 * SITES];
		struct arch_poke prog;
		uint64_t before, after;
		const char *why;

		again(s, revert);
		assert_int_equal(eng_live_program(s->txn, 1, arch_get(s->k->arch), &prog, &why),
				 VP_OK);
		assert_int_equal(prog.n, s->k->steps);
		memset(edits, 0, sizeof(edits));
		s->report.edits = edits;
		s->report.n_edits = s->k->d == VP_DISCIPLINE_LITERAL ? 2 * SITES : SITES;
		before = clock_now();
		if (run(s, LONG) != VP_OK)
			fail_msg("%s: %s", s->k->name, s->diag.text);
		after = clock_now();
		assert_true(is_new(s));
		assert_true(s->report.changed);
		assert_int_equal(s->report.window_ns, 0);
		assert_in_range(s->report.mixed_ns, 1, after - before);
		for (size_t i = 0; i < s->report.n_edits; i++)
			assert_in_range(edits[i].poked_at, before, after);
		assert_false(journal_open(s));
	}
}

/* What is behind a word reaches every CPU before the word does. */
static void test_area_is_synced_ahead_of_every_word(void **state)
{
	(void)state;
	for (size_t k = 0; k < KINDS; k++) {
		struct scene *s = scene(&kinds[k]);
		const struct fake_event *e;
		bool area = false, synced = false;

		again(s, false);
		assert_int_equal(run(s, LONG), VP_OK);
		for (size_t i = 0; (e = fake_event(s->f, i)); i++) {
			assert_true(e->op != FAKE_ARM && e->op != FAKE_PAUSE &&
				    e->op != FAKE_WRITE);
			if (e->op == FAKE_LIVE_STORE && e->at == AREA)
				area = true;
			else if (e->op == FAKE_LIVE_SYNC && area && e->at == ARCH_SYNC_ALL)
				synced = true;
			else if (e->op == FAKE_LIVE_STORE)
				assert_true(synced);
		}
		assert_true(synced);
		assert_false(fake_lives(s->f));
		scene_end(s);
	}
}

static void test_nothing_is_stored_before_everything_is_verified(void **state)
{
	(void)state;
	for (size_t k = 0; k < KINDS; k++) {
		struct scene *s = scene(&kinds[k]);
		uint64_t spoil[] = {site_off[1] + s->k->skew,
				    site_off[2] + s->k->skew + 3,
				    AREA + 100,
				    OTHER + VP_LEDGER_STATE_OFF,
				    lit_off[2] + 1,
				    RECORDS + VP_TRAP_OFF_AT,
				    0x9000};
		static const int want[] = {VP_E_GUEST_CHANGED, VP_E_GUEST_CHANGED,
					   VP_E_GUEST_CHANGED, VP_E_GUEST_CHANGED,
					   VP_E_GUEST_CHANGED, VP_E_GUEST_PATCHING,
					   VP_E_GUEST_PATCHING};

		for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
			if ((i == 4 && s->k->d != VP_DISCIPLINE_LITERAL) ||
			    (i == 5 && s->k->d != VP_DISCIPLINE_TRAP))
				continue;
			again(s, false);
			s->txn = NULL; /* the hook would find what is spoilt */
			*mem(s, spoil[i]) ^= 0x40;
			s->txn = s->apply;
			fake_hook(s->f, NULL, NULL);
			assert_int_equal(run(s, LONG), want[i]);
			fake_hook(s->f, hook, s);
			assert_int_equal(fake_op_calls(s->f, FAKE_LIVE_STORE), 0);
			assert_int_equal(fake_op_calls(s->f, FAKE_ARM), 0);
			assert_false(journal_open(s));
			assert_false(s->report.changed);
			s->txn = NULL;
		}
		scene_end(s);
	}
}

static void check_failed(struct scene *s, int r, uint64_t nth, bool for_good)
{
	enum eng_outcome outcome;

	if (r == VP_OK) {
		assert_true(is_new(s) && fake_runs(s->f));
		return;
	}
	assert_true(s->diag.text[0] != '\0');
	if (vp_err_exit(r) != 4) {
		if (!is_old(s) || !fake_runs(s->f) || journal_open(s))
			fail_msg("%s: call %lu %s: %s", s->k->name, (unsigned long)nth,
				 for_good ? "for good" : "once", s->diag.text);
		return;
	}
	if (!journal_open(s)) { /* done, but the last look at it failed */
		assert_int_equal(r, VP_E_PARTIAL);
		assert_true(is_new(s) && fake_runs(s->f));
		return;
	}
	assert_true(for_good);
	assert_non_null(strstr(s->diag.text, "vpatch recover"));
	assert_int_equal(recover(s, &outcome), VP_OK);
	ends_whole(s, outcome);
}

static void test_driver_fails_at_each_call(void **state)
{
	static const int errors[] = {VP_E_IO, VP_E_DEADLINE, VP_E_UNSUPPORTED};

	(void)state;
	EACH(s, revert)
	{
		uint64_t total;

		again(s, revert);
		total = fake_calls(s->f);
		assert_int_equal(run(s, LONG), VP_OK);
		total = fake_calls(s->f) - total;
		assert_true(total > 20);
		for (unsigned how = 0; how < 2 * total; how++) {
			uint64_t nth = how / 2 + 1;
			int r;

			again(s, revert);
			fake_fail(s->f, nth, errors[how % 3], how % 2);
			r = run(s, LONG);
			fake_fail(s->f, 0, 0, false);
			check_failed(s, r, nth, how % 2);
		}
	}
}

/* A way in that stores and then cannot any more: busy, and the guest is as before. */
static void test_way_in_that_stops_storing_is_busy_and_put_back(void **state)
{
	static const enum fake_op ops[] = {FAKE_LIVE_STORE, FAKE_LIVE_SYNC};

	(void)state;
	EACH(s, revert)
	{
		for (unsigned how = 0; how < 4; how++) {
			int err = how < 2 ? VP_E_UNSUPPORTED : VP_E_DEADLINE, r;

			again(s, revert);
			fake_fail_op(s->f, ops[how % 2], 2, err, true);
			r = run(s, LONG);
			fake_fail_op(s->f, ops[how % 2], 0, 0, false);
			if (s->k->steps == 1 && revert && how % 2)
				continue; /* it has one sync */
			assert_int_equal(r, how < 2 ? VP_E_GUEST_CHANGED : VP_E_DEADLINE);
			assert_int_equal(vp_err_exit(r), 3);
			assert_true(s->report.window_ns > 0);
			assert_true(is_old(s) && fake_runs(s->f));
			assert_false(journal_open(s));
		}
	}
}

static void test_deadline_passing_at_each_call_puts_everything_back(void **state)
{
	unsigned late = 0;

	(void)state;
	EACH(s, revert)
	{
		uint64_t n;

		again(s, revert);
		assert_int_equal(run(s, LONG), VP_OK);
		n = s->plot->seen;
		for (uint64_t at = 1; at <= n; at += 2) {
			int r;

			again(s, revert);
			s->plot->sleep_at = at;
			s->plot->sleep_ns = 12 * CLOCK_NS_PER_MS;
			r = run(s, 10 * CLOCK_NS_PER_MS);
			assert_true(r == VP_OK || r == VP_E_DEADLINE);
			assert_true(r == VP_OK ? is_new(s) : is_old(s));
			assert_true(fake_runs(s->f));
			assert_false(journal_open(s));
			late += r == VP_E_DEADLINE;
		}
	}
	assert_true(late > 100);
}

static void in_child(struct scene *s, int (*what)(struct scene *s))
{
	pid_t pid;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid = fork();
	if (pid == 0) {
		if (s->plot->who)
			s->plot->who = getpid();
		_exit(what(s) == VP_OK ? 0 : 1);
	}
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	s->plot->die_at = 0;
	s->plot->who = s->test;
}

static int do_run(struct scene *s)
{
	return run(s, LONG);
}

static int do_recover(struct scene *s)
{
	enum eng_outcome outcome;

	return recover(s, &outcome);
}

static void test_killed_at_each_call_the_guest_runs_and_is_recovered(void **state)
{
	unsigned completed = 0, back = 0;

	(void)state;
	EACH(s, revert)
	{
		uint64_t n;

		again(s, revert);
		assert_int_equal(run(s, LONG), VP_OK);
		n = s->plot->seen;
		for (uint64_t at = 1; at <= n; at++) {
			enum eng_outcome outcome;

			again(s, revert);
			s->plot->die_at = at;
			in_child(s, do_run);
			assert_true(fake_runs(s->f));
			if (!journal_open(s)) {
				assert_true(is_new(s) && at >= n - 2 * SITES);
				continue; /* the look at the sites behind the end */
			}
			assert_int_equal(recover(s, &outcome), VP_OK);
			ends_whole(s, outcome);
			completed += outcome == ENG_COMPLETED;
			back += outcome == ENG_ROLLED_BACK;
		}
	}
	assert_true(completed > 0 && back > 100);
}

/* Everything that recover does may be its last, too: its own calls and its holder's, with whom the
 * hold ends. */
static void test_recover_killed_at_each_call_can_be_run_again(void **state)
{
	(void)state;
	EACH(s, revert)
	{
		uint64_t n;

		again(s, revert);
		assert_int_equal(run(s, LONG), VP_OK);
		n = s->plot->seen;
		for (uint64_t at = 1; at <= 90; at += 2) {
			enum eng_outcome outcome;

			fake_caps(s->f, VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY | VP_CAP_STORE_LIVE |
						VP_CAP_DEATH_FREES);
			again(s, revert);
			s->plot->die_at = n / 2 + at % (n / 3);
			in_child(s, do_run);
			if (!journal_open(s))
				continue;
			s->plot->who = 0;
			s->plot->seen = 0;
			s->plot->die_at = at;
			in_child(s, do_recover);
			/* the guest has run on what the dead holder left; the hook looks at that */
			if (!journal_open(s)) {
				assert_true(is_old(s) || is_new(s));
				continue;
			}
			assert_int_equal(recover(s, &outcome), VP_OK);
			ends_whole(s, outcome);
		}
	}
}

/* Puts a site to the state behind n steps of its program, with the record that a trap has then. */
static void put_stage(struct scene *s, uint32_t step, unsigned n)
{
	const struct eng_step *st = &s->txn->steps[step];
	struct arch_poke prog;
	const char *why;

	assert_int_equal(eng_live_program(s->txn, step, arch_get(s->k->arch), &prog, &why), VP_OK);
	arch_poke_text(&prog, n, mem(s, st->e.edit.gpa.v));
	for (unsigned i = 0; i < n && i < prog.n; i++) {
		uint8_t *rec = mem(s, st->trap.gpa.v);

		if (prog.step[i].act == ARCH_POKE_STORE && prog.step[i].literal)
			memcpy(mem(s, st[1].e.edit.gpa.v), st[1].e.edit.new, st[1].e.edit.len);
		if (prog.step[i].act == ARCH_POKE_TELL) {
			vp_st64(rec + VP_TRAP_OFF_AT, st->e.edit.gva.v);
			vp_st64(rec + VP_TRAP_OFF_NEXT, prog.emul.next.v);
			vp_st64(rec + VP_TRAP_OFF_TARGET, prog.emul.target.v);
			vp_st32(rec + VP_TRAP_OFF_SEQ, 2);
		}
		if (prog.step[i].act == ARCH_POKE_FORGET)
			vp_st64(rec + VP_TRAP_OFF_AT, 0);
	}
}

static void test_recover_from_each_pair_of_stages(void **state)
{
	(void)state;
	EACH(s, revert)
	{
		uint32_t second = s->k->d == VP_DISCIPLINE_LITERAL ? 3 : 2;

		for (unsigned how = 0; how < (s->k->steps + 1) * (s->k->steps + 1); how++) {
			unsigned a = how / (s->k->steps + 1), b = how % (s->k->steps + 1);
			enum eng_outcome outcome;

			if (s->k->records == 1 && a > 0 && a < s->k->steps)
				continue; /* one after the other */
			again(s, revert);
			memcpy(mem(s, AREA), s->apply->area.new, s->apply->area.len);
			vp_st64(mem(s, revert ? AREA : OTHER) + VP_LEDGER_STATE_OFF,
				VP_LEDGER_REVERTING);
			put_stage(s, 1, a);
			put_stage(s, second, b);
			/* telling that did not end */
			if (s->k->records > 1 && b == 0 && a % 2)
				vp_st32(mem(s, RECORDS + VP_TRAP_RECORD + VP_TRAP_OFF_SEQ), 7);
			assert_int_equal(eng_journal_begin(s->dir, s->txn, &s->diag), VP_OK);
			assert_int_equal(recover(s, &outcome), VP_OK);
			assert_int_equal(outcome, ENG_ROLLED_BACK);
			ends_whole(s, outcome);
		}
	}
}

/* All words are new and a record is still told: done, and the record withdrawn. */
static void test_recover_of_all_new_words_withdraws_the_records(void **state)
{
	(void)state;
	EACH(s, revert)
	{
		enum eng_outcome outcome;
		uint8_t *rec = mem(s, RECORDS);

		again(s, revert);
		assert_int_equal(run(s, LONG), VP_OK);
		if (s->k->records) {
			vp_st64(rec + VP_TRAP_OFF_AT, s->txn->steps[1].e.edit.gva.v);
			assert_false(is_new(s));
		}
		assert_int_equal(eng_journal_begin(s->dir, s->txn, &s->diag), VP_OK);
		assert_int_equal(recover(s, &outcome), VP_OK);
		assert_int_equal(outcome, ENG_COMPLETED);
		ends_whole(s, outcome);
	}
}

/* Bytes that are no stage are the guest's own, and a record of somebody else's trap stays. */
static void test_recover_leaves_what_is_no_stage_and_no_record_of_ours(void **state)
{
	struct scene *s = scene(&kinds[0]);
	static const uint8_t alien[5] = {0xcc, 0x12, 0x34, 0x56, 0x78};
	uint8_t *rec = mem(s, RECORDS + 2 * VP_TRAP_RECORD);
	enum eng_outcome outcome;

	(void)state;
	again(s, false);
	memcpy(mem(s, AREA), s->apply->area.new, s->apply->area.len);
	put_stage(s, 1, 3);
	memcpy(mem(s, s->txn->steps[2].e.edit.gpa.v), alien, 5);
	vp_st64(rec + VP_TRAP_OFF_AT, 0x1234);
	assert_int_equal(eng_journal_begin(s->dir, s->txn, &s->diag), VP_OK);
	fake_hook(s->f, NULL, NULL);
	assert_int_equal(recover(s, &outcome), VP_E_PARTIAL);
	assert_memory_equal(mem(s, s->txn->steps[2].e.edit.gpa.v), alien, 5);
	assert_memory_equal(mem(s, s->txn->steps[1].e.edit.gpa.v), s->txn->steps[1].e.edit.old, 5);
	assert_int_equal(vp_ld64(rec + VP_TRAP_OFF_AT), 0x1234);
	assert_int_equal(vp_ld64(mem(s, RECORDS + VP_TRAP_OFF_AT)), 0);
	assert_true(fake_runs(s->f));
	scene_end(s);
}

/* A data word that no instruction of ours goes with, of both lengths. */
static void test_literal_without_a_site(void **state)
{
	static const struct kind lone[] = {
		{"lone literal", ARCH_PPC64LE, VP_DISCIPLINE_LITERAL, 0, 0, 1},
		{"lone literal of 32 bits", ARCH_THUMB2, VP_DISCIPLINE_LITERAL, 0, 0, 1}};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vp_edit e = {.gva = vp_gva(TEXT + lit_off[0] + 4 * i),
				    .gpa = vp_gpa(lit_off[0] + 4 * i),
				    .kind = VP_EDIT_LITERAL,
				    .discipline = VP_DISCIPLINE_LITERAL,
				    .len = i ? 4 : 8,
				    .old = {1, 1, 1, 1},
				    .new = {2, 2, 2, 2}};
		struct scene *s = scene(&kinds[3]);
		struct eng_txn *txn = new_txn(s, ENG_OP_APPLY);
		const struct fake_event *ev;
		unsigned stores = 0;

		s->k = &lone[i];
		assert_int_equal(eng_txn_add(txn, &e, "ops"), VP_OK);
		assert_int_equal(eng_txn_finish(txn), VP_OK);
		memset(mem(s, lit_off[0]), 0xee, 16);
		memcpy(mem(s, e.gpa.v), e.old, e.len);
		s->txn = txn;
		assert_int_equal(run(s, LONG), VP_OK);
		assert_memory_equal(mem(s, e.gpa.v), e.new, e.len);
		assert_int_equal(*mem(s, e.gpa.v + e.len), 0xee);
		for (size_t j = 0; (ev = fake_event(s->f, j)); j++) {
			stores += ev->op == FAKE_LIVE_STORE;
			if (ev->op == FAKE_LIVE_STORE)
				assert_int_equal(ev->len, e.len);
		}
		assert_int_equal(stores, 1);
		s->txn = NULL;
		scene_end(s);
		eng_txn_destroy(txn);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_change_is_in_place_and_nobody_was_held),
		cmocka_unit_test(test_area_is_synced_ahead_of_every_word),
		cmocka_unit_test(test_nothing_is_stored_before_everything_is_verified),
		cmocka_unit_test(test_driver_fails_at_each_call),
		cmocka_unit_test(test_way_in_that_stops_storing_is_busy_and_put_back),
		cmocka_unit_test(test_deadline_passing_at_each_call_puts_everything_back),
		cmocka_unit_test(test_killed_at_each_call_the_guest_runs_and_is_recovered),
		cmocka_unit_test(test_recover_killed_at_each_call_can_be_run_again),
		cmocka_unit_test(test_recover_from_each_pair_of_stages),
		cmocka_unit_test(test_recover_of_all_new_words_withdraws_the_records),
		cmocka_unit_test(test_recover_leaves_what_is_no_stage_and_no_record_of_ours),
		cmocka_unit_test(test_literal_without_a_site),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
