/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One probe of a site guest and the programs that toggle it. */
#ifndef VP_TESTS_LIB_SITEJOB_H
#define VP_TESTS_LIB_SITEJOB_H

#include "tests/lib/sitebad.h"
#include "tests/lib/siteguest.h"
#include "vmm-agent/engine/poke.h"

struct sitejob {
	struct siteguest *g;
	const struct probe *p;
	vp_gva_t at;
	vp_gpa_t site, literal;
	unsigned len;
	uint8_t text[2][SITEBAD_SITE_MAX]; /* old, new */
	uint64_t value[2];                 /* of the literal */
	enum vp_discipline discipline;     /* 0: the least disturbing */
	const struct sitebad *bad;         /* NULL: the right program */
	bool early;                        /* sitebad_forget_early */
	struct arch_poke prog[2];          /* to old, to new */
};

/* What the edit is, with old in place. The caller chooses discipline and bad, then makes. */
int sitejob_describe(struct sitejob *j, struct siteguest *g, unsigned probe, bool early,
		     struct diag *diag) VP_MUST_USE;
struct arch_poke_ask sitejob_ask(const struct sitejob *j, bool on);
int sitejob_make(struct sitejob *j, struct diag *diag) VP_MUST_USE;

/* record: of discipline trap. */
struct eng_poke sitejob_poke(const struct sitejob *j, bool on, vp_gpa_t record);

#endif
