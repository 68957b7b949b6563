/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPACE " \t\r"

void conf_init(struct conf *conf)
{
	*conf = (struct conf){
		.deadline_ns = CONF_DEADLINE_NS,
		.driver = "auto",
		.certs_dir = VP_SYSCONFDIR "/vpatch/certs.d",
		.revoked_dir = VP_SYSCONFDIR "/vpatch/revoked.d",
		.state_dir = VP_LOCALSTATEDIR "/lib/vpatch",
		.run_dir = VP_RUNDIR "/vpatch",
	};
}

bool conf_duration(const char *text, uint64_t *ns_ret)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
	uint64_t v = 0;
	size_t n = strspn(text, "0123456789");

	if (n == 0 || n > 9)
		return false;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (uint64_t)(text[i] - '0');
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text + n, units[i].name) != 0)
			continue;
		v *= units[i].ns; /* below 10^18 */
		if (v < CONF_DEADLINE_MIN_NS || v > CONF_DEADLINE_MAX_NS)
			return false;
		*ns_ret = v;
		return true;
	}
	return false;
}

bool conf_driver(const char *text)
{
	return strcmp(text, "auto") == 0 || strcmp(text, "kvm") == 0 || strcmp(text, "gdb") == 0;
}

/* --- keys -------------------------------------------------------------------------------------- */

/* A setter gives NULL, or what the value should have been. */
typedef const char *(*set_fn)(struct conf *conf, const char *value);

static const char *set_deadline(struct conf *conf, const char *value)
{
	return conf_duration(value, &conf->deadline_ns) ? NULL
							: "a time from 10us to 10s, such as 10ms";
}

static const char *set_driver(struct conf *conf, const char *value)
{
	if (!conf_driver(value))
		return "auto, kvm or gdb";
	snprintf(conf->driver, sizeof(conf->driver), "%s", value);
	return NULL;
}

static const char *set_require(struct conf *conf, const char *value)
{
	conf->always = strcmp(value, "always") == 0;
	return conf->always || strcmp(value, "yes") == 0 ? NULL : "yes or always";
}

static const char *set_path(char to[CONF_PATH_MAX], const char *value)
{
	if (value[0] != '/' || strlen(value) >= CONF_PATH_MAX)
		return "an absolute path";
	snprintf(to, CONF_PATH_MAX, "%s", value);
	return NULL;
}

static const char *set_certs(struct conf *conf, const char *value)
{
	return set_path(conf->certs_dir, value);
}

static const char *set_revoked(struct conf *conf, const char *value)
{
	conf->revoked_given = true;
	return set_path(conf->revoked_dir, value);
}

static const char *set_state(struct conf *conf, const char *value)
{
	return set_path(conf->state_dir, value);
}

static const char *set_run(struct conf *conf, const char *value)
{
	return set_path(conf->run_dir, value);
}

static const struct {
	const char *name;
	set_fn set;
} keys[] = {
	{"deadline", set_deadline},   {"driver", set_driver},
	{"certs-dir", set_certs},     {"require-signature", set_require},
	{"revoked-dir", set_revoked}, {"state-dir", set_state},
	{"run-dir", set_run},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

/* --- lines ------------------------------------------------------------------------------------- */

struct place {
	const char *file;
	unsigned line;
	unsigned seen; /* bit i: keys[i] was given */
};

static char *trim(char *s)
{
	size_t n;

	s += strspn(s, SPACE);
	n = strlen(s);
	while (n > 0 && strchr(SPACE, s[n - 1]))
		s[--n] = '\0';
	return s;
}

static int set_key(struct place *at, const char *key, const char *value, struct diag *diag,
		   struct conf *conf)
{
	for (size_t i = 0; i < KEYS; i++) {
		const char *want;

		if (strcmp(key, keys[i].name) != 0)
			continue;
		if (at->seen & (1u << i))
			return diag_set(diag, VP_E_CONFIG, "%s:%u: %s is given twice: remove one",
					at->file, at->line, key);
		at->seen |= 1u << i;
		want = keys[i].set(conf, value);
		if (!want)
			return VP_OK;
		return diag_set(diag, VP_E_CONFIG, "%s:%u: %s = %.100s: the value has to be %s",
				at->file, at->line, key, value, want);
	}
	return diag_set(diag, VP_E_CONFIG,
			"%s:%u: %.100s is no setting that vpatch knows: see "
			"vpatch(1)",
			at->file, at->line, key);
}

static int parse_line(struct place *at, char *line, struct diag *diag, struct conf *conf)
{
	char *s = trim(line), *eq;

	if (*s == '\0' || *s == '#')
		return VP_OK;
	eq = strchr(s, '=');
	if (!eq)
		return diag_set(diag, VP_E_CONFIG, "%s:%u: is not of the form key = value",
				at->file, at->line);
	*eq = '\0';
	return set_key(at, trim(s), trim(eq + 1), diag, conf);
}

int conf_parse(const char *file, const char *text, size_t len, struct diag *diag, struct conf *conf)
{
	struct place at = {.file = file};

	while (len > 0) {
		char line[CONF_PATH_MAX + 128];
		const char *nl = memchr(text, '\n', len);
		size_t n = nl ? (size_t)(nl - text) : len;
		int r;

		at.line++;
		if (n >= sizeof(line) || memchr(text, '\0', n))
			return diag_set(diag, VP_E_CONFIG, "%s:%u: is too long or not text", file,
					at.line);
		memcpy(line, text, n);
		line[n] = '\0';
		r = parse_line(&at, line, diag, conf);
		if (r < 0)
			return r;
		n += nl != NULL;
		text += n;
		len -= n;
	}
	return VP_OK;
}

/* --- the file ---------------------------------------------------------------------------------- */

static int read_text(int fd, const char *path, struct diag *diag, char *buf, size_t cap,
		     size_t *len_ret)
{
	struct stat st;
	size_t len = 0;

	if (fstat(fd, &st) < 0)
		return diag_set(diag, VP_E_CONFIG, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return diag_set(diag, VP_E_CONFIG, "%s: is not a regular file", path);
	if (st.st_mode & S_IWOTH)
		return diag_set(diag, VP_E_CONFIG,
				"%s: anybody may write it, so it is not believed: chmod o-w %s",
				path, path);
	for (;;) {
		ssize_t n = read(fd, buf + len, cap - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return diag_set(diag, VP_E_CONFIG, "%s: %s", path, strerror(errno));
		if (n == 0)
			break;
		len += (size_t)n;
		if (len == cap)
			return diag_set(diag, VP_E_CONFIG, "%s: is larger than %d bytes", path,
					CONF_FILE_MAX);
	}
	*len_ret = len;
	return VP_OK;
}

static int read_file(int fd, const char *path, struct diag *diag, struct conf *ret)
{
	char *buf = malloc(CONF_FILE_MAX + 1);
	size_t len = 0;
	int r;

	if (!buf)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory to read it", path);
	r = read_text(fd, path, diag, buf, CONF_FILE_MAX + 1, &len);
	if (r == VP_OK)
		r = conf_parse(path, buf, len, diag, ret);
	free(buf);
	return r;
}

int conf_read(const char *path, struct diag *diag, struct conf *ret)
{
	const char *env = secure_getenv("VPATCH_CONFIG");
	const char *file = path ? path : env ? env : CONF_FILE;
	struct conf conf;
	int fd, r;

	if (!*file)
		return diag_set(diag, VP_E_CONFIG, "%s names no file: give its path, or %s",
				path ? "--config" : "VPATCH_CONFIG",
				path ? "leave it out" : "unset it");
	conf_init(&conf);
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && (errno != ENOENT || path || env))
		return diag_set(diag, VP_E_CONFIG, "%s: %s", file, strerror(errno));
	if (fd >= 0) {
		r = read_file(fd, file, diag, &conf);
		close(fd);
		if (r < 0)
			return r;
	}
	*ret = conf;
	return VP_OK;
}
