/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "protocol/bytes.h"

uint32_t vp_crc32c(uint32_t crc, const void *buf, size_t len)
{
	const uint8_t *p = (const uint8_t *)buf;

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
	}
	return ~crc;
}
