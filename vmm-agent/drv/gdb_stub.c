/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The debug channel: a listening socket of ours that QEMU gets over the monitor. Its name is taken
 * away at once and only our O_PATH descriptor leads to it: no path is left, no second client can
 * come, QEMU needs no right to any file.
 *
 *   getfd, chardev-add, gdbserver chardev:ID    when arming; the guest runs on
 *     connect                                   the guest is held
 *     qSupported Qqemu.PhyMemMode:1 qXfer..     in one go
 *     Hg g p.. M..
 *     D                                         the guest runs
 *     close                                     without `D` the guest stays held
 *   gdbserver none                              ends the stub and its character device
 *
 * So the monitor, whose round trip is several times that of the stub, is not needed in the window.
 *
 * The device's name says in what state the guest was found: vpatch-r-* running, vpatch-p-*
 * paused. So whoever finds one that a dead agent left knows whether the guest has to be let go.
 */
#include "vmm-agent/drv/gdb_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LABEL_RAN  "vpatch-r-"
#define XML_MAX    (256u << 10) /* bytes of all target descriptions; QEMU 7.2's longest: 20 KB */
#define PACKET_MIN 256u

void gdb_stub_hang_up(struct gdb *g)
{
	if (g->fd >= 0)
		close(g->fd);
	g->fd = -1;
}

void gdb_stub_forget(struct gdb *g)
{
	if (g->door >= 0)
		close(g->door);
	g->door = -1;
}

static struct json_object *string_arg(const char *key, const char *value)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, key, json_object_new_string(value));
	return o;
}

/* { "id": .., "backend": { "type": "socket", "data": { "addr": { "type": "fd", "data": { "str":
 * .. } }, "server": true, "wait": false } } }; qapi/char.json */
static struct json_object *chardev_args(const char *id)
{
	struct json_object *args = string_arg("id", id);
	struct json_object *backend = string_arg("type", "socket");
	struct json_object *data = json_object_new_object();
	struct json_object *addr = string_arg("type", "fd");

	json_object_object_add(addr, "data", string_arg("str", id));
	json_object_object_add(data, "addr", addr);
	json_object_object_add(data, "server", json_object_new_boolean(1));
	json_object_object_add(data, "wait", json_object_new_boolean(0));
	json_object_object_add(backend, "data", data);
	json_object_object_add(args, "backend", backend);
	return args;
}

static int start_stub(struct gdb *g, const char *id, uint64_t deadline, struct diag *diag)
{
	char line[80], *text = NULL;
	int r;

	snprintf(line, sizeof(line), "gdbserver chardev:%s", id);
	r = qemu_hmp(g->m, line, deadline, diag, &text);
	if (r < 0)
		return r;
	if (!strstr(text, "Waiting for gdb connection"))
		r = diag_set(diag, VP_E_UNSUPPORTED, "%s, gdbserver: %.200s", g->m->name,
			     *text ? text : "no answer");
	free(text);
	return r;
}

static int hand_over(struct gdb *g, const char *id, int fd, uint64_t deadline, struct diag *diag)
{
	int r = qemu_call(g->m, "getfd", string_arg("fdname", id), fd, deadline, diag, NULL);

	if (r < 0)
		return r;
	r = qemu_call(g->m, "chardev-add", chardev_args(id), -1, deadline, diag, NULL);
	if (r < 0) {
		(void)!qemu_call(g->m, "closefd", string_arg("fdname", id), -1, deadline, NULL,
				 NULL);
		return r;
	}
	r = start_stub(g, id, deadline, diag);
	if (r < 0)
		(void)!qemu_call(g->m, "chardev-remove", string_arg("id", id), -1, deadline, NULL,
				 NULL);
	return r;
}

/* Listens in a directory that nobody else may enter, and takes both names away again. */
static int listen_in(const char *parent, int *listener_ret, int *door_ret)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[sizeof(addr.sun_path) - sizeof("/gdb") + 1];
	int fd, door = -1;

	if (snprintf(dir, sizeof(dir), "%s/vpatch-XXXXXX", parent) >= (int)sizeof(dir)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (!mkdtemp(dir)) /* mode 0700 */
		return -1;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/gdb", dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 4) == 0)
		door = open(addr.sun_path, O_PATH | O_CLOEXEC);
	unlink(addr.sun_path);
	rmdir(dir);
	if (door < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	*listener_ret = fd;
	*door_ret = door;
	return 0;
}

static int listen_somewhere(struct gdb *g, int *listener_ret, int *door_ret, struct diag *diag)
{
	static const char *const parents[] = {VP_RUNDIR, "/run", "/tmp"};

	for (size_t i = 0; i < sizeof(parents) / sizeof(parents[0]); i++)
		if (listen_in(parents[i], listener_ret, door_ret) == 0)
			return VP_OK;
	return diag_errno(diag, errno, "%s: a socket in /run or /tmp", g->m->name);
}

int gdb_stub_prepare(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	int listener = -1, door = -1, r;
	char id[48];

	r = listen_somewhere(g, &listener, &door, diag);
	if (r < 0)
		return r;
	snprintf(id, sizeof(id), GDB_LABEL "%c-%d-%u", g->run_again ? 'r' : 'p', (int)getpid(),
		 ++g->sh->serial);
	r = hand_over(g, id, listener, deadline, diag);
	close(listener);
	gdb_stub_hang_up(g);
	gdb_stub_forget(g);
	if (r < 0) {
		close(door);
		return r;
	}
	g->door = door;
	g->sh->ready = true;
	return VP_OK;
}

/* unix(7), proc(5): the descriptor's name in /proc leads to the socket although it has no other. */
static int connect_door(struct gdb *g, struct diag *diag)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return diag_errno(diag, errno, "%s: socket", g->m->name);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", g->door);
	if (g->door < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int err = g->door < 0 || errno == ECONNREFUSED ? VP_E_DISCONNECTED : VP_E_IO;

		diag_set(diag, err, "%s: QEMU's gdbstub does not listen: %s", g->m->name,
			 strerror(errno));
		close(fd);
		return err;
	}
	gdb_stub_hang_up(g);
	g->fd = fd;
	return VP_OK;
}

static int not_understood(const struct gdb *g, struct diag *diag, int err, const char *what)
{
	return diag_set(diag, err == VP_OK ? VP_E_PROTO : err, "%s, QEMU's gdbstub: %s: %s",
			g->m->name, what,
			err == VP_OK ? "not the answer that was expected" : vp_err_sentence(err));
}

static int read_packet_size(struct gdb *g, const char *reply)
{
	const char *at = strstr(reply, "PacketSize=");
	unsigned long n = at ? strtoul(at + strlen("PacketSize="), NULL, 16) : 0;

	if (n < PACKET_MIN)
		return VP_E_PROTO;
	g->packet_max = n < RSP_PAYLOAD_MAX ? n : RSP_PAYLOAD_MAX;
	return VP_OK;
}

/* The stub answers `p` only after target.xml was asked for, if but for a byte. */
static const char *const greeting[] = {"qSupported:xmlRegisters=i386", "Qqemu.PhyMemMode:1",
				       "qXfer:features:read:target.xml:0,1"};

static int greet(struct gdb *g, uint64_t deadline)
{
	int r = VP_OK;

	rsp_init(&g->rsp, g->fd);
	for (size_t i = 0; r == VP_OK && i < 3; i++)
		r = rsp_queue(&g->rsp, greeting[i], strlen(greeting[i]));
	return r == VP_OK ? rsp_send(&g->rsp, deadline) : r;
}

static int be_greeted(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	const char *reply = "";
	size_t len;
	int r = rsp_reply(&g->rsp, deadline, &reply, &len);

	if (r == VP_OK)
		r = read_packet_size(g, reply);
	if (r < 0)
		return not_understood(g, diag, r, greeting[0]);
	r = rsp_reply(&g->rsp, deadline, &reply, &len);
	if (r < 0)
		return not_understood(g, diag, r, greeting[1]);
	if (strcmp(reply, "OK") != 0)
		return diag_set(diag, VP_E_UNSUPPORTED,
				"%s: this QEMU's gdbstub has no physical addressing: QEMU 4.1 or "
				"later is needed",
				g->m->name);
	r = rsp_reply(&g->rsp, deadline, &reply, &len);
	if (r < 0 || (reply[0] != 'm' && reply[0] != 'l'))
		return not_understood(g, diag, r, greeting[2]);
	return VP_OK;
}

/* A whole document, piece by piece; appended to text. */
static int read_document(struct gdb *g, const char *name, char *text, size_t *len_io,
			 uint64_t deadline)
{
	size_t start = *len_io;

	for (;;) {
		const char *reply = "";
		size_t len = 0;
		int r = rsp_queuef(&g->rsp, "qXfer:features:read:%s:%zx,%zx", name, *len_io - start,
				   g->packet_max - 8);

		if (r == VP_OK)
			r = rsp_reply(&g->rsp, deadline, &reply, &len);
		if (r < 0)
			return r;
		if (len == 0 || (reply[0] != 'm' && reply[0] != 'l') || len - 1 > XML_MAX - *len_io)
			return VP_E_PROTO;
		memcpy(text + *len_io, reply + 1, len - 1);
		*len_io += len - 1;
		if (reply[0] == 'l')
			return VP_OK;
		if (len == 1)
			return VP_E_PROTO; /* more to come, and nothing comes */
	}
}

static int read_documents(struct gdb *g, struct gdb_xml *x, char *text, uint64_t deadline)
{
	size_t len = 0, start = 0;
	int r = read_document(g, "target.xml", text, &len, deadline);

	if (r == VP_OK)
		r = gdb_xml_add(x, text, len);
	for (unsigned i = 0; r == VP_OK && i < x->n_includes; i++) {
		start = len;
		r = read_document(g, x->include[i], text, &len, deadline);
		if (r == VP_OK)
			r = gdb_xml_add(x, text + start, len - start);
	}
	return r;
}

/* "5", or "p1.5": QEMU goes on with the multiprocess extension for every later client once one
 * has asked for it. It takes both forms itself. */
static const char *thread_number(const char *id)
{
	const char *dot = id[0] == 'p' ? strchr(id, '.') : NULL;

	return dot && strcspn(id, ",") > (size_t)(dot - id) ? dot + 1 : id;
}

/* Thread id N + 1 is vCPU index N. QEMU has it so; here it is seen to be so. */
static int check_threads(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	const char *ask = "qfThreadInfo", *reply = "";
	unsigned seen = 0;
	size_t len;
	int r;

	for (;;) {
		const char *p;

		r = rsp_call(&g->rsp, deadline, ask, &reply, &len);
		if (r < 0)
			return not_understood(g, diag, r, ask);
		if (reply[0] == 'l')
			break;
		for (p = reply; *p == 'm' || *p == ',';) {
			const char *number = thread_number(p + 1);
			char *end;
			unsigned long id = strtoul(number, &end, 16);

			if (end == number || id == 0 || id > g->m->vcpus || ++seen > g->m->vcpus)
				break;
			p = end;
		}
		if (*p != '\0' || p == reply)
			return diag_set(diag, VP_E_GUEST_CHANGED,
					"%s, QEMU's gdbstub: its threads are not the %u vCPUs of "
					"query-cpus-fast",
					g->m->name, g->m->vcpus);
		ask = "qsThreadInfo";
	}
	if (seen != g->m->vcpus)
		return diag_set(diag, VP_E_UNSUPPORTED,
				"%s, QEMU's gdbstub: shows %u of %u vCPUs (several clusters?)",
				g->m->name, seen, g->m->vcpus);
	return VP_OK;
}

/* Where the registers are. Learned once an agent's life and left to its forks. */
static int learn(struct gdb *g, uint64_t deadline, struct diag *diag)
{
	struct gdb_xml x;
	const char *reply = "";
	char *text;
	size_t len;
	int r = check_threads(g, deadline, diag);

	if (r < 0)
		return r;
	text = malloc(XML_MAX);
	if (!text)
		return diag_set(diag, VP_E_NOMEM, "%s: no memory", g->m->name);
	gdb_xml_init(&x, g->m->arch->reg_names);
	r = read_documents(g, &x, text, deadline);
	free(text);
	if (r == VP_OK && !x.reg[ARCH_REG_PC].known)
		r = VP_E_PROTO;
	if (r < 0)
		return not_understood(g, diag, r, "target description");
	r = rsp_call(&g->rsp, deadline, "g", &reply, &len);
	if (r < 0)
		return not_understood(g, diag, r, "g");
	g->sh->g_bytes = (uint32_t)(len / 2);
	memcpy(g->sh->reg, x.reg, sizeof(x.reg));
	g->sh->learned = true;
	return VP_OK;
}

int gdb_stub_call(struct gdb *g, uint64_t deadline, struct diag *diag, bool *stopped_ret)
{
	bool held = g->sh->held;
	int r;

	g->sh->held = true;
	r = connect_door(g, diag);
	if (r < 0) {
		g->sh->held = held;
		return r;
	}
	r = greet(g, deadline);
	if (r < 0)
		return not_understood(g, diag, r, greeting[0]);
	r = be_greeted(g, deadline, diag);
	if (r == VP_OK && !g->sh->learned)
		r = learn(g, deadline, diag);
	*stopped_ret = g->rsp.stopped;
	return r;
}

/* One device of query-chardev that is an agent's. */
static int clear_one(struct gdb *g, const char *label, bool in_use, uint64_t deadline,
		     struct diag *diag)
{
	/* Ending the stub ends its device too; a device that no stub took is removed by name. */
	if (in_use)
		return qemu_hmp(g->m, "gdbserver none", deadline, diag, NULL);
	return qemu_call(g->m, "chardev-remove", string_arg("id", label), -1, deadline, diag, NULL);
}

static int clear_round(struct gdb *g, uint64_t deadline, struct diag *diag, unsigned *found,
		       bool *ran)
{
	struct json_object *list = NULL;
	int r = qemu_call(g->m, "query-chardev", NULL, -1, deadline, diag, &list);

	*found = 0;
	if (r < 0)
		return r;
	if (!json_object_is_type(list, json_type_array)) {
		json_object_put(list);
		return diag_set(diag, VP_E_PROTO, "%s, query-chardev: not a list", g->m->name);
	}
	for (size_t i = 0; r == VP_OK && i < json_object_array_length(list); i++) {
		struct json_object *dev = json_object_array_get_idx(list, i), *open = NULL;
		const char *label = qmp_get_str(dev, "label");
		bool in_use = json_object_object_get_ex(dev, "frontend-open", &open) &&
			      json_object_get_boolean(open);

		if (!label || strncmp(label, GDB_LABEL, strlen(GDB_LABEL)) != 0)
			continue;
		++*found;
		if (in_use && strncmp(label, LABEL_RAN, strlen(LABEL_RAN)) == 0)
			*ran = true;
		r = clear_one(g, label, in_use, deadline, diag);
	}
	json_object_put(list);
	return r;
}

int gdb_stub_clear(struct gdb *g, uint64_t deadline, struct diag *diag, bool *ran_ret)
{
	unsigned found = 1;
	bool ran = false;
	int r = VP_OK;

	gdb_stub_hang_up(g);
	gdb_stub_forget(g);
	for (unsigned round = 0; r == VP_OK && found > 0; round++) {
		r = clear_round(g, deadline, diag, &found, &ran);
		if (r == VP_OK && found > 0 && round == 3)
			r = diag_set(diag, VP_E_PROTO,
				     "%s, gdbserver none: the debug channel does not go away",
				     g->m->name);
	}
	if (r < 0)
		return r;
	g->sh->ready = false;
	if (ran_ret)
		*ran_ret = ran;
	return VP_OK;
}

/* Little-endian, as both of our architectures and their stubs are. */
static bool reg_value(const char *hex, size_t len, uint32_t bytes, uint64_t *ret)
{
	uint8_t b[8] = {0};

	if (bytes > sizeof(b) || !rsp_unhex(hex, len, b, bytes))
		return false;
	*ret = 0;
	for (unsigned i = 0; i < bytes; i++)
		*ret |= (uint64_t)b[i] << (8 * i);
	return true;
}

static bool in_g(const struct gdb *g, const struct gdb_reg *reg)
{
	return reg->placed && reg->offset <= g->sh->g_bytes &&
	       reg->bytes <= g->sh->g_bytes - reg->offset;
}

/* `Hg` selects the vCPU, `g` gives its core registers, `p` each of the others: one write, and
 * the replies in the order of the requests. */
static int ask_regs(struct gdb *g, unsigned vcpu)
{
	int r = rsp_queuef(&g->rsp, "Hg%x", vcpu + 1);

	if (r == VP_OK)
		r = rsp_queue(&g->rsp, "g", 1);
	for (unsigned i = 0; r == VP_OK && i < ARCH_REG_MAX; i++)
		if (g->sh->reg[i].known && !in_g(g, &g->sh->reg[i]))
			r = rsp_queuef(&g->rsp, "p%x", g->sh->reg[i].num);
	return r;
}

static void regs_from_g(struct gdb *g, const char *reply, size_t len, struct arch_regs *regs)
{
	for (unsigned i = 0; i < ARCH_REG_MAX; i++) {
		const struct gdb_reg *reg = &g->sh->reg[i];

		if (!reg->known || !in_g(g, reg) || 2 * ((size_t)reg->offset + reg->bytes) > len)
			continue;
		if (reg_value(reply + 2 * (size_t)reg->offset, 2 * (size_t)reg->bytes, reg->bytes,
			      &regs->v[i]))
			regs->have |= 1u << i;
	}
}

int gdb_stub_regs(struct gdb *g, unsigned vcpu, uint64_t deadline, struct arch_regs *ret)
{
	struct arch_regs regs = {0};
	const char *reply = "";
	bool selected;
	size_t len = 0;
	int r = ask_regs(g, vcpu);

	if (r == VP_OK)
		r = rsp_reply(&g->rsp, deadline, &reply, &len);
	if (r < 0)
		return r;
	selected = strcmp(reply, "OK") == 0;
	r = rsp_reply(&g->rsp, deadline, &reply, &len);
	if (r < 0)
		return r;
	regs_from_g(g, reply, len, &regs);
	for (unsigned i = 0; i < ARCH_REG_MAX; i++) {
		if (!g->sh->reg[i].known || in_g(g, &g->sh->reg[i]))
			continue;
		r = rsp_reply(&g->rsp, deadline, &reply, &len);
		if (r < 0)
			return r;
		/* Empty or Exx: a register that this CPU model does not have after all. */
		if (reg_value(reply, len, g->sh->reg[i].bytes, &regs.v[i]))
			regs.have |= 1u << i;
	}
	/* Only now: the replies had to be taken off the stream in any case. */
	if (!selected)
		return VP_E_GUEST_CHANGED;
	if (!(regs.have & 1u << ARCH_REG_PC))
		return VP_E_PROTO;
	*ret = regs;
	return VP_OK;
}
