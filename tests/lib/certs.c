/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/certs.h"

#include <limits.h>
#include <stdio.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define DAY (24L * 60 * 60)

static FILE *open_in(const char *dir, const char *name, const char *suffix, const char *mode)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s.%s", dir, name, suffix);
	return fopen(path, mode);
}

static EVP_PKEY *get_key(const char *dir, const struct certs_opts *o)
{
	EVP_PKEY *key = NULL;
	FILE *f;

	if (!o->key_of)
		return o->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	f = open_in(dir, o->key_of, "key", "r");
	if (f) {
		key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
		fclose(f);
	}
	return key;
}

static bool add_ext(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;
	bool ok;

	if (!value)
		return true;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *name, const struct certs_opts *o)
{
	X509_NAME *cn = X509_get_subject_name(cert);
	long from = o->expired ? -3650 * DAY : -DAY;

	return X509_set_version(cert, 2) &&
	       ASN1_INTEGER_set(X509_get_serialNumber(cert), o->serial ? o->serial : 1) &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), from) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), o->expired ? from + DAY : 3650 * DAY) &&
	       X509_NAME_add_entry_by_txt(cn, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
					  -1, 0) &&
	       X509_set_issuer_name(cert, cn) && X509_set_pubkey(cert, key) &&
	       add_ext(cert, NID_subject_key_identifier, "hash") &&
	       add_ext(cert, NID_key_usage, o->key_usage) &&
	       add_ext(cert, NID_ext_key_usage, o->ext_usage) &&
	       X509_sign(cert, key, EVP_sha256()) > 0;
}

static bool save(const char *dir, const char *name, EVP_PKEY *key, X509 *cert)
{
	FILE *k = open_in(dir, name, "key", "w"), *p = open_in(dir, name, "pem", "w");
	FILE *d = open_in(dir, name, "der", "w");
	bool ok = k && p && d && PEM_write_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL) &&
		  PEM_write_X509(p, cert) && i2d_X509_fp(d, cert);

	if (k)
		ok = fclose(k) == 0 && ok;
	if (p)
		ok = fclose(p) == 0 && ok;
	if (d)
		ok = fclose(d) == 0 && ok;
	return ok;
}

bool certs_make(const char *dir, const char *name, const struct certs_opts *opts)
{
	static const struct certs_opts none;
	const struct certs_opts *o = opts ? opts : &none;
	EVP_PKEY *key = get_key(dir, o);
	X509 *cert = X509_new();
	bool ok = key && cert && fill(cert, key, name, o) && save(dir, name, key, cert);

	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}
