/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `vpatch build` against the headers of real kernels: what gcc makes of real kernel code is
 * carried, or refused by name. Headers are looked for in $VP_KERNELS/{amd64,arm64}/build, where
 * tests/linux/fetch.sh puts them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/sample.h"

#define INCLUDE_DIR "vmm-agent/hotfix/include"
#define HEAD        "#include <vpatch/hotfix.h>\n#include <linux/kernel.h>\n#include <linux/uaccess.h>\n"
#define REPLACE     "VPATCH_REPLACE(old_function, fixed);\n"

static const struct {
	const char *dir, *objdump, *gcc;
} kernels[2] = {
	{"amd64", "x86_64-linux-gnu-objdump", "x86_64-linux-gnu-gcc-12"},
	{"arm64", "aarch64-linux-gnu-objdump", "aarch64-linux-gnu-gcc-12"},
};

struct world {
	char dir[32], source[64], out[64];
	char headers[2][PATH_MAX];
	bool have[2];
};

__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char cmd[PATH_MAX * 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

static bool find_headers(struct world *w)
{
	const char *root = getenv("VP_KERNELS");

	for (unsigned i = 0; i < 2; i++) {
		snprintf(w->headers[i], sizeof(w->headers[i]), "%s/%s/build",
			 root ? root : "build/kernels", kernels[i].dir);
		w->have[i] =
			access(w->headers[i], R_OK) == 0 &&
			run("command -v %s %s >/dev/null", kernels[i].objdump, kernels[i].gcc) == 0;
		if (!w->have[i])
			printf("%s or %s is missing\n", w->headers[i], kernels[i].gcc);
	}
	return w->have[0] || w->have[1];
}

static int build(struct world *w, unsigned arch, const char *text, struct diag *d)
{
	struct hf_build args = {
		.source = w->source,
		.kernel = w->headers[arch],
		.include_dir = INCLUDE_DIR,
		.out = w->out,
	};
	FILE *f = fopen(w->source, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	unlink(w->out);
	diag_init(d);
	return hf_build(&args, d);
}

static struct hf_bundle *open_out(struct world *w)
{
	struct hf_bundle *b;
	struct diag d;
	uint8_t *buf;
	size_t len;

	diag_init(&d);
	if (hf_read_file(w->out, &d, &buf, &len) < 0 || hf_open(buf, len, &d, &b) < 0)
		fail_msg("%s", d.text);
	free(buf);
	return b;
}

/* What a payload is mostly made of. */
static const char everything[] = HEAD
	"#include <linux/seq_file.h>\n#include <linux/spinlock.h>\n#include <linux/slab.h>\n"
	"#include <linux/sched.h>\n#include <linux/percpu.h>\n#include <linux/utsname.h>\n"
	"#include <linux/rcupdate.h>\n#include <trace/events/sched.h>\n"
	"DECLARE_STATIC_KEY_FALSE(some_key);\n"
	"DECLARE_STATIC_KEY_TRUE(other_key);\n"
	"DECLARE_PER_CPU(unsigned long, process_counts);\n"
	"extern void sink(const char *);\n"
	"static int show(struct seq_file *m, void *v)\n"
	"{ seq_printf(m, \"%s x %s\\n\", utsname()->sysname, utsname()->release); return 0; }\n"
	"static long copies(void __user *p, unsigned long n)\n"
	"{ char buf[64]; if (n > 64) return -EINVAL; if (copy_from_user(buf, p, n)) return -EFAULT;\n"
	"  return buf[3] + copy_to_user(p, buf, n); }\n"
	"static long locks(spinlock_t *l, long *q)\n"
	"{ unsigned long f; spin_lock_irqsave(l, f); ++*q; spin_unlock_irqrestore(l, f);\n"
	"  spin_lock_irq(l); spin_unlock_irq(l); local_irq_save(f); if (irqs_disabled()) ++*q;\n"
	"  local_irq_restore(f); return *q; }\n"
	"struct foo { struct rcu_head h; int x; };\n"
	"static int rcus(struct foo **p)\n"
	"{ int r; rcu_read_lock(); r = rcu_dereference(*p)->x; rcu_read_unlock(); return r; }\n"
	"static long percpus(void) { this_cpu_inc(process_counts);\n"
	"  return this_cpu_read(process_counts) + smp_processor_id(); }\n"
	"static int switches(int x, void *p) { switch (x) { case 0: sink(\"a\"); break; case 1: sink(\"bb\");\n"
	"  return 7; case 2: sink(\"ccc\"); break; case 3: return (long)p; case 4: sink(\"dd\"); break;\n"
	"  case 5: return 99; case 6: sink(\"e\"); break; } memset(p, 0, 500); return 3; }\n"
	"static void *allocs(size_t n) { void *p = kmalloc(n, GFP_KERNEL), *q = kzalloc(64, GFP_ATOMIC);\n"
	"  kfree(q); return p; }\n"
	"static int calls(int (*f)(int)) { might_sleep(); cond_resched(); return f(3) + 1; }\n"
	"static void traces(struct task_struct *t) { trace_sched_wakeup(t); pr_info(\"x %p\\n\", t); }\n"
	"static int keys(atomic_t *a) { atomic_inc(a); if (static_branch_unlikely(&some_key)) return 1;\n"
	"  if (static_branch_likely(&other_key)) return 3; return 2; }\n"
	"VPATCH_NAME(\"everything\");\nVPATCH_VERSION(\"2.1\");\nVPATCH_FIXES(\"CVE-1\");\n"
	"VPATCH_REPLACE(a, show);\nVPATCH_REPLACE(b, copies);\nVPATCH_REPLACE(c, locks);\n"
	"VPATCH_REPLACE(d, rcus);\nVPATCH_REPLACE_NTH(e, 2, percpus);\nVPATCH_REPLACE(f, switches);\n"
	"VPATCH_REPLACE(g, allocs);\nVPATCH_REPLACE(h, calls);\nVPATCH_REPLACE(i, traces);\n"
	"VPATCH_REPLACE(j, keys);\nVPATCH_CONSISTENCY_ENTRY;\nVPATCH_CLONES(f, \"f.part.0\");\n"
	"VPATCH_SYMBOL(sink, 3);\n";

static void test_kernel_code_is_carried_whole(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t near = 0xffffffff81000000;
		const struct hf_info *info;
		struct hf_bundle *b;
		struct hf_image img;
		struct diag d;

		if (!w->have[i])
			continue;
		if (build(w, i, everything, &d) < 0)
			fail_msg("%s", d.text);
		b = open_out(w);
		info = hf_info(b);
		assert_string_equal(info->name, "everything");
		assert_string_equal(info->version, "2.1");
		assert_int_equal(info->n_replace, 10);
		assert_int_equal(info->replace[4].sympos, 2);
		assert_string_equal(info->replace[5].clones, "f.part.0");
		assert_int_equal(info->consistency, HF_ENTRY);
		assert_int_equal(info->build_id_len, 0);
		assert_non_null(strstr(info->release, kernels[i].dir));
		if (hf_link(b, vp_gva(0xffffffff81200000), sample_resolve, &near, &d, &img) < 0)
			fail_msg("%s", d.text);
		hf_image_deinit(&img);
		hf_close(b);
		/* The mitigations that the kernel itself is built with. */
		if (i == 0) {
			assert_int_not_equal(run("%s -d --no-show-raw-insn %s | grep -qE "
						 "'\\s(ret[qw]?|(jmp|call)[qw]? +\\*.*)\\s*$'",
						 kernels[i].objdump, w->out),
					     0);
			assert_int_equal(run("%s -dr %s | grep -q __x86_return_thunk",
					     kernels[i].objdump, w->out),
					 0);
			assert_int_equal(run("%s -dr %s | grep -q __x86_indirect_thunk",
					     kernels[i].objdump, w->out),
					 0);
		} else {
			assert_int_equal(run("test $(%s -d %s | grep -c paciasp) -ge 10",
					     kernels[i].objdump, w->out),
					 0);
		}
	}
}

static void test_two_builds_are_the_same_bytes(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 2; i++) {
		struct diag d;

		if (!w->have[i])
			continue;
		assert_int_equal(build(w, i, everything, &d), VP_OK);
		assert_int_equal(run("cp %s %s.1", w->out, w->out), 0);
		assert_int_equal(build(w, i, everything, &d), VP_OK);
		assert_int_equal(run("cmp %s %s.1", w->out, w->out), 0);
	}
}

static void test_what_cannot_be_carried_is_refused_with_advice(void **state)
{
	static const struct {
		const char *text;
		int archs; /* 1 amd64, 2 arm64 */
		int err;
		const char *words;
	} cases[] = {
		{"int fixed(int x) { WARN_ON(x); return 0; }", 1, VP_E_SECTION,
		 "VPATCH_PLAIN_WARN"},
		{"int fixed(int x) { BUG_ON(x); return 0; }", 2, VP_E_SECTION, "__bug_table"},
		{"static int n; int fixed(int x) { return n += x; }", 3, VP_E_SECTION, ".bss"},
		{"static int n = 3; int fixed(int x) { return n += x; }", 1, VP_E_SECTION, ".data"},
		{"int fixed(int x) { pr_info_once(\"a\"); return 0; }", 2, VP_E_SECTION,
		 "printk_ratelimit()"},
		{"int fixed(int x) { pr_debug(\"a\"); return 0; }", 1, VP_E_SECTION, "pr_info()"},
		{"#include <linux/percpu.h>\nDEFINE_PER_CPU(int, mine);\n"
		 "int fixed(int x) { return this_cpu_read(mine); }",
		 1, VP_E_SECTION, "per-CPU"},
		{"int __init fixed(int x) { return x; }", 1, VP_E_SECTION, "__init"},
		{"int fixed(int x) { return x; }\nEXPORT_SYMBOL(fixed);", 1, VP_E_SECTION,
		 "EXPORT_SYMBOL"},
		{"int fixed(int __user *p) { int x; return get_user(x, p) ? 1 : x; }", 2,
		 VP_E_SECTION, "__ex_table"},
		{"int fixed(int __user *p) { int x; return __get_user(x, p) ? 1 : x; }\n"
		 "void other(void) { barrier_nospec(); }",
		 1, VP_E_SECTION, "in other an instruction is rewritten"},
		{"noinstr int fixed(int x) { return x; }", 1, VP_E_SECTION, "noinstr"},
		{"asm(\".text\\n.type naked, @function\\nnaked: ret\\n.size naked, .-naked\");\n"
		 "extern int naked(void); int fixed(void) { return naked() + 1; }",
		 1, VP_E_SECTION, "weaker mitigations"},
		{"int fixed(void *p) { asm volatile(\"call *%0\" : : \"r\"(p) : \"memory\"); return 1; }",
		 1, VP_E_SECTION, "weaker mitigations"},
		{"const int secret __section(\".modinfo\") = 3;\n"
		 "int fixed(int x) { return *(const volatile int *)&secret + x; }",
		 3, VP_E_SECTION, "does not carry"},
		{"int fixed(int x) { return undeclared; }", 3, VP_E_TOOL, "undeclared"},
	};
	struct world *w = *state;

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
		for (unsigned i = 0; i < 2; i++) {
			char text[1024];
			struct diag d;
			int r;

			if (!w->have[i] || !(cases[c].archs & 1 << i))
				continue;
			snprintf(text, sizeof(text), HEAD "%s\n" REPLACE, cases[c].text);
			r = build(w, i, text, &d);
			if (r != cases[c].err || !strstr(d.text, cases[c].words))
				fail_msg("%s: %s: %s", cases[c].text, vp_err_reason(r), d.text);
			assert_int_not_equal(access(w->out, F_OK), 0);
		}
}

static void test_plain_warn_does_without_a_table(void **state)
{
	static const char text[] =
		"#define VPATCH_PLAIN_WARN\n" HEAD
		"int fixed(void *to, void __user *p, long n) { WARN_ON(n > 3); WARN_ONCE(n, \"n %ld\", n);\n"
		"  BUG_ON(n == 5); if (WARN_ON_ONCE(n < 0)) return 1; return copy_from_user(to, p, n); }\n" REPLACE;
	struct world *w = *state;

	for (unsigned i = 0; i < 2; i++) {
		struct diag d;

		if (w->have[i] && build(w, i, text, &d) < 0)
			fail_msg("%s", d.text);
	}
}

static void test_the_build_id_may_be_given(void **state)
{
	static const char *const bad[] = {"", "12", "123", "0123456789abcdefg0",
					  "0x23456789abcdef"};
	struct world *w = *state;
	struct hf_build args = {
		.source = w->source,
		.kernel = w->headers[w->have[0] ? 0 : 1],
		.include_dir = INCLUDE_DIR,
		.out = w->out,
		.build_id = "0123456789abcdefABCDEF000102030405060708",
	};
	struct hf_bundle *b;
	struct diag d;

	assert_int_equal(
		build(w, w->have[0] ? 0 : 1, HEAD "int fixed(void) { return 1; }\n" REPLACE, &d),
		VP_OK);
	diag_init(&d);
	assert_int_equal(hf_build(&args, &d), VP_OK);
	b = open_out(w);
	assert_int_equal(hf_info(b)->build_id_len, 20);
	assert_int_equal(hf_info(b)->build_id[0], 0x01);
	assert_int_equal(hf_info(b)->build_id[8], 0xab);
	assert_string_equal(hf_info(b)->name, "hotfix"); /* the file's */
	assert_string_equal(hf_info(b)->version, "1");
	hf_close(b);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		args.build_id = bad[i];
		assert_int_equal(hf_build(&args, &d), VP_E_USAGE);
	}
}

static void test_a_directory_without_headers_is_refused(void **state)
{
	struct world *w = *state;
	struct hf_build args = {
		.source = w->source, .kernel = w->dir, .include_dir = INCLUDE_DIR, .out = w->out};
	struct diag d;

	diag_init(&d);
	assert_int_equal(hf_build(&args, &d), VP_E_IO);
	assert_non_null(strstr(d.text, "/lib/modules/RELEASE/build"));
}

/* vpatch knows its instructions, but not how its kernels' build is called. */
static void test_a_kernel_that_hotfixes_are_not_built_for_is_refused(void **state)
{
	struct world *w = *state;
	struct hf_build args = {
		.source = w->source, .kernel = w->dir, .include_dir = INCLUDE_DIR, .out = w->out};
	char path[sizeof(w->dir) + 16];
	struct diag d;
	FILE *f;

	diag_init(&d);
	snprintf(path, sizeof(path), "%s/.config", w->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("CONFIG_64BIT=y\nCONFIG_RISCV=y\n", f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(hf_build(&args, &d), VP_E_WRONG_ARCH);
	assert_non_null(strstr(d.text, "none of the architectures that hotfixes are built for"));
	unlink(path);
}

static void test_the_environment_of_a_make_does_not_leak_in(void **state)
{
	struct world *w = *state;
	struct diag d;

	setenv("MAKEFLAGS", "n", 1);
	setenv("ARCH", "riscv", 1);
	setenv("KCFLAGS", "-fsyntax-error", 1);
	if (build(w, w->have[0] ? 0 : 1, HEAD "int fixed(void) { return 1; }\n" REPLACE, &d) < 0)
		fail_msg("%s", d.text);
	unsetenv("MAKEFLAGS");
	unsetenv("ARCH");
	unsetenv("KCFLAGS");
}

int main(void)
{
	struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel_code_is_carried_whole),
		cmocka_unit_test(test_two_builds_are_the_same_bytes),
		cmocka_unit_test(test_what_cannot_be_carried_is_refused_with_advice),
		cmocka_unit_test(test_plain_warn_does_without_a_table),
		cmocka_unit_test(test_the_build_id_may_be_given),
		cmocka_unit_test(test_a_directory_without_headers_is_refused),
		cmocka_unit_test(test_a_kernel_that_hotfixes_are_not_built_for_is_refused),
		cmocka_unit_test(test_the_environment_of_a_make_does_not_leak_in),
	};
	struct world w = {.dir = "/tmp/vp-build-XXXXXX"};
	int r;

	if (!find_headers(&w))
		return 77;
	if (!mkdtemp(w.dir))
		return 1;
	snprintf(w.source, sizeof(w.source), "%s/hotfix.c", w.dir);
	snprintf(w.out, sizeof(w.out), "%s/hotfix.vpatch", w.dir);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i].initial_state = &w;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	if (run("rm -r %s", w.dir))
		return 1;
	return r;
}
