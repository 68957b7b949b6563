/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Apply, revert, status and recover, whole, on a synthetic kernel in the fake guest's memory. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "tests/lib/guestimg.h"
#include "tests/lib/sample.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/engine.h"
#include "vmm-agent/engine/vmm.h"

#define RELEASE "6.1.0-test"

struct world {
	struct fake *f;
	struct guestimg img;
	struct vp_target *t;
	struct diag diag;
	struct eng_opts opts;
	struct eng_report rep;
	char dir[64], run[80];
	pid_t test;
	pid_t *kill_after; /* shared: 0, or the process that dies */
};

static uint64_t my_start_time(void)
{
	char stat[1024];
	FILE *f = fopen("/proc/self/stat", "r");
	char *p;

	assert_non_null(f);
	assert_non_null(fgets(stat, sizeof(stat), f));
	fclose(f);
	p = strrchr(stat, ')') + 2;
	for (int i = 3; i < 22; i++)
		p = strchr(p, ' ') + 1;
	return strtoull(p, NULL, 10);
}

static int start_release(void **state, enum arch_id id, const char *release)
{
	struct world *w = calloc(1, sizeof(*w));
	struct guestimg_opts gopts = {.release = release, .canary = 0x1122334455667700};
	struct vp_identity who = {.pid = getpid(), .start_time = my_start_time()};

	assert_non_null(w);
	diag_init(&w->diag);
	w->test = getpid();
	w->f = fake_create(arch_get(id), 2);
	fake_identity(w->f, &who);
	guestimg_ram(w->f, arch_get(id), 1);
	guestimg_build(w->f, arch_get(id), &gopts, &w->img);
	assert_int_equal(fake_open(w->f, &w->diag, &w->t), VP_OK);
	/* without a disk under it where possible: there are hundreds of fsyncs */
	snprintf(w->dir, sizeof(w->dir), "%s/vp-apply-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->run, sizeof(w->run), "%s/run", w->dir);
	w->opts = (struct eng_opts){
		.dirs = {w->dir, w->run}, .window_ns = 10 * CLOCK_NS_PER_SEC, .settle_ns = 1};
	*state = w;
	return 0;
}

static int start(void **state, enum arch_id id)
{
	return start_release(state, id, RELEASE);
}

static int on_x86(void **state)
{
	return start(state, ARCH_X86_64);
}

static int on_another_release(void **state)
{
	return start_release(state, ARCH_X86_64, "6.1.0-best");
}

static int on_arm64(void **state)
{
	return start(state, ARCH_ARM64);
}

static int stop(void **state)
{
	struct world *w = *state;
	char cmd[96];

	assert_string_equal(fake_violation(w->f), "");
	eng_report_deinit(&w->rep);
	vp_target_close(w->t);
	fake_destroy(w->f);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", w->dir);
	assert_int_equal(system(cmd), 0);
	free(w);
	return 0;
}

/* A bundle with these strings behind the name and version; the payload calls guest_func7. */
static struct hf_bundle *bundle(struct world *w, const char *name, const char *version,
				const char *more, size_t more_len)
{
	struct sample s;
	struct hf_bundle *b;
	char meta[512];
	uint8_t *buf;
	size_t len;
	int n = snprintf(meta, sizeof(meta), "name=%s%cversion=%s%c", name, 0, version, 0);

	memcpy(meta + n, more, more_len);
	sample_init(&s, w->img.arch, meta, (size_t)n + more_len);
	for (unsigned i = 0; i < s.o.n_symbol; i++)
		if (strcmp(s.symbol[i].name, "helper") == 0)
			s.symbol[i].name = "guest_func7";
	if (sample_pack(&s, &w->diag, &buf, &len) < 0 || hf_open(buf, len, &w->diag, &b) < 0)
		fail_msg("bundle: %s", w->diag.text);
	free(buf);
	return b;
}

/* sizeof counts the last NUL as well */
#define BUNDLE(w, name, version, more) bundle(w, name, version, more, sizeof(more))
#define ONE                            "replace=guest_func1,0,fixed"
#define ENTRY                          "consistency=entry"

static int apply(struct world *w, struct hf_bundle *b)
{
	int r;

	eng_report_deinit(&w->rep);
	diag_init(&w->diag);
	r = eng_apply(w->t, b, &w->opts, &w->diag, &w->rep);
	if (r < 0)
		assert_true(w->diag.text[0] != '\0');
	return r;
}

static int revert(struct world *w, const char *name)
{
	eng_report_deinit(&w->rep);
	diag_init(&w->diag);
	return eng_revert(w->t, name, &w->opts, &w->diag, &w->rep);
}

#define must(w, call)                                              \
	do {                                                       \
		int must_r = (call);                               \
		if (must_r != VP_OK)                               \
			fail_msg("%s: %s", #call, (w)->diag.text); \
	} while (0)

static int status(struct world *w, const char *name, struct eng_list *list)
{
	struct guest *g;
	int r;

	must(w, guest_open(w->t, 0, &w->diag, &g));
	r = eng_status(w->t, g, name, &w->opts.dirs, &w->diag, list);
	guest_close(g);
	return r;
}

static int status_only(struct world *w, const char *name)
{
	struct eng_list list;
	int r = status(w, name, &list);

	eng_list_deinit(&list);
	return r;
}

static uint8_t *memory(struct world *w)
{
	uint8_t *copy = malloc(GUESTIMG_RAM);

	memcpy(copy, fake_mem(w->f, vp_gpa(w->img.ram), GUESTIMG_RAM), GUESTIMG_RAM);
	return copy;
}

/* Bytes of guest memory that differ, the arena's cave left out. */
static size_t changes(struct world *w, const uint8_t *before)
{
	const uint8_t *now = fake_mem(w->f, vp_gpa(w->img.ram), GUESTIMG_RAM);
	uint64_t cave = guestimg_gpa(&w->img, w->img.cave).v - w->img.ram;
	size_t n = 0;

	for (size_t i = 0; i < GUESTIMG_RAM; i++)
		if (now[i] != before[i] && !(i >= cave && i < cave + w->img.cave_len))
			n++;
	return n;
}

static vp_gva_t branch_target(struct world *w, unsigned func)
{
	struct arch_insn insn;
	uint8_t *at = guestimg_at(&w->img, w->img.func[func]);

	assert_int_equal(w->img.arch->decode(at, 16, w->img.func[func], &insn), VP_OK);
	assert_int_equal(insn.kind, ARCH_INSN_BRANCH);
	return insn.target;
}

static bool redirected(struct world *w, unsigned func)
{
	struct arch_insn insn;
	uint8_t *at = guestimg_at(&w->img, w->img.func[func]);

	return w->img.arch->decode(at, 16, w->img.func[func], &insn) == VP_OK &&
	       insn.kind == ARCH_INSN_BRANCH;
}

/* --- the main road ---------------------------------------------------------------------------- */

static void test_apply_redirects_and_revert_gives_every_byte_back(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint8_t *before = memory(w);
	struct eng_list list;

	must(w, apply(w, b));
	assert_true(w->rep.changed);
	assert_true(w->rep.window_ns > 0);
	assert_string_equal(w->rep.name, "fix");
	assert_true(branch_target(w, 1).v == w->rep.payload.v);
	assert_true(w->rep.n_edits >= 1);
	assert_string_equal(w->rep.edits[w->rep.n_edits - 1].symbol, "guest_func1");
	assert_true(fake_runs(w->f));
	must(w, status(w, "fix", &list));
	assert_int_equal(list.n, 1);
	assert_int_equal(list.hotfixes[0].state, ENG_APPLIED);
	for (uint32_t i = 0; i < list.hotfixes[0].l.n_edits; i++)
		assert_string_equal(list.hotfixes[0].edits[i].symbol, "guest_func1");
	assert_false(list.pending);
	eng_list_deinit(&list);

	must(w, apply(w, b));
	assert_false(w->rep.changed);
	assert_int_equal(w->rep.window_ns, 0);

	must(w, revert(w, "fix"));
	assert_true(w->rep.changed);
	assert_int_equal(changes(w, before), 0);
	assert_int_equal(status_only(w, "fix"), VP_E_NOT_APPLIED);
	assert_int_equal(status_only(w, NULL), VP_OK);
	must(w, revert(w, "fix"));
	assert_false(w->rep.changed);
	assert_int_equal(revert(w, "other"), VP_E_NOT_APPLIED);
	free(before);
	hf_close(b);
}

static void test_arena_after_many_cycles_is_what_it_was_after_the_first(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint8_t *first;

	must(w, apply(w, b));
	must(w, revert(w, "fix"));
	first = memory(w);
	for (int i = 0; i < 20; i++) {
		must(w, apply(w, b));
		assert_true(w->rep.changed);
		must(w, revert(w, "fix"));
	}
	assert_memory_equal(first, fake_mem(w->f, vp_gpa(w->img.ram), GUESTIMG_RAM), GUESTIMG_RAM);
	free(first);
	hf_close(b);
}

static void test_retired_payload_is_returned_to_without_writing_it(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint64_t payload;
	size_t i = 0;

	must(w, apply(w, b));
	payload = w->rep.payload.v;
	must(w, revert(w, "fix"));
	while (fake_event(w->f, i))
		i++;
	must(w, apply(w, b));
	assert_true(w->rep.payload.v == payload);
	for (; fake_event(w->f, i); i++)
		if (fake_event(w->f, i)->op == FAKE_WRITE)
			assert_true(fake_event(w->f, i)->len <= VP_EDIT_MAX);
	hf_close(b);
}

static void test_dry_run_plans_and_neither_pauses_nor_writes(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint8_t *before = memory(w);

	w->opts.dry_run = true;
	must(w, apply(w, b));
	assert_false(w->rep.changed);
	assert_true(w->rep.n_edits >= 1);
	assert_true(w->rep.payload.v != 0);
	assert_int_equal(fake_op_calls(w->f, FAKE_PAUSE), 0);
	assert_int_equal(fake_op_calls(w->f, FAKE_ARM), 0);
	assert_memory_equal(before, fake_mem(w->f, vp_gpa(w->img.ram), GUESTIMG_RAM), GUESTIMG_RAM);
	free(before);
	hf_close(b);
}

/* --- several, and versions -------------------------------------------------------------------- */

static void test_several_functions_change_in_one_window(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b =
		BUNDLE(w, "fix", "1",
		       ENTRY "\0" ONE "\0"
			     "replace=guest_func2,0,fixed\0replace=guest_func3,0,fixed");
	uint8_t *before = memory(w);

	must(w, apply(w, b));
	assert_int_equal(fake_op_calls(w->f, FAKE_PAUSE), 1);
	assert_true(redirected(w, 1) && redirected(w, 2) && redirected(w, 3));
	must(w, revert(w, "fix"));
	assert_int_equal(changes(w, before), 0);
	free(before);
	hf_close(b);
}

static void test_higher_version_replaces_in_one_window_and_lower_is_refused(void **state)
{
	struct world *w = *state;
	struct hf_bundle *one =
		BUNDLE(w, "fix", "1.9", ENTRY "\0" ONE "\0replace=guest_func2,0,fixed");
	struct hf_bundle *two = BUNDLE(w, "fix", "1.10",
				       ENTRY "\0replace=guest_func2,0,fixed\0"
					     "replace=guest_func3,0,fixed");
	struct hf_bundle *twin = BUNDLE(w, "fix", "1.10", "replace=guest_func3,0,fixed");
	uint8_t *before = memory(w);
	uint64_t old_payload, pauses;

	must(w, apply(w, one));
	old_payload = w->rep.payload.v;
	pauses = fake_op_calls(w->f, FAKE_PAUSE);
	must(w, apply(w, two));
	assert_int_equal(fake_op_calls(w->f, FAKE_PAUSE), pauses + 1);
	assert_string_equal(w->rep.replaced_version, "1.9");
	assert_false(redirected(w, 1));
	assert_true(branch_target(w, 2).v != old_payload);
	assert_true(redirected(w, 3));
	assert_int_equal(status_only(w, "fix"), VP_OK);
	assert_int_equal(apply(w, one), VP_E_DOWNGRADE);
	assert_int_equal(apply(w, twin), VP_E_DOWNGRADE);
	w->opts.allow_downgrade = true;
	must(w, apply(w, one));
	assert_true(branch_target(w, 1).v == old_payload);
	assert_false(redirected(w, 3));
	must(w, revert(w, "fix"));
	assert_int_equal(changes(w, before), 0);
	free(before);
	hf_close(one);
	hf_close(two);
	hf_close(twin);
}

static void test_hotfixes_stack_on_different_functions_only(void **state)
{
	struct world *w = *state;
	struct hf_bundle *a = BUNDLE(w, "a", "1", ONE);
	struct hf_bundle *b = BUNDLE(w, "b", "1", "replace=guest_func2,0,fixed");
	struct hf_bundle *c = BUNDLE(w, "c", "1", ONE);
	uint8_t *before = memory(w);

	must(w, apply(w, a));
	must(w, apply(w, b));
	assert_int_equal(apply(w, c), VP_E_SITE_TAKEN);
	assert_non_null(strstr(w->diag.text, "hotfix a 1"));
	must(w, revert(w, "a"));
	must(w, apply(w, c));
	must(w, revert(w, "b"));
	must(w, revert(w, "c"));
	assert_int_equal(changes(w, before), 0);
	free(before);
	hf_close(a);
	hf_close(b);
	hf_close(c);
}

/* The next function's site is not ours, however near it begins. arm64: no tracer's records. */
static void test_neighbour_of_a_tiny_function_is_not_taken_with_it(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "b", "1", "replace=tiny_func1,0,fixed");
	struct hf_bundle *a = BUNDLE(w, "a", "1", "replace=tiny_func0,0,fixed");
	struct hf_bundle *both = BUNDLE(w, "a", "2",
					ENTRY "\0replace=tiny_func1,0,fixed\0"
					      "replace=tiny_func0,0,fixed");
	struct hf_bundle *later = BUNDLE(w, "a", "3",
					 ENTRY "\0replace=tiny_func1,0,fixed\0"
					       "replace=tiny_func0,0,fixed");
	uint8_t *before = memory(w);

	must(w, apply(w, b));
	must(w, apply(w, a));
	must(w, revert(w, "b"));
	must(w, apply(w, both));
	must(w, apply(w, later));
	must(w, revert(w, "a"));
	assert_int_equal(changes(w, before), 0);
	free(before);
	hf_close(a);
	hf_close(b);
	hf_close(both);
	hf_close(later);
}

/* --- refusals ----------------------------------------------------------------------------------- */

static void refuse(struct world *w, const char *more, size_t len, int want)
{
	struct hf_bundle *b = bundle(w, "fix", "1", more, len);
	uint64_t pauses = fake_op_calls(w->f, FAKE_PAUSE);

	assert_string_equal(vp_err_reason(apply(w, b)), vp_err_reason(want));
	assert_int_equal(fake_op_calls(w->f, FAKE_PAUSE), pauses);
	assert_int_equal(fake_op_calls(w->f, FAKE_WRITE), 0);
	assert_false(w->rep.changed);
	hf_close(b);
}
#define REFUSE(w, more, want) refuse(w, more, sizeof(more), want)

static void test_what_cannot_be_is_refused_without_a_pause(void **state)
{
	struct world *w = *state;
	uint8_t *func2 = guestimg_at(&w->img, w->img.func[2]);

	REFUSE(w, ONE "\0consistency=quiesce", VP_E_QUIESCE);
	REFUSE(w, "replace=no_such,0,fixed", VP_E_SYM_UNKNOWN);
	REFUSE(w, "replace=dup_func,0,fixed", VP_E_SYM_AMBIGUOUS);
	REFUSE(w, "replace=guest_func0,0,fixed", VP_E_CLONES);
	REFUSE(w, "replace=last_before_cave,0,fixed", VP_E_NO_SITE);
	if (w->img.arch->id == ARCH_ARM64)
		func2 += 4; /* the tracer's word, the site is the one ahead of it */
	w->img.arch->call(func2, w->img.func[2], w->img.func[7], &(unsigned){0});
	REFUSE(w, "replace=guest_func2,0,fixed", VP_E_SITE_TRACED);
}

static void test_other_kernel_or_architecture_is_refused(void **state)
{
	struct world *w = *state;
	const struct arch_ops *arch = w->img.arch;

	REFUSE(w, ONE, VP_E_WRONG_KERNEL);
	assert_non_null(strstr(w->diag.text, "6.1.0-best"));
	w->img.arch = arch_get(ARCH_ARM64); /* what the bundle is made for */
	REFUSE(w, ONE, VP_E_WRONG_ARCH);
	w->img.arch = arch;
}

static void test_listed_clones_are_the_authors_word(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b =
		BUNDLE(w, "fix", "1",
		       "replace=guest_func0,0,fixed\0"
		       "clones=guest_func0,guest_func0.constprop.0 guest_func0.isra.0.part.3");

	must(w, apply(w, b));
	assert_true(redirected(w, 0));
	hf_close(b);
}

static void test_run_states_that_cannot_be_patched_are_refused(void **state)
{
	struct world *w = *state;

	fake_state(w->f, VP_RUN_MIGRATING, "postmigrate");
	REFUSE(w, ONE, VP_E_MIGRATING);
	fake_state(w->f, VP_RUN_SHUTDOWN, "shutdown");
	REFUSE(w, ONE, VP_E_SHUTDOWN);
	fake_state(w->f, VP_RUN_PANICKED, "guest-panicked");
	REFUSE(w, ONE, VP_E_PANICKED);
	fake_state(w->f, VP_RUN_OTHER, "inmigrate");
	REFUSE(w, ONE, VP_E_UNSUPPORTED);
}

static void test_second_apply_at_the_same_time_is_locked_out(void **state)
{
	struct world *w = *state;
	int fd;

	must(w, eng_lock(w->run, &vp_target_info(w->t)->id, &w->diag, &fd));
	REFUSE(w, ONE, VP_E_LOCKED);
	eng_unlock(w->run, &vp_target_info(w->t)->id, fd);
}

static void test_payload_that_does_not_fit_is_refused(void **state)
{
	struct world *w = *state;

	memset(guestimg_at(&w->img, w->img.cave), 0x90, w->img.cave_len);
	REFUSE(w, ONE, VP_E_ARENA_FULL);
	assert_non_null(strstr(w->diag.text, "the largest free piece"));
}

static void test_payload_beyond_the_ledgers_bound_says_so(void **state)
{
	static const char meta[] = "name=fix\0version=1\0" ONE;
	static uint8_t much[VP_LEDGER_SIZE_MAX / 2];
	struct world *w = *state;
	struct sample s;
	struct hf_bundle *b;
	uint8_t *buf;
	size_t len;

	sample_init(&s, w->img.arch, meta, sizeof(meta));
	s.symbol[s.o.n_symbol - 1].name = "guest_func7"; /* helper */
	sample_section(&s, ".rodata.much", SHT_PROGBITS, SHF_ALLOC, much, sizeof(much), 8);
	must(w, sample_pack(&s, &w->diag, &buf, &len));
	must(w, hf_open(buf, len, &w->diag, &b));
	free(buf);
	assert_int_equal(apply(w, b), VP_E_ARENA_FULL);
	assert_non_null(strstr(w->diag.text, "a hotfix may have 524288"));
	assert_int_equal(fake_op_calls(w->f, FAKE_WRITE), 0);
	hf_close(b);
}

/* --- the guest's own tracer -------------------------------------------------------------------- */

static uint64_t *flags_of(struct world *w, unsigned func)
{
	return fake_mem(w->f, w->img.flags[func], 8);
}

static void test_tracer_record_is_marked_and_given_back(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint64_t was = *flags_of(w, 1);

	must(w, apply(w, b));
	assert_int_equal(*flags_of(w, 1), was | 1u << 25);
	must(w, revert(w, "fix"));
	assert_int_equal(*flags_of(w, 1), was);
	assert_int_equal(w->rep.n_notes, 0);
	hf_close(b);
}

static void test_mark_stays_while_a_tracer_covers_the_function(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint64_t was = *flags_of(w, 1);
	uint8_t *first;

	must(w, apply(w, b));
	guestimg_add_ops(&w->img, vp_gva(0), w->img.func[6]);
	must(w, revert(w, "fix"));
	assert_false(redirected(w, 1));
	assert_int_equal(*flags_of(w, 1), was | 1u << 25);
	assert_int_equal(w->rep.n_notes, 1);
	assert_non_null(strstr(w->rep.notes[0], "stays marked"));
	/* and the same hotfix finds its own mark again, in the same record */
	first = memory(w);
	must(w, apply(w, b));
	assert_true(w->rep.changed);
	must(w, revert(w, "fix"));
	assert_memory_equal(first, fake_mem(w->f, vp_gpa(w->img.ram), GUESTIMG_RAM), GUESTIMG_RAM);
	/* as long as the tracer is there a further revert changes nothing; without it, it does */
	must(w, revert(w, "fix"));
	assert_false(w->rep.changed);
	assert_int_equal(w->rep.n_notes, 1);
	guestimg_add_ops(&w->img, w->img.func[2], w->img.func[6]);
	must(w, revert(w, "fix"));
	assert_true(w->rep.changed);
	assert_int_equal(*flags_of(w, 1), was);
	must(w, revert(w, "fix"));
	assert_false(w->rep.changed);
	free(first);
	hf_close(b);
}

static void test_traced_or_foreign_marked_function_is_refused(void **state)
{
	struct world *w = *state;
	uint64_t was = *flags_of(w, 1);

	*flags_of(w, 1) = was | 1;
	REFUSE(w, ONE, VP_E_SITE_TRACED);
	*flags_of(w, 1) = was | 1u << 25;
	REFUSE(w, ONE, VP_E_SITE_TRACED);
	assert_non_null(strstr(w->diag.text, "not by vpatch"));
}

/* --- what comes afterwards ----------------------------------------------------------------------- */

static void test_guest_patcher_that_comes_later_is_told_and_left_alone(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint8_t *site = guestimg_at(&w->img, w->img.func[1]);
	uint8_t ours[8];

	must(w, apply(w, b));
	memcpy(ours, site, 8);
	w->img.arch->call(site, w->img.func[1], w->img.func[6], &(unsigned){0});
	assert_int_equal(status_only(w, "fix"), VP_E_SHADOWED);
	assert_int_equal(vp_err_exit(revert(w, "fix")), 4);
	assert_int_equal(vp_err_exit(apply(w, b)), 4);
	assert_non_null(strstr(w->diag.text, "guest_func1"));
	memcpy(site, ours, 8);
	assert_int_equal(status_only(w, "fix"), VP_OK);
	must(w, revert(w, "fix"));
	hf_close(b);
}

static void test_change_met_halfway_is_partial_and_revert_finishes_it(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ENTRY "\0" ONE "\0replace=guest_func2,0,fixed");
	uint8_t *before = memory(w);
	uint8_t *rec;
	size_t len = 0;

	must(w, apply(w, b));
	/* as a migration in the middle of the window would leave it */
	for (size_t i = 0; i < w->rep.n_edits; i++)
		if (strcmp(w->rep.edits[i].symbol, "guest_func2") == 0 &&
		    w->rep.edits[i].edit.kind == VP_EDIT_SITE) {
			len = w->rep.edits[i].edit.len;
			memcpy(guestimg_at(&w->img, w->rep.edits[i].edit.gva),
			       w->rep.edits[i].edit.old, len);
		}
	assert_true(len > 0);
	assert_int_equal(status_only(w, "fix"), VP_E_PARTIAL);
	rec = guestimg_at(&w->img, w->img.cave);
	vp_st64(rec + VP_LEDGER_STATE_OFF, VP_LEDGER_APPLYING);
	assert_int_equal(status_only(w, "fix"), VP_E_PARTIAL);
	assert_int_equal(apply(w, b), VP_E_PARTIAL);
	must(w, revert(w, "fix"));
	assert_int_equal(changes(w, before), 0);
	must(w, apply(w, b));
	free(before);
	hf_close(b);
}

/* A kprobe that was there while a change was undone, and has gone since. */
static void test_redirected_site_of_a_retired_record_is_reverted(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint8_t *before = memory(w), *rec = guestimg_at(&w->img, w->img.cave);

	must(w, apply(w, b));
	vp_st64(rec + VP_LEDGER_STATE_OFF, VP_LEDGER_REVERTED);
	assert_int_equal(status_only(w, "fix"), VP_E_PARTIAL);
	must(w, revert(w, "fix"));
	assert_true(w->rep.changed);
	assert_int_equal(changes(w, before), 0);
	assert_int_equal(status_only(w, NULL), VP_OK);
	free(before);
	hf_close(b);
}

static void test_bytes_of_nobody_are_altered_and_left_alone(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint8_t *site = guestimg_at(&w->img, w->img.func[1]);
	unsigned len = w->img.arch->id == ARCH_ARM64 ? 4 : 5;

	must(w, apply(w, b));
	w->img.arch->nop(site, len);
	if (len == 5)
		site[4] = 0x01; /* nopl 0x1(%rax,%rax,1) */
	assert_int_equal(status_only(w, "fix"), VP_E_PARTIAL);
	assert_null(strstr(w->diag.text, "vpatch revert"));
	assert_int_equal(vp_err_exit(revert(w, "fix")), 4);
	hf_close(b);
}

static void test_forged_resting_bytes_are_not_put_back(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	struct vp_edit edits[4];
	uint8_t *rec = guestimg_at(&w->img, w->img.cave), *forged;
	struct vp_ledger l;
	uint64_t writes;

	must(w, apply(w, b));
	must(w, vp_ledger_decode(rec, w->img.cave_len, w->img.cave, &l));
	assert_true(l.n_edits <= 4);
	for (uint32_t i = 0; i < l.n_edits; i++) {
		vp_ledger_edit(&l, i, &edits[i]);
		if (edits[i].kind == VP_EDIT_SITE)
			w->img.arch->nop(edits[i].rest, edits[i].len);
		if (edits[i].kind == VP_EDIT_SITE)
			edits[i].rest[1] ^= 0x11;
	}
	forged = malloc(l.size);
	memcpy(forged, rec, l.size);
	must(w, vp_ledger_encode(forged, l.size, &l, edits));
	memcpy(rec, forged, l.size);
	free(forged);
	writes = fake_op_calls(w->f, FAKE_WRITE);
	assert_int_equal(revert(w, "fix"), VP_E_LEDGER);
	assert_int_equal(fake_op_calls(w->f, FAKE_WRITE), writes);
	hf_close(b);
}

/* --- death and recovery ------------------------------------------------------------------------- */

struct seen {
	int n;
	enum eng_outcome outcome;
	int err;
};

static void note_seen(void *ctx, const struct eng_recovered *r)
{
	struct seen *seen = ctx;

	seen->n++;
	seen->outcome = r->outcome;
	seen->err = r->err;
}

static int open_fake(void *ctx, const char *locator, struct diag *diag, struct vp_target **ret)
{
	assert_string_equal(locator, "fake:1");
	return fake_open(ctx, diag, ret);
}

static int recover(struct world *w, struct seen *seen)
{
	*seen = (struct seen){0};
	return eng_recover(&w->opts.dirs, open_fake, w->f, note_seen, seen, &w->diag);
}

/* A VMM that holds its own guest left an entry open; it recovers that one and opens no other's. */
static void test_own_entry_is_recovered_alone(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ENTRY "\0" ONE);
	const struct vp_identity other = {.pid = 1, .start_time = 1};
	uint8_t *before = memory(w);
	struct seen seen = {0};

	vp_target_close(w->t);
	fake_caps(w->f, VP_CAP_WRITE_DIRTY | VP_CAP_HOLD_HERE);
	must(w, fake_open(w->f, &w->diag, &w->t));
	fake_fail_op(w->f, FAKE_WRITE, 2, VP_E_IO, true);
	assert_int_equal(apply(w, b), VP_E_TORN);
	assert_true(fake_held(w->f));
	fake_fail_op(w->f, FAKE_WRITE, 0, 0, false);
	assert_int_equal(apply(w, b), VP_E_PENDING);
	must(w, eng_recover_one(&other, &w->opts.dirs, open_fake, w->f, note_seen, &seen));
	assert_int_equal(seen.n, 0);
	must(w, eng_recover_one(&vp_target_info(w->t)->id, &w->opts.dirs, open_fake, w->f,
				note_seen, &seen));
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.outcome, ENG_ROLLED_BACK);
	assert_true(fake_runs(w->f));
	assert_int_equal(changes(w, before), 0);
	must(w, apply(w, b));
	free(before);
	hf_close(b);
}

struct death {
	pid_t test;
	uint64_t writes; /* the holder's nth write, at which both die */
	uint64_t seen;
};

static void die(struct fake *f, enum fake_op op, uint64_t nth, void *ctx)
{
	struct death *d = ctx;

	(void)f;
	(void)nth;
	if (op != FAKE_WRITE || getppid() == d->test || getpid() == d->test)
		return;
	if (++d->seen != d->writes)
		return;
	kill(getppid(), SIGKILL);
	kill(getpid(), SIGKILL);
}

/* The command and its holder die ahead of the nth write. */
static void die_at(struct world *w, struct hf_bundle *b, const char *name, uint64_t n)
{
	struct death d = {.test = w->test, .writes = n};
	pid_t pid;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	fake_hook(w->f, die, &d);
	pid = fork();
	if (pid == 0)
		_exit(vp_err_exit(b ? apply(w, b) : revert(w, name)));
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	fake_hook(w->f, NULL, NULL);
}

/* As whoever has the guest now would. */
static int let_go(struct world *w)
{
	struct vp_paused *p;
	int r = vp_arm(w->t, VP_AFTER_RUN, &w->diag);

	if (r == VP_OK)
		r = vp_takeover(w->t, &w->diag, &p);
	if (r == VP_OK)
		r = vp_sync(p);
	if (r == VP_OK)
		r = vp_resume(p);
	vp_disarm(w->t);
	return r;
}

static void test_what_dead_agents_left_is_recovered_whole(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ENTRY "\0" ONE "\0replace=guest_func2,0,fixed");
	uint8_t *before = memory(w);
	struct seen seen;

	for (uint64_t n = 1; n <= 3; n++) {
		die_at(w, b, NULL, n);
		assert_int_equal(apply(w, b), VP_E_PENDING);
		assert_non_null(strstr(w->diag.text, "vpatch recover"));
		assert_int_equal(revert(w, "fix"), VP_E_PENDING);
		must(w, recover(w, &seen));
		assert_int_equal(seen.n, 1);
		assert_int_equal(seen.outcome, ENG_ROLLED_BACK);
		assert_true(fake_runs(w->f));
		assert_int_equal(changes(w, before), 0);
		must(w, recover(w, &seen));
		assert_int_equal(seen.n, 0);
	}
	must(w, apply(w, b));
	for (uint64_t n = 1; n <= 3; n++) {
		die_at(w, NULL, "fix", n);
		assert_int_equal(status_only(w, "fix"), VP_E_PENDING);
		must(w, recover(w, &seen));
		assert_int_equal(seen.outcome, ENG_ROLLED_BACK);
		assert_int_equal(status_only(w, "fix"), VP_OK);
	}
	must(w, revert(w, "fix"));
	assert_int_equal(changes(w, before), 0);
	free(before);
	hf_close(b);
}

static void test_interrupted_upgrade_is_recovered_whole(void **state)
{
	struct world *w = *state;
	struct hf_bundle *one =
		BUNDLE(w, "fix", "1", ENTRY "\0" ONE "\0replace=guest_func2,0,fixed");
	struct hf_bundle *two = BUNDLE(w, "fix", "2",
				       ENTRY "\0replace=guest_func2,0,fixed\0"
					     "replace=guest_func3,0,fixed");
	struct eng_list list;
	uint8_t *before = memory(w);
	struct seen seen;

	must(w, apply(w, one));
	for (uint64_t n = 1; n <= 7; n++) {
		die_at(w, two, NULL, n);
		must(w, recover(w, &seen));
		assert_int_equal(seen.outcome, ENG_ROLLED_BACK);
		assert_true(fake_runs(w->f));
		assert_true(redirected(w, 1) && redirected(w, 2) && !redirected(w, 3));
		must(w, status(w, "fix", &list));
		assert_string_equal(list.hotfixes[0].l.version, "1");
		assert_int_equal(list.hotfixes[0].state, ENG_APPLIED);
		eng_list_deinit(&list);
	}
	must(w, revert(w, "fix"));
	assert_int_equal(changes(w, before), 0);
	free(before);
	hf_close(one);
	hf_close(two);
}

/* After a migration: the ledger has come along, the journal has not. */
static void test_both_versions_of_an_interrupted_upgrade_are_reverted(void **state)
{
	struct world *w = *state;
	struct hf_bundle *one =
		BUNDLE(w, "fix", "1", ENTRY "\0" ONE "\0replace=guest_func2,0,fixed");
	struct hf_bundle *two = BUNDLE(w, "fix", "2",
				       ENTRY "\0replace=guest_func2,0,fixed\0"
					     "replace=guest_func3,0,fixed");
	uint8_t *before = memory(w);
	char cmd[96];

	snprintf(cmd, sizeof(cmd), "rm -rf %s/journal", w->dir);
	for (uint64_t n = 2; n <= 7; n++) {
		struct seen seen;

		must(w, apply(w, one));
		die_at(w, two, NULL, n);
		must(w, let_go(w));
		assert_int_equal(system(cmd), 0);
		must(w, recover(w, &seen));
		assert_int_equal(seen.n, 0);
		assert_int_equal(status_only(w, "fix"), VP_E_PARTIAL);
		assert_int_equal(apply(w, two), VP_E_PARTIAL);
		must(w, revert(w, "fix"));
		assert_int_equal(changes(w, before), 0);
		assert_int_equal(status_only(w, NULL), VP_OK);
	}
	free(before);
	hf_close(one);
	hf_close(two);
}

/* From opening the guest to the report; test_engine_change.c has every call of the window. */
static void test_apply_driver_fails_at_any_call_of_the_whole(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	uint8_t *before = memory(w);
	uint64_t calls = fake_calls(w->f), total, step;
	struct seen seen;

	must(w, apply(w, b));
	total = fake_calls(w->f) - calls;
	must(w, revert(w, "fix"));
	step = total / 60 + 1;
	for (int for_good = 0; for_good < 2; for_good++) {
		for (uint64_t nth = 1; nth <= total; nth += nth + 60 > total ? 1 : step) {
			int r, exit;

			fake_fail(w->f, nth, VP_E_IO, for_good);
			r = apply(w, b);
			fake_fail(w->f, 0, 0, false);
			exit = vp_err_exit(r);
			if (exit == 4 && r != VP_E_PARTIAL)
				must(w, recover(w, &seen));
			assert_true(fake_runs(w->f));
			if (exit == 1 || exit == 3)
				assert_int_equal(changes(w, before), 0);
			if (r == VP_OK)
				assert_true(redirected(w, 1));
			if (redirected(w, 1))
				must(w, revert(w, "fix"));
			assert_int_equal(changes(w, before), 0);
		}
	}
	free(before);
	hf_close(b);
}

static void test_entry_of_an_earlier_boot_is_closed(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	struct guestimg_opts reboot = {.release = RELEASE, .canary = 0xdeadbeef12345600};
	struct seen seen;

	die_at(w, b, NULL, 2);
	must(w, recover(w, &seen)); /* lets the fake guest go */
	die_at(w, b, NULL, 2);
	memset(fake_mem(w->f, vp_gpa(w->img.ram), GUESTIMG_RAM), 0, GUESTIMG_RAM);
	if (w->img.arch->id == ARCH_ARM64)
		reboot.kaslr = 4 << 20;
	guestimg_build(w->f, w->img.arch, &reboot, &w->img);
	must(w, recover(w, &seen));
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.outcome, ENG_GONE);
	assert_false(redirected(w, 1));
	hf_close(b);
}

/* A crash of the host may tear the closing record; its VMs have ended with it. */
static void test_damaged_journal_counts_only_while_its_vm_lives(void **state)
{
	struct world *w = *state;
	struct vp_identity dead = {.pid = 1, .start_time = 1}; /* nobody was there that early */
	char path[160], key[ENG_KEY_MAX];
	struct seen seen;

	snprintf(path, sizeof(path), "%s/journal", w->dir);
	must(w, eng_mkdirs(path, &w->diag));
	for (int alive = 0; alive < 2; alive++) {
		FILE *f;

		eng_vmm_key(alive ? &vp_target_info(w->t)->id : &dead, key);
		snprintf(path, sizeof(path), "%s/journal/%s.vpj", w->dir, key);
		f = fopen(path, "w");
		assert_non_null(f);
		assert_true(fputs("this is not a journal of vpatch", f) >= 0);
		fclose(f);
		assert_int_equal(recover(w, &seen), alive ? VP_E_JOURNAL : VP_OK);
		assert_int_equal(seen.n, 1);
		assert_int_equal(seen.outcome, alive ? ENG_FAILED : ENG_GONE);
		assert_int_equal(access(path, F_OK), alive ? 0 : -1);
	}
}

static void test_journal_that_somebody_works_on_is_skipped(void **state)
{
	struct world *w = *state;
	struct hf_bundle *b = BUNDLE(w, "fix", "1", ONE);
	struct seen seen;
	int fd;

	die_at(w, b, NULL, 2);
	must(w, eng_lock(w->run, &vp_target_info(w->t)->id, &w->diag, &fd));
	must(w, recover(w, &seen));
	assert_int_equal(seen.outcome, ENG_SKIPPED);
	eng_unlock(w->run, &vp_target_info(w->t)->id, fd);
	must(w, recover(w, &seen));
	assert_int_equal(seen.outcome, ENG_ROLLED_BACK);
	hf_close(b);
}

#define both(test)                                         \
	{#test " x86-64", test, on_x86, stop, NULL},       \
	{                                                  \
#test " arm64", test, on_arm64, stop, NULL \
	}
#define x86(test)                               \
	{                                       \
#test, test, on_x86, stop, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		both(test_apply_redirects_and_revert_gives_every_byte_back),
		both(test_arena_after_many_cycles_is_what_it_was_after_the_first),
		both(test_retired_payload_is_returned_to_without_writing_it),
		both(test_dry_run_plans_and_neither_pauses_nor_writes),
		both(test_several_functions_change_in_one_window),
		both(test_higher_version_replaces_in_one_window_and_lower_is_refused),
		both(test_hotfixes_stack_on_different_functions_only),
		{"test_neighbour_of_a_tiny_function_is_not_taken_with_it",
		 test_neighbour_of_a_tiny_function_is_not_taken_with_it, on_arm64, stop, NULL},
		both(test_what_cannot_be_is_refused_without_a_pause),
		{"test_other_kernel_or_architecture_is_refused",
		 test_other_kernel_or_architecture_is_refused, on_another_release, stop, NULL},
		both(test_listed_clones_are_the_authors_word),
		x86(test_run_states_that_cannot_be_patched_are_refused),
		x86(test_second_apply_at_the_same_time_is_locked_out),
		x86(test_payload_that_does_not_fit_is_refused),
		x86(test_payload_beyond_the_ledgers_bound_says_so),
		x86(test_tracer_record_is_marked_and_given_back),
		x86(test_mark_stays_while_a_tracer_covers_the_function),
		x86(test_traced_or_foreign_marked_function_is_refused),
		both(test_guest_patcher_that_comes_later_is_told_and_left_alone),
		both(test_change_met_halfway_is_partial_and_revert_finishes_it),
		both(test_forged_resting_bytes_are_not_put_back),
		both(test_own_entry_is_recovered_alone),
		both(test_what_dead_agents_left_is_recovered_whole),
		both(test_interrupted_upgrade_is_recovered_whole),
		both(test_both_versions_of_an_interrupted_upgrade_are_reverted),
		both(test_redirected_site_of_a_retired_record_is_reverted),
		both(test_bytes_of_nobody_are_altered_and_left_alone),
		both(test_apply_driver_fails_at_any_call_of_the_whole),
		both(test_entry_of_an_earlier_boot_is_closed),
		both(test_journal_that_somebody_works_on_is_skipped),
		x86(test_damaged_journal_counts_only_while_its_vm_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
