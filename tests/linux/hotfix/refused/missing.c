// SPDX-License-Identifier: GPL-2.0-only
/* A function that no kernel has. */
/* refused: symbol-unknown */
#include <vpatch/hotfix.h>

#include <linux/types.h>

VPATCH_NAME("missing");
VPATCH_VERSION("1");

static void fixed_nothing(void)
{
}

VPATCH_REPLACE(vpatch_no_such_function, fixed_nothing);
