/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mkguest GUEST.elf HOTFIX: the synthetic kernel of tests/lib/guestimg.h as a file that starts at a PVH
 * entry, and a hotfix for it. CPU 0 goes to long mode and calls guest_func1 for ever: old, it
 * returns 0; fixed, 1. It wakes the others first, which count themselves and halt.
 *
 *	RAM + 0x50000   u64 calls   u64 sum of what they returned   u32 other CPUs that came up
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "tests/lib/guestimg.h"
#include "tests/lib/sample.h"

#define RELEASE  "6.1.0-test"
#define PML4     0x60000u /* of the way there: 0 to 2 MiB as it is, and the kernel's half */
#define PDPT     0x61000u
#define PD       0x62000u
#define START    0x70000u
#define GDT      0x70800u
#define OTHERS   0x8000u
#define COUNTERS 0x50000u
#define LOOP_OFF 0x8000u /* in the image's text, between its functions */
#define FILE_OFF 0x1000u
#define PAGE     4096u

/* Intel SDM vol. 2 for the instructions; vol. 3, "Advanced Programmable Interrupt Controller" and
 * "Initializing IA-32e Mode", for their order. */
static const uint8_t wake[] = {
	0xc7, 0x05, 0xf0, 0x00, 0xe0,
	0xfe, 0xff, 0x01, 0x00, 0x00, /* movl $0x1ff, SVR */
	0xc7, 0x05, 0x00, 0x03, 0xe0,
	0xfe, 0x00, 0x45, 0x0c, 0x00, /* movl $INIT | others, ICR */
	0xc7, 0x05, 0x00, 0x03, 0xe0,
	0xfe, 0x08, 0x46, 0x0c, 0x00, /* movl $SIPI | others | 8, ICR */
};
/* The other CPUs, in real mode at 8 << 12. */
static const uint8_t others[] = {
	0xb8, 0x00, 0x50,                   /* mov $COUNTERS >> 4, %ax */
	0x8e, 0xd8,                         /* mov %ax, %ds */
	0xf0, 0x66, 0xff, 0x06, 0x10, 0x00, /* lock incl 16 */
	0xf4,                               /* hlt */
	0xeb, 0xfd,                         /* jmp to the hlt */
};
static const uint8_t start32[] = {
	0x0f, 0x20, 0xe0,                         /* mov %cr4, %eax */
	0x83, 0xc8, 0x20,                         /* or $PAE, %eax */
	0x0f, 0x22, 0xe0,                         /* mov %eax, %cr4 */
	0xb8, 0x00, 0x00, 0x06, 0x00,             /* mov $PML4, %eax */
	0x0f, 0x22, 0xd8,                         /* mov %eax, %cr3 */
	0xb9, 0x80, 0x00, 0x00, 0xc0,             /* mov $IA32_EFER, %ecx */
	0x0f, 0x32,                               /* rdmsr */
	0x0d, 0x00, 0x09, 0x00, 0x00,             /* or $LME | NXE, %eax */
	0x0f, 0x30,                               /* wrmsr */
	0x0f, 0x20, 0xc0,                         /* mov %cr0, %eax */
	0x0d, 0x01, 0x00, 0x00, 0x80,             /* or $PG | PE, %eax */
	0x0f, 0x22, 0xc0,                         /* mov %eax, %cr0 */
	0x0f, 0x01, 0x15, 0x10, 0x08, 0x07, 0x00, /* lgdt GDT + 16 */
	0xea, 0x00, 0x01, 0x07, 0x00, 0x08, 0x00, /* ljmp $8, $START + 0x100 */
};

static void put_loop(const struct guestimg *img)
{
	uint64_t counters = guestimg_linear(img, vp_gpa(COUNTERS)).v;
	uint64_t at = img->text.v + LOOP_OFF;
	uint8_t *start64 = fake_mem(img->f, vp_gpa(START + 0x100), 32);
	uint8_t *p = guestimg_at(img, vp_gva(at));

	start64[0] = 0x48, start64[1] = 0xb8; /* movabs $, %rax; jmp *%rax */
	vp_st64(start64 + 2, at);
	start64[10] = 0xff, start64[11] = 0xe0;

	p[0] = 0x48, p[1] = 0xb8; /* movabs $root, %rax; mov %rax, %cr3 */
	vp_st64(p + 2, img->root.v);
	p[10] = 0x0f, p[11] = 0x22, p[12] = 0xd8;
	p[13] = 0x48, p[14] = 0xbf; /* movabs $counters, %rdi */
	vp_st64(p + 15, counters);
	p[23] = 0x48, p[24] = 0x8d, p[25] = 0xa7; /* lea 0x1000(%rdi), %rsp */
	vp_st32(p + 26, 0x1000);
	p[30] = 0xe8; /* call guest_func1 */
	vp_st32(p + 31, (uint32_t)(img->func[1].v - (at + 35)));
	memcpy(p + 35, "\x48\x01\x47\x08", 4); /* add %rax, 8(%rdi) */
	memcpy(p + 39, "\x48\xff\x07", 3);     /* incq (%rdi) */
	memcpy(p + 42, "\xeb\xf2", 2);         /* jmp to the call */
}

static void put_start(const struct guestimg *img)
{
	uint8_t *pml4 = fake_mem(img->f, vp_gpa(PML4), 3 * PAGE), *gdt;

	memcpy(pml4, fake_mem(img->f, img->root, PAGE), PAGE);
	vp_st64(pml4, PDPT | 3);
	vp_st64(pml4 + PAGE, PD | 3);
	vp_st64(pml4 + 2 * PAGE, 0x83); /* a page of 2 MiB */
	memcpy(fake_mem(img->f, vp_gpa(START), sizeof(wake)), wake, sizeof(wake));
	memcpy(fake_mem(img->f, vp_gpa(START + sizeof(wake)), sizeof(start32)), start32,
	       sizeof(start32));
	memcpy(fake_mem(img->f, vp_gpa(OTHERS), sizeof(others)), others, sizeof(others));
	gdt = fake_mem(img->f, vp_gpa(GDT), 32);
	vp_st64(gdt + 8, 0x00209b0000000000); /* 64-bit code */
	vp_st16(gdt + 16, 15);
	vp_st32(gdt + 18, GDT);
	put_loop(img);
}

static void write_at(FILE *f, long at, const void *buf, size_t len)
{
	if (fseek(f, at, SEEK_SET) != 0 || fwrite(buf, 1, len, f) != len) {
		perror("mkguest");
		exit(1);
	}
}

/* Pages of zeros stay holes. */
static void write_elf(const struct guestimg *img, const char *path)
{
	static const uint8_t zero[PAGE];
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr load, note;
		Elf64_Nhdr n;
		char name[4];
		uint32_t entry;
	} head = {
		.eh = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		       .e_type = ET_EXEC,
		       .e_machine = EM_X86_64,
		       .e_version = EV_CURRENT,
		       .e_entry = START,
		       .e_phoff = sizeof(Elf64_Ehdr),
		       .e_ehsize = sizeof(Elf64_Ehdr),
		       .e_phentsize = sizeof(Elf64_Phdr),
		       .e_phnum = 2},
		.load = {.p_type = PT_LOAD,
			 .p_flags = PF_R | PF_W | PF_X,
			 .p_offset = FILE_OFF,
			 .p_filesz = GUESTIMG_RAM,
			 .p_memsz = GUESTIMG_RAM,
			 .p_align = PAGE},
		.n = {4, 4, 18},
		.name = "Xen",
		.entry = START,
	};
	const uint8_t *ram = fake_mem(img->f, vp_gpa(0), GUESTIMG_RAM);
	FILE *f = fopen(path, "wb");

	if (!f) {
		perror(path);
		exit(1);
	}
	head.note = (Elf64_Phdr){.p_type = PT_NOTE,
				 .p_offset = (uint64_t)((char *)&head.n - (char *)&head),
				 .p_filesz = sizeof(head.n) + 8,
				 .p_memsz = sizeof(head.n) + 8,
				 .p_align = 4};
	write_at(f, 0, &head, sizeof(head));
	for (size_t at = 0; at < GUESTIMG_RAM; at += PAGE)
		if (at + PAGE == GUESTIMG_RAM || memcmp(ram + at, zero, PAGE) != 0)
			write_at(f, (long)(FILE_OFF + at), ram + at, PAGE);
	fclose(f);
}

static void write_hotfix(const struct arch_ops *arch, const char *path)
{
	static const uint8_t fixed[16] = {0xb8, 1, 0, 0, 0, 0xc3}; /* mov $1, %eax; ret */
	static const char meta[] = "name=returns-one\0version=1\0replace=guest_func1,0,fixed\0"
				   "consistency=entry";
	struct sample s;
	struct diag diag;
	uint8_t *buf = NULL;
	size_t len = 0;
	FILE *f;

	diag_init(&diag);
	sample_init(&s, arch, meta, sizeof(meta));
	s.section[s.text].data = fixed;
	s.n_rela[s.text] = 0;
	for (unsigned i = 0; i < s.o.n_symbol; i++)
		if (strcmp(s.symbol[i].name, "helper") == 0)
			s.symbol[i].name = "guest_func7";
	if (sample_pack(&s, &diag, &buf, &len) < 0) {
		fprintf(stderr, "mkguest: %s\n", diag.text);
		exit(1);
	}
	f = fopen(path, "wb");
	if (!f) {
		perror(path);
		exit(1);
	}
	write_at(f, 0, buf, len);
	fclose(f);
	free(buf);
}

int main(int argc, char **argv)
{
	const struct arch_ops *arch = arch_get(ARCH_X86_64);
	struct guestimg_opts opts = {.release = RELEASE, .canary = 0x1122334455667700};
	struct guestimg img;
	struct fake *f;

	if (argc != 3) {
		fprintf(stderr, "mkguest GUEST.elf HOTFIX\n");
		return 2;
	}
	f = fake_create(arch, 1);
	guestimg_ram(f, arch, 1);
	guestimg_build(f, arch, &opts, &img);
	put_start(&img);
	write_elf(&img, argv[1]);
	write_hotfix(arch, argv[2]);
	fake_destroy(f);
	return 0;
}
