/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "qmp/priv.h"

void qmp_words(char *to, size_t cap, const char *from)
{
	size_t i;

	for (i = 0; i < cap - 1 && from[i]; i++)
		to[i] = (unsigned char)from[i] < 0x20 || from[i] == 0x7f ? ' ' : from[i];
	to[i] = '\0';
}

static __attribute__((format(printf, 4, 0))) int vfail(struct qmp_error *err, int code, int sys,
						       const char *fmt, va_list ap)
{
	char words[sizeof(err->desc)];
	char why[128];
	size_t n;

	if (!err)
		return code;
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->sys = sys;
	vsnprintf(words, sizeof(words), fmt, ap);
	n = strlen(words);
	if (sys)
		snprintf(words + n, sizeof(words) - n, ": %s", strerror_r(sys, why, sizeof(why)));
	qmp_words(err->desc, sizeof(err->desc), words);
	return code;
}

int qmp_fail(struct qmp_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfail(err, code, 0, fmt, ap);
	va_end(ap);
	return code;
}

int qmp_fail_sys(struct qmp_error *err, int code, int sys, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfail(err, code, sys, fmt, ap);
	va_end(ap);
	return code;
}
