#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# Cycles of apply and revert on one open target, on two busy vCPUs that run natively: nothing impossible
# is seen. The full counts are 100,000 by driver kvm and by inproc under the example VMM, which has no
# monitor to wait for, 10,000 by kvm and 2,000 by gdb under QEMU. RUNS picks some of them, CYCLES says
# how many. What is not the full count is a share of less: a cycle takes up to a twentieth of a second.
set -u
. "$(dirname "$0")/bare.sh"
bare_begin
for run in ${RUNS:-kvm-vmm inproc kvm gdb}; do
  case $run in *-vmm) vmm=vmm ;; *) vmm= ;; esac
  case $run in
    gdb) n=2000 least=500 ;;
    kvm) n=10000 least=2000 ;;
    *) n=100000 least=4000 ;;
  esac
  [ "$SCALE" -ge 100 ] || n=$least
  # shellcheck disable=SC2086
  "$tools/barecycles" ${run%-vmm} "${CYCLES:-$(scaled $n)}" $vmm || fail "$run"
done
