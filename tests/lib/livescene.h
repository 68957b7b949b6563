/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hand-made transactions that the fake guest gets while it runs, by every discipline. Ahead of every
 * driver call of whoever makes it the guest's memory has to be something that CPUs run right: text of the
 * program, a trap with its record, a redirected site with its payload and its literal. What was not is in
 * plot->bad, which live_check_right looks at.
 */
#ifndef VP_TESTS_LIB_LIVESCENE_H
#define VP_TESTS_LIB_LIVESCENE_H

#include "tests/lib/fake.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/engine.h"
#include "vmm-agent/engine/live.h"

#define RAM     0x100000u
#define TEXT    UINT64_C(0x40000000)
#define AREA    0x10000u
#define OTHER   0x20000u /* a record that is replaced */
#define RECORDS 0x8000u
#define SITES   3
#define LONG    (30 * CLOCK_NS_PER_SEC)

struct live_kind {
	const char *name;
	enum arch_id arch;
	enum vp_discipline d;
	unsigned records; /* fewer than sites: in batches */
	unsigned skew;    /* of the sites: across a page for those that may */
	unsigned steps;   /* of the program, so that a change of it is noticed here */
};

/* In MAP_SHARED memory: the hook runs in other processes too. */
struct live_plot {
	pid_t who; /* whose calls count; 0: everybody's but the test's */
	uint64_t seen, die_at, sleep_at, sleep_ns;
	char bad[256];
};

struct live_scene {
	const struct live_kind *k;
	struct fake *f;
	struct vp_target *t;
	struct eng_txn *apply, *revert, *txn; /* txn: the one under way */
	struct eng_view view;
	struct live_plot *plot;
	pid_t test;
	char dir[64];
	struct diag diag;
	struct eng_report report;
};

extern const uint32_t live_site_off[SITES], live_lit_off[SITES];
#define LIVE_KINDS 7
extern const struct live_kind live_kinds[LIVE_KINDS];

struct live_scene *live_scene(const struct live_kind *k);
void live_scene_end(struct live_scene *s);
/* To before a change, applied or not, which the next one then is to take back or to make. */
void live_again(struct live_scene *s, bool revert);
struct eng_txn *live_txn(struct live_scene *s, enum eng_op op);
uint8_t *live_mem(struct live_scene *s, uint64_t off);
void live_hook(struct fake *f, enum fake_op op, uint64_t nth, void *ctx);

int live_run(struct live_scene *s, uint64_t time_ns);
int live_recover(struct live_scene *s, enum eng_outcome *ret);
bool live_journal_open(struct live_scene *s);

/* Nothing that happened since the last time was wrong for a CPU of the guest. */
void live_check_right(struct live_scene *s);
bool live_is_new(struct live_scene *s);
bool live_is_old(struct live_scene *s);
void live_ends_whole(struct live_scene *s, enum eng_outcome outcome);

#define EACH(s, revert)                                                     \
	for (size_t k_ = 0; k_ < LIVE_KINDS; k_++)                          \
		for (struct live_scene *s = live_scene(&live_kinds[k_]); s; \
		     live_scene_end(s), s = NULL)                           \
			for (int revert = 0; revert < 2; revert++)

#endif
