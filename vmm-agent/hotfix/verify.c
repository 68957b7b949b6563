/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is a file signed by somebody trusted? Nothing of the bundle is parsed here: its bytes are
 * hashed, and only the PKCS#7 message behind them is looked into, bounded by its trailer.
 */
#include "vmm-agent/hotfix/sign.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

static void get_text(BIO *bio, char *to, size_t cap)
{
	char *text;
	long len = BIO_get_mem_data(bio, &text);
	size_t n = len < 0 ? 0 : (size_t)len;

	if (n >= cap)
		n = cap - 1;
	if (n)
		memcpy(to, text, n);
	to[n] = '\0';
}

/* RFC 2253 order, everything that is not printable ASCII escaped. */
static void put_name(BIO *bio, const X509_NAME *name)
{
	if (name)
		X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 | XN_FLAG_SEP_CPLUS_SPC);
}

static void put_hex(BIO *bio, const uint8_t *p, int len)
{
	for (int i = 0; i < len; i++)
		BIO_printf(bio, "%02x", p[i]);
}

/* Who the message says signed it: nothing is known of him yet. */
static void describe_claim(CMS_SignerInfo *si, struct hf_signer *signer)
{
	ASN1_OCTET_STRING *keyid = NULL;
	ASN1_INTEGER *serial = NULL;
	X509_NAME *issuer = NULL;
	BIO *bio = BIO_new(BIO_s_mem());

	if (!bio || !CMS_SignerInfo_get0_signer_id(si, &keyid, &issuer, &serial)) {
		BIO_free(bio);
		return;
	}
	if (keyid) {
		BIO_puts(bio, "key ");
		put_hex(bio, ASN1_STRING_get0_data(keyid), ASN1_STRING_length(keyid));
	} else {
		BIO_puts(bio, "issuer ");
		put_name(bio, issuer);
		BIO_puts(bio, ", serial ");
		put_hex(bio, ASN1_STRING_get0_data(serial), ASN1_STRING_length(serial));
	}
	get_text(bio, signer->subject, sizeof(signer->subject));
	BIO_free(bio);
}

static void describe_cert(X509 *cert, struct hf_signer *signer)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (!bio)
		return;
	put_name(bio, X509_get_subject_name(cert));
	get_text(bio, signer->subject, sizeof(signer->subject));
	BIO_free(bio);
}

static int digest_of(CMS_SignerInfo *si, struct hf_signer *signer)
{
	X509_ALGOR *digest = NULL;
	const ASN1_OBJECT *obj = NULL;
	const char *name;
	int nid;

	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, NULL);
	X509_ALGOR_get0(&obj, NULL, NULL, digest);
	nid = OBJ_obj2nid(obj);
	name = nid == NID_undef ? "unknown" : OBJ_nid2ln(nid);
	snprintf(signer->digest, sizeof(signer->digest), "%s", name ? name : "unknown");
	return nid;
}

/* --- revocation -------------------------------------------------------------------------------- */

static bool hash_revoked(const uint8_t *buf, size_t len, const struct trust_revoked *revoked)
{
	uint8_t hash[32];

	if (EVP_Digest(buf, len, hash, NULL, EVP_sha256(), NULL) != 1)
		return true; /* fails closed */
	for (size_t i = 0; i < revoked->n_hashes; i++)
		if (memcmp(revoked->hashes[i], hash, sizeof(hash)) == 0)
			return true;
	return false;
}

/* The bundle's id; and the hash of the signed file too, since that is what sha256sum prints. */
static int check_hashes(const uint8_t *buf, size_t len, const struct sign_parts *parts,
			const struct trust_revoked *revoked, struct diag *diag)
{
	if (revoked->n_hashes == 0)
		return VP_OK;
	if (!hash_revoked(buf, parts->content_len, revoked) && !hash_revoked(buf, len, revoked))
		return VP_OK;
	return diag_set(diag, VP_E_REVOKED, "this bundle has been revoked: use a newer one");
}

/* By serial or by key: a key that leaked is no better under another certificate. */
static bool cert_revoked(X509 *cert, const struct trust_revoked *revoked)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);

	for (int i = 0; i < sk_X509_num(revoked->certs); i++) {
		X509 *r = sk_X509_value(revoked->certs, i);
		EVP_PKEY *rkey = X509_get0_pubkey(r);

		if (X509_issuer_and_serial_cmp(cert, r) == 0)
			return true;
		if (key && rkey && EVP_PKEY_eq(key, rkey) == 1)
			return true;
	}
	return false;
}

static int refuse_revoked(const struct hf_signer *signer, struct diag *diag)
{
	return diag_set(diag, VP_E_REVOKED,
			"the key of %s, which signed this, has been revoked: "
			"have the bundle signed with a valid one",
			signer->subject);
}

/* --- verification ------------------------------------------------------------------------------ */

/* May this certificate sign code: keyUsage and extendedKeyUsage count where they are given
 * (RFC 5280 4.2.1.3, 4.2.1.12). */
static bool may_sign(X509 *cert)
{
	uint32_t ku = X509_get_key_usage(cert), xku = X509_get_extended_key_usage(cert);
	EVP_PKEY *key = X509_get0_pubkey(cert);

	if (!key || (X509_get_extension_flags(cert) & EXFLAG_INVALID))
		return false;
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA && EVP_PKEY_get_base_id(key) != EVP_PKEY_EC)
		return false;
	return (ku == UINT32_MAX || (ku & KU_DIGITAL_SIGNATURE)) &&
	       (xku == UINT32_MAX || (xku & (XKU_CODE_SIGN | XKU_ANYEKU)));
}

/* What pkcs7_sig_note_pkey_algo() of 6.1 knows and we hold strong; a hash that it names is the
 * digest's own. */
static bool algorithm_known(CMS_SignerInfo *si, int digest)
{
	X509_ALGOR *alg = NULL;
	const ASN1_OBJECT *obj = NULL;
	int nid, md, key;

	CMS_SignerInfo_get0_algs(si, NULL, NULL, NULL, &alg);
	X509_ALGOR_get0(&obj, NULL, NULL, alg);
	nid = OBJ_obj2nid(obj);
	if (nid == NID_rsaEncryption || nid == NID_X9_62_id_ecPublicKey)
		return true;
	return OBJ_find_sigid_algs(nid, &md, &key) == 1 && md == digest &&
	       (key == NID_rsaEncryption || key == NID_X9_62_id_ecPublicKey);
}

static bool signature_matches(CMS_ContentInfo *cms, CMS_SignerInfo *si, X509 *cert,
			      const uint8_t *buf, size_t len)
{
	BIO *content = BIO_new_mem_buf(buf, (int)len);
	bool ok = false;

	/* Names the certificate itself, in place of one tried before. NOINTERN: certificates that
	 * the message brings along are nobody's. */
	CMS_SignerInfo_set1_signer_cert(si, cert);
	if (content)
		ok = CMS_verify(cms, NULL, NULL, content, NULL,
				CMS_BINARY | CMS_NOINTERN | CMS_NO_SIGNER_CERT_VERIFY) == 1;
	BIO_free(content);
	return ok;
}

struct verdict {
	bool known; /* the signer is in certs.d */
	bool usable;
};

/* Two certificates may bear one name: each is asked. */
static int ask_certs(CMS_ContentInfo *cms, CMS_SignerInfo *si, const uint8_t *buf,
		     const struct sign_parts *parts, STACK_OF(X509) * certs,
		     const struct trust_revoked *revoked, struct diag *diag,
		     struct hf_signer *signer, struct verdict *v)
{
	for (int i = 0; i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);

		if (CMS_SignerInfo_cert_cmp(si, cert) != 0)
			continue;
		v->known = true;
		describe_cert(cert, signer);
		if (cert_revoked(cert, revoked))
			return refuse_revoked(signer, diag);
		if (!may_sign(cert))
			continue;
		v->usable = true;
		if (!signature_matches(cms, si, cert, buf, parts->content_len))
			continue;
		if (!message_canonical(cms, si, cert, parts))
			return diag_set(diag, VP_E_BUNDLE,
					"the signature is damaged: it is not in "
					"the one form that modules have");
		signer->trusted = true;
		return VP_OK;
	}
	return VP_E_UNTRUSTED;
}

static int refuse_untrusted(const struct hf_signer *signer, const struct verdict *v,
			    const char *dir, bool nobody, const char *skipped, struct diag *diag)
{
	char also[300] = "";

	if (skipped[0])
		snprintf(also, sizeof(also), " (passed over: %s)", skipped);
	if (v->usable)
		return diag_set(
			diag, VP_E_UNTRUSTED,
			"the signature of %s does not match the bytes: the file was changed "
			"after it was signed",
			signer->subject);
	if (v->known)
		return diag_set(
			diag, VP_E_UNTRUSTED,
			"the certificate %s may not sign code: it needs an RSA or EC key and "
			"the key usage digitalSignature",
			signer->subject);
	if (nobody)
		return diag_set(diag, VP_E_UNTRUSTED,
				"nobody is trusted yet: put the signer's certificate into %s%s",
				dir, also);
	return diag_set(diag, VP_E_UNTRUSTED,
			"signed by somebody who is not trusted (%s): put the certificate into %s "
			"if it should be%s",
			signer->subject, dir, also);
}

static int verify_message(CMS_ContentInfo *cms, CMS_SignerInfo *si, const uint8_t *buf,
			  const struct sign_parts *parts, const struct hf_trust *trust,
			  const struct trust_revoked *revoked, struct diag *diag,
			  struct hf_signer *signer)
{
	const char *dir = trust->certs_dir ? trust->certs_dir : "certs.d";
	STACK_OF(X509) * certs;
	char skipped[256] = "";
	struct verdict v = {false, false};
	int r, digest;

	describe_claim(si, signer);
	for (int i = 0; i < sk_X509_num(revoked->certs); i++)
		if (CMS_SignerInfo_cert_cmp(si, sk_X509_value(revoked->certs, i)) == 0)
			return refuse_revoked(signer, diag);
	digest = digest_of(si, signer);
	if (!sign_digest_strong(digest))
		return diag_set(diag, VP_E_UNTRUSTED,
				"signed over a %s digest, which is too weak or not known: have it "
				"signed with sha256 or better",
				signer->digest);
	if (!algorithm_known(si, digest))
		return diag_set(diag, VP_E_UNTRUSTED,
				"signed with an algorithm that modules do not "
				"have: sign with RSA or ECDSA");
	certs = sk_X509_new_null();
	if (!certs)
		return diag_set(diag, VP_E_NOMEM, "no memory for certificates");
	r = trust->certs_dir ? trust_read_certs(dir, certs, skipped, diag) : VP_OK;
	if (r == VP_OK)
		r = ask_certs(cms, si, buf, parts, certs, revoked, diag, signer, &v);
	if (r == VP_E_UNTRUSTED)
		r = refuse_untrusted(signer, &v, dir, sk_X509_num(certs) == 0, skipped, diag);
	sk_X509_pop_free(certs, X509_free);
	return r;
}

static int verify_signed(const uint8_t *buf, const struct sign_parts *parts,
			 const struct hf_trust *trust, const struct trust_revoked *revoked,
			 struct diag *diag, struct hf_signer *signer)
{
	CMS_ContentInfo *cms = NULL;
	CMS_SignerInfo *si = NULL;
	int r = message_read(parts, diag, &cms, &si);

	if (r < 0)
		return r;
	r = verify_message(cms, si, buf, parts, trust, revoked, diag, signer);
	CMS_ContentInfo_free(cms);
	return r;
}

/* Splits and asks for revocation by hash: what both entries below begin with. */
static int split_unrevoked(const uint8_t *buf, size_t len, const struct trust_revoked *revoked,
			   struct diag *diag, struct sign_parts *parts)
{
	int r;

	if (len == 0 || len > HF_FILE_MAX)
		return diag_set(diag, VP_E_BUNDLE, "a bundle has 1 to %u bytes", HF_FILE_MAX);
	r = sign_split(buf, len, diag, parts);
	return r < 0 ? r : check_hashes(buf, len, parts, revoked, diag);
}

int hf_verify(const uint8_t *buf, size_t len, const struct hf_trust *trust, struct diag *diag,
	      struct hf_signer *signer)
{
	struct trust_revoked revoked = {0};
	struct sign_parts parts = {0};
	struct diag own;
	int r;

	if (!diag)
		diag = &own; /* the words are also carried from step to step */
	diag_init(diag);
	memset(signer, 0, sizeof(*signer));
	ERR_clear_error();
	r = trust_read_revoked(trust->revoked_dir, diag, &revoked);
	if (r < 0)
		return r;
	r = split_unrevoked(buf, len, &revoked, diag, &parts);
	signer->present = r == VP_E_BUNDLE || (r == VP_OK && parts.der);
	if (r == VP_OK && !parts.der)
		r = diag_set(diag, VP_E_UNTRUSTED,
			     "the bundle is not signed: sign it with "
			     "vpatch sign");
	else if (r == VP_OK)
		r = verify_signed(buf, &parts, trust, &revoked, diag, signer);
	trust_revoked_deinit(&revoked);
	ERR_clear_error();
	return r;
}

int hf_check_revoked(const uint8_t *buf, size_t len, const struct hf_trust *trust,
		     struct diag *diag)
{
	struct trust_revoked revoked = {0};
	struct sign_parts parts = {0};
	struct diag own;
	int r;

	if (!diag)
		diag = &own;
	diag_init(diag);
	ERR_clear_error();
	r = trust_read_revoked(trust->revoked_dir, diag, &revoked);
	if (r < 0)
		return r;
	r = split_unrevoked(buf, len, &revoked, diag, &parts);
	trust_revoked_deinit(&revoked);
	ERR_clear_error();
	return r;
}
