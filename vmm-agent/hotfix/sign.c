/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signatures in the form of Linux kernel modules (kernel/module_signature.c, scripts/sign-file.c):
 * a detached PKCS#7 message without attributes, appended to the file.
 */
#include "vmm-agent/hotfix/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "protocol/bytes.h"

bool sign_digest_strong(int nid)
{
	return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512;
}

static int read_all(int fd, uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if (n == 0)
			return EIO; /* it shrank while it was read */
		done += (size_t)n;
	}
	return 0;
}

int sign_read_small(int dir, const char *name, bool trusted, struct diag *diag, uint8_t **buf_ret,
		    size_t *len_ret)
{
	/* O_NONBLOCK: a FIFO put there must not hold us up; it is refused below. */
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	uint8_t *buf = NULL;
	struct stat st;
	int r;

	if (fd < 0)
		return diag_errno(diag, errno, "%s", name);
	if (fstat(fd, &st) < 0) {
		r = diag_errno(diag, errno, "%s", name);
	} else if (!S_ISREG(st.st_mode) || st.st_size > (off_t)SIGN_FILE_MAX) {
		r = diag_set(diag, VP_E_IO, "%s: %s", name,
			     S_ISREG(st.st_mode) ? "is too large" : "is not a regular file");
	} else if (trusted && (st.st_mode & S_IWOTH)) {
		r = diag_set(diag, VP_E_PERM, "%s: anybody may write it: chmod o-w", name);
	} else if (!(buf = malloc((size_t)st.st_size + 1))) {
		r = diag_set(diag, VP_E_NOMEM, "%s: no memory to read it", name);
	} else if ((r = read_all(fd, buf, (size_t)st.st_size)) != 0) {
		r = diag_errno(diag, r, "%s", name);
	} else {
		buf[st.st_size] = '\0';
		*buf_ret = buf;
		*len_ret = (size_t)st.st_size;
		buf = NULL;
	}
	free(buf);
	close(fd);
	return r;
}

/* A key's passphrase is never asked for on a terminal: it comes as it does for the kernel's own
 * sign-file (scripts/sign-file.c, key_pass). */
static int key_pin(char *buf, int cap, int writing, void *used)
{
	const char *pin = secure_getenv("KBUILD_SIGN_PIN");
	size_t len = pin ? strlen(pin) : 0;

	(void)writing;
	*(bool *)used = true;
	if (len == 0 || len >= (size_t)cap)
		return -1;
	memcpy(buf, pin, len + 1);
	return (int)len;
}

static int no_pin(char *buf, int cap, int writing, void *ctx)
{
	(void)buf;
	(void)cap;
	(void)writing;
	(void)ctx;
	return -1;
}

static const char *crypto_words(void)
{
	const char *words = ERR_reason_error_string(ERR_peek_last_error());

	return words ? words : "no reason given";
}

static int parse_pem(BIO *bio, STACK_OF(X509) * to, struct diag *diag)
{
	unsigned n = 0;
	X509 *cert;

	while ((cert = PEM_read_bio_X509(bio, NULL, no_pin, NULL))) {
		if (!sk_X509_push(to, cert)) {
			X509_free(cert);
			return diag_set(diag, VP_E_NOMEM, "no memory for a certificate");
		}
		n++;
	}
	if (n && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
		return VP_OK;
	return diag_set(diag, VP_E_IO, "holds no X.509 certificate that can be read (%s)",
			crypto_words());
}

static int parse_der(const uint8_t *buf, size_t len, STACK_OF(X509) * to, struct diag *diag)
{
	const uint8_t *p = buf;
	X509 *cert = d2i_X509(NULL, &p, (long)len);

	if (!cert || p != buf + len) {
		X509_free(cert);
		return diag_set(diag, VP_E_IO, "is no X.509 certificate in PEM or DER form");
	}
	if (!sk_X509_push(to, cert)) {
		X509_free(cert);
		return diag_set(diag, VP_E_NOMEM, "no memory for a certificate");
	}
	return VP_OK;
}

int sign_parse_certs(const uint8_t *buf, size_t len, STACK_OF(X509) * to, struct diag *diag)
{
	BIO *bio;
	int r;

	if (len == 0 || len > SIGN_FILE_MAX)
		return diag_set(diag, VP_E_IO, "is %s for a certificate",
				len ? "too large" : "too short");
	ERR_clear_error();
	if (!memmem(buf, len, "-----BEGIN ", 11)) {
		r = parse_der(buf, len, to, diag);
	} else if (!(bio = BIO_new_mem_buf(buf, (int)len))) {
		r = diag_set(diag, VP_E_NOMEM, "no memory for a certificate");
	} else {
		r = parse_pem(bio, to, diag);
		BIO_free(bio);
	}
	ERR_clear_error();
	return r;
}

/* --- signing ----------------------------------------------------------------------------------- */

static int load_key(const char *file, struct diag *diag, EVP_PKEY **ret)
{
	bool pin_used = false;
	uint8_t *buf = NULL;
	size_t len = 0;
	EVP_PKEY *key = NULL;
	BIO *bio;
	int r = sign_read_small(AT_FDCWD, file, false, diag, &buf, &len);

	if (r < 0)
		return diag_prefix(diag, "key");
	bio = BIO_new_mem_buf(buf, (int)len);
	if (bio)
		key = PEM_read_bio_PrivateKey(bio, NULL, key_pin, &pin_used);
	BIO_free(bio);
	OPENSSL_cleanse(buf, len);
	free(buf);
	if (!key && pin_used)
		return diag_set(diag, VP_E_IO,
				"key %s: cannot be decrypted: put its passphrase into the "
				"environment variable KBUILD_SIGN_PIN",
				file);
	if (!key)
		return diag_set(diag, VP_E_IO, "key %s: holds no private key in PEM form (%s)",
				file, crypto_words());
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA && EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) {
		EVP_PKEY_free(key);
		return diag_set(diag, VP_E_UNSUPPORTED,
				"key %s: modules are signed with RSA or EC keys: make one of these",
				file);
	}
	*ret = key;
	return VP_OK;
}

static int load_cert(const char *file, struct diag *diag, X509 **ret)
{
	STACK_OF(X509) *certs = sk_X509_new_null();
	uint8_t *buf = NULL;
	size_t len = 0;
	int r;

	if (!certs)
		return diag_set(diag, VP_E_NOMEM, "no memory for a certificate");
	r = sign_read_small(AT_FDCWD, file, false, diag, &buf, &len);
	if (r < 0) {
		sk_X509_free(certs);
		return diag_prefix(diag, "certificate");
	}
	r = sign_parse_certs(buf, len, certs, diag);
	free(buf);
	if (r < 0)
		diag_prefix(diag, "certificate %s", file);
	else
		*ret = sk_X509_shift(certs); /* the first, as sign-file takes it */
	sk_X509_pop_free(certs, X509_free);
	return r;
}

/* The message that scripts/sign-file.c makes: signer by issuer and serial, no attributes. */
static int make_message(const uint8_t *buf, size_t len, EVP_PKEY *key, X509 *cert, const EVP_MD *md,
			uint8_t **der, size_t *der_len)
{
	unsigned flags = CMS_NOCERTS | CMS_BINARY | CMS_NOSMIMECAP | CMS_NOATTR;
	BIO *content = BIO_new_mem_buf(buf, (int)len);
	CMS_ContentInfo *cms =
		CMS_sign(NULL, NULL, NULL, NULL,
			 CMS_NOCERTS | CMS_PARTIAL | CMS_BINARY | CMS_DETACHED | CMS_STREAM);
	int n = -1;

	if (content && cms && CMS_add1_signer(cms, cert, key, md, flags) &&
	    CMS_final(cms, content, NULL, CMS_NOCERTS | CMS_BINARY))
		n = i2d_CMS_ContentInfo(cms, der);
	CMS_ContentInfo_free(cms);
	BIO_free(content);
	if (n <= 0)
		return -1;
	*der_len = (size_t)n;
	return 0;
}

static int append(const uint8_t *buf, size_t len, const uint8_t *der, size_t der_len,
		  struct diag *diag, uint8_t **out, size_t *out_len)
{
	size_t total = len + der_len + MODULE_SIG_LEN + MODULE_SIG_STRING_LEN;
	uint8_t *o, *ms;

	if (der_len > SIGN_DER_MAX || total > HF_FILE_MAX)
		return diag_set(diag, VP_E_BUNDLE,
				"with a signature the file would be larger than %u bytes",
				HF_FILE_MAX);
	o = malloc(total);
	if (!o)
		return diag_set(diag, VP_E_NOMEM, "no memory for the signed file");
	memcpy(o, buf, len);
	memcpy(o + len, der, der_len);
	ms = o + len + der_len;
	memset(ms, 0, MODULE_SIG_LEN);
	ms[2] = PKEY_ID_PKCS7;
	for (int i = 0; i < 4; i++)
		ms[8 + i] = (uint8_t)(der_len >> (24 - 8 * i));
	memcpy(ms + MODULE_SIG_LEN, MODULE_SIG_STRING, MODULE_SIG_STRING_LEN);
	*out = o;
	*out_len = total;
	return VP_OK;
}

static int sign_with(const uint8_t *buf, size_t len, EVP_PKEY *key, X509 *cert, const EVP_MD *md,
		     struct diag *diag, uint8_t **out, size_t *out_len)
{
	uint8_t *der = NULL;
	size_t der_len = 0;
	int r;

	if (X509_check_private_key(cert, key) != 1)
		return diag_set(diag, VP_E_USAGE,
				"the certificate is not of this key: give the "
				"certificate that was made with it");
	if (make_message(buf, len, key, cert, md, &der, &der_len) < 0)
		return diag_set(diag, VP_E_IO, "the signature could not be made: %s",
				crypto_words());
	r = append(buf, len, der, der_len, diag, out, out_len);
	OPENSSL_free(der);
	return r;
}

int hf_sign(const uint8_t *buf, size_t len, const char *key_file, const char *cert_file,
	    const char *digest, struct diag *diag, uint8_t **out, size_t *out_len)
{
	const EVP_MD *md = EVP_get_digestbyname(digest);
	struct sign_parts parts = {.content_len = len};
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	int r;

	if (!md || !sign_digest_strong(EVP_MD_get_type(md)))
		return diag_set(diag, VP_E_USAGE,
				"digest %s: only sha256, sha384 and sha512 are taken", digest);
	if (len == 0 || len > HF_FILE_MAX)
		return diag_set(diag, VP_E_BUNDLE, "a bundle has 1 to %u bytes", HF_FILE_MAX);
	ERR_clear_error();
	r = sign_split(buf, len, diag, &parts);
	if (r == VP_OK)
		r = load_key(key_file, diag, &key);
	if (r == VP_OK)
		r = load_cert(cert_file, diag, &cert);
	if (r == VP_OK)
		r = sign_with(buf, parts.content_len, key, cert, md, diag, out, out_len);
	X509_free(cert);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return r;
}
