/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inlined copies of a function are found in DWARF, and only those that a hotfix would miss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm-agent/hotfix/pack.h"

/* victim is inlined into first, second and (through middle) third, and stands alone besides. */
static const char source[] =
	"volatile int v;\n"
	"static inline __attribute__((always_inline)) int victim(int x) { v = x; return v + 1; }\n"
	"static inline __attribute__((always_inline)) int middle(int x) { return victim(x) * 2; }\n"
	"__attribute__((noinline)) int first(int x) { return victim(x); }\n"
	"__attribute__((noinline)) int second(int x) { return victim(x + 1); }\n"
	"__attribute__((noinline)) int third(int x) { return middle(x); }\n"
	"__attribute__((noinline)) int lonely(int x) { return v - x; }\n"
	"int (*pointer)(int) = victim;\n"
	"void _start(void) { v = first(1) + second(2) + third(3) + lonely(4); }\n";

struct world {
	char dir[32], elf[64], stripped[64], plain[64];
};

static int setup(void **state)
{
	static struct world w;
	char cmd[1024];
	FILE *f;

	strcpy(w.dir, "/tmp/vp-inline-XXXXXX");
	if (!mkdtemp(w.dir))
		return -1;
	snprintf(w.elf, sizeof(w.elf), "%s/elf", w.dir);
	snprintf(w.stripped, sizeof(w.stripped), "%s/stripped", w.dir);
	snprintf(w.plain, sizeof(w.plain), "%s/a.c", w.dir);
	f = fopen(w.plain, "w");
	if (!f)
		return -1;
	fputs(source, f);
	fclose(f);
	snprintf(
		cmd, sizeof(cmd),
		"cd %s && gcc -g -O2 -ffreestanding -nostdlib -static -Wl,--build-id=sha1 -o elf a.c "
		"&& strip -g -o stripped elf",
		w.dir);
	*state = &w;
	return system(cmd);
}

static int teardown(void **state)
{
	struct world *w = *state;
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -r %s", w->dir);
	return system(cmd);
}

static int check(const char *file, const char *const *names, unsigned n, struct diag *d,
		 struct pack_kernel *kernel)
{
	struct pack_meta meta = {.n_replace = n};

	for (unsigned i = 0; i < n; i++)
		meta.replace[i].symbol = names[i];
	diag_init(d);
	return inline_check(file, &meta, d, kernel);
}

static void test_an_inlined_copy_is_refused_and_its_callers_named(void **state)
{
	static const char *const names[] = {"victim"};
	struct world *w = *state;
	struct pack_kernel kernel = {.release = "x"};
	struct diag d;

	assert_int_equal(check(w->elf, names, 1, &d, &kernel), VP_E_CLONES);
	assert_non_null(strstr(d.text, "victim"));
	assert_non_null(strstr(d.text, "first"));
	assert_non_null(strstr(d.text, "second"));
	assert_non_null(strstr(d.text, "third"));
	assert_null(strstr(d.text, "lonely"));
	assert_false(kernel.inline_checked);
}

static void test_copies_inside_replaced_functions_do_not_count(void **state)
{
	static const char *const some[] = {"victim", "first", "second"};
	static const char *const all[] = {"victim", "first", "second", "third"};
	struct world *w = *state;
	struct pack_kernel kernel = {.release = "x"};
	struct diag d;

	assert_int_equal(check(w->elf, some, 3, &d, &kernel), VP_E_CLONES);
	assert_non_null(strstr(d.text, "(third)"));
	assert_int_equal(check(w->elf, all, 4, &d, &kernel), VP_OK);
	assert_true(kernel.inline_checked);
	assert_int_equal(kernel.build_id_len, 20);
}

static void test_a_function_that_is_never_inlined_passes(void **state)
{
	static const char *const names[] = {"lonely"};
	struct world *w = *state;
	struct pack_kernel kernel = {.release = "x"};
	struct diag d;

	assert_int_equal(check(w->elf, names, 1, &d, &kernel), VP_OK);
	assert_true(kernel.inline_checked);
}

static void test_the_wrong_file_is_refused(void **state)
{
	static const char *const names[] = {"lonely"}, *const other[] = {"not_there"};
	struct world *w = *state;
	struct pack_kernel kernel = {.release = "x"}, mine = {.build_id_len = 20};
	struct diag d;

	assert_int_equal(check(w->elf, other, 1, &d, &kernel), VP_E_SYM_UNKNOWN);
	assert_int_equal(check(w->stripped, names, 1, &d, &kernel), VP_E_BUNDLE);
	assert_non_null(strstr(d.text, "no DWARF"));
	assert_int_equal(check(w->plain, names, 1, &d, &kernel), VP_E_BUNDLE);
	assert_true(check("/nonexistent", names, 1, &d, &kernel) < 0);
	assert_int_equal(check(w->elf, names, 1, &d, &mine), VP_E_WRONG_KERNEL);
	assert_false(kernel.inline_checked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_inlined_copy_is_refused_and_its_callers_named),
		cmocka_unit_test(test_copies_inside_replaced_functions_do_not_count),
		cmocka_unit_test(test_a_function_that_is_never_inlined_passes),
		cmocka_unit_test(test_the_wrong_file_is_refused),
	};

	if (system("command -v gcc strip >/dev/null")) {
		puts("gcc or binutils is missing");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
