/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/sample.h"

#include <assert.h>
#include <string.h>

#include "protocol/bytes.h"

/* call helper; then the architecture's way home. A branch at +4 / +5 goes to helper as well. */
static const uint8_t x86_text[16] = {0xe8, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0, 0xcc, 0xcc, 0xcc, 0xcc};
static const uint8_t arm_text[16] = {0, 0, 0, 0x94, 0, 0, 0, 0x14, 0x1f, 0x20, 0x03, 0xd5};
static const uint8_t constants[16] = "constant";

unsigned sample_section(struct sample *s, const char *name, uint32_t type, uint64_t flags,
			const void *data, uint64_t size, uint64_t align)
{
	assert(s->o.n_section < SAMPLE_SECTIONS);
	s->section[s->o.n_section] = (struct obj_section){
		.name = name,
		.type = type,
		.flags = flags,
		.data = data,
		.size = size,
		.align = align,
	};
	return s->o.n_section++;
}

unsigned sample_symbol(struct sample *s, const char *name, unsigned bind, unsigned type,
		       unsigned shndx, uint64_t value, uint64_t size)
{
	assert(s->o.n_symbol < SAMPLE_SYMBOLS);
	s->symbol[s->o.n_symbol] = (struct obj_symbol){
		name, (uint8_t)bind, (uint8_t)type, (uint16_t)shndx, value, size};
	return s->o.n_symbol++;
}

void sample_rela(struct sample *s, unsigned target, uint64_t offset, uint32_t type, unsigned sym,
		 int64_t addend)
{
	uint8_t *e = s->rela[target] + (size_t)s->n_rela[target] * 24;

	assert(s->n_rela[target] < SAMPLE_RELAS);
	vp_st64(e, offset);
	vp_st64(e + 8, (uint64_t)sym << 32 | type);
	vp_st64(e + 16, (uint64_t)addend);
	s->n_rela[target]++;
}

void sample_init(struct sample *s, const struct arch_ops *arch, const char *meta, size_t len)
{
	bool x86 = arch->elf_machine == EM_X86_64;
	unsigned rodata, helper;

	memset(s, 0, sizeof(*s));
	s->o.machine = arch->elf_machine;
	s->o.section = s->section;
	s->o.symbol = s->symbol;
	sample_section(s, "", SHT_NULL, 0, NULL, 0, 1);
	sample_symbol(s, "", STB_LOCAL, STT_NOTYPE, SHN_UNDEF, 0, 0);
	s->text = sample_section(s, ".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR,
				 x86 ? x86_text : arm_text, sizeof(x86_text), 16);
	rodata = sample_section(s, ".rodata", SHT_PROGBITS, SHF_ALLOC, constants, sizeof(constants),
				32);
	sample_section(s, ".vpatch.meta", SHT_PROGBITS, SHF_ALLOC, meta, len, 1);
	sample_symbol(s, "fixed", STB_LOCAL, STT_FUNC, s->text, 0, sizeof(x86_text));
	helper = sample_symbol(s, "helper", STB_GLOBAL, STT_NOTYPE, SHN_UNDEF, 0, 0);
	sample_rela(s, s->text, x86 ? 1 : 0, x86 ? R_X86_64_PLT32 : R_AARCH64_CALL26, helper,
		    x86 ? -4 : 0);
	sample_rela(s, s->text, x86 ? 6 : 4, x86 ? R_X86_64_PLT32 : R_AARCH64_JUMP26, helper,
		    x86 ? -4 : 0);
	sample_rela(s, rodata, 8, x86 ? R_X86_64_64 : R_AARCH64_ABS64, helper, 0);
}

int sample_pack(struct sample *s, struct diag *diag, uint8_t **buf, size_t *len)
{
	const struct pack_kernel kernel = {.release = "6.1.0-test"};

	return sample_pack_for(s, &kernel, diag, buf, len);
}

int sample_pack_for(struct sample *s, const struct pack_kernel *kernel, struct diag *diag,
		    uint8_t **buf, size_t *len)
{
	static const char *const rela_names[SAMPLE_SECTIONS] = {NULL, ".rela.text", ".rela.rodata"};
	unsigned n = s->o.n_section;
	struct pack_meta meta;
	int r;

	for (unsigned i = 1; i < n; i++) {
		unsigned at;

		if (!s->n_rela[i])
			continue;
		at = sample_section(s, rela_names[i] ? rela_names[i] : ".rela.other", SHT_RELA, 0,
				    s->rela[i], (uint64_t)s->n_rela[i] * 24, 8);
		s->section[at].info = i;
	}
	r = pack_meta(&s->o, diag, &meta);
	if (r < 0)
		return r;
	if (!meta.name)
		meta.name = "sample";
	if (!meta.version)
		meta.version = "1";
	r = pack_bundle(&s->o, &meta, kernel, diag, buf, len);
	pack_meta_deinit(&meta);
	return r;
}

int sample_resolve(void *ctx, const char *name, unsigned sympos, struct diag *diag, vp_gva_t *ret)
{
	uint64_t base = *(uint64_t *)ctx;
	uint32_t hash = vp_crc32c(sympos, name, strlen(name));

	(void)diag;
	*ret = vp_gva(base + (hash & 0xfffff0));
	return VP_OK;
}
