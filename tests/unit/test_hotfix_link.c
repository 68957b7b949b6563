/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Linking: what GNU ld makes of the same object at the same address, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "tests/lib/sample.h"

#define META(s) s "\0", sizeof(s)
#define PLAIN   "replace=old_function,0,fixed"
#define BASE    0xffffffff81200000ull

static const struct arch_ops *arch_of(unsigned i)
{
	return arch_get(i ? ARCH_ARM64 : ARCH_X86_64);
}

static struct hf_bundle *open_packed(struct sample *s)
{
	struct hf_bundle *b;
	struct diag d;
	uint8_t *buf;
	size_t len;

	diag_init(&d);
	if (sample_pack(s, &d, &buf, &len) < 0 || hf_open(buf, len, &d, &b) < 0)
		fail_msg("%s", d.text);
	free(buf);
	return b;
}

static struct hf_bundle *open_sample(unsigned arch, const char *meta, size_t len)
{
	struct sample s;

	sample_init(&s, arch_of(arch), meta, len);
	return open_packed(&s);
}

static void test_equal_answers_give_equal_bytes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct hf_bundle *b = open_sample(i, META(PLAIN));
		uint64_t near = BASE + 0x100000;
		struct hf_image one, two;
		struct diag d;

		diag_init(&d);
		assert_int_equal(hf_link(b, vp_gva(BASE), sample_resolve, &near, &d, &one), VP_OK);
		assert_int_equal(hf_link(b, vp_gva(BASE), sample_resolve, &near, &d, &two), VP_OK);
		assert_int_equal(one.len, two.len);
		assert_memory_equal(one.bytes, two.bytes, one.len);
		assert_int_equal(one.entry[0], 0);
		hf_image_deinit(&one);
		hf_image_deinit(&two);
		hf_close(b);
	}
}

static void test_gaps_trap(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct hf_bundle *b = open_sample(i, META(PLAIN));
		uint64_t near = BASE + 0x100000;
		struct hf_image img;
		struct diag d;

		diag_init(&d);
		assert_int_equal(hf_link(b, vp_gva(BASE), sample_resolve, &near, &d, &img), VP_OK);
		/* .text has 16 bytes and .rodata is 32-aligned. */
		for (unsigned k = 16; k < 32; k++)
			assert_int_equal(img.bytes[k],
					 arch_of(i)->filler[k % arch_of(i)->filler_len]);
		hf_image_deinit(&img);
		hf_close(b);
	}
}

static void test_a_branch_that_falls_short_gets_one_veneer(void **state)
{
	struct hf_bundle *b = open_sample(1, META(PLAIN));
	uint64_t far = BASE - 0x40000000; /* 1 GiB: beyond BL, within ADRP */
	struct arch_insn insn[2];
	struct hf_image img;
	struct diag d;

	(void)state;
	diag_init(&d);
	assert_int_equal(hf_link(b, vp_gva(BASE), sample_resolve, &far, &d, &img), VP_OK);
	assert_true(img.len > 48 && img.len <= hf_image_size(b));
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			arch_of(1)->decode(img.bytes + 4 * i, 4, vp_gva(BASE + 4 * i), &insn[i]),
			VP_OK);
	assert_int_equal(insn[0].kind, ARCH_INSN_CALL);
	assert_int_equal(insn[1].kind, ARCH_INSN_BRANCH);
	assert_int_equal(insn[0].target.v, BASE + 48);
	assert_int_equal(insn[1].target.v, BASE + 48);
	hf_image_deinit(&img);
	hf_close(b);
}

static void test_out_of_all_reach_is_refused_with_the_place(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct hf_bundle *b = open_sample(i, META(PLAIN));
		uint64_t far = 0x7f0000000000;
		struct hf_image img;
		struct diag d;

		diag_init(&d);
		assert_int_equal(hf_link(b, vp_gva(BASE), sample_resolve, &far, &d, &img),
				 VP_E_REACH);
		assert_non_null(strstr(d.text, "helper"));
		assert_non_null(strstr(d.text, ".text"));
		hf_close(b);
	}
}

struct asked {
	char name[64];
	unsigned sympos, n;
	int answer;
};

static int ask(void *ctx, const char *name, unsigned sympos, struct diag *diag, vp_gva_t *ret)
{
	struct asked *a = ctx;

	snprintf(a->name, sizeof(a->name), "%s", name);
	a->sympos = sympos;
	a->n++;
	if (a->answer < 0)
		return diag_set(diag, a->answer, "%s: no", name);
	*ret = vp_gva(BASE + 0x10000);
	return VP_OK;
}

static void test_a_symbol_is_asked_for_once_and_by_its_own_name(void **state)
{
	struct hf_bundle *b = open_sample(0, META(PLAIN "\0symbol=helper,aux_helper,4"));
	struct asked a = {.n = 0};
	struct hf_image img;
	struct diag d;

	(void)state;
	diag_init(&d);
	assert_int_equal(hf_link(b, vp_gva(BASE), ask, &a, &d, &img), VP_OK);
	assert_string_equal(a.name, "aux_helper");
	assert_int_equal(a.sympos, 4);
	assert_int_equal(a.n, 1);
	hf_image_deinit(&img);
	hf_close(b);
}

static void test_a_symbol_that_is_not_there_is_not_guessed(void **state)
{
	static const int errors[] = {VP_E_SYM_UNKNOWN, VP_E_SYM_AMBIGUOUS};
	(void)state;
	for (unsigned weak = 0; weak < 2; weak++)
		for (size_t i = 0; i < 2; i++) {
			struct asked a = {.answer = errors[i]};
			struct hf_bundle *b;
			struct hf_image img;
			struct sample s;
			struct diag d;

			sample_init(&s, arch_of(0), META(PLAIN));
			s.symbol[2].bind = weak ? STB_WEAK : STB_GLOBAL;
			b = open_packed(&s);
			diag_init(&d);
			assert_int_equal(hf_link(b, vp_gva(BASE), ask, &a, &d, &img), errors[i]);
			assert_string_equal(d.text, "helper: no");
			hf_close(b);
		}
}

static void test_a_relocation_that_is_not_known_is_named(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct asked a = {.n = 0};
		struct hf_bundle *b;
		struct hf_image img;
		struct sample s;
		struct diag d;

		sample_init(&s, arch_of(i), META(PLAIN));
		sample_rela(&s, s.text, 8, i ? R_AARCH64_LD64_GOT_LO12_NC : R_X86_64_TPOFF32, 2, 0);
		b = open_packed(&s);
		diag_init(&d);
		assert_int_equal(hf_link(b, vp_gva(BASE), ask, &a, &d, &img), VP_E_RELOC);
		assert_non_null(strstr(d.text, ".text+0x8"));
		hf_close(b);
	}
}

static void test_a_base_that_cannot_be_is_refused(void **state)
{
	struct hf_bundle *b = open_sample(1, META(PLAIN));
	struct asked a = {.n = 0};
	struct hf_image img;
	struct diag d;

	(void)state;
	diag_init(&d);
	assert_int_equal(hf_link(b, vp_gva(BASE + 32), ask, &a, &d, &img), VP_E_RANGE);
	assert_int_equal(hf_link(b, vp_gva(~0ull << 6), ask, &a, &d, &img), VP_E_RANGE);
	assert_int_equal(a.n, 0);
	hf_close(b);
}

/* --- against GNU ld ---------------------------------------------------------------------------- */

static const char source[] =
	"__attribute__((used, section(\".vpatch.meta\"))) static const char meta[] = "
	"\"replace=old_function,0,fixed\";\n"
	"extern int helper(const char *, ...), other(void *), count8, weak_one(int) "
	"__attribute__((weak));\n"
	"extern signed char data8; extern short data16; extern int data32; extern long data64;\n"
	"extern unsigned __int128 data128; extern char array[1000];\n"
	"static int part(int x) __attribute__((noinline));\n"
	"static int part(int x) { return helper(\"part %d\\n\", x) + data8; }\n"
	"static int (*const table[])(int) = {part, weak_one, part};\n"
	"static const char *const names[] = {\"zero\", \"one\", \"two\", \"three\"};\n"
	"struct big { char c[40]; }; extern struct big from, to;\n"
	"__attribute__((cold, noinline)) static int rare(void *p) { return other(p) + 1; }\n"
	"int fixed(int x, void *p)\n"
	"{\n"
	"	switch (x) {\n"
	"	case 0: return helper(\"a\"); case 1: data16 = 3; return 8; case 2: return part(9);\n"
	"	case 3: return data32++; case 4: data64 += x; return 1; case 5: to = from; return 2;\n"
	"	case 6: return rare(p); case 7: data128 = 5; return 77; case 8: return array[17];\n"
	"	case 9: return (int)(long)names[x & 3]; case 10: return count8 == 1000; }\n"
	"	if (x > 100) return table[x % 3](x);\n"
	"	helper(names[x & 3], (char *)p + 1, &array[x]);\n"
	"	return other(array + 12);\n"
	"}\n";

static const struct {
	const char *gcc, *ld, *objcopy, *flags;
} tools[2] = {
	{"x86_64-linux-gnu-gcc", "x86_64-linux-gnu-ld", "x86_64-linux-gnu-objcopy",
	 "-mcmodel=kernel -mno-red-zone -mno-sse -fcf-protection=none"},
	{"aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld", "aarch64-linux-gnu-objcopy",
	 "-mgeneral-regs-only"},
};

__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char cmd[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

static void slurp(const char *dir, const char *name, uint8_t **buf, size_t *len)
{
	char path[128];
	struct diag d;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	diag_init(&d);
	if (hf_read_file(path, &d, buf, len) < 0)
		fail_msg("%s", d.text);
}

static void spill(const char *dir, const char *name, const void *buf, size_t len)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(buf, 1, len, f), len);
	fclose(f);
}

/* A linker script that does what vpatch promises: file order, one image, traps between. */
static void write_script(const char *dir, const uint8_t *bundle, size_t len,
			 const struct arch_ops *arch, uint64_t near)
{
	char path[128], text[9];
	struct diag d;
	struct obj o;
	FILE *f;

	snprintf(path, sizeof(path), "%s/script", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	diag_init(&d);
	assert_int_equal(obj_open(bundle, len, &d, &o), VP_OK);
	for (unsigned i = 1; i < o.n_symbol; i++)
		if (o.symbol[i].shndx == SHN_UNDEF) {
			vp_gva_t at;

			assert_int_equal(sample_resolve(&near, o.symbol[i].name, 0, &d, &at),
					 VP_OK);
			fprintf(f, "%s = %#" PRIx64 ";\n", o.symbol[i].name, at.v);
		}
	fprintf(f, "SECTIONS {\n .image %#llx : {\n", BASE);
	for (unsigned i = 1; i < o.n_section; i++)
		if ((o.section[i].flags & SHF_ALLOC) && o.section[i].type == SHT_PROGBITS)
			fprintf(f, "  . = ALIGN(%u);\n  *(%s)\n", (unsigned)o.section[i].align,
				o.section[i].name);
	for (unsigned i = 0; i < 4; i++)
		snprintf(text + 2 * i, 3, "%02x", arch->filler[i % arch->filler_len]);
	fprintf(f, " } =0x%s\n /DISCARD/ : { *(*) }\n}\n", text);
	fclose(f);
	obj_deinit(&o);
}

static void compare(unsigned arch, const char *options)
{
	char dir[] = "/tmp/vp-link-XXXXXX";
	uint8_t *object, *bundle, *want;
	size_t n_object, n_bundle, n_want;
	struct pack_kernel kernel = {.release = "6.1.0-test"};
	uint64_t near = BASE + 0x400000;
	struct pack_meta meta;
	struct hf_bundle *b;
	struct hf_image img;
	struct diag d;
	struct obj o;

	assert_non_null(mkdtemp(dir));
	spill(dir, "a.c", source, sizeof(source) - 1);
	assert_int_equal(
		run("%s -c %s %s -ffreestanding -fno-pic -fno-pie -fno-common -w "
		    "-fno-asynchronous-unwind-tables -fno-stack-protector -o %s/a.o %s/a.c",
		    tools[arch].gcc, tools[arch].flags, options, dir, dir),
		0);
	slurp(dir, "a.o", &object, &n_object);
	diag_init(&d);
	assert_int_equal(obj_open(object, n_object, &d, &o), VP_OK);
	assert_int_equal(pack_meta(&o, &d, &meta), VP_OK);
	meta.name = meta.version = "x";
	if (pack_bundle(&o, &meta, &kernel, &d, &bundle, &n_bundle) < 0 ||
	    hf_open(bundle, n_bundle, &d, &b) < 0 ||
	    hf_link(b, vp_gva(BASE), sample_resolve, &near, &d, &img) < 0)
		fail_msg("%s", d.text);
	spill(dir, "b.o", bundle, n_bundle);
	write_script(dir, bundle, n_bundle, hf_info(b)->arch, near);
	assert_int_equal(run("cd %s && %s --no-warn-rwx-segments -T script -o c b.o && "
			     "%s -O binary -j .image c image",
			     dir, tools[arch].ld, tools[arch].objcopy),
			 0);
	slurp(dir, "image", &want, &n_want);
	assert_true(n_want >= img.len && n_want - img.len < 64);
	assert_memory_equal(img.bytes, want, img.len);
	print_message("%s %s: %u bytes\n", hf_info(b)->arch->name, options, img.len);
	hf_image_deinit(&img);
	hf_close(b);
	pack_meta_deinit(&meta);
	obj_deinit(&o);
	free(object);
	free(bundle);
	free(want);
	assert_int_equal(run("rm -r %s", dir), 0);
}

static void test_the_image_is_what_ld_makes_of_it(void **state)
{
	static const char *const options[] = {
		"-O2",
		"-O0",
		"-Os",
		"-O2 -ffunction-sections -fdata-sections",
		"-O3 -fno-jump-tables",
	};

	(void)state;
	for (unsigned arch = 0; arch < 2; arch++) {
		if (run("command -v %s %s %s >/dev/null", tools[arch].gcc, tools[arch].ld,
			tools[arch].objcopy)) {
			print_message("%s is missing\n", tools[arch].gcc);
			skip();
		}
		for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
			compare(arch, options[i]);
	}
}

/* Written as undefined, it would be whatever the guest's kernel calls `secret`. */
static void test_a_use_of_what_is_left_out_is_refused(void **state)
{
	static const char text[] =
		"const int secret __attribute__((section(\".modinfo\"))) = 3;\n"
		"int fixed(int x) { return *(const volatile int *)&secret + x; }\n"
		"static const char m[] __attribute__((used, section(\".vpatch.meta\"))) =\n"
		"\"replace=old,0,fixed\";\n";
	char dir[] = "/tmp/vpatch-link.XXXXXX";
	struct pack_kernel kernel = {.release = "6.1.0"};
	uint8_t *object, *bundle;
	size_t n_object, n_bundle;
	struct pack_meta meta;
	struct diag d;
	struct obj o;

	(void)state;
	assert_non_null(mkdtemp(dir));
	spill(dir, "a.c", text, sizeof(text) - 1);
	assert_int_equal(run("%s -c %s -O2 -ffreestanding -fno-pic -fno-pie -w "
			     "-fno-asynchronous-unwind-tables -o %s/a.o %s/a.c",
			     tools[0].gcc, tools[0].flags, dir, dir),
			 0);
	slurp(dir, "a.o", &object, &n_object);
	diag_init(&d);
	assert_int_equal(obj_open(object, n_object, &d, &o), VP_OK);
	assert_int_equal(pack_meta(&o, &d, &meta), VP_OK);
	meta.name = meta.version = "x";
	assert_int_equal(pack_bundle(&o, &meta, &kernel, &d, &bundle, &n_bundle), VP_E_SECTION);
	assert_non_null(strstr(d.text, "secret in section .modinfo"));
	pack_meta_deinit(&meta);
	obj_deinit(&o);
	free(object);
	assert_int_equal(run("rm -r %s", dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_use_of_what_is_left_out_is_refused),
		cmocka_unit_test(test_equal_answers_give_equal_bytes),
		cmocka_unit_test(test_gaps_trap),
		cmocka_unit_test(test_a_branch_that_falls_short_gets_one_veneer),
		cmocka_unit_test(test_out_of_all_reach_is_refused_with_the_place),
		cmocka_unit_test(test_a_symbol_is_asked_for_once_and_by_its_own_name),
		cmocka_unit_test(test_a_symbol_that_is_not_there_is_not_guessed),
		cmocka_unit_test(test_a_relocation_that_is_not_known_is_named),
		cmocka_unit_test(test_a_base_that_cannot_be_is_refused),
		cmocka_unit_test(test_the_image_is_what_ld_makes_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
