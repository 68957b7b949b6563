// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Makes the bare-metal x86-64 guest, and hotfixes for it.
 *
 *   mkguest guest BOOT.bin OUT.elf [SITES]      a kernel that a VMM starts by its PVH note
 *   mkguest fix SOURCE.c OUT.vpatch             a hotfix from C, by <vpatch/hotfix.h>
 *   mkguest sites N OUT.vpatch                  one that replaces site_00000 .. by one function
 *
 * fix and sites run $CC (default gcc) in the top of the source tree.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/barefix.h"
#include "tests/lib/bareimg.h"

static int usage(void)
{
	fputs("usage: mkguest guest BOOT.bin OUT.elf [SITES]\n"
	      "       mkguest fix SOURCE.c OUT.vpatch\n"
	      "       mkguest sites N OUT.vpatch\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct diag diag;
	int r;

	diag_init(&diag);
	if (argc == 5 && strcmp(argv[1], "guest") == 0)
		r = bareimg_write(argv[2], (unsigned)strtoul(argv[4], NULL, 10), argv[3], &diag);
	else if (argc == 4 && strcmp(argv[1], "guest") == 0)
		r = bareimg_write(argv[2], 0, argv[3], &diag);
	else if (argc == 4 && strcmp(argv[1], "fix") == 0)
		r = barefix_build(argv[2], argv[3], &diag);
	else if (argc == 4 && strcmp(argv[1], "sites") == 0)
		r = barefix_sites((unsigned)strtoul(argv[2], NULL, 10), argv[3], &diag);
	else
		return usage();
	if (r < 0)
		fprintf(stderr, "mkguest: %s\n", diag.text);
	return r < 0;
}
