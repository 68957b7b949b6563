/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host's cache maintenance: code that is stored, run, changed and run again. Plain C with an
 * exit code, so that tests/rows/host.sh can build it static for other architectures, too.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm-agent/host/host.h"

#define ROUNDS 2000

#if defined(__x86_64__)
/* mov $imm32, %eax (Intel SDM vol. 2, MOV, B8+rd id); ret (C3) */
static void put_code(uint8_t *at, uint16_t value)
{
	const uint8_t code[] = {0xb8, (uint8_t)value, (uint8_t)(value >> 8), 0, 0, 0xc3};

	memcpy(at, code, sizeof(code));
}
#elif defined(__aarch64__)
/* movz w0, #imm16 (Arm ARM C6.2, MOVZ, imm16 in [20:5]); ret (C6.2, RET) */
static void put_code(uint8_t *at, uint16_t value)
{
	const uint32_t code[] = {0x52800000u | (uint32_t)value << 5, 0xd65f03c0u};

	memcpy(at, code, sizeof(code));
}
#elif defined(__riscv)
/* addi a0, zero, imm12 (RV unpriv. 2.4, imm in [31:20]); jalr zero, 0(ra) (2.5) */
static void put_code(uint8_t *at, uint16_t value)
{
	const uint32_t code[] = {(uint32_t)(value & 0x7ff) << 20 | 0x513u, 0x00008067u};

	memcpy(at, code, sizeof(code));
}
#endif

static int run(const uint8_t *at)
{
	int (*fn)(void);

	memcpy(&fn, &at, sizeof(fn));
	return fn();
}

static int failed(const char *what)
{
	printf("not ok: %s\n", what);
	return 1;
}

static uint8_t *code;
static uint32_t shown, seen; /* round that the code is of; round that the other thread ran */
static int wrong;

/* Runs every round's code after it is told of it. */
static void *runner(void *arg)
{
	uint32_t last = 0;

	(void)arg;
	while (last < ROUNDS) {
		uint32_t now = __atomic_load_n(&shown, __ATOMIC_ACQUIRE);

		if (now == last)
			continue;
		last = now;
		if (run(code) != (int)(now & 0x7ff))
			__atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&seen, now, __ATOMIC_RELEASE);
	}
	return NULL;
}

static int test_same_thread(void)
{
	for (uint16_t i = 0; i < ROUNDS; i++) {
		/* across a cache line, where that is possible */
		uint8_t *at = code + (i % 16) * 4;

		put_code(at, i & 0x7ff);
		host_code_changed(at, 8);
		if (run(at) != (i & 0x7ff))
			return failed("changed code runs as it was before");
	}
	return 0;
}

static int test_other_thread(int sync)
{
	pthread_t t;

	if (pthread_create(&t, NULL, runner, NULL) != 0)
		return failed("no thread");
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		put_code(code, i & 0x7ff);
		host_code_changed(code, 8);
		if (sync && host_sync_cores() != VP_OK)
			return failed("host_sync_cores");
		__atomic_store_n(&shown, i, __ATOMIC_RELEASE);
		while (__atomic_load_n(&seen, __ATOMIC_ACQUIRE) != i)
			;
	}
	pthread_join(t, NULL);
	return wrong ? failed("another thread ran the old code") : 0;
}

int main(void)
{
	int bad = 0, sync;

	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (code == MAP_FAILED)
		return failed("no memory that is writable and executable");
	/* A kernel or emulator may be without it; then the driver refuses. */
	sync = host_sync_prepare() == VP_OK && host_sync_cores() == VP_OK;
	bad |= test_same_thread();
	bad |= test_other_thread(sync);
	printf("%s: %d changes, %s\n", host_arch_name(), 2 * ROUNDS,
	       sync ? "every core synchronised" : "this kernel synchronises no other core");
	return bad;
}
