/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX    64
#define GREETING_MS 30000
#define TCG         "tcg,thread=multi"

static const struct {
	const char *name, *program, *machine, *cpu, *accel, *mib, *object;
} kinds[VM_KINDS] = {
	[VM_X86_TCG] = {"x86-64 tcg", "qemu-system-x86_64", "pc", "qemu64", TCG, "64", NULL},
	[VM_X86_KVM] = {"x86-64 kvm", "qemu-system-x86_64", "pc", "qemu64", "kvm", "64", NULL},
	[VM_ARM64_TCG] = {"arm64 tcg", "qemu-system-aarch64", "virt", "cortex-a57", TCG, "64",
			  NULL},
	[VM_RISCV64_TCG] = {"riscv64 tcg", "qemu-system-riscv64", "virt", "rv64", TCG, "64", NULL},
	[VM_THUMB2_TCG] = {"thumb2 tcg", "qemu-system-arm", "virt", "cortex-a15", TCG, "64", NULL},
	/* Its skiboot would want that much; without one the machine does too. */
	[VM_PPC64LE_TCG] = {"ppc64le tcg", "qemu-system-ppc64", "powernv9", "power9", TCG, "1024",
			    NULL},
	[VM_MICROVM_TCG] = {"x86-64 microvm tcg", "qemu-system-x86_64", "microvm", "qemu64", TCG,
			    "64", NULL},
	[VM_MICROVM_KVM] = {"x86-64 microvm kvm", "qemu-system-x86_64",
			    "microvm,memory-backend=ram", "qemu64", "kvm", "64",
			    "memory-backend-memfd,id=ram,size=64M,share=on"},
};

const char *vm_kind_name(enum vm_kind kind)
{
	return kinds[kind].name;
}

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char file[4096];

	for (; path && *path; path += strcspn(path, ":"), path += *path == ':') {
		snprintf(file, sizeof(file), "%.*s/%s", (int)strcspn(path, ":"), path, program);
		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

const char *vm_missing(enum vm_kind kind)
{
	if (!in_path(kinds[kind].program))
		return kinds[kind].program;
	if (strcmp(kinds[kind].accel, "kvm") == 0 && access("/dev/kvm", R_OK | W_OK) < 0)
		return "/dev/kvm";
	return NULL;
}

static void run(const struct vm *vm, enum vm_kind kind, const char *const *extra)
{
	char qmp[128], qtest[128];
	const char *args[ARGS_MAX] = {
		kinds[kind].program,
		"-M",
		kinds[kind].machine,
		"-cpu",
		kinds[kind].cpu,
		"-accel",
		kinds[kind].accel,
		"-m",
		kinds[kind].mib,
		"-smp",
		"2",
		"-display",
		"none",
		"-serial",
		"none",
		"-parallel",
		"none",
		"-monitor",
		"none",
		"-net",
		"none",
		"-qmp",
		qmp,
	};
	int null = open("/dev/null", O_RDWR), n = 0;

	snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", vm->qmp);
	snprintf(qtest, sizeof(qtest), "unix:%s,server=on,wait=off", vm->qtest);
	while (args[n])
		n++;
	for (int i = 0; vm->qtest[0] && i < 4; i++)
		args[n++] = (const char *[]){"-qtest", qtest, "-qtest-log", "none"}[i];
	for (int i = 0; kinds[kind].object && i < 2; i++)
		args[n++] = (const char *[]){"-object", kinds[kind].object}[i];
	for (int i = 0; extra && extra[i] && n < ARGS_MAX - 1; i++)
		args[n++] = extra[i];
	args[n] = NULL;
	/* It must not outlive a test that is killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, 0);
	dup2(null, 1);
	if (!getenv("V"))
		dup2(null, 2); /* it warns about CPUID bits under nested KVM */
	execvp(args[0], (char *const *)args);
	_exit(127);
}

/* True once QEMU greets whoever connects: on a loaded host it may listen for seconds before its main loop
 * runs. The connection is given up at once: QEMU serves one at a time and takes the next. */
static bool answers(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	bool ok;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	ok = fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	     poll(&p, 1, GREETING_MS) == 1;
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool start(struct vm *vm, enum vm_kind kind, const char *const *extra, bool qtest)
{
	memset(vm, 0, sizeof(*vm));
	snprintf(vm->dir, sizeof(vm->dir), "/tmp/vpatch-vm-XXXXXX");
	if (!mkdtemp(vm->dir)) {
		perror("mkdtemp");
		vm->dir[0] = '\0';
		return false;
	}
	snprintf(vm->qmp, sizeof(vm->qmp), "%s/qmp", vm->dir);
	if (qtest)
		snprintf(vm->qtest, sizeof(vm->qtest), "%s/qtest", vm->dir);
	snprintf(vm->name, sizeof(vm->name), "qmp:%s", vm->qmp);
	vm->pid = fork();
	if (vm->pid == 0)
		run(vm, kind, extra);
	for (int i = 0; vm->pid > 0 && i < 2000; i++) {
		if (answers(vm->qmp))
			return true;
		if (waitpid(vm->pid, NULL, WNOHANG) == vm->pid) {
			vm->pid = 0;
			break;
		}
		usleep(5000);
	}
	fprintf(stderr, "%s: did not come up\n", kinds[kind].program);
	vm_stop(vm);
	return false;
}

bool vm_start(struct vm *vm, enum vm_kind kind, const char *const *extra)
{
	return start(vm, kind, extra, false);
}

bool vm_start_qtest(struct vm *vm, enum vm_kind kind, const char *const *extra)
{
	return start(vm, kind, extra, true);
}

void vm_kill(struct vm *vm)
{
	if (vm->pid <= 0)
		return;
	kill(vm->pid, SIGKILL);
	waitpid(vm->pid, NULL, 0);
	vm->pid = 0;
}

void vm_stop(struct vm *vm)
{
	vm_kill(vm);
	if (!vm->dir[0])
		return;
	unlink(vm->qmp);
	if (vm->qtest[0])
		unlink(vm->qtest);
	rmdir(vm->dir);
	vm->dir[0] = '\0';
}
