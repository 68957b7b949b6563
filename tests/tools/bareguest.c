// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * bareguest VMM BUSY [QEMU-ARGUMENT...]: runs a bare-metal guest of two CPUs for a shell.
 *
 * Prints "up QMP-SOCKET PID" when both have come, then answers each line of its standard input by
 * "ok" or by what is wrong, and ends with the guest when there is no more. VMM is "microvm kvm",
 * "microvm tcg", "pc kvm" or "pc tcg".
 *
 *   calls N       every busy CPU makes N more calls
 *   flip N        the Nth change was seen by every busy CPU
 *   ballast N     the last N MiB of its memory, which it does not use, hold something
 *   check N       after N changes: nothing impossible was seen
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/bare.h"
#include "vmm-agent/base/clock.h"

#define PATIENCE (20 * CLOCK_NS_PER_SEC)

static const char *answer(struct bare *b, const char *what, uint32_t n)
{
	const char *words = NULL;

	if (strcmp(what, "calls") == 0)
		return bare_wait_calls(b, n, PATIENCE) ? "ok" : "its CPUs do not call";
	if (strcmp(what, "flip") == 0)
		return bare_wait_flip(b, n, PATIENCE) ? "ok" : "the change is not seen";
	if (strcmp(what, "ballast") == 0 && b->ram && n <= BARE_RAM_MIB / 2) {
		memset((uint8_t *)b->ram + ((size_t)(BARE_RAM_MIB - n) << 20), 0x5a,
		       (size_t)n << 20);
		return "ok";
	}
	if (strcmp(what, "check") == 0)
		words = bare_check(b, n);
	else
		return "what?";
	return words ? words : "ok";
}

static bool serve(struct bare *b)
{
	char line[128], what[32];
	unsigned n;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%31s %u", what, &n) != 2)
			return false;
		printf("%s\n", answer(b, what, n));
	}
	return true;
}

int main(int argc, char **argv)
{
	struct bare_opts opts = {.vmm = BARE_VMMS, .vcpus = 2, .ring = 3};
	struct bare b;
	bool ok;

	for (unsigned i = 0; argc > 2 && i < BARE_VMMS; i++)
		if (strcmp(argv[1], bare_vmm_name(i)) == 0)
			opts.vmm = i;
	if (opts.vmm == BARE_VMMS) {
		fprintf(stderr, "usage: bareguest VMM BUSY [QEMU-ARGUMENT...]\n");
		return 2;
	}
	opts.busy = (unsigned)atoi(argv[2]);
	opts.extra = (const char *const *)argv + 3;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!bare_start(&b, &opts))
		return 1;
	bare_nice(&b);
	printf("up %s %d\n", b.qmp, (int)b.pid);
	ok = serve(&b);
	bare_stop(&b);
	return ok ? 0 : 1;
}
