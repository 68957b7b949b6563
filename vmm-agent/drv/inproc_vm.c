/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a VMM hands over: checked, copied, and given back. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/drv/inproc_int.h"
#include "vmm-agent/host/kvm.h"

#define PAGE 4096u /* the smallest that KVM has on any host */

static int give_words(int r, const struct diag *diag, char *words, size_t words_len)
{
	if (words && words_len > 0)
		snprintf(words, words_len, "%s", r < 0 ? diag->text : "");
	return r;
}

/* --- slots ----------------------------------------------------------------------------------- */

static int by_gpa(const void *a, const void *b)
{
	const struct vp_inproc_slot *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static int check_slot(const struct vp_inproc *vp, const struct vp_inproc_slot *s, struct diag *diag)
{
	if (s->len == 0 || (s->gpa | s->len | (uintptr_t)s->hva) % PAGE || !s->hva ||
	    s->len - 1 > UINT64_MAX - s->gpa || s->len - 1 > UINTPTR_MAX - (uintptr_t)s->hva)
		return diag_set(diag, VP_E_USAGE,
				"%s: the memory slot at %#" PRIx64 " of %#" PRIx64
				" bytes is not one that KVM has",
				vp->name, s->gpa, s->len);
	if (s->reserved || s->flags & ~VP_INPROC_READONLY)
		return diag_set(diag, VP_E_VERSION,
				"%s: the memory slot at %#" PRIx64
				" has flags %#x, which this libvpatch does not know",
				vp->name, s->gpa, s->flags);
	return VP_OK;
}

/* A checked copy in ascending order. */
static int copy_slots(const struct vp_inproc *vp, const struct vp_inproc_slot *slots, size_t n,
		      struct diag *diag, struct vp_inproc_slot **ret)
{
	struct vp_inproc_slot *copy = calloc(n + 1, sizeof(*copy));
	int r = VP_OK;

	if (!copy)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", vp->name);
	for (size_t i = 0; r == VP_OK && i < n; i++) {
		copy[i] = slots[i];
		r = check_slot(vp, &copy[i], diag);
	}
	if (r == VP_OK)
		qsort(copy, n, sizeof(*copy), by_gpa);
	for (size_t i = 1; r == VP_OK && i < n; i++)
		if (copy[i].gpa - copy[i - 1].gpa < copy[i - 1].len)
			r = diag_set(diag, VP_E_USAGE,
				     "%s: the memory slots at %#" PRIx64 " and %#" PRIx64
				     " overlap",
				     vp->name, copy[i - 1].gpa, copy[i].gpa);
	if (r < 0) {
		free(copy);
		return r;
	}
	*ret = copy;
	return VP_OK;
}

/* Even when they are refused the old ones go: what the VMM says is that those are no more. */
static int set_slots(struct vp_inproc *vp, const struct vp_inproc_slot *slots, size_t n,
		     struct diag *diag)
{
	struct vp_inproc_slot *copy = NULL, *old;
	int r = copy_slots(vp, slots, n, diag, &copy);

	pthread_rwlock_wrlock(&vp->slots_lock);
	old = vp->slots;
	vp->slots = copy;
	vp->n_slots = r < 0 ? 0 : n;
	vp->generation++;
	pthread_rwlock_unlock(&vp->slots_lock);
	free(old);
	return r;
}

int vp_inproc_set_slots(struct vp_inproc *vp, const struct vp_inproc_slot *slots, size_t n_slots,
			char *words, size_t words_len)
{
	struct diag diag;

	diag_init(&diag);
	return give_words(set_slots(vp, slots, n_slots, &diag), &diag, words, words_len);
}

/* --- the handle ------------------------------------------------------------------------------ */

static int check_vm(const struct vp_inproc_vm *vm, struct diag *diag)
{
	/* A later libvpatch takes a shorter struct of an older VMM; this is the first there is. */
	if (vm->size != sizeof(*vm))
		return diag_set(diag, VP_E_VERSION,
				"struct vp_inproc_vm of %zu bytes: this libvpatch knows %zu",
				vm->size, sizeof(*vm));
	if (!host_kvm_arch())
		return diag_set(diag, VP_E_UNSUPPORTED,
				"guests of this host's architecture are not known to vpatch");
	if (vm->n_vcpus == 0 || vm->n_vcpus > VP_VCPU_MAX || !vm->vcpus)
		return diag_set(diag, VP_E_USAGE, "%zu vCPUs: vpatch handles 1 to %u", vm->n_vcpus,
				VP_VCPU_MAX);
	for (size_t i = 0; i < vm->n_vcpus; i++)
		if (vm->vcpus[i].fd < 0 || !vm->vcpus[i].run)
			return diag_set(diag, VP_E_USAGE, "vCPU %zu: no descriptor or no kvm_run",
					i);
	if (!vm->kick)
		return diag_set(diag, VP_E_USAGE, "no kick callback: vCPUs could not be held");
	return VP_OK;
}

static struct vp_inproc *create(const struct vp_inproc_vm *vm)
{
	struct vp_inproc *vp = aligned_alloc(_Alignof(struct vp_inproc), sizeof(*vp));

	if (!vp)
		return NULL;
	memset(vp, 0, sizeof(*vp));
	vp->vcpus = aligned_alloc(_Alignof(struct inproc_vcpu),
				  vm->n_vcpus * sizeof(struct inproc_vcpu));
	if (!vp->vcpus) {
		free(vp);
		return NULL;
	}
	memset(vp->vcpus, 0, vm->n_vcpus * sizeof(struct inproc_vcpu));
	snprintf(vp->name, sizeof(vp->name), "%s", vm->name ? vm->name : "vm");
	diag_printable(vp->name);
	memcpy(vp->uuid, vm->uuid, sizeof(vp->uuid));
	vp->ctx = vm->ctx;
	vp->kick = vm->kick;
	vp->mark_dirty = vm->mark_dirty;
	vp->state = vm->state;
	vp->n_vcpus = (unsigned)vm->n_vcpus;
	for (unsigned i = 0; i < vp->n_vcpus; i++) {
		vp->vcpus[i].fd = vm->vcpus[i].fd;
		vp->vcpus[i].run = vm->vcpus[i].run;
	}
	pthread_mutex_init(&vp->holding, NULL);
	pthread_rwlock_init(&vp->slots_lock, NULL);
	return vp;
}

static int open_vm(const struct vp_inproc_vm *vm, struct diag *diag, struct vp_inproc **ret)
{
	struct vp_inproc *vp;
	int r = check_vm(vm, diag);

	if (r < 0)
		return r;
	vp = create(vm);
	if (!vp)
		return diag_set(diag, VP_E_NOMEM, "no memory for the VM");
	r = set_slots(vp, vm->slots, vm->n_slots, diag);
	if (r < 0) {
		vp_inproc_close(vp);
		return r;
	}
	*ret = vp;
	return VP_OK;
}

int vp_inproc_open(const struct vp_inproc_vm *vm, struct vp_inproc **ret, char *words,
		   size_t words_len)
{
	struct diag diag;

	diag_init(&diag);
	return give_words(open_vm(vm, &diag, ret), &diag, words, words_len);
}

void vp_inproc_close(struct vp_inproc *vp)
{
	if (!vp)
		return;
	pthread_rwlock_destroy(&vp->slots_lock);
	pthread_mutex_destroy(&vp->holding);
	free(vp->slots);
	free(vp->vcpus);
	free(vp);
}
