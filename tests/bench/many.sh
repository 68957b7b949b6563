#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make bench PARTS=many: every function entry of an emulated Debian guest (amd64) changed in one hold, with
# all of them compared before and behind, against the guest's own function tracer being switched on, which
# changes the same entries. Both by the same guest, in turns. The guest is emulated: this is no claim about
# hardware.
#
#   ROUNDS=N     (default 7)
#   DEADLINE=S   of a hold, in seconds (default 10); when it passes, all of it is put back
set -u
. "$(dirname "$0")/../common.sh"
: "${ROUNDS:=7}" "${DEADLINE:=10}"
prepare 'build demo bench' "$@"
make --no-print-directory -j"$(nproc)" all "$O/tests/tools/manysites" O="$O" >/dev/null || exit 1
. tests/linux/vp.sh
vp_begin amd64
module=$(tests/linux/stub.sh amd64 "${RIG_SUITE:-bookworm}") || exit
vp_guest vm
rig_put vm "$module" /root/vpatch_stub.ko || fail 'no module'
rig_cmd vm 'insmod /root/vpatch_stub.ko' || fail 'insmod'
rig_cmd vm 'mount | grep -q tracefs || mount -t tracefs t /sys/kernel/tracing' || fail 'no tracefs'
now_us() { echo $(($(date +%s%N) / 1000)); }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { printf "%d\n", (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
timed() { # series command
  local t0
  t0=$(now_us)
  rig_cmd vm "$2" 120 >"$work/said" 2>&1 || fail "$1: $(cat "$work/said")"
  echo $(($(now_us) - t0)) >>"$work/$1"
}
for ((i = 0; i < ROUNDS; i++)); do
  "$O/tests/tools/manysites" "$dom" "$DEADLINE" >"$work/many" 2>&1 || fail "$(cat "$work/many")"
  read -r _ sites _ pages _ to _ back <"$work/many"
  printf '%d\n%d\n' "$to" "$back" >>"$work/vpatch"
  timed nothing true
  timed on 'echo function >/sys/kernel/tracing/current_tracer'
  timed off 'echo nop >/sys/kernel/tracing/current_tracer'
done
[ "$sites" -gt 30000 ] || fail "only $sites sites"
untouched vm 'the end'
v=$(median "$work/vpatch") none=$(median "$work/nothing") on=$(median "$work/on") off=$(median "$work/off")
echo "amd64, $ROUNDS rounds, medians, guest emulated (TCG)"
printf '  %-40s held %9d us   (%d sites in %d pages)\n' 'vpatch, all entries in one hold' "$v" "$sites" "$pages"
printf '  %-40s      %9d us on, %d us off\n' "the guest's function tracer" $((on - none)) $((off - none))
awk -v a=$((on - none)) -v b="$v" 'BEGIN { printf "  tracer on : vpatch                            %9.1f : 1  (emulated: no claim about hardware)\n", a / b }'
