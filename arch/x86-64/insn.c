// SPDX-License-Identifier: LGPL-2.1-or-later
/* What vpatch writes into x86-64 text, and what it finds at a function's entry. */
#include <string.h>

#include "arch/x86-64/x86-64.h"
#include "protocol/bytes.h"

#define REL32_LEN 5 /* opcode and rel32 */

#define OP_INT3 0xcc /* INT3; Intel SDM vol. 2, INT n */
#define OP_CALL 0xe8 /* CALL rel32 */
#define OP_JMP  0xe9 /* JMP rel32 */

/* Intel SDM vol. 2, NOP, table 4-12: the recommended multi-byte sequences, one instruction each. */
static const uint8_t nops[9][9] = {
	{0x90},
	{0x66, 0x90},
	{0x0f, 0x1f, 0x00},
	{0x0f, 0x1f, 0x40, 0x00},
	{0x0f, 0x1f, 0x44, 0x00, 0x00},
	{0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
	{0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
	{0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
	{0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
};

static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa}; /* Intel SDM vol. 2, ENDBR64 */

int x86_64_nop(uint8_t *buf, unsigned len)
{
	if (len < 1 || len > 9)
		return VP_E_RANGE;
	memcpy(buf, nops[len - 1], len);
	return VP_OK;
}

static int rel32(uint8_t *buf, uint8_t op, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	uint64_t rel = to.v - (at.v + REL32_LEN);

	if (rel + 0x80000000ull > 0xffffffffull) /* outside -2^31 to 2^31 - 1 */
		return VP_E_REACH;
	buf[0] = op;
	vp_st32(buf + 1, (uint32_t)rel);
	*len_ret = REL32_LEN;
	return VP_OK;
}

int x86_64_branch(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return rel32(buf, OP_JMP, at, to, len_ret);
}

int x86_64_call(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	return rel32(buf, OP_CALL, at, to, len_ret);
}

int x86_64_trap(uint8_t *buf, unsigned *len_ret)
{
	buf[0] = OP_INT3;
	*len_ret = 1;
	return VP_OK;
}

/*
 * Only ever a direct jump. Kernel, modules and arena share the top 2 GiB, and an indirect jump
 * would be one more branch for Spectre v2 to train, which the code replaced does not have.
 */
int x86_64_veneer(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret)
{
	if (len < REL32_LEN)
		return VP_E_RANGE;
	return rel32(buf, OP_JMP, at, to, len_ret);
}

int x86_64_entry(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret)
{
	size_t off = 0;

	(void)func;
	if (len >= sizeof(endbr64) && !memcmp(buf, endbr64, sizeof(endbr64)))
		off = sizeof(endbr64);
	if (!vp_fits(off, REL32_LEN, len))
		return VP_E_RANGE;
	if (buf[off] == OP_CALL || buf[off] == OP_JMP || buf[off] == OP_INT3)
		return VP_E_SITE_TRACED;
	if (memcmp(buf + off, nops[REL32_LEN - 1], REL32_LEN) != 0)
		return VP_E_NO_SITE;
	*ret = (struct arch_entry){
		.site_off = (unsigned)off,
		.site_len = REL32_LEN,
		.tracer_off = (unsigned)off,
		.tracer_len = REL32_LEN,
		.shared = true,
		.tracer_idle = true,
	};
	return VP_OK;
}
