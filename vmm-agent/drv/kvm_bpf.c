/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kvm.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "vmm-agent/drv/kvm_int.h"

/* Made by the build out of kvm.bpf.c. */
#include <kvm.skel.h>

#define TRIES 8 /* a walk that the VMM's own changes cut across is taken again */

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

static int say(const struct kvm *k, int errnum, struct diag *diag)
{
	if (errnum == EPERM || errnum == EACCES)
		return diag_set(diag, VP_E_PERM,
				"%s: may not look at its memory slots: run vpatch as root or with "
				"CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE",
				k->m->name);
	return diag_set(
		diag, VP_E_UNSUPPORTED,
		"%s: this host's kernel does not run the BPF iterator over its memory slots "
		"(%s): Linux 5.17 or later with CONFIG_DEBUG_INFO_BTF is needed",
		k->m->name, strerror(errnum));
}

int kvm_bpf_load(struct kvm *k, struct diag *diag)
{
	union bpf_iter_link_info info = {.task = {.pid = (uint32_t)k->m->id.pid}};
	struct bpf_iter_attach_opts opts;
	libbpf_print_fn_t before = libbpf_set_print(quiet);
	int e = 0;

	/* libbpf refuses what is not zero behind the last field that it knows, padding too. */
	memset(&opts, 0, sizeof(opts));
	opts.sz = sizeof(opts);
	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	errno = 0;
	k->bpf = kvm_bpf__open_and_load();
	if (!k->bpf)
		e = errno ? errno : EINVAL;
	if (!e) {
		k->link = bpf_program__attach_iter(k->bpf->progs.kvm_scan, &opts);
		if (!k->link)
			e = errno ? errno : EINVAL;
	}
	libbpf_set_print(before);
	if (!e)
		return VP_OK;
	kvm_bpf_unload(k);
	return say(k, e, diag);
}

void kvm_bpf_unload(struct kvm *k)
{
	if (k->link)
		bpf_link__destroy(k->link);
	if (k->bpf)
		kvm_bpf__destroy(k->bpf);
	k->link = NULL;
	k->bpf = NULL;
}

static int scan_once(struct kvm *k, struct kvm_scan *ret)
{
	struct kvm_scan *seen = &k->bpf->bss->scan;
	char none[64];
	ssize_t n;
	int fd = bpf_iter_create(bpf_link__fd(k->link));

	if (fd < 0)
		return errno;
	memset(seen, 0, sizeof(*seen));
	do
		n = read(fd, none, sizeof(none));
	while (n > 0 || (n < 0 && errno == EINTR));
	close(fd);
	*ret = *seen;
	return n < 0 ? EIO : 0;
}

int kvm_bpf_scan(struct kvm *k, struct kvm_scan *ret, struct diag *diag)
{
	for (int i = 0; i < TRIES; i++) {
		int e = scan_once(k, ret);

		if (e)
			return say(k, e, diag);
		if (ret->kvm == 0)
			return diag_set(diag, VP_E_NO_DOMAIN, "%s: process %d runs no KVM VM",
					k->m->name, (int)k->m->id.pid);
		/* Bit 63 is set while a change is under way: KVM_MEMSLOT_GEN_UPDATE_IN_PROGRESS */
		if (ret->unsupported ||
		    (ret->generation == ret->generation_after && !(ret->generation >> 63)))
			break;
	}
	if (ret->n_vms > 1)
		return diag_set(
			diag, VP_E_UNSUPPORTED,
			"%s: process %d runs more than one VM: vpatch handles one a process",
			k->m->name, (int)k->m->id.pid);
	if (ret->unsupported)
		return diag_set(
			diag, VP_E_UNSUPPORTED,
			"%s: this host's kernel keeps memory slots in a form that vpatch does "
			"not know: Linux 5.17 or later is needed",
			k->m->name);
	if (ret->generation != ret->generation_after || ret->generation >> 63)
		return diag_set(diag, VP_E_GUEST_CHANGED,
				"%s: its memory slots change all the time: try again", k->m->name);
	if (ret->cut_short || ret->n_slots > KVM_SCAN_SLOTS || ret->n_vcpus > KVM_SCAN_VCPUS ||
	    ret->n_vcpus == 0)
		return diag_set(
			diag, VP_E_UNSUPPORTED,
			"%s: %u memory slots and %u vCPUs: at most %u and 1 to %u are handled",
			k->m->name, ret->n_slots, ret->n_vcpus, KVM_SCAN_SLOTS, KVM_SCAN_VCPUS);
	return VP_OK;
}

/*
 * By what they are: a change that was taken back is none, and its generation tells only that there
 * was one. Whether writes are logged is no part of it.
 */
bool kvm_scan_same(const struct kvm_scan *a, const struct kvm_scan *b)
{
	if (a->kvm != b->kvm || a->n_vcpus != b->n_vcpus || a->n_slots != b->n_slots)
		return false;
	if (a->generation == b->generation && a->memslots == b->memslots)
		return true;
	for (unsigned i = 0; i < a->n_slots; i++) {
		const struct kvm_scan_slot *x = &a->slot[i], *y = &b->slot[i];

		if (x->id != y->id || x->gpa != y->gpa || x->size != y->size || x->hva != y->hva ||
		    (x->flags ^ y->flags) & ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES)
			return false;
	}
	return true;
}

bool kvm_bpf_same(struct kvm *k)
{
	struct kvm_scan now;

	return scan_once(k, &now) == 0 && kvm_scan_same(&now, &k->scan);
}
