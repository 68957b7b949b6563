/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /etc/vpatch/vpatch.conf: lines of `key = value`; '#' starts a comment line. Strict: an unknown key, a key
 * given twice or a value out of bounds is an error that names file and line.
 */
#ifndef VP_CLI_CONF_H
#define VP_CLI_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm-agent/base/diag.h"

#define CONF_FILE     VP_SYSCONFDIR "/vpatch/vpatch.conf"
#define CONF_FILE_MAX 65536
#define CONF_PATH_MAX 1024

#define CONF_DEADLINE_NS     UINT64_C(100000000) /* 100 ms */
#define CONF_DEADLINE_MIN_NS UINT64_C(10000)     /* 10 us */
#define CONF_DEADLINE_MAX_NS UINT64_C(10000000000)

struct conf {
	uint64_t deadline_ns; /* the longest window */
	char driver[16];      /* "auto", "gdb" */
	bool always;          /* require-signature = always: --allow-unsigned is refused */
	char certs_dir[CONF_PATH_MAX];
	char revoked_dir[CONF_PATH_MAX];
	char state_dir[CONF_PATH_MAX];
	char run_dir[CONF_PATH_MAX];
	bool revoked_given; /* named in the file: it must exist then */
};

void conf_init(struct conf *conf);

/* Reads text (len bytes, any bytes) over *conf; file is for the words. VP_E_CONFIG. */
int conf_parse(const char *file, const char *text, size_t len, struct diag *diag,
	       struct conf *conf) VP_MUST_USE;

/*
 * Defaults, and over them the file: path if not NULL, else $VPATCH_CONFIG, else CONF_FILE. Only the
 * last may be missing. VP_E_CONFIG, also for a file that anybody may write.
 */
int conf_read(const char *path, struct diag *diag, struct conf *ret) VP_MUST_USE;

/* "10ms", "500us", "1s" within the bounds above. */
bool conf_duration(const char *text, uint64_t *ns_ret);
bool conf_driver(const char *text);

#endif
