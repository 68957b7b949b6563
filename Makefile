# SPDX-License-Identifier: LGPL-2.1-or-later
# One makefile, no recursion into folders. `make help` lists the targets.
#
#   V=1                     show commands
#   O=DIR                   build into DIR (default build)
#   SAN=address,undefined   build with sanitizers (into O-san unless O is given)

VERSION := 0.1.0

ifdef SAN
O ?= build-san
endif
O ?= build

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
FUZZ_CC ?= clang
PREFIX ?= /usr/local
SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
LOCALSTATEDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/var,$(PREFIX)/var)
LIBDIR ?= $(PREFIX)/lib
RUNDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/run,$(PREFIX)/run)

Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-8s%s\n' '$(1)' '$(2)')

PKGS := json-c libelf libdw libcrypto libbpf
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null || echo -ljson-c -ldw -lelf -lcrypto -lbpf)

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
	-Wpointer-arith -Wcast-align -Wwrite-strings -Wformat=2
CPPFLAGS += -I. -isystem $(O)/gen -D_GNU_SOURCE -DVP_VERSION='"$(VERSION)"' -DVP_SYSCONFDIR='"$(SYSCONFDIR)"' \
	-DVP_LOCALSTATEDIR='"$(LOCALSTATEDIR)"' -DVP_RUNDIR='"$(RUNDIR)"' -DVP_DATADIR='"$(PREFIX)/share/vpatch"'
CFLAGS ?= -O2 -g
BASE_CFLAGS := -std=gnu11 $(WARN) -fno-strict-aliasing -fPIC -fvisibility=hidden -fstack-protector-strong $(PKG_CFLAGS)
ifdef SAN
BASE_CFLAGS += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
BASE_LDFLAGS += -fsanitize=$(SAN)
endif

# Rooms, lowest floor first. Everything below the command line goes into one archive, out of
# which the linker takes what a program names.
ROOMS := protocol arch arch/x86-64 arch/arm64 arch/riscv64 arch/ppc64le arch/thumb2 qmp vmm-agent \
	vmm-agent/base vmm-agent/host vmm-agent/drv vmm-agent/guest vmm-agent/hotfix vmm-agent/engine \
	vmm-agent/perf vmm-agent/domain vmm-agent/lib
BPF_SRCS := $(sort $(wildcard $(addsuffix /*.bpf.c,$(ROOMS))))
LIB_SRCS := $(filter-out $(BPF_SRCS),$(sort $(wildcard $(addsuffix /*.c,$(ROOMS)))))
CLI_SRCS := $(sort $(wildcard vmm-agent/cli/*.c))
TESTLIB_SRCS := $(sort $(wildcard tests/lib/*.c))
UNIT_SRCS := $(sort $(wildcard tests/unit/test_*.c))
FUZZ_SRCS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
TOOL_SRCS := $(sort $(wildcard tests/tools/*.c))
BENCH_SRCS := $(sort $(wildcard tests/bench/*.c))
VMM_SRCS := $(sort $(wildcard tests/vmm/*.c))
C_ALL := $(LIB_SRCS) $(CLI_SRCS) $(TESTLIB_SRCS) $(UNIT_SRCS) $(FUZZ_SRCS) $(TOOL_SRCS) $(BENCH_SRCS) \
	$(VMM_SRCS)
H_ALL := $(sort $(shell git ls-files '*.h' 2>/dev/null))

obj = $(patsubst %.c,$(O)/%.o,$(1))
LIB := $(O)/libvpatch-all.a
TESTLIB := $(O)/libvpatch-test.a
UNITS := $(patsubst %.c,$(O)/%,$(UNIT_SRCS))
TOOLS := $(patsubst %.c,$(O)/%,$(TOOL_SRCS))
BENCHES := $(O)/tests/bench/window $(O)/tests/bench/floor
STUB_FILES := $(wildcard guest-stub/linux/*.[ch] guest-stub/linux/Kbuild guest-stub/linux/Makefile protocol/*.[ch])
FUZZERS := $(patsubst %.c,$(O)/%,$(FUZZ_SRCS))

.PHONY: stub install-stub all demo check check-long soak bench lint fmt fuzz tidy cppcheck freestanding units tools \
	fuzzers vmm install install-lib uninstall clean help man
.DELETE_ON_ERROR:
.SECONDARY:

HEADERS := $(O)/include/vpatch/hotfix.h $(O)/include/vpatch/inproc.h $(O)/include/vpatch/vpatch.h

all: $(O)/vpatch $(O)/libvpatch.a $(O)/libvpatch.so $(HEADERS)

help:
	@echo 'make            build the vpatch command'
	@echo 'make demo       install what is missing, boot a stock Debian kernel, patch it, revert (ARCH=arm64)'
	@echo 'make check      install what is missing, build, run every test'
	@echo 'make check-long the longer rows          make soak     the full counts (SCALE=100)'
	@echo 'make bench      window and command times, as ratios'
	@echo 'make lint       floors, include paths, names   make tidy cppcheck   static analysis'
	@echo 'make fuzz       every fuzzer for FUZZ_SECONDS  make fmt             settle the spacing'
	@echo 'make install    DESTDIR= PREFIX= SYSCONFDIR= LIBDIR=   make uninstall clean'
	@echo 'make stub       the Linux stub, KDIR= headers   make install-stub   its sources, for DKMS'
	@echo 'make vmm        the example VMM with libvpatch in it (tests/vmm)'
	@echo 'make stubs      the guest stub for every architecture whose compiler is here (guest-stub)'
	@echo 'Variables: O=DIR V=1 SAN=address,undefined CC= CFLAGS='

# --- building ---------------------------------------------------------------------------------

$(O)/%.o: %.c Makefile
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(BASE_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# BPF programs, as C arrays with what loads them. The system's headers for the BPF target are the
# host's own. What the generator writes is not ours to lint.
BPF_CC ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
BPF_INC := -I. -I/usr/include/$(shell $(CC) -print-multiarch 2>/dev/null)
SKELS := $(patsubst %.bpf.c,$(O)/gen/%.skel.h,$(notdir $(BPF_SRCS)))
vpath %.bpf.c $(sort $(dir $(BPF_SRCS)))
$(O)/gen/%.skel.h: %.bpf.c Makefile
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(BPF_CC) -target bpf -std=gnu11 -Wall -Wextra -Werror -O2 -g $(BPF_INC) -MMD -MP -MT $@ \
		-MF $(O)/gen/$*.d -c -o $(O)/gen/$*.bpf.o $<
	$(Q){ echo '/* NOLINTBEGIN */' && $(BPFTOOL) gen skeleton $(O)/gen/$*.bpf.o name $*_bpf && \
		echo '/* NOLINTEND */'; } >$@
$(call obj,$(LIB_SRCS)) $(patsubst %.c,$(O)/fuzz/%.o,$(LIB_SRCS)): | $(SKELS)

$(LIB): $(call obj,$(LIB_SRCS))
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(TESTLIB): $(call obj,$(TESTLIB_SRCS))
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(O)/vpatch: $(call obj,$(CLI_SRCS)) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lpthread

# libvpatch: what the calls of vmm-agent/lib and the inproc driver need out of the archive, and
# nothing that needs json-c, libelf or libcrypto (-z defs sees to that). In the static one
# everything that is not exported has become local, so no name of ours meets one of the VMM's.
SOVERSION := 0
SO := libvpatch.so.$(SOVERSION)
EXPORTING := $(call obj,vmm-agent/lib/lib.c vmm-agent/drv/inproc_vm.c vmm-agent/drv/inproc_hold.c)
MAP := vmm-agent/lib/libvpatch.map
$(O)/$(SO): $(EXPORTING) $(LIB) $(MAP)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,$(SO) -Wl,--version-script,$(MAP) -Wl,-z,defs -Wl,-z,relro,-z,now \
		$(BASE_LDFLAGS) $(LDFLAGS) -o $@ $(EXPORTING) $(LIB) -lpthread
$(O)/libvpatch.so: $(O)/$(SO)
	$(Q)ln -sf $(SO) $@
$(O)/libvpatch.o: $(EXPORTING) $(LIB)
	$(call say,LD,$@)
	$(Q)$(LD) -r -o $@ $^ && objcopy --localize-hidden $@
$(O)/libvpatch.a: $(O)/libvpatch.o
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

# The example VMM is built as a program outside the tree would be: public headers, the static library.
vmm: $(O)/vmm
$(call obj,$(VMM_SRCS)): BASE_CFLAGS += -I$(O)/include
$(call obj,$(VMM_SRCS)): | $(HEADERS)
$(O)/vmm: $(call obj,$(VMM_SRCS)) $(O)/libvpatch.a
	$(call say,LD,$@)
	$(Q)$(CC) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $^ -lpthread

# The Linux stub for the kernel whose headers are in KDIR. kbuild writes beside its sources, which
# are links therefore.
STUB := $(O)/stub
MAKEOVERRIDES := $(filter-out O=%,$(MAKEOVERRIDES)) # kbuild has an O of its own
stub:
	$(Q)mkdir -p $(STUB) && for f in $(STUB_FILES); do \
		mkdir -p $(STUB)/$${f%/*} && ln -sf $(CURDIR)/$$f $(STUB)/$$f; done
	$(Q)$(MAKE) --no-print-directory -C $(STUB)/guest-stub/linux

units: $(UNITS)
$(O)/tests/unit/%: $(O)/tests/unit/%.o $(TESTLIB) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(PKG_LIBS) -lpthread

tools: $(TOOLS) $(BENCHES)
$(O)/tests/tools/%: $(O)/tests/tools/%.o $(TESTLIB) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(PKG_LIBS) -lpthread

# It is a VMM itself.
NATIVE_VMM := $(call obj,tests/vmm/vmm.c tests/vmm/elf.c)
$(O)/tests/tools/sitenative.o: BASE_CFLAGS += -I$(O)/include
$(O)/tests/tools/sitenative.o: | $(HEADERS)
$(O)/tests/tools/sitenative: $(NATIVE_VMM)

# What is measured, and a program that has nothing of ours in it to measure it against.
$(O)/tests/bench/window: $(call obj,$(filter-out tests/bench/floor.c,$(BENCH_SRCS))) $(TESTLIB) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lpthread -lm
$(O)/tests/bench/floor: $(O)/tests/bench/floor.o
	$(call say,LD,$@)
	$(Q)$(CC) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $^

# The bare-metal guest and hotfixes for it. Its code is x86-64's whatever this machine is.
GUEST_CC := $(if $(filter x86_64,$(shell uname -m)),gcc,x86_64-linux-gnu-gcc)
BARE := $(if $(shell command -v $(GUEST_CC)),$(addprefix $(O)/tests/guests/x86-64/, \
	guest.elf many.elf fix.vpatch sites.vpatch))
BARE_SITES := 10000
GUEST_OBJCOPY := $(GUEST_CC:gcc=objcopy)
MKGUEST := CC='$(GUEST_CC)' $(O)/tests/tools/mkguest
units tools: $(BARE)
$(O)/tests/guests/x86-64/boot.bin: tests/guests/x86-64/boot.S tests/guests/x86-64/ctl.h Makefile
	$(call say,GUEST,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(GUEST_CC) -I. -nostdlib -static -no-pie -Wl,--build-id=none,-Ttext=0xffffffff81008000 \
		-o $(@:.bin=.out) $<
	$(Q)$(GUEST_OBJCOPY) -O binary -j .text $(@:.bin=.out) $@
$(O)/tests/guests/x86-64/guest.elf: $(O)/tests/guests/x86-64/boot.bin $(O)/tests/tools/mkguest
	$(Q)$(MKGUEST) guest $< $@
$(O)/tests/guests/x86-64/many.elf: $(O)/tests/guests/x86-64/boot.bin $(O)/tests/tools/mkguest
	$(Q)$(MKGUEST) guest $< $@ $(BARE_SITES)
$(O)/tests/guests/x86-64/fix.vpatch: tests/guests/x86-64/fix.c tests/guests/x86-64/ctl.h \
		vmm-agent/hotfix/include/vpatch/hotfix.h $(O)/tests/tools/mkguest
	$(Q)mkdir -p $(@D)
	$(Q)$(MKGUEST) fix $< $@
$(O)/tests/guests/x86-64/sites.vpatch: tests/guests/x86-64/ctl.h $(O)/tests/tools/mkguest
	$(Q)mkdir -p $(@D)
	$(Q)$(MKGUEST) sites 64 $@

# The guest's stub: a library for each architecture whose compiler is here, and a guest to try it in
# (tests/guests/sites, with the architecture's half beside its linker script). A row is the
# architecture, its compiler, and what a kernel of it is compiled with.
STUB_arm64 := aarch64-linux-gnu-gcc -mgeneral-regs-only
STUB_riscv64 := riscv64-linux-gnu-gcc -march=rv64gc -mabi=lp64 -mcmodel=medany
STUB_thumb2 := arm-linux-gnueabihf-gcc -mthumb -march=armv7-a -mfloat-abi=soft
STUB_ppc64le := powerpc64le-linux-gnu-gcc -mcpu=power8 -mno-altivec -mno-vsx -msoft-float
STUB_x86-64 := $(GUEST_CC) -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fcf-protection=none
STUB_FLAGS := -std=gnu11 $(WARN) -I. -O2 -g -ffreestanding -fno-pic -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -ffunction-sections -fdata-sections
STUB_ARCHES := $(foreach a,$(patsubst guest-stub/%/site.h,%,$(wildcard guest-stub/*/site.h)), \
	$(if $(shell command -v $(firstword $(STUB_$(a)))),$(a)))
STUB_MISSING := $(filter-out $(STUB_ARCHES),$(patsubst guest-stub/%/site.h,%,$(wildcard guest-stub/*/site.h)))
STUB_SRCS := protocol/bytes.c protocol/sites.c protocol/sites_write.c $(wildcard guest-stub/*.c)
STUB_LIBS := $(STUB_ARCHES:%=$(O)/guest-stub/%/libvpatch-stub.a)
SITE_GUESTS := $(STUB_ARCHES:%=$(O)/tests/guests/%/sites.elf)
.PHONY: stubs
stubs: $(STUB_LIBS)
	$(Q)$(foreach a,$(STUB_MISSING),echo '$(firstword $(STUB_$(a))) is missing: no stub of $(a)';):
units tools: $(SITE_GUESTS)
stub_objs = $(addprefix $(O)/guest-stub/$(1)/,$(addsuffix .o,$(2)))
define stub_rules
$(O)/guest-stub/$(1)/%.o: % Makefile
	$$(call say,STUB,$(1) $$<)
	$(Q)mkdir -p $$(@D)
	$(Q)$(STUB_$(1)) $(STUB_FLAGS) -nostdinc -isystem $$$$($(firstword $(STUB_$(1))) -print-file-name=include) \
		-MMD -MP -c -o $$@ $$<
$(O)/guest-stub/$(1)/libvpatch-stub.a: $(call stub_objs,$(1),$(STUB_SRCS) $(wildcard guest-stub/$(1)/*.[cS]))
	$$(call say,AR,$$@)
	$(Q)rm -f $$@ && $(patsubst %gcc,%ar,$(firstword $(STUB_$(1)))) rcs $$@ $$^
$(O)/tests/guests/$(1)/sites.elf: $(call stub_objs,$(1),$(wildcard tests/guests/sites/*.c tests/guests/$(1)/site_*.[cS])) \
		$(O)/guest-stub/$(1)/libvpatch-stub.a tests/guests/$(1)/sites.lds
	$$(call say,GUEST,$$@)
	$(Q)mkdir -p $$(@D)
	$(Q)$(STUB_$(1)) -nostdlib -static -no-pie -Wl,--build-id=sha1,-z,noexecstack,-z,max-page-size=4096 \
		-T tests/guests/$(1)/sites.lds -o $$@ $$(filter-out %.lds,$$^)
-include $(patsubst %.o,%.d,$(call stub_objs,$(1),$(STUB_SRCS) $(wildcard guest-stub/$(1)/*.[cS] tests/guests/sites/*.c tests/guests/$(1)/site_*.[cS])))
endef
$(foreach a,$(STUB_ARCHES),$(eval $(call stub_rules,$(a))))

# Fuzzers are built whole by clang, library and all, so that coverage guides them.
FUZZ_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_LIB_OBJS := $(patsubst %.c,$(O)/fuzz/%.o,$(LIB_SRCS) $(TESTLIB_SRCS))
fuzzers: $(FUZZERS)
$(O)/fuzz/%.o: %.c Makefile
	$(call say,FUZZCC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(CPPFLAGS) $(BASE_CFLAGS) -Wno-unknown-warning-option -O1 -g $(FUZZ_FLAGS) $(FUZZ_EXTRA) -MMD -MP -c -o $@ $<
$(O)/fuzz/libvpatch-all.a: $(FUZZ_LIB_OBJS)
	$(Q)rm -f $@ && ar rcs $@ $^
$(O)/tests/fuzz/%: $(O)/fuzz/tests/fuzz/%.o $(O)/fuzz/libvpatch-all.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined $(FUZZ_EXTRA) -o $@ $^ $(PKG_LIBS) -lpthread

-include $(patsubst %.skel.h,%.d,$(SKELS)) $(patsubst %.o,%.d,$(call obj,$(C_ALL)) $(FUZZ_LIB_OBJS) $(patsubst %.c,$(O)/fuzz/%.o,$(FUZZ_SRCS)))

# protocol/ must build freestanding for every guest architecture.
FREESTANDING_CC := gcc aarch64-linux-gnu-gcc riscv64-linux-gnu-gcc arm-linux-gnueabihf-gcc powerpc64le-linux-gnu-gcc
FREESTANDING := $(foreach c,$(FREESTANDING_CC),$(patsubst %.c,$(O)/freestanding/$(c)/%.o,$(wildcard protocol/*.c)))
freestanding: $(FREESTANDING)
define freestanding_rule
$(O)/freestanding/$(1)/%.o: %.c Makefile
	$$(call say,FREE,$(1) $$<)
	$(Q)mkdir -p $$(@D)
	$(Q)$(1) -std=gnu11 $(WARN) -I. -O2 -ffreestanding -nostdinc \
		-isystem $$$$($(1) -print-file-name=include) -MMD -MP -c -o $$@ $$<
endef
$(foreach c,$(FREESTANDING_CC),$(eval $(call freestanding_rule,$(c))))

# --- checking ---------------------------------------------------------------------------------

lint:
	$(Q)tests/lint.sh

fmt:
	$(Q)git ls-files '*.c' '*.h' | xargs -r clang-format -i

tidy:
	$(Q)printf '%s\n' $(LIB_SRCS) $(CLI_SRCS) | xargs -P 2 -I@ \
		clang-tidy --quiet @ -- $(CPPFLAGS) -std=gnu11 $(PKG_CFLAGS) 2>/dev/null

cppcheck:
	$(Q)cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr --enable=warning,portability \
		-I. -D__x86_64__ --suppress=missingIncludeSystem -j 2 $(LIB_SRCS) $(CLI_SRCS)

demo check check-long soak bench fuzz:
	$(Q)O='$(O)' tests/$@.sh

clean:
	rm -rf $(O) build-san

# --- command line: pages and installation -----------------------------------------------------

# Directories are compiled in: other values than last time make the command anew.
DIRS := $(PREFIX) $(SYSCONFDIR) $(LOCALSTATEDIR) $(RUNDIR)
$(O)/dirs: FORCE
	$(Q)mkdir -p $(@D) && { echo '$(DIRS)' | cmp -s - $@ || echo '$(DIRS)' >$@; }
FORCE:
$(call obj,$(CLI_SRCS)): $(O)/dirs

# What programs outside include, where it is found before it is installed: hotfix.h by the source of
# a hotfix, the others by a VMM.
$(O)/include/vpatch/hotfix.h: vmm-agent/hotfix/include/vpatch/hotfix.h
	$(Q)mkdir -p $(@D) && cp $< $@
$(O)/include/vpatch/inproc.h: vmm-agent/drv/include/vpatch/inproc.h
	$(Q)mkdir -p $(@D) && cp $< $@
$(O)/include/vpatch/vpatch.h: vmm-agent/lib/include/vpatch/vpatch.h
	$(Q)mkdir -p $(@D) && cp $< $@

man: $(O)/vpatch.1 $(O)/vpatch.bash
$(O)/vpatch.1: $(O)/vpatch
	$(call say,MAN,$@)
	$(Q)$(O)/vpatch help --man >$@
$(O)/vpatch.bash: $(O)/vpatch
	$(call say,BASH,$@)
	$(Q)$(O)/vpatch help --bash-completion >$@

# Two unit tests need more than the archives: the configuration reader, and the built command.
$(O)/tests/unit/test_conf: $(O)/vmm-agent/cli/conf.o
$(O)/tests/unit/test_bare: | $(BARE)
$(O)/tests/unit/test_cli $(O)/tests/unit/test_cli_perf: | $(O)/vpatch $(O)/include/vpatch/hotfix.h

INSTALL ?= install
MAN1 := $(DESTDIR)$(PREFIX)/share/man/man1
COMPLETIONS := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
DATA := $(DESTDIR)$(PREFIX)/share/vpatch
CONFDIR := $(DESTDIR)$(SYSCONFDIR)/vpatch
LIBS := $(DESTDIR)$(LIBDIR)
INCLUDES := $(DESTDIR)$(PREFIX)/include/vpatch

# Configuration is the administrator's: written once, never over what is there, never removed.
install: all man install-lib
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin $(MAN1) $(COMPLETIONS) $(DATA)/include/vpatch
	$(INSTALL) -m 0755 $(O)/vpatch $(DESTDIR)$(PREFIX)/bin/vpatch
	$(INSTALL) -m 0644 $(O)/vpatch.1 $(MAN1)/vpatch.1
	$(INSTALL) -m 0644 $(O)/vpatch.bash $(COMPLETIONS)/vpatch
	$(INSTALL) -m 0644 vmm-agent/hotfix/include/vpatch/hotfix.h $(DATA)/include/vpatch/hotfix.h
	$(INSTALL) -d -m 0755 $(CONFDIR) $(CONFDIR)/certs.d $(CONFDIR)/revoked.d
	$(Q)[ -e $(CONFDIR)/vpatch.conf ] || [ -L $(CONFDIR)/vpatch.conf ] || { \
		sed -e 's#/etc/vpatch#$(SYSCONFDIR)/vpatch#' -e 's#/var/lib#$(LOCALSTATEDIR)/lib#' \
			-e 's#/run/vpatch#$(RUNDIR)/vpatch#' vmm-agent/cli/vpatch.conf >$(O)/vpatch.conf && \
		$(INSTALL) -m 0644 $(O)/vpatch.conf $(CONFDIR)/vpatch.conf; }

# The library alone: what a VMM's build needs.
install-lib: $(O)/libvpatch.a $(O)/$(SO) $(HEADERS)
	$(INSTALL) -d $(LIBS)/pkgconfig $(INCLUDES)
	$(INSTALL) -m 0644 $(O)/libvpatch.a $(LIBS)/libvpatch.a
	$(INSTALL) -m 0644 $(O)/$(SO) $(LIBS)/$(SO)
	ln -sf $(SO) $(LIBS)/libvpatch.so
	$(INSTALL) -m 0644 $(O)/include/vpatch/inproc.h $(O)/include/vpatch/vpatch.h $(INCLUDES)/
	$(Q)sed -e 's#@PREFIX@#$(PREFIX)#' -e 's#@LIBDIR@#$(LIBDIR)#' -e 's#@VERSION@#$(VERSION)#' \
		vmm-agent/lib/libvpatch.pc.in >$(LIBS)/pkgconfig/libvpatch.pc

# The sources of the Linux stub, where DKMS looks for them.
STUB_SRC := $(DESTDIR)/usr/src/vpatch-stub-$(VERSION)
install-stub:
	for f in $(STUB_FILES); do $(INSTALL) -D -m 0644 $$f $(STUB_SRC)/$$f || exit 1; done
	$(Q)sed 's#@VERSION@#$(VERSION)#' guest-stub/linux/dkms.conf >$(STUB_SRC)/dkms.conf

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/vpatch $(MAN1)/vpatch.1 $(COMPLETIONS)/vpatch
	rm -f $(LIBS)/libvpatch.a $(LIBS)/libvpatch.so $(LIBS)/$(SO) $(LIBS)/pkgconfig/libvpatch.pc
	rm -rf $(DATA) $(INCLUDES)
