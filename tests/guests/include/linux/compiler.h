/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* As much of the kernel's header as <vpatch/hotfix.h> needs, for payloads of the bare-metal guests. */
#ifndef VP_TESTS_GUESTS_COMPILER_H
#define VP_TESTS_GUESTS_COMPILER_H

#define __used          __attribute__((used))
#define __always_inline inline __attribute__((always_inline))
#define __section(name) __attribute__((section(name)))
#define __aligned(n)    __attribute__((aligned(n)))
#define likely(x)       __builtin_expect(!!(x), 1)
#define unlikely(x)     __builtin_expect(!!(x), 0)
#define READ_ONCE(x)    (*(const volatile __typeof__(x) *)&(x))

#define BARE_PASTE_(a, b)   a##b
#define BARE_PASTE(a, b)    BARE_PASTE_(a, b)
#define __UNIQUE_ID(prefix) BARE_PASTE(prefix, __COUNTER__)

#endif
