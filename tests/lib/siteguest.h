/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A site guest (tests/guests/sites) as its host sees it, under TCG or native. Its CPUs call one probe for ever and
 * say of each result whether it can be; ctl.h there has what they count.
 *
 *	siteguest_start(&g, &opts, &diag)       up: every CPU is in its loop, on no probe
 *	siteguest_choose(&g, i, &diag)          on probe i
 *	siteguest_expect(&g, CTL_EITHER)        before a change
 *	siteguest_expect(&g, CTL_NEW)           after it
 *	siteguest_rounds(&g, 2, deadline, &diag)
 */
#ifndef VP_TESTS_LIB_SITEGUEST_H
#define VP_TESTS_LIB_SITEGUEST_H

#include "tests/guests/sites/ctl.h"
#include "tests/lib/vm.h"
#include "vmm-agent/target.h"

#define SITEGUEST_PROBES   320
#define SITEGUEST_SEGMENTS 8

struct siteguest;

enum siteguest_way {
	SITEGUEST_QTEST, /* under TCG */
	SITEGUEST_KVM,   /* x86-64: QEMU under KVM, by driver kvm */
	SITEGUEST_OWN,   /* opts.open */
};

struct siteguest_opts {
	const struct arch_ops *arch;
	const char *elf;
	unsigned cpus; /* 0: 2 */
	bool singlestep;
	enum siteguest_way way;
	/* Runs the guest of opts.elf with opts.cpus by other means; the target is the siteguest's. What
	 * it started is the caller's to end, after siteguest_stop. */
	int (*open)(struct siteguest *g, struct diag *diag, struct vp_target **ret);
	void *ctx;
	uint64_t patience; /* ns for two rounds; 0: 10 s. A loaded host stalls a CPU for 3 s */
};

struct siteguest {
	struct siteguest_opts opts;
	struct vm vm;
	struct vp_target *t;
	struct vp_live *l; /* open, unless siteguest_hold has it closed */
	struct {
		uint64_t vaddr, paddr, len;
	} seg[SITEGUEST_SEGMENTS];
	unsigned n_seg;
	vp_gpa_t ctl_at;
	vp_gpa_t record; /* the first trap record; 0: the guest has none */
	unsigned n_records;
	uint64_t n;       /* of expect */
	struct ctl ctl;   /* as last looked at */
	struct ctl first; /* and when this probe was chosen: counts go from there */
	struct probe probes[SITEGUEST_PROBES];
	unsigned n_probes;
};

/* What it needs of this machine and has not; NULL: nothing. */
const char *siteguest_missing(const struct arch_ops *arch, enum siteguest_way way);

int siteguest_start(struct siteguest *g, const struct siteguest_opts *opts,
		    struct diag *diag) VP_MUST_USE;
void siteguest_stop(struct siteguest *g); /* fine on a zeroed one */

/* By the image's program headers. VP_E_UNMAPPED outside of it. */
int siteguest_gpa(const struct siteguest *g, uint64_t gva, vp_gpa_t *ret) VP_MUST_USE;
int siteguest_read(struct siteguest *g, uint64_t gva, void *buf, size_t len) VP_MUST_USE;

/* Resets the counts: first is as it is when every CPU calls this probe. */
int siteguest_choose(struct siteguest *g, unsigned probe, struct diag *diag) VP_MUST_USE;
/* The same of several, from up to but not including to: each round calls every one. */
int siteguest_choose_set(struct siteguest *g, unsigned from, unsigned to,
			 struct diag *diag) VP_MUST_USE;
int siteguest_flags(struct siteguest *g, uint64_t flags) VP_MUST_USE;

/* The bytes of ctl.expect for the next change to that state, for whoever holds the guest. */
void siteguest_expected(struct siteguest *g, unsigned state, uint8_t buf[8], vp_gpa_t *at_ret);
int siteguest_expect(struct siteguest *g, unsigned state) VP_MUST_USE;

int siteguest_look(struct siteguest *g) VP_MUST_USE;

/* Until every CPU has made n more rounds: of two, the second began after the call. VP_E_PANICKED at
 * once when one has faulted, VP_E_DEADLINE when one did not come round; diag names it. */
int siteguest_rounds(struct siteguest *g, uint64_t n, uint64_t deadline,
		     struct diag *diag) VP_MUST_USE;

/* VP_OK if all that was seen since the probe was chosen, until the last look, can be; else VP_E_TORN and
 * what cannot. */
int siteguest_sound(const struct siteguest *g, struct diag *diag) VP_MUST_USE;
/* And whether every CPU had both outcomes, and trapped where it had to. */
int siteguest_saw_both(const struct siteguest *g, bool traps, struct diag *diag) VP_MUST_USE;
/* How often a handler looked at a site again, since the probe was chosen. */
uint64_t siteguest_rereads(const struct siteguest *g);

#endif
