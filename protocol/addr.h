/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* Guest addresses know their space: the two types do not convert into each other. */
#ifndef VP_PROTOCOL_ADDR_H
#define VP_PROTOCOL_ADDR_H

#include "protocol/int.h"

/* Guest physical address, in bytes. */
typedef struct {
	uint64_t v;
} vp_gpa_t;

/* Guest virtual address, in bytes, as the guest kernel's own page tables map it. */
typedef struct {
	uint64_t v;
} vp_gva_t;

static inline vp_gpa_t vp_gpa(uint64_t v)
{
	return (vp_gpa_t){v};
}

static inline vp_gva_t vp_gva(uint64_t v)
{
	return (vp_gva_t){v};
}

#endif
