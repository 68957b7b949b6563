/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a command that works on guests keeps of root's rights; docs/kvm.md says what for. */
#include "vmm-agent/cli/cli.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const unsigned kept[] = {
	CAP_SYS_PTRACE,                        /* hold, and the VMM's memory */
	CAP_BPF,          CAP_PERFMON,         /* memory slots */
	CAP_SYS_NICE,     CAP_IPC_LOCK,        /* a steady window */
	CAP_KILL,                              /* to stop a VMM whose guest must not run */
	CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, /* another user's monitor socket and /proc */
};

void cli_drop_rights(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	struct __user_cap_data_struct keep[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &head, data) < 0)
		return;
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		keep[kept[i] / 32].effective |= 1u << kept[i] % 32;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		keep[i].effective &= data[i].effective;
		keep[i].permitted = keep[i].effective;
	}
	(void)!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* Fewer can always be had; what is missing is named where it is needed. */
	(void)!syscall(SYS_capset, &head, keep);
}
