/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU's gdbstub and human monitor answer. The first byte picks the parser. A byte stream
 * must give the same packets however it is cut; a packet that was framed must come back.
 *
 * covers: vmm-agent/drv/rsp.c vmm-agent/drv/gdb_xml.c vmm-agent/drv/qemu_text.c
 * VP_PLANT_RSP lets a run repeat the byte ahead of the payload (vmm-agent/drv/rsp.c).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/drv/gdb_xml.h"
#include "vmm-agent/drv/qemu_text.h"
#include "vmm-agent/drv/rsp.h"

static const char *const names[ARCH_REG_MAX] = {"rip",  "rsp",       "cr0",  "cr3",    "cr4",
						"efer", "cs",        "pc",   "eflags", "gs_base",
						"sp",   "TTBR1_EL1", "cpsr", "TCR_EL1"};

static uint64_t fnv(uint64_t h, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n--)
		h = (h ^ *b++) * 1099511628211u;
	return h;
}

/* Takes items off as the transport does; `step` more bytes become visible whenever it asks. */
static uint64_t run_stream(const uint8_t *data, size_t size, size_t step)
{
	uint8_t *payload = malloc(RSP_PAYLOAD_MAX);
	size_t at = 0, seen = 0, used, len;
	uint64_t h = 0;

	for (;;) {
		enum rsp_kind kind;
		uint8_t *copy = malloc(seen - at + 1);

		memcpy(copy, data + at, seen - at);
		len = 0;
		kind = rsp_scan(copy, seen - at, &used, payload, &len);
		free(copy);
		if (used > seen - at || (kind != RSP_MORE && used == 0))
			abort();
		if (len > RSP_PAYLOAD_MAX)
			abort();
		at += used;
		if (kind == RSP_PACKET)
			h = fnv(h + len + 1, payload, len);
		if (kind == RSP_TOO_BIG)
			break;
		if (kind != RSP_MORE)
			continue;
		if (seen == size)
			break;
		seen = step < size - seen ? seen + step : size;
	}
	free(payload);
	return h;
}

static void stream(const uint8_t *data, size_t size)
{
	uint64_t whole = run_stream(data, size, size + 1);

	if (size > 0 && size < 512 && run_stream(data, size, 1) != whole)
		abort();
	if (run_stream(data, size, 7) != whole)
		abort();
}

/* The same bytes as a raw payload with the checksum put right. */
static void raw_payload(const uint8_t *data, size_t size)
{
	uint8_t *packet = malloc(size + 4), *payload = malloc(RSP_PAYLOAD_MAX), sum = 0;
	size_t used, len = 0;

	packet[0] = '$';
	for (size_t i = 0; i < size; i++) {
		packet[1 + i] = data[i] == '#' || data[i] == '$' ? ' ' : data[i];
		sum = (uint8_t)(sum + packet[1 + i]);
	}
	packet[1 + size] = '#';
	rsp_hex(&sum, 1, (char *)packet + size + 2);
	if (rsp_scan(packet, size + 4, &used, payload, &len) == RSP_PACKET &&
	    (used != size + 4 || len > RSP_PAYLOAD_MAX))
		abort();
	free(packet);
	free(payload);
}

static void round_trip(const uint8_t *data, size_t size)
{
	size_t cap = 2 * size + 4, n, used, len = 0;
	uint8_t *framed = malloc(cap), *payload = malloc(RSP_PAYLOAD_MAX);

	if (size <= RSP_PAYLOAD_MAX) {
		if (rsp_frame(data, size, framed, cap, &n) != VP_OK)
			abort();
		if (rsp_scan(framed, n, &used, payload, &len) != RSP_PACKET || len != size ||
		    memcmp(payload, data, size) != 0)
			abort();
	}
	free(framed);
	free(payload);
}

static void xml(const uint8_t *data, size_t size)
{
	struct gdb_xml x;

	/* Two documents, the second as if the first had included it. */
	gdb_xml_init(&x, names);
	if (gdb_xml_add(&x, (const char *)data, size / 2) == VP_OK)
		(void)!gdb_xml_add(&x, (const char *)data + size / 2, size - size / 2);
	for (unsigned i = 0; i < ARCH_REG_MAX; i++)
		if (x.reg[i].known && (x.reg[i].bytes < 1 || x.reg[i].bytes > 8))
			abort();
	for (unsigned i = 0; i < x.n_includes; i++)
		if (strlen(x.include[i]) == 0 || strpbrk(x.include[i], "/:#$"))
			abort();
}

static void text(uint8_t which, const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);
	struct qemu_range ram[8];
	struct arch_regs regs;
	uint64_t hva;
	size_t n;

	memcpy(s, data, size);
	s[size] = '\0';
	if (which == 0 && qemu_text_ram(s, ram, 8, &n) == VP_OK) {
		if (n == 0 || n > 8)
			abort();
		for (size_t i = 0; i < n; i++)
			if (ram[i].len == 0 || ram[i].len - 1 > UINT64_MAX - ram[i].start ||
			    (i > 0 && ram[i].start - ram[i - 1].start < ram[i - 1].len))
				abort();
	}
	if (which == 1 && qemu_text_hva(s, &hva) == VP_OK && hva == 0)
		abort();
	if (which == 2 && qemu_text_regs(s, 1, names, &regs) == VP_OK && !(regs.have & 1))
		abort();
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t which;

	if (size == 0)
		return 0;
	which = data[0] % 7;
	data++;
	size--;
	switch (which) {
	case 0:
		stream(data, size);
		break;
	case 1:
		raw_payload(data, size);
		break;
	case 2:
		round_trip(data, size);
		break;
	case 3:
		xml(data, size);
		break;
	default:
		text((uint8_t)(which - 4), data, size);
	}
	return 0;
}
