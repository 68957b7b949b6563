/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * BPF type information.
 * VP_PLANT_BTF lets the last type's members lie outside (vmm-agent/guest/btf.c).
 */
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/guest/btf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	uint64_t value;
	struct btf b;
	uint32_t off;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (btf_parse(copy, size, &b) < 0) {
		free(copy);
		return 0;
	}
	(void)btf_member(&b, "task_struct", "stack_canary", &off);
	(void)btf_member(&b, "ftrace_func_entry", "ip", &off);
	(void)btf_struct_size(&b, "dyn_ftrace", &off);
	(void)btf_enumerator(&b, "FTRACE_FL_ENABLED", &value);
	(void)btf_enumerators_or(&b, "FTRACE_FL_");
	btf_deinit(&b);
	return 0;
}
