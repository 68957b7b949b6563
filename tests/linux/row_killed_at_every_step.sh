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

# "old", "new" or "mixed"; fails if a word is neither.
words() {
  local gpa old new got all=''
  while read -r gpa old new; do
    got=$(phys_bytes kill "$gpa" $((${#old} / 2)))
    case $got in
      "$old") all+=o ;;
      "$new") all+=n ;;
      *) fail "the word at $gpa is torn: $got, neither $old nor $new ($1)" ;;
    esac
  done <"$work/edits"
  case $all in
    *o*n* | *n*o*) echo mixed ;;
    *o*) echo old ;;
    *) echo new ;;
  esac
}

running_within_a_second() {
  local end=$(($(date +%s%N) + 1000000000))
  until [ "$(rig_status kill)" = running ]; do
    [ "$(date +%s%N)" -lt $end ] || return 1
    sleep 0.02
  done
}

# Whatever a kill left: to the state that OP starts from.
prepare_for() {
  local state
  state=$(words "before the next")
  case $1-$state in
    apply-new) want 0 ok revert "$dom" two ;;
    revert-old) want 0 ok apply "$dom" "$hf/two.vpatch" ;;
    *-mixed) fail 'mixed after recover' ;;
  esac
}

kills=0 mixed=0
one_kill() {
  local op=$1 role=$2 step=$3 out state where
  where="$op, $role killed at step $step"
  out=$(vpk "$op" --role "$role" --step "$step") || {
    grep -q unreached <<<"$out" && return 1
    fail "$where: $out"
  }
  where="$where: $(head -n 1 <<<"$out")"
  kills=$((kills + 1))
  running_within_a_second || fail "$where: the guest does not run"
  state=$(words "$where")
  if [ "$state" = mixed ]; then
    mixed=$((mixed + 1))
    [ "$role" != main ] || fail "$where: mixed although the holder lived"
  fi
  vp recover >"$work/recover" 2>&1 || fail "$where: recover: $(cat "$work/recover")"
  running_within_a_second || fail "$where: the guest does not run after recover: $(cat "$work/recover")"
  state=$(words "$where")
  [ "$state" != mixed ] || fail "$where: mixed after recover: $(cat "$work/recover")"
  case $state in
    new) want 0 ok status "$dom" two ;;
    old) want 1 not-applied status "$dom" two ;;
  esac
  rig_cmd kill true 20 || fail "$where: the guest does not answer"
}

for op in apply revert; do
  prepare_for $op
  count=$(vpk $op --count)
  read -r _ main _ holder _ code <<<"$(tail -n 1 <<<"$count")"
  [ "$code" = 0 ] || fail "$op under killstep: $count"
  echo "$op: $main steps of the command, $holder of the holder"
  for role in main holder both; do
    case $role in main) steps=$main ;; *) steps=$holder ;; esac
    # All of them at the full count; else a sample that begins anywhere. The command's own steps
    # are many and nearly all of them only read.
    samples=$((steps * SCALE / 100))
    [ "$samples" -ge 12 ] || samples=12
    [ "$SCALE" -ge 100 ] || [ $samples -le $((6 * SCALE)) ] || [ $role != main ] || samples=$((6 * SCALE > 20 ? 6 * SCALE : 20))
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
