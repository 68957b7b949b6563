/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const uint8_t *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Through a file beside it: a bundle that is signed in place is never half a bundle. */
static int replace_file(struct cli *cli, const char *file, const uint8_t *buf, size_t len)
{
	mode_t mask = umask(0);
	char *tmp;
	int fd, e;

	umask(mask);
	if (asprintf(&tmp, "%s.XXXXXX", file) < 0)
		return diag_set(&cli->diag, VP_E_NOMEM, "%.200s: no memory to write it", file);
	fd = mkostemp(tmp, O_CLOEXEC);
	e = fd < 0 ? errno : write_all(fd, buf, len);
	if (!e && fchmod(fd, 0666 & ~mask) < 0)
		e = errno;
	if (fd >= 0 && close(fd) < 0 && !e)
		e = errno;
	if (!e && rename(tmp, file) < 0)
		e = errno;
	if (e && fd >= 0)
		unlink(tmp);
	free(tmp);
	return e ? diag_errno(&cli->diag, e, "%.200s", file) : VP_OK;
}

int cmd_sign(struct cli *cli)
{
	const char *in = cli->pos[0], *file = cli->opt[OPT_OUTPUT] ? cli->opt[OPT_OUTPUT] : in;
	const char *digest = cli->opt[OPT_DIGEST] ? cli->opt[OPT_DIGEST] : "sha256";
	uint8_t *buf = NULL, *signed_buf = NULL;
	size_t len = 0, signed_len = 0;
	int r = hf_read_file(in, &cli->diag, &buf, &len);

	out_str(cli->out.obj, "file", file);
	out_str(cli->out.obj, "digest", digest);
	if (r < 0)
		return r;
	r = hf_sign(buf, len, cli->opt[OPT_KEY], cli->opt[OPT_CERT], digest, &cli->diag,
		    &signed_buf, &signed_len);
	if (r < 0)
		diag_prefix(&cli->diag, "%.200s", in);
	if (r == VP_OK)
		r = replace_file(cli, file, signed_buf, signed_len);
	if (r == VP_OK) {
		cli->out.changed = true;
		out_line(&cli->out, OUT_GOOD, "%s: signed", file);
	}
	free(signed_buf);
	free(buf);
	return r;
}
