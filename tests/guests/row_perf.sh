#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# --perf-data on a QEMU/KVM: a disk that is full when the change has been made is a note, not a failure;
# perf inject --guest-data carries the text pokes into a trace of the host; a follower of the events and
# those who change the guest are not in each other's way, whatever the driver.
set -u
. "$(dirname "$0")/bare.sh"
command -v perf >/dev/null && perf --version >/dev/null 2>&1 || { echo 'perf is missing'; exit 77; }
bare_begin 9s
bare_guest g 'microvm kvm' 2
bare_up g
dom=pid:${pid[g]}
changes=0
flip() { changes=$((changes + 1)) && bare g flip $changes; }
json() { jq -r "$1" <<<"$said"; }

"$vp_bin" events "$dom" --follow --json >"$work/told" 2>&1 &
follower=$!

# --- a full disk: a file can be made there and nothing be written to it ------------------------------
mkdir "$work/full"
unshare -m bash -c '
  mount -t tmpfs -o size=8k none "$1/full" || exit 77
  dd if=/dev/zero of="$1/full/ballast" bs=1k count=64 2>/dev/null
  "$2" apply "$3" "$4" --json --perf-data "$1/full/x" >"$1/said" 2>"$1/stderr"
  r=$?
  ls "$1/full" >"$1/left"
  exit $r' _ "$work" "$vp_bin" "$dom" "$fix"
r=$?
[ $r != 77 ] || { echo 'a mount of tmpfs is missing'; exit 77; }
said=$(cat "$work/said")
[ $r = 0 ] && [ "$(json .reason)/$(json .changed)" = ok/true ] || fail "exit $r: $said $(cat "$work/stderr")"
json '.notes[]' | grep -q 'text poke events were not written: .*No space left' || fail "no note: $said"
[ "$(cat "$work/left")" = ballast ] || fail "left behind: $(cat "$work/left")"
flip
want 0 ok revert "$dom" $hotfix --driver gdb --perf-data "$work/revert.data"
flip

# --- into a trace of the host ---------------------------------------------------------------------------
if perf record -o "$work/host.data" -k CLOCK_MONOTONIC --sample-identifier --switch-events -e cpu-clock -a -- \
  "$vp_bin" apply "$dom" "$fix" --json --perf-data "$work/guest.data" >"$work/said" 2>"$work/record"; then
  said=$(cat "$work/said")
  [ "$(sed -n '/^{/p' "$work/said" | jq -r .reason)" = ok ] || fail "apply: $said $(cat "$work/record")"
  perf inject -i "$work/host.data" -o "$work/both.data" "--guest-data=$work/guest.data,${pid[g]}" 2>"$work/inject" ||
    fail "perf inject: $(cat "$work/inject")"
  pokes() { perf script --show-text-poke-events -i "$1" 2>/dev/null | grep -A2 TEXT_POKE | grep -oE 'TEXT_POKE [0-9a-f]+|(Old|New) bytes:.*'; }
  pokes "$work/guest.data" >"$work/of-guest"
  pokes "$work/both.data" >"$work/of-both"
  cat "$work/of-both"
  [ "$(grep -c TEXT_POKE "$work/of-guest")" -ge 1 ] || fail 'no pokes in the file of the guest'
  diff "$work/of-guest" "$work/of-both" || fail 'perf inject lost pokes'
else
  echo "perf record does not work here, so perf inject was not tried: $(tail -n 1 "$work/record")"
  want 0 ok apply "$dom" "$fix" --perf-data "$work/guest.data"
fi
flip
want 0 ok revert "$dom" $hotfix
flip

# --- what the follower was told -------------------------------------------------------------------------
for ((i = 0; i < 50; i++)); do
  [ "$(wc -l <"$work/told")" -ge 5 ] && break
  sleep 0.1
done
kill -INT "$follower"
wait "$follower" || fail "the follower ends with $?: $(cat "$work/told")"
# The payload is written once; the second apply finds it in its place.
[ "$(jq -r '.op // .events' "$work/told" | tr '\n' ' ')" = 'apply apply revert apply revert 5 ' ] ||
  fail "the follower was told: $(cat "$work/told")"
bare g check $changes
bare_end g
