/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the site guests (tests/guests/sites and a folder an architecture) and their host agree on. All
 * fields are u64, little-endian, naturally aligned. The host finds `ctl` and `probes` as symbols of the
 * guest's ELF file, and their physical addresses by the program headers' p_paddr.
 */
#ifndef VP_TESTS_GUESTS_SITES_CTL_H
#define VP_TESTS_GUESTS_SITES_CTL_H

#include <stddef.h>
#include <stdint.h>

#define CTL_MAGIC    0x31656469735f7670 /* "vp_side1" */
#define CTL_CPUS_MAX 8
#define CTL_NO_PROBE UINT64_MAX
#define CTL_SET      (UINT64_MAX - 1) /* those of ctl.from to ctl.to, in turn; a round is all of them */

/* ctl.flags */
#define CTL_NO_REREAD  1
#define CTL_NO_HANDLER 2

/* ctl.expect: n << 2 | state */
#define CTL_EITHER 0
#define CTL_OLD    1
#define CTL_NEW    2

/* In ctl_cpu.last, where the call's result was right and what it left was not: CTL_BROKEN with the
 * bits of what. */
#define CTL_BROKEN        0xbad0000000000000
#define CTL_BROKEN_REGS   1 /* a register that a call preserves */
#define CTL_BROKEN_SP     2
#define CTL_BROKEN_RETURN 4 /* the return address, where a register has it */

struct ctl_cpu {
	uint64_t ticks;    /* rounds of the loop */
	uint64_t old, new; /* outcomes that are right */
	uint64_t wrong;    /* a result, register or stack that is neither's */
	uint64_t
		stale; /* old or new after `expect` had said the other, before and behind the call */
	uint64_t last; /* the last wrong result */
	uint64_t
		faults; /* exceptions that the stub's trap handler did not take; the CPU parks after
			    * the first */
	uint64_t cause, pc, addr; /* of that one */
	uint64_t traps;           /* traps taken and emulated from a record */
	uint64_t rereads;         /* traps that had no record and had gone */
	uint64_t pad[4];
};

struct ctl {
	uint64_t magic; /* CTL_MAGIC, written last: everything runs */
	uint64_t cpus;  /* CPUs in the loop */
	uint64_t probe; /* host: which probes[] every CPU loops over; ~0: none */
	uint64_t
		expect; /* host: n << 2 | state; state 0 either, 1 old, 2 new; n grows with each change */
	uint64_t n_probes;
	uint64_t
		flags; /* host: CTL_NO_REREAD: the trap handler does not read the site again (negative
			 * control); CTL_NO_HANDLER */
	uint64_t error;    /* of vpatch_stub_publish, negative: there is no magic then */
	uint64_t from, to; /* host: of CTL_SET: probes[from], .., probes[to - 1] */
	uint64_t pad[7];
	struct ctl_cpu cpu[CTL_CPUS_MAX];
};

/* probe.kind: what the edit makes of the site */
#define PROBE_CALL    1 /* a call of payload */
#define PROBE_JUMP    2 /* a branch to payload */
#define PROBE_LITERAL 3 /* nothing: the literal becomes payload */
#define PROBE_BOTH    4 /* a call of the dispatcher `to`, and the literal becomes payload */
#define PROBE_BYTES   5 /* the len bytes at payload */

/* In probe.discipline, above the mask */
#define PROBE_BY_HAND (1ull << 32) /* outside the architecture's list: named by hand */
#define PROBE_BAD     (1ull << 33) /* negative control: with CPUs inside, this is seen to go wrong */
#define PROBE_ALIKE   (1ull << 34) /* one of many: only by its name, and in sets */

struct probe {
	char name[48]; /* the site's name in the site table */
	uint64_t call; /* what the loop calls: uint64_t f(void), which contains or is the site */
	uint64_t
		payload; /* what an edit leads to: target of the new call or branch, or the literal */
	uint64_t old, new;   /* what f returns with the old and with the new in place */
	uint64_t discipline; /* 1 << VP_DISCIPLINE_*: what this probe is to be run with */
	uint64_t site;       /* address of the first byte that changes; there once the magic is */
	uint64_t len;
	uint64_t kind;
	uint64_t literal; /* of kinds 3 and 4: its address; of 3 the same as site */
	uint64_t to;      /* of kind 4 */
};

_Static_assert(sizeof(struct ctl_cpu) == 128 && sizeof(struct probe) == 128, "layout");
_Static_assert(offsetof(struct ctl, cpu) == 128, "layout");

#endif
