/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/base/diag.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void diag_init(struct diag *diag)
{
	diag->err = VP_OK;
	diag->text[0] = '\0';
}

/* The length of the well-formed UTF-8 sequence at s, 0 if there is none (Unicode 15, table 3-7,
 * without C1 controls). */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 0;

	if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xc2 && s[1] < 0xa0) || (s[0] == 0xe0 && s[1] < 0xa0) ||
	    (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

void diag_printable(char *text)
{
	unsigned char *s = (unsigned char *)text;

	while (*s) {
		size_t n = *s >= 0x80 ? utf8_len(s) : *s >= 0x20 && *s < 0x7f;

		if (n == 0)
			*s = '?';
		s += n ? n : 1;
	}
}

int(diag_set)(struct diag *diag, int err, const char *fmt, ...)
{
	va_list ap;

	if (!diag)
		return err;
	diag->err = err;
	va_start(ap, fmt);
	vsnprintf(diag->text, sizeof(diag->text), fmt, ap);
	va_end(ap);
	diag_printable(diag->text);
	return err;
}

static int err_of_errno(int errnum)
{
	switch (errnum) {
	case ENOMEM:
		return VP_E_NOMEM;
	case EACCES:
	case EPERM:
		return VP_E_PERM;
	case ENOSPC:
	case EDQUOT:
		return VP_E_DISK_FULL;
	default:
		return VP_E_IO;
	}
}

int(diag_errno)(struct diag *diag, int errnum, const char *fmt, ...)
{
	char words[sizeof(diag->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	return diag_set(diag, err_of_errno(errnum), "%s: %s", words, strerror(errnum));
}

int(diag_prefix)(struct diag *diag, const char *fmt, ...)
{
	char words[sizeof(diag->text)], old[sizeof(diag->text)];
	va_list ap;

	if (!diag)
		return VP_E_INTERNAL;
	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	memcpy(old, diag->text, sizeof(old));
	return diag_set(diag, diag->err, "%s: %s", words, old);
}
