/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An in-memory guest behind the seam, for tests. It keeps everything in MAP_SHARED memory, so
 * what a forked holder does is seen by its parent, and it behaves as the worst real driver does:
 * a guest whose holder died stays held unless VP_CAP_DEATH_FREES is set.
 *
 *   struct fake *f = fake_create(arch_get(ARCH_ARM64), 2);
 *   fake_ram_add(f, vp_gpa(0x40000000), 1 << 20);
 *   fake_fail(f, 3, VP_E_IO, false);          the third driver call from here on fails, once
 *   fake_open(f, &diag, &target);
 *   ...
 *   assert_true(fake_runs(f)); assert_string_equal(fake_violation(f), "");
 *   vp_target_close(target); fake_destroy(f);
 */
#ifndef VP_TESTS_LIB_FAKE_H
#define VP_TESTS_LIB_FAKE_H

#include "vmm-agent/target.h"

#define FAKE_RAM_MAX  8
#define FAKE_VCPU_MAX 64
#define FAKE_LOG_MAX  8192

enum fake_op {
	FAKE_RAM,
	FAKE_RUN_STATE,
	FAKE_READ,
	FAKE_FIND_PAGES,
	FAKE_PEEK_REGS,
	FAKE_ARM,
	FAKE_DISARM,
	FAKE_PAUSE,
	FAKE_TAKEOVER,
	FAKE_REGS,
	FAKE_WRITE,
	FAKE_SYNC,
	FAKE_RESUME,
	FAKE_LIVE_BEGIN,
	FAKE_LIVE_STORE,
	FAKE_LIVE_SYNC,
	FAKE_LIVE_END,
	FAKE_CLOSE,
	FAKE_OPS,
};

/* One driver call. Reads are counted but logged only when fake_log_reads was asked for: there
 * are thousands of them. */
struct fake_event {
	enum fake_op op;
	pid_t pid;
	uint64_t at;  /* gpa of read, write and store, vCPU of regs, vp_after of arm, arch_sync of
			    * live_sync */
	uint64_t len; /* of read, write and store */
	uint8_t bytes[16]; /* the first ones of a write or a store */
	int result;
};

struct fake;

struct fake *fake_create(const struct arch_ops *arch, unsigned vcpus);
void fake_destroy(struct fake *f);

/* A new target on the same guest; several may be open, in several processes. */
int fake_open(struct fake *f, struct diag *diag, struct vp_target **ret) VP_MUST_USE;

/* Before the first fake_open. Zeroed memory; ranges must ascend. */
void fake_ram_add(struct fake *f, vp_gpa_t start, uint64_t len);
void fake_name(struct fake *f, const char *name, const char *locator);
void fake_identity(struct fake *f, const struct vp_identity *id);
/* Default VP_CAP_REGS_LIVE|VP_CAP_WRITE_DIRTY; live stores are there for VP_CAP_STORE_LIVE. */
void fake_caps(struct fake *f, uint32_t caps);
void fake_find_pages(struct fake *f, bool driver); /* default: target.c reads page by page */

/* At any time. */
void *fake_mem(struct fake *f, vp_gpa_t at, uint64_t len); /* NULL outside one RAM range */
struct arch_regs *fake_regs(struct fake *f, unsigned vcpu);
void fake_state(struct fake *f, enum vp_run_state state, const char *words);
void fake_log_reads(struct fake *f, bool on);

/*
 * The nth driver call from now (1: the next) fails with err, and every later one too if for_good.
 * Calls that give nothing back (disarm, live_end, close) count but cannot fail. A failing write leaves
 * half of the bytes written; a failing resume leaves the guest held and gives VP_E_PAUSED unless err
 * is VP_E_DISCONNECTED. A live store of an aligned word that fails once has been made all the same, as
 * when only the answer was lost; one that fails for good has not; any other leaves half of its bytes.
 * nth 0 takes the order back.
 */
void fake_fail(struct fake *f, uint64_t nth, int err, bool for_good);
/* The same, counting only calls of one kind. */
void fake_fail_op(struct fake *f, enum fake_op op, uint64_t nth, int err, bool for_good);

/*
 * Called ahead of every driver call, in the process that makes it; nth counts from the start of
 * the guest (1: the first). May change memory, sleep past a deadline, or end its process.
 */
typedef void (*fake_hook_fn)(struct fake *f, enum fake_op op, uint64_t nth, void *ctx);
void fake_hook(struct fake *f, fake_hook_fn fn, void *ctx);

uint64_t fake_calls(const struct fake *f); /* driver calls so far, all processes */
uint64_t fake_op_calls(const struct fake *f, enum fake_op op);
const char *fake_op_name(enum fake_op op);

/* Events in order; NULL behind the last one kept. */
const struct fake_event *fake_event(const struct fake *f, size_t i);

/* Whether the guest's vCPUs run: its state says so and nobody living holds it. */
bool fake_runs(const struct fake *f);
bool fake_held(const struct fake *f);
bool fake_armed(const struct fake *f);
/* Open for live stores, by somebody who lives. */
bool fake_lives(const struct fake *f);

/* What the caller did that no caller of the seam may do; empty when nothing. */
const char *fake_violation(const struct fake *f);

#endif
