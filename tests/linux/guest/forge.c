// SPDX-License-Identifier: LGPL-2.1-or-later
/* A guest user's forgery: FILE's first page, over and over, page aligned, until killed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char page[4096];
	size_t pages = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
	char *map;

	if (fd < 0 || read(fd, page, sizeof(page)) <= 0 || !pages || pages > 65536) {
		fprintf(stderr, "usage: forge FILE PAGES\n");
		return 2;
	}
	/* Nobody: the forger has no more rights than any user of the guest. */
	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 1;
	map = mmap(NULL, pages * sizeof(page), PROT_READ | PROT_WRITE | PROT_EXEC,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < pages; i++)
		memcpy(map + i * sizeof(page), page, sizeof(page));
	puts("forged");
	fflush(stdout);
	pause();
	return 0;
}
