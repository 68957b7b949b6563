/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * BPF type format (Documentation/bpf/btf.rst): where the members of the guest kernel's structures
 * lie, as the guest kernel itself carries it.
 */
#ifndef VP_GUEST_BTF_H
#define VP_GUEST_BTF_H

#include "protocol/err.h"
#include "protocol/int.h"

#define BTF_HEADER    24u /* bytes of the header that is read */
#define BTF_SIZE_MAX  (64u << 20)
#define BTF_TYPES_MAX (1u << 20)

struct btf {
	uint8_t *bytes; /* malloc'ed, owned */
	const uint8_t *types;
	const char *strs; /* ends with a NUL */
	uint32_t types_len, strs_len;
	uint32_t *type; /* offset in types of type 1, 2, ... at 0, 1, ... */
	uint32_t n_types;
};

/* Bytes that the whole takes, from its header. VP_E_GUEST_CORRUPT when it is none. */
int btf_size(const uint8_t *header, size_t len, uint32_t *ret) VP_MUST_USE;
/* Takes bytes over when it succeeds. VP_E_GUEST_CORRUPT, VP_E_NOMEM. */
int btf_parse(uint8_t *bytes, size_t len, struct btf *ret) VP_MUST_USE;
void btf_deinit(struct btf *b);

/* Offset in bytes of a member, looked for in unnamed parts too. False when there is none, or it is
 * a bit field, or structures of that name differ. */
bool btf_member(const struct btf *b, const char *structure, const char *member, uint32_t *ret);
/* Size of a structure. False when there is none, or structures of that name differ. */
bool btf_struct_size(const struct btf *b, const char *structure, uint32_t *ret);
/* Value of an enumerator of any enumeration. False when there is none, or several differ. */
bool btf_enumerator(const struct btf *b, const char *name, uint64_t *ret);
/* All values of enumerators with that prefix, ORed. */
uint64_t btf_enumerators_or(const struct btf *b, const char *prefix);

#endif
