#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Migration: a change is refused while the guest migrates; one that began after the plan is noticed,
# and whatever was said is true at the destination; a guest that was changed and then moved still has the
# hotfix there, status says so, and revert takes it back. No CPU sees anything impossible.
set -u
. "$(dirname "$0")/bare.sh"
bare_begin 10s

mon() { "$tools/rigctl" qmp "$work/$1.mon" "${@:2}"; }
state_of() { mon "$1" '{"execute":"query-migrate"}' | jq -r '.return.status // "none"'; }
await() { # GUEST PATTERN
  local i
  for ((i = 0; i < 600; i++)); do
    [[ "$(state_of "$1")" =~ ^($2)$ ]] && return 0
    sleep 0.05
  done
  fail "$1: the migration is $(state_of "$1") and not $2"
}
# Slow enough to last for as long as is wanted.
# Its memory goes in the order of its addresses. When the text and what it writes to have gone, what is
# written there arrives only if it is seen to be written. The ballast behind them goes so slowly that it
# lasts for as long as is wanted.
past_its_text() { # GUEST
  local i left
  for ((i = 0; i < 1000; i++)); do
    left=$(mon "$1" '{"execute":"query-migrate"}' | jq '.return.ram.remaining // 99999999')
    [ "$left" -gt 16000000 ] || break
  done
  slowly "$1"
  [ "$(state_of "$1")" = active ]
}
bandwidth() { mon "$1" '{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":'"$2"'}}' >/dev/null || fail 'max-bandwidth'; }
slowly() { bandwidth "$1" 4096; }
quickly() { bandwidth "$1" 1000000000; }
move() { # GUEST URI
  mon "$1" '{"execute":"migrate","arguments":{"uri":"'"$2"'"}}' >/dev/null || fail "$1: migrate"
}
source_of() { bare_guest "$1" "$vmm" 2 -qmp "unix:$work/$1.mon,server=on,wait=off"; bare_up "$1"; }
# Its tool says "up" when the guest has come.
destination() {
  local i
  bare_guest "$1" "$vmm" 2 -qmp "unix:$work/$1.mon,server=on,wait=off" -incoming "unix:$work/$1.in.sock"
  for ((i = 0; i < 600; i++)); do
    [ -S "$work/$1.in.sock" ] && return 0
    sleep 0.05
  done
  fail "$1 does not listen"
}

refused_while_migrating() {
  local driver
  slowly a
  move a "exec:cat >/dev/null"
  await a 'active'
  for driver in $drivers; do
    want 3 migrating apply "qmp:${qmp[a]}" "$fix" --driver "$driver"
    want 3 migrating apply "pid:${pid[a]}" "$fix" --driver "$driver"
    want 3 migrating apply "qmp:${qmp[a]}" "$fix" --driver "$driver" --dry-run
  done
  bare a calls 1000
  bare a check $changes
  mon a '{"execute":"migrate_cancel"}' >/dev/null
  await a 'cancelled'
  for driver in $drivers; do
    want 0 ok apply "qmp:${qmp[a]}" "$fix" --driver "$driver"
    bare a flip $((changes += 1))
    slowly a
    move a "exec:cat >/dev/null"
    await a 'active'
    want 3 migrating revert "qmp:${qmp[a]}" $hotfix --driver "$driver"
    mon a '{"execute":"migrate_cancel"}' >/dev/null
    await a 'cancelled'
    want 0 ok revert "qmp:${qmp[a]}" $hotfix --driver "$driver"
    bare a flip $((changes += 1))
  done
}

# The migration begins when the command has passed POINT; what it then says holds on the other side.
begins_after() { # POINT DRIVER
  local word code out in was where="$vmm, migrates since $1, $2"
  source_of m
  destination n
  bare m ballast 16
  bandwidth m 10000000
  coproc off { exec "$tools/holdoff" "$1" "$vp_bin" apply "qmp:${qmp[m]}" "$fix" --driver "$2" --json 2>"$work/off.err"; }
  out=${off[0]} in=${off[1]}
  read -r -t 30 -u "$out" word && [ "$word" = here ] || fail "$where: $word"
  move m "unix:$work/n.in.sock"
  past_its_text m || echo "$where: it has arrived before the command went on: $(state_of m)"
  echo >&"$in"
  was=$(timeout 30 cat <&"$out")
  wait "$off_PID"
  code=$?
  word=$(jq -r .reason <<<"$was")
  echo "$where: exit $code, $word: $(jq -r '.message, .notes[]?' <<<"$was")"
  want 0 ok recover
  quickly m
  await m completed
  bare_up n
  bare n calls 1000
  case $code in
    0)
      want 0 ok status "qmp:${qmp[n]}" $hotfix
      bare n check 1
      want 0 ok revert "qmp:${qmp[n]}" $hotfix
      ;;
    1 | 3) want 1 not-applied status "qmp:${qmp[n]}" $hotfix ;;
    *) fail "$where: exit $code: $was $(cat "$work/off.err")" ;;
  esac
  [ "$1" != journal ] || [ "$code:$word" = 3:migrating ] || fail "$where: $was"
  bare_end n
  bare_end m
}

moved_with_its_hotfix() { # DRIVER
  want 0 ok apply "qmp:${qmp[a]}" "$fix" --driver "$1"
  bare a flip $((changes += 1))
  destination b
  quickly a
  move a "unix:$work/b.in.sock"
  await a completed
  bare_up b
  bare b calls 1000
  bare b check $changes
  want 0 ok status "qmp:${qmp[b]}" $hotfix
  want 0 ok status "pid:${pid[b]}"
  jq -e '.hotfixes | length == 1 and .[0].state == "applied"' <<<"$said" >/dev/null || fail "status at the destination: $said"
  want '[13]' '.*' apply "qmp:${qmp[a]}" "$fix" --driver "$1" # the one that was left behind
  want 0 ok apply "qmp:${qmp[b]}" "$fix" --driver "$1"
  [ "$(jq .changed <<<"$said")" = false ] || fail "applied again at the destination: $said"
  want 0 ok revert "qmp:${qmp[b]}" $hotfix --driver "$1"
  bare b flip $((changes += 1))
  want 1 not-applied status "qmp:${qmp[b]}" $hotfix
  want 0 ok apply "qmp:${qmp[b]}" "$fix" --driver "$1"
  bare b flip $((changes += 1))
  bare b calls 1000
  bare b check $changes
  bare_end b
}

for vmm in ${VMMS:-'microvm kvm'}; do
  case $vmm in *kvm) drivers='kvm gdb' ;; *) drivers=gdb ;; esac
  changes=0
  source_of a
  refused_while_migrating
  for driver in $drivers; do
    begins_after journal "$driver"
    begins_after armed "$driver"
  done
  moved_with_its_hotfix "${drivers%% *}"
  bare_end a
done
