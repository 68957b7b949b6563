/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "tests/lib/certs.h"
#include "vmm-agent/hotfix/hotfix.h"

#define TRAILER 40 /* struct module_signature and the magic string */

/* One directory for the whole file: keys/ holds what was made, certs.d and revoked.d are emptied
 * by every test. */
struct env {
	char top[64], keys[96], certs[96], revoked[96];
	struct hf_trust trust;
};

static const uint8_t content[] = "\177ELF this is not a bundle, and nobody here may notice";
#define CONTENT_LEN (sizeof(content) - 1)

static struct diag diag;
static struct hf_signer signer;

static void empty_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' || (e->d_name[1] && e->d_name[1] != '.'))
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

static int make_env(void **state)
{
	static struct env e;

	snprintf(e.top, sizeof(e.top), "/tmp/vp-sign.XXXXXX");
	if (!mkdtemp(e.top))
		return -1;
	snprintf(e.keys, sizeof(e.keys), "%s/keys", e.top);
	snprintf(e.certs, sizeof(e.certs), "%s/certs.d", e.top);
	snprintf(e.revoked, sizeof(e.revoked), "%s/revoked.d", e.top);
	if (mkdir(e.keys, 0755) || mkdir(e.certs, 0755) || mkdir(e.revoked, 0755))
		return -1;
	e.trust = (struct hf_trust){e.certs, e.revoked};
	*state = &e;
	return certs_make(e.keys, "alice", NULL) && certs_make(e.keys, "mallory", NULL) ? 0 : -1;
}

static int remove_env(void **state)
{
	struct env *e = *state;

	empty_dir(e->keys);
	empty_dir(e->certs);
	empty_dir(e->revoked);
	return rmdir(e->keys) || rmdir(e->certs) || rmdir(e->revoked) || rmdir(e->top);
}

static int fresh(void **state)
{
	struct env *e = *state;

	chmod(e->certs, 0755);
	chmod(e->revoked, 0755);
	empty_dir(e->certs);
	empty_dir(e->revoked);
	e->trust = (struct hf_trust){e->certs, e->revoked};
	diag_init(&diag);
	return 0;
}

static void put(const char *dir, const char *name, const void *buf, size_t len)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(buf, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* Copies a file of keys/ into a directory. */
static void install(struct env *e, const char *file, const char *dir)
{
	char path[PATH_MAX], buf[8192];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", e->keys, file);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	put(dir, file, buf, n);
}

static uint8_t *sign_bytes(struct env *e, const uint8_t *buf, size_t len, const char *who,
			   const char *digest, size_t *out_len)
{
	char key[PATH_MAX], cert[PATH_MAX];
	uint8_t *out = NULL;

	snprintf(key, sizeof(key), "%s/%s.key", e->keys, who);
	snprintf(cert, sizeof(cert), "%s/%s.pem", e->keys, who);
	assert_int_equal(hf_sign(buf, len, key, cert, digest, &diag, &out, out_len), VP_OK);
	return out;
}

static uint8_t *sign_content(struct env *e, const char *who, size_t *len)
{
	return sign_bytes(e, content, CONTENT_LEN, who, "sha256", len);
}

static int verify(struct env *e, const uint8_t *buf, size_t len)
{
	/* On the heap and of that very length, so that a read beyond it is seen. */
	uint8_t *copy = malloc(len ? len : 1);
	int r;

	memcpy(copy, buf, len);
	r = hf_verify(copy, len, &e->trust, &diag, &signer);
	free(copy);
	if (r == VP_OK)
		assert_true(signer.trusted);
	else
		assert_true(!signer.trusted && diag.err == r && diag.text[0]);
	return r;
}

static void assert_says(const char *words)
{
	if (!strstr(diag.text, words))
		fail_msg("\"%s\" does not say \"%s\"", diag.text, words);
}

static void hash_line(const uint8_t *buf, size_t len, char line[66])
{
	uint8_t hash[32];

	EVP_Digest(buf, len, hash, NULL, EVP_sha256(), NULL);
	for (int i = 0; i < 32; i++)
		sprintf(line + 2 * i, "%02x", hash[i]);
	strcat(line, "\n");
}

/* --- what is taken ----------------------------------------------------------------------------- */

static void test_signature_of_a_trusted_key_is_taken(void **state)
{
	static const char *const digests[] = {"sha256", "sha384", "sha512"};
	struct env *e = *state;

	install(e, "alice.pem", e->certs);
	for (size_t i = 0; i < 3; i++) {
		size_t len;
		uint8_t *s = sign_bytes(e, content, CONTENT_LEN, "alice", digests[i], &len);

		assert_int_equal(verify(e, s, len), VP_OK);
		assert_string_equal(signer.subject, "CN=alice");
		assert_string_equal(signer.digest, digests[i]);
		assert_int_equal(hf_unsigned_len(s, len), CONTENT_LEN);
		assert_memory_equal(s, content, CONTENT_LEN);
		free(s);
	}
}

static void test_rsa_key_and_der_certificate_are_taken(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s;

	assert_true(certs_make(e->keys, "rsa", &(struct certs_opts){.rsa = true}));
	install(e, "rsa.der", e->certs);
	s = sign_content(e, "rsa", &len);
	assert_int_equal(verify(e, s, len), VP_OK);
	free(s);
}

static void test_expired_certificate_is_taken_as_the_kernel_does(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s;

	assert_true(certs_make(e->keys, "old", &(struct certs_opts){.expired = true}));
	install(e, "old.pem", e->certs);
	s = sign_content(e, "old", &len);
	assert_int_equal(verify(e, s, len), VP_OK);
	free(s);
}

static void test_several_certificates_in_one_file_and_strange_files_beside_it(void **state)
{
	struct env *e = *state;
	char both[16384] = "some words first\n", path[PATH_MAX];
	size_t len, n = strlen(both);
	uint8_t *s = sign_content(e, "alice", &len);

	for (int i = 0; i < 2; i++) {
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s.pem", e->keys, i ? "alice" : "mallory");
		f = fopen(path, "r");
		assert_non_null(f);
		n += fread(both + n, 1, sizeof(both) - n, f);
		fclose(f);
	}
	put(e->certs, "both.crt", both, n);
	put(e->certs, "README", "not a certificate", 17);
	put(e->certs, ".hidden.pem", "not a certificate", 17);
	assert_int_equal(verify(e, s, len), VP_OK);
	free(s);
}

static void test_key_usage_counts_where_it_is_given(void **state)
{
	static const struct {
		const char *name, *ku, *xku;
		int want;
	} rows[] = {
		{"ku-sign", "digitalSignature", NULL, VP_OK},
		{"ku-cert", "keyCertSign", NULL, VP_E_UNTRUSTED},
		{"xku-code", NULL, "codeSigning", VP_OK},
		{"xku-mail", NULL, "emailProtection", VP_E_UNTRUSTED},
		{"xku-both", "digitalSignature", "codeSigning,emailProtection", VP_OK},
	};
	struct env *e = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct certs_opts o = {.key_usage = rows[i].ku, .ext_usage = rows[i].xku};
		char pem[32];
		size_t len;
		uint8_t *s;

		assert_true(certs_make(e->keys, rows[i].name, &o));
		snprintf(pem, sizeof(pem), "%s.pem", rows[i].name);
		install(e, pem, e->certs);
		s = sign_content(e, rows[i].name, &len);
		assert_int_equal(verify(e, s, len), rows[i].want);
		if (rows[i].want)
			assert_says("may not sign");
		free(s);
	}
}

static void test_two_certificates_of_one_name_and_serial_are_both_asked(void **state)
{
	struct env *e = *state;
	char dir[PATH_MAX];
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	snprintf(dir, sizeof(dir), "%s/other", e->top);
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_true(certs_make(dir, "alice", NULL)); /* CN=alice, serial 1, another key */
	for (int turn = 0; turn < 2; turn++) {
		struct env other = *e;

		fresh(state);
		snprintf(other.keys, sizeof(other.keys), "%s/other", e->top);
		install(&other, turn ? "alice.der" : "alice.pem", e->certs);
		assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
		assert_says("does not match");
		install(e, turn ? "alice.pem" : "alice.der", e->certs);
		assert_int_equal(verify(e, s, len), VP_OK);
	}
	empty_dir(dir);
	rmdir(dir);
	free(s);
}

static void test_signing_again_replaces_the_signature(void **state)
{
	struct env *e = *state;
	size_t len, len2;
	uint8_t *s = sign_content(e, "mallory", &len), *s2;

	install(e, "alice.pem", e->certs);
	s2 = sign_bytes(e, s, len, "alice", "sha256", &len2);
	assert_int_equal(hf_unsigned_len(s2, len2), CONTENT_LEN);
	assert_int_equal(verify(e, s2, len2), VP_OK);
	free(s);
	free(s2);
}

/* --- what is refused --------------------------------------------------------------------------- */

static void test_nothing_trusted_refuses_everything_and_says_what_to_do(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
	assert_says("put the signer's certificate into");
	assert_says(e->certs);
	assert_string_equal(signer.subject, "issuer CN=alice, serial 01");
	e->trust.certs_dir = "/nonexistent/certs.d";
	assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
	assert_says("No such file");
	e->trust.certs_dir = NULL;
	assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
	free(s);
}

static void test_unsigned_file_is_refused(void **state)
{
	struct env *e = *state;

	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, content, CONTENT_LEN), VP_E_UNTRUSTED);
	assert_says("not signed");
	assert_false(signer.present);
	assert_int_equal(verify(e, content, 0), VP_E_BUNDLE);
}

static void test_wrong_key_is_refused_by_its_name(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s = sign_content(e, "mallory", &len);

	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
	assert_says("CN=mallory");
	assert_true(signer.present);
	free(s);
}

static void test_damaged_certificate_is_named_when_nobody_else_fits(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	put(e->certs, "broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n", 33);
	assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
	assert_says("broken.pem");
	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, s, len), VP_OK);
	free(s);
}

static void test_certs_dir_that_anybody_may_write_trusts_nobody(void **state)
{
	struct env *e = *state;
	char path[PATH_MAX];
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	install(e, "alice.pem", e->certs);
	chmod(e->certs, 0777);
	assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
	assert_says("chmod o-w");
	chmod(e->certs, 0755);
	snprintf(path, sizeof(path), "%s/alice.pem", e->certs);
	chmod(path, 0666);
	assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
	assert_says("chmod o-w");
	chmod(path, 0644);
	assert_int_equal(verify(e, s, len), VP_OK);
	free(s);
}

static void test_every_changed_bit_is_refused(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	install(e, "alice.pem", e->certs);
	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 8; bit++) {
			int r;

			s[i] ^= (uint8_t)(1 << bit);
			r = verify(e, s, len);
			if (r != VP_E_UNTRUSTED && r != VP_E_BUNDLE)
				fail_msg("byte %zu of %zu, bit %d: %d", i, len, bit, r);
			s[i] ^= (uint8_t)(1 << bit);
		}
	assert_int_equal(verify(e, s, len), VP_OK);
	free(s);
}

static void test_every_truncation_is_refused(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	install(e, "alice.pem", e->certs);
	for (size_t n = 0; n < len; n++)
		assert_int_not_equal(verify(e, s, n), VP_OK);
	for (size_t n = 1; n < len; n++) /* the trailer alone, or with too little before it */
		assert_int_not_equal(verify(e, s + n, len - n), VP_OK);
	free(s);
}

static void test_hostile_lengths_in_the_trailer_are_refused(void **state)
{
	static const uint32_t lens[] = {0, 1, 65536, 65537, 0x7fffffff, 0x80000000, 0xffffffff};
	struct env *e = *state;
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len), *ms = s + len - TRAILER;
	uint32_t sig_len = (uint32_t)(len - TRAILER - CONTENT_LEN);

	install(e, "alice.pem", e->certs);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]) + 4; i++) {
		uint32_t v = i < 7 ? lens[i]
				   : sig_len + (uint32_t[]){1, UINT32_MAX, CONTENT_LEN,
							    CONTENT_LEN + TRAILER}[i - 7];

		for (int b = 0; b < 4; b++)
			ms[8 + b] = (uint8_t)(v >> (24 - 8 * b));
		assert_int_equal(verify(e, s, len), VP_E_BUNDLE);
	}
	free(s);
}

static void test_two_signatures_are_refused(void **state)
{
	struct env *e = *state;
	size_t len, len2;
	uint8_t *s = sign_content(e, "alice", &len), *two, *s2;

	/* Sign the signed bytes as if they were content: hidden behind a changed last byte. */
	install(e, "alice.pem", e->certs);
	s[len - 1] ^= 1;
	s2 = sign_bytes(e, s, len, "alice", "sha256", &len2);
	assert_int_equal(verify(e, s2, len2), VP_OK); /* ordinary bytes, signed */
	two = malloc(len2);
	memcpy(two, s2, len2);
	two[len - 1] ^= 1;
	assert_int_equal(verify(e, two, len2), VP_E_BUNDLE);
	assert_says("behind a signature");
	assert_int_equal(hf_check_revoked(two, len2, &e->trust, &diag), VP_E_BUNDLE);
	free(s);
	free(s2);
	free(two);
}

/* Builds a signed file out of a message made by other means than hf_sign. */
static uint8_t *append(CMS_ContentInfo *cms, size_t *len)
{
	uint8_t *der = NULL, *out;
	int n = i2d_CMS_ContentInfo(cms, &der);

	assert_true(n > 0);
	*len = CONTENT_LEN + (size_t)n + TRAILER;
	out = calloc(1, *len);
	memcpy(out, content, CONTENT_LEN);
	memcpy(out + CONTENT_LEN, der, (size_t)n);
	out[CONTENT_LEN + (size_t)n + 2] = 2;
	out[CONTENT_LEN + (size_t)n + 10] = (uint8_t)(n >> 8);
	out[CONTENT_LEN + (size_t)n + 11] = (uint8_t)n;
	memcpy(out + *len - 28, "~Module signature appended~\n", 28);
	OPENSSL_free(der);
	return out;
}

static uint8_t *sign_with_flags(struct env *e, const char *who, const EVP_MD *md, unsigned flags,
				unsigned count, size_t *len)
{
	char path[PATH_MAX];
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL,
					CMS_PARTIAL | CMS_BINARY | CMS_STREAM |
						(flags & (CMS_DETACHED | CMS_NOCERTS)));
	BIO *bio = BIO_new_mem_buf(content, CONTENT_LEN);
	EVP_PKEY *key;
	uint8_t *out;
	X509 *cert;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.key", e->keys, who);
	f = fopen(path, "r");
	key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	snprintf(path, sizeof(path), "%s/%s.pem", e->keys, who);
	f = fopen(path, "r");
	cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	for (unsigned i = 0; i < count; i++)
		assert_non_null(CMS_add1_signer(cms, cert, key, md, flags | CMS_BINARY));
	assert_int_equal(CMS_final(cms, bio, NULL, CMS_BINARY | flags), count ? 1 : 0);
	out = append(cms, len);
	X509_free(cert);
	EVP_PKEY_free(key);
	BIO_free(bio);
	CMS_ContentInfo_free(cms);
	return out;
}

static void test_messages_that_modules_do_not_have_are_refused(void **state)
{
	const unsigned plain = CMS_DETACHED | CMS_NOCERTS | CMS_NOATTR | CMS_NOSMIMECAP;
	const struct {
		const char *what;
		const EVP_MD *md;
		unsigned flags, count;
		int want;
	} rows[] = {
		{"as modules", EVP_sha256(), plain, 1, VP_OK},
		{"by key identifier", EVP_sha256(), plain | CMS_USE_KEYID, 1, VP_OK},
		{"its certificate inside", EVP_sha256(), plain & ~(unsigned)CMS_NOCERTS, 1, VP_OK},
		{"sha1", EVP_sha1(), plain, 1, VP_E_UNTRUSTED},
		{"md5", EVP_md5(), plain, 1, VP_E_UNTRUSTED},
		{"sha224", EVP_sha224(), plain, 1, VP_E_UNTRUSTED},
		{"attributes", EVP_sha256(), CMS_DETACHED | CMS_NOCERTS, 1, VP_E_BUNDLE},
		{"content inside", EVP_sha256(), CMS_NOCERTS | CMS_NOATTR, 1, VP_E_BUNDLE},
		{"two signers", EVP_sha256(), plain, 2, VP_E_BUNDLE},
		{"no signer", EVP_sha256(), plain, 0, VP_E_BUNDLE},
	};
	struct env *e = *state;

	assert_true(certs_make(e->keys, "plain-rsa", &(struct certs_opts){.rsa = true}));
	install(e, "plain-rsa.pem", e->certs);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len;
		uint8_t *s = sign_with_flags(e, "plain-rsa", rows[i].md, rows[i].flags,
					     rows[i].count, &len);
		int r = verify(e, s, len);

		if (r != rows[i].want)
			fail_msg("%s: %s", rows[i].what, r ? diag.text : "taken");
		free(s);
	}
}

static void test_certificate_brought_along_is_not_trusted(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s =
		sign_with_flags(e, "mallory", EVP_sha256(), CMS_DETACHED | CMS_NOATTR, 1, &len);

	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, s, len), VP_E_UNTRUSTED);
	free(s);
}

/* --- revocation -------------------------------------------------------------------------------- */

static void test_revoked_certificate_is_refused_trusted_or_not(void **state)
{
	struct env *e = *state;
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	install(e, "alice.der", e->revoked);
	assert_int_equal(verify(e, s, len), VP_E_REVOKED);
	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, s, len), VP_E_REVOKED);
	assert_says("alice");
	free(s);
}

static void test_revoked_key_is_refused_under_another_certificate(void **state)
{
	struct env *e = *state;
	struct certs_opts o = {.serial = 77, .key_of = "alice"};
	size_t len;
	uint8_t *s;

	assert_true(certs_make(e->keys, "renewed", &o));
	install(e, "renewed.pem", e->certs);
	s = sign_content(e, "renewed", &len);
	assert_int_equal(verify(e, s, len), VP_OK);
	install(e, "alice.pem", e->revoked);
	assert_int_equal(verify(e, s, len), VP_E_REVOKED);
	free(s);
}

static void test_revoked_hash_is_refused_signed_or_not(void **state)
{
	struct env *e = *state;
	char line[128] = "# leaked\n\n  ";
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	hash_line(content, CONTENT_LEN, line + strlen(line));
	strcpy(line + strlen(line) - 1, "  fix.vpatch\n");
	put(e->revoked, "bundles.sha256", line, strlen(line));
	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, s, len), VP_E_REVOKED);
	assert_int_equal(hf_check_revoked(s, len, &e->trust, &diag), VP_E_REVOKED);
	assert_int_equal(hf_check_revoked(content, CONTENT_LEN, &e->trust, &diag), VP_E_REVOKED);
	assert_int_equal(hf_check_revoked(content, CONTENT_LEN - 1, &e->trust, &diag), VP_OK);
	free(s);
}

static void test_revoked_hash_of_the_signed_file_is_refused_too(void **state)
{
	struct env *e = *state;
	char line[66] = "";
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	hash_line(s, len, line);
	put(e->revoked, "bundles.SHA256", line, strlen(line));
	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, s, len), VP_E_REVOKED);
	free(s);
}

static void test_many_revoked_hashes_are_all_looked_at(void **state)
{
	struct env *e = *state;
	char *text = malloc(1000 * 65 + 1), line[66] = "";
	size_t len, n = 0;
	uint8_t *s = sign_content(e, "alice", &len);

	for (unsigned i = 0; i < 999; i++)
		n += (size_t)sprintf(text + n, "%064x\n", i);
	hash_line(content, CONTENT_LEN, line);
	memcpy(text + n, line, 64); /* no newline at the end */
	put(e->revoked, "many.sha256", text, n + 64);
	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, s, len), VP_E_REVOKED);
	free(text);
	free(s);
}

static void test_revocations_that_cannot_be_understood_refuse_everything(void **state)
{
	static const struct {
		const char *name, *text;
	} rows[] = {
		{"x.sha256", "deadbeef\n"},
		{"x.sha256", "zz000000000000000000000000000000000000000000000000000000000000ff\n"},
		{"x.sha256",
		 "000000000000000000000000000000000000000000000000000000000000000000\n"},
		{"x.pem", "not a certificate\n"},
		{"x.der", "\x30\x82\xff\xff"},
		{"x.pem", ""},
		{"list.crl", "-----BEGIN X509 CRL-----\n"},
	};
	struct env *e = *state;
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r;

		fresh(state);
		install(e, "alice.pem", e->certs);
		assert_int_equal(verify(e, s, len), VP_OK);
		put(e->revoked, rows[i].name, rows[i].text, strlen(rows[i].text));
		r = verify(e, s, len);
		assert_true(r < 0 && r != VP_E_UNTRUSTED && r != VP_E_BUNDLE);
		assert_says(rows[i].name);
		assert_int_equal(hf_check_revoked(content, CONTENT_LEN, &e->trust, &diag), r);
	}
	free(s);
}

static void test_revoked_dir_that_cannot_be_read_refuses_everything(void **state)
{
	struct env *e = *state;
	char path[PATH_MAX];
	size_t len;
	uint8_t *s = sign_content(e, "alice", &len);

	install(e, "alice.pem", e->certs);
	e->trust.revoked_dir = "/nonexistent/revoked.d";
	assert_int_equal(verify(e, s, len), VP_E_IO);
	assert_says("nothing is taken");
	e->trust.revoked_dir = e->revoked;
	chmod(e->revoked, 0777);
	assert_int_equal(verify(e, s, len), VP_E_PERM);
	chmod(e->revoked, 0755);
	snprintf(path, sizeof(path), "%s/x.pem", e->revoked);
	assert_int_equal(mkfifo(path, 0644), 0); /* must not block */
	assert_int_equal(verify(e, s, len), VP_E_IO);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/nonexistent", path), 0);
	assert_int_equal(verify(e, s, len), VP_E_IO);
	e->trust.revoked_dir = NULL; /* nothing is revoked */
	assert_int_equal(verify(e, s, len), VP_OK);
	free(s);
}

/* --- signing ----------------------------------------------------------------------------------- */

static void test_signing_refuses_what_would_not_verify(void **state)
{
	struct env *e = *state;
	char key[PATH_MAX], cert[PATH_MAX], other[PATH_MAX];
	uint8_t *out = NULL;
	size_t len = 0;

	snprintf(key, sizeof(key), "%s/alice.key", e->keys);
	snprintf(cert, sizeof(cert), "%s/alice.pem", e->keys);
	snprintf(other, sizeof(other), "%s/mallory.pem", e->keys);
	assert_int_equal(hf_sign(content, CONTENT_LEN, key, cert, "sha1", &diag, &out, &len),
			 VP_E_USAGE);
	assert_int_equal(hf_sign(content, CONTENT_LEN, key, cert, "nonsense", &diag, &out, &len),
			 VP_E_USAGE);
	assert_int_equal(hf_sign(content, CONTENT_LEN, key, other, "sha256", &diag, &out, &len),
			 VP_E_USAGE);
	assert_says("not of this key");
	assert_int_equal(hf_sign(content, CONTENT_LEN, cert, cert, "sha256", &diag, &out, &len),
			 VP_E_IO);
	assert_int_equal(hf_sign(content, CONTENT_LEN, key, key, "sha256", &diag, &out, &len),
			 VP_E_IO);
	assert_int_equal(
		hf_sign(content, CONTENT_LEN, "/nonexistent", cert, "sha256", &diag, &out, &len),
		VP_E_IO);
	assert_int_equal(hf_sign(content, 0, key, cert, "sha256", &diag, &out, &len), VP_E_BUNDLE);
	assert_null(out);
	assert_int_equal(len, 0);
}

static void test_encrypted_key_takes_its_passphrase_from_the_environment(void **state)
{
	struct env *e = *state;
	char path[PATH_MAX], locked[PATH_MAX], cert[PATH_MAX];
	EVP_PKEY *key;
	uint8_t *out = NULL;
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/alice.key", e->keys);
	snprintf(locked, sizeof(locked), "%s/locked.key", e->keys);
	snprintf(cert, sizeof(cert), "%s/alice.pem", e->keys);
	f = fopen(path, "r");
	key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	f = fopen(locked, "w");
	assert_int_equal(
		PEM_write_PKCS8PrivateKey(f, key, EVP_aes_256_cbc(), "secret", 6, NULL, NULL), 1);
	fclose(f);
	EVP_PKEY_free(key);
	unsetenv("KBUILD_SIGN_PIN");
	assert_int_equal(hf_sign(content, CONTENT_LEN, locked, cert, "sha256", &diag, &out, &len),
			 VP_E_IO);
	assert_says("KBUILD_SIGN_PIN");
	setenv("KBUILD_SIGN_PIN", "wrong", 1);
	assert_int_equal(hf_sign(content, CONTENT_LEN, locked, cert, "sha256", &diag, &out, &len),
			 VP_E_IO);
	setenv("KBUILD_SIGN_PIN", "secret", 1);
	assert_int_equal(hf_sign(content, CONTENT_LEN, locked, cert, "sha256", &diag, &out, &len),
			 VP_OK);
	unsetenv("KBUILD_SIGN_PIN");
	install(e, "alice.pem", e->certs);
	assert_int_equal(verify(e, out, len), VP_OK);
	free(out);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, fresh)
	const struct CMUnitTest tests[] = {
		T(test_signature_of_a_trusted_key_is_taken),
		T(test_rsa_key_and_der_certificate_are_taken),
		T(test_expired_certificate_is_taken_as_the_kernel_does),
		T(test_several_certificates_in_one_file_and_strange_files_beside_it),
		T(test_key_usage_counts_where_it_is_given),
		T(test_two_certificates_of_one_name_and_serial_are_both_asked),
		T(test_signing_again_replaces_the_signature),
		T(test_nothing_trusted_refuses_everything_and_says_what_to_do),
		T(test_unsigned_file_is_refused),
		T(test_wrong_key_is_refused_by_its_name),
		T(test_damaged_certificate_is_named_when_nobody_else_fits),
		T(test_certs_dir_that_anybody_may_write_trusts_nobody),
		T(test_every_changed_bit_is_refused),
		T(test_every_truncation_is_refused),
		T(test_hostile_lengths_in_the_trailer_are_refused),
		T(test_two_signatures_are_refused),
		T(test_messages_that_modules_do_not_have_are_refused),
		T(test_certificate_brought_along_is_not_trusted),
		T(test_revoked_certificate_is_refused_trusted_or_not),
		T(test_revoked_key_is_refused_under_another_certificate),
		T(test_revoked_hash_is_refused_signed_or_not),
		T(test_revoked_hash_of_the_signed_file_is_refused_too),
		T(test_many_revoked_hashes_are_all_looked_at),
		T(test_revocations_that_cannot_be_understood_refuse_everything),
		T(test_revoked_dir_that_cannot_be_read_refuses_everything),
		T(test_signing_refuses_what_would_not_verify),
		T(test_encrypted_key_takes_its_passphrase_from_the_environment),
	};

	return cmocka_run_group_tests(tests, make_env, remove_env);
}
