// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arch/poke.h"

#include <string.h>

#include "protocol/bytes.h"

#define WORD_LEN 4u
#define NO_STAGE "the architecture has no such stage for a site of this length"

struct make {
	const struct arch_ops *ops;
	const struct arch_poke_ask *ask;
	struct arch_poke p;
	const char *why;
	bool old_one, new_one; /* a single instruction each */
	struct arch_insn from, to;
};

static struct arch_poke_step *add(struct make *m, enum arch_poke_act act, enum arch_sync sync)
{
	struct arch_poke_step *s = &m->p.step[m->p.n++];

	*s = (struct arch_poke_step){.act = act, .sync = sync};
	return s;
}

static void add_store(struct make *m, const uint8_t *text, unsigned off, unsigned len,
		      enum arch_sync sync)
{
	struct arch_poke_step *s = add(m, ARCH_POKE_STORE, sync);

	s->off = (uint8_t)off;
	s->len = (uint8_t)len;
	memcpy(s->bytes, text + off, len);
}

static unsigned literal_len(const struct make *m)
{
	return m->ask->literal_len ? m->ask->literal_len : 8;
}

static void add_literal(struct make *m, enum arch_sync sync)
{
	struct arch_poke_step *s = add(m, ARCH_POKE_STORE, sync);

	s->literal = true;
	s->len = (uint8_t)literal_len(m);
	vp_st64(s->bytes, m->ask->literal_new);
}

static int refuse(struct make *m, const char *why)
{
	m->why = why;
	return VP_E_DISCIPLINE;
}

static bool text_changes(const struct make *m)
{
	return memcmp(m->ask->old, m->ask->new, m->ask->len) != 0;
}

static bool literal_changes(const struct make *m)
{
	return m->ask->literal.v != 0 && m->ask->literal_old != m->ask->literal_new;
}

/* One instruction for one: a context parked anywhere is before it or behind it, never within. */
static int check_single(struct make *m)
{
	if (!m->old_one || !m->new_one)
		return refuse(m, "more than one instruction would change, and a context parked "
				 "between them runs the old first and the new second");
	return VP_OK;
}

/* --- the disciplines -------------------------------------------------------------------------- */

static int make_stop(struct make *m)
{
	if (text_changes(m))
		add_store(m, m->ask->new, 0, m->ask->len, ARCH_SYNC_NONE);
	if (literal_changes(m))
		add_literal(m, ARCH_SYNC_NONE);
	if (m->p.n > 0)
		m->p.step[m->p.n - 1].sync = ARCH_SYNC_ALL;
	return VP_OK;
}

static int check_word(struct make *m)
{
	const struct arch_poke_ask *a = m->ask;
	const struct arch_live *live = m->ops->live;
	int r = check_single(m);

	if (r < 0)
		return r;
	if (a->events)
		return refuse(m,
			      "one store has no moment at which the old instruction has ended and "
			      "the new has not begun, which a text poke event needs");
	if (live->word && (a->len != live->word || a->at.v % live->word))
		return refuse(m, "the site is not one aligned word");
	if (live->store(a->at, a->old, a->new, a->len, &m->why))
		return VP_OK;
	if (!live->word || !a->by_hand || a->discipline == 0)
		return VP_E_DISCIPLINE;
	m->p.by_hand = true;
	return VP_OK;
}

static int make_word(struct make *m)
{
	int r = check_word(m);

	if (r == VP_OK && literal_changes(m))
		r = refuse(m, "a literal changes with the word: discipline literal orders the two");
	if (r == VP_OK && text_changes(m))
		add_store(m, m->ask->new, 0, m->ask->len, ARCH_SYNC_ALL);
	return r;
}

/* Whether one store may lead from the one state of the site to the other. */
static int check_stage(struct make *m, const uint8_t *from, const uint8_t *to)
{
	const struct arch_live *live = m->ops->live;

	return live->store(m->ask->at, from, to, m->ask->len, &m->why) ? VP_OK : VP_E_DISCIPLINE;
}

/* Over a trap, or over a branch that leads behind the site. */
static int make_staged(struct make *m, enum vp_discipline d)
{
	const struct arch_poke_ask *a = m->ask;
	uint8_t head[ARCH_WORD_MAX], first[ARCH_WORD_MAX], last[ARCH_WORD_MAX];
	unsigned n = 0;
	int r;

	if (literal_changes(m))
		return refuse(m, "a literal changes with the site");
	if (m->ops->live->stage(head, a->len, d, &n) < 0)
		return refuse(m, NO_STAGE);
	/* Behind a resting branch nobody ever runs: its rest need not be an instruction. */
	if (d == VP_DISCIPLINE_SKIP) {
		m->old_one = m->old_one || memcmp(a->old, head, n) == 0;
		m->new_one = m->new_one || memcmp(a->new, head, n) == 0;
	} else if (m->from.kind == ARCH_INSN_TRAP) {
		return refuse(m, "a trap stands at the site: somebody is changing it");
	}
	r = check_single(m);
	if (r < 0 || !text_changes(m))
		return r;
	memcpy(first, a->old, a->len);
	memcpy(first, head, n);
	memcpy(last, a->new, a->len);
	memcpy(last, head, n);
	r = check_stage(m, a->old, first);
	if (r == VP_OK)
		r = check_stage(m, first, last);
	if (r == VP_OK)
		r = check_stage(m, last, a->new);
	if (r < 0)
		return r;
	if (memcmp(a->old, head, n) != 0)
		add_store(m, first, 0, n, ARCH_SYNC_ALL);
	if (memcmp(first, last, a->len) != 0)
		add_store(m, last, n, a->len - n, ARCH_SYNC_ALL);
	add(m, ARCH_POKE_EVENT, ARCH_SYNC_NONE);
	if (memcmp(a->new, head, n) != 0)
		add_store(m, a->new, 0, n, ARCH_SYNC_ALL);
	return VP_OK;
}

static int make_trap(struct make *m)
{
	const struct arch_poke_ask *a = m->ask;
	int r;

	if (!a->handler)
		return refuse(m, "the guest has no trap handler that knows vpatch's records");
	if (arch_emulate(m->ops, a->at, a->new, a->len, &m->p.emul) < 0)
		return refuse(m, "a trap handler cannot stand in for the new instruction: it is no "
				 "nop, direct branch or direct call");
	add(m, ARCH_POKE_TELL, ARCH_SYNC_DATA);
	r = make_staged(m, VP_DISCIPLINE_TRAP);
	if (r < 0)
		return r;
	if (m->p.n == 1)
		m->p.n = 0; /* nothing changes */
	else
		add(m, ARCH_POKE_FORGET, ARCH_SYNC_NONE);
	return VP_OK;
}

/* A branch over the whole site. */
static bool rests(const struct make *m, const uint8_t *text)
{
	struct arch_insn insn;

	return m->ops->decode(text, m->ask->len, m->ask->at, &insn) == VP_OK &&
	       insn.kind == ARCH_INSN_BRANCH && insn.target.v == m->ask->at.v + m->ask->len;
}

static int make_skip(struct make *m)
{
	bool old_rests = m->from.kind == ARCH_INSN_NOP || rests(m, m->ask->old);
	bool new_rests = m->to.kind == ARCH_INSN_NOP || rests(m, m->ask->new);
	uint8_t head[ARCH_WORD_MAX];
	unsigned n;

	if (m->ops->live->stage(head, m->ask->len, VP_DISCIPLINE_SKIP, &n) < 0)
		return refuse(m, NO_STAGE);
	/* Who arrives meanwhile does nothing. */
	if (!old_rests && !new_rests)
		return refuse(m,
			      "a branch over the site stands in for a nop, and neither the old nor "
			      "the new instruction is one");
	return make_staged(m, VP_DISCIPLINE_SKIP);
}

static int make_literal(struct make *m)
{
	const struct arch_poke_ask *a = m->ask;
	bool on = m->to.kind != ARCH_INSN_NOP; /* whatever else is there may load it */
	int r = VP_OK;

	if (a->literal.v == 0)
		return refuse(m, "the site has no literal");
	if (a->literal.v % literal_len(m))
		return refuse(m, "the literal is not naturally aligned");
	if (text_changes(m))
		r = check_word(m);
	if (r < 0)
		return r;
	/* Who runs the instruction must find the literal it goes with. */
	if (text_changes(m) && !on)
		add_store(m, a->new, 0, a->len, ARCH_SYNC_ALL);
	if (literal_changes(m))
		add_literal(m, ARCH_SYNC_DATA);
	if (text_changes(m) && on)
		add_store(m, a->new, 0, a->len, ARCH_SYNC_ALL);
	return VP_OK;
}

/* --- one of them ------------------------------------------------------------------------------ */

static int make(struct make *m, enum vp_discipline d)
{
	m->p = (struct arch_poke){.discipline = d};
	m->why = "";
	if (d != VP_DISCIPLINE_STOP && !m->ask->live)
		return refuse(m, "the driver cannot store into a guest that runs");
	switch (d) {
	case VP_DISCIPLINE_STOP:
		return make_stop(m);
	case VP_DISCIPLINE_WORD:
		return make_word(m);
	case VP_DISCIPLINE_TRAP:
		return make_trap(m);
	case VP_DISCIPLINE_SKIP:
		return make_skip(m);
	case VP_DISCIPLINE_LITERAL:
		return make_literal(m);
	}
	return refuse(m, "there is no such discipline");
}

/* With a literal that is all there is to change, or the literal and one word; else a word; else a stage. */
static int make_best(struct make *m)
{
	static const enum vp_discipline order[] = {VP_DISCIPLINE_LITERAL, VP_DISCIPLINE_WORD,
						   VP_DISCIPLINE_SKIP, VP_DISCIPLINE_TRAP};
	const char *why = NULL;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (order[i] == VP_DISCIPLINE_LITERAL && !literal_changes(m))
			continue;
		if (make(m, order[i]) == VP_OK)
			return VP_OK;
		/* The last one is about the handler, which says little of the instructions. */
		why = order[i] == VP_DISCIPLINE_WORD || !why ? m->why : why;
	}
	(void)make(m, VP_DISCIPLINE_STOP);
	m->why = why ? why : "";
	return VP_OK;
}

static bool is_one(const struct make *m, const uint8_t *text, struct arch_insn *insn)
{
	return m->ops->decode(text, m->ask->len, m->ask->at, insn) == VP_OK &&
	       insn->len == m->ask->len;
}

int arch_poke(const struct arch_ops *ops, const struct arch_poke_ask *ask, struct arch_poke *ret,
	      const char **why)
{
	struct make m = {.ops = ops, .ask = ask, .why = ""};
	int r;

	*why = "the site cannot be there";
	if (ask->len > ARCH_WORD_MAX || ask->at.v > UINT64_MAX - ask->len ||
	    (ask->len == 0 ? ask->literal.v == 0 : ask->at.v % ops->insn_align != 0) ||
	    (ask->literal_len != 0 && ask->literal_len != 4 && ask->literal_len != 8))
		return VP_E_RANGE;
	m.old_one = is_one(&m, ask->old, &m.from);
	m.new_one = is_one(&m, ask->new, &m.to);
	r = ask->discipline ? make(&m, ask->discipline) : make_best(&m);
	*why = m.why;
	if (r == VP_OK)
		*ret = m.p;
	return r;
}

bool arch_live_word(vp_gva_t at, const uint8_t *before, const uint8_t *after, unsigned len,
		    bool (*listed)(uint32_t insn), const char *why_not, const char **why)
{
	if (len != WORD_LEN || at.v % WORD_LEN) {
		*why = "the site is not one aligned word";
		return false;
	}
	if (vp_ld32(before) == vp_ld32(after) ||
	    (listed(vp_ld32(before)) && listed(vp_ld32(after))))
		return true;
	*why = why_not;
	return false;
}

int arch_live_no_stage(uint8_t *buf, unsigned site_len, enum vp_discipline d, unsigned *len_ret)
{
	(void)buf;
	(void)site_len;
	(void)d;
	(void)len_ret;
	return VP_E_UNSUPPORTED;
}

void arch_poke_text(const struct arch_poke *p, unsigned n, uint8_t *buf)
{
	for (unsigned i = 0; i < n && i < p->n; i++)
		if (p->step[i].act == ARCH_POKE_STORE && !p->step[i].literal)
			memcpy(buf + p->step[i].off, p->step[i].bytes, p->step[i].len);
}

int arch_emulate(const struct arch_ops *ops, vp_gva_t at, const uint8_t *insn, unsigned len,
		 struct arch_emul *ret)
{
	struct arch_insn to;

	if (ops->decode(insn, len, at, &to) < 0 || to.len != len)
		return VP_E_DISCIPLINE;
	if (to.kind != ARCH_INSN_NOP && to.kind != ARCH_INSN_BRANCH && to.kind != ARCH_INSN_CALL)
		return VP_E_DISCIPLINE;
	*ret = (struct arch_emul){to.kind, vp_gva(at.v + len), to.target};
	return VP_OK;
}

const char *arch_discipline_name(enum vp_discipline d)
{
	switch (d) {
	case VP_DISCIPLINE_STOP:
		return "stop";
	case VP_DISCIPLINE_WORD:
		return "word";
	case VP_DISCIPLINE_TRAP:
		return "trap";
	case VP_DISCIPLINE_SKIP:
		return "skip";
	case VP_DISCIPLINE_LITERAL:
		return "literal";
	}
	return NULL;
}
