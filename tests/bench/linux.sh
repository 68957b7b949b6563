#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make bench PARTS=linux [ARCH=arm64]: a Debian guest, emulated; times as ratios, all taken in one run,
# on one guest, under one load.
#
#   - vpatch apply against a gdb batch script that does the same writes over the same debug stub.
#     Both start the stub and end it. Windows are taken for both from QEMU's own STOP and RESUME
#     events and added up, not from what a program says of itself. The script checks nothing.
#   - against the guest's own time to load a livepatch module that replaces the same function
#     (amd64). The guest is emulated: this is no claim about hardware.
#
# ROUNDS=N (default 15). Every apply but the first finds its payload in the arena and writes only
# words; those words are what the script writes, too.
set -u
. "$(dirname "$0")/../common.sh"
: "${ARCH:=amd64}" "${ROUNDS:=15}"
tags='build demo bench'
[ "$ARCH" != arm64 ] || tags+=' arm64'
prepare "$tags" "$@"
gdb=$(command -v gdb-multiarch || command -v gdb) || { echo 'gdb is missing'; exit 77; }
make --no-print-directory -j"$(nproc)" all O="$O" >/dev/null || exit 1
. tests/linux/vp.sh
vp_begin "$ARCH"
vp_guest vm
vp_hotfix banner
rig_cmd vm 'load start @' || fail 'no load'
rig_events vm "$work/events"

now_us() { echo $(($(date +%s%N) / 1000)); }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# Microseconds that the guest stood still since line $1 of the event log.
held_us() {
  sleep 0.05
  tail -n +"$1" "$work/events" | sed -n 's/.*"seconds": \([0-9]*\), "microseconds": \([0-9]*\).*"event": "\(STOP\|RESUME\)".*/\1 \2 \3/p' |
    awk '$3 == "STOP" { s = $1 * 1e6 + $2 } $3 == "RESUME" && s { t += $1 * 1e6 + $2 - s; s = 0 } END { printf "%d\n", t }'
}
timed() { # series command...
  local series=$1 from t0 t1
  shift
  from=$(($(wc -l <"$work/events") + 1))
  t0=$(now_us)
  "$@" >"$work/said" 2>&1 || { cat "$work/said"; exit 1; }
  t1=$(now_us)
  echo $((t1 - t0)) >>"$work/$series.command"
  held_us "$from" >>"$work/$series.window"
}

# Where a word lies: text is linear from where /proc/iomem says; ftrace's records are in the
# kernel's linear map, of which the kernel knows the base.
word_gpa() {
  local kind=$1 at=$2 base
  case $kind-$ARCH in
    tracer-amd64)
      base=$(rig_cmd vm "grep -m 1 ' page_offset_base\$' /proc/kallsyms" | cut -d' ' -f1)
      base=$(phys_bytes vm "$(gpa_of vm "0x$base")" 8 | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\8\7\6\5\4\3\2\1/')
      printf '0x%x\n' $((at - 16#$base))
      ;;
    *) gpa_of vm "$at" ;;
  esac
}
# gdb's script out of an apply's edits: apply or undo.
gdb_script() {
  local kind at old new bytes
  echo 'set pagination off'
  echo 'set confirm off'
  # QEMU would keep the extension for every later client of its stub.
  echo 'set remote multiprocess-feature-packet off'
  [ "$ARCH" = arm64 ] && echo 'set architecture aarch64' || echo 'set architecture i386:x86-64'
  echo "target remote $rig_dir/vm/gdb"
  echo 'maintenance packet Qqemu.PhyMemMode:1'
  while read -r kind at old new; do
    [ "$1" = apply ] && bytes=$new || bytes=$old
    echo "set {unsigned char[$((${#bytes} / 2))]}$at = {$(sed 's/../0x&,/g; s/,$//' <<<"$bytes")}"
  done <"$work/words"
  echo 'detach'
}
gdb_apply() {
  rig_hmp vm "gdbserver unix:$rig_dir/vm/gdb,server=on,wait=off" &&
    "$gdb" -nx -batch -x "$work/gdb.$1" && rig_hmp vm 'gdbserver none'
}

vp apply "$dom" "$hf/banner.vpatch" >/dev/null && vp revert "$dom" banner >/dev/null || fail 'the first cycle'
vp apply "$dom" "$hf/banner.vpatch" --json >"$work/first" || fail 'apply'
jq -r '.edits[] | "\(.kind) \(.address) \(.old) \(.new)"' "$work/first" | while read -r kind at old new; do
  echo "$kind $(word_gpa "$kind" "$at") $old $new"
done >"$work/words"
while read -r kind at old new; do
  [ "$(phys_bytes vm "$at" $((${#new} / 2)))" = "$new" ] || fail "the $kind word is not at $at"
done <"$work/words"
vp revert "$dom" banner >/dev/null || fail 'revert'
gdb_script apply >"$work/gdb.apply"
gdb_script undo >"$work/gdb.undo"

for ((i = 0; i < ROUNDS; i++)); do
  timed vpatch vp apply "$dom" "$hf/banner.vpatch"
  vp revert "$dom" banner >/dev/null || fail 'revert'
  timed gdb gdb_apply apply
  rig_cmd vm 'grep -q "fixed by vpatch" /proc/version' || fail 'the gdb script did not patch'
  gdb_apply undo >/dev/null 2>&1
done

v=$(median "$work/vpatch.command") w=$(median "$work/vpatch.window")
gv=$(median "$work/gdb.command") gw=$(median "$work/gdb.window")
printf '%s, %d rounds, medians, guest emulated (TCG) and under load\n' "$ARCH" "$ROUNDS"
printf '  %-34s window %8.0f us   whole command %9.0f us\n' 'vpatch apply' "$w" "$v"
printf '  %-34s window %8.0f us   whole command %9.0f us\n' 'gdb batch script, same words' "$gw" "$gv"
awk -v a="$gw" -v b="$w" -v c="$gv" -v d="$v" 'BEGIN { printf "  gdb : vpatch                       window %8.1f : 1   whole command %9.1f : 1\n", a / b, c / d }'
[ "$ARCH" != arm64 ] || echo '  (of vpatch, one second is the wait before it reads the sites again: this kernel hides its text_mutex)'
[ "$ARCH" = amd64 ] || exit 0
mkdir -p "$work/klp"
cp tests/linux/livepatch/vp_livepatch.c "$work/klp/"
echo 'obj-m := vp_livepatch.o' >"$work/klp/Makefile"
make -s -C "$kernel/build" M="$work/klp" modules >"$work/said" 2>&1 || fail "livepatch module: $(cat "$work/said")"
# Loaded means that every task runs the new function.
load='insmod /tmp/vp_livepatch.ko && while [ "$(cat /sys/kernel/livepatch/vp_livepatch/transition)" != 0 ]; do :; done'
unload='echo 0 >/sys/kernel/livepatch/vp_livepatch/enabled; while [ -d /sys/kernel/livepatch/vp_livepatch ]; do sleep 0.1; done; rmmod vp_livepatch'
fresh_guest() {
  rig_stop vm
  vp_guest vm
  rig_cmd vm 'load start @' || fail 'no load'
  rig_put vm "$work/klp/vp_livepatch.ko" /tmp/vp_livepatch.ko
}
# A guest that vpatch never touched stops answering in about one such load in twenty under TCG
# (QEMU 7.2, two vCPUs). That round is said and left out.
hung=0
fresh_guest
for ((i = 0; i < ROUNDS; i++)); do
  timed nothing rig_cmd vm true
  if (timed livepatch rig_cmd vm "$load" 30) >"$work/klp.said" 2>&1; then
    rig_cmd vm 'cat /proc/version' 30 >"$work/klp.said" 2>&1 && ! grep -q livepatch "$work/klp.said" &&
      fail 'the livepatch does nothing'
    rig_cmd vm "$unload" 30 >"$work/klp.said" 2>&1 && continue
  fi
  grep -q 'no answer in time' "$work/klp.said" || fail "livepatch: $(cat "$work/klp.said")"
  hung=$((hung + 1))
  [ $hung -le $((ROUNDS / 3 + 1)) ] || fail "livepatch: $hung guests did not answer: $(cat "$work/klp.said")"
  fresh_guest
done
[ -s "$work/livepatch.command" ] || fail 'no livepatch was loaded to its end'
l=$(median "$work/livepatch.command") n=$(median "$work/nothing.command")
awk -v l="$l" -v n="$n" -v d="$v" -v k="$(wc -l <"$work/livepatch.command")" 'BEGIN {
  printf "  livepatch load, in the guest                            whole command %9.0f us   (emulated, %d rounds)\n", l - n, k
  printf "  livepatch load : vpatch apply                           whole command %9.1f : 1  (emulated: no claim about hardware)\n", (l - n) / d }'
[ $hung = 0 ] || echo "  ($hung guests stopped answering while they loaded or unloaded their livepatch; vpatch had not touched them)"
