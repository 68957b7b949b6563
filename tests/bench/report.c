// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/bench/report.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tests/bench/targets.h"

const struct series *report_find(const struct report *r, const struct series *like)
{
	for (unsigned i = 0; i < r->n; i++) {
		const struct series *s = &r->series[i];

		if (s->vmm == like->vmm && s->vcpus == like->vcpus && s->busy == like->busy &&
		    s->op == like->op && s->sites == like->sites)
			return s;
	}
	return NULL;
}

struct series *report_series(struct report *r, const struct series *like)
{
	const struct series *s = report_find(r, like);

	if (s)
		return &r->series[s - r->series];
	if (r->n == SERIES_MAX)
		return NULL;
	r->series[r->n] = *like;
	return &r->series[r->n++];
}

static const char *vmm_name(enum bare_vmm vmm)
{
	return vmm == BARE_COMMAND ? "example" : "qemu";
}

static FILE *create(const char *dir, const char *name)
{
	char path[PATH_MAX];
	FILE *f;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return NULL;
	f = fopen(path, "we");
	if (!f)
		perror(path);
	return f;
}

static bool finish(FILE *f)
{
	bool bad = ferror(f);

	return !fclose(f) && !bad;
}

/* --- JSON ------------------------------------------------------------------------------------------- */

static void put(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static void put_word(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}

static struct json_object *figures_json(const struct samples *s, enum field field)
{
	struct figures f = stat_of(s, field);
	struct json_object *o = json_object_new_object();

	put(o, "min", f.min);
	put(o, "p10", f.p10);
	put(o, "median", f.median);
	put(o, "median_low", f.low);
	put(o, "median_high", f.high);
	put(o, "p90", f.p90);
	put(o, "p99", f.p99);
	put(o, "max", f.max);
	return o;
}

static bool has(const struct series *s, enum field field)
{
	return field == GAP ? s->busy > 0 : s->op != OP_NONE;
}

static struct json_object *series_json(const struct series *s)
{
	struct json_object *o = json_object_new_object();

	put_word(o, "vmm", vmm_name(s->vmm));
	put_word(o, "driver", op_name[s->op]);
	put(o, "vcpus", s->vcpus);
	put(o, "busy_vcpus", s->busy);
	put(o, "sites", s->sites);
	json_object_object_add(o, "judged", json_object_new_boolean(s->judged));
	put(o, "n", s->samples.n);
	put(o, "failed", s->samples.failed);
	for (unsigned f = 0; f < FIELDS; f++)
		if (has(s, f))
			json_object_object_add(o, stat_field_name[f], figures_json(&s->samples, f));
	return o;
}

static struct json_object *host_json(void)
{
	struct json_object *o = json_object_new_object();
	struct utsname u;
	double load[3] = {0};

	put(o, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	if (uname(&u) == 0)
		put_word(o, "kernel", u.release);
	if (getloadavg(load, 3) > 0)
		json_object_object_add(o, "load_average", json_object_new_double(load[0]));
	return o;
}

static struct json_object *targets_json(const struct report *r)
{
	struct json_object *list = json_object_new_array();
	struct target target[TARGETS_MAX];
	unsigned n = targets_of(r, target);

	for (unsigned i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();

		put_word(o, "name", target[i].name);
		json_object_object_add(o, "figure", json_object_new_double(target[i].figure));
		json_object_object_add(o, "most", json_object_new_double(target[i].most));
		json_object_array_add(list, o);
	}
	return list;
}

static bool write_json(const struct report *r, const char *dir)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	FILE *f = create(dir, "window.json");

	put_word(o, "schema", "vpatch-bench-window-1");
	put_word(o, "vpatch", VP_VERSION);
	put_word(o, "guest", "bare-metal x86-64, KVM");
	json_object_object_add(o, "host", host_json());
	put(o, "rounds", r->rounds);
	put(o, "passes", r->passes);
	put(o, "took_ns", r->took_ns);
	for (unsigned i = 0; i < r->n; i++)
		json_object_array_add(list, series_json(&r->series[i]));
	json_object_object_add(o, "series", list);
	json_object_object_add(o, "targets", targets_json(r));
	if (f)
		fprintf(f, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
	return f && finish(f);
}

/* --- every sample ------------------------------------------------------------------------------------ */

static bool write_csv(const struct report *r, const char *dir)
{
	FILE *f = create(dir, "window.csv");

	if (!f)
		return false;
	fputs("vmm,driver,vcpus,busy_vcpus,sites,window_ns,total_ns,guest_gap_ns\n", f);
	for (unsigned i = 0; i < r->n; i++) {
		const struct series *s = &r->series[i];

		for (size_t j = 0; j < s->samples.n; j++) {
			const struct sample *v = &s->samples.v[j];

			fprintf(f, "%s,%s,%u,%u,%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n",
				vmm_name(s->vmm), op_name[s->op], s->vcpus, s->busy, s->sites,
				v->window_ns, v->total_ns, v->gap_ns);
		}
	}
	return finish(f);
}

/* --- for the plot: blocks that window.gp names ---------------------------------------------------------- */

static const struct series *find(const struct report *r, unsigned vcpus, unsigned busy, enum op op,
				 unsigned sites)
{
	enum bare_vmm vmm = op == OP_INPROC ? BARE_COMMAND : BARE_MICROVM_KVM;

	return report_find(
		r, &(struct series){
			   .vmm = vmm, .vcpus = vcpus, .busy = busy, .op = op, .sites = sites});
}

/* Whether it has sites. */
static unsigned changes(enum op op)
{
	return op == OP_KVM || op == OP_GDB || op == OP_APPLY || op == OP_INPROC;
}

/* Value in us, share of the samples that are at most that. */
static void put_cdf(FILE *f, const struct report *r, enum op op, enum field field)
{
	const struct series *s = find(r, 2, 2, op, changes(op));
	uint64_t *v = s && has(s, field) ? stat_sorted(&s->samples, field) : NULL;

	if (!v)
		return;
	fprintf(f, "# %s-%s\n", stat_field_name[field], op_name[op]);
	for (size_t i = 0; i < s->samples.n; i++)
		fprintf(f, "%.3f %.5f\n", (double)v[i] / 1e3,
			(double)(i + 1) / (double)s->samples.n);
	fputs("\n\n", f);
	free(v);
}

static void put_point(FILE *f, unsigned x, const struct series *s)
{
	struct figures v = stat_of(&s->samples, WINDOW);

	fprintf(f, "%u %.3f %.3f %.3f\n", x, (double)v.median / 1e3, (double)v.min / 1e3,
		(double)v.p90 / 1e3);
}

/* What is measured, median, least, 90 of 100 */
static void put_vcpus(FILE *f, const struct report *r, enum op op, bool busy)
{
	fprintf(f, "# vcpus-%s-%s\n", busy ? "busy" : "idle", op_name[op]);
	for (unsigned n = 1; n <= BARE_CPUS_MAX; n++) {
		const struct series *s = find(r, n, busy ? n : 0, op, changes(op));

		if (s)
			put_point(f, n, s);
	}
	fputs("\n\n", f);
}

static void put_sites(FILE *f, const struct report *r, enum op op, bool busy)
{
	fprintf(f, "# sites-%s-%s\n", busy ? "busy" : "idle", op_name[op]);
	for (unsigned n = 1; n <= RIG_SITES_MAX; n *= 10) {
		const struct series *s = find(r, 2, busy ? 2 : 0, op, n);

		if (s)
			put_point(f, n, s);
	}
	fputs("\n\n", f);
}

static bool write_dat(const struct report *r, const char *dir)
{
	FILE *f = create(dir, "window.dat");

	if (!f)
		return false;
	for (unsigned op = 0; op < OPS; op++) {
		put_cdf(f, r, op, WINDOW);
		put_cdf(f, r, op, GAP);
	}
	for (unsigned busy = 0; busy < 2; busy++) {
		put_vcpus(f, r, OP_KVM, busy);
		put_vcpus(f, r, OP_HOLD, busy);
		put_vcpus(f, r, OP_PTRACE_FIFO, busy);
		put_vcpus(f, r, OP_QMP, busy);
		put_vcpus(f, r, OP_INPROC, busy);
		put_sites(f, r, OP_KVM, busy);
		put_sites(f, r, OP_GDB, busy);
	}
	return finish(f);
}

bool report_write(const struct report *r, const char *dir)
{
	return write_json(r, dir) && write_csv(r, dir) && write_dat(r, dir);
}

/* --- words ------------------------------------------------------------------------------------------------ */

static double us(uint64_t ns)
{
	return (double)ns / 1e3;
}

static void print_series(const struct series *s)
{
	struct figures w = stat_of(&s->samples, WINDOW), t = stat_of(&s->samples, TOTAL);
	struct figures g = stat_of(&s->samples, GAP);
	char sites[16] = "-";

	if (s->sites)
		snprintf(sites, sizeof(sites), "%u", s->sites);
	printf("  %-7s %5u %4u  %-18s %6s %5zu", vmm_name(s->vmm), s->vcpus, s->busy,
	       op_name[s->op], sites, w.n);
	if (s->op == OP_NONE)
		printf("  %9s %9s %9s %9s %9s  %10s", "-", "-", "-", "-", "-", "-");
	else
		printf("  %9.1f %9.1f %9.1f %9.1f %9.1f  %10.1f", us(w.min), us(w.median),
		       us(w.p90), us(w.p99), us(w.max), us(t.median));
	if (s->busy)
		printf("  %10.1f %10.1f", us(g.median), us(g.p90));
	printf("%s\n", s->judged ? "" : "  (more busy than cores)");
	if (s->samples.failed)
		printf("  %40s %u tried again\n", "", s->samples.failed);
}

void report_print(const struct report *r)
{
	struct target target[TARGETS_MAX];
	unsigned n = targets_of(r, target);

	printf("bare-metal guest on KVM, under QEMU (microvm) and the example VMM; %u rounds in %u passes, %.0f s\n",
	       r->rounds, r->passes, (double)r->took_ns / 1e9);
	printf("  %-7s %5s %4s  %-18s %6s %5s  %49s  %10s  %21s\n", "", "", "", "", "", "",
	       "window, us                     ", "total, us", "guest's gap, us  ");
	printf("  %-7s %5s %4s  %-18s %6s %5s  %9s %9s %9s %9s %9s  %10s  %10s %10s\n", "VMM",
	       "vCPUs", "busy", "driver", "sites", "n", "min", "median", "p90", "p99", "max",
	       "median", "median", "p90");
	for (unsigned i = 0; i < r->n; i++)
		print_series(&r->series[i]);
	printf("\n  %-46s %10s %10s\n", "medians of windows", "at most", "is");
	for (unsigned i = 0; i < n; i++) {
		const struct target *t = &target[i];

		if (t->most > 0)
			printf("  %-46s %10.2f %10.3f  %s\n", t->words, t->most, t->figure,
			       t->figure <= t->most ? "" : "missed");
		else
			printf("  %-46s %10s %10.3f\n", t->words, "-", t->figure);
	}
}
