/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/hotfix/pack.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/hotfix/hotfix.h"
#include "vmm-agent/hotfix/section.h"

#define ALT_FEATURE_OFF 8 /* in the kernel's struct alt_instr: behind two 32-bit offsets */

/* Bytes that grow; once memory is short, all that follows is ignored and bad says so. */
struct bytes {
	uint8_t *p;
	size_t len, room;
	bool bad;
};

static size_t add(struct bytes *b, const void *p, size_t len)
{
	size_t at = b->len, room = b->room ? b->room : 4096;
	uint8_t *grown;

	while (room - b->len < len && room < SIZE_MAX / 4)
		room *= 2;
	if (room != b->room) {
		grown = room - b->len < len ? NULL : realloc(b->p, room);
		if (!grown) {
			b->bad = true;
			return 0;
		}
		b->p = grown;
		b->room = room;
	}
	if (p)
		memcpy(b->p + at, p, len);
	else
		memset(b->p + at, 0, len);
	b->len += len;
	return at;
}

static void align_to(struct bytes *b, size_t align)
{
	if (b->len % align)
		add(b, NULL, align - b->len % align);
}

/* --- alternatives ------------------------------------------------------------------------------ */

static bool alt_is_harmless(const struct obj_section *ok, uint16_t feature)
{
	for (size_t at = 2; at + 2 <= ok->size; at += 2)
		if (vp_ld16(ok->data + at) == feature)
			return true;
	return false;
}

/* Where the author sees it: the function that the entry's first relocation points into. */
static const char *alt_place(const struct obj *o, unsigned table, uint64_t at)
{
	struct obj_rela rela;

	for (unsigned i = 1; i < o->n_section; i++) {
		if (o->section[i].type != SHT_RELA || o->section[i].info != table)
			continue;
		for (unsigned k = 0; k < obj_n_rela(&o->section[i]); k++) {
			const struct obj_symbol *sym;

			obj_rela(&o->section[i], k, &rela);
			if (rela.offset != at)
				continue;
			sym = &o->symbol[rela.sym];
			for (unsigned n = 1; n < o->n_symbol; n++) {
				const struct obj_symbol *f = &o->symbol[n];
				uint64_t place = sym->value + (uint64_t)rela.addend;

				if (f->type == STT_FUNC && f->shndx == sym->shndx &&
				    place >= f->value && place - f->value < f->size)
					return f->name;
			}
		}
	}
	return "the payload";
}

static int check_alternatives(const struct obj *o, unsigned table, struct diag *diag)
{
	const struct obj_section *s = &o->section[table];
	const struct obj_section *ok = &o->section[obj_find(o, ".vpatch.alt")];
	uint16_t entry, feature;

	if (!ok->data || ok->size < 2)
		return diag_set(
			diag, VP_E_SECTION,
			"section %s: alternatives cannot be told apart: build with `vpatch build`",
			s->name);
	entry = vp_ld16(ok->data);
	if (!s->data || entry < ALT_FEATURE_OFF + 4 || s->size % entry)
		return diag_set(
			diag, VP_E_SECTION,
			"section %s: its entries are not as the kernel's headers say: leave out "
			"what makes it",
			s->name);
	for (uint64_t at = 0; at < s->size; at += entry) {
		feature = vp_ld16(s->data + at + ALT_FEATURE_OFF);
		if (!alt_is_harmless(ok, feature))
			return diag_set(
				diag, VP_E_SECTION,
				"section %s: in %s an instruction is rewritten at boot on CPUs with "
				"feature %u and would not be in a payload: call a function of the "
				"kernel that does it",
				s->name, alt_place(o, table, at), feature);
	}
	return VP_OK;
}

/* --- what is kept ------------------------------------------------------------------------------ */

struct keep {
	const struct obj *o;
	uint16_t *section; /* its index in the bundle, 0 for none */
	uint32_t *symbol;  /* likewise */
	uint16_t n_section;
	uint32_t n_symbol, n_local;
};

static int keep_sections(struct keep *k, struct diag *diag)
{
	const struct obj *o = k->o;
	const char *why = "";
	int r;

	for (unsigned i = 1; i < o->n_section; i++) {
		enum section_fate fate = section_fate(&o->section[i], &why);

		if (fate == SECTION_REFUSE)
			return diag_set(diag, VP_E_SECTION, "section %s: %s", o->section[i].name,
					why);
		if (fate == SECTION_ALT) {
			r = check_alternatives(o, i, diag);
			if (r < 0)
				return r;
		}
		if (fate == SECTION_CARRY)
			k->section[i] = ++k->n_section;
	}
	for (unsigned i = 1; i < o->n_section; i++)
		if (o->section[i].type == SHT_RELA && k->section[o->section[i].info] &&
		    o->section[i].size)
			k->section[i] = ++k->n_section;
	return VP_OK;
}

static bool is_kept(const struct keep *k, const struct obj_symbol *s)
{
	return s->shndx != SHN_UNDEF && s->shndx < SHN_LORESERVE && k->section[s->shndx];
}

static void keep_symbols(struct keep *k)
{
	const struct obj *o = k->o;
	struct obj_rela rela;

	for (unsigned i = 1; i < o->n_symbol; i++)
		k->symbol[i] = is_kept(k, &o->symbol[i]);
	for (unsigned i = 1; i < o->n_section; i++)
		for (unsigned n = 0; k->section[i] && n < obj_n_rela(&o->section[i]); n++) {
			obj_rela(&o->section[i], n, &rela);
			k->symbol[rela.sym] = rela.sym != 0;
		}
	/* Local ones come first: the symbol table says where they end. */
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 1; i < o->n_symbol; i++)
			if (k->symbol[i] && (o->symbol[i].bind == STB_LOCAL) == !pass)
				k->symbol[i] = ++k->n_symbol;
		if (!pass)
			k->n_local = k->n_symbol;
	}
}

/*
 * What is left out has no place in the image. Written as undefined it would be looked up in the
 * guest by its name, and code of the payload would use whatever the kernel calls so.
 */
static int check_relas(const struct keep *k, struct diag *diag)
{
	const struct obj *o = k->o;
	struct obj_rela rela;

	for (unsigned i = 1; i < o->n_section; i++)
		for (unsigned n = 0; k->section[i] && n < obj_n_rela(&o->section[i]); n++) {
			const struct obj_symbol *s;

			obj_rela(&o->section[i], n, &rela);
			s = &o->symbol[rela.sym];
			if (s->shndx == SHN_UNDEF || s->shndx >= SHN_LORESERVE || is_kept(k, s))
				continue;
			return diag_set(
				diag, VP_E_SECTION,
				"section %s: it uses %s%s in section %s, which a hotfix does "
				"not carry: leave that out",
				o->section[o->section[i].info].name,
				*s->name ? "symbol " : "what lies", s->name,
				o->section[s->shndx].name);
		}
	return VP_OK;
}

/* --- notes ------------------------------------------------------------------------------------- */

static void add_note(struct bytes *b, uint32_t type, const void *desc, size_t len)
{
	uint8_t head[VP_NOTE_HEAD] = {0};

	vp_st32(head, VP_NOTE_OWNER_SZ);
	vp_st32(head + 4, (uint32_t)len);
	vp_st32(head + 8, type);
	memcpy(head + 12, VP_NOTE_OWNER, VP_NOTE_OWNER_SZ);
	add(b, head, sizeof(head));
	add(b, desc, len);
	align_to(b, VP_NOTE_ALIGN);
}

static void add_text(struct bytes *b, uint32_t type, const char *s)
{
	if (s && *s)
		add_note(b, type, s, strlen(s) + 1);
}

static void add_number(struct bytes *b, uint32_t type, uint32_t v)
{
	uint8_t desc[4];

	vp_st32(desc, v);
	add_note(b, type, desc, sizeof(desc));
}

static void add_names(struct bytes *b, uint32_t type, uint32_t sympos, const char *const *names,
		      unsigned n)
{
	struct bytes desc = {0};
	uint8_t pos[4];

	vp_st32(pos, sympos);
	add(&desc, pos, sizeof(pos));
	for (unsigned i = 0; i < n; i++)
		add(&desc, names[i], strlen(names[i]) + 1);
	if (desc.bad)
		b->bad = true;
	else
		add_note(b, type, desc.p, desc.len);
	free(desc.p);
}

static void add_site(struct bytes *b, const struct pack_replace *rep)
{
	struct bytes desc = {0};
	uint8_t how[4];

	vp_st32(how, rep->how);
	add(&desc, how, sizeof(how));
	add(&desc, rep->symbol, strlen(rep->symbol) + 1);
	add(&desc, rep->function, strlen(rep->function) + 1);
	add(&desc, rep->word, rep->word_len);
	if (desc.bad)
		b->bad = true;
	else
		add_note(b, VP_NOTE_SITE, desc.p, desc.len);
	free(desc.p);
}

/* The oldest that can express it. */
static uint32_t format_of(const struct pack_meta *m)
{
	for (unsigned i = 0; i < m->n_replace; i++)
		if (m->replace[i].how)
			return VP_NOTE_FORMAT_VERSION;
	return 1;
}

static void add_notes(struct bytes *b, const struct pack_meta *m, const struct pack_kernel *kernel)
{
	uint32_t consistency = m->consistency      ? m->consistency
			       : m->n_replace == 1 ? VP_NOTE_ENTRY
						   : VP_NOTE_QUIESCE;

	add_number(b, VP_NOTE_FORMAT, format_of(m));
	add_text(b, VP_NOTE_NAME, m->name);
	add_text(b, VP_NOTE_VERSION, m->version);
	add_text(b, VP_NOTE_FIXES, m->fixes);
	add_text(b, VP_NOTE_AUTHOR, m->author);
	add_text(b, VP_NOTE_DESCRIPTION, m->description);
	add_text(b, VP_NOTE_RELEASE, kernel->release);
	if (kernel->build_id_len)
		add_note(b, VP_NOTE_BUILD_ID, kernel->build_id, kernel->build_id_len);
	add_number(b, VP_NOTE_CONSISTENCY, consistency);
	add_number(b, VP_NOTE_FLAGS, kernel->inline_checked ? VP_NOTE_INLINE_CHECKED : 0);
	for (unsigned i = 0; i < m->n_replace; i++) {
		const struct pack_replace *rep = &m->replace[i];

		if (rep->how)
			add_site(b, rep);
		else
			add_names(b, VP_NOTE_REPLACE, rep->sympos,
				  (const char *const[]){rep->symbol, rep->function, rep->clones},
				  3);
	}
	for (unsigned i = 0; i < m->n_symbol; i++)
		add_names(b, VP_NOTE_SYMBOL, m->symbol[i].sympos,
			  (const char *const[]){m->symbol[i].alias, m->symbol[i].name}, 2);
}

/* --- the file ---------------------------------------------------------------------------------- */

struct writer {
	struct bytes file, head, names; /* head: the section headers */
	uint16_t n;                     /* sections so far */
};

/* Starts a section with these bytes at the end of the file. Field order: ELF-64 1.5, figure 3. */
static void put_section(struct writer *w, const char *name, const struct obj_section *s,
			uint64_t entsize)
{
	uint8_t h[64] = {0};

	align_to(&w->file, s->align);
	vp_st32(h, (uint32_t)add(&w->names, name, strlen(name) + 1));
	vp_st32(h + 4, s->type);
	vp_st64(h + 8, s->flags);
	vp_st64(h + 24, add(&w->file, s->data, s->size));
	vp_st64(h + 32, s->size);
	vp_st32(h + 40, s->link);
	vp_st32(h + 44, s->info);
	vp_st64(h + 48, s->align);
	vp_st64(h + 56, entsize);
	add(&w->head, h, sizeof(h));
	w->n++;
}

static void put_carried(struct writer *w, const struct keep *k)
{
	for (unsigned i = 1; i < k->o->n_section; i++) {
		struct obj_section s = k->o->section[i];

		if (!k->section[i] || s.type == SHT_RELA)
			continue;
		/* Merging strings is a linker's freedom that vpatch's does not take. */
		s.flags &= SHF_ALLOC | SHF_EXECINSTR;
		s.link = s.info = 0;
		put_section(w, s.name, &s, 0);
	}
}

static void put_relas(struct writer *w, const struct keep *k)
{
	for (unsigned i = 1; i < k->o->n_section; i++) {
		struct obj_section s = k->o->section[i];
		struct bytes table = {0};
		struct obj_rela rela;
		uint8_t e[24];

		if (!k->section[i] || s.type != SHT_RELA)
			continue;
		for (unsigned n = 0; n < obj_n_rela(&s); n++) {
			obj_rela(&s, n, &rela);
			vp_st64(e, rela.offset);
			vp_st64(e + 8, (uint64_t)k->symbol[rela.sym] << 32 | rela.type);
			vp_st64(e + 16, (uint64_t)rela.addend);
			add(&table, e, sizeof(e));
		}
		w->file.bad |= table.bad;
		s.data = table.p;
		s.flags = SHF_INFO_LINK;
		s.link = k->n_section + 2u; /* behind the carried ones and the notes */
		s.info = k->section[s.info];
		s.align = 8;
		if (!table.bad)
			put_section(w, s.name, &s, sizeof(e));
		free(table.p);
	}
}

static void put_symbols(struct writer *w, const struct keep *k, struct bytes *strings)
{
	struct bytes table = {0};
	struct obj_section s = {.type = SHT_SYMTAB, .link = k->n_section + 3u, .align = 8};

	add(&table, NULL, 24);
	for (uint32_t want = 1; want <= k->n_symbol; want++) {
		uint8_t e[24] = {0};
		const struct obj_symbol *sym = NULL;

		for (unsigned i = 1; !sym && i < k->o->n_symbol; i++)
			if (k->symbol[i] == want)
				sym = &k->o->symbol[i];
		if (!sym)
			continue;
		vp_st32(e,
			*sym->name ? (uint32_t)add(strings, sym->name, strlen(sym->name) + 1) : 0);
		e[4] = (uint8_t)(sym->bind << 4 | sym->type);
		vp_st16(e + 6, sym->shndx < SHN_LORESERVE ? k->section[sym->shndx] : sym->shndx);
		vp_st64(e + 8, sym->value);
		vp_st64(e + 16, sym->size);
		add(&table, e, sizeof(e));
	}
	w->file.bad |= table.bad;
	s.data = table.p;
	s.size = table.len;
	s.info = k->n_local + 1;
	if (!table.bad)
		put_section(w, ".symtab", &s, 24);
	free(table.p);
}

static void finish(struct writer *w, uint16_t machine)
{
	uint8_t e[64] = {ELFMAG0,    ELFMAG1,     ELFMAG2,    ELFMAG3,
			 ELFCLASS64, ELFDATA2LSB, EV_CURRENT, 0};
	struct obj_section s = {.type = SHT_STRTAB, .align = 1};

	/* Its own name has to be among the names before they are written. */
	s.size = w->names.len + sizeof(".shstrtab");
	add(&w->names, ".shstrtab", sizeof(".shstrtab"));
	s.data = w->names.p;
	if (!w->names.bad)
		put_section(w, "", &s, 0);
	if (w->head.bad || w->file.bad || w->names.bad)
		return;
	vp_st32(w->head.p + (size_t)(w->n - 1) * 64, (uint32_t)(s.size - sizeof(".shstrtab")));
	align_to(&w->file, 8);
	vp_st16(e + 16, ET_REL);
	vp_st16(e + 18, machine);
	vp_st32(e + 20, EV_CURRENT);
	vp_st64(e + 40, add(&w->file, w->head.p, w->head.len));
	vp_st16(e + 52, 64);
	vp_st16(e + 58, 64);
	vp_st16(e + 60, w->n);
	vp_st16(e + 62, (uint16_t)(w->n - 1));
	if (!w->file.bad)
		memcpy(w->file.p, e, sizeof(e));
}

static int write_all(const struct keep *k, const struct pack_meta *meta,
		     const struct pack_kernel *kernel, struct diag *diag, uint8_t **out,
		     size_t *out_len)
{
	struct writer w = {0};
	struct bytes strings = {0}, notes = {0};
	struct obj_section s = {.type = SHT_NOTE, .align = VP_NOTE_ALIGN};
	int r = VP_OK;

	add(&w.file, NULL, 64);
	put_section(&w, "", &(struct obj_section){.align = 1}, 0);
	put_carried(&w, k);
	put_relas(&w, k);
	add_notes(&notes, meta, kernel);
	s.data = notes.p;
	s.size = notes.len;
	put_section(&w, VP_NOTE_SECTION, &s, 0);
	add(&strings, "", 1);
	put_symbols(&w, k, &strings);
	s = (struct obj_section){
		.type = SHT_STRTAB, .align = 1, .data = strings.p, .size = strings.len};
	put_section(&w, ".strtab", &s, 0);
	finish(&w, k->o->machine);
	if (w.file.bad || w.head.bad || w.names.bad || strings.bad || notes.bad)
		r = diag_set(diag, VP_E_NOMEM, "no memory to pack the hotfix");
	else if (w.file.len > HF_FILE_MAX)
		r = diag_set(diag, VP_E_BUNDLE, "the hotfix would be larger than %u MiB",
			     HF_FILE_MAX >> 20);
	free(strings.p);
	free(notes.p);
	free(w.head.p);
	free(w.names.p);
	if (r < 0) {
		free(w.file.p);
		return r;
	}
	*out = w.file.p;
	*out_len = w.file.len;
	return VP_OK;
}

/* What the reader refuses is refused now, while the author is there. */
static int prove(const uint8_t *buf, size_t len, struct diag *diag)
{
	struct hf_bundle *b;
	int r = hf_open(buf, len, diag, &b);

	if (r == VP_OK)
		hf_close(b);
	return r;
}

int pack_bundle(const struct obj *o, const struct pack_meta *meta, const struct pack_kernel *kernel,
		struct diag *diag, uint8_t **out, size_t *out_len)
{
	struct keep k = {.o = o};
	uint8_t *buf = NULL;
	size_t len = 0;
	int r;

	k.section = calloc(o->n_section, sizeof(*k.section));
	k.symbol = calloc(o->n_symbol, sizeof(*k.symbol));
	if (!k.section || !k.symbol) {
		r = diag_set(diag, VP_E_NOMEM, "no memory to pack the hotfix");
	} else {
		r = keep_sections(&k, diag);
		if (r == VP_OK)
			r = check_relas(&k, diag);
		if (r == VP_OK) {
			keep_symbols(&k);
			r = write_all(&k, meta, kernel, diag, &buf, &len);
		}
	}
	free(k.section);
	free(k.symbol);
	if (r == VP_OK)
		r = prove(buf, len, diag);
	if (r < 0) {
		free(buf);
		return r;
	}
	*out = buf;
	*out_len = len;
	return VP_OK;
}
