#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# kernels.sh ARCH SUITE: the suite's own kernel, unmodified. All its symbols read from outside equal
# those that it shows itself; a function that two processes call all the time is switched to another and
# back, by holds through the debug stub and, where its entry allows it, live. No answer may be neither's,
# none the other's once a change is over, and the kernel must complain of nothing.
#
# What the row does follows from the bytes of the function's entry, never from a version: the tool shows
# them, and says of an entry that no live store may change which and why.
set -u
. "$(dirname "$0")/vp.sh"
arch=$1
export RIG_SUITE=$2
tool=$O/tests/tools/kerneltoggle
[ -x "$tool" ] && [ -x "$vp_bin" ] || { echo "$tool was not built"; exit 1; }
trap '' PIPE # the tool may end before it has read a line
rig_begin || exit
work=$rig_dir
qtest=$rig_dir/qtest
rig_start k "$arch" -qtest "unix:$qtest,server=on,wait=off" || exit
dom=qmp:$(rig_sock k)

theirs=$(rig_cmd k 'grep -v "\[" /proc/kallsyms | sha256sum' 200) || fail 'no /proc/kallsyms'
ours=$(vp inspect "$dom" --symbols | sha256sum)
[ "$theirs" = "$ours" ] || fail "the symbols differ: $theirs, ours $ours"

rig_cmd k 'load start @ "$(cat /proc/cmdline)"' || fail 'no load'
rig_nice k

# switches HOW COUNT ARGS...: COUNT switches while both answers are right, then one and one back, each
# checked by answers under its own rule.
switches() {
  local how=$1 n=$2 said r i=0
  shift 2
  rm -f "$work/in" "$work/out"
  mkfifo "$work/in" "$work/out"
  "$tool" "$(rig_sock k)" version_proc_show cmdline_proc_show "$@" <"$work/in" >"$work/out" 2>"$work/err" &
  local pid=$! step
  exec 8>"$work/in" 9<"$work/out"
  for step in "any 0 1:$n:at 0" 'from 0 1:1:at 1' 'from 1 0:1:at 0'; do
    rig_cmd k "load ${step%%:*}" || fail "load ${step%%:*}"
    step=${step#*:}
    echo "${step%:*}" >&8
    while said= && read -r said <&9 && [[ $said != *' switches in '* ]]; do [ $i != 0 ] || echo "$how: $said"; done
    [ -n "$said" ] || { # it has ended
      wait "$pid"
      r=$?
      [ $r = 77 ] || fail "$how: exit $r: $(cat "$work/err")"
      echo "$how: refused: $(cat "$work/err")"
      rig_cmd k 'load at 0 2' || fail "$how: refused, but $(rig_cmd k 'load report')"
      return 77
    }
    [ $i != 0 ] || echo "$how: $said"
    i=1
    rig_cmd k "load ${step#*:} 2" || fail "$how: ${step#*:}: $(rig_cmd k 'load report')"
  done
  exec 8>&- 9<&-
  wait "$pid" || fail "$how: at its end: $(cat "$work/err")"
}

switches stop $(($(scaled 2000) * 2))
switches live $(($(scaled 10000) * 2)) "$qtest"
live=$?
[ "$live" != 77 ] || echo 'no live switch for this entry'
said=$(rig_cmd k 'load stop') || fail "the load saw something wrong: $said"
echo "$said"
[[ $said =~ text0\ [1-9] && $said =~ text1\ [1-9] ]] || fail 'one of the two was never seen'
rig_alive k || fail 'the guest does not answer any more'
rig_console_clean k || fail 'console'
