/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Symbol tables: u16 number of symbols, u16 length of the tokens, u16 low bits of _stext, the token
 * index (512 bytes), tokens, offsets, then names to the end.
 * VP_PLANT_KALLSYMS lets a name run over the end of its table (vmm-agent/guest/kallsyms.c).
 */
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/guest/kallsyms.h"

#define HEAD  6u
#define INDEX (KALLSYMS_TOKENS * 2)
#define BASE  0xffffffff81000000ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct kallsyms *ks)
{
	for (size_t i = 0; i < ks->n; i++) {
		const char *name = kallsyms_name(ks, i);
		size_t at = kallsyms_at(ks, ks->addr[i]);
		size_t found = kallsyms_find(ks, name, ks->n);
		uint64_t end = kallsyms_end(ks, i);

		if (!kallsyms_type(ks, i) || !*name || strlen(name) > 511 || at > i ||
		    ks->addr[at] != ks->addr[i] || (end && end <= ks->addr[i]))
			abort();
		while (found < ks->n && found != i)
			found = kallsyms_find(ks, name, found);
		if (found != i)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kallsyms_raw raw = {.base = BASE};
	struct kallsyms ks;
	uint8_t *names;
	uint64_t stext;

	if (size < HEAD + INDEX)
		return 0;
	raw.n = vp_ld16(data);
	raw.tokens_len = vp_ld16(data + 2);
	stext = BASE + vp_ld16(data + 4);
	raw.index = data + HEAD;
	raw.tokens = raw.index + INDEX;
	size -= HEAD + INDEX;
	if (!vp_fits(raw.tokens_len, raw.n * 4ull, size))
		return 0;
	raw.offsets = raw.tokens + raw.tokens_len;
	raw.names_len = size - raw.tokens_len - raw.n * 4ull;
	names = malloc(raw.names_len ? raw.names_len : 1);
	if (!names)
		return 0;
	memcpy(names, raw.offsets + raw.n * 4ull, raw.names_len);
	raw.names = names;
	if (kallsyms_decode(&raw, stext, &ks) == VP_OK) {
		check(&ks);
		kallsyms_deinit(&ks);
	}
	free(names);
	return 0;
}
