/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "guest-stub/arch.h"

/* Intel SDM vol. 2 */
#define NOP  0x90
#define INT3 0xcc
#define LEN  5

static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};
static const uint8_t nop5[LEN] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
/* What clang leaves. */
static const uint8_t nop5_off[LEN] = {0x0f, 0x1f, 0x44, 0x00, 0x08};

static bool is(const volatile uint8_t *text, const uint8_t *bytes, unsigned n)
{
	while (n > 0 && text[n - 1] == bytes[n - 1])
		n--;
	return n == 0;
}

/* Five nops are five places to be in; one nop is one. */
bool vpatch_arch_entry(uintptr_t at, bool literal, struct vp_site *ret)
{
	static const uint8_t nops[LEN] = {NOP, NOP, NOP, NOP, NOP};
	volatile uint8_t *text = (volatile uint8_t *)at;

	(void)literal;
	if (is(text, endbr64, sizeof(endbr64)))
		text += sizeof(endbr64);
	/* One with a name comes twice. */
	if (!is(text, nops, LEN) && !is(text, nop5, LEN) && !is(text, nop5_off, LEN))
		return false;
	for (unsigned i = 0; i < LEN; i++)
		text[i] = nop5[i];
	ret->at = vp_gva((uintptr_t)text);
	ret->sequence = VP_SEQ_X86_NOP5;
	ret->len = LEN;
	return true;
}

/* Caches are coherent; a CPU that runs what it wrote serialises: Intel SDM vol. 3A, 9.1.3. */
void vpatch_arch_sync(uintptr_t at, size_t len)
{
	uint32_t a = 0, b, c = 0, d;

	(void)at;
	(void)len;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

bool vpatch_arch_is_trap(uintptr_t pc)
{
	return __atomic_load_n((const uint8_t *)pc, __ATOMIC_ACQUIRE) == INT3;
}
