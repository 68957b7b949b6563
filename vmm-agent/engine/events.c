/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/events.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/vmm.h"

#define RECORD   0x56457076u /* "vpEV" */
#define FILE_MAX ((size_t)ENG_EVENT_SIZE * ENG_EVENTS_MAX)
#define FRESH    ".new" /* a file that is being made anew */

_Static_assert(64 + VP_LEDGER_NAME + VP_LEDGER_VERSION_LEN + HF_SYMBOL_MAX == ENG_EVENT_SIZE,
	       "the strings fill the record");

#define OFF_NAME    64
#define OFF_VERSION (OFF_NAME + VP_LEDGER_NAME)
#define OFF_SYMBOL  (OFF_VERSION + VP_LEDGER_VERSION_LEN)

/* --- a record ---------------------------------------------------------------------------------- */

static void encode(const struct eng_event *ev, uint8_t *p)
{
	memset(p, 0, ENG_EVENT_SIZE);
	vp_st32(p, RECORD);
	vp_st64(p + 8, ev->seq);
	vp_st64(p + 16, ev->at_ns);
	vp_st64(p + 24, ev->wall_ns);
	vp_st64(p + 32, ev->gva.v);
	vp_st32(p + 40, ev->len);
	p[44] = ev->op;
	p[45] = ev->kind;
	p[46] = ev->discipline;
	memcpy(p + 48, ev->old, sizeof(ev->old));
	memcpy(p + 56, ev->new, sizeof(ev->new));
	memcpy(p + OFF_NAME, ev->name, strnlen(ev->name, sizeof(ev->name) - 1));
	memcpy(p + OFF_VERSION, ev->version, strnlen(ev->version, sizeof(ev->version) - 1));
	memcpy(p + OFF_SYMBOL, ev->symbol, strnlen(ev->symbol, sizeof(ev->symbol) - 1));
	vp_st32(p + 4, vp_crc32c(0, p + 8, ENG_EVENT_SIZE - 8));
}

/* False for what encode would not have written. */
static bool decode(const uint8_t *p, struct eng_event *ret)
{
	if (vp_ld32(p) != RECORD || vp_ld32(p + 4) != vp_crc32c(0, p + 8, ENG_EVENT_SIZE - 8))
		return false;
	*ret = (struct eng_event){
		.seq = vp_ld64(p + 8),
		.at_ns = vp_ld64(p + 16),
		.wall_ns = vp_ld64(p + 24),
		.gva = vp_gva(vp_ld64(p + 32)),
		.len = vp_ld32(p + 40),
		.op = p[44],
		.kind = p[45],
		.discipline = p[46],
	};
	memcpy(ret->old, p + 48, sizeof(ret->old));
	memcpy(ret->new, p + 56, sizeof(ret->new));
	memcpy(ret->name, p + OFF_NAME, sizeof(ret->name));
	memcpy(ret->version, p + OFF_VERSION, sizeof(ret->version));
	memcpy(ret->symbol, p + OFF_SYMBOL, sizeof(ret->symbol));
	return p[47] == 0 && ret->op >= ENG_EVENT_APPLY && ret->op <= ENG_EVENT_RECOVER &&
	       (ret->kind == ENG_EVENT_PAYLOAD ||
		(ret->kind == ENG_EVENT_SITE && ret->len <= VP_EDIT_MAX)) &&
	       p[OFF_VERSION - 1] == 0 && p[OFF_SYMBOL - 1] == 0 && p[ENG_EVENT_SIZE - 1] == 0;
}

/* How many records at the beginning of buf are sound and in order. */
static size_t sound(const uint8_t *buf, size_t len, uint64_t *last_seq_ret)
{
	struct eng_event ev;
	size_t n = 0;

	*last_seq_ret = 0;
	for (; len >= ENG_EVENT_SIZE; len -= ENG_EVENT_SIZE, n++) {
		if (!decode(buf + n * ENG_EVENT_SIZE, &ev) || ev.seq <= *last_seq_ret)
			break;
		*last_seq_ret = ev.seq;
	}
	return n;
}

/* --- the files ----------------------------------------------------------------------------------- */

static int too_long(struct diag *diag)
{
	return diag_set(diag, VP_E_IO, "text poke events: the name is too long");
}

int eng_events_dir(const char *run_dir, char *path, size_t len, struct diag *diag)
{
	int n = snprintf(path, len, "%s/events", run_dir);

	if (n < 0 || (size_t)n >= len)
		return too_long(diag);
	return eng_mkdirs(path, diag);
}

static int file_path(const char *run_dir, const struct vp_identity *id, const char *suffix,
		     char path[PATH_MAX], struct diag *diag)
{
	char key[ENG_KEY_MAX];
	int n;

	eng_vmm_key(id, key);
	n = snprintf(path, PATH_MAX, "%s/events/%s%s", run_dir, key, suffix);
	return n > 0 && n < PATH_MAX ? VP_OK : too_long(diag);
}

/* What is there, FILE_MAX of it at most; *len_ret is 0 when there is no file. */
static int slurp(const char *path, uint8_t **buf_ret, size_t *len_ret, struct diag *diag)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	uint8_t *buf = malloc(FILE_MAX);
	size_t len = 0;
	ssize_t n = 1;
	int e = fd < 0 && errno != ENOENT ? errno : 0;

	while (fd >= 0 && buf && len < FILE_MAX && n != 0) {
		n = read(fd, buf + len, FILE_MAX - len);
		if (n < 0 && errno != EINTR) {
			e = errno;
			break;
		}
		len += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	if (!buf || e) {
		free(buf);
		return e ? diag_errno(diag, e, "text poke events %s", path)
			 : diag_set(diag, VP_E_NOMEM, "text poke events: no memory");
	}
	*buf_ret = buf;
	*len_ret = len;
	return VP_OK;
}

static int put(const char *path, int flags, off_t at, const uint8_t *buf, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	int e = 0;

	if (fd < 0)
		return errno;
	if (ftruncate(fd, at) < 0) /* what a writer that died has left behind the last whole one */
		e = errno;
	while (!e && len > 0) {
		ssize_t n = pwrite(fd, buf, len, at);

		if (n < 0 && errno != EINTR)
			e = errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
			at += n;
		}
	}
	if (close(fd) < 0 && !e)
		e = errno;
	return e;
}

/* Behind the n records that are sound; or, when there are too many, the younger ones in a new file:
 * a reader sees the one or the other. */
static int store(const char *path, const char *fresh, const uint8_t *all, size_t n, size_t more)
{
	size_t keep = ENG_EVENTS_MAX / 2;
	int e;

	if (n + more <= ENG_EVENTS_MAX)
		return put(path, 0, (off_t)(n * ENG_EVENT_SIZE), all + n * ENG_EVENT_SIZE,
			   more * ENG_EVENT_SIZE);
	if (keep < more)
		keep = more < ENG_EVENTS_MAX ? more : ENG_EVENTS_MAX;
	e = put(fresh, O_TRUNC, 0, all + (n + more - keep) * ENG_EVENT_SIZE, keep * ENG_EVENT_SIZE);
	if (!e && rename(fresh, path) < 0)
		e = errno;
	return e;
}

/* --- adding ---------------------------------------------------------------------------------------- */

static uint64_t wall_less_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_SEC + (uint64_t)ts.tv_nsec - clock_now();
}

static struct eng_event blank(const struct eng_poked *what, enum eng_event_kind kind,
			      uint64_t at_ns)
{
	struct eng_event ev = {.op = (uint8_t)what->op, .kind = (uint8_t)kind};

	ev.at_ns = at_ns ? at_ns : clock_now(); /* recover does not know better */
	snprintf(ev.name, sizeof(ev.name), "%s", what->name);
	snprintf(ev.version, sizeof(ev.version), "%s", what->version);
	return ev;
}

static struct eng_event of_edit(const struct eng_poked *what, const struct eng_edit *e)
{
	struct eng_event ev = blank(what, ENG_EVENT_SITE, e->poked_at);

	ev.gva = e->edit.gva;
	ev.len = e->edit.len;
	ev.discipline = e->edit.discipline;
	memcpy(ev.old, what->undone ? e->edit.new : e->edit.old, sizeof(ev.old));
	memcpy(ev.new, what->undone ? e->edit.old : e->edit.new, sizeof(ev.new));
	memcpy(ev.symbol, e->symbol, sizeof(ev.symbol));
	return ev;
}

struct batch {
	uint8_t *to;
	uint64_t seq, wall; /* of the last one; of all */
	size_t n;
};

static void append(struct batch *b, struct eng_event ev)
{
	ev.seq = ++b->seq;
	ev.wall_ns = ev.at_ns + b->wall;
	encode(&ev, b->to + b->n++ * ENG_EVENT_SIZE);
}

/* At to, behind the record of that seq; returns how many. */
static size_t fill(const struct eng_poked *what, uint64_t seq, uint8_t *to)
{
	struct batch b = {.to = to, .seq = seq, .wall = wall_less_clock()};

	if (what->payload_len > 0) {
		struct eng_event ev =
			blank(what, ENG_EVENT_PAYLOAD, what->n_edits ? what->edits[0].poked_at : 0);

		ev.gva = what->payload;
		ev.len = what->payload_len;
		append(&b, ev);
	}
	for (size_t i = 0; i < what->n_edits; i++)
		if (what->edits[i].edit.kind == VP_EDIT_SITE) /* the others are data */
			append(&b, of_edit(what, &what->edits[i]));
	return b.n;
}

int eng_events_add(const char *run_dir, const struct vp_identity *id, const struct eng_poked *what,
		   struct diag *diag)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	uint8_t *all = NULL, *more;
	size_t len = 0, n, added;
	uint64_t seq = 0;
	int e, r = eng_events_dir(run_dir, path, sizeof(path), diag);

	if (r == VP_OK)
		r = file_path(run_dir, id, "", path, diag);
	if (r == VP_OK)
		r = file_path(run_dir, id, FRESH, fresh, diag);
	if (r == VP_OK)
		r = slurp(path, &all, &len, diag);
	if (r < 0)
		return r;
	n = sound(all, len, &seq);
	more = realloc(all, (n + what->n_edits + 1) * ENG_EVENT_SIZE);
	if (!more) {
		free(all);
		return diag_set(diag, VP_E_NOMEM, "text poke events: no memory");
	}
	added = fill(what, seq, more + n * ENG_EVENT_SIZE);
	e = added ? store(path, fresh, more, n, added) : 0;
	free(more);
	eng_events_sweep(run_dir);
	return e ? diag_errno(diag, e, "text poke events %s", path) : VP_OK;
}

/* --- reading --------------------------------------------------------------------------------------- */

int eng_events_read(const char *run_dir, const struct vp_identity *id, uint64_t after,
		    void (*fn)(void *ctx, const struct eng_event *ev), void *ctx, struct diag *diag)
{
	char path[PATH_MAX];
	struct eng_event ev;
	uint8_t *buf = NULL;
	size_t len = 0, n;
	uint64_t last;
	int r = file_path(run_dir, id, "", path, diag);

	if (r == VP_OK)
		r = slurp(path, &buf, &len, diag);
	if (r < 0)
		return r;
	n = sound(buf, len, &last);
	for (size_t i = 0; i < n; i++)
		if (decode(buf + i * ENG_EVENT_SIZE, &ev) && ev.seq > after)
			fn(ctx, &ev);
	free(buf);
	return VP_OK;
}

void eng_events_sweep(const char *run_dir)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d;

	if (snprintf(path, sizeof(path), "%s/events", run_dir) >= (int)sizeof(path))
		return;
	d = opendir(path);
	while (d && (e = readdir(d))) {
		char key[ENG_KEY_MAX];
		struct vp_identity id;
		int n = snprintf(key, sizeof(key), "%s", e->d_name);
		char *fresh = strstr(key, FRESH);

		if (fresh && fresh[sizeof(FRESH) - 1] == '\0')
			*fresh = '\0';
		if (n < (int)sizeof(key) && eng_vmm_parse(key, &id) && !eng_vmm_alive(&id, ""))
			unlinkat(dirfd(d), e->d_name, 0);
	}
	if (d)
		closedir(d);
}
