/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may sign: certs.d and revoked.d. A signer must be exactly one of the certificates of certs.d,
 * named by issuer and serial or by key identifier; there are no chains, and, as the kernel decides
 * for modules, no expiry: a host with a wrong clock must still be able to take a fix.
 */
#include "vmm-agent/hotfix/sign.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRUST_FILES_MAX  4096  /* in one directory */
#define TRUST_CERTS_MAX  4096  /* certificates of one directory */
#define TRUST_HASHES_MAX 65536 /* revoked bundles */

/* --- directories ------------------------------------------------------------------------------- */

typedef int (*file_fn)(void *ctx, int dir, const char *name, struct diag *diag);

static bool has_suffix(const char *name, const char *const *suffixes)
{
	size_t len = strlen(name);

	for (; *suffixes; suffixes++) {
		size_t n = strlen(*suffixes);

		if (len > n && strcasecmp(name + len - n, *suffixes) == 0)
			return true;
	}
	return false;
}

static bool is_cert_name(const char *name)
{
	static const char *const suffixes[] = {".pem", ".crt", ".der", ".cer", ".x509", NULL};

	return has_suffix(name, suffixes);
}

static bool is_hash_name(const char *name)
{
	static const char *const suffixes[] = {".sha256", NULL};

	return has_suffix(name, suffixes);
}

static int each_entry(DIR *d, const char *path, file_fn fn, void *ctx, struct diag *diag)
{
	unsigned n = 0;

	for (;;) {
		struct dirent *e;
		int r;

		errno = 0;
		e = readdir(d);
		if (!e)
			return errno ? diag_errno(diag, errno, "%s", path) : VP_OK;
		if (e->d_name[0] == '.')
			continue;
		if (++n > TRUST_FILES_MAX)
			return diag_set(diag, VP_E_IO, "%s: holds more than %d files", path,
					TRUST_FILES_MAX);
		r = fn(ctx, dirfd(d), e->d_name, diag);
		if (r < 0)
			return diag_prefix(diag, "%s", path);
	}
}

/* Calls fn for every file of path but hidden ones. A directory that anybody may write says nothing. */
static int each_file(const char *path, file_fn fn, void *ctx, struct diag *diag)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;
	struct stat st;
	DIR *d;

	if (fd < 0)
		return diag_errno(diag, errno, "%s", path);
	if (fstat(fd, &st) < 0) {
		r = diag_errno(diag, errno, "%s", path);
		close(fd);
		return r;
	}
	if (st.st_mode & S_IWOTH) {
		close(fd);
		return diag_set(diag, VP_E_PERM,
				"%s: anybody may write it, so it is not believed: chmod o-w %s",
				path, path);
	}
	d = fdopendir(fd);
	if (!d) {
		r = diag_errno(diag, errno, "%s", path);
		close(fd);
		return r;
	}
	r = each_entry(d, path, fn, ctx, diag);
	closedir(d);
	return r;
}

static int read_cert_file(int dir, const char *name, STACK_OF(X509) * to, struct diag *diag)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	int r = sign_read_small(dir, name, true, diag, &buf, &len);

	if (r < 0)
		return r;
	r = sign_parse_certs(buf, len, to, diag);
	free(buf);
	if (r < 0)
		return diag_prefix(diag, "%s", name);
	if (sk_X509_num(to) > TRUST_CERTS_MAX)
		return diag_set(diag, VP_E_IO, "%s: more than %d certificates in all", name,
				TRUST_CERTS_MAX);
	return VP_OK;
}

/* --- certs.d ----------------------------------------------------------------------------------- */

struct certs_ctx {
	STACK_OF(X509) * to;
	char *skipped;
};

static int add_cert_file(void *ctx, int dir, const char *name, struct diag *diag)
{
	struct certs_ctx *c = ctx;
	int before = sk_X509_num(c->to);
	struct diag why;

	if (!is_cert_name(name))
		return VP_OK;
	diag_init(&why);
	if (read_cert_file(dir, name, c->to, &why) == VP_OK)
		return VP_OK;
	/* None of a file that is damaged: half of what somebody meant is a guess. */
	while (sk_X509_num(c->to) > before)
		X509_free(sk_X509_pop(c->to));
	if (!c->skipped[0])
		snprintf(c->skipped, 256, "%.255s", why.text);
	return why.err == VP_E_NOMEM ? diag_set(diag, VP_E_NOMEM, "%s", why.text) : VP_OK;
}

int trust_read_certs(const char *dir, STACK_OF(X509) * to, char skipped[256], struct diag *diag)
{
	struct certs_ctx ctx = {to, skipped};
	int r;

	skipped[0] = '\0';
	r = each_file(dir, add_cert_file, &ctx, diag);
	if (r == VP_OK || r == VP_E_NOMEM)
		return r;
	snprintf(skipped, 256, "%.255s", diag ? diag->text : dir);
	while (sk_X509_num(to) > 0)
		X509_free(sk_X509_pop(to));
	return VP_OK;
}

/* --- revoked.d --------------------------------------------------------------------------------- */

void trust_revoked_deinit(struct trust_revoked *r)
{
	sk_X509_pop_free(r->certs, X509_free);
	free(r->hashes);
	memset(r, 0, sizeof(*r));
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_hash(const char *s, size_t len, uint8_t hash[32])
{
	if (len < 64 || (len > 64 && !isspace((unsigned char)s[64])))
		return false;
	for (size_t i = 0; i < 32; i++) {
		int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		hash[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

static int add_hash(struct trust_revoked *r, const uint8_t hash[32], struct diag *diag)
{
	/* Grows by doubling; the bound keeps the product far from wrapping. */
	if ((r->n_hashes & (r->n_hashes - 1)) == 0) {
		size_t cap = r->n_hashes ? r->n_hashes * 2 : 1;
		void *p = cap > TRUST_HASHES_MAX ? NULL : realloc(r->hashes, cap * 32);

		if (!p)
			return diag_set(diag, VP_E_NOMEM, "no room for so many hashes");
		r->hashes = p;
	}
	memcpy(r->hashes[r->n_hashes++], hash, 32);
	return VP_OK;
}

/* One hash a line, as sha256sum writes it or alone; '#' starts a comment line. */
static int parse_hashes(const char *text, size_t len, struct trust_revoked *r, struct diag *diag)
{
	const char *end = text + len;
	unsigned line = 0;

	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text)), *stop = nl ? nl : end;
		uint8_t hash[32];

		line++;
		while (text < stop && isspace((unsigned char)*text))
			text++;
		if (text < stop && *text != '#') {
			if (!parse_hash(text, (size_t)(stop - text), hash))
				return diag_set(diag, VP_E_IO, "line %u: is no SHA-256 in hex",
						line);
			if (add_hash(r, hash, diag) < 0)
				return VP_E_NOMEM;
		}
		text = nl ? nl + 1 : end;
	}
	return VP_OK;
}

static int read_hash_file(int dir, const char *name, struct trust_revoked *r, struct diag *diag)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	int e = sign_read_small(dir, name, true, diag, &buf, &len);

	if (e < 0)
		return e;
	e = parse_hashes((const char *)buf, len, r, diag);
	free(buf);
	return e < 0 ? diag_prefix(diag, "%s", name) : VP_OK;
}

static int add_revoked_file(void *ctx, int dir, const char *name, struct diag *diag)
{
	struct trust_revoked *r = ctx;

	if (is_cert_name(name))
		return read_cert_file(dir, name, r->certs, diag);
	if (is_hash_name(name))
		return read_hash_file(dir, name, r, diag);
	if (strncmp(name, "README", 6) == 0)
		return VP_OK;
	return diag_set(diag, VP_E_IO,
			"%s: is neither a certificate (.pem .crt .der .cer .x509) nor a list of "
			"hashes (.sha256)",
			name);
}

int trust_read_revoked(const char *dir, struct diag *diag, struct trust_revoked *ret)
{
	struct trust_revoked r = {.certs = sk_X509_new_null()};
	int e;

	if (!r.certs)
		return diag_set(diag, VP_E_NOMEM, "no memory for certificates");
	e = dir ? each_file(dir, add_revoked_file, &r, diag) : VP_OK;
	if (e < 0) {
		trust_revoked_deinit(&r);
		return diag_prefix(diag, "it cannot be told what has been revoked, so nothing is "
					 "taken");
	}
	*ret = r;
	return VP_OK;
}
