/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages that KVM shares with the VMM, one a vCPU, reached through the VMM's own mapping.
 *
 *	kvm_valid_regs   0, or what KVM stores into s.regs whenever KVM_RUN returns
 *	                 (Documentation/virt/kvm/api.rst, KVM_CAP_SYNC_REGS)
 *	s.regs...rip     a value that no vCPU has, until KVM stores over it: still there in a
 *	                 stopped thread, the thread has not left the guest since
 *	s.padding end    our mark, where KVM stores nothing: whose kvm_valid_regs these are, so
 *	                 that a dead agent's can be taken away and a VMM's own are left alone
 *
 * A VMM that re-enters KVM_RUN with kvm_valid_regs set runs as before; every exit stores a
 * few hundred bytes more.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/drv/kvm_int.h"
#include "vmm-agent/host/kvm.h"

/* Not canonical: an instruction pointer of x86-64 never is this (Intel SDM vol. 1, 3.3.7.1). */
#define NOWHERE  0x5650617463682121ull
#define MARK_LEN 16u

static const char mark[MARK_LEN] = "vpatch kvm_run\0\1";
static const char mark_stranded[MARK_LEN] = "vpatch kvm_run\0\2";

/* What is read of each page, in one piece: exit reason and flags, then from kvm_valid_regs on. */
#define PART_OFF offsetof(struct kvm_run, kvm_valid_regs)
#define READ_LEN (offsetof(struct kvm_run, s) + host_sync_len())
#define MARK_OFF (offsetof(struct kvm_run, s) + SYNC_REGS_SIZE_BYTES - MARK_LEN)

_Static_assert(sizeof(struct kvm_run) <= KVM_RUN_LEN, "room for a copy");
_Static_assert(sizeof(((struct kvm_run *)0)->s) == SYNC_REGS_SIZE_BYTES, "kvm_run layout");

/* `anon_inode:kvm-vcpu:N` mappings; the first page of each is its struct kvm_run. */
static bool parse_line(const char *line, uint64_t *at, uint32_t *id)
{
	static const char name[] = "anon_inode:kvm-vcpu:";
	const char *p = strstr(line, name);
	char *end;

	if (!p)
		return false;
	*at = strtoull(line, &end, 16);
	if (*end != '-')
		return false;
	p += sizeof(name) - 1;
	*id = (uint32_t)strtoul(p, &end, 10);
	return end > p && (*end == '\n' || *end == '\0');
}

int kvm_run_find(struct kvm *k, const uint32_t *id, struct diag *diag)
{
	char path[64], *line = NULL;
	size_t cap = 0;
	unsigned found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)k->m->id.pid);
	f = fopen(path, "re");
	if (!f)
		return diag_errno(diag, errno, "%s: %s", k->m->name, path);
	while (getline(&line, &cap, f) > 0) {
		uint64_t at;
		uint32_t which;

		if (!parse_line(line, &at, &which))
			continue;
		for (unsigned i = 0; i < k->m->vcpus; i++)
			if (id[i] == which && k->thread[i].run == 0) {
				k->thread[i].run = at;
				found++;
			}
	}
	free(line);
	fclose(f);
	if (found == k->m->vcpus)
		return VP_OK;
	return diag_set(diag, VP_E_UNSUPPORTED,
			"%s: %u of its %u vCPUs have no kvm_run page mapped: use --driver gdb",
			k->m->name, k->m->vcpus - found, k->m->vcpus);
}

/* --- reading and marking ---------------------------------------------------------------------- */

static struct iovec at(const struct kvm_thread *t, size_t off, size_t len)
{
	return (struct iovec){(void *)(uintptr_t)(t->run + off), len};
}

int kvm_run_check(struct kvm *k, bool *stranded_ret, struct diag *diag)
{
	*stranded_ret = false;
	for (unsigned i = 0; i < k->m->vcpus; i++) {
		struct {
			uint64_t valid, dirty;
		} fields;
		char end[MARK_LEN];
		struct iovec local[2] = {{&fields, sizeof(fields)}, {end, sizeof(end)}};
		struct iovec remote[2] = {at(&k->thread[i], PART_OFF, sizeof(fields)),
					  at(&k->thread[i], MARK_OFF, sizeof(end))};
		int r = vmm_transfer(k->m->id.pid, local, remote, 2, false);

		if (r < 0)
			return diag_set(diag, r, "%s: kvm_run of vCPU %u: %s", k->m->name, i,
					vp_err_sentence(r));
		if (memcmp(end, mark_stranded, MARK_LEN) == 0)
			*stranded_ret = true;
		else if (memcmp(end, mark, MARK_LEN) != 0 && (fields.valid || fields.dirty))
			return diag_set(
				diag, VP_E_UNSUPPORTED,
				"%s: its VMM uses KVM_CAP_SYNC_REGS itself: use --driver gdb",
				k->m->name);
	}
	return VP_OK;
}

/* The mark goes first and leaves last: whoever finds the fields set knows whose they are. */
static int put(struct kvm *k, uint64_t valid, uint64_t pc, const char *end)
{
	const size_t pc_off = host_sync_pc_off();
	struct iovec local[3], remote[3];
	int r = VP_OK;

	for (unsigned i = 0; r == VP_OK && i < k->m->vcpus; i++) {
		const struct kvm_thread *t = &k->thread[i];
		unsigned n = 0;

		if (valid) {
			local[n] = (struct iovec){(void *)(uintptr_t)end, MARK_LEN};
			remote[n++] = at(t, MARK_OFF, MARK_LEN);
			local[n] = (struct iovec){&pc, sizeof(pc)};
			remote[n++] = at(t, pc_off, sizeof(pc));
		}
		local[n] = (struct iovec){&valid, sizeof(valid)};
		remote[n++] = at(t, PART_OFF, sizeof(valid));
		if (!valid) {
			local[n] = (struct iovec){(void *)(uintptr_t)end, MARK_LEN};
			remote[n++] = at(t, MARK_OFF, MARK_LEN);
		}
		r = vmm_transfer(k->m->id.pid, local, remote, n, true);
	}
	return r;
}

int kvm_run_mark(struct kvm *k, bool stranded)
{
	k->marked = true;
	return put(k, host_sync_mask(), NOWHERE, stranded ? mark_stranded : mark);
}

int kvm_run_unmark(struct kvm *k)
{
	static const char none[MARK_LEN];
	int r;

	if (!k->marked)
		return VP_OK;
	r = put(k, 0, 0, none);
	if (r == VP_OK)
		k->marked = false;
	return r;
}

static void take(struct kvm_thread *t)
{
	uint64_t pc;

	memcpy(&pc, t->copy + host_sync_pc_off(), sizeof(pc));
	t->known = pc != NOWHERE;
	if (t->known) {
		host_sync_regs((const struct kvm_run *)(const void *)t->copy, &t->regs);
	} else if (t->cached) {
		t->known = true;
		t->regs = t->by_qmp;
	}
}

int kvm_run_read(struct kvm *k)
{
	unsigned n = 0;
	int r;

	for (unsigned i = 0; i < k->m->vcpus; i++) {
		struct kvm_thread *t = &k->thread[i];

		if (!t->stopped || t->known)
			continue;
		k->local[n] = (struct iovec){t->copy, READ_LEN};
		k->remote[n++] = at(t, 0, READ_LEN);
	}
	r = vmm_transfer(k->m->id.pid, k->local, k->remote, n, false);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < k->m->vcpus; i++)
		if (k->thread[i].stopped && !k->thread[i].known)
			take(&k->thread[i]);
	return VP_OK;
}
