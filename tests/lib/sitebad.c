// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/sitebad.h"

#include <string.h>

#define LINE 64u

#define ALL  ARCH_SYNC_ALL
#define DATA ARCH_SYNC_DATA
#define NONE ARCH_SYNC_NONE
#define NEW  SITEBAD_NEW
#define OLD  SITEBAD_OLD

static const struct sitebad list[] = {
	{.name = "not-stored",
	 .words = "nothing is stored: what is stale is seen to be",
	 .arch = ARCH_COUNT},
	{.name = "trap-no-record",
	 .words = "a trap is stored without its record",
	 .arch = ARCH_COUNT,
	 .of = VP_DISCIPLINE_TRAP,
	 .no_record = true},
	{.name = "trap-no-reread",
	 .words =
		 "the handler does not read the site again, with a trap in flight at the last store",
	 .arch = ARCH_COUNT,
	 .of = VP_DISCIPLINE_TRAP,
	 .forget_early = true,
	 .no_reread = true},
	/* nop; nop and auipc; jalr */
	{.name = "pair-jalr-first",
	 .words = "two instructions change, the second first",
	 .arch = ARCH_RISCV64,
	 .len = 8,
	 .step = {{4, 4, NEW, ALL}, {0, 4, NEW, ALL}}},
	{.name = "pair-auipc-first",
	 .words = "two instructions change, the first first",
	 .arch = ARCH_RISCV64,
	 .len = 8,
	 .step = {{0, 4, NEW, ALL}, {4, 4, NEW, ALL}}},
	{.name = "pair-one-store",
	 .words = "two instructions change by one store",
	 .arch = ARCH_RISCV64,
	 .len = 8,
	 .step = {{0, 8, NEW, ALL}}},
	{.name = "direct-in-t0",
	 .words = "the right program, to users that leave the direct caller's address in t0",
	 .arch = ARCH_RISCV64,
	 .probe = "users_t0",
	 .of = VP_DISCIPLINE_LITERAL},
	/* nops and stp; mov; bl; ldp */
	{.name = "four-in-one-go",
	 .words = "four instructions change under stop, and a vCPU may stand between them",
	 .arch = ARCH_ARM64,
	 .len = 16,
	 .held = true,
	 .step = {{0, 8, NEW, NONE}, {8, 8, NEW, ALL}}},
	{.name = "four-staged",
	 .words =
		 "four instructions change behind a branch over them, and nobody looks who is inside",
	 .arch = ARCH_ARM64,
	 .len = 16,
	 .step = {{0, 4, SITEBAD_OVER, DATA},
		  {4, 4, NEW, NONE},
		  {8, 8, NEW, DATA},
		  {0, 4, NEW, ALL}}},
	/* nop; nop and mflr r0; bl */
	{.name = "entry-in-one-go",
	 .words = "both words of an entry change under stop, and a vCPU may stand between them",
	 .arch = ARCH_PPC64LE,
	 .len = 8,
	 .held = true,
	 .step = {{0, 8, NEW, ALL}}},
	{.name = "entry-call-first",
	 .words = "both words of an entry change, the call ahead of what it needs",
	 .arch = ARCH_PPC64LE,
	 .len = 8,
	 .step = {{4, 4, NEW, ALL}, {0, 4, NEW, ALL}}},
	{.name = "store-across",
	 .words = "a wide instruction that straddles a line changes by one store",
	 .arch = ARCH_THUMB2,
	 .len = 4,
	 .across = true,
	 /* TCG fetches it once behind each store, and misses one that it is made in the middle of;
	  * so many come soon, and the last when that has passed. */
	 .step = {{0, 4, NEW, NONE},
		  {0, 4, OLD, NONE},
		  {0, 4, NEW, NONE},
		  {0, 4, OLD, NONE},
		  {0, 4, NEW, NONE},
		  {0, 4, OLD, ALL},
		  {0, 4, NEW, ALL}}},
	{.name = "two-halves",
	 .words = "a wide instruction changes half by half, with nothing over it",
	 .arch = ARCH_THUMB2,
	 .len = 4,
	 .step = {{0, 2, NEW, ALL}, {2, 2, NEW, ALL}}},
	{.name = "x86-two-stores",
	 .words = "five bytes change by two stores without a breakpoint over the first",
	 .arch = ARCH_X86_64,
	 .len = 5,
	 .step = {{1, 4, NEW, ALL}, {0, 1, NEW, ALL}}},
	{.name = "x86-5-bytes",
	 .words = "five bytes change without a breakpoint over the first",
	 .arch = ARCH_X86_64,
	 .len = 5,
	 .native = true,
	 .step = {{0, 5, NEW, ALL}}},
};

const struct sitebad *sitebad_at(unsigned i)
{
	return i < sizeof(list) / sizeof(list[0]) ? &list[i] : NULL;
}

static void take_out(struct arch_poke *p, enum arch_poke_act act)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->n; i++)
		if (p->step[i].act != act)
			p->step[n++] = p->step[i];
	p->n = n;
}

/* Behind the last store stands what takes the record away. */
void sitebad_forget_early(struct arch_poke *p)
{
	if (p->n >= 2 && p->step[p->n - 1].act == ARCH_POKE_FORGET)
		p->step[p->n - 2].sync = NONE;
}

static int less(const struct sitebad *b, const struct arch_ops *ops,
		const struct arch_poke_ask *ask, struct arch_poke *ret)
{
	struct arch_poke_ask good = *ask;
	const char *why;
	int r;

	good.discipline = b->of;
	if (ask->len > ARCH_WORD_MAX)
		return VP_E_RANGE;
	r = arch_poke(ops, &good, ret, &why);
	if (r < 0)
		return r;
	if (b->no_record) {
		take_out(ret, ARCH_POKE_TELL);
		take_out(ret, ARCH_POKE_FORGET);
	}
	if (b->forget_early)
		sitebad_forget_early(ret);
	return VP_OK;
}

static int own(const struct sitebad *b, const struct arch_ops *ops, const struct arch_poke_ask *ask,
	       struct arch_poke *ret)
{
	uint8_t over[ARCH_WORD_MAX] = {0};
	unsigned n;
	int r = ops->branch(over, ask->at, vp_gva(ask->at.v + ask->len), &n);

	*ret = (struct arch_poke){.discipline = b->held ? VP_DISCIPLINE_STOP : VP_DISCIPLINE_WORD};
	for (unsigned i = 0; i < SITEBAD_STEPS && b->step[i].len; i++) {
		struct arch_poke_step *s = &ret->step[ret->n++];
		bool branch = b->step[i].from == SITEBAD_OVER;

		if (branch && (r < 0 || n != b->step[i].len))
			return VP_E_RANGE;
		*s = (struct arch_poke_step){.act = ARCH_POKE_STORE,
					     .sync = b->step[i].sync,
					     .off = b->step[i].off,
					     .len = b->step[i].len};
		memcpy(s->bytes,
		       branch                           ? over
		       : b->step[i].from == SITEBAD_OLD ? ask->old + s->off
							: ask->new + s->off,
		       s->len);
	}
	return VP_OK;
}

int sitebad_make(const struct sitebad *b, const struct arch_ops *ops,
		 const struct arch_poke_ask *ask, struct arch_poke *ret)
{
	return b->of ? less(b, ops, ask, ret) : own(b, ops, ask, ret);
}

/* Of several stores the first changes something and leaves something to change: what has all its
 * difference in one of them cannot be seen to tear. */
static bool in_between(const struct arch_poke *p, const struct arch_poke_ask *ask)
{
	uint8_t text[16];

	if (p->n < 2 || ask->len > sizeof(text))
		return true;
	memcpy(text, ask->old, ask->len);
	arch_poke_text(p, 1, text);
	return memcmp(text, ask->old, ask->len) != 0 && memcmp(text, ask->new, ask->len) != 0;
}

bool sitebad_fits(const struct sitebad *b, const struct arch_ops *ops, const char *probe,
		  const struct arch_poke_ask *ask)
{
	struct arch_poke p;

	if ((b->arch != ARCH_COUNT && b->arch != ops->id) ||
	    (b->probe && strcmp(b->probe, probe) != 0) ||
	    (b->len && (b->len != ask->len || ask->literal.v)) ||
	    (b->across && ask->at.v % LINE + ask->len <= LINE))
		return false;
	return sitebad_make(b, ops, ask, &p) == VP_OK && (b->of || in_between(&p, ask));
}
