// SPDX-License-Identifier: GPL-2.0-only
/* The compiler made clones of this function, which would go on running the old code. */
/* refused: function-clones */
#include <vpatch/hotfix.h>

#include <linux/device.h>

VPATCH_NAME("clones");
VPATCH_VERSION("1");

static void fixed_driver_deferred_probe_add(struct device *dev)
{
}

VPATCH_REPLACE(driver_deferred_probe_add, fixed_driver_deferred_probe_add);
