/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between main.c and the architecture's half of a site guest. */
#ifndef VP_TESTS_GUESTS_SITES_GUEST_H
#define VP_TESTS_GUESTS_SITES_GUEST_H

#include "guest-stub/stub.h"
#include "protocol/edit.h"
#include "tests/guests/sites/ctl.h"

#define BIT(discipline) (1ull << (VP_DISCIPLINE_##discipline))
/* 32-bit guests: an address is a constant of the linker's, and a u64 beside it stays zero. */
#define ADDRESS(x)      ((uint64_t)(uintptr_t)(x))

/* --- of main.c, called by the architecture ------------------------------------------------------- */

/* Of every CPU, on its own stack and the final page tables; 0 comes first and alone. */
void site_main(unsigned cpu) __attribute__((noreturn));
/* A trap instruction at pc. False: it was nobody's, and site_fault is next. */
bool site_trap(unsigned cpu, uintptr_t pc, struct vpatch_trap *ret);
/* Any other exception. */
void site_fault(unsigned cpu, uint64_t cause, uint64_t pc, uint64_t addr) __attribute__((noreturn));

/* --- of the architecture --------------------------------------------------------------------- */

extern struct probe probes[];
extern const unsigned n_probes;
extern const struct vp_dispatcher dispatchers[];
extern const unsigned n_dispatchers;
/* What the linker script has around the build-id. */
extern const uint8_t build_id[20];

/* f() with every register that calls preserve filled; *broken gets CTL_BROKEN_*, 0 if all came back. */
uint64_t arch_call(uint64_t f, uint64_t *broken);
/* CPU `cpu` goes to site_main; false if there is none. */
bool arch_start(unsigned cpu);
void arch_relax(void);
void arch_park(void) __attribute__((noreturn));

#endif
