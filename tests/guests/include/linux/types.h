/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VP_TESTS_GUESTS_TYPES_H
#define VP_TESTS_GUESTS_TYPES_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#endif
