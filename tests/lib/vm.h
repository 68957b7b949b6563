/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small QEMU of the test's own: no kernel, its firmware runs. */
#ifndef VP_TESTS_LIB_VM_H
#define VP_TESTS_LIB_VM_H

#include <stdbool.h>
#include <sys/types.h>

struct vm {
	pid_t pid;
	char dir[64];   /* temporary */
	char qmp[96];   /* the socket */
	char qtest[96]; /* of vm_start_qtest; else "" */
	char name[104]; /* "qmp:" and the socket */
};

enum vm_kind {
	VM_X86_TCG,
	VM_X86_KVM,
	VM_ARM64_TCG,
	VM_RISCV64_TCG,
	VM_THUMB2_TCG,
	VM_PPC64LE_TCG,
	VM_MICROVM_TCG, /* x86-64 */
	VM_MICROVM_KVM, /* its RAM is a memfd that is shared */
	VM_KINDS,
};

const char *vm_kind_name(enum vm_kind kind);

/* Why such a VM cannot be run on this machine; NULL if it can. */
const char *vm_missing(enum vm_kind kind);

/*
 * 64 MiB (ppc64le: 1 GiB), 2 vCPUs, QMP at vm->qmp. x86: the firmware finds nothing to boot and
 * waits; arm64: no firmware, vCPU 0 faults in a loop; the others want an image. extra: more arguments,
 * NULL-terminated, or NULL. False, with words on stderr, if QEMU does not come up.
 */
bool vm_start(struct vm *vm, enum vm_kind kind, const char *const *extra);

/* The same with a second socket, over which tests/lib/qtest.h stores into the running guest. */
bool vm_start_qtest(struct vm *vm, enum vm_kind kind, const char *const *extra);

void vm_kill(struct vm *vm); /* SIGKILL, waited for */
void vm_stop(struct vm *vm); /* the same, and its directory goes; fine on a zeroed vm */

#endif
