#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# The command, its holder or both are killed at every system call of apply and revert, and of an
# apply whose payload the guest never had: the guest runs within a second, no instruction is torn,
# words are mixed only where the holder itself was killed and only until recover, which ends fully
# applied or fully reverted. OPS and ROLES pick some.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_hotfix two
k=$O/tests/tools/killstep
# A retired payload is used again by the same bundle: only one that the guest never had has its
# payload and its record written. Bundles that differ in their version are made from one.
fresh=0 since_boot=0
sed 's/VPATCH_VERSION("1")/VPATCH_VERSION("1.00000")/' "$rig_here/hotfix/two.c" >"$work/fresh.c"
vp build "$work/fresh.c" --kernel "$kernel/build" -o "$work/fresh.unsigned" >"$work/build.log" 2>&1 ||
  fail "building fresh: $(tail -n 20 "$work/build.log")"
[ "$(LC_ALL=C grep -oa '1\.00000' "$work/fresh.unsigned" | wc -l)" = 1 ] || fail 'the version is not in the bundle once'

declare -A bundle=([apply]=$hf/two.vpatch [fresh]=$hf/fresh.vpatch)
vpk() { # killstep's arguments, then the operation
  local op=$1
  shift
  case $op in
    revert) "$k" "$@" -- "$vp_bin" revert "$dom" two ;;
    *) "$k" "$@" -- "$vp_bin" apply "$dom" "${bundle[$op]}" ;;
  esac
}

# The words that an apply of BUNDLE would write: where they are is asked of the guest once a boot.
words=() look=()
learn() {
  local at old new
  want 0 ok apply "$dom" "$1" --dry-run
  words=()
  while read -r at old new; do
    words+=("$old $new")
    [ ${#look[@]} -gt 2 ] ||
      look+=('{"execute":"human-monitor-command","arguments":{"command-line":"xp /'$((${#old} / 2))'xb '"$(gpa_of kill "$at")"'"}}')
  done < <(jq -r '.edits[] | select(.kind == "site") | "\(.address) \(.old) \(.new)"' <<<"$said")
  [ ${#words[@]} = 2 ] || fail "apply does not report two sites: $said"
}

boot() {
  local two_a
  rig_stop kill
  vp_guest kill
  two_a="Linux version $(rig_cmd kill 'uname -r') (two, first) $(rig_cmd kill 'uname -v')"
  rig_cmd kill "load start -t v '@' '$two_a'; load start -t c -n 1 -f /proc/cmdline '@' 'two, second'; load from -t v 0 1; load from -t c 0 1" || fail 'no load'
  rig_nice kill
  look=('{"execute":"query-status"}')
  learn "${bundle[apply]}"
  look_at "$1"
  since_boot=0
}

# The guest has seen nothing but right answers since it booted, and its console is clean.
good() {
  prepare_for apply
  rig_cmd kill 'load report -t v; load report -t c' >"$work/load"
  cat "$work/load"
  [ "$(grep -c '^processes [12] .* wrong 0 ' "$work/load")" = 2 ] || fail 'the load saw a wrong answer, or has ended'
  untouched kill "$1"
}

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
    *-mixed) fail 'mixed after recover' ;;
    apply-new | fresh-new)
      want 0 ok revert "$dom" two
      state=old
      ;;
    revert-old)
      want 0 ok apply "$dom" "${bundle[apply]}"
      state=new
      ;;
  esac
  [ "$1" = fresh ] || return 0
  # arm64's arena has room for some sixty of them.
  if [ $((since_boot += 1)) -gt 40 ]; then
    good 'the kills while the payload was new'
    boot 'a new boot'
  fi
  fresh=$((fresh + 1))
  LC_ALL=C sed "s/1\.00000/1.$(printf %05d $fresh)/" "$work/fresh.unsigned" >"${bundle[fresh]}"
  vp sign "${bundle[fresh]}" --key "$key/key.pem" --cert "$key/cert.pem" >/dev/null || fail 'signing'
  learn "${bundle[fresh]}"
}

kills=0 mixed=0
one_kill() {
  local op=$1 role=$2 step=$3 out where before=$state
  where="$op, $role killed at step $step"
  out=$(vpk "$op" --role "$role" --step "$step") || {
    grep -q unreached <<<"$out" || fail "$where: $out"
    look_at "$where: it had fewer steps"
    grep -qx 'main exit 0' <<<"$out" && [ "$state" != mixed ] || fail "$where: not killed, and $state: $out"
    return 1
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

boot 'before the first'
for op in ${OPS:-apply revert fresh}; do
  prepare_for apply
  learn "${bundle[apply]}"
  prepare_for $op
  count=$(vpk $op --count)
  read -r _ main _ holder _ code <<<"$(tail -n 1 <<<"$count")"
  [ "$code" = 0 ] && [ "$main" -gt 0 ] && [ "$holder" -gt 0 ] || fail "$op under killstep: $count"
  look_at "$op"
  echo "$op: $main steps of the command, $holder of the holder"
  for role in ${ROLES:-main holder both}; do
    case $role in main) steps=$main ;; *) steps=$holder ;; esac
    # All of them at the full count; else a sample that begins anywhere. The command itself is not
    # the one that writes a payload: for a new one a tenth of its steps is taken.
    samples=$((steps * SCALE / 100))
    [ $op != fresh ] || [ $role != main ] || samples=$((samples / 10))
    [ "$samples" -ge 8 ] || samples=8
    stride=$(((steps + samples - 1) / samples))
    before=$kills
    for ((s = 1 + RANDOM % stride; s <= steps + 20; s += stride)); do
      prepare_for $op
      one_kill $op $role "$s" || break
    done
    echo "$op, $role: $((kills - before)) kills"
    # The count differs from run to run: whoever waits on a busy host polls more often. So an early
    # end is held against the shortest of a few more runs.
    for ((again = 0; again < 8 && s * 10 < steps * 8; again++)); do
      prepare_for $op
      read -r _ main _ holder _ code <<<"$(vpk $op --count | tail -n 1)"
      look_at "$op"
      case $role in main) steps=$main ;; *) steps=$holder ;; esac
    done
    [ $((s * 10)) -ge $((steps * 8)) ] || fail "$op, $role: ended at step $s of $steps"
  done
  [ $op != revert ] || good 'the kills'
done
good 'the kills while the payload was new'
echo "$kills kills; $mixed left the words mixed until recover"
