/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Words carried beside an error code. A function that fails sets the words where it knows most
 * and returns the code; callers hand both through and may put a place in front.
 */
#ifndef VP_BASE_DIAG_H
#define VP_BASE_DIAG_H

#include "protocol/err.h"

struct diag {
	int err; /* the code the words belong to */
	char text
		[1024]; /* "what, where: what to do", one line, printable; empty when err is VP_OK */
};

void diag_init(struct diag *diag);

/*
 * Sets code and words, replacing earlier ones, and returns err. diag may be NULL. Bytes that a
 * terminal might act on (anything but printable ASCII and well-formed UTF-8) become '?': the
 * words may quote a guest.
 */
int diag_set(struct diag *diag, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Sets the words of a failed system call: "<words>: <strerror(errnum)>". Returns the code that
 * errnum stands for: VP_E_NOMEM, VP_E_PERM, VP_E_DISK_FULL or VP_E_IO. */
int diag_errno(struct diag *diag, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "<words>: " in front of what is there and returns the code already there. */
int diag_prefix(struct diag *diag, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Makes every byte of text that a terminal might act on a '?', as above; the length stays. */
void diag_printable(char *text);

#ifdef __clang_analyzer__
/* What the analyser cannot see through a call: the code comes back, and a failure is negative. */
#define diag_set(diag, err, ...)      ((void)(diag_set)(diag, err, __VA_ARGS__), (err))
#define diag_errno(diag, errnum, ...) ((void)(diag_errno)(diag, errnum, __VA_ARGS__), VP_E_IO)
#define diag_prefix(diag, ...)        ((void)(diag_prefix)(diag, __VA_ARGS__), VP_E_IO)
#endif

#endif
