#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fuzz.sh build          builds the fuzzers
# fuzz.sh replay NAME    runs fuzzer NAME once over each file of its committed corpus
command -v clang >/dev/null || { echo 'clang is missing'; exit 77; }
case $1 in
  build) exec make --no-print-directory -j"$(nproc)" fuzzers O="$O" ;;
  replay)
    corpus=tests/fuzz/corpus/$2
    [ -d "$corpus" ] || { echo "$corpus is missing"; exit 1; }
    exec "$O/tests/fuzz/fuzz_$2" -runs=0 "$corpus"
    ;;
esac
exit 2
