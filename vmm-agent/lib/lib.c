/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvpatch's calls: thin over the engine. Every one opens a target of its own, so that memory slots
 * and guest are looked at anew. */
#include "vmm-agent/lib/include/vpatch/vpatch.h"

#include <stdio.h>
#include <string.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/inproc.h"
#include "vmm-agent/engine/engine.h"

#define WINDOW_NS (100 * CLOCK_NS_PER_MS)

struct call {
	struct vp_target *t;
	struct eng_opts opts;
	struct diag diag;
	struct vp_result *res; /* never NULL */
};

static int check_args(const struct vp_options *o, const struct vp_result *res, struct diag *diag)
{
	if (!o || o->size != sizeof(*o) || (res && res->size != sizeof(*res)))
		return diag_set(diag, VP_E_VERSION,
				"struct vp_options or vp_result: not of a size that this libvpatch "
				"knows");
	if (o->flags & ~(VP_DRY_RUN | VP_ALLOW_DOWNGRADE) || o->reserved)
		return diag_set(diag, VP_E_VERSION,
				"flags %#x: not all of them are known to this libvpatch", o->flags);
	if (!o->state_dir || !o->run_dir)
		return diag_set(diag, VP_E_USAGE, "no state_dir or no run_dir");
	return VP_OK;
}

static int begin(struct call *c, struct vp_inproc *vp, const struct vp_options *o,
		 struct vp_result *res, struct vp_result *own)
{
	int r;

	*c = (struct call){.res = res && res->size == sizeof(*res) ? res : own};
	diag_init(&c->diag);
	*c->res = (struct vp_result){.size = sizeof(*res)};
	r = check_args(o, res, &c->diag);
	if (r < 0)
		return r;
	c->opts = (struct eng_opts){
		.dirs = {o->state_dir, o->run_dir},
		.window_ns = o->window_ns ? o->window_ns : WINDOW_NS,
		.settle_ns = o->settle_ns,
		.dry_run = o->flags & VP_DRY_RUN,
		.allow_downgrade = o->flags & VP_ALLOW_DOWNGRADE,
	};
	return drv_inproc_open(vp, &c->diag, &c->t);
}

static int end(struct call *c, struct vp_inproc *vp, int r)
{
	drv_inproc_close(vp, c->t);
	if (r < 0)
		snprintf(c->res->words, sizeof(c->res->words), "%s",
			 c->diag.text[0] ? c->diag.text : vp_err_sentence(r));
	return r;
}

static void add_note(struct vp_result *res, const char *note)
{
	size_t at = strlen(res->noted);

	snprintf(res->noted + at, sizeof(res->noted) - at, "%s%s", at ? "\n" : "", note);
	res->notes++;
}

_Static_assert(sizeof(((struct vp_result *)0)->name) >= VP_LEDGER_NAME &&
		       sizeof(((struct vp_result *)0)->version) >= VP_LEDGER_VERSION_LEN,
	       "names of hotfixes have room");

static void take_report(struct call *c, struct eng_report *rep)
{
	c->res->changed = rep->changed;
	c->res->window_ns = rep->window_ns;
	snprintf(c->res->name, sizeof(c->res->name), "%s", rep->name);
	snprintf(c->res->version, sizeof(c->res->version), "%s", rep->version);
	for (size_t i = 0; i < rep->n_notes; i++)
		add_note(c->res, rep->notes[i]);
	eng_report_deinit(rep);
}

static int verify(struct call *c, const struct vp_options *o, const void *bundle, size_t len)
{
	int verdict = o->verify ? o->verify(o->verify_ctx, bundle, len) : VP_REFUSED;

	c->opts.unsigned_ok = verdict == VP_UNSIGNED_OK;
	if (verdict == VP_TRUSTED || verdict == VP_UNSIGNED_OK)
		return VP_OK;
	return diag_set(&c->diag, VP_E_UNTRUSTED, "bundle: %s",
			o->verify ? "the VMM does not trust it"
				  : "the VMM has no way to verify it");
}

int vp_apply(struct vp_inproc *vp, const void *bundle, size_t len, const struct vp_options *opts,
	     struct vp_result *res)
{
	struct eng_report rep = {0};
	struct hf_bundle *b = NULL;
	struct vp_result own;
	struct call c;
	int r = begin(&c, vp, opts, res, &own);

	if (r == VP_OK)
		r = verify(&c, opts, bundle, len);
	if (r == VP_OK)
		r = hf_open(bundle, len, &c.diag, &b);
	if (r == VP_OK) {
		r = eng_apply(c.t, b, &c.opts, &c.diag, &rep);
		take_report(&c, &rep);
	}
	hf_close(b);
	return end(&c, vp, r);
}

int vp_revert(struct vp_inproc *vp, const char *name, const struct vp_options *opts,
	      struct vp_result *res)
{
	struct eng_report rep = {0};
	struct vp_result own;
	struct call c;
	int r = begin(&c, vp, opts, res, &own);

	if (r == VP_OK) {
		r = eng_revert(c.t, name, &c.opts, &c.diag, &rep);
		take_report(&c, &rep);
	}
	return end(&c, vp, r);
}

/* --- recover --------------------------------------------------------------------------------- */

struct recovery {
	struct vp_inproc *vp;
	struct call *c;
	bool locked;
};

static int open_again(void *ctx, const char *locator, struct diag *diag, struct vp_target **ret)
{
	struct recovery *rec = ctx;

	(void)locator;
	return drv_inproc_open(rec->vp, diag, ret);
}

static void told(void *ctx, const struct eng_recovered *r)
{
	struct recovery *rec = ctx;
	struct vp_result *res = rec->c->res;

	res->changed = r->outcome == ENG_ROLLED_BACK || r->outcome == ENG_COMPLETED;
	rec->locked = r->outcome == ENG_SKIPPED;
	if (!rec->locked)
		snprintf(res->name, sizeof(res->name), "%s", r->name);
	if (r->outcome == ENG_ROLLED_BACK)
		add_note(res, "the change was undone");
	if (r->outcome == ENG_COMPLETED)
		add_note(res, "the change was complete");
	rec->c->diag = r->diag;
}

int vp_recover(struct vp_inproc *vp, const struct vp_options *opts, struct vp_result *res)
{
	struct vp_result own;
	struct call c;
	struct recovery rec = {vp, &c, false};
	int r = begin(&c, vp, opts, res, &own);

	if (r == VP_OK)
		r = eng_recover_one(&vp_target_info(c.t)->id, &c.opts.dirs, open_again, &rec, told,
				    &rec);
	if (r == VP_OK && rec.locked)
		r = VP_E_LOCKED;
	return end(&c, vp, r);
}

/* --- status ---------------------------------------------------------------------------------- */

static void tell_hotfix(const struct eng_hotfix *h,
			void (*fn)(void *ctx, const struct vp_hotfix *hotfix), void *ctx)
{
	struct vp_hotfix out = {
		.size = sizeof(out),
		.name = h->l.name,
		.version = h->l.version,
		.fixes = h->fixes,
		.state = eng_state_name(h->state),
		.words = h->words,
		.unsigned_ok = (h->l.flags & VP_LEDGER_UNSIGNED) != 0,
	};

	fn(ctx, &out);
}

int vp_status(struct vp_inproc *vp, const struct vp_options *opts,
	      void (*fn)(void *ctx, const struct vp_hotfix *hotfix), void *ctx,
	      struct vp_result *res)
{
	struct eng_list list = {0};
	struct guest *g = NULL;
	struct vp_result own;
	struct call c;
	int r = begin(&c, vp, opts, res, &own);

	if (r == VP_OK)
		r = guest_open(c.t, 0, &c.diag, &g);
	if (r == VP_OK) {
		r = eng_status(c.t, g, NULL, &c.opts.dirs, &c.diag, &list);
		for (size_t i = 0; i < list.n; i++)
			tell_hotfix(&list.hotfixes[i], fn, ctx);
		eng_list_deinit(&list);
	}
	if (g)
		guest_close(g);
	return end(&c, vp, r);
}

/* --- codes ----------------------------------------------------------------------------------- */

const char *vp_reason(int err)
{
	return vp_err_reason(err);
}

const char *vp_strerror(int err)
{
	return vp_err_sentence(err);
}

int vp_error_class(int err)
{
	return vp_err_exit(err);
}

const char *vp_version(void)
{
	return VP_VERSION;
}
