/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/gdb_open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "protocol/bytes.h"

#define GREETING_NS (2 * CLOCK_NS_PER_SEC) /* a monitor that another client holds says nothing */

void gdb_destroy(struct gdb *g)
{
	if (!g)
		return;
	gdb_guard_stop(g);
	gdb_stub_hang_up(g);
	gdb_stub_forget(g);
	qmp_close(g->q);
	if (g->sh)
		munmap(g->sh, sizeof(*g->sh));
	free(g);
}

static int query_arch(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	struct json_object *reply = NULL;
	const char *name;
	int r = gdb_call(g, "query-target", NULL, -1, deadline, diag, &reply);

	if (r < 0)
		return r;
	name = qmp_get_str(reply, "arch");
	g->arch = name ? arch_by_name(name) : NULL;
	if (!g->arch)
		diag_set(diag, VP_E_UNSUPPORTED, "%s: guest architecture `%s` is not supported",
			 g->name, name ? name : "unknown");
	json_object_put(reply);
	return g->arch ? VP_OK : VP_E_UNSUPPORTED;
}

static int query_accel(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	struct json_object *reply = NULL, *enabled = NULL;
	int r = gdb_call(g, "query-kvm", NULL, -1, deadline, diag, &reply);

	if (r < 0)
		return r;
	g->kvm = json_object_object_get_ex(reply, "enabled", &enabled) &&
		 json_object_get_boolean(enabled);
	json_object_put(reply);
	return VP_OK;
}

static int query_uuid(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	struct json_object *reply = NULL;
	char digits[33];
	const char *uuid;
	unsigned n = 0;
	int r = gdb_call(g, "query-uuid", NULL, -1, deadline, diag, &reply);

	if (r < 0)
		return r;
	uuid = qmp_get_str(reply, "UUID");
	for (; uuid && *uuid && n < 32; uuid++)
		if (*uuid != '-')
			digits[n++] = *uuid;
	if (!uuid || *uuid || n != 32 || !rsp_unhex(digits, n, g->id.uuid, sizeof(g->id.uuid)))
		r = diag_set(diag, VP_E_PROTO, "%s, query-uuid: not a UUID", g->name);
	json_object_put(reply);
	return r;
}

int gdb_query_vcpus(struct gdb *g, uint64_t deadline, struct diag *diag, unsigned *n_ret,
		    pid_t *tid_ret)
{
	struct json_object *list = NULL;
	int r = gdb_call(g, "query-cpus-fast", NULL, -1, deadline, diag, &list);
	size_t n;

	if (r < 0)
		return r;
	n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	if (n == 0 || n > VP_VCPU_MAX)
		r = diag_set(diag, VP_E_UNSUPPORTED, "%s: %zu vCPUs: 1 to %u are handled", g->name,
			     n, VP_VCPU_MAX);
	for (size_t i = 0; r == VP_OK && i < n; i++) {
		struct json_object *cpu = json_object_array_get_idx(list, i);
		uint64_t index, tid;

		/* Indices with a hole are what unplugging leaves; the stub's threads follow them. */
		if (qmp_get_u64(cpu, "cpu-index", &index) < 0 || index != i ||
		    qmp_get_u64(cpu, "thread-id", &tid) < 0 || tid == 0 || tid > INT32_MAX)
			r = diag_set(diag, VP_E_UNSUPPORTED,
				     "%s, query-cpus-fast: vCPU %zu is not where it should be "
				     "(unplugged?)",
				     g->name, i);
		else
			*tid_ret = (pid_t)tid;
	}
	if (r == VP_OK)
		*n_ret = (unsigned)n;
	json_object_put(list);
	return r;
}

static int query_hva(struct gdb *g, uint64_t gpa, uint64_t deadline, struct diag *diag,
		     uint64_t *ret)
{
	char line[40], *text = NULL;
	int r;

	snprintf(line, sizeof(line), "gpa2hva 0x%llx", (unsigned long long)gpa);
	r = gdb_hmp(g, line, deadline, diag, &text);
	if (r < 0)
		return r;
	r = qemu_text_hva(text, ret);
	if (r < 0)
		diag_set(diag, VP_E_PROTO, "%s, %s: %.100s", g->name, line, text);
	free(text);
	return r < 0 ? VP_E_PROTO : VP_OK;
}

/* One stretch of RAM is one stretch of the process: asked at both ends. */
static int locate(struct gdb *g, const struct qemu_range *range, uint64_t deadline,
		  struct diag *diag)
{
	uint64_t first, last;
	int r = query_hva(g, range->start, deadline, diag, &first);

	if (r == VP_OK)
		r = query_hva(g, range->start + (range->len - 1), deadline, diag, &last);
	if (r < 0)
		return r;
	if (last < first || last - first != range->len - 1)
		return diag_set(diag, VP_E_PROTO,
				"%s: guest RAM at %#llx is not in one piece in QEMU's memory",
				g->name, (unsigned long long)range->start);
	g->ram[g->n_ram] = (struct vp_ram){vp_gpa(range->start), range->len};
	g->hva[g->n_ram++] = first;
	return VP_OK;
}

static int query_ram(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	struct qemu_range range[QEMU_RAM_MAX];
	char *text = NULL;
	size_t n = 0;
	int r = gdb_hmp(g, "info mtree -f -o", deadline, diag, &text);

	if (r < 0)
		return r;
	r = qemu_text_ram(text, range, QEMU_RAM_MAX, &n);
	free(text);
	if (r < 0)
		return diag_set(diag, r, "%s, info mtree: no list of guest RAM in the answer",
				g->name);
	for (size_t i = 0; r == VP_OK && i < n; i++)
		r = locate(g, &range[i], deadline, diag);
	return r;
}

/*
 * The process at the other end of the socket is the VM, unless somebody else made the socket and
 * handed it in (libvirt, socket activation): then it is the one that a vCPU's thread belongs to,
 * if that thread id means anything in our pid namespace. Which of them it is, its memory map says.
 */
static int find_process(struct gdb *g, pid_t vcpu_tid, struct diag *diag)
{
	struct qmp_error e = {0};
	pid_t candidate[2] = {0, 0};
	int r = VP_E_NO_DOMAIN;

	(void)!qmp_peer_pid(g->q, &e, &candidate[0]);
	(void)!vmm_thread_group(vcpu_tid, &candidate[1]);
	g->mem.ram = g->ram;
	g->mem.hva = g->hva;
	g->mem.n = g->n_ram;
	for (int i = 0; r < 0 && i < 2; i++) {
		g->mem.pid = candidate[i];
		if (candidate[i] <= 0 || vmm_start_time(candidate[i], &g->id.start_time) < 0)
			continue;
		r = vmm_mem_check(&g->mem, diag);
		if (r == VP_E_PERM)
			return diag_prefix(diag, "%s", g->name);
	}
	if (r < 0)
		return diag_set(
			diag, VP_E_UNSUPPORTED,
			"%s: no process here holds the guest's memory (peer %d, vCPU thread %d): "
			"run vpatch in QEMU's pid namespace",
			g->name, (int)candidate[0], (int)vcpu_tid);
	g->id.pid = g->mem.pid;
	return VP_OK;
}

/* Whether memory can be read at all is better known now than in a window. */
static int try_read(struct gdb *g, struct diag *diag)
{
	uint8_t byte;
	int r = vmm_mem_read(&g->mem, g->ram[0].start, &byte, 1);

	if (r == VP_E_PERM)
		return diag_set(
			diag, r,
			"%s: may not read the memory of process %d: run vpatch as root or with "
			"CAP_SYS_PTRACE",
			g->name, (int)g->id.pid);
	if (r < 0)
		return diag_set(diag, r, "%s: reading the memory of process %d: %s", g->name,
				(int)g->id.pid, vp_err_sentence(r));
	return VP_OK;
}

static int connect_to(struct gdb *g, const char *path, struct diag *diag)
{
	struct qmp_error e = {0};

	/* Absolute, because what the journal keeps must open from any directory. */
	if (!realpath(path, g->path))
		return diag_set(
			diag,
			errno == EACCES                       ? VP_E_PERM
			: errno == ENOENT || errno == ENOTDIR ? VP_E_NO_DOMAIN
							      : VP_E_IO,
			"%s: %s: %s: is the guest running, and was QEMU given this -qmp path?",
			g->name, path, strerror(errno));
	if (gdb_connect(g, clock_in(GREETING_NS), &e) < 0)
		return gdb_qmp_error(g, &e, "opening the monitor", diag);
	return VP_OK;
}

static int learn_all(struct gdb *g, struct diag *diag)
{
	uint64_t deadline = clock_in(GDB_CALL_NS);
	pid_t tid = 0;
	int r = query_arch(g, deadline, diag);

	if (r == VP_OK)
		r = query_accel(g, deadline, diag);
	if (r == VP_OK)
		r = query_uuid(g, deadline, diag);
	if (r == VP_OK)
		r = gdb_query_vcpus(g, deadline, diag, &g->vcpus, &tid);
	if (r == VP_OK)
		r = query_ram(g, deadline, diag);
	if (r == VP_OK)
		r = find_process(g, tid, diag);
	return r == VP_OK ? try_read(g, diag) : r;
}

int gdb_create(const char *name, const char *path, struct diag *diag, struct gdb **ret)
{
	struct gdb *g = calloc(1, sizeof(*g));
	void *shared = mmap(NULL, sizeof(*g->sh), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r;

	if (!g || shared == MAP_FAILED) {
		free(g);
		if (shared != MAP_FAILED)
			munmap(shared, sizeof(*g->sh));
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", name);
	}
	g->sh = shared;
	g->fd = -1;
	g->door = -1;
	g->guard_pipe = -1;
	snprintf(g->name, sizeof(g->name), "%s", name);
	r = connect_to(g, path, diag);
	if (r == VP_OK)
		r = learn_all(g, diag);
	if (r < 0) {
		gdb_destroy(g);
		return r;
	}
	*ret = g;
	return VP_OK;
}
