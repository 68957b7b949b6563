/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What dead agents left, journal by journal. An entry is closed as gone when its VMM or its guest
 * boot is; otherwise the guest is held once more and the words decide: everything in place is
 * closed as done, anything else is put back. Nothing is ever written forward.
 */
#include "vmm-agent/engine/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm-agent/engine/change.h"
#include "vmm-agent/engine/journal.h"
#include "vmm-agent/engine/record.h"
#include "vmm-agent/engine/vmm.h"

struct recovery {
	const struct eng_dirs *dirs;
	eng_open_fn open;
	void *open_ctx;
	void (*fn)(void *ctx, const struct eng_recovered *r);
	void *ctx;
	int worst;
};

static int worse(int a, int b)
{
	return vp_err_exit(b) > vp_err_exit(a) ? b : a;
}

/* The steps' places by a walk made now: guest memory may have been laid out anew, and then none of
 * the journal's physical addresses means anything. */
static int check_places(const struct eng_txn *txn, const struct eng_view *view, struct diag *diag)
{
	for (uint32_t i = 0; i < txn->n_steps; i++) {
		const struct vp_edit *e = &txn->steps[i].e.edit;
		vp_gpa_t gpa;
		int r = view->locate(view->ctx, e->kind, e->gva, e->len, &gpa);

		if (r == VP_OK && gpa.v != e->gpa.v)
			r = VP_E_GUEST_CHANGED;
		if (r == VP_OK && txn->steps[i].trap.gva.v != 0)
			r = eng_trap_locate(view, &txn->steps[i].trap, &gpa);
		if (r == VP_OK && txn->steps[i].trap.gva.v != 0 &&
		    gpa.v != txn->steps[i].trap.gpa.v)
			r = VP_E_GUEST_CHANGED;
		if (r < 0)
			return diag_set(diag, r,
					"%#" PRIx64 " is not where the journal has it: %s: look at "
					"the guest with vpatch status",
					e->gva.v, vp_err_sentence(r));
	}
	return VP_OK;
}

static int repair(struct recovery *rec, struct vp_target *t, const struct eng_txn *txn,
		  struct guest *g, struct eng_recovered *ret)
{
	struct eng_view view = eng_view_of(g);
	struct eng_change change = {
		.t = t,
		.txn = txn,
		.view = &view,
		.state_dir = rec->dirs->state_dir,
	};
	int r = check_places(txn, &view, &ret->diag);

	return r < 0 ? r : eng_change_recover(&change, &ret->diag, &ret->outcome);
}

static int with_target(struct recovery *rec, struct vp_target *t, const struct eng_txn *txn,
		       const char *key, struct eng_recovered *ret)
{
	const struct vp_identity *id = &vp_target_info(t)->id;
	struct guest *g;
	int r;

	if (id->pid != txn->id.pid || id->start_time != txn->id.start_time)
		return diag_set(
			&ret->diag, VP_E_NO_DOMAIN,
			"%s opens another VM than the journal's: find process %d and end or "
			"name it",
			txn->locator, (int)txn->id.pid);
	r = guest_open(t, 0, &ret->diag, &g);
	if (r == VP_E_GUEST_AMBIGUOUS)
		r = guest_open(t, GUEST_MAY_HOLD, &ret->diag, &g);
	if (r < 0)
		return r;
	if (memcmp(guest_info(g)->boot_id, txn->boot_id, sizeof(txn->boot_id)) != 0) {
		ret->outcome = ENG_GONE;
		r = eng_journal_end(rec->dirs->state_dir, key, ENG_JOURNAL_GONE, &ret->diag);
	} else {
		r = repair(rec, t, txn, g, ret);
	}
	guest_close(g);
	return r;
}

static int recover_open(struct recovery *rec, const struct eng_txn *txn, const char *key,
			struct eng_recovered *ret)
{
	struct vp_target *t;
	int r;

	snprintf(ret->locator, sizeof(ret->locator), "%s", txn->locator);
	snprintf(ret->name, sizeof(ret->name), "%s", txn->name);
	r = rec->open(rec->open_ctx, txn->locator, &ret->diag, &t);
	if (r < 0)
		return r;
	r = with_target(rec, t, txn, key, ret);
	vp_target_close(t);
	return r;
}

static void tell(struct recovery *rec, struct eng_recovered *ret, int err)
{
	ret->err = err;
	if (err < 0)
		ret->outcome = ENG_FAILED;
	rec->worst = worse(rec->worst, err);
	rec->fn(rec->ctx, ret);
}

/* Under the lock of the VMM, if it lives. */
static void recover_locked(struct recovery *rec, const char *key)
{
	struct eng_recovered ret = {.outcome = ENG_NOTHING};
	struct eng_txn *txn = NULL;
	struct vp_identity id;
	int r = eng_journal_open_entry(rec->dirs->state_dir, key, &ret.diag, &txn);

	snprintf(ret.locator, sizeof(ret.locator), "%s", key);
	if (r == VP_E_JOURNAL && eng_vmm_parse(key, &id) && !eng_vmm_alive(&id, "")) {
		/* What the host's own crash tore: there is nothing left that it could be about. */
		ret.outcome = ENG_GONE;
		diag_init(&ret.diag);
		eng_journal_forget(rec->dirs->state_dir, key);
		tell(rec, &ret, VP_OK);
		return;
	}
	if (r < 0) {
		tell(rec, &ret, r);
		return;
	}
	if (!txn) {
		/* Closed; of a VMM that has ended nobody will ask again. */
		if (eng_vmm_parse(key, &id) && !eng_vmm_alive(&id, ""))
			eng_journal_forget(rec->dirs->state_dir, key);
		return;
	}
	if (eng_vmm_alive(&txn->id, txn->host_boot)) {
		r = recover_open(rec, txn, key, &ret);
	} else {
		snprintf(ret.locator, sizeof(ret.locator), "%s", txn->locator);
		snprintf(ret.name, sizeof(ret.name), "%s", txn->name);
		ret.outcome = ENG_GONE;
		r = eng_journal_end(rec->dirs->state_dir, key, ENG_JOURNAL_GONE, &ret.diag);
		if (r == VP_OK)
			eng_journal_forget(rec->dirs->state_dir, key);
	}
	tell(rec, &ret, r);
	eng_txn_destroy(txn);
}

static int recover_one(void *ctx, const char *key)
{
	struct recovery *rec = ctx;
	struct eng_recovered ret = {.outcome = ENG_SKIPPED};
	struct vp_identity id;
	int fd, r;

	if (!eng_vmm_parse(key, &id))
		return 0;
	snprintf(ret.locator, sizeof(ret.locator), "%s", key);
	r = eng_lock(rec->dirs->run_dir, &id, &ret.diag, &fd);
	if (r == VP_E_LOCKED) {
		rec->fn(rec->ctx, &ret);
		return 0;
	}
	if (r < 0) {
		tell(rec, &ret, r);
		return 0;
	}
	recover_locked(rec, key);
	eng_unlock(rec->dirs->run_dir, &id, fd);
	return 0;
}

int eng_recover(const struct eng_dirs *dirs, eng_open_fn open, void *open_ctx,
		void (*fn)(void *ctx, const struct eng_recovered *r), void *ctx, struct diag *diag)
{
	struct recovery rec = {dirs, open, open_ctx, fn, ctx, VP_OK};
	int r = eng_journal_each(dirs->state_dir, recover_one, &rec, diag);

	if (r < 0)
		return r;
	if (rec.worst < 0)
		return diag_set(diag, rec.worst, "not everything could be recovered: %s",
				vp_err_sentence(rec.worst));
	return VP_OK;
}

int eng_recover_one(const struct vp_identity *id, const struct eng_dirs *dirs, eng_open_fn open,
		    void *open_ctx, void (*fn)(void *ctx, const struct eng_recovered *r), void *ctx)
{
	struct recovery rec = {dirs, open, open_ctx, fn, ctx, VP_OK};
	char key[ENG_KEY_MAX];

	eng_vmm_key(id, key);
	(void)recover_one(&rec, key);
	return rec.worst;
}
