// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/bench/rig.h"

#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/drv/kvm.h"
#include "vmm-agent/engine/poke.h"
#include "vmm-agent/engine/record.h"
#include "vmm-agent/engine/vmm.h"

#define PATIENCE (20 * CLOCK_NS_PER_SEC)
#define TRIES    100
#define QUIET_US 500 /* between two operations */
#define NONE_US  2000
#define SOCK_LEN 96

const char *const op_name[OPS] = {
	[OP_NONE] = "nothing",
	[OP_KVM] = "kvm",
	[OP_GDB] = "gdb",
	[OP_APPLY] = "kvm-apply",
	[OP_QMP] = "qmp-stop-cont",
	[OP_HOLD] = "floor-vpatch",
	[OP_PTRACE] = "floor-ptrace",
	[OP_PTRACE_FIFO] = "floor-ptrace-fifo",
	[OP_INPROC] = "inproc-apply",
	[OP_LITERAL] = "kvm-live-literal",
	[OP_TRAP] = "kvm-live-trap",
};

static bool say(const char *what, const char *words)
{
	fprintf(stderr, "bench: %s: %s\n", what, words);
	return false;
}

/* --- changes ----------------------------------------------------------------------------------- */

/* Two forms of the five-byte nop (Intel SDM vol. 2, NOP): whichever is there, the guest runs on. */
static const uint8_t nop[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};  /* nopl 0(%rax,%rax,1) */
static const uint8_t nop8[5] = {0x0f, 0x1f, 0x44, 0x00, 0x08}; /* nopl 8(%rax,%rax,1) */

static bool fill(struct rig *r, struct eng_txn *txn, unsigned n, const uint8_t *old,
		 const uint8_t *new)
{
	const struct vp_target_info *info = vp_target_info(r->kvm.t);
	size_t n_quiet = 0;

	*txn = (struct eng_txn){.op = ENG_OP_APPLY, .id = info->id, .was_running = true};
	eng_host_boot(txn->host_boot, sizeof(txn->host_boot));
	if (n == 0)
		return true;
	txn->steps = calloc(n, sizeof(*txn->steps));
	if (!txn->steps ||
	    guest_quiet_words(r->kvm.g, txn->quiet, ENG_QUIET_MAX, &n_quiet, &r->diag) < 0)
		return false;
	txn->n_quiet = (uint32_t)n_quiet;
	txn->n_steps = n;
	for (unsigned i = 0; i < n; i++) {
		struct eng_step *step = &txn->steps[i];

		*step = (struct eng_step){.prev = -1, .last = true};
		step->e.edit = (struct vp_edit){.gva = vp_gva(bare_site_gva(&r->b, i)),
						.gpa = vp_gpa(bare_site_gpa(&r->b, i)),
						.kind = VP_EDIT_SITE,
						.discipline = VP_DISCIPLINE_STOP,
						.len = sizeof(nop)};
		memcpy(step->e.edit.old, old, sizeof(nop));
		memcpy(step->e.edit.new, new, sizeof(nop));
	}
	return true;
}

static struct change *change_of(struct rig *r, unsigned sites)
{
	struct change *c;

	for (unsigned i = 0; i < r->n_made; i++)
		if (r->made[i].sites == sites)
			return &r->made[i].change;
	if (r->n_made == sizeof(r->made) / sizeof(r->made[0]))
		return NULL;
	c = &r->made[r->n_made].change;
	r->made[r->n_made++].sites = sites;
	return fill(r, &c->there, sites, nop, nop8) && fill(r, &c->back, sites, nop8, nop) ? c
											   : NULL;
}

/* --- start and stop ------------------------------------------------------------------------------ */

static bool way_open(struct rig *r, const char *name, const char *driver, struct way *w)
{
	const struct dom_opts opts = {.driver = driver};

	if (dom_open(name, &opts, &r->diag, &w->t) < 0 ||
	    guest_open(w->t, GUEST_MAY_HOLD, &r->diag, &w->g) < 0)
		return say(driver, r->diag.text);
	return true;
}

static void way_close(struct way *w)
{
	if (w->g)
		guest_close(w->g);
	vp_target_close(w->t);
	*w = (struct way){.t = NULL};
}

static const char *program(const char *name, char buf[PATH_MAX])
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/'))
		*strrchr(self, '/') = '\0';
	if (snprintf(buf, PATH_MAX, "%s/%s", self, name) >= PATH_MAX)
		buf[0] = '\0';
	return buf;
}

/* argv[0] of it gives way to the program's path. */
static bool floor_open(struct floor *f, char **argv)
{
	char path[PATH_MAX];
	int in[2], out[2];

	if (pipe(in) < 0 || pipe(out) < 0)
		return say("floor", "no pipe");
	program("floor", path);
	f->pid = fork();
	if (f->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[0]);
		close(in[1]);
		close(out[0]);
		close(out[1]);
		argv[0] = path;
		execv(path, argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	f->in = fdopen(in[1], "w");
	f->out = fdopen(out[0], "r");
	return f->pid > 0 && f->in && f->out;
}

static void floor_close(struct floor *f)
{
	if (f->in)
		fclose(f->in);
	if (f->out)
		fclose(f->out);
	if (f->pid > 0)
		waitpid(f->pid, NULL, 0);
	*f = (struct floor){.pid = 0};
}

static bool floors_open(struct rig *r)
{
	char word[BARE_CPUS_MAX][16];
	char *argv[BARE_CPUS_MAX + 3] = {NULL}, fifo[] = "-f";
	pid_t tid[BARE_CPUS_MAX];
	unsigned n = bare_threads(&r->b, tid, BARE_CPUS_MAX);

	if (n != r->b.opts.vcpus)
		return say("floor", "another number of vCPUs than the guest has");
	for (unsigned i = 0; i < n; i++) {
		snprintf(word[i], sizeof(word[i]), "%d", (int)tid[i]);
		argv[i + 2] = word[i];
	}
	argv[1] = fifo;
	return floor_open(&r->floor[1], argv) && floor_open(&r->floor[0], argv + 1);
}

static bool load_fix(struct rig *r)
{
	char path[PATH_MAX];
	uint8_t *buf;
	size_t len;
	int e = hf_read_file(bare_file("fix.vpatch", path, sizeof(path)), &r->diag, &buf, &len);

	if (e < 0)
		return say("fix.vpatch", r->diag.text);
	e = hf_open(buf, len, &r->diag, &r->fix);
	free(buf);
	return e < 0 ? say("fix.vpatch", r->diag.text) : true;
}

/* One QMP socket serves one client: each way has its own. */
static bool start_qemu(struct rig *r, const struct bare_opts *opts)
{
	char gdb[SOCK_LEN], own[SOCK_LEN], name[SOCK_LEN + 8], arg[2][SOCK_LEN + 32];
	const char *const extra[] = {"-qmp", arg[0], "-qmp", arg[1], NULL};
	struct bare_opts all = *opts;
	struct qmp_error err;

	snprintf(gdb, sizeof(gdb), "%s/gdb", r->dir);
	snprintf(own, sizeof(own), "%s/own", r->dir);
	snprintf(name, sizeof(name), "qmp:%s", gdb);
	snprintf(arg[0], sizeof(arg[0]), "unix:%s,server=on,wait=off", gdb);
	snprintf(arg[1], sizeof(arg[1]), "unix:%s,server=on,wait=off", own);
	all.sites = RIG_SITES_MAX;
	all.extra = extra;
	if (!bare_start(&r->b, &all) || !way_open(r, r->b.name, "kvm", &r->kvm) ||
	    !way_open(r, name, "gdb", &r->gdb))
		return false;
	if (qmp_open(own, clock_in(PATIENCE), &err, &r->qmp) < 0)
		return say("QMP", err.desc);
	return true;
}

static bool start_vmm(struct rig *r, const struct bare_opts *opts)
{
	char script[2 * PATH_MAX];
	const char *const command[] = {"sh", "-c", script, NULL};
	struct bare_opts all = *opts;

	vmm_command(r->dir, script, sizeof(script));
	all.command = command;
	if (!bare_start(&r->b, &all))
		return false;
	/* By its pid alone: the control socket that it listens on is no monitor. */
	if (drv_kvm_open_pid(r->b.name, r->b.pid, &r->diag, &r->kvm.t) < 0 ||
	    guest_open(r->kvm.t, GUEST_MAY_HOLD, &r->diag, &r->kvm.g) < 0)
		return say("kvm", r->diag.text);
	return vmm_control_open(&r->control, r->dir) || say("example VMM", "no control socket");
}

bool rig_start(struct rig *r, enum bare_vmm vmm, unsigned vcpus, unsigned busy)
{
	const struct bare_opts opts = {.vmm = vmm, .vcpus = vcpus, .busy = busy, .ring = 3};

	memset(r, 0, sizeof(*r));
	diag_init(&r->diag);
	strcpy(r->dir, "/tmp/vpatch-bench-XXXXXX");
	if (!mkdtemp(r->dir)) {
		r->dir[0] = '\0';
		return say("bench", "no temporary directory");
	}
	if (!(vmm == BARE_COMMAND ? start_vmm(r, &opts) : start_qemu(r, &opts)))
		return false;
	/* The command has no guest RAM mapped: a holder would have to lock all of it. */
	if (madvise(r->b.ram, (size_t)BARE_RAM_MIB << 20, MADV_DONTFORK) < 0)
		return say("bench", "MADV_DONTFORK");
	return floors_open(r) && load_fix(r);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

void rig_stop(struct rig *r)
{
	for (unsigned i = 0; i < r->n_made; i++) {
		free(r->made[i].change.there.steps);
		free(r->made[i].change.back.steps);
	}
	way_close(&r->kvm);
	way_close(&r->gdb);
	if (r->fix)
		hf_close(r->fix);
	qmp_close(r->qmp);
	vmm_control_close(&r->control);
	floor_close(&r->floor[0]);
	floor_close(&r->floor[1]);
	bare_stop(&r->b);
	if (r->dir[0])
		nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	memset(r, 0, sizeof(*r));
}

/* --- one operation ---------------------------------------------------------------------------------- */

static int no_look(void *ctx, struct vp_paused *p, vp_gva_t *pcs, struct diag *diag)
{
	(void)ctx;
	(void)p;
	(void)pcs;
	(void)diag;
	return VP_OK;
}

/* As the engine has it (change.c, hold): armed, changed by a holder, disarmed. */
static int hold(struct rig *r, const struct way *w, const struct eng_txn *txn, struct sample *ret)
{
	struct eng_view view =
		txn->n_steps ? eng_view_of(w->g) : (struct eng_view){.held = no_look};
	struct eng_hold h = {.t = w->t, .txn = txn, .view = &view, .window_ns = PATIENCE};
	uint64_t from = clock_now();
	struct eng_held held;
	int e = vp_arm(w->t, VP_AFTER_AS_FOUND, &r->diag);

	if (e < 0)
		return e;
	e = eng_hold_run(&h, ENG_JOB_CHANGE, &r->diag, &held);
	vp_disarm(w->t);
	ret->total_ns = clock_now() - from;
	ret->window_ns = held.window_ns;
	return e;
}

static int apply(struct rig *r, bool back, struct sample *ret)
{
	const struct eng_opts opts = {.dirs = {r->dir, r->dir}, .window_ns = PATIENCE};
	uint64_t from = clock_now();
	struct eng_report rep;
	int e;

	memset(&rep, 0, sizeof(rep));
	if (back)
		e = eng_revert(r->kvm.t, hf_info(r->fix)->name, &opts, &r->diag, &rep);
	else
		e = eng_apply(r->kvm.t, r->fix, &opts, &r->diag, &rep);
	ret->total_ns = clock_now() - from;
	ret->window_ns = rep.window_ns;
	eng_report_deinit(&rep);
	return e;
}

static int in_the_vmm(struct rig *r, bool back, struct sample *ret)
{
	uint64_t from = clock_now();
	int e = vmm_change(&r->control, hf_info(r->fix)->name, back, &r->diag, &ret->window_ns);

	ret->total_ns = clock_now() - from;
	return e;
}

/* The last page of RAM, of which the guest has no use: a site, a literal and a trap record. */
static int poke(struct rig *r, enum vp_discipline d, struct sample *ret)
{
	const vp_gpa_t page = vp_gpa(((uint64_t)BARE_RAM_MIB << 20) - 4096);
	const struct arch_ops *arch = vp_target_info(r->kvm.t)->arch;
	const bool trap = d == VP_DISCIPLINE_TRAP;
	const struct arch_poke_ask ask = {.at = vp_gva(page.v),
					  .len = trap ? sizeof(nop) : 0,
					  .old = nop,
					  .new = nop8,
					  .literal = vp_gva(trap ? 0 : page.v + 64),
					  .literal_new = !trap,
					  .discipline = d,
					  .live = true,
					  .handler = true};
	struct arch_poke prog;
	const struct eng_poke p = {&prog, vp_gva(page.v), page, vp_gpa(page.v + 64),
				   vp_gpa(page.v + 128)};
	uint64_t from = clock_now(), begun;
	const char *why = "";
	struct vp_live *l;
	int e = arch_poke(arch, &ask, &prog, &why);

	if (e < 0)
		return diag_set(&r->diag, e, "no such program: %s", why);
	e = vp_live_open(r->kvm.t, &r->diag, &l);
	if (e < 0)
		return e;
	begun = clock_now();
	e = eng_poke_run(l, &p, 1, NULL, clock_in(PATIENCE), &r->diag, NULL);
	ret->window_ns = clock_now() - begun;
	vp_live_close(l);
	ret->total_ns = clock_now() - from;
	return e;
}

static int stop_cont(struct rig *r, struct sample *ret)
{
	uint64_t from = clock_now();
	struct qmp_error err = {.code = 0};

	if (qmp_call(r->qmp, "stop", NULL, -1, clock_in(PATIENCE), &err, NULL) < 0 ||
	    qmp_call(r->qmp, "cont", NULL, -1, clock_in(PATIENCE), &err, NULL) < 0)
		return diag_set(&r->diag, VP_E_IO, "%s", err.desc);
	ret->window_ns = ret->total_ns = clock_now() - from;
	return VP_OK;
}

static int by_ptrace(struct rig *r, struct floor *f, struct sample *ret)
{
	char line[64];

	fputs("\n", f->in);
	fflush(f->in);
	if (!fgets(line, sizeof(line), f->out) ||
	    sscanf(line, "%" SCNu64 " %" SCNu64, &ret->window_ns, &ret->total_ns) != 2 ||
	    ret->window_ns == 0)
		return diag_set(&r->diag, VP_E_IO, "floor: the threads were not held");
	return VP_OK;
}

static int run_once(struct rig *r, enum op op, unsigned sites, bool back, struct sample *ret)
{
	const struct change *c = change_of(r, op == OP_HOLD ? 0 : sites);
	const struct way *w = op == OP_GDB ? &r->gdb : &r->kvm;

	if (!c)
		return diag_set(&r->diag, VP_E_NOMEM, "no memory");
	switch (op) {
	case OP_KVM:
	case OP_GDB:
	case OP_HOLD:
		return hold(r, w, back ? &c->back : &c->there, ret);
	case OP_APPLY:
		return apply(r, back, ret);
	case OP_QMP:
		return stop_cont(r, ret);
	case OP_PTRACE:
		return by_ptrace(r, &r->floor[0], ret);
	case OP_PTRACE_FIFO:
		return by_ptrace(r, &r->floor[1], ret);
	case OP_INPROC:
		return in_the_vmm(r, back, ret);
	case OP_LITERAL:
		return poke(r, VP_DISCIPLINE_LITERAL, ret);
	case OP_TRAP:
		return poke(r, VP_DISCIPLINE_TRAP, ret);
	default:
		usleep(NONE_US);
		return VP_OK;
	}
}

/* Under the example VMM the CPUs call what the bundle replaces. */
static bool toggled(struct rig *r, enum op op)
{
	if (r->qmp || r->b.opts.busy == 0 || (op != OP_APPLY && op != OP_INPROC))
		return true;
	return bare_wait_flip(&r->b, ++r->toggles, PATIENCE);
}

const char *rig_check(struct rig *r)
{
	return bare_check(&r->b, r->toggles);
}

/* With what the guest saw meanwhile. */
static int run_seen(struct rig *r, enum op op, unsigned sites, bool back, struct sample *ret)
{
	bool seen = r->b.opts.busy > 0;
	int e;

	*ret = (struct sample){.gap_ns = 0};
	usleep(QUIET_US);
	if (seen && !bare_gap_reset(&r->b, PATIENCE))
		return diag_set(&r->diag, VP_E_IO, "the guest's CPUs do not answer");
	e = run_once(r, op, sites, back, ret);
	if (seen && (!bare_wait_calls(&r->b, 1, PATIENCE) || (e == VP_OK && !toggled(r, op))))
		return diag_set(&r->diag, VP_E_IO, "the guest does not go on");
	if (seen)
		ret->gap_ns = bare_gap_ns(&r->b);
	return e;
}

static bool run_until_done(struct rig *r, enum op op, unsigned sites, bool back,
			   struct samples *ret)
{
	struct sample sample;

	for (int i = 0; i < TRIES; i++) {
		if (run_seen(r, op, sites, back, &sample) == VP_OK)
			return stat_add(ret, &sample);
		ret->failed++;
		if (vp_err_exit(r->diag.err) != 3)
			break;
	}
	return say(op_name[op], r->diag.text);
}

bool rig_run(struct rig *r, enum op op, unsigned sites, struct samples *ret)
{
	bool two = op == OP_KVM || op == OP_GDB || op == OP_APPLY || op == OP_INPROC;

	return run_until_done(r, op, sites, false, ret) &&
	       (!two || run_until_done(r, op, sites, true, ret));
}
