#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# 100,000 cycles of apply and revert on one open target by the drivers kvm and inproc, 2,000 by gdb,
# on two busy vCPUs that run natively: nothing impossible is seen. DRIVERS picks some, CYCLES says how
# many. What is not the full count is a share of less: a cycle takes a thirtieth of a second.
set -u
. "$(dirname "$0")/bare.sh"
bare_begin
for driver in ${DRIVERS:-kvm inproc gdb}; do
  case $driver in gdb) n=2000 least=500 ;; *) n=100000 least=3000 ;; esac
  [ "$SCALE" -ge 100 ] || n=$least
  "$tools/barecycles" "$driver" "${CYCLES:-$(scaled $n)}" || fail "$driver"
done
