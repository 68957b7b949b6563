#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A deadline that passes, two applies at once, no room for the journal: put back, refused, and the
# guest is as it was.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest mom
vp_hotfix banner
b=$hf/banner.vpatch

rig_cmd mom "load start '@'" # one text only: anything else is wrong
for deadline in 10us 20us 50us; do
  want '[03]' 'deadline|ok' apply "$dom" "$b" --deadline $deadline
  if [ "$(jq -r .reason <<<"$said")" = ok ]; then
    want 0 ok revert "$dom" banner # a fast machine
  fi
  [ "$(rig_status mom)" = running ] || fail "deadline $deadline: $(rig_status mom)"
done
want 3 deadline apply "$dom" "$b" --deadline 10us
rig_cmd mom 'load at 0 2; load stop >/dev/null'
untouched mom deadline

# Two at the same time: one wins, the other is told to come back or finds it done.
for ((i = 0; i < 10; i++)); do
  vp apply "$dom" "$b" --json >"$work/a" 2>/dev/null &
  vp apply "$dom" "$b" --json >"$work/b" 2>/dev/null
  rb=$?
  wait $!
  ra=$?
  for r in "$ra $(jq -r .reason "$work/a")" "$rb $(jq -r .reason "$work/b")"; do
    case $r in
      '0 ok' | '0 already-applied' | '3 locked' | '3 monitor-busy') ;;
      *) fail "two at once: $r" ;;
    esac
  done
  [ $ra = 0 ] || [ $rb = 0 ] || fail 'two at once, and none got through'
  want 0 ok status "$dom" banner
  want 0 ok revert "$dom" banner
done
untouched mom 'two at once'

# A journal without room: root has a full file system for it; others may not look at QEMU's memory
# out of a namespace of their own, and get a file size limit.
full='mount -t tmpfs -o size=16k none "$0" && head -c 100000 /dev/zero >"$0/fill" 2>/dev/null; exec "$@"'
no_room() {
  if [ "$(id -u)" = 0 ]; then
    unshare -m sh -c "$full" "$work/state" "$@"
  else
    (trap '' XFSZ && ulimit -f 1 && exec "$@")
  fi
}
said=$(no_room "$vp_bin" apply "$dom" "$b" --json 2>"$work/stderr")
r=$?
[ $r = 1 ] && [ "$(jq -r .reason <<<"$said")" = disk-full ] || fail "no room: exit $r: $said $(cat "$work/stderr")"
echo "no room: $(cat "$work/stderr")"
untouched mom 'no room'
want 0 ok apply "$dom" "$b"
want 0 ok revert "$dom" banner
untouched mom 'the end'
