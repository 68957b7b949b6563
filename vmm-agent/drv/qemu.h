/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A QEMU known by its QMP socket: its monitor, and what the monitor tells about the VM. */
#ifndef VP_DRV_QEMU_H
#define VP_DRV_QEMU_H

#include <limits.h>

#include "qmp/qmp.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/qemu_text.h"
#include "vmm-agent/drv/vmm_mem.h"

#define QEMU_CALL_NS (5 * CLOCK_NS_PER_SEC) /* a monitor command outside a window */

struct qemu {
	struct qmp *q;       /* NULL: connected anew when it is needed */
	char path[PATH_MAX]; /* of the QMP socket, absolute */
	char name[128];      /* as typed, for words */
	/*
	 * Inside a monitor command: set after its caller died, the stream is mid-reply. In MAP_SHARED
	 * memory, for the processes that share the connection.
	 */
	bool *calling;
	const struct arch_ops *arch;
	bool kvm;
	unsigned vcpus;
	struct vp_identity id;
	struct vp_ram ram[QEMU_RAM_MAX];
	uint64_t hva[QEMU_RAM_MAX];
	size_t n_ram;
	struct vmm_mem mem;
};

/*
 * Connects and learns what struct qemu holds; neither pauses nor changes anything. name is for
 * words. VP_E_NO_DOMAIN (nobody listens), VP_E_NOT_QMP, VP_E_MONITOR_BUSY, VP_E_PERM (the socket,
 * or the process's memory), VP_E_UNSUPPORTED (architecture, another pid namespace).
 */
int qemu_create(const char *name, const char *path, struct diag *diag,
		struct qemu **ret) VP_MUST_USE;
/* One without a monitor: path stays empty, and whoever asked fills in the rest. */
struct qemu *qemu_none(const char *name, struct diag *diag);
void qemu_destroy(struct qemu *m); /* NULL is fine */

int qemu_error(const struct qemu *m, const struct qmp_error *e, const char *what,
	       struct diag *diag);
int qemu_connect(struct qemu *m, uint64_t deadline, struct qmp_error *e) VP_MUST_USE;

/* All that follow set diag. */
int qemu_call(struct qemu *m, const char *command, struct json_object *args, int fd,
	      uint64_t deadline, struct diag *diag, struct json_object **ret) VP_MUST_USE;
int qemu_hmp(struct qemu *m, const char *line, uint64_t deadline, struct diag *diag,
	     char **text_ret) VP_MUST_USE;
/* After somebody died in the middle of a call, or this one failed in it. */
int qemu_reconnect(struct qemu *m, uint64_t deadline, struct diag *diag) VP_MUST_USE;
/* Forgets the events that came so far. */
void qemu_events_forget(struct qemu *m);
/* Whether that event has come since, or comes before the deadline (0: do not wait). */
bool qemu_event_came(struct qemu *m, const char *event, uint64_t deadline);
int qemu_status(struct qemu *m, uint64_t deadline, char words[32], struct diag *diag) VP_MUST_USE;
int qemu_run_state(struct qemu *m, uint64_t deadline, enum vp_run_state *ret, char words[32],
		   struct diag *diag) VP_MUST_USE;
/* VP_OK for a guest that runs or that its operator has paused, else the reason why it is left
 * alone. */
int qemu_check_state(struct qemu *m, uint64_t deadline, struct diag *diag, bool *runs) VP_MUST_USE;
/* Refuses another number of vCPUs than there were. tid (may be NULL; m->vcpus of them) gets the
 * host thread of each. */
int qemu_check_vcpus(struct qemu *m, uint64_t deadline, struct diag *diag, pid_t *tid) VP_MUST_USE;
/* As vp_slots and vp_vcpus: RAM as the monitor lists it, threads as it names them. */
int qemu_slots(struct qemu *m, struct vp_slot **ret, size_t *n_ret, struct diag *diag) VP_MUST_USE;
int qemu_vcpus(struct qemu *m, struct vp_vcpu **ret, struct diag *diag) VP_MUST_USE;
/* Registers of one vCPU by `info registers -a`: x86 only, and what the text has of them. */
int qemu_regs(struct qemu *m, unsigned vcpu, struct arch_regs *ret, struct diag *diag) VP_MUST_USE;

#endif
