/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/events.h"
#include "vmm-agent/engine/vmm.h"

struct told {
	struct cli *cli;
	struct vp_identity id;
	uint64_t last; /* seq of the last one printed */
	uint64_t n;
};

static const char *const ops[] = {
	[ENG_EVENT_APPLY] = "apply",
	[ENG_EVENT_REVERT] = "revert",
	[ENG_EVENT_RECOVER] = "recover",
};

static void put_json(struct told *told, const struct eng_event *ev)
{
	struct json_object *o = json_object_new_object();

	out_str(o, "schema", "vpatch.event/1");
	out_bool(o, "changed", true);
	out_str(o, "reason", vp_err_reason(VP_OK));
	out_str(o, "domain", told->cli->pos[0]);
	out_int(o, "seq", ev->seq);
	out_int(o, "monotonic_ns", ev->at_ns);
	out_int(o, "realtime_ns", ev->wall_ns);
	out_str(o, "op", ops[ev->op]);
	out_str(o, "kind", ev->kind == ENG_EVENT_SITE ? "site" : "payload");
	out_str(o, "name", ev->name);
	out_str(o, "version", ev->version);
	out_str(o, "symbol", ev->symbol);
	out_addr(o, "address", ev->gva.v);
	out_int(o, "len", ev->len);
	if (ev->kind == ENG_EVENT_SITE) {
		out_str(o, "discipline", cli_discipline_name(ev->discipline));
		out_hex(o, "old", ev->old, ev->len);
		out_hex(o, "new", ev->new, ev->len);
	}
	out_object(&told->cli->out, o);
	json_object_put(o);
}

static void put_line(struct told *told, const struct eng_event *ev)
{
	char old[2 * OUT_HEX_MAX + 1], new[2 * OUT_HEX_MAX + 1], time[48];

	snprintf(time, sizeof(time), "%" PRIu64 ".%06" PRIu64, ev->at_ns / CLOCK_NS_PER_SEC,
		 ev->at_ns % CLOCK_NS_PER_SEC / 1000);
	if (ev->kind == ENG_EVENT_SITE)
		out_line(&told->cli->out, OUT_PLAIN, "%s %-7s 0x%016" PRIx64 " %s -> %s  %s  %s %s",
			 time, ops[ev->op], ev->gva.v, out_hex_text(old, ev->old, ev->len),
			 out_hex_text(new, ev->new, ev->len), ev->symbol, ev->name, ev->version);
	else
		out_line(&told->cli->out, OUT_PLAIN,
			 "%s %-7s 0x%016" PRIx64 " payload of %" PRIu32 " bytes  %s %s", time,
			 ops[ev->op], ev->gva.v, ev->len, ev->name, ev->version);
}

static void put_event(void *ctx, const struct eng_event *ev)
{
	struct told *told = ctx;

	told->last = ev->seq;
	told->n++;
	if (told->cli->out.json)
		put_json(told, ev);
	else
		put_line(told, ev);
}

static int put_new(struct told *told)
{
	int r = eng_events_read(told->cli->conf.run_dir, &told->id, told->last, put_event, told,
				&told->cli->diag);

	fflush(stdout);
	return r;
}

/* --- following --------------------------------------------------------------------------------- */

enum { FD_FILES, FD_VMM, FD_SIGNAL, FD_OUTPUT, FD_COUNT };

static int failed(struct cli *cli, const char *what)
{
	return diag_errno(&cli->diag, errno, "waiting for events: %s", what);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* VP_OK with no descriptor of the VMM when that is gone. */
static int open_all(struct told *told, struct pollfd *fds)
{
	struct cli *cli = told->cli;
	char dir[PATH_MAX];
	int r = eng_events_dir(cli->conf.run_dir, dir, sizeof(dir), &cli->diag);

	if (r < 0)
		return r;
	fds[FD_FILES].fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fds[FD_FILES].fd < 0 ||
	    inotify_add_watch(fds[FD_FILES].fd, dir, IN_CLOSE_WRITE | IN_MOVED_TO) < 0)
		return failed(cli, dir);
	fds[FD_SIGNAL].fd = open_signals();
	if (fds[FD_SIGNAL].fd < 0)
		return failed(cli, "signals");
	fds[FD_VMM].fd = pidfd_open(told->id.pid, 0);
	if (fds[FD_VMM].fd < 0 && errno != ESRCH)
		return failed(cli, "the domain's process");
	fds[FD_OUTPUT] =
		(struct pollfd){.fd = STDOUT_FILENO}; /* asks only whether its reader went */
	return VP_OK;
}

static void drain(int fd)
{
	char buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static int wait_and_tell(struct told *told, struct pollfd *fds)
{
	bool ends = fds[FD_VMM].fd < 0 || !eng_vmm_alive(&told->id, "");

	while (true) {
		/* After what woke us, so that nothing that came in between is lost. */
		int r = put_new(told);

		if (r < 0 || ends)
			return r;
		if (poll(fds, FD_COUNT, -1) < 0 && errno != EINTR)
			return failed(told->cli, "poll");
		drain(fds[FD_FILES].fd);
		ends = fds[FD_VMM].revents || fds[FD_SIGNAL].revents || fds[FD_OUTPUT].revents;
	}
}

static int follow(struct told *told)
{
	struct pollfd fds[FD_COUNT];
	int r;

	for (int i = 0; i < FD_COUNT; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	r = open_all(told, fds);
	if (r == VP_OK)
		r = wait_and_tell(told, fds);
	for (int i = 0; i < FD_OUTPUT; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	eng_events_sweep(told->cli->conf.run_dir);
	return r;
}

int cmd_events(struct cli *cli)
{
	struct told told = {.cli = cli};
	struct vp_target *t = NULL;
	int r = cli_domain_open(cli, cli->pos[0], &t);

	if (r < 0)
		return r;
	/* Whoever watches must not be in the way of those who change. */
	told.id = vp_target_info(t)->id;
	vp_target_close(t);
	r = cli->opt[OPT_FOLLOW] ? follow(&told) : put_new(&told);
	out_int(cli->out.obj, "events", told.n);
	if (r == VP_OK && told.n == 0)
		out_line(&cli->out, OUT_PLAIN, "%s: no text poke events", cli->pos[0]);
	return r;
}
