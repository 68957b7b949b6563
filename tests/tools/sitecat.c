// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a guest's stub publishes, as the host reads it, and the host's stores into it by hand:
 *   sitecat DOMAIN list              a line for each part of the table and each of its sites
 *   sitecat DOMAIN put OFFSET FILE   a file's bytes into the first arena; prints where they lie
 *   sitecat DOMAIN fill OFFSET LEN   filler, where an arena has held something
 *   sitecat DOMAIN literal NAME V    one store of a pointer's size to the literal of that name
 *   sitecat DOMAIN ledger V          the first word of ledger space
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/guest/guest.h"
#include "vmm-agent/guest/sites.h"

#define PAGE    4096u
#define PUT_MAX 4096

static int list(const struct guest_sites *s)
{
	const struct vp_sites *t = &s->table;
	struct vp_ledger_space ledger;
	struct vp_arena arena;
	struct vp_site site;
	int r = VP_OK;

	printf("table %#" PRIx64 " size %u generation %u arch %u id ", t->self.v, t->size,
	       t->generation, t->arch);
	for (unsigned i = 0; i < t->id_len; i++)
		printf("%02x", t->id[i]);
	printf("\n");
	for (uint32_t i = 0; r == VP_OK && i < t->arenas.n; i++) {
		r = vp_sites_arena(t, i, &arena);
		printf("arena %#" PRIx64 " len %#" PRIx64 "\n", arena.at.v, arena.len);
	}
	for (uint32_t i = 0; r == VP_OK && i < t->ledgers.n; i++) {
		r = vp_sites_ledger(t, i, &ledger);
		printf("ledger %#" PRIx64 " len %#" PRIx64 "\n", ledger.at.v, ledger.len);
	}
	for (uint32_t i = 0; r == VP_OK && i < t->sites.n; i++) {
		r = vp_sites_site(t, i, &site);
		printf("site %016" PRIx64 " kind %u sequence %u flags %u rest ", site.at.v,
		       site.kind, site.sequence, site.flags);
		for (unsigned b = 0; b < site.len; b++)
			printf("%02x", site.rest[b]);
		printf(" %s\n", site.name ? site.name : "-");
	}
	return r;
}

/* In one window, after the table was found to be the same. */
static int write_held(struct guest_sites *s, struct vp_paused *p, vp_gva_t at, size_t len,
		      enum guest_sites_use use, const uint8_t *buf)
{
	int r = guest_sites_still(s);
	vp_gpa_t gpa;

	for (size_t done = 0, n; r == VP_OK && done < len; done += n) {
		n = PAGE - (at.v + done) % PAGE;
		if (n > len - done)
			n = len - done;
		r = guest_sites_gpa(s, vp_gva(at.v + done), n, use, &gpa);
		if (r == VP_OK)
			r = vp_write(p, gpa, buf + done, n);
	}
	return r == VP_OK ? vp_sync(p) : r;
}

static int store(struct guest_sites *s, vp_gva_t at, size_t len, enum guest_sites_use use,
		 const void *buf)
{
	struct vp_paused *p;
	int r = vp_arm(s->t, VP_AFTER_AS_FOUND, NULL), end;

	if (r < 0)
		return r;
	r = vp_pause(s->t, clock_now() + CLOCK_NS_PER_SEC, NULL, &p);
	if (r == VP_OK) {
		r = write_held(s, p, at, len, use, buf);
		end = vp_resume(p);
		r = r < 0 ? r : end;
	}
	vp_disarm(s->t);
	return r;
}

static int put(struct guest_sites *s, uint64_t off, const char *file)
{
	uint8_t code[PUT_MAX];
	struct vp_arena arena;
	FILE *f = fopen(file, "rb");
	size_t n = f ? fread(code, 1, sizeof(code), f) : 0;
	int r = vp_sites_arena(&s->table, 0, &arena);

	if (f)
		fclose(f);
	if (r < 0 || n == 0 || !vp_fits(off, n, arena.len))
		return r < 0 ? r : VP_E_RANGE;
	printf("%#" PRIx64 "\n", arena.at.v + off);
	return store(s, vp_gva(arena.at.v + off), n, GUEST_SITES_TEXT, code);
}

static int fill(struct guest_sites *s, uint64_t off, uint64_t len)
{
	uint8_t filler[PUT_MAX];
	struct vp_arena arena;
	int r = vp_sites_arena(&s->table, 0, &arena);

	if (r < 0 || len > sizeof(filler) || !vp_fits(off, len, arena.len))
		return r < 0 ? r : VP_E_RANGE;
	for (uint64_t i = 0; i < len; i++)
		filler[i] = arena.filler[(off + i) % arena.filler_len];
	return store(s, vp_gva(arena.at.v + off), len, GUEST_SITES_TEXT, filler);
}

static int literal(struct guest_sites *s, const char *name, uint64_t v)
{
	struct vp_site site;
	uint8_t word[8];
	uint32_t i;
	int r = vp_sites_named(&s->table, name, &i);

	if (r == VP_OK)
		r = vp_sites_site(&s->table, i, &site);
	if (r < 0 || site.kind != VP_SITE_LITERAL)
		return r < 0 ? r : VP_E_NO_SITE;
	vp_st64(word, v);
	return store(s, site.at, site.len, GUEST_SITES_DATA, word);
}

static int ledger(struct guest_sites *s, uint64_t v)
{
	struct vp_ledger_space space;
	uint8_t word[8];
	int r = vp_sites_ledger(&s->table, 0, &space);

	vp_st64(word, v);
	return r < 0 ? r : store(s, space.at, sizeof(word), GUEST_SITES_DATA, word);
}

static int run(struct guest_sites *s, int n, char **arg)
{
	if (n == 1 && !strcmp(arg[0], "list"))
		return list(s);
	if (n == 3 && !strcmp(arg[0], "put"))
		return put(s, strtoull(arg[1], NULL, 0), arg[2]);
	if (n == 3 && !strcmp(arg[0], "fill"))
		return fill(s, strtoull(arg[1], NULL, 0), strtoull(arg[2], NULL, 0));
	if (n == 3 && !strcmp(arg[0], "literal"))
		return literal(s, arg[1], strtoull(arg[2], NULL, 0));
	if (n == 2 && !strcmp(arg[0], "ledger"))
		return ledger(s, strtoull(arg[1], NULL, 0));
	return VP_E_USAGE;
}

int main(int argc, char **argv)
{
	struct vp_target *t = NULL;
	struct guest_sites *s = NULL;
	struct diag diag;
	int r;

	if (argc < 3) {
		fprintf(stderr, "usage: sitecat DOMAIN list|put|fill|literal|ledger ...\n");
		return 2;
	}
	diag_init(&diag);
	r = dom_open(argv[1], NULL, &diag, &t);
	if (r == VP_OK)
		r = guest_sites_open(t, GUEST_MAY_HOLD, &diag, &s);
	if (r < 0) {
		fprintf(stderr, "sitecat: %s: %s\n", vp_err_reason(r), diag.text);
	} else {
		r = run(s, argc - 2, argv + 2);
		if (r < 0)
			fprintf(stderr, "sitecat: %s\n", vp_err_reason(r));
	}
	guest_sites_close(s);
	vp_target_close(t);
	return r == VP_OK ? 0 : 1;
}
