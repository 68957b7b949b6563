#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The site guest of one architecture under TCG: every probe by every discipline that it is for, toggled
# while its CPUs run it, and nothing impossible is seen; what is known to be wrong is seen to be. The full
# count is 20,000 toggles each, live and with every instruction a translation block of its own, where
# what tears tears most. Default translation, which hides it, and stop, which is slow, are tried less.
#
#	tests/rows/sites.sh ARCH
set -u
: "${SCALE:=2}"
arch=$1
live=$O/tests/tools/sitelive
guest=$O/tests/guests/$arch/sites.elf
fail() { echo "FAILED: $arch: $*"; exit 1; }
scaled() { local n=$(($1 * SCALE / 100)); echo $((n > 10 ? n : 10)); }
run() {
  "$live" "$arch" "$guest" "$@"
  case $? in
    0) ;;
    77) exit 77 ;;
    *) fail "$*" ;;
  esac
}

[ -x "$live" ] || fail "$live was not built"
[ -e "$guest" ] || { echo "the site guest of $arch is missing: no compiler for it when it was built"; exit 77; }
run --discipline live --toggles "$(scaled 20000)" --singlestep
run --discipline live --toggles "$(scaled 4000)"
run --discipline auto --toggles "$(scaled 1000)" --singlestep
run --discipline stop --toggles "$(scaled 1000)"
run --discipline stop --toggles "$(scaled 1000)" --singlestep
# The trap's record goes while it may be in flight: the handler has to look again, and does.
if "$live" "$arch" "$guest" --list | grep -q ' trap'; then
  run --discipline trap --toggles "$(scaled 4000)" --early
fi
run --bad all --toggles 4000 --singlestep
