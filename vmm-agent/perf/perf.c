/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sources: include/uapi/linux/perf_event.h (records, attr), tools/perf/Documentation/
 * perf.data-file-format.txt (the file), tools/perf/util/header.c (its features). The layout:
 *
 *     0     perf_header        "PERFILE2", where the sections are, which features there are
 *     104   the id of the one event
 *     112   its attr (ATTR_LEN bytes) and where its ids are
 *     240   data: MMAP of the kernel, KSYMBOL of the payload, TEXT_POKEs as they were stored
 *           one (offset, size) a feature, then the features
 */
#include "vmm-agent/perf/perf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "protocol/bytes.h"

#define HEADER_LEN 104u
#define ATTR_LEN   112u /* PERF_ATTR_SIZE_VER5: the last field that is needed is clockid */
#define IDS_AT     HEADER_LEN
#define ATTRS_AT   (IDS_AT + 8)
#define DATA_AT    (ATTRS_AT + ATTR_LEN + 16)
#define EVENT_ID   UINT64_C(1)

#define DATA_LEN_AT 48u

#define TYPE_SOFTWARE 1u /* PERF_TYPE_SOFTWARE */
#define COUNT_DUMMY   9u /* PERF_COUNT_SW_DUMMY */
#define CLOCK_NUMBER  1u /* CLOCK_MONOTONIC, whatever the host calls it */

/* PERF_SAMPLE_* */
#define SAMPLE_IP         (1u << 0)
#define SAMPLE_TID        (1u << 1)
#define SAMPLE_TIME       (1u << 2)
#define SAMPLE_CPU        (1u << 7)
#define SAMPLE_IDENTIFIER (1u << 16)

/* Bits of the attr's flags, in their order in struct perf_event_attr. */
#define ATTR_EXCLUDE_USER  (UINT64_C(1) << 4)
#define ATTR_MMAP          (UINT64_C(1) << 8)
#define ATTR_SAMPLE_ID_ALL (UINT64_C(1) << 18)
#define ATTR_USE_CLOCKID   (UINT64_C(1) << 25)
#define ATTR_KSYMBOL       (UINT64_C(1) << 29)
#define ATTR_TEXT_POKE     (UINT64_C(1) << 33)

/* PERF_RECORD_* and PERF_RECORD_MISC_* */
#define RECORD_MMAP        1u
#define RECORD_KSYMBOL     17u
#define RECORD_TEXT_POKE   20u
#define MISC_KERNEL        1u
#define MISC_BUILD_ID_SIZE (1u << 15)
#define KSYMBOL_OOL        2u /* PERF_RECORD_KSYMBOL_TYPE_OOL: out-of-line text */

enum feature { /* HEADER_* of tools/perf/util/header.h */
	       FEAT_BUILD_ID = 2,
	       FEAT_HOSTNAME = 3,
	       FEAT_OSRELEASE = 4,
	       FEAT_VERSION = 5,
	       FEAT_ARCH = 6,
	       FEAT_NRCPUS = 7,
	       FEAT_CLOCKID = 23,
	       FEAT_CLOCK_DATA = 29,
	       FEAT_END = 30,
};

#define KERNEL_NAME "[kernel.kallsyms]"
#define NAME_ALIGN  64u /* of the strings in features and build-ids (tools/perf/util/header.c) */

/* --- pieces ------------------------------------------------------------------------------------ */

/* A stream over memory cannot fail but for memory, which fclose tells. */
static void put(FILE *f, const void *p, size_t len)
{
	if (len > 0)
		(void)!fwrite(p, 1, len, f);
}

static void put16(FILE *f, uint16_t v)
{
	uint8_t b[2];

	vp_st16(b, v);
	put(f, b, sizeof(b));
}

static void put32(FILE *f, uint32_t v)
{
	uint8_t b[4];

	vp_st32(b, v);
	put(f, b, sizeof(b));
}

static void put64(FILE *f, uint64_t v)
{
	uint8_t b[8];

	vp_st64(b, v);
	put(f, b, sizeof(b));
}

/* align: a power of two. */
static size_t padded(size_t len, size_t align)
{
	return (len + align - 1) & ~(align - 1);
}

static void put_padding(FILE *f, size_t len, size_t align)
{
	for (size_t n = padded(len, align); len < n; len++)
		put(f, "", 1);
}

/* With its NUL, and zeroes up to a multiple of align. */
static void put_name(FILE *f, const char *name, size_t align)
{
	put(f, name, strlen(name) + 1);
	put_padding(f, strlen(name) + 1, align);
}

/* --- records ----------------------------------------------------------------------------------- */

#define RECORD_HEAD 8u  /* u32 type, u16 misc, u16 size */
#define SAMPLE_ID   32u /* u32 pid, tid; u64 time; u32 cpu, 0; u64 id: what SAMPLE_* above ask for */

static void put_head(FILE *f, uint32_t type, size_t body)
{
	put32(f, type);
	put16(f, MISC_KERNEL); /* the guest's: this file is the guest's own */
	put16(f, (uint16_t)(RECORD_HEAD + body + SAMPLE_ID));
}

/*
 * The trailer of every record: struct sample_id, in the order of PERF_SAMPLE_*. No task of the guest did
 * it (0 is the idle task's) and no CPU of it: with a CPU, perf inject asks which vCPU's thread that is.
 */
static void put_sample_id(FILE *f, uint64_t at_ns)
{
	put32(f, 0);
	put32(f, 0);
	put64(f, at_ns);
	put32(f, UINT32_MAX);
	put32(f, 0);
	put64(f, EVENT_ID);
}

/* Which addresses are the kernel. What follows its name is the symbol that pgoff is the address of:
 * perf slides a vmlinux by it. */
static void put_kernel(FILE *f, const struct guest_info *g)
{
	static const char name[] = KERNEL_NAME "_stext";

	put_head(f, RECORD_MMAP, 32 + padded(sizeof(name), 8));
	put32(f, UINT32_MAX); /* pid: the kernel */
	put32(f, 0);
	put64(f, g->text.v);
	put64(f, g->text_end.v - g->text.v);
	put64(f, g->text.v);
	put_name(f, name, 8);
	put_sample_id(f, 0);
}

static void put_symbol(FILE *f, vp_gva_t at, uint32_t len, const char *name, uint64_t at_ns)
{
	put_head(f, RECORD_KSYMBOL, 16 + padded(strlen(name) + 1, 8));
	put64(f, at.v);
	put32(f, len);
	put16(f, KSYMBOL_OOL);
	put16(f, 0);
	put_name(f, name, 8);
	put_sample_id(f, at_ns);
}

static void put_poke(FILE *f, uint64_t at, const uint8_t *old, uint16_t old_len, const uint8_t *new,
		     uint16_t new_len, uint64_t at_ns)
{
	size_t bytes = 12 + (size_t)old_len + new_len; /* the two lengths end at 12 */

	put_head(f, RECORD_TEXT_POKE, padded(bytes, 8));
	put64(f, at);
	put16(f, old_len);
	put16(f, new_len);
	put(f, old, old_len);
	put(f, new, new_len);
	put_padding(f, bytes, 8);
	put_sample_id(f, at_ns);
}

/* --- what a change did --------------------------------------------------------------------------- */

static bool in_kernel(const struct guest_info *g, vp_gva_t at)
{
	return at.v >= g->text.v && at.v < g->text_end.v;
}

/*
 * New text is told as the kernel tells its own (arch/x86/kernel/ftrace.c, kprobes/core.c): a symbol of
 * out-of-line text, then a poke that has no old bytes. The symbol is left out where the payload lies
 * in a cave of the kernel's text: perf gives a symbol inside a map that it has already the address
 * of that map's beginning (machine__process_ksymbol_register).
 */
static void put_payload(FILE *f, const struct eng_report *r, uint64_t at_ns)
{
	char name[sizeof("vpatch_") + sizeof(r->name)];

	if (r->payload_len == 0)
		return;
	snprintf(name, sizeof(name), "vpatch_%.*s", (int)sizeof(r->name), r->name);
	if (!in_kernel(&r->guest, r->payload))
		put_symbol(f, r->payload, r->payload_len, name, at_ns);
	for (uint32_t off = 0; r->payload_bytes && off < r->payload_len; off += PERF_CHUNK) {
		uint32_t left = r->payload_len - off;

		put_poke(f, r->payload.v + off, NULL, 0, r->payload_bytes + off,
			 (uint16_t)(left < PERF_CHUNK ? left : PERF_CHUNK), at_ns);
	}
}

/* The payload is there before the first word that leads to it. */
static uint64_t first_poke(const struct eng_report *r)
{
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < r->n_edits; i++)
		if (r->edits[i].poked_at < at)
			at = r->edits[i].poked_at;
	return r->n_edits ? at : 0;
}

static void put_data(FILE *f, const struct eng_report *r)
{
	put_kernel(f, &r->guest);
	put_payload(f, r, first_poke(r));
	if (!r->changed)
		return;
	for (size_t i = 0; i < r->n_edits; i++) {
		const struct vp_edit *e = &r->edits[i].edit;

		if (e->kind == VP_EDIT_SITE) /* the others are data */
			put_poke(f, e->gva.v, e->old, e->len, e->new, e->len, r->edits[i].poked_at);
	}
}

/* --- features ------------------------------------------------------------------------------------ */

static void put_string(FILE *f, const char *s)
{
	put32(f, (uint32_t)padded(strlen(s) + 1, NAME_ALIGN));
	put_name(f, s, NAME_ALIGN);
}

/* Without it perf would take the symbols of the kernel that it runs on. */
static void put_build_id(FILE *f, const struct guest_info *g)
{
	uint8_t id[PERF_BUILD_ID_MAX + 4] = {0}; /* and its size, u8 */

	put32(f, 0);
	put16(f, MISC_KERNEL | MISC_BUILD_ID_SIZE);
	put16(f, (uint16_t)(RECORD_HEAD + 28 + padded(sizeof(KERNEL_NAME), NAME_ALIGN)));
	put32(f, UINT32_MAX); /* pid: the machine that the file is of */
	memcpy(id, g->build_id, g->build_id_len);
	id[PERF_BUILD_ID_MAX] = (uint8_t)g->build_id_len;
	put(f, id, sizeof(id));
	put_name(f, KERNEL_NAME, NAME_ALIGN);
}

/* uname -m of the guest, which perf chooses its disassembler by. */
static const char *machine(enum arch_id id)
{
	static const char *const names[ARCH_COUNT] = {
		[ARCH_X86_64] = "x86_64",   [ARCH_ARM64] = "aarch64", [ARCH_RISCV64] = "riscv64",
		[ARCH_PPC64LE] = "ppc64le", [ARCH_THUMB2] = "armv7l",
	};

	return names[id];
}

static bool has_feature(const struct perf_src *src, enum feature feat)
{
	unsigned len = src->report->guest.build_id_len;

	switch (feat) {
	case FEAT_BUILD_ID:
		return len > 0 && len <= PERF_BUILD_ID_MAX;
	case FEAT_HOSTNAME:
	case FEAT_OSRELEASE:
	case FEAT_VERSION:
	case FEAT_ARCH:
	case FEAT_NRCPUS:
	case FEAT_CLOCKID:
	case FEAT_CLOCK_DATA:
		return true;
	default:
		return false;
	}
}

static void put_feature(FILE *f, const struct perf_src *src, enum feature feat)
{
	const struct guest_info *g = &src->report->guest;

	switch (feat) {
	case FEAT_BUILD_ID:
		put_build_id(f, g);
		break;
	case FEAT_HOSTNAME:
		put_string(f, src->host);
		break;
	case FEAT_OSRELEASE:
		put_string(f, g->release);
		break;
	case FEAT_VERSION:
		put_string(f, "vpatch " VP_VERSION);
		break;
	case FEAT_ARCH:
		put_string(f, machine(g->arch->id));
		break;
	case FEAT_NRCPUS:
		put32(f, src->vcpus); /* online */
		put32(f, src->vcpus); /* available */
		break;
	case FEAT_CLOCKID:
		put64(f, 1); /* its resolution, ns */
		break;
	case FEAT_CLOCK_DATA:
		put32(f, 1); /* version of this */
		put32(f, CLOCK_NUMBER);
		put64(f, src->wall_ns);
		put64(f, src->clock_ns);
		break;
	default:
		break;
	}
}

/* --- the file ------------------------------------------------------------------------------------ */

static uint64_t features(const struct perf_src *src)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < FEAT_END; i++)
		if (has_feature(src, i))
			bits |= UINT64_C(1) << i;
	return bits;
}

static void put_header(FILE *f, const struct perf_src *src)
{
	put(f, "PERFILE2", 8);
	put64(f, HEADER_LEN);
	put64(f, ATTR_LEN + 16);
	put64(f, ATTRS_AT);
	put64(f, ATTR_LEN + 16);
	put64(f, DATA_AT);
	put64(f, 0); /* its length: at DATA_LEN_AT, when it is known */
	put64(f, 0); /* event types: of version 1 */
	put64(f, 0);
	put64(f, features(src));
	for (int i = 0; i < 3; i++)
		put64(f, 0);
}

/* Of an event that counts nothing and whose records are the side band alone. */
static void put_attr(FILE *f)
{
	put64(f, EVENT_ID); /* at IDS_AT */
	put32(f, TYPE_SOFTWARE);
	put32(f, ATTR_LEN);
	put64(f, COUNT_DUMMY);
	put64(f, 0);
	put64(f, SAMPLE_IP | SAMPLE_TID | SAMPLE_TIME | SAMPLE_CPU | SAMPLE_IDENTIFIER);
	put64(f, 0);
	put64(f, ATTR_EXCLUDE_USER | ATTR_MMAP | ATTR_SAMPLE_ID_ALL | ATTR_USE_CLOCKID |
			 ATTR_KSYMBOL | ATTR_TEXT_POKE);
	for (int i = 0; i < 5; i++) /* wakeup to sample_regs_user, 48 to 87 */
		put64(f, 0);
	put32(f, 0);
	put32(f, CLOCK_NUMBER); /* clockid, at 92 */
	put64(f, 0);
	put64(f, 0);
	put64(f, IDS_AT); /* behind the attr: its ids */
	put64(f, 8);
}

/* at[] gets where each begins, and behind the last where that ends; a table of that goes ahead. */
static void put_features(FILE *f, const struct perf_src *src, long at[FEAT_END + 1])
{
	unsigned n = 0;

	for (unsigned i = 0; i < FEAT_END; i++)
		for (int k = 0; k < 2 && has_feature(src, i); k++)
			put64(f, 0);
	for (unsigned i = 0; i < FEAT_END; i++) {
		if (!has_feature(src, i))
			continue;
		at[n++] = ftell(f);
		put_feature(f, src, i);
	}
	at[n] = ftell(f);
}

/* What was not known when the header and the table of features were written. */
static void fill_in(uint8_t *file, uint64_t end, uint64_t bits, const long at[FEAT_END + 1])
{
	uint8_t *table = file + end;

	vp_st64(file + DATA_LEN_AT, end - DATA_AT);
	for (unsigned n = 0; bits; bits &= bits - 1, n++) {
		vp_st64(table + 16 * n, (uint64_t)at[n]);
		vp_st64(table + 16 * n + 8, (uint64_t)(at[n + 1] - at[n]));
	}
}

static bool sound(const struct eng_report *r)
{
	if (!r->guest.arch || r->guest.arch->id >= ARCH_COUNT ||
	    r->guest.text_end.v < r->guest.text.v || r->payload_len > UINT64_MAX - r->payload.v)
		return false;
	for (size_t i = 0; i < r->n_edits; i++)
		if (r->edits[i].edit.len > VP_EDIT_MAX)
			return false;
	return true;
}

int perf_encode(const struct perf_src *src, uint8_t **buf_ret, size_t *len_ret)
{
	long at[FEAT_END + 1], end;
	char *file = NULL;
	size_t len = 0;
	bool bad;
	FILE *f;

	if (!sound(src->report))
		return VP_E_RANGE;
	f = open_memstream(&file, &len);
	if (!f)
		return VP_E_NOMEM;
	put_header(f, src);
	put_attr(f);
	put_data(f, src->report);
	end = ftell(f);
	put_features(f, src, at);
	bad = ferror(f);
	if (fclose(f) != 0 || bad) {
		free(file);
		return VP_E_NOMEM;
	}
	fill_in((uint8_t *)file, (uint64_t)end, features(src), at);
	*buf_ret = (uint8_t *)file;
	*len_ret = len;
	return VP_OK;
}
