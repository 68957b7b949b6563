/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compiling for a guest that is not Linux. Inside this room only. */
#ifndef VP_HOTFIX_IMAGE_H
#define VP_HOTFIX_IMAGE_H

#include "vmm-agent/hotfix/hotfix.h"
#include "vmm-agent/hotfix/pack.h"

/* Compiles args->source for the image args->image and gives its symbols the image's addresses. Fills in
 * who the image is. VP_E_TOOL, VP_E_SYM_UNKNOWN, VP_E_USAGE for an image that cannot be. */
int image_object(const struct hf_build *args, struct diag *diag, struct pack_kernel *kernel,
		 struct obj *ret) VP_MUST_USE;

#endif
