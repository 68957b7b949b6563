// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/siteguest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libelf.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "protocol/sites.h"
#include "tests/lib/qtest.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/kvm.h"

#define SECOND   CLOCK_NS_PER_SEC
#define PATIENCE (10 * SECOND)
#define BOOT_NS  (30 * SECOND)
#define POLL_US  20

/* How each architecture's image gets into its machine. */
static const struct {
	enum vm_kind vm;
	const char *option;
	bool raw; /* the option takes the image without its ELF headers: X.bin beside X.elf */
	const char *more[2];
} machines[ARCH_COUNT] = {
	[ARCH_X86_64] = {VM_MICROVM_TCG, "-kernel", false, {NULL}},
	[ARCH_ARM64] = {VM_ARM64_TCG, "-kernel", false, {NULL}},
	[ARCH_RISCV64] = {VM_RISCV64_TCG, "-kernel", false, {"-bios", "none"}},
	[ARCH_PPC64LE] = {VM_PPC64LE_TCG, "-bios", true, {NULL}},
	[ARCH_THUMB2] = {VM_THUMB2_TCG, "-kernel", false, {NULL}},
};

static enum vm_kind machine(const struct arch_ops *arch, enum siteguest_way way)
{
	return way == SITEGUEST_QTEST ? machines[arch->id].vm : VM_MICROVM_KVM;
}

const char *siteguest_missing(const struct arch_ops *arch, enum siteguest_way way)
{
	return vm_missing(machine(arch, way));
}

/* --- the image --------------------------------------------------------------------------------- */

static int read_segments(struct siteguest *g, Elf *elf)
{
	size_t n = 0;

	if (elf_getphdrnum(elf, &n) < 0)
		return VP_E_IO;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;

		if (!gelf_getphdr(elf, (int)i, &ph) || ph.p_type != PT_LOAD || ph.p_memsz == 0)
			continue;
		if (g->n_seg == SITEGUEST_SEGMENTS)
			return VP_E_RANGE;
		g->seg[g->n_seg].vaddr = ph.p_vaddr;
		g->seg[g->n_seg].paddr = ph.p_paddr;
		g->seg[g->n_seg++].len = ph.p_memsz;
	}
	return VP_OK;
}

static bool symbol_in(Elf *elf, Elf_Scn *scn, const char *name, uint64_t *ret)
{
	Elf_Data *data = elf_getdata(scn, NULL);
	GElf_Shdr sh;
	GElf_Sym sym;

	if (!data || !gelf_getshdr(scn, &sh) || sh.sh_type != SHT_SYMTAB)
		return false;
	for (int i = 0; gelf_getsym(data, i, &sym); i++) {
		const char *is = elf_strptr(elf, sh.sh_link, sym.st_name);

		if (is && sym.st_shndx != SHN_UNDEF && strcmp(is, name) == 0) {
			*ret = sym.st_value;
			return true;
		}
	}
	return false;
}

static bool symbol(Elf *elf, const char *name, uint64_t *ret)
{
	for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn));)
		if (symbol_in(elf, scn, name, ret))
			return true;
	return false;
}

struct symbols {
	uint64_t ctl, probes, table;
};

static int read_elf(struct siteguest *g, Elf *elf, struct symbols *ret, struct diag *diag)
{
	GElf_Ehdr eh;

	if (!elf || !gelf_getehdr(elf, &eh) || eh.e_machine != g->opts.arch->elf_machine)
		return diag_set(diag, VP_E_WRONG_ARCH, "%s: no ELF file for %s", g->opts.elf,
				g->opts.arch->name);
	if (read_segments(g, elf) < 0)
		return diag_set(diag, VP_E_RANGE, "%s: too many segments", g->opts.elf);
	if (!symbol(elf, "ctl", &ret->ctl) || !symbol(elf, "probes", &ret->probes) ||
	    siteguest_gpa(g, ret->ctl, &g->ctl_at) < 0)
		return diag_set(diag, VP_E_SYM_UNKNOWN, "%s: no ctl, or no probes", g->opts.elf);
	if (!symbol(elf, "vpatch_table", &ret->table))
		ret->table = 0;
	return VP_OK;
}

static int read_image(struct siteguest *g, struct symbols *ret, struct diag *diag)
{
	int fd = open(g->opts.elf, O_RDONLY | O_CLOEXEC), r;
	Elf *elf;

	if (fd < 0)
		return diag_errno(diag, errno, "%s", g->opts.elf);
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	r = read_elf(g, elf, ret, diag);
	elf_end(elf);
	close(fd);
	return r;
}

int siteguest_gpa(const struct siteguest *g, uint64_t gva, vp_gpa_t *ret)
{
	for (unsigned i = 0; i < g->n_seg; i++)
		if (gva - g->seg[i].vaddr < g->seg[i].len) {
			*ret = vp_gpa(g->seg[i].paddr + (gva - g->seg[i].vaddr));
			return VP_OK;
		}
	return VP_E_UNMAPPED;
}

int siteguest_read(struct siteguest *g, uint64_t gva, void *buf, size_t len)
{
	vp_gpa_t at;
	int r = siteguest_gpa(g, gva, &at);

	return r < 0 ? r : vp_read(g->t, at, buf, len);
}

/* --- what it has in memory --------------------------------------------------------------------- */

int siteguest_look(struct siteguest *g)
{
	return vp_read(g->t, g->ctl_at, &g->ctl, sizeof(g->ctl));
}

static int store(struct siteguest *g, size_t off, uint64_t v)
{
	uint8_t buf[8];

	vp_st64(buf, v);
	return vp_live_store(g->l, vp_gpa(g->ctl_at.v + off), buf, sizeof(buf));
}

int siteguest_flags(struct siteguest *g, uint64_t flags)
{
	return store(g, offsetof(struct ctl, flags), flags);
}

void siteguest_expected(struct siteguest *g, unsigned state, uint8_t buf[8], vp_gpa_t *at_ret)
{
	*at_ret = vp_gpa(g->ctl_at.v + offsetof(struct ctl, expect));
	vp_st64(buf, ++g->n << 2 | state);
}

int siteguest_expect(struct siteguest *g, unsigned state)
{
	uint8_t buf[8];
	vp_gpa_t at;

	siteguest_expected(g, state, buf, &at);
	return vp_live_store(g->l, at, buf, sizeof(buf));
}

static int faulted(const struct siteguest *g, unsigned cpu, struct diag *diag)
{
	const struct ctl_cpu *c = &g->ctl.cpu[cpu];

	return diag_set(diag, VP_E_PANICKED,
			"CPU %u: fault: cause %#" PRIx64 ", pc %#" PRIx64 ", address %#" PRIx64,
			cpu, c->cause, c->pc, c->addr);
}

int siteguest_rounds(struct siteguest *g, uint64_t n, uint64_t deadline, struct diag *diag)
{
	uint64_t from[CTL_CPUS_MAX];
	unsigned cpu = 0;
	int r = siteguest_look(g);

	for (unsigned i = 0; i < CTL_CPUS_MAX; i++)
		from[i] = g->ctl.cpu[i].ticks;
	while (r == VP_OK) {
		for (unsigned i = 0; i < g->ctl.cpus; i++)
			if (g->ctl.cpu[i].faults)
				return faulted(g, i, diag);
		while (cpu < g->ctl.cpus && g->ctl.cpu[cpu].ticks - from[cpu] >= n)
			cpu++;
		if (cpu >= g->ctl.cpus)
			return VP_OK;
		if (clock_left(deadline) == 0)
			return diag_set(diag, VP_E_DEADLINE,
					"CPU %u: stands still after %" PRIu64 " rounds", cpu,
					g->ctl.cpu[cpu].ticks);
		/* The host may have no more CPUs than the guest. */
		usleep(POLL_US);
		r = siteguest_look(g);
	}
	return diag_set(diag, r, "reading ctl: %s", vp_err_sentence(r));
}

static int synced(void *ctx, uint64_t deadline, struct diag *diag)
{
	struct siteguest *g = ctx;

	(void)deadline;
	return siteguest_rounds(g, 2, clock_in(g->opts.patience), diag);
}

static int choose(struct siteguest *g, uint64_t probe, struct diag *diag)
{
	int r = siteguest_expect(g, CTL_EITHER);

	if (r == VP_OK)
		r = store(g, offsetof(struct ctl, probe), probe);
	if (r == VP_OK)
		r = siteguest_rounds(g, 2, clock_in(g->opts.patience), diag);
	if (r == VP_OK)
		g->first = g->ctl;
	return r;
}

int siteguest_choose_set(struct siteguest *g, unsigned from, unsigned to, struct diag *diag)
{
	int r = store(g, offsetof(struct ctl, from), from);

	if (r == VP_OK)
		r = store(g, offsetof(struct ctl, to), to);
	return r == VP_OK ? choose(g, CTL_SET, diag) : r;
}

int siteguest_choose(struct siteguest *g, unsigned probe, struct diag *diag)
{
	return choose(g, probe, diag);
}

static uint64_t since(const struct siteguest *g, unsigned cpu, size_t off)
{
	const uint8_t *now = (const uint8_t *)&g->ctl.cpu[cpu] + off;
	const uint8_t *then = (const uint8_t *)&g->first.cpu[cpu] + off;

	return vp_ld64(now) - vp_ld64(then);
}
#define SINCE(g, cpu, count) since(g, cpu, offsetof(struct ctl_cpu, count))

int siteguest_sound(const struct siteguest *g, struct diag *diag)
{
	for (unsigned i = 0; i < g->ctl.cpus; i++) {
		const struct ctl_cpu *c = &g->ctl.cpu[i];

		if (c->faults)
			return faulted(g, i, diag);
		if (SINCE(g, i, wrong))
			return diag_set(diag, VP_E_TORN,
					"CPU %u: wrong: %" PRIu64 " times, last %#" PRIx64, i,
					SINCE(g, i, wrong), c->last);
		if (SINCE(g, i, stale))
			return diag_set(diag, VP_E_TORN,
					"CPU %u: stale: %" PRIu64
					" results of what had been replaced",
					i, SINCE(g, i, stale));
	}
	return VP_OK;
}

int siteguest_saw_both(const struct siteguest *g, bool traps, struct diag *diag)
{
	for (unsigned i = 0; i < g->ctl.cpus; i++) {
		if (!SINCE(g, i, old) || !SINCE(g, i, new))
			return diag_set(diag, VP_E_TORN, "CPU %u: never had the %s result", i,
					SINCE(g, i, old) ? "new" : "old");
		if (traps && !SINCE(g, i, traps))
			return diag_set(diag, VP_E_TORN, "CPU %u: never met the trap", i);
	}
	return VP_OK;
}

uint64_t siteguest_rereads(const struct siteguest *g)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < g->ctl.cpus; i++)
		n += SINCE(g, i, rereads);
	return n;
}

/* --- starting ---------------------------------------------------------------------------------- */

static bool run(struct siteguest *g)
{
	char cpus[12], image[512];
	const char *extra[16] = {"-smp", cpus, machines[g->opts.arch->id].option, image};
	unsigned n = 4;
	size_t stem = strlen(g->opts.elf);

	if (machines[g->opts.arch->id].raw && stem > 4 &&
	    strcmp(g->opts.elf + stem - 4, ".elf") == 0)
		snprintf(image, sizeof(image), "%.*s.bin", (int)stem - 4, g->opts.elf);
	else
		snprintf(image, sizeof(image), "%s", g->opts.elf);
	snprintf(cpus, sizeof(cpus), "%u", g->opts.cpus);
	for (unsigned i = 0; i < 2 && machines[g->opts.arch->id].more[i]; i++)
		extra[n++] = machines[g->opts.arch->id].more[i];
	if (g->opts.singlestep)
		extra[n++] = "-singlestep";
	if (g->opts.way == SITEGUEST_KVM)
		return vm_start(&g->vm, machine(g->opts.arch, g->opts.way), extra);
	return vm_start_qtest(&g->vm, machine(g->opts.arch, g->opts.way), extra);
}

static int wait_up(struct siteguest *g, struct diag *diag)
{
	uint64_t deadline = clock_in(BOOT_NS);
	int r;

	do {
		r = siteguest_look(g);
		if (r < 0)
			return diag_set(diag, r, "reading ctl: %s", vp_err_sentence(r));
		if (g->ctl.magic == CTL_MAGIC)
			break;
		usleep(1000);
	} while (clock_left(deadline) > 0);
	if (g->ctl.magic != CTL_MAGIC)
		return diag_set(diag, VP_E_BOOTING,
				"the guest does not come up (error %" PRId64 ")",
				(int64_t)g->ctl.error);
	if (g->ctl.cpus != g->opts.cpus)
		return diag_set(diag, VP_E_BOOTING, "%" PRIu64 " CPUs came up, not %u", g->ctl.cpus,
				g->opts.cpus);
	return VP_OK;
}

static int read_probes(struct siteguest *g, uint64_t at, struct diag *diag)
{
	if (g->ctl.n_probes == 0 || g->ctl.n_probes > SITEGUEST_PROBES)
		return diag_set(diag, VP_E_RANGE, "%" PRIu64 " probes", g->ctl.n_probes);
	g->n_probes = (unsigned)g->ctl.n_probes;
	if (siteguest_read(g, at, g->probes, g->n_probes * sizeof(g->probes[0])) < 0)
		return diag_set(diag, VP_E_RANGE, "the probes cannot be read");
	for (unsigned i = 0; i < g->n_probes; i++)
		g->probes[i].name[sizeof(g->probes[i].name) - 1] = '\0';
	return VP_OK;
}

/* Where the guest's table says that trap records are. */
static int read_table(struct siteguest *g, uint64_t at, struct diag *diag)
{
	uint8_t head[VP_SITES_HEAD_TRAPS], *buf;
	struct vp_sites_peek peek;
	struct vp_sites sites;
	struct vp_trap_space space;
	int r = siteguest_read(g, at, head, sizeof(head));

	if (r == VP_OK)
		r = vp_sites_peek(head, sizeof(head), &peek);
	if (r < 0)
		return diag_set(diag, r, "no site table at %#" PRIx64, at);
	buf = malloc(peek.size);
	if (!buf)
		return diag_set(diag, VP_E_NOMEM, "no memory");
	r = siteguest_read(g, at, buf, peek.size);
	if (r == VP_OK)
		r = vp_sites_decode(buf, peek.size, vp_gva(at), &sites);
	if (r < 0)
		diag_set(diag, r, "the site table: %s", vp_err_sentence(r));
	else if (sites.traps.n > 0 && vp_sites_traps(&sites, 0, &space) == VP_OK) {
		r = siteguest_gpa(g, space.at.v, &g->record);
		g->n_records = (unsigned)(space.len / VP_TRAP_RECORD);
	}
	free(buf);
	return r;
}

static int open_target(struct siteguest *g, struct diag *diag)
{
	const struct qtest_wait wait = {synced, g};

	switch (g->opts.way) {
	case SITEGUEST_KVM:
		return drv_kvm_open_pid("guest", g->vm.pid, diag, &g->t);
	case SITEGUEST_OWN:
		return g->opts.open(g, diag, &g->t);
	default:
		return qtest_open("guest", g->vm.qmp, g->vm.qtest, &wait, diag, &g->t);
	}
}

static int come_up(struct siteguest *g, const struct symbols *s, struct diag *diag)
{
	int r = open_target(g, diag);

	if (r == VP_OK)
		r = wait_up(g, diag);
	if (r == VP_OK)
		r = read_probes(g, s->probes, diag);
	if (r == VP_OK && s->table)
		r = read_table(g, s->table, diag);
	return r == VP_OK ? vp_live_open(g->t, diag, &g->l) : r;
}

int siteguest_start(struct siteguest *g, const struct siteguest_opts *opts, struct diag *diag)
{
	struct symbols s;
	int r;

	memset(g, 0, sizeof(*g));
	g->opts = *opts;
	g->opts.cpus = opts->cpus ? opts->cpus : 2;
	g->opts.patience = opts->patience ? opts->patience : PATIENCE;
	r = read_image(g, &s, diag);
	if (r == VP_OK && opts->way != SITEGUEST_OWN && !run(g))
		r = diag_set(diag, VP_E_NO_DOMAIN, "%s: QEMU did not come up", g->opts.elf);
	if (r == VP_OK)
		r = come_up(g, &s, diag);
	if (r < 0)
		siteguest_stop(g);
	return r;
}

void siteguest_stop(struct siteguest *g)
{
	vp_live_close(g->l);
	vp_target_close(g->t);
	g->l = NULL;
	g->t = NULL;
	vm_stop(&g->vm);
}
