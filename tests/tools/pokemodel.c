// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Poke programs as Promela, for tests/models:
 *
 *	pokemodel             names the scenarios, a line each: "good|bad site|seq NAME"
 *	pokemodel NAME        the part that goes ahead of site.pml or seq.pml
 *
 * Good sites are what arch_poke gives, step by step. Bad ones are the same with one thing left out or put
 * elsewhere, or a program that arch_poke refuses: the checker has to find what is wrong with them.
 * Sequences of several instructions are refused by arch_poke as a whole; they are what the field proposed.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "arch/poke.h"
#include "protocol/bytes.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

#define AT         0x81000040ull
#define FAR_CALL   0x01234568ull /* no byte of the site stays as it was */
#define NEAR_CALL  0x00654320ull
#define FAR_BRANCH 0x00765434ull

enum what { NOP, CALL, CALL2, BRANCH, JALR, REST };

enum mutation {
	NONE,
	NO_SYNC,    /* behind store number `which` */
	NO_TELL,    /* the record is not published */
	LATE_TELL,  /* behind the trap */
	NO_REREAD,  /* the handler takes a trap without a record for somebody else's */
	TAIL_FIRST, /* ahead of the trap */
	DIRECT,     /* one store, though arch_poke refuses it */
};

static const struct scenario {
	const char *name;
	enum arch_id arch;
	enum what old, new;
	enum vp_discipline discipline;
	enum mutation mutation;
	unsigned which;
} scenarios[] = {
	{"x86-64_trap_nop_call", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_TRAP, NONE, 0},
	{"x86-64_trap_call_nop", ARCH_X86_64, CALL, NOP, VP_DISCIPLINE_TRAP, NONE, 0},
	{"x86-64_trap_call_branch", ARCH_X86_64, CALL, BRANCH, VP_DISCIPLINE_TRAP, NONE, 0},
	{"x86-64_stop_nop_call", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_STOP, NONE, 0},
	{"x86-64_trap_without_its_1st_sync", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_TRAP, NO_SYNC,
	 1},
	{"x86-64_trap_without_its_2nd_sync", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_TRAP, NO_SYNC,
	 2},
	{"x86-64_trap_without_its_3rd_sync", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_TRAP, NO_SYNC,
	 3},
	{"x86-64_trap_without_a_record", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_TRAP, NO_TELL, 0},
	{"x86-64_trap_before_its_record", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_TRAP, LATE_TELL, 0},
	{"x86-64_handler_that_does_not_reread", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_TRAP,
	 NO_REREAD, 0},
	{"x86-64_tail_before_the_trap", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_TRAP, TAIL_FIRST, 0},
	{"x86-64_one_store", ARCH_X86_64, NOP, CALL, VP_DISCIPLINE_WORD, DIRECT, 0},
	{"arm64_word_nop_call", ARCH_ARM64, NOP, CALL, VP_DISCIPLINE_WORD, NONE, 0},
	{"arm64_word_call_nop", ARCH_ARM64, CALL, NOP, VP_DISCIPLINE_WORD, NONE, 0},
	{"arm64_trap_nop_call", ARCH_ARM64, NOP, CALL, VP_DISCIPLINE_TRAP, NONE, 0},
	{"arm64_trap_nop_branch", ARCH_ARM64, NOP, BRANCH, VP_DISCIPLINE_TRAP, NONE, 0},
	{"arm64_trap_branch_nop", ARCH_ARM64, BRANCH, NOP, VP_DISCIPLINE_TRAP, NONE, 0},
	{"arm64_stop_nop_call", ARCH_ARM64, NOP, CALL, VP_DISCIPLINE_STOP, NONE, 0},
	{"ppc64le_word_nop_call", ARCH_PPC64LE, NOP, CALL, VP_DISCIPLINE_WORD, NONE, 0},
	{"ppc64le_word_call_nop", ARCH_PPC64LE, CALL, NOP, VP_DISCIPLINE_WORD, NONE, 0},
	{"thumb2_skip_rest_call", ARCH_THUMB2, REST, CALL, VP_DISCIPLINE_SKIP, NONE, 0},
	{"thumb2_skip_call_rest", ARCH_THUMB2, CALL, REST, VP_DISCIPLINE_SKIP, NONE, 0},
	{"thumb2_trap_call_call", ARCH_THUMB2, CALL, CALL2, VP_DISCIPLINE_TRAP, NONE, 0},
	{"thumb2_skip_without_its_1st_sync", ARCH_THUMB2, CALL, REST, VP_DISCIPLINE_SKIP, NO_SYNC,
	 1},
	{"thumb2_skip_tail_without_its_sync", ARCH_THUMB2, REST, CALL, VP_DISCIPLINE_SKIP, NO_SYNC,
	 1},
	{"thumb2_trap_without_its_1st_sync", ARCH_THUMB2, CALL, CALL2, VP_DISCIPLINE_TRAP, NO_SYNC,
	 1},
	{"thumb2_trap_without_its_2nd_sync", ARCH_THUMB2, CALL, CALL2, VP_DISCIPLINE_TRAP, NO_SYNC,
	 2},
	{"thumb2_one_store_across_a_line", ARCH_THUMB2, CALL, CALL2, VP_DISCIPLINE_WORD, DIRECT, 0},
	{"riscv64_word_nop_jalr", ARCH_RISCV64, NOP, JALR, VP_DISCIPLINE_WORD, NONE, 0},
	{"riscv64_word_jalr_nop", ARCH_RISCV64, JALR, NOP, VP_DISCIPLINE_WORD, NONE, 0},
	{"riscv64_word_without_its_sync", ARCH_RISCV64, NOP, JALR, VP_DISCIPLINE_WORD, NO_SYNC, 1},
	{"arm64_word_without_its_sync", ARCH_ARM64, NOP, CALL, VP_DISCIPLINE_WORD, NO_SYNC, 1},
	{"arm64_trap_without_its_1st_sync", ARCH_ARM64, NOP, CALL, VP_DISCIPLINE_TRAP, NO_SYNC, 1},
	{"arm64_trap_without_its_2nd_sync", ARCH_ARM64, NOP, CALL, VP_DISCIPLINE_TRAP, NO_SYNC, 2},
	{"arm64_trap_without_a_record", ARCH_ARM64, NOP, CALL, VP_DISCIPLINE_TRAP, NO_TELL, 0},
	{"arm64_handler_that_does_not_reread", ARCH_ARM64, NOP, CALL, VP_DISCIPLINE_TRAP, NO_REREAD,
	 0},
};

#define SEQ_WORDS 4
#define SEQ_STEPS 6

/* A letter an instruction: 'o' old, 'n' new, 'b' a branch over all, '.' stays. The step "?" waits until
 * nobody is inside. */
static const struct seq {
	const char *name;
	bool good;
	const char *first;
	uint32_t old[SEQ_WORDS], new[SEQ_WORDS];
	const char *step[SEQ_STEPS];
} seqs[] = {
	/* nops or: stp x29, x30, [sp, #-16]!; mov x29, sp; bl; ldp x29, x30, [sp], #16 */
	{"arm64_four_words_under_stop",
	 false,
	 "oooo",
	 {0xd503201f, 0xd503201f, 0xd503201f, 0xd503201f},
	 {0xa9bf7bfd, 0x910003fd, 0x94000400, 0xa8c17bfd},
	 {"nnnn"}},
	{"arm64_four_words_staged",
	 false,
	 "oooo",
	 {0xd503201f, 0xd503201f, 0xd503201f, 0xd503201f},
	 {0xa9bf7bfd, 0x910003fd, 0x94000400, 0xa8c17bfd},
	 {"b...", ".nnn", "n..."}},
	{"arm64_four_words_staged_with_nobody_inside",
	 true,
	 "oooo",
	 {0xd503201f, 0xd503201f, 0xd503201f, 0xd503201f},
	 {0xa9bf7bfd, 0x910003fd, 0x94000400, 0xa8c17bfd},
	 {"b...", "?", ".nnn", "n..."}},
	/* Akashi's (A')<->(A): the others are there already */
	{"arm64_four_words_by_the_first_alone",
	 true,
	 "bnnn",
	 {0x14000004, 0x910003fd, 0x94000400, 0xa8c17bfd},
	 {0xa9bf7bfd, 0x910003fd, 0x94000400, 0xa8c17bfd},
	 {"n...", "b...", "n..."}},
	/* mov x9, x30; nop or bl; mov x30, x9 */
	{"arm64_three_words",
	 true,
	 "ooo",
	 {0xaa1e03e9, 0xd503201f, 0xaa0903fe},
	 {0xaa1e03e9, 0x94000400, 0xaa0903fe},
	 {".n."}},
	/* nops or: auipc t0; jalr t0 */
	{"riscv64_pair_under_stop",
	 false,
	 "oo",
	 {0x00000013, 0x00000013},
	 {0x00001297, 0x000282e7},
	 {"nn"}},
	{"riscv64_pair_jalr_first",
	 false,
	 "oo",
	 {0x00000013, 0x00000013},
	 {0x00001297, 0x000282e7},
	 {".n", "n."}},
	{"riscv64_call_ops",
	 true,
	 "oo",
	 {0x00001297, 0x00000013},
	 {0x00001297, 0x000282e7},
	 {".n"}},
	/* the function's pair stays, the trampoline's gets another target */
	{"riscv64_two_pair_trampoline",
	 false,
	 "oooo",
	 {0x00001297, 0x000282e7, 0x00002317, 0x00030067},
	 {0x00001297, 0x000282e7, 0x00005317, 0x12330067},
	 {"..nn"}},
};

/* What one fetch or store takes as a whole, as offsets; x86: the site crosses a line within its tail. */
static const unsigned pieces_x86[] = {0, 1, 3, 5}, pieces_word[] = {0, 4},
		      pieces_halves[] = {0, 2, 4};

struct model {
	const struct scenario *s;
	const struct arch_ops *ops;
	const unsigned *piece;
	unsigned n_pieces, len;
	uint8_t old[ARCH_WORD_MAX], new[ARCH_WORD_MAX], stage[ARCH_WORD_MAX];
	unsigned stage_len;
	const char *stage_name;
	struct arch_poke p;
};

static void put(const struct arch_ops *ops, enum what what, unsigned len, uint8_t *buf)
{
	const uint64_t far = ops->id == ARCH_X86_64 ? FAR_CALL : NEAR_CALL;
	unsigned n = len;
	int r = VP_OK;

	if (what == NOP)
		r = ops->nop(buf, len);
	else if (what == JALR)
		vp_st32(buf, 0x000282e7); /* jalr t0, 0(t0); RV unpriv. 2.5.1 */
	else if (what == REST)
		vp_st32(buf, 0xbf00e000); /* b.n over the second half; DDI 0406, A8.8.18 */
	else if (what == CALL || what == CALL2)
		r = ops->call(buf, vp_gva(AT), vp_gva(AT + (what == CALL ? far : far / 3)), &n);
	else
		r = ops->branch(buf, vp_gva(AT), vp_gva(AT + FAR_BRANCH), &n);
	if (r < 0 || n != len)
		fprintf(stderr, "pokemodel: no such instruction\n");
}

static void init(struct model *m, const struct scenario *s)
{
	bool x86 = s->arch == ARCH_X86_64, thumb = s->arch == ARCH_THUMB2;

	*m = (struct model){.s = s,
			    .ops = arch_get(s->arch),
			    .piece = x86     ? pieces_x86
				     : thumb ? pieces_halves
					     : pieces_word,
			    .n_pieces = x86     ? 3
					: thumb ? 2
						: 1,
			    .len = x86 ? 5 : 4};
	put(m->ops, s->old, m->len, m->old);
	put(m->ops, s->new, m->len, m->new);
	m->stage_name = s->discipline == VP_DISCIPLINE_SKIP ? "SKIP" : "TRAP";
	if (m->ops->live->stage(m->stage, m->len,
				s->discipline == VP_DISCIPLINE_SKIP ? VP_DISCIPLINE_SKIP
								    : VP_DISCIPLINE_TRAP,
				&m->stage_len) < 0)
		m->stage_len = 0;
}

static int make(struct model *m)
{
	const struct arch_poke_ask ask = {.at = vp_gva(AT),
					  .len = m->len,
					  .old = m->old,
					  .new = m->new,
					  .discipline = m->s->discipline,
					  .live = true,
					  .handler = true};
	const char *why;
	int r = arch_poke(m->ops, &ask, &m->p, &why);

	if (m->s->mutation == DIRECT && r < 0) {
		m->p = (struct arch_poke){.discipline = m->s->discipline, .n = 1};
		m->p.step[0] =
			(struct arch_poke_step){.sync = ARCH_SYNC_ALL, .len = (uint8_t)m->len};
		memcpy(m->p.step[0].bytes, m->new, m->len);
		return VP_OK;
	}
	if (r < 0)
		fprintf(stderr, "pokemodel: %s: %s\n", m->s->name, why);
	return r;
}

static const char *value_of(const struct model *m, const struct arch_poke_step *s, unsigned piece)
{
	unsigned from = m->piece[piece], len = m->piece[piece + 1] - from;
	const uint8_t *bytes = s->bytes + (from - s->off);

	if (from == 0 && len == m->stage_len && memcmp(bytes, m->stage, len) == 0)
		return m->stage_name;
	if (memcmp(bytes, m->new + from, len) == 0)
		return "NEW";
	if (memcmp(bytes, m->old + from, len) == 0)
		return "OLD";
	return "NONE"; /* which no CPU may run */
}

static void emit_store(const struct model *m, const struct arch_poke_step *s, bool sync)
{
	for (unsigned i = 0; i < m->n_pieces; i++)
		if (m->piece[i] >= s->off && m->piece[i] < (unsigned)(s->off + s->len))
			printf("\tstore(%u, %s);\n", i, value_of(m, s, i));
	if (sync && s->sync == ARCH_SYNC_ALL)
		printf("\tsync_all();\n");
	else if (sync && s->sync == ARCH_SYNC_DATA)
		printf("\tsync_data();\n");
}

static void emit_step(const struct model *m, const struct arch_poke_step *s, unsigned *stores)
{
	switch (s->act) {
	case ARCH_POKE_TELL:
		if (m->s->mutation != NO_TELL && m->s->mutation != LATE_TELL)
			printf("\ttell();\n");
		break;
	case ARCH_POKE_EVENT:
		printf("\ttext_event();\n");
		break;
	case ARCH_POKE_FORGET:
		printf("\tforget();\n");
		break;
	case ARCH_POKE_STORE:
		++*stores;
		emit_store(m, s, m->s->mutation != NO_SYNC || *stores != m->s->which);
		if (*stores == 1 && m->s->mutation == LATE_TELL)
			printf("\ttell();\n");
		break;
	}
}

/* A branch or trap takes several steps: the tail's store moved ahead of the first one. */
static void tail_first(struct model *m)
{
	for (unsigned i = 0; i + 1 < m->p.n; i++)
		if (m->p.step[i].act == ARCH_POKE_STORE && m->p.step[i].off == 0 &&
		    m->p.step[i + 1].off != 0) {
			struct arch_poke_step tail = m->p.step[i + 1];

			m->p.step[i + 1] = m->p.step[i];
			m->p.step[i] = tail;
			return;
		}
}

static void emit_bytes(const char *value, const uint8_t *bytes, unsigned from, unsigned to,
		       unsigned i)
{
	printf("\t:: (u) == %u && (v) == %s -> printf(\"", i, value);
	for (unsigned j = from; j < to; j++)
		printf("%02x", bytes[j]);
	printf(" \");\n");
}

static const char *letter(char c)
{
	return c == 'o' ? "OLD" : c == 'n' ? "NEW" : "BRANCH";
}

static void emit_seq_step(const char *step)
{
	if (step[0] == '?') {
		printf("\tnone_inside();\n");
		return;
	}
	printf("\tatomic {\n");
	for (unsigned i = 0; step[i]; i++)
		if (step[i] != '.')
			printf("\t\tput(%u, %s);\n", i, letter(step[i]));
	printf("\t\tskip\n\t};\n");
}

static void emit_seq_bytes(const struct seq *s)
{
	printf("inline bytes(i, v)\n{\n\tif\n");
	for (unsigned i = 0; s->first[i]; i++) {
		printf("\t:: (i) == %u && (v) == OLD -> printf(\"%08x \")\n", i, s->old[i]);
		printf("\t:: (i) == %u && (v) == NEW -> printf(\"%08x \")\n", i, s->new[i]);
	}
	printf("\t:: (v) == BRANCH -> printf(\"branch \")\n\t:: else -> skip\n\tfi\n}\n\n");
}

static void emit_seq(const struct seq *s)
{
	printf("/* %s: made by pokemodel */\n#define WORDS %zu\n", s->name, strlen(s->first));
	printf("#define NONE 0\n#define OLD 1\n#define NEW 2\n#define BRANCH 3\n");
	printf("#define DIFFER(i) (");
	for (unsigned i = 0; s->first[i]; i++)
		if (s->old[i] != s->new[i])
			printf("(i) == %u || ", i);
	printf("false)\ninline first()\n{\n");
	for (unsigned i = 0; s->first[i]; i++)
		printf("\tput(%u, %s);\n", i, letter(s->first[i]));
	printf("\tskip\n}\n\n");
	emit_seq_bytes(s);
	printf("inline program()\n{\n");
	for (unsigned i = 0; i < SEQ_STEPS && s->step[i]; i++)
		emit_seq_step(s->step[i]);
	printf("\tskip\n}\n");
}

static void list(void)
{
	for (size_t i = 0; i < N(scenarios); i++)
		printf("%s site %s\n", scenarios[i].mutation == NONE ? "good" : "bad",
		       scenarios[i].name);
	for (size_t i = 0; i < N(seqs); i++)
		printf("%s seq %s\n", seqs[i].good ? "good" : "bad", seqs[i].name);
}

static void emit(struct model *m)
{
	bool stop = m->p.discipline == VP_DISCIPLINE_STOP;
	unsigned stores = 0;

	if (m->s->mutation == TAIL_FIRST)
		tail_first(m);
	printf("/* %s: made by pokemodel */\n#define UNITS %u\n", m->s->name, m->n_pieces);
	printf("#define NONE 0\n#define OLD 1\n#define NEW 2\n#define TRAP 3\n#define SKIP 4\n");
	if (m->s->mutation == NO_REREAD)
		printf("#define NO_REREAD\n");
	if (m->s->old == REST)
		printf("#define FIRST SKIP\n");
	if (m->s->new == REST)
		printf("#define LAST SKIP\n");
	printf("inline bytes(u, v)\n{\n\tif\n");
	for (unsigned i = 0; i < m->n_pieces; i++) {
		emit_bytes("OLD", m->old, m->piece[i], m->piece[i + 1], i);
		emit_bytes("NEW", m->new, m->piece[i], m->piece[i + 1], i);
	}
	if (m->stage_len)
		emit_bytes(m->stage_name, m->stage, 0, m->stage_len, 0);
	printf("\t:: else -> printf(\"-- \");\n\tfi\n}\n\ninline program()\n{\n");
	if (stop)
		printf("\thold_all();\n");
	for (unsigned i = 0; i < m->p.n; i++) {
		struct arch_poke_step s = m->p.step[i];

		if (stop)
			s.sync = ARCH_SYNC_NONE; /* who is let go synchronises */
		emit_step(m, &s, &stores);
	}
	if (stop)
		printf("\tlet_go();\n");
	printf("\tskip\n}\n");
}

int main(int argc, char **argv)
{
	struct model m;

	if (argc == 1) {
		list();
		return 0;
	}
	for (size_t i = 0; i < N(seqs); i++)
		if (strcmp(argv[1], seqs[i].name) == 0) {
			emit_seq(&seqs[i]);
			return 0;
		}
	for (size_t i = 0; i < N(scenarios); i++) {
		if (strcmp(argv[1], scenarios[i].name) != 0)
			continue;
		init(&m, &scenarios[i]);
		if (make(&m) < 0)
			return 1;
		emit(&m);
		return 0;
	}
	fprintf(stderr, "usage: pokemodel [NAME]\n");
	return 2;
}
