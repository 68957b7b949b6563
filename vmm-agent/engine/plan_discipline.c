/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the words of a transaction reach CPUs that run. One rule for the whole of it: every site and literal
 * has a program that is right while the guest runs, or all of them change in one window. Half of them
 * in a window would hold the guest and leave the set mixed all the same.
 *
 * Live, several words change one after the other. That is what consistency `entry` allows: each call sees
 * old or new by itself.
 */
#include "vmm-agent/engine/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/live.h"

struct choice {
	struct eng_plan *plan;
	uint8_t of[ENG_STEPS_MAX]; /* discipline of each step; 0: it is the ledger's */
	char why[256];             /* not live */
};

/* What stands against any live change. */
static int check_all(struct choice *c)
{
	const struct eng_plan *plan = c->plan;
	const char *why = NULL;

	if (!plan->was_running)
		why = "the guest does not run";
	else if (!(vp_target_caps(plan->t) & VP_CAP_STORE_LIVE))
		why = "this way in cannot store into a guest that runs";
	else if (plan->txn->n_outside > 0)
		why = "nobody may be inside the functions meanwhile, which takes a hold";
	for (uint32_t i = 0;
	     !why && plan->g && guest_info(plan->g)->is_linux && i < plan->txn->n_steps; i++)
		if (plan->txn->steps[i].e.edit.kind == VP_EDIT_LITERAL)
			/* It looks there before it lets go: guest-stub/linux/README.md. */
			why = "the stub's literal changes, and the record does not lie in the "
			      "stub's own memory, where the stub would see it";
	for (uint32_t i = 0; !why && i < plan->txn->n_steps; i++)
		if (plan->txn->steps[i].e.edit.kind == VP_EDIT_TRACER)
			why = "the guest tracer's records change too, and the tracer writes them "
			      "itself";
	if (why)
		snprintf(c->why, sizeof(c->why), "%s", why);
	return why ? VP_E_DISCIPLINE : VP_OK;
}

static int choose_step(struct choice *c, uint32_t i)
{
	const struct eng_plan *plan = c->plan;
	const struct eng_step *step = &plan->txn->steps[i];
	struct arch_poke_ask ask;
	struct arch_poke prog;
	const char *why;
	int r;

	eng_live_ask(plan->txn, i, &ask);
	ask.discipline = plan->opts->discipline;
	ask.live = true;
	ask.handler = plan->n_traps > 0;
	ask.events = plan->opts->text_poke_events;
	ask.by_hand = ask.discipline != 0;
	r = arch_poke(vp_target_info(plan->t)->arch, &ask, &prog, &why);
	if (r == VP_OK && prog.discipline == VP_DISCIPLINE_STOP)
		r = VP_E_DISCIPLINE;
	if (r < 0) {
		snprintf(c->why, sizeof(c->why), "%.100s at %#" PRIx64 ": %.120s", step->e.symbol,
			 step->e.edit.gva.v, why[0] ? why : vp_err_sentence(r));
		return r;
	}
	c->of[i] = (uint8_t)prog.discipline;
	if (step->literal)
		c->of[i + 1] = (uint8_t)prog.discipline;
	if (prog.by_hand)
		eng_note(plan->report,
			 "%.100s at %#" PRIx64
			 ": outside the architecture's list (%s), changed while the guest runs "
			 "because --discipline %s says so",
			 step->e.symbol, step->e.edit.gva.v,
			 vp_target_info(plan->t)->arch->live->set,
			 arch_discipline_name(prog.discipline));
	return VP_OK;
}

static int choose(struct choice *c)
{
	const struct eng_txn *txn = c->plan->txn;
	int r = check_all(c);

	for (uint32_t i = 0; r == VP_OK && i < txn->n_steps; i++)
		if (eng_step_is_word(&txn->steps[i]) && !(i > 0 && txn->steps[i - 1].literal))
			r = choose_step(c, i);
	return r;
}

static bool any_word(const struct eng_txn *txn)
{
	for (uint32_t i = 0; i < txn->n_steps; i++)
		if (eng_step_is_word(&txn->steps[i]))
			return true;
	return false;
}

static void take(const struct choice *c)
{
	const struct eng_plan *plan = c->plan;
	size_t n = 0;

	for (uint32_t i = 0; i < plan->txn->n_steps; i++) {
		struct eng_step *step = &plan->txn->steps[i];

		if (c->of[i] == 0)
			continue;
		step->e.edit.discipline = c->of[i];
		if (c->of[i] == VP_DISCIPLINE_TRAP)
			step->trap = plan->traps[n++ % plan->n_traps];
	}
}

int eng_plan_discipline(struct eng_plan *plan, struct diag *diag)
{
	enum vp_discipline named = plan->opts->discipline;
	struct choice c = {.plan = plan};
	int r;

	if (named == VP_DISCIPLINE_STOP || !any_word(plan->txn))
		return VP_OK;
	r = choose(&c);
	if (r == VP_OK) {
		take(&c);
		plan->report->live = true;
		return VP_OK;
	}
	if (named)
		return diag_set(diag, VP_E_DISCIPLINE, "--discipline %s: %s",
				arch_discipline_name(named), c.why);
	snprintf(plan->report->why_stop, sizeof(plan->report->why_stop), "%s", c.why);
	return VP_OK;
}
