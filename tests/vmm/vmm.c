/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VMM on raw /dev/kvm with libvpatch in it: RAM, vCPUs, an interrupt controller in the kernel, a serial
 * port to print on, nothing else. The places where libvpatch comes in are marked with (vp).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/vmm/vmm.h"

#define SIG_KICK   SIGUSR1
#define COM1       0x3f8
#define COM1_LSR   (COM1 + 5)
#define LSR_EMPTY  0x60 /* transmitter empty */
#define EXIT_PORT  0xf4 /* as QEMU's isa-debug-exit */
#define TSS_ADDR   0xfffbd000u
#define CPUID_ROOM 256

void die(const char *what)
{
	fprintf(stderr, "vmm: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
	exit(1);
}

static int kvm(int fd, unsigned long request, unsigned long arg, const char *what)
{
	int r = ioctl(fd, request, arg);

	if (r < 0)
		die(what);
	return r;
}

#define KVM(fd, request, arg) kvm(fd, request, (unsigned long)(arg), #request)

/* --- vCPU threads ---------------------------------------------------------------------------- */

static void on_kick(int sig)
{
	(void)sig; /* that it came is all: KVM_RUN returns EINTR */
}

void vmm_kick(struct vmm *v, unsigned i)
{
	/* For one that is between its last look and KVM_RUN. The gate may clear it, so what we
	 * want of the thread stands in quit and paused, too. */
	__atomic_store_n(&v->vcpu[i].run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(v->vcpu[i].thread, SIG_KICK);
}

void vmm_quit(struct vmm *v)
{
	v->quit = true;
	vmm_cont(v);
	for (unsigned i = 0; i < v->n_vcpus; i++)
		vmm_kick(v, i);
}

static void handle_io(struct vmm *v, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			memset(data, run->io.port == COM1_LSR ? LSR_EMPTY : 0xff, run->io.size);
		else if (run->io.port == COM1)
			(void)!write(STDOUT_FILENO, data, 1);
		else if (run->io.port == EXIT_PORT)
			vmm_quit(v);
	}
}

static void handle_exit(struct vcpu *c)
{
	switch (c->run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(c->vmm, c->run);
		break;
	case KVM_EXIT_MMIO: /* nobody lives there */
		if (!c->run->mmio.is_write)
			memset(c->run->mmio.data, 0xff, sizeof(c->run->mmio.data));
		break;
	case KVM_EXIT_HLT:
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	default:
		if (!c->vmm->quit)
			fprintf(stderr, "vmm: vCPU %u: exit reason %u\n", c->id,
				c->run->exit_reason);
		vmm_quit(c->vmm);
	}
}

/* Waits while the VM is paused, as a vCPU that is away (vp). */
static bool wait_paused(struct vcpu *c)
{
	struct vmm *v = c->vmm;

	if (vp_inproc_leave(v->vp, c->id) != 0)
		return false; /* there is an exit to handle first */
	pthread_mutex_lock(&v->lock);
	v->n_paused++;
	pthread_cond_broadcast(&v->changed);
	while (v->paused && !v->quit)
		pthread_cond_wait(&v->changed, &v->lock);
	v->n_paused--;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	return true;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *c = arg;
	struct vmm *v = c->vmm;
	char name[16];

	snprintf(name, sizeof(name), "CPU %u/KVM", c->id); /* as QEMU and others call them */
	pthread_setname_np(pthread_self(), name);
	while (!v->quit) {
		if (vp_inproc_gate(v->vp, c->id) == 0) { /* (vp) */
			if (ioctl(c->fd, KVM_RUN, 0) < 0) {
				if (errno != EINTR && errno != EAGAIN)
					die("KVM_RUN");
				c->run->exit_reason = KVM_EXIT_INTR;
			}
		}
		handle_exit(c);
		if (v->paused || v->quit) {
			c->run->immediate_exit = 0;
			while (v->paused && !v->quit && !wait_paused(c))
				handle_exit(c);
		}
	}
	c->run->immediate_exit = 0;
	while (vp_inproc_leave(v->vp, c->id) != 0) /* (vp) for good */
		handle_exit(c);
	return NULL;
}

void vmm_pause(struct vmm *v)
{
	pthread_mutex_lock(&v->lock);
	v->paused = true;
	for (unsigned i = 0; i < v->n_vcpus; i++)
		vmm_kick(v, i);
	while (v->n_paused < v->n_vcpus && !v->quit)
		pthread_cond_wait(&v->changed, &v->lock);
	pthread_mutex_unlock(&v->lock);
}

void vmm_cont(struct vmm *v)
{
	pthread_mutex_lock(&v->lock);
	v->paused = false;
	pthread_cond_broadcast(&v->changed);
	while (v->n_paused > 0)
		pthread_cond_wait(&v->changed, &v->lock);
	pthread_mutex_unlock(&v->lock);
}

/* --- the machine ----------------------------------------------------------------------------- */

/* A size, or a file that is as large as RAM. */
static void make_ram(struct vmm *v)
{
	struct kvm_userspace_memory_region region = {0};
	int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS;
	struct stat st;
	char *end;

	v->ram_len = strtoull(v->mem, &end, 0);
	v->ram_len <<= *end == 'G' ? 30 : *end == 'M' ? 20 : 0;
	if (end == v->mem || (*end && end[1])) {
		fd = open(v->mem, O_RDWR | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			die(v->mem);
		v->ram_len = (uint64_t)st.st_size;
		flags = MAP_SHARED;
	}
	errno = 0;
	if (v->ram_len < 1 << 20 || v->ram_len % 4096 || v->ram_len > 3ull << 30)
		die("--mem: 1 MiB to 3 GiB in whole pages");
	v->ram = mmap(NULL, v->ram_len, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (v->ram == MAP_FAILED)
		die("RAM");
	region.memory_size = v->ram_len;
	region.userspace_addr = (uintptr_t)v->ram;
	KVM(v->vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (fd >= 0)
		close(fd);
}

/* The host's own CPUID, but for the APIC's number and how many there are (Intel SDM vol. 2, CPUID 01H
 * EBX[31:16] with EDX[28], 0BH EDX). */
static void set_cpuid(struct vcpu *c)
{
	struct kvm_cpuid2 *id = calloc(1, sizeof(*id) + CPUID_ROOM * sizeof(id->entries[0]));

	if (!id)
		die("no memory");
	id->nent = CPUID_ROOM;
	KVM(c->vmm->kvm, KVM_GET_SUPPORTED_CPUID, id);
	for (unsigned i = 0; i < id->nent; i++) {
		struct kvm_cpuid_entry2 *e = &id->entries[i];

		if (e->function == 1) {
			e->ebx = (e->ebx & 0x0000ffff) | c->vmm->n_vcpus << 16 | c->id << 24;
			e->edx |= 1u << 28;
		} else if (e->function == 0xb || e->function == 0x1f)
			e->edx = c->id;
	}
	KVM(c->fd, KVM_SET_CPUID2, id);
	free(id);
}

/* Where a PVH guest begins: 32-bit flat protected mode, no paging (xen/docs/misc/pvh.pandoc). */
static void set_start(struct vcpu *c)
{
	struct kvm_regs regs = {.rip = c->vmm->entry, .rflags = 2};
	struct kvm_segment data = {.limit = 0xffffffff,
				   .selector = 0x10,
				   .type = 3,
				   .present = 1,
				   .db = 1,
				   .s = 1,
				   .g = 1};
	struct kvm_segment code = data;
	struct kvm_sregs s;

	code.selector = 8;
	code.type = 11;
	KVM(c->fd, KVM_GET_SREGS, &s);
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
	s.cr0 = 0x11; /* PE, ET */
	s.cr4 = 0;
	KVM(c->fd, KVM_SET_SREGS, &s);
	KVM(c->fd, KVM_SET_REGS, &regs);
}

static void make_vcpu(struct vmm *v, unsigned i)
{
	int size = KVM(v->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct vcpu *c = &v->vcpu[i];

	c->vmm = v;
	c->id = i;
	c->fd = KVM(v->vm, KVM_CREATE_VCPU, i);
	c->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->run == MAP_FAILED)
		die("kvm_run");
	set_cpuid(c);
	if (i == 0)
		set_start(c); /* the others wait for INIT and SIPI */
}

/* --- libvpatch (vp) -------------------------------------------------------------------------- */

static void vp_kick(void *ctx, unsigned i)
{
	pthread_kill(((struct vmm *)ctx)->vcpu[i].thread, SIG_KICK);
}

static void vp_mark_dirty(void *ctx, uint64_t gpa, uint64_t len)
{
	/* One that migrates would set these pages in its own bitmap. */
	((struct vmm *)ctx)->dirty += (gpa + len - 1) / 4096 - gpa / 4096 + 1;
}

static int vp_state(void *ctx)
{
	struct vmm *v = ctx;

	return v->quit ? VP_INPROC_ENDED : v->paused ? VP_INPROC_PAUSED : VP_INPROC_RUNNING;
}

static void hand_over(struct vmm *v)
{
	struct vp_inproc_vcpu vcpus[VCPUS_MAX];
	struct vp_inproc_slot slot = {.gpa = 0, .len = v->ram_len, .hva = v->ram};
	struct vp_inproc_vm vm = {
		.size = sizeof(vm),
		.name = "vmm",
		.vcpus = vcpus,
		.n_vcpus = v->n_vcpus,
		.slots = &slot,
		.n_slots = 1,
		.ctx = v,
		.kick = vp_kick,
		.mark_dirty = vp_mark_dirty,
		.state = vp_state,
	};
	char words[256];

	for (unsigned i = 0; i < v->n_vcpus; i++)
		vcpus[i] = (struct vp_inproc_vcpu){v->vcpu[i].fd, v->vcpu[i].run};
	errno = 0;
	if (vp_inproc_open(&vm, &v->vp, words, sizeof(words)) < 0)
		die(words);
}

/* --- start and end --------------------------------------------------------------------------- */

void vmm_start(struct vmm *v)
{
	struct sigaction kick = {.sa_handler = on_kick}; /* without SA_RESTART */

	sigaction(SIG_KICK, &kick, NULL);
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	v->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (v->kvm < 0)
		die("/dev/kvm");
	v->vm = KVM(v->kvm, KVM_CREATE_VM, 0);
	KVM(v->vm, KVM_SET_TSS_ADDR, TSS_ADDR);
	KVM(v->vm, KVM_CREATE_IRQCHIP, 0);
	make_ram(v);
	load_kernel(v);
	for (unsigned i = 0; i < v->n_vcpus; i++)
		make_vcpu(v, i);
	hand_over(v);
	for (unsigned i = 0; i < v->n_vcpus; i++)
		if (pthread_create(&v->vcpu[i].thread, NULL, vcpu_main, &v->vcpu[i]) != 0)
			die("thread");
}

void vmm_wait(struct vmm *v)
{
	for (unsigned i = 0; i < v->n_vcpus; i++)
		pthread_join(v->vcpu[i].thread, NULL);
	vp_inproc_close(v->vp);
	for (unsigned i = 0; i < v->n_vcpus; i++)
		close(v->vcpu[i].fd);
	close(v->vm);
	close(v->kvm);
	munmap(v->ram, v->ram_len);
}
