/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of driver gdb: one open QEMU. */
#ifndef VP_DRV_GDB_INT_H
#define VP_DRV_GDB_INT_H

#include "vmm-agent/driver.h"
#include "vmm-agent/drv/gdb_xml.h"
#include "vmm-agent/drv/qemu.h"
#include "vmm-agent/drv/rsp.h"

#define GDB_LABEL   "vpatch-"              /* of every character device that we make */
#define GDB_SURE_NS (2 * CLOCK_NS_PER_SEC) /* each step of letting a guest go */

/*
 * What the processes that share a target (the one that armed and its forks) must agree on,
 * whoever dies. In MAP_SHARED memory.
 */
struct gdb_shared {
	bool ready;          /* QEMU's stub listens on our socket */
	bool armed;          /* until an orderly disarm or close: the guard goes by it */
	bool held;           /* from before the stub is called until the guest is known to run */
	uint64_t held_until; /* CLOCK_MONOTONIC ns: later than that nobody who is alive holds it */
	bool leave;      /* an operator stopped it after it was armed, and wants it to stay so */
	unsigned serial; /* of the character device */
	/* learned at the first hold */
	bool learned;
	struct gdb_reg reg[ARCH_REG_MAX];
	uint32_t g_bytes;
};

struct gdb {
	struct qemu *m;
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

/* gdb_write.c: writing, many requests under way at once. */
int gdb_write(struct gdb *g, vp_gpa_t at, const void *buf, size_t len) VP_MUST_USE;
/* n pieces in their order; neighbours that lie in one page go as one. */
int gdb_write_all(struct gdb *g, const struct vp_io *io, size_t n) VP_MUST_USE;

/* gdb_guard.c: the process that lets the guest go when every other one is dead, by calling let_go. */
int gdb_guard_start(struct gdb *g, void (*let_go)(struct gdb *g), struct diag *diag) VP_MUST_USE;
/* An orderly end: the guard goes without doing anything. Idle without a guard. */
void gdb_guard_stop(struct gdb *g);

#endif
