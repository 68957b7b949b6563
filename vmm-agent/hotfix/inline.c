/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inlined copies of the functions to be replaced. A redirected entry does not reach a copy that
 * the compiler put into a caller; DWARF tells where they are.
 */
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm-agent/hotfix/pack.h"

#define DEPTH_MAX  512 /* of the tree of one unit */
#define CALLER_MAX 6   /* named; the others are counted */

struct search {
	const struct pack_meta *meta;
	bool found[VP_NOTE_REPLACE_MAX]; /* the function has a description at all */
	const char *old;                 /* the first function found inlined */
	const char *caller[CALLER_MAX];
	unsigned n_caller;
};

static int replaced(const struct search *s, const char *name)
{
	for (unsigned i = 0; name && i < s->meta->n_replace; i++)
		if (strcmp(s->meta->replace[i].symbol, name) == 0)
			return (int)i;
	return -1;
}

static const char *name_of(Dwarf_Die *die)
{
	Dwarf_Attribute attr;

	/* Through abstract origin and specification. */
	return dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attr));
}

static void note_copy(struct search *s, const char *old, const char *caller)
{
	if (!caller)
		caller = "a function without a name";
	if (s->old && strcmp(s->old, old) != 0)
		return;
	s->old = old;
	for (unsigned i = 0; i < s->n_caller && i < CALLER_MAX; i++)
		if (strcmp(s->caller[i], caller) == 0)
			return;
	if (s->n_caller < CALLER_MAX)
		s->caller[s->n_caller] = caller;
	s->n_caller++;
}

/* caller: the function of its own that die lies in; safe: it, or a copy around die, is replaced. */
static int walk(struct search *s, Dwarf_Die *die, const char *caller, bool safe, unsigned depth)
{
	Dwarf_Die child;
	int more, i;

	if (depth > DEPTH_MAX)
		return VP_E_BUNDLE;
	for (more = dwarf_child(die, &child); more == 0; more = dwarf_siblingof(&child, &child)) {
		int tag = dwarf_tag(&child);
		const char *name = NULL;
		int r;

		if (tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine)
			name = name_of(&child);
		i = replaced(s, name);
		if (tag == DW_TAG_subprogram) {
			if (i >= 0)
				s->found[i] = true;
			/* The abstract tree of an inline function is no code. */
			if (dwarf_hasattr(&child, DW_AT_inline))
				continue;
			r = walk(s, &child, name, i >= 0, depth + 1);
		} else {
			if (name && i >= 0 && !safe)
				note_copy(s, name, caller);
			r = walk(s, &child, caller, safe, depth + 1);
		}
		if (r < 0)
			return r;
	}
	return more < 0 ? VP_E_BUNDLE : VP_OK;
}

static int search_all(struct search *s, Dwarf *dw, const char *path, struct diag *diag)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die;
	uint8_t type;
	int more;

	while ((more = dwarf_get_units(dw, cu, &cu, NULL, &type, &die, NULL)) == 0) {
		if (type != DW_UT_compile && type != DW_UT_partial)
			continue;
		if (walk(s, &die, NULL, false, 0) < 0)
			return diag_set(diag, VP_E_BUNDLE, "%s: its DWARF is damaged: %s", path,
					dwarf_errmsg(-1));
	}
	if (more < 0)
		return diag_set(diag, VP_E_BUNDLE, "%s: its DWARF is damaged: %s", path,
				dwarf_errmsg(-1));
	return VP_OK;
}

static int report(const struct search *s, const char *path, struct diag *diag)
{
	char list[400] = "";
	size_t at = 0;

	for (unsigned i = 0; i < s->meta->n_replace; i++)
		if (!s->found[i])
			return diag_set(
				diag, VP_E_SYM_UNKNOWN,
				"%s: its DWARF knows no function %s: give the vmlinux of the kernel "
				"that the hotfix is for",
				path, s->meta->replace[i].symbol);
	if (!s->old)
		return VP_OK;
	for (unsigned i = 0; i < s->n_caller && i < CALLER_MAX && at < sizeof(list); i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "",
				       s->caller[i]);
	return diag_set(
		diag, VP_E_CLONES,
		"%s: the compiler put copies of %s into %u other function(s) (%s), which the "
		"hotfix would not reach: replace these too",
		path, s->old, s->n_caller, list);
}

static int take_build_id(Elf *elf, const char *path, struct diag *diag, struct pack_kernel *kernel)
{
	const void *id = NULL;
	ssize_t n = dwelf_elf_gnu_build_id(elf, &id);

	if (n < VP_NOTE_BUILD_ID_MIN || n > VP_NOTE_BUILD_ID_MAX)
		return diag_set(diag, VP_E_BUNDLE,
				"%s: it has no build-id: give a kernel's vmlinux", path);
	if (kernel->build_id_len &&
	    (kernel->build_id_len != (size_t)n || memcmp(kernel->build_id, id, (size_t)n) != 0))
		return diag_set(diag, VP_E_WRONG_KERNEL,
				"%s: it has another build-id than the one that --build-id gives",
				path);
	memcpy(kernel->build_id, id, (size_t)n);
	kernel->build_id_len = (unsigned)n;
	return VP_OK;
}

static int check_elf(Elf *elf, const char *path, const struct pack_meta *meta, struct diag *diag,
		     struct pack_kernel *kernel)
{
	struct search s = {.meta = meta};
	Dwarf *dw;
	int r;

	r = take_build_id(elf, path, diag, kernel);
	if (r < 0)
		return r;
	dw = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
	if (!dw)
		return diag_set(
			diag, VP_E_BUNDLE,
			"%s: it has no DWARF: give the vmlinux of the kernel's debug package, or "
			"leave --vmlinux out",
			path);
	r = search_all(&s, dw, path, diag);
	if (r == VP_OK)
		r = report(&s, path, diag);
	dwarf_end(dw);
	return r;
}

int inline_check(const char *vmlinux, const struct pack_meta *meta, struct diag *diag,
		 struct pack_kernel *kernel)
{
	int fd = open(vmlinux, O_RDONLY | O_CLOEXEC);
	Elf *elf;
	int r;

	if (fd < 0)
		return diag_errno(diag, errno, "%s", vmlinux);
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (!elf || elf_kind(elf) != ELF_K_ELF)
		r = diag_set(diag, VP_E_BUNDLE, "%s: it is no ELF file", vmlinux);
	else
		r = check_elf(elf, vmlinux, meta, diag, kernel);
	elf_end(elf);
	close(fd);
	if (r == VP_OK)
		kernel->inline_checked = true;
	return r;
}
