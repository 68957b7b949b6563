/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bare-metal x86-64 guest, run and checked: CPUs that call a function for ever and know at each
 * call which results are possible (tests/guests/x86-64/ctl.h says what they keep).
 *
 *   struct bare b;
 *   struct bare_opts opts = {.vmm = BARE_MICROVM_KVM, .vcpus = 2, .busy = 2, .ring = 3};
 *   if (bare_missing(opts.vmm)) skip();
 *   bare_start(&b, &opts);                  false: it said why
 *   ... open b.name, apply a hotfix ...
 *   bare_wait_flip(&b, 1, 5 * SECOND);      every busy CPU got the new result
 *   ... revert it ...
 *   bare_wait_flip(&b, 2, 5 * SECOND);
 *   bare_check(&b, 2);                      NULL, or words about what cannot be
 *   bare_stop(&b);
 *
 * One toggle at a time: the next one only when every busy CPU has seen the last. Then the number of
 * flips that the guest has counted equals the number of toggles, unless a CPU went back.
 */
#ifndef VP_TESTS_LIB_BARE_H
#define VP_TESTS_LIB_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BARE_RAM_MIB 64

enum bare_vmm {
	BARE_MICROVM_KVM,
	BARE_MICROVM_TCG,
	BARE_PC_KVM,
	BARE_PC_TCG,
	BARE_COMMAND, /* opts.command */
	BARE_VMMS = BARE_COMMAND,
};

struct bare_opts {
	enum bare_vmm vmm;
	unsigned vcpus;  /* 1 to 16 */
	unsigned busy;   /* of them call, the first ones; the others rest */
	unsigned ring;   /* 3 or 0: where they call */
	unsigned sites;  /* call site_00000 .. in turn, so many of them; 0: guest_func0 */
	const char *elf; /* NULL: guest.elf, or many.elf when sites is set */
	bool anonymous;  /* RAM that is no file of ours: only the VMM has it mapped; QEMU alone */
	/* Of anonymous: what QEMU's RAM is instead of "memory-backend-ram", with its options. */
	const char *backend;
	/* More arguments for QEMU; of BARE_COMMAND the VMM itself, which is given three more: the
	 * ELF file, the file that is to be its RAM (of BARE_RAM_MIB), the number of vCPUs. Both end
	 * with NULL. */
	const char *const *extra;
	const char *const *command;
};

struct bare {
	struct bare_opts opts;
	pid_t pid;
	char dir[80];   /* temporary */
	char qmp[104];  /* the socket; "" of BARE_COMMAND */
	char name[112]; /* what dom_open takes */
	void *ram;      /* NULL when anonymous */
	int mem;        /* /proc/PID/mem when anonymous */
	uint64_t hva;   /* then, of the control block */
	uint64_t text_hva;
	uint64_t tsc, ns;   /* both at the start: how fast the TSC is */
	uint64_t booted_ns; /* from start to the guest's first sign */
	char words[320];
};

const char *bare_vmm_name(enum bare_vmm vmm);

/* Why it cannot run on this machine; NULL if it can. */
const char *bare_missing(enum bare_vmm vmm);

/* The path of a file that the build has made beside the guest, such as fix.vpatch. */
const char *bare_file(const char *name, char *buf, size_t len);

/* Returns once all vCPUs have arrived and the busy ones call. False with words on stderr; nothing
 * is left then. The VMM has VP_RUN in its environment if we have, and dies with us. */
bool bare_start(struct bare *b, const struct bare_opts *opts);
void bare_stop(struct bare *b); /* by pid, waited for; fine on a zeroed one */

/* The threads of its native CPUs, at most cap; how many. */
unsigned bare_threads(const struct bare *b, pid_t *ret, unsigned cap);

/* Its CPUs yield to everything else on the host (SCHED_IDLE): it is there to use a function, not to keep
 * the host from the test. */
void bare_nice(const struct bare *b);

uint32_t bare_flips(const struct bare *b);
uint64_t bare_iterations(const struct bare *b, unsigned cpu);

/* Until the guest has counted so many flips and every busy CPU's last result is that of them. */
bool bare_wait_flip(const struct bare *b, uint32_t flips, uint64_t timeout_ns);

/* Until every busy CPU has made n more calls. */
bool bare_wait_calls(const struct bare *b, uint64_t n, uint64_t timeout_ns);

/*
 * After bare_wait_flip of as many toggles: NULL if all that the guest saw is possible, else words
 * about the first thing that is not: an exception, a result that no function gives or that is older
 * than one seen before, a call that was not counted, a CPU that turned more or less often.
 */
const char *bare_check(struct bare *b, uint32_t toggles);

/* The longest time between two calls on any busy CPU since the last reset, which waits until every
 * busy CPU has forgotten (false: it did not). */
bool bare_gap_reset(const struct bare *b, uint64_t timeout_ns);
uint64_t bare_gap_cycles(const struct bare *b);
uint64_t bare_gap_ns(const struct bare *b);

/* Where the function that is called, or site i, lies. */
uint64_t bare_site_gva(const struct bare *b, unsigned i);
uint64_t bare_site_gpa(const struct bare *b, unsigned i);

/* Guest text as the host sees it, changed behind everybody's back: one store where it lies within
 * an aligned word of 8 bytes. Under TCG the guest does not notice. */
void bare_peek_text(const struct bare *b, uint64_t gpa, void *buf, size_t len);
void bare_poke_text(const struct bare *b, uint64_t gpa, const void *buf, size_t len);

#endif
