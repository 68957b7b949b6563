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
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "vmm-agent/drv/kvm_int.h"
#include "vmm-agent/host/host.h"

#define SAMPLES  16u /* places of a mapping whose bytes are compared */
#define LOOKS    64u /* the guest writes meanwhile: so often before two are called different */
#define SAME_LEN 64u
#define FDS_MAX  4096u

/* A number of maps' line, and what is behind it must begin with `end`. */
static bool number(const char **at, int base, char end, uint64_t *ret)
{
	char *behind;

	*ret = strtoull(*at, &behind, base);
	if (behind == *at || *behind != end)
		return false;
	*at = behind + 1;
	return true;
}

/* A line of maps; proc_pid_maps(5). */
static bool parse_line(const char *line, struct kvm_map *ret, bool *shared_ret)
{
	const char *perms;
	uint64_t end;

	if (!number(&line, 16, '-', &ret->hva) || !number(&line, 16, ' ', &end) || end <= ret->hva)
		return false;
	ret->len = end - ret->hva;
	perms = line;
	if (strcspn(perms, " ") != 4)
		return false;
	line += 5;
	*shared_ret = perms[0] == 'r' && perms[1] == 'w' && perms[3] == 's';
	return number(&line, 16, ' ', &ret->off) && number(&line, 16, ':', &ret->major) &&
	       number(&line, 16, ' ', &ret->minor) && number(&line, 10, ' ', &ret->ino);
}

/* Calls fn for the shared, writable pieces of files that a process has mapped, until it gives false. */
static int each_shared(const char *maps, bool (*fn)(const struct kvm_map *m, void *ctx), void *ctx)
{
	char *line = NULL;
	size_t cap = 0;
	bool more = true;
	FILE *f = fopen(maps, "re");

	if (!f)
		return VP_E_PERM;
	while (more && getline(&line, &cap, f) > 0) {
		struct kvm_map m = {0};
		bool shared;

		if (parse_line(line, &m, &shared) && shared && m.ino != 0)
			more = fn(&m, ctx);
	}
	free(line);
	fclose(f);
	return VP_OK;
}

static bool same_file(const struct kvm_map *a, const struct kvm_map *b)
{
	return a->ino == b->ino && a->major == b->major && a->minor == b->minor;
}

/* --- the file ---------------------------------------------------------------------------------- */

/* A regular file of that inode, long enough: looked at before it is opened, for an open of something else
 * may block or do something. */
static int open_if(const char *path, const struct kvm_map *m)
{
	struct stat st;
	int fd;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != m->ino)
		return -1;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == m->ino && st.st_size >= 0 &&
	    (uint64_t)st.st_size >= m->off && (uint64_t)st.st_size - m->off >= m->len)
		return fd;
	close(fd);
	return -1;
}

static int open_file(pid_t pid, const struct kvm_map *m)
{
	char path[96];
	struct dirent *e;
	unsigned n = 0;
	int fd = -1;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && fd < 0 && n++ < FDS_MAX && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%.32s", (int)pid, e->d_name);
		fd = open_if(path, m);
	}
	if (d)
		closedir(d);
	if (fd >= 0)
		return fd;
	/* A VMM that has closed it. Asks for more than the descriptors do: CAP_CHECKPOINT_RESTORE. */
	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, m->hva,
		 m->hva + m->len);
	return open_if(path, m);
}

/* --- whether it is the same memory ------------------------------------------------------------ */

static bool is_ours(const struct kvm_map *m, void *ctx)
{
	struct kvm_map *want = ctx;
	uint64_t at = (uint64_t)(uintptr_t)want->at;

	if (at < m->hva || at - m->hva >= m->len)
		return true;
	/* Neighbours of one file may have become one line. */
	want->proven = same_file(m, want) && m->off + (at - m->hva) == want->off &&
		       m->len - (at - m->hva) >= want->len;
	return false;
}

static bool same_bytes(pid_t pid, const struct kvm_map *m)
{
	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t off = m->len / SAMPLES * i & ~(uint64_t)(SAME_LEN - 1);
		bool same = false;

		for (unsigned n = 0; !same && n < LOOKS; n++) {
			uint8_t ours[SAME_LEN], theirs[SAME_LEN];
			struct iovec local = {theirs, sizeof(theirs)};
			struct iovec remote = {(void *)(uintptr_t)(m->hva + off), sizeof(theirs)};

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
	int fd = open_file(pid, m);
	void *at;

	if (fd < 0)
		return false;
	at = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		  (off_t)m->off);
	close(fd);
	if (at == MAP_FAILED)
		return false;
	(void)madvise(at, m->len, MADV_DONTDUMP); /* a guest's memory is not for our core files */
	m->at = at;
	m->proven = false;
	if (each_shared("/proc/self/maps", is_ours, m) == VP_OK && m->proven && same_bytes(pid, m))
		return true;
	munmap(at, m->len);
	m->at = NULL;
	return false;
}

/* --- the guest's ------------------------------------------------------------------------------- */

static bool holds_ram(const struct kvm *k, const struct kvm_map *m)
{
	for (size_t i = 0; i < k->n_ram; i++)
		if (k->hva[i] < m->hva + m->len && m->hva < k->hva[i] + k->ram[i].len)
			return true;
	return false;
}

static bool take(const struct kvm_map *m, void *ctx)
{
	struct kvm *k = ctx;

	if (k->n_maps == KVM_MAPS_MAX)
		return false;
	if (holds_ram(k, m)) {
		k->map[k->n_maps] = *m;
		if (map_one(k->m->id.pid, &k->map[k->n_maps]))
			k->n_maps++;
	}
	return true;
}

void kvm_map_open(struct kvm *k)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)k->m->id.pid);
	(void)!each_shared(path, take, k);
}

void kvm_map_close(struct kvm *k)
{
	for (unsigned i = 0; i < k->n_maps; i++)
		munmap(k->map[i].at, k->map[i].len);
	k->n_maps = 0;
}

static bool look_again(const struct kvm_map *m, void *ctx)
{
	struct kvm *k = ctx;

	for (unsigned i = 0; i < k->n_maps; i++) {
		struct kvm_map *was = &k->map[i];

		if (was->hva >= m->hva && was->hva - m->hva < m->len && same_file(was, m) &&
		    m->off + (was->hva - m->hva) == was->off &&
		    m->len - (was->hva - m->hva) >= was->len)
			was->proven = true;
	}
	return true;
}

bool kvm_map_same(struct kvm *k)
{
	char path[64];
	bool all = k->n_maps > 0;

	for (unsigned i = 0; i < k->n_maps; i++)
		k->map[i].proven = false;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)k->m->id.pid);
	if (each_shared(path, look_again, k) < 0)
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

		if (hva >= m->hva && vp_fits(hva - m->hva, len, m->len))
			return m->at + (hva - m->hva);
	}
	return NULL;
}
