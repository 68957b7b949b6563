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
#include "vmm-agent/drv/vmm_map.h"

#define BATCH 1024u /* pages a call; UIO_MAXIOV */

static int open_error(void)
{
	return errno == ENOENT || errno == ESRCH ? VP_E_NO_DOMAIN : VP_E_PERM;
}

struct cover {
	uint64_t at, left;
};

static bool covers(const struct vmm_map *m, void *ctx)
{
	struct cover *c = ctx;
	uint64_t n;

	if (!m->read || m->hva + m->len <= c->at)
		return true;
	if (m->hva > c->at)
		return false;
	n = m->hva + m->len - c->at;
	if (n > c->left)
		n = c->left;
	c->at += n;
	c->left -= n;
	return c->left > 0;
}

int vmm_mem_check(const struct vmm_mem *m, struct diag *diag)
{
	for (size_t i = 0; i < m->n; i++) {
		struct cover c = {m->hva[i], m->ram[i].len};
		int r = vmm_map_each(m->pid, covers, &c);

		if (r == VP_OK && c.left > 0)
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
