/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Journals: the bytes as they are, and once more with length and checksum of the first record made
 * right, so that the transaction behind them is reached. What is accepted must say the same
 * when it is written again.
 * VP_PLANT_JOURNAL takes one bounds check out (vmm-agent/engine/txn.c).
 * covers: vmm-agent/engine/txn.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/engine/journal.h"

#define HEAD 16u /* of the file and of a record */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *buf, size_t len)
{
	struct eng_txn *txn = NULL, *again = NULL;
	uint8_t *out;
	size_t n;

	if (eng_journal_parse(buf, len, NULL, &txn) < 0 || !txn)
		return;
	if (eng_txn_encode(txn, &out, &n) < 0 ||
	    eng_txn_decode(eng_txn_version(txn), out, n, &again) < 0)
		abort();
	free(out);
	eng_txn_destroy(again);
	eng_txn_destroy(txn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);
	uint32_t len;

	memcpy(copy, data, size);
	check(copy, size);
	if (size > 2 * HEAD) {
		uint8_t *rec = copy + HEAD;

		len = vp_ld32(rec + 8);
		if (len > size - 2 * HEAD) {
			len = (uint32_t)(size - 2 * HEAD) & ~7u;
			vp_st32(rec + 8, len);
		}
		vp_st32(rec + 12, vp_crc32c(vp_crc32c(0, rec + 4, 8), rec + HEAD, len));
		check(copy, size);
	}
	free(copy);
	return 0;
}
