/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <string.h>

#include "vmm-agent/host/host.h"

/*
 * A naturally aligned access of up to 8 bytes is made at once: Intel SDM vol. 3A, "Guaranteed Atomic
 * Operations"; Arm ARM B2.2, "Atomicity in the Arm architecture"; RISC-V unprivileged ISA, "RVWMO Memory
 * Consistency Model". Release keeps stores in their order: x86 by itself (SDM vol. 3A, "Memory Ordering"),
 * arm64 by STLR, RISC-V by fence rw, w.
 */

/* The largest power of two up to 8 that the address and the length allow. */
static size_t unit_at(const void *at, size_t len)
{
	size_t unit = 8;

	while (unit > 1 && ((uintptr_t)at % unit || len < unit))
		unit /= 2;
	return unit;
}

void host_load(void *to, const void *from, size_t len)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	while (len > 0) {
		size_t unit = unit_at(f, len);
		uint64_t v;

		switch (unit) {
		case 8:
			v = __atomic_load_n((const uint64_t *)(const void *)f, __ATOMIC_RELAXED);
			break;
		case 4:
			v = __atomic_load_n((const uint32_t *)(const void *)f, __ATOMIC_RELAXED);
			break;
		case 2:
			v = __atomic_load_n((const uint16_t *)(const void *)f, __ATOMIC_RELAXED);
			break;
		default:
			v = __atomic_load_n(f, __ATOMIC_RELAXED);
			break;
		}
		memcpy(t, &v, unit); /* hosts are little-endian */
		t += unit;
		f += unit;
		len -= unit;
	}
}

void host_store(void *to, const void *from, size_t len)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	while (len > 0) {
		size_t unit = unit_at(t, len);
		uint64_t v = 0;

		memcpy(&v, f, unit);
		switch (unit) {
		case 8:
			__atomic_store_n((uint64_t *)(void *)t, v, __ATOMIC_RELEASE);
			break;
		case 4:
			__atomic_store_n((uint32_t *)(void *)t, (uint32_t)v, __ATOMIC_RELEASE);
			break;
		case 2:
			__atomic_store_n((uint16_t *)(void *)t, (uint16_t)v, __ATOMIC_RELEASE);
			break;
		default:
			__atomic_store_n(t, (uint8_t)v, __ATOMIC_RELEASE);
			break;
		}
		t += unit;
		f += unit;
		len -= unit;
	}
}
