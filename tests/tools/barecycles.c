// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * barecycles DRIVER CYCLES [vmm]: applies and reverts one hotfix so many times on one open target, on two
 * native vCPUs that call the function all the time. Each change waits until both have seen the last;
 * the guest's own checker says whether anything impossible was seen. Prints windows and rates.
 * vmm: under the example VMM, which has no monitor, instead of QEMU. DRIVER inproc: that one does it to
 * itself, told by its control socket.
 *
 * Exit code: 0 good, 1 something was wrong, 2 usage, 77 with the missing piece as the last line.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/bare.h"
#include "tests/lib/vmmctl.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/engine/engine.h"

#define SECOND  CLOCK_NS_PER_SEC
#define US      1000.0
#define RETRIES 100 /* of one change: the host is shared */

struct cycles {
	struct bare b;
	struct vp_target *t; /* NULL of driver inproc */
	struct vmm_control control;
	struct hf_bundle *fix;
	struct diag diag;
	struct eng_opts opts;
	char dir[64], run[80];
	uint64_t *window;                    /* one a change */
	uint64_t changes, retries, spent_ns; /* in the engine */
};

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static bool load_fix(struct cycles *c)
{
	char path[4096];
	uint8_t *buf;
	size_t len;
	bool ok;

	if (hf_read_file(bare_file("fix.vpatch", path, sizeof(path)), &c->diag, &buf, &len) < 0)
		return false;
	ok = hf_open(buf, len, &c->diag, &c->fix) == VP_OK;
	free(buf);
	return ok;
}

static bool set_up(struct cycles *c, const char *driver, bool vmm)
{
	char script[4096];
	const char *const command[] = {"sh", "-c", script, NULL};
	struct bare_opts opts = {.vmm = BARE_MICROVM_KVM, .vcpus = 2, .busy = 2, .ring = 3};
	const struct dom_opts dom = {.driver = driver};
	bool inproc = strcmp(driver, "inproc") == 0;

	diag_init(&c->diag);
	/* In memory: that a journal outlives the host is not what is counted here. */
	snprintf(c->dir, sizeof(c->dir), "%s/vprig.cycles.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(c->dir)) {
		perror(c->dir);
		c->dir[0] = '\0';
		return false;
	}
	snprintf(c->run, sizeof(c->run), "%s/run", c->dir);
	c->opts = (struct eng_opts){.dirs = {c->dir, c->run}, .window_ns = 2 * SECOND};
	if (inproc || vmm) {
		vmm_command(c->dir, script, sizeof(script));
		opts.vmm = BARE_COMMAND;
		opts.command = command;
	}
	if (!bare_start(&c->b, &opts))
		return false;
	bare_nice(&c->b);
	/* No holder has to lock the guest's RAM. */
	if (madvise(c->b.ram, (size_t)BARE_RAM_MIB << 20, MADV_DONTFORK) < 0 || !load_fix(c))
		return false;
	if (inproc)
		return vmm_control_open(&c->control, c->dir);
	if (dom_open(c->b.name, &dom, &c->diag, &c->t) == VP_OK)
		return true;
	printf("%s: %s\n", vp_err_reason(c->diag.err), c->diag.text);
	return false;
}

static void tear_down(struct cycles *c)
{
	vp_target_close(c->t);
	vmm_control_close(&c->control);
	bare_stop(&c->b);
	if (c->fix)
		hf_close(c->fix);
	if (c->dir[0])
		nftw(c->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(c->window);
}

static int engine(struct cycles *c, struct eng_report *rep)
{
	const char *name = hf_info(c->fix)->name;
	bool back = c->changes % 2;
	uint64_t from = clock_now();
	int r;

	if (!c->t) {
		r = vmm_change(&c->control, name, back, &c->diag, &rep->window_ns);
		rep->changed = r == VP_OK;
	} else if (back) {
		r = eng_revert(c->t, name, &c->opts, &c->diag, rep);
	} else {
		r = eng_apply(c->t, c->fix, &c->opts, &c->diag, rep);
	}
	c->spent_ns += clock_now() - from;
	return r;
}

/* One change, seen by both CPUs. */
static bool change(struct cycles *c)
{
	struct eng_report rep;
	bool changed;
	int r, tries = 0;

	while (true) {
		memset(&rep, 0, sizeof(rep));
		r = engine(c, &rep);
		if (vp_err_exit(r) != 3 || ++tries > RETRIES)
			break;
		eng_report_deinit(&rep);
		c->retries++;
		usleep(1000);
	}
	changed = rep.changed;
	c->window[c->changes] = rep.window_ns;
	eng_report_deinit(&rep);
	if (r < 0 || !changed) {
		printf("change %llu: %s, changed %d: %s\n", (unsigned long long)c->changes + 1,
		       vp_err_reason(r), changed, c->diag.text);
		return false;
	}
	c->changes++;
	if (bare_wait_flip(&c->b, (uint32_t)c->changes, 10 * SECOND))
		return true;
	printf("change %llu was not seen: %u flips\n", (unsigned long long)c->changes,
	       bare_flips(&c->b));
	return false;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void report(struct cycles *c, const char *driver, uint64_t took)
{
	size_t n = c->changes;

	if (n == 0)
		return;
	qsort(c->window, n, sizeof(*c->window), by_value);
	printf("%s: %zu cycles, %.0f/s; %llu tries again; a change takes %.0f us in the engine\n",
	       driver, n / 2, (double)n / 2e-9 / (double)took, (unsigned long long)c->retries,
	       (double)c->spent_ns / (double)n / US);
	printf("window us: least %.0f, median %.0f, 99 %% %.0f, longest %.0f; the guest's longest "
	       "gap %.0f us\n",
	       (double)c->window[0] / US, (double)c->window[n / 2] / US,
	       (double)c->window[n - 1 - n / 100] / US, (double)c->window[n - 1] / US,
	       (double)bare_gap_ns(&c->b) / US);
}

static bool cycles(struct cycles *c, const char *driver, bool vmm, size_t n)
{
	const char *words;
	uint64_t from;
	bool ok;

	c->window = calloc(2 * n, sizeof(*c->window));
	ok = c->window && set_up(c, driver, vmm) && bare_gap_reset(&c->b, 10 * SECOND);
	from = clock_now();
	while (ok && c->changes < 2 * n)
		ok = change(c);
	if (!c->b.dir[0])
		return false;
	report(c, driver, clock_now() - from);
	if (ok && !bare_wait_calls(&c->b, 1000, 10 * SECOND)) {
		printf("the guest calls no more\n");
		ok = false;
	}
	words = bare_check(&c->b, (uint32_t)c->changes);
	if (words)
		printf("impossible: %s\n", words);
	return ok && !words;
}

int main(int argc, char **argv)
{
	struct cycles c = {0};
	const char *missing = bare_missing(BARE_MICROVM_KVM);
	bool ok;

	if (argc < 3 || atol(argv[2]) < 1 || argc > 4 ||
	    (argc == 4 && strcmp(argv[3], "vmm") != 0)) {
		fprintf(stderr, "usage: barecycles DRIVER CYCLES [vmm]\n");
		return 2;
	}
	if (missing) {
		printf("%s is missing\n", missing);
		return 77;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	ok = cycles(&c, argv[1], argc == 4, (size_t)atol(argv[2]));
	tear_down(&c);
	return ok ? 0 : 1;
}
