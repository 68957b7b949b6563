// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Looking through a guest's RAM. What the guest never touched is not looked at: it is zero, and to read
 * it would make the host give it memory (a hole of a shared file is filled by whoever reads the mapping).
 *
 *	private memory        /proc/PID/pagemap: neither present nor swapped was never written
 *	a file, shared        SEEK_DATA: what is no data was never written, by anybody
 *	a file, private       what either of them has
 *
 * Whatever cannot be asked counts as touched.
 */
#include "vmm-agent/drv/vmm_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vmm-agent/drv/vmm_map.h"

#define PAGE       4096u
#define PREFIX_MAX 64u
#define BATCH      1024u /* pages a call; UIO_MAXIOV */
#define RUNS       512u

/* Documentation/admin-guide/mm/pagemap.rst. The ioctl is there from Linux 6.7 on, and passes over
 * what has no page table at all in no time. */
#define PM_PRESENT      (UINT64_C(1) << 63)
#define PM_SWAP         (UINT64_C(1) << 62)
#define PM_IS_PRESENT   (UINT64_C(1) << 3)
#define PM_IS_SWAPPED   (UINT64_C(1) << 4)
#define PM_SCAN         _IOWR('f', 16, struct pm_scan)
#define PM_SCAN_TOUCHED (PM_IS_PRESENT | PM_IS_SWAPPED)

struct pm_run {
	uint64_t start, end, categories;
};

struct pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

struct finder {
	const struct vmm_mem *m;
	const void *prefix;
	size_t n;
	vp_gpa_t *found;
	size_t cap, count;
	int pagemap; /* -1: it may not be read */
	bool no_scan;
	bool skip; /* untouched memory cannot match */
	int r;
	/* the range that is looked through, and where in it */
	const struct vp_ram *ram;
	uint64_t hva, at, end;
	/* runs of touched private memory, up to runs_end */
	struct pm_run run[RUNS];
	unsigned n_runs, next_run;
	uint64_t runs_end;
	uint64_t map[BATCH];
	/* pages to look at */
	unsigned used;
	uint8_t heads[BATCH * PREFIX_MAX];
	struct iovec remote[BATCH];
};

/* --- the pages themselves ------------------------------------------------------------------------ */

static int transfer_error(void)
{
	return errno == ESRCH ? VP_E_DISCONNECTED : errno == ENOMEM ? VP_E_NOMEM : VP_E_PERM;
}

/*
 * A transfer ends at the first page that cannot be read (poisoned, say, or unmapped meanwhile): it goes
 * on behind that one, which does not match.
 */
static int read_heads(struct finder *f)
{
	unsigned i = 0;

	while (i < f->used) {
		struct iovec local = {f->heads + i * f->n, (f->used - i) * f->n};
		ssize_t got = process_vm_readv(f->m->pid, &local, 1, f->remote + i, f->used - i, 0);

		if (got < 0 && errno != EFAULT)
			return transfer_error();
		i += got > 0 ? (unsigned)((size_t)got / f->n) : 0;
		if (i < f->used) {
			f->heads[i * f->n] = (uint8_t) ~*(const uint8_t *)f->prefix;
			i++;
		}
	}
	return VP_OK;
}

static void match(struct finder *f)
{
	if (f->r == VP_OK && f->used > 0)
		f->r = read_heads(f);
	for (unsigned i = 0; f->r == VP_OK && i < f->used; i++) {
		uint64_t hva = (uint64_t)(uintptr_t)f->remote[i].iov_base;

		if (memcmp(f->heads + i * f->n, f->prefix, f->n) != 0)
			continue;
		if (f->count == f->cap)
			f->r = VP_E_RANGE;
		else
			f->found[f->count++] = vp_gpa(f->ram->start.v + (hva - f->hva));
	}
	f->used = 0;
}

static void look_at(struct finder *f, uint64_t start, uint64_t end)
{
	for (; f->r == VP_OK && start < end; start += PAGE) {
		f->remote[f->used++] = (struct iovec){(void *)(uintptr_t)start, f->n};
		if (f->used == BATCH)
			match(f);
	}
}

/* --- which of them --------------------------------------------------------------------------------- */

static bool scan(struct finder *f, uint64_t at, uint64_t end)
{
	struct pm_scan arg = {.size = sizeof(arg),
			      .start = at,
			      .end = end,
			      .vec = (uint64_t)(uintptr_t)f->run,
			      .vec_len = RUNS,
			      .category_anyof_mask = PM_SCAN_TOUCHED,
			      .return_mask = PM_SCAN_TOUCHED};
	int n = f->no_scan ? -1 : ioctl(f->pagemap, PM_SCAN, &arg);

	if (n < 0 || arg.walk_end <= at) {
		f->no_scan = true;
		return false;
	}
	f->n_runs = (unsigned)n;
	f->runs_end = arg.walk_end;
	return true;
}

static bool read_map(struct finder *f, uint64_t at, uint64_t end)
{
	size_t n = (end - at) / PAGE < BATCH ? (size_t)((end - at) / PAGE) : BATCH;
	ssize_t want = (ssize_t)(n * sizeof(f->map[0]));

	if (pread(f->pagemap, f->map, (size_t)want, (off_t)(at / PAGE * sizeof(f->map[0]))) != want)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint64_t page = at + i * PAGE;

		if (!(f->map[i] & (PM_PRESENT | PM_SWAP)))
			continue;
		if (f->n_runs > 0 && f->run[f->n_runs - 1].end == page)
			f->run[f->n_runs - 1].end += PAGE;
		else
			f->run[f->n_runs++] = (struct pm_run){page, page + PAGE, 0};
	}
	f->runs_end = at + n * PAGE;
	return true;
}

/* The next run of touched private memory in [at, end). */
static void next_private(struct finder *f, uint64_t at, uint64_t end, uint64_t *s, uint64_t *e)
{
	for (; at < end; at = f->runs_end) {
		if (at >= f->runs_end) {
			f->n_runs = f->next_run = 0;
			if (f->pagemap < 0 || (!scan(f, at, end) && !read_map(f, at, end))) {
				*s = at;
				*e = end;
				return;
			}
		}
		while (f->next_run < f->n_runs && f->run[f->next_run].end <= at)
			f->next_run++;
		if (f->next_run < f->n_runs) {
			*s = f->run[f->next_run].start < at ? at : f->run[f->next_run].start;
			*e = f->run[f->next_run].end;
			return;
		}
	}
	*s = *e = end;
}

/* The next data of the file in [at, end). lseek(2). */
static void next_data(const struct vmm_map *m, int fd, uint64_t at, uint64_t end, uint64_t *s,
		      uint64_t *e)
{
	off_t data = lseek(fd, (off_t)(m->off + (at - m->hva)), SEEK_DATA), hole;

	*s = at;
	*e = end;
	if (data < 0) {
		if (errno == ENXIO)
			*s = end;
		return;
	}
	*s = m->hva + ((uint64_t)data - m->off);
	hole = lseek(fd, data, SEEK_HOLE);
	if (hole > data)
		*e = m->hva + ((uint64_t)hole - m->off);
}

/* The file that is mapped there, and no other: elsewhere an inode's number may be in use again. */
static int open_mapped(pid_t pid, const struct vmm_map *m)
{
	int fd = vmm_map_file(pid, m, O_RDONLY);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && major(st.st_dev) == m->major && minor(st.st_dev) == m->minor)
		return fd;
	close(fd);
	return -1;
}

/* What is touched of [at, end), which lies in one mapping. */
static void look_through(struct finder *f, const struct vmm_map *m, uint64_t at, uint64_t end)
{
	int fd = f->skip && m->ino != 0 ? open_mapped(f->m->pid, m) : -1;
	bool ask = f->skip && (m->ino == 0 ? !m->shared : fd >= 0);

	f->runs_end = 0;
	while (f->r == VP_OK && at < end) {
		uint64_t s = end, e = end, s2 = end, e2 = end;

		if (!ask) {
			s = at;
		} else {
			if (fd >= 0)
				next_data(m, fd, at, end, &s, &e);
			if (!m->shared)
				next_private(f, at, end, &s2, &e2);
		}
		if (s2 < s) {
			s = s2;
			e = e2;
		}
		if (s >= end)
			break;
		if (e > end)
			e = end;
		/* Sizes of files need not be whole pages; ours are. */
		s &= ~(uint64_t)(PAGE - 1);
		e = (e + PAGE - 1) & ~(uint64_t)(PAGE - 1);
		look_at(f, s, e);
		at = e;
	}
	if (fd >= 0)
		close(fd);
}

/* Ranges of RAM may lie in several mappings each. A page that is not mapped cannot be read. */
static bool take(const struct vmm_map *m, void *ctx)
{
	struct finder *f = ctx;
	uint64_t end = m->hva + m->len < f->end ? m->hva + m->len : f->end;

	if (f->at < m->hva)
		f->at = m->hva;
	if (m->read && f->at < end)
		look_through(f, m, f->at, end);
	if (f->at < end)
		f->at = end;
	return f->r == VP_OK && f->at < f->end;
}

static int find_all(struct finder *f)
{
	for (size_t i = 0; f->r == VP_OK && i < f->m->n; i++) {
		uint64_t off;
		int r;

		f->ram = &f->m->ram[i];
		f->hva = f->m->hva[i];
		off = (PAGE - f->ram->start.v % PAGE) % PAGE;
		if (f->ram->len < off)
			continue;
		f->at = f->hva + off;
		f->end = f->at + (f->ram->len - off) / PAGE * PAGE;
		if (f->at % PAGE != 0) {
			/* Pages of the guest's that are not pages of the host's. */
			look_at(f, f->at, f->end);
		} else {
			r = vmm_map_each(f->m->pid, take, f);
			f->r = f->r == VP_OK ? r : f->r;
		}
		match(f);
	}
	return f->r;
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
	f->skip = memcmp(prefix, zero, n) != 0 && sysconf(_SC_PAGESIZE) == PAGE;
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
