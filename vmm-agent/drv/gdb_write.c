// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writing through the stub. A request costs QEMU and us a few system calls and a look for translations of
 * the page, whatever its length: so pieces that lie in one page become one, with what is between them as
 * it is. Nobody changes that meanwhile: every vCPU is held, and QEMU has stopped its devices with them.
 */
#include <stdio.h>
#include <string.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/gdb_int.h"

#define PAGE UINT64_C(4096)

/* Takes the oldest reply off. */
static int settle_one(struct gdb *g)
{
	const char *reply = "";
	size_t len;
	int r = rsp_reply(&g->rsp, clock_in(GDB_SURE_NS), &reply, &len);

	if (r < 0 || strcmp(reply, "OK") == 0)
		return r;
	return reply[0] == 'E' ? VP_E_IO : VP_E_PROTO;
}

/* All of them, whatever they say: the first that is not OK is told. */
static int settle(struct gdb *g, int r)
{
	while (g->rsp.under_way > 0 && !g->rsp.broken) {
		int one = settle_one(g);

		r = r == VP_OK ? one : r;
		if (one < 0 && one != VP_E_IO && one != VP_E_PROTO)
			break;
	}
	return r;
}

static int queue(struct gdb *g, vp_gpa_t at, const uint8_t *buf, size_t len)
{
	/* `M`, two numbers of 16 digits, ',' and ':' take 35 bytes of a packet. */
	size_t most = (g->packet_max - 64) / 2 & ~(size_t)7;
	char request[RSP_PAYLOAD_MAX];
	int r = VP_OK;

	while (r == VP_OK && len > 0) {
		size_t n = len < most ? len : most;
		int head = snprintf(request, sizeof(request),
				    "M%llx,%zx:", (unsigned long long)at.v, n);

		rsp_hex(buf, n, request + head);
		r = rsp_queue(&g->rsp, request, (size_t)head + 2 * n);
		if (r == VP_E_RANGE && g->rsp.under_way > 0) {
			r = settle_one(g);
			continue;
		}
		buf += n;
		at.v += n;
		len -= n;
	}
	return r;
}

int gdb_write(struct gdb *g, vp_gpa_t at, const void *buf, size_t len)
{
	return settle(g, queue(g, at, buf, len));
}

/* How many pieces from io on lie in one page, each as a whole. */
static size_t in_one_page(const struct vp_io *io, size_t n)
{
	uint64_t page = io->at.v / PAGE;
	size_t k = 0;

	while (k < n && io[k].at.v / PAGE == page && (io[k].at.v + io[k].len - 1) / PAGE == page)
		k++;
	return k;
}

static int queue_together(struct gdb *g, const struct vp_io *io, size_t n)
{
	uint64_t start = UINT64_MAX, end = 0;
	uint8_t buf[PAGE];
	int r;

	for (size_t i = 0; i < n; i++) {
		start = io[i].at.v < start ? io[i].at.v : start;
		end = io[i].at.v + io[i].len > end ? io[i].at.v + io[i].len : end;
	}
	r = vmm_mem_read(&g->m->mem, vp_gpa(start), buf, (size_t)(end - start));
	for (size_t i = 0; i < n; i++)
		memcpy(buf + (io[i].at.v - start), io[i].buf, io[i].len);
	return r == VP_OK ? queue(g, vp_gpa(start), buf, (size_t)(end - start)) : r;
}

int gdb_write_all(struct gdb *g, const struct vp_io *io, size_t n)
{
	uint64_t written = 0; /* up to here */
	int r = VP_OK;

	while (r == VP_OK && n > 0) {
		size_t k = in_one_page(io, n);

		/* What is between them must not be read ahead of what is still on its way there. */
		if (k > 1 && io->at.v / PAGE * PAGE < written)
			r = settle(g, r);
		if (r == VP_OK)
			r = k > 1 ? queue_together(g, io, k) : queue(g, io->at, io->buf, io->len);
		for (k = k ? k : 1; k > 0; k--, io++, n--)
			if (io->at.v + io->len > written)
				written = io->at.v + io->len;
	}
	return settle(g, r);
}
