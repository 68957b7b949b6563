/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two readers run over the same bytes. The framer below knows strings and brackets only: it
 * finds where a message ends and holds size, depth and memory within bounds before json-c has
 * allocated for them. json-c, fed the same bytes in the same pieces, decides whether they are
 * JSON. QMP messages are objects (qmp-spec "Protocol Specification"), so nothing but whitespace
 * and '{' is met between them.
 */
#include <string.h>

#include "qmp/parse.h"
#include "qmp/priv.h"

/* Bytes that json-c 0.16 takes on a 64-bit host, rounded up; measured, see test_qmp_parse.c. */
enum {
	WEIGHT_OBJECT = 800, /* struct, hash table, 16 entries */
	WEIGHT_ARRAY = 400,  /* struct, list, 32 slots */
	WEIGHT_VALUE = 256,  /* struct, entry or slot, key; tables double as they grow */
};

int qmp_parser_init(struct qmp_parser *p)
{
	memset(p, 0, sizeof(*p));
	p->tok = json_tokener_new_ex(QMP_DEPTH_MAX + 1); /* its leaves count as a level */
	if (!p->tok)
		return QMP_E_NOMEM;
	json_tokener_set_flags(p->tok, JSON_TOKENER_STRICT);
	return QMP_OK;
}

void qmp_parser_deinit(struct qmp_parser *p)
{
	json_tokener_free(p->tok);
	p->tok = NULL;
}

void qmp_parser_reset(struct qmp_parser *p)
{
	json_tokener_reset(p->tok);
	p->bytes = 0;
	p->depth = 0;
	p->in_string = false;
	p->escaped = false;
	p->number = 0;
	p->skip_line = false;
}

bool qmp_parser_midway(const struct qmp_parser *p)
{
	return p->bytes != 0 || p->skip_line;
}

void qmp_parser_skip_line(struct qmp_parser *p)
{
	qmp_parser_reset(p);
	p->skip_line = true;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int frame_string(struct qmp_parser *p, char c)
{
	/* RFC 8259, 7: control characters are escaped. A raw newline here means out of step. */
	if ((unsigned char)c < 0x20)
		return QMP_E_PROTO;
	if (p->escaped)
		p->escaped = false;
	else if (c == '\\')
		p->escaped = true;
	else if (c == '"')
		p->in_string = false;
	return QMP_OK;
}

/*
 * RFC 8259, 6. json-c 0.16 forgets what it has seen of a number when a piece ends inside it, and
 * then takes 12-34; so the grammar is held here.
 */
enum number { NO_NUMBER, MINUS, ZERO, INT, DOT, FRAC, EXP, EXP_SIGN, EXP_DIGIT };

static enum number number_begin(char c)
{
	if (c == '-')
		return MINUS;
	if (c == '0')
		return ZERO;
	return c > '0' && c <= '9' ? INT : NO_NUMBER;
}

/* Where c leads from a place inside a number; NO_NUMBER if it is no part of one there. */
static enum number number_next(enum number at, char c)
{
	bool digit = c >= '0' && c <= '9';

	switch (at) {
	case MINUS:
		return c != '-' ? number_begin(c) : NO_NUMBER;
	case ZERO:
	case INT:
		if (digit)
			return at == INT ? INT : NO_NUMBER;
		if (c == '.')
			return DOT;
		return c == 'e' || c == 'E' ? EXP : NO_NUMBER;
	case DOT:
		return digit ? FRAC : NO_NUMBER;
	case FRAC:
		if (digit)
			return FRAC;
		return c == 'e' || c == 'E' ? EXP : NO_NUMBER;
	case EXP:
		if (c == '+' || c == '-')
			return EXP_SIGN;
		return digit ? EXP_DIGIT : NO_NUMBER;
	case EXP_SIGN:
	case EXP_DIGIT:
		return digit ? EXP_DIGIT : NO_NUMBER;
	default:
		return number_begin(c);
	}
}

static int frame_number(struct qmp_parser *p, char c)
{
	enum number at = p->number;
	enum number next = number_next(at, c);

	p->number = (unsigned char)next;
	if (next != NO_NUMBER || at == NO_NUMBER)
		return QMP_OK;
	/* A number ended: it must be whole, and nothing of another one may touch it. */
	if (at != ZERO && at != INT && at != FRAC && at != EXP_DIGIT)
		return QMP_E_PROTO;
	return c == '-' || c == '+' || c == '.' || (c >= '0' && c <= '9') ? QMP_E_PROTO : QMP_OK;
}

static int frame_open(struct qmp_parser *p, size_t weight)
{
	if (p->depth == QMP_DEPTH_MAX)
		return QMP_E_PROTO;
	p->depth++;
	p->weight += weight;
	return QMP_OK;
}

/* One byte inside a message. Depth zero afterwards means that it was the last one. */
static int frame_byte(struct qmp_parser *p, char c)
{
	if (++p->bytes > QMP_MSG_MAX)
		return QMP_E_TOOBIG;
	p->weight++; /* bytes and steps are both bounded, so this cannot wrap */
	if (p->weight > QMP_WEIGHT_MAX)
		return QMP_E_TOOBIG;
	if (p->in_string)
		return frame_string(p, c);
	if (frame_number(p, c) < 0)
		return QMP_E_PROTO;
	switch (c) {
	case '"':
		p->in_string = true;
		return QMP_OK;
	case '{':
		return frame_open(p, WEIGHT_OBJECT);
	case '[':
		return frame_open(p, WEIGHT_ARRAY);
	case '}':
	case ']':
		p->depth--; /* at least 1 while inside a message */
		return QMP_OK;
	case ',':
		p->weight += WEIGHT_VALUE;
		return QMP_OK;
	case 'N':
	case 'I':
	case '\'':
		return QMP_E_PROTO; /* json-c reads NaN, Infinity and 'keys', JSON has none */
	default:
		return (unsigned char)c < 0x20 && !is_space(c) ? QMP_E_PROTO : QMP_OK;
	}
}

/* Discards what may stand between messages; returns how much. */
static size_t skip(struct qmp_parser *p, const char *buf, size_t len)
{
	const char *nl;
	size_t i = 0;

	if (p->skip_line) {
		nl = memchr(buf, '\n', len);
		if (!nl)
			return len;
		i = (size_t)(nl - buf) + 1;
		p->skip_line = false;
	}
	while (!p->bytes && i < len && is_space(buf[i]))
		i++;
	return i;
}

/* Gives json-c the bytes that the framer has passed. *used_ret is where it stopped. */
static int tokenize(struct qmp_parser *p, const char *buf, size_t len, size_t *used_ret,
		    struct json_object **ret)
{
	*used_ret = 0;
	*ret = NULL;
	if (!len)
		return QMP_OK;
	*ret = json_tokener_parse_ex(p->tok, buf, (int)len); /* len is below QMP_MSG_MAX */
	*used_ret = json_tokener_get_parse_end(p->tok);
	switch (json_tokener_get_error(p->tok)) {
	case json_tokener_success:
	case json_tokener_continue:
		return QMP_OK;
	default:
		return QMP_E_PROTO;
	}
}

int qmp_parser_feed(struct qmp_parser *p, const char *buf, size_t len, size_t *used_ret,
		    struct json_object **msg_ret)
{
	struct json_object *msg;
	size_t start, end, used;
	int framed = QMP_OK;
	int r;

	start = skip(p, buf, len);
	*used_ret = start;
	*msg_ret = NULL;
	if (start == len)
		return QMP_OK;
	if (!p->bytes) {
		p->weight = 0;
		if (buf[start] != '{') {
			*used_ret = start + 1;
			return QMP_E_PROTO;
		}
	}
	for (end = start; end < len;) {
		framed = frame_byte(p, buf[end]);
		if (framed < 0)
			break;
		end++;
		if (!p->depth)
			break;
	}
	/* What json-c dislikes lies before what the framer disliked, so it is said first. */
	r = tokenize(p, buf + start, end - start, &used, &msg);
	if (r == QMP_OK && framed < 0) {
		r = framed;
		used = end - start + (p->in_string && buf[end] == '\n' ? 0 : 1);
	}
	if (r == QMP_OK && !p->depth != !!msg)
		r = QMP_E_PROTO; /* the two readers disagree: believe neither */
	*used_ret = start + used;
	if (r < 0 || !p->depth)
		qmp_parser_reset(p);
	if (r < 0) {
		json_object_put(msg);
		return r;
	}
	*msg_ret = msg;
	return QMP_OK;
}

/* --- meaning ---------------------------------------------------------------------------------- */

static struct json_object *member(struct json_object *obj, const char *key, enum json_type type)
{
	struct json_object *value;

	if (!json_object_is_type(obj, json_type_object) ||
	    !json_object_object_get_ex(obj, key, &value) || !json_object_is_type(value, type))
		return NULL;
	return value;
}

const char *qmp_get_str(struct json_object *obj, const char *key)
{
	struct json_object *value = member(obj, key, json_type_string);

	return value ? json_object_get_string(value) : NULL;
}

int qmp_get_u64(struct json_object *obj, const char *key, uint64_t *ret)
{
	struct json_object *value = member(obj, key, json_type_int);

	/* json-c keeps an integer as int64 where it fits, so negative ones show as such. */
	if (!value || json_object_get_int64(value) < 0)
		return QMP_E_PROTO;
	*ret = json_object_get_uint64(value);
	return QMP_OK;
}

enum qmp_kind qmp_msg_kind(struct json_object *msg)
{
	if (member(msg, "event", json_type_string))
		return QMP_MSG_EVENT;
	if (member(msg, "error", json_type_object))
		return QMP_MSG_ERROR;
	if (json_object_object_get_ex(msg, "return", NULL))
		return QMP_MSG_RETURN;
	if (member(msg, "QMP", json_type_object))
		return QMP_MSG_GREETING;
	return QMP_MSG_OTHER;
}

const char *qmp_msg_id(struct json_object *msg)
{
	return qmp_get_str(msg, "id");
}

bool qmp_msg_has_id(struct json_object *msg)
{
	return json_object_object_get_ex(msg, "id", NULL);
}

void qmp_msg_error(struct json_object *msg, struct qmp_error *ret)
{
	struct json_object *error = member(msg, "error", json_type_object);
	const char *class = qmp_get_str(error, "class");
	const char *desc = qmp_get_str(error, "desc");

	memset(ret, 0, sizeof(*ret));
	ret->code = QMP_E_COMMAND;
#ifdef VP_PLANT_QMP /* the bug that the fuzzer must find: a class of foreign length, unbounded */
	strcpy(ret->class, class ? class : "GenericError");
#else
	qmp_words(ret->class, sizeof(ret->class), class ? class : "GenericError");
#endif
	qmp_words(ret->desc, sizeof(ret->desc), desc ? desc : "no description");
}

/* A part of a version number; QEMU's are small, and the sum in qmp_version has room for three
 * digits. */
static unsigned version_part(struct json_object *qemu, const char *key)
{
	uint64_t v;

	if (qmp_get_u64(qemu, key, &v) < 0)
		return 0;
	return v > 999 ? 999 : (unsigned)v;
}

int qmp_msg_greeting(struct json_object *msg, struct qmp_greeting *ret)
{
	struct json_object *qmp = member(msg, "QMP", json_type_object);
	struct json_object *version = member(qmp, "version", json_type_object);
	struct json_object *qemu = member(version, "qemu", json_type_object);
	struct json_object *caps = member(qmp, "capabilities", json_type_array);
	size_t i;

	if (!qmp || !caps)
		return QMP_E_PROTO;
	ret->version = version_part(qemu, "major") * 1000000 + version_part(qemu, "minor") * 1000 +
		       version_part(qemu, "micro");
	ret->oob = false;
	for (i = 0; i < json_object_array_length(caps); i++) {
		struct json_object *cap = json_object_array_get_idx(caps, i);

		if (json_object_is_type(cap, json_type_string) &&
		    strcmp(json_object_get_string(cap), "oob") == 0)
			ret->oob = true;
	}
	return QMP_OK;
}
