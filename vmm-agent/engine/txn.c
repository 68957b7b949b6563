/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/txn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"

/*
 * Serialised form, versions 1 and 2 (the journal carries the number):
 *
 *     +0    op, flags, n_steps, area_len, n_quiet, 0     u32 each
 *     +24   pid, start_time, area gva, area gpa          u64 each
 *     +56   uuid[16] boot_id[16] host_boot[40]
 *     +128  locator[256] name[64] version[32]
 *     +480  n_quiet * { gpa u64, mask u64, name[32] }
 *           n_steps * { gva u64, gpa u64, kind, discipline, len, flags, 0[4], old[8], new[8],
 *                       rest[8], symbol[256] }   and in version 2   trap gva u64, gpa u64
 *           area old, area new
 */
enum txn_off {
	OFF_OP = 0,
	OFF_FLAGS = 4,
	OFF_N_STEPS = 8,
	OFF_AREA_LEN = 12,
	OFF_N_QUIET = 16,
	OFF_RESERVED = 20,
	OFF_PID = 24,
	OFF_START = 32,
	OFF_AREA_GVA = 40,
	OFF_AREA_GPA = 48,
	OFF_UUID = 56,
	OFF_BOOT = 72,
	OFF_HOST_BOOT = 88,
	OFF_LOCATOR = 128,
	OFF_NAME = 384,
	OFF_VERSION = 448,
	OFF_HEAD_END = 480,
};

enum step_off {
	STEP_GVA = 0,
	STEP_GPA = 8,
	STEP_KIND = 16,
	STEP_DISCIPLINE = 17,
	STEP_LEN = 18,
	STEP_FLAGS = 19,    /* zero in version 1 */
	STEP_RESERVED = 20, /* to 24 */
	STEP_OLD = 24,
	STEP_NEW = 32,
	STEP_REST = 40,
	STEP_SYMBOL = 48,
	STEP_SIZE = STEP_SYMBOL + HF_SYMBOL_MAX, /* in version 1 */
	STEP_TRAP_GVA = STEP_SIZE,
	STEP_TRAP_GPA = STEP_SIZE + 8,
	STEP_SIZE_LIVE = STEP_SIZE + 16, /* in version 2 */
};

#define STEP_LITERAL 1u /* the next step is this site's literal */

enum quiet_off { QUIET_GPA = 0, QUIET_MASK = 8, QUIET_NAME = 16, QUIET_SIZE = 48 };

#define FLAG_WAS_RUNNING 1u

struct eng_txn *eng_txn_create(enum eng_op op)
{
	struct eng_txn *txn = calloc(1, sizeof(*txn));

	if (!txn)
		return NULL;
	txn->op = op;
	txn->steps = calloc(ENG_STEPS_MAX, sizeof(*txn->steps));
	if (!txn->steps) {
		free(txn);
		return NULL;
	}
	return txn;
}

void eng_txn_destroy(struct eng_txn *txn)
{
	if (!txn)
		return;
	free(txn->area.old);
	free(txn->area.new);
	free(txn->steps);
	free(txn);
}

int eng_txn_area(struct eng_txn *txn, vp_gva_t gva, vp_gpa_t gpa, uint32_t len)
{
	uint8_t *old, *new;

	if (len < VP_LEDGER_HEAD || len > VP_LEDGER_SIZE_MAX || len % VP_LEDGER_ALIGN != 0 ||
	    gva.v % VP_LEDGER_ALIGN != 0 || len > UINT64_MAX - gva.v || len > UINT64_MAX - gpa.v)
		return VP_E_RANGE;
	old = calloc(1, len);
	new = calloc(1, len);
	if (!old || !new) {
		free(old);
		free(new);
		return VP_E_NOMEM;
	}
	free(txn->area.old);
	free(txn->area.new);
	txn->area.gva = gva;
	txn->area.gpa = gpa;
	txn->area.len = len;
	txn->area.old = old;
	txn->area.new = new;
	return VP_OK;
}

static bool edit_possible(const struct vp_edit *e)
{
	bool word = e->kind == VP_EDIT_SITE || e->kind == VP_EDIT_LITERAL;

	if (e->kind < VP_EDIT_SITE || e->kind > VP_EDIT_LITERAL ||
	    e->discipline < VP_DISCIPLINE_STOP || e->discipline > VP_DISCIPLINE_LITERAL ||
	    (e->discipline != VP_DISCIPLINE_STOP && !word))
		return false;
	if (e->kind == VP_EDIT_LITERAL &&
	    ((e->len != 4 && e->len != 8) || e->gva.v % e->len || e->gpa.v % e->len))
		return false;
	return e->len >= 1 && e->len <= VP_EDIT_MAX && e->len <= UINT64_MAX - e->gva.v &&
	       e->len <= UINT64_MAX - e->gpa.v;
}

int eng_txn_add(struct eng_txn *txn, const struct vp_edit *edit, const char *symbol)
{
	struct eng_step *step;

	if (txn->n_steps == ENG_STEPS_MAX || !edit_possible(edit))
		return VP_E_RANGE;
	step = &txn->steps[txn->n_steps++];
	step->e.edit = *edit;
	snprintf(step->e.symbol, sizeof(step->e.symbol), "%s", symbol ? symbol : "");
	return VP_OK;
}

int eng_txn_add_literal(struct eng_txn *txn, const struct vp_edit *edit, const char *symbol)
{
	struct eng_step *site = txn->n_steps ? &txn->steps[txn->n_steps - 1] : NULL;
	int r;

	if (!site || site->e.edit.kind != VP_EDIT_SITE || edit->kind != VP_EDIT_LITERAL)
		return VP_E_RANGE;
	r = eng_txn_add(txn, edit, symbol);
	site->literal = r == VP_OK;
	return r;
}

int eng_txn_add_state(struct eng_txn *txn, vp_gva_t record, vp_gpa_t gpa, uint64_t from,
		      uint64_t to)
{
	struct vp_edit e = {
		.gva = vp_gva(record.v + VP_LEDGER_STATE_OFF),
		.gpa = vp_gpa(gpa.v + VP_LEDGER_STATE_OFF),
		.kind = VP_EDIT_STATE,
		.discipline = VP_DISCIPLINE_STOP,
		.len = 8,
	};

	vp_st64(e.old, from);
	vp_st64(e.new, to);
	vp_st64(e.rest, to);
	return eng_txn_add(txn, &e, NULL);
}

static bool overlap(vp_gpa_t a, uint64_t a_len, vp_gpa_t b, uint64_t b_len)
{
	return a.v < b.v ? b.v - a.v < a_len : a.v - b.v < b_len;
}

/* Where the area's record has its state word: the one place in it that a step may change. */
static bool is_area_state(const struct eng_txn *txn, const struct vp_edit *e)
{
	return e->kind == VP_EDIT_STATE && e->len == 8 &&
	       e->gpa.v == txn->area.gpa.v + VP_LEDGER_STATE_OFF;
}

static int link_step(struct eng_txn *txn, uint32_t i)
{
	struct eng_step *step = &txn->steps[i];
	const struct vp_edit *e = &step->e.edit;

	step->prev = -1;
	step->last = true;
	step->in_area = txn->area.len > 0 && is_area_state(txn, e);
	if (txn->area.len > 0 && !step->in_area &&
	    overlap(e->gpa, e->len, txn->area.gpa, txn->area.len))
		return VP_E_INTERNAL;
	if (step->in_area && memcmp(txn->area.new + VP_LEDGER_STATE_OFF, e->old, 8) != 0)
		return VP_E_INTERNAL;
	for (uint32_t j = 0; j < i; j++) {
		struct eng_step *other = &txn->steps[j];

		if (!overlap(e->gpa, e->len, other->e.edit.gpa, other->e.edit.len))
			continue;
		if (step->in_area || other->e.edit.gpa.v != e->gpa.v ||
		    other->e.edit.gva.v != e->gva.v || other->e.edit.len != e->len ||
		    (other->last && memcmp(other->e.edit.new, e->old, e->len) != 0))
			return VP_E_INTERNAL;
		step->prev = (int32_t)j;
		other->last = false;
	}
	return VP_OK;
}

bool eng_step_is_word(const struct eng_step *step)
{
	return step->e.edit.kind == VP_EDIT_SITE || step->e.edit.kind == VP_EDIT_LITERAL;
}

bool eng_txn_live(const struct eng_txn *txn)
{
	for (uint32_t i = 0; i < txn->n_steps; i++)
		if (txn->steps[i].e.edit.discipline != VP_DISCIPLINE_STOP)
			return true;
	return false;
}

uint32_t eng_txn_version(const struct eng_txn *txn)
{
	for (uint32_t i = 0; i < txn->n_steps; i++)
		if (txn->steps[i].e.edit.kind == VP_EDIT_LITERAL)
			return 2;
	return eng_txn_live(txn) ? 2 : 1;
}

static bool is_literal(const struct eng_txn *txn, uint32_t i)
{
	return i < txn->n_steps && txn->steps[i].e.edit.kind == VP_EDIT_LITERAL;
}

/* What belongs together: a site and its literal, a trap and its record, and in a live transaction every
 * word by itself, since nobody is held while two stores lead through one. */
static bool live_step_possible(const struct eng_txn *txn, uint32_t i, bool live)
{
	const struct eng_step *step = &txn->steps[i];
	const struct vp_edit *e = &step->e.edit;
	bool trap = e->discipline == VP_DISCIPLINE_TRAP;

	if (step->literal && (e->kind != VP_EDIT_SITE || !is_literal(txn, i + 1)))
		return false;
	if (trap != (step->trap.gva.v != 0) || (!trap && step->trap.gpa.v != 0) ||
	    step->trap.gva.v % 8 || step->trap.gpa.v % 8 ||
	    step->trap.gva.v > UINT64_MAX - VP_TRAP_RECORD ||
	    step->trap.gpa.v > UINT64_MAX - VP_TRAP_RECORD)
		return false;
	if (!live || e->kind == VP_EDIT_STATE)
		return true;
	if (e->discipline == VP_DISCIPLINE_STOP || step->prev >= 0 || !step->last)
		return false;
	return (e->discipline == VP_DISCIPLINE_LITERAL) ==
	       (e->kind == VP_EDIT_LITERAL || step->literal);
}

int eng_txn_finish(struct eng_txn *txn)
{
	bool live = eng_txn_live(txn);
	int r = VP_OK;

	for (uint32_t i = 0; i < txn->n_steps && r == VP_OK; i++)
		r = link_step(txn, i);
	for (uint32_t i = 0; i < txn->n_steps && r == VP_OK; i++)
		if (!live_step_possible(txn, i, live))
			r = VP_E_INTERNAL;
	return r;
}

static size_t step_size(uint32_t version)
{
	return version == 1 ? STEP_SIZE : STEP_SIZE_LIVE;
}

static void put_step(uint8_t *p, const struct eng_step *step, uint32_t version)
{
	const struct vp_edit *e = &step->e.edit;

	memset(p, 0, step_size(version));
	if (version > 1) {
		p[STEP_FLAGS] = step->literal ? STEP_LITERAL : 0;
		vp_st64(p + STEP_TRAP_GVA, step->trap.gva.v);
		vp_st64(p + STEP_TRAP_GPA, step->trap.gpa.v);
	}
	vp_st64(p + STEP_GVA, e->gva.v);
	vp_st64(p + STEP_GPA, e->gpa.v);
	p[STEP_KIND] = e->kind;
	p[STEP_DISCIPLINE] = e->discipline;
	p[STEP_LEN] = e->len;
	memcpy(p + STEP_OLD, e->old, VP_EDIT_MAX);
	memcpy(p + STEP_NEW, e->new, VP_EDIT_MAX);
	memcpy(p + STEP_REST, e->rest, VP_EDIT_MAX);
	memcpy(p + STEP_SYMBOL, step->e.symbol, HF_SYMBOL_MAX);
}

static size_t encoded_len(uint32_t version, uint32_t n_steps, uint32_t n_quiet, uint32_t area_len)
{
	return OFF_HEAD_END + (size_t)n_quiet * QUIET_SIZE + n_steps * step_size(version) +
	       2 * (size_t)area_len;
}

int eng_txn_encode(const struct eng_txn *txn, uint8_t **buf_ret, size_t *len_ret)
{
	uint32_t version = eng_txn_version(txn);
	size_t len = encoded_len(version, txn->n_steps, txn->n_quiet, txn->area.len);
	uint8_t *buf = len <= ENG_TXN_MAX ? calloc(1, len) : NULL;
	uint8_t *p;

	if (!buf)
		return len <= ENG_TXN_MAX ? VP_E_NOMEM : VP_E_RANGE;
	p = buf + OFF_HEAD_END;
	vp_st32(buf + OFF_OP, txn->op);
	vp_st32(buf + OFF_FLAGS, txn->was_running ? FLAG_WAS_RUNNING : 0);
	vp_st32(buf + OFF_N_STEPS, txn->n_steps);
	vp_st32(buf + OFF_AREA_LEN, txn->area.len);
	vp_st32(buf + OFF_N_QUIET, txn->n_quiet);
	vp_st64(buf + OFF_PID, (uint64_t)txn->id.pid);
	vp_st64(buf + OFF_START, txn->id.start_time);
	vp_st64(buf + OFF_AREA_GVA, txn->area.gva.v);
	vp_st64(buf + OFF_AREA_GPA, txn->area.gpa.v);
	memcpy(buf + OFF_UUID, txn->id.uuid, 16);
	memcpy(buf + OFF_BOOT, txn->boot_id, 16);
	memcpy(buf + OFF_HOST_BOOT, txn->host_boot, sizeof(txn->host_boot));
	memcpy(buf + OFF_LOCATOR, txn->locator, sizeof(txn->locator));
	memcpy(buf + OFF_NAME, txn->name, sizeof(txn->name));
	memcpy(buf + OFF_VERSION, txn->version, sizeof(txn->version));
	for (uint32_t i = 0; i < txn->n_quiet; i++, p += QUIET_SIZE) {
		vp_st64(p + QUIET_GPA, txn->quiet[i].gpa.v);
		vp_st64(p + QUIET_MASK, txn->quiet[i].mask);
		memcpy(p + QUIET_NAME, txn->quiet[i].name, sizeof(txn->quiet[i].name));
	}
	for (uint32_t i = 0; i < txn->n_steps; i++, p += step_size(version))
		put_step(p, &txn->steps[i], version);
	if (txn->area.len > 0) {
		memcpy(p, txn->area.old, txn->area.len);
		memcpy(p + txn->area.len, txn->area.new, txn->area.len);
	}
	*buf_ret = buf;
	*len_ret = len;
	return VP_OK;
}

/* A string field: printable ASCII, terminated, zeroes behind the end. It will be shown to people. */
static bool get_string(char *to, const uint8_t *from, size_t n)
{
	size_t i = 0;

	while (i < n && from[i] >= 0x20 && from[i] < 0x7f)
		i++;
	for (size_t j = i; j < n; j++)
		if (from[j] != 0)
			return false;
	if (i == n)
		return false;
	memcpy(to, from, n);
	return true;
}

static bool get_step(struct eng_txn *txn, const uint8_t *p, uint32_t version)
{
	struct eng_step *step = &txn->steps[txn->n_steps];
	struct vp_edit e = {
		.gva = vp_gva(vp_ld64(p + STEP_GVA)),
		.gpa = vp_gpa(vp_ld64(p + STEP_GPA)),
		.kind = p[STEP_KIND],
		.discipline = p[STEP_DISCIPLINE],
		.len = p[STEP_LEN],
	};
	char symbol[HF_SYMBOL_MAX];

	for (size_t i = STEP_RESERVED; i < STEP_OLD; i++)
		if (p[i] != 0)
			return false;
	if (p[STEP_FLAGS] & ~(version == 1 ? 0 : STEP_LITERAL))
		return false;
	memcpy(e.old, p + STEP_OLD, VP_EDIT_MAX);
	memcpy(e.new, p + STEP_NEW, VP_EDIT_MAX);
	memcpy(e.rest, p + STEP_REST, VP_EDIT_MAX);
	if (!get_string(symbol, p + STEP_SYMBOL, sizeof(symbol)) ||
	    eng_txn_add(txn, &e, symbol) != VP_OK)
		return false;
	if (version > 1) {
		step->literal = p[STEP_FLAGS] & STEP_LITERAL;
		step->trap.gva = vp_gva(vp_ld64(p + STEP_TRAP_GVA));
		step->trap.gpa = vp_gpa(vp_ld64(p + STEP_TRAP_GPA));
	}
	return true;
}

static bool get_head(struct eng_txn *txn, const uint8_t *buf)
{
	uint32_t flags = vp_ld32(buf + OFF_FLAGS);
	uint64_t pid = vp_ld64(buf + OFF_PID);

	if ((flags & ~FLAG_WAS_RUNNING) || vp_ld32(buf + OFF_RESERVED) != 0 || pid > INT32_MAX)
		return false;
	txn->was_running = flags & FLAG_WAS_RUNNING;
	txn->id.pid = (pid_t)pid;
	txn->id.start_time = vp_ld64(buf + OFF_START);
	memcpy(txn->id.uuid, buf + OFF_UUID, 16);
	memcpy(txn->boot_id, buf + OFF_BOOT, 16);
	return get_string(txn->host_boot, buf + OFF_HOST_BOOT, sizeof(txn->host_boot)) &&
	       get_string(txn->locator, buf + OFF_LOCATOR, sizeof(txn->locator)) &&
	       get_string(txn->name, buf + OFF_NAME, sizeof(txn->name)) &&
	       get_string(txn->version, buf + OFF_VERSION, sizeof(txn->version));
}

static int get_body(struct eng_txn *txn, uint32_t version, const uint8_t *buf, uint32_t n_steps,
		    uint32_t area_len)
{
	const uint8_t *p = buf + OFF_HEAD_END;
	int r;

	for (uint32_t i = 0; i < txn->n_quiet; i++, p += QUIET_SIZE) {
		txn->quiet[i].gpa = vp_gpa(vp_ld64(p + QUIET_GPA));
		txn->quiet[i].mask = vp_ld64(p + QUIET_MASK);
		if (!get_string(txn->quiet[i].name, p + QUIET_NAME, sizeof(txn->quiet[i].name)))
			return VP_E_JOURNAL;
	}
	for (uint32_t i = 0; i < n_steps; i++, p += step_size(version))
		if (!get_step(txn, p, version))
			return VP_E_JOURNAL;
	if (area_len > 0) {
		r = eng_txn_area(txn, vp_gva(vp_ld64(buf + OFF_AREA_GVA)),
				 vp_gpa(vp_ld64(buf + OFF_AREA_GPA)), area_len);
		if (r < 0)
			return r == VP_E_NOMEM ? r : VP_E_JOURNAL;
		memcpy(txn->area.old, p, area_len);
		memcpy(txn->area.new, p + area_len, area_len);
	}
	return eng_txn_finish(txn) == VP_OK && eng_txn_version(txn) == version ? VP_OK
									       : VP_E_JOURNAL;
}

int eng_txn_decode(uint32_t version, const uint8_t *buf, size_t len, struct eng_txn **ret)
{
	struct eng_txn *txn;
	uint32_t op, n_steps, n_quiet, area_len;
	int r;

	if (version < 1 || version > 2 || len < OFF_HEAD_END || len > ENG_TXN_MAX)
		return VP_E_JOURNAL;
	op = vp_ld32(buf + OFF_OP);
	n_steps = vp_ld32(buf + OFF_N_STEPS);
	n_quiet = vp_ld32(buf + OFF_N_QUIET);
	area_len = vp_ld32(buf + OFF_AREA_LEN);
#ifdef VP_PLANT_JOURNAL /* what the fuzzer is to find: a count that nobody bounds */
	if (op < ENG_OP_APPLY || op > ENG_OP_REVERT || n_steps > ENG_STEPS_MAX)
		return VP_E_JOURNAL;
#else
	if (op < ENG_OP_APPLY || op > ENG_OP_REVERT || n_steps > ENG_STEPS_MAX ||
	    n_quiet > ENG_QUIET_MAX || area_len > VP_LEDGER_SIZE_MAX ||
	    len != encoded_len(version, n_steps, n_quiet, area_len))
		return VP_E_JOURNAL;
#endif
	txn = eng_txn_create((enum eng_op)op);
	if (!txn)
		return VP_E_NOMEM;
	txn->n_quiet = n_quiet;
	r = get_head(txn, buf) ? get_body(txn, version, buf, n_steps, area_len) : VP_E_JOURNAL;
	if (r < 0) {
		eng_txn_destroy(txn);
		return r;
	}
	*ret = txn;
	return VP_OK;
}

const char *eng_step_place(const struct eng_step *step, char *buf, size_t len)
{
	switch (step->e.edit.kind) {
	case VP_EDIT_SITE:
		snprintf(buf, len, "%s", step->e.symbol);
		break;
	case VP_EDIT_LITERAL:
		snprintf(buf, len, "the literal of %s", step->e.symbol);
		break;
	case VP_EDIT_TRACER:
		snprintf(buf, len, "the tracer's record of %s", step->e.symbol);
		break;
	default:
		snprintf(buf, len, "the ledger");
	}
	return buf;
}
