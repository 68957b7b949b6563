/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Bounded little-endian loads and stores on bytes that somebody else wrote. Nothing here
 * assumes alignment; byte-wise access is what makes the same code right on every guest.
 */
#ifndef VP_PROTOCOL_BYTES_H
#define VP_PROTOCOL_BYTES_H

#include "protocol/int.h"

/* True when [off, off + need) lies inside len bytes. Checked by subtraction: no sum can wrap. */
static inline bool vp_fits(uint64_t off, uint64_t need, uint64_t len)
{
	return off <= len && need <= len - off;
}

static inline uint16_t vp_ld16(const void *p)
{
	const uint8_t *b = (const uint8_t *)p;

	return (uint16_t)(b[0] | (uint16_t)(b[1] << 8));
}

static inline uint32_t vp_ld32(const void *p)
{
	const uint8_t *b = (const uint8_t *)p;

	return (uint32_t)vp_ld16(b) | ((uint32_t)vp_ld16(b + 2) << 16);
}

static inline uint64_t vp_ld64(const void *p)
{
	const uint8_t *b = (const uint8_t *)p;

	return (uint64_t)vp_ld32(b) | ((uint64_t)vp_ld32(b + 4) << 32);
}

static inline void vp_st16(void *p, uint16_t v)
{
	uint8_t *b = (uint8_t *)p;

	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}

static inline void vp_st32(void *p, uint32_t v)
{
	vp_st16(p, (uint16_t)v);
	vp_st16((uint8_t *)p + 2, (uint16_t)(v >> 16));
}

static inline void vp_st64(void *p, uint64_t v)
{
	vp_st32(p, (uint32_t)v);
	vp_st32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

/*
 * CRC-32C (Castagnoli, reflected polynomial 0x82f63b78; RFC 3720 appendix B.4) over len
 * bytes. Start with crc 0; feed the result back in to go on. Guards against damage, not malice.
 */
uint32_t vp_crc32c(uint32_t crc, const void *buf, size_t len);

#endif
