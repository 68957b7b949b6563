// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Every function entry of a guest that has a site table, changed in one hold and put back in a second:
 *
 *	manysites DOMAIN [SECONDS]     one line: `sites N pages N to US back US`
 *
 * Each five bytes of nop become another five bytes of nop, so that nothing but the bytes changes (x86-64).
 * In the hold all of them are read and compared, written, and read and compared again. It has a deadline of
 * its own: when it passes, what was written is put back in the same hold. The times are from the guest's first
 * stopped vCPU until it runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/guest/guest.h"
#include "vmm-agent/guest/sites.h"

#define LEN  5u
#define PAGE 4096u

static const uint8_t nops[2][LEN] = {
	{0x0f, 0x1f, 0x44, 0x00, 0x00}, /* nopl 0(%rax,%rax); Intel SDM vol. 2B, NOP, table 4-12 */
	{0x66, 0x0f, 0x1f, 0x40, 0x00}, /* nopw 0(%rax) */
};

struct many {
	struct vp_target *t;
	struct vp_io *io;
	size_t n, pages;
	uint64_t limit; /* ns a hold may take */
	struct diag diag;
};

static int collect(struct many *m, const struct guest_sites *s)
{
	int r = VP_OK;

	m->io = calloc(s->table.sites.n + 1, sizeof(*m->io));
	if (!m->io)
		return VP_E_NOMEM;
	for (uint32_t i = 0; r == VP_OK && i < s->table.sites.n; i++) {
		struct vp_site site;
		vp_gpa_t at;

		r = vp_sites_site(&s->table, i, &site);
		if (r < 0 || site.kind != VP_SITE_FUNCTION || site.len != LEN ||
		    memcmp(site.rest, nops[0], LEN) != 0)
			continue;
		r = guest_sites_gpa(s, site.at, LEN, GUEST_SITES_TEXT, &at);
		if (r == VP_E_RANGE) { /* over the end of a page that the next is not behind */
			r = VP_OK;
			continue;
		}
		if (m->n == 0 || m->io[m->n - 1].at.v / PAGE != at.v / PAGE)
			m->pages++;
		m->io[m->n++] = (struct vp_io){.at = at, .len = LEN};
	}
	return r;
}

/* Whether all of them hold these bytes. */
static int compare(struct many *m, struct vp_paused *p, const uint8_t *want)
{
	uint8_t now[LEN];
	int r = VP_OK;

	if (p)
		vp_read_ahead(p);
	for (size_t i = 0; r == VP_OK && i < m->n; i++) {
		r = vp_read(m->t, m->io[i].at, now, LEN);
		if (r == VP_OK && memcmp(now, want, LEN) != 0)
			r = VP_E_GUEST_CHANGED;
	}
	return r;
}

static int write_all(struct many *m, struct vp_paused *p, const uint8_t *bytes)
{
	for (size_t i = 0; i < m->n; i++)
		m->io[i].buf = (void *)(uintptr_t)bytes;
	return vp_write_all(p, m->io, m->n);
}

static int in_hold(struct many *m, struct vp_paused *p, uint64_t deadline, bool back)
{
	int r = compare(m, p, nops[back]), undo;

	if (r == VP_OK && clock_left(deadline) == 0)
		return VP_E_DEADLINE;
	if (r < 0)
		return r;
	r = write_all(m, p, nops[!back]);
	if (r == VP_OK)
		r = compare(m, p, nops[!back]);
	if (r == VP_OK && clock_left(deadline) == 0)
		r = VP_E_DEADLINE;
	if (r < 0) {
		undo = write_all(m, p, nops[back]);
		r = undo < 0 ? VP_E_TORN : r;
	}
	undo = vp_sync(p);
	return r == VP_OK ? undo : r;
}

static int change(struct many *m, bool back, double *us)
{
	uint64_t deadline, since;
	struct vp_paused *p;
	int r, end;

	vp_note_reads(m->t, true);
	r = compare(m, NULL, nops[back]);
	vp_note_reads(m->t, false);
	if (r == VP_OK)
		r = vp_arm(m->t, VP_AFTER_AS_FOUND, &m->diag);
	if (r < 0)
		return r;
	vp_touch_ahead(m->t);
	deadline = clock_in(m->limit);
	r = vp_pause(m->t, deadline, &m->diag, &p);
	if (r == VP_OK) {
		since = vp_held_since(p);
		r = in_hold(m, p, deadline, back);
		end = vp_resume(p);
		*us = (double)(clock_now() - since) / 1000;
		r = r < 0 ? r : end;
	}
	vp_disarm(m->t);
	return r;
}

int main(int argc, char **argv)
{
	struct many m = {.limit = 10 * CLOCK_NS_PER_SEC};
	struct guest_sites *s = NULL;
	double us[2] = {0};
	int r;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: manysites DOMAIN [SECONDS]\n");
		return 2;
	}
	if (argc == 3)
		m.limit = strtoull(argv[2], NULL, 10) * CLOCK_NS_PER_SEC;
	diag_init(&m.diag);
	r = dom_open(argv[1], NULL, &m.diag, &m.t);
	if (r == VP_OK)
		r = guest_sites_open(m.t, GUEST_MAY_HOLD, &m.diag, &s);
	if (r == VP_OK)
		r = collect(&m, s);
	for (int back = 0; r == VP_OK && back < 2; back++)
		r = change(&m, back, &us[back]);
	if (r == VP_OK)
		printf("sites %zu pages %zu to %.0f back %.0f\n", m.n, m.pages, us[0], us[1]);
	else
		fprintf(stderr, "manysites: %s: %s\n", vp_err_reason(r), m.diag.text);
	guest_sites_close(s);
	vp_target_close(m.t);
	free(m.io);
	return r == VP_OK ? 0 : 1;
}
