/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What becomes of each section that a compiler makes of kernel code: carried, dropped, refused. */
#ifndef VP_HOTFIX_SECTION_H
#define VP_HOTFIX_SECTION_H

#include "vmm-agent/hotfix/object.h"

enum section_fate {
	SECTION_CARRY, /* part of the image */
	SECTION_DROP,  /* the payload is the same without it */
	SECTION_META,  /* read while packing: .vpatch.*, and the tables packed with the object */
	SECTION_ALT,   /* alternatives: dropped if each original instruction is always right */
	SECTION_REFUSE,
};

/* Decides by name, type and flags. For SECTION_REFUSE, *why_ret says why and what to do. */
enum section_fate section_fate(const struct obj_section *s, const char **why_ret);

#endif
