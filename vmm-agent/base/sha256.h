/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256 (FIPS 180-4), for what names a bundle where there is no libcrypto: libvpatch. */
#ifndef VP_BASE_SHA256_H
#define VP_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

void sha256(const void *buf, size_t len, uint8_t ret[32]);

#endif
