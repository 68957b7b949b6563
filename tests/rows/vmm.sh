#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The example VMM patches its own guest: apply, revert and status while it runs and while it is paused,
# many times over; what the guest's calls return says which code they ran.
set -u
[ -w /dev/kvm ] || { echo '/dev/kvm cannot be used'; exit 77; }
for t in vmm tests/guests/x86-64/guest.elf tests/guests/x86-64/fix.vpatch tests/tools/ask; do
  [ -e "$O/$t" ] || { echo "$O/$t was not built"; exit 1; }
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
# The guest's control block: tests/guests/x86-64/ctl.h
ctl=$((0x1e00000)) hotfix=$O/tests/guests/x86-64/fix.vpatch
word() { od -A n -t u4 -j $((ctl + $1)) -N 4 "$d/ram" | tr -d ' '; }
set_word() { printf "\\x$(printf %02x "$2")" | dd of="$d/ram" bs=1 seek=$((ctl + $1)) conv=notrunc status=none; }
calls() { od -A n -t u8 -j $((ctl + 0x1000)) -N 16 "$d/ram"; } # of the first CPU: old, new

truncate -s 64M "$d/ram"
"$O/vmm" --kernel "$O/tests/guests/x86-64/guest.elf" --mem "$d/ram" --vcpus 2 --control "$d/s" --state-dir "$d/state" >"$d/log" 2>&1 &
vmm=$!
for _ in {1..100}; do
  [ "$(word 0)" = $((0x65726162)) ] && break
  sleep 0.1
done
set_word 0x0c 2 # both call
set_word 0x10 3 # at CPL3
set_word 0x08 1 # go

# moves new|old: the guest goes on, and all its calls from now on are of that code
moves() {
  local o0 n0 o1 n1
  sleep 0.1 # a call that began before
  read -r o0 n0 < <(calls)
  for _ in {1..200}; do
    sleep 0.05
    read -r o1 n1 < <(calls)
    [ $((o1 + n1)) -gt $((o0 + n0 + 100)) ] && break
  done
  [ $((o1 + n1)) -gt $((o0 + n0 + 100)) ] || fail "the guest does not go on after $2: $o0 $n0, $o1 $n1"
  case $1 in
    old) [ "$n1" = "$n0" ] ;;
    new) [ "$o1" = "$o0" ] ;;
  esac || fail "after $2: $((o1 - o0)) calls of the old code, $((n1 - n0)) of the new"
  [ "$(word 0xc0)" = 0 ] || fail "after $2: the guest has met an exception"
}
stands() {
  local a b
  a=$(calls) && sleep 0.2 && b=$(calls)
  [ "$a" = "$b" ] || fail "the guest runs while it is paused, after $1"
}

must status
moves old start
[ "$(word 0x1c)" = 2 ] || fail 'the second vCPU did not come up'
must "apply $hotfix" && grep -q '^ok bare-fix 1 changed=1' "$d/answer" || fail "$(cat "$d/answer")"
moves new apply
must "apply $hotfix" && grep -q 'changed=0 window_ns=0' "$d/answer" || fail "$(cat "$d/answer")"
must status && grep -q '^hotfix bare-fix 1 applied' "$d/answer" || fail "$(cat "$d/answer")"
must pause
stands pause
must 'revert bare-fix'
stands revert
must "apply $hotfix"
stands apply
must cont
moves new cont
must 'revert bare-fix'
moves old revert
must 'revert bare-fix' && grep -q 'changed=0' "$d/answer" || fail "$(cat "$d/answer")"
ask 'revert nothing' && fail 'nothing was reverted'
grep -q '^error not-applied' "$d/answer" || fail "$(cat "$d/answer")"
must recover && grep -q 'changed=0' "$d/answer" || fail "$(cat "$d/answer")"
ask 'apply /dev/null' && fail 'nothing was applied'
grep -q '^error bad-bundle' "$d/answer" || fail "$(cat "$d/answer")"
must "cycle $hotfix bare-fix $((SCALE * 25 + 50))"
cat "$d/answer"
moves old cycle
# Somebody from outside: the lock is the VMM's, the way in is not theirs.
printf 'state-dir = %s\nrun-dir = %s\n' "$d/outside" "$d/outside/run" >"$d/conf"
"$O/vpatch" --config "$d/conf" status "inproc:$vmm" 2>&1 | grep -q 'libvpatch' || fail 'inproc: is not explained'
# By KVM alone it is a VMM like any other: it is patched from outside, without its help.
vp() { "$O/vpatch" --config "$d/conf" "$@" >"$d/answer" 2>&1 || fail "vpatch $*: $(cat "$d/answer")"; }
vp inspect "pid:$vmm" --slots --vcpus
grep -q 'driver *kvm' "$d/answer" || fail "$(cat "$d/answer")"
vp apply "pid:$vmm" "$hotfix" --allow-unsigned
moves new 'apply from outside'
vp status "pid:$vmm" bare-fix
vp revert "pid:$vmm" bare-fix
moves old 'revert from outside'
must quit
wait "$vmm" || fail "the VMM ended with $?"
vmm=
[ ! -s "$d/log" ] || fail "$(cat "$d/log")"
find "$d/state" -name '*.vpj' | grep -q . || fail 'no journal'
echo 'applied and reverted, running and paused, from inside and from outside'
