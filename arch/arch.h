/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What vpatch has to know about a guest architecture, as data: instructions, patchable entries,
 * relocations and the kernel's page walk. Pure: no I/O, no allocation, no state; every byte of
 * memory comes through the caller. The guest's architecture is a value, never an #ifdef: all
 * tables are always compiled in.
 */
#ifndef VP_ARCH_ARCH_H
#define VP_ARCH_ARCH_H

#include "protocol/addr.h"
#include "protocol/err.h"

enum arch_id { ARCH_X86_64, ARCH_ARM64, ARCH_RISCV64, ARCH_PPC64LE, ARCH_THUMB2, ARCH_COUNT };

#define ARCH_INSN_MAX   16 /* bytes of the longest instruction, rounded up (x86: 15) */
#define ARCH_WORD_MAX   8  /* bytes of the longest text edit: one aligned or covering word */
#define ARCH_VENEER_MAX 32 /* ppc64le: 28 */
#define ARCH_ROOT_ALT   2

/*
 * vCPU registers by meaning. The first rows mean the same on every architecture; the rest are
 * system registers that the architecture's own table names. A driver fills what its VMM gives it
 * and sets the bit in `have`; nobody reads v[i] without its bit.
 */
enum arch_reg {
	ARCH_REG_PC,
	ARCH_REG_SP,
	ARCH_REG_FP, /* where kernels keep a chain of frame records (AAPCS64, "The frame pointer") */
	ARCH_REG_LR,   /* the return address, where it has a register */
	ARCH_REG_SYS0, /* the meaning from here on is the architecture's; see its reg_names */
	ARCH_REG_MAX = 16,
};

struct arch_regs {
	uint64_t v[ARCH_REG_MAX];
	uint32_t have; /* bit i: v[i] is known */
};

enum arch_insn_kind {
	ARCH_INSN_OTHER,
	ARCH_INSN_NOP,
	ARCH_INSN_BRANCH, /* unconditional, direct */
	ARCH_INSN_CALL,   /* direct, writes the return address */
	ARCH_INSN_TRAP,   /* int3; BRK and UDF; ebreak and what is defined to be illegal */
	ARCH_INSN_RET,    /* any return from a function */
};

struct arch_insn {
	enum arch_insn_kind kind;
	unsigned len;    /* bytes, at least 1 */
	vp_gva_t target; /* of BRANCH and CALL */
};

/*
 * A function's patchable entry, found in its first bytes. The site is the word that an apply
 * replaces by a branch to the payload: arm64 `mov x9, x30` at +0, x86-64 the five-byte nop, riscv64
 * the nop behind `auipc t0`, or the first of two.
 */
struct arch_entry {
	unsigned site_off;   /* offset of the site from the function's symbol */
	unsigned site_len;   /* bytes of the site: one instruction */
	unsigned tracer_off; /* offset of the instructions that the guest's ftrace owns */
	unsigned tracer_len;
	bool shared;      /* the tracer's bytes hold the site: the ftrace record must be marked */
	bool tracer_idle; /* the tracer's instruction is its resting nop */
};

/* Reads len bytes of guest physical memory; VP_OK or an error that the walk hands through. */
typedef int (*arch_read_fn)(void *ctx, vp_gpa_t at, void *buf, size_t len);

/*
 * How the guest kernel's addresses are translated: its own root, never the one a user process
 * happens to run on.
 */
struct arch_mmu {
	vp_gpa_t root;        /* physical address of the top-level kernel table */
	unsigned levels;      /* x86-64: 4 or 5; riscv64: 3 to 5; arm64: from granule and va_bits */
	unsigned granule_log; /* arm64: 12, 14 or 16; else 12 */
	unsigned va_bits;     /* of the kernel's half: 48 or 57; riscv64 also 39; arm64 39 to 52 */
	bool lpa52;           /* arm64: 52-bit output addresses in descriptors */
	uint32_t flags;       /* the architecture's own, from mmu_from_regs; 0 is a sound default */

	/*
	 * Other places where the root may lie, likeliest first. Registers alone do not tell a
	 * user root under KPTI from a kernel root without it: when `root` does not map kernel text,
	 * the caller tries these. Empty when `root` is certain.
	 */
	unsigned n_alt;
	vp_gpa_t alt[ARCH_ROOT_ALT];
};

/* One translation, with the permissions of all levels combined. */
struct arch_xlate {
	vp_gpa_t gpa;
	unsigned page_log; /* log2 of the size of the mapping that was found */
	bool present;
	bool writable;   /* by the kernel */
	bool executable; /* by the kernel */
	bool user;       /* reachable from user mode in any way */
	bool blind;      /* the tables were not seen: where is known, what is allowed is not */
};

/* One relocation type. What stands below the name is the architecture's own affair. */
struct arch_reloc {
	uint16_t type;
	bool branch;      /* of a direct branch or call, which a veneer may serve */
	const char *name; /* as the ABI writes it */
	uint8_t value;    /* what is computed */
	uint8_t field;    /* where it goes */
	uint8_t op;       /* how it is combined with what is there */
	uint8_t shift;    /* its bits from here on */
	uint8_t sbits;    /* a signed number of so many bits, */
	uint8_t ubits;    /* or an unsigned one; 0: no check */
	bool exact;       /* with a condition on its low bits */
};

struct arch_live; /* arch/poke.h */

struct arch_ops {
	enum arch_id id;
	const char *name;        /* "x86-64", "arm64", "riscv64": the project's word for it */
	const char *qemu_target; /* what QMP query-target calls it: "x86_64", "aarch64" */
	uint16_t elf_machine;    /* ELF e_machine */
	unsigned insn_align;     /* instructions start at multiples of this */
	uint8_t filler[4];       /* what pads kernel text: one trapping instruction, repeated */
	unsigned filler_len;

	/* Name in the VMM's gdb target description of each arch_reg, NULL where there is none. */
	const char *const *reg_names;

	/* Writes a nop of exactly len bytes. VP_E_RANGE if there is none of that length. */
	int (*nop)(uint8_t *buf, unsigned len);
	/* Writes a direct branch / call at `at` to `to`, of the one length that sites have
	 * (*len_ret). VP_E_REACH if it does not reach, VP_E_RANGE if misaligned. */
	int (*branch)(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
	int (*call)(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
	/* The same for the call that a function's own entry makes of a dispatcher: the return address goes
	 * where it spoils no caller's. */
	int (*dispatch)(uint8_t *buf, vp_gva_t at, vp_gva_t to, unsigned *len_ret);
	/* Where the entry begins with an instruction that stays and makes the upper part of the target: the
	 * one behind it, 4 bytes at `at`. ahead are its 4 bytes. VP_E_SITE_BYTES if they are another
	 * instruction, VP_E_UNSUPPORTED where the architecture has no such entry. */
	int (*dispatch_behind)(uint8_t *buf, const uint8_t *ahead, vp_gva_t at, vp_gva_t to);
	/* Writes the trap instruction. */
	int (*trap)(uint8_t *buf, unsigned *len_ret);
	/* Decodes the instruction at buf, which is the guest's bytes at `at`. VP_E_RANGE if len is
	 * too short for it, VP_E_SITE_BYTES if it is no instruction, or none that every CPU of the
	 * architecture reads the same way. */
	int (*decode)(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret);
	/* Recognises the patchable entry in the first bytes of a function. VP_E_NO_SITE if there is
	 * none; VP_E_SITE_TRACED if there is one and the site word itself is taken (call, trap);
	 * VP_E_RANGE if len is too short to tell. 16 bytes always tell. */
	int (*entry)(const uint8_t *buf, size_t len, vp_gva_t func, struct arch_entry *ret);

	/*
	 * Applies one ELF relocation at P to the bytes at loc (avail bytes left in the section).
	 * sym is S, addend is A. VP_E_RELOC for a type that is not known, VP_E_REACH when the value
	 * overflows (the caller may then try a veneer if it is a branch's), VP_E_RANGE when avail is too
	 * short or the bytes are misaligned for the type.
	 */
	int (*reloc)(uint8_t *loc, size_t avail, uint32_t type, vp_gva_t p, uint64_t sym,
		     int64_t addend);
	const struct arch_reloc *relocs; /* the types that it knows; the last one has no name */
	/* Writes a veneer at `at` that jumps anywhere (to `to`) using only registers that the procedure
	 * call standard lets a veneer use. */
	int (*veneer)(uint8_t *buf, size_t len, vp_gva_t at, vp_gva_t to, unsigned *len_ret);

	/* Derives the kernel's translation from a held vCPU's registers. VP_E_UNSUPPORTED if the
	 * registers needed are not there or paging is off. On arm64 and x86-64 a vCPU in user
	 * mode under KPTI gives the user root; the function maps it back as far as registers tell
	 * (see alt in struct arch_mmu). */
	int (*mmu_from_regs)(const struct arch_regs *regs, struct arch_mmu *ret);
	/* The same of a privileged vCPU that has translation off, where the architecture's kernels can
	 * run so: levels is 0 then, and every address leads to itself. Such a vCPU may as well be one
	 * that nobody has started. VP_E_PERM for user mode with translation off; VP_E_UNSUPPORTED for
	 * any other vCPU. */
	int (*mmu_off)(const struct arch_regs *regs, struct arch_mmu *ret);
	/* Walks the kernel's tables. VP_OK with present false where nothing is mapped; VP_E_UNMAPPED for
	 * a non-canonical address; VP_E_GUEST_CORRUPT for reserved or impossible entries;
	 * VP_E_UNSUPPORTED for an mmu that no such machine has; the callback's error otherwise.
	 * At most one read a level; every read is one naturally aligned 8-byte entry. */
	int (*walk)(const struct arch_mmu *mmu, vp_gva_t at, arch_read_fn read, void *ctx,
		    struct arch_xlate *ret);

	/* What may change under running CPUs. */
	const struct arch_live *live;
};

/* dispatch_behind of those that have none. */
int arch_no_dispatch_behind(uint8_t *buf, const uint8_t *ahead, vp_gva_t at, vp_gva_t to);

/* The row of a relocation type; NULL when unknown. */
const struct arch_reloc *arch_reloc_find(const struct arch_ops *ops, uint32_t type);
const char *arch_reloc_name(const struct arch_ops *ops, uint32_t type);

/* True when v, taken as signed, fits into that many bits. */
static inline bool arch_fits_signed(uint64_t v, unsigned bits)
{
	return v + (1ull << (bits - 1)) < 1ull << bits;
}

/* For walk() where translation is off: every address leads to itself and to whatever is there. */
static inline int arch_walk_off(const struct arch_mmu *mmu, vp_gva_t at, struct arch_xlate *ret)
{
	if (mmu->root.v || mmu->va_bits || mmu->flags || mmu->n_alt)
		return VP_E_UNSUPPORTED;
	*ret = (struct arch_xlate){.gpa = {at.v},
				   .page_log = mmu->granule_log,
				   .present = true,
				   .writable = true,
				   .executable = true};
	return VP_OK;
}

/* The table of id, never NULL for id < ARCH_COUNT. */
const struct arch_ops *arch_get(enum arch_id id);
/* By the project's name, QMP's name or ELF machine; NULL if there is none. */
const struct arch_ops *arch_by_name(const char *name);
const struct arch_ops *arch_by_elf(uint16_t elf_machine);

#endif
