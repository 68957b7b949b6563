// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/sitejob.h"

#include <inttypes.h>
#include <string.h>

#include "protocol/bytes.h"

/* T32 code's addresses may come with the bit that says so. */
static vp_gva_t code(const struct arch_ops *ops, uint64_t at)
{
	return vp_gva(ops->id == ARCH_THUMB2 ? at & ~1ull : at);
}

static int new_text(struct sitejob *j)
{
	const struct arch_ops *ops = j->g->opts.arch;
	uint8_t *buf = j->text[1];
	unsigned n = j->len;
	int r = VP_OK;

	memcpy(buf, j->text[0], j->len);
	switch (j->p->kind) {
	case PROBE_CALL:
		r = ops->call(buf, j->at, code(ops, j->p->payload), &n);
		break;
	case PROBE_JUMP:
		r = ops->branch(buf, j->at, code(ops, j->p->payload), &n);
		break;
	case PROBE_BOTH:
		r = ops->call(buf, j->at, code(ops, j->p->to), &n);
		break;
	case PROBE_BYTES:
		r = siteguest_read(j->g, j->p->payload, buf, j->len);
		break;
	case PROBE_LITERAL:
		break;
	default:
		r = VP_E_RANGE;
	}
	return r == VP_OK && n != j->len ? VP_E_RANGE : r;
}

static int literals(struct sitejob *j)
{
	uint8_t buf[8];
	int r;

	if (j->p->kind != PROBE_LITERAL && j->p->kind != PROBE_BOTH)
		return VP_OK;
	r = siteguest_gpa(j->g, j->p->literal, &j->literal);
	if (r == VP_OK)
		r = vp_read(j->g->t, j->literal, buf, sizeof(buf));
	j->value[0] = vp_ld64(buf);
	j->value[1] = j->p->payload;
	return r;
}

int sitejob_describe(struct sitejob *j, struct siteguest *g, unsigned probe, bool early,
		     struct diag *diag)
{
	int r;

	*j = (struct sitejob){.g = g, .p = &g->probes[probe], .early = early};
	j->at = code(g->opts.arch, j->p->site);
	j->len = (unsigned)j->p->len;
	if (j->p->len == 0 || j->p->len > sizeof(j->text[0]))
		return diag_set(diag, VP_E_RANGE, "a site of %" PRIu64 " bytes", j->p->len);
	r = siteguest_gpa(g, j->at.v, &j->site);
	if (r == VP_OK)
		r = vp_read(g->t, j->site, j->text[0], j->len);
	if (r == VP_OK)
		r = new_text(j);
	if (r == VP_OK)
		r = literals(j);
	return r < 0 ? diag_set(diag, r, "what the edit is: %s", vp_err_sentence(r)) : VP_OK;
}

struct arch_poke_ask sitejob_ask(const struct sitejob *j, bool on)
{
	return (struct arch_poke_ask){
		.at = j->at,
		.len = j->len,
		.old = j->text[!on],
		.new = j->text[on],
		.literal = vp_gva(j->literal.v ? j->p->literal : 0),
		.literal_old = j->value[!on],
		.literal_new = j->value[on],
		.discipline = j->discipline,
		.live = true,
		.handler = j->g->record.v != 0,
		.by_hand = j->p->discipline &PROBE_BY_HAND,
	};
}

int sitejob_make(struct sitejob *j, struct diag *diag)
{
	const struct arch_ops *ops = j->g->opts.arch;

	for (unsigned on = 0; on < 2; on++) {
		struct arch_poke_ask a = sitejob_ask(j, on);
		const char *why = "not such a site";
		int r = j->bad ? sitebad_make(j->bad, ops, &a, &j->prog[on])
			       : arch_poke(ops, &a, &j->prog[on], &why);

		if (r < 0)
			return diag_set(diag, r, "no program to %s: %s", on ? "new" : "old", why);
		if (j->early)
			sitebad_forget_early(&j->prog[on]);
	}
	return VP_OK;
}

struct eng_poke sitejob_poke(const struct sitejob *j, bool on, vp_gpa_t record)
{
	return (struct eng_poke){&j->prog[on], j->at, j->site, j->literal, record};
}
