// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Prints the symbols of a running guest as its own /proc/kallsyms does, without the modules':
 *   guestsyms DOMAIN
 */
#include <inttypes.h>
#include <stdio.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/guest/guest.h"

static int print_sym(void *ctx, const struct guest_sym *sym)
{
	(void)ctx;
	return printf("%016" PRIx64 " %c %s\n", sym->addr.v, sym->type, sym->name) < 0;
}

int main(int argc, char **argv)
{
	struct vp_target *t = NULL;
	struct guest *g = NULL;
	struct diag diag;
	uint64_t start;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: guestsyms DOMAIN\n");
		return 2;
	}
	diag_init(&diag);
	r = dom_open(argv[1], NULL, &diag, &t);
	start = clock_now();
	if (r == VP_OK)
		r = guest_open(t, GUEST_MAY_HOLD, &diag, &g);
	if (r == VP_OK) {
		fprintf(stderr, "guestsyms: %zu symbols, registers %s, %.1f ms\n",
			guest_info(g)->n_symbols,
			guest_info(g)->registers_seen ? "seen" : "not seen",
			(double)(clock_now() - start) / (double)CLOCK_NS_PER_MS);
		r = guest_sym_each(g, print_sym, NULL);
	} else {
		fprintf(stderr, "guestsyms: %s\n", diag.text);
	}
	guest_close(g);
	vp_target_close(t);
	return r == VP_OK ? 0 : 1;
}
