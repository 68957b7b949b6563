// SPDX-License-Identifier: GPL-2.0-only
/* Assembly: no patchable entry. */
/* refused: no-patch-site */
#include <vpatch/hotfix.h>

#include <linux/types.h>

VPATCH_NAME("nosite");
VPATCH_VERSION("1");

static void *fixed_memcpy(void *to, const void *from, size_t n)
{
	return to;
}

VPATCH_REPLACE(memcpy, fixed_memcpy);
