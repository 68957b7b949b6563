/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ledger records: the bytes as they are, and once more with the checksum made right, so that what
 * lies behind it is reached. What is accepted must be all inside the bytes.
 * VP_PLANT_LEDGER takes one bounds check out (protocol/ledger.c).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "protocol/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *buf, size_t len)
{
	struct vp_ledger l;
	volatile unsigned sum = 0; /* so that the bytes are read */

	if (len < VP_LEDGER_HEAD || vp_ledger_decode(buf, len, vp_gva(vp_ld64(buf + 16)), &l) < 0)
		return;
	for (uint32_t i = 0; i < l.n_edits; i++) {
		struct vp_edit e;

		vp_ledger_edit(&l, i, &e);
		if (e.len > VP_EDIT_MAX)
			abort();
	}
	for (uint32_t i = 0; i < l.text_len; i++)
		sum += (unsigned char)l.text[i];
	for (uint32_t i = 0; i < l.payload_len; i++)
		sum += buf[l.payload_off + i];
	(void)sum;
	if (strlen(l.name) >= VP_LEDGER_NAME || strlen(l.version) >= VP_LEDGER_VERSION_LEN)
		abort();
}

static void fix_crc(uint8_t *buf, size_t len)
{
	static const uint8_t none[8];
	uint32_t size = vp_ld32(buf + 12), crc;

	if (size < VP_LEDGER_HEAD || size > len)
		return;
	crc = vp_crc32c(0, buf, 24);
	crc = vp_crc32c(crc, none, 4);
	crc = vp_crc32c(crc, buf + 28, VP_LEDGER_STATE_OFF - 28);
	crc = vp_crc32c(crc, none, 8);
	vp_st32(buf + 24, vp_crc32c(crc, buf + 40, size - 40));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	memcpy(copy, data, size);
	check(copy, size);
	if (size >= VP_LEDGER_HEAD) {
		fix_crc(copy, size);
		check(copy, size);
	}
	free(copy);
	return 0;
}
