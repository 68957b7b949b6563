/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "vmm-agent/engine/vmm.h"

#define FILE_HEAD   16u
#define RECORD_HEAD 16u
#define RECORD      0x43525076u /* "vPRC" */
#define CLOSING     64u         /* bytes kept for the closing record */
#define FILE_MAX    (FILE_HEAD + RECORD_HEAD + ENG_TXN_MAX + 8 + CLOSING)

static const uint8_t magic[8] = {'v', 'p', 'J', 'O', 'U', 'R', 'N', 'L'};

/* --- the format ------------------------------------------------------------------------------- */

static uint32_t record_crc(const uint8_t *rec, uint32_t len)
{
	return vp_crc32c(vp_crc32c(0, rec + 4, 8), rec + RECORD_HEAD, len);
}

static size_t record_size(uint32_t len)
{
	return RECORD_HEAD + (((size_t)len + 7) & ~(size_t)7);
}

static void put_record(uint8_t *rec, enum eng_journal_type type, uint32_t len)
{
	vp_st32(rec, RECORD);
	vp_st32(rec + 4, type);
	vp_st32(rec + 8, len);
	vp_st32(rec + 12, record_crc(rec, len));
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

struct record {
	uint32_t type, len;
	const uint8_t *bytes;
	size_t size; /* 0: there is none here, the file was torn or ends */
};

static int get_record(const uint8_t *p, size_t left, struct record *ret)
{
	*ret = (struct record){0};
	if (left < RECORD_HEAD || all_zero(p, left))
		return VP_OK;
	if (vp_ld32(p) != RECORD)
		return VP_E_JOURNAL;
	ret->type = vp_ld32(p + 4);
	ret->len = vp_ld32(p + 8);
	if (ret->len > ENG_TXN_MAX)
		return VP_E_JOURNAL;
	if (record_size(ret->len) > left)
		return VP_OK;
	if (vp_ld32(p + 12) != record_crc(p, ret->len))
		return VP_E_JOURNAL;
	ret->bytes = p + RECORD_HEAD;
	ret->size = record_size(ret->len);
	return VP_OK;
}

static int damaged(struct diag *diag)
{
	return diag_set(
		diag, VP_E_JOURNAL,
		"journal: damaged beyond its last record, so it cannot tell what was under way: "
		"see vpatch status, then take the file away");
}

int eng_journal_parse(const uint8_t *buf, size_t len, struct diag *diag, struct eng_txn **ret)
{
	struct record intent, closing;
	uint32_t version;
	size_t off = FILE_HEAD;
	int r;

	*ret = NULL;
	if (len < FILE_HEAD) /* torn before anything was in it */
		return VP_OK;
	if (memcmp(buf, magic, sizeof(magic)) != 0 || vp_ld32(buf + 12) != 0)
		return damaged(diag);
	version = vp_ld32(buf + 8);
	if (version > ENG_JOURNAL_VERSION)
		return diag_set(
			diag, VP_E_VERSION,
			"journal: format %u, this vpatch knows %u: use the vpatch that wrote it",
			version, ENG_JOURNAL_VERSION);
	if (version == 0 || get_record(buf + off, len - off, &intent) < 0)
		return damaged(diag);
	if (intent.size == 0)
		return VP_OK;
	off += intent.size;
	if (intent.type != ENG_JOURNAL_INTENT || get_record(buf + off, len - off, &closing) < 0)
		return damaged(diag);
	if (closing.size != 0) {
		off += closing.size;
		if (closing.type < ENG_JOURNAL_COMMITTED || closing.type > ENG_JOURNAL_GONE ||
		    closing.len != 0 || !all_zero(buf + off, len - off))
			return damaged(diag);
		return VP_OK;
	}
	r = eng_txn_decode(version, intent.bytes, intent.len, ret);
	return r == VP_E_JOURNAL ? damaged(diag) : r;
}

/* --- the files -------------------------------------------------------------------------------- */

static int journal_path(const char *state_dir, const char *key, const char *suffix, char *path,
			struct diag *diag)
{
	int n = snprintf(path, PATH_MAX, "%s/journal%s%s%s", state_dir, key ? "/" : "",
			 key ? key : "", suffix);

	return n > 0 && n < PATH_MAX ? VP_OK
				     : diag_set(diag, VP_E_IO, "journal: the name is too long");
}

static int read_all(int fd, uint8_t *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = read(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n == 0 ? EIO : errno;
			return -1;
		}
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_all(int fd, const uint8_t *buf, size_t len, off_t at)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, buf, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n == 0 ? ENOSPC : errno;
			return -1;
		}
		buf += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int slurp(const char *path, struct diag *diag, uint8_t **buf_ret, size_t *len_ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	uint8_t *buf = NULL;

	*buf_ret = NULL;
	*len_ret = 0;
	if (fd < 0)
		return errno == ENOENT ? VP_OK : diag_errno(diag, errno, "journal %s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX) {
		close(fd);
		return diag_set(diag, VP_E_JOURNAL, "journal %s: not a file that vpatch wrote",
				path);
	}
	buf = malloc((size_t)st.st_size + 1);
	if (!buf || read_all(fd, buf, (size_t)st.st_size) < 0) {
		int saved = buf ? errno : ENOMEM;

		free(buf);
		close(fd);
		return diag_errno(diag, saved, "journal %s", path);
	}
	close(fd);
	*buf_ret = buf;
	*len_ret = (size_t)st.st_size;
	return VP_OK;
}

int eng_journal_open_entry(const char *state_dir, const char *key, struct diag *diag,
			   struct eng_txn **ret)
{
	char path[PATH_MAX];
	uint8_t *buf = NULL;
	size_t len = 0;
	int r = journal_path(state_dir, key, ".vpj", path, diag);

	*ret = NULL;
	if (r == VP_OK)
		r = slurp(path, diag, &buf, &len);
	if (r < 0 || !buf)
		return r;
	r = eng_journal_parse(buf, len, diag, ret);
	free(buf);
	if (r < 0)
		diag_prefix(diag, "%s", path);
	return r;
}

static int sync_dir(const char *state_dir, struct diag *diag)
{
	char path[PATH_MAX];
	int r = journal_path(state_dir, NULL, "", path, diag);
	int fd;

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		r = diag_errno(diag, errno, "journal directory %s", path);
	if (fd >= 0)
		close(fd);
	return r;
}

/* Every way in which the disk can be full or failing is met here, ahead of the guest. */
static int write_new(const char *path, const uint8_t *buf, size_t len, struct diag *diag)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int saved = 0;

	if (fd < 0)
		return diag_errno(diag, errno, "journal %s", path);
	if (write_all(fd, buf, len, 0) < 0 || fsync(fd) < 0)
		saved = errno;
	if (close(fd) < 0 && saved == 0)
		saved = errno;
	if (saved == EFBIG)
		saved = ENOSPC; /* a file size limit: the same to whoever has to make room */
	if (saved != 0) {
		unlink(path);
		return diag_errno(diag, saved, "journal %s: the guest was not touched", path);
	}
	return VP_OK;
}

static int build_file(const struct eng_txn *txn, uint8_t **buf_ret, size_t *len_ret)
{
	uint8_t *body, *buf;
	size_t body_len, len;
	int r = eng_txn_encode(txn, &body, &body_len);

	if (r < 0)
		return r;
	len = FILE_HEAD + record_size((uint32_t)body_len) + CLOSING;
	buf = calloc(1, len);
	if (buf) {
		memcpy(buf, magic, sizeof(magic));
		vp_st32(buf + 8, eng_txn_version(txn));
		memcpy(buf + FILE_HEAD + RECORD_HEAD, body, body_len);
		put_record(buf + FILE_HEAD, ENG_JOURNAL_INTENT, (uint32_t)body_len);
	}
	free(body);
	*buf_ret = buf;
	*len_ret = len;
	return buf ? VP_OK : VP_E_NOMEM;
}

int eng_journal_begin(const char *state_dir, const struct eng_txn *txn, struct diag *diag)
{
	char dir[PATH_MAX], path[PATH_MAX], fresh[PATH_MAX], key[ENG_KEY_MAX];
	uint8_t *buf = NULL;
	size_t len = 0;
	int r;

	eng_vmm_key(&txn->id, key);
	r = journal_path(state_dir, NULL, "", dir, diag);
	if (r == VP_OK)
		r = journal_path(state_dir, key, ".vpj", path, diag);
	if (r == VP_OK)
		r = journal_path(state_dir, key, ".new", fresh, diag);
	if (r == VP_OK)
		r = eng_mkdirs(dir, diag);
	if (r < 0)
		return r;
	r = build_file(txn, &buf, &len);
	if (r < 0)
		return diag_set(diag, r, "journal %s: %s", path, vp_err_sentence(r));
	r = write_new(fresh, buf, len, diag);
	free(buf);
	if (r < 0)
		return r;
	if (rename(fresh, path) < 0) {
		r = diag_errno(diag, errno, "journal %s", path);
		unlink(fresh);
		return r;
	}
	r = sync_dir(state_dir, diag);
	if (r < 0)
		unlink(path); /* nothing has happened, so nothing may be open */
	return r;
}

int eng_journal_end(const char *state_dir, const char *key, enum eng_journal_type type,
		    struct diag *diag)
{
	char path[PATH_MAX];
	uint8_t rec[RECORD_HEAD], head[FILE_HEAD + RECORD_HEAD];
	int r = journal_path(state_dir, key, ".vpj", path, diag);
	int fd;
	off_t at;

	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return diag_errno(diag, errno, "journal %s", path);
	put_record(rec, type, 0);
	if (read_all(fd, head, sizeof(head)) < 0) {
		r = diag_errno(diag, errno, "journal %s", path);
	} else {
		at = (off_t)(FILE_HEAD + record_size(vp_ld32(head + FILE_HEAD + 8)));
		if (write_all(fd, rec, sizeof(rec), at) < 0 || fsync(fd) < 0)
			r = diag_errno(diag, errno, "journal %s", path);
	}
	close(fd);
	return r;
}

void eng_journal_forget(const char *state_dir, const char *key)
{
	char path[PATH_MAX];

	if (journal_path(state_dir, key, ".vpj", path, NULL) == VP_OK)
		unlink(path);
	if (journal_path(state_dir, key, ".new", path, NULL) == VP_OK)
		unlink(path);
}

int eng_journal_each(const char *state_dir, int (*fn)(void *ctx, const char *key), void *ctx,
		     struct diag *diag)
{
	static const char suffix[] = ".vpj";
	char path[PATH_MAX];
	struct dirent *d;
	DIR *dir;
	int r = journal_path(state_dir, NULL, "", path, diag);

	if (r < 0)
		return r;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? VP_OK : diag_errno(diag, errno, "journals in %s", path);
	while (r == 0 && (d = readdir(dir))) {
		size_t len = strlen(d->d_name), s = sizeof(suffix) - 1;
		char key[ENG_KEY_MAX];
		struct vp_identity id;

		if (len <= s || len - s >= sizeof(key) || strcmp(d->d_name + len - s, suffix) != 0)
			continue;
		memcpy(key, d->d_name, len - s);
		key[len - s] = '\0';
		if (eng_vmm_parse(key, &id))
			r = fn(ctx, key);
	}
	closedir(dir);
	return r;
}
