// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The bare-metal guest on real vCPUs and under TCG: it runs, it is patched, and its own checks
 * report what a broken patch would do.
 */
/* Runs as root: /dev/kvm. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/guests/x86-64/ctl.h"
#include "tests/lib/bare.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/domain/domain.h"
#include "vmm-agent/engine/engine.h"

#define SECOND CLOCK_NS_PER_SEC

struct scene {
	struct bare b;
	struct vp_target *t;
	struct hf_bundle *fix;
	struct diag diag;
	struct eng_opts opts;
	char dir[64], run[80];
	const char *name; /* of the hotfix */
	uint32_t toggles;
};

/* One at a time; what a failed test leaves running is stopped by the teardown. */
static struct scene scene;

#define OK(s, call)                                                                        \
	do {                                                                               \
		int r_ = (call);                                                           \
		if (r_ < 0)                                                                \
			fail_msg("%s: %s (%s)", #call, vp_err_reason(r_), (s)->diag.text); \
	} while (0)

static void need(enum bare_vmm vmm)
{
	const char *missing = bare_missing(vmm);

	if (!missing)
		return;
	print_message("%s: %s is missing\n", bare_vmm_name(vmm), missing);
	skip();
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static void load_fix(struct scene *s, const char *file)
{
	char path[4096];
	uint8_t *buf;
	size_t len;

	OK(s, hf_read_file(bare_file(file, path, sizeof(path)), &s->diag, &buf, &len));
	OK(s, hf_open(buf, len, &s->diag, &s->fix));
	free(buf);
	s->name = hf_info(s->fix)->name;
}

static struct scene *start(const struct bare_opts *opts)
{
	struct scene *s = &scene;

	need(opts->vmm);
	diag_init(&s->diag);
	strcpy(s->dir, "/tmp/vpatch-bare-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->run, sizeof(s->run), "%s/run", s->dir);
	s->opts = (struct eng_opts){.dirs = {s->dir, s->run}, .window_ns = 5 * SECOND};
	assert_true(bare_start(&s->b, opts));
	load_fix(s, opts->sites ? "sites.vpatch" : "fix.vpatch");
	OK(s, dom_open(s->b.name, NULL, &s->diag, &s->t));
	return s;
}

static void stop(void)
{
	struct scene *s = &scene;

	vp_target_close(s->t);
	bare_stop(&s->b);
	if (s->fix)
		hf_close(s->fix);
	if (s->dir[0])
		nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	memset(s, 0, sizeof(*s));
}

static int teardown(void **state)
{
	(void)state;
	stop();
	return 0;
}

/* Applies or reverts, whichever is due. */
static void change(struct scene *s)
{
	struct eng_report rep;

	memset(&rep, 0, sizeof(rep));
	if (s->toggles % 2 == 0)
		OK(s, eng_apply(s->t, s->fix, &s->opts, &s->diag, &rep));
	else
		OK(s, eng_revert(s->t, s->name, &s->opts, &s->diag, &rep));
	assert_true(rep.changed);
	eng_report_deinit(&rep);
	s->toggles++;
}

static void no_complaint(struct scene *s)
{
	const char *words = bare_check(&s->b, s->toggles);

	if (words)
		fail_msg("%s", words);
}

static void toggle(struct scene *s)
{
	change(s);
	if (!bare_wait_flip(&s->b, s->toggles, 10 * SECOND)) {
		no_complaint(s);
		fail_msg("the change was not seen: %u flips", bare_flips(&s->b));
	}
}

/* of: part of the words; "" where it depends on how the CPUs meet which check is the first. */
static void complains(struct scene *s, const char *of)
{
	const char *words = NULL;

	for (unsigned i = 0; i < 2000 && !words; i++, usleep(1000))
		words = bare_check(&s->b, s->toggles);
	if (!words || !strstr(words, of))
		fail_msg("\"%s\" instead of \"%s\"", words ? words : "no complaint", of);
	print_message("reported: %s\n", words);
}

/* --- it runs ------------------------------------------------------------------------------------------ */

static void runs(const struct bare_opts *opts)
{
	struct bare *b = &scene.b;
	const char *words;
	uint64_t from, n = 0;

	need(opts->vmm);
	assert_true(bare_start(b, opts));
	assert_true(bare_wait_calls(b, opts->ring ? 10000 : 100, 20 * SECOND));
	assert_true(bare_gap_reset(b, 20 * SECOND));
	for (unsigned i = 0; i < opts->busy; i++)
		n -= bare_iterations(b, i);
	from = clock_now();
	usleep(200000);
	for (unsigned i = 0; i < opts->busy; i++)
		n += bare_iterations(b, i);
	words = bare_check(b, 0);
	if (words)
		fail_msg("%s", words);
	assert_int_equal(bare_flips(b), 0);
	assert_true(bare_gap_cycles(b) > 0);
	print_message("%s, %u of %u CPUs at ring %u: up in %u ms, %.3f M calls/s, longest gap "
		      "%.0f us\n",
		      bare_vmm_name(opts->vmm), opts->busy, opts->vcpus, opts->ring,
		      (unsigned)(b->booted_ns / CLOCK_NS_PER_MS),
		      (double)n * 1e3 / (double)(clock_now() - from), (double)bare_gap_ns(b) / 1e3);
	stop();
}

static void runs_everywhere(enum bare_vmm vmm)
{
	static const unsigned vcpus[] = {1, 2, 4};

	for (unsigned i = 0; i < 3; i++)
		for (unsigned ring = 0; ring <= 3; ring += 3) {
			/* A firmware under nested KVM takes seconds: one of each; two CPUs come up
			 * where it is patched. */
			if (vmm == BARE_PC_KVM && (i == 1 || (ring == 0) != (i == 0)))
				continue;
			runs(&(struct bare_opts){.vmm = vmm,
						 .vcpus = vcpus[i],
						 .busy = vcpus[i] < 2 ? 1 : 2,
						 .ring = ring});
		}
}

static void test_runs_on_microvm_kvm(void **state)
{
	(void)state;
	runs_everywhere(BARE_MICROVM_KVM);
}

static void test_runs_on_microvm_tcg(void **state)
{
	(void)state;
	runs_everywhere(BARE_MICROVM_TCG);
}

static void test_runs_on_pc_kvm(void **state)
{
	(void)state;
	runs_everywhere(BARE_PC_KVM);
}

static void test_runs_on_pc_tcg(void **state)
{
	(void)state;
	runs_everywhere(BARE_PC_TCG);
}

static void test_sixteen_cpus_come(void **state)
{
	(void)state;
	runs(&(struct bare_opts){.vmm = BARE_MICROVM_TCG, .vcpus = 16, .busy = 16, .ring = 3});
	runs(&(struct bare_opts){.vmm = BARE_MICROVM_KVM, .vcpus = 16, .busy = 4, .ring = 3});
}

static void test_anonymous_ram_is_reached(void **state)
{
	(void)state;
	runs(&(struct bare_opts){
		.vmm = BARE_MICROVM_TCG, .vcpus = 2, .busy = 2, .ring = 3, .anonymous = true});
}

/* QEMU again, but as any VMM that is given a kernel, a file and a number. */
static void test_another_vmm_is_given_what_it_needs(void **state)
{
	static const char *const command[] = {
		"sh", "-c",
		"exec qemu-system-x86_64 -M microvm,memory-backend=m -accel tcg -m 64 -nodefaults "
		"-display none -kernel \"$0\" -smp \"$2\" "
		"-object memory-backend-file,id=m,size=64M,share=on,mem-path=\"$1\"",
		NULL};

	(void)state;
	need(BARE_MICROVM_TCG);
	runs(&(struct bare_opts){
		.vmm = BARE_COMMAND, .vcpus = 2, .busy = 1, .ring = 3, .command = command});
}

/* --- it is patched ------------------------------------------------------------------------------------- */

static void is_patched(const struct bare_opts *opts, unsigned toggles)
{
	struct scene *s;

	s = start(opts);
	assert_true(bare_gap_reset(&s->b, 20 * SECOND));
	for (unsigned i = 0; i < toggles; i++)
		toggle(s);
	print_message("%s, ring %u: longest gap in %u changes %.0f us\n", bare_vmm_name(opts->vmm),
		      opts->ring, toggles, (double)bare_gap_ns(&s->b) / 1e3);
	assert_true(bare_wait_calls(&s->b, opts->ring ? 1000 : 10, 20 * SECOND));
	no_complaint(s);
	assert_int_equal(bare_flips(&s->b), toggles);
	stop();
}

static void test_is_patched_on_microvm_kvm(void **state)
{
	(void)state;
	is_patched(&(struct bare_opts){.vmm = BARE_MICROVM_KVM, .vcpus = 2, .busy = 2, .ring = 3},
		   6);
	is_patched(&(struct bare_opts){.vmm = BARE_MICROVM_KVM, .vcpus = 2, .busy = 1, .ring = 0},
		   2);
}

static void test_is_patched_on_microvm_tcg(void **state)
{
	(void)state;
	is_patched(&(struct bare_opts){.vmm = BARE_MICROVM_TCG, .vcpus = 4, .busy = 3, .ring = 3},
		   6);
	is_patched(&(struct bare_opts){.vmm = BARE_MICROVM_TCG, .vcpus = 1, .busy = 1, .ring = 0},
		   3);
}

static void test_is_patched_on_pc(void **state)
{
	(void)state;
	is_patched(&(struct bare_opts){.vmm = BARE_PC_TCG, .vcpus = 2, .busy = 2, .ring = 3}, 2);
	is_patched(&(struct bare_opts){.vmm = BARE_PC_KVM, .vcpus = 2, .busy = 2, .ring = 3}, 2);
}

static void test_many_sites_change_as_one(void **state)
{
	(void)state;
	is_patched(&(struct bare_opts){.vmm = BARE_MICROVM_TCG,
				       .vcpus = 2,
				       .busy = 2,
				       .ring = 3,
				       .sites = HF_REPLACE_MAX},
		   4);
	is_patched(&(struct bare_opts){.vmm = BARE_MICROVM_KVM,
				       .vcpus = 2,
				       .busy = 2,
				       .ring = 3,
				       .sites = HF_REPLACE_MAX},
		   4);
}

/* --- its own checks ------------------------------------------------------------------------------------- */

static const struct bare_opts two_on_kvm = {
	.vmm = BARE_MICROVM_KVM, .vcpus = 2, .busy = 2, .ring = 3};

static void poke(struct scene *s, unsigned off, const void *bytes, size_t len)
{
	bare_poke_text(&s->b, bare_site_gpa(&s->b, 0) + off, bytes, len);
}

static const uint8_t nop[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

static void test_old_bytes_after_the_new_ones_are_reported(void **state)
{
	struct scene *s;

	(void)state;
	s = start(&two_on_kvm);
	toggle(s);
	no_complaint(s);
	poke(s, 0, nop, sizeof(nop));
	complains(s, "");
	stop();
}

/* The same where only a write through the debugger reaches what was translated. */
static void test_old_bytes_under_tcg_are_reported(void **state)
{
	struct vp_paused *p;
	struct scene *s;

	(void)state;
	s = start(&(struct bare_opts){.vmm = BARE_MICROVM_TCG, .vcpus = 2, .busy = 2, .ring = 3});
	toggle(s);
	OK(s, vp_arm(s->t, VP_AFTER_AS_FOUND, &s->diag));
	OK(s, vp_pause(s->t, clock_in(5 * SECOND), &s->diag, &p));
	OK(s, vp_write(p, vp_gpa(bare_site_gpa(&s->b, 0)), nop, sizeof(nop)));
	OK(s, vp_sync(p));
	OK(s, vp_resume(p));
	vp_disarm(s->t);
	complains(s, "its result changed 2 times in 1 toggles");
	stop();
}

static void test_a_torn_word_is_reported(void **state)
{
	static const uint8_t opcode = 0xe9; /* the jump's, with the nop's tail as its distance */
	struct scene *s;

	(void)state;
	s = start(&two_on_kvm);
	poke(s, 0, &opcode, 1);
	complains(s, "exception ");
	stop();
}

static void test_a_result_that_no_function_gives_is_reported(void **state)
{
	static const uint8_t mov_7_al[2] = {0xb0, 0x07};
	struct scene *s;

	(void)state;
	s = start(&two_on_kvm);
	poke(s, 8, mov_7_al, sizeof(mov_7_al)); /* instead of xor %eax,%eax */
	complains(s, "impossible results");
	stop();
}

static void test_a_call_that_is_not_counted_is_reported(void **state)
{
	static const uint8_t nop3[3] = {0x0f, 0x1f, 0x00};
	struct scene *s;

	(void)state;
	s = start(&two_on_kvm);
	poke(s, 5, nop3, sizeof(nop3)); /* instead of incq (%rdi) */
	complains(s, "lost calls");
	stop();
}

static void test_one_site_left_behind_is_reported(void **state)
{
	struct scene *s;

	(void)state;
	s = start(&(struct bare_opts){.vmm = BARE_MICROVM_KVM,
				      .vcpus = 2,
				      .busy = 2,
				      .ring = 3,
				      .sites = HF_REPLACE_MAX});
	toggle(s);
	no_complaint(s);
	bare_poke_text(&s->b, bare_site_gpa(&s->b, HF_REPLACE_MAX / 2), nop, sizeof(nop));
	complains(s, "");
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_runs_on_microvm_kvm, teardown),
		cmocka_unit_test_teardown(test_runs_on_microvm_tcg, teardown),
		cmocka_unit_test_teardown(test_runs_on_pc_kvm, teardown),
		cmocka_unit_test_teardown(test_runs_on_pc_tcg, teardown),
		cmocka_unit_test_teardown(test_sixteen_cpus_come, teardown),
		cmocka_unit_test_teardown(test_anonymous_ram_is_reached, teardown),
		cmocka_unit_test_teardown(test_another_vmm_is_given_what_it_needs, teardown),
		cmocka_unit_test_teardown(test_is_patched_on_microvm_kvm, teardown),
		cmocka_unit_test_teardown(test_is_patched_on_microvm_tcg, teardown),
		cmocka_unit_test_teardown(test_is_patched_on_pc, teardown),
		cmocka_unit_test_teardown(test_many_sites_change_as_one, teardown),
		cmocka_unit_test_teardown(test_old_bytes_after_the_new_ones_are_reported, teardown),
		cmocka_unit_test_teardown(test_old_bytes_under_tcg_are_reported, teardown),
		cmocka_unit_test_teardown(test_a_torn_word_is_reported, teardown),
		cmocka_unit_test_teardown(test_a_result_that_no_function_gives_is_reported,
					  teardown),
		cmocka_unit_test_teardown(test_a_call_that_is_not_counted_is_reported, teardown),
		cmocka_unit_test_teardown(test_one_site_left_behind_is_reported, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
