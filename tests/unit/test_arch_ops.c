// SPDX-License-Identifier: LGPL-2.1-or-later
/* Every architecture's table is whole and agrees with itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bytes.h"
#include "arch/arch.h"
#include "arch/arm64/regs.h"
#include "arch/ppc64le/regs.h"
#include "arch/riscv64/regs.h"
#include "arch/thumb2/regs.h"
#include "arch/x86-64/regs.h"

/* Some address of a kernel; of 32 bits where there are no more. */
static uint64_t base_of(const struct arch_ops *a)
{
	return a->id == ARCH_THUMB2 ? 0x81000000ull : 0xffffffff81000000ull;
}

static void test_every_slot_of_every_table_is_filled(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARCH_COUNT; i++) {
		const struct arch_ops *a = arch_get((enum arch_id)i);

		assert_non_null(a);
		assert_int_equal(a->id, i);
		assert_non_null(a->name);
		assert_non_null(a->qemu_target);
		assert_int_not_equal(a->elf_machine, 0);
		assert_int_not_equal(a->insn_align, 0);
		assert_in_range(a->filler_len, 1, sizeof(a->filler));
		assert_non_null(a->reg_names);
		assert_non_null(a->reg_names[ARCH_REG_PC]);
		assert_non_null(a->reg_names[ARCH_REG_SP]);
		assert_non_null(a->nop);
		assert_non_null(a->branch);
		assert_non_null(a->call);
		assert_non_null(a->dispatch);
		assert_non_null(a->dispatch_behind);
		assert_non_null(a->trap);
		assert_non_null(a->decode);
		assert_non_null(a->entry);
		assert_non_null(a->reloc);
		assert_non_null(a->relocs);
		assert_non_null(a->veneer);
		assert_non_null(a->mmu_from_regs);
		assert_non_null(a->mmu_off);
		assert_non_null(a->walk);
		assert_non_null(a->live);
	}
	assert_null(arch_get(ARCH_COUNT));
}

static void test_a_table_is_found_by_each_of_its_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARCH_COUNT; i++) {
		const struct arch_ops *a = arch_get((enum arch_id)i);

		assert_ptr_equal(arch_by_name(a->name), a);
		assert_ptr_equal(arch_by_name(a->qemu_target), a);
		assert_ptr_equal(arch_by_elf(a->elf_machine), a);
	}
	assert_null(arch_by_name(""));
	assert_null(arch_by_name("x86"));
	assert_null(arch_by_elf(0));
	assert_null(arch_by_elf(3)); /* EM_386 */
}

static void test_register_names_are_distinct(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARCH_COUNT; i++) {
		const char *const *names = arch_get((enum arch_id)i)->reg_names;

		for (unsigned j = 0; j < ARCH_REG_MAX; j++)
			for (unsigned k = 0; k < j; k++)
				if (names[j] && names[k])
					assert_string_not_equal(names[j], names[k]);
	}
	assert_string_equal(arch_get(ARCH_X86_64)->reg_names[X86_64_REG_CR3], "cr3");
	assert_string_equal(arch_get(ARCH_ARM64)->reg_names[ARM64_REG_TTBR1], "TTBR1_EL1");
	assert_string_equal(arch_get(ARCH_RISCV64)->reg_names[RISCV64_REG_SATP], "satp");
	assert_string_equal(arch_get(ARCH_PPC64LE)->reg_names[PPC64LE_REG_MSR], "msr");
	assert_string_equal(arch_get(ARCH_THUMB2)->reg_names[THUMB2_REG_DACR], "DACR");
}

static void test_what_a_table_writes_it_reads_back(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARCH_COUNT; i++) {
		const struct arch_ops *a = arch_get((enum arch_id)i);
		const uint64_t at = base_of(a);
		uint8_t buf[ARCH_INSN_MAX] = {0};
		struct arch_insn insn;
		unsigned len;

		assert_int_equal(a->branch(buf, vp_gva(at), vp_gva(at + 0x1230), &len), VP_OK);
		assert_int_equal(a->decode(buf, len, vp_gva(at), &insn), VP_OK);
		assert_int_equal(insn.kind, ARCH_INSN_BRANCH);
		assert_int_equal(insn.len, len);
		assert_int_equal(insn.target.v, at + 0x1230);
		assert_true(len <= ARCH_WORD_MAX);

		assert_int_equal(a->call(buf, vp_gva(at), vp_gva(at - 0x1230), &len), VP_OK);
		assert_int_equal(a->decode(buf, len, vp_gva(at), &insn), VP_OK);
		assert_int_equal(insn.kind, ARCH_INSN_CALL);
		assert_int_equal(insn.target.v, at - 0x1230);

		assert_int_equal(a->trap(buf, &len), VP_OK);
		assert_int_equal(a->decode(buf, len, vp_gva(at), &insn), VP_OK);
		assert_int_equal(insn.kind, ARCH_INSN_TRAP);
		assert_int_equal(insn.len, len);

		assert_int_equal(a->decode(a->filler, a->filler_len, vp_gva(at), &insn), VP_OK);
		assert_int_equal(insn.kind, ARCH_INSN_TRAP);
		assert_int_equal(insn.len, a->filler_len);
	}
}

static void test_a_nop_is_one_instruction_of_just_its_length(void **state)
{
	static const unsigned lengths[] = {[ARCH_X86_64] = 9,
					   [ARCH_ARM64] = 1,
					   [ARCH_RISCV64] = 2,
					   [ARCH_PPC64LE] = 1,
					   [ARCH_THUMB2] = 2};

	(void)state;
	for (unsigned i = 0; i < ARCH_COUNT; i++) {
		const struct arch_ops *a = arch_get((enum arch_id)i);
		const uint64_t at = base_of(a);
		unsigned found = 0;

		for (unsigned len = 0; len <= 20; len++) {
			uint8_t buf[32];
			struct arch_insn insn;
			int r;

			memset(buf, 0xa5, sizeof(buf));
			r = a->nop(buf, len);
			assert_int_equal(buf[r < 0 ? 0 : len], 0xa5);
			if (r < 0) {
				assert_int_equal(r, VP_E_RANGE);
				continue;
			}
			found++;
			assert_int_equal(a->decode(buf, len, vp_gva(at), &insn), VP_OK);
			assert_int_equal(insn.kind, ARCH_INSN_NOP);
			assert_int_equal(insn.len, len);
		}
		assert_int_equal(found, lengths[a->id]);
	}
}

static void test_reloc_names_and_kinds_agree_with_reloc(void **state)
{
	static const unsigned of_branches[] = {[ARCH_X86_64] = 1,
					       [ARCH_ARM64] = 2,
					       [ARCH_RISCV64] = 3,
					       [ARCH_PPC64LE] = 2,
					       [ARCH_THUMB2] = 2};

	(void)state;
	for (unsigned i = 0; i < ARCH_COUNT; i++) {
		const struct arch_ops *a = arch_get((enum arch_id)i);
		const uint64_t at = base_of(a);
		unsigned named = 0, branches = 0;

		for (uint32_t type = 0; type < 0x800; type++) {
			uint8_t loc[8] = {0};
			int r = a->reloc(loc, 0, type, vp_gva(at), at, 0);

			/* Without a byte to write, only a type that writes nothing succeeds. */
			assert_true(r == VP_OK || r == VP_E_RANGE || r == VP_E_RELOC);
			if (!arch_reloc_name(a, type)) {
				assert_int_equal(r, VP_E_RELOC);
				assert_null(arch_reloc_find(a, type));
				continue;
			}
			named++;
			branches += arch_reloc_find(a, type)->branch;
			assert_memory_equal(arch_reloc_name(a, type), "R_", 2);
		}
		assert_true(named > 10);
		assert_int_equal(branches, of_branches[a->id]);
		assert_null(arch_reloc_name(a, UINT32_MAX));
		assert_int_equal(a->reloc(NULL, 0, UINT32_MAX, vp_gva(at), 0, 0), VP_E_RELOC);
	}
}

/* As riscv64-linux-gnu-as writes them. */
static void test_riscv64_calls_its_dispatchers_by_t0(void **state)
{
	static const uint8_t auipc[] = {0x97, 0x12, 0x00, 0x00}; /* auipc t0, 1 */
	static const uint8_t nop[] = {0x13, 0x00, 0x00, 0x00};
	const struct arch_ops *a = arch_get(ARCH_RISCV64);
	uint8_t buf[ARCH_INSN_MAX];
	unsigned len;

	(void)state;
	assert_int_equal(a->dispatch(buf, vp_gva(0x1000), vp_gva(0x1100), &len), VP_OK);
	assert_int_equal(len, 4);
	assert_int_equal(vp_ld32(buf), 0x100002ef); /* jal t0, .+0x100 */
	assert_int_equal(a->dispatch(buf, vp_gva(0), vp_gva(0x200000), &len), VP_E_REACH);
	assert_int_equal(a->dispatch_behind(buf, auipc, vp_gva(0x1004), vp_gva(0x2010)), VP_OK);
	assert_int_equal(vp_ld32(buf), 0x010282e7); /* jalr t0, 0x10(t0) */
	assert_int_equal(a->dispatch_behind(buf, auipc, vp_gva(0x1004), vp_gva(0x3000)),
			 VP_E_REACH);
	assert_int_equal(a->dispatch_behind(buf, nop, vp_gva(0x1004), vp_gva(0x2010)),
			 VP_E_SITE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_riscv64_calls_its_dispatchers_by_t0),
		cmocka_unit_test(test_every_slot_of_every_table_is_filled),
		cmocka_unit_test(test_a_table_is_found_by_each_of_its_names),
		cmocka_unit_test(test_register_names_are_distinct),
		cmocka_unit_test(test_what_a_table_writes_it_reads_back),
		cmocka_unit_test(test_a_nop_is_one_instruction_of_just_its_length),
		cmocka_unit_test(test_reloc_names_and_kinds_agree_with_reloc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
