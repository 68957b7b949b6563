// SPDX-License-Identifier: GPL-2.0-only
/* The kernel has several functions of this name. */
/* refused: symbol-ambiguous */
#include <vpatch/hotfix.h>

#include <linux/types.h>

VPATCH_NAME("ambiguous");
VPATCH_VERSION("1");

static ssize_t fixed_active_show(void *a, void *b, char *buf)
{
	return 0;
}

VPATCH_REPLACE(active_show, fixed_active_show);
