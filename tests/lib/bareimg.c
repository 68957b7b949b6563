// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/bareimg.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "tests/guests/x86-64/ctl.h"
#include "tests/lib/guestimg.h"

#define RAM_END      (2 * GUESTIMG_RAM) /* below it is all that the file has */
#define PAGE         4096u
#define PAGES        (RAM_END / PAGE)
#define LOADS_MAX    64u
#define PVH_NOTE     18 /* XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h */
#define CTL_LOADED   ((BARE_CPUS_MAX + 1) * BARE_PAGE)
#define LAPIC        0xfee00000u
#define BOOT_LEN_MAX 0x4000u

/* nopl 0x0(%rax,%rax,1); incq (%rdi); xor %eax,%eax; ret */
static const uint8_t function[] = {0x0f, 0x1f, 0x44, 0x00, 0x00, 0x48,
				   0xff, 0x07, 0x31, 0xc0, 0xc3};

/* --- tables: Intel SDM vol. 3A, 3.4.5, 6.14.1, 7.2.3, 7.7 --------------------------------------- */

static void put_idt(const struct guestimg *img)
{
	uint8_t *idt = guestimg_at(img, vp_gva(BARE_DATA + BARE_IDT_OFF));

	for (unsigned i = 0; i < BARE_VECTORS; i++) {
		uint64_t to = BARE_TEXT + BARE_CODE_OFF + BARE_VECTORS_OFF + 16 * i;
		uint8_t *e = idt + (size_t)16 * i;

		vp_st16(e, (uint16_t)to);
		vp_st16(e + 2, BARE_CS);
		/* present interrupt gate; int3 may come from CPL3 */
		vp_st16(e + 4, i == 3 ? 0xee00 : 0x8e00);
		vp_st16(e + 6, (uint16_t)(to >> 16));
		vp_st32(e + 8, (uint32_t)(to >> 32));
	}
}

static void put_cpu(const struct guestimg *img, unsigned cpu)
{
	/* flat, accessed already: 32-bit code, 64-bit code, data; nothing; user data, user code */
	static const uint64_t gdt[] = {
		0, 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff,
		0, 0x00cff3000000ffff, 0x00affb000000ffff, 0};
	uint64_t at = BARE_DATA + BARE_KCPU_OFF + (uint64_t)cpu * BARE_PAGE;
	uint64_t tss = at + BARE_KCPU_TSS;
	uint8_t *p = guestimg_at(img, vp_gva(at));

	for (size_t i = 0; i < sizeof(gdt) / sizeof(gdt[0]); i++)
		vp_st64(p + 8 * i, gdt[i]);
	vp_st64(p + BARE_TR, (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56 |
				     0x0000890000000067); /* available 64-bit TSS */
	vp_st64(p + BARE_TR + 8, tss >> 32);
	vp_st16(p + BARE_KCPU_GDTR, BARE_GDTLEN - 1);
	vp_st64(p + BARE_KCPU_GDTR + 2, at);
	vp_st16(p + BARE_KCPU_IDTR, BARE_VECTORS * 16 - 1);
	vp_st64(p + BARE_KCPU_IDTR + 2, BARE_DATA + BARE_IDT_OFF);
	vp_st64(p + BARE_KCPU_TSS + 4, at + BARE_PAGE); /* RSP0 */
	vp_st16(p + BARE_KCPU_TSS + 102, 104);          /* no I/O map */
}

/* --- the image ------------------------------------------------------------------------------------- */

static int put_boot(const struct guestimg *img, const char *path, struct diag *diag)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f)
		return diag_errno(diag, errno, "%s", path);
	n = fread(guestimg_at(img, vp_gva(BARE_TEXT + BARE_CODE_OFF)), 1, BOOT_LEN_MAX, f);
	fclose(f);
	if (n == 0 || n == BOOT_LEN_MAX)
		return diag_set(diag, VP_E_RANGE, "%s: it has %zu bytes", path, n);
	return VP_OK;
}

static int overlay(struct guestimg *img, const char *boot, struct diag *diag)
{
	struct bare_ctl *ctl = fake_mem(img->f, vp_gpa(BARE_CTL_GPA), sizeof(*ctl));

	if (img->text.v != BARE_TEXT || img->phys.v != BARE_TEXT_GPA || img->data.v != BARE_DATA ||
	    img->root.v != BARE_ROOT_GPA || img->func[0].v != BARE_TEXT + BARE_FUNC_OFF)
		return diag_set(diag, VP_E_RANGE, "ctl.h and guestimg do not agree");
	for (unsigned i = 0; i < 2; i++) {
		uint64_t gpa = BARE_TEXT_GPA + (uint64_t)i * BARE_CTL_LEN;

		guestimg_map(img, BARE_TEXT_USER + (uint64_t)i * BARE_CTL_LEN, gpa,
			     GUESTIMG_USER_TEXT);
		guestimg_map(img, gpa, gpa, GUESTIMG_TEXT); /* where paging is turned on */
	}
	guestimg_map(img, BARE_DATA_GPA, BARE_DATA_GPA, GUESTIMG_DATA); /* the GDT until then */
	guestimg_map(img, BARE_CTL, BARE_CTL_GPA, GUESTIMG_USER_DATA);
	guestimg_map(img, LAPIC, LAPIC, GUESTIMG_DEVICE);
	for (unsigned i = 0; i < GUESTIMG_FUNCS; i++)
		memcpy(guestimg_at(img, img->func[i]), function, sizeof(function));
	for (unsigned i = 0; i < img->opts.sites; i++)
		memcpy(guestimg_at(img, vp_gva(img->site.v + (uint64_t)i * GUESTIMG_FUNC_SIZE)),
		       function, sizeof(function));
	put_idt(img);
	for (unsigned i = 0; i < BARE_CPUS_MAX; i++)
		put_cpu(img, i);
	ctl->version = BARE_VERSION;
	ctl->sites_off = (uint32_t)(img->site.v - img->text.v);
	ctl->sites_end = ctl->sites_off + img->opts.sites * GUESTIMG_FUNC_SIZE;
	return put_boot(img, boot, diag);
}

/* --- the file -------------------------------------------------------------------------------------- */

struct load {
	uint64_t at, len;
};

/* The control block is loaded although it is zero, so that a reset clears it. */
static bool wanted(struct fake *f, uint64_t page)
{
	static const uint8_t zero[PAGE];
	uint64_t at = page * PAGE;

	if (at >= BARE_CTL_GPA && at - BARE_CTL_GPA < CTL_LOADED)
		return true;
	return memcmp(fake_mem(f, vp_gpa(at), PAGE), zero, PAGE) != 0;
}

static unsigned find_loads(struct fake *f, struct load *loads)
{
	unsigned n = 0;

	for (uint64_t page = 0; page < PAGES; page++) {
		struct load *l = n ? &loads[n - 1] : NULL;

		if (!wanted(f, page))
			continue;
		/* Small gaps, or all that follows once there is no room, go along. */
		if (l && (page * PAGE - l->at - l->len <= 16 * PAGE || n == LOADS_MAX))
			l->len = (page + 1) * PAGE - l->at;
		else
			loads[n++] = (struct load){page * PAGE, PAGE};
	}
	return n;
}

static bool put_file(struct fake *f, FILE *out)
{
	/* namesz, descsz, type, "Xen", and the entry as 64 bits: what QEMU reads of an ELF64. */
	uint32_t note[6] = {4, 8, PVH_NOTE, 0x006e6558, BARE_TEXT_GPA + BARE_CODE_OFF, 0};
	struct load loads[LOADS_MAX];
	unsigned n = find_loads(f, loads);
	uint64_t off = sizeof(Elf64_Ehdr) + (n + 1) * sizeof(Elf64_Phdr);
	Elf64_Phdr ph = {.p_type = PT_NOTE,
			 .p_flags = PF_R,
			 .p_offset = off,
			 .p_filesz = sizeof(note),
			 .p_memsz = sizeof(note),
			 .p_align = 4};
	Elf64_Ehdr eh = {.e_type = ET_EXEC,
			 .e_machine = EM_X86_64,
			 .e_version = EV_CURRENT,
			 .e_entry = BARE_TEXT_GPA + BARE_CODE_OFF,
			 .e_phoff = sizeof(eh),
			 .e_ehsize = sizeof(eh),
			 .e_phentsize = sizeof(ph),
			 .e_phnum = (Elf64_Half)(n + 1)};
	bool ok;

	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	eh.e_ident[EI_VERSION] = EV_CURRENT;
	ok = fwrite(&eh, sizeof(eh), 1, out) == 1 && fwrite(&ph, sizeof(ph), 1, out) == 1;
	off = (off + sizeof(note) + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	for (unsigned i = 0; ok && i < n; i++) {
		ph = (Elf64_Phdr){.p_type = PT_LOAD,
				  .p_flags = PF_R | PF_W | PF_X,
				  .p_offset = off,
				  .p_vaddr = loads[i].at,
				  .p_paddr = loads[i].at,
				  .p_filesz = loads[i].len,
				  .p_memsz = loads[i].len,
				  .p_align = PAGE};
		off += loads[i].len;
		ok = fwrite(&ph, sizeof(ph), 1, out) == 1;
	}
	ok = ok && fwrite(note, sizeof(note), 1, out) == 1;
	off = (uint64_t)ftell(out);
	for (; ok && off % PAGE; off++)
		ok = fputc(0, out) == 0;
	for (unsigned i = 0; ok && i < n; i++)
		ok = fwrite(fake_mem(f, vp_gpa(loads[i].at), loads[i].len), loads[i].len, 1, out) ==
		     1;
	return ok;
}

int bareimg_write(const char *boot, unsigned sites, const char *out, struct diag *diag)
{
	const struct guestimg_opts opts = {.sites = sites, .at = BARE_RAM, .canary = 0xba4e00};
	const struct arch_ops *arch = arch_get(ARCH_X86_64);
	struct guestimg img;
	struct fake *f;
	FILE *file;
	int r;

	if (sites > GUESTIMG_SITES_MAX)
		return diag_set(diag, VP_E_RANGE, "at most %u sites", GUESTIMG_SITES_MAX);
	f = fake_create(arch, 1);
	guestimg_ram(f, arch, RAM_END / GUESTIMG_RAM);
	guestimg_build(f, arch, &opts, &img);
	r = overlay(&img, boot, diag);
	file = r == VP_OK ? fopen(out, "wb") : NULL;
	if (r == VP_OK && !file)
		r = diag_errno(diag, errno, "%s", out);
	if (file) {
		bool ok = put_file(f, file);

		if (fclose(file) != 0 || !ok)
			r = diag_set(diag, VP_E_IO, "%s: it could not be written", out);
	}
	fake_destroy(f);
	return r;
}
