/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "vmm-agent/engine/journal.h"
#include "vmm-agent/engine/version.h"
#include "vmm-agent/engine/vmm.h"

static struct eng_txn *make_txn(void)
{
	struct eng_txn *txn = eng_txn_create(ENG_OP_APPLY);
	struct vp_edit e = {.gva = vp_gva(0xffffffff81000010),
			    .gpa = vp_gpa(0x1000010),
			    .kind = VP_EDIT_SITE,
			    .discipline = VP_DISCIPLINE_STOP,
			    .len = 5,
			    .old = {1, 2, 3, 4, 5},
			    .new = {6, 7, 8, 9, 10},
			    .rest = {1, 2, 3, 4, 5}};

	assert_non_null(txn);
	txn->id = (struct vp_identity){4711, 123456, {1, 2, 3}};
	memset(txn->boot_id, 7, sizeof(txn->boot_id));
	strcpy(txn->host_boot, "0f0e-boot");
	txn->was_running = true;
	strcpy(txn->locator, "qmp:/run/vm.sock");
	strcpy(txn->name, "fix-cve");
	strcpy(txn->version, "1.2");
	txn->n_quiet = 1;
	txn->quiet[0] = (struct guest_quiet){vp_gpa(0x5000), ~7ull, "text_mutex"};
	assert_int_equal(eng_txn_area(txn, vp_gva(0xffffffff82000000), vp_gpa(0x2000000), 320),
			 VP_OK);
	memset(txn->area.old, 0xcc, 320);
	vp_st64(txn->area.new + VP_LEDGER_STATE_OFF, VP_LEDGER_APPLYING);
	assert_int_equal(eng_txn_add(txn, &e, "vfs_read"), VP_OK);
	assert_int_equal(eng_txn_add_state(txn, txn->area.gva, txn->area.gpa, VP_LEDGER_APPLYING,
					   VP_LEDGER_APPLIED),
			 VP_OK);
	assert_int_equal(eng_txn_finish(txn), VP_OK);
	return txn;
}

static uint8_t *slurp(const char *path, size_t *len_ret)
{
	uint8_t *buf = malloc(1 << 16);
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	*len_ret = fread(buf, 1, 1 << 16, f);
	fclose(f);
	return buf;
}

struct dir {
	char name[64], path[128];
	struct eng_txn *txn;
	char key[ENG_KEY_MAX];
	struct diag diag;
};

static void dir_init(struct dir *d)
{
	strcpy(d->name, "/tmp/vp-journal-XXXXXX");
	assert_non_null(mkdtemp(d->name));
	d->txn = make_txn();
	eng_vmm_key(&d->txn->id, d->key);
	snprintf(d->path, sizeof(d->path), "%s/journal/%s.vpj", d->name, d->key);
	diag_init(&d->diag);
}

static void dir_deinit(struct dir *d)
{
	char cmd[96];

	eng_txn_destroy(d->txn);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", d->name);
	assert_int_equal(system(cmd), 0);
}

static void assert_same(const struct eng_txn *a, const struct eng_txn *b)
{
	uint8_t *x, *y;
	size_t n, m;

	assert_int_equal(eng_txn_encode(a, &x, &n), VP_OK);
	assert_int_equal(eng_txn_encode(b, &y, &m), VP_OK);
	assert_int_equal(n, m);
	assert_memory_equal(x, y, n);
	free(x);
	free(y);
}

static void test_intent_reads_back_as_written_until_it_is_closed(void **state)
{
	struct dir d;
	struct eng_txn *txn;

	(void)state;
	dir_init(&d);
	assert_int_equal(eng_journal_open_entry(d.name, d.key, &d.diag, &txn), VP_OK);
	assert_null(txn);
	for (int i = ENG_JOURNAL_COMMITTED; i <= ENG_JOURNAL_GONE; i++) {
		assert_int_equal(eng_journal_begin(d.name, d.txn, &d.diag), VP_OK);
		assert_int_equal(eng_journal_open_entry(d.name, d.key, &d.diag, &txn), VP_OK);
		assert_non_null(txn);
		assert_same(txn, d.txn);
		assert_true(txn->steps[1].in_area);
		assert_true(txn->was_running);
		eng_txn_destroy(txn);
		assert_int_equal(eng_journal_end(d.name, d.key, (enum eng_journal_type)i, &d.diag),
				 VP_OK);
		assert_int_equal(eng_journal_open_entry(d.name, d.key, &d.diag, &txn), VP_OK);
		assert_null(txn);
	}
	dir_deinit(&d);
}

/* Whatever a crash leaves of the last record, it is as if that had never been begun. */
static void test_journal_torn_at_each_byte_is_what_it_was_before(void **state)
{
	struct dir d;
	uint8_t *buf;
	size_t len, intent_end;

	(void)state;
	dir_init(&d);
	assert_int_equal(eng_journal_begin(d.name, d.txn, &d.diag), VP_OK);
	assert_int_equal(eng_journal_end(d.name, d.key, ENG_JOURNAL_COMMITTED, &d.diag), VP_OK);
	buf = slurp(d.path, &len);
	intent_end = 16 + 16 + ((vp_ld32(buf + 24) + 7) & ~7u);
	for (size_t cut = 0; cut <= len; cut++) {
		struct eng_txn *txn = NULL;
		uint8_t *copy = malloc(cut + 1); /* exact, for the sanitizer */

		memcpy(copy, buf, cut);
		assert_int_equal(eng_journal_parse(copy, cut, &d.diag, &txn), VP_OK);
		if (cut >= intent_end && cut < intent_end + 16)
			assert_non_null(txn);
		else
			assert_null(txn);
		eng_txn_destroy(txn);
		free(copy);
	}
	/* a file whose length reached the disk and whose bytes did not */
	memset(buf + intent_end, 0, len - intent_end);
	{
		struct eng_txn *txn = NULL;

		assert_int_equal(eng_journal_parse(buf, len, &d.diag, &txn), VP_OK);
		assert_non_null(txn);
		eng_txn_destroy(txn);
	}
	free(buf);
	dir_deinit(&d);
}

static void test_each_flipped_byte_is_damage_and_never_another_transaction(void **state)
{
	struct dir d;
	uint8_t *buf;
	size_t len;

	(void)state;
	dir_init(&d);
	assert_int_equal(eng_journal_begin(d.name, d.txn, &d.diag), VP_OK);
	buf = slurp(d.path, &len);
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 1; bit < 256; bit <<= 4) {
			struct eng_txn *txn = NULL;
			int r;

			buf[i] ^= (uint8_t)bit;
			r = eng_journal_parse(buf, len, &d.diag, &txn);
			if (i >= 24 && i < 28)
				/* a length past the end looks like a torn record */
				assert_true(r == VP_E_JOURNAL || (r == VP_OK && !txn));
			else
				assert_true(r == VP_E_JOURNAL || r == VP_E_VERSION);
			assert_null(txn);
			buf[i] ^= (uint8_t)bit;
		}
	}
	assert_int_equal(vp_err_exit(VP_E_JOURNAL), 4);
	free(buf);
	dir_deinit(&d);
}

static void test_newer_format_is_refused_whole(void **state)
{
	struct dir d;
	struct eng_txn *txn;
	uint8_t *buf;
	size_t len;

	(void)state;
	dir_init(&d);
	assert_int_equal(eng_journal_begin(d.name, d.txn, &d.diag), VP_OK);
	buf = slurp(d.path, &len);
	vp_st32(buf + 8, ENG_JOURNAL_VERSION + 1);
	assert_int_equal(eng_journal_parse(buf, len, &d.diag, &txn), VP_E_VERSION);
	free(buf);
	dir_deinit(&d);
}

static int count(void *ctx, const char *key)
{
	assert_string_equal(key, "4711-123456");
	++*(int *)ctx;
	return 0;
}

static void test_only_journals_are_listed(void **state)
{
	struct dir d;
	char cmd[160];
	int n = 0;

	(void)state;
	dir_init(&d);
	assert_int_equal(eng_journal_each(d.name, count, &n, &d.diag), VP_OK);
	assert_int_equal(n, 0);
	assert_int_equal(eng_journal_begin(d.name, d.txn, &d.diag), VP_OK);
	snprintf(cmd, sizeof(cmd), "cd %s/journal && touch x.vpj 1-2.new 01-2.vpj 7.vpj 1-2.vpj~",
		 d.name);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(eng_journal_each(d.name, count, &n, &d.diag), VP_OK);
	assert_int_equal(n, 1);
	eng_journal_forget(d.name, d.key);
	assert_int_equal(eng_journal_each(d.name, count, &n, &d.diag), VP_OK);
	assert_int_equal(n, 1);
	dir_deinit(&d);
}

static void test_directory_that_cannot_be_written_is_told(void **state)
{
	struct dir d;

	(void)state;
	dir_init(&d);
	assert_int_equal(eng_journal_begin("/dev/null", d.txn, &d.diag), VP_E_IO);
	assert_int_equal(eng_journal_begin("/proc/vpatch", d.txn, &d.diag), d.diag.err);
	assert_true(d.diag.err < 0);
	dir_deinit(&d);
}

static void test_steps_that_do_not_hang_together_are_no_transaction(void **state)
{
	struct eng_txn *txn = make_txn();
	struct vp_edit e = txn->steps[0].e.edit;

	(void)state;
	e.gpa.v += 4; /* meets the first site */
	assert_int_equal(eng_txn_add(txn, &e, "x"), VP_OK);
	assert_int_equal(eng_txn_finish(txn), VP_E_INTERNAL);
	txn->n_steps--;
	e.gpa.v = txn->area.gpa.v + 8; /* in the middle of the area */
	assert_int_equal(eng_txn_add(txn, &e, "x"), VP_OK);
	assert_int_equal(eng_txn_finish(txn), VP_E_INTERNAL);
	e.len = 9;
	assert_int_equal(eng_txn_add(txn, &e, "x"), VP_E_RANGE);
	e.len = 8;
	e.gva.v = UINT64_MAX - 3;
	assert_int_equal(eng_txn_add(txn, &e, "x"), VP_E_RANGE);
	eng_txn_destroy(txn);
}

/* make_txn's site over a trap and another with its literal. */
static struct eng_txn *make_live(void)
{
	struct eng_txn *txn = make_txn();
	struct vp_edit e = txn->steps[0].e.edit;

	txn->steps[0].e.edit.discipline = VP_DISCIPLINE_TRAP;
	txn->steps[0].trap = (struct eng_trap){vp_gva(0xffffffff83000020), vp_gpa(0x3000020)};
	e.gva.v += 0x40;
	e.gpa.v += 0x40;
	e.discipline = VP_DISCIPLINE_LITERAL;
	assert_int_equal(eng_txn_add(txn, &e, "vfs_write"), VP_OK);
	e.gva.v += 8;
	e.gpa.v += 8;
	e.kind = VP_EDIT_LITERAL;
	e.len = 8;
	assert_int_equal(eng_txn_add_literal(txn, &e, "vfs_write"), VP_OK);
	assert_int_equal(eng_txn_finish(txn), VP_OK);
	return txn;
}

static int decoded(const struct eng_txn *txn, uint32_t version, struct eng_txn **ret)
{
	uint8_t *buf;
	size_t len;
	int r;

	assert_int_equal(eng_txn_encode(txn, &buf, &len), VP_OK);
	r = eng_txn_decode(version, buf, len, ret);
	free(buf);
	return r;
}

static void test_oldest_format_that_can_say_it_is_written(void **state)
{
	struct eng_txn *txn = make_txn(), *live = make_live(), *again = NULL;
	struct dir d;
	uint8_t *buf;
	size_t len;

	(void)state;
	assert_int_equal(eng_txn_version(txn), 1);
	assert_int_equal(eng_txn_version(live), 2);
	assert_int_equal(decoded(txn, 2, &again), VP_E_JOURNAL);
	assert_int_equal(decoded(live, 1, &again), VP_E_JOURNAL);
	assert_int_equal(decoded(live, 3, &again), VP_E_JOURNAL);
	assert_int_equal(decoded(live, 2, &again), VP_OK);
	assert_same(live, again);
	assert_int_equal(again->steps[0].trap.gpa.v, 0x3000020);
	assert_true(again->steps[2].literal);
	assert_int_equal(again->steps[3].e.edit.kind, VP_EDIT_LITERAL);
	eng_txn_destroy(again);
	/* a literal alone, under stop */
	txn->n_steps = 1;
	txn->steps[0].e.edit.kind = VP_EDIT_LITERAL;
	txn->steps[0].e.edit.len = 4;
	txn->steps[0].e.edit.gva.v &= ~3ull;
	txn->steps[0].e.edit.gpa.v &= ~3ull;
	assert_int_equal(eng_txn_version(txn), 2);
	assert_false(eng_txn_live(txn));
	assert_int_equal(decoded(txn, 2, &again), VP_OK);
	eng_txn_destroy(again);
	/* and in the file */
	dir_init(&d);
	assert_int_equal(eng_journal_begin(d.name, d.txn, &d.diag), VP_OK);
	buf = slurp(d.path, &len);
	assert_int_equal(vp_ld32(buf + 8), 1);
	free(buf);
	eng_txn_destroy(d.txn);
	d.txn = make_live();
	assert_int_equal(eng_journal_begin(d.name, d.txn, &d.diag), VP_OK);
	buf = slurp(d.path, &len);
	assert_int_equal(vp_ld32(buf + 8), 2);
	free(buf);
	assert_int_equal(eng_journal_open_entry(d.name, d.key, &d.diag, &again), VP_OK);
	assert_same(live, again);
	eng_txn_destroy(again);
	dir_deinit(&d);
	eng_txn_destroy(txn);
	eng_txn_destroy(live);
}

static void test_live_steps_that_do_not_belong_together_are_no_transaction(void **state)
{
	(void)state;
	for (int i = 0; i < 11; i++) {
		struct eng_txn *txn = make_live(), *ret;
		struct eng_step *trap = &txn->steps[0], *site = &txn->steps[2],
				*lit = &txn->steps[3];

		switch (i) {
		case 0:
			trap->trap.gva.v = 0; /* a trap without a record */
			break;
		case 1:
			site->trap = trap->trap; /* a record without a trap */
			break;
		case 2:
			trap->trap.gpa.v += 4;
			break;
		case 3:
			site->literal = false; /* of discipline literal, without one */
			break;
		case 4:
			trap->literal = true; /* what follows is none */
			break;
		case 5:
			trap->e.edit.discipline = VP_DISCIPLINE_STOP; /* mixed */
			trap->trap = (struct eng_trap){0};
			break;
		case 6:
			lit->e.edit.discipline = VP_DISCIPLINE_STOP;
			break;
		case 7:
			lit->e.edit.kind = VP_EDIT_TRACER; /* the tracer's own */
			lit->e.edit.discipline = VP_DISCIPLINE_STOP;
			site->literal = false;
			site->e.edit.discipline = VP_DISCIPLINE_WORD;
			break;
		case 8:
			txn->steps[1].e.edit.discipline = VP_DISCIPLINE_WORD; /* the ledger's */
			break;
		case 9:
			lit->e.edit.len = 5;
			break;
		default:
			lit->e.edit.gpa.v += 4;
		}
		assert_int_equal(decoded(txn, 2, &ret), VP_E_JOURNAL);
		eng_txn_destroy(txn);
	}
}

static void test_versions_are_ordered_as_debian_orders_them(void **state)
{
	static const char *const ascending[] = {"1.0~rc1", "1.0", "1.0a", "1.0.1", "1.1", "1.9",
						"1.10",    "2",   "2-1",  "2-10",  "10",  "10.0a"};
	size_t n = sizeof(ascending) / sizeof(ascending[0]);

	(void)state;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			int r = eng_version_cmp(ascending[i], ascending[j]);

			assert_true(i < j ? r < 0 : i > j ? r > 0 : r == 0);
		}
	assert_int_equal(eng_version_cmp("1.01", "1.1"), 0);
	assert_true(eng_version_cmp("1", "99999999999999999999999999") < 0);
}

static void test_vmm_is_alive_only_with_its_own_start_time(void **state)
{
	struct vp_identity id = {.pid = getpid(), .start_time = 1};
	char key[ENG_KEY_MAX];
	struct vp_identity again;

	(void)state;
	assert_false(eng_vmm_alive(&id, ""));
	assert_false(eng_vmm_alive(&(struct vp_identity){.pid = 1}, "another-boot"));
	eng_vmm_key(&id, key);
	assert_true(eng_vmm_parse(key, &again));
	assert_int_equal(again.pid, id.pid);
	assert_false(eng_vmm_parse("-1-2", &again));
	assert_false(eng_vmm_parse("1-2x", &again));
	assert_false(eng_vmm_parse("1", &again));
	assert_false(eng_vmm_parse(" 1-2", &again));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_intent_reads_back_as_written_until_it_is_closed),
		cmocka_unit_test(test_journal_torn_at_each_byte_is_what_it_was_before),
		cmocka_unit_test(test_each_flipped_byte_is_damage_and_never_another_transaction),
		cmocka_unit_test(test_newer_format_is_refused_whole),
		cmocka_unit_test(test_only_journals_are_listed),
		cmocka_unit_test(test_directory_that_cannot_be_written_is_told),
		cmocka_unit_test(test_steps_that_do_not_hang_together_are_no_transaction),
		cmocka_unit_test(test_oldest_format_that_can_say_it_is_written),
		cmocka_unit_test(test_live_steps_that_do_not_belong_together_are_no_transaction),
		cmocka_unit_test(test_versions_are_ordered_as_debian_orders_them),
		cmocka_unit_test(test_vmm_is_alive_only_with_its_own_start_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
