/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The PKCS#7 message behind a bundle: RFC 5652, as far as the kernel's modules use it. */
#include "vmm-agent/hotfix/sign.h"

#include <stdlib.h>
#include <string.h>

/*
 * Reads the message and requires what the kernel requires of a module's (pkcs7_verify(),
 * VERIFYING_MODULE_SIGNATURE): plain data, detached, no signed attributes. Exactly one signer, so
 * that there is never a question whose word counts.
 */
int message_read(const struct sign_parts *parts, struct diag *diag, CMS_ContentInfo **cms_ret,
		 CMS_SignerInfo **si_ret)
{
	const uint8_t *p = parts->der;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)parts->der_len);
	STACK_OF(CMS_SignerInfo) * signers;
	const char *bad = NULL;

	if (!cms || p != parts->der + parts->der_len) {
		CMS_ContentInfo_free(cms);
		return diag_set(diag, VP_E_BUNDLE,
				"the signature is damaged: it is no PKCS#7 "
				"message");
	}
	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		bad = "is no signed-data message";
	else if (CMS_is_detached(cms) != 1)
		bad = "carries content of its own";
	else if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
		bad = "is not over plain data";
	else if (!(signers = CMS_get0_SignerInfos(cms)) || sk_CMS_SignerInfo_num(signers) != 1)
		bad = "does not have exactly one signer";
	else if (CMS_signed_get_attr_count(sk_CMS_SignerInfo_value(signers, 0)) >= 0)
		bad = "has signed attributes, which modules do not have (openssl cms -noattr)";
	if (bad) {
		CMS_ContentInfo_free(cms);
		return diag_set(diag, VP_E_BUNDLE, "the signature %s", bad);
	}
	*cms_ret = cms;
	*si_ret = sk_CMS_SignerInfo_value(signers, 0);
	return VP_OK;
}

/* --- the one form ------------------------------------------------------------------------------ */

/* DER, written from its end to its front, so that every length is known when it is written. */
struct back {
	uint8_t *buf, *p; /* p goes down to buf */
	bool ok;
};

static void put(struct back *b, const void *bytes, size_t len)
{
	if (!b->ok || len > (size_t)(b->p - b->buf)) {
		b->ok = false;
		return;
	}
	b->p -= len;
	memcpy(b->p, bytes, len);
}

/* Puts the head of an element that reaches from here to end. */
static void head(struct back *b, uint8_t tag, const uint8_t *end)
{
	size_t len = (size_t)(end - b->p);
	uint8_t h[4] = {tag, (uint8_t)len};
	size_t n = 2;

	if (len > 0xff) { /* SIGN_DER_MAX keeps it below 1 << 16 */
		h[1] = 0x82;
		h[2] = (uint8_t)(len >> 8);
		h[3] = (uint8_t)len;
		n = 4;
	} else if (len > 0x7f) {
		h[1] = 0x81;
		h[2] = (uint8_t)len;
		n = 3;
	}
	put(b, h, n);
}

/* An object that OpenSSL encoded; frees it. */
static void put_encoded(struct back *b, uint8_t *der, int len)
{
	if (len > 0)
		put(b, der, (size_t)len);
	else
		b->ok = false;
	OPENSSL_free(der);
}

static void put_name_der(struct back *b, const X509_NAME *name)
{
	uint8_t *der = NULL;
	int len = i2d_X509_NAME(name, &der);

	put_encoded(b, der, len);
}

static void put_integer(struct back *b, const ASN1_INTEGER *i)
{
	uint8_t *der = NULL;
	int len = i2d_ASN1_INTEGER(i, &der);

	put_encoded(b, der, len);
}

/* The algorithms of modules have NULL for parameters, or none. */
static void put_algorithm(struct back *b, const X509_ALGOR *alg)
{
	uint8_t *der = NULL;
	int type, len;

	X509_ALGOR_get0(NULL, &type, NULL, alg);
	len = i2d_X509_ALGOR(alg, &der);
	put_encoded(b, der, type == V_ASN1_UNDEF || type == V_ASN1_NULL ? len : -1);
}

/* SignerInfo; RFC 5652 5.3: version 3 with a key identifier, 1 otherwise. */
static void put_signer(struct back *b, CMS_SignerInfo *si, X509 *cert, const uint8_t version[3])
{
	const uint8_t *end = b->p, *sid_end;
	ASN1_OCTET_STRING *keyid = NULL, *sig = CMS_SignerInfo_get0_signature(si);
	X509_ALGOR *digest, *alg;

	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, &alg);
	CMS_SignerInfo_get0_signer_id(si, &keyid, NULL, NULL);
	put(b, ASN1_STRING_get0_data(sig), (size_t)ASN1_STRING_length(sig));
	head(b, 0x04, end);
	put_algorithm(b, alg);
	put_algorithm(b, digest);
	sid_end = b->p;
	if (keyid) {
		put(b, ASN1_STRING_get0_data(keyid), (size_t)ASN1_STRING_length(keyid));
		head(b, 0x80, sid_end);
	} else {
		put_integer(b, X509_get0_serialNumber(cert));
		put_name_der(b, X509_get_issuer_name(cert));
		head(b, 0x30, sid_end);
	}
	put(b, version, 3);
	head(b, 0x30, end);
}

static void put_message(struct back *b, CMS_SignerInfo *si, X509 *cert)
{
	/* OIDs 1.2.840.113549.1.7.2 signedData and, in its own SEQUENCE, 1.7.1 data; RFC 5652 4, 5.1 */
	static const uint8_t signed_data[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
					      0xf7, 0x0d, 0x01, 0x07, 0x02};
	static const uint8_t data[] = {0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48,
				       0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01};
	uint8_t version[3] = {0x02, 0x01, 0x01}; /* INTEGER 1 */
	const uint8_t *end = b->p, *set_end;
	ASN1_OCTET_STRING *keyid = NULL;
	X509_ALGOR *digest;

	CMS_SignerInfo_get0_signer_id(si, &keyid, NULL, NULL);
	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, NULL);
	if (keyid)
		version[2] = 3;
	put_signer(b, si, cert, version);
	head(b, 0x31, end);
	put(b, data, sizeof(data));
	set_end = b->p;
	put_algorithm(b, digest);
	head(b, 0x31, set_end);
	put(b, version, 3);
	head(b, 0x30, end);
	head(b, 0xa0, end);
	put(b, signed_data, sizeof(signed_data));
	head(b, 0x30, end);
}

static bool brings_certs(CMS_ContentInfo *cms)
{
	STACK_OF(X509) *certs = CMS_get1_certs(cms);
	STACK_OF(X509_CRL) *crls = CMS_get1_crls(cms);
	bool any = sk_X509_num(certs) > 0 || sk_X509_CRL_num(crls) > 0;

	sk_X509_pop_free(certs, X509_free);
	sk_X509_CRL_pop_free(crls, X509_CRL_free);
	return any;
}

bool message_canonical(CMS_ContentInfo *cms, CMS_SignerInfo *si, X509 *cert,
		       const struct sign_parts *parts)
{
	struct back b = {.ok = true};
	bool same;

	if (brings_certs(cms))
		return true;
	b.buf = malloc(parts->der_len);
	if (!b.buf)
		return false;
	b.p = b.buf + parts->der_len;
	put_message(&b, si, cert);
	same = b.ok && b.p == b.buf && memcmp(b.buf, parts->der, parts->der_len) == 0;
	free(b.buf);
	return same;
}
