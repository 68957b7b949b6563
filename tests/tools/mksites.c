/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mksites DIRECTORY: the samples of the site table, DIRECTORY/ARCH-SELF.bin. To be run once for each
 * released version of the format; the samples of older versions are kept for ever.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/sitetab.h"

static bool write_one(const char *dir, unsigned i)
{
	char path[4096];
	size_t len;
	uint8_t *buf = sitetab_make(i, &len);
	FILE *f;
	bool ok;

	if (!buf)
		return false;
	snprintf(path, sizeof(path), "%s/%s-%" PRIx64 ".bin", dir, sitetab_name(i),
		 sitetab(i)->self.v);
	f = fopen(path, "wb");
	ok = f && fwrite(buf, 1, len, f) == len;
	if (f && fclose(f) != 0)
		ok = false;
	free(buf);
	return ok;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (unsigned i = 0; i < SITETABS; i++)
		if (!write_one(argv[1], i)) {
			fprintf(stderr, "mksites: %s: no table\n", sitetab_name(i));
			return 1;
		}
	return 0;
}
