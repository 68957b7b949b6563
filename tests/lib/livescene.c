/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/livescene.h"

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
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/journal.h"
#include "vmm-agent/engine/live.h"
#include "vmm-agent/engine/vmm.h"

const uint32_t live_site_off[SITES] = {0x1000, 0x2ffc, 0x4008};
const uint32_t live_lit_off[SITES] = {0xff8, 0x2ff0, 0x4000};

const struct live_kind live_kinds[LIVE_KINDS] = {
	{"x86-64 trap", ARCH_X86_64, VP_DISCIPLINE_TRAP, 3, 2, 6},
	{"x86-64 trap, two records", ARCH_X86_64, VP_DISCIPLINE_TRAP, 2, 2, 6},
	{"arm64 trap", ARCH_ARM64, VP_DISCIPLINE_TRAP, 1, 0, 5},
	{"arm64 word", ARCH_ARM64, VP_DISCIPLINE_WORD, 0, 0, 1},
	{"riscv64 literal", ARCH_RISCV64, VP_DISCIPLINE_LITERAL, 0, 0, 2},
	{"thumb2 trap", ARCH_THUMB2, VP_DISCIPLINE_TRAP, 3, 2, 6},
	{"thumb2 skip", ARCH_THUMB2, VP_DISCIPLINE_SKIP, 0, 2, 3},
};

uint8_t *live_mem(struct live_scene *s, uint64_t off)
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

static bool record_right(struct live_scene *s, const struct arch_poke *prog, uint64_t at)
{
	for (unsigned i = 0; i < s->k->records; i++) {
		const uint8_t *rec = live_mem(s, RECORDS + i * VP_TRAP_RECORD);

		if (vp_ld64(rec + VP_TRAP_OFF_AT) == at && !(vp_ld32(rec + VP_TRAP_OFF_SEQ) & 1))
			return vp_ld64(rec + VP_TRAP_OFF_NEXT) == prog->emul.next.v &&
			       (prog->emul.kind == ARCH_INSN_NOP ||
				vp_ld64(rec + VP_TRAP_OFF_TARGET) == prog->emul.target.v);
	}
	return false;
}

static bool payload_whole(struct live_scene *s)
{
	const struct eng_area *a = &s->apply->area;

	return memcmp(live_mem(s, AREA + VP_LEDGER_HEAD), a->new + VP_LEDGER_HEAD,
		      a->len - VP_LEDGER_HEAD) == 0;
}

/* NULL, or what is wrong with step i as CPUs meet it now. */
static const char *wrong_site(struct live_scene *s, uint32_t i)
{
	const struct vp_edit *e = &s->txn->steps[i].e.edit;
	const uint8_t *now = live_mem(s, e->gpa.v), *jump = s->apply == s->txn ? e->new : e->old;
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

		if (memcmp(live_mem(s, lit->gpa.v), s->apply == s->txn ? lit->new : lit->old,
			   lit->len) != 0)
			return "an instruction without its literal";
	}
	return NULL;
}

static bool is_site(const struct eng_txn *txn, uint32_t i)
{
	return txn->steps[i].e.edit.kind == VP_EDIT_SITE;
}

void live_hook(struct fake *f, enum fake_op op, uint64_t nth, void *ctx)
{
	struct live_scene *s = ctx;
	struct live_plot *plot = s->plot;

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

static void site_bytes(const struct live_kind *k, vp_gva_t at, uint8_t *old, uint8_t *new,
		       unsigned *len)
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

struct eng_txn *live_txn(struct live_scene *s, enum eng_op op)
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

static void add_site(struct live_scene *s, struct eng_txn *txn, unsigned i, bool back)
{
	const struct live_kind *k = s->k;
	uint64_t off = live_site_off[i] + k->skew;
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
	e = (struct vp_edit){.gva = vp_gva(TEXT + live_lit_off[i]),
			     .gpa = vp_gpa(live_lit_off[i]),
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

static void make_apply(struct live_scene *s)
{
	struct vp_ledger l = {.self = vp_gva(TEXT + AREA), .state = VP_LEDGER_APPLYING, .seq = 1};
	struct eng_txn *txn = live_txn(s, ENG_OP_APPLY);

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

static void make_revert(struct live_scene *s)
{
	struct eng_txn *txn = live_txn(s, ENG_OP_REVERT);

	add_state(txn, AREA, VP_LEDGER_APPLIED, VP_LEDGER_REVERTING);
	for (unsigned i = 0; i < SITES; i++)
		add_site(s, txn, i, true);
	add_state(txn, AREA, VP_LEDGER_REVERTING, VP_LEDGER_REVERTED);
	assert_int_equal(eng_txn_finish(txn), VP_OK);
	s->revert = txn;
}

static void put_state(struct live_scene *s, bool applied)
{
	struct eng_txn *apply = s->apply;

	memset(live_mem(s, 0), 0xcc, RAM - 4096);
	memset(live_mem(s, RECORDS), 0, 0x2000);
	for (uint32_t i = 0; i < apply->n_steps; i++) {
		const struct vp_edit *e = &apply->steps[i].e.edit;

		memcpy(live_mem(s, e->gpa.v), applied ? e->new : e->old, e->len);
	}
	memcpy(live_mem(s, AREA), applied ? apply->area.new : apply->area.old, apply->area.len);
	vp_st64(live_mem(s, OTHER + VP_LEDGER_STATE_OFF),
		applied ? VP_LEDGER_REVERTED : VP_LEDGER_APPLIED);
	if (applied)
		vp_st64(live_mem(s, AREA + VP_LEDGER_STATE_OFF), VP_LEDGER_APPLIED);
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

struct live_scene *live_scene(const struct live_kind *k)
{
	struct live_scene *s = calloc(1, sizeof(*s));
	struct vp_identity id = me();

	s->k = k;
	s->test = getpid();
	s->f = fake_create(arch_get(k->arch), 2);
	fake_ram_add(s->f, vp_gpa(0), RAM);
	fake_identity(s->f, &id);
	fake_caps(s->f, VP_CAP_REGS_LIVE | VP_CAP_WRITE_DIRTY | VP_CAP_STORE_LIVE);
	diag_init(&s->diag);
	assert_int_equal(fake_open(s->f, &s->diag, &s->t), VP_OK);
	s->view = (struct eng_view){.held = view_held, .locate = view_locate};
	s->plot = (void *)live_mem(s, RAM - 4096);
	make_apply(s);
	make_revert(s);
	put_state(s, false);
	fake_hook(s->f, live_hook, s);
	snprintf(s->dir, sizeof(s->dir), "%s/vp-live-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(s->dir));
	return s;
}

void live_check_right(struct live_scene *s)
{
	assert_string_equal(s->plot->bad, "");
	assert_string_equal(fake_violation(s->f), "");
}

void live_scene_end(struct live_scene *s)
{
	char cmd[128];

	live_check_right(s);
	fake_hook(s->f, NULL, NULL);
	vp_target_close(s->t);
	fake_destroy(s->f);
	eng_txn_destroy(s->apply);
	eng_txn_destroy(s->revert);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", s->dir);
	assert_int_equal(system(cmd), 0);
	free(s);
}

void live_again(struct live_scene *s, bool revert)
{
	fake_fail(s->f, 0, 0, false);
	live_check_right(s);
	s->txn = NULL;
	vp_target_close(s->t);
	put_state(s, revert);
	assert_int_equal(fake_open(s->f, &s->diag, &s->t), VP_OK);
	memset(&s->report, 0, sizeof(s->report));
	diag_init(&s->diag);
	s->txn = revert ? s->revert : s->apply;
}

int live_run(struct live_scene *s, uint64_t time_ns)
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

static struct eng_txn *open_entry(struct live_scene *s)
{
	struct eng_txn *txn = NULL;
	char key[ENG_KEY_MAX];

	eng_vmm_key(&vp_target_info(s->t)->id, key);
	assert_int_equal(eng_journal_open_entry(s->dir, key, &s->diag, &txn), VP_OK);
	return txn;
}

bool live_journal_open(struct live_scene *s)
{
	struct eng_txn *txn = open_entry(s);

	eng_txn_destroy(txn);
	return txn != NULL;
}

int live_recover(struct live_scene *s, enum eng_outcome *ret)
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

static bool words_are(struct live_scene *s, bool new)
{
	for (uint32_t i = 0; i < s->txn->n_steps; i++) {
		const struct vp_edit *e = &s->txn->steps[i].e.edit;

		if (eng_step_is_word(&s->txn->steps[i]) &&
		    memcmp(live_mem(s, e->gpa.v), new ? e->new : e->old, e->len) != 0)
			return false;
	}
	return true;
}

static bool records_free(struct live_scene *s)
{
	for (unsigned i = 0; i < s->k->records; i++) {
		const uint8_t *rec = live_mem(s, RECORDS + i * VP_TRAP_RECORD);

		if (vp_ld64(rec + VP_TRAP_OFF_AT) != 0 || (vp_ld32(rec + VP_TRAP_OFF_SEQ) & 1))
			return false;
	}
	return true;
}

static uint64_t state_of(struct live_scene *s, uint64_t off)
{
	return vp_ld64(live_mem(s, off + VP_LEDGER_STATE_OFF));
}

bool live_is_new(struct live_scene *s)
{
	bool revert = s->txn == s->revert;

	return words_are(s, true) && records_free(s) && payload_whole(s) &&
	       state_of(s, AREA) == (revert ? VP_LEDGER_REVERTED : VP_LEDGER_APPLIED) &&
	       (revert || state_of(s, OTHER) == VP_LEDGER_REVERTED);
}

/* The area may be filler again or hold a retired record. */
bool live_is_old(struct live_scene *s)
{
	const struct eng_area *a = &s->apply->area;

	if (!words_are(s, false) || !records_free(s))
		return false;
	if (s->txn == s->revert)
		return payload_whole(s) && state_of(s, AREA) == VP_LEDGER_APPLIED;
	return state_of(s, OTHER) == VP_LEDGER_APPLIED &&
	       (memcmp(live_mem(s, AREA), a->old, a->len) == 0 ||
		(payload_whole(s) && state_of(s, AREA) == VP_LEDGER_REVERTED));
}

void live_ends_whole(struct live_scene *s, enum eng_outcome outcome)
{
	assert_true(fake_runs(s->f));
	assert_false(live_journal_open(s));
	assert_true(outcome == ENG_COMPLETED || outcome == ENG_ROLLED_BACK);
	assert_true(outcome == ENG_COMPLETED ? live_is_new(s) : live_is_old(s));
	live_check_right(s);
}
