/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The error set. Every failure in vpatch is one of these; the row carries the stable reason
 * that machines read, the exit code that the command ends with, and one sentence for people.
 *
 * Exit codes: 0 in the wanted state; 1 not in the wanted state, guest as before; 2 usage;
 * 3 busy, try again; 4 an operator is needed.
 *
 * A function returns VP_OK (0) or one of these, all negative. Reasons are part of the contract
 * with machines: rows may be added, a reason never changes its meaning.
 */
#ifndef VP_PROTOCOL_ERR_H
#define VP_PROTOCOL_ERR_H

#define VP_MUST_USE __attribute__((warn_unused_result))

/* clang-format off */
#define VP_ERRORS(X) \
	/* the host and its arguments */ \
	X(USAGE,            2, "usage",                "the command line does not say what to do") \
	X(NOMEM,            1, "out-of-memory",        "the host has no memory left for this") \
	X(IO,               1, "io",                   "the host could not read or write a file or socket") \
	X(DISK_FULL,        1, "disk-full",            "the journal could not be made durable") \
	X(PERM,             1, "no-permission",        "the caller may not do this") \
	X(RANGE,            1, "range",                "an address or length lies outside what it must lie in") \
	X(INTERNAL,         1, "internal",             "vpatch met a state of its own that it does not trust") \
	X(CONFIG,           2, "config",               "the configuration file is not right") \
	X(TOOL,             1, "tool",                 "a build tool failed") \
	/* the way in */ \
	X(NO_DOMAIN,        1, "no-domain",            "there is no such domain") \
	X(NOT_QMP,          1, "not-qmp",              "what answers there does not speak QMP") \
	X(MONITOR_BUSY,     3, "monitor-busy",         "another client holds the monitor") \
	X(DISCONNECTED,     3, "disconnected",         "the VMM went away in the middle of the call") \
	X(TIMEOUT,          3, "timeout",              "the VMM did not answer in time") \
	X(PROTO,            1, "protocol",             "the VMM answered something that the protocol does not allow") \
	X(UNSUPPORTED,      1, "unsupported",          "this VMM or host cannot do what is needed") \
	X(DEBUGGED,         3, "debugged",             "somebody else is debugging the guest") \
	X(LOCKED,           3, "locked",               "another vpatch is at work on this domain") \
	X(HELD,             1, "held",                 "an operator has put a hold on this domain") \
	X(MIGRATING,        3, "migrating",            "the guest is migrating") \
	X(SHUTDOWN,         1, "shutting-down",        "the guest is shutting down or has ended") \
	X(PAUSED,           4, "left-paused",          "the guest could not be let go and is still held") \
	/* what the guest is */ \
	X(NOT_LINUX,        1, "not-linux",            "no Linux kernel that vpatch can read runs in this guest") \
	X(BOOTING,          3, "booting",              "the guest kernel is still booting") \
	X(PANICKED,         1, "panicked",             "the guest kernel has panicked") \
	X(GUEST_CORRUPT,    1, "guest-corrupt",        "guest memory does not hold what a sound kernel would hold") \
	X(GUEST_AMBIGUOUS,  1, "guest-ambiguous",      "more than one kernel in guest memory looks real") \
	X(UNMAPPED,         1, "unmapped",             "the guest kernel does not map this address as it must") \
	X(WRONG_ARCH,       1, "wrong-arch",           "the hotfix is for another architecture") \
	X(WRONG_KERNEL,     1, "not-for-this-kernel",  "the hotfix is for another kernel") \
	/* the bundle */ \
	X(BUNDLE,           1, "bad-bundle",           "the bundle is damaged or not a bundle") \
	X(UNTRUSTED,        1, "untrusted",            "the bundle is not signed by a trusted key") \
	X(REVOKED,          1, "revoked",              "the bundle or its key has been revoked") \
	X(VERSION,          1, "format-version",       "the format is newer than this vpatch knows") \
	X(SECTION,          1, "section",              "the hotfix has a section that cannot be carried faithfully") \
	X(RELOC,            1, "relocation",           "a relocation cannot be applied") \
	X(SYM_UNKNOWN,      1, "symbol-unknown",       "the guest kernel has no such symbol") \
	X(SYM_AMBIGUOUS,    1, "symbol-ambiguous",     "the guest kernel has several symbols of that name") \
	X(CLONES,           1, "function-clones",      "the compiler made clones of the function that the hotfix does not list") \
	X(QUIESCE,          1, "quiesce",              "nobody can show that no task is inside the functions") \
	/* the site */ \
	X(NO_SITE,          1, "no-patch-site",        "the function has no patchable entry") \
	X(SITE_TRACED,      1, "site-traced",          "the guest itself has taken the site") \
	X(SITE_TAKEN,       1, "site-taken",           "another hotfix has taken the function") \
	X(SITE_BYTES,       1, "site-bytes",           "the bytes at the site are not the ones expected") \
	X(SITE_IN_USE,      3, "site-in-use",          "a vCPU stands inside the site") \
	X(GUEST_PATCHING,   3, "guest-patching",       "the guest kernel is changing its own text") \
	X(GUEST_CHANGED,    3, "guest-changed",        "the guest changed between plan and window") \
	X(ARENA_FULL,       1, "arena-full",           "the payload does not fit into the arena") \
	X(REACH,            1, "out-of-reach",         "a branch does not reach its target") \
	X(SHADOWED,         4, "shadows-guest-patch",  "the guest's own tracer or livepatch has taken a patched function since") \
	/* the transaction */ \
	X(DEADLINE,         3, "deadline",             "the deadline passed; everything was put back") \
	X(NOT_APPLIED,      1, "not-applied",          "no such hotfix is applied") \
	X(DOWNGRADE,        1, "downgrade",            "a newer version of this hotfix is applied") \
	X(PENDING,          4, "recover-needed",       "an earlier change was interrupted") \
	X(PARTIAL,          4, "partial",              "some words of the hotfix are in place and others are not") \
	X(TORN,             4, "torn",                 "undoing a change failed; the guest is left paused") \
	X(JOURNAL,          4, "journal",              "the journal is damaged beyond its last record") \
	X(HOLDER,           3, "holder-died",          "the process holding the guest died; the change was undone") \
	X(LEDGER,           4, "ledger",               "the guest's ledger is not one that vpatch wrote") \
	X(DISCIPLINE,       1, "discipline",           "the change is not right under running CPUs in this way") \
	/* the site table */ \
	X(SITES,            1, "site-table",           "the guest's site table is damaged or not a site table") \
	X(NO_STUB,          1, "no-stub",              "no stub in this guest has published a site table")
/* clang-format on */

enum vp_err_row {
#define VP_ROW(name, exit, reason, sentence) VP_ROW_##name,
	VP_ERRORS(VP_ROW)
#undef VP_ROW
		VP_ROW_COUNT
};

enum vp_err {
	VP_OK = 0,
#define VP_ROW(name, exit, reason, sentence) VP_E_##name = -1 - VP_ROW_##name,
	VP_ERRORS(VP_ROW)
#undef VP_ROW
};

/* The stable reason, such as "site-traced"; "ok" for VP_OK, "internal" for anything unknown. */
const char *vp_err_reason(int err);

/* One sentence, without full stop, that fits behind "vpatch: DOMAIN: ". */
const char *vp_err_sentence(int err);

/* The exit code, 0 to 4. */
int vp_err_exit(int err);

#endif
