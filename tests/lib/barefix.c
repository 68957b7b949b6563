// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/barefix.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/guestimg.h"
#include "vmm-agent/hotfix/compile.h"
#include "vmm-agent/hotfix/pack.h"

#define OBJECT_MAX (16u << 20)

extern char **environ;

/* What Kbuild passes for x86-64 and what a payload is in need of. */
static int compile(const char *source, const char *object, struct diag *diag)
{
	const char *cc = getenv("CC");
	const char *const args[] = {cc && *cc ? cc : "gcc",
				    "-std=gnu11",
				    "-O2",
				    "-g0",
				    "-ffreestanding",
				    "-fno-pic",
				    "-mcmodel=kernel",
				    "-mno-red-zone",
				    "-mgeneral-regs-only",
				    "-fcf-protection=none",
				    "-fno-stack-protector",
				    "-fno-asynchronous-unwind-tables",
				    "-fno-common",
				    "-D__KERNEL__",
				    "-I.",
				    "-Itests/guests/include",
				    "-Ivmm-agent/hotfix/include",
				    "-c",
				    "-o",
				    object,
				    source,
				    NULL};
	int e, status = 0;
	pid_t pid;

	e = posix_spawnp(&pid, args[0], NULL, NULL, (char *const *)args, environ);
	if (e)
		return diag_errno(diag, e, "%s", args[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return diag_errno(diag, errno, "%s", args[0]);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return diag_set(diag, VP_E_TOOL, "%s: %s did not compile it", source, args[0]);
	return VP_OK;
}

static int pack(const struct obj *o, const char *out, struct diag *diag)
{
	struct pack_kernel kernel = {.release = GUESTIMG_RELEASE,
				     .build_id_len = sizeof(guestimg_build_id)};
	struct pack_meta meta;
	uint8_t *buf;
	size_t len;
	FILE *f;
	int r;

	memcpy(kernel.build_id, guestimg_build_id, sizeof(guestimg_build_id));
	r = pack_meta(o, diag, &meta);
	if (r < 0)
		return r;
	r = pack_bundle(o, &meta, &kernel, diag, &buf, &len);
	pack_meta_deinit(&meta);
	if (r < 0)
		return r;
	f = fopen(out, "wb");
	if (!f || fwrite(buf, len, 1, f) != 1)
		r = diag_errno(diag, errno, "%s", out);
	if (f && fclose(f) != 0 && r == VP_OK)
		r = diag_errno(diag, errno, "%s", out);
	free(buf);
	return r;
}

int barefix_build(const char *source, const char *out, struct diag *diag)
{
	char object[4096];
	struct obj o;
	uint8_t *buf = NULL;
	size_t len = 0;
	int r;

	if (snprintf(object, sizeof(object), "%s.o", out) >= (int)sizeof(object))
		return diag_set(diag, VP_E_RANGE, "%s: the path is too long", out);
	r = compile(source, object, diag);
	if (r == VP_OK)
		r = compile_slurp(object, OBJECT_MAX, diag, &buf, &len);
	unlink(object);
	if (r < 0)
		return r;
	r = obj_open(buf, len, diag, &o);
	free(buf);
	if (r < 0)
		return r;
	r = pack(&o, out, diag);
	obj_deinit(&o);
	return r < 0 ? diag_prefix(diag, "%s", source) : VP_OK;
}

int barefix_sites(unsigned n, const char *out, struct diag *diag)
{
	char source[4096];
	FILE *f;
	int r;

	if (snprintf(source, sizeof(source), "%s.c", out) >= (int)sizeof(source))
		return diag_set(diag, VP_E_RANGE, "%s: the path is too long", out);
	f = fopen(source, "w");
	if (!f)
		return diag_errno(diag, errno, "%s", source);
	fputs("#include <vpatch/hotfix.h>\n#include \"tests/guests/x86-64/ctl.h\"\n"
	      "static long fixed(struct bare_cpu *cpu)\n{\n"
	      "\tcpu->new_calls++;\n\treturn 1;\n}\n"
	      "VPATCH_NAME(\"bare-sites\");\nVPATCH_VERSION(\"1\");\n"
	      "VPATCH_CONSISTENCY_ENTRY;\n",
	      f);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "VPATCH_REPLACE(site_%05u, fixed);\n", i);
	if (fclose(f) != 0)
		return diag_errno(diag, errno, "%s", source);
	r = barefix_build(source, out, diag);
	unlink(source);
	return r;
}
