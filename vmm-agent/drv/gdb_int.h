/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of driver gdb: one open QEMU. */
#ifndef VP_DRV_GDB_INT_H
#define VP_DRV_GDB_INT_H

#include <limits.h>

#include "qmp/qmp.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/driver.h"
#include "vmm-agent/drv/gdb_xml.h"
#include "vmm-agent/drv/qemu_text.h"
#include "vmm-agent/drv/rsp.h"
#include "vmm-agent/drv/vmm_mem.h"

#define GDB_LABEL   "vpatch-"              /* of every character device that we make */
#define GDB_CALL_NS (5 * CLOCK_NS_PER_SEC) /* a monitor command outside a window */
#define GDB_SURE_NS (2 * CLOCK_NS_PER_SEC) /* each step of letting a guest go */

/*
 * What the processes that share a target (the one that armed and its forks) must agree on,
 * whoever dies. In MAP_SHARED memory.
 */
struct gdb_shared {
	bool ready; /* QEMU's stub listens on our socket */
	bool calling; /* inside a monitor command: set after its caller died, the stream is mid-reply */
	bool armed;      /* until an orderly disarm or close: the guard goes by it */
	bool held;       /* from before the stub is called until the guest is known to run */
	bool leave;      /* an operator stopped it after it was armed, and wants it to stay so */
	unsigned serial; /* of the character device */
	/* learned at the first hold */
	bool learned;
	struct gdb_reg reg[ARCH_REG_MAX];
	uint32_t g_bytes;
};

struct gdb {
	struct qmp *q;
	char path[PATH_MAX]; /* of the QMP socket, absolute */
	char name[128];
	const struct arch_ops *arch;
	bool kvm;
	unsigned vcpus;
	struct vp_identity id;
	struct vp_ram ram[QEMU_RAM_MAX];
	uint64_t hva[QEMU_RAM_MAX];
	size_t n_ram;
	struct vmm_mem mem;
	struct gdb_shared *sh;
	/* the channel as this process has it */
	int door; /* O_PATH of the socket that the stub listens on, -1 */
	int fd;   /* the connection while the guest is held, -1 */
	struct rsp rsp;
	size_t packet_max; /* bytes of a request's payload that QEMU takes */
	/* armed */
	pid_t guard;
	int guard_pipe; /* its writing end, -1; every fork keeps it open as long as it lives */
	bool ran;       /* when armed: let it run at the end */
	bool run_again; /* the same for the present hold */
};

/* gdb_qmp.c: the monitor. All set diag. */
int gdb_qmp_error(const struct gdb *g, const struct qmp_error *e, const char *what,
		  struct diag *diag);
int gdb_connect(struct gdb *g, uint64_t deadline, struct qmp_error *e) VP_MUST_USE;
int gdb_call(struct gdb *g, const char *command, struct json_object *args, int fd,
	     uint64_t deadline, struct diag *diag, struct json_object **ret) VP_MUST_USE;
int gdb_hmp(struct gdb *g, const char *line, uint64_t deadline, struct diag *diag,
	    char **text_ret) VP_MUST_USE;
/* After somebody died in the middle of a call, or this one failed in it. */
int gdb_reconnect(struct gdb *g, uint64_t deadline, struct diag *diag) VP_MUST_USE;
/* Forgets the events that came so far. */
void gdb_events_forget(struct gdb *g);
/* Whether that event has come since, or comes before the deadline (0: do not wait). */
bool gdb_event_came(struct gdb *g, const char *event, uint64_t deadline);
int gdb_status(struct gdb *g, uint64_t deadline, char words[32], struct diag *diag) VP_MUST_USE;
int gdb_run_state(struct gdb *g, uint64_t deadline, enum vp_run_state *ret, char words[32],
		  struct diag *diag) VP_MUST_USE;

/* gdb_stub.c: the debug channel. */
/* Starts the stub on a socket of ours. The guest is not held by it. */
int gdb_stub_prepare(struct gdb *g, uint64_t deadline, struct diag *diag) VP_MUST_USE;
/*
 * Calls it, which holds the guest. *stopped_ret: it was running until then. VP_E_DISCONNECTED
 * before anything happened if nobody listens.
 */
int gdb_stub_call(struct gdb *g, uint64_t deadline, struct diag *diag,
		  bool *stopped_ret) VP_MUST_USE;
/* Takes stub and character devices away, ours and those of dead agents. *ran_ret (may be NULL):
 * a dead agent had found the guest running. Does not let the guest go. */
int gdb_stub_clear(struct gdb *g, uint64_t deadline, struct diag *diag, bool *ran_ret) VP_MUST_USE;
void gdb_stub_hang_up(struct gdb *g); /* the connection; does not let the guest go */
void gdb_stub_forget(struct gdb *g);  /* the way to the socket */
int gdb_stub_regs(struct gdb *g, unsigned vcpu, uint64_t deadline,
		  struct arch_regs *ret) VP_MUST_USE;
int gdb_stub_write(struct gdb *g, vp_gpa_t at, const uint8_t *buf, size_t len,
		   uint64_t deadline) VP_MUST_USE;

/* gdb_guard.c: the process that lets the guest go when every other one is dead, by calling let_go. */
int gdb_guard_start(struct gdb *g, void (*let_go)(struct gdb *g), struct diag *diag) VP_MUST_USE;
/* An orderly end: the guard goes without doing anything. Idle without a guard. */
void gdb_guard_stop(struct gdb *g);

#endif
