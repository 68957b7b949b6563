/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * THE SEAM. A target is a running guest; a paused is the same guest held. Writing needs a
 * struct vp_paused, so writing to a running guest does not compile. Range, overflow and
 * alignment checks live once, in target.c, ahead of every driver.
 *
 * Life of a change:
 *
 *   vp_arm      all preparation that needs no hold: state asked, debug channel made
 *     vp_pause    from here the guest is held          } in the holder process,
 *       vp_regs vp_read vp_write vp_sync               } a fork of the one that armed
 *     vp_resume   the guest goes on as it was found    }
 *   vp_disarm   what vp_arm made is taken away
 *
 * When the holder died between pause and resume, the process that armed calls vp_takeover
 * instead of vp_pause: it holds the guest (again, or still) and ends with vp_resume as usual.
 *
 * Times are absolute CLOCK_MONOTONIC nanoseconds; VP_NO_DEADLINE waits for the driver's own.
 */
#ifndef VP_TARGET_H
#define VP_TARGET_H

#include <sys/types.h>

#include "arch/poke.h"
#include "protocol/addr.h"
#include "protocol/err.h"
#include "vmm-agent/base/diag.h"

#define VP_NO_DEADLINE UINT64_MAX
#define VP_VCPU_MAX    1024

struct vp_target;
struct vp_paused;
struct vp_live;
struct vp_driver;

enum vp_cap {
	VP_CAP_REGS_LIVE = 1 << 0,   /* vp_peek_regs needs no hold worth the name */
	VP_CAP_WRITE_DIRTY = 1 << 1, /* a write is seen by migration's dirty log */
	VP_CAP_STORE_LIVE = 1 << 2,  /* single-copy atomic stores while the guest runs */
	VP_CAP_DEATH_FREES = 1 << 3, /* a dead holder lets the guest go by itself */
	VP_CAP_HOLD_HERE = 1 << 4,   /* only this process can hold it, no fork of it */
};

enum vp_run_state {
	VP_RUN_RUNNING,
	VP_RUN_PAUSED, /* by its operator: it is left paused */
	VP_RUN_MIGRATING,
	VP_RUN_SHUTDOWN,
	VP_RUN_PANICKED,
	VP_RUN_OTHER, /* words in state_name */
};

/* Which VM this is, whatever name was typed: the VMM process and the VM's UUID. */
struct vp_identity {
	pid_t pid;
	uint64_t start_time; /* field 22 of /proc/PID/stat, clock ticks since host boot */
	uint8_t uuid[16];    /* all zero where the VM has none */
};

struct vp_target_info {
	const char *name;    /* as typed, for words */
	const char *locator; /* what opens the same target again: "qmp:/absolute/path", "pid:N" */
	const char *driver;  /* for people; nothing decides by it */
	const char *accel;   /* "kvm", "tcg" */
	struct vp_identity id;
	const struct arch_ops *arch;
	unsigned vcpus;
};

/* A piece of the VMM's memory that the guest has for its own: a KVM memory slot, or under TCG a
 * range of RAM. */
struct vp_slot {
	vp_gpa_t start;
	uint64_t len;
	uint64_t hva; /* where it is in the VMM */
	uint32_t id;
	bool read_only;
	bool logged; /* the guest's writes are noted: a migration, or a display */
};

enum vp_vcpu_state {
	VP_VCPU_UNKNOWN,
	VP_VCPU_RUNNING, /* on a CPU of the host or waiting for one */
	VP_VCPU_HALTED,  /* asleep in KVM until an interrupt comes */
	VP_VCPU_WAITING, /* asleep in the VMM */
	VP_VCPU_STOPPED, /* by a debugger or a signal */
};

struct vp_vcpu {
	pid_t tid; /* 0: not known */
	enum vp_vcpu_state state;
};

/* One of several pieces of guest memory that are read or written in one go. */
struct vp_io {
	vp_gpa_t at;
	void *buf;
	size_t len;
};

struct vp_ram {
	vp_gpa_t start;
	uint64_t len;
};

void vp_target_close(struct vp_target *t); /* NULL is fine; an armed target is disarmed first */

/* Stays valid and unchanged until close. */
const struct vp_target_info *vp_target_info(const struct vp_target *t);
uint32_t vp_target_caps(const struct vp_target *t);

/* Guest RAM in ascending order, no overlap, ROM and devices left out. Owned by the target. */
int vp_ram(struct vp_target *t, const struct vp_ram **ret, size_t *n_ret,
	   struct diag *diag) VP_MUST_USE;

/* Asks the VMM now. words (may be NULL) gets the VMM's own name of the state. */
int vp_run_state(struct vp_target *t, enum vp_run_state *ret, char words[32],
		 struct diag *diag) VP_MUST_USE;

/* Copies guest RAM out, all of it or nothing. VP_E_RANGE outside RAM. Works held and running;
 * while running, the bytes may be of different moments. */
int vp_read(struct vp_target *t, vp_gpa_t at, void *buf, size_t len) VP_MUST_USE;

/*
 * Reading ahead, for what must be quick in a hold. From vp_note_reads(t, true) to (t, false) the
 * pages that vp_read touches are noted. In a hold vp_read_ahead then reads all of them at once,
 * anew at every call, and vp_read answers from that copy until the next write. It is never an
 * error: what could not be read ahead is read when it is asked for.
 */
void vp_note_reads(struct vp_target *t, bool on);
/* Ahead of the hold, in the process that will hold: once for nothing, so that no page of ours or of
 * the VMM's is met for the first time inside. */
void vp_touch_ahead(struct vp_target *t);
void vp_read_ahead(struct vp_paused *p);

/*
 * Finds 4 KiB-aligned pages of RAM that start with the n (at most 64) bytes of prefix, in
 * ascending order, at most cap; *n_ret is how many were stored. VP_E_RANGE if there are more.
 */
int vp_find_pages(struct vp_target *t, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
		  size_t *n_ret, struct diag *diag) VP_MUST_USE;

/*
 * For the reader of the guest: the page by which it found the kernel. While that page is still the
 * kernel's, RAM need not be searched again. A hint, which whoever takes it proves anew; NULL: forget.
 */
void vp_note_kernel(struct vp_target *t, const vp_gpa_t *page);
bool vp_noted_kernel(const struct vp_target *t, vp_gpa_t *ret);

/* As they are now; *ret is malloc'ed, the caller frees it. */
int vp_slots(struct vp_target *t, struct vp_slot **ret, size_t *n_ret,
	     struct diag *diag) VP_MUST_USE;
/* info.vcpus of them, malloc'ed, the caller frees it. */
int vp_vcpus(struct vp_target *t, struct vp_vcpu **ret, struct diag *diag) VP_MUST_USE;

/* Registers of one vCPU without a window: at VP_CAP_REGS_LIVE free, otherwise by a hold of the
 * shortest kind, which the caller must have allowed. May give fewer registers than vp_regs. */
int vp_peek_regs(struct vp_target *t, unsigned vcpu, struct arch_regs *ret,
		 struct diag *diag) VP_MUST_USE;
/* The same of all info.vcpus, at most by one hold where the driver can. */
int vp_peek_all(struct vp_target *t, struct arch_regs *ret, struct diag *diag) VP_MUST_USE;

enum vp_after {
	VP_AFTER_AS_FOUND, /* resume only what was running when armed */
	VP_AFTER_RUN,      /* resume: a dead agent left it held (recover) */
};

/* Whether vp_arm would refuse: changes nothing, neither in the guest nor in its VMM. */
int vp_check(struct vp_target *t, struct diag *diag) VP_MUST_USE;
/* Refuses a guest that is migrating, ending or being debugged. */
int vp_arm(struct vp_target *t, enum vp_after after, struct diag *diag) VP_MUST_USE;
void vp_disarm(struct vp_target *t);
/* In place of vp_disarm: what is in the guest must not run, so it stays held, also when the target
 * is closed, until somebody arms it with VP_AFTER_RUN. */
void vp_leave_held(struct vp_target *t);

/* VP_E_DEADLINE if the hold was not complete in time: the guest then runs. */
int vp_pause(struct vp_target *t, uint64_t deadline, struct diag *diag,
	     struct vp_paused **ret) VP_MUST_USE;

/* After the holder died; at VP_CAP_HOLD_HERE also while the guest is still held, after an undo that
 * failed: what was handed out by vp_pause is the same again. The guest is held on success; VP_E_PAUSED when it may still be held and
 * nothing could be done about it. */
int vp_takeover(struct vp_target *t, struct diag *diag, struct vp_paused **ret) VP_MUST_USE;

/* CLOCK_MONOTONIC ns when the first vCPU was stopped. */
uint64_t vp_held_since(const struct vp_paused *p);

/* The target that is held: for vp_read and whatever reads through it. */
struct vp_target *vp_paused_target(struct vp_paused *p);

int vp_regs(struct vp_paused *p, unsigned vcpu, struct arch_regs *ret) VP_MUST_USE;

/* Writes guest RAM, all of it or an error after which the bytes are in doubt. VP_E_RANGE before
 * the first byte when it does not lie in one RAM range. */
int vp_write(struct vp_paused *p, vp_gpa_t at, const void *buf, size_t len) VP_MUST_USE;

/* The same for n pieces, stored in their order. Every one is checked before the first byte. */
int vp_write_all(struct vp_paused *p, const struct vp_io *io, size_t n) VP_MUST_USE;

/* After the last write: every vCPU will execute the new bytes when it goes on. */
int vp_sync(struct vp_paused *p) VP_MUST_USE;

/* Lets the guest go on as it was found, and frees p whatever happens. VP_E_PAUSED: it may still
 * be held. */
int vp_resume(struct vp_paused *p) VP_MUST_USE;

/* In place of vp_resume: what is in the guest must not run, whoever dies. Frees p. A vp_takeover and
 * its vp_resume let it go. */
int vp_strand(struct vp_paused *p) VP_MUST_USE;

/*
 * Storing while the guest runs, only at VP_CAP_STORE_LIVE: for the programs of arch/poke.h and what
 * goes with them. Not while the target is armed or held.
 */

/* All preparation. Refuses what vp_arm refuses; VP_E_DISCIPLINE for a guest that is not running: stop
 * costs it nothing. */
int vp_live_open(struct vp_target *t, struct diag *diag, struct vp_live **ret) VP_MUST_USE;
void vp_live_close(struct vp_live *l); /* NULL is fine */

/* The target, for vp_read and whatever reads through it. */
struct vp_target *vp_live_target(struct vp_live *l);

/* Whether it can be stored into live: a VMM may have some of its RAM shared and some not. To be asked
 * before the first store. */
bool vp_live_reaches(struct vp_live *l, vp_gpa_t at, size_t len);

/* One store that every vCPU sees as a whole where len is 1, 2, 4 or 8 and `at` naturally aligned;
 * otherwise in pieces, ascending, for what nobody runs or reads yet. VP_E_RANGE outside what
 * vp_live_reaches. The order of two calls is the order in which vCPUs see them. */
int vp_live_store(struct vp_live *l, vp_gpa_t at, const void *buf, size_t len) VP_MUST_USE;

/* ARCH_SYNC_DATA: every vCPU's loads and later fetches get what was stored. ARCH_SYNC_ALL: and every
 * vCPU has synchronised its context since; they are never all held at once. VP_E_DEADLINE when one did
 * not in time, and without trying once the deadline has passed: what was stored is in place. */
int vp_live_sync(struct vp_live *l, enum arch_sync sync, uint64_t deadline,
		 struct diag *diag) VP_MUST_USE;

/*
 * After vp_resume: makes sure that these pieces of guest memory, as they are now, are the guest's to
 * keep (buf is not looked at). A driver without VP_CAP_WRITE_DIRTY looks whether a migration began
 * meanwhile, and then has the same bytes written once more by a way that the migration sees.
 * VP_E_PARTIAL where that did not work: the other side may have only some of them.
 */
int vp_confirm(struct vp_target *t, const struct vp_io *io, size_t n,
	       struct diag *diag) VP_MUST_USE;

#endif
