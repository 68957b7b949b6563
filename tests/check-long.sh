#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The longer rows: the guest rows at a few percent of the full counts, each fuzzer for a while.
set -u
. "$(dirname "$0")/common.sh"
STAGES=1
prepare 'build demo arm64 check fuzz' "$@"
export SCALE=${SCALE:-8} FUZZ_SECONDS=${FUZZ_SECONDS:-20}

row build 600 make -j"$(nproc)" all tools vmm O="$O"
for arch in ${ARCHES:-amd64 arm64}; do
  row "fetch/$arch" 600 tests/linux/fetch.sh "$arch"
  for f in tests/linux/row_*.sh; do
    t=$(basename "$f" .sh)
    grep -q '^# scales' "$f" || continue
    row "long/$arch/${t#row_}" "$((600 + SCALE * 240))" "$f" "$arch"
  done
done
for key in amd64/bookworm arm64/bookworm arm64/sid riscv64/trixie riscv64/sid ppc64el/trixie ppc64el/sid; do
  row "fetch/$key" 600 tests/linux/fetch.sh "${key%/*}" "${key#*/}"
  row "kernels/$key" 600 env SCALE=$(((SCALE + 3) / 4)) tests/linux/kernels.sh "${key%/*}" "${key#*/}"
done
# The Linux stub for kernels that no row boots with it. sid's riscv64 wants a compiler that Debian 12 has not.
for arch in amd64 arm64 riscv64; do
  row "stub/$arch-trixie" 600 tests/linux/stub.sh "$arch" trixie
done
row build-san 900 make -j"$(nproc)" SAN=address,undefined O="$O/san" all units
for f in tests/unit/test_*.c; do ! starts_guest "$f" || unit_row san 600 "$O/san" "$f"; done
for arch in arm64 riscv64 thumb2 ppc64le x86-64; do
  row "long/sites/$arch" "$((600 + SCALE * 120))" env SCALE=$(((SCALE + 1) / 2)) tests/rows/sites.sh "$arch"
done
for f in tests/guests/row_*.sh; do
  t=$(basename "$f" .sh)
  grep -q '^# scales' "$f" || continue
  row_root "long/guests/${t#row_}" "$((600 + SCALE * 240))" "$f"
done
row fuzz $((1800 + FUZZ_SECONDS * 20)) tests/fuzz.sh
row demo-amd64 300 tests/demo.sh
row demo-arm64 300 env ARCH=arm64 tests/demo.sh
row nothing-left 60 tests/nothing-left.sh
row_root nothing-left-of-root 60 tests/nothing-left.sh
tally
