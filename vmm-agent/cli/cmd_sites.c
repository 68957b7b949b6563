/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arch/poke.h"

static const char *const kinds[] = {"?", "nop", "call", "jump", "word", "function", "literal"};
static const char *const sequences[VP_SEQ_COUNT] = {
	"",
	"x86-nop5",
	"arm64-two",
	"arm64-three",
	"arm64-four",
	"riscv-pair",
	"riscv-ops-a",
	"riscv-ops-b",
	"riscv-ops-c",
	"thumb-wide",
	"thumb-pair16",
	"ppc64-mflr",
	"ppc64-nop",
};

const char *cli_site_kind(uint8_t kind)
{
	return kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind] : kinds[0];
}

/* The instruction of a site that changes: where, and how long it is. */
static bool changing(const struct arch_ops *arch, const struct vp_site *site, unsigned *off,
		     unsigned *len)
{
	struct arch_entry entry;

	*off = 0;
	*len = site->len;
	if (site->kind != VP_SITE_FUNCTION)
		return site->len <= ARCH_WORD_MAX;
	if (arch->entry(site->rest, site->len, site->at, &entry) < 0)
		return false;
	*off = entry.site_off;
	*len = entry.site_len;
	return true;
}

/* What is put there when it is used: a call where nothing or a call rests, else a branch. It leads to
 * where every branch of the architecture reaches. */
static bool example(const struct arch_ops *arch, const struct vp_site *site, vp_gva_t at,
		    unsigned len, uint8_t *to)
{
	vp_gva_t target = vp_gva(at.v + 64);
	bool calls = site->kind == VP_SITE_NOP || site->kind == VP_SITE_CALL;
	unsigned n = 0;
	int r = calls ? arch->call(to, at, target, &n) : arch->branch(to, at, target, &n);

	return r == VP_OK && n == len;
}

unsigned cli_site_disciplines(const struct guest_sites *s, const struct vp_site *site, bool live)
{
	const struct arch_ops *arch = vp_target_info(s->t)->arch;
	uint8_t new[ARCH_INSN_MAX];
	struct arch_poke_ask ask = {.live = live, .handler = s->table.traps.n > 0};
	unsigned off, len, all = 1u << VP_DISCIPLINE_STOP;

	if (site->kind == VP_SITE_LITERAL)
		return live ? all | 1u << VP_DISCIPLINE_LITERAL : all;
	if (!changing(arch, site, &off, &len) ||
	    !example(arch, site, vp_gva(site->at.v + off), len, new))
		return all;
	ask.at = vp_gva(site->at.v + off);
	ask.len = len;
	ask.old = site->rest + off;
	ask.new = new;
	ask.literal = site->literal;
	ask.literal_len = arch->id == ARCH_THUMB2 ? 4 : 8;
	ask.literal_old = site->literal_rest;
	ask.literal_new = site->literal_rest;
	for (unsigned d = VP_DISCIPLINE_WORD; d <= VP_DISCIPLINE_LITERAL; d++) {
		struct arch_poke poke;
		const char *why;

		ask.discipline = (enum vp_discipline)d;
		if (d == VP_DISCIPLINE_LITERAL && !site->literal.v)
			continue;
		if (arch_poke(arch, &ask, &poke, &why) == VP_OK && !poke.by_hand)
			all |= 1u << d;
	}
	return all;
}

const char *cli_discipline_words(unsigned mask, char words[64])
{
	words[0] = '\0';
	for (unsigned d = VP_DISCIPLINE_STOP; d <= VP_DISCIPLINE_LITERAL; d++)
		if (mask & 1u << d)
			snprintf(words + strlen(words), 64 - strlen(words), "%s%s",
				 words[0] ? " " : "", arch_discipline_name((enum vp_discipline)d));
	return words;
}

/* --- what a site holds now --------------------------------------------------------------------- */

static const struct guest_record *taken_by(const struct guest_arena *arena,
					   const struct vp_site *site)
{
	for (size_t i = 0; i < arena->n_records; i++) {
		const struct guest_record *rec = &arena->records[i];

		for (uint32_t j = 0; rec->l.state != VP_LEDGER_REVERTED && j < rec->l.n_edits;
		     j++) {
			struct vp_edit e;

			vp_ledger_edit(&rec->l, j, &e);
			if (e.gva.v - site->at.v < site->len ||
			    (site->literal.v && e.gva.v == site->literal.v))
				return rec;
		}
	}
	return NULL;
}

/* "rest", "changed", "taken", "unmapped". */
static const char *state_of(const struct guest_sites *s, const struct guest_arena *arena,
			    const struct vp_site *site, const char **by)
{
	uint8_t now[VP_SITE_MAX];
	const struct guest_record *rec = taken_by(arena, site);
	vp_gpa_t gpa;
	enum guest_sites_use use =
		site->kind == VP_SITE_LITERAL ? GUEST_SITES_DATA : GUEST_SITES_TEXT;

	*by = rec ? rec->l.name : "";
	if (guest_sites_gpa(s, site->at, site->len, use, &gpa) < 0 ||
	    vp_read(s->t, gpa, now, site->len) < 0)
		return "unmapped";
	if (rec)
		return "taken";
	return memcmp(now, site->rest, site->len) == 0 ? "rest" : "changed";
}

static struct json_object *site_json(const struct vp_site *site, const char *state, const char *by,
				     unsigned mask)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	out_addr(o, "address", site->at.v);
	out_str(o, "name", site->name ? site->name : "");
	out_str(o, "kind", cli_site_kind(site->kind));
	out_str(o, "sequence", sequences[site->sequence]);
	out_int(o, "length", site->len);
	out_bool(o, "shared", site->flags & VP_SITE_SHARED);
	out_hex(o, "rest", site->rest, site->len);
	if (site->literal.v) {
		out_addr(o, "literal", site->literal.v);
		out_addr(o, "literal_rest", site->literal_rest);
	}
	if (site->dispatcher != VP_SITE_NO_DISPATCHER)
		out_int(o, "dispatcher", site->dispatcher);
	out_str(o, "state", state);
	out_str(o, "hotfix", by);
	for (unsigned d = VP_DISCIPLINE_STOP; d <= VP_DISCIPLINE_LITERAL; d++)
		if (mask & 1u << d)
			json_object_array_add(
				list, out_json_str(arch_discipline_name((enum vp_discipline)d)));
	json_object_object_add(o, "disciplines", list);
	return o;
}

static int put_sites(struct cli *cli, const struct guest_sites *s, const struct guest_arena *arena,
		     const char *glob)
{
	bool live = vp_target_caps(s->t) & VP_CAP_STORE_LIVE;
	struct json_object *list = json_object_new_array();
	unsigned n = 0;

	json_object_object_add(cli->out.obj, "sites", list);
	for (uint32_t i = 0; i < s->table.sites.n; i++) {
		const char *state, *by;
		struct vp_site site;
		char words[64];
		unsigned mask;
		int r = vp_sites_site(&s->table, i, &site);

		if (r < 0)
			return r;
		if (glob && (!site.name || fnmatch(glob, site.name, 0) != 0))
			continue;
		state = state_of(s, arena, &site, &by);
		mask = cli_site_disciplines(s, &site, live);
		if (n++ == 0)
			out_line(&cli->out, OUT_BOLD, "%-18s %-8s %-12s %3s %-10s %-24s %s",
				 "address", "kind", "sequence", "len", "state", "disciplines",
				 "name");
		json_object_array_add(list, site_json(&site, state, by, mask));
		out_line(&cli->out, OUT_PLAIN,
			 "0x%016" PRIx64 " %-8s %-12s %3u %-10s %-24s %s%s%s%s", site.at.v,
			 cli_site_kind(site.kind), sequences[site.sequence], site.len, state,
			 cli_discipline_words(mask, words), site.name ? site.name : "",
			 by[0] ? " (" : "", by, by[0] ? ")" : "");
	}
	if (n == 0)
		out_line(&cli->out, OUT_PLAIN, "%s: no site%s%s", cli->out.subject,
			 glob ? " is named " : "", glob ? glob : "");
	return VP_OK;
}

int cmd_sites(struct cli *cli)
{
	const struct guest_sites *s;
	struct guest_arena arena = {0};
	struct guest *g = NULL;
	struct vp_target *t = NULL;
	int r = cli_domain_open(cli, cli->pos[0], &t);

	if (r < 0)
		return r;
	r = guest_open(t, GUEST_MAY_HOLD, &cli->diag, &g);
	if (r == VP_E_NOT_LINUX)
		r = diag_set(&cli->diag, VP_E_NO_STUB,
			     "no site table is in guest memory: the guest has no stub");
	if (r == VP_OK)
		r = guest_stub(g, GUEST_MAY_HOLD, &cli->diag, &s);
	if (r == VP_OK)
		r = guest_arena_read(g, &cli->diag, &arena);
	if (r == VP_OK)
		r = put_sites(cli, s, &arena, cli->n_pos > 1 ? cli->pos[1] : NULL);
	guest_arena_deinit(&arena);
	guest_close(g);
	vp_target_close(t);
	return r;
}
