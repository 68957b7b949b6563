#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# SIGKILL at a random instant, a thousand times a driver, at least half of them inside the window, of
# the holder, of the command and of both: the guest goes on within a second, its word is whole and is
# what the command and then recover said, and its checker saw nothing that these changes do not explain.
set -u
. "$(dirname "$0")/bare.sh"
bare_begin
n=$(scaled 334)
for driver in ${DRIVERS:-kvm gdb}; do
  for role in ${ROLES:-holder main both}; do
    "$tools/bareharm" kill "$driver" "$role" "$n" 2000 "$vp_bin" "$fix" $hotfix || fail "$driver, $role"
    want 0 ok recover
    jq -e '.recovered == []' <<<"$said" >/dev/null || fail "an entry was left open: $said"
  done
done
