// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Length and kind of one 64-bit mode instruction: Intel SDM vol. 2, chapter 2 (formats) and
 * appendix A (opcode maps). Legacy, VEX and EVEX encodings; XOP and APX are no instructions here.
 *
 * Near branches with a 66 prefix and no REX.W are refused: Intel ignores the prefix, AMD takes a
 * 16-bit displacement, so their length depends on the vendor.
 */
#include "arch/x86-64/x86-64.h"
#include "protocol/bytes.h"

#define INSN_MAX 15 /* longer raises #GP; Intel SDM vol. 2, 2.3.11 */

#define PFX_OPSIZE 1u /* 66 */
#define PFX_ADSIZE 2u /* 67 */
#define PFX_REPNE  4u /* f2 */
#define PFX_REP    8u /* f3 */
#define PFX_LOCK   16u
#define PFX_REX    32u

#define REX_W 8u

/*
 * What follows an opcode:
 *   .  nothing            m  ModRM            b  imm8          z  imm16/32 by operand size
 *   B  ModRM, imm8        Z  ModRM, imm16/32  v  imm16/32/64   w  imm16
 *   e  imm16, imm8        j  rel16/32         o  moffs         r  ModRM, registers whatever mod
 *   p  is a prefix        x  no instruction in 64-bit mode
 *   g  C6: MOV or XABORT  G  C7: MOV or XBEGIN  P  8F: POP     t  F6, T F7: TEST has an immediate
 *   i  FE                 I  FF               q  0F 78: VMREAD or EXTRQ, INSERTQ
 */
static const char one_byte[16][17] = {
	"mmmmbzxxmmmmbzxx", /* 0; 0F is the escape */
	"mmmmbzxxmmmmbzxx", /* 1 */
	"mmmmbzpxmmmmbzpx", /* 2 */
	"mmmmbzpxmmmmbzpx", /* 3 */
	"pppppppppppppppp", /* 4: REX */
	"................", /* 5 */
	"xxxmppppzZbB....", /* 6; 62 is EVEX */
	"bbbbbbbbbbbbbbbb", /* 7 */
	"BZxBmmmmmmmmmmmP", /* 8 */
	"..........x.....", /* 9 */
	"oooo....bz......", /* a */
	"bbbbbbbbvvvvvvvv", /* b */
	"BBw.xxgGe.w..bx.", /* c; C4, C5 are VEX */
	"mmmmxxx.mmmmmmmm", /* d */
	"bbbbbbbbjjxb....", /* e */
	"p.pp..tT......iI", /* f */
};

static const char two_byte[16][17] = {
	"mmmmx.....x.xm.B", /* 0 */
	"mmmmmmmmmmmmmmmm", /* 1 */
	"rrrrxxxxmmmmmmmm", /* 2 */
	"......x.xxxxxxxx", /* 3; 38, 3A are escapes */
	"mmmmmmmmmmmmmmmm", /* 4 */
	"mmmmmmmmmmmmmmmm", /* 5 */
	"mmmmmmmmmmmmmmmm", /* 6 */
	"BBBBmmm.qmxxmmmm", /* 7 */
	"jjjjjjjjjjjjjjjj", /* 8 */
	"mmmmmmmmmmmmmmmm", /* 9 */
	"...mBmmm...mBmmm", /* a */
	"mmmmmmmmmmBmmmmm", /* b */
	"mmBmBBBm........", /* c */
	"mmmmmmmmmmmmmmmm", /* d */
	"mmmmmmmmmmmmmmmm", /* e */
	"mmmmmmmmmmmmmmmm", /* f */
};

/* Where the reader stands; nothing is taken past len. */
struct cursor {
	const uint8_t *buf;
	size_t len;
	size_t pos;
};

struct parts {
	unsigned prefixes;
	unsigned rex; /* the REX byte, or 0 */
	unsigned map; /* 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A */
	bool vector;  /* VEX or EVEX */
	uint8_t opcode;
	uint8_t modrm;
	size_t rel_at;    /* where the displacement of a near branch lies */
	unsigned rel_len; /* its bytes, 0 if there is none */
};

static int take(struct cursor *c, uint8_t *ret)
{
	if (c->pos >= INSN_MAX)
		return VP_E_SITE_BYTES;
	if (c->pos >= c->len)
		return VP_E_RANGE;
	*ret = c->buf[c->pos++];
	return VP_OK;
}

static int skip(struct cursor *c, unsigned n)
{
	if (n > INSN_MAX - c->pos)
		return VP_E_SITE_BYTES;
	if (n > c->len - c->pos)
		return VP_E_RANGE;
	c->pos += n;
	return VP_OK;
}

/* ModRM, SIB and displacement; Intel SDM vol. 2, tables 2-2 and 2-3. */
static int modrm(struct cursor *c, struct parts *p, bool registers_only)
{
	unsigned mod, rm;
	uint8_t sib;
	int r;

	r = take(c, &p->modrm);
	if (r < 0)
		return r;
	mod = p->modrm >> 6;
	rm = p->modrm & 7;
	if (registers_only || mod == 3)
		return VP_OK;
	if (rm == 4) {
		r = take(c, &sib);
		if (r < 0)
			return r;
		rm = sib & 7;
	}
	if (mod == 1)
		return skip(c, 1);
	if (mod == 2 || rm == 5)
		return skip(c, 4);
	return VP_OK;
}

/* Bytes of an immediate that has 16 or 32 bits. REX.W overrides the 66 prefix. */
static unsigned immz(const struct parts *p)
{
	return (p->prefixes & PFX_OPSIZE) && !(p->rex & REX_W) ? 2 : 4;
}

static int near_branch(struct cursor *c, struct parts *p, unsigned len)
{
	if (immz(p) == 2)
		return VP_E_SITE_BYTES;
	p->rel_at = c->pos;
	p->rel_len = len;
	return skip(c, len);
}

static int group_c6_c7(struct cursor *c, struct parts *p)
{
	int r = modrm(c, p, false);

	if (r < 0)
		return r;
	if (p->modrm == 0xf8 && p->opcode == 0xc7) { /* XBEGIN rel */
		r = near_branch(c, p, 4);
		p->rel_len = 0; /* it falls through as well: no plain branch */
		return r;
	}
	if (p->modrm != 0xf8 && (p->modrm >> 3 & 7) != 0)
		return VP_E_SITE_BYTES;
	return skip(c, p->opcode == 0xc7 ? immz(p) : 1);
}

/* Opcodes whose ModRM.reg says whether an immediate follows or whether there is such a thing. */
static int group(struct cursor *c, struct parts *p, char form)
{
	unsigned reg;
	int r = modrm(c, p, false);

	if (r < 0)
		return r;
	reg = p->modrm >> 3 & 7;
	switch (form) {
	case 't':
		return skip(c, reg < 2 ? 1 : 0);
	case 'T':
		return skip(c, reg < 2 ? immz(p) : 0);
	case 'P':
		return reg == 0 ? VP_OK : VP_E_SITE_BYTES; /* otherwise XOP */
	case 'i':
		return reg < 2 ? VP_OK : VP_E_SITE_BYTES;
	case 'I':
		return reg < 7 ? VP_OK : VP_E_SITE_BYTES;
	default: /* 'q': AMD64 APM vol. 4, EXTRQ and INSERTQ carry two immediates */
		return skip(c, p->prefixes & (PFX_OPSIZE | PFX_REPNE) ? 2 : 0);
	}
}

static int operands(struct cursor *c, struct parts *p, char form)
{
	int r = VP_OK;

	switch (form) {
	case '.':
		return VP_OK;
	case 'm':
		return modrm(c, p, false);
	case 'r':
		return modrm(c, p, true);
	case 'b':
		if (p->map == 0 && (p->opcode == 0xeb || (p->opcode & 0xf0) == 0x70))
			return near_branch(c, p, 1);
		return skip(c, 1);
	case 'z':
		return skip(c, immz(p));
	case 'B':
	case 'Z':
		r = modrm(c, p, false);
		return r < 0 ? r : skip(c, form == 'B' ? 1 : immz(p));
	case 'v':
		return skip(c, p->rex & REX_W ? 8 : immz(p));
	case 'w':
		return skip(c, 2);
	case 'e':
		return skip(c, 3);
	case 'j':
		return near_branch(c, p, 4);
	case 'o':
		return skip(c, p->prefixes & PFX_ADSIZE ? 4 : 8);
	case 'g':
	case 'G':
		return group_c6_c7(c, p);
	case 'x':
	case 'p':
		return VP_E_SITE_BYTES;
	default:
		return group(c, p, form);
	}
}

/* VEX and EVEX opcodes all have a ModRM but VZEROUPPER and VZEROALL. */
static int vector_operands(struct cursor *c, struct parts *p, bool evex)
{
	bool imm8 = p->map == 3;
	int r;

	r = take(c, &p->opcode);
	if (r < 0)
		return r;
	if (p->map == 1) {
		if (p->opcode == 0x77 && !evex)
			return VP_OK;
		/* Shifts, VCMP, VPINSRW, VPEXTRW, VSHUF: the immediates of the legacy map. */
		imm8 = (p->opcode >= 0x70 && p->opcode <= 0x73) || p->opcode == 0xc2 ||
		       (p->opcode >= 0xc4 && p->opcode <= 0xc6);
	}
	r = modrm(c, p, false);
	return r < 0 ? r : skip(c, imm8 ? 1 : 0);
}

/* After C5, C4 or 62. Intel SDM vol. 2, 2.3.5 and 2.7.1. */
static int vector(struct cursor *c, struct parts *p, uint8_t lead)
{
	uint8_t b[3];
	unsigned n = lead == 0xc5 ? 1 : lead == 0xc4 ? 2 : 3;

	/* 2.3.2: these prefixes before VEX raise #UD; a segment or 67 may stand there. */
	if (p->prefixes & (PFX_OPSIZE | PFX_REPNE | PFX_REP | PFX_LOCK | PFX_REX))
		return VP_E_SITE_BYTES;
	p->vector = true;
	for (unsigned i = 0; i < n; i++) {
		int r = take(c, &b[i]);

		if (r < 0)
			return r;
	}
	if (lead == 0xc5)
		p->map = 1;
	else if (lead == 0xc4)
		p->map = b[0] & 31;
	else
		p->map = b[0] & 15; /* bit 3 must be zero */
	if (lead == 0x62) {
		if (!(b[1] & 4)) /* P[10] is one */
			return VP_E_SITE_BYTES;
		if (p->map < 1 || p->map > 6 || p->map == 4) /* 5 and 6: AVX512-FP16 */
			return VP_E_SITE_BYTES;
	} else if (p->map < 1 || p->map > 3) {
		return VP_E_SITE_BYTES;
	}
	return vector_operands(c, p, lead == 0x62);
}

/* Takes legacy prefixes and REX; leaves the first byte that is neither in *op. */
static int prefixes(struct cursor *c, struct parts *p, uint8_t *op)
{
	for (;;) {
		int r = take(c, op);

		if (r < 0)
			return r;
		if ((*op & 0xf0) == 0x40) {
			p->rex = *op;
			p->prefixes |= PFX_REX;
			continue;
		}
		if (one_byte[*op >> 4][*op & 15] != 'p')
			return VP_OK;
		/* A REX that is not the last prefix is ignored; SDM vol. 2, 2.2.1. */
		p->rex = 0;
		p->prefixes &= ~PFX_REX;
		switch (*op) {
		case 0x66:
			p->prefixes |= PFX_OPSIZE;
			break;
		case 0x67:
			p->prefixes |= PFX_ADSIZE;
			break;
		case 0xf2:
			p->prefixes |= PFX_REPNE;
			break;
		case 0xf3:
			p->prefixes |= PFX_REP;
			break;
		case 0xf0:
			p->prefixes |= PFX_LOCK;
			break;
		default: /* a segment */
			break;
		}
	}
}

static int parse(struct cursor *c, struct parts *p)
{
	uint8_t op;
	int r;

	r = prefixes(c, p, &op);
	if (r < 0)
		return r;
	if (op == 0xc4 || op == 0xc5 || op == 0x62)
		return vector(c, p, op);
	if (op == 0x0f) {
		r = take(c, &op);
		if (r < 0)
			return r;
		p->map = op == 0x38 ? 2 : op == 0x3a ? 3 : 1;
		if (p->map > 1)
			r = take(c, &op);
		if (r < 0)
			return r;
	}
	p->opcode = op;
	switch (p->map) {
	case 0:
		return operands(c, p, one_byte[op >> 4][op & 15]);
	case 1:
		return operands(c, p, two_byte[op >> 4][op & 15]);
	case 2:
		return operands(c, p, 'm');
	default:
		return operands(c, p, 'B');
	}
}

static enum arch_insn_kind kind_of(const struct parts *p)
{
	if (p->vector)
		return ARCH_INSN_OTHER;
	if (p->map == 1 && p->opcode == 0x1f && !(p->modrm & 0x38)) /* NOP r/m: 0F 1F /0 */
		return ARCH_INSN_NOP;
	if (p->map != 0)
		return ARCH_INSN_OTHER;
	switch (p->opcode) {
	case 0x90: /* F3 90 is PAUSE; with REX.B it is XCHG r8 */
		return (p->prefixes & PFX_REP) || (p->rex & 1) ? ARCH_INSN_OTHER : ARCH_INSN_NOP;
	case 0xe8:
		return ARCH_INSN_CALL;
	case 0xe9:
	case 0xeb:
		return ARCH_INSN_BRANCH;
	case 0xcc:
		return ARCH_INSN_TRAP;
	case 0xc2: /* RET imm16; far returns leave the kernel's calling convention */
	case 0xc3:
		return ARCH_INSN_RET;
	default:
		return ARCH_INSN_OTHER;
	}
}

int x86_64_decode(const uint8_t *buf, size_t len, vp_gva_t at, struct arch_insn *ret)
{
	struct cursor c = {.buf = buf, .len = len};
	struct parts p = {0};
	struct arch_insn insn = {0};
	int r;

	r = parse(&c, &p);
	if (r < 0)
		return r;
	insn.kind = kind_of(&p);
	insn.len = (unsigned)c.pos;
	if (insn.kind == ARCH_INSN_CALL || insn.kind == ARCH_INSN_BRANCH) {
		int64_t rel =
			p.rel_len == 1 ? (int8_t)buf[p.rel_at] : (int32_t)vp_ld32(buf + p.rel_at);

		insn.target = vp_gva(at.v + c.pos + (uint64_t)rel);
	}
	*ret = insn;
	return VP_OK;
}
