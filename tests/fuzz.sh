#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every fuzzer: `make fuzz`. Three rows each:
#   find/NAME    FUZZ_SECONDS (60) without a finding, from the committed corpus
#   plant/NAME   built with the bug that VP_PLANT_NAME plants, it finds that bug within 15 minutes
#   cover/NAME   line coverage of the parser (the files that hold the planted bug, or that the
#                fuzzer's source names behind "covers:") by all inputs collected, in its log
# FUZZ='qmp rsp' picks some. Inputs collected stay in $O/fuzz-run/NAME; nothing is committed.
set -u
. "$(dirname "$0")/common.sh"
prepare 'build check fuzz' "$@"
: "${FUZZ_SECONDS:=60}"
export FUZZ_SECONDS
jobs=$(nproc)
names=${FUZZ:-$(for f in tests/fuzz/fuzz_*.c; do [ -e "$f" ] && basename "$f" .c | sed 's/^fuzz_//'; done)}

plants() { for n in $names; do printf -- '-DVP_PLANT_%s ' "${n^^}"; done; }
row fuzz/build 900 make --no-print-directory -j"$jobs" fuzzers O="$O"
row fuzz/build-planted 900 make --no-print-directory -j"$jobs" fuzzers O="$O/fuzz-planted" FUZZ_EXTRA="$(plants)"
row fuzz/build-covered 900 make --no-print-directory -j"$jobs" fuzzers O="$O/fuzz-covered" \
  FUZZ_EXTRA='-fprofile-instr-generate -fcoverage-mapping'
for n in $names; do
  row "find/$n" $((FUZZ_SECONDS + 120)) tests/rows/fuzz.sh find "$n"
  row "plant/$n" 1000 tests/rows/fuzz.sh plant "$n"
  row "cover/$n" 300 tests/rows/fuzz.sh cover "$n"
  log=$logs/cover/$n.log
  [ -e "$log" ] && sed -n 's/^lines: /     lines: /p' "$log"
done
tally
