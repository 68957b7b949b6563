// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Switches a function of a running Linux kernel to another one of the same type and back, at the patchable
 * entry that is found there:
 *
 *	kerneltoggle QMP FUNCTION OTHER [QTEST]
 *
 * Without QTEST every switch is made under a hold (discipline stop); with the path of QEMU's -qtest
 * socket by the live program that arch_poke gives. Each line of standard input is a number of switches;
 * a line of output says where it ended. Where the kernel's text has a cave in reach, the payload is a
 * veneer there; else OTHER's own entry. Exit 77 where no live switch is right, and the reason.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/poke.h"
#include "protocol/bytes.h"
#include "tests/lib/qtest.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/engine/poke.h"
#include "vmm-agent/guest/guest.h"

#define ENTRY_BYTES 16
#define PAIR_LEN    8
#define HOLD_NS     (5 * CLOCK_NS_PER_SEC)

struct toggle {
	struct vp_target *t;
	bool is_live; /* else by holds */
	struct vp_live *live;
	struct guest *g;
	const struct arch_ops *ops;
	struct diag diag;
	vp_gva_t at;
	vp_gpa_t gpa;
	unsigned len;
	uint8_t text[2][ARCH_WORD_MAX]; /* at rest, switched */
	struct arch_poke prog[2];       /* to rest, to switched */
	unsigned state;
	uint64_t retries; /* holds that found a vCPU inside the site */
};

/* --- what the edit is ------------------------------------------------------------------------------- */

static int entry_of(struct toggle *x, const char *name, struct guest_sym *sym, uint8_t *bytes,
		    struct arch_entry *e)
{
	int r = guest_sym(x->g, name, 0, &x->diag, sym);

	if (r == VP_OK)
		r = guest_read(x->g, sym->addr, bytes, ENTRY_BYTES);
	if (r == VP_OK)
		r = x->ops->entry(bytes, ENTRY_BYTES, sym->addr, e);
	return r < 0 ? diag_set(&x->diag, r, "entry of %s: %s", name, vp_err_sentence(r)) : VP_OK;
}

static void show_entry(const char *name, vp_gva_t at, const uint8_t *bytes,
		       const struct arch_entry *e)
{
	printf("%s at %#" PRIx64 ":", name, at.v);
	for (unsigned i = 0; i < ENTRY_BYTES; i++)
		printf("%s%02x", i % 4 ? "" : " ", bytes[i]);
	printf("; site at +%u, %u bytes\n", e->site_off, e->site_len);
}

static int write_held(struct toggle *x, vp_gpa_t at, const void *buf, size_t len)
{
	struct vp_paused *p;
	int r = vp_arm(x->t, VP_AFTER_AS_FOUND, &x->diag), end;

	if (r < 0)
		return r;
	r = vp_pause(x->t, clock_now() + HOLD_NS, &x->diag, &p);
	if (r == VP_OK) {
		r = vp_write(p, at, buf, len);
		if (r == VP_OK)
			r = vp_sync(p);
		end = vp_resume(p);
		r = r < 0 ? r : end;
	}
	vp_disarm(x->t);
	return r;
}

/* A veneer to *to in a cave in reach, where there is one: *to is then its address. */
static int place_payload(struct toggle *x, vp_gva_t at, vp_gva_t *to)
{
	uint8_t veneer[ARCH_VENEER_MAX], word[ARCH_INSN_MAX];
	struct guest_arena a;
	unsigned len, word_len;
	int r = guest_arena_read(x->g, &x->diag, &a);

	if (r < 0)
		return r;
	for (size_t i = 0; i < a.n_caves; i++) {
		vp_gva_t cave = a.caves[i].start;
		vp_gpa_t gpa;

		if (a.caves[i].len < sizeof(veneer) ||
		    x->ops->branch(word, at, cave, &word_len) < 0 ||
		    x->ops->veneer(veneer, sizeof(veneer), cave, *to, &len) < 0)
			continue;
		r = guest_text_gpa(x->g, cave, len, &gpa);
		if (r == VP_OK)
			r = write_held(x, gpa, veneer, len);
		if (r == VP_OK)
			printf("payload: %u bytes in a cave at %#" PRIx64 "\n", len, cave.v);
		*to = cave;
		guest_arena_deinit(&a);
		return r;
	}
	guest_arena_deinit(&a);
	printf("payload: no cave in reach, the other function's entry\n");
	return VP_OK;
}

static int program(struct toggle *x, bool on, const char **why)
{
	struct arch_poke_ask ask = {
		.at = x->at,
		.len = x->len,
		.old = x->text[!on],
		.new = x->text[on],
		.discipline = x->is_live ? VP_DISCIPLINE_WORD : VP_DISCIPLINE_STOP,
		.live = x->is_live,
	};

	return arch_poke(x->ops, &ask, &x->prog[on], why);
}

static int site(struct toggle *x, vp_gva_t at, const uint8_t *bytes, unsigned len, vp_gva_t to,
		const char **why)
{
	unsigned n;
	int r;

	*why = "";
	x->at = at;
	x->len = len;
	memcpy(x->text[0], bytes, len);
	r = x->ops->branch(x->text[1], at, to, &n);
	if (r == VP_OK && n != len)
		r = VP_E_RANGE;
	if (r == VP_OK)
		r = guest_text_gpa(x->g, at, len, &x->gpa);
	for (int on = 0; r == VP_OK && on < 2; on++)
		r = program(x, on, why);
	return r;
}

/* Two instructions as one edit are never right while CPUs run, and no architecture may say so. */
static int pair_is_refused(struct toggle *x, vp_gva_t at, const uint8_t *bytes)
{
	uint8_t pair[PAIR_LEN];
	struct arch_poke prog;
	const char *why = "";
	struct arch_poke_ask ask = {
		.at = at,
		.len = PAIR_LEN,
		.old = bytes,
		.new = pair,
		.live = true,
	};
	int r;

	vp_st32(pair, 0x00000297);     /* auipc t0, 0 */
	vp_st32(pair + 4, 0x000282e7); /* jalr t0, 0(t0) */
	for (int d = VP_DISCIPLINE_WORD; d <= VP_DISCIPLINE_SKIP; d++) {
		ask.discipline = (enum vp_discipline)d;
		r = arch_poke(x->ops, &ask, &prog, &why);
		if (r == VP_OK)
			return diag_set(&x->diag, VP_E_INTERNAL, "a pair was not refused");
	}
	printf("pair of instructions, live: %s\n", *why ? why : vp_err_sentence(r));
	return VP_OK;
}

static int describe(struct toggle *x, const char *name, const char *other)
{
	uint8_t bytes[ENTRY_BYTES], theirs[ENTRY_BYTES];
	struct guest_sym from, to;
	struct arch_entry e, te;
	const char *why = "";
	vp_gva_t payload;
	int r = entry_of(x, name, &from, bytes, &e);

	if (r == VP_OK)
		r = entry_of(x, other, &to, theirs, &te);
	if (r < 0)
		return r;
	show_entry(name, from.addr, bytes, &e);
	payload = to.addr;
	/* The caller's r2 is right: one kernel, one TOC (ELFv2, 2.3.2.1, the local entry point). */
	if (x->ops->id == ARCH_PPC64LE && te.site_off >= 8)
		payload.v += 8;
	r = place_payload(x, vp_gva(from.addr.v + e.site_off), &payload);
	if (r == VP_OK && x->ops->id == ARCH_RISCV64 && e.tracer_len == PAIR_LEN)
		r = pair_is_refused(x, from.addr, bytes);
	if (r < 0)
		return r;
	r = site(x, vp_gva(from.addr.v + e.site_off), bytes + e.site_off, e.site_len, payload,
		 &why);
	/* Where the site is no word that may change live, the tracer's nop beside it may be one. */
	if (r == VP_E_DISCIPLINE && !e.shared && e.tracer_len == e.site_len && e.tracer_idle) {
		printf("site: %s; the tracer's word at +%u instead\n", why, e.tracer_off);
		r = site(x, vp_gva(from.addr.v + e.tracer_off), bytes + e.tracer_off, e.tracer_len,
			 payload, &why);
	}
	return r < 0 ? diag_set(&x->diag, r, "%s: %s", name, *why ? why : vp_err_sentence(r))
		     : VP_OK;
}

/* --- switching ------------------------------------------------------------------------------------------ */

static bool inside(const struct toggle *x, const vp_gva_t *pcs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (pcs[i].v > x->at.v && pcs[i].v - x->at.v < x->len)
			return true;
	return false;
}

/* VP_E_SITE_BUSY: somebody was inside, nothing was written. */
static int in_hold(struct toggle *x, struct vp_paused *p)
{
	static vp_gva_t pcs[VP_VCPU_MAX];
	uint8_t now[ARCH_WORD_MAX];
	int r = guest_check_held(x->g, p, pcs, &x->diag);

	if (r == VP_OK)
		r = vp_read(x->t, x->gpa, now, x->len);
	if (r == VP_OK && memcmp(now, x->text[x->state], x->len) != 0)
		r = diag_set(&x->diag, VP_E_SITE_BYTES, "the site holds other bytes");
	if (r == VP_OK && inside(x, pcs, vp_target_info(x->t)->vcpus)) {
		x->retries++;
		return VP_OK;
	}
	if (r == VP_OK)
		r = vp_write(p, x->gpa, x->text[!x->state], x->len);
	if (r == VP_OK)
		r = vp_sync(p);
	if (r == VP_OK)
		x->state = !x->state;
	return r;
}

static int held(struct toggle *x)
{
	unsigned before = x->state;
	int r = VP_OK;

	for (int tries = 0; r == VP_OK && x->state == before && tries < 10; tries++) {
		struct vp_paused *p;
		int end;

		r = vp_pause(x->t, clock_now() + HOLD_NS, &x->diag, &p);
		if (r < 0)
			break;
		r = in_hold(x, p);
		end = vp_resume(p);
		r = r < 0 ? r : end;
	}
	return r == VP_OK && x->state == before ? VP_E_DEADLINE : r;
}

static int live(struct toggle *x)
{
	struct eng_poke poke = {.prog = &x->prog[!x->state], .at = x->at, .site = x->gpa};
	int r = eng_poke_run(x->live, &poke, 1, NULL, clock_now() + HOLD_NS, &x->diag, NULL);

	if (r == VP_OK)
		x->state = !x->state;
	return r;
}

static int serve(struct toggle *x)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin)) {
		unsigned long n = strtoul(line, NULL, 10);
		uint64_t start = clock_now(), ms;
		int r = x->is_live ? VP_OK : vp_arm(x->t, VP_AFTER_AS_FOUND, &x->diag);

		for (unsigned long i = 0; r == VP_OK && i < n; i++)
			r = x->is_live ? live(x) : held(x);
		if (!x->is_live)
			vp_disarm(x->t);
		if (r < 0)
			return r;
		ms = (clock_now() - start) / CLOCK_NS_PER_MS;
		printf("%s: %lu switches in %" PRIu64 " ms, %" PRIu64 " holds too early\n",
		       x->state ? "switched" : "at rest", n, ms, x->retries);
		fflush(stdout);
	}
	return VP_OK;
}

int main(int argc, char **argv)
{
	struct toggle x = {.is_live = argc == 5};
	char domain[512];
	int r;

	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: kerneltoggle QMP FUNCTION OTHER [QTEST]\n");
		return 2;
	}
	diag_init(&x.diag);
	snprintf(domain, sizeof(domain), "qmp:%s", argv[1]);
	r = x.is_live ? qtest_open(domain, argv[1], argv[4], NULL, &x.diag, &x.t)
		      : dom_open(domain, NULL, &x.diag, &x.t);
	if (r == VP_OK) {
		x.ops = vp_target_info(x.t)->arch;
		r = guest_open(x.t, GUEST_MAY_HOLD, &x.diag, &x.g);
	}
	if (r == VP_OK)
		r = describe(&x, argv[2], argv[3]);
	if (r == VP_OK && x.is_live) /* not before: the payload was written under a hold */
		r = vp_live_open(x.t, &x.diag, &x.live);
	fflush(stdout);
	if (r == VP_OK)
		r = serve(&x);
	if (r < 0)
		fprintf(stderr, "kerneltoggle: %s (%s)\n", x.diag.text, vp_err_reason(r));
	vp_live_close(x.live);
	guest_close(x.g);
	vp_target_close(x.t);
	return r == VP_OK ? 0 : r == VP_E_DISCIPLINE ? 77 : 1;
}
