/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/hotfix/bundle.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/sha256.h"
#include "vmm-agent/hotfix/section.h"

static int read_all(int fd, const char *path, struct diag *diag, uint8_t *buf, size_t *len)
{
	size_t have = 0;
	ssize_t n;

	/* One byte more than is allowed is asked for, so that growth after fstat() shows. */
	while (have <= HF_FILE_MAX) {
		n = read(fd, buf + have, HF_FILE_MAX + 1 - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return diag_errno(diag, errno, "%s", path);
		if (n == 0)
			break;
		have += (size_t)n;
	}
	if (have > HF_FILE_MAX)
		return diag_set(diag, VP_E_BUNDLE, "%s: it is larger than %u MiB: not a bundle",
				path, HF_FILE_MAX >> 20);
	*len = have;
	return VP_OK;
}

int hf_read_file(const char *path, struct diag *diag, uint8_t **buf_ret, size_t *len_ret)
{
	struct stat st;
	uint8_t *buf;
	size_t len = 0;
	int fd, r;

	/* A FIFO or a device must not make the command wait or swallow it whole. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return diag_errno(diag, errno, "%s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return diag_set(diag, VP_E_BUNDLE, "%s: it is not a regular file: name a bundle",
				path);
	}
	buf = malloc(HF_FILE_MAX + 1);
	r = buf ? read_all(fd, path, diag, buf, &len)
		: diag_set(diag, VP_E_NOMEM, "%s: no memory to read it", path);
	close(fd);
	if (r < 0) {
		free(buf);
		return r;
	}
	*buf_ret = buf;
	*len_ret = len;
	return VP_OK;
}

bool bundle_may_veneer(const struct hf_bundle *b, const struct obj_rela *rela)
{
	const struct arch_reloc *row = arch_reloc_find(b->info.arch, rela->type);

	/* A bias in the addend (x86) or a branch into the middle of something: not a veneer's work. */
	return rela->addend == 0 && b->obj.symbol[rela->sym].shndx == SHN_UNDEF && row &&
	       row->branch;
}

/* Every section must be one that a bundle carries: what was dropped must not be there again. */
static int check_section(const struct hf_bundle *b, unsigned i, unsigned note, struct diag *diag)
{
	const struct obj_section *s = &b->obj.section[i];
	const char *why = "a bundle does not have it: build it with `vpatch build`";
	enum section_fate fate = section_fate(s, &why);

	if (s->type == SHT_RELA) {
		fate = section_fate(&b->obj.section[s->info], &why);
		if (fate != SECTION_CARRY)
			return diag_set(diag, VP_E_SECTION,
					"section %s: it relocates what a bundle does not carry",
					s->name);
		return VP_OK;
	}
	if (fate == SECTION_META &&
	    (i == note || s->type == SHT_NULL || s->type == SHT_SYMTAB || s->type == SHT_STRTAB))
		return VP_OK;
	if (fate != SECTION_CARRY)
		return diag_set(diag, VP_E_SECTION, "section %s: %s", s->name, why);
	if (s->align > BUNDLE_ALIGN)
		return diag_set(diag, VP_E_SECTION,
				"section %s: it asks for an alignment of %llu and an image has %u",
				s->name, (unsigned long long)s->align, BUNDLE_ALIGN);
	return VP_OK;
}

/* One after the other in file order; code and constants share the one read-only image. */
static int place_sections(struct hf_bundle *b, struct diag *diag)
{
	unsigned note = obj_find(&b->obj, VP_NOTE_SECTION);
	uint64_t size = 0;
	int r;

	b->place = malloc(b->obj.n_section * sizeof(*b->place));
	if (!b->place)
		return diag_set(diag, VP_E_NOMEM, "no memory for the sections");
	for (unsigned i = 0; i < b->obj.n_section; i++) {
		const struct obj_section *s = &b->obj.section[i];

		b->place[i] = BUNDLE_NOT_THERE;
		r = check_section(b, i, note, diag);
		if (r < 0)
			return r;
		if (!(s->flags & SHF_ALLOC) || s->type != SHT_PROGBITS)
			continue;
		size = (size + s->align - 1) & ~(s->align - 1);
		if (size > BUNDLE_IMAGE_MAX || s->size > BUNDLE_IMAGE_MAX - size)
			return diag_set(diag, VP_E_BUNDLE, "the payload is larger than %u KiB",
					BUNDLE_IMAGE_MAX >> 10);
		b->place[i] = (uint32_t)size;
		size += s->size;
	}
	b->size = (uint32_t)size;
	return VP_OK;
}

/* A symbol that a relocation uses must have an address. */
static int check_used_symbol(const struct hf_bundle *b, const struct obj_rela *rela,
			     struct diag *diag)
{
	const struct obj_symbol *sym = &b->obj.symbol[rela->sym];

	if (sym->type > STT_FILE)
		return diag_set(
			diag, VP_E_SECTION,
			"symbol %s: it is of kind %u (thread-local, common or indirect), which the "
			"kernel does not have: take it out",
			sym->name, sym->type);
	if (sym->shndx == SHN_COMMON)
		return diag_set(
			diag, VP_E_SECTION,
			"symbol %s: it is a common variable, and the image is read-only in the "
			"guest: make it const or extern",
			sym->name);
	if (rela->sym && sym->shndx == SHN_UNDEF &&
	    !bundle_is_symbol(sym->name, VP_NOTE_SYMBOL_MAX))
		return diag_set(diag, VP_E_BUNDLE, "symbol %u: it has no proper name", rela->sym);
	if (sym->shndx != SHN_UNDEF && sym->shndx < SHN_LORESERVE &&
	    b->place[sym->shndx] == BUNDLE_NOT_THERE)
		return diag_set(diag, VP_E_SECTION,
				"symbol %s: it lies in section %s, which a bundle does not carry",
				sym->name, b->obj.section[sym->shndx].name);
	return VP_OK;
}

static int check_relas(struct hf_bundle *b, struct diag *diag)
{
	uint8_t *seen = calloc(b->obj.n_symbol, 1);
	struct obj_rela rela;
	int r = VP_OK;

	if (!seen)
		return diag_set(diag, VP_E_NOMEM, "no memory for the relocations");
	for (unsigned i = 1; r == VP_OK && i < b->obj.n_section; i++) {
		unsigned n = obj_n_rela(&b->obj.section[i]);

		for (unsigned k = 0; r == VP_OK && k < n; k++) {
			obj_rela(&b->obj.section[i], k, &rela);
			r = check_used_symbol(b, &rela, diag);
			if (r == VP_OK && !seen[rela.sym] && bundle_may_veneer(b, &rela)) {
				seen[rela.sym] = 1;
				b->n_veneer++;
			}
		}
	}
	free(seen);
	return r;
}

static int find_function(const struct hf_bundle *b, const char *name, uint32_t *ret)
{
	unsigned found = 0;

	for (unsigned i = 1; i < b->obj.n_symbol; i++) {
		const struct obj_symbol *s = &b->obj.symbol[i];

		if (s->type != STT_FUNC || s->shndx == SHN_UNDEF || s->shndx >= SHN_LORESERVE ||
		    strcmp(s->name, name) != 0)
			continue;
		if (found++)
			return VP_E_BUNDLE;
		if (b->place[s->shndx] == BUNDLE_NOT_THERE || s->size == 0 ||
		    !(b->obj.section[s->shndx].flags & SHF_EXECINSTR) ||
		    (b->place[s->shndx] + s->value) % b->info.arch->insn_align)
			return VP_E_BUNDLE;
		*ret = b->place[s->shndx] + (uint32_t)s->value;
	}
	return found ? VP_OK : VP_E_BUNDLE;
}

static int find_functions(struct hf_bundle *b, struct diag *diag)
{
	for (size_t i = 0; i < b->info.n_replace; i++) {
		if (hf_leads(&b->replace[i]) &&
		    find_function(b, b->replace[i].function, &b->entry[i]) < 0)
			return diag_set(
				diag, VP_E_BUNDLE,
				"replacement %s of %s: the payload has no such function, or two",
				b->replace[i].function, b->replace[i].symbol);
	}
	return VP_OK;
}

/*
 * What the linker of hotfixes is made for. The others lack more than a table: ppc64le calls go to a
 * symbol's local entry or set r12, which is not known here, and Thumb addends lie in the code.
 */
static bool is_linked(enum arch_id id)
{
	return id == ARCH_X86_64 || id == ARCH_ARM64;
}

static int parse(struct hf_bundle *b, const uint8_t *buf, size_t len, struct diag *diag)
{
	unsigned note;
	int r;

	r = obj_open(buf, len, diag, &b->obj);
	if (r < 0)
		return r;
	b->info.arch = arch_by_elf(b->obj.machine);
	if (!b->info.arch)
		return diag_set(diag, VP_E_WRONG_ARCH,
				"its ELF machine is %u, which this vpatch does not know",
				b->obj.machine);
	if (!is_linked(b->info.arch->id))
		return diag_set(diag, VP_E_WRONG_ARCH,
				"it is for %s: this vpatch makes no hotfixes for that architecture",
				b->info.arch->name);
	/* Whoever cuts a byte off a signature must not turn a signed bundle into an unsigned one. */
	if (b->obj.headers_end != len)
		return diag_set(
			diag, VP_E_BUNDLE,
			"%zu bytes follow its section headers, where a bundle ends, and are "
			"no signature: the file is damaged",
			len - b->obj.headers_end);
	note = obj_find(&b->obj, VP_NOTE_SECTION);
	if (!note || b->obj.section[note].type != SHT_NOTE)
		return diag_set(diag, VP_E_BUNDLE,
				"it has no section " VP_NOTE_SECTION
				": it was not made by `vpatch build`");
	b->symbol = calloc(VP_NOTE_SYMBOLS_MAX, sizeof(*b->symbol));
	if (!b->symbol)
		return diag_set(diag, VP_E_NOMEM, "no memory for the notes");
	r = bundle_notes(b, &b->obj.section[note], diag);
	if (r == VP_OK)
		r = place_sections(b, diag);
	if (r == VP_OK)
		r = check_relas(b, diag);
	if (r == VP_OK)
		r = find_functions(b, diag);
	return r;
}

int hf_open(const uint8_t *buf, size_t len, struct diag *diag, struct hf_bundle **ret)
{
	struct hf_bundle *b;
	int r;

	if (len > HF_FILE_MAX)
		return diag_set(diag, VP_E_BUNDLE, "bundle: it is larger than %u MiB",
				HF_FILE_MAX >> 20);
	len = hf_unsigned_len(buf, len);
	b = calloc(1, sizeof(*b));
	if (!b)
		return diag_set(diag, VP_E_NOMEM, "bundle: no memory to read it");
	b->info.name = b->info.version = b->info.release = "";
	b->info.fixes = b->info.author = b->info.description = "";
	b->info.replace = b->replace;
	r = parse(b, buf, len, diag);
	if (r < 0) {
		hf_close(b);
		return diag_prefix(diag, "bundle");
	}
	sha256(b->obj.bytes, len, b->info.id);
	*ret = b;
	return VP_OK;
}

void hf_close(struct hf_bundle *b)
{
	if (!b)
		return;
	obj_deinit(&b->obj);
	free(b->symbol);
	free(b->place);
	free(b);
}

const struct hf_info *hf_info(const struct hf_bundle *b)
{
	return &b->info;
}

const char *hf_how_name(enum hf_how how)
{
	static const char *const names[] = {"replace", "call", "jump", "nop", "word"};

	return (unsigned)how < sizeof(names) / sizeof(names[0]) ? names[how] : "?";
}
