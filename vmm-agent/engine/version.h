/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VP_ENGINE_VERSION_H
#define VP_ENGINE_VERSION_H

/*
 * Orders two version strings as Debian orders upstream versions (deb-version(7)): runs of digits
 * compare as numbers of any length, everything else byte by byte with letters before the rest and
 * '~' before even the end. "1.9" < "1.10", "1.0~rc1" < "1.0" < "1.0a" < "1.0.1". Less than,
 * equal to or greater than 0.
 */
int eng_version_cmp(const char *a, const char *b);

#endif
