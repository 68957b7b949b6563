/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside hotfix/: where in a signed file the signature lies. Reads none of it: needs no libcrypto. */
#ifndef VP_HOTFIX_TRAILER_H
#define VP_HOTFIX_TRAILER_H

#include "vmm-agent/hotfix/hotfix.h"

#define SIGN_DER_MAX 65536u /* bytes of a PKCS#7 message; one by sign-file has 300 to 900 */

/* include/linux/module_signature.h */
#define MODULE_SIG_STRING     "~Module signature appended~\n"
#define MODULE_SIG_STRING_LEN (sizeof(MODULE_SIG_STRING) - 1)
#define MODULE_SIG_LEN        12 /* algo, hash, id_type, signer_len, key_id_len, pad[3], be32 sig_len */
#define PKEY_ID_PKCS7         2

/*
 *     +-----------+-------------+-------------------------+------------------------------+
 *     |  content  |  PKCS#7 DER |  struct module_signature |  ~Module signature appended~ |
 *     +-----------+-------------+-------------------------+------------------------------+
 */
struct sign_parts {
	size_t content_len;
	const uint8_t *der; /* NULL: there is no signature */
	size_t der_len;
};

/* VP_E_BUNDLE when there is something that ought to be a signature and is not. */
int sign_split(const uint8_t *buf, size_t len, struct diag *diag,
	       struct sign_parts *ret) VP_MUST_USE;

#endif
