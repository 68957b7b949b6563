/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/vmm_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol/bytes.h"

#define PAGE       4096u
#define PREFIX_MAX 64u
#define BATCH      1024u /* pages a call; UIO_MAXIOV */

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_PRESENT (UINT64_C(1) << 63)
#define PM_SWAP    (UINT64_C(1) << 62)

struct mapping {
	uint64_t start, end;
	bool anonymous; /* private, and no file behind it: what was never touched is zero */
};

static int open_error(void)
{
	return errno == ENOENT || errno == ESRCH ? VP_E_NO_DOMAIN : VP_E_PERM;
}

/* The field behind the present one; NULL if there is none. */
static const char *next_field(const char *at)
{
	at += strcspn(at, " ");
	at += strspn(at, " ");
	return *at ? at : NULL;
}

/* `7f3e00000000-7f3e04000000 rw-p 00000000 00:00 0 name`; proc_pid_maps(5) */
static bool parse_mapping(const char *line, struct mapping *ret)
{
	const char *perms, *field;
	char *end;

	ret->start = strtoull(line, &end, 16);
	if (*end != '-')
		return false;
	ret->end = strtoull(end + 1, &end, 16);
	perms = next_field(end);
	field = perms;
	for (int i = 0; field && i < 3; i++) /* to the inode, over offset and device */
		field = next_field(field);
	if (!field || strcspn(perms, " ") != 4 || ret->end <= ret->start)
		return false;
	ret->anonymous = perms[3] == 'p' && strtoull(field, NULL, 10) == 0;
	return perms[0] == 'r';
}

/*
 * Whether [start, start + len) of the process is mapped readable without a hole, and whether all
 * of it is private anonymous memory. A host's map is as long as it likes; it is read line by line.
 */
static int look_up(pid_t pid, uint64_t start, uint64_t len, bool *mapped, bool *anonymous)
{
	char path[64], *line = NULL;
	uint64_t at = start, left = len;
	size_t cap = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return open_error();
	*anonymous = true;
	while (left > 0 && getline(&line, &cap, f) > 0) {
		struct mapping m;
		uint64_t n;

		if (!parse_mapping(line, &m) || m.end <= at)
			continue;
		if (m.start > at)
			break;
		n = m.end - at < left ? m.end - at : left;
		*anonymous = *anonymous && m.anonymous;
		at += n;
		left -= n;
	}
	free(line);
	fclose(f);
	*mapped = left == 0;
	return VP_OK;
}

int vmm_mem_check(const struct vmm_mem *m, struct diag *diag)
{
	for (size_t i = 0; i < m->n; i++) {
		bool mapped, anonymous;
		int r = look_up(m->pid, m->hva[i], m->ram[i].len, &mapped, &anonymous);

		if (r == VP_OK && !mapped)
			r = VP_E_NO_DOMAIN;
		if (r < 0)
			return diag_set(
				diag, r,
				r == VP_E_PERM ? "process %d: its memory may not be looked at: run "
						 "vpatch as root or with CAP_SYS_PTRACE"
					       : "process %d: does not hold the guest's memory",
				(int)m->pid);
	}
	return VP_OK;
}

static int read_error(void)
{
	switch (errno) {
	case EPERM:
	case EACCES:
		return VP_E_PERM;
	case ESRCH:
		return VP_E_DISCONNECTED;
	case ENOMEM:
		return VP_E_NOMEM;
	default:
		return VP_E_IO; /* EFAULT: unmapped meanwhile */
	}
}

static int copy_hva(pid_t pid, uint64_t hva, uint8_t *buf, size_t len, bool out)
{
	while (len > 0) {
		struct iovec local = {buf, len}, remote = {(void *)(uintptr_t)hva, len};
		ssize_t n = out ? process_vm_writev(pid, &local, 1, &remote, 1, 0)
				: process_vm_readv(pid, &local, 1, &remote, 1, 0);

		if (n <= 0)
			return n < 0 ? read_error() : VP_E_IO;
		buf += n;
		hva += (uint64_t)n;
		len -= (size_t)n;
	}
	return VP_OK;
}

static int copy_ram(const struct vmm_mem *m, vp_gpa_t at, uint8_t *p, size_t len, bool out)
{
	for (size_t i = 0; i < m->n && len > 0; i++) {
		uint64_t off = at.v - m->ram[i].start.v, n;
		int r;

		if (at.v < m->ram[i].start.v || off >= m->ram[i].len)
			continue;
		n = m->ram[i].len - off < len ? m->ram[i].len - off : len;
		r = copy_hva(m->pid, m->hva[i] + off, p, (size_t)n, out);
		if (r < 0)
			return r;
		p += n;
		at.v += n;
		len -= (size_t)n;
	}
	return len == 0 ? VP_OK : VP_E_RANGE;
}

int vmm_mem_read(const struct vmm_mem *m, vp_gpa_t at, void *buf, size_t len)
{
	return copy_ram(m, at, buf, len, false);
}

int vmm_mem_write(const struct vmm_mem *m, vp_gpa_t at, const void *buf, size_t len)
{
	/* process_vm_writev only reads what an iovec of its own side points to. */
	return copy_ram(m, at, (uint8_t *)(uintptr_t)buf, len, true);
}

uint64_t vmm_mem_hva(const struct vmm_mem *m, vp_gpa_t at, size_t len)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct vp_ram *ram = &m->ram[mid];

		if (at.v < ram->start.v)
			hi = mid;
		else if (at.v - ram->start.v >= ram->len)
			lo = mid + 1;
		else if (!vp_fits(at.v - ram->start.v, len, ram->len))
			return 0;
		else
			return m->hva[mid] + (at.v - ram->start.v);
	}
	return 0;
}

int vmm_transfer(pid_t pid, const struct iovec *local, const struct iovec *remote, size_t n,
		 bool write)
{
	while (n > 0) {
		size_t now = n < BATCH ? n : BATCH, want = 0;
		ssize_t got;

		for (size_t i = 0; i < now; i++)
			want += local[i].iov_len;
		got = write ? process_vm_writev(pid, local, now, remote, now, 0)
			    : process_vm_readv(pid, local, now, remote, now, 0);
		if (got < 0)
			return read_error();
		if ((size_t)got != want)
			return VP_E_IO;
		local += now;
		remote += now;
		n -= now;
	}
	return VP_OK;
}

static int copy_all(const struct vmm_mem *m, const struct vp_io *io, size_t n, bool out)
{
	struct iovec local[BATCH], remote[BATCH];
	int r = VP_OK;

	while (r == VP_OK && n > 0) {
		size_t now = n < BATCH ? n : BATCH;

		for (size_t i = 0; i < now; i++) {
			uint64_t hva = vmm_mem_hva(m, io[i].at, io[i].len);

			if (hva == 0)
				return VP_E_RANGE;
			local[i] = (struct iovec){io[i].buf, io[i].len};
			remote[i] = (struct iovec){(void *)(uintptr_t)hva, io[i].len};
		}
		r = vmm_transfer(m->pid, local, remote, now, out);
		io += now;
		n -= now;
	}
	return r;
}

int vmm_mem_read_all(const struct vmm_mem *m, const struct vp_io *io, size_t n)
{
	return copy_all(m, io, n, false);
}

int vmm_mem_write_all(const struct vmm_mem *m, const struct vp_io *io, size_t n)
{
	return copy_all(m, io, n, true);
}

struct finder {
	const struct vmm_mem *m;
	const void *prefix;
	size_t n;
	vp_gpa_t *found;
	size_t cap, count;
	int pagemap; /* -1: look at every page */
	uint64_t host_page;
	bool prefix_zero; /* untouched memory would match */
	uint8_t heads[BATCH * PREFIX_MAX];
	struct iovec remote[BATCH];
	uint64_t gpa[BATCH];
	uint64_t map[BATCH];
};

static int read_heads(struct finder *f, unsigned n)
{
	struct iovec local = {f->heads, n * f->n};
	ssize_t got = process_vm_readv(f->m->pid, &local, 1, f->remote, n, 0);

	if (got < 0)
		got = errno == EFAULT ? 0 : -1;
	if (got < 0)
		return read_error();
	/* The transfer ends at the first page that cannot be read (poisoned, say): one at a time
	 * from there, and what cannot be read does not match. */
	for (unsigned i = (unsigned)((size_t)got / f->n); i < n; i++) {
		int r = copy_hva(f->m->pid, (uint64_t)(uintptr_t)f->remote[i].iov_base,
				 f->heads + i * f->n, f->n, false);

		if (r < 0 && r != VP_E_IO)
			return r;
		if (r < 0)
			f->heads[i * f->n] = (uint8_t) ~*(const uint8_t *)f->prefix;
	}
	return VP_OK;
}

static int match_batch(struct finder *f, unsigned n)
{
	int r = n > 0 ? read_heads(f, n) : VP_OK;

	for (unsigned i = 0; r == VP_OK && i < n; i++) {
		if (memcmp(f->heads + i * f->n, f->prefix, f->n) != 0)
			continue;
		if (f->count == f->cap)
			return VP_E_RANGE;
		f->found[f->count++] = vp_gpa(f->gpa[i]);
	}
	return r;
}

/* Reads the pagemap of n pages from hva on; on any doubt all of them count as touched. */
static void touched(struct finder *f, uint64_t hva, unsigned n)
{
	ssize_t want = (ssize_t)(n * sizeof(f->map[0]));

	if (f->pagemap >= 0 && pread(f->pagemap, f->map, (size_t)want,
				     (off_t)(hva / f->host_page * sizeof(f->map[0]))) == want)
		return;
	for (unsigned i = 0; i < n; i++)
		f->map[i] = PM_PRESENT;
}

/* The pages of one range, from its first page boundary on. */
static int find_in_range(struct finder *f, const struct vp_ram *ram, uint64_t hva, bool anonymous)
{
	uint64_t off = (PAGE - ram->start.v % PAGE) % PAGE, pages;
	/*
	 * A page of private anonymous memory that is neither present nor swapped was never written:
	 * zeros. Of file and shared memory pagemap tells nothing of the kind, so every page is read.
	 */
	bool skip = anonymous && !f->prefix_zero && f->host_page == PAGE && (hva + off) % PAGE == 0;
	int r = VP_OK;

	pages = ram->len > off ? (ram->len - off) / PAGE : 0;
	while (r == VP_OK && pages > 0) {
		unsigned n = pages < BATCH ? (unsigned)pages : BATCH, used = 0;

		if (skip)
			touched(f, hva + off, n);
		for (unsigned i = 0; i < n; i++, off += PAGE) {
			if (skip && !(f->map[i] & (PM_PRESENT | PM_SWAP)))
				continue;
			f->remote[used] = (struct iovec){(void *)(uintptr_t)(hva + off), f->n};
			f->gpa[used++] = ram->start.v + off;
		}
		pages -= n;
		r = match_batch(f, used);
	}
	return r;
}

static int find_all(struct finder *f)
{
	int r = VP_OK;

	for (size_t i = 0; r == VP_OK && i < f->m->n; i++) {
		bool mapped, anonymous;

		r = look_up(f->m->pid, f->m->hva[i], f->m->ram[i].len, &mapped, &anonymous);
		if (r == VP_OK)
			r = find_in_range(f, &f->m->ram[i], f->m->hva[i], mapped && anonymous);
	}
	return r;
}

int vmm_mem_find_pages(const struct vmm_mem *m, const void *prefix, size_t n, vp_gpa_t *found,
		       size_t cap, size_t *n_ret, struct diag *diag)
{
	static const uint8_t zero[PREFIX_MAX];
	struct finder *f = calloc(1, sizeof(*f));
	char path[64];
	int r;

	if (!f)
		return diag_set(diag, VP_E_NOMEM, "looking through guest RAM: no memory");
	f->m = m;
	f->prefix = prefix;
	f->n = n;
	f->found = found;
	f->cap = cap;
	f->prefix_zero = memcmp(prefix, zero, n) == 0;
	f->host_page = (uint64_t)sysconf(_SC_PAGESIZE);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)m->pid);
	f->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	r = find_all(f);
	if (r == VP_OK)
		*n_ret = f->count;
	else if (r == VP_E_RANGE)
		diag_set(diag, r, "guest RAM: more than %zu pages match", cap);
	else
		diag_set(diag, r, "guest RAM in process %d: %s%s", (int)m->pid, vp_err_sentence(r),
			 r == VP_E_PERM ? ": run vpatch as root or with CAP_SYS_PTRACE" : "");
	if (f->pagemap >= 0)
		close(f->pagemap);
	free(f);
	return r;
}

int vmm_start_time(pid_t pid, uint64_t *ret)
{
	char path[64], text[1024], *p, *end;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return open_error();
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	/* The name in parentheses may hold anything; field 3 begins behind the last one. */
	p = strrchr(text, ')');
	if (p && (p[1] != ' ' || p[2] == 'Z' || p[2] == 'X'))
		return VP_E_NO_DOMAIN; /* dead, only not yet waited for */
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return VP_E_NO_DOMAIN;
	*ret = strtoull(p, &end, 10);
	return end > p ? VP_OK : VP_E_NO_DOMAIN;
}

static bool first_line(pid_t tid, const char *file, char *buf, size_t len)
{
	char path[64];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, file);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(buf, 1, len - 1, f);
	fclose(f);
	buf[n] = '\0';
	return true;
}

enum vp_vcpu_state vmm_thread_state(pid_t tid)
{
	char text[1024], *p;

	if (!first_line(tid, "stat", text, sizeof(text)))
		return VP_VCPU_UNKNOWN;
	p = strrchr(text, ')'); /* the name may hold anything */
	if (!p || p[1] != ' ')
		return VP_VCPU_UNKNOWN;
	if (p[2] == 'R')
		return VP_VCPU_RUNNING;
	if (p[2] == 'T' || p[2] == 't')
		return VP_VCPU_STOPPED;
	/* virt/kvm/kvm_main.c: kvm_vcpu_block, kvm_vcpu_halt */
	if (first_line(tid, "wchan", text, sizeof(text)) && strncmp(text, "kvm_vcpu_", 9) == 0)
		return VP_VCPU_HALTED;
	return VP_VCPU_WAITING;
}

int vmm_thread_group(pid_t tid, pid_t *ret)
{
	char path[64], line[256];
	int r = VP_E_NO_DOMAIN;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	f = fopen(path, "re");
	if (!f)
		return open_error();
	while (r < 0 && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "Tgid:", 5) == 0) {
			*ret = (pid_t)strtol(line + 5, NULL, 10);
			r = VP_OK;
		}
	}
	fclose(f);
	return r;
}
