// SPDX-License-Identifier: LGPL-2.1-or-later
/* Looking through RAM that a process has mapped in each way there is: this one's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm-agent/drv/vmm_mem.h"

#define PAGE  UINT64_C(4096)
#define BIG   (UINT64_C(4) << 30)
#define BASE  UINT64_C(0x40000000)
#define MAGIC "a page that is looked for"
#define N     (sizeof(MAGIC) - 1)

struct scene {
	int fd;
	uint8_t *at;
	struct vp_ram ram;
	uint64_t hva;
	struct vmm_mem mem;
};

static void scene_open(struct scene *s, int flags, uint64_t len)
{
	s->fd = flags & MAP_ANONYMOUS ? -1 : memfd_create("ram", MFD_CLOEXEC);
	if (s->fd >= 0)
		assert_int_equal(ftruncate(s->fd, (off_t)len), 0);
	s->at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, s->fd, 0);
	assert_ptr_not_equal(s->at, MAP_FAILED);
	s->ram = (struct vp_ram){vp_gpa(BASE), len};
	s->hva = (uint64_t)(uintptr_t)s->at;
	s->mem = (struct vmm_mem){getpid(), &s->ram, &s->hva, 1};
}

static void scene_close(struct scene *s)
{
	munmap(s->at, s->ram.len);
	if (s->fd >= 0)
		close(s->fd);
}

static void put(const struct scene *s, uint64_t page)
{
	memcpy(s->at + page * PAGE, MAGIC, N);
}

/* Exactly these pages. */
static void finds(const struct scene *s, const uint64_t *page, size_t n)
{
	vp_gpa_t found[16];
	struct diag diag;
	size_t got = 0;
	int r;

	diag_init(&diag);
	r = vmm_mem_find_pages(&s->mem, MAGIC, N, found, 16, &got, &diag);
	if (r < 0)
		fail_msg("%s", diag.text);
	assert_int_equal(got, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(found[i].v, BASE + page[i] * PAGE);
}

static uint64_t blocks(const struct scene *s)
{
	struct stat st;

	assert_int_equal(fstat(s->fd, &st), 0);
	return (uint64_t)st.st_blocks;
}

static const uint64_t pages[] = {0, 1, 777, 1024, 1025, BIG / PAGE - 1};
#define N_PAGES (sizeof(pages) / sizeof(pages[0]))

static void test_private_memory(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, MAP_PRIVATE | MAP_ANONYMOUS, BIG);
	finds(&s, NULL, 0);
	for (size_t i = 0; i < N_PAGES; i++)
		put(&s, pages[i]);
	finds(&s, pages, N_PAGES);
	scene_close(&s);
}

static void test_a_shared_file_gets_no_memory_by_looking(void **state)
{
	struct scene s;
	uint64_t before;

	(void)state;
	scene_open(&s, MAP_SHARED, BIG);
	for (size_t i = 0; i < N_PAGES; i++)
		put(&s, pages[i]);
	before = blocks(&s);
	finds(&s, pages, N_PAGES);
	assert_int_equal(blocks(&s), before);
	scene_close(&s);
}

/* Pages of the file, pages of the process's own copy, and a page that is both: the copy counts. */
static void test_a_private_file(void **state)
{
	static const uint64_t both[] = {1, 5, 9000};
	struct scene s;

	(void)state;
	scene_open(&s, MAP_PRIVATE, BIG);
	assert_int_equal(pwrite(s.fd, MAGIC, N, 5 * PAGE), N);
	assert_int_equal(pwrite(s.fd, MAGIC, N, 7 * PAGE), N);
	s.at[7 * PAGE] = 'X';
	put(&s, 1);
	put(&s, 9000);
	finds(&s, both, 3);
	scene_close(&s);
}

/* Shared memory without a file that could be asked, a piece of another file, and a piece that cannot be
 * read, in one range. */
static void test_several_mappings_in_one_range(void **state)
{
	static const uint64_t all[] = {2, 20, 21, 39};
	struct scene s;
	int fd = memfd_create("other", MFD_CLOEXEC);

	(void)state;
	scene_open(&s, MAP_SHARED | MAP_ANONYMOUS, 40 * PAGE);
	assert_int_equal(ftruncate(fd, 64 * PAGE), 0);
	assert_ptr_equal(mmap(s.at + 20 * PAGE, 10 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, fd, 32 * PAGE),
			 s.at + 20 * PAGE);
	put(&s, 2);
	put(&s, 20);
	put(&s, 21);
	put(&s, 35);
	put(&s, 39);
	assert_int_equal(mprotect(s.at + 30 * PAGE, 6 * PAGE, PROT_NONE), 0);
	finds(&s, all, 4);
	close(fd);
	scene_close(&s);
}

static void test_zeros_are_found_where_nothing_was_touched(void **state)
{
	vp_gpa_t found[16];
	struct scene s;
	size_t n = 0;

	(void)state;
	scene_open(&s, MAP_SHARED, 16 * PAGE);
	put(&s, 3);
	assert_int_equal(vmm_mem_find_pages(&s.mem, "\0\0\0\0", 4, found, 16, &n, NULL), VP_OK);
	assert_int_equal(n, 15);
	scene_close(&s);
}

/* More runs than fit into one answer of the kernel's, and a full list. */
static void test_many_runs(void **state)
{
	static vp_gpa_t found[4000];
	struct scene s;
	size_t n = 0;

	(void)state;
	scene_open(&s, MAP_PRIVATE | MAP_ANONYMOUS, 16384 * PAGE);
	madvise(s.at, s.ram.len, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < 4000; i++)
		put(&s, 1 + 4 * i);
	assert_int_equal(vmm_mem_find_pages(&s.mem, MAGIC, N, found, 4000, &n, NULL), VP_OK);
	assert_int_equal(n, 4000);
	for (uint64_t i = 0; i < 4000; i++)
		assert_int_equal(found[i].v, BASE + (1 + 4 * i) * PAGE);
	assert_int_equal(vmm_mem_find_pages(&s.mem, MAGIC, N, found, 3999, &n, NULL), VP_E_RANGE);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_private_memory),
		cmocka_unit_test(test_a_shared_file_gets_no_memory_by_looking),
		cmocka_unit_test(test_a_private_file),
		cmocka_unit_test(test_several_mappings_in_one_range),
		cmocka_unit_test(test_zeros_are_found_where_nothing_was_touched),
		cmocka_unit_test(test_many_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
