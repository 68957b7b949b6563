// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm-agent/guest/vmcoreinfo.h"

#include <string.h>

enum form { HEX, NUMBER };

struct row {
	const char *key;
	enum form form;
};

/* kernel/crash_core.c and each architecture's crash_core.c (vmcore_info.c since 6.9) say which
 * of these a kernel writes: VMCOREINFO_SYMBOL is %lx, NUMBER %ld or 0x%lx. */
static const struct row rows[VMCI_COUNT] = {
	[VMCI_PAGESIZE] = {"PAGESIZE", NUMBER},
	[VMCI_KERNELOFFSET] = {"KERNELOFFSET", HEX},
	[VMCI_STEXT] = {"SYMBOL(_stext)", HEX},
	[VMCI_SWAPPER] = {"SYMBOL(swapper_pg_dir)", HEX},
	[VMCI_INIT_TOP_PGT] = {"SYMBOL(init_top_pgt)", HEX},
	[VMCI_UTS] = {"SYMBOL(init_uts_ns)", HEX},
	[VMCI_UTS_NAME] = {"OFFSET(uts_namespace.name)", NUMBER},
	[VMCI_KS_NAMES] = {"SYMBOL(kallsyms_names)", HEX},
	[VMCI_KS_NUM] = {"SYMBOL(kallsyms_num_syms)", HEX},
	[VMCI_KS_TOKENS] = {"SYMBOL(kallsyms_token_table)", HEX},
	[VMCI_KS_INDEX] = {"SYMBOL(kallsyms_token_index)", HEX},
	[VMCI_KS_OFFSETS] = {"SYMBOL(kallsyms_offsets)", HEX},
	[VMCI_KS_BASE] = {"SYMBOL(kallsyms_relative_base)", HEX},
	[VMCI_PHYS_BASE] = {"NUMBER(phys_base)", NUMBER},
	[VMCI_L5] = {"NUMBER(pgtable_l5_enabled)", NUMBER},
	[VMCI_VA_BITS] = {"NUMBER(VA_BITS)", NUMBER},
	[VMCI_KIMAGE_VOFFSET] = {"NUMBER(kimage_voffset)", NUMBER},
	[VMCI_T1SZ] = {"NUMBER(TCR_EL1_T1SZ)", NUMBER},
	[VMCI_PHYS_OFFSET] = {"NUMBER(PHYS_OFFSET)", NUMBER},
	[VMCI_VA_KERNEL_PA_OFFSET] = {"NUMBER(va_kernel_pa_offset)", NUMBER},
};

const char *vmcoreinfo_symbol(enum vmcoreinfo_num i)
{
	static const char *const names[VMCI_COUNT] = {
		[VMCI_STEXT] = "_stext",
		[VMCI_SWAPPER] = "swapper_pg_dir",
		[VMCI_INIT_TOP_PGT] = "init_top_pgt",
		[VMCI_UTS] = "init_uts_ns",
		[VMCI_KS_NAMES] = "kallsyms_names",
		[VMCI_KS_NUM] = "kallsyms_num_syms",
		[VMCI_KS_TOKENS] = "kallsyms_token_table",
		[VMCI_KS_INDEX] = "kallsyms_token_index",
		[VMCI_KS_OFFSETS] = "kallsyms_offsets",
		[VMCI_KS_BASE] = "kallsyms_relative_base",
	};

	return names[i];
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_hex(const char *s, size_t n, uint64_t *ret)
{
	uint64_t v = 0;

	if (n == 0 || n > 16)
		return false;
	for (size_t i = 0; i < n; i++) {
		int d = hex_digit(s[i]);

		if (d < 0)
			return false;
		v = v << 4 | (uint64_t)d;
	}
	*ret = v;
	return true;
}

static bool parse_number(const char *s, size_t n, uint64_t *ret)
{
	bool minus = n > 0 && s[0] == '-';
	uint64_t v = 0;

	if (n > 2 && s[0] == '0' && s[1] == 'x')
		return parse_hex(s + 2, n - 2, ret);
	if (minus)
		s++, n--;
	if (n == 0 || n > 19) /* 19 digits always fit into 64 bits */
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	*ret = minus ? 0 - v : v;
	return true;
}

static bool parse_bytes(const char *s, size_t n, struct vmcoreinfo *v)
{
	if (n == 0 || n % 2 || n / 2 > sizeof(v->build_id) || v->build_id_len)
		return false;
	for (size_t i = 0; i < n; i += 2) {
		int hi = hex_digit(s[i]), lo = hex_digit(s[i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		v->build_id[i / 2] = (uint8_t)(hi << 4 | lo);
	}
	v->build_id_len = (unsigned)(n / 2);
	return true;
}

static bool parse_release(const char *s, size_t n, struct vmcoreinfo *v)
{
#ifdef VP_PLANT_VMCOREINFO /* the planted bug: a release longer than its buffer */
	if (n == 0 || v->release[0])
		return false;
#else
	if (n == 0 || n >= sizeof(v->release) || v->release[0])
		return false;
#endif
	memcpy(v->release, s, n);
	v->release[n] = '\0';
	return true;
}

static bool key_is(const char *line, size_t n, const char *key)
{
	return strlen(key) == n && memcmp(line, key, n) == 0;
}

static bool parse_row(struct vmcoreinfo *v, unsigned i, const char *value, size_t n)
{
	uint64_t num;

	if (!(rows[i].form == HEX ? parse_hex(value, n, &num) : parse_number(value, n, &num)))
		return false;
	if (vmci_has(v, i) && v->num[i] != num)
		return false;
	v->num[i] = num;
	v->have |= 1u << i;
	return true;
}

static bool parse_line(struct vmcoreinfo *v, const char *line, size_t n)
{
	const char *eq = memchr(line, '=', n);
	size_t key, len;

	if (!eq || eq == line)
		return false;
	key = (size_t)(eq - line);
	len = n - key - 1;
	for (size_t i = 0; i < n; i++)
		if (line[i] <= ' ' || line[i] > '~')
			return false;
	if (key_is(line, key, "OSRELEASE"))
		return parse_release(eq + 1, len, v);
	if (key_is(line, key, "BUILD-ID"))
		return parse_bytes(eq + 1, len, v);
	for (unsigned i = 0; i < VMCI_COUNT; i++)
		if (key_is(line, key, rows[i].key))
			return parse_row(v, i, eq + 1, len);
	return true; /* the many lines that only a crash dumper reads */
}

/* The kernel drops what does not fit, so the last line of a full page may be cut short. */
static int parse_all(const char *text, size_t len, struct vmcoreinfo *v)
{
	const char *nul = memchr(text, '\0', len);
	size_t end = nul ? (size_t)(nul - text) : len;
	size_t at = 0;

	for (size_t i = end; i < len; i++)
		if (text[i])
			return VP_E_GUEST_CORRUPT;
	while (at < end) {
		const char *nl = memchr(text + at, '\n', end - at);

		if (!nl)
			return nul ? VP_E_GUEST_CORRUPT : VP_OK;
		if (!parse_line(v, text + at, (size_t)(nl - text) - at))
			return VP_E_GUEST_CORRUPT;
		at = (size_t)(nl - text) + 1;
	}
	return VP_OK;
}

int vmcoreinfo_parse(const uint8_t *page, size_t len, struct vmcoreinfo *ret)
{
	const size_t prefix = sizeof(VMCOREINFO_PREFIX) - 1;
	struct vmcoreinfo v;
	int r;

	memset(&v, 0, sizeof(v));
	if (len > VMCOREINFO_PAGE || len < prefix || memcmp(page, VMCOREINFO_PREFIX, prefix) != 0)
		return VP_E_GUEST_CORRUPT;
	r = parse_all((const char *)page, len, &v);
	if (r < 0)
		return r;
	if (!v.release[0] || !vmci_has(&v, VMCI_STEXT) || !vmci_has(&v, VMCI_PAGESIZE))
		return VP_E_GUEST_CORRUPT;
	*ret = v;
	return VP_OK;
}
