// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/dis.h"

static const struct {
	const char *tool;
	const char *machine;
} tools[ARCH_COUNT] = {
	[ARCH_X86_64] = {"objdump", "i386:x86-64"},
	[ARCH_ARM64] = {"aarch64-linux-gnu-objdump", "aarch64"},
	[ARCH_RISCV64] = {"riscv64-linux-gnu-objdump", "riscv:rv64"},
	[ARCH_PPC64LE] = {"powerpc64le-linux-gnu-objdump", "powerpc:common64 -EL"},
	[ARCH_THUMB2] = {"arm-linux-gnueabihf-objdump", "arm -M force-thumb"},
};

static void fail(const char *what, const char *with)
{
	fprintf(stderr, "dis: %s: %s\n", what, with);
	exit(1);
}

void dis_need_tools(const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char cmd[128];

		snprintf(cmd, sizeof(cmd), "%s --version >/dev/null 2>&1", names[i]);
		if (system(cmd) != 0) {
			printf("SKIP: %s is missing\n", names[i]);
			exit(77);
		}
	}
}

void dis_tmpdir(char path[64])
{
	const char *base = getenv("TMPDIR");

	if (!base || strlen(base) > 40)
		base = "/tmp";
	snprintf(path, 64, "%s/vpatch-dis.XXXXXX", base);
	if (!mkdtemp(path))
		fail("no temporary directory", path);
}

void dis_rmdir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(path);
}

/* x86 and ppc64le print bytes, Thumb halfwords, arm64 one word, riscv64 one word or halfwords: hex
 * up to the tab, each group a little-endian number. */
static bool parse_bytes(const char *s, struct dis_insn *insn)
{
	char *end;

	insn->len = 0;
	while (*s && *s != '\t') {
		unsigned long v = strtoul(s, &end, 16);
		unsigned n = (unsigned)(end - s) / 2;

		if (end == s)
			break;
		if ((n != 1 && n != 2 && n != 4) || (end - s) % 2 || insn->len + n > ARCH_INSN_MAX)
			return false;
		for (unsigned i = 0; i < n; i++)
			insn->bytes[insn->len++] = (uint8_t)(v >> (8 * i));
		s = end;
		while (*s == ' ')
			s++;
	}
	return insn->len > 0;
}

static void copy_text(char *to, size_t cap, const char *from)
{
	size_t n = 0;

	for (; *from && *from != '\n' && n + 1 < cap; from++) {
		char c = *from == '\t' ? ' ' : *from;

		if (c == ' ' && (n == 0 || to[n - 1] == ' '))
			continue;
		to[n++] = c;
	}
	while (n > 0 && to[n - 1] == ' ')
		n--;
	to[n] = 0;
}

/* A line is "  ADDRESS:\tBYTES \tTEXT". */
static bool parse_line(const char *line, struct dis_insn *insn)
{
	const char *text;
	char *end;

	insn->at = strtoull(line, &end, 16);
	if (end == line || end[0] != ':' || end[1] != '\t')
		return false;
	if (!parse_bytes(end + 2, insn))
		return false;
	text = strchr(end + 2, '\t');
	copy_text(insn->text, sizeof(insn->text), text ? text + 1 : "(bad)");
	return true;
}

static size_t run(const char *cmd, dis_fn fn, void *ctx)
{
	FILE *f = popen(cmd, "r");
	struct dis_insn insn;
	char *line = NULL;
	size_t cap = 0, n = 0;

	if (!f)
		fail("cannot run", cmd);
	while (getline(&line, &cap, f) > 0) {
		if (!parse_line(line, &insn))
			continue;
		fn(ctx, &insn);
		n++;
	}
	free(line);
	if (pclose(f) != 0)
		fail("failed", cmd);
	return n;
}

size_t dis_bytes(enum arch_id arch, const void *bytes, size_t len, uint64_t vma, dis_fn fn,
		 void *ctx)
{
	char dir[64], file[80], cmd[256];
	size_t n;
	FILE *f;

	dis_tmpdir(dir);
	snprintf(file, sizeof(file), "%s/code", dir);
	f = fopen(file, "w");
	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
		fail("cannot write", file);
	snprintf(cmd, sizeof(cmd), "%s -D -z -w -b binary -m %s --adjust-vma=%#" PRIx64 " %s",
		 tools[arch].tool, tools[arch].machine, vma, file);
	n = run(cmd, fn, ctx);
	dis_rmdir(dir);
	return n;
}

size_t dis_file(enum arch_id arch, const char *path, dis_fn fn, void *ctx)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "%s -d -z -w '%s'", tools[arch].tool, path);
	return run(cmd, fn, ctx);
}
