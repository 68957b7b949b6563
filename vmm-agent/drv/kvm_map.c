/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's memory in our own address space, for stores that its CPUs see as a whole. Only what the
 * VMM has mapped MAP_SHARED from a file can be had so: the page cache is one, whoever maps it. A private
 * mapping is not (mmap(2), MAP_PRIVATE): a store through its file would miss the guest's own copy of the
 * page and spoil the file for everybody else.
 *
 *	/proc/PID/maps    7f3e00000000-7f3e04000000 rw-s 00000000 00:01 1027   /memfd:ram (deleted)
 *	                  which pieces, of which file, from where in it
 *	/proc/PID/fd      a descriptor of that file, or /proc/PID/map_files (proc_pid_map_files(5))
 *	mmap              shared, the same piece
 *	/proc/self/maps   must say the same of ours: device, inode, offset, shared
 *	read              and both must have the same bytes
 *
 * The VMM may cut its file short under us: then the kernel ends us by SIGBUS at the next store, and the
 * guest, whose memory that was, with us. memfds of QEMU are sealed against it (F_SEAL_SHRINK).
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "vmm-agent/drv/kvm_int.h"
#include "vmm-agent/host/host.h"

#define SAMPLES  16u /* places of a mapping whose bytes are compared */
#define LOOKS    64u /* the guest writes meanwhile: so often before two are called different */
#define SAME_LEN 64u

static bool same_file(const struct vmm_map *a, const struct vmm_map *b)
{
	return a->ino == b->ino && a->major == b->major && a->minor == b->minor;
}

/* A shared, writable piece of a file. */
static bool in_file(const struct vmm_map *m)
{
	return m->read && m->write && m->shared && m->ino != 0;
}

/* --- whether it is the same memory ------------------------------------------------------------ */

static bool is_ours(const struct vmm_map *m, void *ctx)
{
	struct kvm_map *want = ctx;
	uint64_t at = (uint64_t)(uintptr_t)want->at;

	if (!in_file(m) || at < m->hva || at - m->hva >= m->len)
		return true;
	/* Neighbours of one file may have become one line. */
	want->proven = same_file(m, &want->v) && m->off + (at - m->hva) == want->v.off &&
		       m->len - (at - m->hva) >= want->v.len;
	return false;
}

static bool same_bytes(pid_t pid, const struct kvm_map *m)
{
	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t off = m->v.len / SAMPLES * i & ~(uint64_t)(SAME_LEN - 1);
		bool same = false;

		for (unsigned n = 0; !same && n < LOOKS; n++) {
			uint8_t ours[SAME_LEN], theirs[SAME_LEN];
			struct iovec local = {theirs, sizeof(theirs)};
			struct iovec remote = {(void *)(uintptr_t)(m->v.hva + off), sizeof(theirs)};

			if (vmm_transfer(pid, &local, &remote, 1, false) < 0)
				return false;
			host_load(ours, m->at + off, sizeof(ours));
			same = memcmp(ours, theirs, sizeof(ours)) == 0;
		}
		if (!same)
			return false;
	}
	return true;
}

static bool map_one(pid_t pid, struct kvm_map *m)
{
	int fd = vmm_map_file(pid, &m->v, O_RDWR);
	void *at;

	if (fd < 0)
		return false;
	at = mmap(NULL, m->v.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		  (off_t)m->v.off);
	close(fd);
	if (at == MAP_FAILED)
		return false;
	(void)madvise(at, m->v.len, MADV_DONTDUMP); /* a guest's memory is not for our core files */
	m->at = at;
	m->proven = false;
	if (vmm_map_each(getpid(), is_ours, m) == VP_OK && m->proven && same_bytes(pid, m))
		return true;
	munmap(at, m->v.len);
	m->at = NULL;
	return false;
}

/* --- the guest's ------------------------------------------------------------------------------- */

static bool holds_ram(const struct kvm *k, const struct vmm_map *m)
{
	for (size_t i = 0; i < k->n_ram; i++)
		if (k->hva[i] < m->hva + m->len && m->hva < k->hva[i] + k->ram[i].len)
			return true;
	return false;
}

static bool take(const struct vmm_map *m, void *ctx)
{
	struct kvm *k = ctx;

	if (k->n_maps == KVM_MAPS_MAX)
		return false;
	if (in_file(m) && holds_ram(k, m)) {
		k->map[k->n_maps] = (struct kvm_map){.v = *m};
		if (map_one(k->m->id.pid, &k->map[k->n_maps]))
			k->n_maps++;
	}
	return true;
}

void kvm_map_open(struct kvm *k)
{
	(void)!vmm_map_each(k->m->id.pid, take, k);
}

void kvm_map_close(struct kvm *k)
{
	for (unsigned i = 0; i < k->n_maps; i++)
		munmap(k->map[i].at, k->map[i].v.len);
	k->n_maps = 0;
}

static bool look_again(const struct vmm_map *m, void *ctx)
{
	struct kvm *k = ctx;

	for (unsigned i = 0; i < k->n_maps; i++) {
		struct kvm_map *was = &k->map[i];

		if (in_file(m) && was->v.hva >= m->hva && was->v.hva - m->hva < m->len &&
		    same_file(&was->v, m) && m->off + (was->v.hva - m->hva) == was->v.off &&
		    m->len - (was->v.hva - m->hva) >= was->v.len)
			was->proven = true;
	}
	return true;
}

bool kvm_map_same(struct kvm *k)
{
	bool all = k->n_maps > 0;

	for (unsigned i = 0; i < k->n_maps; i++)
		k->map[i].proven = false;
	if (vmm_map_each(k->m->id.pid, look_again, k) < 0)
		return false;
	for (unsigned i = 0; i < k->n_maps; i++)
		all = all && k->map[i].proven;
	return all;
}

uint8_t *kvm_map_at(const struct kvm *k, vp_gpa_t at, size_t len)
{
	uint64_t hva = vmm_mem_hva(&k->mem, at, len);

	for (unsigned i = 0; hva != 0 && i < k->n_maps; i++) {
		const struct kvm_map *m = &k->map[i];

		if (hva >= m->v.hva && vp_fits(hva - m->v.hva, len, m->v.len))
			return m->at + (hva - m->v.hva);
	}
	return NULL;
}
