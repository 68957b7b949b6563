/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/drv/qemu_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
	const char *at;
	size_t len;
};

/* Lines may end in CR LF: the human monitor speaks to terminals. */
static bool next_line(const char **text, struct line *ret)
{
	size_t len = strcspn(*text, "\n");

	if (**text == '\0')
		return false;
	ret->at = *text;
	ret->len = len > 0 && (*text)[len - 1] == '\r' ? len - 1 : len;
	*text += len + ((*text)[len] == '\n');
	return true;
}

static bool starts(struct line l, const char *with)
{
	size_t n = strlen(with);

	return l.len >= n && memcmp(l.at, with, n) == 0;
}

static bool contains(struct line l, const char *what)
{
	return memmem(l.at, l.len, what, strlen(what)) != NULL;
}

/* 1 to 16 hex digits at the front; returns how many, 0 if there is no such number. */
static size_t hex_at(const char *at, size_t len, uint64_t *ret)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; n < len; n++) {
		char c = at[n];
		unsigned d;

		if (c >= '0' && c <= '9')
			d = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			d = (unsigned)(c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			d = (unsigned)(c - 'A') + 10;
		else
			break;
		if (n == 16)
			return 0;
		v = v << 4 | d;
	}
	if (n > 0)
		*ret = v;
	return n;
}

/*
 * `  0000000000100000-0000000003ffffff (prio 0, ram): pc.ram @0000000000100000 owner:{obj path=..}`
 *
 * The owner tells the machine's memory from a device's: memory backends live under /objects. The
 * priority tells it from a backend that a PCI BAR shows (ivshmem), which lies above.
 */
static bool ram_line(struct line l, struct qemu_range *ret)
{
	static const char type[] = " (prio 0, ram): ";
	uint64_t first, last;
	size_t n;

	if (!starts(l, "  "))
		return false;
	l.at += 2;
	l.len -= 2;
	n = hex_at(l.at, l.len, &first);
	if (n == 0 || n == l.len || l.at[n] != '-')
		return false;
	l.at += n + 1;
	l.len -= n + 1;
	n = hex_at(l.at, l.len, &last);
	l.at += n;
	l.len -= n;
	if (n == 0 || !starts(l, type) || !contains(l, " owner:{obj path=/objects/"))
		return false;
	if (last < first || last - first == UINT64_MAX)
		return false;
	ret->start = first;
	ret->len = last - first + 1;
	return true;
}

int qemu_text_ram(const char *text, struct qemu_range *found, size_t cap, size_t *n_ret)
{
	bool in_memory = false, seen = false;
	struct line l;
	size_t n = 0;

	while (next_line(&text, &l)) {
		struct qemu_range r;

		if (starts(l, "FlatView #")) {
			if (seen)
				break; /* the view of "memory" is complete */
			in_memory = false;
		} else if (starts(l, " AS \"memory\",")) {
			in_memory = seen = true;
		} else if (in_memory && ram_line(l, &r)) {
			if (n > 0 && (r.start < found[n - 1].start ||
				      r.start - found[n - 1].start < found[n - 1].len))
				return VP_E_PROTO;
			if (n == cap)
				return VP_E_RANGE;
			found[n++] = r;
		}
	}
	if (n == 0)
		return VP_E_PROTO;
	*n_ret = n;
	return VP_OK;
}

/* `Host virtual address for 0x100000 (pc.ram) is 0x7f3ec7f00000` */
int qemu_text_hva(const char *text, uint64_t *ret)
{
	static const char head[] = "Host virtual address for 0x", is[] = " is 0x";
	struct line l;
	uint64_t v = 0;

	while (next_line(&text, &l)) {
		const char *at = NULL, *end = l.at + l.len;

		if (!starts(l, head))
			continue;
		/* The last " is 0x": a region may be called anything. */
		for (const char *p = l.at; (p = memmem(p, (size_t)(end - p), is, sizeof(is) - 1));
		     p++)
			at = p + sizeof(is) - 1;
		if (!at || hex_at(at, (size_t)(end - at), &v) != (size_t)(end - at) || v == 0)
			return VP_E_UNMAPPED;
		*ret = v;
		return VP_OK;
	}
	return VP_E_UNMAPPED;
}

/* How `info registers` writes what the target description calls by another name. */
static const struct alias {
	const char *gdb, *wide, *narrow; /* in and outside 64-bit mode */
	unsigned field;                  /* which number behind the '=' */
} aliases[] = {
	{"rip", "RIP", "EIP", 0},    {"rsp", "RSP", "ESP", 0}, {"eflags", "RFL", "EFL", 0},
	{"cr0", "CR0", "CR0", 0},    {"cr3", "CR3", "CR3", 0}, {"cr4", "CR4", "CR4", 0},
	{"efer", "EFER", "EFER", 0}, {"cs", "CS ", "CS ", 0},  {"gs_base", "GS ", "GS ", 1},
};

/* The number behind `KEY=` at the start of a word, or the field-th one behind that. */
static bool reg_in_line(struct line l, const char *key, unsigned field, uint64_t *ret)
{
	const char *p = l.at, *end = l.at + l.len;
	size_t n = strlen(key);

	for (; (p = memmem(p, (size_t)(end - p), key, n)); p++) {
		const char *at = p + n;

		if ((p > l.at && p[-1] != ' ') || at == end || *at != '=')
			continue;
		at++;
		for (unsigned i = 0;; i++) {
			uint64_t v;
			size_t digits = hex_at(at, (size_t)(end - at), &v);

			if (digits == 0)
				return false;
			at += digits;
			if (i == field) {
				*ret = v;
				return at == end || *at == ' ';
			}
			while (at < end && *at == ' ')
				at++;
		}
	}
	return false;
}

static void regs_in_line(struct line l, const char *const *names, struct arch_regs *regs)
{
	for (unsigned i = 0; i < ARCH_REG_MAX; i++) {
		for (size_t k = 0; names[i] && k < sizeof(aliases) / sizeof(aliases[0]); k++) {
			const struct alias *a = &aliases[k];
			uint64_t v;

			if (strcmp(names[i], a->gdb) != 0 || (regs->have & 1u << i))
				continue;
			if (!reg_in_line(l, a->wide, a->field, &v) &&
			    !reg_in_line(l, a->narrow, a->field, &v))
				continue;
			regs->v[i] = v;
			regs->have |= 1u << i;
		}
	}
}

int qemu_text_regs(const char *text, unsigned cpu, const char *const *names, struct arch_regs *ret)
{
	struct arch_regs regs = {0};
	bool mine = false;
	char head[32];
	struct line l;

	snprintf(head, sizeof(head), "CPU#%u", cpu);
	while (next_line(&text, &l)) {
		if (starts(l, "CPU#"))
			mine = l.len == strlen(head) && starts(l, head);
		else if (mine)
			regs_in_line(l, names, &regs);
	}
	if (!(regs.have & 1u << ARCH_REG_PC))
		return VP_E_PROTO;
	*ret = regs;
	return VP_OK;
}
