/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver's side of the seam. A driver fills a const struct vp_driver; target.c checks every
 * argument before it calls. Drivers keep their state behind `self`.
 */
#ifndef VP_DRIVER_H
#define VP_DRIVER_H

#include "vmm-agent/target.h"

struct vp_driver {
	const char *name;
	/* Asked once, when the target is made: what is possible may depend on guest and host. */
	uint32_t (*caps)(void *self);
	void (*close)(void *self);
	int (*ram)(void *self, const struct vp_ram **ret, size_t *n_ret, struct diag *diag);
	int (*run_state)(void *self, enum vp_run_state *ret, char words[32], struct diag *diag);
	int (*read)(void *self, vp_gpa_t at, void *buf, size_t len);
	/* n pieces in one go; each lies in RAM as a whole or the call fails. NULL: nothing is read
	 * ahead. */
	int (*read_all)(void *self, const struct vp_io *io, size_t n);
	int (*find_pages)(void *self, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
			  size_t *n_ret, struct diag *diag); /* NULL: target.c reads page by page */
	/* See vp_slots and vp_vcpus; NULL: it cannot tell. */
	int (*slots)(void *self, struct vp_slot **ret, size_t *n_ret, struct diag *diag);
	int (*vcpus)(void *self, struct vp_vcpu **ret, struct diag *diag);
	int (*peek_regs)(void *self, unsigned vcpu, struct arch_regs *ret, struct diag *diag);
	int (*peek_all)(void *self, struct arch_regs *ret,
			struct diag *diag);          /* NULL: each by itself */
	int (*check)(void *self, struct diag *diag); /* NULL: arm alone can tell */
	int (*arm)(void *self, enum vp_after after, struct diag *diag);
	void (*disarm)(void *self);
	int (*pause)(void *self, uint64_t deadline, struct diag *diag);
	int (*takeover)(void *self, struct diag *diag);
	/* CLOCK_MONOTONIC ns when the first vCPU of this hold was stopped; NULL: when pause was
	 * called. */
	uint64_t (*held_since)(void *self);
	int (*regs)(void *self, unsigned vcpu, struct arch_regs *ret);
	int (*write)(void *self, vp_gpa_t at, const void *buf, size_t len);
	/* n pieces in their order; NULL: target.c calls write. */
	int (*write_all)(void *self, const struct vp_io *io, size_t n);
	int (*sync)(void *self);
	/* Once for every pause or takeover that succeeded. VP_E_PAUSED when the guest may still be
	 * held, VP_E_DISCONNECTED when the VMM is gone. */
	int (*resume)(void *self);
	/* See vp_strand; NULL: a dead holder leaves it held anyway. */
	int (*strand)(void *self);
	/* See vp_live_open; all NULL without VP_CAP_STORE_LIVE. live_end once for every live_begin that
	 * succeeded. */
	int (*live_begin)(void *self, struct diag *diag);
	bool (*live_reaches)(void *self, vp_gpa_t at, size_t len); /* NULL: all RAM */
	int (*live_store)(void *self, vp_gpa_t at, const void *buf, size_t len);
	int (*live_sync)(void *self, enum arch_sync sync, uint64_t deadline, struct diag *diag);
	void (*live_end)(void *self);
	/* See vp_confirm; NULL: there is nothing to doubt. */
	int (*confirm)(void *self, const struct vp_io *io, size_t n, struct diag *diag);
};

/* Takes ownership of self on success only; info is copied, its strings too. */
int vp_target_create(const struct vp_driver *driver, void *self, const struct vp_target_info *info,
		     struct diag *diag, struct vp_target **ret) VP_MUST_USE;

#endif
