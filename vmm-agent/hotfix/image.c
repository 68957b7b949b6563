// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A hotfix for a guest that is not Linux: compiled without a kernel's headers, and linked to the symbols
 * of the image that the guest runs, which is loaded where it was linked to. Nothing is left to ask the
 * guest for but its sites.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm-agent/hotfix/compile.h"
#include "vmm-agent/hotfix/image.h"

#define OBJECT_MAX (64u << 20)
#define ARGS_MAX   40u

extern char **environ;

/* How code of a kernel is compiled: what it may not use, and nothing that a linker would have to make. */
static const struct flags {
	enum arch_id id;
	const char *gnu;
	const char *flags[6];
} archs[] = {
	{ARCH_X86_64,
	 "x86_64-linux-gnu-",
	 {"-mcmodel=kernel", "-mno-red-zone", "-mgeneral-regs-only", "-fcf-protection=none"}},
	{ARCH_ARM64, "aarch64-linux-gnu-", {"-mgeneral-regs-only", "-mno-outline-atomics"}},
	{ARCH_RISCV64,
	 "riscv64-linux-gnu-",
	 {"-march=rv64imac", "-mabi=lp64", "-mcmodel=medany", "-mno-relax",
	  "-msmall-data-limit=0"}},
};

static const struct flags *flags_of(const struct arch_ops *arch)
{
	for (size_t i = 0; arch && i < sizeof(archs) / sizeof(archs[0]); i++)
		if (archs[i].id == arch->id)
			return &archs[i];
	return NULL;
}

/* --- the image ---------------------------------------------------------------------------------- */

static int take_note(Elf_Data *d, struct pack_kernel *kernel)
{
	size_t at = 0, name, desc;
	GElf_Nhdr h;

	while ((at = gelf_getnote(d, at, &h, &name, &desc)) != 0)
		if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == 4 &&
		    memcmp((char *)d->d_buf + name, "GNU", 4) == 0 &&
		    h.n_descsz >= VP_NOTE_BUILD_ID_MIN && h.n_descsz <= VP_NOTE_BUILD_ID_MAX) {
			memcpy(kernel->build_id, (char *)d->d_buf + desc, h.n_descsz);
			kernel->build_id_len = h.n_descsz;
			return VP_OK;
		}
	return VP_E_BUNDLE;
}

/* Every section of a type, until fn says VP_OK. */
static int with_sections(Elf *elf, uint32_t type,
			 int (*fn)(Elf *elf, const GElf_Shdr *h, Elf_Data *d, void *ctx), void *ctx)
{
	int r = VP_E_BUNDLE;

	for (Elf_Scn *s = elf_nextscn(elf, NULL); s && r == VP_E_BUNDLE; s = elf_nextscn(elf, s)) {
		GElf_Shdr h;
		Elf_Data *d;

		if (gelf_getshdr(s, &h) && h.sh_type == type && (d = elf_getdata(s, NULL)))
			r = fn(elf, &h, d, ctx);
	}
	return r;
}

static int find_id(Elf *elf, const GElf_Shdr *h, Elf_Data *d, void *kernel)
{
	(void)elf;
	(void)h;
	return take_note(d, kernel);
}

struct want {
	const char *name;
	uint64_t value;
	unsigned n; /* of different values */
};

static int find_symbol(Elf *elf, const GElf_Shdr *h, Elf_Data *d, void *ctx)
{
	struct want *w = ctx;

	for (size_t i = 0; i < h->sh_size / (h->sh_entsize ? h->sh_entsize : 1); i++) {
		const char *name;
		GElf_Sym sym;

		if (!gelf_getsym(d, (int)i, &sym) || sym.st_shndx == SHN_UNDEF ||
		    GELF_ST_TYPE(sym.st_info) > STT_FUNC)
			continue;
		name = elf_strptr(elf, h->sh_link, sym.st_name);
		if (!name || strcmp(name, w->name) != 0 || (w->n && w->value == sym.st_value))
			continue;
		w->value = sym.st_value;
		w->n++;
	}
	return VP_E_BUNDLE; /* the next table too */
}

static int resolve_all(Elf *elf, const char *path, struct obj *o, struct diag *diag)
{
	for (unsigned i = 1; i < o->n_symbol; i++) {
		struct want w = {.name = o->symbol[i].name};

		if (o->symbol[i].shndx != SHN_UNDEF || !*w.name)
			continue;
		(void)!with_sections(elf, SHT_SYMTAB, find_symbol, &w);
		if (w.n != 1)
			return diag_set(diag, w.n ? VP_E_SYM_AMBIGUOUS : VP_E_SYM_UNKNOWN,
					w.n ? "%s: %s has several symbols of that name"
					    : "%s: %s has no such symbol (is it stripped?)",
					w.name, path);
		o->symbol[i].shndx = SHN_ABS;
		o->symbol[i].value = w.value;
	}
	return VP_OK;
}

/* --- the compiler -------------------------------------------------------------------------------- */

static int compile(const struct hf_build *args, const struct flags *f, const char *object,
		   struct diag *diag)
{
	const char *argv[ARGS_MAX] = {NULL,
				      "-std=gnu11",
				      "-O2",
				      "-g0",
				      "-Wall",
				      "-ffreestanding",
				      "-fno-pic",
				      "-fno-stack-protector",
				      "-fno-asynchronous-unwind-tables",
				      "-fno-common",
				      "-fno-jump-tables",
				      "-D__VPATCH_IMAGE__",
				      "-I",
				      args->include_dir};
	char cc[256];
	unsigned n = 14;
	int e, status = 0;
	pid_t pid;

	snprintf(cc, sizeof(cc), "%sgcc", args->cross ? args->cross : f->gnu);
	argv[0] = cc;
	for (unsigned i = 0; i < 6 && f->flags[i]; i++)
		argv[n++] = f->flags[i];
	argv[n++] = "-c";
	argv[n++] = "-o";
	argv[n++] = object;
	argv[n++] = args->source;
	e = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);
	if (e)
		return diag_set(diag, VP_E_TOOL, "%s: %s: install the cross compiler", cc,
				strerror(e));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return diag_errno(diag, errno, "%s", cc);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return diag_set(diag, VP_E_TOOL, "%s did not compile %s: what it says is above", cc,
				args->source);
	return VP_OK;
}

static int compiled(const struct hf_build *args, const struct flags *f, struct diag *diag,
		    struct obj *ret)
{
	char object[] = "/tmp/vpatch-XXXXXX";
	uint8_t *buf = NULL;
	size_t len = 0;
	int fd = mkostemp(object, O_CLOEXEC), r;

	if (fd < 0)
		return diag_errno(diag, errno, "%s", object);
	close(fd);
	r = compile(args, f, object, diag);
	if (r == VP_OK)
		r = compile_slurp(object, OBJECT_MAX, diag, &buf, &len);
	unlink(object);
	if (r == VP_OK)
		r = obj_open(buf, len, diag, ret);
	free(buf);
	return r;
}

static int with_elf(const struct hf_build *args, Elf *elf, struct diag *diag,
		    struct pack_kernel *kernel, struct obj *ret)
{
	const struct flags *f;
	GElf_Ehdr head;
	int r;

	if (!elf || !gelf_getehdr(elf, &head) || head.e_type != ET_EXEC)
		return diag_set(diag, VP_E_USAGE,
				"--image %s: an ELF executable is needed, linked to the addresses "
				"that the guest runs it at",
				args->image);
	f = flags_of(head.e_ident[EI_CLASS] == ELFCLASS64 ? arch_by_elf(head.e_machine) : NULL);
	if (!f)
		return diag_set(diag, VP_E_UNSUPPORTED,
				"--image %s: hotfixes for that architecture are not linked yet",
				args->image);
	if (kernel->build_id_len == 0 && with_sections(elf, SHT_NOTE, find_id, kernel) < 0)
		return diag_set(diag, VP_E_USAGE,
				"--image %s has no build-id: link it with --build-id, or give the "
				"identity that vpatch inspect prints with --build-id",
				args->image);
	r = compiled(args, f, diag, ret);
	if (r < 0)
		return r;
	if (ret->machine == head.e_machine)
		r = resolve_all(elf, args->image, ret, diag);
	else
		r = diag_set(diag, VP_E_TOOL, "%s: the compiler made code for another machine",
			     args->source);
	if (r < 0)
		obj_deinit(ret);
	return r;
}

int image_object(const struct hf_build *args, struct diag *diag, struct pack_kernel *kernel,
		 struct obj *ret)
{
	int fd = open(args->image, O_RDONLY | O_CLOEXEC), r;
	Elf *elf;

	if (fd < 0)
		return diag_errno(diag, errno, "%s", args->image);
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	kernel->release = HF_NO_RELEASE;
	r = with_elf(args, elf, diag, kernel, ret);
	elf_end(elf);
	close(fd);
	return r;
}
