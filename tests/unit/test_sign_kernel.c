/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signatures against tools that are not ours: the kernel's scripts/sign-file (Debian's
 * linux-kbuild-*, as tests/linux/fetch.sh unpacks it) and openssl(1).
 */
#include <glob.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/certs.h"
#include "vmm-agent/hotfix/hotfix.h"

#define TRAILER 40

static char sign_file[PATH_MAX];
static char top[64];
static struct diag diag;

static bool find_glob(const char *pattern)
{
	bool found = false;
	glob_t g;

	if (glob(pattern, 0, NULL, &g) == 0 && g.gl_pathc > 0) {
		snprintf(sign_file, sizeof(sign_file), "%s", g.gl_pathv[0]);
		found = access(sign_file, X_OK) == 0;
	}
	globfree(&g);
	return found;
}

/* $VP_KERNELS or O/kernels, beside this program's O/tests/unit; else what is installed. */
static bool find_sign_file(void)
{
	static const char tail[] = "/*/headers/usr/lib/linux-kbuild-*/scripts/sign-file";
	const char *kernels = getenv("VP_KERNELS");
	char self[PATH_MAX], pattern[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n < 0 ? 0 : n] = '\0';
	for (int i = 0; i < 3; i++) {
		char *slash = strrchr(self, '/');

		if (slash)
			*slash = '\0';
	}
	snprintf(pattern, sizeof(pattern), "%s%s%s", kernels ? kernels : self,
		 kernels ? "" : "/kernels", tail);
	return find_glob(pattern) || find_glob("/usr/lib/linux-kbuild-*/scripts/sign-file");
}

/* Runs in the test's own directory; the words of the tool are kept out of the report. */
static int run(const char *fmt, ...)
{
	char cmd[4 * PATH_MAX], line[5 * PATH_MAX];
	va_list ap;
	int r;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "cd %s && { %s; } >log 2>&1", top, cmd);
	r = system(line);
	return WIFEXITED(r) ? WEXITSTATUS(r) : -1;
}

static uint8_t *slurp(const char *name, size_t *len)
{
	uint8_t *buf = malloc(HF_FILE_MAX);
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	f = fopen(path, "r");
	assert_non_null(f);
	*len = fread(buf, 1, HF_FILE_MAX, f);
	fclose(f);
	return buf;
}

static void save(const char *name, const uint8_t *buf, size_t len)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(buf, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	uint8_t content[5000];

	(void)state;
	snprintf(top, sizeof(top), "/tmp/vp-sign-kernel.XXXXXX");
	if (!mkdtemp(top))
		return -1;
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 31 + (i >> 8));
	save("content", content, sizeof(content));
	if (run("mkdir certs.d && chmod 755 certs.d") ||
	    !certs_make(top, "rsa", &(struct certs_opts){.rsa = true, .serial = 4711}) ||
	    !certs_make(top, "ec", &(struct certs_opts){.serial = 4712}))
		return -1;
	return run("cp rsa.pem ec.der certs.d");
}

static int teardown(void **state)
{
	(void)state;
	return run("rm -r certs.d ./*") < 0 || rmdir(top);
}

static int verify(const char *name, struct hf_signer *signer)
{
	char certs[PATH_MAX];
	struct hf_trust trust = {certs, NULL};
	size_t len;
	uint8_t *buf = slurp(name, &len);
	int r;

	snprintf(certs, sizeof(certs), "%s/certs.d", top);
	r = hf_verify(buf, len, &trust, &diag, signer);
	free(buf);
	return r;
}

static void sign(const char *who, const char *digest, const char *name)
{
	char key[PATH_MAX], cert[PATH_MAX];
	size_t len, out_len;
	uint8_t *buf = slurp("content", &len), *out;

	snprintf(key, sizeof(key), "%s/%s.key", top, who);
	snprintf(cert, sizeof(cert), "%s/%s.pem", top, who);
	assert_int_equal(hf_sign(buf, len, key, cert, digest, &diag, &out, &out_len), VP_OK);
	save(name, out, out_len);
	free(buf);
	free(out);
}

static const char *const digests[] = {"sha256", "sha384", "sha512"};
static const char *const keys[] = {"rsa", "ec"};

static void test_sign_file_output_verifies(void **state)
{
	struct hf_signer signer;

	(void)state;
	for (size_t k = 0; k < 2; k++)
		for (size_t d = 0; d < 3; d++)
			for (int by_id = 0; by_id < 2; by_id++) {
				assert_int_equal(run("'%s' %s %s %s.key %s.pem content signed",
						     sign_file, by_id ? "-k" : "", digests[d],
						     keys[k], keys[k]),
						 0);
				if (verify("signed", &signer))
					fail_msg("%s %s: %s", keys[k], digests[d], diag.text);
				assert_string_equal(signer.digest, digests[d]);
			}
}

static void test_sign_file_output_with_sha1_is_refused(void **state)
{
	struct hf_signer signer;

	(void)state;
	assert_int_equal(run("'%s' sha1 rsa.key rsa.pem content signed", sign_file), 0);
	assert_int_equal(verify("signed", &signer), VP_E_UNTRUSTED);
	assert_string_equal(signer.digest, "sha1");
}

static void test_rsa_signature_equals_that_of_sign_file_byte_for_byte(void **state)
{
	(void)state;
	for (size_t d = 0; d < 3; d++) {
		size_t len, len2;
		uint8_t *a, *b;

		assert_int_equal(
			run("'%s' %s rsa.key rsa.pem content theirs", sign_file, digests[d]), 0);
		sign("rsa", digests[d], "ours");
		a = slurp("theirs", &len);
		b = slurp("ours", &len2);
		assert_int_equal(len, len2);
		assert_memory_equal(a, b, len);
		free(a);
		free(b);
	}
}

static void test_openssl_verifies_what_we_sign(void **state)
{
	(void)state;
	if (run("openssl version") != 0) {
		print_message("openssl(1) is missing\n");
		skip();
	}
	for (size_t k = 0; k < 2; k++) {
		size_t len, content_len;
		uint8_t *buf;

		sign(keys[k], "sha256", "ours");
		buf = slurp("ours", &len);
		content_len = hf_unsigned_len(buf, len);
		save("ours.p7s", buf + content_len, len - content_len - TRAILER);
		free(buf);
		for (int smime = 0; smime < 2; smime++) {
			const char *tool = smime ? "smime" : "cms";

			if (run("openssl %s -verify -binary -inform DER -in ours.p7s -content "
				"content -certfile %s.pem -nointern -noverify -out /dev/null",
				tool, keys[k]))
				fail_msg("openssl %s refuses a signature by %s", tool, keys[k]);
			assert_int_not_equal(
				run("openssl %s -verify -binary -inform DER -in ours.p7s -content "
				    "rsa.der -certfile %s.pem -nointern -noverify -out /dev/null",
				    tool, keys[k]),
				0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sign_file_output_verifies),
		cmocka_unit_test(test_sign_file_output_with_sha1_is_refused),
		cmocka_unit_test(test_rsa_signature_equals_that_of_sign_file_byte_for_byte),
		cmocka_unit_test(test_openssl_verifies_what_we_sign),
	};

	if (!find_sign_file()) {
		puts("the kernel's sign-file is missing (tests/linux/fetch.sh amd64)");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
