/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/poke.h"

/* --- kallsyms ---------------------------------------------------------------------------------- */

static int put_symbol(void *ctx, const struct guest_sym *sym)
{
	struct cli *cli = ctx;
	char name[GUEST_NAME_MAX];

	snprintf(name, sizeof(name), "%s", sym->name);
	diag_printable(name);
	out_raw(&cli->out, "%016" PRIx64 " %c %s\n", sym->addr.v, sym->type, name);
	return 0;
}

static int add_symbol(void *ctx, const struct guest_sym *sym)
{
	struct json_object *o = json_object_new_object();
	char type[2] = {sym->type, '\0'};

	out_addr(o, "address", sym->addr.v);
	out_str(o, "type", type);
	out_str(o, "name", sym->name);
	return json_object_array_add(ctx, o) < 0 ? VP_E_NOMEM : 0;
}

static int put_symbols(struct cli *cli, struct guest *g)
{
	struct json_object *list;
	int r;

	if (!cli->out.json)
		return guest_sym_each(g, put_symbol, cli);
	list = json_object_new_array();
	json_object_object_add(cli->out.obj, "symbols", list);
	r = guest_sym_each(g, add_symbol, list);
	return r < 0 ? diag_set(&cli->diag, r, "the guest's symbols could not be listed") : r;
}

/* --- the guest --------------------------------------------------------------------------------- */

static const struct {
	uint32_t bit;
	const char *name;
} caps[] = {
	{VP_CAP_REGS_LIVE, "regs-live"},   {VP_CAP_WRITE_DIRTY, "write-dirty"},
	{VP_CAP_STORE_LIVE, "store-live"}, {VP_CAP_DEATH_FREES, "death-frees"},
	{VP_CAP_HOLD_HERE, "hold-here"},
};

static void put_target(struct cli *cli, struct vp_target *t)
{
	const struct vp_target_info *i = vp_target_info(t);
	struct json_object *o = cli->out.obj, *list = json_object_new_array();
	char words[128] = "";

	for (size_t k = 0; k < sizeof(caps) / sizeof(caps[0]); k++) {
		if (!(vp_target_caps(t) & caps[k].bit))
			continue;
		json_object_array_add(list, out_json_str(caps[k].name));
		snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s",
			 words[0] ? ", " : "", caps[k].name);
	}
	out_str(o, "locator", i->locator);
	out_str(o, "arch", i->arch->name);
	out_int(o, "vcpus", i->vcpus);
	out_str(o, "accelerator", i->accel);
	out_str(o, "driver", i->driver);
	json_object_object_add(o, "capabilities", list);
	out_line(&cli->out, OUT_BOLD, "%s", cli->out.subject);
	out_row(&cli->out, "VM", "%s, process %d, %u vCPU%s, %s", i->locator, (int)i->id.pid,
		i->vcpus, i->vcpus == 1 ? "" : "s", i->accel);
	out_row(&cli->out, "driver", "%s (%s)", i->driver, words[0] ? words : "no capabilities");
}

/* Of a guest that is not Linux: who it says it is. */
static void put_image(struct cli *cli, const struct guest_info *i)
{
	struct json_object *o = cli->out.obj;
	char hex[2 * OUT_HEX_MAX + 1];

	out_bool(o, "linux", false);
	out_hex(o, "build_id", i->build_id, i->build_id_len);
	out_hex(o, "boot_id", i->boot_id, sizeof(i->boot_id));
	out_row(&cli->out, "kernel", "not Linux, %s", i->arch->name);
	out_row(&cli->out, "identity", "%s", out_hex_text(hex, i->build_id, i->build_id_len));
}

static void put_kernel(struct cli *cli, const struct guest_info *i)
{
	struct json_object *o = cli->out.obj;
	char hex[2 * OUT_HEX_MAX + 1];

	if (!i->is_linux) {
		put_image(cli, i);
		return;
	}
	out_bool(o, "linux", true);
	out_str(o, "release", i->release);
	out_hex(o, "build_id", i->build_id, i->build_id_len);
	out_hex(o, "boot_id", i->boot_id, sizeof(i->boot_id));
	out_addr(o, "kaslr", i->kaslr);
	out_addr(o, "text", i->text.v);
	out_addr(o, "text_end", i->text_end.v);
	out_int(o, "symbol_count", i->n_symbols);
	out_bool(o, "data_symbols", i->data_symbols);
	out_row(&cli->out, "kernel", "%s, %s", i->release, i->arch->name);
	out_row(&cli->out, "build-id", "%s",
		i->build_id_len ? out_hex_text(hex, i->build_id, i->build_id_len) : "not known");
	out_row(&cli->out, "KASLR", "0x%" PRIx64 ", text 0x%016" PRIx64 " to 0x%016" PRIx64,
		i->kaslr, i->text.v, i->text_end.v);
	out_row(&cli->out, "symbols", "%zu%s", i->n_symbols,
		i->data_symbols ? "" : ", functions only");
}

/* --- the stub ------------------------------------------------------------------------------------ */

/* The least disturbing discipline that is right at the most sites, or why it is stop. */
static void put_auto(struct cli *cli, struct json_object *o, const struct guest_sites *s)
{
	static const enum vp_discipline order[] = {VP_DISCIPLINE_WORD, VP_DISCIPLINE_LITERAL,
						   VP_DISCIPLINE_SKIP, VP_DISCIPLINE_TRAP,
						   VP_DISCIPLINE_STOP};
	bool live = vp_target_caps(s->t) & VP_CAP_STORE_LIVE;
	unsigned n[2][VP_DISCIPLINE_LITERAL + 1] = {0}, all[2] = {0};

	for (uint32_t i = 0; i < s->table.sites.n; i++) {
		struct vp_site site;
		unsigned mask, k = 0;

		if (vp_sites_site(&s->table, i, &site) < 0)
			return;
		mask = cli_site_disciplines(s, &site, live);
		while (!(mask & 1u << order[k]))
			k++;
		n[site.kind != VP_SITE_FUNCTION][order[k]]++;
		all[site.kind != VP_SITE_FUNCTION]++;
	}
	for (unsigned w = 0; w < 2; w++) {
		const char *what = w ? "sites" : "functions";
		struct json_object *of = json_object_new_object();
		char words[256] = "";

		for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++) {
			const char *name = arch_discipline_name(order[k]);

			if (n[w][order[k]] == 0)
				continue;
			out_int(of, name, n[w][order[k]]);
			snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s (%u)",
				 words[0] ? ", " : "", name, n[w][order[k]]);
		}
		json_object_object_add(o, what, of);
		if (all[w])
			out_row(&cli->out, w ? "  sites" : "  functions", "by %s%s", words,
				!live ? ": this way in cannot store into a guest that runs"
				: n[w][VP_DISCIPLINE_STOP]
					? ": the architecture allows no less there"
					: "");
	}
}

static void put_table(struct cli *cli, struct json_object *o, const struct guest_sites *s)
{
	unsigned n[VP_SITE_LITERAL + 1] = {0};
	struct json_object *kinds = json_object_new_object();
	uint64_t records = 0, room = 0;
	char words[160] = "", size[OUT_SIZE_LEN];

	for (uint32_t i = 0; i < s->table.sites.n; i++) {
		struct vp_site site;

		if (vp_sites_site(&s->table, i, &site) == VP_OK)
			n[site.kind]++;
	}
	for (uint8_t k = VP_SITE_NOP; k <= VP_SITE_LITERAL; k++) {
		out_int(kinds, cli_site_kind(k), n[k]);
		if (n[k])
			snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%u %s",
				 words[0] ? ", " : "", n[k], cli_site_kind(k));
	}
	for (uint32_t i = 0; i < s->table.arenas.n; i++) {
		struct vp_arena arena;

		room += vp_sites_arena(&s->table, i, &arena) == VP_OK ? arena.len : 0;
	}
	for (uint32_t i = 0; i < s->table.traps.n; i++) {
		struct vp_trap_space traps;

		records += vp_sites_traps(&s->table, i, &traps) == VP_OK
				   ? traps.len / VP_TRAP_RECORD
				   : 0;
	}
	json_object_object_add(o, "kinds", kinds);
	out_addr(o, "table", s->table.self.v);
	out_int(o, "generation", s->table.generation);
	out_int(o, "sites", s->table.sites.n);
	out_int(o, "arenas", s->table.arenas.n);
	out_int(o, "arena_size", room);
	out_int(o, "dispatchers", s->table.dispatchers.n);
	out_int(o, "trap_records", records);
	out_row(&cli->out, "stub", "table at 0x%016" PRIx64 ", %u sites (%s)", s->table.self.v,
		s->table.sites.n, words[0] ? words : "none");
	out_row(&cli->out, "", "%u arena%s (%s), %u dispatcher%s, %" PRIu64 " trap record%s",
		s->table.arenas.n, s->table.arenas.n == 1 ? "" : "s", out_size_text(size, room),
		s->table.dispatchers.n, s->table.dispatchers.n == 1 ? "" : "s", records,
		records == 1 ? "" : "s");
}

/* A guest without one is as good as any; a table that cannot be used is worth a word. */
static void put_stub(struct cli *cli, struct guest *g)
{
	struct json_object *o = json_object_new_object(), *discipline = json_object_new_object();
	const struct guest_sites *s = NULL;
	struct diag why;
	int r;

	diag_init(&why);
	r = guest_stub(g, GUEST_MAY_HOLD, &why, &s);
	out_bool(o, "found", r == VP_OK);
	json_object_object_add(cli->out.obj, "stub", o);
	if (r == VP_OK) {
		put_table(cli, o, s);
		put_auto(cli, discipline, s);
		json_object_object_add(o, "discipline", discipline);
		return;
	}
	json_object_put(discipline);
	out_str(o, "reason", vp_err_reason(r));
	out_row(&cli->out, "stub", "none");
	if (r != VP_E_NO_STUB)
		out_note(&cli->out, "%s", why.text[0] ? why.text : vp_err_sentence(r));
}

static void put_applied(struct cli *cli, const struct eng_list *l)
{
	struct json_object *list = json_object_new_array(), *arena = json_object_new_object();
	char size[OUT_SIZE_LEN], left[OUT_SIZE_LEN];
	uint64_t total = l->arena.free;
	unsigned n = 0;

	for (size_t i = 0; i < l->arena.n_records; i++)
		total += l->arena.records[i].l.size;
	out_int(arena, "size", total);
	out_int(arena, "free", l->arena.free);
	json_object_object_add(cli->out.obj, "arena", arena);
	out_row(&cli->out, "arena", "%s, %s free", out_size_text(size, total),
		out_size_text(left, l->arena.free));
	for (size_t i = 0; i < l->n; i++) {
		const struct eng_hotfix *h = &l->hotfixes[i];

		if (h->state == ENG_REVERTED)
			continue;
		json_object_array_add(list, out_json_str(h->l.name));
		out_row(&cli->out, n++ ? "" : "applied", "%s %s%s%s", h->l.name, h->l.version,
			h->state == ENG_APPLIED ? "" : ", ",
			h->state == ENG_APPLIED ? "" : eng_state_name(h->state));
	}
	if (n == 0)
		out_row(&cli->out, "applied", "nothing");
	json_object_object_add(cli->out.obj, "applied", list);
}

/* What is wrong with a hotfix is for status to judge; inspect describes. */
static void put_ledger(struct cli *cli, struct vp_target *t, struct guest *g)
{
	struct eng_dirs dirs = cli_dirs(cli);
	struct eng_list l = {0};
	struct diag why;
	int r;

	diag_init(&why);
	r = eng_status(t, g, NULL, &dirs, &why, &l);
	if (r == VP_OK || r == VP_E_PARTIAL || r == VP_E_SHADOWED || r == VP_E_PENDING)
		put_applied(cli, &l);
	if (r < 0)
		out_note(&cli->out, "%s", why.text[0] ? why.text : vp_err_sentence(r));
	eng_list_deinit(&l);
}

/* --- the VM from its host ----------------------------------------------------------------------- */

static int put_slots(struct cli *cli, struct vp_target *t)
{
	struct json_object *list = json_object_new_array();
	struct vp_slot *slot = NULL;
	size_t n = 0;
	int r = vp_slots(t, &slot, &n, &cli->diag);

	for (size_t i = 0; r == VP_OK && i < n; i++) {
		const struct vp_slot *s = &slot[i];
		struct json_object *o = json_object_new_object();
		char size[OUT_SIZE_LEN];

		out_int(o, "id", s->id);
		out_addr(o, "gpa", s->start.v);
		out_int(o, "size", s->len);
		out_addr(o, "hva", s->hva);
		out_bool(o, "read_only", s->read_only);
		out_bool(o, "logged", s->logged);
		json_object_array_add(list, o);
		out_row(&cli->out, i == 0 ? "slots" : "",
			"%-3u gpa 0x%012" PRIx64 "  %9s  hva 0x%" PRIx64 "%s%s", s->id, s->start.v,
			out_size_text(size, s->len), s->hva, s->read_only ? ", read-only" : "",
			s->logged ? ", writes logged" : "");
	}
	free(slot);
	json_object_object_add(cli->out.obj, "slots", list);
	return r;
}

/* Where a vCPU stands: by symbol where that is known. */
static void put_pc(struct vp_target *t, struct guest *g, unsigned vcpu, struct json_object *o,
		   char *words, size_t len)
{
	struct arch_regs regs;
	struct diag why;

	snprintf(words, len, "somewhere");
	diag_init(&why);
	if (vp_peek_regs(t, vcpu, &regs, &why) < 0 || !(regs.have & 1u << ARCH_REG_PC))
		return;
	out_addr(o, "pc", regs.v[ARCH_REG_PC]);
	if (g)
		guest_sym_words(g, vp_gva(regs.v[ARCH_REG_PC]), words, len);
	else
		snprintf(words, len, "0x%016" PRIx64, regs.v[ARCH_REG_PC]);
	if (g)
		out_str(o, "at", words);
}

static int put_vcpus(struct cli *cli, struct vp_target *t, struct guest *g)
{
	static const char *const states[] = {
		[VP_VCPU_UNKNOWN] = "unknown", [VP_VCPU_RUNNING] = "running",
		[VP_VCPU_HALTED] = "halted",   [VP_VCPU_WAITING] = "waiting",
		[VP_VCPU_STOPPED] = "stopped",
	};
	struct json_object *list = json_object_new_array();
	struct vp_vcpu *vcpu = NULL;
	int r = vp_vcpus(t, &vcpu, &cli->diag);

	for (unsigned i = 0; r == VP_OK && i < vp_target_info(t)->vcpus; i++) {
		struct json_object *o = json_object_new_object();
		char at[160];

		out_int(o, "vcpu", i);
		out_int(o, "thread", vcpu[i].tid);
		out_str(o, "state", states[vcpu[i].state]);
		put_pc(t, g, i, o, at, sizeof(at));
		json_object_array_add(list, o);
		out_row(&cli->out, i == 0 ? "vCPUs" : "", "%-3u thread %-7d %-8s at %s", i,
			(int)vcpu[i].tid, states[vcpu[i].state], at);
	}
	free(vcpu);
	json_object_object_add(cli->out.obj, "vcpu_threads", list);
	return r;
}

int cmd_inspect(struct cli *cli)
{
	struct guest *g = NULL;
	struct vp_target *t = NULL;
	int r = cli_domain_open(cli, cli->pos[0], &t);

	if (r < 0)
		return r;
	if (!cli->opt[OPT_SYMBOLS])
		put_target(cli, t);
	if (cli->opt[OPT_SLOTS])
		r = put_slots(cli, t);
	if (r == VP_OK)
		r = guest_open(t, GUEST_MAY_HOLD, &cli->diag, &g);
	/* What the host knows of the VM it also knows of one whose guest is no Linux. */
	if (cli->opt[OPT_VCPUS] && put_vcpus(cli, t, g) < 0 && r == VP_OK)
		r = cli->diag.err;
	if (r == VP_OK && cli->opt[OPT_SYMBOLS]) {
		r = put_symbols(cli, g);
	} else if (r == VP_OK) {
		put_kernel(cli, guest_info(g));
		put_stub(cli, g);
		put_ledger(cli, t, g);
	}
	guest_close(g);
	vp_target_close(t);
	return r;
}
