/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/* What compilers call by themselves when they copy structures. A guest that has its own keeps it: the
 * linker takes this one out of the archive only where the name is missing. */
#include "protocol/int.h"

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	while (n--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int c, size_t n)
{
	uint8_t *t = to;

	while (n--)
		*t++ = (uint8_t)c;
	return to;
}
