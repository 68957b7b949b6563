// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/lib/bare.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qmp/qmp.h"
#include "tests/guests/x86-64/ctl.h"
#include "tests/lib/vm.h"
#include "vmm-agent/base/clock.h"

#define RAM_LEN      ((size_t)BARE_RAM_MIB << 20)
#define BOOT_TIMEOUT (60 * CLOCK_NS_PER_SEC)
#define QMP_TIMEOUT  (20 * CLOCK_NS_PER_SEC)
#define ARGS_MAX     64
#define TEXT_LEN     0x400000u

static const struct {
	const char *name, *machine, *accel;
	bool kvm;
} vmms[] = {
	[BARE_MICROVM_KVM] = {"microvm kvm", "microvm", "kvm", true},
	[BARE_MICROVM_TCG] = {"microvm tcg", "microvm", "tcg,thread=multi", false},
	[BARE_PC_KVM] = {"pc kvm", "pc", "kvm", true},
	[BARE_PC_TCG] = {"pc tcg", "pc", "tcg,thread=multi", false},
	[BARE_COMMAND] = {"another VMM", NULL, NULL, false},
};

const char *bare_vmm_name(enum bare_vmm vmm)
{
	return vmms[vmm].name;
}

const char *bare_missing(enum bare_vmm vmm)
{
	char file[PATH_MAX];

	if (access(bare_file("guest.elf", file, sizeof(file)), R_OK) < 0)
		return "the bare-metal guest (make units)";
	if (vmm == BARE_COMMAND)
		return NULL;
	return vm_missing(vmms[vmm].kvm ? VM_X86_KVM : VM_X86_TCG);
}

/* Of a program in O/tests/SOMEWHERE the guest is in O/tests/guests. */
const char *bare_file(const char *name, char *buf, size_t len)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	for (unsigned i = 0; i < 2; i++)
		if (strrchr(self, '/'))
			*strrchr(self, '/') = '\0';
	if (snprintf(buf, len, "%s/guests/x86-64/%s", self, name) >= (int)len)
		buf[0] = '\0';
	return buf;
}

/* --- guest memory ---------------------------------------------------------------------------------- */

static bool anon_io(const struct bare *b, uint64_t hva, void *get, const void *put, size_t len)
{
	ssize_t n =
		get ? pread(b->mem, get, len, (off_t)hva) : pwrite(b->mem, put, len, (off_t)hva);

	return n == (ssize_t)len;
}

/* Of RAM that is mapped here. */
static void *at_gpa(const struct bare *b, uint64_t gpa)
{
	return (uint8_t *)b->ram + gpa;
}

/* The guest writes while we read: word by word, each once. */
static uint64_t get64(const struct bare *b, uint64_t off)
{
	uint64_t v = 0;

	if (b->ram)
		return __atomic_load_n((uint64_t *)at_gpa(b, BARE_CTL_GPA + off), __ATOMIC_ACQUIRE);
	anon_io(b, b->hva + off, &v, NULL, sizeof(v));
	return v;
}

static uint32_t get32(const struct bare *b, uint64_t off)
{
	uint32_t v = 0;

	if (b->ram)
		return __atomic_load_n((uint32_t *)at_gpa(b, BARE_CTL_GPA + off), __ATOMIC_ACQUIRE);
	anon_io(b, b->hva + off, &v, NULL, sizeof(v));
	return v;
}

static void put32(const struct bare *b, uint64_t off, uint32_t v)
{
	if (b->ram)
		__atomic_store_n((uint32_t *)at_gpa(b, BARE_CTL_GPA + off), v, __ATOMIC_RELEASE);
	else
		anon_io(b, b->hva + off, NULL, &v, sizeof(v));
}

static uint64_t cpu_off(unsigned cpu, uint64_t field)
{
	return (uint64_t)(cpu + 1) * BARE_PAGE + field;
}

void bare_peek_text(const struct bare *b, uint64_t gpa, void *buf, size_t len)
{
	if (b->ram)
		memcpy(buf, at_gpa(b, gpa), len);
	else
		anon_io(b, b->text_hva + gpa - BARE_TEXT_GPA, buf, NULL, len);
}

void bare_poke_text(const struct bare *b, uint64_t gpa, const void *buf, size_t len)
{
	uint64_t word, at = gpa & ~UINT64_C(7);

	if (gpa - at + len > sizeof(word)) {
		if (b->ram)
			memcpy(at_gpa(b, gpa), buf, len);
		else
			anon_io(b, b->text_hva + gpa - BARE_TEXT_GPA, NULL, buf, len);
		return;
	}
	bare_peek_text(b, at, &word, sizeof(word));
	memcpy((uint8_t *)&word + (gpa - at), buf, len);
	if (b->ram)
		__atomic_store_n((uint64_t *)at_gpa(b, at), word, __ATOMIC_RELEASE);
	else
		anon_io(b, b->text_hva + at - BARE_TEXT_GPA, NULL, &word, sizeof(word));
}

static uint64_t site_off(const struct bare *b, unsigned i)
{
	uint64_t first = b->opts.sites ? get32(b, CTL_SITES_OFF) : BARE_FUNC_OFF;

	return first + (uint64_t)i * BARE_FUNC_SIZE;
}

uint64_t bare_site_gva(const struct bare *b, unsigned i)
{
	return BARE_TEXT + site_off(b, i);
}

uint64_t bare_site_gpa(const struct bare *b, unsigned i)
{
	return BARE_TEXT_GPA + site_off(b, i);
}

/* --- start and stop ---------------------------------------------------------------------------------- */

struct args {
	const char *v[ARGS_MAX];
	unsigned n;
};

static void add(struct args *a, const char *word)
{
	if (a->n < ARGS_MAX - 1)
		a->v[a->n++] = word;
}

static void add_all(struct args *a, const char *const *words)
{
	for (; words && *words; words++)
		add(a, *words);
}

/* In the child. */
static void run(const struct bare *b, const char *elf, const char *ram, pid_t parent)
{
	const struct bare_opts *o = &b->opts;
	char machine[64], smp[16], memory[16], object[PATH_MAX], qmp[128];
	int null = open("/dev/null", O_RDWR);
	struct args a = {.n = 0};

	snprintf(smp, sizeof(smp), "%u", o->vcpus);
	snprintf(memory, sizeof(memory), "%d", BARE_RAM_MIB);
	if (o->vmm == BARE_COMMAND) {
		add_all(&a, o->command);
		add(&a, elf);
		add(&a, ram);
		add(&a, smp);
	} else {
		snprintf(machine, sizeof(machine), "%s,memory-backend=ram", vmms[o->vmm].machine);
		if (o->anonymous)
			snprintf(object, sizeof(object), "%s,id=ram,size=%dM",
				 o->backend ? o->backend : "memory-backend-ram", BARE_RAM_MIB);
		else
			snprintf(object, sizeof(object),
				 "memory-backend-file,id=ram,size=%dM,share=on,mem-path=%s",
				 BARE_RAM_MIB, ram);
		snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", b->qmp);
		add_all(&a, (const char *const[]){"qemu-system-x86_64",
						  "-M",
						  machine,
						  "-cpu",
						  "qemu64",
						  "-accel",
						  vmms[o->vmm].accel,
						  "-m",
						  memory,
						  "-smp",
						  smp,
						  "-object",
						  object,
						  "-name",
						  "guest,debug-threads=on",
						  "-nodefaults",
						  "-no-user-config",
						  "-display",
						  "none",
						  "-qmp",
						  qmp,
						  "-kernel",
						  elf,
						  NULL});
		add_all(&a, o->extra);
	}
	/* It must not outlive a test that is killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	dup2(null, 0);
	dup2(null, 1);
	if (!getenv("V"))
		dup2(null, 2); /* it warns about CPUID bits under nested KVM */
	execvp(a.v[0], (char *const *)a.v);
	_exit(127);
}

/* A monitor command in words; the answer in text. */
static bool monitor(const struct bare *b, const char *line, char *text, size_t len)
{
	struct json_object *args = json_object_new_object(), *reply = NULL;
	struct qmp *q;
	bool ok;

	json_object_object_add(args, "command-line", json_object_new_string(line));
	if (qmp_open(b->qmp, clock_in(QMP_TIMEOUT), NULL, &q) < 0) {
		json_object_put(args);
		return false;
	}
	ok = qmp_call(q, "human-monitor-command", args, -1, clock_in(QMP_TIMEOUT), NULL, &reply) ==
	     QMP_OK;
	if (ok)
		snprintf(text, len, "%s", json_object_get_string(reply));
	json_object_put(reply);
	qmp_close(q);
	return ok;
}

static bool find_hva(const struct bare *b, uint64_t gpa, uint64_t *ret)
{
	char line[64], text[256];
	const char *at;

	snprintf(line, sizeof(line), "gpa2hva 0x%" PRIx64, gpa);
	if (!monitor(b, line, text, sizeof(text)))
		return false;
	at = strstr(text, " is 0x");
	if (!at)
		return false;
	*ret = strtoull(at + 4, NULL, 16);
	return true;
}

static bool alive(struct bare *b)
{
	if (b->pid > 0 && waitpid(b->pid, NULL, WNOHANG) == b->pid)
		b->pid = 0;
	return b->pid > 0;
}

static bool reach_anonymous(struct bare *b)
{
	bool found = false;
	char path[32];

	/* Between QEMU's bind and its listen the socket is there and refuses. */
	for (int i = 0; !found && i < 4000 && alive(b); i++) {
		found = access(b->qmp, F_OK) == 0 && find_hva(b, BARE_CTL_GPA, &b->hva);
		if (!found)
			usleep(5000);
	}
	if (!found || !find_hva(b, BARE_TEXT_GPA, &b->text_hva))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)b->pid);
	b->mem = open(path, O_RDWR | O_CLOEXEC);
	return b->mem >= 0;
}

static bool map_ram(struct bare *b, char *path, size_t len)
{
	int fd;

	if (b->opts.anonymous)
		return true;
	snprintf(path, len, "%s/ram", b->dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	b->ram = ftruncate(fd, RAM_LEN) == 0
			 ? mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
			 : MAP_FAILED;
	close(fd);
	if (b->ram == MAP_FAILED)
		b->ram = NULL;
	return b->ram;
}

static bool make_dir(struct bare *b)
{
	const char *tmp = getenv("TMPDIR"), *run = getenv("VP_RUN");

	if (!tmp || *tmp != '/' || strlen(tmp) > 40)
		tmp = "/tmp";
	/* tests/nothing-left.sh looks for this name. */
	snprintf(b->dir, sizeof(b->dir), "%s/vprig.%.20s%sXXXXXX", tmp, run ? run : "",
		 run ? "." : "");
	if (!mkdtemp(b->dir)) {
		b->dir[0] = '\0';
		return false;
	}
	if (b->opts.vmm != BARE_COMMAND)
		snprintf(b->qmp, sizeof(b->qmp), "%s/qmp", b->dir);
	return true;
}

static uint64_t ticks(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return clock_now();
#endif
}

/* Doubling naps: a boot takes 50 ms or 5 s. */
static bool wait_for(struct bare *b, uint64_t off, uint32_t value, uint64_t deadline)
{
	unsigned us = 200;

	while (get32(b, off) != value) {
		if (clock_now() > deadline || !alive(b))
			return false;
		usleep(us);
		us = us < 5000 ? us * 2 : us;
	}
	return true;
}

static bool boot(struct bare *b)
{
	const struct bare_opts *o = &b->opts;
	uint64_t deadline = clock_in(BOOT_TIMEOUT);

	if (o->anonymous && !reach_anonymous(b)) {
		snprintf(b->words, sizeof(b->words), "its memory was not found");
		return false;
	}
	if (!wait_for(b, CTL_MAGIC, BARE_MAGIC, deadline)) {
		snprintf(b->words, sizeof(b->words), "no sign of the guest");
		return false;
	}
	b->booted_ns = clock_now() - b->ns;
	put32(b, CTL_BUSY, o->busy);
	put32(b, CTL_RING, o->ring);
	put32(b, CTL_MODE, o->sites ? BARE_MODE_SITES : 0);
	if (o->sites)
		put32(b, CTL_SITES_END, get32(b, CTL_SITES_OFF) + o->sites * BARE_FUNC_SIZE);
	put32(b, CTL_GO, 1);
	if (!wait_for(b, CTL_ARRIVED, o->vcpus, deadline)) {
		snprintf(b->words, sizeof(b->words), "%u of %u CPUs have come",
			 get32(b, CTL_ARRIVED), o->vcpus);
		return false;
	}
	if (!bare_wait_calls(b, 1, BOOT_TIMEOUT)) {
		snprintf(b->words, sizeof(b->words), "its CPUs do not call: %u exceptions",
			 get32(b, CTL_FAULTS));
		return false;
	}
	return true;
}

bool bare_start(struct bare *b, const struct bare_opts *opts)
{
	char elf[PATH_MAX], ram[PATH_MAX] = "";
	pid_t me = getpid();
	bool ok;

	memset(b, 0, sizeof(*b));
	b->mem = -1;
	b->opts = *opts;
	if (opts->elf)
		snprintf(elf, sizeof(elf), "%s", opts->elf);
	else
		bare_file(opts->sites ? "many.elf" : "guest.elf", elf, sizeof(elf));
	if (!make_dir(b) || !map_ram(b, ram, sizeof(ram))) {
		perror("the guest's directory");
		bare_stop(b);
		return false;
	}
	b->tsc = ticks();
	b->ns = clock_now();
	b->pid = fork();
	if (b->pid == 0)
		run(b, elf, ram, me);
	if (b->qmp[0])
		snprintf(b->name, sizeof(b->name), "qmp:%s", b->qmp);
	else
		snprintf(b->name, sizeof(b->name), "pid:%d", (int)b->pid);
	ok = b->pid > 0 && boot(b);
	if (!ok) {
		fprintf(stderr, "%s, %u CPUs: did not come up: %s\n", bare_vmm_name(opts->vmm),
			opts->vcpus, b->words);
		bare_stop(b);
	}
	return ok;
}

void bare_stop(struct bare *b)
{
	char path[PATH_MAX];

	if (b->pid > 0) {
		kill(b->pid, SIGKILL);
		waitpid(b->pid, NULL, 0);
	}
	b->pid = 0;
	if (b->ram)
		munmap(b->ram, RAM_LEN);
	b->ram = NULL;
	if (!b->dir[0])
		return;
	if (b->mem >= 0)
		close(b->mem);
	b->mem = -1;
	snprintf(path, sizeof(path), "%s/ram", b->dir);
	unlink(path);
	if (b->qmp[0])
		unlink(b->qmp);
	rmdir(b->dir);
	b->dir[0] = '\0';
}

/* --- what the guest has seen --------------------------------------------------------------------------- */

uint32_t bare_flips(const struct bare *b)
{
	return get32(b, CTL_FLIPS);
}

uint64_t bare_iterations(const struct bare *b, unsigned cpu)
{
	return get64(b, cpu_off(cpu, CPU_ITER));
}

static void nap(void)
{
	usleep(50);
}

bool bare_wait_flip(const struct bare *b, uint32_t flips, uint64_t timeout_ns)
{
	uint64_t deadline = clock_in(timeout_ns);

	for (;; nap()) {
		unsigned seen = 0;

		for (unsigned i = 0; i < b->opts.busy; i++)
			seen += get32(b, cpu_off(i, CPU_LAST)) == (flips & 1);
		if (seen == b->opts.busy && bare_flips(b) >= flips)
			return true;
		if (clock_now() > deadline)
			return false;
	}
}

bool bare_wait_calls(const struct bare *b, uint64_t n, uint64_t timeout_ns)
{
	uint64_t deadline = clock_in(timeout_ns), from[BARE_CPUS_MAX];

	for (unsigned i = 0; i < b->opts.busy; i++)
		from[i] = bare_iterations(b, i);
	for (;; nap()) {
		unsigned done = 0;

		for (unsigned i = 0; i < b->opts.busy; i++)
			done += bare_iterations(b, i) - from[i] >= n;
		if (done == b->opts.busy)
			return true;
		if (clock_now() > deadline)
			return false;
	}
}

__attribute__((format(printf, 2, 3))) static const char *say(struct bare *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b->words, sizeof(b->words), fmt, ap);
	va_end(ap);
	return b->words;
}

static const char *check_cpu(struct bare *b, unsigned i, uint32_t toggles)
{
	uint64_t turns = get64(b, cpu_off(i, CPU_TURNS));

	if (get64(b, cpu_off(i, CPU_BAD)))
		return say(b,
			   "CPU %u: %" PRIu64 " impossible results, the first in call %" PRIu64
			   ": %#" PRIx64 " at %" PRIu64 " flips",
			   i, get64(b, cpu_off(i, CPU_BAD)), get64(b, cpu_off(i, CPU_BAD_ITER)),
			   get64(b, cpu_off(i, CPU_BAD_VALUE)),
			   get64(b, cpu_off(i, CPU_BAD_FLIPS)));
	if (get64(b, cpu_off(i, CPU_LOST)))
		return say(b,
			   "CPU %u: %" PRIu64 " lost calls, the first at call %" PRIu64
			   ", when the old function had counted %" PRIu64
			   " and the new one %" PRIu64,
			   i, get64(b, cpu_off(i, CPU_LOST)), get64(b, cpu_off(i, CPU_LOST_ITER)),
			   get64(b, cpu_off(i, CPU_LOST_OLD)), get64(b, cpu_off(i, CPU_LOST_NEW)));
	if (turns != toggles)
		return say(b, "CPU %u: its result changed %" PRIu64 " times in %u toggles", i,
			   turns, toggles);
	return NULL;
}

const char *bare_check(struct bare *b, uint32_t toggles)
{
	const char *words = NULL;
	uint32_t faults = get32(b, CTL_FAULTS), flips;

	if (faults)
		return say(b,
			   "CPU %u: exception %" PRIu64 " (error %#" PRIx64 ") at %#" PRIx64
			   ", cs %#" PRIx64 ", sp %#" PRIx64 ", cr2 %#" PRIx64 ", after %" PRIu64
			   " calls; %u CPUs had one",
			   get32(b, CTL_FAULT_CPU), get64(b, CTL_FAULT_VEC),
			   get64(b, CTL_FAULT_ERR), get64(b, CTL_FAULT_RIP), get64(b, CTL_FAULT_CS),
			   get64(b, CTL_FAULT_RSP), get64(b, CTL_FAULT_CR2),
			   get64(b, CTL_FAULT_ITER), faults);
	if (get32(b, CTL_ARRIVED) != b->opts.vcpus)
		return say(b, "%u CPUs have come instead of %u", get32(b, CTL_ARRIVED),
			   b->opts.vcpus);
	for (unsigned i = 0; !words && i < b->opts.busy; i++)
		words = check_cpu(b, i, toggles);
	flips = bare_flips(b);
	if (!words && flips != toggles)
		return say(b,
			   "%u flips were seen in %u toggles: a CPU went back to an older result",
			   flips, toggles);
	return words;
}

bool bare_gap_reset(const struct bare *b, uint64_t timeout_ns)
{
	uint64_t deadline = clock_in(timeout_ns);
	uint32_t epoch = get32(b, CTL_EPOCH) + 1;

	put32(b, CTL_EPOCH, epoch);
	for (;; nap()) {
		unsigned done = 0;

		for (unsigned i = 0; i < b->opts.busy; i++)
			done += get32(b, cpu_off(i, CPU_EPOCH)) == epoch;
		if (done == b->opts.busy)
			return true;
		if (clock_now() > deadline)
			return false;
	}
}

uint64_t bare_gap_cycles(const struct bare *b)
{
	uint64_t max = 0;

	for (unsigned i = 0; i < b->opts.busy; i++) {
		uint64_t gap = get64(b, cpu_off(i, CPU_GAP));

		max = gap > max ? gap : max;
	}
	return max;
}

uint64_t bare_gap_ns(const struct bare *b)
{
	double rate = (double)(ticks() - b->tsc) / (double)(clock_now() - b->ns);

	return (uint64_t)((double)bare_gap_cycles(b) / rate);
}
