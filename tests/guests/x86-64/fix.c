// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A hotfix for the bare-metal guest. Its functions take the CPU's struct bare_cpu, count
 * themselves there, and tell by their result which one ran. They touch nothing else, so that they
 * run at CPL3 too.
 */
#include <vpatch/hotfix.h>
#include "tests/guests/x86-64/ctl.h"

static long fixed(struct bare_cpu *cpu)
{
	cpu->new_calls++;
	return 1;
}

VPATCH_NAME("bare-fix");
VPATCH_VERSION("1");
VPATCH_FIXES("TEST-BARE-0001");
/* The synthetic kernel has symbols of such clones; nothing calls them. */
VPATCH_CLONES(guest_func0, "guest_func0.constprop.0 guest_func0.isra.0.part.3");
VPATCH_REPLACE(guest_func0, fixed);
