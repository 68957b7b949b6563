/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bundle as anybody may hand it in, parsed and linked against a guest that answers anything.
 * VP_PLANT_BUNDLE takes one bounds check out of the reader (vmm-agent/hotfix/object.c).
 * covers: vmm-agent/hotfix/object.c vmm-agent/hotfix/notes.c vmm-agent/hotfix/bundle.c vmm-agent/hotfix/section.c vmm-agent/hotfix/link.c
 */
#include <stdlib.h>

#include "tests/lib/sample.h"
#include "vmm-agent/hotfix/hotfix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Near, far and refused, by the name's first letter. */
static int resolve(void *ctx, const char *name, unsigned sympos, struct diag *diag, vp_gva_t *ret)
{
	uint64_t far = (uint64_t)name[0] << 56;

	if (name[0] == 'q')
		return diag_set(diag, VP_E_SYM_UNKNOWN, "%s: no such symbol", name);
	return sample_resolve(name[0] == 'f' ? &far : ctx, name, sympos, diag, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t base = 0xffffffff81000000;
	const struct hf_info *info;
	struct hf_image img;
	struct hf_bundle *b;
	struct diag d;

	diag_init(&d);
	if (hf_open(data, size, &d, &b) < 0)
		return 0;
	info = hf_info(b);
	if (!info->n_replace || !info->name[0] || !info->arch)
		abort();
	/* Near, then 1 GiB away so that arm64 needs veneers. */
	for (unsigned i = 0; i < 2; i++, base -= 0x40000000) {
		if (hf_link(b, vp_gva(0xffffffff81000000), resolve, &base, &d, &img) < 0)
			continue;
		if (img.len > hf_image_size(b))
			abort();
		for (size_t k = 0; k < info->n_replace; k++)
			if (img.entry[k] >= img.len)
				abort();
		hf_image_deinit(&img);
	}
	hf_close(b);
	return 0;
}
