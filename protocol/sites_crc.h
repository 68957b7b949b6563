/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* The site table's checksum, for its reader and its writer; size is one that the caller checked. */
#ifndef VP_PROTOCOL_SITES_CRC_H
#define VP_PROTOCOL_SITES_CRC_H

#include "protocol/bytes.h"
#include "protocol/sites_abi.h"

/* All but the checksum itself and the two generations: these change without it (docs/abi.md). */
static inline uint32_t vp_sites_crc(const uint8_t *buf, uint32_t size)
{
	uint32_t crc = vp_crc32c(0, buf, VP_SITES_OFF_GENERATION);

	crc = vp_crc32c(crc, buf + VP_SITES_OFF_VERSION, VP_SITES_OFF_CRC - VP_SITES_OFF_VERSION);
	return vp_crc32c(crc, buf + VP_SITES_OFF_FLAGS, size - VP_SITES_TAIL - VP_SITES_OFF_FLAGS);
}

#endif
