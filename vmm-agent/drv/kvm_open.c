/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a process, or a monitor, to what driver kvm needs to know of the VM. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "vmm-agent/drv/kvm.h"
#include "vmm-agent/drv/kvm_int.h"
#include "vmm-agent/host/kvm.h"

#define KVM_MEM_GUEST_MEMFD_ (1u << 2) /* include/uapi/linux/kvm.h since 6.8 */
#define VM_PLAIN             0u        /* KVM_X86_DEFAULT_VM, since 6.8 */
#define VM_UNKNOWN           (~0u)

void kvm_destroy(struct kvm *k)
{
	if (!k)
		return;
	kvm_bpf_unload(k);
	kvm_map_close(k);
	for (unsigned i = 0; k->thread && i < k->m->vcpus; i++)
		free(k->thread[i].copy);
	free(k->thread);
	free(k->local);
	free(k->remote);
	if (k->owns)
		qemu_destroy(k->m);
	if (k->sh)
		munmap(k->sh, sizeof(*k->sh));
	free(k);
}

static struct kvm *create(struct qemu *m)
{
	struct kvm *k = calloc(1, sizeof(*k));
	void *shared;

	if (!k)
		return NULL;
	k->m = m;
	shared = mmap(NULL, sizeof(*k->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED) {
		free(k);
		return NULL;
	}
	k->sh = shared;
	return k;
}

/* --- memory ---------------------------------------------------------------------------------- */

static int by_gpa(const void *a, const void *b)
{
	const struct kvm_scan_slot *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* What KVM itself maps for the guest (the TSS and identity pages of Intel) lies in slots of its own. */
static bool is_ram(const struct kvm_scan_slot *s)
{
	return s->id < KVM_INTERNAL_SLOTS && !(s->flags & KVM_MEM_READONLY) && s->size > 0;
}

static int ram_of_slots(struct kvm *k, struct diag *diag)
{
	struct kvm_scan_slot slot[KVM_SCAN_SLOTS];

	memcpy(slot, k->scan.slot, k->scan.n_slots * sizeof(slot[0]));
	qsort(slot, k->scan.n_slots, sizeof(slot[0]), by_gpa);
	for (unsigned i = 0; i < k->scan.n_slots; i++) {
		if (!is_ram(&slot[i]))
			continue;
		k->ram[k->n_ram] = (struct vp_ram){vp_gpa(slot[i].gpa), slot[i].size};
		k->hva[k->n_ram++] = slot[i].hva;
	}
	if (k->n_ram > 0)
		return VP_OK;
	return diag_set(diag, VP_E_UNSUPPORTED, "%s: its VM has no memory yet", k->m->name);
}

/* The slot that [at, at + len) lies in as a whole, by host address too. */
static bool in_slot(const struct kvm_scan *s, const struct vp_ram *ram, uint64_t hva)
{
	uint64_t at = ram->start.v, left = ram->len;

	/* RAM of QEMU may lie in several slots, one behind the other. */
	while (left > 0) {
		uint64_t run = 0;

		for (unsigned i = 0; i < s->n_slots; i++) {
			const struct kvm_scan_slot *slot = &s->slot[i];
			uint64_t off = at - slot->gpa;

			if (at < slot->gpa || off >= slot->size || !is_ram(slot) ||
			    slot->hva + off != hva + (at - ram->start.v))
				continue;
			run = slot->size - off < left ? slot->size - off : left;
		}
		if (run == 0)
			return false;
		at += run;
		left -= run;
	}
	return true;
}

/* What the monitor calls RAM and what KVM has mapped for the guest must be the same memory. */
static int ram_of_qemu(struct kvm *k, struct diag *diag)
{
	for (size_t i = 0; i < k->m->n_ram; i++) {
		if (k->bpf && !in_slot(&k->scan, &k->m->ram[i], k->m->hva[i]))
			continue; /* a part that is shadowed by ROM for now, say */
		k->ram[k->n_ram] = k->m->ram[i];
		k->hva[k->n_ram++] = k->m->hva[i];
	}
	if (k->n_ram > 0)
		return VP_OK;
	return diag_set(diag, VP_E_PROTO,
			"%s: the monitor's list of guest RAM and KVM's memory slots do not agree",
			k->m->name);
}

static int check_kind(struct kvm *k, struct diag *diag)
{
	const struct kvm_scan *s = &k->scan;
	bool secret = s->vm_type != VM_PLAIN && s->vm_type != VM_UNKNOWN;

	for (unsigned i = 0; i < s->n_vcpus; i++)
		secret = secret || s->vcpu[i].protected_;
	if (secret)
		return diag_set(diag, VP_E_UNSUPPORTED,
				"%s: is a confidential guest: its host may not change it",
				k->m->name);
	for (unsigned i = 0; i < s->n_slots; i++)
		if (s->slot[i].flags & KVM_MEM_GUEST_MEMFD_)
			return diag_set(diag, VP_E_UNSUPPORTED,
					"%s: has private memory (guest_memfd): its host may not "
					"change it",
					k->m->name);
	return VP_OK;
}

/* --- vCPUs ------------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
	const struct kvm_scan_vcpu *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* A thread id of the first pid namespace means something here only if the thread is seen here. */
static bool is_thread(const struct kvm *k, pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)k->m->id.pid, (int)tid);
	return access(path, F_OK) == 0;
}

static int threads_of_scan(struct kvm *k, uint32_t *id, struct diag *diag)
{
	for (unsigned i = 0; i < k->m->vcpus; i++) {
		const struct kvm_scan_vcpu *v = &k->scan.vcpu[i];

		id[i] = v->id;
		k->thread[i].tid = (pid_t)v->tid;
		if (v->tid == 0)
			return diag_set(diag, VP_E_BOOTING,
					"%s: its vCPU %u has not run yet: try again", k->m->name,
					v->id);
		if (!is_thread(k, k->thread[i].tid))
			return diag_set(diag, VP_E_UNSUPPORTED,
					"%s: its threads are not seen here: run vpatch in the "
					"host's first pid namespace",
					k->m->name);
	}
	return VP_OK;
}

/* The monitor's order is by cpu-index, which rises with the APIC id that KVM's number is
 * (hw/i386/x86.c, x86_possible_cpu_arch_ids). */
static int threads_of_qemu(struct kvm *k, uint32_t *id, struct diag *diag)
{
	pid_t tid[VP_VCPU_MAX];
	int r = qemu_check_vcpus(k->m, clock_in(QEMU_CALL_NS), diag, tid);

	for (unsigned i = 0; r == VP_OK && i < k->m->vcpus; i++) {
		k->thread[i].tid = tid[i];
		id[i] = i;
		if (!is_thread(k, tid[i]))
			r = diag_set(diag, VP_E_UNSUPPORTED,
				     "%s: thread %d of vCPU %u is not seen here: run vpatch in "
				     "QEMU's pid namespace",
				     k->m->name, (int)tid[i], i);
	}
	if (r < 0 || !k->bpf)
		return r;
	if (k->scan.n_vcpus != k->m->vcpus)
		return diag_set(diag, VP_E_GUEST_CHANGED,
				"%s: KVM has %u vCPUs and the monitor %u: try again", k->m->name,
				k->scan.n_vcpus, k->m->vcpus);
	for (unsigned i = 0; i < k->m->vcpus; i++)
		id[i] = k->scan.vcpu[i].id;
	return VP_OK;
}

static int find_vcpus(struct kvm *k, struct diag *diag)
{
	uint32_t id[VP_VCPU_MAX];
	int r;

	qsort(k->scan.vcpu, k->bpf ? k->scan.n_vcpus : 0, sizeof(k->scan.vcpu[0]), by_id);
	if (k->m->path[0] == '\0')
		k->m->vcpus = k->scan.n_vcpus;
	k->thread = calloc(k->m->vcpus, sizeof(*k->thread));
	k->local = calloc(k->m->vcpus, sizeof(*k->local));
	k->remote = calloc(k->m->vcpus, sizeof(*k->remote));
	if (!k->thread || !k->local || !k->remote)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", k->m->name);
	for (unsigned i = 0; i < k->m->vcpus; i++) {
		k->thread[i].copy = calloc(1, KVM_RUN_LEN);
		if (!k->thread[i].copy)
			return diag_set(diag, VP_E_NOMEM, "%s: no memory", k->m->name);
	}
	r = k->m->path[0] ? threads_of_qemu(k, id, diag) : threads_of_scan(k, id, diag);
	return r == VP_OK ? kvm_run_find(k, id, diag) : r;
}

/* Whether the process has no descriptor of a VM, as far as that may be looked at. */
static bool has_no_vm(pid_t pid)
{
	char dir[64], path[128], link[32];
	struct dirent *e;
	bool found = false, looked;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)pid);
	d = opendir(dir);
	looked = d != NULL;
	while (d && !found && (e = readdir(d))) {
		ssize_t len;

		snprintf(path, sizeof(path), "%s/%.32s", dir, e->d_name);
		len = readlink(path, link, sizeof(link) - 1);
		link[len > 0 ? len : 0] = '\0';
		found = strcmp(link, "anon_inode:kvm-vm") == 0;
	}
	if (d)
		closedir(d);
	return looked && !found;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int learn(struct kvm *k, struct diag *diag)
{
	bool stranded;
	int r;

	if (host_sync_mask() == 0)
		return diag_set(diag, VP_E_UNSUPPORTED,
				"%s: KVM of this host's architecture does not show a vCPU's "
				"registers: use --driver gdb",
				k->m->name);
	r = kvm_bpf_load(k, diag);
	if (r == VP_OK)
		r = kvm_bpf_scan(k, &k->scan, diag);
	if (r == VP_OK)
		r = check_kind(k, diag);
	else if (k->m->path[0] && !k->bpf && (r == VP_E_PERM || r == VP_E_UNSUPPORTED))
		r = VP_OK; /* the monitor tells the same */
	if (r < 0)
		return r;
	r = find_vcpus(k, diag);
	if (r == VP_OK)
		r = k->m->path[0] ? ram_of_qemu(k, diag) : ram_of_slots(k, diag);
	if (r < 0)
		return r;
	k->mem = (struct vmm_mem){.pid = k->m->id.pid, .ram = k->ram, .hva = k->hva, .n = k->n_ram};
	r = vmm_mem_check(&k->mem, diag);
	if (r < 0)
		return diag_prefix(diag, "%s", k->m->name);
	r = kvm_run_check(k, &stranded, diag);
	if (r == VP_OK)
		kvm_map_open(k);
	return r;
}

int drv_kvm_take(struct qemu *m, struct diag *diag, struct vp_target **ret)
{
	char locator[32];
	struct kvm *k;
	int r;

	if (m->path[0] && !m->kvm)
		return diag_set(diag, VP_E_UNSUPPORTED, "%s: runs without KVM: use --driver gdb",
				m->name);
	k = create(m);
	if (!k)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", m->name);
	r = learn(k, diag);
	/* Not the monitor: one that a dead agent has stopped answers nobody there. */
	snprintf(locator, sizeof(locator), "pid:%d", (int)m->id.pid);
	if (r == VP_OK)
		r = vp_target_create(&kvm_driver, k,
				     &(struct vp_target_info){.name = m->name,
							      .locator = locator,
							      .driver = kvm_driver.name,
							      .accel = "kvm",
							      .id = m->id,
							      .arch = m->arch,
							      .vcpus = m->vcpus},
				     diag, ret);
	if (r == VP_OK)
		k->owns = true;
	else
		kvm_destroy(k);
	return r;
}

int drv_kvm_open_pid(const char *name, pid_t pid, struct diag *diag, struct vp_target **ret)
{
	struct qemu *m = qemu_none(name, diag);
	int r = m ? VP_OK : VP_E_NOMEM;

	if (r < 0)
		return r;
	m->id.pid = pid;
	m->arch = host_kvm_arch();
	r = vmm_start_time(pid, &m->id.start_time);
	if (r < 0)
		diag_set(diag, r, "%s: there is no such process, or it may not be looked at", name);
	else if (has_no_vm(pid))
		r = diag_set(diag, VP_E_NO_DOMAIN, "%s: process %d runs no KVM VM", name, (int)pid);
	if (r == VP_OK)
		r = drv_kvm_take(m, diag, ret);
	if (r < 0)
		qemu_destroy(m);
	return r;
}
