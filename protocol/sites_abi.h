/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The site table's numbers, without a line of C, so that a stub written in assembly includes them
 * too. What they mean stands in docs/abi.md, the drawing in protocol/sites.h.
 */
#ifndef VP_PROTOCOL_SITES_ABI_H
#define VP_PROTOCOL_SITES_ABI_H

/* In memory "\1vPSITES", then eight bytes that no text and no instruction stream has by chance. */
#define VP_SITES_MAGIC0 0x5345544953507601
#define VP_SITES_MAGIC1 0xb1f05a7c9d3e86e2

#define VP_SITES_VERSION    1
#define VP_SITES_ALIGN      4096 /* of the table's address: the host looks at page heads only */
#define VP_SITES_HEAD       200  /* bytes of the head in version 1 */
#define VP_SITES_HEAD_TRAPS 216  /* and with trap records, which came later */
#define VP_SITES_TAIL       4    /* the generation once more */

/* The head */
#define VP_SITES_OFF_MAGIC       0
#define VP_SITES_OFF_GENERATION  16
#define VP_SITES_OFF_VERSION     20
#define VP_SITES_OFF_SIZE        24
#define VP_SITES_OFF_HEAD_SIZE   28
#define VP_SITES_OFF_SELF        32
#define VP_SITES_OFF_CRC         40
#define VP_SITES_OFF_FLAGS       44
#define VP_SITES_OFF_ARCH        48
#define VP_SITES_OFF_ID_KIND     50
#define VP_SITES_OFF_ID_LEN      51
#define VP_SITES_OFF_RESERVED    52
#define VP_SITES_OFF_ID          56
#define VP_SITES_OFF_SITES       120
#define VP_SITES_OFF_NAMES       136
#define VP_SITES_OFF_ARENAS      152
#define VP_SITES_OFF_DISPATCHERS 168
#define VP_SITES_OFF_LEDGERS     184
#define VP_SITES_OFF_TRAPS       200 /* where head_size is VP_SITES_HEAD_TRAPS or more */

/* A part, as the head names it: where, how many, bytes of each */
#define VP_SITES_PART          16
#define VP_SITES_PART_OFF      0
#define VP_SITES_PART_N        4
#define VP_SITES_PART_ENTRY    8
#define VP_SITES_PART_RESERVED 12

/* A site */
#define VP_SITE_ENTRY            56
#define VP_SITE_OFF_AT           0
#define VP_SITE_OFF_LITERAL      8
#define VP_SITE_OFF_KIND         16
#define VP_SITE_OFF_SEQUENCE     17
#define VP_SITE_OFF_LEN          18
#define VP_SITE_OFF_FLAGS        19
#define VP_SITE_OFF_NAME         20
#define VP_SITE_OFF_DISPATCHER   24
#define VP_SITE_OFF_RESERVED     26 /* to 32 */
#define VP_SITE_OFF_REST         32
#define VP_SITE_OFF_LITERAL_REST 48

/* An arena */
#define VP_ARENA_ENTRY          24
#define VP_ARENA_OFF_AT         0
#define VP_ARENA_OFF_LEN        8
#define VP_ARENA_OFF_FILLER     16
#define VP_ARENA_OFF_FILLER_LEN 20
#define VP_ARENA_OFF_FLAGS      21
#define VP_ARENA_OFF_RESERVED   22

/* A dispatcher */
#define VP_DISPATCHER_ENTRY           32
#define VP_DISPATCHER_OFF_AT          0
#define VP_DISPATCHER_OFF_REACH       8
#define VP_DISPATCHER_OFF_KIND        16
#define VP_DISPATCHER_OFF_REG         17
#define VP_DISPATCHER_OFF_FLAGS       18
#define VP_DISPATCHER_OFF_LITERAL_OFF 20
#define VP_DISPATCHER_OFF_INNER_OFF   24
#define VP_DISPATCHER_OFF_RESERVED    28

/* Ledger space */
#define VP_LEDGERS_ENTRY        24
#define VP_LEDGERS_OFF_AT       0
#define VP_LEDGERS_OFF_LEN      8
#define VP_LEDGERS_OFF_FLAGS    16
#define VP_LEDGERS_OFF_RESERVED 20
#define VP_LEDGERS_ALIGN        64 /* VP_LEDGER_ALIGN: records are looked for at these */

/* Space for trap records */
#define VP_TRAPS_ENTRY        24
#define VP_TRAPS_OFF_AT       0
#define VP_TRAPS_OFF_LEN      8
#define VP_TRAPS_OFF_FLAGS    16
#define VP_TRAPS_OFF_RESERVED 20

/* A trap record, which the host writes and the guest's trap handler reads. seq is odd while the host
 * writes the rest. */
#define VP_TRAP_RECORD     32
#define VP_TRAP_OFF_AT     0  /* the site; 0: none */
#define VP_TRAP_OFF_NEXT   8  /* behind it: where a nop goes on and a call returns to */
#define VP_TRAP_OFF_TARGET 16 /* of a branch or a call; else 0 */
#define VP_TRAP_OFF_KIND   24
#define VP_TRAP_OFF_SEQ    28
#define VP_TRAP_NOP        1
#define VP_TRAP_BRANCH     2
#define VP_TRAP_CALL       3

/* Architectures. Ours, not ELF's: e_machine does not tell 32 from 64 bits on RISC-V, nor Thumb from
 * ARM, nor the byte order on POWER. A number is never given out twice. */
#define VP_SITES_ARCH_X86_64  1
#define VP_SITES_ARCH_ARM64   2
#define VP_SITES_ARCH_RISCV64 3
#define VP_SITES_ARCH_THUMB2  4
#define VP_SITES_ARCH_PPC64LE 5

/* Identities */
#define VP_SITES_ID_BUILD 1 /* the guest kernel's GNU build-id */
#define VP_SITES_ID_IMAGE 2 /* any other name of the image that is different for every build */
#define VP_SITES_ID_MIN   20
#define VP_SITES_ID_MAX   64

/* Flags of the table and of its entries */
#define VP_SITES_FLAGS_KNOWN      0x0
#define VP_SITE_SHARED            0x1 /* the guest's own tracer may have taken it */
#define VP_SITE_FLAGS_KNOWN       0x1
#define VP_ARENA_FLAGS_KNOWN      0x0
#define VP_DISPATCHER_FLAGS_KNOWN 0x0
#define VP_LEDGERS_FLAGS_KNOWN    0x0
#define VP_TRAPS_FLAGS_KNOWN      0x0

/* Kinds of site: what rests there */
#define VP_SITE_NOP      1 /* does nothing */
#define VP_SITE_CALL     2 /* a direct call */
#define VP_SITE_JUMP     3 /* a direct branch */
#define VP_SITE_WORD     4 /* one instruction of any other kind */
#define VP_SITE_FUNCTION 5 /* a function's patchable entry: see its sequence */
#define VP_SITE_LITERAL  6 /* no instruction: a data word that code loads */

/* Sequences of patchable entries */
#define VP_SEQ_NONE         0
#define VP_SEQ_X86_NOP5     1  /* nopl 0(%rax,%rax) */
#define VP_SEQ_ARM64_TWO    2  /* mov x9, x30; nop */
#define VP_SEQ_ARM64_THREE  3  /* mov x9, x30; nop; mov x30, x9 */
#define VP_SEQ_ARM64_FOUR   4  /* stp x29, x30, [sp, #-16]!; mov x29, sp; bl; ldp */
#define VP_SEQ_RISCV_PAIR   5  /* nop; nop, or auipc and jalr */
#define VP_SEQ_RISCV_OPS_A  6  /* auipc stays; nop or jalr to a common dispatcher */
#define VP_SEQ_RISCV_OPS_B  7  /* nop or jal to a dispatcher within 1 MiB */
#define VP_SEQ_RISCV_OPS_C  8  /* nop or jal to the function's own dispatcher */
#define VP_SEQ_THUMB_WIDE   9  /* nop.w */
#define VP_SEQ_THUMB_PAIR16 10 /* nop; nop, 16 bits each */
#define VP_SEQ_PPC64_MFLR   11 /* mflr r0; nop */
#define VP_SEQ_PPC64_NOP    12 /* nop */
#define VP_SEQ_COUNT        13

#define VP_SITE_MAX           16 /* bytes of a site */
#define VP_SITE_NAME_MAX      255
#define VP_SITE_NO_NAME       0xffffffff
#define VP_SITE_NO_DISPATCHER 0xffff

/* Kinds of dispatcher: what the literal holds */
#define VP_DISPATCHER_POINTER 1 /* the address that it branches to */
#define VP_DISPATCHER_OPS     2 /* the address of a structure that holds that address */

/* Bounds */
#define VP_SITES_SIZE_MAX        0x800000 /* bytes of a table: 100,000 sites with their names */
#define VP_SITES_ARENAS_MAX      256
#define VP_SITES_DISPATCHERS_MAX 65535 /* 0xffff stays free, for none */
#define VP_SITES_LEDGERS_MAX     16
#define VP_SITES_TRAPS_MAX       4

#endif
