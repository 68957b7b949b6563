/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A page that pretends to be VMCOREINFO, whole and cut short.
 * VP_PLANT_VMCOREINFO takes the length check of the release out (vmm-agent/guest/vmcoreinfo.c).
 */
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/guest/vmcoreinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len = size < VMCOREINFO_PAGE ? size : VMCOREINFO_PAGE;
	uint8_t *page = calloc(1, VMCOREINFO_PAGE);
	uint8_t *tight = malloc(len + 1); /* so that one byte too far is seen */
	struct vmcoreinfo v;

	if (page && tight) {
		memcpy(page, data, len);
		memcpy(tight, data, len);
		if (vmcoreinfo_parse(page, VMCOREINFO_PAGE, &v) == VP_OK &&
		    (strlen(v.release) >= sizeof(v.release) || v.build_id_len > sizeof(v.build_id)))
			abort();
		if (vmcoreinfo_parse(tight, len, &v) == VP_OK && !v.release[0])
			abort();
	}
	free(tight);
	free(page);
	return 0;
}
