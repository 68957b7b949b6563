/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ask SOCKET LINE...: sends each line to the example VMM and prints what it answers. Exits 1 at the
 * first answer that is an error. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TRIES 100 /* of 50 ms, until the VMM listens */

static int dial(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	for (int i = 0; i < TRIES; i++) {
		if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
			return fd;
		usleep(50000);
	}
	perror(path);
	return -1;
}

int main(int argc, char **argv)
{
	char line[4096];
	FILE *in, *out;
	int fd;

	if (argc < 3) {
		fprintf(stderr, "ask SOCKET LINE...\n");
		return 2;
	}
	fd = dial(argv[1]);
	if (fd < 0)
		return 1;
	in = fdopen(dup(fd), "r");
	out = fdopen(fd, "w");
	if (!in || !out)
		return 1;
	for (int i = 2; i < argc; i++) {
		fprintf(out, "%s\n", argv[i]);
		fflush(out);
		do {
			if (!fgets(line, sizeof(line), in)) {
				printf("the VMM hung up\n");
				return 1;
			}
			fputs(line, stdout);
			if (strncmp(line, "error", 5) == 0)
				return 1;
		} while (strncmp(line, "ok", 2) != 0);
	}
	return 0;
}
