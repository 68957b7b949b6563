/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Samples of every released format must still read. They lie in tests/abi, one folder a format and
 * version; tests/linux/abi_samples.sh made them on real guests, tests/tools/mksites.c those of the site
 * table. Those of journal 2 are hand-made transactions, begun by eng_journal_begin. Run from the root of the source.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bytes.h"
#include "protocol/ledger.h"
#include "protocol/sites.h"
#include "vmm-agent/engine/journal.h"
#include "vmm-agent/hotfix/hotfix.h"

#define SAMPLES_MIN 2 /* one an architecture */

/* Calls fn for every sample that matches and fails if there are too few: a test that finds no
 * sample says nothing. */
static void each(const char *pattern, void (*fn)(const char *path, const uint8_t *buf, size_t len))
{
	struct diag diag;
	glob_t g;

	assert_int_equal(glob(pattern, 0, NULL, &g), 0);
	assert_true(g.gl_pathc >= SAMPLES_MIN);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		uint8_t *buf;
		size_t len;

		diag_init(&diag);
		assert_int_equal(hf_read_file(g.gl_pathv[i], &diag, &buf, &len), VP_OK);
		fn(g.gl_pathv[i], buf, len);
		free(buf);
	}
	globfree(&g);
}

static void bundle(const char *path, const uint8_t *buf, size_t len)
{
	struct hf_trust trust = {.certs_dir = "tests/abi/bundle-1/certs"};
	struct hf_signer signer;
	struct hf_bundle *b;
	struct diag diag;

	diag_init(&diag);
	assert_int_equal(hf_verify(buf, len, &trust, &diag, &signer), VP_OK);
	assert_int_equal(hf_open(buf, len, &diag, &b), VP_OK);
	assert_string_equal(hf_info(b)->name, "banner");
	assert_string_equal(hf_info(b)->version, "1");
	assert_string_equal(hf_info(b)->arch->name, strstr(path, "amd64") ? "x86-64" : "arm64");
	assert_int_equal(hf_info(b)->n_replace, 1);
	assert_string_equal(hf_info(b)->replace[0].symbol, "version_proc_show");
	hf_close(b);
}

static void test_bundle_of_format_1_is_verified_and_read(void **state)
{
	(void)state;
	each("tests/abi/bundle-1/*.vpatch", bundle);
}

static void test_bundle_of_format_2_is_read(void **state)
{
	static const enum hf_how hows[] = {HF_REPLACE, HF_SITE_CALL, HF_SITE_JUMP, HF_SITE_NOP,
					   HF_SITE_WORD};
	struct hf_bundle *b;
	struct diag diag;
	uint8_t *buf;
	size_t len;

	(void)state;
	diag_init(&diag);
	assert_int_equal(hf_read_file("tests/abi/bundle-2/arm64-image.vpatch", &diag, &buf, &len),
			 VP_OK);
	assert_int_equal(hf_open(buf, len, &diag, &b), VP_OK);
	assert_string_equal(hf_info(b)->release, HF_NO_RELEASE);
	assert_int_equal(hf_info(b)->build_id_len, 20);
	assert_int_equal(hf_info(b)->n_replace, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(hf_info(b)->replace[i].how, hows[i]);
	hf_close(b);
	free(buf);
}

static void record(const char *path, const uint8_t *buf, size_t len)
{
	vp_gva_t self = {strtoull(strrchr(path, '-') + 1, NULL, 16)};
	const char *state = strstr(path, "applied") ? "applied" : "reverted";
	struct vp_ledger l;
	struct vp_edit e;

	assert_int_equal(vp_ledger_decode(buf, len, self, &l), VP_OK);
	assert_string_equal(vp_ledger_state_name(l.state), state);
	assert_string_equal(l.name, "banner");
	assert_true(l.n_edits >= 1);
	vp_ledger_edit(&l, l.n_edits - 1, &e);
	assert_int_equal(e.kind, VP_EDIT_SITE);
}

static void test_ledger_record_of_format_1_is_read(void **state)
{
	(void)state;
	each("tests/abi/ledger-1/*.bin", record);
}

static void journal(const char *path, const uint8_t *buf, size_t len)
{
	struct eng_txn *txn = NULL;
	struct diag diag;
	uint8_t *again;
	size_t n;

	diag_init(&diag);
	assert_int_equal(eng_journal_parse(buf, len, &diag, &txn), VP_OK);
	if (strstr(path, "closed")) {
		assert_null(txn);
		return;
	}
	assert_non_null(txn);
	assert_int_equal(txn->op, ENG_OP_APPLY);
	assert_string_equal(txn->name, "banner");
	assert_true(txn->n_steps >= 1);
	/* What says no more than that is still written so, byte for byte. */
	assert_int_equal(eng_txn_encode(txn, &again, &n), VP_OK);
	assert_int_equal(n, vp_ld32(buf + 24));
	assert_memory_equal(again, buf + 32, n);
	free(again);
	if (strstr(path, "journal-2"))
		assert_true(eng_txn_live(txn) == (strstr(path, "stop") == NULL));
	eng_txn_destroy(txn);
}

static void test_journal_of_format_1_is_read_open_and_closed(void **state)
{
	(void)state;
	each("tests/abi/journal-1/*-open.vpj", journal);
	each("tests/abi/journal-1/*-closed.vpj", journal);
}

static void test_journal_of_format_2_is_read(void **state)
{
	(void)state;
	each("tests/abi/journal-2/*-open.vpj", journal);
}

static void sites(const char *path, const uint8_t *buf, size_t len)
{
	static const struct {
		const char *name;
		uint16_t arch;
		uint32_t n;
	} archs[] = {
		{"/x86-64-", VP_SITES_ARCH_X86_64, 7},   {"/arm64-", VP_SITES_ARCH_ARM64, 4},
		{"/riscv64-", VP_SITES_ARCH_RISCV64, 4}, {"/thumb2-", VP_SITES_ARCH_THUMB2, 4},
		{"/ppc64le-", VP_SITES_ARCH_PPC64LE, 2},
	};
	vp_gva_t self = {strtoull(strrchr(path, '-') + 1, NULL, 16)};
	struct vp_sites s;
	struct vp_site site;
	struct vp_arena arena;
	unsigned known = 0;

	assert_int_equal(vp_sites_decode(buf, len, self, &s), VP_OK);
	for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++)
		if (strstr(path, archs[i].name)) {
			assert_int_equal(s.arch, archs[i].arch);
			assert_int_equal(s.sites.n, archs[i].n);
			known++;
		}
	assert_int_equal(known, 1);
	assert_int_equal(s.id[0], 0x5a);
	assert_int_equal(vp_sites_site(&s, 0, &site), VP_OK);
	assert_int_equal(site.kind, VP_SITE_FUNCTION);
	assert_non_null(site.name);
	assert_int_equal(vp_sites_arena(&s, 0, &arena), VP_OK);
	assert_int_equal(arena.len, 0x1000);
	assert_int_equal(s.traps.n, strstr(path, "-traps-") ? 2 : 0);
}

static void test_site_table_of_format_1_is_read(void **state)
{
	(void)state;
	each("tests/abi/sites-1/*.bin", sites);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bundle_of_format_1_is_verified_and_read),
		cmocka_unit_test(test_bundle_of_format_2_is_read),
		cmocka_unit_test(test_ledger_record_of_format_1_is_read),
		cmocka_unit_test(test_journal_of_format_1_is_read_open_and_closed),
		cmocka_unit_test(test_journal_of_format_2_is_read),
		cmocka_unit_test(test_site_table_of_format_1_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
