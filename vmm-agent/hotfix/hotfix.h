/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bundles: an ELF relocatable object with notes, and a signature behind it in the form of Linux
 * kernel modules. This room reads, builds, signs, verifies and links them; it knows no target and
 * no guest: symbols come through a callback.
 */
#ifndef VP_HOTFIX_HOTFIX_H
#define VP_HOTFIX_HOTFIX_H

#include "arch/arch.h"
#include "protocol/addr.h"
#include "protocol/ledger.h"
#include "vmm-agent/base/diag.h"

#define HF_FILE_MAX    (4u << 20) /* bytes of a bundle file */
#define HF_NAME_LEN    VP_LEDGER_NAME
#define HF_SYMBOL_MAX  256
#define HF_REPLACE_MAX 64
#define HF_NO_RELEASE  "-" /* for a guest that is not Linux */

enum hf_consistency {
	HF_ENTRY = 1,   /* each call sees old or new, function by function */
	HF_QUIESCE = 2, /* no task inside any replaced function */
};

/* What becomes of a place. The last four name a site of the guest's site table. */
enum hf_how {
	HF_REPLACE,   /* the guest kernel's function leads to the payload's */
	HF_SITE_CALL, /* the site calls it */
	HF_SITE_JUMP, /* the site branches to it */
	HF_SITE_NOP,  /* the site does nothing */
	HF_SITE_WORD, /* the site is these bytes */
};

struct hf_replace {
	enum hf_how how;
	uint8_t word[8]; /* of HF_SITE_WORD, word_len bytes */
	unsigned word_len;
	char symbol[HF_SYMBOL_MAX];   /* the guest kernel's function, or the site */
	unsigned sympos;              /* livepatch's: 0 unique, N the Nth of that name */
	char function[HF_SYMBOL_MAX]; /* its replacement in the payload; "" where there is none */
	const char *clones;           /* space-separated clone names the author has listed; "" */
};

/* Whether it leads to a function of the payload. */
static inline bool hf_leads(const struct hf_replace *r)
{
	return r->how != HF_SITE_NOP && r->how != HF_SITE_WORD;
}
/* "call", "jump", "nop", "word"; "replace". */
const char *hf_how_name(enum hf_how how);

/* What a bundle says of itself. Strings are printable ASCII, owned by the bundle. */
struct hf_info {
	const char *name, *version, *fixes, *author, *description; /* "" where not given */
	const char *release;                                       /* kernel release it is for */
	uint8_t build_id[64]; /* and build-id; len 0: for every build of the release */
	unsigned build_id_len;
	const struct arch_ops *arch;
	enum hf_consistency consistency;
	bool inline_checked; /* built with DWARF: inlined copies of the old functions were looked for */
	uint8_t id[VP_LEDGER_ID]; /* SHA-256 of the file without its signature */
	const struct hf_replace *replace;
	size_t n_replace;
};

struct hf_bundle;

/* Reads a bundle file of at most HF_FILE_MAX bytes, once, as it is (signature and all). Owned by
 * the caller, freed with free(). */
int hf_read_file(const char *path, struct diag *diag, uint8_t **buf_ret,
		 size_t *len_ret) VP_MUST_USE;

/*
 * Parses buf (signature or none). Does not look at the signature: verify first. buf may go
 * away afterwards. VP_E_BUNDLE, VP_E_VERSION, VP_E_SECTION, VP_E_WRONG_ARCH for a machine that
 * vpatch does not know.
 */
int hf_open(const uint8_t *buf, size_t len, struct diag *diag, struct hf_bundle **ret) VP_MUST_USE;
void hf_close(struct hf_bundle *b);
const struct hf_info *hf_info(const struct hf_bundle *b);

/* --- signature (sign.c) ------------------------------------------------------------------------ */

struct hf_trust {
	const char *certs_dir; /* X.509 certificates, PEM or DER: trusted */
	const char *
		revoked_dir; /* certificates (PEM, DER) and files *.sha256 of bundle ids: refused */
};

struct hf_signer {
	bool present; /* there is a signature at all */
	bool trusted;
	char subject[256]; /* of the certificate that signed, or the issuer and serial it names */
	char digest[32];   /* "sha256" */
};

/*
 * Looks at nothing of the bundle but its length and the bytes as a whole. VP_OK only for a
 * signature by a trusted, unrevoked certificate over bytes that are not revoked;
 * VP_E_UNTRUSTED, VP_E_REVOKED, VP_E_BUNDLE (a signature that is not one). signer is filled as far
 * as known in every case.
 */
int hf_verify(const uint8_t *buf, size_t len, const struct hf_trust *trust, struct diag *diag,
	      struct hf_signer *signer) VP_MUST_USE;
/* Revocation of the bytes alone, for a bundle that is let in unsigned. */
int hf_check_revoked(const uint8_t *buf, size_t len, const struct hf_trust *trust,
		     struct diag *diag) VP_MUST_USE;
/* Appends a signature (replacing one that is there). *out is malloc'ed. digest: "sha256", ... */
int hf_sign(const uint8_t *buf, size_t len, const char *key_file, const char *cert_file,
	    const char *digest, struct diag *diag, uint8_t **out, size_t *out_len) VP_MUST_USE;
/* Bytes of buf that the signature does not belong to; len if there is none. */
size_t hf_unsigned_len(const uint8_t *buf, size_t len);

/* --- linking (link.c) -------------------------------------------------------------------------- */

/* Resolves a symbol that the payload uses. sympos as above. VP_E_SYM_UNKNOWN, VP_E_SYM_AMBIGUOUS. */
typedef int (*hf_resolve_fn)(void *ctx, const char *name, unsigned sympos, struct diag *diag,
			     vp_gva_t *ret);

struct hf_image {
	uint8_t *bytes; /* position fixed at base; malloc'ed */
	uint32_t len;
	uint32_t entry[HF_REPLACE_MAX]; /* offset of the replacement of info->replace[i] */
};

/* Bytes the image takes, veneers included as if every call needed one. */
uint32_t hf_image_size(const struct hf_bundle *b);
/* Links for base (64-aligned). Two links with the same answers give the same bytes. */
int hf_link(const struct hf_bundle *b, vp_gva_t base, hf_resolve_fn resolve, void *ctx,
	    struct diag *diag, struct hf_image *ret) VP_MUST_USE;
void hf_image_deinit(struct hf_image *img);

/* --- building (build.c) ------------------------------------------------------------------------ */

struct hf_build {
	const char *source;      /* the C file */
	const char *kernel;      /* the guest kernel's headers, as for an external module */
	const char *image;       /* instead: the ELF that a guest runs which is not Linux */
	const char *vmlinux;     /* with DWARF, for the inline check; NULL: inline-unchecked */
	const char *build_id;    /* hex, as `vpatch inspect` prints it; NULL: vmlinux's, or any */
	const char *include_dir; /* where <vpatch/hotfix.h> is */
	const char *cross;       /* CROSS_COMPILE; NULL: by the headers' architecture */
	const char *out;
	bool verbose;
};

/* Runs the kernel's own build system in a temporary directory and packs what it made. */
int hf_build(const struct hf_build *args, struct diag *diag) VP_MUST_USE;

#endif
