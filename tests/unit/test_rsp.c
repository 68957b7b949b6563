// SPDX-License-Identifier: LGPL-2.1-or-later
/* The remote serial protocol against a scripted peer, and the texts around it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-agent/base/clock.h"
#include "vmm-agent/drv/gdb_xml.h"
#include "vmm-agent/drv/qemu_text.h"
#include "vmm-agent/drv/rsp.h"

#define SECOND CLOCK_NS_PER_SEC

static struct rsp r; /* large */
static int peer;     /* the other end */

static int setup(void **state)
{
	int pair[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return -1;
	rsp_init(&r, pair[0]);
	peer = pair[1];
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(r.fd);
	if (peer >= 0)
		close(peer);
	return 0;
}

static void says(const char *bytes)
{
	assert_int_equal(write(peer, bytes, strlen(bytes)), strlen(bytes));
}

/* A packet with its checksum. */
static const char *packet(const char *payload)
{
	static char buf[8][512];
	static unsigned next;
	char *b = buf[next++ % 8];
	uint8_t sum = 0;

	for (const char *p = payload; *p; p++)
		sum = (uint8_t)(sum + (uint8_t)*p);
	snprintf(b, sizeof(buf[0]), "$%s#%02x", payload, sum);
	return b;
}

/* What has come to the peer. */
static const char *heard(void)
{
	static char buf[4096];
	ssize_t n = recv(peer, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void expect_reply(const char *want)
{
	const char *got;
	size_t len;

	assert_int_equal(rsp_reply(&r, clock_in(SECOND), &got, &len), VP_OK);
	assert_int_equal(len, strlen(want));
	assert_string_equal(got, want);
}

static enum rsp_kind scan(const char *bytes, char *payload, size_t *len)
{
	static uint8_t out[RSP_PAYLOAD_MAX];
	enum rsp_kind kind;
	size_t used;

	*len = 0;
	kind = rsp_scan((const uint8_t *)bytes, strlen(bytes), &used, out, len);
	if (kind == RSP_PACKET) {
		memcpy(payload, out, *len);
		payload[*len] = '\0';
	}
	return kind;
}

static void test_scan_decodes_escapes_and_runs(void **state)
{
	char got[RSP_PAYLOAD_MAX + 1];
	size_t len;

	(void)state;
	assert_int_equal(scan(packet("OK"), got, &len), RSP_PACKET);
	assert_string_equal(got, "OK");
	assert_int_equal(scan(packet(""), got, &len), RSP_PACKET);
	assert_int_equal(len, 0);
	/* GDB manual E.1: "0* " is "0000" */
	assert_int_equal(scan(packet("0* "), got, &len), RSP_PACKET);
	assert_string_equal(got, "0000");
	assert_int_equal(scan(packet("a}\x03}\x04}]}\x0a"
				     "b"),
			      got, &len),
			 RSP_PACKET);
	assert_string_equal(got, "a#$}*b");
	assert_int_equal(scan(packet("}\x0a*!"), got, &len), RSP_PACKET);
	assert_string_equal(got, "*****");
}

static void test_scan_refuses_what_means_nothing(void **state)
{
	static const char *const bad[] = {"*!", "a*", "a}", "a*\x1f", "a*\x7f"};
	char got[RSP_PAYLOAD_MAX + 1];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(scan(packet(bad[i]), got, &len), RSP_DAMAGED);
	assert_int_equal(scan("$OK#00", got, &len), RSP_DAMAGED);
	assert_int_equal(scan("$OK#zz", got, &len), RSP_DAMAGED);
	assert_int_equal(scan("$OK", got, &len), RSP_MORE);
	assert_int_equal(scan("$OK#", got, &len), RSP_MORE);
	assert_int_equal(scan("$OK#9", got, &len), RSP_MORE);
	assert_int_equal(scan("$O$OK#9a", got, &len), RSP_SKIP);
	assert_int_equal(scan("%Stop:T05#00", got, &len), RSP_SKIP);
	assert_int_equal(scan("x", got, &len), RSP_SKIP);
}

static void test_scan_bounds_runs_and_packets(void **state)
{
	static char big[RSP_RAW_MAX + 16], out[RSP_PAYLOAD_MAX];
	size_t used, len, n = 0;
	uint8_t sum = 0;

	(void)state;
	memset(big, 'a', sizeof(big));
	big[0] = '$';
	assert_int_equal(rsp_scan((uint8_t *)big, sizeof(big), &used, (uint8_t *)out, &len),
			 RSP_TOO_BIG);
	assert_int_equal(rsp_scan((uint8_t *)big, RSP_RAW_MAX, &used, (uint8_t *)out, &len),
			 RSP_MORE);
	/* Runs of 97: 3 bytes become 98, beyond every bound */
	for (n = 1; n + 3 < 900; n += 3)
		memcpy(big + n, "a*~", 3);
	for (size_t i = 1; i < n; i++)
		sum = (uint8_t)(sum + (uint8_t)big[i]);
	snprintf(big + n, 4, "#%02x", sum);
	assert_int_equal(rsp_scan((uint8_t *)big, n + 3, &used, (uint8_t *)out, &len), RSP_DAMAGED);
}

static void test_frame_and_scan_are_inverse(void **state)
{
	uint8_t in[256], framed[600], out[RSP_PAYLOAD_MAX];
	size_t n, used, len;

	(void)state;
	for (int i = 0; i < 256; i++)
		in[i] = (uint8_t)i;
	assert_int_equal(rsp_frame(in, sizeof(in), framed, sizeof(framed), &n), VP_OK);
	assert_int_equal(rsp_scan(framed, n, &used, out, &len), RSP_PACKET);
	assert_int_equal(used, n);
	assert_int_equal(len, sizeof(in));
	assert_memory_equal(in, out, len);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(rsp_scan(framed, cut, &used, out, &len), RSP_MORE);
	assert_int_equal(rsp_frame(in, sizeof(in), framed, 500, &n), VP_E_RANGE);
}

static void test_hex_goes_both_ways(void **state)
{
	uint8_t in[3] = {0x00, 0x9f, 0xff}, out[3];
	char hex[6];

	(void)state;
	rsp_hex(in, 3, hex);
	assert_memory_equal(hex, "009fff", 6);
	assert_true(rsp_unhex("009FfF", 6, out, 3));
	assert_memory_equal(in, out, 3);
	assert_false(rsp_unhex("009f", 4, out, 3));
	assert_false(rsp_unhex("00xf", 4, out, 2));
	assert_false(rsp_unhex("00f", 3, out, 2));
}

static void test_first_request_clears_the_stubs_reader(void **state)
{
	(void)state;
	says("+");
	says(packet("OK"));
	assert_int_equal(rsp_queue(&r, "?", 1), VP_OK);
	expect_reply("OK");
	assert_string_equal(heard(), "+##z+$?#3f");
}

static void test_each_request_carries_one_acknowledgement(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		says("+");
		says(packet("OK"));
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(rsp_queuef(&r, "p%x", i), VP_OK);
	for (int i = 0; i < 3; i++)
		expect_reply("OK");
	assert_string_equal(heard(), "+##z+$p0#a0+$p1#a1+$p2#a2");
	says(packet("E01"));
	assert_int_equal(rsp_queue(&r, "D", 1), VP_OK);
	expect_reply("E01");
	assert_string_equal(heard(), "+$D#44");
}

static void test_unasked_stop_replies_are_skipped_and_noted(void **state)
{
	(void)state;
	says(packet("T02thread:01;"));
	says("%Stop:T05#00++");
	says(packet("PacketSize=1000"));
	assert_int_equal(rsp_queue(&r, "qSupported", 10), VP_OK);
	assert_false(r.stopped);
	expect_reply("PacketSize=1000");
	assert_true(r.stopped);
	/* Later one is an answer: that to `?`. */
	says(packet("T02thread:01;"));
	assert_int_equal(rsp_queue(&r, "?", 1), VP_OK);
	expect_reply("T02thread:01;");
}

static void test_replies_may_come_byte_by_byte(void **state)
{
	char bytes[256];
	pid_t pid;

	(void)state;
	snprintf(bytes, sizeof(bytes), "x+%%n:1#00%s+%s+%s", packet("T05"),
		 packet("a}\x03"
			"0* "),
		 packet("OK"));
	pid = fork();
	if (pid == 0) {
		for (const char *p = bytes; *p; p++) {
			if (write(peer, p, 1) != 1)
				_exit(1);
			usleep(200);
		}
		_exit(0);
	}
	assert_int_equal(rsp_queue(&r, "a", 1), VP_OK);
	assert_int_equal(rsp_queue(&r, "b", 1), VP_OK);
	expect_reply("a#0000");
	expect_reply("OK");
	waitpid(pid, NULL, 0);
}

static void test_damaged_reply_is_asked_for_again(void **state)
{
	(void)state;
	says("+$OK#00");
	says(packet("OK"));
	assert_int_equal(rsp_queue(&r, "D", 1), VP_OK);
	expect_reply("OK");
	assert_string_equal(heard(), "+##z+$D#44-");
}

static void test_refused_request_is_sent_again(void **state)
{
	(void)state;
	says("-+");
	says(packet("OK"));
	assert_int_equal(rsp_queue(&r, "D", 1), VP_OK);
	expect_reply("OK");
	assert_string_equal(heard(), "+##z+$D#44+##z+$D#44");
}

static void expect_error(int want)
{
	const char *got = "untouched";
	size_t len = 77;

	assert_int_equal(rsp_reply(&r, clock_in(SECOND / 20), &got, &len), want);
	assert_string_equal(got, "untouched");
	assert_int_equal(len, 77);
	/* and from then on nothing works */
	assert_int_equal(rsp_queue(&r, "D", 1), VP_E_PROTO);
	assert_int_equal(rsp_reply(&r, clock_in(SECOND), &got, &len), VP_E_PROTO);
}

static void test_damage_for_good_is_an_error(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++)
		says("$OK#00");
	assert_int_equal(rsp_queue(&r, "D", 1), VP_OK);
	expect_error(VP_E_PROTO);
}

static void test_damage_amid_a_batch_is_an_error(void **state)
{
	(void)state;
	says("$OK#00");
	says(packet("OK"));
	assert_int_equal(rsp_queue(&r, "a", 1), VP_OK);
	assert_int_equal(rsp_queue(&r, "b", 1), VP_OK);
	expect_error(VP_E_PROTO);
}

static void test_silence_ends_at_the_deadline(void **state)
{
	uint64_t begun = clock_now();

	(void)state;
	says("+$O");
	assert_int_equal(rsp_queue(&r, "D", 1), VP_OK);
	expect_error(VP_E_TIMEOUT);
	assert_true(clock_now() - begun < SECOND);
}

static void test_death_of_the_peer_is_seen(void **state)
{
	(void)state;
	says("+$O");
	assert_int_equal(rsp_queue(&r, "D", 1), VP_OK);
	close(peer);
	peer = -1;
	expect_error(VP_E_DISCONNECTED);
}

static void test_endless_packet_is_refused(void **state)
{
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		char noise[4096];

		memset(noise, 'a', sizeof(noise));
		noise[0] = '$';
		for (;;) {
			if (send(peer, noise, sizeof(noise), MSG_NOSIGNAL) < 0)
				_exit(0);
			noise[0] = 'a';
		}
	}
	assert_int_equal(rsp_queue(&r, "D", 1), VP_OK);
	expect_error(VP_E_PROTO);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_endless_noise_ends_at_the_deadline(void **state)
{
	static const char note[] = "%Stop:x#00++++T02thread:01;";
	uint64_t begun = clock_now();
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		for (;;)
			if (send(peer, note, sizeof(note) - 1, MSG_NOSIGNAL) < 0)
				_exit(0);
	assert_int_equal(rsp_queue(&r, "D", 1), VP_OK);
	expect_error(VP_E_TIMEOUT);
	assert_true(clock_now() - begun < 5 * SECOND);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_queue_is_bounded(void **state)
{
	static uint8_t big[RSP_PAYLOAD_MAX + 1];
	unsigned n = 0;

	(void)state;
	assert_int_equal(rsp_queue(&r, big, sizeof(big)), VP_E_RANGE);
	while (rsp_queue(&r, "p0", 2) == VP_OK)
		n++;
	assert_int_equal(n, RSP_BATCH_MAX);
}

/* --- the texts ------------------------------------------------------------------------------- */

static const char *const names[ARCH_REG_MAX] = {"rip", "rsp", "cr3", "TTBR1_EL1"};

static void test_xml_numbers_and_places(void **state)
{
	static const char main_doc[] =
		"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"x\"><target>"
		"<xi:include href=\"a.xml\"/><xi:include href='b-1.xml'/></target>";
	static const char core[] =
		"<!-- <reg name=\"no\" bitsize=\"8\"/> --><feature name=\"f\">"
		"<flags id=\"x\" size=\"4\"><field name=\"\" start=\"22\" end=\"31\"/></flags>"
		"<reg name=\"rax\" bitsize=\"64\" regnum=\"0\"/>\n<reg name='rsp' bitsize='64'/>"
		"<reg name=\"eflags\" bitsize=\"32\" type=\"x\"/><reg bitsize=\"64\" name=\"rip\" />"
		"</feature>";
	static const char sys[] = "<reg name=\"TTBR1_EL1\" bitsize=\"64\" regnum=\"175\"/>";
	struct gdb_xml x;

	(void)state;
	gdb_xml_init(&x, names);
	assert_int_equal(gdb_xml_add(&x, main_doc, strlen(main_doc)), VP_OK);
	assert_int_equal(x.n_includes, 2);
	assert_string_equal(x.include[0], "a.xml");
	assert_string_equal(x.include[1], "b-1.xml");
	assert_int_equal(gdb_xml_add(&x, core, strlen(core)), VP_OK);
	assert_int_equal(gdb_xml_add(&x, sys, strlen(sys)), VP_OK);
	assert_true(x.reg[0].known && x.reg[0].placed);
	assert_int_equal(x.reg[0].num, 3);
	assert_int_equal(x.reg[0].offset, 20);
	assert_int_equal(x.reg[1].num, 1);
	assert_int_equal(x.reg[1].offset, 8);
	assert_false(x.reg[2].known);
	assert_true(x.reg[3].known && !x.reg[3].placed);
	assert_int_equal(x.reg[3].num, 175);
}

static void test_xml_that_is_not_well_formed_is_refused(void **state)
{
	static const char *const bad[] = {
		"<reg name=\"rip\" bitsize=\"64\"",
		"<reg name=\"rip\"/>",
		"<reg bitsize=\"64\"/>",
		"<reg name=\"rip\" bitsize=\"0\"/>",
		"<reg name=\"rip\" bitsize=\"64\" regnum=\"99999999999\"/>",
		"<reg name=\"rip\" bitsize=\"64\" regnum=\"-1\"/>",
		"<reg name=\"rip\" bitsize=\"x\"/>",
		"<!-- ",
		"<xi:include href=\"../a\"/>",
		"<xi:include href=\"a#b\"/>",
		"<xi:include/>",
		"<xi:include href=\"a.xml\"/><reg name=\"rip\" bitsize=\"64\"/>",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct gdb_xml x;

		gdb_xml_init(&x, names);
		assert_int_equal(gdb_xml_add(&x, bad[i], strlen(bad[i])), VP_E_PROTO);
	}
}

static void test_ram_is_the_machines_memory_only(void **state)
{
	static const char text[] =
		"FlatView #0\r\n AS \"I/O\", root: io\r\n Root memory region: io\r\n"
		"  0000000000000000-0000000000000007 (prio 0, ram): dma owner:{obj path=/objects/no}\r\n"
		"\r\nFlatView #1\r\n AS \"memory\", root: system\r\n AS \"cpu-memory-0\", root: system\r\n"
		" Root memory region: system\r\n"
		"  0000000000000000-000000000009ffff (prio 0, ram): pc.ram owner:{obj path=/objects/pc.ram} KVM\r\n"
		"  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem owner:{dev path=/machine/x}\r\n"
		"  00000000000c0000-00000000000cafff (prio 0, rom): mm owner:{obj path=/objects/mm}\r\n"
		"  00000000000f0000-00000000000fffff (prio 0, ram): pc.bios parent:{obj path=/machine/unattached}\r\n"
		"  0000000000100000-0000000003ffffff (prio 0, ram): pc.ram @0000000000100000 owner:{obj path=/objects/pc.ram}\r\n"
		"  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram owner:{dev path=/machine/y}\r\n"
		"  00000000fe000000-00000000fe0fffff (prio 1, ram): sh owner:{obj path=/objects/sh}\r\n"
		"  0000000100000000-0000000107ffffff (prio 0, ram): m1 owner:{obj path=/objects/m1} KVM\r\n"
		"  0000000200000000-0000000207ffffff (prio 0, romd): virt.flash0 owner:{obj path=/objects/m1}\r\n"
		"\r\nFlatView #2\r\n AS \"other\", root: x\r\n"
		"  0000000800000000-0000000807ffffff (prio 0, ram): m1 owner:{obj path=/objects/m1} KVM\r\n";
	struct qemu_range ram[4];
	size_t n;

	(void)state;
	assert_int_equal(qemu_text_ram(text, ram, 4, &n), VP_OK);
	assert_int_equal(n, 3);
	assert_int_equal(ram[0].start, 0);
	assert_int_equal(ram[0].len, 0xa0000);
	assert_int_equal(ram[1].start, 0x100000);
	assert_int_equal(ram[1].len, 0x3f00000);
	assert_int_equal(ram[2].start, UINT64_C(0x100000000));
	assert_int_equal(ram[2].len, 0x8000000);
	assert_int_equal(qemu_text_ram(text, ram, 2, &n), VP_E_RANGE);
	assert_int_equal(qemu_text_ram("", ram, 4, &n), VP_E_PROTO);
	assert_int_equal(qemu_text_ram("unknown command: 'info mtree'\r\n", ram, 4, &n),
			 VP_E_PROTO);
}

static void test_host_address_is_read(void **state)
{
	uint64_t hva;

	(void)state;
	assert_int_equal(
		qemu_text_hva("Host virtual address for 0x100000 (pc.ram) is 0x7f3ec7f00000\r\n",
			      &hva),
		VP_OK);
	assert_int_equal(hva, UINT64_C(0x7f3ec7f00000));
	assert_int_equal(qemu_text_hva("Host virtual address for 0x1 (a is 0x5) is 0x7f\n", &hva),
			 VP_OK);
	assert_int_equal(hva, 0x7f);
	assert_int_equal(qemu_text_hva("No memory is mapped at address 0xffffffff0\n", &hva),
			 VP_E_UNMAPPED);
	assert_int_equal(qemu_text_hva("Host virtual address for 0x1 (a) is 0x\n", &hva),
			 VP_E_UNMAPPED);
	assert_int_equal(
		qemu_text_hva("Host virtual address for 0x1 (a) is 0x12345678123456789\n", &hva),
		VP_E_UNMAPPED);
}

static void test_registers_in_both_widths(void **state)
{
	static const char *const want[ARCH_REG_MAX] = {
		"rip", "rsp", "cr0", "cr3", "cr4", "efer", "cs", "eflags", "gs_base", "k_gs_base"};
	static const char text[] =
		"\r\nCPU#0\r\nEAX=00000000 EBX=00000000\r\nESI=0 EDI=0 EBP=0 ESP=00006f94\r\n"
		"EIP=0000b7b9 EFL=00000246 [---Z-P-] CPL=0\r\nCS =f000 000f0000 0000ffff 00009b00\r\n"
		"GS =d980 000d9800 0000ffff 00009300\r\nCR0=00000010 CR2=00000000 CR3=00000000 CR4=00000000\r\n"
		"EFER=0000000000000000\r\n\r\nCPU#1\r\n"
		"RSI=1 RDI=2 RBP=3 RSP=ffffffff82603e40\r\nRIP=ffffffff81c0a0bb RFL=00000246 [] CPL=0\r\n"
		"CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]\r\n"
		"GS =0000 ffff88803ec00000 ffffffff 00c00000\r\n"
		"CR0=80050033 CR2=00007f0000000000 CR3=000000000260a000 CR4=000006f0\r\n"
		"EFER=0000000000000d01\r\n";
	struct arch_regs regs;

	(void)state;
	assert_int_equal(qemu_text_regs(text, 1, want, &regs), VP_OK);
	assert_int_equal(regs.have, 0x1ff);
	assert_int_equal(regs.v[0], UINT64_C(0xffffffff81c0a0bb));
	assert_int_equal(regs.v[1], UINT64_C(0xffffffff82603e40));
	assert_int_equal(regs.v[2], 0x80050033);
	assert_int_equal(regs.v[3], 0x260a000);
	assert_int_equal(regs.v[5], 0xd01);
	assert_int_equal(regs.v[6], 0x10);
	assert_int_equal(regs.v[8], UINT64_C(0xffff88803ec00000));
	assert_int_equal(qemu_text_regs(text, 0, want, &regs), VP_OK);
	assert_int_equal(regs.v[0], 0xb7b9);
	assert_int_equal(regs.v[7], 0x246);
	assert_int_equal(qemu_text_regs(text, 2, want, &regs), VP_E_PROTO);
}

#define WITH_PEER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_decodes_escapes_and_runs),
		cmocka_unit_test(test_scan_refuses_what_means_nothing),
		cmocka_unit_test(test_scan_bounds_runs_and_packets),
		cmocka_unit_test(test_frame_and_scan_are_inverse),
		cmocka_unit_test(test_hex_goes_both_ways),
		WITH_PEER(test_first_request_clears_the_stubs_reader),
		WITH_PEER(test_each_request_carries_one_acknowledgement),
		WITH_PEER(test_unasked_stop_replies_are_skipped_and_noted),
		WITH_PEER(test_replies_may_come_byte_by_byte),
		WITH_PEER(test_damaged_reply_is_asked_for_again),
		WITH_PEER(test_refused_request_is_sent_again),
		WITH_PEER(test_damage_for_good_is_an_error),
		WITH_PEER(test_damage_amid_a_batch_is_an_error),
		WITH_PEER(test_silence_ends_at_the_deadline),
		WITH_PEER(test_death_of_the_peer_is_seen),
		WITH_PEER(test_endless_packet_is_refused),
		WITH_PEER(test_endless_noise_ends_at_the_deadline),
		WITH_PEER(test_queue_is_bounded),
		cmocka_unit_test(test_xml_numbers_and_places),
		cmocka_unit_test(test_xml_that_is_not_well_formed_is_refused),
		cmocka_unit_test(test_ram_is_the_machines_memory_only),
		cmocka_unit_test(test_host_address_is_read),
		cmocka_unit_test(test_registers_in_both_widths),
	};

	return cmocka_run_group_tests_name("rsp", tests, NULL, NULL);
}
