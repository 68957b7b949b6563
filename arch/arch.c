// SPDX-License-Identifier: LGPL-2.1-or-later
#include <string.h>

#include "arch/arch.h"
#include "arch/arm64/arm64.h"
#include "arch/ppc64le/ppc64le.h"
#include "arch/riscv64/riscv64.h"
#include "arch/thumb2/thumb2.h"
#include "arch/x86-64/x86-64.h"

static const struct arch_ops *const tables[ARCH_COUNT] = {
	[ARCH_X86_64] = &arch_x86_64_ops,   [ARCH_ARM64] = &arch_arm64_ops,
	[ARCH_RISCV64] = &arch_riscv64_ops, [ARCH_PPC64LE] = &arch_ppc64le_ops,
	[ARCH_THUMB2] = &arch_thumb2_ops,
};

const struct arch_ops *arch_get(enum arch_id id)
{
	return (unsigned)id < ARCH_COUNT ? tables[id] : NULL;
}

const struct arch_ops *arch_by_name(const char *name)
{
	for (unsigned i = 0; i < ARCH_COUNT; i++)
		if (!strcmp(name, tables[i]->name) || !strcmp(name, tables[i]->qemu_target))
			return tables[i];
	return NULL;
}

const struct arch_ops *arch_by_elf(uint16_t elf_machine)
{
	for (unsigned i = 0; i < ARCH_COUNT; i++)
		if (tables[i]->elf_machine == elf_machine)
			return tables[i];
	return NULL;
}

const struct arch_reloc *arch_reloc_find(const struct arch_ops *ops, uint32_t type)
{
	for (const struct arch_reloc *row = ops->relocs; row->name; row++)
		if (row->type == type)
			return row;
	return NULL;
}

const char *arch_reloc_name(const struct arch_ops *ops, uint32_t type)
{
	const struct arch_reloc *row = arch_reloc_find(ops, type);

	return row ? row->name : NULL;
}

int arch_no_dispatch_behind(uint8_t *buf, const uint8_t *ahead, vp_gva_t at, vp_gva_t to)
{
	(void)buf;
	(void)ahead;
	(void)at;
	(void)to;
	return VP_E_UNSUPPORTED;
}
