/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/qemu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_LOOK (4 * QMP_EVENTS_MAX)

static int err_of_qmp(int code)
{
	switch (code) {
	case QMP_OK:
		return VP_OK;
	case QMP_E_NOMEM:
		return VP_E_NOMEM;
	case QMP_E_ABSENT:
		return VP_E_NO_DOMAIN;
	case QMP_E_PERM:
		return VP_E_PERM;
	case QMP_E_BUSY:
		return VP_E_MONITOR_BUSY;
	case QMP_E_NOT_QMP:
		return VP_E_NOT_QMP;
	case QMP_E_CLOSED:
		return VP_E_DISCONNECTED;
	case QMP_E_TIMEOUT:
		return VP_E_TIMEOUT;
	case QMP_E_COMMAND:
	case QMP_E_UNSUPPORTED:
		return VP_E_UNSUPPORTED;
	case QMP_E_SYS:
		return VP_E_IO;
	default:
		return VP_E_PROTO;
	}
}

int qemu_error(const struct qemu *m, const struct qmp_error *e, const char *what, struct diag *diag)
{
	int err = err_of_qmp(e->code);

	return diag_set(diag, err, "%s, %s: %s%s", m->name, what, e->desc,
			err == VP_E_MONITOR_BUSY
				? ": disconnect the other client or give QEMU a second -qmp socket"
			: err == VP_E_PERM ? ": run vpatch as root or as QEMU's user"
					   : "");
}

int qemu_connect(struct qemu *m, uint64_t deadline, struct qmp_error *e)
{
	return qmp_open(m->path, deadline, e, &m->q);
}

int qemu_reconnect(struct qemu *m, uint64_t deadline, struct diag *diag)
{
	struct qmp_error e = {0};
	int r = m->q ? qmp_resync(m->q, deadline, &e) : QMP_E_BROKEN;

	if (r < 0) {
		/* QEMU takes the next client only when the last descriptor of this one is closed. */
		qmp_close(m->q);
		m->q = NULL;
		r = qemu_connect(m, deadline, &e);
		if (r < 0)
			return qemu_error(m, &e, "connecting to the monitor again", diag);
	}
	*m->calling = false;
	return VP_OK;
}

/* Somebody died between request and reply: the stream has to be set right first. */
static int get_ready(struct qemu *m, uint64_t deadline, struct diag *diag)
{
	return !m->q || *m->calling ? qemu_reconnect(m, deadline, diag) : VP_OK;
}

/* A late reply is dropped by the client; anything but an answer in time leaves doubt. */
static bool in_step(int code)
{
	return code == QMP_OK || code == QMP_E_COMMAND;
}

int qemu_call(struct qemu *m, const char *command, struct json_object *args, int fd,
	      uint64_t deadline, struct diag *diag, struct json_object **ret)
{
	struct qmp_error e = {0};
	int r = get_ready(m, deadline, diag);

	if (r < 0) {
		json_object_put(args);
		return r;
	}
	*m->calling = true;
	r = qmp_call(m->q, command, args, fd, deadline, &e, ret);
	*m->calling = !in_step(r);
	return r < 0 ? qemu_error(m, &e, command, diag) : VP_OK;
}

int qemu_hmp(struct qemu *m, const char *line, uint64_t deadline, struct diag *diag,
	     char **text_ret)
{
	struct qmp_error e = {0};
	char *text = NULL;
	int r = get_ready(m, deadline, diag);

	if (r < 0)
		return r;
	*m->calling = true;
	r = qmp_hmp(m->q, line, deadline, &e, &text);
	*m->calling = !in_step(r);
	if (r < 0)
		return qemu_error(m, &e, line, diag);
	if (text_ret)
		*text_ret = text;
	else
		free(text);
	return VP_OK;
}

void qemu_events_forget(struct qemu *m)
{
	(void)qemu_event_came(m, "", 0);
}

static bool is_event(struct json_object *e, const char *event)
{
	const char *name = qmp_get_str(e, "event");

	return name && strcmp(name, event) == 0;
}

bool qemu_event_came(struct qemu *m, const char *event, uint64_t deadline)
{
	struct json_object *e = NULL;
	bool came = false;

	/* What is there is given even after the deadline, so a QEMU that never ends needs a bound. */
	for (unsigned n = 0; !came && m->q && n < EVENTS_LOOK; n++) {
		if (qmp_next_event(m->q, deadline, NULL, &e) != QMP_OK)
			break;
		came = is_event(e, event);
		json_object_put(e);
	}
	return came;
}

/* The member `status` of what a query answers, "" where it has none. */
static int query_status(struct qemu *m, const char *command, uint64_t deadline, char words[32],
			struct diag *diag)
{
	struct json_object *reply = NULL;
	const char *status;
	int r = qemu_call(m, command, NULL, -1, deadline, diag, &reply);

	if (r < 0)
		return r;
	status = qmp_get_str(reply, "status");
	snprintf(words, 32, "%s", status ? status : "");
	json_object_put(reply);
	return VP_OK;
}

int qemu_status(struct qemu *m, uint64_t deadline, char words[32], struct diag *diag)
{
	int r = query_status(m, "query-status", deadline, words, diag);

	if (r == VP_OK && words[0] == '\0')
		return diag_set(diag, VP_E_PROTO, "%s, query-status: no status in the answer",
				m->name);
	return r;
}

static bool one_of(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

/* QEMU's qapi/run-state.json, enum RunState */
static enum vp_run_state state_of(const char *status)
{
	static const char *const moving[] = {"inmigrate",  "finish-migrate", "save-vm",
					     "restore-vm", "colo",           NULL};
	static const char *const ended[] = {"shutdown", "postmigrate", NULL};

	if (strcmp(status, "running") == 0)
		return VP_RUN_RUNNING;
	if (strcmp(status, "paused") == 0)
		return VP_RUN_PAUSED;
	if (strcmp(status, "guest-panicked") == 0)
		return VP_RUN_PANICKED;
	if (one_of(status, moving))
		return VP_RUN_MIGRATING;
	return one_of(status, ended) ? VP_RUN_SHUTDOWN : VP_RUN_OTHER;
}

int qemu_run_state(struct qemu *m, uint64_t deadline, enum vp_run_state *ret, char words[32],
		   struct diag *diag)
{
	/* qapi/migration.json, enum MigrationStatus: those in which nothing is under way */
	static const char *const resting[] = {"", "none", "cancelled", "completed", "failed", NULL};
	char status[32], migration[32];
	enum vp_run_state state;
	int r = qemu_status(m, deadline, status, diag);

	if (r < 0)
		return r;
	r = query_status(m, "query-migrate", deadline, migration, diag);
	if (r < 0)
		return r;
	state = state_of(status);
	memcpy(words, status, sizeof(status));
	if ((state == VP_RUN_RUNNING || state == VP_RUN_PAUSED) && !one_of(migration, resting)) {
		state = VP_RUN_MIGRATING;
		memcpy(words, migration, sizeof(migration));
	}
	*ret = state;
	return VP_OK;
}

int qemu_check_state(struct qemu *m, uint64_t deadline, struct diag *diag, bool *runs)
{
	enum vp_run_state state;
	char words[32];
	int r = qemu_run_state(m, deadline, &state, words, diag);

	if (r < 0)
		return r;
	*runs = state == VP_RUN_RUNNING;
	switch (state) {
	case VP_RUN_RUNNING:
	case VP_RUN_PAUSED:
		return VP_OK;
	case VP_RUN_MIGRATING:
		return diag_set(diag, VP_E_MIGRATING, "%s: is migrating (%s): try again later",
				m->name, words);
	case VP_RUN_SHUTDOWN:
		return diag_set(diag, VP_E_SHUTDOWN, "%s: has ended (%s)", m->name, words);
	case VP_RUN_PANICKED:
		return diag_set(diag, VP_E_PANICKED, "%s: its kernel has panicked", m->name);
	default:
		break;
	}
	if (strcmp(words, "prelaunch") == 0)
		return diag_set(diag, VP_E_BOOTING, "%s: has not been started yet", m->name);
	if (strcmp(words, "debug") == 0)
		return diag_set(diag, VP_E_DEBUGGED, "%s: a debugger has stopped it", m->name);
	return diag_set(diag, VP_E_UNSUPPORTED, "%s: is in the state `%s`: resume or restart it",
			m->name, words);
}

int qemu_regs(struct qemu *m, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	char *text = NULL;
	int r = qemu_hmp(m, "info registers -a", clock_in(QEMU_CALL_NS), diag, &text);

	if (r < 0)
		return r;
	r = qemu_text_regs(text, vcpu, m->arch->reg_names, ret);
	free(text);
	if (r < 0)
		return diag_set(diag, r,
				"%s, info registers: no registers of vCPU %u in the answer",
				m->name, vcpu);
	return VP_OK;
}
