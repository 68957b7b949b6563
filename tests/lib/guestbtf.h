/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* BTF of the few structures that a synthetic kernel has. */
#ifndef VP_TESTS_LIB_GUESTBTF_H
#define VP_TESTS_LIB_GUESTBTF_H

#include <stddef.h>
#include <stdint.h>

#define GUESTBTF_CANARY 64 /* task_struct.stack_canary, inside an unnamed structure */

/* Writes it, less than 4 KiB; returns how many bytes. */
size_t guestbtf_write(uint8_t *at);

#endif
