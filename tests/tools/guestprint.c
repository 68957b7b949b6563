// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the guest room makes of a file of guest memory:
 *   guestprint ARCH FILE BASE [-s] [-f FUNCTION] [REGISTER=VALUE...]
 * Registers by the names that the VMM's gdb stub gives them. -s prints all symbols as /proc/kallsyms
 * does; otherwise it is a summary, with times.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/ramfile.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/guest/guest.h"

static int print_sym(void *ctx, const struct guest_sym *sym)
{
	(void)ctx;
	printf("%016" PRIx64 " %c %s\n", sym->addr.v, sym->type, sym->name);
	return 0;
}

static double ms_since(uint64_t start)
{
	return (double)(clock_now() - start) / (double)CLOCK_NS_PER_MS;
}

static void print_info(const struct guest_info *i)
{
	printf("release %s\nbuild-id ", i->release);
	for (unsigned n = 0; n < i->build_id_len; n++)
		printf("%02x", i->build_id[n]);
	printf("\nboot-id ");
	for (unsigned n = 0; n < sizeof(i->boot_id); n++)
		printf("%02x", i->boot_id[n]);
	printf("\nkaslr %#" PRIx64 "\ntext %#" PRIx64 "..%#" PRIx64 "\nvmcoreinfo %#" PRIx64
	       "\nroot %#" PRIx64 "\nsymbols %zu%s\nregisters %s\n",
	       i->kaslr, i->text.v, i->text_end.v, i->vmcoreinfo.v, i->mmu.root.v, i->n_symbols,
	       i->data_symbols ? " with data" : "", i->registers_seen ? "seen" : "not seen");
}

static void print_arena(struct guest *g)
{
	struct guest_arena a;
	struct diag diag;
	uint64_t start = clock_now();

	diag_init(&diag);
	if (guest_arena_read(g, &diag, &a) < 0) {
		printf("arena: %s\n", diag.text);
		return;
	}
	printf("arena %" PRIu64 " bytes free in %zu caves, %zu records, %.2f ms\n", a.free,
	       a.n_caves, a.n_records, ms_since(start));
	for (size_t i = 0; i < a.n_caves; i++)
		printf("  cave %#" PRIx64 " %" PRIu64 "\n", a.caves[i].start.v, a.caves[i].len);
	guest_arena_deinit(&a);
}

static void print_tracer(struct guest *g, const char *name)
{
	struct guest_tracer tr;
	struct guest_sym sym;
	struct diag diag;
	uint8_t bytes[16];
	char who[256];
	uint64_t start;

	diag_init(&diag);
	if (guest_sym(g, name, 0, &diag, &sym) < 0 || guest_read(g, sym.addr, bytes, 16) < 0) {
		printf("%s: %s\n", name, diag.text);
		return;
	}
	guest_site_who(g, sym.addr, bytes, sizeof(bytes), who, sizeof(who));
	start = clock_now();
	if (guest_tracer(g, sym.addr, &diag, &tr) < 0) {
		printf("%s: %s\n", name, diag.text);
		return;
	}
	printf("%s: site held by %s; found %d flags %#" PRIx64 " at %#" PRIx64
	       " idle %d taken %d covered %d by '%s', %.2f ms\n",
	       name, who, tr.found, tr.flags, tr.flags_at.v, tr.idle, tr.taken, tr.covered, tr.who,
	       ms_since(start));
}

static void print_quiet(struct guest *g)
{
	struct guest_quiet q[4];
	struct diag diag;
	size_t n = 0;

	diag_init(&diag);
	if (guest_quiet_words(g, q, 4, &n, &diag) < 0)
		printf("quiet: %s\n", diag.text);
	for (size_t i = 0; i < n; i++)
		printf("quiet %s at %#" PRIx64 "\n", q[i].name, q[i].gpa.v);
}

static bool set_reg(const struct arch_ops *ops, struct arch_regs *regs, const char *arg)
{
	const char *eq = strchr(arg, '=');

	for (unsigned i = 0; eq && i < ARCH_REG_MAX; i++) {
		const char *name = ops->reg_names[i];

		if (!name || strlen(name) != (size_t)(eq - arg) ||
		    strncmp(name, arg, strlen(name)) != 0)
			continue;
		regs->v[i] = strtoull(eq + 1, NULL, 16);
		regs->have |= 1u << i;
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	const struct arch_ops *ops = argc > 3 ? arch_by_name(argv[1]) : NULL;
	struct arch_regs regs = {0};
	const char *functions[32];
	size_t n_functions = 0;
	bool symbols = false;
	struct vp_target *t;
	struct diag diag;
	struct guest *g;
	uint64_t start;

	diag_init(&diag);
	if (!ops)
		return 2;
	for (int i = 4; i < argc; i++) {
		if (strcmp(argv[i], "-s") == 0)
			symbols = true;
		else if (strcmp(argv[i], "-f") == 0 && i + 1 < argc && n_functions < 32)
			functions[n_functions++] = argv[++i];
		else if (!set_reg(ops, &regs, argv[i]))
			return 2;
	}
	if (ramfile_open(argv[2], vp_gpa(strtoull(argv[3], NULL, 0)), ops, regs.have ? &regs : NULL,
			 &diag, &t) < 0) {
		fprintf(stderr, "%s\n", diag.text);
		return 1;
	}
	start = clock_now();
	if (guest_open(t, 0, &diag, &g) < 0) {
		fprintf(stderr, "%s (%s)\n", diag.text, vp_err_reason(diag.err));
		vp_target_close(t);
		return 1;
	}
	if (symbols) {
		if (guest_sym_each(g, print_sym, NULL) != 0)
			return 1;
	} else {
		printf("opened in %.2f ms\n", ms_since(start));
		print_info(guest_info(g));
		print_arena(g);
		print_quiet(g);
		for (size_t i = 0; i < n_functions; i++)
			print_tracer(g, functions[i]);
	}
	guest_close(g);
	vp_target_close(t);
	return 0;
}
