/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Live stores under TCG: a QEMU that was started with `-accel tcg,thread=multi` and `-qtest SOCKET`
 * (vm_start_qtest). A `write` there is made by QEMU's main thread while the vCPUs run, and throws the
 * translations of what it writes away. Everything else, holding the guest included, is driver gdb's.
 *
 *	store   write 0xGPA 0xLEN 0xBYTES    sent in their order by the next sync, read or close,
 *	store   write ...                    or when there are many
 *	sync    OK OK                        no vCPU enters what was translated before;
 *	        wait->all                    and each has left what it was in
 *
 * TCG has no instruction cache: it shows stores that are torn and code that is parked in, never a
 * missing fence.i or ISB.
 */
#ifndef VP_TESTS_LIB_QTEST_H
#define VP_TESTS_LIB_QTEST_H

#include "vmm-agent/target.h"

/* How it is known that every vCPU has left the code that it was in. */
struct qtest_wait {
	/* VP_E_DEADLINE when one of them did not; diag says which. */
	int (*all)(void *ctx, uint64_t deadline, struct diag *diag);
	void *ctx;
};

/*
 * name and qmp as drv_gdb_open; qtest is the path of the other socket. wait is copied; NULL: a vCPU's
 * thread has had 2 ms of a CPU since, or waits: many times what a translated block takes.
 */
int qtest_open(const char *name, const char *qmp, const char *qtest, const struct qtest_wait *wait,
	       struct diag *diag, struct vp_target **ret) VP_MUST_USE;

#endif
