/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/qemu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm-agent/drv/rsp.h"

#define GREETING_NS (2 * CLOCK_NS_PER_SEC) /* a monitor that another client holds says nothing */

void qemu_destroy(struct qemu *m)
{
	if (!m)
		return;
	qmp_close(m->q);
	munmap(m->calling, sizeof(*m->calling));
	free(m);
}

static int query_arch(struct qemu *m, uint64_t deadline, struct diag *diag)
{
	struct json_object *reply = NULL;
	const char *name;
	int r = qemu_call(m, "query-target", NULL, -1, deadline, diag, &reply);

	if (r < 0)
		return r;
	name = qmp_get_str(reply, "arch");
	m->arch = name ? arch_by_name(name) : NULL;
	if (!m->arch)
		diag_set(diag, VP_E_UNSUPPORTED, "%s: guest architecture `%s` is not supported",
			 m->name, name ? name : "unknown");
	json_object_put(reply);
	return m->arch ? VP_OK : VP_E_UNSUPPORTED;
}

static int query_accel(struct qemu *m, uint64_t deadline, struct diag *diag)
{
	struct json_object *reply = NULL, *enabled = NULL;
	int r = qemu_call(m, "query-kvm", NULL, -1, deadline, diag, &reply);

	if (r < 0)
		return r;
	m->kvm = json_object_object_get_ex(reply, "enabled", &enabled) &&
		 json_object_get_boolean(enabled);
	json_object_put(reply);
	return VP_OK;
}

static int query_uuid(struct qemu *m, uint64_t deadline, struct diag *diag)
{
	struct json_object *reply = NULL;
	char digits[33];
	const char *uuid;
	unsigned n = 0;
	int r = qemu_call(m, "query-uuid", NULL, -1, deadline, diag, &reply);

	if (r < 0)
		return r;
	uuid = qmp_get_str(reply, "UUID");
	for (; uuid && *uuid && n < 32; uuid++)
		if (*uuid != '-')
			digits[n++] = *uuid;
	if (!uuid || *uuid || n != 32 || !rsp_unhex(digits, n, m->id.uuid, sizeof(m->id.uuid)))
		r = diag_set(diag, VP_E_PROTO, "%s, query-uuid: not a UUID", m->name);
	json_object_put(reply);
	return r;
}

/* How many vCPUs, and the host thread of each as far as there is room; the others' go nowhere. */
static int query_vcpus(struct qemu *m, uint64_t deadline, struct diag *diag, unsigned *n_ret,
		       pid_t *tid, unsigned room)
{
	struct json_object *list = NULL;
	int r = qemu_call(m, "query-cpus-fast", NULL, -1, deadline, diag, &list);
	size_t n;

	if (r < 0)
		return r;
	n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	if (n == 0 || n > VP_VCPU_MAX)
		r = diag_set(diag, VP_E_UNSUPPORTED, "%s: %zu vCPUs: 1 to %u are handled", m->name,
			     n, VP_VCPU_MAX);
	for (size_t i = 0; r == VP_OK && i < n; i++) {
		struct json_object *cpu = json_object_array_get_idx(list, i);
		uint64_t index, id;

		/* Indices with a hole are what unplugging leaves; the stub's threads follow them. */
		if (qmp_get_u64(cpu, "cpu-index", &index) < 0 || index != i ||
		    qmp_get_u64(cpu, "thread-id", &id) < 0 || id == 0 || id > INT32_MAX)
			r = diag_set(diag, VP_E_UNSUPPORTED,
				     "%s, query-cpus-fast: vCPU %zu is not where it should be "
				     "(unplugged?)",
				     m->name, i);
		else if (i < room)
			tid[i] = (pid_t)id;
	}
	if (r == VP_OK)
		*n_ret = (unsigned)n;
	json_object_put(list);
	return r;
}

int qemu_check_vcpus(struct qemu *m, uint64_t deadline, struct diag *diag, pid_t *tid)
{
	unsigned vcpus;
	int r = query_vcpus(m, deadline, diag, &vcpus, tid, tid ? m->vcpus : 0);

	if (r == VP_OK && vcpus != m->vcpus)
		return diag_set(diag, VP_E_GUEST_CHANGED,
				"%s: has %u vCPUs now and had %u: try again", m->name, vcpus,
				m->vcpus);
	return r;
}

int qemu_vcpus(struct qemu *m, struct vp_vcpu **ret, struct diag *diag)
{
	pid_t tid[VP_VCPU_MAX];
	int r = qemu_check_vcpus(m, clock_in(QEMU_CALL_NS), diag, tid);

	if (r < 0)
		return r;
	*ret = calloc(m->vcpus, sizeof(**ret));
	if (!*ret)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", m->name);
	for (unsigned i = 0; i < m->vcpus; i++)
		(*ret)[i] = (struct vp_vcpu){tid[i], vmm_thread_state(tid[i])};
	return VP_OK;
}

int qemu_slots(struct qemu *m, struct vp_slot **ret, size_t *n_ret, struct diag *diag)
{
	*ret = calloc(m->n_ram, sizeof(**ret));
	if (!*ret)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", m->name);
	for (size_t i = 0; i < m->n_ram; i++)
		(*ret)[i] = (struct vp_slot){.start = m->ram[i].start,
					     .len = m->ram[i].len,
					     .hva = m->hva[i],
					     .id = (uint32_t)i};
	*n_ret = m->n_ram;
	return VP_OK;
}

static int query_hva(struct qemu *m, uint64_t gpa, uint64_t deadline, struct diag *diag,
		     uint64_t *ret)
{
	char line[40], *text = NULL;
	int r;

	snprintf(line, sizeof(line), "gpa2hva 0x%llx", (unsigned long long)gpa);
	r = qemu_hmp(m, line, deadline, diag, &text);
	if (r < 0)
		return r;
	r = qemu_text_hva(text, ret);
	if (r < 0)
		diag_set(diag, VP_E_PROTO, "%s, %s: %.100s", m->name, line, text);
	free(text);
	return r < 0 ? VP_E_PROTO : VP_OK;
}

/* One stretch of RAM is one stretch of the process: asked at both ends. */
static int locate(struct qemu *m, const struct qemu_range *range, uint64_t deadline,
		  struct diag *diag)
{
	uint64_t first, last;
	int r = query_hva(m, range->start, deadline, diag, &first);

	if (r == VP_OK)
		r = query_hva(m, range->start + (range->len - 1), deadline, diag, &last);
	if (r < 0)
		return r;
	if (last < first || last - first != range->len - 1)
		return diag_set(diag, VP_E_PROTO,
				"%s: guest RAM at %#llx is not in one piece in QEMU's memory",
				m->name, (unsigned long long)range->start);
	m->ram[m->n_ram] = (struct vp_ram){vp_gpa(range->start), range->len};
	m->hva[m->n_ram++] = first;
	return VP_OK;
}

static int query_ram(struct qemu *m, uint64_t deadline, struct diag *diag)
{
	struct qemu_range range[QEMU_RAM_MAX];
	char *text = NULL;
	size_t n = 0;
	int r = qemu_hmp(m, "info mtree -f -o", deadline, diag, &text);

	if (r < 0)
		return r;
	r = qemu_text_ram(text, range, QEMU_RAM_MAX, &n);
	free(text);
	if (r < 0)
		return diag_set(diag, r, "%s, info mtree: no list of guest RAM in the answer",
				m->name);
	for (size_t i = 0; r == VP_OK && i < n; i++)
		r = locate(m, &range[i], deadline, diag);
	return r;
}

/*
 * The process at the other end of the socket is the VM, unless somebody else made the socket and
 * handed it in (libvirt, socket activation): then it is the one that a vCPU's thread belongs to,
 * if that thread id means anything in our pid namespace. Which of them it is, its memory map says.
 */
static int find_process(struct qemu *m, pid_t vcpu_tid, struct diag *diag)
{
	struct qmp_error e = {0};
	pid_t candidate[2] = {0, 0};
	int r = VP_E_NO_DOMAIN;

	(void)!qmp_peer_pid(m->q, &e, &candidate[0]);
	(void)!vmm_thread_group(vcpu_tid, &candidate[1]);
	m->mem.ram = m->ram;
	m->mem.hva = m->hva;
	m->mem.n = m->n_ram;
	for (int i = 0; r < 0 && i < 2; i++) {
		m->mem.pid = candidate[i];
		if (candidate[i] <= 0 || vmm_start_time(candidate[i], &m->id.start_time) < 0)
			continue;
		r = vmm_mem_check(&m->mem, diag);
		if (r == VP_E_PERM)
			return diag_prefix(diag, "%s", m->name);
	}
	if (r < 0)
		return diag_set(
			diag, VP_E_UNSUPPORTED,
			"%s: no process here holds the guest's memory (peer %d, vCPU thread %d): "
			"run vpatch in QEMU's pid namespace",
			m->name, (int)candidate[0], (int)vcpu_tid);
	m->id.pid = m->mem.pid;
	return VP_OK;
}

/* Whether memory can be read at all is better known now than in a window. */
static int try_read(struct qemu *m, struct diag *diag)
{
	uint8_t byte;
	int r = vmm_mem_read(&m->mem, m->ram[0].start, &byte, 1);

	if (r == VP_E_PERM)
		return diag_set(
			diag, r,
			"%s: may not read the memory of process %d: run vpatch as root or with "
			"CAP_SYS_PTRACE",
			m->name, (int)m->id.pid);
	if (r < 0)
		return diag_set(diag, r, "%s: reading the memory of process %d: %s", m->name,
				(int)m->id.pid, vp_err_sentence(r));
	return VP_OK;
}

static int connect_to(struct qemu *m, const char *path, struct diag *diag)
{
	struct qmp_error e = {0};

	/* Absolute, because what the journal keeps must open from any directory. */
	if (!realpath(path, m->path))
		return diag_set(
			diag,
			errno == EACCES                       ? VP_E_PERM
			: errno == ENOENT || errno == ENOTDIR ? VP_E_NO_DOMAIN
							      : VP_E_IO,
			"%s: %s: %s: is the guest running, and was QEMU given this -qmp path?",
			m->name, path, strerror(errno));
	if (qemu_connect(m, clock_in(GREETING_NS), &e) < 0)
		return qemu_error(m, &e, "opening the monitor", diag);
	return VP_OK;
}

static int learn_all(struct qemu *m, struct diag *diag)
{
	uint64_t deadline = clock_in(QEMU_CALL_NS);
	pid_t tid = 0;
	int r = query_arch(m, deadline, diag);

	if (r == VP_OK)
		r = query_accel(m, deadline, diag);
	if (r == VP_OK)
		r = query_uuid(m, deadline, diag);
	if (r == VP_OK)
		r = query_vcpus(m, deadline, diag, &m->vcpus, &tid, 1);
	if (r == VP_OK)
		r = query_ram(m, deadline, diag);
	if (r == VP_OK)
		r = find_process(m, tid, diag);
	return r == VP_OK ? try_read(m, diag) : r;
}

struct qemu *qemu_none(const char *name, struct diag *diag)
{
	struct qemu *m = calloc(1, sizeof(*m));
	void *shared = mmap(NULL, sizeof(*m->calling), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (!m || shared == MAP_FAILED) {
		free(m);
		if (shared != MAP_FAILED)
			munmap(shared, sizeof(*m->calling));
		(void)diag_set(diag, VP_E_NOMEM, "%s: no memory", name);
		return NULL;
	}
	m->calling = shared;
	snprintf(m->name, sizeof(m->name), "%s", name);
	return m;
}

int qemu_create(const char *name, const char *path, struct diag *diag, struct qemu **ret)
{
	struct qemu *m = qemu_none(name, diag);
	int r;

	if (!m)
		return VP_E_NOMEM;
	r = connect_to(m, path, diag);
	if (r == VP_OK)
		r = learn_all(m, diag);
	if (r < 0) {
		qemu_destroy(m);
		return r;
	}
	*ret = m;
	return VP_OK;
}
