// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How long it takes to find a guest's site table from the host:
 *
 *	sitefind DOMAIN [ROUNDS]     one line: `find US cpu US open US cpu US kib N`
 *
 * Medians. `find` is the look through guest RAM, `open` all of it: the registers of the vCPUs, by holds where
 * the driver has no other way, the table copied and checked. kib: how much memory the VMM had more behind
 * all that looking than before.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/guest/guest.h"
#include "vmm-agent/guest/sites.h"

#define ROUNDS_MAX 1000u

struct sample {
	uint64_t wall, cpu;
};

static uint64_t cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static struct sample now(void)
{
	return (struct sample){clock_now(), cpu_now()};
}

static struct sample since(struct sample from)
{
	struct sample s = now();

	return (struct sample){s.wall - from.wall, s.cpu - from.cpu};
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double median_us(const struct sample *s, unsigned n, bool cpu)
{
	uint64_t v[ROUNDS_MAX];

	for (unsigned i = 0; i < n; i++)
		v[i] = cpu ? s[i].cpu : s[i].wall;
	qsort(v, n, sizeof(v[0]), by_value);
	return (double)v[n / 2] / 1000;
}

/* All that it has of shared memory, too: RssAnon + RssFile + RssShmem of /proc/PID/status. */
static long resident_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static int find(struct vp_target *t, struct diag *diag)
{
	uint8_t magic[16];
	vp_gpa_t found[16];
	size_t n;

	vp_st64(magic, VP_SITES_MAGIC0);
	vp_st64(magic + 8, VP_SITES_MAGIC1);
	return vp_find_pages(t, magic, sizeof(magic), found, 16, &n, diag);
}

static int measure(struct vp_target *t, unsigned rounds, struct diag *diag)
{
	static struct sample look[ROUNDS_MAX], all[ROUNDS_MAX];
	long kib = resident_kib(vp_target_info(t)->id.pid);

	for (unsigned i = 0; i < rounds; i++) {
		struct sample from = now();
		struct guest_sites *s;
		int r = find(t, diag);

		look[i] = since(from);
		from = now();
		if (r == VP_OK)
			r = guest_sites_open(t, GUEST_MAY_HOLD, diag, &s);
		all[i] = since(from);
		if (r < 0)
			return r;
		guest_sites_close(s);
	}
	printf("find %.0f cpu %.0f open %.0f cpu %.0f kib %ld\n", median_us(look, rounds, false),
	       median_us(look, rounds, true), median_us(all, rounds, false),
	       median_us(all, rounds, true), resident_kib(vp_target_info(t)->id.pid) - kib);
	return VP_OK;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 15;
	struct vp_target *t = NULL;
	struct diag diag;
	int r;

	if (argc < 2 || argc > 3 || rounds == 0 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: sitefind DOMAIN [ROUNDS]\n");
		return 2;
	}
	diag_init(&diag);
	r = dom_open(argv[1], NULL, &diag, &t);
	if (r == VP_OK)
		r = measure(t, rounds, &diag);
	if (r < 0)
		fprintf(stderr, "sitefind: %s: %s\n", vp_err_reason(r), diag.text);
	vp_target_close(t);
	return r == VP_OK ? 0 : 1;
}
