/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
#include "protocol/err.h"
#include "protocol/int.h"

struct row {
	int exit;
	const char *reason;
	const char *sentence;
};

static const struct row rows[VP_ROW_COUNT] = {
#define VP_ROW(name, exit, reason, sentence) {exit, reason, sentence},
	VP_ERRORS(VP_ROW)
#undef VP_ROW
};

static const struct row *find(int err)
{
	int64_t i = -1 - (int64_t)err;

	return i >= 0 && i < VP_ROW_COUNT ? &rows[i] : &rows[VP_ROW_INTERNAL];
}

const char *vp_err_reason(int err)
{
	return err == VP_OK ? "ok" : find(err)->reason;
}

const char *vp_err_sentence(int err)
{
	return err == VP_OK ? "done" : find(err)->sentence;
}

int vp_err_exit(int err)
{
	return err == VP_OK ? 0 : find(err)->exit;
}
