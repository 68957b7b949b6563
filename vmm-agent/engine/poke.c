/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/poke.h"

#include <inttypes.h>

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"

static int store32(struct vp_live *l, vp_gpa_t at, uint32_t v)
{
	uint8_t buf[4];

	vp_st32(buf, v);
	return vp_live_store(l, at, buf, sizeof(buf));
}

static int store64(struct vp_live *l, vp_gpa_t at, uint64_t v)
{
	uint8_t buf[8];

	vp_st64(buf, v);
	return vp_live_store(l, at, buf, sizeof(buf));
}

static uint32_t record_kind(enum arch_insn_kind kind)
{
	switch (kind) {
	case ARCH_INSN_BRANCH:
		return VP_TRAP_BRANCH;
	case ARCH_INSN_CALL:
		return VP_TRAP_CALL;
	default:
		return VP_TRAP_NOP;
	}
}

/* The number is odd while the rest changes: a handler that meets it so, or finds another one behind
 * its reading, reads again. */
static int tell(struct vp_live *l, const struct eng_poke *poke)
{
	const struct arch_emul *e = &poke->prog->emul;
	vp_gpa_t at = poke->record;
	uint8_t buf[4];
	uint32_t seq;
	int r = vp_read(vp_live_target(l), vp_gpa(at.v + VP_TRAP_OFF_SEQ), buf, sizeof(buf));

	if (r < 0)
		return r;
	seq = vp_ld32(buf) | 1;
	r = store32(l, vp_gpa(at.v + VP_TRAP_OFF_SEQ), seq);
	if (r == VP_OK)
		r = store64(l, vp_gpa(at.v + VP_TRAP_OFF_NEXT), e->next.v);
	if (r == VP_OK)
		r = store64(l, vp_gpa(at.v + VP_TRAP_OFF_TARGET),
			    e->kind == ARCH_INSN_NOP ? 0 : e->target.v);
	if (r == VP_OK)
		r = store32(l, vp_gpa(at.v + VP_TRAP_OFF_KIND), record_kind(e->kind));
	if (r == VP_OK)
		r = store64(l, vp_gpa(at.v + VP_TRAP_OFF_AT), poke->at.v);
	return r == VP_OK ? store32(l, vp_gpa(at.v + VP_TRAP_OFF_SEQ), seq + 1) : r;
}

static int act(struct vp_live *l, const struct eng_poke *poke, const struct arch_poke_step *step,
	       const struct eng_poke_watch *watch, size_t i)
{
	vp_gpa_t at = step->literal ? poke->literal : vp_gpa(poke->site.v + step->off);

	switch (step->act) {
	case ARCH_POKE_STORE:
		if (watch && watch->store)
			watch->store(watch->ctx, i);
		return vp_live_store(l, at, step->bytes, step->len);
	case ARCH_POKE_TELL:
		return tell(l, poke);
	case ARCH_POKE_EVENT:
		return watch && watch->event ? watch->event(watch->ctx, i) : VP_OK;
	case ARCH_POKE_FORGET:
		return store64(l, vp_gpa(poke->record.v + VP_TRAP_OFF_AT), 0);
	}
	return VP_E_INTERNAL;
}

int eng_poke_run(struct vp_live *l, const struct eng_poke *pokes, size_t n,
		 const struct eng_poke_watch *watch, uint64_t deadline, struct diag *diag,
		 unsigned *begun_ret)
{
	for (unsigned s = 0; s < ARCH_POKE_STEPS; s++) {
		enum arch_sync sync = ARCH_SYNC_NONE;
		int r = VP_OK;

		if (begun_ret)
			*begun_ret = s;
		for (size_t i = 0; i < n; i++) {
			const struct arch_poke *prog = pokes[i].prog;

			if (s >= prog->n)
				continue;
			if (begun_ret)
				*begun_ret = s + 1;
			r = act(l, &pokes[i], &prog->step[s], watch, i);
			if (r < 0)
				return diag_set(diag, r,
						"step %u of the change at %#" PRIx64
						" while the guest runs: %s",
						s + 1, pokes[i].at.v, vp_err_sentence(r));
			if (prog->step[s].sync > sync)
				sync = prog->step[s].sync;
		}
		r = vp_live_sync(l, sync, deadline, diag);
		if (r < 0)
			return r;
	}
	return VP_OK;
}
