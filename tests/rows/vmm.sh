#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The example VMM patches its own guest: apply, revert and status while it runs and while it is paused,
# many times over; what the guest's calls return says which code they ran.
set -u
[ -w /dev/kvm ] || { echo '/dev/kvm cannot be used'; exit 77; }
for t in vmm tests/tools/mkguest tests/tools/ask; do
  [ -x "$O/$t" ] || { echo "$O/$t was not built"; exit 1; }
done
d=$(mktemp -d) || exit 1
vmm=
cleanup() {
  [ -z "$vmm" ] || { kill -KILL "$vmm" && wait "$vmm"; } 2>/dev/null
  rm -rf "$d"
}
trap cleanup EXIT
fail() { echo "$*"; tail -n 5 "$d/log"; exit 1; }
ask() { "$O/tests/tools/ask" "$d/s" "$@" >"$d/answer" 2>&1; }
must() { ask "$@" || fail "$*: $(tail -n 1 "$d/answer")"; }
calls() { od -A n -t u8 -j $((0x50000)) -N 16 "$d/ram"; }

"$O/tests/tools/mkguest" "$d/g.elf" "$d/h.vpatch" || fail mkguest
truncate -s 16M "$d/ram"
"$O/vmm" --kernel "$d/g.elf" --mem "$d/ram" --vcpus 2 --control "$d/s" --state-dir "$d/state" >"$d/log" 2>&1 &
vmm=$!

# moves fixed|old: the guest goes on, and all its calls from now on return that
moves() {
  local n0 s0 n1 s1 want
  sleep 0.05 # a call that began before
  read -r n0 s0 < <(calls)
  for _ in {1..200}; do
    sleep 0.05
    read -r n1 s1 < <(calls)
    [ "$n1" -gt $((n0 + 100)) ] && break
  done
  [ "$n1" -gt $((n0 + 100)) ] || fail "the guest does not go on after $2: $n0, $n1"
  want=0
  [ "$1" = old ] || want=$((n1 - n0))
  # the two words are not read at one instant
  [ $((s1 - s0 - want)) -le 1 ] && [ $((want - (s1 - s0))) -le 1 ] ||
    fail "after $2: $((n1 - n0)) calls, $((s1 - s0)) of them of the fixed code"
}
stands() {
  local a b
  a=$(calls) && sleep 0.2 && b=$(calls)
  [ "$a" = "$b" ] || fail "the guest runs while it is paused, after $1"
}

must status
moves old start
[ "$(od -A n -t u4 -j $((0x50010)) -N 4 "$d/ram" | tr -d ' ')" = 1 ] || fail 'the second vCPU did not come up'
must "apply $d/h.vpatch" && grep -q '^ok returns-one 1 changed=1' "$d/answer" || fail "$(cat "$d/answer")"
moves fixed apply
must "apply $d/h.vpatch" && grep -q 'changed=0 window_us=0' "$d/answer" || fail "$(cat "$d/answer")"
must status && grep -q '^hotfix returns-one 1 applied' "$d/answer" || fail "$(cat "$d/answer")"
must pause
stands pause
must 'revert returns-one'
stands revert
must "apply $d/h.vpatch"
stands apply
must cont
moves fixed cont
must 'revert returns-one'
moves old revert
must 'revert returns-one' && grep -q 'changed=0' "$d/answer" || fail "$(cat "$d/answer")"
ask 'revert nothing' && fail 'nothing was reverted'
grep -q '^error not-applied' "$d/answer" || fail "$(cat "$d/answer")"
must recover && grep -q 'changed=0' "$d/answer" || fail "$(cat "$d/answer")"
ask 'apply /dev/null' && fail 'nothing was applied'
grep -q '^error bad-bundle' "$d/answer" || fail "$(cat "$d/answer")"
must "cycle $d/h.vpatch returns-one $((SCALE * 25 + 50))"
cat "$d/answer"
moves old cycle
# Somebody from outside: the lock is the VMM's, the way in is not theirs.
: >"$d/conf"
"$O/vpatch" --config "$d/conf" status "inproc:$vmm" 2>&1 | grep -q 'libvpatch' || fail 'inproc: is not explained'
must quit
wait "$vmm" || fail "the VMM ended with $?"
vmm=
[ ! -s "$d/log" ] || fail "$(cat "$d/log")"
find "$d/state" -name '*.vpj' | grep -q . || fail 'no journal'
echo 'applied and reverted, running and paused'
