/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where calls to a symbol lead in a kernel that has rewritten its own call sites.
 *
 * On x86 the compiler emits `jmp __x86_return_thunk` and `call __x86_indirect_thunk_REG`, and at
 * boot the kernel rewrites every such site of its own by what the CPU needs (arch/x86/kernel/
 * alternative.c, apply_returns and apply_retpolines). A payload's sites are not in its lists, and
 * the thunks themselves are the weak form by then, so a payload is linked to what the sites of
 * the kernel were made to use: it is never less protected than the code that it replaces.
 */
#include <stdio.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/internal.h"

#define RETURN_THUNK   "__x86_return_thunk"
#define INDIRECT_THUNK "__x86_indirect_thunk_"
#define ITS_THUNK      "__x86_indirect_its_thunk_"

static int unclear(const char *name, struct diag *diag)
{
	return diag_set(diag, VP_E_UNSUPPORTED,
			"%s: it cannot be told what this kernel uses in place of it, and a payload "
			"must not be less protected than the kernel's own code",
			name);
}

/* x86_return_thunk (6.1.41 and later): what the kernel's own returns were made to jump to. *has_ret:
 * this kernel has it; one that has not carries its mitigation in the thunk itself. */
static int return_thunk(struct guest *g, bool *has_ret, vp_gva_t *ret, struct diag *diag)
{
	uint8_t raw[8];
	vp_gpa_t gpa;
	vp_gva_t at;

	*has_ret = guest_sym_addr(g, "x86_return_thunk", &at);
	if (!*has_ret)
		return g->info.data_symbols ? VP_OK : unclear(RETURN_THUNK, diag);
	if (!guest_var(g, "x86_return_thunk", raw, sizeof(raw)))
		return unclear(RETURN_THUNK, diag);
	*ret = vp_gva(vp_ld64(raw));
	if (guest_text_gpa(g, *ret, 1, &gpa) < 0)
		return unclear(RETURN_THUNK, diag);
	return VP_OK;
}

/* `jmp *%REG`: ff /4 with mod 3, behind REX.B for r8 and up (Intel SDM vol. 2A, JMP). */
static bool jumps_at_once(const uint8_t code[3])
{
	const uint8_t *p = code[0] == 0x41 ? code + 1 : code;

	return p[0] == 0xff && (p[1] & 0xf8) == 0xe0;
}

/*
 * The kernel uses its ITS thunks for indirect branches where it uses the ITS return thunk and has
 * no retpolines (arch/x86/kernel/cpu/bugs.c, its_select_mitigation); without retpolines it has
 * made the plain thunk jump at once.
 */
static int indirect_thunk(struct guest *g, const struct guest_sym *sym, vp_gva_t *ret,
			  struct diag *diag)
{
	char name[64];
	vp_gva_t returns, its;
	uint8_t code[3];
	bool has;
	int r = return_thunk(g, &has, &returns, diag);

	*ret = sym->addr;
	if (r < 0 || !has || !guest_sym_addr(g, "its_return_thunk", &its) || its.v != returns.v)
		return r;
	if (guest_read(g, sym->addr, code, sizeof(code)) < 0)
		return unclear(sym->name, diag);
	if (!jumps_at_once(code))
		return VP_OK;
	snprintf(name, sizeof(name), ITS_THUNK "%.16s", sym->name + sizeof(INDIRECT_THUNK) - 1);
	return guest_sym_addr(g, name, ret) ? VP_OK : unclear(sym->name, diag);
}

int guest_call_target(struct guest *g, const struct guest_sym *sym, struct diag *diag,
		      vp_gva_t *ret)
{
	const struct guest_info *info = &g->info;
	bool code = sym->type == 't' || sym->type == 'T' || sym->type == 'w' || sym->type == 'W';
	vp_gva_t target = sym->addr;
	bool has;
	int r = VP_OK;

	if (code && (sym->addr.v < info->text.v || sym->addr.v >= info->text_end.v))
		return diag_set(
			diag, VP_E_SYM_UNKNOWN,
			"%s: it is not in the guest kernel's text any longer: functions for "
			"the kernel's start (__init) are given back after it",
			sym->name);
	if (info->arch->id == ARCH_X86_64 && strcmp(sym->name, RETURN_THUNK) == 0)
		r = return_thunk(g, &has, &target, diag);
	else if (info->arch->id == ARCH_X86_64 &&
		 strncmp(sym->name, INDIRECT_THUNK, sizeof(INDIRECT_THUNK) - 1) == 0)
		r = indirect_thunk(g, sym, &target, diag);
	if (r == VP_OK)
		*ret = target;
	return r;
}
