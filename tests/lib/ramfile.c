// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/ramfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm-agent/driver.h"

struct ramfile {
	struct vp_ram ram;
	const uint8_t *mem;
	bool has_regs;
	struct arch_regs regs;
};

static uint32_t rf_caps(void *self)
{
	return ((struct ramfile *)self)->has_regs ? VP_CAP_REGS_LIVE : 0;
}

static void rf_close(void *self)
{
	struct ramfile *f = self;

	munmap((void *)(uintptr_t)f->mem, (size_t)f->ram.len);
	free(f);
}

static int rf_ram(void *self, const struct vp_ram **ret, size_t *n_ret, struct diag *diag)
{
	struct ramfile *f = self;

	(void)diag;
	*ret = &f->ram;
	*n_ret = 1;
	return VP_OK;
}

static int rf_run_state(void *self, enum vp_run_state *ret, char words[32], struct diag *diag)
{
	(void)self;
	(void)diag;
	*ret = VP_RUN_PAUSED;
	strcpy(words, "paused");
	return VP_OK;
}

static int rf_read(void *self, vp_gpa_t at, void *buf, size_t len)
{
	struct ramfile *f = self;

	memcpy(buf, f->mem + (at.v - f->ram.start.v), len);
	return VP_OK;
}

static int rf_find_pages(void *self, const void *prefix, size_t n, vp_gpa_t *found, size_t cap,
			 size_t *n_ret, struct diag *diag)
{
	struct ramfile *f = self;
	size_t count = 0;

	for (uint64_t off = 0; off + 4096 <= f->ram.len; off += 4096) {
		if (memcmp(f->mem + off, prefix, n) != 0)
			continue;
		if (count == cap)
			return diag_set(diag, VP_E_RANGE, "more pages than asked for");
		found[count++] = vp_gpa(f->ram.start.v + off);
	}
	*n_ret = count;
	return VP_OK;
}

static int rf_regs(void *self, unsigned vcpu, struct arch_regs *ret)
{
	struct ramfile *f = self;

	(void)vcpu;
	if (!f->has_regs)
		return VP_E_UNSUPPORTED;
	*ret = f->regs;
	return VP_OK;
}

static int rf_peek_regs(void *self, unsigned vcpu, struct arch_regs *ret, struct diag *diag)
{
	(void)diag;
	return rf_regs(self, vcpu, ret);
}

static int rf_arm(void *self, enum vp_after after, struct diag *diag)
{
	(void)self;
	(void)after;
	(void)diag;
	return VP_OK;
}

static void rf_disarm(void *self)
{
	(void)self;
}

static int rf_pause(void *self, uint64_t deadline, struct diag *diag)
{
	(void)self;
	(void)deadline;
	(void)diag;
	return VP_OK;
}

static int rf_takeover(void *self, struct diag *diag)
{
	(void)self;
	(void)diag;
	return VP_OK;
}

static int rf_write(void *self, vp_gpa_t at, const void *buf, size_t len)
{
	(void)self;
	(void)at;
	(void)buf;
	(void)len;
	return VP_E_UNSUPPORTED;
}

static int rf_done(void *self)
{
	(void)self;
	return VP_OK;
}

static const struct vp_driver driver = {
	.name = "ramfile",
	.caps = rf_caps,
	.close = rf_close,
	.ram = rf_ram,
	.run_state = rf_run_state,
	.read = rf_read,
	.find_pages = rf_find_pages,
	.peek_regs = rf_peek_regs,
	.arm = rf_arm,
	.disarm = rf_disarm,
	.pause = rf_pause,
	.takeover = rf_takeover,
	.regs = rf_regs,
	.write = rf_write,
	.sync = rf_done,
	.resume = rf_done,
};

static int map_file(struct ramfile *f, const char *path, struct diag *diag)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
		int err = errno;

		if (fd >= 0)
			close(fd);
		return diag_errno(diag, err, "%s", path);
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return diag_errno(diag, errno, "%s", path);
	f->mem = p;
	f->ram.len = (uint64_t)st.st_size;
	return VP_OK;
}

int ramfile_open(const char *path, vp_gpa_t base, const struct arch_ops *arch,
		 const struct arch_regs *regs, struct diag *diag, struct vp_target **ret)
{
	struct vp_target_info info = {
		.name = path, .locator = path, .driver = "ramfile", .accel = "none", .arch = arch};
	struct ramfile *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return diag_set(diag, VP_E_NOMEM, "ramfile: no memory");
	info.vcpus = 1;
	f->ram.start = base;
	f->has_regs = regs != NULL;
	if (regs)
		f->regs = *regs;
	r = map_file(f, path, diag);
	if (r < 0) {
		free(f);
		return r;
	}
	r = vp_target_create(&driver, f, &info, diag, ret);
	if (r < 0)
		rf_close(f);
	return r;
}
