/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Site tables: the bytes as they are, and once more with generations and checksum made right, so
 * that what lies behind them is reached. What is accepted must be all inside the bytes, in order,
 * and found again.
 * VP_PLANT_SITES takes one bounds check out (protocol/sites.c).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "protocol/sites.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_sites(const struct vp_sites *s)
{
	uint64_t next = 0;

	for (uint32_t i = 0; i < s->sites.n; i++) {
		struct vp_site site;
		struct vp_dispatcher d;
		uint32_t at;

		must(vp_sites_site(s, i, &site) == VP_OK);
		must(site.len >= 1 && site.len <= VP_SITE_MAX && site.at.v >= next);
		next = site.at.v + site.len - 1;
		must(vp_sites_find(s, site.at, &at) == VP_OK && at == i);
		must(vp_sites_find(s, vp_gva(next), &at) == VP_OK && at == i);
		if (site.name) {
			int r = vp_sites_named(s, site.name, &at);

			must(strlen(site.name) <= VP_SITE_NAME_MAX);
			must(r == VP_E_SYM_AMBIGUOUS || (r == VP_OK && at == i));
		}
		if (site.dispatcher != VP_SITE_NO_DISPATCHER)
			must(vp_sites_dispatcher(s, site.dispatcher, &d) == VP_OK);
		must(site.literal.v == 0 || vp_sites_find(s, site.literal, &at) == VP_E_NO_SITE);
	}
}

static void check(const uint8_t *buf, size_t len)
{
	struct vp_sites_peek p;
	struct vp_sites s;
	uint32_t at;

	if (vp_sites_peek(buf, len, &p) < 0)
		return;
	must(p.size <= VP_SITES_SIZE_MAX);
	if (vp_sites_decode(buf, len, p.self, &s) < 0)
		return;
	must(s.size <= len);
	check_sites(&s);
	for (uint32_t i = 0; i < s.arenas.n; i++) {
		struct vp_arena a;

		must(vp_sites_arena(&s, i, &a) == VP_OK && a.len != 0);
		must(vp_sites_find(&s, a.at, &at) == VP_E_NO_SITE);
	}
	for (uint32_t i = 0; i < s.dispatchers.n; i++) {
		struct vp_dispatcher d;

		must(vp_sites_dispatcher(&s, i, &d) == VP_OK);
		must(vp_sites_find(&s, d.at, &at) == VP_E_NO_SITE);
	}
	for (uint32_t i = 0; i < s.ledgers.n; i++) {
		struct vp_ledger_space l;

		must(vp_sites_ledger(&s, i, &l) == VP_OK && l.len != 0);
		must(vp_sites_find(&s, l.at, &at) == VP_E_NO_SITE);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	memcpy(copy, data, size);
	check(copy, size);
	if (vp_sites_seal(copy, size) == VP_OK) {
		uint32_t tail = vp_ld32(copy + VP_SITES_OFF_SIZE) - VP_SITES_TAIL;

		vp_st32(copy + VP_SITES_OFF_GENERATION, 0);
		vp_st32(copy + tail, 0);
		check(copy, size);
	}
	free(copy);
	return 0;
}
