/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loads an ELF64 file at its physical addresses; its PVH note says where it starts. */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/vmm/vmm.h"

#define PHYS32_ENTRY 18 /* xen/include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY */

static bool fits(uint64_t off, uint64_t need, uint64_t len)
{
	return off <= len && need <= len - off;
}

/* Names and contents are padded to 4 bytes each. */
static void read_notes(struct vmm *v, const uint8_t *p, uint64_t len)
{
	Elf64_Nhdr n;

	while (len >= sizeof(n)) {
		uint64_t name, size;

		memcpy(&n, p, sizeof(n));
		name = ((uint64_t)n.n_namesz + 3) & ~3ull;
		size = sizeof(n) + name + (((uint64_t)n.n_descsz + 3) & ~3ull);
		if (size > len)
			return;
		if (n.n_type == PHYS32_ENTRY && n.n_namesz == 4 && n.n_descsz >= 4 &&
		    memcmp(p + sizeof(n), "Xen", 4) == 0)
			memcpy(&v->entry, p + sizeof(n) + name, 4);
		p += size;
		len -= size;
	}
}

static void load_segment(struct vmm *v, const uint8_t *file, uint64_t len, const Elf64_Phdr *ph)
{
	if (!fits(ph->p_offset, ph->p_filesz, len))
		die("kernel: a segment lies outside the file");
	if (ph->p_type == PT_NOTE)
		read_notes(v, file + ph->p_offset, ph->p_filesz);
	if (ph->p_type != PT_LOAD)
		return;
	if (ph->p_memsz < ph->p_filesz || !fits(ph->p_paddr, ph->p_memsz, v->ram_len))
		die("kernel: a segment does not fit into RAM");
	memcpy(v->ram + ph->p_paddr, file + ph->p_offset, ph->p_filesz);
	memset(v->ram + ph->p_paddr + ph->p_filesz, 0, ph->p_memsz - ph->p_filesz);
}

void load_kernel(struct vmm *v)
{
	int fd = open(v->kernel, O_RDONLY | O_CLOEXEC);
	const uint8_t *file;
	struct stat st;
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(v->kernel);
	file = mmap(NULL, (size_t)st.st_size + 1, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED || (size_t)st.st_size < sizeof(eh))
		die(v->kernel);
	memcpy(&eh, file, sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_machine != EM_X86_64 || eh.e_phentsize != sizeof(ph) ||
	    !fits(eh.e_phoff, (uint64_t)eh.e_phnum * sizeof(ph), (uint64_t)st.st_size))
		die("kernel: not an ELF file of x86-64");
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		memcpy(&ph, file + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		load_segment(v, file, (uint64_t)st.st_size, &ph);
	}
	if (v->entry == 0)
		die("kernel: has no PVH entry (ELF note 18 of Xen)");
	munmap((void *)(uintptr_t)file, (size_t)st.st_size + 1);
	close(fd);
}
