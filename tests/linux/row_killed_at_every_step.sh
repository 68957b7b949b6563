#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# The command, its holder or both are killed at every system call of apply and revert: the guest
# runs within a second, no instruction is torn, words are mixed only where the holder itself was
# killed and only until recover, which ends fully applied or fully reverted.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest kill
vp_hotfix two
texts kill
k=$O/tests/tools/killstep
two_a="Linux version $(rig_cmd kill 'uname -r') (two, first) $(rig_cmd kill 'uname -v')"
rig_cmd kill "load start -t v '@' '$two_a'; load start -t c -n 1 -f /proc/cmdline '@' 'two, second'; load from -t v 0 1; load from -t c 0 1" || fail 'no load'

run() { case $1 in apply) echo apply "$dom" "$hf/two.vpatch" ;; revert) echo revert "$dom" two ;; esac; }
vpk() { # killstep's arguments, then the operation
  local op=$1
  shift
  # shellcheck disable=SC2046
  "$k" "$@" -- "$vp_bin" $(run "$op")
}

# The words of the change, as the planner gives them: gpa old new, in hex.
want 0 ok apply "$dom" "$hf/two.vpatch"
jq -r '.edits[] | select(.kind == "site") | "\(.address) \(.old) \(.new)"' <<<"$said" | while read -r at old new; do
  echo "$(gpa_of kill "$at") $old $new"
done >"$work/edits"
[ "$(grep -c ^0x "$work/edits")" = 2 ] || fail "apply does not report two sites: $said"
want 0 ok revert "$dom" two

# One look through QEMU's monitor: whether the guest runs, and the words.
look=('{"execute":"query-status"}')
words=()
while read -r gpa old new; do
  look+=('{"execute":"human-monitor-command","arguments":{"command-line":"xp /'$((${#old} / 2))'xb '"$gpa"'"}}')
  words+=("$old $new")
done <"$work/edits"

# Sets state to old, new or mixed, once the guest runs; fails if it does not within a second or a
# word is neither.
look_at() {
  local end=$(($(date +%s%N) + 1000000000)) answers i got all=''
  while :; do
    mapfile -t answers < <(rig_qmp kill "${look[@]}")
    [[ ${answers[0]:-} != *'"status": "running"'* ]] || break
    [ "$(date +%s%N)" -lt $end ] || fail "$1: the guest does not run: ${answers[0]:-no answer}"
    sleep 0.02
  done
  for i in "${!words[@]}"; do
    # {"return": "0000000001811e30: 0x0f 0x1f 0x44 0x00 0x00\r\n"}
    got=${answers[i + 1]#*: *: } got=${got%%\\*} got=${got//0x/} got=${got// /}
    case $got in
      "${words[i]% *}") all+=o ;;
      "${words[i]#* }") all+=n ;;
      *) fail "$1: a word is torn: $got, neither of ${words[i]}" ;;
    esac
  done
  case $all in
    *o*n* | *n*o*) state=mixed ;;
    *o*) state=old ;;
    *) state=new ;;
  esac
}

# Whatever a kill left: to the state that OP starts from.
prepare_for() {
  case $1-$state in
    apply-new)
      want 0 ok revert "$dom" two
      state=old
      ;;
    revert-old)
      want 0 ok apply "$dom" "$hf/two.vpatch"
      state=new
      ;;
  esac
}

kills=0 mixed=0
one_kill() {
  local op=$1 role=$2 step=$3 out where before=$state
  where="$op, $role killed at step $step"
  out=$(vpk "$op" --role "$role" --step "$step") || {
    grep -q unreached <<<"$out" && return 1
    fail "$where: $out"
  }
  where="$where: $(head -n 1 <<<"$out")"
  kills=$((kills + 1))
  look_at "$where"
  if [ "$state" = mixed ]; then
    mixed=$((mixed + 1))
    [ "$role" != main ] || fail "$where: mixed although the holder lived"
  fi
  vp recover >"$work/recover" 2>&1 || fail "$where: recover: $(cat "$work/recover")"
  if grep -qx 'nothing to recover' "$work/recover"; then
    # Killed before it had begun, or after it had ended. The same each time: asked now and then.
    [ "$state" != mixed ] || fail "$where: mixed, and there is nothing to recover"
    [ "$state" = "$before" ] && [ $((kills % 25)) != 0 ] && return 0
  else
    look_at "$where, after recover: $(cat "$work/recover")"
    [ "$state" != mixed ] || fail "$where: mixed after recover: $(cat "$work/recover")"
  fi
  case $state in
    new) want 0 ok status "$dom" two ;;
    old) want 1 not-applied status "$dom" two ;;
  esac
  rig_cmd kill true 20 || fail "$where: the guest does not answer"
}

# The load is there to use the function, not to keep the host busy.
for task in /proc/"$(rig_pid kill)"/task/*; do renice -n 10 -p "${task##*/}" >/dev/null; done
look_at 'before the first'
for op in apply revert; do
  prepare_for $op
  count=$(vpk $op --count)
  read -r _ main _ holder _ code <<<"$(tail -n 1 <<<"$count")"
  [ "$code" = 0 ] || fail "$op under killstep: $count"
  echo "$op: $main steps of the command, $holder of the holder"
  for role in main holder both; do
    case $role in main) steps=$main ;; *) steps=$holder ;; esac
    # All of them at the full count; else a sample that begins anywhere.
    samples=$((steps * SCALE / 100))
    [ "$samples" -ge 12 ] || samples=12
    [ "$SCALE" -ge 100 ] && stride=1 || stride=$(((steps + samples - 1) / samples))
    for ((s = 1 + RANDOM % stride; s <= steps + 20; s += stride)); do
      prepare_for $op
      one_kill $op $role "$s" || break
    done
  done
done
prepare_for apply
rig_cmd kill 'load report -t v; load report -t c' | tee "$work/load"
grep -q 'wrong [1-9]' "$work/load" && fail 'the load saw a wrong answer'
untouched kill 'the kills'
echo "$kills kills; $mixed left the words mixed until recover"
