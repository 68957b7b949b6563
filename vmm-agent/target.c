/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/target.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/driver.h"
#include "vmm-agent/pages.h"

#define PAGE       4096u
#define PREFIX_MAX 64u

struct vp_paused {
	struct vp_target *target;
};

struct vp_live {
	struct vp_target *target;
};

struct vp_target {
	const struct vp_driver *driver;
	void *self;
	struct vp_target_info info;
	char *words[4]; /* what info's strings point to */
	uint32_t caps;
	const struct vp_ram *ram; /* NULL until asked for; the driver's memory */
	size_t n_ram;
	bool armed;
	bool held;
	uint64_t held_at;        /* when vp_pause was called */
	struct vp_paused paused; /* no allocation inside a window */
	bool lives;
	struct vp_live live;
	bool noting;
	struct pages ahead;
	bool kernel_noted;
	vp_gpa_t kernel;
};

static int copy_info(struct vp_target *t, const struct vp_target_info *info)
{
	const char *from[] = {info->name, info->locator, info->driver, info->accel};
	const char **to[] = {&t->info.name, &t->info.locator, &t->info.driver, &t->info.accel};

	t->info = *info;
	for (size_t i = 0; i < 4; i++) {
		t->words[i] = strdup(from[i] ? from[i] : "");
		if (!t->words[i])
			return VP_E_NOMEM;
		*to[i] = t->words[i];
	}
	return VP_OK;
}

static void destroy(struct vp_target *t)
{
	pages_deinit(&t->ahead);
	for (size_t i = 0; i < 4; i++)
		free(t->words[i]);
	free(t);
}

int vp_target_create(const struct vp_driver *driver, void *self, const struct vp_target_info *info,
		     struct diag *diag, struct vp_target **ret)
{
	struct vp_target *t;

	if (!info->arch)
		return diag_set(diag, VP_E_UNSUPPORTED,
				"guest architecture: not one that vpatch knows");
	if (info->vcpus == 0 || info->vcpus > VP_VCPU_MAX)
		return diag_set(diag, VP_E_UNSUPPORTED,
				"guest has %u vCPUs: vpatch handles 1 to %u", info->vcpus,
				VP_VCPU_MAX);
	t = calloc(1, sizeof(*t));
	if (!t || copy_info(t, info) < 0) {
		if (t)
			destroy(t);
		return diag_set(diag, VP_E_NOMEM, "target: no memory");
	}
	t->driver = driver;
	t->self = self;
	t->caps = driver->caps(self);
	t->paused.target = t;
	*ret = t;
	return VP_OK;
}

void vp_target_close(struct vp_target *t)
{
	if (!t)
		return;
	if (t->held && vp_resume(&t->paused) < 0)
		t->held = false; /* the driver's close is the last that can be done */
	vp_disarm(t);
	vp_live_close(&t->live);
	t->driver->close(t->self);
	destroy(t);
}

const struct vp_target_info *vp_target_info(const struct vp_target *t)
{
	return &t->info;
}

uint32_t vp_target_caps(const struct vp_target *t)
{
	return t->caps;
}

/* Every range check below leans on this list, so it is believed only when it is in order. */
static bool ram_sound(const struct vp_ram *ram, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (ram[i].len == 0 || ram[i].len - 1 > UINT64_MAX - ram[i].start.v)
			return false;
		if (i > 0 && (ram[i].start.v < ram[i - 1].start.v ||
			      ram[i].start.v - ram[i - 1].start.v < ram[i - 1].len))
			return false;
	}
	return n > 0;
}

int vp_ram(struct vp_target *t, const struct vp_ram **ret, size_t *n_ret, struct diag *diag)
{
	if (!t->ram) {
		const struct vp_ram *ram = NULL;
		size_t n = 0;
		int r = t->driver->ram(t->self, &ram, &n, diag);

		if (r < 0)
			return r;
		if (!ram_sound(ram, n))
			return diag_set(diag, VP_E_PROTO,
					"%s: the VMM's list of guest RAM is empty or overlaps",
					t->info.name);
		t->ram = ram;
		t->n_ram = n;
	}
	*ret = t->ram;
	*n_ret = t->n_ram;
	return VP_OK;
}

/* How many of the len bytes at `at` lie in the RAM range that `at` lies in; 0 if in none. */
static uint64_t ram_run(const struct vp_target *t, vp_gpa_t at, uint64_t len)
{
	size_t lo = 0, hi = t->n_ram;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct vp_ram *ram = &t->ram[mid];

		if (at.v < ram->start.v) {
			hi = mid;
		} else if (at.v - ram->start.v >= ram->len) {
			lo = mid + 1;
		} else {
			uint64_t left = ram->len - (at.v - ram->start.v);

			return len < left ? len : left;
		}
	}
	return 0;
}

static int ram_known(struct vp_target *t)
{
	const struct vp_ram *ram;
	size_t n;

	return vp_ram(t, &ram, &n, NULL);
}

void vp_note_kernel(struct vp_target *t, const vp_gpa_t *page)
{
	t->kernel_noted = page;
	if (page)
		t->kernel = *page;
}

bool vp_noted_kernel(const struct vp_target *t, vp_gpa_t *ret)
{
	*ret = t->kernel;
	return t->kernel_noted;
}

int vp_run_state(struct vp_target *t, enum vp_run_state *ret, char words[32], struct diag *diag)
{
	enum vp_run_state state = VP_RUN_OTHER;
	char name[32] = "";
	int r = t->driver->run_state(t->self, &state, name, diag);

	if (r < 0)
		return r;
	name[sizeof(name) - 1] = '\0';
	*ret = state;
	if (words)
		memcpy(words, name, sizeof(name));
	return VP_OK;
}

/* Walks [at, at + len) range by range: adjoining RAM ranges are one stretch to the guest. */
static int for_runs(struct vp_target *t, vp_gpa_t at, uint8_t *buf, size_t len, bool copy)
{
	while (len > 0) {
		uint64_t run = ram_run(t, at, len);
		int r = VP_OK;

		if (run == 0)
			return VP_E_RANGE;
		if (copy)
			r = t->driver->read(t->self, at, buf, (size_t)run);
		if (r < 0)
			return r;
		len -= (size_t)run;
		if (len > 0 && run > UINT64_MAX - at.v)
			return VP_E_RANGE;
		at.v += run;
		if (copy)
			buf += run;
	}
	return VP_OK;
}

int vp_read(struct vp_target *t, vp_gpa_t at, void *buf, size_t len)
{
	int r;

	/* Pages that were read ahead lie in RAM as a whole. */
	if (t->held && pages_get(&t->ahead, at, buf, len))
		return VP_OK;
	r = ram_known(t);
	if (r < 0)
		return r;
	r = for_runs(t, at, NULL, len, false);
	if (r < 0)
		return r;
	if (t->noting)
		pages_note(&t->ahead, at, len);
	return for_runs(t, at, buf, len, true);
}

void vp_note_reads(struct vp_target *t, bool on)
{
	if (!t->driver->read_all)
		return;
	if (on)
		pages_deinit(&t->ahead);
	else if (!pages_seal(&t->ahead))
		pages_deinit(&t->ahead);
	t->noting = on;
}

void vp_touch_ahead(struct vp_target *t)
{
	if (!t->noting && t->ahead.io)
		(void)!t->driver->read_all(t->self, t->ahead.io, t->ahead.n_io);
}

void vp_read_ahead(struct vp_paused *p)
{
	struct vp_target *t = p->target;
	struct pages *a = &t->ahead;

	/* io is there once the set is sealed. */
	a->loaded = t->held && !t->noting && a->io &&
		    t->driver->read_all(t->self, a->io, a->n_io) == VP_OK;
}

static int find_by_reading(struct vp_target *t, const void *prefix, size_t n, vp_gpa_t *found,
			   size_t cap, size_t *n_ret)
{
	size_t count = 0;

	for (size_t i = 0; i < t->n_ram; i++) {
		/* The first page boundary in the range; pages cut off by its ends do not count. */
		uint64_t off = (PAGE - t->ram[i].start.v % PAGE) % PAGE;

		for (; vp_fits(off, PAGE, t->ram[i].len); off += PAGE) {
			uint8_t head[PREFIX_MAX];
			vp_gpa_t at = vp_gpa(t->ram[i].start.v + off);
			int r = t->driver->read(t->self, at, head, n);

			if (r < 0)
				return r;
			if (memcmp(head, prefix, n) != 0)
				continue;
			if (count == cap)
				return VP_E_RANGE;
			found[count++] = at;
		}
	}
	*n_ret = count;
	return VP_OK;
}

int vp_find_pages(struct vp_target *t, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
		  size_t *n_ret, struct diag *diag)
{
	const struct vp_ram *ram;
	size_t n_ram;
	int r;

	if (n == 0 || n > PREFIX_MAX)
		return diag_set(diag, VP_E_RANGE, "page prefix of %zu bytes: 1 to %u are possible",
				n, PREFIX_MAX);
	r = vp_ram(t, &ram, &n_ram, diag);
	if (r < 0)
		return r;
	if (t->driver->find_pages)
		return t->driver->find_pages(t->self, prefix, n, found, cap, n_ret, diag);
	r = find_by_reading(t, prefix, n, found, cap, n_ret);
	if (r < 0)
		return diag_set(diag, r, "%s: looking through guest RAM: %s", t->info.name,
				r == VP_E_RANGE ? "more pages match than there may be"
						: vp_err_sentence(r));
	return VP_OK;
}

static int cannot_tell(const struct vp_target *t, const char *what, struct diag *diag)
{
	return diag_set(diag, VP_E_UNSUPPORTED, "%s: driver %s does not know its %s", t->info.name,
			t->driver->name, what);
}

static int by_start(const void *a, const void *b)
{
	const struct vp_slot *x = a, *y = b;

	return x->start.v < y->start.v ? -1 : x->start.v > y->start.v;
}

int vp_slots(struct vp_target *t, struct vp_slot **ret, size_t *n_ret, struct diag *diag)
{
	int r;

	if (!t->driver->slots)
		return cannot_tell(t, "memory slots", diag);
	r = t->driver->slots(t->self, ret, n_ret, diag);
	if (r == VP_OK)
		qsort(*ret, *n_ret, sizeof(**ret), by_start);
	return r;
}

int vp_vcpus(struct vp_target *t, struct vp_vcpu **ret, struct diag *diag)
{
	return t->driver->vcpus ? t->driver->vcpus(t->self, ret, diag)
				: cannot_tell(t, "vCPU threads", diag);
}

static int regs_ret(int r, const struct arch_regs *got, struct arch_regs *ret)
{
	if (r < 0)
		return r;
	if (got->have >> ARCH_REG_MAX)
		return VP_E_INTERNAL;
	*ret = *got;
	return VP_OK;
}

int vp_peek_regs(struct vp_target *t, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	struct arch_regs got = {0};
	int r;

	if (vcpu >= t->info.vcpus)
		return diag_set(diag, VP_E_RANGE, "%s: there is no vCPU %u", t->info.name, vcpu);
	if (t->held) {
		r = t->driver->regs(t->self, vcpu, &got);
		if (r < 0)
			diag_set(diag, r, "%s: registers of vCPU %u: %s", t->info.name, vcpu,
				 vp_err_sentence(r));
	} else {
		r = t->driver->peek_regs(t->self, vcpu, &got, diag);
	}
	return regs_ret(r, &got, ret);
}

int vp_peek_all(struct vp_target *t, struct arch_regs *ret, struct diag *diag)
{
	bool at_once = t->driver->peek_all && !t->held;
	int r = VP_OK;

	if (at_once) {
		memset(ret, 0, t->info.vcpus * sizeof(*ret));
		r = t->driver->peek_all(t->self, ret, diag);
	}
	for (unsigned i = 0; r == VP_OK && i < t->info.vcpus; i++)
		r = at_once ? regs_ret(VP_OK, &ret[i], &ret[i]) : vp_peek_regs(t, i, &ret[i], diag);
	return r;
}

int vp_check(struct vp_target *t, struct diag *diag)
{
	return t->driver->check ? t->driver->check(t->self, diag) : VP_OK;
}

int vp_arm(struct vp_target *t, enum vp_after after, struct diag *diag)
{
	const struct vp_ram *ram;
	size_t n;
	int r;

	if (t->armed || t->lives)
		return diag_set(diag, VP_E_INTERNAL, "%s: armed %s", t->info.name,
				t->armed ? "twice" : "while it is stored into live");
	/* Asked for now, so that no range check inside the window has to. */
	r = vp_ram(t, &ram, &n, diag);
	if (r < 0)
		return r;
	r = t->driver->arm(t->self, after, diag);
	if (r == VP_OK)
		t->armed = true;
	return r;
}

void vp_disarm(struct vp_target *t)
{
	if (!t->armed)
		return;
	t->armed = false;
	t->driver->disarm(t->self);
}

void vp_leave_held(struct vp_target *t)
{
	/* The driver is told nothing: its disarm would let the guest go, its close does not. */
	t->armed = false;
	t->held = false;
}

static int may_hold(struct vp_target *t, struct diag *diag)
{
	if (t->armed && !t->held)
		return VP_OK;
	return diag_set(diag, VP_E_INTERNAL, "%s: %s", t->info.name,
			t->held ? "held twice" : "held without being armed");
}

int vp_pause(struct vp_target *t, uint64_t deadline, struct diag *diag, struct vp_paused **ret)
{
	int r = may_hold(t, diag);

	if (r < 0)
		return r;
	if (clock_left(deadline) == 0)
		return diag_set(diag, VP_E_DEADLINE,
				"%s: the deadline passed before the guest was held", t->info.name);
	t->held_at = clock_now();
	r = t->driver->pause(t->self, deadline, diag);
	if (r < 0)
		return r;
	t->held = true;
	if (clock_left(deadline) == 0) {
		r = vp_resume(&t->paused);
		return diag_set(diag, r < 0 ? r : VP_E_DEADLINE, "%s: holding took too long%s",
				t->info.name,
				r < 0 ? " and the guest could not be let go" : "; it runs");
	}
	*ret = &t->paused;
	return VP_OK;
}

int vp_takeover(struct vp_target *t, struct diag *diag, struct vp_paused **ret)
{
	/* A job that ended without letting go was this process's own. */
	bool again = t->held && t->armed && (t->caps & VP_CAP_HOLD_HERE);
	int r = again ? VP_OK : may_hold(t, diag);

	if (r < 0)
		return r;
	t->held_at = clock_now();
	r = t->driver->takeover(t->self, diag);
	if (r < 0)
		return r;
	t->held = true;
	*ret = &t->paused;
	return VP_OK;
}

uint64_t vp_held_since(const struct vp_paused *p)
{
	const struct vp_target *t = p->target;

	return t->driver->held_since ? t->driver->held_since(t->self) : t->held_at;
}

struct vp_target *vp_paused_target(struct vp_paused *p)
{
	return p->target;
}

int vp_regs(struct vp_paused *p, unsigned vcpu, struct arch_regs *ret)
{
	struct vp_target *t = p->target;
	struct arch_regs got = {0};

	if (!t->held)
		return VP_E_INTERNAL;
	if (vcpu >= t->info.vcpus)
		return VP_E_RANGE;
	return regs_ret(t->driver->regs(t->self, vcpu, &got), &got, ret);
}

int vp_write(struct vp_paused *p, vp_gpa_t at, const void *buf, size_t len)
{
	struct vp_target *t = p->target;

	if (!t->held)
		return VP_E_INTERNAL;
	if (len == 0)
		return VP_OK;
	if (ram_run(t, at, len) != len)
		return VP_E_RANGE;
	t->ahead.loaded = false;
	return t->driver->write(t->self, at, buf, len);
}

int vp_write_all(struct vp_paused *p, const struct vp_io *io, size_t n)
{
	struct vp_target *t = p->target;
	int r = VP_OK;

	if (!t->held)
		return VP_E_INTERNAL;
	for (size_t i = 0; i < n; i++)
		if (io[i].len == 0 || ram_run(t, io[i].at, io[i].len) != io[i].len)
			return VP_E_RANGE;
	t->ahead.loaded = false;
	if (t->driver->write_all)
		return t->driver->write_all(t->self, io, n);
	for (size_t i = 0; r == VP_OK && i < n; i++)
		r = t->driver->write(t->self, io[i].at, io[i].buf, io[i].len);
	return r;
}

int vp_sync(struct vp_paused *p)
{
	return p->target->held ? p->target->driver->sync(p->target->self) : VP_E_INTERNAL;
}

int vp_resume(struct vp_paused *p)
{
	struct vp_target *t = p->target;

	if (!t->held)
		return VP_E_INTERNAL;
	/* Whatever happens p is spent: what is left to try is vp_takeover. */
	t->held = false;
	t->ahead.loaded = false;
	return t->driver->resume(t->self);
}

int vp_strand(struct vp_paused *p)
{
	struct vp_target *t = p->target;

	if (!t->held)
		return VP_E_INTERNAL;
	t->held = false;
	t->ahead.loaded = false;
	return t->driver->strand ? t->driver->strand(t->self) : VP_OK;
}

int vp_live_open(struct vp_target *t, struct diag *diag, struct vp_live **ret)
{
	const struct vp_ram *ram;
	size_t n;
	int r;

	if (!(t->caps & VP_CAP_STORE_LIVE))
		return diag_set(
			diag, VP_E_UNSUPPORTED,
			"%s: this way in cannot store into a guest that runs: use --discipline stop",
			t->info.name);
	if (t->armed || t->held || t->lives)
		return diag_set(diag, VP_E_INTERNAL, "%s: opened for live stores while %s",
				t->info.name, t->lives ? "it is already" : "armed");
	/* No range check on the way has to ask. */
	r = vp_ram(t, &ram, &n, diag);
	if (r == VP_OK)
		r = t->driver->live_begin(t->self, diag);
	if (r < 0)
		return r;
	t->lives = true;
	t->live.target = t;
	*ret = &t->live;
	return VP_OK;
}

void vp_live_close(struct vp_live *l)
{
	if (!l || !l->target || !l->target->lives)
		return;
	l->target->lives = false;
	l->target->driver->live_end(l->target->self);
}

struct vp_target *vp_live_target(struct vp_live *l)
{
	return l->target;
}

bool vp_live_reaches(struct vp_live *l, vp_gpa_t at, size_t len)
{
	struct vp_target *t = l->target;

	return t->lives && ram_run(t, at, len) == len &&
	       (!t->driver->live_reaches || t->driver->live_reaches(t->self, at, len));
}

int vp_live_store(struct vp_live *l, vp_gpa_t at, const void *buf, size_t len)
{
	struct vp_target *t = l->target;

	if (!t->lives)
		return VP_E_INTERNAL;
	if (len == 0)
		return VP_OK;
	if (!vp_live_reaches(l, at, len))
		return VP_E_RANGE;
	return t->driver->live_store(t->self, at, buf, len);
}

int vp_live_sync(struct vp_live *l, enum arch_sync sync, uint64_t deadline, struct diag *diag)
{
	struct vp_target *t = l->target;

	if (!t->lives)
		return diag_set(diag, VP_E_INTERNAL, "%s: not open for live stores", t->info.name);
	if (sync == ARCH_SYNC_NONE)
		return VP_OK;
	if (clock_left(deadline) == 0)
		return diag_set(diag, VP_E_DEADLINE,
				"%s: the deadline passed before its vCPUs had synchronised",
				t->info.name);
	return t->driver->live_sync(t->self, sync, deadline, diag);
}

int vp_confirm(struct vp_target *t, const struct vp_io *io, size_t n, struct diag *diag)
{
	return t->driver->confirm ? t->driver->confirm(t->self, io, n, diag) : VP_OK;
}
