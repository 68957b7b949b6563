/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Throwaway keys and certificates for tests. */
#ifndef VP_TESTS_LIB_CERTS_H
#define VP_TESTS_LIB_CERTS_H

#include <stdbool.h>

struct certs_opts {
	long serial;           /* 0: 1 */
	bool rsa;              /* 2048 bits; otherwise P-256 */
	bool expired;          /* valid for one day, ten years ago */
	const char *key_usage; /* "digitalSignature"; NULL: no such extension */
	const char *ext_usage; /* "codeSigning" */
	const char *key_of;    /* take the key of this earlier name */
};

/* Writes dir/NAME.key (PEM), dir/NAME.pem and dir/NAME.der: self-signed, CN=name. NULL opts for
 * the ordinary case. False when OpenSSL or the disk would not. */
bool certs_make(const char *dir, const char *name, const struct certs_opts *opts);

#endif
