/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket: a line in, lines out, the last of which begins with `ok` or `error REASON`.
 *
 *	apply FILE    revert NAME    recover    status    pause    cont    quit
 *	cycle FILE NAME COUNT        apply and revert, COUNT times, without waiting in between
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/vmm/vmm.h"

#define BUNDLE_MAX (4u << 20)
#define BUSY_MAX   10000 /* tries of one change that found the guest busy */

/* A real VMM has keys that it trusts; this one is asked by its own tests only. */
static int verify(void *ctx, const void *bundle, size_t len)
{
	(void)ctx;
	(void)bundle;
	(void)len;
	return VP_UNSIGNED_OK;
}

static struct vp_options options(const struct vmm *v)
{
	return (struct vp_options){.size = sizeof(struct vp_options),
				   .state_dir = v->state_dir,
				   .run_dir = v->state_dir,
				   .window_ns = 2000000000,
				   .verify = verify};
}

static void *read_bundle(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	void *buf = f ? malloc(BUNDLE_MAX) : NULL;

	if (buf)
		*len = fread(buf, 1, BUNDLE_MAX, f);
	if (f)
		fclose(f);
	return buf;
}

static void answer(FILE *out, int r, const struct vp_result *res)
{
	if (r < 0)
		fprintf(out, "error %s: %s\n", vp_reason(r), res->words);
	else
		fprintf(out, "ok %s %s changed=%d window_ns=%" PRIu64 "\n", res->name, res->version,
			res->changed, res->window_ns);
}

static int apply_file(struct vmm *v, const char *path, const struct vp_options *o,
		      struct vp_result *res)
{
	size_t len = 0;
	void *buf = read_bundle(path, &len);
	int r = vp_apply(v->vp, buf ? buf : "", len, o, res);

	free(buf);
	return r;
}

static void put_hotfix(void *ctx, const struct vp_hotfix *h)
{
	fprintf(ctx, "hotfix %s %s %s %s\n", h->name, h->version, h->state, h->words);
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

struct tally {
	uint64_t *window;
	unsigned long n, busy;
};

/* One change, tried again while the guest is busy: a vCPU inside the site, say. */
static int change(struct vmm *v, const void *bundle, size_t len, const char *name,
		  const struct vp_options *o, struct tally *t, struct vp_result *res)
{
	int r = -1;

	for (int i = 0; i < BUSY_MAX; i++) {
		r = bundle ? vp_apply(v->vp, bundle, len, o, res) : vp_revert(v->vp, name, o, res);
		if (r == 0)
			t->window[t->n++] = res->window_ns;
		if (vp_error_class(r) != 3 || v->quit)
			break;
		t->busy++;
	}
	return r;
}

static void cycle(struct vmm *v, FILE *out, const char *path, const char *name, unsigned long count)
{
	struct vp_options o = options(v);
	struct vp_result res = {.size = sizeof(res)};
	struct tally t = {.window = calloc(2 * count + 1, sizeof(uint64_t))};
	size_t len = 0;
	void *bundle = read_bundle(path, &len);
	int r = 0;

	o.settle_ns = 1;
	if (!t.window || !bundle) {
		fprintf(out, "error io: %s\n", path);
		goto out;
	}
	for (unsigned long i = 0; r == 0 && i < count; i++) {
		r = change(v, bundle, len, name, &o, &t, &res);
		if (r == 0)
			r = change(v, NULL, 0, name, &o, &t, &res);
	}
	qsort(t.window, t.n, sizeof(*t.window), by_value);
	if (r == 0)
		fprintf(out,
			"ok changes=%lu busy=%lu window_us median=%" PRIu64 " p99=%" PRIu64
			" max=%" PRIu64 "\n",
			t.n, t.busy, t.window[t.n / 2] / 1000, t.window[t.n * 99 / 100] / 1000,
			t.n ? t.window[t.n - 1] / 1000 : 0);
	else
		answer(out, r, &res);
out:
	free(bundle);
	free(t.window);
}

/* What is the VM's own; false for what it does not know. */
static bool serve_vm(struct vmm *v, const char *word)
{
	if (strcmp(word, "pause") == 0)
		vmm_pause(v);
	else if (strcmp(word, "cont") == 0)
		vmm_cont(v);
	else if (strcmp(word, "quit") == 0)
		vmm_quit(v);
	else
		return false;
	return true;
}

static void serve_line(struct vmm *v, FILE *out, char *line)
{
	struct vp_options o = options(v);
	struct vp_result res = {.size = sizeof(res)};
	char *word[4] = {0}, *save = NULL;

	word[0] = strtok_r(line, " \n", &save);
	for (int i = 1; i < 4 && word[i - 1]; i++)
		word[i] = strtok_r(NULL, " \n", &save);
	if (!word[0])
		return;
	if (strcmp(word[0], "apply") == 0 && word[1])
		answer(out, apply_file(v, word[1], &o, &res), &res);
	else if (strcmp(word[0], "revert") == 0 && word[1])
		answer(out, vp_revert(v->vp, word[1], &o, &res), &res);
	else if (strcmp(word[0], "recover") == 0)
		answer(out, vp_recover(v->vp, &o, &res), &res);
	else if (strcmp(word[0], "status") == 0)
		answer(out, vp_status(v->vp, &o, put_hotfix, out, &res), &res);
	else if (strcmp(word[0], "cycle") == 0 && word[3])
		cycle(v, out, word[1], word[2], strtoul(word[3], NULL, 10));
	else if (serve_vm(v, word[0]))
		fprintf(out, "ok %s\n", word[0]);
	else
		fprintf(out, "error usage: apply FILE, revert NAME, recover, status, pause, cont, "
			     "cycle FILE NAME COUNT, quit\n");
	fflush(out);
}

/* True when fd has something; false when the VM has ended. */
static bool wait_for(struct vmm *v, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (!v->quit)
		if (poll(&p, 1, 100) > 0)
			return true;
	return false;
}

static void serve(struct vmm *v, int fd)
{
	FILE *out = fdopen(fd, "w");
	char line[1024];
	size_t have = 0;

	while (out && wait_for(v, fd)) {
		ssize_t n = read(fd, line + have, sizeof(line) - 1 - have);
		char *end;

		if (n <= 0)
			break;
		have += (size_t)n;
		line[have] = '\0';
		while ((end = strchr(line, '\n'))) {
			*end++ = '\0';
			serve_line(v, out, line);
			have = strlen(end);
			memmove(line, end, have + 1);
		}
	}
	if (out)
		fclose(out);
}

void control_run(struct vmm *v)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", v->control);
	unlink(v->control);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 4) < 0)
		die(v->control);
	while (wait_for(v, fd)) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			serve(v, client);
	}
	close(fd);
}
