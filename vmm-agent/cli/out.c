/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/cli/out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void out_init(struct out *out, bool json)
{
	const char *no_color = getenv("NO_COLOR"); /* no-color.org: set and not empty */
	const char *term = getenv("TERM");
	bool color = !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;

	*out = (struct out){
		.json = json,
		.color_out = color && isatty(STDOUT_FILENO),
		.color_err = color && isatty(STDERR_FILENO),
		.command = "error",
		.obj = json_object_new_object(),
	};
}

static const char *escape(enum out_style style)
{
	static const char *const codes[] = {
		[OUT_PLAIN] = "",        [OUT_BOLD] = "\033[1m", [OUT_GOOD] = "\033[32m",
		[OUT_WARN] = "\033[33m", [OUT_BAD] = "\033[31m",
	};

	return codes[style];
}

/* Formats to the heap and makes it fit for a terminal; NULL without memory. */
static char *format(const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) < 0)
		return NULL;
	diag_printable(text);
	return text;
}

void out_line(struct out *out, enum out_style style, const char *fmt, ...)
{
	bool color = out->color_out && style != OUT_PLAIN;
	va_list ap;
	char *text;

	if (out->json)
		return;
	va_start(ap, fmt);
	text = format(fmt, ap);
	va_end(ap);
	printf("%s%s%s\n", color ? escape(style) : "", text ? text : "", color ? "\033[0m" : "");
	free(text);
}

void out_row(struct out *out, const char *label, const char *fmt, ...)
{
	va_list ap;
	char *text;

	if (out->json)
		return;
	va_start(ap, fmt);
	text = format(fmt, ap);
	va_end(ap);
	printf("  %-13s %s\n", label, text ? text : "");
	free(text);
}

void out_raw(struct out *out, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	if (out->json)
		return;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	fputs(text, stdout);
	free(text);
}

/* Some words begin with what they are about. */
static bool names_subject(const char *words, const char *subject)
{
	size_t n = strlen(subject);

	return strncmp(words, subject, n) == 0 && words[n] == ':';
}

/* "vpatch: SUBJECT: words", as one write so that lines of several commands do not mix. */
static void say(const struct out *out, enum out_style style, const char *words)
{
	const char *subject = out->subject ? out->subject : "";
	bool named = !*subject || names_subject(words, subject);
	char *line;

	if (asprintf(&line, "vpatch: %s%s%s", named ? "" : subject, named ? "" : ": ", words) < 0)
		return;
	diag_printable(line);
	fprintf(stderr, "%s%s%s\n", out->color_err ? escape(style) : "", line,
		out->color_err && style != OUT_PLAIN ? "\033[0m" : "");
	free(line);
}

void out_note(struct out *out, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = format(fmt, ap);
	va_end(ap);
	if (!text)
		return;
	if (!out->notes) {
		out->notes = json_object_new_array();
		json_object_object_add(out->obj, "notes", out->notes);
	}
	json_object_array_add(out->notes, out_json_str(text));
	if (!out->json)
		say(out, OUT_WARN, text);
	free(text);
}

/* --- JSON -------------------------------------------------------------------------------------- */

struct json_object *out_json_str(const char *s)
{
	char *text = strdup(s);
	struct json_object *o;

	if (!text)
		return NULL;
	diag_printable(text);
	o = json_object_new_string(text);
	free(text);
	return o;
}

void out_str(struct json_object *obj, const char *key, const char *value)
{
	json_object_object_add(obj, key, out_json_str(value));
}

void out_int(struct json_object *obj, const char *key, uint64_t value)
{
	json_object_object_add(obj, key, json_object_new_uint64(value));
}

void out_bool(struct json_object *obj, const char *key, bool value)
{
	json_object_object_add(obj, key, json_object_new_boolean(value));
}

void out_addr(struct json_object *obj, const char *key, uint64_t value)
{
	char text[32];

	/* A string: many readers of JSON keep only 53 bits of a number. */
	snprintf(text, sizeof(text), "0x%016" PRIx64, value);
	json_object_object_add(obj, key, json_object_new_string(text));
}

void out_hex(struct json_object *obj, const char *key, const uint8_t *p, size_t len)
{
	char text[2 * OUT_HEX_MAX + 1];

	json_object_object_add(obj, key, json_object_new_string(out_hex_text(text, p, len)));
}

void out_us(struct json_object *obj, const char *key, uint64_t ns)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64 ".%" PRIu64, ns / 1000, ns % 1000 / 100);
	json_object_object_add(obj, key, json_object_new_double_s((double)ns / 1000, text));
}

const char *out_hex_text(char *to, const uint8_t *p, size_t len)
{
	if (len > OUT_HEX_MAX)
		len = OUT_HEX_MAX;
	to[0] = '\0';
	for (size_t i = 0; i < len; i++)
		snprintf(to + 2 * i, 3, "%02x", p[i]);
	return to;
}

const char *out_time_text(char *to, uint64_t ns)
{
	if (ns < UINT64_C(10000000))
		snprintf(to, OUT_TIME_LEN, "%" PRIu64 " us", (ns + 500) / 1000);
	else
		snprintf(to, OUT_TIME_LEN, "%" PRIu64 " ms", (ns + 500000) / 1000000);
	return to;
}

const char *out_size_text(char *to, uint64_t bytes)
{
	if (bytes < 10240)
		snprintf(to, OUT_SIZE_LEN, "%" PRIu64 " bytes", bytes);
	else
		snprintf(to, OUT_SIZE_LEN, "%" PRIu64 " KiB", bytes / 1024);
	return to;
}

/* --- the end ----------------------------------------------------------------------------------- */

/* In front of what the command has put there: readers see first what matters first. */
static struct json_object *complete(struct out *out, int err, const char *words)
{
	struct json_object *o = json_object_new_object();
	struct json_object_iterator at, end;
	char schema[64];

	snprintf(schema, sizeof(schema), "vpatch.%s/1", out->command);
	out_str(o, "schema", schema);
	out_bool(o, "changed", out->changed);
	out_str(o, "reason", vp_err_reason(err));
	out_int(o, "exit", (uint64_t)vp_err_exit(err));
	out_str(o, "message", words);
	at = json_object_iter_begin(out->obj);
	end = json_object_iter_end(out->obj);
	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
		json_object_object_add(o, json_object_iter_peek_name(&at),
				       json_object_get(json_object_iter_peek_value(&at)));
	json_object_put(out->obj);
	out->obj = NULL;
	return o;
}

void out_object(struct out *out, struct json_object *o)
{
	if (out->json)
		printf("%s\n", json_object_to_json_string_ext(
				       o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

int out_finish(struct out *out, int err, const struct diag *diag)
{
	const char *words = err == VP_OK ? "" : diag->text[0] ? diag->text : vp_err_sentence(err);
	struct json_object *o = complete(out, err, words);
	int code = vp_err_exit(err);

	out_object(out, o);
	if (err != VP_OK)
		say(out, OUT_BAD, words);
	json_object_put(o);
	/* Whoever was to read it has gone: that changes nothing about the guest, so the exit code
	 * stays the operation's. */
	errno = 0;
	if (fflush(stdout) != 0 || ferror(stdout)) {
		out->subject = NULL;
		if (errno != EPIPE)
			say(out, OUT_BAD, "standard output: the result could not be written");
	}
	return code;
}
