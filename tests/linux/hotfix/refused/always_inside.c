// SPDX-License-Identifier: GPL-2.0-only
/* No moment comes at which nobody is inside: idle tasks never leave it. */
/* refused: do_idle */
#include <vpatch/hotfix.h>

VPATCH_NAME("always_inside");
VPATCH_VERSION("1");
VPATCH_CONSISTENCY_QUIESCE;

static void quiet_do_idle(void)
{
}

VPATCH_REPLACE(do_idle, quiet_do_idle);
