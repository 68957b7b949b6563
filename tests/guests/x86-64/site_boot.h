/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between the halves of the x86-64 site guest; numbers only, for the assembler reads it too. */
#ifndef VP_TESTS_GUESTS_X86_64_SITE_BOOT_H
#define VP_TESTS_GUESTS_X86_64_SITE_BOOT_H

#define SITE_STACK_LOG  13
#define SITE_STACK_SIZE (1 << SITE_STACK_LOG)
#define SITE_CPUS       8
#define SITE_VECTORS    32
#define SITE_VECTOR_LEN 16
#define SITE_TRAMPOLINE 0x8000 /* SIPI vector 8 */

/* Selectors, as Linux has them where it has them. */
#define SITE_CS32   0x08
#define SITE_CS     0x10
#define SITE_DS     0x18
#define SITE_UDS    0x2b
#define SITE_UCS    0x33
#define SITE_TR     0x40 /* of CPU 0; 16 bytes each */
#define SITE_GDTLEN (SITE_TR + 16 * SITE_CPUS)

#endif
