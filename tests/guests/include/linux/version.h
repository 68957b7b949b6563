/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VP_TESTS_GUESTS_VERSION_H
#define VP_TESTS_GUESTS_VERSION_H

#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE      KERNEL_VERSION(6, 1, 0)

#endif
