/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of text poke events: what is written is read, what is damaged ends it, what is old goes. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "vmm-agent/base/clock.h"
#include "vmm-agent/engine/events.h"
#include "vmm-agent/engine/vmm.h"

#define LAST_MAX 8

static char run_dir[64], file[160];
static struct vp_identity me;

struct seen {
	size_t n;
	uint64_t first, last;
	struct eng_event ev[LAST_MAX]; /* the first ones */
};

static void see(void *ctx, const struct eng_event *ev)
{
	struct seen *s = ctx;

	assert_true(ev->seq > s->last);
	if (s->n < LAST_MAX)
		s->ev[s->n] = *ev;
	if (s->n++ == 0)
		s->first = ev->seq;
	s->last = ev->seq;
}

static struct seen read_after(uint64_t after)
{
	struct seen s = {0};
	struct diag diag;

	diag_init(&diag);
	assert_int_equal(eng_events_read(run_dir, &me, after, see, &s, &diag), VP_OK);
	return s;
}

/* Our own process is the VMM: alive. */
static struct vp_identity identity(pid_t pid)
{
	struct vp_identity id = {.pid = pid};
	char path[32], stat[1024], *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(stat, sizeof(stat), f));
	fclose(f);
	p = strrchr(stat, ')') + 2;
	for (int i = 3; i < 22; i++)
		p = strchr(p, ' ') + 1;
	id.start_time = strtoull(p, NULL, 10);
	return id;
}

static void path_of(const struct vp_identity *id, char *path, size_t len)
{
	char key[ENG_KEY_MAX];

	eng_vmm_key(id, key);
	snprintf(path, len, "%s/events/%s", run_dir, key);
}

static int setup(void **state)
{
	(void)state;
	strcpy(run_dir, "/tmp/vp-events.XXXXXX");
	if (!mkdtemp(run_dir))
		return -1;
	me = identity(getpid());
	path_of(&me, file, sizeof(file));
	return 0;
}

static int teardown(void **state)
{
	char cmd[80];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", run_dir);
	return system(cmd);
}

static const struct eng_edit site = {
	.edit = {.gva = {0xffffffff81001000},
		 .kind = VP_EDIT_SITE,
		 .discipline = VP_DISCIPLINE_STOP,
		 .len = 5,
		 .old = {1, 2, 3, 4, 5},
		 .new = {6, 7, 8, 9, 10}},
	.symbol = "vfs_read",
	.poked_at = 12345,
};

static void add(const struct vp_identity *id, struct eng_poked what)
{
	struct diag diag;

	diag_init(&diag);
	what.name = "fix-one";
	what.version = "1.2";
	assert_int_equal(eng_events_add(run_dir, id, &what, &diag), VP_OK);
}

static void add_sites(size_t n)
{
	struct eng_edit *edits = calloc(n, sizeof(*edits));

	assert_non_null(edits);
	for (size_t i = 0; i < n; i++)
		edits[i] = site;
	add(&me, (struct eng_poked){.op = ENG_EVENT_APPLY, .edits = edits, .n_edits = n});
	free(edits);
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : -1;
}

/* --- claims -------------------------------------------------------------------------------------- */

static void test_what_is_added_is_read_in_order_and_data_is_left_out(void **state)
{
	struct eng_edit edits[3] = {site, site, site};
	struct seen s;

	(void)state;
	assert_int_equal(read_after(0).n, 0); /* no file: nothing has happened */
	edits[0].edit.kind = VP_EDIT_TRACER;
	edits[2].edit.gva = vp_gva(0xffffffff81002000);
	edits[0].poked_at = 12340;
	add(&me, (struct eng_poked){.op = ENG_EVENT_APPLY,
				    .payload = vp_gva(0xffffffff82000000),
				    .payload_len = 700,
				    .edits = edits,
				    .n_edits = 3});
	s = read_after(0);
	assert_int_equal(s.n, 3);
	assert_int_equal(s.ev[0].kind, ENG_EVENT_PAYLOAD);
	assert_int_equal(s.ev[0].len, 700);
	assert_int_equal(s.ev[0].gva.v, 0xffffffff82000000);
	assert_int_equal(s.ev[1].kind, ENG_EVENT_SITE);
	assert_int_equal(s.ev[1].op, ENG_EVENT_APPLY);
	assert_int_equal(s.ev[1].at_ns, 12345);
	assert_true(s.ev[1].wall_ns > CLOCK_NS_PER_SEC * 1000000000); /* after 2001 */
	assert_int_equal(s.ev[1].discipline, VP_DISCIPLINE_STOP);
	assert_int_equal(s.ev[1].len, 5);
	assert_memory_equal(s.ev[1].old, site.edit.old, 8);
	assert_memory_equal(s.ev[1].new, site.edit.new, 8);
	assert_string_equal(s.ev[1].symbol, "vfs_read");
	assert_string_equal(s.ev[1].name, "fix-one");
	assert_string_equal(s.ev[1].version, "1.2");
	assert_int_equal(s.ev[2].gva.v, 0xffffffff81002000);
	assert_int_equal(read_after(s.ev[1].seq).n, 1);
	assert_int_equal(read_after(s.last).n, 0);
}

static void test_what_recover_put_back_has_old_and_new_the_other_way(void **state)
{
	struct seen s;

	(void)state;
	add(&me, (struct eng_poked){
			 .op = ENG_EVENT_RECOVER, .edits = &site, .n_edits = 1, .undone = true});
	s = read_after(0);
	assert_int_equal(s.n, 1);
	assert_memory_equal(s.ev[0].old, site.edit.new, 8);
	assert_memory_equal(s.ev[0].new, site.edit.old, 8);
}

static void test_time_that_nobody_noted_is_now(void **state)
{
	struct eng_edit e = site;
	uint64_t before = clock_now();
	struct seen s;

	(void)state;
	e.poked_at = 0;
	add(&me, (struct eng_poked){.op = ENG_EVENT_RECOVER, .edits = &e, .n_edits = 1});
	s = read_after(0);
	assert_true(s.ev[0].at_ns >= before && s.ev[0].at_ns <= clock_now());
}

static void test_torn_tail_is_passed_over_and_cut_off_by_the_next(void **state)
{
	(void)state;
	for (off_t cut = 1; cut < ENG_EVENT_SIZE; cut += 83) {
		unlink(file);
		add_sites(3);
		assert_int_equal(truncate(file, 3 * ENG_EVENT_SIZE - cut), 0);
		assert_int_equal(read_after(0).n, 2);
		add_sites(1);
		assert_int_equal(read_after(0).n, 3);
		assert_int_equal(size_of(file), 3 * ENG_EVENT_SIZE);
	}
}

/* Whatever byte of the last record is another one, that record is not told. */
static void test_damage_ends_the_file_for_readers(void **state)
{
	(void)state;
	add_sites(3);
	for (off_t at = 2 * ENG_EVENT_SIZE; at < 3 * ENG_EVENT_SIZE; at++) {
		int fd = open(file, O_RDWR);
		uint8_t byte, other;

		assert_true(fd >= 0);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		other = byte ^ 0x40;
		assert_int_equal(pwrite(fd, &other, 1, at), 1);
		if (read_after(0).n != 2)
			fail_msg("byte %ld", (long)at);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
	}
	assert_int_equal(read_after(0).n, 3);
}

/* What checks but cannot be: no NUL, a kind that is none, a site longer than a word, a seq again. */
static void test_records_that_no_writer_makes_are_not_told(void **state)
{
	static const struct {
		unsigned at, n;
		uint8_t byte;
	} rows[] = {{64, 64, 'x'}, {128, 32, 'x'}, {160, 256, 'x'}, {44, 1, 0},
		    {44, 1, 4},    {45, 1, 3},     {45, 1, 0},      {47, 1, 1},
		    {40, 1, 9},    {43, 1, 0xff},  {8, 1, 1}};
	uint8_t rec[ENG_EVENT_SIZE], good[ENG_EVENT_SIZE];
	int fd;

	(void)state;
	add_sites(2);
	fd = open(file, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, good, sizeof(good), ENG_EVENT_SIZE), sizeof(good));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memcpy(rec, good, sizeof(rec));
		memset(rec + rows[i].at, rows[i].byte, rows[i].n);
		vp_st32(rec + 4, vp_crc32c(0, rec + 8, sizeof(rec) - 8));
		assert_int_equal(pwrite(fd, rec, sizeof(rec), ENG_EVENT_SIZE), sizeof(rec));
		if (read_after(0).n != 1)
			fail_msg("row %zu", i);
	}
	close(fd);
}

static void test_size_is_bounded_and_the_younger_half_stays(void **state)
{
	struct seen s;

	(void)state;
	add_sites(ENG_EVENTS_MAX - 1);
	add_sites(1);
	assert_int_equal(read_after(0).n, ENG_EVENTS_MAX);
	add_sites(1);
	s = read_after(0);
	assert_int_equal(s.n, ENG_EVENTS_MAX / 2);
	assert_int_equal(s.last, ENG_EVENTS_MAX + 1); /* whoever follows sees no gap */
	assert_int_equal(read_after(ENG_EVENTS_MAX).n, 1);
	add_sites(3 * ENG_EVENTS_MAX);
	s = read_after(0);
	assert_int_equal(s.n, ENG_EVENTS_MAX);
	assert_int_equal(s.last, 4 * ENG_EVENTS_MAX + 1);
	assert_int_equal(size_of(file), (off_t)ENG_EVENTS_MAX * ENG_EVENT_SIZE);
}

static void test_file_goes_when_its_vmm_is_gone(void **state)
{
	char other[160];
	struct vp_identity id;
	int fds[2];
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[1]);
		_exit(read(fds[0], &c, 1) == 0 ? 0 : 1);
	}
	id = identity(pid);
	path_of(&id, other, sizeof(other));
	add(&id, (struct eng_poked){.op = ENG_EVENT_APPLY, .edits = &site, .n_edits = 1});
	add_sites(1);
	assert_int_equal(size_of(other), ENG_EVENT_SIZE);
	close(fds[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(fds[0]);
	add_sites(1); /* of another VMM: whoever writes sweeps */
	assert_int_equal(size_of(other), -1);
	assert_int_equal(size_of(file), 2 * ENG_EVENT_SIZE);
}

static void test_link_or_directory_in_its_place_is_refused(void **state)
{
	struct eng_poked what = {
		.op = ENG_EVENT_APPLY, .name = "a", .version = "1", .edits = &site, .n_edits = 1};
	struct seen s = {0};
	struct diag diag;
	char target[160];

	(void)state;
	diag_init(&diag);
	snprintf(target, sizeof(target), "%s/target", run_dir);
	add_sites(1);
	assert_int_equal(rename(file, target), 0);
	assert_int_equal(symlink(target, file), 0);
	assert_int_not_equal(eng_events_read(run_dir, &me, 0, see, &s, &diag), VP_OK);
	assert_int_not_equal(eng_events_add(run_dir, &me, &what, &diag), VP_OK);
	assert_int_equal(size_of(target), ENG_EVENT_SIZE);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(mkdir(file, 0700), 0);
	assert_int_not_equal(eng_events_read(run_dir, &me, 0, see, &s, &diag), VP_OK);
	assert_int_not_equal(eng_events_add(run_dir, &me, &what, &diag), VP_OK);
	assert_int_equal(s.n, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_what_is_added_is_read_in_order_and_data_is_left_out),
		T(test_what_recover_put_back_has_old_and_new_the_other_way),
		T(test_time_that_nobody_noted_is_now),
		T(test_torn_tail_is_passed_over_and_cut_off_by_the_next),
		T(test_damage_ends_the_file_for_readers),
		T(test_records_that_no_writer_makes_are_not_told),
		T(test_size_is_bounded_and_the_younger_half_stays),
		T(test_file_goes_when_its_vmm_is_gone),
		T(test_link_or_directory_in_its_place_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
