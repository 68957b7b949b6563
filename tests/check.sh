#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs what is missing, builds, runs every test: `make check`.
#
#   SCALE=N     percent of the full counts (default 2)
#   ROWS='...'  only the rows that match one of these patterns, such as 'linux/amd64/*'
#   ARCHES      guests to run (default "amd64 arm64")
set -u
. "$(dirname "$0")/common.sh"
STAGES=1
prepare 'build demo arm64 check' "$@"
export SCALE=${SCALE:-2}
jobs=$(nproc)

row build 600 make -j"$jobs" all units tools vmm O="$O"
for arch in ${ARCHES:-amd64 arm64}; do
  row "fetch/$arch" 600 tests/linux/fetch.sh "$arch"
done
row lint 120 tests/lint.sh
row freestanding 120 tests/rows/freestanding.sh
for arch in arm64 riscv64; do
  row "host/$arch" 120 tests/rows/host.sh "$arch"
done
row cppcheck 300 tests/rows/static.sh cppcheck
row tidy 900 tests/rows/static.sh clang-tidy
row install 120 tests/rows/install.sh
row lib 120 tests/rows/lib.sh
row models 300 tests/rows/models.sh
row killstep 60 tests/rows/killstep.sh
row stub-guest 300 tests/rows/stub_guest.sh
row deps 60 tests/rows/deps.sh
row_root vmm 120 tests/rows/vmm.sh

for f in tests/unit/test_*.c; do unit_row unit 300 "$O" "$f"; done
paired_end
row build-san 900 make -j"$jobs" SAN=address,undefined O="$O/san" all units
# Those that start guests: check-long.
for f in tests/unit/test_*.c; do starts_guest "$f" || unit_row san 600 "$O/san" "$f"; done
paired_end
row build-fuzz 900 tests/rows/fuzz.sh build
for f in tests/fuzz/fuzz_*.c; do
  [ -e "$f" ] || continue
  t=$(basename "$f" .c)
  row "corpus/${t#fuzz_}" 120 tests/rows/fuzz.sh replay "${t#fuzz_}"
done

for arch in ${ARCHES:-amd64 arm64}; do
  for f in tests/linux/row_*.sh; do
    t=$(basename "$f" .sh)
    row "linux/$arch/${t#row_}" 600 "$f" "$arch"
  done
done
for arch in arm64 riscv64 thumb2 ppc64le x86-64; do
  row "sites/$arch" 600 tests/rows/sites.sh "$arch"
done
for f in tests/guests/row_*.sh; do
  t=$(basename "$f" .sh)
  row_root "guests/${t#row_}" 600 "$f"
done
row nothing-left 60 tests/nothing-left.sh
row_root nothing-left-of-root 60 tests/nothing-left.sh
tally
