#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make bench PARTS=discovery: how long the host takes to find a guest's site table, in guests of two sizes
# of which next to all was never touched, with RAM of a kind each. It must not grow with them, and the
# search must not give the guest memory. `open` has the vCPUs' registers in it, which cost holds on arm64.
#
#   ROUNDS=N     (default 25)
set -u
. "$(dirname "$0")/../common.sh"
: "${ROUNDS:=25}"
prepare 'build demo bench' "$@"
guest=$O/tests/guests/arm64/sites.elf
find=$O/tests/tools/sitefind
make --no-print-directory -j"$(nproc)" "$find" "$guest" O="$O" >/dev/null || exit 1
[ -e "$guest" ] || { echo 'the site guest of arm64 is missing: no compiler for it'; exit 77; }
command -v qemu-system-aarch64 >/dev/null || { echo 'qemu-system-aarch64 is missing'; exit 77; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/vpfind.XXXXXX")
pid=
end() {
  [ -z "$pid" ] || { kill "$pid" && wait "$pid"; } 2>/dev/null
  pid=
}
trap 'end; rm -rf "$dir"' EXIT

# KIND MIB; prints sitefind's line.
measure() {
  local backend try
  case $1 in
    shared) backend=memory-backend-memfd,share=on ;;
    private) backend=memory-backend-ram ;;
  esac
  rm -f "$dir/qmp"
  setpriv --pdeathsig KILL -- qemu-system-aarch64 -M virt,memory-backend=ram -cpu cortex-a57 -accel tcg,thread=multi -m "$2" -smp 2 \
    -object "$backend,id=ram,size=$2M" -display none -serial none -monitor none -net none \
    -kernel "$guest" -qmp "unix:$dir/qmp,server=on,wait=off" </dev/null >"$dir/qemu" 2>&1 &
  pid=$!
  for ((try = 0; try < 100; try++)); do
    "$find" "qmp:$dir/qmp" 1 >"$dir/said" 2>&1 && break
    sleep 0.1
  done
  "$find" "qmp:$dir/qmp" "$ROUNDS" >"$dir/said" 2>&1 || { cat "$dir/said" "$dir/qemu"; exit 1; }
  end
}

printf '  %-28s %12s %12s %12s %12s %10s\n' "arm64, gdb driver, $ROUNDS rounds" 'look' 'its CPU' 'open' 'its CPU' 'memory'
for kind in shared private; do
  small=
  for mib in 512 4096; do
    measure $kind $mib
    read -r _ look _ look_cpu _ open _ open_cpu _ kib <"$dir/said"
    printf '  %-28s %9d us %9d us %9d us %9d us %6d KiB\n' "$kind, $mib MiB" "$look" "$look_cpu" "$open" "$open_cpu" "$kib"
    : "${small:=$look_cpu}"
  done
  awk -v k=$kind -v a="$small" -v b="$look_cpu" -v w="$look" 'BEGIN { printf "  %s: 4096 MiB : 512 MiB, CPU of the look %.2f : 1; target 10 ms : its time %.1f : 1\n", k, b / (a ? a : 1), 10000 / (w ? w : 1) }'
done
