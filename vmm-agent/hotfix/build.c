/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm-agent/hotfix/bundle.h"
#include "vmm-agent/hotfix/compile.h"
#include "vmm-agent/hotfix/image.h"
#include "vmm-agent/hotfix/pack.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int read_build_id(const char *hex, struct diag *diag, struct pack_kernel *kernel)
{
	size_t n = hex ? strlen(hex) : 0;

	if (!hex)
		return VP_OK;
	if (n % 2 || n / 2 < VP_NOTE_BUILD_ID_MIN || n / 2 > VP_NOTE_BUILD_ID_MAX)
		return diag_set(
			diag, VP_E_USAGE,
			"--build-id %s: give the hexadecimal digits that `vpatch inspect` prints",
			hex);
	for (size_t i = 0; i < n / 2; i++) {
		int hi = hex_digit(hex[2 * i]), lo = hex_digit(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return diag_set(diag, VP_E_USAGE,
					"--build-id %s: it is not made of hexadecimal digits", hex);
		kernel->build_id[i] = (uint8_t)(hi << 4 | lo);
	}
	kernel->build_id_len = (unsigned)(n / 2);
	return VP_OK;
}

/* Beside the old file and then over it: a bundle is there whole or not at all. */
static int write_out(const char *path, const uint8_t *buf, size_t len, struct diag *diag)
{
	char tmp[PATH_MAX];
	size_t done = 0;
	int fd, e = 0;

	if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= (int)sizeof(tmp))
		return diag_set(diag, VP_E_RANGE, "%s: the path is too long", path);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return diag_errno(diag, errno, "%s", path);
	while (!e && done < len) {
		ssize_t n = write(fd, buf + done, len - done);

		if (n < 0 && errno != EINTR)
			e = errno;
		else if (n > 0)
			done += (size_t)n;
	}
	if (!e && fchmod(fd, 0644) < 0)
		e = errno;
	if (close(fd) < 0 && !e)
		e = errno;
	if (!e && rename(tmp, path) < 0)
		e = errno;
	if (!e)
		return VP_OK;
	unlink(tmp);
	return diag_errno(diag, e, "%s", path);
}

/* The name of a hotfix that does not say one: its file's, as far as that is a name. */
static void default_name(const char *source, char *buf, size_t len)
{
	const char *base = strrchr(source, '/');
	size_t n;

	base = base ? base + 1 : source;
	n = strcspn(base, ".");
	snprintf(buf, len, "%.*s", (int)(n < len ? n : len - 1), base);
}

static int pack_and_write(const struct hf_build *args, const struct obj *o,
			  struct pack_kernel *kernel, struct diag *diag)
{
	char name[VP_NOTE_NAME_MAX + 1];
	struct pack_meta meta;
	uint8_t *out;
	size_t len;
	int r;

	r = pack_meta(o, diag, &meta);
	if (r < 0)
		return r;
	default_name(args->source, name, sizeof(name));
	if (!meta.name)
		meta.name = name;
	if (!meta.version)
		meta.version = "1";
	if (!bundle_is_name(meta.name, VP_NOTE_NAME_MAX))
		r = diag_set(diag, VP_E_BUNDLE,
			     "the file's name is no name for a hotfix: say VPATCH_NAME");
	if (r == VP_OK && args->vmlinux)
		r = inline_check(args->vmlinux, &meta, diag, kernel);
	if (r == VP_OK)
		r = pack_bundle(o, &meta, kernel, diag, &out, &len);
	if (r == VP_OK) {
		r = write_out(args->out, out, len, diag);
		free(out);
	}
	pack_meta_deinit(&meta);
	return r;
}

static int open_object(const struct hf_build *args, const struct arch_ops *arch, struct diag *diag,
		       struct obj *ret)
{
	uint8_t *buf;
	size_t len;
	int r;

	r = compile_object(args, arch, diag, &buf, &len);
	if (r < 0)
		return r;
	r = obj_open(buf, len, diag, ret);
	free(buf);
	if (r < 0)
		return diag_prefix(diag, "%s: the compiler's object", args->source);
	if (ret->machine == arch->elf_machine)
		return VP_OK;
	obj_deinit(ret);
	return diag_set(diag, VP_E_TOOL,
			"%s: the compiler made code for another machine than the headers are for: "
			"see --cross",
			args->source);
}

int hf_build(const struct hf_build *args, struct diag *diag)
{
	char release[VP_NOTE_RELEASE_MAX + 1];
	struct pack_kernel kernel = {.release = release};
	const struct arch_ops *arch;
	struct obj o;
	int r;

	r = read_build_id(args->build_id, diag, &kernel);
	if (r == VP_OK && args->image) {
		r = image_object(args, diag, &kernel, &o);
		if (r < 0)
			return r;
		r = pack_and_write(args, &o, &kernel, diag);
		obj_deinit(&o);
		return r < 0 ? diag_prefix(diag, "%s", args->source) : VP_OK;
	}
	if (r == VP_OK)
		r = compile_arch(args->kernel, diag, &arch);
	if (r == VP_OK)
		r = compile_release(args->kernel, diag, release, sizeof(release));
	if (r == VP_OK)
		r = open_object(args, arch, diag, &o);
	if (r < 0)
		return r;
	r = pack_and_write(args, &o, &kernel, diag);
	obj_deinit(&o);
	return r < 0 ? diag_prefix(diag, "%s", args->source) : VP_OK;
}
