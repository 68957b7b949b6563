#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# Sites of a guest whose CPUs run natively, at CPL3, change under them by int3 staging: from inside the VMM
# (driver inproc) and from outside (driver kvm), a million times each at the full count, 250 sites in
# lockstep. Nothing impossible is seen; what is known to be wrong is seen to be. How fast that goes is the
# host's scheduler's matter, so each way has its time, in which it must have made a twentieth of them.
set -u
: "${SCALE:=2}"
native=$O/tests/tools/sitenative
guest=$O/tests/guests/x86-64/sites.elf
fail() { echo "FAILED: $*"; exit 1; }
[ -x "$native" ] || fail "$native was not built"
[ -e "$guest" ] || { echo 'the site guest of x86-64 is missing: no compiler for it when it was built'; exit 77; }
[ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo '/dev/kvm is missing'; exit 77; }
[ "$(id -u)" = 0 ] || { echo 'root is missing'; exit 77; }
run() {
  "$native" "$@"
  case $? in
    0) ;;
    77) exit 77 ;;
    *) fail "$*" ;;
  esac
}

toggles=$((1000000 * SCALE / 100))
for way in inproc kvm; do
  run "$way" "$guest" --toggles "$toggles" --seconds $((5 + SCALE * 8)) --least $((toggles / 20))
  # The records go while a trap may be in flight: the handlers have to look again, and do.
  run "$way" "$guest" --toggles "$toggles" --seconds $((2 + SCALE)) --early
  for bad in not-stored trap-no-record trap-no-reread x86-two-stores; do
    run "$way" "$guest" --toggles 1000000 --seconds 30 --bad $bad
  done
done
