/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Poke programs that are known to be wrong, as data: CPUs that run the site meanwhile have to be seen to go
 * wrong. Some are steps of their own, others the right program with one thing left out.
 */
#ifndef VP_TESTS_LIB_SITEBAD_H
#define VP_TESTS_LIB_SITEBAD_H

#include "arch/poke.h"

#define SITEBAD_SITE_MAX \
	16 /* bytes: more than an edit may have, which is what is wrong with some */
#define SITEBAD_STEPS 4

enum sitebad_from {
	SITEBAD_NEW,
	SITEBAD_OVER, /* a branch over the whole site */
};

struct sitebad {
	const char *name;
	const char *words; /* what is wrong */
	enum arch_id arch; /* ARCH_COUNT: every one */
	unsigned len;      /* of the site; 0: any */
	bool across;       /* a site that straddles a word */
	bool held;         /* every vCPU is held meanwhile, wherever it stands */
	bool native;       /* what tears it is a real CPU: by its name alone */
	bool no_reread;    /* goes wrong with a handler that does not read the site again */
	/* the program of this discipline, less: */
	enum vp_discipline of; /* 0: the steps below */
	bool no_record;
	bool forget_early; /* the record goes before every vCPU has left the handler */
	struct {
		uint8_t off, len;
		enum sitebad_from from;
		enum arch_sync sync;
	} step[SITEBAD_STEPS];
};

/* Number i; NULL behind the last. */
const struct sitebad *sitebad_at(unsigned i);

/* Whether it is about such a site; old and new of the ask may have SITEBAD_SITE_MAX bytes. */
bool sitebad_fits(const struct sitebad *b, const struct arch_ops *ops,
		  const struct arch_poke_ask *ask);
int sitebad_make(const struct sitebad *b, const struct arch_ops *ops,
		 const struct arch_poke_ask *ask, struct arch_poke *ret) VP_MUST_USE;

/* A trap's record goes at once behind the last store. Other programs stay as they are. */
void sitebad_forget_early(struct arch_poke *p);

#endif
