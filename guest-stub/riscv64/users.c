/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "guest-stub/stub.h"

/* Of dispatch.S */
void vpatch_riscv64_run(const struct vpatch_riscv64_user *first, struct vpatch_riscv64_regs *regs);

void vpatch_riscv64_run(const struct vpatch_riscv64_user *first, struct vpatch_riscv64_regs *regs)
{
	for (const struct vpatch_riscv64_user *u = first; u; u = u->next)
		u->func(u, regs);
}

void vpatch_riscv64_direct(const struct vpatch_riscv64_user *user, struct vpatch_riscv64_regs *regs)
{
	regs->x[VPATCH_RISCV64_T1] = user->to;
}

void vpatch_riscv64_replace(const struct vpatch_riscv64_user *user,
			    struct vpatch_riscv64_regs *regs)
{
	regs->x[VPATCH_RISCV64_T0] = user->to;
}
