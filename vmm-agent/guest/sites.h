/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The site table of a guest's stub, found in guest RAM and copied, Linux or not. docs/abi.md, "What a
 * host checks", has the order of the checks.
 *
 * A page is the table's head only if it closes a circle: the address that it gives itself leads to
 * this very page in the guest kernel's page tables, for the kernel alone, and not through a map that
 * makes every page look like the kernel's:
 *
 *	mapped outside any linear map    good on any guest. A map is linear when it leads to most of
 *	                                 RAM at the same distance
 *	in one, or no vCPU translates    good where nothing says that the guest is Linux, whose users'
 *	                                 pages are all in it; and only if there is none of the first
 *
 * A kernel that is not Linux, lies in a map of all its memory and has users of its own cannot be told
 * from them by any of this. A user's forgery beside the true table is then refused as ambiguous; alone
 * it is believed, and can only say where, never what: the hotfix names this image, and the bytes that
 * must be there.
 */
#ifndef VP_GUEST_SITES_H
#define VP_GUEST_SITES_H

#include "protocol/sites.h"
#include "vmm-agent/target.h"

/* A table that was found. What table points to is this copy; it does not change. */
struct guest_sites {
	struct vp_target *t;
	struct vp_sites table;
	vp_gpa_t page; /* of its head */
	struct arch_mmu mmu;
	uint8_t *bytes;
};

/*
 * Flags as for guest_open: without GUEST_MAY_HOLD a driver that has to hold the guest for its
 * registers is VP_E_UNSUPPORTED where there is a candidate. VP_E_NO_STUB where there is no table;
 * VP_E_SITES, VP_E_VERSION or VP_E_WRONG_ARCH for one that cannot be used, VP_E_GUEST_CHANGED while
 * the guest changes it, VP_E_GUEST_AMBIGUOUS for two; or the target's.
 */
int guest_sites_open(struct vp_target *t, unsigned flags, struct diag *diag,
		     struct guest_sites **ret) VP_MUST_USE;
void guest_sites_close(struct guest_sites *s); /* NULL is fine */

/* --- now ---------------------------------------------------------------------------------- */

/* The table is where it was and says what it said: VP_E_GUEST_CHANGED otherwise. */
int guest_sites_still(const struct guest_sites *s) VP_MUST_USE;

/* What the guest maps at an address of the table's, before it is used. */
enum guest_sites_use {
	GUEST_SITES_TEXT, /* sites, arenas: the kernel may execute it, users have no access */
	GUEST_SITES_DATA, /* literals, ledger space, trap records: users have no access */
};
/* *ret is where it lies, contiguous over len. VP_E_UNMAPPED or VP_E_RANGE. */
int guest_sites_gpa(const struct guest_sites *s, vp_gva_t at, size_t len, enum guest_sites_use use,
		    vp_gpa_t *ret) VP_MUST_USE;
/* Copies from such memory. */
int guest_sites_read(const struct guest_sites *s, vp_gva_t at, size_t len, void *buf) VP_MUST_USE;

/* Whether the registers of a held vCPU agree with the kernel that has the table: VP_E_GUEST_CHANGED;
 * VP_E_UNSUPPORTED for one that translates nothing, where others do. */
int guest_sites_vcpu(const struct guest_sites *s, const struct arch_regs *regs) VP_MUST_USE;

#endif
