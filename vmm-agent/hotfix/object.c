/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/hotfix/object.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"

/* Offsets of fields in the file: System V ABI, "ELF-64 Object File Format" 1.5, figures 2, 5, 6. */
enum {
	EHDR = 64,
	E_TYPE = 16,
	E_MACHINE = 18,
	E_VERSION = 20,
	E_SHOFF = 40,
	E_EHSIZE = 52,
	E_PHNUM = 56,
	E_SHENTSIZE = 58,
	E_SHNUM = 60,
	E_SHSTRNDX = 62,
	SHDR = 64,
	SYM = 24,
	RELA = 24,
};

static int bad(struct diag *diag, const char *what)
{
	diag_set(diag, VP_E_BUNDLE, "%s", what);
	return VP_E_BUNDLE;
}

/* The string at off of a string table, NULL if it is not terminated inside it. */
static const char *string_at(const uint8_t *table, uint64_t size, uint64_t off)
{
#ifdef VP_PLANT_BUNDLE
	size = UINT32_MAX; /* the fuzzer must find the read beyond the table */
#endif
	if (off >= size || !memchr(table + off, 0, size - off))
		return NULL;
	return (const char *)table + off;
}

static int read_section(const struct obj *o, uint64_t at, struct diag *diag,
			struct obj_section *ret)
{
	const uint8_t *h = o->bytes + at;
	uint64_t off = vp_ld64(h + 24);

	ret->type = vp_ld32(h + 4);
	ret->flags = vp_ld64(h + 8);
	ret->size = vp_ld64(h + 32);
	ret->link = vp_ld32(h + 40);
	ret->info = vp_ld32(h + 44);
	ret->align = vp_ld64(h + 48);
	if (ret->align == 0)
		ret->align = 1;
	if (ret->align & (ret->align - 1))
		return bad(diag, "a section's alignment is not a power of two");
	if (ret->type == SHT_NULL)
		ret->size = 0;
	if (ret->type == SHT_NULL || ret->type == SHT_NOBITS)
		return VP_OK;
	if (!vp_fits(off, ret->size, o->len))
		return bad(diag, "a section lies outside the file");
	ret->data = o->bytes + off;
	return VP_OK;
}

static int read_names(struct obj *o, unsigned shstrndx, struct diag *diag)
{
	const struct obj_section *names = &o->section[shstrndx];

	if (names->type != SHT_STRTAB)
		return bad(diag, "the section names are no string table");
	for (unsigned i = 0; i < o->n_section; i++) {
		uint64_t at = vp_ld64(o->bytes + E_SHOFF) + (uint64_t)i * SHDR;

		o->section[i].name =
			i ? string_at(names->data, names->size, vp_ld32(o->bytes + at)) : "";
		if (!o->section[i].name)
			return bad(diag, "a section's name lies outside the names");
	}
	return VP_OK;
}

static int read_sections(struct obj *o, struct diag *diag)
{
	uint64_t shoff = vp_ld64(o->bytes + E_SHOFF);
	unsigned shnum = vp_ld16(o->bytes + E_SHNUM);
	unsigned shstrndx = vp_ld16(o->bytes + E_SHSTRNDX);
	int r;

	if (shnum == 0 || shnum > OBJ_SECTIONS_MAX || shstrndx >= shnum)
		return bad(diag, "the count of sections is not possible");
	if (!vp_fits(shoff, (uint64_t)shnum * SHDR, o->len))
		return bad(diag, "the section headers lie outside the file");
	o->section = calloc(shnum, sizeof(*o->section));
	if (!o->section)
		return diag_set(diag, VP_E_NOMEM, "no memory for the sections");
	o->n_section = shnum;
	o->headers_end = (size_t)(shoff + (uint64_t)shnum * SHDR);
	for (unsigned i = 0; i < shnum; i++) {
		r = read_section(o, shoff + (uint64_t)i * SHDR, diag, &o->section[i]);
		if (r < 0)
			return r;
	}
	if (o->section[0].type != SHT_NULL)
		return bad(diag, "the first section is not the null section");
	return read_names(o, shstrndx, diag);
}

static int read_symbol(const struct obj *o, const struct obj_section *strings, const uint8_t *p,
		       struct diag *diag, struct obj_symbol *ret)
{
	*ret = (struct obj_symbol){
		.name = string_at(strings->data, strings->size, vp_ld32(p)),
		.bind = p[4] >> 4,
		.type = p[4] & 0xf,
		.shndx = vp_ld16(p + 6),
		.value = vp_ld64(p + 8),
		.size = vp_ld64(p + 16),
	};
	if (!ret->name)
		return bad(diag, "a symbol's name lies outside the names");
	if (ret->shndx >= SHN_LORESERVE) {
		if (ret->shndx != SHN_ABS && ret->shndx != SHN_COMMON)
			return bad(diag, "a symbol is in a section of an unknown kind");
		return VP_OK;
	}
	if (ret->shndx >= o->n_section)
		return bad(diag, "a symbol is in a section that does not exist");
	if (ret->shndx != SHN_UNDEF && !vp_fits(ret->value, ret->size, o->section[ret->shndx].size))
		return bad(diag, "a symbol lies outside its section");
	return VP_OK;
}

static int read_symbols(struct obj *o, unsigned symtab, struct diag *diag)
{
	const struct obj_section *s = &o->section[symtab];
	uint64_t n = s->size / SYM;
	int r = VP_OK;

	if (s->size % SYM || n == 0 || n > OBJ_SYMBOLS_MAX)
		return bad(diag, "the count of symbols is not possible");
	if (s->link >= o->n_section || o->section[s->link].type != SHT_STRTAB)
		return bad(diag, "the symbols have no string table");
	o->symbol = calloc(n, sizeof(*o->symbol));
	if (!o->symbol)
		return diag_set(diag, VP_E_NOMEM, "no memory for the symbols");
	o->n_symbol = (unsigned)n;
	o->symbol[0].name = "";
	for (unsigned i = 1; r == VP_OK && i < n; i++)
		r = read_symbol(o, &o->section[s->link], s->data + (size_t)i * SYM, diag,
				&o->symbol[i]);
	return r;
}

static int check_relas(const struct obj *o, const struct obj_section *s, unsigned symtab,
		       struct diag *diag)
{
	struct obj_rela rela;

	if (s->size % RELA || s->size / RELA > OBJ_RELAS_MAX)
		return bad(diag, "the count of relocations is not possible");
	if (s->link != symtab)
		return bad(diag, "relocations name another symbol table");
	if (s->info == 0 || s->info >= o->n_section)
		return bad(diag, "relocations are for a section that does not exist");
	for (unsigned i = 0; i < obj_n_rela(s); i++) {
		obj_rela(s, i, &rela);
		if (rela.sym >= o->n_symbol)
			return bad(diag, "a relocation names a symbol that does not exist");
		if (rela.offset >= o->section[s->info].size)
			return bad(diag, "a relocation lies outside its section");
	}
	return VP_OK;
}

static int read_tables(struct obj *o, struct diag *diag)
{
	unsigned symtab = 0;
	int r;

	for (unsigned i = 1; i < o->n_section; i++) {
		if (o->section[i].type == SHT_SYMTAB_SHNDX || o->section[i].type == SHT_REL)
			return bad(diag, "a section is of a kind that this object cannot have");
		if (o->section[i].type != SHT_SYMTAB)
			continue;
		if (symtab)
			return bad(diag, "there are two symbol tables");
		symtab = i;
	}
	if (!symtab)
		return bad(diag, "there is no symbol table");
	r = read_symbols(o, symtab, diag);
	for (unsigned i = 1; r == VP_OK && i < o->n_section; i++)
		if (o->section[i].type == SHT_RELA)
			r = check_relas(o, &o->section[i], symtab, diag);
	return r;
}

static int check_head(const struct obj *o, struct diag *diag)
{
	const uint8_t *h = o->bytes;

	if (o->len < EHDR || memcmp(h, ELFMAG, SELFMAG) != 0)
		return bad(diag, "it is no ELF file");
	if (h[EI_CLASS] != ELFCLASS64 || h[EI_DATA] != ELFDATA2LSB)
		return bad(diag, "it is not ELF64 little-endian");
	if (h[EI_VERSION] != EV_CURRENT || vp_ld32(h + E_VERSION) != EV_CURRENT)
		return bad(diag, "its ELF version is not 1");
	if (vp_ld16(h + E_TYPE) != ET_REL || vp_ld16(h + E_PHNUM) != 0)
		return bad(diag, "it is not a relocatable object");
	if (vp_ld16(h + E_EHSIZE) != EHDR || vp_ld16(h + E_SHENTSIZE) != SHDR)
		return bad(diag, "its ELF header has another size");
	return VP_OK;
}

int obj_open(const uint8_t *buf, size_t len, struct diag *diag, struct obj *ret)
{
	struct obj o = {.len = len};
	int r;

	o.bytes = malloc(len ? len : 1);
	if (!o.bytes)
		return diag_set(diag, VP_E_NOMEM, "no memory for an object of %zu bytes", len);
	if (len)
		memcpy(o.bytes, buf, len);
	r = check_head(&o, diag);
	if (r == VP_OK)
		r = read_sections(&o, diag);
	if (r == VP_OK)
		r = read_tables(&o, diag);
	if (r < 0) {
		obj_deinit(&o);
		return r;
	}
	o.machine = vp_ld16(o.bytes + E_MACHINE);
	*ret = o;
	return VP_OK;
}

void obj_deinit(struct obj *o)
{
	free(o->bytes);
	free(o->section);
	free(o->symbol);
	*o = (struct obj){0};
}

unsigned obj_n_rela(const struct obj_section *s)
{
	return s->type == SHT_RELA ? (unsigned)(s->size / RELA) : 0;
}

void obj_rela(const struct obj_section *s, unsigned i, struct obj_rela *ret)
{
	const uint8_t *p = s->data + (size_t)i * RELA;
	uint64_t info = vp_ld64(p + 8);

	*ret = (struct obj_rela){
		.offset = vp_ld64(p),
		.type = (uint32_t)info,
		.sym = (uint32_t)(info >> 32),
		.addend = (int64_t)vp_ld64(p + 16),
	};
}

unsigned obj_find(const struct obj *o, const char *name)
{
	for (unsigned i = 1; i < o->n_section; i++)
		if (strcmp(o->section[i].name, name) == 0)
			return i;
	return 0;
}
