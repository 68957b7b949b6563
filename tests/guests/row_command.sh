#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The command on a QEMU/KVM that is as it was installed, by pid:N and by qmp:PATH, with each driver and
# with none named: the guest's busy CPUs run the new function, then the old one again, and its checker
# has seen nothing impossible.
set -u
. "$(dirname "$0")/bare.sh"
bare_begin

both() { # DOMAIN, then options
  local d=$1
  shift
  want 0 ok apply "$d" "$fix" "$@"
  [ "$(jq .changed <<<"$said")" = true ] || fail "apply changed nothing: $said"
  echo "$vmm, ${d%%:*} $*: apply: window $(jq .window_us <<<"$said") us"
  changes=$((changes + 1))
  bare g flip $changes
  want 0 ok status "$d" $hotfix "$@"
  want 0 ok revert "$d" $hotfix "$@"
  [ "$(jq .changed <<<"$said")" = true ] || fail "revert changed nothing: $said"
  changes=$((changes + 1))
  bare g flip $changes
  want 1 not-applied status "$d" $hotfix "$@"
}

for vmm in ${VMMS:-'microvm kvm'}; do
  changes=0
  bare_guest g "$vmm" 2
  bare_up g
  for how in '' '--driver kvm' '--driver gdb'; do
    # shellcheck disable=SC2086
    both "pid:${pid[g]}" $how
    # shellcheck disable=SC2086
    both "qmp:${qmp[g]}" $how
  done
  want 0 ok recover
  jq -e '.recovered == []' <<<"$said" >/dev/null || fail "an entry was left open: $said"
  # Whoever chooses: under KVM it is the kvm driver.
  want 0 ok inspect "qmp:${qmp[g]}"
  jq -e '.driver == "kvm"' <<<"$said" >/dev/null || fail "driver: $(jq -c .driver <<<"$said")"
  bare g calls 1000
  bare g check $changes
  bare_end g
done
