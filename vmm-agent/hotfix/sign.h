/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside hotfix/: signing, and the directories that say who is trusted. */
#ifndef VP_HOTFIX_SIGN_H
#define VP_HOTFIX_SIGN_H

#include <openssl/cms.h>
#include <openssl/x509.h>

#include "vmm-agent/hotfix/trailer.h"

#define SIGN_FILE_MAX 1048576u /* bytes of a key, certificate or hash file */

/* sha256, sha384 and sha512 are strong enough; everything else is refused. */
bool sign_digest_strong(int nid);

/* Reads a small regular file, followed by a NUL that is not counted. dir may be AT_FDCWD. trusted:
 * refuses one that anybody may write. */
int sign_read_small(int dir, const char *name, bool trusted, struct diag *diag, uint8_t **buf_ret,
		    size_t *len_ret) VP_MUST_USE;

/* The certificates in buf, PEM or DER. VP_E_IO with words when there is none or one is damaged. */
int sign_parse_certs(const uint8_t *buf, size_t len, STACK_OF(X509) * to,
		     struct diag *diag) VP_MUST_USE;

/* --- message.c --------------------------------------------------------------------------------- */

/*
 * Reads the message and requires what the kernel requires of a module's. VP_E_BUNDLE otherwise.
 * *cms_ret is the caller's, *si_ret lies in it.
 */
int message_read(const struct sign_parts *parts, struct diag *diag, CMS_ContentInfo **cms_ret,
		 CMS_SignerInfo **si_ret) VP_MUST_USE;

/*
 * Whether the bytes are the one encoding of a message by this certificate. A signature covers the
 * content only; this makes every byte of the message count too. What brings certificates along
 * (their bytes mean nothing here) is taken as it is.
 */
bool message_canonical(CMS_ContentInfo *cms, CMS_SignerInfo *si, X509 *cert,
		       const struct sign_parts *parts);

/* --- trust.c ----------------------------------------------------------------------------------- */

/*
 * Adds the certificates of dir. What cannot be used is passed over, since less is trusted then;
 * skipped says which, for the words of a refusal. A directory that is missing trusts nobody.
 */
int trust_read_certs(const char *dir, STACK_OF(X509) * to, char skipped[256],
		     struct diag *diag) VP_MUST_USE;

struct trust_revoked {
	STACK_OF(X509) * certs;
	uint8_t (*hashes)[32];
	size_t n_hashes;
};

/* Fails closed: a file or directory that cannot be read or understood is an error. */
int trust_read_revoked(const char *dir, struct diag *diag, struct trust_revoked *ret) VP_MUST_USE;
void trust_revoked_deinit(struct trust_revoked *r);

#endif
