/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/hotfix/compile.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define OBJECT_MAX (64u << 20)
#define LOG_MAX    (16u << 20)
#define CONFIG_MAX (16u << 20)

extern char **environ;

/* One row an architecture: how the kernel, Debian and the cross compilers call it. */
static const struct naming {
	enum arch_id id;
	const char *config;  /* the line that says so */
	const char *machine; /* uname -m */
	const char *kernel;  /* ARCH= */
	const char *debian;  /* dpkg --print-architecture */
	const char *gnu;     /* prefix of the cross compiler, without its dash */
} namings[] = {
	{ARCH_X86_64, "\nCONFIG_X86_64=y\n", "x86_64", "x86_64", "amd64", "x86_64-linux-gnu"},
	{ARCH_ARM64, "\nCONFIG_ARM64=y\n", "aarch64", "arm64", "arm64", "aarch64-linux-gnu"},
};

/* What is found in the environment of a build and must not leak into this one. */
static const char *const dropped[] = {
	"MAKEFLAGS=",
	"MAKELEVEL=",
	"MFLAGS=",
	"MAKEOVERRIDES=",
	"MAKEFILES=",
	"MAKECMDGOALS=",
	"ARCH=",
	"SUBARCH=",
	"KBUILD",
	"CROSS_COMPILE",
	"KCFLAGS=",
	"KCPPFLAGS=",
	"KAFLAGS=",
	"CC=",
	"CPP=",
	"LD=",
	"AS=",
	"CFLAGS",
	"LDFLAGS",
	"CPPFLAGS=",
	"O=",
	"M=",
	"V=",
	"C=",
	"W=",
	"DEB_",
	"CPATH=",
	"C_INCLUDE_PATH=",
	"GCC_EXEC_PREFIX=",
	"LLVM",
	"LC_ALL=",
	"LANGUAGE=",
	"GREP_OPTIONS=",
};

int compile_slurp(const char *path, size_t max, struct diag *diag, uint8_t **buf_ret,
		  size_t *len_ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	uint8_t *buf;
	size_t have = 0;
	ssize_t n = 1;

	if (fd < 0)
		return diag_errno(diag, errno, "%s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0 ||
	    (uint64_t)st.st_size > max) {
		close(fd);
		return diag_set(diag, VP_E_IO, "%s: it is no file of a possible size", path);
	}
	buf = malloc((size_t)st.st_size + 1);
	while (buf && n > 0 && have < (size_t)st.st_size) {
		n = read(fd, buf + have, (size_t)st.st_size - have);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			have += (size_t)n;
	}
	close(fd);
	if (!buf)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory to read it", path);
	if (n < 0) {
		free(buf);
		return diag_errno(diag, EIO, "%s", path);
	}
	buf[have] = '\0';
	*buf_ret = buf;
	*len_ret = have;
	return VP_OK;
}

static const struct naming *naming_of(enum arch_id id)
{
	for (size_t i = 0; i < sizeof(namings) / sizeof(namings[0]); i++)
		if (namings[i].id == id)
			return &namings[i];
	return NULL;
}

int compile_arch(const char *kernel, struct diag *diag, const struct arch_ops **ret)
{
	static const char *const files[] = {"include/config/auto.conf", ".config"};
	char path[PATH_MAX];
	uint8_t *buf;
	size_t len;
	int r;

	for (size_t f = 0; f < 2; f++) {
		if (snprintf(path, sizeof(path), "%s/%s", kernel, files[f]) >= (int)sizeof(path))
			return diag_set(diag, VP_E_RANGE, "%s: the path is too long", kernel);
		r = compile_slurp(path, CONFIG_MAX, diag, &buf, &len);
		if (r == VP_E_NOMEM)
			return r;
		if (r < 0)
			continue;
		for (size_t i = 0; i < sizeof(namings) / sizeof(namings[0]); i++)
			if (strstr((char *)buf, namings[i].config)) {
				free(buf);
				*ret = arch_get(namings[i].id);
				return VP_OK;
			}
		free(buf);
		return diag_set(
			diag, VP_E_WRONG_ARCH,
			"%s: its kernel is for none of the architectures that hotfixes are built for",
			path);
	}
	return diag_set(
		diag, VP_E_IO,
		"%s: it has no include/config/auto.conf and no .config: give the directory that "
		"/lib/modules/RELEASE/build of the guest points to",
		kernel);
}

int compile_release(const char *kernel, struct diag *diag, char *buf, size_t len)
{
	static const char key[] = "#define UTS_RELEASE \"";
	char path[PATH_MAX];
	const char *at;
	uint8_t *text;
	size_t n;
	int r;

	/* What the kernel answers to `uname -r`. kernel.release is another one in Debian's headers. */
	if (snprintf(path, sizeof(path), "%s/include/generated/utsrelease.h", kernel) >=
	    (int)sizeof(path))
		return diag_set(diag, VP_E_RANGE, "%s: the path is too long", kernel);
	r = compile_slurp(path, 65536, diag, &text, &n);
	if (r < 0)
		return r;
	at = strstr((char *)text, key);
	n = at ? strcspn(at + sizeof(key) - 1, "\"\n") : 0;
	if (n == 0 || n >= len) {
		free(text);
		return diag_set(diag, VP_E_IO, "%s: it holds no kernel release", path);
	}
	memcpy(buf, at + sizeof(key) - 1, n);
	buf[n] = '\0';
	free(text);
	return VP_OK;
}

/* --- the directory that make works in ---------------------------------------------------------- */

static int put_file(const char *dir, const char *name, const char *text, struct diag *diag)
{
	char path[PATH_MAX];
	size_t len = strlen(text);
	ssize_t n;
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return diag_set(diag, VP_E_RANGE, "%s: the path is too long", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return diag_errno(diag, errno, "%s", path);
	n = write(fd, text, len);
	if (close(fd) < 0 || n != (ssize_t)len)
		return diag_set(diag, VP_E_IO, "%s: it could not be written", path);
	return VP_OK;
}

/* Links stand for directories whose names make could not take (spaces, colons). */
static int put_link(const char *dir, const char *name, const char *to, struct diag *diag)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return diag_set(diag, VP_E_RANGE, "%s: the path is too long", dir);
	if (symlink(to, path) < 0)
		return diag_errno(diag, errno, "%s", path);
	return VP_OK;
}

static const char kbuild[] =
	"obj-m := payload.o\n"
	/* <vpatch/hotfix.h>, then what lies beside the source. No path of this machine goes into the
	 * payload. */
	"ccflags-y := -g0 -I$(src)/include -I$(src)/source\n"
	"ccflags-y += -fmacro-prefix-map=$(src)/=\n"
	/* A payload has no patchable entry of its own. */
	"ccflags-remove-y := $(CC_FLAGS_FTRACE)\n";

/* source is absolute: messages of the compiler name the author's file. */
static int fill_dir(const char *dir, const char *source, const char *include_dir, struct diag *diag)
{
	char text[PATH_MAX * 2 + 128], folder[PATH_MAX];
	const char *slash = strrchr(source, '/');
	int r;

	if (strpbrk(source, "\"\\\n"))
		return diag_set(diag, VP_E_USAGE,
				"%s: rename it: no quotes, backslashes or newlines", source);
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash == source ? 1 : slash - source),
		 source);
	snprintf(text, sizeof(text), "/* The hotfix, by its own name. */\n#include \"%s\"\n",
		 source);
	r = put_file(dir, "Kbuild", kbuild, diag);
	if (r == VP_OK)
		r = put_file(dir, "payload.c", text, diag);
	if (r == VP_OK)
		r = put_link(dir, "include", include_dir, diag);
	if (r == VP_OK)
		r = put_link(dir, "source", folder, diag);
	return r;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static void remove_dir(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- make -------------------------------------------------------------------------------------- */

static bool is_dropped(const char *variable)
{
	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
		if (strncmp(variable, dropped[i], strlen(dropped[i])) == 0)
			return true;
	return false;
}

/* A copy of the list alone; the strings stay the environment's. */
static char **clean_environment(void)
{
	static char locale[] = "LC_ALL=C";
	size_t n = 0, to = 0;
	char **env;

	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (!is_dropped(environ[i]))
			env[to++] = environ[i];
	env[to] = locale;
	return env;
}

static int spawn_make(char *const *argv, char *const *env, const char *log, struct diag *diag,
		      int *status)
{
	posix_spawn_file_actions_t act;
	pid_t pid;
	int e;

	posix_spawn_file_actions_init(&act);
	posix_spawn_file_actions_addopen(&act, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&act, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&act, 1, 2);
	e = posix_spawnp(&pid, argv[0], &act, NULL, argv, env);
	posix_spawn_file_actions_destroy(&act);
	if (e)
		return diag_set(diag, VP_E_TOOL, "%s: %s: install make", argv[0], strerror(e));
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return diag_errno(diag, errno, "make");
	return VP_OK;
}

/* What the caller asked to see, as if make had said it itself: words, so stderr. */
static void pass_on(const uint8_t *text, size_t len)
{
	while (len) {
		ssize_t n = write(STDERR_FILENO, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

/*
 * The line that tells why: of a failure the first that speaks of an error, else the last one. A
 * success may still hold the kernel's own check of a payload (objtool) that found a return or an
 * indirect branch which the kernel would never run unprotected: 6.1 says "found in RETHUNK build"
 * and "found in RETPOLINE build", 6.9 "found in MITIGATION_RETHUNK build".
 */
static const char *telling_line(char *text, bool failed)
{
	char *save = NULL, *best = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strstr(line, "RETHUNK build") || strstr(line, "RETPOLINE build"))
			return line;
		if (!failed)
			continue;
		best = line;
		if (strstr(line, "error:") || strstr(line, "not found") ||
		    strstr(line, "No such file"))
			break;
	}
	return best;
}

static int judge(const struct hf_build *args, const char *log, bool failed, struct diag *diag)
{
	uint8_t *text = NULL;
	const char *line;
	size_t len = 0;
	int r;

	r = compile_slurp(log, LOG_MAX, diag, &text, &len);
	if (r < 0 || !text)
		return r;
	if (args->verbose)
		pass_on(text, len);
	line = telling_line((char *)text, failed);
	if (failed)
		r = diag_set(diag, VP_E_TOOL,
			     "%s: the kernel's build system refused it: %.500s: run `vpatch build "
			     "--verbose` to see all of it",
			     args->source, line ? line : "without a word");
	else if (line)
		r = diag_set(
			diag, VP_E_SECTION,
			"%s: it would run with weaker mitigations than the kernel: %.500s: return "
			"and call in C, not in assembly",
			args->source, line);
	free(text);
	return r;
}

/* The words of a command line, kept in one piece. */
struct words {
	char text[4 * PATH_MAX];
	size_t at;
	char *v[16];
	unsigned n;
	bool full;
};

__attribute__((format(printf, 2, 3))) static void word(struct words *w, const char *fmt, ...)
{
	size_t room = sizeof(w->text) - w->at;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(w->text + w->at, room, fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= room || w->n + 1 >= sizeof(w->v) / sizeof(w->v[0])) {
		w->full = true;
		return;
	}
	w->v[w->n++] = w->text + w->at;
	w->at += (size_t)len + 1;
}

static void words_for_make(struct words *w, const struct hf_build *args,
			   const struct naming *naming, const char *dir, const char *machine)
{
	const char *cross = args->cross, *dash = "";
	size_t gnu;

	word(w, "make");
	word(w, "-s");
	word(w, "-C");
	word(w, "%s", args->kernel);
	word(w, "M=%s", dir);
	word(w, "payload.o");
	if (args->verbose)
		word(w, "V=1");
	if (!cross && strcmp(machine, naming->machine) == 0)
		return;
	if (!cross) {
		cross = naming->gnu;
		dash = "-";
	}
	word(w, "ARCH=%s", naming->kernel);
	word(w, "CROSS_COMPILE=%s%s", cross, dash);
	/* Debian's headers compose the prefix out of these and override what is given. */
	gnu = strlen(cross);
	if (gnu && cross[gnu - 1] == '-')
		gnu--;
	word(w, "DEB_BUILD_ARCH=other");
	word(w, "DEB_HOST_ARCH=%s", naming->debian);
	word(w, "DEB_HOST_GNU_TYPE=%.*s", (int)gnu, cross);
}

static int run_make(const struct hf_build *args, const struct naming *naming, const char *dir,
		    struct diag *diag)
{
	struct words w = {.n = 0};
	char log[PATH_MAX + 8];
	struct utsname un;
	char **env;
	int status = 0, r;

	if (uname(&un) < 0)
		return diag_errno(diag, errno, "uname");
	words_for_make(&w, args, naming, dir, un.machine);
	if (w.full)
		return diag_set(diag, VP_E_RANGE, "%s: the path is too long", args->kernel);
	snprintf(log, sizeof(log), "%s/log", dir);
	env = clean_environment();
	if (!env)
		return diag_set(diag, VP_E_NOMEM, "no memory to run make");
	r = spawn_make(w.v, env, log, diag, &status);
	free(env);
	if (r < 0)
		return r;
	return judge(args, log, !WIFEXITED(status) || WEXITSTATUS(status) != 0, diag);
}

static int make_dir(char *dir, size_t len, struct diag *diag)
{
	const char *tmp = getenv("TMPDIR");

	/* make cannot take some characters in the name of a directory, and must find it anywhere. */
	if (!tmp || *tmp != '/' || strpbrk(tmp, " \t\n:;#%$\\\"'=*?[]~") || strlen(tmp) > 256)
		tmp = "/tmp";
	snprintf(dir, len, "%s/vpatch-build.XXXXXX", tmp);
	if (!mkdtemp(dir))
		return diag_errno(diag, errno, "%s", dir);
	return VP_OK;
}

int compile_object(const struct hf_build *args, const struct arch_ops *arch, struct diag *diag,
		   uint8_t **buf_ret, size_t *len_ret)
{
	char dir[PATH_MAX], path[PATH_MAX + 16];
	char *source = realpath(args->source, NULL);
	char *include_dir = realpath(args->include_dir, NULL);
	int r;

	if (!source || !include_dir) {
		r = diag_errno(diag, errno, "%s", source ? args->include_dir : args->source);
		free(source);
		free(include_dir);
		return r;
	}
	r = make_dir(dir, sizeof(dir), diag);
	if (r == VP_OK) {
		r = fill_dir(dir, source, include_dir, diag);
		if (r == VP_OK)
			r = run_make(args, naming_of(arch->id), dir, diag);
		snprintf(path, sizeof(path), "%s/payload.o", dir);
		if (r == VP_OK)
			r = compile_slurp(path, OBJECT_MAX, diag, buf_ret, len_ret);
		remove_dir(dir);
	}
	free(source);
	free(include_dir);
	return r;
}
