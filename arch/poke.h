/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Poke programs: how one edit reaches CPUs that run, as plain data. The engine, the in-guest harness and
 * the models run the same list, step by step:
 *
 *	word     STORE all                                                         ALL
 *	trap     TELL   STORE trap   ALL   STORE tail   ALL   EVENT   STORE head   ALL   FORGET
 *	skip            STORE branch ALL   STORE tail   ALL   EVENT   STORE head   ALL
 *	literal  STORE literal  DATA   STORE site  ALL         the other way round when it is taken back
 *	stop     STORE site, STORE literal                                         ALL   every vCPU held
 *
 * A program is right because each single store of it is: struct arch_live says for two states of the
 * text whether one store may lead from one to the other while CPUs execute them, with its source.
 */
#ifndef VP_ARCH_POKE_H
#define VP_ARCH_POKE_H

#include "arch/arch.h"
#include "protocol/edit.h"

#define ARCH_POKE_STEPS 8

enum arch_sync {
	ARCH_SYNC_NONE,
	ARCH_SYNC_DATA, /* every CPU's loads and later fetches get it: caches are maintained */
	ARCH_SYNC_ALL, /* and every CPU has synchronised its context since: none runs older bytes */
};

enum arch_poke_act {
	ARCH_POKE_STORE,
	ARCH_POKE_TELL,  /* the trap's record is published, with release */
	ARCH_POKE_EVENT, /* the text poke event: whoever comes now runs old or trap, never new */
	ARCH_POKE_FORGET, /* the record is withdrawn: a handler that finds none reads the site again */
};

struct arch_poke_step {
	enum arch_poke_act act;
	enum arch_sync sync; /* behind it, before the next step */
	/* of a store */
	bool literal;     /* into the literal, all of it; else into the site */
	uint8_t off, len; /* within the site; naturally aligned unless under a trap or stopped */
	uint8_t bytes[ARCH_WORD_MAX];
};

/* What a CPU that meets the trap does instead of the instruction: the new one. */
struct arch_emul {
	enum arch_insn_kind kind; /* NOP, BRANCH or CALL */
	vp_gva_t next;            /* behind the site: where a nop goes on, what a call returns to */
	vp_gva_t target;          /* of BRANCH and CALL */
};

struct arch_poke {
	enum vp_discipline discipline;
	bool by_hand; /* a store in it is outside the architecture's list */
	unsigned n;
	struct arch_poke_step step[ARCH_POKE_STEPS];
	struct arch_emul emul; /* of discipline trap */
};

struct arch_poke_ask {
	vp_gva_t at;
	unsigned len;             /* of the site, at most ARCH_WORD_MAX; 0: a literal without one */
	const uint8_t *old, *new; /* one instruction each, len bytes */
	vp_gva_t literal;         /* data word that a dispatcher loads; 0: none */
	unsigned literal_len;     /* 4 in 32-bit guests, 8; 0: 8 */
	uint64_t literal_old, literal_new;
	enum vp_discipline discipline; /* 0: the least disturbing that is right */
	bool live;                     /* the driver can store while the guest runs */
	bool handler;                  /* the guest has a trap handler that knows the records */
	bool events;  /* text poke events are wanted: `word` has no moment at which old has ended */
	bool by_hand; /* `word` outside the list, where the discipline is named */
};

/* What an architecture allows under running CPUs. */
struct arch_live {
	const char *set;    /* its set of instructions in words */
	const char *source; /* manual and section */

	/*
	 * Whether text at `at`, before, may be made after by one store while CPUs execute it. Where not,
	 * *why says so in words that follow "refused: ".
	 */
	bool (*store)(vp_gva_t at, const uint8_t *before, const uint8_t *after, unsigned len,
		      const char **why);
	/* Bytes that one store and one fetch take as a whole when naturally aligned. */
	unsigned word;
	/* What stands over the first bytes of the site meanwhile: the trap, and a branch over the site.
	 * VP_E_UNSUPPORTED where the architecture has none. */
	int (*stage)(uint8_t *buf, unsigned site_len, enum vp_discipline d, unsigned *len_ret);
};

/*
 * For architectures whose instructions are aligned words: store() by a list of those that may become each
 * other, which why_not names; and stage() of those that have none.
 */
bool arch_live_word(vp_gva_t at, const uint8_t *before, const uint8_t *after, unsigned len,
		    bool (*listed)(uint32_t insn), const char *why_not, const char **why);
int arch_live_no_stage(uint8_t *buf, unsigned site_len, enum vp_discipline d, unsigned *len_ret);

/*
 * The program of an edit. VP_E_DISCIPLINE where the discipline that was asked for is not right, and *why
 * is the reason. Without one, stop always is: *why then says why nothing less is, "" where something is.
 * VP_E_RANGE for a site that cannot be.
 */
int arch_poke(const struct arch_ops *ops, const struct arch_poke_ask *ask, struct arch_poke *ret,
	      const char **why) VP_MUST_USE;

/* What stands at the site when the first n steps have been made; buf holds what was there before. */
void arch_poke_text(const struct arch_poke *p, unsigned n, uint8_t *buf);

/* VP_E_DISCIPLINE for an instruction that a handler cannot stand in for. */
int arch_emulate(const struct arch_ops *ops, vp_gva_t at, const uint8_t *insn, unsigned len,
		 struct arch_emul *ret) VP_MUST_USE;

/* "stop", "word", "trap", "skip", "literal"; NULL for none of them. */
const char *arch_discipline_name(enum vp_discipline d);

#endif
