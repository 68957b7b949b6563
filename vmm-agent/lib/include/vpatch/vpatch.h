/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvpatch: changing the text of the running guest of one's own process. inproc.h has the other
 * half, what a VMM hands over to get a handle.
 *
 *	vp_inproc_open(&vm, &vp, NULL, 0);
 *	struct vp_options o = {sizeof(o), "/var/lib/my-vmm/vpatch", "/run/my-vmm/vpatch"};
 *	struct vp_result res = {sizeof(res)};
 *	o.verify = my_verify;
 *	r = vp_apply(vp, bundle, bundle_len, &o, &res);
 *	if (r < 0)
 *		log("%s: %s", vp_reason(r), res.words);
 *
 * All but the last group of functions are called from a thread that is no vCPU's, or one that has
 * called vp_inproc_leave; they block, for a second and more. Two at the same time: one fails with
 * the reason `locked`. They use no signal and start no process or thread.
 *
 * They return 0 when the guest is in the wanted state, otherwise a negative code. The numbers are
 * of this version only; what is stable is the reason that vp_reason gives.
 */
#ifndef VPATCH_VPATCH_H
#define VPATCH_VPATCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef VP_API
#define VP_API __attribute__((visibility("default")))
#endif

struct vp_inproc;

/* What the VMM thinks of a bundle. */
enum vp_verdict {
	VP_REFUSED = 0,     /* not signed, not by a trusted key, or revoked */
	VP_TRUSTED = 1,     /* signed by a key that the VMM trusts, and not revoked */
	VP_UNSIGNED_OK = 2, /* let in all the same; the guest's ledger says so */
};

#define VP_DRY_RUN         1u /* every check but those of the window; never holds, never writes */
#define VP_ALLOW_DOWNGRADE 2u /* an older version may take the place of a newer one */

struct vp_options {
	size_t size; /* sizeof(struct vp_options) */
	/* Where the journal of this VMM lies (made, 0700, when missing). The same directories as the
	 * vpatch command's let `vpatch recover` close the entry of a VMM that died. */
	const char *state_dir;
	const char *run_dir; /* where its lock lies */
	uint64_t window_ns;  /* the longest hold; then everything is put back. 0: 100 ms */
	uint64_t settle_ns;  /* where the guest's own locks cannot be read: how much later the
				* sites are read again. 0: 1 s */
	uint32_t flags;
	uint32_t reserved; /* zero */
	/*
	 * Judges a bundle, enum vp_verdict, before a byte of it is read: the len bytes as they were
	 * given, with what is appended to them (a PKCS#7 message and a trailer, as for a signed
	 * kernel module). Needed by vp_apply.
	 */
	int (*verify)(void *ctx, const void *bundle, size_t len);
	void *verify_ctx;
};

struct vp_result {
	size_t size; /* sizeof(struct vp_result), set by the caller */
	int changed; /* 1: this call changed the guest */
	int notes;   /* how many lines there are in `noted` */
	uint64_t
		window_ns; /* from the first vCPU held to the last one let go; 0: there was no hold */
	char name[64];     /* of the hotfix */
	char version[64];
	char words[1024]; /* on an error: what, where, what to do; one line */
	char noted[2048]; /* on success, too: what somebody should know, a line each */
};

/* Makes the bundle's hotfix applied. Applied already: 0, changed 0, no hold. res may be NULL. */
VP_API int vp_apply(struct vp_inproc *vp, const void *bundle, size_t len,
		    const struct vp_options *opts, struct vp_result *res);

/* Takes the hotfix of that name back. Its payload stays in the guest, unused. */
VP_API int vp_revert(struct vp_inproc *vp, const char *name, const struct vp_options *opts,
		     struct vp_result *res);

/*
 * Finishes or undoes what an earlier call has left open (reasons `torn`, `left-paused`,
 * `recover-needed`). Nothing open: 0, changed 0.
 */
VP_API int vp_recover(struct vp_inproc *vp, const struct vp_options *opts, struct vp_result *res);

/* A hotfix in the guest. The strings are valid inside the callback. */
struct vp_hotfix {
	size_t size; /* sizeof(struct vp_hotfix), set by the library */
	const char *name, *version;
	const char *fixes; /* what it repairs, in its author's words */
	const char *state; /* "applied", "reverted", "partial", "shadowed", "altered" */
	const char *words; /* who has taken what; "" where nothing is wrong */
	int unsigned_ok;   /* 1: it was let in unsigned */
};

/* Calls fn for each hotfix that the guest holds, as its bytes are now. Holds nobody. 0 or the worst
 * that was found, after all of them. res gets words only. */
VP_API int vp_status(struct vp_inproc *vp, const struct vp_options *opts,
		     void (*fn)(void *ctx, const struct vp_hotfix *hotfix), void *ctx,
		     struct vp_result *res);

/* --- codes; from any thread ----------------------------------------------------------------- */

VP_API const char *vp_reason(int err);   /* "ok", "site-traced", ...: for machines, stable */
VP_API const char *vp_strerror(int err); /* one sentence, for people */
/* 0 in the wanted state · 1 refused, the guest is as before · 2 a wrong call · 3 busy, try again ·
 * 4 somebody has to look at it */
VP_API int vp_error_class(int err);
VP_API const char *vp_version(void); /* "0.1.0" */

#ifdef __cplusplus
}
#endif

#endif
