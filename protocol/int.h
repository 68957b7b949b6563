/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The one place that says where integer types come from: the compiler's own freestanding
 * headers in guests and on the host, <linux/types.h> in the Linux module.
 */
#ifndef VP_PROTOCOL_INT_H
#define VP_PROTOCOL_INT_H

#ifdef __KERNEL__
#include <linux/types.h>
#define UINT32_MAX ((uint32_t)~0u)
#define UINT64_MAX ((uint64_t)~0ull)
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#endif
