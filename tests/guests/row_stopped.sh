#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# SIGSTOP inside the window of the holder, of the command and of both: the guest runs again by the
# deadline and its grace, and goes on being whole when they are continued.
set -u
. "$(dirname "$0")/bare.sh"
bare_begin 300ms
n=$(scaled 100)
for driver in ${DRIVERS:-kvm gdb}; do
  for role in ${ROLES:-holder main both}; do
    "$tools/bareharm" stop "$driver" "$role" "$n" 300 "$vp_bin" "$fix" $hotfix || fail "$driver, $role"
  done
done
