/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bundles: what is packed is read back; what is not sound is refused and never believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/bytes.h"
#include "tests/lib/sample.h"

#define META(s) s "\0", sizeof(s)
#define PLAIN   "replace=old_function,0,fixed"

static const struct arch_ops *arch_of(unsigned i)
{
	return arch_get(i ? ARCH_ARM64 : ARCH_X86_64);
}

/* Packs and expects it to work. */
static void pack(struct sample *s, uint8_t **buf, size_t *len)
{
	struct diag d;

	diag_init(&d);
	if (sample_pack(s, &d, buf, len) != VP_OK)
		fail_msg("%s", d.text);
}

static void expect_refused(struct sample *s, int err, const char *words)
{
	struct diag d;
	uint8_t *buf;
	size_t len;

	diag_init(&d);
	assert_string_equal(vp_err_reason(sample_pack(s, &d, &buf, &len)), vp_err_reason(err));
	if (!strstr(d.text, words))
		fail_msg("'%s' is not in '%s'", words, d.text);
}

static void test_what_is_packed_is_read_back(void **state)
{
	(void)state;

	for (unsigned i = 0; i < 2; i++) {
		static const char joined[] =
			"name=fix-1\0\0version=1.2+a\0clones=old_function,old_function.part.0 other\0"
			"replace=old_function,3,fixed\0fixes=CVE-1 and CVE-2\0author=A. N. Other\0"
			"description=what it does\0symbol=helper,aux,7\0consistency=quiesce";
		const struct hf_info *info;
		struct hf_bundle *b;
		struct sample s;
		struct diag d;
		uint8_t *buf;
		size_t len;

		sample_init(&s, arch_of(i), joined, sizeof(joined));
		pack(&s, &buf, &len);
		diag_init(&d);
		assert_int_equal(hf_open(buf, len, &d, &b), VP_OK);
		free(buf); /* the bundle keeps its own */
		info = hf_info(b);
		assert_string_equal(info->name, "fix-1");
		assert_string_equal(info->version, "1.2+a");
		assert_string_equal(info->fixes, "CVE-1 and CVE-2");
		assert_string_equal(info->author, "A. N. Other");
		assert_string_equal(info->description, "what it does");
		assert_string_equal(info->release, "6.1.0-test");
		assert_int_equal(info->build_id_len, 0);
		assert_ptr_equal(info->arch, arch_of(i));
		assert_int_equal(info->consistency, HF_QUIESCE);
		assert_false(info->inline_checked);
		assert_int_equal(info->n_replace, 1);
		assert_string_equal(info->replace[0].symbol, "old_function");
		assert_int_equal(info->replace[0].sympos, 3);
		assert_string_equal(info->replace[0].function, "fixed");
		assert_string_equal(info->replace[0].clones, "old_function.part.0 other");
		hf_close(b);
	}
}

static void test_packing_twice_gives_the_same_bytes(void **state)
{
	uint8_t *one, *two;
	size_t n_one, n_two;
	struct sample s;

	(void)state;
	sample_init(&s, arch_of(0), META(PLAIN));
	pack(&s, &one, &n_one);
	sample_init(&s, arch_of(0), META(PLAIN));
	pack(&s, &two, &n_two);
	assert_int_equal(n_one, n_two);
	assert_memory_equal(one, two, n_one);
	free(one);
	free(two);
}

/* Opens and, if that works, links: whatever happens, nothing may be read or written beyond. */
static bool survives(const uint8_t *buf, size_t len)
{
	uint64_t base = 0xffffffff81000000;
	struct hf_bundle *b;
	struct hf_image img;
	struct diag d;
	int r;

	diag_init(&d);
	r = hf_open(buf, len, &d, &b);
	if (r < 0) {
		assert_int_equal(d.err, r);
		assert_true(strlen(d.text) > 8);
		return false;
	}
	if (hf_link(b, vp_gva(base), sample_resolve, &base, &d, &img) == VP_OK) {
		assert_true(img.len <= hf_image_size(b));
		hf_image_deinit(&img);
	}
	hf_close(b);
	return true;
}

static void test_every_byte_flipped_is_refused_or_parsed(void **state)
{
	unsigned parsed = 0, refused = 0;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct sample s;
		uint8_t *buf;
		size_t len;

		sample_init(&s, arch_of(i), META(PLAIN));
		pack(&s, &buf, &len);
		for (size_t at = 0; at < len; at++) {
			static const uint8_t flips[] = {0x01, 0x80, 0xff, 0x55};

			for (size_t f = 0; f < sizeof(flips); f++) {
				uint8_t *copy = malloc(len);

				memcpy(copy, buf, len);
				copy[at] ^= flips[f];
				if (survives(copy, len))
					parsed++;
				else
					refused++;
				free(copy);
			}
		}
		free(buf);
	}
	assert_true(refused > 1000);
	print_message("%u parsed, %u refused\n", parsed, refused);
}

static void test_every_truncation_is_refused(void **state)
{
	struct sample s;
	uint8_t *buf;
	size_t len;

	(void)state;
	sample_init(&s, arch_of(1), META(PLAIN));
	pack(&s, &buf, &len);
	for (size_t n = 0; n < len; n++) {
		uint8_t *copy = malloc(n + 1);

		memcpy(copy, buf, n);
		assert_false(survives(copy, n));
		free(copy);
	}
	free(buf);
}

static void test_bytes_behind_the_object_are_refused(void **state)
{
	struct sample s;
	uint8_t *buf, *more;
	size_t len;

	(void)state;
	sample_init(&s, arch_of(1), META(PLAIN));
	pack(&s, &buf, &len);
	more = calloc(1, len + 40);
	assert_non_null(more);
	memcpy(more, buf, len);
	assert_true(survives(more, len));
	for (size_t n = 1; n <= 40; n++)
		assert_false(survives(more, len + n));
	free(more);
	free(buf);
}

/* The n-th note's type and desc in a packed bundle, found by the owner. */
static uint8_t *find_note(uint8_t *buf, size_t len, uint32_t type)
{
	for (size_t i = 12; i + 8 <= len; i++)
		if (memcmp(buf + i, "vpatch\0", 8) == 0 && vp_ld32(buf + i - 4) == type)
			return buf + i - 12;
	fail_msg("no note %u", type);
	return NULL;
}

static int open_error(const uint8_t *buf, size_t len, struct diag *d)
{
	struct hf_bundle *b;

	diag_init(d);
	return hf_open(buf, len, d, &b);
}

static void test_a_newer_format_is_refused_whole(void **state)
{
	struct sample s;
	struct diag d;
	uint8_t *buf;
	size_t len;

	(void)state;
	sample_init(&s, arch_of(0), META(PLAIN));
	pack(&s, &buf, &len);
	assert_int_equal(vp_ld32(find_note(buf, len, VP_NOTE_FORMAT) + VP_NOTE_HEAD), 1);
	vp_st32(find_note(buf, len, VP_NOTE_FORMAT) + VP_NOTE_HEAD, VP_NOTE_FORMAT_VERSION + 1);
	assert_int_equal(open_error(buf, len, &d), VP_E_VERSION);
	vp_st32(find_note(buf, len, VP_NOTE_FORMAT) + VP_NOTE_HEAD, 1);
	vp_st32(find_note(buf, len, VP_NOTE_FLAGS) + 8, 77);
	assert_int_equal(open_error(buf, len, &d), VP_E_VERSION);
	assert_non_null(strstr(d.text, "newer"));
	free(buf);
}

static void test_sites_are_read_back_and_make_it_format_2(void **state)
{
	static const char meta[] = "site.call=net_rx,fixed\0site.jump=a.b/c,fixed\0"
				   "site.nop=idle\0site.word=tick,1f2003d5\0"
				   "replace=old_function,0,fixed\0consistency=entry";
	static const char *const names[] = {"net_rx", "a.b/c", "idle", "tick", "old_function"};
	static const enum hf_how hows[] = {HF_SITE_CALL, HF_SITE_JUMP, HF_SITE_NOP, HF_SITE_WORD,
					   HF_REPLACE};
	const struct hf_info *info;
	struct hf_bundle *b;
	struct sample s;
	struct diag d;
	uint8_t *buf, *note;
	size_t len;

	(void)state;
	sample_init(&s, arch_of(1), meta, sizeof(meta));
	pack(&s, &buf, &len);
	assert_int_equal(vp_ld32(find_note(buf, len, VP_NOTE_FORMAT) + VP_NOTE_HEAD), 2);
	diag_init(&d);
	assert_int_equal(hf_open(buf, len, &d, &b), VP_OK);
	info = hf_info(b);
	assert_int_equal(info->n_replace, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(info->replace[i].how, hows[i]);
		assert_string_equal(info->replace[i].symbol, names[i]);
		assert_string_equal(info->replace[i].function,
				    hf_leads(&info->replace[i]) ? "fixed" : "");
	}
	assert_int_equal(info->replace[3].word_len, 4);
	assert_int_equal(vp_ld32(info->replace[3].word), 0xd503201f);
	hf_close(b);
	/* what a reader of format 1 makes of it */
	vp_st32(find_note(buf, len, VP_NOTE_FORMAT) + VP_NOTE_HEAD, 1);
	assert_int_equal(open_error(buf, len, &d), VP_E_VERSION);
	vp_st32(find_note(buf, len, VP_NOTE_FORMAT) + VP_NOTE_HEAD, 2);
	/* wrong fields */
	note = find_note(buf, len, VP_NOTE_SITE);
	for (uint32_t how = 0; how < 7; how++) {
		int want =
			how == VP_NOTE_SITE_CALL || how == VP_NOTE_SITE_JUMP ? VP_OK : VP_E_BUNDLE;

		vp_st32(note + VP_NOTE_HEAD, how);
		diag_init(&d);
		assert_int_equal(hf_open(buf, len, &d, &b), want);
		if (want == VP_OK)
			hf_close(b);
	}
	vp_st32(note + VP_NOTE_HEAD, VP_NOTE_SITE_CALL);
	note[VP_NOTE_HEAD + 4] = ' ';
	assert_int_equal(open_error(buf, len, &d), VP_E_BUNDLE);
	memcpy(note + VP_NOTE_HEAD + 4, "idle\0 ", 5); /* twice, and the rest is no function */
	assert_int_equal(open_error(buf, len, &d), VP_E_BUNDLE);
	free(buf);
}

static void test_sites_that_are_not_right_are_named(void **state)
{
	static const struct {
		const char *meta;
		const char *words;
	} rows[] = {
		{"site.call=x", "VPATCH_SITE"},
		{"site.call=,fixed", "name a site"},
		{"site.call=a b,fixed", "name a site"},
		{"site.call=x,1 2", "VPATCH_SITE"},
		{"site.nop=x,fixed", "VPATCH_SITE"},
		{"site.word=x", "hexadecimal"},
		{"site.word=x,123", "hexadecimal"},
		{"site.word=x,1F", "hexadecimal"},
		{"site.word=x,112233445566778899", "hexadecimal"},
		{"site.poke=x,fixed", "VPATCH_SITE"},
		{"site.call=x,no_such_function", "no such function"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sample s;
		struct hf_bundle *b;
		struct diag d;
		uint8_t *buf;
		size_t len;
		int r;

		sample_init(&s, arch_of(1), rows[i].meta, strlen(rows[i].meta) + 1);
		diag_init(&d);
		r = sample_pack(&s, &d, &buf, &len);
		if (r == VP_OK) {
			r = hf_open(buf, len, &d, &b);
			free(buf);
		}
		assert_int_equal(r, VP_E_BUNDLE);
		if (!strstr(d.text, rows[i].words))
			fail_msg("row %zu: '%s' is not in '%s'", i, rows[i].words, d.text);
	}
}

static void test_notes_that_are_not_sound_are_refused(void **state)
{
	static const struct {
		uint32_t type;
		unsigned at;
		uint32_t value;
	} cases[] = {
		{VP_NOTE_NAME, VP_NOTE_HEAD, 0x20202020}, /* spaces are no name */
		{VP_NOTE_NAME, VP_NOTE_HEAD, 0x2f2e2e2f}, /* nor is a path */
		{VP_NOTE_NAME, VP_NOTE_HEAD, 0x1b5b6d61}, /* nor an escape */
		{VP_NOTE_NAME, 4, 0xffffffff},            /* longer than the section */
		{VP_NOTE_NAME, 8, VP_NOTE_VERSION},       /* version twice, no name */
		{VP_NOTE_NAME, 0, 6},                     /* another owner */
		{VP_NOTE_CONSISTENCY, VP_NOTE_HEAD, 3},   /* unknown */
		{VP_NOTE_FLAGS, VP_NOTE_HEAD, 2},         /* unknown bit */
		{VP_NOTE_REPLACE, VP_NOTE_HEAD, VP_NOTE_SYMPOS_MAX + 1}, /* position */
		{VP_NOTE_REPLACE, VP_NOTE_HEAD + 4, 0x20646c6f},         /* "old " */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sample s;
		struct diag d;
		uint8_t *buf;
		size_t len;

		sample_init(&s, arch_of(0), META(PLAIN));
		pack(&s, &buf, &len);
		vp_st32(find_note(buf, len, cases[i].type) + cases[i].at, cases[i].value);
		assert_int_equal(open_error(buf, len, &d), VP_E_BUNDLE);
		free(buf);
	}
}

static void test_a_machine_that_is_not_known_is_refused(void **state)
{
	struct sample s;
	struct diag d;
	uint8_t *buf;
	size_t len;

	(void)state;
	sample_init(&s, arch_of(0), META(PLAIN));
	pack(&s, &buf, &len);
	vp_st16(buf + 18, EM_S390);
	assert_int_equal(open_error(buf, len, &d), VP_E_WRONG_ARCH);
	free(buf);
}

static void test_what_cannot_be_carried_is_refused_by_name(void **state)
{
	static const struct {
		const char *name;
		uint64_t flags;
		const char *advice;
	} cases[] = {
		{".data", SHF_ALLOC | SHF_WRITE, "make it const"},
		{".data..read_mostly", SHF_ALLOC | SHF_WRITE, "make it const"},
		{".bss", SHF_ALLOC | SHF_WRITE, "a variable that the kernel has"},
		{".data..percpu", SHF_ALLOC | SHF_WRITE, "use one the kernel has"},
		{".data.once", SHF_ALLOC | SHF_WRITE, "printk_ratelimit()"},
		{"__ex_table", SHF_ALLOC, "copy_from_user()"},
		{"__bug_table", SHF_ALLOC | SHF_WRITE, "VPATCH_PLAIN_WARN"},
		{"__jump_table", SHF_ALLOC | SHF_WRITE, "static_branch_likely()"},
		{".altinstructions", SHF_ALLOC, "cannot be told apart"},
		{".altinstr_aux", SHF_ALLOC | SHF_EXECINSTR, "boot_cpu_has()"},
		{".parainstructions", SHF_ALLOC, "paravirtual"},
		{"__tracepoints", SHF_ALLOC | SHF_WRITE, "do not define tracepoints"},
		{"__dyndbg", SHF_ALLOC | SHF_WRITE, "pr_info()"},
		{".init.text", SHF_ALLOC | SHF_EXECINSTR, "take __init out"},
		{".exit.text", SHF_ALLOC | SHF_EXECINSTR, "__exit"},
		{".initcall6.init", SHF_ALLOC, "initcalls"},
		{".ctors", SHF_ALLOC | SHF_WRITE, "constructors"},
		{".gnu.linkonce.this_module", SHF_ALLOC | SHF_WRITE, "no module"},
		{"__ksymtab_strings", SHF_ALLOC, "EXPORT_SYMBOL()"},
		{".noinstr.text", SHF_ALLOC | SHF_EXECINSTR, "noinstr"},
		{".rodata.cst", SHF_ALLOC | SHF_WRITE, "make it const"},
		{".surprise", SHF_ALLOC, "does not know"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const uint8_t data[12];
		struct sample s;

		sample_init(&s, arch_of(0), META(PLAIN));
		sample_section(&s, cases[i].name, SHT_PROGBITS, cases[i].flags, data, sizeof(data),
			       4);
		expect_refused(&s, VP_E_SECTION, cases[i].advice);
		sample_init(&s, arch_of(0), META(PLAIN));
		sample_section(&s, cases[i].name, SHT_PROGBITS, cases[i].flags, data, sizeof(data),
			       4);
		expect_refused(&s, VP_E_SECTION, cases[i].name);
	}
}

static void test_what_changes_nothing_is_dropped(void **state)
{
	static const char *const names[] = {
		".comment",          ".orc_unwind",      ".orc_unwind_ip", ".smp_locks",
		".return_sites",     ".retpoline_sites", ".call_sites",    ".static_call_sites",
		".discard.annotate", ".modinfo",
	};
	static const uint8_t data[8] = "zzz";
	struct sample s;
	uint8_t *buf;
	size_t len;

	(void)state;
	sample_init(&s, arch_of(0), META(PLAIN));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		sample_section(&s, names[i], SHT_PROGBITS, SHF_ALLOC, data, sizeof(data), 1);
	sample_section(&s, ".data", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, data, 0, 1);
	pack(&s, &buf, &len);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_null(memmem(buf, len, names[i], strlen(names[i])));
	free(buf);
}

static void test_alternatives_pass_only_if_they_are_always_right(void **state)
{
	static const uint16_t ok[] = {12, 26, 99};
	static const uint8_t harmless[24] = {[8] = 26, [20] = 99};
	static const uint8_t harmful[24] = {[8] = 26, [20] = 24};
	struct sample s;
	uint8_t *buf;
	size_t len;

	(void)state;
	sample_init(&s, arch_of(1), META(PLAIN));
	sample_section(&s, ".vpatch.alt", SHT_PROGBITS, SHF_ALLOC, ok, sizeof(ok), 2);
	sample_section(&s, ".altinstructions", SHT_PROGBITS, SHF_ALLOC, harmless, 24, 4);
	pack(&s, &buf, &len);
	free(buf);
	sample_init(&s, arch_of(1), META(PLAIN));
	sample_section(&s, ".vpatch.alt", SHT_PROGBITS, SHF_ALLOC, ok, sizeof(ok), 2);
	sample_section(&s, ".altinstructions", SHT_PROGBITS, SHF_ALLOC, harmful, 24, 4);
	expect_refused(&s, VP_E_SECTION, "feature 24");
	sample_init(&s, arch_of(1), META(PLAIN));
	sample_section(&s, ".vpatch.alt", SHT_PROGBITS, SHF_ALLOC, ok, sizeof(ok), 2);
	sample_section(&s, ".altinstructions", SHT_PROGBITS, SHF_ALLOC, harmful, 23, 4);
	expect_refused(&s, VP_E_SECTION, "not as the kernel's headers say");
}

static void test_symbols_without_an_address_are_refused(void **state)
{
	struct sample s;
	unsigned sym;

	(void)state;
	sample_init(&s, arch_of(0), META(PLAIN));
	sym = sample_symbol(&s, "shared", STB_GLOBAL, STT_OBJECT, SHN_COMMON, 8, 8);
	sample_rela(&s, s.text, 0, R_X86_64_64, sym, 0);
	expect_refused(&s, VP_E_SECTION, "common variable");
	sample_init(&s, arch_of(0), META(PLAIN));
	sym = sample_symbol(&s, "mine", STB_LOCAL, STT_TLS, s.text, 0, 8);
	sample_rela(&s, s.text, 0, R_X86_64_64, sym, 0);
	expect_refused(&s, VP_E_SECTION, "thread-local");
	/* A replacement that is not there, or is no function of the payload. */
	sample_init(&s, arch_of(0), META("replace=old,0,missing"));
	expect_refused(&s, VP_E_BUNDLE, "missing");
	sample_init(&s, arch_of(0), META("replace=old,0,helper"));
	expect_refused(&s, VP_E_BUNDLE, "helper");
}

static void test_macros_that_are_not_right_are_named(void **state)
{
	static const struct {
		const char *meta;
		size_t len;
		const char *words;
	} cases[] = {
		{META("name=x"), "replaces nothing"},
		{META("name=bad name\0" PLAIN), "VPATCH_NAME(bad name)"},
		{META("name=-x\0" PLAIN), "VPATCH_NAME"},
		{META("name=a\0name=b\0" PLAIN), "twice"},
		{META("version=1/2\0" PLAIN), "VPATCH_VERSION"},
		{META("fixes=a\nb\0" PLAIN), "VPATCH_FIXES"},
		{META("replace=a,x,fixed"), "VPATCH_REPLACE_NTH"},
		{META("replace=a,65536,fixed"), "VPATCH_REPLACE_NTH"},
		{META("replace=a,99999999999999999999,fixed"), "VPATCH_REPLACE_NTH"},
		{META("replace=a,0,fixed\0replace=a,2,fixed"), "replaced twice"},
		{META("replace=a b,0,fixed"), "VPATCH_REPLACE"},
		{META("clones=other,a.part.0\0" PLAIN), "does not replace"},
		{META("clones=old_function,a  b\0" PLAIN), "VPATCH_CLONES"},
		{META("clones=old_function,\0clones=old_function,x y \0" PLAIN), "VPATCH_CLONES"},
		{META("symbol=a\0" PLAIN), "VPATCH_SYMBOL"},
		{META("symbol=a,b,1\0symbol=a,c,1\0" PLAIN), "twice"},
		{META("consistency=never\0" PLAIN), "VPATCH_CONSISTENCY"},
		{META("consistency=entry\0consistency=entry\0" PLAIN), "VPATCH_CONSISTENCY"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sample s;

		sample_init(&s, arch_of(0), cases[i].meta, cases[i].len);
		expect_refused(&s, VP_E_BUNDLE, cases[i].words);
	}
}

static void test_consistency_follows_the_count_unless_it_is_said(void **state)
{
	static const struct {
		const char *meta;
		size_t len;
		enum hf_consistency want;
	} cases[] = {
		{META(PLAIN), HF_ENTRY},
		{META(PLAIN "\0replace=other,0,fixed"), HF_QUIESCE},
		{META(PLAIN "\0replace=other,0,fixed\0consistency=entry"), HF_ENTRY},
		{META(PLAIN "\0consistency=quiesce"), HF_QUIESCE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hf_bundle *b;
		struct sample s;
		struct diag d;
		uint8_t *buf;
		size_t len;

		sample_init(&s, arch_of(0), cases[i].meta, cases[i].len);
		pack(&s, &buf, &len);
		diag_init(&d);
		assert_int_equal(hf_open(buf, len, &d, &b), VP_OK);
		assert_int_equal(hf_info(b)->consistency, cases[i].want);
		hf_close(b);
		free(buf);
	}
}

static void test_a_file_is_read_once_and_only_if_it_is_one(void **state)
{
	char dir[] = "/tmp/vp-test-XXXXXX", path[64];
	struct diag d;
	uint8_t *buf;
	size_t len;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	diag_init(&d);
	assert_int_equal(hf_read_file(dir, &d, &buf, &len), VP_E_BUNDLE);
	snprintf(path, sizeof(path), "%s/none", dir);
	assert_true(hf_read_file(path, &d, &buf, &len) < 0);
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(hf_read_file(path, &d, &buf, &len), VP_E_BUNDLE);
	unlink(path);
	snprintf(path, sizeof(path), "%s/file", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite("abc", 1, 3, f), 3);
	fclose(f);
	assert_int_equal(hf_read_file(path, &d, &buf, &len), VP_OK);
	assert_int_equal(len, 3);
	assert_memory_equal(buf, "abc", 3);
	free(buf);
	assert_int_equal(truncate(path, HF_FILE_MAX), 0);
	assert_int_equal(hf_read_file(path, &d, &buf, &len), VP_OK);
	free(buf);
	assert_int_equal(truncate(path, HF_FILE_MAX + 1), 0);
	assert_int_equal(hf_read_file(path, &d, &buf, &len), VP_E_BUNDLE);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_packed_is_read_back),
		cmocka_unit_test(test_packing_twice_gives_the_same_bytes),
		cmocka_unit_test(test_every_byte_flipped_is_refused_or_parsed),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_bytes_behind_the_object_are_refused),
		cmocka_unit_test(test_a_newer_format_is_refused_whole),
		cmocka_unit_test(test_sites_are_read_back_and_make_it_format_2),
		cmocka_unit_test(test_sites_that_are_not_right_are_named),
		cmocka_unit_test(test_notes_that_are_not_sound_are_refused),
		cmocka_unit_test(test_a_machine_that_is_not_known_is_refused),
		cmocka_unit_test(test_what_cannot_be_carried_is_refused_by_name),
		cmocka_unit_test(test_what_changes_nothing_is_dropped),
		cmocka_unit_test(test_alternatives_pass_only_if_they_are_always_right),
		cmocka_unit_test(test_symbols_without_an_address_are_refused),
		cmocka_unit_test(test_macros_that_are_not_right_are_named),
		cmocka_unit_test(test_consistency_follows_the_count_unless_it_is_said),
		cmocka_unit_test(test_a_file_is_read_once_and_only_if_it_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
