/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm-agent/hotfix/trailer.h"

#include <string.h>

static bool has_magic(const uint8_t *buf, size_t len)
{
	return len >= MODULE_SIG_STRING_LEN &&
	       memcmp(buf + len - MODULE_SIG_STRING_LEN, MODULE_SIG_STRING,
		      MODULE_SIG_STRING_LEN) == 0;
}

int sign_split(const uint8_t *buf, size_t len, struct diag *diag, struct sign_parts *ret)
{
	static const uint8_t zero[3];
	const uint8_t *ms;
	size_t left, der_len;

	if (!has_magic(buf, len)) {
		*ret = (struct sign_parts){.content_len = len};
		return VP_OK;
	}
	left = len - MODULE_SIG_STRING_LEN;
	if (left < MODULE_SIG_LEN)
		return diag_set(diag, VP_E_BUNDLE, "the signature's trailer is cut short");
	left -= MODULE_SIG_LEN;
	ms = buf + left;
	/* mod_check_sig(): everything but id_type and sig_len is zero in a PKCS#7 trailer. */
	if (ms[0] || ms[1] || ms[2] != PKEY_ID_PKCS7 || ms[3] || ms[4] ||
	    memcmp(ms + 5, zero, 3) != 0)
		return diag_set(diag, VP_E_BUNDLE,
				"the signature is of a kind that is not known (only PKCS#7 is)");
	der_len = (size_t)ms[8] << 24 | (size_t)ms[9] << 16 | (size_t)ms[10] << 8 | ms[11];
	if (der_len == 0 || der_len > SIGN_DER_MAX || der_len >= left)
		return diag_set(diag, VP_E_BUNDLE,
				"the signature's length (%zu) is not one that can be", der_len);
	left -= der_len;
	if (has_magic(buf, left))
		return diag_set(diag, VP_E_BUNDLE,
				"there is a signature behind a signature: sign the file once "
				"(vpatch sign replaces what is there)");
	*ret = (struct sign_parts){.content_len = left, .der = buf + left, .der_len = der_len};
	return VP_OK;
}

size_t hf_unsigned_len(const uint8_t *buf, size_t len)
{
	struct sign_parts parts = {.content_len = len};

	return sign_split(buf, len, NULL, &parts) == VP_OK ? parts.content_len : len;
}
