/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The built command, as a user or a program meets it: O/vpatch beside this O/tests/unit. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "tests/lib/certs.h"
#include "tests/lib/sample.h"

#define OUTPUT_MAX (1 << 20)

static char vpatch[PATH_MAX];
static char top[64];
static char out[OUTPUT_MAX], err[OUTPUT_MAX];

static const char *const commands[] = {"build",   "sign",    "verify", "show",
				       "inspect", "apply",   "status", "revert",
				       "events",  "recover", "help",   "version"};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* --- running it -------------------------------------------------------------------------------- */

static void read_back(const char *name, char *to)
{
	FILE *f = fopen(name, "r");
	size_t n;

	assert_non_null(f);
	n = fread(to, 1, OUTPUT_MAX - 1, f);
	to[n] = '\0';
	fclose(f);
}

static void child(const char *const *argv, const char *stdout_file)
{
	int o = open(stdout_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int e = open("stderr", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (o < 0 || e < 0 || dup2(o, 1) < 0 || dup2(e, 2) < 0)
		_exit(99);
	execv(vpatch, (char *const *)(uintptr_t)argv); /* execv changes nothing */
	_exit(98);
}

/* Runs in the test's directory; the exit code, or 100 + signal. Output goes to out and err. */
static int run_to(const char *stdout_file, const char *const *argv)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		child(argv, stdout_file);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	read_back("stderr", err);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int run_argv(const char *const *argv)
{
	int r = run_to("stdout", argv);

	read_back("stdout", out);
	return r;
}

#define run(...) run_argv((const char *[]){"vpatch", __VA_ARGS__, NULL})

/* One object, nothing else on stdout; the three keys that are always there. */
static struct json_object *object(void)
{
	struct json_tokener *t = json_tokener_new();
	char *end = strchr(out, '\n');
	struct json_object *o, *v;

	assert_true(end && end[1] == '\0'); /* one line */
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(t, out, (int)(end - out));
	if (!o || json_tokener_get_parse_end(t) != (size_t)(end - out))
		fail_msg("not one JSON object: %s", out);
	json_tokener_free(t);
	assert_true(json_object_object_get_ex(o, "schema", &v));
	assert_true(json_object_object_get_ex(o, "changed", &v));
	assert_true(json_object_is_type(v, json_type_boolean));
	assert_true(json_object_object_get_ex(o, "reason", &v));
	return o;
}

static void assert_json(const char *schema, const char *reason, int code)
{
	struct json_object *o = object();
	const char *got = json_object_get_string(json_object_object_get(o, "reason"));

	assert_string_equal(json_object_get_string(json_object_object_get(o, "schema")), schema);
	if (strcmp(got, reason) != 0)
		fail_msg("reason %s, wanted %s: %s", got, reason, out);
	assert_int_equal(json_object_get_int(json_object_object_get(o, "exit")), code);
	assert_false(code && json_object_get_boolean(json_object_object_get(o, "changed")));
	assert_true(!code == !json_object_get_string_len(json_object_object_get(o, "message")));
	json_object_put(o);
}

/* One sentence for people. */
static void assert_says(const char *words)
{
	if (strncmp(err, "vpatch: ", 8) != 0 || !strstr(err, words) ||
	    strchr(err, '\n') != err + strlen(err) - 1)
		fail_msg("'%s' does not say '%s' in one line", err, words);
}

/* --- the directory it runs in -------------------------------------------------------------------- */

static void save(const char *name, const void *buf, size_t len)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(buf, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void write_conf(const char *more)
{
	char conf[PATH_MAX];
	int n = snprintf(conf, sizeof(conf),
			 "certs-dir = %s/certs.d\nrevoked-dir = %s/revoked.d\n"
			 "state-dir = %s/state\nrun-dir = %s/run\n%s",
			 top, top, top, top, more);

	save("vpatch.conf", conf, (size_t)n);
}

static void save_sample(void)
{
	static const char meta[] = "name=fix-one\0version=1.2\0fixes=CVE-2024-0001\0"
				   "replace=old_function,0,fixed\0";
	static struct sample s;
	struct diag diag;
	uint8_t *buf;
	size_t len;

	sample_init(&s, arch_get(ARCH_X86_64), meta, sizeof(meta) - 1);
	if (sample_pack(&s, &diag, &buf, &len))
		fail_msg("the sample cannot be packed: %s", diag.text);
	save("unsigned.vpatch", buf, len);
	free(buf);
}

static bool find_vpatch(void)
{
	ssize_t n = readlink("/proc/self/exe", vpatch, sizeof(vpatch) - 8);

	vpatch[n < 0 ? 0 : n] = '\0';
	for (int i = 0; i < 3 && n > 0; i++) {
		char *slash = strrchr(vpatch, '/');

		if (slash)
			*slash = '\0';
	}
	strcat(vpatch, "/vpatch");
	return access(vpatch, X_OK) == 0;
}

static int setup(void **state)
{
	char conf[PATH_MAX];

	(void)state;
	strcpy(top, "/tmp/vp-cli.XXXXXX");
	if (!mkdtemp(top) || chdir(top) || mkdir("certs.d", 0755) || mkdir("revoked.d", 0755))
		return -1;
	if (!certs_make(top, "alice", NULL))
		return -1;
	if (rename("alice.der", "certs.d/alice.der"))
		return -1;
	snprintf(conf, sizeof(conf), "%s/vpatch.conf", top);
	setenv("VPATCH_CONFIG", conf, 1);
	unsetenv("NO_COLOR");
	setenv("TERM", "xterm", 1);
	write_conf("");
	save_sample();
	save("plain", "these are no bundle", 19);
	return run("sign", "unsigned.vpatch", "--key", "alice.key", "--cert", "alice.pem", "-o",
		   "fix.vpatch");
}

static void remove_tree(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[PATH_MAX];

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (unlink(path))
			remove_tree(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

static int teardown(void **state)
{
	(void)state;
	if (chdir("/"))
		return -1;
	remove_tree(top);
	return 0;
}

/* --- usage ------------------------------------------------------------------------------------- */

static void test_every_command_has_help_with_an_example(void **state)
{
	(void)state;
	assert_int_equal(run("help"), 0);
	for (size_t i = 0; i < COMMANDS; i++)
		assert_non_null(strstr(out, commands[i]));
	assert_int_equal(run("--help"), 0);
	for (size_t i = 0; i < COMMANDS; i++) {
		char example[64];

		snprintf(example, sizeof(example), "\nexample:\n  vpatch %s", commands[i]);
		assert_int_equal(run(commands[i], "--help"), 0);
		assert_non_null(strstr(out, example));
		assert_string_equal(err, "");
		assert_int_equal(run("help", commands[i]), 0);
		assert_non_null(strstr(out, example));
	}
}

static void test_usage_errors_exit_2_with_words_and_json(void **state)
{
	static const char *const rows[][5] = {
		{"vpatch", NULL},
		{"vpatch", "frobnicate", NULL},
		{"vpatch", "--frobnicate", NULL},
		{"vpatch", "", NULL},
		{"vpatch", "apply", NULL},
		{"vpatch", "apply", "domain", NULL},
		{"vpatch", "apply", "", "fix.vpatch", NULL},
		{"vpatch", "inspect", "a", "b", NULL},
		{"vpatch", "inspect", "a", "--dry-run", NULL},
		{"vpatch", "inspect", "a", "--symb", NULL},
		{"vpatch", "inspect", "a", "-x", NULL},
		{"vpatch", "inspect", "a", "--driver=kvm", NULL},
		{"vpatch", "inspect", "a", "--driver", NULL},
		{"vpatch", "recover", "--dry-run=yes", NULL},
		{"vpatch", "recover", "--json=yes", NULL},
		{"vpatch", "revert", "a", "b", "--deadline=soon"},
		{"vpatch", "sign", "plain", "--key=alice.key", NULL},
		{"vpatch", "build", "fix.c", "-o", "x"},
		{"vpatch", "help", "frobnicate", NULL},
		{"vpatch", "version", "--config", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *argv[8] = {0};

		memcpy(argv, rows[i], sizeof(rows[i]));
		if (run_argv(argv) != 2)
			fail_msg("row %zu: %s%s", i, out, err);
		assert_string_equal(out, "");
		assert_says(": ");
		/* Behind everything, but not where it would be an option's argument. */
		for (int n = 1; n < 7; n++)
			if (!argv[n]) {
				argv[n] = "--json";
				break;
			}
		if (i == 12 || i == 14 || i == 19)
			continue;
		assert_int_equal(run_argv(argv), 2);
		json_object_put(object());
		assert_non_null(strstr(out, "\"reason\":\"usage\""));
	}
}

static void test_options_may_stand_anywhere_and_words_behind_two_dashes(void **state)
{
	(void)state;
	assert_int_equal(run("--json", "verify", "fix.vpatch"), 0);
	assert_json("vpatch.verify/1", "ok", 0);
	assert_int_equal(run("verify", "--json", "--", "fix.vpatch"), 0);
	assert_json("vpatch.verify/1", "ok", 0);
	assert_int_equal(run("verify", "--", "--json"), 1); /* a file of that name */
	assert_says("--json: ");
	assert_string_equal(out, "");
}

static void test_bytes_of_the_command_line_reach_no_terminal_and_no_json_raw(void **state)
{
	(void)state;
	assert_int_equal(run("verify", "\033[2J\xff\xfe\n.vpatch"), 1);
	assert_null(strchr(err, '\033'));
	assert_null(strchr(err, '\xff'));
	assert_says("?");
	assert_int_equal(run("verify", "\033[2J\xff\xfe\".vpatch", "--json"), 1);
	assert_json("vpatch.verify/1", "io", 1);
	assert_null(strchr(out, '\xff'));
	assert_int_equal(run("\xc3\x28\033", "--json"), 2);
	assert_json("vpatch.error/1", "usage", 2);
}

static void test_version_names_the_formats(void **state)
{
	(void)state;
	assert_int_equal(run("version"), 0);
	assert_non_null(strstr(out, "vpatch " VP_VERSION));
	assert_int_equal(run("--version"), 0);
	assert_int_equal(run("version", "--json"), 0);
	assert_json("vpatch.version/1", "ok", 0);
}

/* --- configuration ------------------------------------------------------------------------------- */

static void test_bad_configuration_exits_2_by_file_and_line(void **state)
{
	(void)state;
	write_conf("nonsense = 1\n");
	assert_int_equal(run("verify", "fix.vpatch"), 2);
	assert_says("vpatch.conf:5: ");
	assert_int_equal(run("recover", "--json"), 2);
	assert_json("vpatch.recover/1", "config", 2);
	assert_int_equal(run("help"), 0); /* somebody may be looking for how to write one */
	save("other.conf", "driver = gdb\n", 13);
	assert_int_equal(run("--config", "other.conf", "verify", "fix.vpatch"), 1);
	write_conf("");
	assert_int_equal(run("--config", "/nonexistent", "verify", "fix.vpatch"), 2);
	assert_int_equal(run("verify", "fix.vpatch", "--config=/nonexistent"), 2);
}

/* --- bundles ------------------------------------------------------------------------------------- */

static void test_sign_and_verify(void **state)
{
	(void)state;
	assert_int_equal(run("verify", "fix.vpatch"), 0);
	assert_non_null(strstr(out, "signed by CN=alice"));
	assert_int_equal(run("verify", "plain", "--json"), 1);
	assert_json("vpatch.verify/1", "untrusted", 1);
	save("mine", "any bytes", 9);
	assert_int_equal(chmod("mine", 0644), 0);
	assert_int_equal(run("sign", "mine", "--key", "alice.key", "--cert", "alice.pem", "--json",
			     "--digest=sha512"),
			 0);
	json_object_put(object());
	assert_non_null(strstr(out, "\"changed\":true"));
	assert_int_equal(run("verify", "mine", "--json"), 0);
	assert_non_null(strstr(out, "\"digest\":\"sha512\""));
	assert_int_equal(
		run("sign", "mine", "--key", "alice.key", "--cert", "alice.pem", "--digest=md5"),
		2);
	assert_int_equal(run("sign", "absent", "--key", "alice.key", "--cert", "alice.pem"), 1);
	assert_int_equal(run("sign", "mine", "--key", "alice.key", "--cert", "alice.pem", "-o",
			     "/nonexistent/mine"),
			 1);
	assert_int_equal(run("verify", "mine"), 0); /* as it was */
}

static void test_show_describes_signed_and_unsigned(void **state)
{
	(void)state;
	assert_int_equal(run("show", "fix.vpatch"), 0);
	assert_non_null(strstr(out, "fix-one 1.2"));
	assert_non_null(strstr(out, "CVE-2024-0001"));
	assert_non_null(strstr(out, "old_function by fixed"));
	assert_non_null(strstr(out, "CN=alice (sha256), trusted"));
	assert_null(strchr(out, '\033')); /* no colours in a file */
	assert_int_equal(run("show", "fix.vpatch", "--json"), 0);
	assert_json("vpatch.show/1", "ok", 0);
	assert_int_equal(run("show", "unsigned.vpatch"), 0);
	assert_non_null(strstr(out, "not signed"));
	assert_int_equal(run("show", "plain", "--json"), 1);
	assert_json("vpatch.show/1", "bad-bundle", 1);
	assert_int_equal(run("show", "/dev/zero", "--json"), 1);
	assert_int_equal(run("show", ".", "--json"), 1);
	json_object_put(object());
}

/* --- who may apply -------------------------------------------------------------------------------- */

#define NOBODY "qmp:/nonexistent/vm.sock"

static void test_apply_looks_at_the_signature_before_anything_else(void **state)
{
	(void)state;
	assert_int_equal(run("apply", NOBODY, "absent.vpatch", "--json"), 1);
	assert_json("vpatch.apply/1", "io", 1);
	assert_int_equal(run("apply", NOBODY, "plain", "--json"), 1); /* not even a bundle */
	assert_json("vpatch.apply/1", "untrusted", 1);
	assert_says("plain: the bundle is not signed");
	assert_int_equal(run("apply", NOBODY, "plain", "--json", "--allow-unsigned"), 1);
	assert_json("vpatch.apply/1", "bad-bundle", 1);
	assert_int_equal(run("apply", NOBODY, "fix.vpatch", "--json"), 1);
	assert_json("vpatch.apply/1", "no-domain", 1);
	assert_int_equal(run("apply", NOBODY, "fix.vpatch"), 1);
	assert_says("vpatch: " NOBODY ": ");
}

static void test_allow_unsigned_says_so_and_can_be_taken_away(void **state)
{
	(void)state;
	assert_int_equal(run("apply", NOBODY, "unsigned.vpatch", "--json"), 1);
	assert_json("vpatch.apply/1", "untrusted", 1);
	assert_int_equal(run("apply", NOBODY, "unsigned.vpatch", "--json", "--allow-unsigned"), 1);
	assert_json("vpatch.apply/1", "no-domain", 1);
	assert_non_null(strstr(out, "let in by --allow-unsigned"));
	assert_int_equal(run("apply", NOBODY, "unsigned.vpatch", "--allow-unsigned"), 1);
	assert_non_null(strstr(err, "let in by --allow-unsigned"));
	write_conf("require-signature = always\n");
	assert_int_equal(run("apply", NOBODY, "unsigned.vpatch", "--json", "--allow-unsigned"), 1);
	assert_json("vpatch.apply/1", "untrusted", 1);
	assert_says("require-signature = always");
	write_conf("");
}

static void test_revoked_is_refused_whatever_is_allowed(void **state)
{
	struct json_object *o;
	char line[80];

	(void)state;
	assert_int_equal(run("show", "fix.vpatch", "--json"), 0);
	o = object();
	snprintf(line, sizeof(line), "%s\n",
		 json_object_get_string(json_object_object_get(o, "id")));
	json_object_put(o);
	save("revoked.d/x.sha256", line, strlen(line));
	assert_int_equal(run("apply", NOBODY, "fix.vpatch", "--json", "--allow-unsigned"), 1);
	assert_json("vpatch.apply/1", "revoked", 1);
	assert_int_equal(run("apply", NOBODY, "unsigned.vpatch", "--json", "--allow-unsigned"), 1);
	assert_json("vpatch.apply/1", "revoked", 1);
	assert_int_equal(unlink("revoked.d/x.sha256"), 0);
	save("revoked.d/notes.txt", "?", 1);
	assert_int_equal(run("apply", NOBODY, "unsigned.vpatch", "--json", "--allow-unsigned"), 1);
	assert_json("vpatch.apply/1", "io", 1);
	assert_int_equal(unlink("revoked.d/notes.txt"), 0);
	assert_int_equal(rename("revoked.d", "away"), 0); /* named in the configuration, and gone */
	assert_int_equal(run("apply", NOBODY, "unsigned.vpatch", "--json", "--allow-unsigned"), 1);
	assert_json("vpatch.apply/1", "io", 1);
	assert_int_equal(rename("away", "revoked.d"), 0);
}

static void test_commands_on_a_domain_that_is_not_there(void **state)
{
	(void)state;
	assert_int_equal(run("inspect", NOBODY, "--json"), 1);
	assert_json("vpatch.inspect/1", "no-domain", 1);
	assert_int_equal(run("inspect", NOBODY, "--symbols"), 1);
	assert_string_equal(out, "");
	assert_int_equal(run("status", NOBODY, "--json"), 1);
	assert_json("vpatch.status/1", "no-domain", 1);
	assert_int_equal(run("revert", NOBODY, "fix-one", "--json"), 1);
	assert_json("vpatch.revert/1", "no-domain", 1);
	assert_int_equal(run("recover", "--json"), 0);
	assert_json("vpatch.recover/1", "ok", 0);
	assert_int_equal(run("recover"), 0);
	assert_non_null(strstr(out, "nothing to recover"));
}

/* --- where the output goes ------------------------------------------------------------------------ */

static void test_output_that_nobody_reads_is_noticed_and_changes_no_exit_code(void **state)
{
	pid_t pid;
	int p[2], status;

	(void)state;
	assert_int_equal(
		run_to("/dev/full", (const char *[]){"vpatch", "verify", "fix.vpatch", NULL}), 0);
	assert_says("could not be written");
	assert_int_equal(
		run_to("/dev/full", (const char *[]){"vpatch", "verify", "plain", "--json", NULL}),
		1);
	/* A pipe whose reader has gone. */
	assert_int_equal(pipe(p), 0);
	close(p[0]);
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		execl(vpatch, "vpatch", "verify", "fix.vpatch", NULL);
		_exit(98);
	}
	close(p[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_closed_descriptors_are_not_reused_for_files(void **state)
{
	pid_t pid = fork();
	int status;
	struct stat before, after;

	(void)state;
	assert_int_equal(stat("fix.vpatch", &before), 0);
	if (pid == 0) {
		close(0);
		close(1);
		close(2);
		execl(vpatch, "vpatch", "show", "fix.vpatch", NULL);
		_exit(98);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(stat("fix.vpatch", &after), 0);
	assert_int_equal(before.st_size, after.st_size);
}

/* --- pages ----------------------------------------------------------------------------------------- */

static int sh(const char *cmd)
{
	int r = system(cmd);

	return WIFEXITED(r) ? WEXITSTATUS(r) : -1;
}

static void test_man_page_has_every_command_option_and_reason_without_warnings(void **state)
{
	static const char *const reasons[] = {
#define VP_ROW(name, exit, reason, sentence) reason,
		VP_ERRORS(VP_ROW)
#undef VP_ROW
	};

	(void)state;
	assert_int_equal(run("help", "--man"), 0);
	save("vpatch.1", out, strlen(out));
	for (size_t i = 0; i < COMMANDS; i++) {
		char head[32];

		snprintf(head, sizeof(head), ".SS %s", commands[i]);
		assert_non_null(strstr(out, head));
	}
	for (const char *p = out; (p = strstr(p, "\n-")); p++)
		fail_msg("a minus that is not escaped: %.40s", p);
	if (sh("command -v man >/dev/null && man -l vpatch.1 >/dev/null 2>&1") != 0) {
		print_message("man(1) is missing: the page was not formatted\n");
		skip();
	}
	assert_int_equal(sh("LC_ALL=C.UTF-8 MANWIDTH=80 man -l --warnings -E UTF-8 vpatch.1 >page "
			    "2>warnings"),
			 0);
	read_back("warnings", err);
	assert_string_equal(err, "");
	read_back("page", out);
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		assert_non_null(strstr(out, reasons[i]));
	assert_non_null(strstr(out, "--allow-downgrade"));
}

/* Types `words` and presses the tab key behind them; what is offered goes to out. */
static void complete(const char *words)
{
	char cmd[1024];

	snprintf(cmd, sizeof(cmd),
		 "bash -c 'set -u; . ./vpatch.bash; COMP_WORDS=(%s); "
		 "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _vpatch; "
		 "printf \"%%s\\n\" ${COMPREPLY[@]+\"${COMPREPLY[@]}\"}' >stdout 2>stderr",
		 words);
	assert_int_equal(sh(cmd), 0);
	read_back("stderr", err);
	assert_string_equal(err, "");
	read_back("stdout", out);
}

static void test_completion_offers_commands_options_values_and_files(void **state)
{
	(void)state;
	assert_int_equal(run("help", "--bash-completion"), 0);
	save("vpatch.bash", out, strlen(out));
	assert_int_equal(sh("bash -n vpatch.bash"), 0);
	complete("vpatch re");
	assert_string_equal(out, "revert\nrecover\n");
	complete("vpatch --config other.conf ver");
	assert_string_equal(out, "verify\nversion\n");
	complete("vpatch apply --al");
	assert_string_equal(out, "--allow-unsigned\n--allow-downgrade\n");
	complete("vpatch inspect --dry");
	assert_string_equal(out, "\n");
	complete("vpatch inspect dom --driver \"\"");
	assert_string_equal(out, "auto\nkvm\ngdb\n");
	complete("vpatch show fix.v");
	assert_string_equal(out, "fix.vpatch\n");
	complete("vpatch apply --deadline 10ms dom fix.v");
	assert_string_equal(out, "fix.vpatch\n");
	complete("vpatch help ver");
	assert_string_equal(out, "verify\nversion\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_command_has_help_with_an_example),
		cmocka_unit_test(test_usage_errors_exit_2_with_words_and_json),
		cmocka_unit_test(test_options_may_stand_anywhere_and_words_behind_two_dashes),
		cmocka_unit_test(test_bytes_of_the_command_line_reach_no_terminal_and_no_json_raw),
		cmocka_unit_test(test_version_names_the_formats),
		cmocka_unit_test(test_bad_configuration_exits_2_by_file_and_line),
		cmocka_unit_test(test_sign_and_verify),
		cmocka_unit_test(test_show_describes_signed_and_unsigned),
		cmocka_unit_test(test_apply_looks_at_the_signature_before_anything_else),
		cmocka_unit_test(test_allow_unsigned_says_so_and_can_be_taken_away),
		cmocka_unit_test(test_revoked_is_refused_whatever_is_allowed),
		cmocka_unit_test(test_commands_on_a_domain_that_is_not_there),
		cmocka_unit_test(test_output_that_nobody_reads_is_noticed_and_changes_no_exit_code),
		cmocka_unit_test(test_closed_descriptors_are_not_reused_for_files),
		cmocka_unit_test(
			test_man_page_has_every_command_option_and_reason_without_warnings),
		cmocka_unit_test(test_completion_offers_commands_options_values_and_files),
	};

	if (!find_vpatch()) {
		printf("%s is missing: make all\n", vpatch);
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
