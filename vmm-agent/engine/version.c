/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/engine/version.h"

#include <stdbool.h>

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Where a byte that is no digit sorts; the end of the string counts as one such byte. */
static int weight(char c)
{
	if (c == '~')
		return -1;
	if (c == '\0' || digit(c))
		return 0;
	return letter(c) ? c : c + 256;
}

static int cmp_number(const char **a, const char **b)
{
	int first = 0;

	while (**a == '0')
		++*a;
	while (**b == '0')
		++*b;
	while (digit(**a) && digit(**b)) {
		if (first == 0)
			first = **a - **b;
		++*a;
		++*b;
	}
	if (digit(**a))
		return 1;
	return digit(**b) ? -1 : first;
}

int eng_version_cmp(const char *a, const char *b)
{
	while (*a || *b) {
		int r;

		while ((*a && !digit(*a)) || (*b && !digit(*b))) {
			r = weight(*a) - weight(*b);
			if (r != 0)
				return r;
			a++; /* equal weights other than 0: neither is at its end */
			b++;
		}
		r = cmp_number(&a, &b);
		if (r != 0)
			return r;
	}
	return 0;
}
