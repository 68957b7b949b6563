/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a command prints: results on stdout, words on stderr, or one JSON object on stdout. Text of
 * bundles, guests and the command line goes through here, so nothing of it reaches a terminal raw.
 */
#ifndef VP_CLI_OUT_H
#define VP_CLI_OUT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm-agent/base/diag.h"

enum out_style { OUT_PLAIN, OUT_BOLD, OUT_GOOD, OUT_WARN, OUT_BAD };

struct out {
	bool json;
	bool color_out, color_err;
	const char *command; /* names the schema: vpatch.COMMAND/1 */
	const char *subject; /* what the words are about: a domain, a file; NULL */
	bool changed;
	struct json_object *obj;   /* the result; commands add to it, human output or not */
	struct json_object *notes; /* belongs to obj */
};

#define OUT_PRINTF(a, b) __attribute__((format(printf, a, b)))

void out_init(struct out *out, bool json);

/* Human output only; nothing when --json was given. */
void out_line(struct out *out, enum out_style style, const char *fmt, ...) OUT_PRINTF(3, 4);
/* "  label      value" */
void out_row(struct out *out, const char *label, const char *fmt, ...) OUT_PRINTF(3, 4);
/* Text of ours, as it is: help, man page, symbols. */
void out_raw(struct out *out, const char *fmt, ...) OUT_PRINTF(2, 3);

/* What the user should know although it worked: stderr, and notes[]. */
void out_note(struct out *out, const char *fmt, ...) OUT_PRINTF(2, 3);

/* JSON strings are UTF-8 whatever the bytes were. */
struct json_object *out_json_str(const char *s);
void out_str(struct json_object *obj, const char *key, const char *value);
void out_int(struct json_object *obj, const char *key, uint64_t value);
void out_bool(struct json_object *obj, const char *key, bool value);
void out_addr(struct json_object *obj, const char *key, uint64_t value); /* "0xffff…" */
void out_hex(struct json_object *obj, const char *key, const uint8_t *p, size_t len);
void out_us(struct json_object *obj, const char *key, uint64_t ns); /* microseconds, 0.1 */

#define OUT_HEX_MAX 64 /* bytes */
/* p in hex; to holds 2 * OUT_HEX_MAX + 1. */
const char *out_hex_text(char *to, const uint8_t *p, size_t len);
#define OUT_TIME_LEN 32
const char *out_time_text(char *to, uint64_t ns);
#define OUT_SIZE_LEN 32
const char *out_size_text(char *to, uint64_t bytes);

/* With --json: one more line, an object of its own, of a command that has many results. */
void out_object(struct out *out, struct json_object *o);

/* Prints what is left to print: the object, or the words of a failure. Returns the exit code. */
int out_finish(struct out *out, int err, const struct diag *diag);

#endif
